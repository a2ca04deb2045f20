//! `backstay device tell`: a signed word for one device. It is retained, so a device that is away hears it later.

use backstay_api::{Told, WordRequest};
use backstay_model::{DeviceId, Digest, Word};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure};

/// One device.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Tell a device to hold, to go on, or to try a release again
    #[command(
        after_help = "Examples:\n  backstay device tell pump-7 hold\n  backstay device tell pump-7 lift 3f2a...9c"
    )]
    Tell(Tell),
}

#[derive(Debug, Args)]
pub(crate) struct Tell {
    /// Its name
    device: DeviceId,
    #[command(subcommand)]
    word: Say,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Say {
    /// Start nothing until it is told to go on; going home is not starting
    Hold,
    /// End a hold or a freeze, and try again what was given up
    Thaw,
    /// A release, or a plugin, that failed there may be tried again
    Lift {
        /// The digest of the release, or of the plugin's grant
        digest: Digest,
    },
}

#[derive(Serialize)]
struct Sent<'a> {
    device: &'a DeviceId,
    word: Word,
    sequence: u64,
}

impl Device {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let Self::Tell(Tell { device, word }) = self;
        let (word, said) = match word {
            Say::Hold => (Word::Hold, "to hold".to_owned()),
            Say::Thaw => (Word::Thaw, "to go on".to_owned()),
            Say::Lift { digest } => {
                (Word::Lift(*digest), format!("that {} may be tried again", digest.short()))
            }
        };
        let request = WordRequest { words: vec![word] };
        let Told { sequence } = desk.client()?.post(&format!("/v1/devices/{device}/words"), &request)?;
        let sent = Sent { device, word, sequence };
        desk.printer
            .show("device-word", &sent, || format!("{device} is told {said} (order {sequence})\n"))?;
        if matches!(word, Word::Lift(_)) {
            desk.printer
                .say("a plugin that was not loaded because of it is loaded at the device's next start");
        }
        desk.printer.say("it has followed when its journal says so: backstay evidence show");
        Ok(Exit::Done)
    }
}
