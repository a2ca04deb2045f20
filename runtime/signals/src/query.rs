//! A question in PromQL, as a text.
//!
//! Not here: its grammar. Whether it means anything, Prometheus says.

use std::fmt;

/// A PromQL expression: 1 to 8192 bytes, no control characters but line breaks and tabs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query(String);

/// A text that is no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// There is nothing in it.
    Empty,
    /// It is longer than a query may be.
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// It holds a character that no query has.
    Control {
        /// Which.
        character: char,
    },
}

impl Query {
    /// The longest, in bytes.
    pub const BYTES_MAX: usize = 8192;

    /// Checks `text` and keeps the proof in the type.
    ///
    /// # Errors
    /// It is empty, too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(QueryError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(QueryError::TooLong { bytes: text.len() });
        }
        match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            Some(character) => Err(QueryError::Control { character }),
            None => Ok(Self(text.into())),
        }
    }

    /// The query as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl QueryError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Empty => Some("give a PromQL expression that yields one number"),
            Self::TooLong { .. } => Some("make a recording rule of it, and ask for that"),
            Self::Control { .. } => {
                Some("take it out: between lines and words are line ends, tabs and spaces")
            }
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the query is empty"),
            Self::TooLong { bytes } => {
                write!(f, "the query has {bytes} bytes, and at most {} are allowed", Query::BYTES_MAX)
            }
            Self::Control { character } => write!(f, "the query holds the character {character:?}"),
        }
    }
}

impl std::error::Error for QueryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_bounded_and_may_have_lines() {
        assert_eq!(Query::parse(" sum(\n\tup) ").unwrap().as_str(), "sum(\n\tup)");
        assert_eq!(Query::parse(" \n"), Err(QueryError::Empty));
        assert_eq!(Query::parse("up\0"), Err(QueryError::Control { character: '\0' }));
        assert!(Query::parse(&"x".repeat(8192)).is_ok());
        assert_eq!(
            Query::parse(&"x".repeat(8193)).unwrap_err().to_string(),
            "the query has 8193 bytes, and at most 8192 are allowed"
        );
    }
}
