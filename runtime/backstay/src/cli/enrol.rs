//! `backstay enrol`: how a device gets into the fleet.
//!
//! By a one-time token that somebody carries to it, or by comparing the fingerprint that it shows with the one that
//! the server has. The whole of it: an attacker can make a key whose first digits are the same.

use backstay_api::{EnrolAnswer, MintedToken, PendingView};
use backstay_model::{CohortId, DeviceId, Digest, Label};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, table::Table, text};

/// New devices.
#[derive(Debug, Subcommand)]
pub(crate) enum Enrol {
    /// Make a token that enrols one device, once
    #[command(
        after_help = "Example:\n  backstay enrol token --device pump-7 --cohort canary --label site=basel > token"
    )]
    Token(Who),
    /// The devices that wait for a yes
    #[command(after_help = "Example:\n  backstay enrol pending")]
    Pending,
    /// Say yes to a device whose fingerprint you have compared
    #[command(after_help = "Example:\n  backstay enrol accept 5f0c...e1 --device pump-7 --cohort canary")]
    Accept {
        /// All 64 digits that the device shows
        fingerprint: Digest,
        #[command(flatten)]
        who: Who,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Who {
    /// Its name, for life
    #[arg(long)]
    device: DeviceId,
    /// Whose steering it follows
    #[arg(long)]
    cohort: CohortId,
    /// What is said of it
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
}

impl Who {
    fn answer(&self) -> EnrolAnswer {
        EnrolAnswer { device: self.device.clone(), cohort: self.cohort.clone(), labels: self.labels.clone() }
    }
}

#[derive(Serialize)]
struct Waiting {
    pending: Vec<PendingView>,
}

#[derive(Serialize)]
struct Accepted<'a> {
    fingerprint: &'a Digest,
    device: &'a DeviceId,
    cohort: &'a CohortId,
}

impl Enrol {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        match self {
            Self::Token(who) => {
                let minted: MintedToken = client.post("/v1/tokens", &who.answer())?;
                let device = &who.device;
                desk.printer
                    .say(format_args!("this enrols one device as {device}, once; it is not shown again"));
                desk.printer.show("enrol-token", &minted, || format!("{}\n", text::plain(&minted.token)))?;
            }
            Self::Pending => {
                let waiting = Waiting { pending: client.get("/v1/enrolments")? };
                desk.printer.show("enrol-pending", &waiting, || {
                    let mut table = Table::new(["FINGERPRINT", "HARDWARE", "WAITS"]);
                    for view in &waiting.pending {
                        let fingerprint = view.fingerprint.to_string();
                        table.row([fingerprint, view.hardware.to_string(), text::age(view.waits_ms)]);
                    }
                    table.to_string()
                })?;
                if waiting.pending.is_empty() {
                    desk.printer.say("no device waits");
                }
            }
            Self::Accept { fingerprint, who } => {
                client.tell(&format!("/v1/enrolments/{fingerprint}"), &who.answer())?;
                let accepted = Accepted { fingerprint, device: &who.device, cohort: &who.cohort };
                desk.printer.show("enrol-accepted", &accepted, || {
                    format!("{} is enrolled in {} with key {}\n", who.device, who.cohort, fingerprint.short())
                })?;
            }
        }
        Ok(Exit::Done)
    }
}
