//! How a plugin is configured, and what it says about that itself.
//!
//! Not here: files. The configuration of a plugin is a flat list of settings, whatever it was written in.

use std::{collections::BTreeSet, error, fmt, ops::RangeInclusive};

use backstay_model::Name;
use serde::{Deserialize, Serialize};

use crate::bindings::common::{self, Setting};

const SETTINGS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 4096;
const TEXTS_MAX: usize = 64;
const TEXTS_BYTES_MAX: usize = 1024;

/// What a setting holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// At most 4 KiB.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// At most 64 of 1 KiB.
    Texts(Vec<String>),
}

/// Which kind of value a setting has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Text`]
    Text,
    /// [`Value::Number`]
    Number,
    /// [`Value::Flag`]
    Flag,
    /// [`Value::Texts`]
    Texts,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text",
            Self::Number => "a whole number",
            Self::Flag => "true or false",
            Self::Texts => "a list of texts",
        })
    }
}

impl Value {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Number(_) => Kind::Number,
            Self::Flag(_) => Kind::Flag,
            Self::Texts(_) => Kind::Texts,
        }
    }
}

/// The configuration of one plugin, within the bounds of the contract. The default is that nothing is set.
#[derive(Clone, Default)]
pub struct Config {
    settings: Vec<Setting>,
}

impl Config {
    /// Of these settings.
    ///
    /// # Errors
    /// There are too many, one is too long, or two have the same name.
    pub fn new(settings: impl IntoIterator<Item = (Name, Value)>) -> Result<Self, ConfigError> {
        let mut names = BTreeSet::new();
        let mut config = Self::default();
        for (name, value) in settings {
            if config.settings.len() == SETTINGS_MAX {
                return Err(ConfigError::TooMany);
            }
            let fits = match &value {
                Value::Text(text) => text.len() <= TEXT_BYTES_MAX,
                Value::Texts(texts) => {
                    texts.len() <= TEXTS_MAX && texts.iter().all(|text| text.len() <= TEXTS_BYTES_MAX)
                }
                Value::Number(_) | Value::Flag(_) => true,
            };
            if !fits {
                return Err(ConfigError::TooLong { name });
            }
            config.settings.push(Setting { name: name.to_string(), value: value.into() });
            if !names.insert(name.clone()) {
                return Err(ConfigError::Twice { name });
            }
        }
        Ok(config)
    }

    /// What is set, in the order in which it was given.
    pub fn iter(&self) -> impl Iterator<Item = (Name, Value)> {
        let name = |setting: &Setting| {
            Name::parse(&setting.name).expect("a configuration is made of names that were parsed")
        };
        self.settings.iter().map(move |setting| (name(setting), setting.value.clone().into()))
    }

    pub(crate) fn settings(&self) -> &[Setting] {
        &self.settings
    }
}

// Values may be secret, so they are not shown.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.iter().map(|setting| &setting.name)).finish()
    }
}

impl From<Value> for common::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Number(number) => Self::Number(number),
            Value::Flag(flag) => Self::Flag(flag),
            Value::Texts(texts) => Self::Texts(texts),
        }
    }
}

impl From<common::Value> for Value {
    fn from(value: common::Value) -> Self {
        match value {
            common::Value::Text(text) => Self::Text(text),
            common::Value::Number(number) => Self::Number(number),
            common::Value::Flag(flag) => Self::Flag(flag),
            common::Value::Texts(texts) => Self::Texts(texts),
        }
    }
}

/// A configuration that can't be shown to any plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// "more than 64 settings"
    TooMany,
    /// "setting x is too long"
    TooLong {
        /// Which.
        name: Name,
    },
    /// "setting x is there twice"
    Twice {
        /// Which.
        name: Name,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "more than {SETTINGS_MAX} settings"),
            Self::TooLong { name } => write!(f, "setting {name} is too long"),
            Self::Twice { name } => write!(f, "setting {name} is there twice"),
        }
    }
}

