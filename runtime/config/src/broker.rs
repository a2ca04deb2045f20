//! How to reach the MQTT broker: the same for devices and server.
//!
//! Not here: connecting (`link`).

use std::path::PathBuf;

use serde::Deserialize;

use crate::Span;

/// The MQTT broker.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// The authority that the broker's certificate is checked against, as PEM.
    pub ca: Option<PathBuf>,
    /// This device's own certificate, as PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, as PEM.
    pub key: Option<PathBuf>,
    /// Who the broker knows this device as.
    pub user: Option<String>,
    /// What it proves that with.
    pub password_file: Option<PathBuf>,
    /// Signs of life between client and broker.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: Span,
}

fn default_keep_alive() -> Span {
    Span::from_secs(60)
}
