//! Numbers that a pipeline sends: the document, and what it has to look like.
//!
//! Two forms are read. JSON, one object of names and numbers: `{"error_rate": 0.004}`. And the text format of Prometheus
//! for gauges without labels: `error_rate 0.004`. A document is taken as a whole or not at all, so that a verdict never
//! rests on the half of it that could be read.
//!
//! Not here: how long the numbers are good for, and which objective they are for.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::Finite;

/// The numbers of one document, by name: none twice, each finite.
///
/// As a field of another document it is the JSON object, held to the same rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<MetricName, Finite>);

/// The name of a number in a pipeline's document: 1 to 64 of a-z, 0-9, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName(String);

/// A text that is no such name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricNameError {
    text: String,
}

impl MetricName {
    const BYTES_MAX: usize = 64;

    /// Checks `text` and keeps the proof in the type.
    ///
    /// # Errors
    /// It is empty, too long, or holds another character.
    pub fn parse(text: &str) -> Result<Self, MetricNameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        if (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.into()));
        }
        Err(MetricNameError { text: text.chars().take(Self::BYTES_MAX).collect() })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for MetricName {
    type Err = MetricNameError;
    fn from_str(text: &str) -> Result<Self, MetricNameError> {
        Self::parse(text)
    }
}

impl fmt::Display for MetricNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text } = self;
        write!(f, "{text:?} is no metric: expected 1 to {} of a-z, 0-9, _ and -", MetricName::BYTES_MAX)
    }
}

impl std::error::Error for MetricNameError {}

/// A document that isn't taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricsError {
    /// It is longer than is read.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// Something in it is wrong.
    At {
        /// In which line, from 1.
        line: usize,
        /// At which byte of it, from 1.
        column: usize,
        /// What.
        why: String,
    },
}

impl MetricsError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(r#"send an object of names and numbers, {"error_rate": 0.004}, of at most 64 KiB and 256 names"#)
    }
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                let most = Metrics::BYTES_MAX;
                write!(f, "the metrics have {bytes} bytes, and at most {most} are read")
            }
            Self::At { line, column, why } => write!(f, "line {line}, column {column}: {why}"),
        }
    }
}

impl std::error::Error for MetricsError {}

impl Metrics {
    /// The longest document, in bytes.
    pub const BYTES_MAX: usize = 64 * 1024;
    /// The most numbers in one.
    pub const NAMES_MAX: usize = 256;

    /// Reads a document in either form; which one, its first character says.
    ///
    /// # Errors
    /// It is too large, holds too many names or a name twice, or anything that isn't a name with a finite number; says in
    /// which line and column.
    pub fn read(document: &[u8]) -> Result<Self, MetricsError> {
        if document.len() > Self::BYTES_MAX {
            return Err(MetricsError::TooLarge { bytes: document.len() });
        }
        match document.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => Err(MetricsError::At { line: 1, column: 1, why: "there is nothing in it".into() }),
            Some(b'{' | b'[' | b'"') => json(document),
            Some(_) => exposition(document),
        }
    }

    /// What was measured under a name. Nothing means that nothing is known, which is never good.
    #[must_use]
    pub fn get(&self, name: &MetricName) -> Option<Finite> {
        self.0.get(name).copied()
    }

    fn add(&mut self, name: MetricName, number: f64) -> Result<(), String> {
        let number = Finite::new(number).ok_or_else(|| format!("{name} is {number}, not a finite number"))?;
        if self.0.contains_key(&name) {
            return Err(format!("{name} is there twice"));
        }
        if self.0.len() >= Self::NAMES_MAX {
            return Err(format!("there are more than {} names", Self::NAMES_MAX));
        }
        self.0.insert(name, number);
        Ok(())
    }
}

impl IntoIterator for Metrics {
    type Item = (MetricName, Finite);
    type IntoIter = std::collections::btree_map::IntoIter<MetricName, Finite>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, number)| (name.as_str(), number.get())))
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Document)
    }
}

fn json(bytes: &[u8]) -> Result<Metrics, MetricsError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Metrics::deserialize(&mut reader).and_then(|metrics| reader.end().map(|()| metrics));
    read.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // serde_json says the place in its message too.
        let why = error.to_string();
        let why = why.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&why).into();
        MetricsError::At { line: line.max(1), column: column.max(1), why }
    })
}

/// The object, checked while it is read, so that each mistake has a place.
struct Document;

impl<'de> Visitor<'de> for Document {
    type Value = Metrics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
        let mut metrics = Metrics::default();
        while let Some(name) = map.next_key::<String>()? {
            let name = MetricName::parse(&name).map_err(A::Error::custom)?;
            let number = map.next_value::<Number>()?.0;
            metrics.add(name, number).map_err(A::Error::custom)?;
        }
        Ok(metrics)
    }
}

/// A number of JSON, whole or not.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(Self(0.0))
    }
}