impl error::Error for ConfigError {}

impl ConfigError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooMany | Self::Twice { .. } => None,
            Self::TooLong { .. } => {
                Some("a text has at most 4096 bytes, a list at most 64 texts of 1024 bytes")
            }
        }
    }
}

/// What can be set, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingInfo {
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub kind: Kind,
    /// Where nobody sets it; `None`: somebody has to.
    pub default: Option<Value>,
    /// Of a number, both ends allowed.
    pub range: Option<RangeInclusive<i64>>,
    /// Whether it is to be kept out of logs and evidence.
    pub secret: bool,
    /// For the operator.
    pub help: String,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// One sentence.
    pub about: String,
    /// At most 64, each name once.
    pub settings: Vec<SettingInfo>,
}

/// Something in a configuration that can't stay as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The setting to change; `None`: it is about several.
    pub setting: Option<Name>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.setting {
            Some(name) => write!(f, "{name}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl Description {
    /// What is wrong with a configuration, setting by setting: unknown, missing, of another kind, out of range.
    #[must_use]
    pub fn check(&self, config: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add =
            |name: &str, text: String| problems.push(Problem { setting: Name::parse(name).ok(), text });
        for Setting { name, value } in &config.settings {
            let Some(info) = self.settings.iter().find(|info| info.name.as_str() == name) else {
                let known: Vec<_> = self.settings.iter().map(|info| info.name.as_str()).collect();
                add(name, format!("there is no such setting; there are: {}", known.join(", ")));
                continue;
            };
            let value = Value::from(value.clone());
            if value.kind() != info.kind {
                add(name, format!("expected {}, found {}", info.kind, value.kind()));
            }
            if let (Value::Number(number), Some(range)) = (&value, &info.range)
                && !range.contains(number)
            {
                add(name, format!("{number} isn't within {} to {}", range.start(), range.end()));
            }
        }
        for info in &self.settings {
            let set = config.settings.iter().any(|setting| setting.name == info.name.as_str());
            if info.default.is_none() && !set {
                add(info.name.as_str(), format!("has to be set: {}", info.help));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_configuration_is_held_against_the_description() {
        let number = SettingInfo {
            name: name("tries"),
            kind: Kind::Number,
            default: Some(Value::Number(3)),
            range: Some(0..=9),
            secret: false,
            help: String::new(),
        };
        let needed = SettingInfo {
            name: name("site"),
            kind: Kind::Text,
            default: None,
            range: None,
            ..number.clone()
        };
        let description = Description { about: String::new(), settings: vec![number, needed] };
        let problems = |settings: Vec<(Name, Value)>| {
            let problems = description.check(&Config::new(settings).unwrap());
            problems.iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        assert_eq!(problems(vec![(name("site"), Value::Text("basel".into()))]), [""; 0]);
        assert_eq!(problems(vec![]), ["site: has to be set: "]);
        let wrong = vec![
            (name("site"), Value::Flag(true)),
            (name("tries"), Value::Number(10)),
            (name("trys"), Value::Number(1)),
        ];
        assert_eq!(
            problems(wrong),
            [
                "site: expected a text, found true or false",
                "tries: 10 isn't within 0 to 9",
                "trys: there is no such setting; there are: tries, site",
            ]
        );
    }

    #[test]
    fn a_configuration_has_bounds() {
        let same = vec![(name("a"), Value::Flag(true)), (name("a"), Value::Flag(false))];
        assert_eq!(Config::new(same).unwrap_err(), ConfigError::Twice { name: name("a") });
        let long = vec![(name("a"), Value::Text("x".repeat(4097)))];
        assert_eq!(Config::new(long).unwrap_err(), ConfigError::TooLong { name: name("a") });
        let many = (0..65).map(|n| (name(&format!("s{n}")), Value::Flag(true)));
        assert_eq!(Config::new(many).unwrap_err(), ConfigError::TooMany);
    }
}
