//! What is remembered of one device, to hold its next effects against.
//!
//! It outlives the device's memory: what a power cut makes the device forget, the witness still knows. So nothing
//! that has to be durable can be kept only in mind.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all that can be recorded, a witness looks at what an invariant is about"
)]

use std::collections::{BTreeMap, BTreeSet};

use backstay_core::{Device, DeviceSettings, Effect};
use backstay_model::{
    Cause, DeviceId, Digest, Direction, Event, Health, Label, Mono, Order, Outcome, Reach, Reading, Release,
    Report, RolloutId, Selector, SlotStatus, Standing, Steer, Task, Transience, Word,
};

use crate::{
    invariants::{self as rule, Broken, holds, holds_or_is_excused},
    product::Product,
    shore::Published,
};

/// What a step is held against.
pub(crate) struct Scene<'a> {
    pub(crate) now: Mono,
    pub(crate) id: &'a DeviceId,
    pub(crate) labels: &'a [Label],
    pub(crate) device: &'a Device,
    pub(crate) settings: &'a DeviceSettings,
    /// Before the effects are carried out.
    pub(crate) slots: &'a SlotStatus,
    pub(crate) products: &'a [Product],
    /// All that the server ever said, by generation.
    pub(crate) published: &'a Published,
}

#[derive(Clone, Debug)]
pub(crate) struct Witness {
    order: Option<Order>,
    open: bool,
    /// When the open run has to be let go of at the latest, unless it was.
    until: Option<Mono>,
    /// Rollouts that failed here for good.
    for_good: BTreeSet<RolloutId>,
    told: u64,
    /// The rollout that was installed last.
    installing: Option<RolloutId>,
    /// The lowest security epoch that may be started.
    pub(crate) floor: u32,
    condemned: BTreeSet<Digest>,
    turned: BTreeSet<RolloutId>,
    installs: BTreeMap<RolloutId, u32>,
    heals: u32,
    homings: u32,
    /// Tries to get home in this round.
    homing_tries: u32,
    /// Who took the run that is open.
    taken: Option<Digest>,
    switches: Vec<Mono>,
    trial: Option<Trial>,
    excluded: Option<(RolloutId, Option<Mono>)>,
    pub(crate) held: bool,
    /// What it said last, since it started, of where it stands and how it does.
    said: Option<(Standing, Health)>,
    /// Switches of release, ever.
    pub(crate) moved: u64,
    /// Orders to mend what runs, ever.
    pub(crate) mended: u64,
    /// Rollouts whose release was left here.
    pub(crate) left: BTreeSet<RolloutId>,
    generation: u64,
    /// What it goes by can't be older than this, where it goes by anything.
    least: u64,
    report: u64,
    /// A local probe failed, or the program ended, since what runs began to be judged.
    local_failure: bool,
    /// There was trouble with the machine since.
    trouble: bool,
    /// The boot fell back, and the device has not said so yet.
    pub(crate) fell_back: bool,
    /// In the step of a start: what it remembers to run, where something else does and nothing that moved it could be written down.
    pub(crate) moved_unwritten: Option<Digest>,
    /// Releases that failed here or were left, ever.
    pub(crate) failed: BTreeSet<Digest>,
    /// Releases that passed their trial here, ever: it may have been confirmed, and nobody remembers that it was.
    passed: BTreeSet<Digest>,

    /// Why it is frozen, if it is.
    pub(crate) frozen: Option<Cause>,
    /// Why it is stranded, if it is, and when it said so last.
    pub(crate) stranded: Option<(Cause, Mono)>,
}

#[derive(Clone, Debug)]
struct Trial {
    release: Digest,
    began: Mono,
    passed: u64,
}

