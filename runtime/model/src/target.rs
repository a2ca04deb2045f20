//! What happens to a target of the server: a service that it watches, judges and brings back.
//!
//! Here: the words. Not here: what follows from what (`core`), and the events that targets share with devices: a policy was
//! asked and answered, a run began and ended. Those are [`Event`](crate::Event)s, and a ticket ties them to the
//! [`TargetStep`] that asked for them.

mod telling;

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::{
    Action, BuildId, Digest, Fence, How, Millis, Mono, Name, Outcome, Permille, Release, TargetId, Ticket,
};

/// One incident of an instance, counted from 1: from the first breach to the end of the last run and its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IncidentId(pub u64);

/// Whether what is decided is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It decides and tells, and acts on nothing.
    #[default]
    Observe,
    /// What passes the rails is done.
    Enforce,
}

/// Something that happened to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetEvent {
    /// Which.
    pub target: TargetId,
    /// As a part of this incident.
    pub incident: Option<IncidentId>,
    /// What.
    pub step: TargetStep,
}

/// What happened. New kinds are added at the end: the position of a kind is its number in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetStep {
    /// It is watched from now on, like this.
    Watched {
        /// Whether what is decided is done.
        mode: Mode,
    },
    /// It isn't in the configuration any more. What is known of it is kept.
    Unwatched,
    /// A pipeline said what is out.
    Deployed {
        /// Which release.
        release: Release,
        /// To how much of the traffic.
        stage: Permille,
        /// By which build.
        build: Option<BuildId>,
    },
    /// Its policy is asked.
    Asked {
        /// Which question.
        ticket: Ticket,
    },
    /// A release has been good for long enough at full reach: it may be gone back to.
    Confirmed {
        /// Which.
        release: Release,
    },
    /// A release will not be let out or gone back to again.
    Quarantined {
        /// Which.
        release: Release,
    },
    /// A release may be let out again.
    Lifted {
        /// Which.
        release: Release,
        /// By whom.
        who: Name,
        /// What for.
        reason: String,
    },
    /// An incident began.
    Opened {
        /// The first sign of it, in words. At most 256 bytes.
        why: String,
    },
    /// An incident is over.
    Closed {
        /// How it ended.
        end: IncidentEnd,
        /// From the beginning to the end.
        took: Millis,
    },
    /// A run is for this target.
    Ordered {
        /// Which run.
        ticket: Ticket,
        /// Its lock.
        fence: Fence,
    },
    /// It was brought back.
    CameHome {
        /// Where it was.
        from: Release,
        /// Where it is.
        to: Release,
        /// How.
        how: How,
        /// From the decision to now.
        took: Millis,
    },
    /// A run ended without what it was for.
    RunFailed {
        /// Which.
        ticket: Ticket,
        /// How.
        outcome: Outcome,
        /// When it is tried again; `None`: not by itself.
        again: Option<Mono>,
    },
    /// A rail kept a decision from being carried out.
    Restrained {
        /// What was wanted.
        wanted: Action,
        /// Which rail, and its numbers.
        rail: Rail,
    },
    /// Nothing is changed until somebody or something says more.
    Froze {
        /// Why.
        rail: Rail,
    },
    /// A freeze was lifted.
    Thawed {
        /// By whom; `None`: by windows that were good.
        who: Option<Name>,
    },
    /// The promotion breaker opened.
    BreakerOpened {
        /// Until when a small stage is let through.
        until: Mono,
    },
    /// The promotion breaker closed.
    BreakerClosed {
        /// By whom; `None`: by a small stage that was good.
        who: Option<Name>,
    },
    /// Mending helped: the target was healthy for as long as a proof takes.
    Cured {
        /// Tries that it took.
        attempts: u32,
        /// For how long it was healthy.
        held: Millis,
    },
    /// Mending was tried, the next try waits.
    Waits {
        /// Tries so far.
        attempts: u32,
        /// Until when.
        until: Mono,
    },
    /// A person is needed.
    Paged {
        /// Why.
        rail: Rail,
    },
    /// It is known better by now whether an action was right.
    Labelled {
        /// Which.
        label: IncidentLabel,
        /// By whom; `None`: by what was seen since.
        who: Option<Name>,
    },
    /// Something was done by hand.
    Override {
        /// By whom.
        who: Name,
        /// What, and what for. At most 256 bytes.
        what: String,
    },
    /// Its migration stands elsewhere now, or doesn't although somebody wants it to.
    Migration {
        /// Where, or why not. At most 256 bytes.
        what: String,
    },
    /// A release that was confirmed was to be left, whether it could be or not: it may be gone back to only once it is confirmed again.
    Distrusted {
        /// Which.
        release: Release,
    },
    /// An executor took a run, set up like this.
    SetUp {
        /// Which run.
        ticket: Ticket,
        /// The digest of what it was told: its own settings and those of the target.
        setup: Digest,
    },
}

