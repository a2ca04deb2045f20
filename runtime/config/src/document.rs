//! One TOML file: its text, what it says as a type, and where in it a key stands.

use std::{
    error::Error,
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// The largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration file as text, with its name for messages.
#[derive(Clone, Debug)]
pub struct Document {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A configuration file that can't be read.
#[derive(Debug)]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which file.
    pub file: PathBuf,
    /// Which line, from 1; `None` where it is about the whole file.
    pub line: Option<usize>,
    /// Which key: `trial.limit`, `probe[1].url`.
    pub key: String,
    /// What is wrong, and what was expected.
    pub why: String,
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Document {
    /// Reads a file of at most 1 MiB.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError { path: path.into(), source };
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > FILE_BYTES_MAX {
            return Err(failed(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "a configuration has at most 1 MiB",
            )));
        }
        Ok(Self { path: path.into(), text: fs::read_to_string(path).map_err(failed)? })
    }

    /// A document that isn't in a file.
    #[must_use]
    pub fn new(path: &Path, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// What it says, as a `T`.
    ///
    /// # Errors
    /// The first place where it says something else.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        toml::from_str(&self.text).map_err(|error| self.located(&error))
    }

    /// What the parser found, with its place.
    pub(crate) fn located(&self, error: &toml::de::Error) -> Problem {
        Problem {
            file: self.path.clone(),
            line: error.span().map(|span| self.line_of(span.start)),
            key: error.span().and_then(|span| self.key_at(&span)).unwrap_or_default(),
            why: error.message().into(),
        }
    }

    /// Which file it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key that stands at `span`, or whose value does: of all that begin there or before, the last one. None: it is
    /// about the whole file, or the file is no TOML.
    fn key_at(&self, span: &Range<usize>) -> Option<String> {
        // The outermost table has no place of its own.
        if span.is_empty() {
            return None;
        }
        let before = self.begins()?.into_iter().filter(|(start, _)| *start <= span.start);
        before.max().map(|(_, key)| key)
    }

    /// Where each key and each value begins; keys before what is below them. None: it is no TOML.
    fn begins(&self) -> Option<Vec<(usize, String)>> {
        let table = DeTable::parse(&self.text).ok()?;
        let mut begin = Vec::new();
        begins("", &DeValue::Table(table.into_inner()), &mut begin);
        Some(begin)
    }

    /// Something that is wrong with `key`, with the line on which it stands, or its nearest parent does.
    #[must_use]
    pub fn problem(&self, key: &str, why: impl Into<String>) -> Problem {
        Problem { file: self.path.clone(), line: self.find(key), key: key.into(), why: why.into() }
    }

    fn line_of(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }

    /// The line of `key`, or of its nearest parent that is there.
    fn find(&self, key: &str) -> Option<usize> {
        let (begins, mut key) = (self.begins()?, key);
        loop {
            if let Some((start, _)) = begins.iter().find(|(_, at)| at == key) {
                return Some(self.line_of(*start));
            }
            (key, _) = key.rsplit_once(['.', '['])?;
        }
    }
}

/// Where each key below `key`, and its value, begins.
fn begins(key: &str, value: &DeValue<'_>, begin: &mut Vec<(usize, String)>) {
    match value {
        DeValue::Table(table) => {
            for (name, value) in table {
                let dot = if key.is_empty() { "" } else { "." };
                let key = format!("{key}{dot}{}", name.get_ref());
                begin.push((name.span().start, key.clone()));
                begin.push((value.span().start, key.clone()));
                begins(&key, value.get_ref(), begin);
            }
        }
        DeValue::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let key = format!("{key}[{at}]");
                begin.push((item.span().start, key.clone()));
                begins(&key, item.get_ref(), begin);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.key.is_empty() {
            write!(f, ": {}", self.why)
        } else {
            write!(f, ": {}: {}", self.key, self.why)
        }
    }
}

impl Error for Problem {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the configuration {}", self.path.display())
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::Span;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[expect(dead_code, reason = "only its errors matter here")]
        trial: Trial,
        #[expect(dead_code, reason = "only its errors matter here")]
        #[serde(default)]
        probe: Vec<Trial>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Trial {
        #[expect(dead_code, reason = "only its errors matter here")]
        length: Span,
    }

    fn told(text: &str) -> String {
        Document::new(Path::new("agent.toml"), text).parse::<Config>().unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_value_is_told_by_file_line_and_key() {
        assert_eq!(
            told("[trial]\n# how long\nlength = \"soon\"\n"),
            "agent.toml:3: trial.length: expected a span like \"500ms\", \"30s\", \"10m\", \"24h\" or \"7d\", found \"soon\""
        );
        assert_eq!(
            told("[trial]\nlength = \"1s\"\nlenght = 1\n"),
            "agent.toml:3: trial.lenght: unknown field `lenght`, expected `length`"
        );
        assert!(told("[trial\n").starts_with("agent.toml:1: "));
        assert_eq!(told("[trial]\n"), "agent.toml:1: trial: missing field `length`");
        assert!(told("# nothing\n").ends_with(": missing field `trial`"));
        assert_eq!(
            told("probe = []\ntrial = { length = \"1s\", until = 2 }\n"),
            "agent.toml:2: trial.until: unknown field `until`, expected `length`"
        );
        assert_eq!(told("trial = { }\n"), "agent.toml:1: trial: missing field `length`");
        assert_eq!(
            told("trial.length = \"1s\"\n[[probe]]\nlength = \"1s\"\n\n[[probe]]\n# none\n"),
            "agent.toml:5: probe[1]: missing field `length`"
        );
        assert!(
            told("[trial]\nlength = \"1s\"\n[[probe]]\nlength = 5\n")
                .starts_with("agent.toml:4: probe[0].length: ")
        );
    }

    #[test]
    fn a_rule_across_keys_is_told_by_line_too() {
        let document =
            Document::new(Path::new("a.toml"), "[trial]\nlength = \"1s\"\n\n[[probe]]\nlength = \"2s\"\n");
        assert_eq!(document.problem("trial.length", "too short").line, Some(2));
        assert_eq!(document.problem("probe[0].length", "too long").line, Some(5));
        assert_eq!(document.problem("trial.limit", "is missing").line, Some(1));
    }
}
