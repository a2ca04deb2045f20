//! Numbers and spans that can't be outside their bounds.
//!
//! Here: what a single key may hold. Not here: rules across keys.

use std::borrow::Cow;

use backstay_config::Span;
use backstay_model::Millis;
use backstay_signals::Finite;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A span from `MIN` to `MAX` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIn<const MIN: u64, const MAX: u64>(Millis);

impl<const MIN: u64, const MAX: u64> SpanIn<MIN, MAX> {
    /// `ms` milliseconds, for defaults: what is outside is moved to the nearest bound.
    pub(crate) const fn usual(ms: u64) -> Self {
        let ms = if ms < MIN { MIN } else { ms };
        Self(Millis(if ms > MAX { MAX } else { ms }))
    }

    /// The span.
    #[must_use]
    pub const fn millis(self) -> Millis {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for SpanIn<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let span = Span::deserialize(from)?.millis();
        if (MIN..=MAX).contains(&span.0) {
            return Ok(Self(span));
        }
        Err(de::Error::custom(format!(
            "expected a span from {} to {}, found {}",
            written(MIN),
            written(MAX),
            written(span.0)
        )))
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for SpanIn<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("SpanFrom{}To{}", written(MIN), written(MAX)).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+ *(ms|s|m|h|d)$",
            "$comment": format!("from {} to {}", written(MIN), written(MAX)),
        })
    }
}

/// A span as a person would write it in a configuration: `90s`, `2h`.
pub(crate) fn written(ms: u64) -> String {
    // One day is told as 24h: that is how bounds of a day are written.
    for (unit, length, least) in [("d", 86_400_000, 2), ("h", 3_600_000, 1), ("m", 60_000, 1), ("s", 1000, 1)]
    {
        if ms >= length * least && ms.is_multiple_of(length) {
            return format!("{}{unit}", ms / length);
        }
    }
    format!("{ms}ms")
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberIn<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> NumberIn<MIN, MAX> {
    /// For defaults: what is outside is moved to the nearest bound.
    pub(crate) const fn usual(number: u32) -> Self {
        let number = if number < MIN { MIN } else { number };
        Self(if number > MAX { MAX } else { number })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for NumberIn<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(from)?;
        u32::try_from(number)
            .ok()
            .filter(|number| (MIN..=MAX).contains(number))
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("expected {MIN} to {MAX}, found {number}")))
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for NumberIn<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NumberFrom{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A [`Finite`], as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FiniteNumber(pub(crate) Finite);

impl<'de> Deserialize<'de> for FiniteNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(from)?;
        Finite::new(number)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("expected a finite number, found {number}")))
    }
}

impl JsonSchema for FiniteNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Finite".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_they_are_written() {
        for (ms, text) in [
            (5_000, "5s"),
            (90_000, "90s"),
            (3_600_000, "1h"),
            (86_400_000, "24h"),
            (172_800_000, "2d"),
            (1_500, "1500ms"),
        ] {
            assert_eq!(written(ms), text);
            assert_eq!(Span::parse(text).unwrap().millis(), Millis(ms));
        }
    }
}
