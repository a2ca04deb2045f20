//! What a policy sees.
//!
//! Not here: how a signal is read (`hands`, `link`) and what a policy makes of it (the plugins).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Millis, Mono, Name, Permille, Release};

/// The most windows of one objective that a policy is shown, and that are kept.
pub const WINDOWS_MAX: usize = 16;

/// Whose fault a failed probe can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Of what runs here. Its failure can send a device home.
    Local,
    /// Of something that this depends on. Its failure freezes and never moves anybody.
    Dependency,
}

/// What one probe came back with. *Failed* is data: no sign of life. *Not run* is the lack of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading {
    /// As it should be.
    Passed,
    /// The answer was bad, or did not come in the time that it had.
    Failed,
    /// The probe could not be tried, so it says nothing.
    NotRun,
}

/// One closed span of one objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it opened.
    pub opened: Mono,
    /// How long it was open.
    pub span: Millis,
    /// Readings that say something. 0: there is no data.
    pub samples: u32,
    /// How many of the samples were bad; at most `samples`.
    pub bad: u32,
}

impl Window {
    /// The share of bad samples, or `None` without data.
    #[must_use]
    pub fn bad_share(&self) -> Option<Permille> {
        Permille::of(self.bad.into(), self.samples.into())
    }
}

/// Something that was promised, and how the last windows kept it, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// Its name in the configuration.
    pub name: Name,
    /// Whether breaking it is worth going back for.
    pub critical: bool,
    /// Whose fault it can be.
    pub scope: Scope,
    /// The side that is judged. At most [`WINDOWS_MAX`].
    pub candidate: Vec<Window>,
    /// The side that it is judged against, where there is one. At most [`WINDOWS_MAX`].
    pub baseline: Vec<Window>,
}

/// Trouble with the machine rather than the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infra {
    /// Which kind.
    pub kind: InfraKind,
    /// How often in the newest window.
    pub count: u32,
}

/// Kinds of trouble with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InfraKind {
    /// The supervised program ended by itself.
    ProcessExited,
    /// It ran out of memory.
    OutOfMemory,
    /// A machine was lost, or started anew.
    MachineLost,
    /// A disk is full or was mounted read-only.
    Disk,
    /// The network was gone.
    Network,
}

/// The promotion breaker, as a policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breaker {
    /// Promotion is allowed.
    Closed,
    /// After a roll-back: none for this long.
    Open {
        /// Until a small stage may be tried.
        left: Millis,
    },
    /// One small stage is being tried.
    HalfOpen,
}

/// What is known of shared data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    /// There is none, or nobody said.
    Unknown,
    /// At this version, and the release before can live with it.
    Compatible(u32),
    /// At this version, and the release before can *not* live with it.
    OneWay(u32),
}

/// All that a policy sees: nothing else is known to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Now, on the instance's clock.
    pub now: Mono,
    /// What is judged.
    pub release: Release,
    /// How far the release reaches: of a device, [`Permille::ALL`].
    pub stage: Permille,
    /// Whether the release has yet to earn trust.
    pub on_trial: bool,
    /// What was promised. At most 32.
    pub objectives: Vec<Objective>,
    /// How unusual things look, where somebody says so.
    pub anomaly: Option<Permille>,
    /// Trouble with the machine in the newest window. At most 16.
    pub infra: Vec<Infra>,
    /// Healing attempts since the target was last healthy.
    pub attempts: u32,
    /// The promotion breaker.
    pub breaker: Breaker,
    /// Shared data.
    pub schema: Schema,
}
