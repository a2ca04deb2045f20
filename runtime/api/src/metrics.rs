//! What a pipeline measured itself: a JSON object of names and numbers.
//!
//! Here: its form and its bounds. Not here: what a number means (the target's objectives say).

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor},
};

/// Names with their numbers, none twice, each finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Metrics(BTreeMap<String, f64>);

/// Metrics that can't be taken.
#[derive(Debug)]
pub enum MetricsError {
    /// The document is larger than [`Metrics::BYTES_MAX`].
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// It isn't an object of names and finite numbers. The cause says where, by line and column.
    Malformed(serde_json::Error),
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                let max = Metrics::BYTES_MAX;
                write!(f, "metrics of {bytes} bytes are larger than the {max} that are allowed")
            }
            Self::Malformed(_) => f.write_str("the metrics can't be read"),
        }
    }
}

impl std::error::Error for MetricsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Malformed(why) => Some(why),
        }
    }
}

impl MetricsError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => Some("send the numbers that objectives are about, and no others"),
            Self::Malformed(_) => Some(
                "it has to look like {\"error_rate\": 0.002, \"p99_seconds\": 0.31}: each name once, each number finite; \
                 leave out what could not be measured",
            ),
        }
    }
}

impl Metrics {
    /// The largest document, in bytes.
    pub const BYTES_MAX: usize = 64 * 1024;
    /// The most names.
    pub const NAMES_MAX: usize = 256;
    /// The longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 64;

    /// Reads a document.
    ///
    /// # Errors
    /// If it is too large, or isn't an object of names and finite numbers.
    pub fn read(document: &[u8]) -> Result<Self, MetricsError> {
        if document.len() > Self::BYTES_MAX {
            return Err(MetricsError::TooLarge { bytes: document.len() });
        }
        serde_json::from_slice(document).map_err(MetricsError::Malformed)
    }

    /// What was measured under a name. Nothing means that nothing is known, which is never good.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, number)| (name.as_str(), *number))
    }
}

/// As objectives name them: `http_5xx_ratio`. Another name would be one that no target can be judged by.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=Metrics::NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Metrics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if !is_name(&name) {
                return Err(de::Error::custom(format!(
                    "{name:?} is no name of a metric: expected 1 to {} of a-z, 0-9, _ and -",
                    Metrics::NAME_BYTES_MAX
                )));
            }
            if all.len() >= Metrics::NAMES_MAX {
                let most = Metrics::NAMES_MAX;
                return Err(de::Error::custom(format!(
                    "there are more than the {most} names that are allowed"
                )));
            }
            let Number(number) = map.next_value()?;
            if all.insert(name.clone(), number).is_some() {
                return Err(de::Error::custom(format!("{name:?} is there twice")));
            }
        }
        Ok(Metrics(all))
    }
}

/// A number and nothing that only looks like one.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Finite;
        impl Visitor<'_> for Finite {
            type Value = f64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number")
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "a metric of more than 53 bits is rounded, as everywhere"
            )]
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "a metric of more than 53 bits is rounded, as everywhere"
            )]
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<f64, E> {
                if number.is_finite() {
                    Ok(number)
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(number), &self))
                }
            }
        }
        from.deserialize_any(Finite).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn why(document: &str) -> String {
        let error = Metrics::read(document.as_bytes()).unwrap_err();
        error.source().map_or_else(|| error.to_string(), ToString::to_string)
    }

    #[test]
    fn names_and_numbers_are_taken() {
        let metrics = Metrics::read(br#"{"error_rate": 0.002, "requests": 1800, "drift": -3}"#).unwrap();
        let all: Vec<_> = metrics.iter().collect();
        assert_eq!(all, [("drift", -3.0), ("error_rate", 0.002), ("requests", 1800.0)]);
        assert_eq!(metrics.get("p99"), None, "what wasn't measured is not zero");
        assert_eq!(Metrics::read(b"{}").unwrap(), Metrics::default());
    }

    #[test]
    fn what_is_no_number_is_told_by_line_and_column() {
        let cases = [
            ("{\n\"a\": NaN}", "expected value at line 2 column 6"),
            ("{\n\"a\": 1,\n\"a\": 2}", "\"a\" is there twice at line 3 column 7"),
            ("{\"a\": \"1\"}", "invalid type: string \"1\", expected a finite number at line 1 column 9"),
            ("{\"a\": null}", "invalid type: null, expected a finite number at line 1 column 10"),
            ("{\"a\": 1e999}", "number out of range at line 1 column 11"),
            ("{\"a\": {}}", "invalid type: map, expected a finite number at line 1 column 8"),
            ("[1]", "invalid type: sequence, expected an object of names and numbers at line 1 column 0"),
            ("{\"a\": 1", "EOF while parsing an object at line 1 column 7"),
            ("{\"a\": 1} {}", "trailing characters at line 1 column 10"),
        ];
        for (document, expected) in cases {
            assert_eq!(why(document), expected, "{document}");
        }
        for name in ["a b", "Error", "p99.seconds"] {
            assert!(why(&format!("{{\"{name}\": 1}}")).contains("is no name of a metric"), "{name}");
        }
        assert!(why("{\"\": 1}").contains("is no name of a metric"));
    }

    #[test]
    fn metrics_are_bounded() {
        let object = |names: usize| {
            let all: Vec<_> = (0..names).map(|n| format!("\"m{n}\": {n}")).collect();
            format!("{{{}}}", all.join(","))
        };
        assert_eq!(Metrics::read(object(256).as_bytes()).unwrap().iter().count(), 256);
        assert!(why(&object(257)).contains("more than the 256 names"));
        let padded = format!("{{{}}}", " ".repeat(Metrics::BYTES_MAX));
        assert!(why(&padded).contains("larger than the 65536"), "{}", why(&padded));
        assert!(Metrics::read("[".repeat(60_000).as_bytes()).is_err(), "deep, and no stack overflows");
    }
}
