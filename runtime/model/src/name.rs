//! Names: checked once where they come in, and trusted from then on.
//!
//! A name becomes a topic level, a file name or a line for people, so none holds a separator, a wildcard, a
//! control character or anything that means something to a shell. Ids of different kinds do not compare.

use alloc::string::String;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes. It fits a topic level, a DNS label and a file name with room for an ending.
const NAME_BYTES_MAX: usize = 64;

/// A text that is no name of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    kind: &'static str,
    allowed: &'static str,
    text: String,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}: expected 1 to {NAME_BYTES_MAX} of {}", self.text, self.kind, self.allowed)
    }
}

impl core::error::Error for NameError {}

fn plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && !text.starts_with('-')
}

fn version(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_'))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn plugin(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty() && plain(vendor) && plain(name))
}

fn label(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(key, value)| !key.is_empty() && !value.is_empty() && plain(key) && version(value))
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $kind:literal, $allowed:literal, $check:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and keeps the proof in the type.
            ///
            /// # Errors
            /// Says what was expected if `text` is empty, too long, or holds another character.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if (1..=NAME_BYTES_MAX).contains(&text.len()) && $check(text) {
                    return Ok(Self(text.into()));
                }
                let text = text.chars().take(NAME_BYTES_MAX).collect();
                Err(NameError { kind: $kind, allowed: $allowed, text })
            }

            /// The name as text.
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
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

names! {
    /// All the devices that one operator steers with one keyring.
    FleetId: "fleet id", "a-z, 0-9 and -", plain;
    /// A named set of devices of a fleet.
    CohortId: "cohort", "a-z, 0-9 and -", plain;
    /// One device. Given at enrolment, for life.
    DeviceId: "device id", "a-z, 0-9 and -", plain;
    /// A service that the server watches and can bring back: its name in a pipeline and in a target's configuration.
    TargetId: "target", "a-z, 0-9 and -", plain;
    /// One way of a cohort to one release, or home from it. Never used twice.
    RolloutId: "rollout id", "a-z, 0-9 and -", plain;
    /// What kind of machine a release is built for.
    Hardware: "hardware id", "a-z, 0-9 and -", plain;
    /// Something that a configuration names: a probe, an objective, a playbook, a command, an endpoint.
    Name: "name", "a-z, 0-9 and -", plain;
    /// Whose plugin and which: `acme/executor-pump`.
    PluginId: "plugin id", "a-z, 0-9 and - as vendor/name", plugin;
    /// The name of a release for people. Which release it is, its digest says.
    Version: "version", "A-Z, a-z, 0-9, and . - + _ after the first", version;
    /// What a pipeline calls one run of itself: `2841`, `main.77`.
    BuildId: "build id", "A-Z, a-z, 0-9, and . - + _ after the first", version;
    /// Something that was said of a device at enrolment, as `key=value`.
    Label: "label", "a-z, 0-9 and - as key=value", label;
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn names_hold_nothing_that_a_topic_a_path_or_a_shell_would_read() {
        for text in ["", "-x", "a/b", "a+b", "#", "..", "a b", "a\n", "Ä", "A", "$x", &"a".repeat(65)] {
            assert!(DeviceId::parse(text).is_err(), "{text:?}");
        }
        assert!(DeviceId::parse("pump-7").is_ok());
        assert!(Version::parse("../../etc").is_err());
        assert!(Version::parse("2.0.0-rc.1+b7").is_ok());
        assert!(PluginId::parse("backstay/policy-tree").is_ok());
        assert!(PluginId::parse("policy-tree").is_err());
        assert!(PluginId::parse("a/b/c").is_err());
        assert!(Label::parse("site=Basel.3").is_ok());
    }

    #[test]
    fn a_refused_name_says_what_was_expected() {
        let error = DeviceId::parse("Pump 7").unwrap_err();
        assert_eq!(error.to_string(), r#""Pump 7" is no device id: expected 1 to 64 of a-z, 0-9 and -"#);
    }
}
