//! `backstay plugin pull`: a bundle comes out of a registry, or of an image layout on disk.
//!
//! What is written is whole, and is what the reference names. It is believed no more than any file: with a keyring it is
//! held against it before it is written, and whatever loads a bundle does that again. Not here: how it comes (`oci`).

use std::path::{Path, PathBuf};

use backstay_model::Digest;
use clap::Args;
use serde::Serialize;

use super::inspect;
use crate::{
    Desk, Exit, Failure, file,
    oci::{self, Access, Place},
    table::Table,
    text,
};

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// What is fetched: REGISTRY/REPOSITORY:TAG or oci:FOLDER:TAG, or either with @sha256:DIGEST in the place of the tag
    pub(super) reference: Place,
    /// Where the bundle goes
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// The fleet's keyring: what it does not let run is not written. Without it, no signature is checked
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
    file: &'a Path,
    bytes: u64,
    changed: bool,
    #[serde(flatten)]
    bundle: inspect::Shown,
}

impl Pull {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let pulled = oci::pull(&self.reference, &self.access)?;
        let bundle = inspect::decode(&pulled.bytes, &self.reference)?;
        let found = inspect::Shown::of(&bundle, self.keyring.as_deref())?;
        found.runs(&self.reference)?;
        // The same again costs no write, and whoever watches the file sees none.
        let changed =
            file::digest(&self.out).ok().map(|(digest, _)| digest) != Some(file::digest_of(&pulled.bytes));
        if changed {
            file::write(&self.out, &pulled.bytes)?;
        }
        let shown = Shown {
            reference: self.reference.to_string(),
            pinned: self.reference.pinned(&pulled.digest).to_string(),
            digest: pulled.digest,
            file: &self.out,
            bytes: pulled.bytes.len() as u64,
            changed,
            bundle: found,
        };
        desk.printer.show("plugin-pull", &shown, || shown.table())?;
        if !changed {
            desk.printer.say(format_args!("{} was there already: nothing was changed", self.out.display()));
        }
        if self.keyring.is_none() {
            desk.printer.say("nothing was checked but digests; --keyring checks who signed it");
        }
        Ok(Exit::Done)
    }
}

impl Shown<'_> {
    fn table(&self) -> String {
        let mut list = Table::list();
        list.say("file", format_args!("{}, {}", self.file.display(), text::bytes(self.bytes)));
        list.say("pinned", &self.pinned);
        self.bundle.table_under(list)
    }
}
