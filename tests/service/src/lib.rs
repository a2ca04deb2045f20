//! The versions of the small service: one program, and a line at its end that says which it is.
//!
//! An artifact is the program with such a line behind it, so each version is a file of its own with a digest of
//! its own, and the program finds out from its own file what it is. Not here: serving (`main`).

/// Stands before the line, at the end of the file.
const MARK: &[u8] = b"\n#service ";

/// What the line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nature {
    /// The version that it tells.
    pub version: String,
    /// How it goes bad, if it does.
    pub fault: Fault,
}

/// How a version goes bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It doesn't.
    None,
    /// After so many seconds each request is answered with 500.
    Fails(u64),
    /// After so many seconds no request is answered any more.
    Hangs(u64),
}

impl Nature {
    /// `program` as this version.
    #[must_use]
    pub fn artifact(&self, program: &[u8]) -> Vec<u8> {
        let fault = match self.fault {
            Fault::None => "none 0".into(),
            Fault::Fails(secs) => format!("fails {secs}"),
            Fault::Hangs(secs) => format!("hangs {secs}"),
        };
        [program, MARK, format!("{} {fault}\n", self.version).as_bytes()].concat()
    }

    /// What the line at the end of `artifact` says.
    #[must_use]
    pub fn of(artifact: &[u8]) -> Option<Self> {
        let at = artifact.windows(MARK.len()).rposition(|window| window == MARK)?;
        let line = std::str::from_utf8(artifact.get(at + MARK.len()..)?).ok()?;
        let mut words = line.split_whitespace();
        let (version, fault, secs) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let fault = match fault {
            "none" => Fault::None,
            "fails" => Fault::Fails(secs),
            "hangs" => Fault::Hangs(secs),
            _ => return None,
        };
        Some(Self { version: version.into(), fault })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for fault in [Fault::None, Fault::Fails(8), Fault::Hangs(9)] {
            let nature = Nature { version: "2.0.0".into(), fault };
            assert_eq!(Nature::of(&nature.artifact(b"program\n#service old fails 1\n")), Some(nature));
        }
        assert_eq!(Nature::of(b"program"), None);
    }
}
