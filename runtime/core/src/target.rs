//! One target of the server: a service with a release that is out, judged window by window, mended, and brought back.
//!
//! Here: the state, what comes in, what goes out, and the rails that no policy can switch off. Not here: what a window says
//! (the policy), what holds all targets together (`estate`), how anything is done (executors), and what a pipeline is told
//! (`advice`).
//!
//! ```text
//!   a window closes -> the policy is asked -> proceed      counts for the release, for a cure, and towards the end of an incident
//!                                          -> slow         the release is looked at for longer
//!                                          -> heal         the ladder's next playbook, if the rails let it: a run
//!                                          -> roll back    the newest good release, if the rails let it: a run
//!                                          -> freeze, pause, no answer: nothing moves until windows are good again
//! ```
//!
//! *Out* is the release that a pipeline let out; *good* are releases that were confirmed here and may be gone back to; a
//! *hold* keeps anything from being changed.

mod deciding;
mod history;
mod holding;
mod incident;
#[cfg(test)]
mod interleavings;
mod migrating;
mod operating;
mod pacing;
mod rails;
mod running;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod world;

use alloc::{string::String, vec::Vec};

use backstay_model::{
    BuildId, Digest, Event, Facts, IncidentId, IncidentLabel, Infra, Millis, Mode, Mono, Name, Objective,
    Order, Outcome, Permille, Rail, Release, SchemaRange, TargetEvent, TargetId, TargetStep, Ticket,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::history::unnamed;
pub use self::{
    deciding::SMALL_STAGE,
    history::{Good, Past},
    holding::Hold,
    incident::{Incident, Remedy},
    migrating::LOOK,
    pacing::{GO_ON, HOLD, Pace},
    running::{Purpose, Running, Work},
};

use crate::{
    Allowance, Backoff, Breaker, Budget, GateWish, Ladder, Lock, Migration, Reply, Rung, SchemaLook,
    estate::Desk,
};

/// What is set for a target. It comes from the configuration at each start, and isn't kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSettings {
    /// Whether what is decided is done.
    pub mode: Mode,
    /// Whatever fails together: a zone, a cluster.
    pub domain: Name,
    /// How long a window is.
    pub window: Millis,
    /// What can be tried to mend it, in this order. At most [`RUNGS_MAX`](crate::RUNGS_MAX).
    pub playbooks: Vec<Rung>,
    /// Between two tries to mend it, and between two tries of a run that failed for now.
    pub backoff: Backoff,
    /// How long nothing is promoted after a roll-back.
    pub breaker: Millis,
    /// How long a run may take.
    pub run_limit: Millis,
    /// Good windows at full reach that confirm a release.
    pub confirm_windows: u32,
    /// Good windows that prove a cure, or end an incident.
    pub cure_windows: u32,
    /// Roll-backs.
    pub roll_backs: Allowance,
    /// Tries to mend it.
    pub mends: Allowance,
    /// How it is known which version the data has that its releases share; none: nobody said.
    pub schema: Option<SharedData>,
    /// Its way to another schema, if it is a data base.
    pub migration: Option<Migration>,
    /// Whether its executor is asked what it sees at the end of each window.
    pub looks: bool,
    /// Whether its executor can be asked to hold a release where it stands.
    pub holds: bool,
}

/// How it is known which version the data has that a target's releases share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedData {
    /// Somebody said so.
    Version(u32),
    /// This target is the data base, and its migration knows.
    Of(TargetId),
}

/// What is known of a target, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetState {
    out: Option<Out>,
    good: Vec<Good>,
    quarantine: Vec<Release>,
    breaker: Breaker,
    hold: Hold,
    ladder: Ladder,
    cures: Budget,
    roll_backs: Budget,
    mends: Budget,
    lock: Lock,
    work: Work,
    undone: Option<Undone>,
    incident: Option<Incident>,
    past: Vec<Past>,
    question: Option<Question>,
    judged: Option<Judged>,
    /// When a window was last counted as good.
    counted: Option<Mono>,
}

/// A release that a pipeline let out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Out {
    /// Which.
    pub release: Release,
    /// To how much of the traffic.
    pub stage: Permille,
    /// By which build.
    pub build: Option<BuildId>,
    /// The schemas that it can live with; none: nobody said.
    pub schema: Option<SchemaRange>,
    /// Since when.
    pub since: Mono,
    /// Good windows in a row at this stage.
    pub good: u32,
    /// Whether it may be gone back to.
    pub confirmed: bool,
}