impl TargetStep {
    /// The question or the run that it is about.
    #[must_use]
    pub const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Asked { ticket }
            | Self::Ordered { ticket, .. }
            | Self::RunFailed { ticket, .. }
            | Self::SetUp { ticket, .. } => Some(*ticket),
            Self::Watched { .. }
            | Self::Unwatched
            | Self::Deployed { .. }
            | Self::Confirmed { .. }
            | Self::Quarantined { .. }
            | Self::Lifted { .. }
            | Self::Opened { .. }
            | Self::Closed { .. }
            | Self::CameHome { .. }
            | Self::Restrained { .. }
            | Self::Froze { .. }
            | Self::Thawed { .. }
            | Self::BreakerOpened { .. }
            | Self::BreakerClosed { .. }
            | Self::Cured { .. }
            | Self::Waits { .. }
            | Self::Paged { .. }
            | Self::Labelled { .. }
            | Self::Override { .. }
            | Self::Migration { .. }
            | Self::Distrusted { .. } => None,
        }
    }
}

/// How an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentEnd {
    /// It went by before anything was done.
    Passed,
    /// Mending helped.
    Healed,
    /// The release before was brought back, and was healthy since.
    RolledBack,
    /// A person was needed, and said that it is over.
    ByHand,
    /// Another release went out.
    Superseded,
}

/// Whether an action was right, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentLabel {
    /// Nothing says otherwise: the release was bad.
    TruePositive,
    /// The release before was just as bad, so it wasn't the release.
    BaselineFailedToo,
    /// The same digest has been fine elsewhere for as long as it takes to trust it.
    FineElsewhere,
    /// A person says that it was wrong.
    FalsePositive,
}

impl IncidentLabel {
    /// Whether it counts as an action that should not have been.
    #[must_use]
    pub const fn is_false_positive(self) -> bool {
        match self {
            Self::TruePositive => false,
            Self::BaselineFailedToo | Self::FineElsewhere | Self::FalsePositive => true,
        }
    }
}

/// What no policy can switch off, and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rail {
    /// The target is only observed.
    Observed,
    /// Another run holds the target.
    Locked {
        /// Which.
        ticket: Ticket,
    },
    /// It is frozen.
    Frozen,
    /// The policy said so.
    Policy {
        /// Its first reason.
        why: String,
    },
    /// The policy did not answer.
    NoAnswer {
        /// Why not.
        why: String,
    },
    /// A person said so.
    Operator {
        /// Who.
        who: Name,
    },
    /// No release can be gone back to: none was confirmed here that isn't quarantined and can live with the schema.
    NoWayHome {
        /// Releases that were confirmed here, beside the one that is out.
        known: u32,
        /// Of them, those in quarantine.
        quarantined: u32,
        /// Of them, those that can't live with the schema.
        one_way: u32,
    },
    /// The release before isn't healthy either: going back would help nobody.
    BaselineBad {
        /// By this objective.
        objective: Name,
    },
    /// Too many changes lately.
    Brake {
        /// Of what: a target, a failure domain, or everything.
        of: Brake,
        /// So many.
        changes: u32,
        /// In this span.
        span: Millis,
    },
    /// All traffic was switched back; what goes out next, a person decides.
    Switched,
    /// Somebody undoes what is done here.
    Fight {
        /// So often.
        undone: u32,
    },
    /// It was mended and fell ill again too often.
    Relapses {
        /// So often.
        times: u32,
        /// In this span.
        span: Millis,
    },
    /// Everything that could mend it was tried.
    LadderSpent {
        /// So often.
        attempts: u32,
    },
    /// The next try has to wait.
    Backoff {
        /// Until then.
        until: Mono,
    },
    /// A run did not do what it was for.
    RunFailed {
        /// What came of it.
        outcome: Outcome,
    },
    /// Nothing is known, and nothing is done on nothing.
    NoData,
    /// No playbook of this name is configured, or none at all.
    NoPlaybook,
    /// The promotion breaker is open.
    BreakerOpen {
        /// For this much longer.
        left: Millis,
    },
    /// The promotion breaker lets a small stage through, and this is more.
    HalfOpen {
        /// The largest that is let through.
        stage_max: Permille,
    },
    /// The release is in quarantine here.
    InQuarantine,
    /// The data base is at a point of its migration that forbids it.
    Migration {
        /// What stands in the way.
        why: String,
        /// What to do about it.
        way_out: String,
    },
    /// Its executor was asked to hold what is on its way, and nobody asks it to let that go on any more.
    StillHeld,
}

/// Whose changes are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Brake {
    /// Of one target.
    Target,
    /// Of all targets of one failure domain.
    Domain,
    /// Of all targets.
    Estate,
}