impl Witness {
    /// Of a device that is settled on `release`.
    pub(crate) fn new(release: &Release) -> Self {
        Self {
            order: None,
            open: false,
            until: None,
            for_good: BTreeSet::new(),
            told: 0,
            installing: None,
            floor: release.security_epoch,
            condemned: BTreeSet::new(),
            turned: BTreeSet::new(),
            installs: BTreeMap::new(),
            heals: 0,
            homings: 0,
            homing_tries: 0,
            taken: None,
            switches: Vec::new(),
            trial: None,
            excluded: None,
            held: false,
            said: None,
            moved: 0,
            mended: 0,
            left: BTreeSet::new(),
            generation: 0,
            least: 0,
            report: 0,
            local_failure: false,
            trouble: false,
            fell_back: false,
            moved_unwritten: None,
            failed: BTreeSet::new(),
            passed: BTreeSet::from([release.digest]),
            frozen: None,
            stranded: None,
        }
    }

    /// Power went before anything could be written down since `then`. What is so of the world stays.
    pub(crate) fn forgets(&mut self, then: Self) {
        let now = std::mem::replace(self, then);
        self.fell_back = now.fell_back;
        (self.moved, self.mended) = (now.moved, now.mended);
        self.local_failure |= now.local_failure;
        self.trouble |= now.trouble;
        self.failed.extend(now.failed);
        self.passed.extend(now.passed);
        self.left.extend(now.left);
        // What the device keeps apart it is held to.
        self.report = now.report;
        self.condemned.extend(now.condemned);
        self.floor = self.floor.max(now.floor);
        self.least = self.least.max(now.least).max(now.generation);
        if self.generation < self.least {
            // It goes by none until the newest comes again.
            self.generation = 0;
        }
    }

    /// It starts where nothing could be written down before, and something else runs than what it remembers: how that did, and
    /// what was tried to mend it, isn't counted for what runs now.
    pub(crate) fn finds_another(&mut self, remembered: Digest) {
        (self.moved_unwritten, self.trial) = (Some(remembered), None);
        self.judged_anew();
    }

    /// It starts, and has said nothing yet.
    pub(crate) fn starts(&mut self) {
        (self.said, self.moved_unwritten) = (None, None);
    }

    /// What is on trial crashed: its healthy time begins anew.
    pub(crate) fn crashed(&mut self, now: Mono) {
        let confirms =
            self.open && self.order.as_ref().is_some_and(|o| matches!(o.task, Task::Confirm { .. }));
        if let Some(trial) = self.trial.as_mut().filter(|_| !confirms) {
            (trial.began, trial.passed) = (now, 0);
        }
    }

    pub(crate) fn reads(&mut self, reading: Reading) {
        match reading {
            Reading::Passed => {
                if let Some(trial) = &mut self.trial {
                    trial.passed += 1;
                }
            }
            Reading::Failed => self.local_failure = true,
            Reading::NotRun => {}
        }
    }

    pub(crate) fn program_ended(&mut self) {
        self.local_failure = true;
    }

    pub(crate) fn has_trouble(&mut self) {
        self.trouble = true;
    }

    pub(crate) fn has_passed(&self, release: &Digest) -> bool {
        self.passed.contains(release)
    }

    pub(crate) fn has_condemned(&self, release: &Digest) -> bool {
        self.condemned.contains(release)
    }

    pub(crate) fn was_turned_from(&self, rollout: &RolloutId) -> bool {
        self.turned.contains(rollout)
    }

