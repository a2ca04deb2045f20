//! What a device's state machine is given.

use alloc::{string::String, vec::Vec};

use backstay_model::{
    BootId, CohortId, Decision, DeviceId, Digest, Hardware, InfraKind, Label, Name, Outcome, Reading,
    Refused, Release, SlotStatus, Ticket, Transience, WayHome, Word,
};
use serde::{Deserialize, Serialize};

use super::steering::Steered;

/// What comes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The instance is up. Comes first, once.
    Up {
        /// Which boot of the machine.
        boot: BootId,
        /// What the slots hold; what they say goes before what was remembered.
        slots: SlotStatus,
    },
    /// What is on trial crashed in the boot before: its watchdog or its kernel ended it. May be said again in one boot.
    Crashed,
    /// The device was enrolled, or its labels changed.
    Enrolled(Identity),
    /// A probe ran, or should have.
    Reading {
        /// Which.
        probe: Name,
        /// What it came back with.
        reading: Reading,
    },
    /// Trouble with the machine.
    Trouble(InfraKind),
    /// The policy answered.
    Answered {
        /// The question.
        ticket: Ticket,
        /// The answer.
        decision: Decision,
    },
    /// The policy did not answer, or there is none.
    Unanswered {
        /// The question.
        ticket: Ticket,
        /// Why not.
        why: String,
    },
    /// A release was looked into.
    Vetted {
        /// The question.
        ticket: Ticket,
        /// What the release keys say of it.
        verdict: Vetted,
    },
    /// An executor took a run; its effects begin after this.
    Taken {
        /// Which run.
        ticket: Ticket,
        /// Which executor, by the digest of its grant. Nobody else goes on with the run.
        grant: Digest,
    },
    /// The executor that took a run may not go on with it now: it isn't there any more, or is in quarantine.
    Halted {
        /// Which run.
        ticket: Ticket,
        /// Why. At most 256 bytes.
        why: String,
    },
    /// A run ended.
    Ended {
        /// Which.
        ticket: Ticket,
        /// How.
        outcome: Outcome,
        /// What the slots hold now.
        slots: SlotStatus,
    },
    /// A verified steering message.
    Steered(Steered),
    /// Verified words for this device alone.
    Told {
        /// Grows with each message; one that isn't higher than the last changes nothing.
        sequence: u64,
        /// What, in this order.
        words: Vec<Word>,
        /// Whose signature they bear, by the key's digest.
        by: Digest,
    },
    /// Who may steer from now on: another keyring is trusted. What other keys have said counts no more.
    Trusts {
        /// The director's keys, by their digests.
        directors: Vec<Digest>,
    },
    /// Something came in that wasn't believed or understood.
    Refused(Refused),
    /// The time of [`crate::Device::deadline`] has come.
    Tick,
}

/// Who a device is. Signed by the operator's server at enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub device: DeviceId,
    /// Whose steering it follows.
    pub cohort: CohortId,
    /// What was said of it.
    pub labels: Vec<Label>,
}

/// What the release keys say of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vetted {
    /// It is theirs, and this is what it comes with.
    Genuine {
        /// The release as it was signed.
        release: Release,
        /// Where it may be left backwards for.
        way: WayHome,
        /// The machines that it is built for.
        hardware: Vec<Hardware>,
    },
    /// Nobody could be asked, or what came isn't theirs.
    Not {
        /// Whether asking again can help.
        transience: Transience,
        /// What went wrong.
        why: String,
    },
}
