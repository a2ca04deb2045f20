//! One cohort on the server: a release on its way to many devices, wave by wave, or back in one turn.
//!
//! Here: what goes in, what comes out, and the order of things. In `cohort/`: the settings (`plan`), the devices
//! as the server knows them (`roster`), what they add up to (`tally`), what was decided (`helm`), what windows
//! and answers lead to (`judging`), what people may want (`operating`, `refusal`), where home is (`back`), what the
//! broker remembers better (`recall`), and the view (`overview`).
//! Not here: how a device follows (`device`), what a message looks like, who signs it, and the clock.
//!
//! ```text
//!   Idle -- start --> Forward, wave 0 -- good windows --> wave 1 ... -- good windows --> Arrived
//!   Forward -- silence, no answer, freeze, a person --> Held -- good windows, a person --> Forward
//!   Forward, Held -- too many failures, policy, a person --> Home: frozen, breaker open
//!   Forward, Held, Arrived -- abort --> Ended
//!   Arrived, Ended, Home (thawed) -- start of another one --> Forward
//! ```
//!
//! A *wave* is how far a rollout reaches. A *window* is a span whose end is judged. A *turn* is the one way from
//! forward to home; there is none back. *Held* is frozen with the rollout kept; *frozen* means that no other one
//! begins.

mod back;
mod helm;
mod judging;
mod operating;
mod overview;
mod plan;
mod recall;
mod refusal;
mod roster;
#[cfg(test)]
mod stories;
mod tally;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod world;

use alloc::{string::String, vec::Vec};
use core::fmt;

use backstay_model::{
    Beat, CohortId, Decision, DeviceId, Digest, Event, Facts, Label, Mono, Name, Report, Steer, Ticket,
};
use serde::{Deserialize, Serialize};

use self::roster::News;
pub use self::{
    back::Leading,
    helm::{Helm, Rollout},
    overview::{Counts, Overview, Stage, WaveView},
    plan::{Plan, PlanError, WAVES_MAX},
    refusal::{StartError, Startable, WishError},
    roster::{Contact, Roster},
};

/// The closed list of what can happen to a cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CohortInput {
    /// The instance is up and the state was restored: what is in force is published again, and a question that
    /// nobody remembers is asked again.
    Restarted,
    /// A rollout is to begin. The same one again changes nothing.
    Start {
        /// Who wants it.
        who: Name,
        /// Which.
        rollout: Rollout,
    },
    /// A person wants something.
    Operator {
        /// Who.
        who: Name,
        /// What.
        wish: Wish,
        /// What for, in their own words: it is recorded with the wish. What is beyond 256 bytes is cut.
        reason: Option<String>,
    },
    /// A device's signed word. It enrols a device that isn't known, so one that left must not come here.
    Report {
        /// Whose.
        device: DeviceId,
        /// What it says.
        report: Report,
        /// As they were signed at its enrolment.
        labels: Vec<Label>,
    },
    /// A device's session began or ended. Of a device that isn't known it changes nothing.
    Presence {
        /// Whose.
        device: DeviceId,
        /// Which session.
        nonce: u64,
        /// When it began, on the device's clock.
        began: Mono,
        /// Whether it goes on.
        contact: Contact,
    },
    /// A sign of life. [`Cohort::beat`] is the same without an input to make.
    Beat {
        /// Whose.
        device: DeviceId,
        /// What came.
        beat: Beat,
    },
    /// A device belongs to the cohort, or its labels changed.
    Enrolled {
        /// Which.
        device: DeviceId,
        /// As they were signed.
        labels: Vec<Label>,
    },
    /// A device no longer belongs to the cohort.
    Left {
        /// Which.
        device: DeviceId,
    },
    /// A policy answered, or will not. Only the newest question is open.
    Policy {
        /// Which question.
        ticket: Ticket,
        /// What came of it.
        reply: Reply,
    },
    /// A steering message of this cohort as the broker has it: signed with our own key, and that was checked. Mostly
    /// it is what was just said. Where it is newer than what is known here, the state is from an old copy, and what
    /// the broker has is taken over. To be given for generations from ours on.
    OwnWords {
        /// What it says.
        steer: Steer,
        /// How its rollout goes forward, where that was lost.
        plan: Plan,
    },
    /// Time has passed: [`Cohort::deadline`].
    Tick,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The answer.
    Decided(Decision),
    /// There is none: the policy trapped, ran out of time, or there is no policy.
    Unanswered {
        /// Why. What is beyond 256 bytes is cut.
        why: String,
    },
}

