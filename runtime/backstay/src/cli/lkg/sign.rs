//! `lkg sign`: a release key vouches for a bundle.

use std::path::PathBuf;

use backstay_model::Release;
use backstay_trust::{KnownGood, Refusal, SignError, Stamp};
use clap::Args;

use super::{bundle::Folder, verify::Said};
use crate::{Desk, Exit, Failure, file, signer::Signing};

#[derive(Debug, Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    pub(super) folder: Folder,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// The fleet's keyring
    #[arg(long, value_name = "FILE", env = "BACKSTAY_KEYRING")]
    pub(super) keyring: PathBuf,
    /// Grows with each statement of the release key; the time in milliseconds if it is left out
    #[arg(long, value_name = "N")]
    pub(super) sequence: Option<u64>,
}

impl Sign {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        // Nobody vouches for what can't be read, and what is signed is what was read.
        let (bytes, document) = self.folder.read()?;
        let signer = self.signing.signer()?;
        let keyring = file::read_keyring(&self.keyring)?;
        let (version, digest) = (document.release.version.clone(), document.release.digest);
        let release = Release { version, digest, length: 0, security_epoch: 0 };
        let issued = file::now();
        let stamp = Stamp { sequence: self.sequence.unwrap_or(issued.0), issued, expires: None };
        let cannot = |why: SignError| {
            let help = why.help();
            Failure::new(Exit::Usage, "cannot sign this bundle").why(why).maybe_help(help)
        };
        let good = KnownGood::of(document.service.clone(), &release, &bytes);
        let mut statement = good.draft(keyring.fleet().clone(), stamp).map_err(cannot)?;
        signer.sign(&mut statement)?;
        let statement = statement.encode().map_err(cannot)?;
        // Better here than where it is wanted; where others have to sign as well, they look again.
        let missing = match keyring.verify_known_good(&statement, bytes) {
            Ok(_) => None,
            Err(Refusal::TooFew { has, needs, .. }) => Some((has, needs)),
            Err(why) => return Err(Failure::untrusted("nobody would believe this bundle", why)),
        };
        file::write(&self.folder.signature(), &statement)?;
        let said = Said::of(&document, Some(0));
        desk.printer.show("lkg", &said, || said.table())?;
        let path = self.folder.path().display();
        if let Some((has, needs)) = missing {
            desk.printer.say(format_args!(
                "it has {has} of {needs} signatures. next: backstay keys cosign {}, by another holder",
                self.folder.signature().display()
            ));
            return Ok(Exit::Done);
        }
        desk.printer.say(format_args!("next: backstay lkg commit --bundle {path}"));
        Ok(Exit::Done)
    }
}
