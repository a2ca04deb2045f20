//! What a vendor says of a plugin beside its code, and what an operator grants it: one form of file for both.
//!
//! ```toml
//! id = "backstay/executor-ota"                # the vendor's: who it is
//! version = "0.1.0"
//! world = "backstay:plugin/executor@0.1.0"    # may be left out; the component says it, too
//! wants = ["run", "slot"]                     # http, run, slot, file, publish
//!
//! [limits]                                    # both; what is left out is the default, or the vendor's
//! call-ms = 250
//!
//! [permissions]                               # the operator's: what of it is granted, by name
//! commands = ["restart"]
//! slots = true
//! ```

use std::path::Path;

use backstay_config::Document;
use backstay_model::{Millis, Name, PluginId, Version};
use backstay_trust::{EffectKind, Limits, Permissions, World};
use serde::Deserialize;

use crate::{Exit, Failure};

/// A manifest, or a grant file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    id: Option<PluginId>,
    version: Option<Version>,
    world: Option<World>,
    /// For whoever reads the file.
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(default)]
    wants: Vec<Want>,
    #[serde(default)]
    limits: Given,
    #[serde(default)]
    permissions: Allowed,
}

/// What only a vendor says.
pub(super) struct Identity {
    pub(super) id: PluginId,
    pub(super) version: Version,
    /// The contract, if the manifest says one.
    pub(super) world: Option<World>,
    pub(super) wants: Vec<EffectKind>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Want {
    Http,
    Run,
    Slot,
    File,
    Publish,
}

impl From<Want> for EffectKind {
    fn from(want: Want) -> Self {
        match want {
            Want::Http => Self::Http,
            Want::Run => Self::Run,
            Want::Slot => Self::Slot,
            Want::File => Self::File,
            Want::Publish => Self::Publish,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Given {
    memory_bytes: Option<u32>,
    table_elements: Option<u32>,
    call_ms: Option<u64>,
    output_bytes: Option<u32>,
    state_bytes: Option<u32>,
    effects_per_step: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Allowed {
    endpoints: Vec<Name>,
    commands: Vec<Name>,
    topics: Vec<Name>,
    paths: Vec<String>,
    slots: bool,
}

impl Manifest {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: Box<dyn std::error::Error>| {
            Failure::new(Exit::Configuration, format!("{} is no manifest", path.display())).why(why)
        };
        let document = Document::read(path).map_err(|why| failed(why.into()))?;
        document.parse().map_err(|why| failed(why.into()))
    }

    pub(super) fn identity(&self, path: &Path) -> Result<Identity, Failure> {
        let missing = |key| {
            Failure::new(Exit::Configuration, format!("{} doesn't say the plugin's {key}", path.display()))
                .help("a manifest begins with: id = \"vendor/name\" and version = \"1.0.0\"")
        };
        Ok(Identity {
            id: self.id.clone().ok_or_else(|| missing("id"))?,
            version: self.version.clone().ok_or_else(|| missing("version"))?,
            world: self.world.clone(),
            wants: self.wants.iter().copied().map(Into::into).collect(),
        })
    }

    /// The limits that it says, and those of `default` where it says none.
    pub(super) fn limits(&self, default: Limits) -> Limits {
        let given = &self.limits;
        Limits {
            memory_bytes: given.memory_bytes.unwrap_or(default.memory_bytes),
            table_elements: given.table_elements.unwrap_or(default.table_elements),
            call: given.call_ms.map_or(default.call, Millis),
            output_bytes: given.output_bytes.unwrap_or(default.output_bytes),
            state_bytes: given.state_bytes.unwrap_or(default.state_bytes),
            effects_per_step: given.effects_per_step.unwrap_or(default.effects_per_step),
        }
    }

    pub(super) fn permissions(&self) -> Permissions {
        let Allowed { endpoints, commands, topics, paths, slots } = self.permissions.clone();
        Permissions { endpoints, commands, topics, paths, slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.toml");
        std::fs::write(&path, text).unwrap();
        Manifest::read(&path)
    }

    #[test]
    fn what_is_left_out_is_the_default_and_nothing_is_granted() {
        let manifest = read("id = \"acme/pump\"\nversion = \"1.0.0\"\n[limits]\ncall-ms = 5\n").unwrap();
        assert_eq!(manifest.limits(Limits::DEFAULT), Limits { call: Millis(5), ..Limits::DEFAULT });
        assert_eq!(manifest.permissions(), Permissions::default());
        assert!(manifest.identity(Path::new("m")).unwrap().wants.is_empty());
        assert!(read("").unwrap().identity(Path::new("m")).is_err());
    }

    /// All of it taken apart without `..`: a field that is added has to arrive somewhere, and be shown here to do so.
    #[test]
    fn every_field_of_a_manifest_arrives() {
        let manifest = read(
            r#"
            id = "acme/pump"
            version = "1.2.3"
            world = "backstay:plugin/executor@0.1.0"
            description = "for whoever reads the file"
            wants = ["http", "run", "slot", "file", "publish"]

            [limits]
            memory-bytes = 100001
            table-elements = 102
            call-ms = 103
            output-bytes = 104
            state-bytes = 105
            effects-per-step = 106

            [permissions]
            endpoints = ["an-endpoint"]
            commands = ["a-command"]
            topics = ["a-topic"]
            paths = ["/a/path"]
            slots = true
            "#,
        )
        .unwrap();
        let Manifest { id: _, version: _, world: _, _description: said, wants: _, limits: _, permissions: _ } =
            &manifest;
        assert_eq!(said.as_deref(), Some("for whoever reads the file"));
        let Identity { id, version, world, wants } = manifest.identity(Path::new("m")).unwrap();
        assert_eq!((id.as_str(), version.as_str()), ("acme/pump", "1.2.3"));
        assert_eq!(world.unwrap().as_str(), "backstay:plugin/executor@0.1.0");
        let all =
            [EffectKind::Http, EffectKind::Run, EffectKind::Slot, EffectKind::File, EffectKind::Publish];
        assert_eq!(wants, all);
        let Limits { memory_bytes, table_elements, call, output_bytes, state_bytes, effects_per_step } =
            manifest.limits(Limits::DEFAULT);
        assert_eq!((memory_bytes, table_elements, call), (100_001, 102, Millis(103)));
        assert_eq!((output_bytes, state_bytes, effects_per_step), (104, 105, 106));
        let Permissions { endpoints, commands, topics, paths, slots } = manifest.permissions();
        let named = |name: &str| vec![Name::parse(name).unwrap()];
        assert_eq!(
            (endpoints, commands, topics),
            (named("an-endpoint"), named("a-command"), named("a-topic"))
        );
        assert_eq!((paths, slots), (vec!["/a/path".to_owned()], true));
    }

    #[test]
    fn the_manifests_of_the_plugins_that_ship_are_read() {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let shipped = [
            "policy-tree",
            "policy-sequential",
            "executor-ota",
            "executor-db",
            "executor-commands",
            "executor-http-lb",
        ];
        for plugin in shipped {
            let path = plugins.join(plugin).join("manifest.toml");
            let manifest = Manifest::read(&path).unwrap();
            assert_eq!(manifest.limits(Limits::DEFAULT).unfit(), None);
            assert_eq!(manifest.identity(&path).unwrap().id.as_str(), format!("backstay/{plugin}"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_key() {
        let failure = read("id = \"acme/pump\"\nwants = [\"root\"]\n").unwrap_err();
        assert_eq!(failure.exit(), Exit::Configuration);
        assert!(failure.to_string().contains("manifest.toml:2: wants[0]"), "{failure}");
        assert!(read("[permissions]\nsloths = true\n").unwrap_err().to_string().contains("sloths"));
    }
}
