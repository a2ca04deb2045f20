//! Amounts of memory as Kubernetes writes them: `128Mi`, `1.5G`, `134217728`, `129e6`.
//!
//! Read exactly, in billionths of a byte, because a limit that was read in floating point is written back as another one. Not here:
//! CPU (nothing raises it), and what an amount is for.

use alloc::{format, string::String};

/// The smallest part that a suffix can name, `n`, is so small.
const PARTS_PER_BYTE: u128 = 1_000_000_000;
/// The most digits that are read; the exponents on top of them are bounded, so that nothing is ever too large to be counted.
const DIGITS_MAX: usize = 20;
/// Larger than any memory, and small enough to be multiplied.
const BYTES_MAX: u128 = u64::MAX as u128;
/// One MiB.
const MIB: u64 = 1024 * 1024;

/// An amount of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(u64);

impl Memory {
    /// Reads an amount. A part of a byte counts as a whole one, as it does on the API server. `None`: it is none, negative, or
    /// beyond what a machine could have.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let end = text.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(text.len());
        let (number, suffix) = text.split_at_checked(end)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.len() + part.len();
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if digits == 0 || digits > DIGITS_MAX || !all_digits(part) {
            return None;
        }
        let value: u128 = format!("{whole}{part}").parse().ok()?;
        let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
        let parts = value.checked_mul(parts_of(suffix)?)?;
        let bytes = parts.div_ceil(scale).div_ceil(PARTS_PER_BYTE);
        u64::try_from(bytes).ok().map(Self)
    }

    /// One step more: so many permille of it, and up to the next whole MiB from one MiB on. Never less than it was.
    #[must_use]
    pub fn times_permille(self, permille: u32) -> Self {
        let bytes = (u128::from(self.0) * u128::from(permille)).div_ceil(1000).min(BYTES_MAX);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).max(self.0);
        Self(if bytes < MIB { bytes } else { bytes.checked_next_multiple_of(MIB).unwrap_or(bytes) })
    }

    /// As Kubernetes writes it, with the largest suffix that leaves it whole.
    #[must_use]
    pub fn written(self) -> String {
        let suffixes = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
        match suffixes.into_iter().find(|(_, bits)| self.0 > 0 && self.0.trailing_zeros() >= *bits) {
            Some((suffix, bits)) => format!("{}{suffix}", self.0 >> bits),
            None => format!("{}", self.0),
        }
    }
}

/// How many billionths of a byte a suffix stands for.
fn parts_of(suffix: &str) -> Option<u128> {
    let power = |base: u128, exponent: u32| base.checked_pow(exponent)?.checked_mul(PARTS_PER_BYTE);
    match suffix {
        "" => Some(PARTS_PER_BYTE),
        "n" => Some(1),
        "u" => Some(1000),
        "m" => Some(1_000_000),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?;
            let (down, digits) = match exponent.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
            };
            let sane = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            let exponent: u32 = sane.then(|| digits.parse().ok())??;
            if down { 10_u128.checked_pow(9_u32.checked_sub(exponent)?) } else { power(10, exponent) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<u64> {
        Memory::parse(text).map(|memory| memory.0)
    }

    #[test]
    fn amounts_are_read_exactly() {
        for (text, expected) in [
            ("0", 0),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129E+6", 129_000_000),
            ("1290000e-2", 12_900),
            ("129M", 129_000_000),
            ("123Mi", 128_974_848),
            ("128974848000m", 128_974_848),
            ("1.5Gi", 1_610_612_736),
            ("0.1Gi", 107_374_183),
            (".5Ki", 512),
            ("5.", 5),
            ("+1k", 1000),
            ("1m", 1),
            ("1n", 1),
            ("1000000000n", 1),
            ("1000001u", 2),
            ("2Ti", 2 << 40),
            ("8Ei", 8 << 60),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in [
            "",
            ".",
            "Mi",
            "-1",
            "- 1",
            "1 Mi",
            "1mi",
            "1KI",
            "1Kib",
            "1.2.3",
            "1e",
            "1e+",
            "1e100",
            "1e-99",
            "1Mi ",
            "16Ei",
            "1e20",
            "ä",
            "0x10",
            "1_000",
            "123456789012345678901",
        ] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_step_more_is_a_round_amount_and_never_less() {
        for (text, permille, expected) in [
            ("128Mi", 1500, "192Mi"),
            ("100M", 1500, "144Mi"),
            ("1Gi", 1500, "1536Mi"),
            ("1000", 1500, "1500"),
            ("1Ki", 2000, "2Ki"),
            ("333Mi", 1001, "334Mi"),
            ("64Mi", 1000, "64Mi"),
            ("8Ei", 4000, "18446744073709551615"),
        ] {
            let memory = Memory::parse(text).unwrap();
            let more = memory.times_permille(permille);
            assert_eq!(more.written(), expected, "{text}");
            assert!(more >= memory);
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for bytes in [0, 1, 1023, 1024, 1025, MIB, MIB + 1, 3 << 30, 5 << 40, u64::MAX] {
            let memory = Memory(bytes);
            assert_eq!(Memory::parse(&memory.written()), Some(memory));
        }
    }
}