impl Visitor<'_> for Number {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finite number")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self, E> {
        Ok(Self(number))
    }

    // A measurement has fewer digits than would be lost here.
    fn visit_u64<E>(self, number: u64) -> Result<Self, E> {
        Ok(Self(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self, E> {
        Ok(Self(number as f64))
    }
}

/// The lines that have no labels, of
/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.
fn exposition(bytes: &[u8]) -> Result<Metrics, MetricsError> {
    let mut metrics = Metrics::default();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let wrong = |column: usize, why: String| MetricsError::At { line: at + 1, column, why };
        let line = std::str::from_utf8(line)
            .map_err(|error| wrong(error.valid_up_to() + 1, "this is no UTF-8".into()))?;
        let sample = line.trim();
        if sample.is_empty() || sample.starts_with('#') {
            continue;
        }
        let column = |part: &str| line.len() - line.trim_start().len() + 1 + offset(sample, part);
        let mut parts = sample.split_ascii_whitespace();
        let name = parts.next().unwrap_or_default();
        if name.contains('{') {
            return Err(wrong(
                column(name),
                "labels are not read here: give each number a name of its own".into(),
            ));
        }
        let parsed = MetricName::parse(name).map_err(|error| wrong(column(name), error.to_string()))?;
        let Some(number) = parts.next() else {
            return Err(wrong(line.len() + 1, format!("{name} has no number")));
        };
        let value =
            number.parse::<f64>().map_err(|_| wrong(column(number), format!("{number:?} is no number")))?;
        metrics.add(parsed, value).map_err(|why| wrong(column(number), why))?;
        // A time may follow, in milliseconds. The document is of now, whatever it says.
        if let Some(time) = parts.next()
            && time.parse::<i64>().is_err()
        {
            return Err(wrong(column(time), format!("{time:?} is no time in milliseconds")));
        }
        if let Some(more) = parts.next() {
            return Err(wrong(column(more), "a line has a name, a number, and perhaps a time".into()));
        }
    }
    Ok(metrics)
}

/// Where `part`, which is a piece of `whole`, begins in it.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(whole.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(metrics: &Metrics, name: &str) -> Option<f64> {
        metrics.get(&MetricName::parse(name).unwrap()).map(Finite::get)
    }

    fn refused(document: &str) -> String {
        Metrics::read(document.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn both_forms_say_the_same() {
        let json = Metrics::read(b"{\"error_rate\": 0.004,\n \"p99-ms\": 312, \"drift\": -1e-3}").unwrap();
        let text = Metrics::read(
            b"# HELP error_rate of the canary\n# TYPE error_rate gauge\n\nerror_rate 0.004\n p99-ms 312 1700000000000\ndrift -1e-3",
        );
        assert_eq!(Ok(json.clone()), text);
        assert_eq!(
            (get(&json, "error_rate"), get(&json, "p99-ms"), json.into_iter().count()),
            (Some(0.004), Some(312.0), 3)
        );
        assert_eq!(Metrics::read(b"{}"), Ok(Metrics::default()));
    }

    #[test]
    fn a_mistake_in_json_has_a_place() {
        for (document, said) in [
            ("", "line 1, column 1: there is nothing in it"),
            ("{\n \"a\": 1,\n \"a\": 2}", "line 3, column 8: a is there twice"),
            (
                "{\"a\": \"+Inf\"}",
                "line 1, column 12: invalid type: string \"+Inf\", expected a finite number",
            ),
            ("{\"a\": \"0.1\"}", "line 1, column 11: invalid type: string \"0.1\", expected a finite number"),
            ("{\"a\": null}", "line 1, column 10: invalid type: null, expected a finite number"),
            ("{\"a\": 1e999}", "line 1, column 11: number out of range"),
            ("{\"a\": NaN}", "line 1, column 7: expected value"),
            ("{\"a\": 1", "line 1, column 7: EOF while parsing an object"),
            ("{\"a\": 1} x", "line 1, column 10: trailing characters"),
            ("[1]", "line 1, column 1: invalid type: sequence, expected an object of names and numbers"),
            (
                "{\"Error\": 1}",
                "line 1, column 8: \"Error\" is no metric: expected 1 to 64 of a-z, 0-9, _ and -",
            ),
        ] {
            assert_eq!(refused(document), said, "{document}");
        }
    }

    #[test]
    fn a_mistake_in_text_has_a_place() {
        for (document, said) in [
            ("a 1\n a 2", "line 2, column 4: a is there twice"),
            ("a +Inf", "line 1, column 3: a is inf, not a finite number"),
            ("a NaN", "line 1, column 3: a is NaN, not a finite number"),
            ("a 1e999", "line 1, column 3: a is inf, not a finite number"),
            ("a", "line 1, column 2: a has no number"),
            ("a one", "line 1, column 3: \"one\" is no number"),
            ("a 1 now", "line 1, column 5: \"now\" is no time in milliseconds"),
            ("a 1 1 1", "line 1, column 7: a line has a name, a number, and perhaps a time"),
            (
                "a{b=\"c\"} 1",
                "line 1, column 1: labels are not read here: give each number a name of its own",
            ),
            ("go:gc 1", "line 1, column 1: \"go:gc\" is no metric: expected 1 to 64 of a-z, 0-9, _ and -"),
        ] {
            assert_eq!(refused(document), said, "{document}");
        }
        let error = Metrics::read(b"a 1\nb \xff").unwrap_err().to_string();
        assert_eq!(error, "line 2, column 3: this is no UTF-8");
    }

    #[test]
    fn a_document_is_bounded() {
        let lines = |count: usize| (0..count).map(|n| format!("m{n} 1\n")).collect::<String>();
        assert_eq!(
            Metrics::read(lines(Metrics::NAMES_MAX).as_bytes()).map(|metrics| metrics.into_iter().count()),
            Ok(Metrics::NAMES_MAX)
        );
        assert_eq!(
            refused(&lines(Metrics::NAMES_MAX + 1)),
            "line 257, column 6: there are more than 256 names"
        );
        assert_eq!(
            refused(&" ".repeat(Metrics::BYTES_MAX + 1)),
            "the metrics have 65537 bytes, and at most 65536 are read"
        );
        let deep = format!("{{\"a\":{}", "[".repeat(Metrics::BYTES_MAX - 10));
        assert!(refused(&deep).starts_with("line 1, "));
    }

    #[test]
    fn half_a_document_is_none() {
        let whole = b"{\"error_rate\": 0.004, \"p99\": 312}";
        for length in 0..whole.len() {
            assert!(Metrics::read(&whole[..length]).is_err(), "{length}");
        }
    }
}
