//! Settings that say what they are.
//!
//! A plugin writes each of its settings down once, as a constant: the description for the operator and the
//! reading with its default both come from there, so the two can't disagree. The host holds what an operator wrote
//! against the description before the plugin sees any of it: unknown names, other kinds, and numbers out of range never
//! get here. Rules across settings are for `validate`.
//!
//! ```
//! use backstay_sdk::settings::{Number, Required, Setting, Value};
//!
//! const TRIES: Number = Number { name: "tries", default: 3, least: 1, most: 9, help: "So often is it tried." };
//! const SITE: Required = Required { name: "site", secret: false, help: "The site that is healed." };
//!
//! let config = [Setting { name: "site".into(), value: Value::Text("basel".into()) }];
//! assert_eq!((TRIES.count(&config), SITE.of(&config)), (3, "basel"));
//! assert_eq!(SITE.info().default, None);
//! ```

use alloc::{string::String, vec::Vec};

pub use crate::bindings::policy::backstay::plugin::common::{
    Description, Kind, Problem, Setting, SettingInfo, Span, Value,
};

/// A whole number within a range.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// A name: `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// Where nobody set it.
    pub default: i64,
    /// The least that is allowed.
    pub least: i64,
    /// The most that is allowed.
    pub most: i64,
    /// For the operator: what it means, in which unit.
    pub help: &'static str,
}

/// A text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// A name: `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// Where nobody set it.
    pub default: &'static str,
    /// For the operator: what it means.
    pub help: &'static str,
}

/// A text that has to be set: there is nothing that would hold everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Required {
    /// A name: `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// Whether it is kept out of logs and evidence. Credentials don't belong here at all: the host adds those of an
    /// endpoint, and no plugin sees them.
    pub secret: bool,
    /// For the operator: what it means.
    pub help: &'static str,
}

/// Yes or no.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// A name: `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// Where nobody set it.
    pub default: bool,
    /// For the operator: what it means.
    pub help: &'static str,
}

/// Several texts. There are none where nobody set it.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// A name: `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// For the operator: what it means.
    pub help: &'static str,
}

fn find<'a>(config: &'a [Setting], name: &str) -> Option<&'a Value> {
    config.iter().find(|setting| setting.name == name).map(|setting| &setting.value)
}

fn info(name: &str, kind: Kind, default: Value, range: Option<Span>, help: &str) -> SettingInfo {
    SettingInfo { name: name.into(), kind, default: Some(default), range, secret: false, help: help.into() }
}

impl Number {
    /// What it is set to, within its range.
    #[must_use]
    pub fn of(&self, config: &[Setting]) -> i64 {
        match find(config, self.name) {
            Some(&Value::Number(number)) => number.clamp(self.least, self.most),
            Some(Value::Text(_) | Value::Flag(_) | Value::Texts(_)) | None => self.default,
        }
    }

    /// What it is set to, as a count: 0 where it is negative, the most there is where it is too large.
    #[must_use]
    pub fn count(&self, config: &[Setting]) -> u32 {
        let number = self.of(config).clamp(0, u32::MAX.into());
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// For `describe`.
    #[must_use]
    pub fn info(&self) -> SettingInfo {
        let range = Span { least: self.least, most: self.most };
        info(self.name, Kind::Number, Value::Number(self.default), Some(range), self.help)
    }
}

impl Text {
    /// What it is set to.
    #[must_use]
    pub fn of<'a>(&self, config: &'a [Setting]) -> &'a str {
        match find(config, self.name) {
            Some(Value::Text(text)) => text,
            Some(Value::Number(_) | Value::Flag(_) | Value::Texts(_)) | None => self.default,
        }
    }

    /// For `describe`.
    #[must_use]
    pub fn info(&self) -> SettingInfo {
        info(self.name, Kind::Text, Value::Text(self.default.into()), None, self.help)
    }
}

impl Required {
    /// What it is set to. The host starts nothing where it isn't set, so that it is empty only where somebody set it so.
    #[must_use]
    pub fn of<'a>(&self, config: &'a [Setting]) -> &'a str {
        match find(config, self.name) {
            Some(Value::Text(text)) => text,
            Some(Value::Number(_) | Value::Flag(_) | Value::Texts(_)) | None => "",
        }
    }

    /// For `describe`.
    #[must_use]
    pub fn info(&self) -> SettingInfo {
        let (name, help) = (self.name.into(), self.help.into());
        SettingInfo { name, kind: Kind::Text, default: None, range: None, secret: self.secret, help }
    }
}

impl Flag {
    /// What it is set to.
    #[must_use]
    pub fn of(&self, config: &[Setting]) -> bool {
        match find(config, self.name) {
            Some(&Value::Flag(flag)) => flag,
            Some(Value::Number(_) | Value::Text(_) | Value::Texts(_)) | None => self.default,
        }
    }

    /// For `describe`.
    #[must_use]
    pub fn info(&self) -> SettingInfo {
        info(self.name, Kind::Flag, Value::Flag(self.default), None, self.help)
    }
}

impl Texts {
    /// What it is set to.
    #[must_use]
    pub fn of<'a>(&self, config: &'a [Setting]) -> &'a [String] {
        match find(config, self.name) {
            Some(Value::Texts(texts)) => texts,
            Some(Value::Number(_) | Value::Text(_) | Value::Flag(_)) | None => &[],
        }
    }

    /// For `describe`.
    #[must_use]
    pub fn info(&self) -> SettingInfo {
        info(self.name, Kind::Texts, Value::Texts(Vec::new()), None, self.help)
    }
}

/// Whether `text` can name a command, an endpoint, a playbook: 1 to 64 of `a-z`, `0-9` and `-`, and no `-` first.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-')
}

/// Something wrong with the setting `name`.
#[must_use]
pub fn problem(name: &str, text: impl Into<String>) -> Problem {
    Problem { setting: Some(name.into()), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIES: Number = Number { name: "tries", default: 3, least: 0, most: 9, help: "How often." };

    fn set(value: Value) -> Vec<Setting> {
        vec![Setting { name: "tries".into(), value }]
    }

    #[test]
    fn what_nobody_set_has_its_default() {
        assert_eq!(TRIES.of(&[]), 3);
        assert_eq!(TRIES.of(&set(Value::Text("7".into()))), 3);
        assert_eq!(TRIES.info().default, Some(Value::Number(3)));
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let (most, long) = ("a".repeat(64), "a".repeat(65));
        assert!(["a", "0", "restart-web-1", "a-", &most].into_iter().all(is_name));
        assert!(!["", "-a", "A", "a b", "a.b", "a_b", "ä", &long].into_iter().any(is_name));
    }

    #[test]
    fn a_number_stays_within_its_range() {
        assert_eq!(TRIES.of(&set(Value::Number(5))), 5);
        assert_eq!(TRIES.of(&set(Value::Number(i64::MAX))), 9);
        assert_eq!(TRIES.count(&set(Value::Number(-1))), 0);
    }
}