/// What a person can want of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Nobody starts anything until a person says so. A breach still turns the cohort round.
    Pause,
    /// Go on with a rollout that is held, whoever held it.
    Resume,
    /// End the rollout where it is: who is on the release stays.
    Abort,
    /// Everybody who is on the release goes home. At any time, and the rollout never goes forward again.
    Rollback,
    /// Lift a freeze: a rollout that is held goes on; after a turn another one may begin.
    Thaw,
    /// A release that the cohort was turned away from may be begun again.
    Lift(Digest),
    /// Promotion is allowed again, and not only a little of it.
    CloseBreaker,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::Abort => f.write_str("abort"),
            Self::Rollback => f.write_str("roll back"),
            Self::Thaw => f.write_str("thaw"),
            Self::Lift(release) => write!(f, "lift the quarantine of {}", release.short()),
            Self::CloseBreaker => f.write_str("close the breaker"),
        }
    }
}

/// The closed list of what a cohort wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CohortEffect {
    /// Write it down. It has to be durable, together with [`Cohort::helm`] as it is after the step, before
    /// anything that follows it in the list is done.
    Record(Event),
    /// Sign it and publish it retained, in place of the one before. The same generation always says the same.
    Publish(Steer),
    /// Ask the policy; the answer comes back as [`CohortInput::Policy`]. One that does not come by the end of
    /// the window counts as none.
    Ask {
        /// Ties the answer to it.
        ticket: Ticket,
        /// What it is shown.
        facts: Facts,
    },
}

type Effects = Vec<CohortEffect>;

/// One cohort on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    helm: Helm,
    roster: Roster,
}

impl Cohort {
    /// A cohort of which nothing is known.
    #[must_use]
    pub fn new(cohort: CohortId) -> Self {
        Self { helm: Helm::new(cohort), roster: Roster::default() }
    }

    /// Goes on from what was written down. The roster may be empty: it is learnt again from what devices say.
    /// [`CohortInput::Restarted`] has to follow.
    #[must_use]
    pub fn restore(helm: Helm, mut roster: Roster) -> Self {
        let helm = helm.restore();
        if let Some(course) = helm.phase.course() {
            roster.aim(course.plan.aim());
        }
        Self { helm, roster }
    }

    /// What was decided: to be written down with the records of each step.
    #[must_use]
    pub fn helm(&self) -> &Helm {
        &self.helm
    }

    /// The devices as they are known: may be written down now and then, or never.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Takes one input at `now`, changes state, and says what is to be done, in order.
    pub fn step(&mut self, now: Mono, input: CohortInput) -> Vec<CohortEffect> {
        let mut out = Vec::new();
        self.helm.breaker.wake(now);
        self.helm.reopen(now);
        match input {
            CohortInput::Restarted => {
                self.helm.wait_for_words(now);
                self.helm.assert_again(&mut out);
                self.ask_again(now, &mut out);
            }
            CohortInput::Start { who, rollout } => self.start(now, &who, rollout, &mut out),
            CohortInput::Operator { who, wish, reason } => {
                self.operate(now, who, wish, reason.as_deref(), &mut out);
            }
            CohortInput::Report { device, report, labels } => {
                self.report(now, &device, report, labels, &mut out);
            }
            CohortInput::Presence { device, nonce, began, contact } => {
                self.roster.presence(now, &device, nonce, began, contact);
            }
            CohortInput::Beat { device, beat } => self.beat(now, &device, beat),
            CohortInput::Enrolled { device, labels } => self.roster.enrol(device, labels),
            CohortInput::Left { device } => self.roster.leave(&device),
            CohortInput::Policy { ticket, reply } => self.answered(now, ticket, reply, &mut out),
            CohortInput::OwnWords { steer, plan } => self.recall(now, steer, plan, &mut out),
            CohortInput::Tick => {}
        }
        self.wake(now, &mut out);
        out
    }

    /// Takes a sign of life. It never leads to anything by itself, so there is nothing to do.
    pub fn beat(&mut self, now: Mono, device: &DeviceId, beat: Beat) {
        self.roster.beat(now, device, beat);
    }

    /// The next moment at which [`CohortInput::Tick`] would change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let helm = &self.helm;
        [helm.phase.closes(), helm.breaker.deadline(), helm.reassert_at()].into_iter().flatten().min()
    }

    fn report(
        &mut self,
        now: Mono,
        device: &DeviceId,
        report: Report,
        labels: Vec<Label>,
        out: &mut Effects,
    ) {
        if report.cohort != self.helm.cohort {
            return self.roster.ignore();
        }
        let generation = report.steered.as_ref().map(|&(_, generation)| generation);
        match self.roster.report(now, device, report, labels) {
            News::None => return,
            News::Some => {}
            News::Failed => self.failed(now, out),
        }
        if generation.is_some_and(|generation| !self.helm.seen(now, generation)) {
            self.roster.ignore();
        }
    }
}
