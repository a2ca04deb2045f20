//! Two slots for one program: one runs, the other waits, and at every moment one is whole and can run.
//!
//! Here: the [`Slots`] trait, which is all that the agent knows of any boot loader; [`Files`], a backend of
//! plain files that keeps the same promises as a boot loader with a redundant environment and a boot counter; and
//! [`Program`], which asks another program.
//! Not here: whether a release may run (`trust`, `core`), where its bytes come from (`hands`), when a trial
//! has been passed (`core`).
//!
//! Words: the *active* slot is the one that runs, as the link `current` says. The *confirmed* slot is the one
//! that a restart brings back. A *try* lets the other slot run for a counted number of restarts; who doesn't
//! confirm it in time is back on the confirmed one, without anybody's help.
//!
//! ```text
//!   Home(a) -- try_next(b) --> Trying(b, n) -- restart --> Trying(b, n-1), b runs -- confirm(b) --> Home(b)
//!   Trying(b, 0) -- restart --> Home(a), "fell back from b"
//!   any -- go_home(a) --> Home(a); what ran runs on until the restart
//! ```
//!
//! What always holds:
//! - `current` names a slot whose artifact was verified, at every moment, after every power cut;
//! - neither the active nor the confirmed slot is ever written to;
//! - nothing is staged while a try is open;
//! - a try is counted, durably, before it starts.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod answer;
mod artifact;
mod disk;
mod environment;
mod error;
mod files;
mod group;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod power_cut;
pub mod program;
mod running;

use std::path::PathBuf;

use backstay_model::{Release, SlotStatus};

pub use answer::{FINDING_BYTES_MAX, FINDINGS_MAX, SlotAnswer};
pub use artifact::{Artifact, is_out_of_descriptors, read_words, replace};
pub use disk::{Disk, System};
pub use environment::{
    BootWord, ReleaseWords, Slot, TRIES_MAX, Tries, WORDS_BYTES_MAX, release_from_words, sealed, unsealed,
};
pub use error::{ProvisionError, RAISE_THE_LIMIT, SlotError};
pub use files::{Boot, Files, Finding, provision};
pub use group::Group;
pub use program::{Program, ProgramFault};
pub use running::RunningAnswer;

/// Two slots, whatever it is that switches between them.
///
/// Every operation may be asked for again after a crash or because an order came twice: done before, it is a
/// success that changes nothing. All of them may block for as long as it takes to read an artifact.
pub trait Slots {
    /// What is where. Reads the other slot's artifact as a whole: what it calls verified was verified now.
    ///
    /// # Errors
    /// What runs can't be told.
    fn status(&mut self) -> Result<SlotStatus, SlotError>;

    /// Where what runs can be read: a file or a block device, in which there may be blocks of another release. It is only to be read,
    /// and may change meanwhile. `None`: nobody says.
    ///
    /// # Errors
    /// Whoever works the slots can't say it, or doesn't know the question.
    fn running(&mut self) -> Result<Option<PathBuf>, SlotError> {
        Ok(None)
    }

    /// Writes a release into the slot that doesn't run; what was there is kept until the new one is whole.
    /// `artifact` is read only if it isn't there already, and no further than one byte past its length.
    ///
    /// # Errors
    /// A try is open, the slot is the confirmed one, the bytes are not the release's, or the disk failed.
    fn stage(&mut self, release: &Release, artifact: &mut dyn Artifact) -> Result<(), SlotError>;

    /// Lets the next restart try the release in the other slot.
    ///
    /// # Errors
    /// It isn't there whole, another try is open, or the disk failed.
    fn try_next(&mut self, release: &Release) -> Result<(), SlotError>;

    /// Makes what runs the one that a restart brings back.
    ///
    /// # Errors
    /// `release` isn't what runs, or what runs was already given up, or the disk failed.
    fn confirm(&mut self, release: &Release) -> Result<(), SlotError>;

    /// Makes `release`, in the other slot, the one that the next restart brings back and that stays; an open
    /// try ends. What runs does so until that restart.
    ///
    /// # Errors
    /// It isn't there whole, or it is what runs on trial, or the disk failed.
    fn go_home(&mut self, release: &Release) -> Result<(), SlotError>;

    /// Makes `release` the last resort, where it is in the slot that doesn't run: no boot loader starts it any more before what is
    /// confirmed has failed to start as often as it may. Then it is that or a device that nobody reaches. `try_next` and
    /// `go_home` lift it. Where it isn't there is nothing to do, and that is a success.
    ///
    /// # Errors
    /// It is confirmed, or a try of it is open, or the disk failed.
    fn condemn(&mut self, release: &Release) -> Result<(), SlotError>;

    /// The boot loader's word on this boot: above all, whether the last try fell back before anybody of us ran.
    fn booted(&self) -> BootWord;

    /// This boot is fine, though the trial goes on: a try gets back all its tries, so that power that comes and
    /// goes during a long trial doesn't use them up.
    ///
    /// # Errors
    /// The disk failed.
    fn note_boot(&mut self) -> Result<(), SlotError>;
}
