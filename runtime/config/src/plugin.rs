//! Which plugin, and what it is told: the same for devices and server.
//!
//! Not here: whether the plugin may run (`trust`), and whether it takes these settings (`host` asks it).

use std::{collections::BTreeMap, path::PathBuf};

use backstay_model::Name;
use serde::Deserialize;

/// A plugin and its settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The signed bundle.
    pub bundle: PathBuf,
    /// The bundle before that one, which takes over if this one is quarantined.
    pub last_good: Option<PathBuf>,
    /// What the plugin says that it can be told.
    #[serde(default)]
    pub settings: BTreeMap<Name, Setting>,
}

/// One value for a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
