//! Spans of time as people write them: `500ms`, `30s`, `10m`, `24h`, `7d`.

use std::time::Duration;

use backstay_model::Millis;
use serde::{Deserialize, Deserializer, de};

/// A span of time in a configuration, from 1 ms up to 366 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Millis);

const LONGEST: u64 = 366 * 24 * 3600 * 1000;

impl Span {
    /// `ms` milliseconds, for defaults.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(Millis(ms))
    }

    /// `secs` seconds, for defaults.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Millis::from_secs(secs))
    }

    /// In the words of the core.
    #[must_use]
    pub const fn millis(self) -> Millis {
        self.0
    }

    /// In the words of the standard library.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0.0)
    }

    /// Reads a number with a unit.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a span like \"500ms\", \"30s\", \"10m\", \"24h\" or \"7d\", found {text:?}");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim_start() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(expected()),
        };
        let ms =
            number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(expected)?;
        if !(1..=LONGEST).contains(&ms) {
            return Err(format!("expected a span from 1ms to 366d, found {text:?}"));
        }
        Ok(Self(Millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A span of time, from 1ms to 366d: a number with ms, s, m, h or d.",
            "pattern": "^[0-9]+ *(ms|s|m|h|d)$",
            "examples": ["500ms", "30s", "10m", "24h", "7d"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units() {
        for (text, ms) in
            [("500ms", 500), ("30s", 30_000), ("10 m", 600_000), ("24h", 86_400_000), ("1d", 86_400_000)]
        {
            assert_eq!(Span::parse(text), Ok(Span(Millis(ms))), "{text}");
        }
        for text in ["", "30", "s", "0s", "-1s", "1y", "99999999999999999999s", "367d", "1.5s"] {
            assert!(Span::parse(text).unwrap_err().starts_with("expected a span"), "{text}");
        }
    }
}
