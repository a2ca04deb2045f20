//! The words that every part of Backstay shares.
//!
//! Here: what a release, a window, a fact, a decision, an order and an event *are*, with their units and
//! bounds. Not here: what follows from them (`core`), how they look on the wire (`wire`), who vouches for
//! them (`trust`). No clock, no socket, no file: the crate is `no_std`, and the compiler is our witness.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

pub mod causes;
mod decision;
mod digest;
mod effect;
mod event;
mod facts;
mod handover;
mod name;
mod order;
mod plugged;
mod release;
mod report;
mod reset;
mod steer;
mod target;
mod telling;
mod time;
mod upgrade;
mod verdict;

pub use decision::{Action, Decision, How, Reason};
pub use digest::{Digest, DigestError};
pub use effect::{
    Access, Answer, Deed, Effect, FIELDS_BYTES_MAX, OUTPUT_BYTES_MAX, Output, SlotDeed, SlotStatus,
};
pub use event::{Cause, Event, Excluded, Refused};
pub use facts::{Breaker, Facts, Infra, InfraKind, Objective, Reading, Schema, Scope, WINDOWS_MAX, Window};
pub use handover::{Handover, HandoverStep};
pub use name::{
    BuildId, CohortId, DeviceId, FleetId, Hardware, Label, Name, NameError, PluginId, RolloutId, TargetId,
    Version,
};
pub use order::{Order, Outcome, Task, Transience};
pub use plugged::{Came, Equipped, Memo, PluginRole, Told};
pub use release::{Release, SchemaRange, WayHome};
pub use report::{Beat, Health, Report, Standing};
pub use reset::ResetCause;
pub use steer::{Channel, Direction, Generation, Reach, Selector, Steer, Word};
pub use target::{Brake, IncidentEnd, IncidentId, IncidentLabel, Mode, Rail, TargetEvent, TargetStep};
pub use time::{BootId, Fence, Millis, Mono, Permille, Ticket, UnixMs};
pub use upgrade::{Compared, PluginReport, PluginUpgrade, UpgradeStep};
pub use verdict::{Nonce, NonceError, Verdict, VerdictAction};