/// A roll-back of ours, and how often somebody let the same release out again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Undone {
    digest: Digest,
    times: u32,
}

/// What the policy is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    ticket: Ticket,
    about: Digest,
    /// A critical objective that is no better on the side to go back to.
    baseline_bad: Option<Name>,
}

/// What the policy said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// When.
    pub at: Mono,
    /// About which release.
    pub about: Digest,
    /// What.
    pub decision: backstay_model::Decision,
}

/// The signals of one closed window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// The last windows of each objective, oldest first. At most 32.
    pub objectives: Vec<Objective>,
    /// How unusual things look, where somebody says so.
    pub anomaly: Option<Permille>,
    /// Trouble with the machines in the window. At most 16.
    pub infra: Vec<Infra>,
}

/// What comes in for a target.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetInput {
    /// A pipeline says what is out.
    Deployed {
        /// Which, as its token names it.
        who: Name,
        /// Which release.
        release: Release,
        /// To how much of the traffic.
        stage: Permille,
        /// By which build.
        build: Option<BuildId>,
        /// The schemas that it can live with.
        schema: Option<SchemaRange>,
    },
    /// Its executor looked, and saw what is out.
    SeenOut {
        /// Which release.
        release: Release,
        /// To how much of the traffic.
        stage: Permille,
    },
    /// A window closed.
    Window(Signals),
    /// The policy answered, or did not.
    Policy {
        /// The question.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// An executor took a run; its effects begin after this.
    Taken {
        /// Which run.
        ticket: Ticket,
        /// Which executor, by the digest of its grant.
        grant: Digest,
        /// How it is set up for the target, by the digest of what it is told; none: nobody knows.
        setup: Option<Digest>,
    },
    /// A run ended.
    Ended {
        /// Which.
        ticket: Ticket,
        /// How.
        outcome: Outcome,
    },
    /// A person did something.
    Operator {
        /// Who, as the token names them.
        who: Name,
        /// What for.
        reason: String,
        /// What.
        wish: Wish,
    },
    /// The same release was confirmed at another target.
    FineElsewhere(Digest),
    /// Its executor looked at the data base that it is.
    Looked(SchemaLook),
}

/// What a person can want of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing is changed until it is thawed.
    Freeze,
    /// Lift a freeze.
    Thaw,
    /// Bring the release before back now.
    RollBack,
    /// Try this playbook now.
    Heal(Name),
    /// Close the promotion breaker.
    CloseBreaker,
    /// Let a release out of quarantine.
    Lift(Digest),
    /// Say whether an action was right.
    Mark(IncidentId, IncidentLabel),
    /// Take its data base a step further, or back.
    Migrate(GateWish),
}

/// What is to be done for a target, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetEffect {
    /// Write down, in the words that targets share with devices; durable before anything that follows is begun.
    Record(Event),
    /// Write down; durable before anything that follows is begun.
    Note(TargetEvent),
    /// Ask the target's policy; [`TargetInput::Policy`] comes back.
    Ask {
        /// Which target.
        target: TargetId,
        /// Ties the answer to it.
        ticket: Ticket,
        /// All that it sees.
        facts: Facts,
    },
    /// Begin a run, or go on with one after a restart: [`TargetInput::Taken`] and [`TargetInput::Ended`] come back.
    Run {
        /// Which target.
        target: TargetId,
        /// What for.
        order: Order,
        /// The executor that began it, by its grant, where one has: it goes on or nobody does.
        grant: Option<Digest>,
    },
    /// Let go of a run where it stands; [`TargetInput::Ended`] comes back with this outcome.
    Abandon {
        /// Which target.
        target: TargetId,
        /// Which run.
        ticket: Ticket,
        /// How it ended.
        outcome: Outcome,
    },
    /// Ask its executor what it sees: something has just happened, and a look that is under way may have missed it.
    Look {
        /// Which target.
        target: TargetId,
    },
    /// Tell a person.
    Page {
        /// About which target.
        target: TargetId,
        /// As a part of this incident.
        incident: Option<IncidentId>,
        /// Why.
        rail: Rail,
    },
}

/// One target.
#[derive(Clone, Debug)]
pub struct Target {
    id: TargetId,
    settings: TargetSettings,
    state: TargetState,
    /// What the open question shows. It is written down with the answer, if that is worth it.
    asked: Option<Facts>,
    paced: pacing::Paced,
}

