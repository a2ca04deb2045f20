//! `backstay plugin publish`: a bundle handed to the server, which hands it to the devices that are steered to it.
//!
//! The server checks both signatures, and so does each device. Not here: making a bundle (`grant`), and bringing it to
//! devices (`rollout start --plugin`).

use std::{fs::File, path::PathBuf};

use backstay_api::PluginView;
use clap::Args;
use serde::Serialize;

use crate::{Desk, Exit, Failure, file, table::Table, text};

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// What `plugin grant` wrote; none shows what the server can hand out
    bundle: Option<PathBuf>,
}

#[derive(Serialize)]
struct Plugins {
    plugins: Vec<PluginView>,
}

impl Publish {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        let plugins = match &self.bundle {
            None => client.get("/v1/plugins")?,
            Some(path) => {
                let (digest, length) = file::digest(path)?;
                let bundle = File::open(path).map_err(|why| {
                    Failure::new(Exit::Trouble, format!("cannot read {}", path.display())).why(why)
                })?;
                desk.printer.say(format_args!("uploading {} ({})", path.display(), text::bytes(length)));
                client.put_file(&format!("/v1/artifacts/{digest}"), &bundle)?;
                vec![client.post(&format!("/v1/plugins/{digest}"), &serde_json::json!({}))?]
            }
        };
        let plugins = Plugins { plugins };
        desk.printer.show("published-plugins", &plugins, || table(&plugins.plugins))?;
        if let (Some(_), Some(PluginView { plugin, bundle, .. })) = (&self.bundle, plugins.plugins.first()) {
            let version = &bundle.version;
            desk.printer.say(format_args!(
                "next: backstay rollout start --cohort COHORT --plugin {plugin} --version {version}"
            ));
        }
        Ok(Exit::Done)
    }
}

fn table(plugins: &[PluginView]) -> String {
    let mut table = Table::new(["PLUGIN", "VERSION", "ROLE", "SEQUENCE", "GRANT", "BUNDLE", "SIZE"]);
    for view in plugins {
        table.row([
            view.plugin.to_string(),
            view.bundle.version.to_string(),
            view.role.to_string(),
            view.sequence.to_string(),
            view.grant.short().to_string(),
            view.bundle.digest.short().to_string(),
            text::bytes(view.bundle.length),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use backstay_model::{Digest, PluginId, PluginRole, Release, Version};

    use super::*;

    #[test]
    fn plugins_are_told_in_columns() {
        let (version, digest) = (Version::parse("1.1.0").unwrap(), Digest([0xab; 32]));
        let view = PluginView {
            plugin: PluginId::parse("acme/policy-pump").unwrap(),
            role: PluginRole::Policy,
            bundle: Release { version, digest, length: 1536, security_epoch: 0 },
            grant: Digest([0xcd; 32]),
            sequence: 2,
        };
        assert_eq!(
            table(&[view]),
            "PLUGIN            VERSION  ROLE    SEQUENCE  GRANT     BUNDLE    SIZE\n\
             acme/policy-pump  1.1.0    policy  2         cdcdcdcd  abababab  1.5 KiB\n"
        );
    }
}
