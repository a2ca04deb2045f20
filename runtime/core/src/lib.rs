//! The decisions: pure state machines from `(now, input)` to effects.
//!
//! Here: every `if` about health, releases, waves, retries, locks and breakers. Not here: a clock, a socket, a
//! file, a thread. The same code runs on a device, on the server and in a simulated fleet of thousands.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod advice;
mod agenda;
mod backoff;
mod breaker;
mod budget;
mod cohort;
pub mod credential;
mod device;
mod estate;
mod gate;
mod hearing;
mod heights;
mod ladder;
mod lock;
mod migrations;
mod quarantine;
mod reset;
mod rng;
mod schema_gate;
mod setback;
mod succession;
mod target;
mod upgrade;
mod windows;

pub use advice::{Advice, Query};
pub use agenda::Agenda;
pub use backoff::Backoff;
pub use breaker::Breaker;
pub use budget::{Allowance, Budget};
pub use cohort::{
    Cohort, CohortEffect, CohortInput, Contact, Counts, Helm, Leading, Overview, Plan, PlanError, Reply,
    Rollout, Roster, Stage, StartError, Startable, WAVES_MAX, WaveView, Wish, WishError,
};
pub use device::{
    Device, DeviceHeights, DeviceSettings, DeviceState, Effect, Freshness, Identity, Input, Second,
    StateTail, Steered, Vetted, Watermarks,
};
pub use estate::{Allowances, Brakes, Estate, Shared, Spent};
pub use gate::{Asked, Gate, Heard, Patience, Stop, Unheard};
pub use heights::Heights;
pub use ladder::{Climb, Ladder, Outlook, RUNGS_MAX, Rung};
pub use lock::{Lock, Locked, Stale};
pub use migrations::{Migrating, Migrations, Ordered};
pub use quarantine::Quarantine;
pub use reset::{Before, Reset, Traces, Tried};
pub use rng::Rng;
pub use schema_gate::{
    Code, Columns, DualWriter, FlagState, GateMove, GateRefusal, GateWish, Hindrance, Migration, Phase,
    SchemaGate, SchemaLook, Sight, Step, StepEnd, Unfit,
};
pub use setback::Retries;
pub use succession::{Bench, Confidence, Move, Said, Standing, Succession, Terms, Trouble, Turn};
pub use target::{
    GO_ON, Good, HOLD, Hold, Incident, Judged, LOOK, Out, Pace, Past, Purpose, Remedy, Running, SMALL_STAGE,
    SharedData, Signals, Target, TargetEffect, TargetInput, TargetSettings, TargetState, Wish as TargetWish,
    Work,
};
pub use upgrade::{Bundle, Configured, Fetched, Upgrade, UpgradeEffect, UpgradeInput, Wanted};
pub use windows::{Watched, Windows};
