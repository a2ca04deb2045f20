//! `fw_env.config`: where U-Boot's environment lies, as `fw_setenv` is told.
//!
//! ```text
//! # device         offset   size
//! /dev/mmcblk0     0x2000   0x4000
//! /dev/mmcblk0     0x8000   0x4000
//! ```
//!
//! Here: reading it by the tools' own rules: the offset by its prefix, the size in hexadecimal with or without one. Not
//! here: the environment (`environment`).

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The longest configuration that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// Where the two copies lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwEnv {
    /// Device or file, and the offset in it in bytes.
    pub places: [(PathBuf, u64); 2],
    /// Bytes of one copy.
    pub size: usize,
}

/// A `fw_env.config` that can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FwEnvError {
    /// It can't be read.
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line isn't device, offset and size.
    Line {
        /// Which, from 1 on.
        line: usize,
        /// What it says.
        text: String,
    },
    /// It doesn't name two copies.
    Copies {
        /// How many it names.
        named: usize,
    },
    /// Its copies differ in size or lie over one another.
    Overlap,
    /// A device that has to be erased before it is written.
    Flash {
        /// Which.
        device: PathBuf,
    },
}

impl FwEnvError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } => {
                Some("name the board's fw_env.config; it says where U-Boot keeps its environment")
            }
            Self::Line { .. } => Some("write: DEVICE OFFSET SIZE, as in `/dev/mmcblk0 0x2000 0x4000`"),
            Self::Copies { .. } => {
                Some("have U-Boot built with a redundant environment, and name both copies, a line each")
            }
            Self::Overlap => Some("give both copies one size and places of their own"),
            Self::Flash { .. } => {
                Some("keep the environment on a block device, or switch by RAUC or a program of your own")
            }
        }
    }
}

impl fmt::Display for FwEnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::Line { line, text } => write!(f, "line {line} of fw_env.config is not understood: {text}"),
            Self::Copies { named } => write!(f, "fw_env.config has to name 2 copies and names {named}"),
            Self::Overlap => f.write_str("the copies in fw_env.config differ in size or overlap"),
            Self::Flash { device } => {
                write!(f, "{} is a flash that has to be erased before it is written", device.display())
            }
        }
    }
}

impl std::error::Error for FwEnvError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Line { .. } | Self::Copies { .. } | Self::Overlap | Self::Flash { .. } => None,
        }
    }
}

impl FwEnv {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read or used.
    pub fn read(path: &Path) -> Result<Self, FwEnvError> {
        let failed = |source| FwEnvError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = fs::File::open(path).map_err(failed)?;
        io::Read::read_to_string(&mut io::Read::take(file, BYTES_MAX), &mut text).map_err(failed)?;
        Self::parse(&text)
    }

    /// Reads what a file says.
    ///
    /// # Errors
    /// It can't be used.
    pub fn parse(text: &str) -> Result<Self, FwEnvError> {
        let mut copies = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let words = text.split('#').next().unwrap_or_default();
            if words.trim().is_empty() {
                continue;
            }
            let copy =
                parse_line(words).ok_or_else(|| FwEnvError::Line { line, text: text.trim().to_owned() })?;
            let device = copy.0.to_string_lossy();
            // A device of flash, and a volume on one: neither is written in place.
            if ["/dev/mtd", "/dev/ubi"].iter().any(|kind| device.starts_with(kind))
                && !device.starts_with("/dev/mtdblock")
            {
                return Err(FwEnvError::Flash { device: copy.0 });
            }
            copies.push(copy);
        }
        let named = copies.len();
        let [first, second] = <[_; 2]>::try_from(copies).map_err(|_| FwEnvError::Copies { named })?;
        let apart = first.0 != second.0 || first.1.abs_diff(second.1) >= first.2;
        match (first.2 == second.2 && apart, usize::try_from(first.2)) {
            (true, Ok(size)) => Ok(Self { places: [(first.0, first.1), (second.0, second.1)], size }),
            (false, _) | (true, Err(_)) => Err(FwEnvError::Overlap),
        }
    }
}

/// Device, offset, size. Sector sizes behind them are for flash.
fn parse_line(words: &str) -> Option<(PathBuf, u64, u64)> {
    let mut words = words.split_ascii_whitespace();
    let (device, offset, size) = (words.next()?, words.next()?, words.next()?);
    let hexadecimal = |text: &str| text.strip_prefix("0x").or(text.strip_prefix("0X")).map(str::to_owned);
    let offset = match hexadecimal(offset) {
        Some(digits) => u64::from_str_radix(&digits, 16).ok()?,
        None if offset.len() > 1 && offset.starts_with('0') => u64::from_str_radix(offset, 8).ok()?,
        None => offset.parse().ok()?,
    };
    let size = u64::from_str_radix(&hexadecimal(size).unwrap_or_else(|| size.to_owned()), 16).ok()?;
    Some((PathBuf::from(device), offset, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_the_tools_read_it() {
        let config = "# the board's\n\n/dev/vda 0x2000 0x4000 # first\n/dev/vda 32768 4000 0x200\n";
        let places = [("/dev/vda".into(), 0x2000), ("/dev/vda".into(), 0x8000)];
        assert_eq!(FwEnv::parse(config).unwrap(), FwEnv { places, size: 0x4000 });
        assert_eq!(FwEnv::parse("/a 010 100\n/b 0 0x100").unwrap().places[0].1, 8);
    }

    #[test]
    fn what_is_no_pair_of_places_is_refused_with_a_word_on_what_to_do() {
        let said = |text| {
            let error = FwEnv::parse(text).unwrap_err();
            assert!(error.help().is_some());
            error.to_string()
        };
        assert_eq!(said("/dev/vda 0x2000 0x4000"), "fw_env.config has to name 2 copies and names 1");
        assert_eq!(said("/a 0 100\n\n/b zero 100"), "line 3 of fw_env.config is not understood: /b zero 100");
        assert_eq!(said("/a -100 100\n/a 0 100"), "line 1 of fw_env.config is not understood: /a -100 100");
        assert_eq!(said("/a 0 100"), "fw_env.config has to name 2 copies and names 1");
        let overlap = "the copies in fw_env.config differ in size or overlap";
        assert_eq!(said("/a 0 100\n/a 0xff 100"), overlap);
        assert_eq!(said("/a 0 100\n/b 0 200"), overlap);
        assert!(said("/dev/mtd0 0 100\n/dev/mtd1 0 100").contains("erased"));
        assert!(FwEnv::read(Path::new("/nowhere/fw_env.config")).unwrap_err().help().is_some());
    }
}
