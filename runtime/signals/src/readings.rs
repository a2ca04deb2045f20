//! What an executor saw in a look, as it attached it: lines of `name=value`.
//!
//! A text is taken as a whole or not at all, and what is known by name is checked while it is read: whoever asks for a
//! reading later gets what was seen, or knows that it was not. Names that nobody knows here are kept.
//!
//! Not here: what a reading leads to (`core`), and when an executor is asked. A text that was cut off at the end of a line
//! can't be told from a whole one: whoever fetched it has to know that it came whole.

use std::{collections::BTreeMap, fmt};

use backstay_model::{Digest, Infra, InfraKind, Permille, Version};

use crate::{Finite, alert};

/// The longest text, in bytes.
const BYTES_MAX: usize = 4096;
/// The most lines of one, blank ones among them.
const LINES_MAX: usize = 64;
/// The longest name, and the longest value, in bytes.
const WORD_BYTES_MAX: usize = 64;

/// Before the names of counts of trouble with machines. What follows is what an alert's label says.
const INFRA: &str = "infra.";
/// How unusual the newest window was, from 0 to 1.
const ANOMALY: &str = "anomaly";
/// How much old code and how much new code runs.
const CODE: [&str; 2] = ["old-code", "new-code"];
/// How far a schema has come, and what it can say.
const SCHEMA: (&str, &[&str]) = ("schema", &["before", "expanded", "in-step", "contracted"]);
/// The switches of a migration, and what they can say.
const SWITCHES: [(&str, &[&str]); 2] = [("dual-write", &["on", "off"]), ("read-new", &["on", "off"])];

/// Which release is out, and how far.
const OUT: &str = "out-version";
const OUT_DIGEST: &str = "out-digest";
const OUT_STAGE: &str = "out-stage";

/// What was seen, by name. Made only by [`readings`], so what is known by name is as it has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    words: BTreeMap<String, String>,
}

/// The release that an executor saw as the newest one out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenOut {
    /// What it is called.
    pub version: Version,
    /// What it is, where that can be seen.
    pub digest: Option<Digest>,
    /// How much of the traffic it has.
    pub stage: Permille,
}

/// A text that isn't taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadingsError {
    /// It is longer than is read.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// Something in it is wrong.
    At {
        /// In which line, from 1.
        line: usize,
        /// What.
        why: String,
    },
}

/// Reads what an executor attached: at most 4096 bytes and 64 lines, each `name=value`. A name is 1 to 64 of `a-z`, `0-9`,
/// `.` and `-`, a value 1 to 64 bytes of ASCII that can be seen. Blank lines are passed over, and no lines at all are no
/// readings.
///
/// # Errors
/// It is too large, holds a name twice or anything that isn't a name with a value, or a name that is known has a value that it
/// can't have; says in which line.
pub fn readings(bytes: &[u8]) -> Result<Readings, ReadingsError> {
    if bytes.len() > BYTES_MAX {
        return Err(ReadingsError::TooLarge { bytes: bytes.len() });
    }
    let mut words = BTreeMap::new();
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    for (at, line) in lines.enumerate() {
        let wrong = |why: String| ReadingsError::At { line: at + 1, why };
        if at >= LINES_MAX {
            return Err(wrong(format!("there are more than {LINES_MAX} lines")));
        }
        let line = std::str::from_utf8(line).map_err(|_| wrong("this is no UTF-8".into()))?;
        if line.bytes().all(|byte| matches!(byte, b' ' | b'\t')) {
            continue;
        }
        let (name, value) = reading(line).map_err(wrong)?;
        if words.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(wrong(format!("{name} is there twice")));
        }
    }
    Ok(Readings { words })
}