    pub(crate) fn sees(&mut self, scene: &Scene<'_>, effects: &[Effect]) -> Result<(), Broken> {
        for effect in effects {
            match effect {
                Effect::Record(event) => self.hears(scene, event)?,
                Effect::Run { order, grant } => {
                    holds(rule::ONE_EXECUTOR, *grant == self.taken, || {
                        format!("{order:?} goes to {grant:?}, and {:?} took it", self.taken)
                    })?;
                    let known = self.order.as_ref() == Some(order) && self.open;
                    holds(rule::RECORDED_FIRST, known, || {
                        format!("{order:?} was begun, and {:?} was recorded", self.order)
                    })?;
                }
                Effect::Abandon { ticket, .. } => {
                    self.until = None;
                    let known = self.order.as_ref().is_some_and(|order| order.ticket == *ticket) && self.open;
                    holds(rule::ONE_RUN, known, || {
                        format!("{ticket} is let go of, and {:?} is open", self.order)
                    })?;
                }
                Effect::Report(report) => self.reads_report(scene, report)?,
                Effect::Ask { .. } | Effect::Vet { .. } => {}
            }
        }
        let steering = scene.device.steering();
        let generation = steering.map_or(0, |steer| steer.generation.0);
        let least = if steering.is_some() { self.generation.max(self.least) } else { self.generation };
        holds(rule::GENERATION_GROWS, generation >= least, || format!("{generation} came after {least}"))?;
        self.generation = generation;
        if self.open
            && let Some(until) = self.until
        {
            holds(rule::RUN_LIMIT, scene.now < until, || {
                format!("{:?} goes on at {:?}", self.order, scene.now)
            })?;
        }
        match scene.device.standing() {
            // It has made up its mind.
            Standing::GoingHome => {
                self.failed.insert(scene.slots.booted.digest);
            }
            // It has arrived, or was on its way in a time that is forgotten.
            Standing::Settled | Standing::Excluded | Standing::Installing | Standing::OnTrial => {
                (self.homings, self.homing_tries) = (0, 0);
            }
            Standing::Stranded | Standing::Frozen => {}
        }
        Ok(())
    }

    /// A report goes out.
    pub(crate) fn counts(&mut self, report: &Report) -> Result<(), Broken> {
        holds(rule::REPORTS_GROW, report.sequence > self.report, || {
            format!("{} came after {}", report.sequence, self.report)
        })?;
        self.report = report.sequence;
        self.said = Some((report.standing, report.health));
        Ok(())
    }

    /// A step is over: what it said last holds until it says something else.
    pub(crate) fn keeps_its_word(&self, device: &Device) -> Result<(), Broken> {
        let is = (device.standing(), device.health());
        holds(rule::TRUE_WORD, self.said.is_none_or(|said| said == is), || {
            format!("it said last {:?}, and is {is:?}", self.said)
        })
    }

    fn reads_report(&mut self, scene: &Scene<'_>, report: &Report) -> Result<(), Broken> {
        self.counts(report)?;
        let settled = report.standing != Standing::Settled || report.booted == report.confirmed;
        holds(rule::EARNED, settled, || {
            format!("it is settled on {}, and {} is confirmed", report.booted, report.confirmed)
        })?;
        let kept = self.passed.contains(&report.confirmed.digest);
        holds(rule::SLOT_LEFT, kept, || format!("{} was never confirmed here", report.confirmed))?;
        holds(rule::TRUE_WORD, report.booted == scene.slots.booted, || {
            format!("it says {}, and {} runs", report.booted, scene.slots.booted)
        })
    }

