//! What a run asks the host to do, and what came of it.
//!
//! Not here: whether a grant allows it (`host`), how it is done (`hands`, `slots`), when it is written down
//! (whoever drives the run).

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{Digest, Millis, Name, Outcome, Release};

/// The most of an effect's output that is given back to a plugin and kept with the run, in bytes. What is longer
/// is cut there and named by its digest.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// The most of an endpoint's answer that is given back where only some of its fields were asked for, in bytes. It is never
/// cut: half a document can't be read.
pub const FIELDS_BYTES_MAX: usize = 32 * 1024;

/// One thing that a run asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Which of the run's effects, from 0. With the run's ticket it is the idempotency key.
    pub ordinal: u32,
    /// Whether it can change anything. A dry run does only what looks.
    pub access: Access,
    /// What.
    pub deed: Deed,
}

/// Whether an effect can change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It only reads, and may be done again at will.
    Looks,
    /// It may leave something other than it was.
    Changes,
}

/// The closed list of what a run can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// A request to an endpoint that the configuration names; the host adds address and credentials.
    Http {
        /// Which endpoint.
        endpoint: Name,
        /// GET, PUT, ...
        method: String,
        /// From the endpoint's base, at most 1 KiB. Of a server's endpoint that speaks JSON `#` and a mask may end it: the
        /// fields of the answer that are kept.
        path: String,
        /// At most 64 KiB.
        body: Vec<u8>,
    },
    /// A command that the configuration names.
    Run {
        /// Which command.
        command: Name,
        /// Further arguments, each as it is: there is no shell. At most 32 of 1 KiB.
        args: Vec<String>,
    },
    /// Something about the device's slots.
    Slot(SlotDeed),
    /// A file below a path that the grant names, replaced in one go or not at all.
    File {
        /// Where.
        path: String,
        /// What, at most 64 KiB; `None` reads.
        content: Option<Vec<u8>>,
    },
    /// A message to a topic that the configuration names.
    Publish {
        /// Which topic.
        topic: Name,
        /// At most 4 KiB.
        payload: Vec<u8>,
    },
    /// Wait. Survives a restart as time left.
    Sleep {
        /// How long, at most an hour.
        span: Millis,
    },
    /// Keep something as evidence.
    Attach {
        /// What to call it.
        name: Name,
        /// At most 4 KiB.
        content: Vec<u8>,
    },
}

/// What can be asked of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotDeed {
    /// What is where: answered with [`Answer::Slots`].
    Status,
    /// Fetch, verify and write a release into the slot that does not run.
    Stage(Release),
    /// Run the other slot next, on trial: a boot that doesn't reach health falls back by itself.
    TryNext(Release),
    /// Make what runs now the one that a restart brings back.
    Confirm(Release),
    /// Make `Release` in the other slot the one that runs next and stays, and what runs now one that doesn't.
    GoHome(Release),
}

/// What came of an effect. A time-out is an outcome like any other, and is replayed as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is not kept")]
pub enum Answer {
    /// Done, with nothing to say.
    Done,
    /// A command ended.
    Exited {
        /// Its exit code; `None` where a signal ended it.
        code: Option<i32>,
        /// What it said.
        output: Output,
    },
    /// An endpoint answered.
    Response {
        /// The HTTP status.
        status: u16,
        /// The body; or of JSON what a mask keeps of it, at most [`FIELDS_BYTES_MAX`].
        body: Output,
    },
    /// What a file holds.
    Content(Output),
    /// What is where.
    Slots(SlotStatus),
    /// It didn't work.
    Failed(Outcome),
    /// It did not end in its time.
    TimedOut,
    /// The grant or the configuration doesn't have it. Nothing was done. At most 256 bytes of why.
    Refused(String),
    /// The host went down in the middle: it may have been done, or not, or half. Look before deciding.
    InDoubt,
}

/// What something said, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// At most [`OUTPUT_BYTES_MAX`], the end of it where it was longer. Fields of an answer have a bound of their own.
    pub bytes: Vec<u8>,
    /// Of all of it, where `bytes` is not all.
    pub whole: Option<Digest>,
}

/// What is in the slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// What runs.
    pub booted: Release,
    /// What a restart brings back.
    pub confirmed: Release,
    /// What is in the slot that doesn't run, whole and verified.
    pub other: Option<Release>,
    /// What a restart tries once, if something was asked to.
    pub trying: Option<Release>,
}