impl Readings {
    /// What was seen under that name.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<&str> {
        self.words.get(name).map(String::as_str)
    }

    /// The same as a whole number. None: it was not seen, or is none.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u32> {
        self.word(name).and_then(whole)
    }

    /// Trouble with machines that was seen, each kind with a count above 0.
    #[must_use]
    pub fn infra(&self) -> Vec<Infra> {
        let seen =
            |(name, value): (&String, &String)| Some(Infra { kind: kind(name)?, count: whole(value)? });
        self.words.iter().filter_map(seen).filter(|infra| infra.count > 0).collect()
    }

    /// The same, with what alerts tell. Trouble of one kind is the same trouble: the larger number counts.
    #[must_use]
    pub fn infra_beside(&self, mut told: Vec<Infra>) -> Vec<Infra> {
        for seen in self.infra() {
            match told.iter_mut().find(|known| known.kind == seen.kind) {
                Some(known) => known.count = known.count.max(seen.count),
                None => told.push(seen),
            }
        }
        told
    }

    /// Which release is out, and how far: known only where both can be seen.
    #[must_use]
    pub fn out(&self) -> Option<SeenOut> {
        let version = Version::parse(self.word(OUT)?).ok()?;
        let stage = stage(self.word(OUT_STAGE)?)?;
        Some(SeenOut { version, digest: self.word(OUT_DIGEST).and_then(|digest| digest.parse().ok()), stage })
    }

    /// How unusual the newest window was.
    #[must_use]
    pub fn anomaly(&self) -> Option<Permille> {
        self.word(ANOMALY).and_then(|value| share(value).ok())
    }
}

/// One line, checked.
fn reading(line: &str) -> Result<(&str, &str), String> {
    let Some((name, value)) = line.split_once('=') else {
        return Err(format!("{} is no reading: expected name=value", shown(line)));
    };
    let is_word = |word: &str, allowed: fn(u8) -> bool| {
        (1..=WORD_BYTES_MAX).contains(&word.len()) && word.bytes().all(allowed)
    };
    if !is_word(name, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-')) {
        let expected = format!("expected 1 to {WORD_BYTES_MAX} of a-z, 0-9, . and -");
        return Err(format!("{} is no name: {expected}", shown(name)));
    }
    // What can't be seen has to be seen here: a line that ends in \r is the most likely mistake.
    if !is_word(value, |b| b.is_ascii_graphic()) {
        let expected = format!("expected 1 to {WORD_BYTES_MAX} bytes of ASCII that can be seen");
        return Err(format!("{name} is {}: {expected}", shown(value)));
    }
    known(name, value).map_err(|why| format!("{name} is {value:?}: {why}"))?;
    Ok((name, value))
}

/// Whether a name that is known can have this value.
fn known(name: &str, value: &str) -> Result<(), String> {
    if name == ANOMALY {
        return share(value).map(drop);
    }
    let is_count = CODE.contains(&name) || kind(name).is_some();
    if is_count && whole(value).is_none() {
        return Err(format!("expected a whole number from 0 to {}", u32::MAX));
    }
    let fits = match name {
        OUT => Version::parse(value).map(drop).map_err(|error| error.to_string()),
        OUT_DIGEST => value.parse::<Digest>().map(drop).map_err(|_| "expected 64 of 0-9 and a-f".into()),
        OUT_STAGE => stage(value).map(drop).ok_or_else(|| "expected a whole number from 0 to 1000".into()),
        _ => Ok(()),
    };
    fits?;
    match [SCHEMA].iter().chain(&SWITCHES).find(|(word, _)| *word == name) {
        Some((_, words)) if !words.contains(&value) => Err(format!("expected one of {}", words.join(", "))),
        Some(_) | None => Ok(()),
    }
}

/// The trouble with machines that a name counts.
fn kind(name: &str) -> Option<InfraKind> {
    name.strip_prefix(INFRA).and_then(alert::infra)
}

/// A whole decimal number, in digits and nothing else.
fn whole(value: &str) -> Option<u32> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

/// A share in permille.
fn stage(value: &str) -> Option<Permille> {
    whole(value).and_then(|stage| u16::try_from(stage).ok()).and_then(Permille::new)
}

/// A number from 0 to 1.
fn share(value: &str) -> Result<Permille, String> {
    let number = value.parse::<f64>().ok().and_then(Finite::new);
    number.and_then(|number| number.share().ok()).ok_or_else(|| "expected a number from 0 to 1".into())
}

/// As much of a text as fits a message.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(WORD_BYTES_MAX).collect::<String>())
}

impl ReadingsError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(
            "let the executor attach lines of name=value, schema=expanded, each ended by a line feed: at most 4 KiB and 64 lines",
        )
    }
}