    fn hears(&mut self, scene: &Scene<'_>, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Ordered { order, cause } => self.ordered(scene, order, cause)?,
            Event::Ended { outcome, .. } => {
                (self.open, self.taken, self.until) = (false, None, None);
                let installing = self.order.as_ref().is_some_and(|o| matches!(o.task, Task::Install { .. }));
                if matches!(outcome, Outcome::Failed { transience: Transience::Permanent, .. })
                    && installing
                    && let Some(rollout) = self.installing.take()
                {
                    self.for_good.insert(rollout);
                }
            }
            Event::Waits { until, .. } => {
                let settings = scene.settings;
                let most = settings.heal_backoff.cap.max(settings.retry_backoff.cap);
                holds(rule::WAITS_BOUNDED, *until >= scene.now && until.since(scene.now) <= most, || {
                    format!("until {until:?} at {:?}", scene.now)
                })?;
            }
            Event::RunTaken { grant, .. } => {
                let known = self.taken.is_none_or(|taken| taken == *grant);
                holds(rule::ONE_EXECUTOR, known, || format!("{grant:?} takes it, and {:?} had", self.taken))?;
                self.taken = Some(*grant);
            }
            Event::Stranded { cause, .. } => self.strands(scene, cause)?,
            Event::Steered { rollout, direction, generation, .. } => {
                let least = self.generation.max(self.least);
                holds(rule::GENERATION_GROWS, generation.0 >= least, || {
                    format!("{generation:?} came after {least}")
                })?;
                if *direction == Direction::Home {
                    self.turned.insert(rollout.clone());
                }
            }
            Event::TrialBegan { release, .. } => {
                if matches!(&self.order, Some(Order { task: Task::Install { release: to }, .. }) if to == release)
                {
                    self.switches.push(scene.now);
                    self.moved += 1;
                }
                self.fell_back = false;
                self.stranded = None;
                self.judged_anew();
                self.trial = Some(Trial { release: release.digest, began: scene.now, passed: 0 });
            }
            Event::Confirmed { release, .. } => self.confirms(scene, &release.digest)?,
            Event::Condemned { release, cause } => {
                let what = || format!("{release} was condemned for {cause}");
                match cause {
                    Cause::FellBack => {
                        // What it condemned before is kept apart: of that it knows more, and doesn't say it again.
                        let excused = self.moved_unwritten == Some(release.digest)
                            && !self.condemned.contains(&release.digest);
                        holds_or_is_excused(rule::OWN_REASON, self.fell_back, excused, what)?;
                    }
                    _ => holds(rule::OWN_REASON, self.local_failure, what)?,
                }
                self.condemned.insert(release.digest);
                self.failed.insert(release.digest);
            }
            Event::CameHome { from, cause, .. } => {
                match cause {
                    Cause::FellBack => {
                        let excused = self.moved_unwritten == Some(from.digest);
                        let what = || "no boot fell back".into();
                        holds_or_is_excused(rule::OWN_REASON, self.fell_back, excused, what)?;
                    }
                    Cause::IsCondemned => {
                        let known = self.condemned.contains(&from.digest);
                        holds(rule::OWN_REASON, known, || format!("{from} was never condemned here"))?;
                    }
                    _ => {}
                }
                self.fell_back = false;
                self.failed.insert(from.digest);
                self.moved += 1;
                if let Some(steer) = scene.device.steering().filter(|steer| steer.release == *from) {
                    self.left.insert(steer.rollout.clone());
                }
                (self.homings, self.homing_tries, self.stranded) = (0, 0, None);
                self.trial = None;
                self.judged_anew();
            }
            // A run that halts or a trial without data stands still; the device itself does not.
            Event::Froze { cause } if self.trial.is_none() && !self.open => {
                self.frozen = Some(cause.clone());
                (self.homings, self.homing_tries, self.stranded) = (0, 0, None);
            }
            Event::Thawed { .. } if self.frozen.is_some() => {
                self.frozen = None;
                self.judged_anew();
            }
            // It may try again what it tried, and is judged by the same windows.
            Event::Thawed { .. } if self.stranded.is_some() => (self.stranded, self.heals) = (None, 0),
            Event::Excluded(excluded) => {
                self.excluded = Some((excluded.rollout.clone(), excluded.until));
                self.fell_back = false;
            }
            Event::Cured { .. } => self.heals = 0,
            Event::Told { sequence, word } => self.is_told(*sequence, word)?,
            _ => {}
        }
        Ok(())
    }

    fn is_told(&mut self, sequence: u64, word: &Word) -> Result<(), Broken> {
        holds(rule::WORDS_GROW, sequence >= self.told, || format!("{sequence} came after {}", self.told))?;
        self.told = sequence;
        match word {
            Word::Hold => self.held = true,
            Word::Thaw => {
                (self.held, self.excluded) = (false, None);
                self.installs.clear();
                self.for_good.clear();
                self.homing_tries = 0;
            }
            Word::Lift(release) => {
                self.condemned.remove(release);
            }
        }
        Ok(())
    }

    /// A round of tries is over.
    fn strands(&mut self, scene: &Scene<'_>, cause: &Cause) -> Result<(), Broken> {
        let slowly = scene.settings.retry_backoff.cap;
        if let Some((_, before)) = &self.stranded {
            let waited = scene.now.since(*before) >= slowly;
            holds(rule::SLOWLY, waited, || format!("{cause} at {:?}, and before at {before:?}", scene.now))?;
        }
        self.stranded = Some((cause.clone(), scene.now));
        (self.heals, self.homing_tries) = (0, 0);
        Ok(())
    }

    fn judged_anew(&mut self) {
        (self.local_failure, self.trouble, self.heals) = (false, false, 0);
    }

    fn confirms(&mut self, scene: &Scene<'_>, release: &Digest) -> Result<(), Broken> {
        let trial = self.trial.take();
        let full = trial.as_ref().is_some_and(|trial| {
            trial.release == *release
                && scene.now.since(trial.began) >= scene.settings.trial
                && trial.passed >= scene.settings.trial.0 / scene.settings.window.0
        });
        holds(rule::EARNED, full && scene.slots.confirmed.digest == *release, || {
            format!("at {:?} after {trial:?}", scene.now)
        })?;
        self.floor = self.floor.max(scene.slots.confirmed.security_epoch);
        Ok(())
    }

    fn ordered(&mut self, scene: &Scene<'_>, order: &Order, cause: &Cause) -> Result<(), Broken> {
        let larger =
            self.order.as_ref().is_none_or(|last| last.ticket < order.ticket && last.fence < order.fence);
        holds(rule::ONE_RUN, larger && !self.open, || format!("{order:?} came after {:?}", self.order))?;
        holds(rule::FROZEN_STANDS, self.frozen.is_none(), || format!("{order:?} while {:?}", self.frozen))?;
        (self.order, self.open, self.taken) = (Some(order.clone()), true, None);
        self.until = Some(scene.now.after(scene.settings.run_limit));
        match &order.task {
            Task::Install { release } => self.installs(scene, release.digest, cause),
            Task::GoHome { release } => self.goes_home(scene, release.digest, cause),
            Task::Heal { .. } => {
                // Mending what may be the machine's fault moves nobody.
                let own = self.local_failure || self.trouble;
                holds(rule::OWN_REASON, own, || format!("it mends for {cause}"))?;
                self.heals += 1;
                self.mended += 1;
                let most = scene.settings.ladder.iter().map(|rung| rung.attempts).sum();
                holds(rule::ATTEMPTS_CAPPED, self.heals <= most, || format!("{} tries to mend", self.heals))
            }
            Task::Confirm { release } => {
                self.passed.insert(release.digest);
                Ok(())
            }
        }
    }

    fn installs(&mut self, scene: &Scene<'_>, release: Digest, cause: &Cause) -> Result<(), Broken> {
        let Cause::Steering { rollout, generation } = cause else {
            return Err(Broken { invariant: rule::MEANT, what: format!("it starts for {cause}") });
        };
        holds(rule::CONDEMNED_STAYS_OUT, !self.condemned.contains(&release), || {
            format!("{rollout} brings it")
        })?;
        let product = scene.products.iter().find(|product| product.release.digest == release);
        let epoch = product.map_or(0, |product| product.release.security_epoch);
        let fits = product.is_some_and(|product| product.hardware.contains(&scene.settings.hardware));
        holds(rule::BUILT_FOR, fits, || format!("{rollout} brings something else"))?;
        holds(rule::FLOOR, epoch >= self.floor, || format!("{epoch}, and the floor is {}", self.floor))?;
        let is_confirmed = scene.slots.booted.digest == scene.slots.confirmed.digest;
        holds(rule::CONFIRMED_FIRST, is_confirmed && self.trial.is_none(), || {
            format!("{} runs, {} is confirmed", scene.slots.booted, scene.slots.confirmed)
        })?;
        holds(rule::FOR_GOOD, !self.for_good.contains(rollout), || format!("{rollout} did"))?;
        self.installing = Some(rollout.clone());
        holds(rule::NO_WAY_BACK_FORWARD, !self.turned.contains(rollout), || format!("{rollout} does"))?;
        let said = scene.published.get(&generation.0).into_iter().flatten();
        let is_empty =
            |steer: &Steer| matches!(&steer.selector, Selector::Labelled(labels) if labels.is_empty());
        let nobody = said.clone().any(|steer| steer.rollout == *rollout && is_empty(steer));
        holds(rule::NOBODY, !nobody, || format!("it starts {rollout}"))?;
        let meant = said.into_iter().any(|steer| {
            steer.rollout == *rollout
                && steer.release.digest == release
                && steer.direction == Direction::Forward
                && !steer.frozen
                && steer.selector.means(scene.labels)
                && Reach::to_hold(rollout, scene.id) <= steer.reach
        });
        let asked = scene.device.steering().is_some_and(|steer| steer.generation == *generation);
        holds(rule::MEANT, meant && asked && !self.held, || {
            let said = scene.published.get(&generation.0);
            format!("it starts {rollout} by generation {} (held: {}): {said:?}", generation.0, self.held)
        })?;
        let door = way(scene, &release).is_some_and(|way| way.contains(&scene.slots.booted.digest));
        holds(rule::NO_ONE_WAY_DOOR, door, || format!("{rollout} can't be left for {}", scene.slots.booted))?;
        let sits = self
            .excluded
            .as_ref()
            .is_some_and(|(of, until)| of == rollout && until.is_none_or(|until| scene.now < until));
        holds(rule::SITS_OUT, !sits, || format!("{:?} at {:?}", self.excluded, scene.now))?;
        self.within_budget(scene)?;
        let tries = self.installs.entry(rollout.clone()).or_default();
        *tries += 1;
        holds(rule::ATTEMPTS_CAPPED, *tries <= scene.settings.retries, || {
            format!("{tries} tries of {rollout}")
        })
    }

    fn goes_home(&mut self, scene: &Scene<'_>, to: Digest, cause: &Cause) -> Result<(), Broken> {
        match cause {
            Cause::Steering { rollout, generation } => {
                let said = scene.published.get(&generation.0);
                let home = said.into_iter().flatten().any(|steer| {
                    steer.rollout == *rollout
                        && steer.direction == Direction::Home
                        && steer.release.digest == scene.slots.booted.digest
                });
                holds(rule::STEERED_HOME, home || self.homings > 0, || format!("{said:?}"))?;
            }
            Cause::Policy { .. } | Cause::TrialFailed { .. } | Cause::LadderSpent { .. } => {
                let own = self.local_failure || self.homings > 0;
                holds(rule::OWN_REASON, own, || format!("it goes home for {cause}"))?;
            }
            _ => holds(rule::OWN_REASON, false, || format!("it goes home for {cause}"))?,
        }
        let here = scene.slots.booted.digest;
        let allowed = here == to || way(scene, &here).is_some_and(|way| way.contains(&to));
        holds(rule::NO_ONE_WAY_DOOR, allowed, || format!("{} is left", scene.slots.booted))?;
        holds(rule::CONDEMNED_STAYS_OUT, !self.condemned.contains(&to), || "it is home".into())?;
        if self.homings == 0 {
            if self.trial.is_none() {
                self.within_budget(scene)?;
            }
            self.switches.push(scene.now);
        }
        self.trial = None;
        self.homings += 1;
        self.homing_tries += 1;
        holds(rule::ATTEMPTS_CAPPED, self.homing_tries <= scene.settings.retries, || {
            format!("{} tries to get home", self.homing_tries)
        })
    }

    fn within_budget(&self, scene: &Scene<'_>) -> Result<(), Broken> {
        let allowance = scene.settings.allowance;
        let spent = self.switches.iter().filter(|&&at| scene.now.since(at) < allowance.span).count();
        holds(rule::BUDGET, spent < allowance.switches as usize, || format!("{spent} before this one"))
    }
}

/// The ways that a release may be left by, as it was signed.
fn way<'a>(scene: &Scene<'a>, release: &Digest) -> Option<&'a [Digest]> {
    scene
        .products
        .iter()
        .find(|product| product.release.digest == *release)
        .map(|product| product.way.0.as_slice())
}
