//! `backstay plugin push`: a bundle goes to a registry, or into an image layout on disk.
//!
//! With a keyring the bundle is held against it first, and one that no device would run is not sent. Not here: what an
//! artifact looks like, and how it gets there (`oci`).

use std::path::PathBuf;

use backstay_model::Digest;
use backstay_trust::Bundle;
use clap::Args;
use serde::Serialize;

use super::inspect;
use crate::{
    Desk, Exit, Failure, file,
    oci::{self, Access, Claim, Place},
    table::Table,
    text,
};

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// What `plugin grant` wrote
    pub(super) bundle: PathBuf,
    /// Where it goes: REGISTRY/REPOSITORY:TAG, or oci:FOLDER:TAG
    pub(super) reference: Place,
    /// The fleet's keyring: what it does not let run is not pushed
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: Option<PathBuf>,
    #[command(flatten)]
    pub(super) access: Access,
}

#[derive(Serialize)]
struct Shown<'a> {
    reference: String,
    /// The same place by the digest of the manifest.
    pinned: String,
    digest: Digest,
    /// What the bundle says of itself.
    plugin: &'a Claim,
    /// Whether signatures were checked, and hold.
    verified: bool,
    bytes: u64,
    /// What wasn't there before.
    sent_bytes: u64,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Digest>,
}

impl Push {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let bytes = file::read(&self.bundle, Bundle::BYTES_MAX)?;
        let bundle = inspect::decode(&bytes, &self.bundle.display())?;
        inspect::Shown::of(&bundle, self.keyring.as_deref())?.runs(&self.bundle.display())?;
        let claim = Claim::of(&bundle)?;
        let pushed = oci::push(&bytes, &claim, &self.reference, &self.access)?;
        let shown = Shown {
            reference: self.reference.to_string(),
            pinned: self.reference.pinned(&pushed.digest).to_string(),
            digest: pushed.digest,
            plugin: &claim,
            verified: self.keyring.is_some(),
            bytes: bytes.len() as u64,
            sent_bytes: pushed.sent,
            changed: pushed.changed,
            replaced: pushed.replaced,
        };
        desk.printer.show("plugin-push", &shown, || shown.table())?;
        if let Some(replaced) = pushed.replaced {
            let place = self.reference.pinned(&replaced);
            desk.printer.say(format_args!("what had this name before is {place}"));
        }
        if !pushed.changed {
            desk.printer.say("all of it was there: nothing was changed");
        }
        if self.keyring.is_none() {
            desk.printer.say("nobody checked who signed it; --keyring does");
        }
        Ok(Exit::Done)
    }
}

impl Shown<'_> {
    fn table(&self) -> String {
        let mut list = Table::list();
        list.say("plugin", format_args!("{} {}", self.plugin.id, self.plugin.version));
        list.say("reference", &self.reference);
        list.say("pinned", &self.pinned);
        list.say("bundle", text::bytes(self.bytes));
        list.say("sent", text::bytes(self.sent_bytes));
        list.to_string()
    }
}
