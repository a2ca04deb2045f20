//! One device: what it runs, what it is asked to run, and the way home that it finds alone.
//!
//! Here: the order of things. In `device/`: what goes in (`input`) and comes out (`effect`), what is remembered
//! (`state`), also apart from the rest (`watermarks`), the phases and what leads from one to the next (`phase`), the run that
//! is open (`run`), what a policy's answer leads to (`judging`), whom to believe and what steering leads to (`steering`), where home is (`homing`), and
//! what is left when nothing is left to try (`stranded`). Not here: how anything is done, and the clock.
//!
//! ```text
//!   Settled -- steered forward --> Vetting --> Installing --> Trial
//!   Trial -- healthy long enough --> Confirming --> Settled, on the new release
//!   Trial -- its own failure, steered home --> GoingHome --> Settled, on the old release
//!   Settled -- its own failure --> Healing, up the ladder --> Leaving --> GoingHome
//!   Settled -- steered home to what isn't here --> Seeking --> GoingHome
//!   any -- its last try failed for good, steered home with no way --> Frozen: only a signed word leads out
//! ```
//!
//! A device's policy judges its own slot only. What it can't know keeps it where it is: missing data freezes
//! and never sends home.

mod effect;
mod homing;
mod input;
mod judging;
mod phase;
mod run;
mod second;
mod settings;
mod state;
mod steering;
mod stranded;
mod trusting;
mod watermarks;

use alloc::vec::Vec;

use backstay_model::{
    BootId, Breaker, Cause, Digest, Direction, Event, Facts, Generation, Health, Mono, Name, Order, Permille,
    Reading, Refused, Release, Report, RolloutId, Schema, SlotStatus, Standing, Steer, Ticket, Transience,
    Word,
};

pub use self::{
    effect::Effect,
    input::{Identity, Input, Vetted},
    second::Second,
    settings::DeviceSettings,
    state::{DeviceHeights, DeviceState, StateTail},
    steering::{Freshness, Steered},
    watermarks::Watermarks,
};
use self::{
    phase::{Healing, Homing, Phase, Trial},
    run::Run,
    state::REMEMBERED_MAX,
};
use crate::{
    Heights,
    setback::{Retries, Setback},
};

/// The state machine of one device.
#[derive(Clone, Debug)]
pub struct Device {
    settings: DeviceSettings,
    state: DeviceState,
}

/// Effects in the making.
type Effects = Vec<Effect>;

impl Device {
    /// A device that remembers nothing, up at `now` with these slots. `seed` is for jitter.
    #[must_use]
    pub fn new(settings: DeviceSettings, now: Mono, slots: &SlotStatus, seed: u64) -> Self {
        let state = DeviceState::new(now, slots, seed);
        Self { settings, state }
    }

    /// A device that goes on where `state` stood.
    #[must_use]
    pub fn restore(settings: DeviceSettings, state: DeviceState) -> Self {
        Self { settings, state }
    }

    /// What has to be remembered.
    #[must_use]
    pub fn state(&self) -> &DeviceState {
        &self.state
    }

