//! What the roster adds up to at the end of a window, and what a policy is shown of it.
//!
//! Here: counting, and the questions that a count answers by itself. Not here: what follows (`judging`).
//! A window holds the state at its end, not what changed in it: a device that failed stays bad, and one that
//! settled stays good, until it says something else.

use alloc::{vec, vec::Vec};

use backstay_model::{
    Breaker, Cause, Facts, Health, Millis, Mono, Name, Objective, Permille, Reach, Release, Schema, Scope,
    WINDOWS_MAX, Window,
};
use serde::{Deserialize, Serialize};

use super::{
    helm::Stuck,
    plan::Plan,
    roster::{Mark, Pulse, Roster},
};

/// The devices within reach, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) reached: u32,
    /// Updated.
    pub(super) settled: u32,
    /// Condemned the release or came home from it.
    pub(super) failed: u32,
    /// Of both, those who are there: without any, what is known is old.
    pub(super) fresh: u32,
    /// There, and not done.
    pub(super) pending: u32,
    /// Not there or stuck, and not done.
    pub(super) away: u32,
    pub(super) excluded: u32,
    /// In the newest wave, without those who sit it out, and how many of them are done.
    pub(super) newest: u32,
    pub(super) newest_done: u32,
    /// There.
    pub(super) live: u32,
    /// Should be there, and how many of them are silent.
    pub(super) expected: u32,
    pub(super) silent: u32,
    /// On the release and there: well, not well, and not known.
    pub(super) well: u32,
    pub(super) unwell: u32,
    pub(super) untold: u32,
}

impl Tally {
    /// Counts those within `reach`; the newest wave are those beyond `before`.
    pub(super) fn take(
        roster: &Roster,
        now: Mono,
        release: &Release,
        plan: &Plan,
        before: Reach,
        reach: Reach,
    ) -> Self {
        let mut tally = Self::default();
        let release = &release.digest;
        for member in roster.members().filter(|member| member.is_meant() && member.place() <= reach) {
            tally.reached += 1;
            let pulse = member.pulse(now, plan.silence);
            let mark = member.mark(release);
            match mark {
                Mark::Settled => tally.settled += 1,
                Mark::Failed => tally.failed += 1,
                Mark::SitsOut => tally.excluded += 1,
                Mark::Stuck => tally.away += 1,
                Mark::Waiting | Mark::Trying => match pulse {
                    Pulse::Live | Pulse::Silent => tally.pending += 1,
                    Pulse::Away => tally.away += 1,
                },
            }
            let done = matches!(mark, Mark::Settled | Mark::Failed);
            if member.place() > before && mark != Mark::SitsOut {
                tally.newest += 1;
                tally.newest_done += u32::from(done);
            }
            match pulse {
                Pulse::Live => {
                    tally.live += 1;
                    tally.expected += 1;
                    tally.fresh += u32::from(done);
                }
                Pulse::Silent => {
                    tally.expected += 1;
                    tally.silent += 1;
                }
                // Gone in the middle of a try and not back in time: that is no device that sleeps.
                Pulse::Away if mark == Mark::Trying && !member.is_fresh(now, plan.silence) => {
                    tally.expected += 1;
                    tally.silent += 1;
                }
                Pulse::Away => {}
            }
            if pulse == Pulse::Live && member.is_on(release) {
                match member.health() {
                    Health::Good => tally.well += 1,
                    Health::Bad => tally.unwell += 1,
                    Health::Unknown => tally.untold += 1,
                }
            }
        }
        tally
    }

    /// Those who finished a try.
    pub(super) fn tried(&self) -> u32 {
        self.settled + self.failed
    }

    /// What there is to judge by, as it is remembered where a wave comes to no end.
    pub(super) fn stuck(&self) -> Stuck {
        Stuck { open: self.live.saturating_sub(self.fresh), tried: self.tried(), again: 0 }
    }

    /// Whether there is anything to judge by, and none of it merely old.
    pub(super) fn has_data(&self) -> bool {
        self.tried() > 0 && self.fresh > 0
    }

    /// Whether enough of those who tried settled.
    pub(super) fn succeeds(&self, plan: &Plan) -> bool {
        // Compared as a product: a share that is rounded down could hide the last failure.
        u64::from(self.settled) * 1000 >= u64::from(plan.success_min.get()) * u64::from(self.tried())
    }

    /// Whether so many failed that the cohort is turned round without asking anybody.
    ///
    /// A failure is often quicker than a success, so those who are on the way count as if they were to settle:
    /// otherwise the first two words of a large wave could turn it.
    pub(super) fn breaches(&self, plan: &Plan) -> bool {
        let hopeful = Self { settled: self.settled + self.pending, ..*self };
        self.failed > plan.failures_max && !hopeful.succeeds(plan)
    }

    /// Whether so many are silent that nothing is known.
    pub(super) fn is_silent(&self, plan: &Plan) -> bool {
        self.silent > 0
            && u64::from(self.silent) * 1000 > u64::from(plan.silent_max.get()) * u64::from(self.expected)
    }

    /// Whether everybody within reach is done or sits it out.
    pub(super) fn is_complete(&self) -> bool {
        self.pending == 0 && self.away == 0
    }

    /// Whether the newest wave has something to say for itself.
    pub(super) fn newest_answered(&self) -> bool {
        self.newest == 0 || self.newest_done > 0
    }

    /// The failures as a cause.
    pub(super) fn cause(&self) -> Cause {
        Cause::CohortFailed { failed: self.failed, tried: self.tried() }
    }
}

/// The last windows, oldest first, at most [`WINDOWS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History(Vec<(Mono, Millis, Tally)>);

impl History {
    pub(super) fn push(&mut self, opened: Mono, now: Mono, tally: Tally) {
        if self.0.len() >= WINDOWS_MAX {
            self.0.remove(0);
        }
        self.0.push((opened, now.since(opened), tally));
    }

    /// What a policy is shown.
    pub(super) fn facts(&self, now: Mono, release: &Release, stage: Permille, breaker: Breaker) -> Facts {
        let mut objectives = vec![
            self.objective("ota-success", Critical::Yes, Scope::Local, |tally| (tally.tried(), tally.failed)),
            self.objective("beats", Critical::No, Scope::Dependency, |tally| (tally.expected, tally.silent)),
        ];
        // Where nobody who is there runs the release, there is nobody to ask how it does: not the lack of an
        // answer. What became of those who did run it, the success share says.
        if self.0.last().is_some_and(|(_, _, tally)| tally.well + tally.unwell + tally.untold > 0) {
            let samples = |tally: &Tally| (tally.well + tally.unwell, tally.unwell);
            objectives.push(self.objective("health", Critical::Yes, Scope::Local, samples));
        }
        Facts {
            now,
            release: release.clone(),
            stage,
            on_trial: true,
            objectives,
            anomaly: None,
            infra: Vec::new(),
            attempts: 0,
            breaker,
            schema: Schema::Unknown,
        }
    }

    fn objective(
        &self,
        name: &str,
        critical: Critical,
        scope: Scope,
        samples: impl Fn(&Tally) -> (u32, u32),
    ) -> Objective {
        let window = |&(opened, span, ref tally): &(Mono, Millis, Tally)| {
            let (samples, bad) = samples(tally);
            Window { opened, span, samples, bad }
        };
        Objective {
            name: Name::parse(name).expect("the three names here are names"),
            critical: matches!(critical, Critical::Yes),
            scope,
            candidate: self.0.iter().map(window).collect(),
            baseline: Vec::new(),
        }
    }
}

#[derive(Clone, Copy)]
enum Critical {
    Yes,
    No,
}