impl fmt::Display for ReadingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(f, "the readings have {bytes} bytes, and at most {BYTES_MAX} are read")
            }
            Self::At { line, why } => write!(f, "line {line}: {why}"),
        }
    }
}

impl std::error::Error for ReadingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an executor of a data base could have seen, with a name that only it knows.
    const SEEN: &str = "schema=in-step\n\nold-code=0\nnew-code=12\ndual-write=on\nread-new=off\ninfra.disk=2\ninfra.network=0\ninfra.process-exited=1\nanomaly=0.25\nlag.seconds=3\npool=blue/7\n";

    fn refused(text: &str) -> String {
        readings(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_was_seen_is_there_by_name() {
        let seen = readings(SEEN.as_bytes()).unwrap();
        assert_eq!((seen.word("schema"), seen.word("dual-write")), (Some("in-step"), Some("on")));
        assert_eq!((seen.count("old-code"), seen.count("new-code")), (Some(0), Some(12)));
        assert_eq!((seen.count("lag.seconds"), seen.word("pool")), (Some(3), Some("blue/7")));
        assert_eq!((seen.count("pool"), seen.count("old"), seen.word("")), (None, None, None));
        assert_eq!(seen.anomaly().map(Permille::get), Some(250));
        // A count of 0 is no trouble.
        let infra = |kind, count| Infra { kind, count };
        assert_eq!(seen.infra(), [infra(InfraKind::Disk, 2), infra(InfraKind::ProcessExited, 1)]);
        let told = vec![infra(InfraKind::ProcessExited, 3), infra(InfraKind::Network, 1)];
        let both =
            [infra(InfraKind::ProcessExited, 3), infra(InfraKind::Network, 1), infra(InfraKind::Disk, 2)];
        assert_eq!(seen.infra_beside(told), both);
    }

    #[test]
    fn who_saw_nothing_says_nothing() {
        for nothing in ["", "\n", "\n\n", " \t\n"] {
            let seen = readings(nothing.as_bytes()).unwrap();
            assert_eq!(seen, Readings::default(), "{nothing:?}");
            assert!(seen.infra().is_empty() && seen.anomaly().is_none());
        }
    }

    #[test]
    fn a_mistake_has_a_line() {
        let name = "expected 1 to 64 of a-z, 0-9, . and -";
        let value = "expected 1 to 64 bytes of ASCII that can be seen";
        for (text, said) in [
            ("a=1\n\nb", "line 3: \"b\" is no reading: expected name=value".to_owned()),
            ("=1", format!("line 1: \"\" is no name: {name}")),
            ("A=1", format!("line 1: \"A\" is no name: {name}")),
            (" a=1", format!("line 1: \" a\" is no name: {name}")),
            ("a_b=1", format!("line 1: \"a_b\" is no name: {name}")),
            ("a=", format!("line 1: a is \"\": {value}")),
            ("a=1 2", format!("line 1: a is \"1 2\": {value}")),
            ("a=\u{e9}", format!("line 1: a is \"\u{e9}\": {value}")),
            ("a=\u{0}", format!("line 1: a is \"\\0\": {value}")),
            ("b=1\r\na=1\r\n", format!("line 1: b is \"1\\r\": {value}")),
            ("\r\n", "line 1: \"\\r\" is no reading: expected name=value".to_owned()),
            ("a=1\nb=1\na=1\n", "line 3: a is there twice".to_owned()),
        ] {
            assert_eq!(refused(text), said, "{text:?}");
        }
        assert_eq!(
            readings(b"a=1\nb=\xff\n").unwrap_err(),
            ReadingsError::At { line: 2, why: "this is no UTF-8".into() }
        );
        assert_eq!(readings(b"a=\xc3").unwrap_err().to_string(), "line 1: this is no UTF-8");
        assert!(readings(b"\xff\xfe").unwrap_err().help().is_some());
    }

    /// A count that is no number must not become a count that was not seen.
    #[test]
    fn what_is_known_by_name_is_never_passed_over() {
        let kinds = ["process-exited", "out-of-memory", "machine-lost", "disk", "network"];
        for name in kinds.map(|kind| format!("infra.{kind}")).into_iter().chain(CODE.map(str::to_owned)) {
            for value in ["many", "-1", "+1", "1.0", "0x1", "4294967296", "99999999999999999999"] {
                let expected = "expected a whole number from 0 to 4294967295";
                assert_eq!(
                    refused(&format!("{name}={value}")),
                    format!("line 1: {name} is {value:?}: {expected}")
                );
            }
            let most = readings(format!("{name}=4294967295").as_bytes()).unwrap();
            assert_eq!(most.count(&name), Some(u32::MAX));
            assert_eq!(most.infra().len(), usize::from(name.starts_with(INFRA)), "{name}");
        }
        for value in ["NaN", "-nan", "inf", "-0.001", "1.001", "1e999", "87", "0,5", "half", "-1"] {
            let said = format!("line 1: anomaly is {value:?}: expected a number from 0 to 1");
            assert_eq!(refused(&format!("anomaly={value}")), said);
        }
        for (value, share) in [("0", 0), ("1", 1000), ("0.1234", 123), ("1e-3", 1)] {
            let seen = readings(format!("anomaly={value}").as_bytes()).unwrap();
            assert_eq!(seen.anomaly().map(Permille::get), Some(share), "{value}");
        }
        assert_eq!(
            refused("schema=after"),
            "line 1: schema is \"after\": expected one of before, expanded, in-step, contracted"
        );
        for switch in ["dual-write", "read-new"] {
            assert_eq!(
                refused(&format!("{switch}=On")),
                format!("line 1: {switch} is \"On\": expected one of on, off")
            );
        }
    }

    #[test]
    fn a_text_is_bounded() {
        let lines = |count: usize| (0..count).map(|n| format!("n{n}=1\n")).collect::<String>();
        assert!(readings(lines(LINES_MAX).as_bytes()).is_ok());
        assert!(readings(lines(LINES_MAX).trim_end().as_bytes()).is_ok());
        assert_eq!(refused(&lines(LINES_MAX + 1)), "line 65: there are more than 64 lines");
        assert_eq!(refused(&"\n".repeat(LINES_MAX + 1)), "line 65: there are more than 64 lines");
        assert_eq!(refused(&"a".repeat(4097)), "the readings have 4097 bytes, and at most 4096 are read");
        assert!(readings(&vec![0xff; 1 << 24]).is_err());

        let longest = "a".repeat(64);
        let seen = readings(format!("{longest}={longest}").as_bytes()).unwrap();
        assert_eq!(seen.word(&longest), Some(longest.as_str()));
        assert!(refused(&format!("{longest}a=1")).ends_with("expected 1 to 64 of a-z, 0-9, . and -"));
        assert!(
            refused(&format!("a={longest}=")).ends_with("expected 1 to 64 bytes of ASCII that can be seen")
        );
        // However long a line is, what is told of it is short.
        for text in
            ["a".repeat(4096), format!("{}=1", "A".repeat(4000)), format!("a={}", "\u{1}".repeat(4000))]
        {
            assert!(refused(&text).len() < 1000, "{}", refused(&text));
        }
    }

    /// Wherever a good text is cut off: it is refused, or what is left of it are its own words, up to the last one.
    #[test]
    fn no_beginning_of_a_text_says_something_new() {
        let whole = readings(SEEN.as_bytes()).unwrap();
        for length in 0..SEEN.len() {
            let Ok(seen) = readings(&SEEN.as_bytes()[..length]) else { continue };
            let cut = seen.words.iter().filter(|(name, value)| whole.word(name) != Some(value.as_str()));
            let cut: Vec<_> = cut.collect();
            assert!(cut.len() <= 1, "{length}: {cut:?}");
            assert!(
                cut.iter().all(|(name, value)| whole.word(name).unwrap().starts_with(value.as_str())),
                "{length}: {cut:?}"
            );
        }
    }

    /// Whatever byte of a good text becomes another: it is read or refused.
    #[test]
    fn no_byte_makes_it_panic() {
        let mut refused = 0;
        for at in 0..SEEN.len() {
            for byte in 0..=u8::MAX {
                let mut text = SEEN.as_bytes().to_vec();
                text[at] = byte;
                if let Ok(seen) = readings(&text) {
                    assert!(seen.infra().iter().all(|infra| infra.count > 0));
                } else {
                    refused += 1;
                }
            }
        }
        assert!(refused > 10_000, "{refused}");
    }
}