    /// Takes one input at `now`, changes state, and says what is to be done, in order.
    pub fn step(&mut self, now: Mono, input: Input) -> Vec<Effect> {
        let mut out = Effects::new();
        let before = (self.standing(), self.health());
        match input {
            Input::Up { boot, slots } => self.up(now, boot, slots, &mut out),
            Input::Crashed => self.crashed(),
            Input::Enrolled(identity) => self.enrolled(now, identity, &mut out),
            Input::Reading { probe, reading } => self.read(now, &probe, reading),
            Input::Trouble(kind) => self.state.windows.trouble(kind),
            Input::Answered { ticket, decision } => self.answered(now, ticket, decision, &mut out),
            Input::Unanswered { ticket, why } => self.unanswered(ticket, why, &mut out),
            Input::Vetted { ticket, verdict } => self.vetted(now, ticket, verdict, &mut out),
            Input::Taken { ticket, grant } => self.taken(ticket, grant, &mut out),
            Input::Halted { ticket, why } => self.halted(ticket, why, &mut out),
            Input::Ended { ticket, outcome, slots } => self.ended(now, ticket, outcome, slots, &mut out),
            Input::Steered(steered) => self.steered(now, steered, &mut out),
            Input::Told { sequence, words, by } => self.told(now, sequence, by, &words, &mut out),
            Input::Trusts { directors } => {
                out.append(&mut self.trust(&directors));
                self.report(now, &mut out);
            }
            Input::Refused(refused) => self.refuse(refused, &mut out),
            Input::Tick => {}
        }
        self.wake(now, &mut out);
        // What was reported in the middle of the step may be true no more.
        let told = out.iter().rev().find_map(|effect| match effect {
            Effect::Report(report) => Some((report.standing, report.health)),
            Effect::Record(_)
            | Effect::Ask { .. }
            | Effect::Vet { .. }
            | Effect::Run { .. }
            | Effect::Abandon { .. } => None,
        });
        if (self.standing(), self.health()) != told.unwrap_or(before) {
            self.report(now, &mut out);
        }
        out
    }

