//! Short texts that a grant ties an artifact to. Each is compared as a whole, never taken apart.

use alloc::string::String;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest of them, in bytes.
const BYTES_MAX: usize = 96;

/// A text that is none of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    kind: &'static str,
    text: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, text } = self;
        write!(f, "{text:?} is no {kind}: expected 1 to {BYTES_MAX} of a-z, 0-9 and : / @ . _ + - =")
    }
}

impl core::error::Error for TextError {}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b":/@._+-=".contains(&byte)
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and keeps the proof in the type.
            ///
            /// # Errors
            /// Says what was expected if `text` is empty, too long, or holds another character.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                if (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
                    return Ok(Self(text.into()));
                }
                Err(TextError { kind: $kind, text: text.chars().take(BYTES_MAX).collect() })
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    )*};
}

texts! {
    /// The contract that a plugin is built for: `backstay:policy/policy@1.0.0`.
    World: "world";
    /// What an artifact's code is for: `x86_64-unknown-linux-gnu`, `aarch64-unknown-linux-musl`, `pulley64`.
    Target: "target";
    /// The settings of the engine that an artifact was compiled with. Another engine must not load it.
    EngineProfile: "engine profile";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_plain() {
        assert!(World::parse("backstay:policy/policy@1.0.0").is_ok());
        for text in ["", "A", "a b", "a\n", "ä", &"a".repeat(97)] {
            assert!(Target::parse(text).is_err(), "{text:?}");
        }
    }
}