impl Target {
    /// Goes on from `state`.
    pub(crate) fn new(id: TargetId, settings: TargetSettings, state: TargetState) -> Self {
        Self { id, settings, state, asked: None, paced: pacing::Paced::default() }
    }

    /// What is kept of it.
    #[must_use]
    pub fn state(&self) -> &TargetState {
        &self.state
    }

    /// How it is set.
    #[must_use]
    pub fn settings(&self) -> &TargetSettings {
        &self.settings
    }

    pub(crate) fn set(&mut self, settings: TargetSettings) {
        self.settings = settings;
    }

    /// Takes one input.
    pub(crate) fn step(&mut self, now: Mono, input: TargetInput, desk: &mut Desk<'_>) {
        match input {
            TargetInput::Deployed { who, release, stage, build, schema } => {
                self.is_told_out(
                    now,
                    &who,
                    Out { release, stage, build, schema, since: now, good: 0, confirmed: false },
                    desk,
                );
            }
            TargetInput::SeenOut { release, stage } => self.seen_out(now, release, stage, desk),
            TargetInput::Window(signals) => self.window(now, signals, desk),
            TargetInput::Policy { ticket, reply } => {
                self.policy(now, ticket, reply, desk);
                self.paces(now, desk);
            }
            TargetInput::Taken { ticket, grant, setup } => self.taken(ticket, grant, setup, desk),
            TargetInput::Ended { ticket, outcome } => self.ended(now, ticket, outcome, desk),
            TargetInput::Operator { who, reason, wish } => self.operator(now, &who, reason, wish, desk),
            TargetInput::FineElsewhere(digest) => self.fine_elsewhere(&digest, desk),
            TargetInput::Looked(look) => self.looked(now, &look, desk),
        }
    }

    /// Does what the time asks for.
    pub(crate) fn tick(&mut self, now: Mono, desk: &mut Desk<'_>) {
        self.wake_breaker(now);
        self.wake_work(now, desk);
    }

    /// The next moment at which [`Target::tick`] would change anything.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        [self.state.breaker.deadline(), self.state.work.deadline()].into_iter().flatten().min()
    }

    fn note(&self, step: TargetStep, desk: &mut Desk<'_>) {
        let incident = self.state.incident.as_ref().map(|incident| incident.id);
        desk.out.push(TargetEffect::Note(TargetEvent { target: self.id.clone(), incident, step }));
    }

    /// A person is needed: written down, and told.
    fn page(&self, rail: Rail, desk: &mut Desk<'_>) {
        self.note(TargetStep::Paged { rail: rail.clone() }, desk);
        let incident = self.state.incident.as_ref().map(|incident| incident.id);
        desk.out.push(TargetEffect::Page { target: self.id.clone(), incident, rail });
    }

    fn wake_breaker(&mut self, now: Mono) {
        self.state.breaker.wake(now);
    }

    /// What is judged: what a pipeline let out, or what is good here, or a release that nobody named.
    fn judged_release(&self) -> (Release, Permille, bool) {
        match (&self.state.out, self.state.good.first()) {
            (Some(out), _) => (out.release.clone(), out.stage, !out.confirmed),
            (None, Some(good)) => (good.release.clone(), Permille::ALL, false),
            (None, None) => (unnamed(), Permille::ALL, false),
        }
    }
}

impl TargetState {
    /// What a pipeline let out.
    #[must_use]
    pub fn out(&self) -> Option<&Out> {
        self.out.as_ref()
    }

    /// The releases that may be gone back to, newest first.
    #[must_use]
    pub fn good(&self) -> &[Good] {
        &self.good
    }

    /// The releases that are kept from being let out, newest first.
    #[must_use]
    pub fn quarantine(&self) -> &[Release] {
        &self.quarantine
    }

    /// What keeps anything from being changed.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The promotion breaker.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The run that is open.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// The incident that is open.
    #[must_use]
    pub fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }

    /// Incidents that are over, newest first. At most 32.
    #[must_use]
    pub fn past(&self) -> &[Past] {
        &self.past
    }

    /// What the policy said last.
    #[must_use]
    pub fn judged(&self) -> Option<&Judged> {
        self.judged.as_ref()
    }

    /// Tries to mend it since it was last healthy.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.ladder.attempts()
    }

    /// Whether a release is kept from being let out.
    #[must_use]
    pub fn is_quarantined(&self, digest: &Digest) -> bool {
        self.quarantine.iter().any(|release| release.digest == *digest)
    }
}