    /// The next moment at which [`Input::Tick`] would change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let window = self.state.windows.closes(self.settings.window);
        let waits = self.state.phase.waits_until();
        let trial = self.state.phase.trial().map(|trial| trial.began.after(self.settings.trial_limit));
        let again = self.state.setback.as_ref().and_then(Setback::until);
        let run = self.state.run.as_ref().and_then(Run::deadline);
        [Some(window), waits, trial, again, run].into_iter().flatten().min()
    }

    /// What a device says of itself.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let is_stranded = self.state.stranded.is_some();
        match &self.state.phase {
            Phase::Settled | Phase::Healing(Healing { trial: None, .. }) if is_stranded => Standing::Stranded,
            // On its way it is only while it tries.
            Phase::Homing(Homing { again_at: Some(_), .. }) | Phase::Seeking(_) if is_stranded => {
                Standing::Stranded
            }
            Phase::Settled if self.sits_out() => Standing::Excluded,
            Phase::Settled => Standing::Settled,
            Phase::Vetting(_) | Phase::Installing(_) => Standing::Installing,
            Phase::Trial(_) | Phase::Confirming(_) => Standing::OnTrial,
            Phase::Healing(healing) => match healing.trial {
                Some(_) => Standing::OnTrial,
                None => Standing::Settled,
            },
            Phase::Leaving(_) | Phase::Homing(_) | Phase::Seeking(_) => Standing::GoingHome,
            Phase::Frozen(_) => Standing::Frozen,
        }
    }

    /// What runs.
    #[must_use]
    pub fn running(&self) -> &Release {
        &self.state.on.release
    }

    /// What a restart brings back.
    #[must_use]
    pub fn confirmed(&self) -> &Release {
        &self.state.confirmed
    }

    /// How what runs did in the newest window.
    #[must_use]
    pub fn health(&self) -> Health {
        self.state.windows.health()
    }

    /// What runs, once it has proved itself: it is what a restart brings back, it does well, and nothing had to be mended for that.
    /// Then its configuration is worth keeping.
    #[must_use]
    pub fn proven(&self) -> Option<&Release> {
        let on = &self.state.on.release;
        let is_settled = self.state.phase == Phase::Settled && on.digest == self.state.confirmed.digest;
        let is_well = self.health() == Health::Good && self.state.ladder.attempts() == 0;
        (is_settled && is_well && self.state.stranded.is_none()).then_some(on)
    }

    /// The release in the other slot that it will not run again by itself, so no boot loader should as long as another one starts.
    /// Told once nothing is on that could still be about that slot.
    #[must_use]
    pub fn last_resort(&self) -> Option<&Release> {
        let other = self.state.other.as_ref()?;
        let is_left = self.state.run.is_none() && other.digest != self.state.confirmed.digest;
        (is_left && self.state.condemned.contains(&other.digest)).then_some(other)
    }

    /// Whether this boot is a fine one, which is less than "confirmed": then power that comes and goes uses up no tries. What has
    /// `crashed` on trial begins well each time, and gets none back for that.
    #[must_use]
    pub fn boots_well(&self, crashed: bool) -> bool {
        self.health() == Health::Good && !crashed
    }

    /// The releases that it may run again without being brought any: what is in the slots, and what it was good on before.
    #[must_use]
    pub fn at_hand(&self) -> Vec<Digest> {
        let DeviceState { on, confirmed, other, last_known_good, .. } = &self.state;
        let here = [Some(&on.release), Some(confirmed), other.as_ref(), last_known_good.as_ref()];
        here.into_iter().flatten().map(|release| release.digest).collect()
    }

    /// Who it is, once that is known.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.state.identity.as_ref()
    }

    /// The steering that it goes by.
    #[must_use]
    pub fn steering(&self) -> Option<&Steer> {
        self.state.steering.as_ref().map(|steering| &steering.steer)
    }

    /// The highest word that it was told.
    #[must_use]
    pub fn last_told(&self) -> u64 {
        self.state.told
    }

    /// Digests that it will not run again by itself, newest first.
    #[must_use]
    pub fn condemned(&self) -> &[Digest] {
        &self.state.condemned
    }

    /// The lowest security epoch that it takes.
    #[must_use]
    pub fn floor(&self) -> u32 {
        self.state.floor
    }

    /// The run that was begun and has not ended.
    #[must_use]
    pub fn order(&self) -> Option<&Order> {
        self.state.run.as_ref().map(Run::order)
    }

    /// Whether there is something to sit out: a rollout that was called off excludes nobody, nor does one to what it has.
    fn sits_out(&self) -> bool {
        let has = [&self.state.on.release, &self.state.confirmed];
        self.steering().is_some_and(|steer| {
            steer.direction == Direction::Forward
                && self.state.setback.as_ref().is_some_and(|setback| setback.keeps_from(&steer.rollout))
                && has.iter().any(|release| release.digest != steer.release.digest)
        })
    }

    fn enrolled(&mut self, now: Mono, identity: Identity, out: &mut Effects) {
        if self.state.identity.as_ref().is_some_and(|known| known.cohort != identity.cohort) {
            // Generations are counted by cohort, so what one cohort was told says nothing in another.
            self.state.steering = None;
            self.state.least = Generation(0);
            self.state.heights.steering = Heights::default();
        }
        self.state.identity = Some(identity);
        self.report(now, out);
    }

    fn up(&mut self, now: Mono, boot: BootId, slots: SlotStatus, out: &mut Effects) {
        self.state.boot = boot;
        self.state.started = now;
        self.state.asked = None;
        // Reports are not recorded one by one. So each start counts on from a number that none before it can
        // have reached, by the starts and, should they be lost, by the clock.
        let starts = (self.state.reports >> 32).saturating_add(1).max(now.0 / 1000);
        self.state.reports = starts << 32;
        self.state.windows.reopen(now);
        let (booted, confirmed) = (slots.booted.clone(), slots.confirmed.clone());
        out.push(Effect::Record(Event::Started { boot, booted, confirmed }));
        self.resume(now, slots, out);
        self.report(now, out);
    }

    /// Does what the time asks for, and what steering asks for where the phase lets it.
    fn wake(&mut self, now: Mono, out: &mut Effects) {
        if let Some(setback) = &mut self.state.setback {
            setback.wake(now);
        }
        if self.state.windows.closes(self.settings.window) <= now {
            self.state.windows.close(now, &self.settings.watched);
            self.judge(now, out);
        }
        self.end_overdue_run(now, out);
        self.overdue(now, out);
        self.count_tenure(now);
        self.consider(now, out);
    }

    fn read(&mut self, now: Mono, probe: &Name, reading: Reading) {
        let comes_up = now.since(self.state.started) < self.settings.startup;
        let reading = match reading {
            Reading::Failed if comes_up => Reading::NotRun,
            Reading::Passed | Reading::Failed | Reading::NotRun => reading,
        };
        self.state.windows.count(probe, reading);
    }

    fn refuse(&mut self, mut refused: Refused, out: &mut Effects) {
        // Who comes with ever new names is counted under one: to forget what was counted would make each of them loud.
        if self.state.refused.len() >= REMEMBERED_MAX && !self.state.refused.contains_key(&refused.what) {
            refused.what = "anything else".into();
        }
        // The first of its kind is written down, then every power of two: a flood fills neither flash nor log.
        let seen = self.state.refused.entry(refused.what.clone()).or_insert(0);
        *seen = seen.saturating_add(1);
        let (count, loud) = (*seen, seen.is_power_of_two());
        if loud {
            out.push(Effect::Record(Event::Refused(Refused { count, ..refused })));
        }
    }

    fn told(&mut self, now: Mono, sequence: u64, by: Digest, words: &[Word], out: &mut Effects) {
        if sequence < self.state.told {
            return;
        }
        // Said again with another key it is no news, and still as old once the first key is gone.
        self.state.heights.words.note(by, sequence);
        if sequence == self.state.told {
            return;
        }
        self.state.told = sequence;
        for word in words {
            match word {
                Word::Hold => self.state.held = true,
                Word::Thaw => {
                    self.state.held = false;
                    self.state.setback = None;
                    self.thaw(now, out);
                }
                Word::Lift(digest) => {
                    self.state.condemned.retain(|condemned| condemned != digest);
                    self.lifted(digest, out);
                }
            }
            out.push(Effect::Record(Event::Told { sequence, word: *word }));
        }
        self.report(now, out);
    }

    fn turn_away(&mut self, rollout: &RolloutId) {
        if !self.state.turned.contains(rollout) {
            self.state.turned.insert(0, rollout.clone());
            self.state.turned.truncate(REMEMBERED_MAX);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.state.ticket = Ticket(self.state.ticket.0 + 1);
        self.state.ticket
    }

    /// The last word on where the device stands replaces the one before it in the same step.
    fn report(&mut self, now: Mono, out: &mut Effects) {
        let Some(report) = self.report_at(now) else { return };
        out.retain(|effect| !matches!(effect, Effect::Report(_)));
        out.push(Effect::Report(report));
    }

    /// Where the device stands, told anew; none before it has a name to say it under.
    pub fn report_at(&mut self, now: Mono) -> Option<Report> {
        let identity = self.state.identity.as_ref()?;
        self.state.reports += 1;
        Some(Report {
            sequence: self.state.reports,
            at: now,
            boot: self.state.boot,
            cohort: identity.cohort.clone(),
            steered: self.steering().map(|steer| (steer.rollout.clone(), steer.generation)),
            booted: self.state.on.release.clone(),
            confirmed: self.state.confirmed.clone(),
            standing: self.standing(),
            health: self.health(),
            condemned: self.state.condemned.clone(),
            journal: 0,
        })
    }

    fn facts(&self, now: Mono, trial: Option<&Trial>) -> Facts {
        Facts {
            now,
            release: self.state.on.release.clone(),
            stage: Permille::ALL,
            on_trial: trial.is_some(),
            objectives: self.state.windows.objectives().to_vec(),
            anomaly: None,
            infra: self.state.windows.infra().to_vec(),
            attempts: self.state.ladder.attempts(),
            breaker: Breaker::Closed,
            schema: Schema::Unknown,
        }
    }

    /// Counts a failure for a passing or a lasting reason against a rollout.
    fn set_back(
        &mut self,
        now: Mono,
        rollout: &RolloutId,
        transience: Transience,
        cause: Cause,
        out: &mut Effects,
    ) {
        let retries = Retries { attempts: self.settings.retries, backoff: self.settings.retry_backoff };
        let DeviceState { setback, rng, .. } = &mut self.state;
        let (next, event) = Setback::after(setback.as_ref(), rollout, now, (transience, cause), retries, rng);
        *setback = Some(next);
        out.push(Effect::Record(event));
    }
}
