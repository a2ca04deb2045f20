//! A cohort as people see it.

use backstay_model::{
    Breaker, Cause, CohortId, Digest, Direction, Generation, Mono, Permille, Reach, Release, RolloutId,
    Standing,
};
use serde::{Deserialize, Serialize};

use super::{
    Cohort,
    helm::Phase,
    roster::{Mark, Member, Pulse},
};

/// A cohort at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Which.
    pub cohort: CohortId,
    /// Where it stands.
    pub stage: Stage,
    /// The rollout that is or was steered last.
    pub rollout: Option<RolloutId>,
    /// Its release.
    pub release: Option<Release>,
    /// Where it leads back to; each device to its own last known good release if nothing is named.
    pub back: Option<Release>,
    /// Where to.
    pub direction: Option<Direction>,
    /// How far it reaches.
    pub reach: Reach,
    /// The wave that is open, or was when it was held.
    pub wave: Option<WaveView>,
    /// Why no other rollout begins, if it is for a freeze.
    pub frozen: Option<Cause>,
    /// The promotion breaker.
    pub breaker: Breaker,
    /// Releases that the cohort was turned away from.
    pub quarantined: alloc::vec::Vec<Digest>,
    /// Of the newest message.
    pub generation: Generation,
    /// All devices.
    pub devices: u32,
    /// Those meant by the selector.
    pub meant: u32,
    /// Of those meant, the ones within reach.
    pub reached: u32,
    /// Of those within reach: the release passed its trial there. The only number that may be called "updated".
    pub confirmed: u32,
    /// Of those within reach: condemned the release, or came home from it.
    pub failed: u32,
    /// Of those within reach: sit it out.
    pub excluded: u32,
    /// Of all: there.
    pub live: u32,
    /// Of all: should be there, and give no sign of life.
    pub silent: u32,
    /// Of all: never said a word.
    pub unheard: u32,
    /// Those who run the release.
    pub on_release: Counts,
    /// Those who run another one.
    pub off_release: Counts,
    /// Words that were late, doubled or nobody's.
    pub ignored: u64,
}

/// Where a cohort stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It was never steered, or nothing is known of it.
    Idle,
    /// A wave is open.
    Forward,
    /// Nobody starts anything; it can go on.
    Held,
    /// Everybody is reached.
    Arrived,
    /// A person ended it where it was.
    Ended,
    /// Turned round.
    Home,
}

/// A wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveView {
    /// Counted from 0.
    pub number: u32,
    /// Of so many.
    pub of: u32,
    /// How much of those meant it holds.
    pub share: Permille,
    /// Good windows that it still needs.
    pub needs: u32,
}

/// Devices, by where they say that they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// On a release that passed its trial.
    pub settled: u32,
    /// Bringing a release in.
    pub installing: u32,
    /// On a release that has yet to earn trust.
    pub on_trial: u32,
    /// On the way home.
    pub going_home: u32,
    /// Moving nothing until a person has looked.
    pub frozen: u32,
    /// Sitting a rollout out.
    pub excluded: u32,
    /// With nothing left to try for now, and trying again slowly.
    #[serde(default)]
    pub stranded: u32,
}

impl Counts {
    fn count(&mut self, standing: Standing) {
        match standing {
            Standing::Settled => self.settled += 1,
            Standing::Installing => self.installing += 1,
            Standing::OnTrial => self.on_trial += 1,
            Standing::GoingHome => self.going_home += 1,
            Standing::Frozen => self.frozen += 1,
            Standing::Excluded => self.excluded += 1,
            Standing::Stranded => self.stranded += 1,
        }
    }
}

impl Cohort {
    /// The cohort at `now`, as people see it. It looks at each device once.
    #[must_use]
    pub fn overview(&self, now: Mono) -> Overview {
        let course = self.helm.phase.course();
        let mut view = Overview {
            cohort: self.helm.cohort.clone(),
            stage: match &self.helm.phase {
                Phase::Idle => Stage::Idle,
                Phase::Forward(_) => Stage::Forward,
                Phase::Held(_) => Stage::Held,
                Phase::Arrived(_) => Stage::Arrived,
                Phase::Ended(_) => Stage::Ended,
                Phase::Home(_) => Stage::Home,
            },
            rollout: course.map(|course| course.plan.rollout.clone()),
            release: course.map(|course| course.plan.release.clone()),
            back: course.and_then(|course| course.plan.back.clone()),
            direction: self.helm.phase.direction(),
            reach: course.map_or(Reach::NONE, |course| course.reach),
            wave: self.wave(),
            frozen: self.helm.phase.frozen().cloned(),
            breaker: self.helm.breaker.at(now),
            quarantined: self.helm.quarantined.clone(),
            generation: self.helm.generation,
            devices: 0,
            meant: 0,
            reached: 0,
            confirmed: 0,
            failed: 0,
            excluded: 0,
            live: 0,
            silent: 0,
            unheard: 0,
            on_release: Counts::default(),
            off_release: Counts::default(),
            ignored: self.roster.ignored(),
        };
        for member in self.roster.members() {
            self.count(now, member, &mut view);
        }
        view
    }

    fn wave(&self) -> Option<WaveView> {
        let under = self.helm.phase.under()?;
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(WaveView {
            number: narrow(under.wave.number),
            of: narrow(under.course.plan.plan.waves.len()),
            share: under.stage(),
            needs: under.wave.needs,
        })
    }

    fn count(&self, now: Mono, member: &Member, view: &mut Overview) {
        view.devices += 1;
        let Some(course) = self.helm.phase.course() else {
            return match member.standing() {
                Some(standing) => view.off_release.count(standing),
                None => view.unheard += 1,
            };
        };
        let release = &course.plan.release.digest;
        match member.standing() {
            Some(standing) if member.is_on(release) => view.on_release.count(standing),
            Some(standing) => view.off_release.count(standing),
            None => view.unheard += 1,
        }
        match member.pulse(now, course.plan.plan.silence) {
            Pulse::Live => view.live += 1,
            Pulse::Silent => view.silent += 1,
            Pulse::Away => {}
        }
        if !member.is_meant() {
            return;
        }
        view.meant += 1;
        if member.place() > course.reach {
            return;
        }
        view.reached += 1;
        match member.mark(release) {
            Mark::Settled => view.confirmed += 1,
            Mark::Failed => view.failed += 1,
            Mark::SitsOut => view.excluded += 1,
            Mark::Waiting | Mark::Trying | Mark::Stuck => {}
        }
    }
}
