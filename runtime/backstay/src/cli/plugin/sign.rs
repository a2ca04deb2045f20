//! `backstay plugin sign`: a vendor says that a component is their plugin. It runs nothing by that.

use std::path::{Path, PathBuf};

use backstay_host::world_of;
use backstay_trust::{Limits, PluginRelease, SignError, Stamp};
use clap::Args;
use serde::Serialize;

use super::{COMPONENT_BYTES_MAX, manifest::Manifest};
use crate::{Desk, Exit, Failure, file, signer::Signing, table::Table, text};

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// What the vendor says of the plugin
    #[arg(long, value_name = "FILE")]
    pub(super) manifest: PathBuf,
    /// The portable component
    #[arg(long, value_name = "FILE")]
    pub(super) component: PathBuf,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// Grows with each release of this plugin
    #[arg(long, value_name = "N")]
    pub(super) sequence: u64,
    /// Where the release goes
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

#[derive(Serialize)]
struct Signed<'a> {
    plugin: String,
    version: String,
    world: String,
    component: String,
    sequence: u64,
    key: String,
    release: &'a Path,
}

impl Sign {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let manifest = Manifest::read(&self.manifest)?;
        let identity = manifest.identity(&self.manifest)?;
        let component = file::read(&self.component, COMPONENT_BYTES_MAX)?;
        let world = world_of(&component).map_err(|why| {
            let help = why.help();
            let what = format!("{} is no plugin", self.component.display());
            Failure::new(Exit::Usage, what).why(why).maybe_help(help)
        })?;
        if let Some(said) = identity.world.filter(|said| *said != world) {
            let what =
                format!("{} is built for {world}, and its manifest says {said}", self.component.display());
            return Err(Failure::new(Exit::Configuration, what)
                .help("correct the manifest, or build the plugin anew"));
        }
        let signer = self.signing.signer()?;
        let release = PluginRelease {
            id: identity.id,
            version: identity.version,
            component: file::digest_of(&component),
            component_bytes: component.len() as u64,
            world,
            wants: identity.wants,
            limits: manifest.limits(Limits::DEFAULT),
        };
        let stamp = Stamp { sequence: self.sequence, issued: file::now(), expires: None };
        let cannot = |why: SignError| {
            let help = why.help();
            Failure::new(Exit::Configuration, format!("cannot release {}", release.id))
                .why(why)
                .maybe_help(help)
        };
        let mut statement = release.draft(stamp).map_err(cannot)?;
        signer.sign(&mut statement)?;
        let statement = statement.encode().map_err(cannot)?;
        file::write(&self.out, &statement)?;
        let signed = Signed {
            plugin: release.id.to_string(),
            version: release.version.to_string(),
            world: release.world.to_string(),
            component: release.component.to_string(),
            sequence: self.sequence,
            key: signer.id().0.to_string(),
            release: &self.out,
        };
        desk.printer.show("plugin-release", &signed, || {
            let mut list = Table::list();
            list.say("plugin", format_args!("{} {}", signed.plugin, signed.version));
            list.say("world", &signed.world);
            list.say(
                "component",
                format_args!("{}, {}", signed.component, text::bytes(release.component_bytes)),
            );
            list.say("sequence", self.sequence);
            list.say("key", &signed.key);
            list.say("release", self.out.display());
            list.to_string()
        })?;
        desk.printer.say("next: backstay plugin grant, by an operator who has looked at it");
        Ok(Exit::Done)
    }
}
