//! Which plugin, and what it is told: the same for devices and server.
//!
//! Not here: whether the plugin may run (`trust`), and whether it takes these settings (`host` asks it).

use std::{collections::BTreeMap, path::PathBuf};

use backstay_model::Name;
use serde::Deserialize;

/// A plugin and its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The signed bundle.
    pub bundle: PathBuf,
    /// The bundle before that one, which takes over if this one is quarantined.
    pub last_good: Option<PathBuf>,
    /// A bundle that is to take over from `bundle`: it is asked beside it first. Policies only.
    pub candidate: Option<PathBuf>,
    /// Windows that the candidate is asked beside. 0: it decides at once.
    pub windows: Option<u32>,
    /// Windows that it decides and can still be sent back.
    pub soak: Option<u32>,
    /// Windows of either kind in which it may want something else than the other.
    pub disagreements_max: Option<u32>,
    /// What the plugin says that it can be told.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Setting>"))]
    pub settings: BTreeMap<Name, Setting>,
}

impl Plugin {
    /// The most that a plugin is told with a call and is recorded, in bytes as [`Setting::bytes_of`] counts them. What doesn't fit is
    /// named and not recorded; an executor of the server is not told more for a target.
    pub const SETTINGS_BYTES_MAX: usize = 16 << 10;
}

/// One value for a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Setting {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
}

impl Setting {
    /// What settings hold, in bytes of their names and values.
    #[must_use]
    pub fn bytes_of(settings: &BTreeMap<Name, Self>) -> usize {
        let bytes = |value: &Self| match value {
            Self::Text(text) => text.len(),
            Self::Texts(texts) => texts.iter().map(|text| text.len() + 4).sum(),
            Self::Number(_) | Self::Flag(_) => 8,
        };
        settings.iter().map(|(name, value)| name.as_str().len() + bytes(value)).sum()
    }
}
