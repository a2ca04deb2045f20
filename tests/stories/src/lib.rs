//! A world in virtual time for stories about one device.
//!
//! Here: a device on the real core, two slots, a program that behaves as the story wants, a policy with the
//! document's two-window rule, and a clock that is a number. It keeps what a journal would keep, so power can
//! be cut at any step. In `ears`: what a broker's bytes mean to it. Not here: the real policy (`policy-tree` has its own tables), bytes, sockets, files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod ears;

use std::collections::{BTreeMap, VecDeque};

use backstay_core::{
    Allowance, Backoff, Device, DeviceSettings, DeviceState, Effect, Freshness, Identity, Input, Rung,
    Second, Steered, Vetted, Watched, Watermarks,
};
use backstay_model::{
    Action, BootId, CohortId, Decision, DeviceId, Digest, Direction, Event, Facts, Generation, Hardware, How,
    Label, Millis, Mono, Name, Order, Outcome, Reach, Reading, Reason, Release, Report, RolloutId, Scope,
    Selector, SlotStatus, Steer, Task, Transience, Version, WayHome, Word,
};

pub use self::ears::{Ears, Stands};

/// How a release behaves when it runs.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// Every probe passes.
    Healthy,
    /// Probes pass for this long after it came up, and then fail.
    FailsAfter(Millis),
    /// Probes fail until so long after it came up.
    ComesUpAfter(Millis),
    /// The probe can't be run: nothing is known.
    Silent,
    /// It doesn't come up, and the boot falls back before the agent runs.
    DoesNotBoot,
    /// Its own probe passes, what it depends on doesn't.
    DependencyFails,
    /// Every probe fails until it was restarted this often.
    NeedsRestarts(u32),
    /// It can't be brought in, for a passing reason, this often.
    FailsToStage(u32),
    /// Every probe fails until its configuration was restored, and what runs was restarted after that.
    LacksItsConfiguration,
    /// Every probe fails, and the boot falls back at the first restart that is to mend it.
    DiesAtRestart,
    /// Whatever is done with it never ends: its download hangs, and so does the way to it.
    Hangs,
}

/// Whether the policy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It does.
    Answers,
    /// It traps each time.
    Traps,
    /// It always wants to mend.
    Heals,
    /// It always wants to look for longer.
    Slows,
}

/// The executor that is there, by its grant; or why it may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Executor {
    Is(Digest),
    IsOut(String),
}

/// Whether power goes when a run has done its work and nobody has heard of it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Stays,
    GoesInTheNextRun,
    GoesBeforeTheNextRun,
    Gone,
}

/// Whether the release keys' word on a release comes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vetting {
    AtOnce,
    WhenAsked,
}

/// One device and all that is around it.
pub struct World {
    /// The number that the story moves.
    pub now: Mono,
    device: Device,
    settings: DeviceSettings,
    began: Began,
    durable: DeviceState,
    slots: SlotStatus,
    up_since: Mono,
    next_probe: Mono,
    restarts: u32,
    staged_in_vain: u32,
    behaviours: BTreeMap<Digest, Behaviour>,
    genuine: BTreeMap<Digest, Vetted>,
    policy: Policy,
    inputs: VecDeque<Input>,
    generation: u64,
    words: u64,
    boots: u128,
    power: Power,
    vetting: Vetting,
    verdict: Option<Input>,
    executor: Executor,
    /// The keys that the device trusts with steering, where that was ever said.
    directors: Option<Vec<Digest>>,
    /// Whose signature the server's messages bear.
    signer: u8,
    taken: Option<Order>,
    /// Releases that somebody asked the release keys about.
    pub vetted: Vec<Digest>,
    /// What a journal would hold.
    pub events: Vec<Event>,
    /// Releases whose configuration was captured.
    pub captured: Vec<Digest>,
    /// The release whose configuration was put back last.
    restored: Option<Digest>,
    /// The same as it is made durable: step by step, each with the state after it.
    pub steps: Vec<Recorded>,
    /// The last word on where the device stands.
    pub report: Option<Report>,
}

/// How a story begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Began {
    /// With a device that has forgotten nothing.
    Whole,
    /// With whatever was left of its memory: what it is at may be long past.
    Woken,
}

/// What one step of the core wrote down.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When.
    pub at: Mono,
    /// What, in this order.
    pub events: Vec<Event>,
    /// Where the device stood then.
    pub state: DeviceState,
    /// And what the slots held.
    pub slots: SlotStatus,
}

/// The playbook that puts back what was captured.
pub const RESTORE: &str = "restore-configuration";

/// Between two probes.
const PROBE_EVERY: Millis = Millis(1000);

/// A release for stories: its digest comes from its version.
#[must_use]
pub fn release(version: &str) -> Release {
    let mut digest = [0; 32];
    for (at, byte) in version.bytes().enumerate() {
        digest[at % 32] ^= byte.rotate_left((at / 32) as u32);
    }
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(digest),
        length: 1000,
        security_epoch: 1,
    }
}

/// Settings with short, round times: a window of 10 s, a trial of one minute.
#[must_use]
pub fn settings() -> DeviceSettings {
    let name = |text| Name::parse(text).unwrap();
    DeviceSettings {
        hardware: Hardware::parse("pump-arm64").unwrap(),
        watched: vec![
            Watched { name: name("http"), critical: true, scope: Scope::Local },
            Watched { name: name("uplink"), critical: true, scope: Scope::Dependency },
        ],
        window: Millis::from_secs(10),
        trial: Millis::from_secs(60),
        trial_limit: Millis::from_secs(300),
        run_limit: Millis::from_secs(600),
        ladder: vec![Rung { playbook: name("restart"), attempts: 3 }],
        heal_backoff: Backoff { base: Millis::from_secs(5), cap: Millis::from_secs(60) },
        cured_after: 3,
        retry_backoff: Backoff { base: Millis::from_secs(20), cap: Millis::from_secs(300) },
        retries: 3,
        allowance: Allowance { switches: 4, span: Millis::from_secs(24 * 3600) },
        startup: Millis(0),
        leave_jitter: Millis::from_secs(30),
        second_after: None,
    }
}

impl World {
    /// A device of cohort `canary`, enrolled, healthy on `version`.
    #[must_use]
    pub fn new(version: &str) -> Self {
        Self::with(settings(), version)
    }

    /// The same with other settings.
    #[must_use]
    pub fn with(settings: DeviceSettings, version: &str) -> Self {
        let on = release(version);
        let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
        let device = Device::new(settings.clone(), Mono(0), &slots, 42);
        Self::begins(Began::Whole, settings, device, Mono(0), slots)
    }

    /// A story that begins in the middle: with whatever a device remembers, at `now`, on these slots.
    #[must_use]
    pub fn woken(settings: DeviceSettings, device: Device, now: Mono, slots: SlotStatus) -> Self {
        Self::begins(Began::Woken, settings, device, now, slots)
    }

    fn begins(began: Began, settings: DeviceSettings, device: Device, now: Mono, slots: SlotStatus) -> Self {
        let mut world = Self {
            now,
            settings,
            began,
            durable: device.state().clone(),
            slots,
            up_since: now,
            next_probe: now,
            restarts: 0,
            staged_in_vain: 0,
            behaviours: BTreeMap::new(),
            genuine: BTreeMap::new(),
            policy: Policy::Answers,
            inputs: VecDeque::new(),
            generation: device.watermarks().generation.0,
            words: device.last_told(),
            boots: 1,
            power: Power::Stays,
            vetting: Vetting::AtOnce,
            verdict: None,
            executor: Executor::Is(Digest([1; 32])),
            directors: None,
            signer: 3,
            taken: None,
            vetted: Vec::new(),
            events: Vec::new(),
            captured: Vec::new(),
            restored: None,
            steps: Vec::new(),
            report: None,
            device,
        };
        let identity = Identity {
            device: DeviceId::parse("pump-7").unwrap(),
            cohort: CohortId::parse("canary").unwrap(),
            labels: vec![Label::parse("site=basel").unwrap()],
        };
        world.give(Input::Up { boot: BootId(1), slots: world.slots.clone() });
        world.give(Input::Enrolled(identity));
        world
    }

    /// From now on `version` behaves like this.
    pub fn behaves(&mut self, version: &str, behaviour: Behaviour) -> &mut Self {
        self.behaviours.insert(release(version).digest, behaviour);
        self
    }

    /// The release keys sign `version`, which may be left for each of `ways`.
    pub fn signs(&mut self, version: &str, ways: &[&str]) -> &mut Self {
        let ways = ways.iter().map(|way| release(way).digest).collect();
        self.signs_as(release(version), ways, "pump-arm64")
    }

    /// The release keys sign a release with everything that they say of it.
    pub fn signs_as(&mut self, release: Release, ways: Vec<Digest>, hardware: &str) -> &mut Self {
        let digest = release.digest;
        let hardware = vec![Hardware::parse(hardware).unwrap()];
        self.genuine.insert(digest, Vetted::Genuine { release, way: WayHome(ways), hardware });
        self
    }

    /// The policy answers, or it doesn't.
    pub fn policy(&mut self, policy: Policy) -> &mut Self {
        self.policy = policy;
        self
    }

    /// The server steers `rollout` of `version` in a direction, for everybody.
    pub fn steers(&mut self, rollout: &str, version: &str, direction: Direction) -> &mut Self {
        let steer = self.steer(rollout, version, direction);
        self.hears(steer, Freshness::Fresh)
    }

    /// The next steering message, to be changed before it is heard.
    pub fn steer(&mut self, rollout: &str, version: &str, direction: Direction) -> Steer {
        self.generation += 1;
        Steer {
            rollout: RolloutId::parse(rollout).unwrap(),
            generation: Generation(self.generation),
            cohort: CohortId::parse("canary").unwrap(),
            selector: Selector::All,
            release: release(version),
            back: None,
            reach: Reach::ALL,
            direction,
            frozen: direction == Direction::Home,
            policies: Vec::new(),
            reconnect_window: Millis::from_secs(10),
        }
    }

    /// The device hears a steering message.
    pub fn hears(&mut self, steer: Steer, freshness: Freshness) -> &mut Self {
        self.hears_with(steer, freshness, Second::Missing)
    }

    /// The same, and operators may have signed it, too.
    pub fn hears_with(&mut self, steer: Steer, freshness: Freshness, second: Second) -> &mut Self {
        let digest = Digest([steer.generation.0 as u8; 32]);
        let by = Digest([self.signer; 32]);
        self.give(Input::Steered(Steered { steer, digest, freshness, second, by }));
        self
    }

    /// The server has a word for this device alone.
    pub fn tells(&mut self, word: Word) -> &mut Self {
        self.words += 1;
        let by = Digest([self.signer; 32]);
        self.give(Input::Told { sequence: self.words, words: vec![word], by });
        self
    }

    /// From now on messages for the device bear this key's signature. It began with key 3.
    pub fn signs_with(&mut self, key: u8) -> &mut Self {
        self.signer = key;
        self
    }

    /// The next message and the next word are counted on from this.
    pub fn counts_from(&mut self, generation: u64, words: u64) -> &mut Self {
        (self.generation, self.words) = (generation, words);
        self
    }

    /// The device has followed to a keyring that has these keys as the director's.
    pub fn trusts(&mut self, directors: &[u8]) -> &mut Self {
        let directors: Vec<Digest> = directors.iter().map(|key| Digest([*key; 32])).collect();
        self.give(Input::Trusts { directors });
        self
    }

    /// The same, and power goes before anything follows from it.
    pub fn trusts_and_loses_power(&mut self, directors: &[u8]) -> &mut Self {
        self.directors = Some(directors.iter().map(|key| Digest([*key; 32])).collect());
        self.loses_power()
    }

    /// What is confirmed doesn't start any more: the boot loader starts what is in the other slot.
    ///
    /// # Panics
    /// There is nothing.
    pub fn is_rescued(&mut self) -> &mut Self {
        self.behaviours.insert(self.slots.booted.digest, Behaviour::DoesNotBoot);
        let other = self.slots.other.take().unwrap();
        self.slots.confirmed = other.clone();
        self.slots.other = Some(core::mem::replace(&mut self.slots.booted, other));
        self.loses_power()
    }

    /// Power goes and comes back: what wasn't in the journal is gone, what the slots say holds.
    pub fn loses_power(&mut self) -> &mut Self {
        self.boots += 1;
        self.inputs.clear();
        self.taken = None;
        if self.slots.booted.digest != self.slots.confirmed.digest {
            let digest = self.slots.booted.digest;
            if let Some(Behaviour::DoesNotBoot) = self.behaviours.get(&digest) {
                self.falls_back();
            }
        }
        self.up_since = self.now;
        self.device = Device::restore(self.settings.clone(), self.durable.clone());
        if let Some(directors) = self.directors.clone() {
            self.device.trust(&directors).into_iter().for_each(|effect| self.perform(effect));
        }
        self.give(Input::Up { boot: BootId(self.boots), slots: self.slots.clone() });
        self
    }

    /// What runs hangs until the watchdog ends it, and the boot loader starts it again.
    pub fn hangs(&mut self) -> &mut Self {
        self.loses_power().give(Input::Crashed);
        self
    }

    /// Power goes in the middle of the next run, when all is done and nothing is said.
    pub fn loses_power_in_the_next_run(&mut self) -> &mut Self {
        self.power = Power::GoesInTheNextRun;
        self
    }

    /// Power goes when the next run is ordered, before it does anything.
    pub fn loses_power_before_the_next_run(&mut self) -> &mut Self {
        self.power = Power::GoesBeforeTheNextRun;
        self
    }

    /// From now on it takes until [`World::hears_of_the_release`] to look into a release.
    pub fn looks_into_releases_slowly(&mut self) -> &mut Self {
        self.vetting = Vetting::WhenAsked;
        self
    }

    /// What the release keys say is here.
    pub fn hears_of_the_release(&mut self) -> &mut Self {
        let verdict = self.verdict.take().expect("somebody asked for it");
        self.give(verdict);
        self
    }

    /// The slots show another release, though nobody was told: a run went further than anybody knows.
    pub fn switches_by_itself(&mut self, version: &str) -> &mut Self {
        self.switch_to(&release(version));
        self
    }

    /// The same on the way home: it is what a restart brings back, too.
    pub fn comes_home_by_itself(&mut self, version: &str) -> &mut Self {
        self.slots.confirmed = release(version);
        self.switches_by_itself(version)
    }

    /// What was remembered is of before there was a tail to the state.
    pub fn forgets_the_tail(&mut self) -> &mut Self {
        let first = postcard::to_allocvec(&self.durable).unwrap();
        self.durable = postcard::from_bytes(&first).unwrap();
        self
    }

    /// The device condemned `version` long ago.
    pub fn condemns(&mut self, version: &str) -> &mut Self {
        let condemned = vec![release(version).digest];
        self.device.remember(&Watermarks { condemned, ..Watermarks::default() });
        self
    }

    /// From now on another executor is there, with this grant.
    pub fn has_executor(&mut self, grant: u8) -> &mut Self {
        self.executor = Executor::Is(Digest([grant; 32]));
        self
    }

    /// The executor is in quarantine.
    pub fn has_no_executor(&mut self) -> &mut Self {
        self.executor = Executor::IsOut("it is in quarantine".into());
        self
    }

    /// The boot loader gives the release on trial up.
    pub fn falls_back(&mut self) -> &mut Self {
        let tried = core::mem::replace(&mut self.slots.booted, self.slots.confirmed.clone());
        self.slots.other = Some(tried);
        self.slots.trying = None;
        self
    }

    /// The story goes on for so long.
    pub fn waits(&mut self, secs: u64) -> &mut Self {
        let until = self.now.after(Millis::from_secs(secs));
        loop {
            let wake = self.device.deadline().unwrap_or(until).min(self.next_probe).max(self.now);
            if wake > until {
                break;
            }
            self.now = wake;
            if self.next_probe <= self.now {
                self.next_probe = self.now.after(PROBE_EVERY);
                self.probes();
            }
            self.give(Input::Tick);
        }
        self.now = until;
        self
    }

    /// What runs.
    #[must_use]
    pub fn runs(&self) -> &str {
        assert_eq!(self.device.running().digest, self.slots.booted.digest, "the device knows what runs");
        self.slots.booted.version.as_str()
    }

    /// What a restart would bring back.
    #[must_use]
    pub fn confirmed(&self) -> &str {
        self.slots.confirmed.version.as_str()
    }

    /// The device itself.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Gives an input as it is.
    pub fn give(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let is_taken = matches!(input, Input::Taken { .. });
            if let Input::Trusts { directors } = &input {
                self.directors = Some(directors.clone());
            }
            let effects = self.device.step(self.now, input);
            let before = self.events.len();
            for effect in effects {
                self.perform(effect);
            }
            if self.events.len() > before {
                self.durable = self.device.state().clone();
                self.steps.push(Recorded {
                    at: self.now,
                    events: self.events[before..].to_vec(),
                    state: self.durable.clone(),
                    slots: self.slots.clone(),
                });
            }
            if is_taken {
                self.works();
            }
            if self.power == Power::Gone {
                self.power = Power::Stays;
                self.loses_power();
            }
        }
    }

    /// How many events are like this.
    pub fn count(&self, like: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| like(event)).count()
    }

    /// The story as it is told, without what a policy was shown, who took a run, and effects.
    #[must_use]
    pub fn told(&self) -> String {
        let told = self.events.iter().filter(|event| {
            !matches!(event, Event::Asked { .. } | Event::Decided { .. } | Event::RunTaken { .. })
        });
        told.map(|event| format!("{event}\n")).collect()
    }

    fn behaviour(&self) -> Behaviour {
        self.behaviours.get(&self.slots.booted.digest).copied().unwrap_or(Behaviour::Healthy)
    }

    fn probes(&mut self) {
        let up = self.now.since(self.up_since);
        let (http, uplink) = match self.behaviour() {
            Behaviour::Healthy | Behaviour::DoesNotBoot | Behaviour::FailsToStage(_) | Behaviour::Hangs => {
                (Reading::Passed, Reading::Passed)
            }
            Behaviour::FailsAfter(span) if up < span => (Reading::Passed, Reading::Passed),
            Behaviour::ComesUpAfter(span) if up >= span => (Reading::Passed, Reading::Passed),
            Behaviour::LacksItsConfiguration if self.restored == Some(self.slots.booted.digest) => {
                (Reading::Passed, Reading::Passed)
            }
            Behaviour::FailsAfter(_)
            | Behaviour::ComesUpAfter(_)
            | Behaviour::DiesAtRestart
            | Behaviour::LacksItsConfiguration => (Reading::Failed, Reading::Passed),
            Behaviour::Silent => (Reading::NotRun, Reading::NotRun),
            Behaviour::DependencyFails => (Reading::Passed, Reading::Failed),
            Behaviour::NeedsRestarts(needed) if self.restarts >= needed => (Reading::Passed, Reading::Passed),
            Behaviour::NeedsRestarts(_) => (Reading::Failed, Reading::Passed),
        };
        self.give(Input::Reading { probe: Name::parse("http").unwrap(), reading: http });
        self.give(Input::Reading { probe: Name::parse("uplink").unwrap(), reading: uplink });
        // What has proved itself is captured once, and not what was mended or has drifted since.
        if let Some(proven) = self.device.proven().map(|release| release.digest)
            && !self.captured.contains(&proven)
        {
            self.captured.push(proven);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Record(event) => self.events.push(event),
            Effect::Report(report) => self.report = Some(report),
            Effect::Ask { ticket, facts } => self.inputs.push_back(match self.policy {
                Policy::Answers => Input::Answered { ticket, decision: two_windows(&facts) },
                Policy::Heals => {
                    Input::Answered { ticket, decision: always(Action::Heal { playbook: None }) }
                }
                Policy::Slows => Input::Answered { ticket, decision: always(Action::Slow { windows: 3 }) },
                Policy::Traps => Input::Unanswered { ticket, why: "it trapped".into() },
            }),
            Effect::Vet { ticket, release } => {
                let unknown = || Vetted::Not { transience: Transience::Transient, why: "no answer".into() };
                self.vetted.push(release.digest);
                let verdict = self.genuine.get(&release.digest).cloned().unwrap_or_else(unknown);
                let input = Input::Vetted { ticket, verdict };
                match self.vetting {
                    Vetting::AtOnce => self.inputs.push_back(input),
                    Vetting::WhenAsked => self.verdict = Some(input),
                }
            }
            Effect::Abandon { ticket, outcome } => {
                self.taken = None;
                self.inputs.push_back(Input::Ended { ticket, outcome, slots: self.slots.clone() });
            }
            Effect::Run { order, grant } => {
                if self.power == Power::GoesBeforeTheNextRun {
                    self.power = Power::Gone;
                    return;
                }
                match self.executor.clone() {
                    Executor::Is(there) if grant.is_none_or(|grant| grant == there) => {
                        self.inputs.push_back(Input::Taken { ticket: order.ticket, grant: there });
                        self.taken = Some(order);
                    }
                    Executor::Is(_) => self.halts(&order, "it is no longer there"),
                    Executor::IsOut(why) => self.halts(&order, &why),
                }
            }
        }
    }

    /// The run that was taken does its work, now that it is durable who took it.
    fn works(&mut self) {
        let Some(order) = self.taken.take() else { return };
        let Some(outcome) = self.run(&order.task) else { return };
        if self.power == Power::GoesInTheNextRun {
            self.power = Power::Gone;
            return;
        }
        self.inputs.push_back(Input::Ended { ticket: order.ticket, outcome, slots: self.slots.clone() });
    }

    fn halts(&mut self, order: &Order, why: &str) {
        self.inputs.push_back(Input::Halted { ticket: order.ticket, why: why.into() });
    }

    /// What a run comes to. None: it hangs.
    fn run(&mut self, task: &Task) -> Option<Outcome> {
        match task {
            Task::Install { release } | Task::GoHome { release }
                if matches!(self.behaviours.get(&release.digest), Some(Behaviour::Hangs)) =>
            {
                return None;
            }
            Task::Install { release } => {
                if let Some(Behaviour::FailsToStage(times)) = self.behaviours.get(&release.digest)
                    && self.staged_in_vain < *times
                {
                    self.staged_in_vain += 1;
                    let why = "the connection was lost".into();
                    return Some(Outcome::Failed { transience: Transience::Transient, why });
                }
                self.switch_to(release);
                if let Behaviour::DoesNotBoot = self.behaviour() {
                    self.falls_back();
                }
            }
            Task::Confirm { release } => {
                if self.began == Began::Woken && release.digest != self.slots.booted.digest {
                    let why = "it does not run: there is nothing to confirm".into();
                    return Some(Outcome::Failed { transience: Transience::Permanent, why });
                }
                assert_eq!(release.digest, self.slots.booted.digest, "only what runs is confirmed");
                self.slots.confirmed = release.clone();
                self.slots.trying = None;
            }
            Task::GoHome { release }
                if matches!(self.behaviours.get(&release.digest), Some(Behaviour::DoesNotBoot)) =>
            {
                // The boot loader starts what was left: its last resort.
                self.slots.confirmed = self.slots.booted.clone();
                self.up_since = self.now;
            }
            Task::GoHome { release } => {
                self.switch_to(release);
                self.slots.confirmed = release.clone();
            }
            Task::Heal { playbook } => {
                let on = self.slots.booted.digest;
                if playbook.as_str() == RESTORE && self.captured.contains(&on) {
                    self.restored = Some(on);
                }
                self.restarts += 1;
                self.up_since = self.now;
                let on_trial = self.slots.booted.digest != self.slots.confirmed.digest;
                if on_trial && matches!(self.behaviour(), Behaviour::DiesAtRestart) {
                    self.falls_back();
                }
            }
        }
        Some(Outcome::Done)
    }

    fn switch_to(&mut self, release: &Release) {
        if self.slots.booted.digest != release.digest {
            self.slots.other = Some(core::mem::replace(&mut self.slots.booted, release.clone()));
        }
        self.up_since = self.now;
        self.restarts = 0;
    }
}

/// Compares a story with the file of this name in `tests/stories/told/`; with `BACKSTAY_REWRITE=1` the file is
/// written instead, for review.
pub fn is_told_as(told: &str, name: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("told").join(name).with_extension("txt");
    if std::env::var_os("BACKSTAY_REWRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, told).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(told, kept, "the story differs from {}", path.display());
}

fn always(action: Action) -> Decision {
    Decision { action, reasons: vec![Reason::new("it always does".into())] }
}

/// The document's first rule, as a stand-in for the plugin: two bad windows in a row go back; on a confirmed
/// release one bad window heals; a failing dependency freezes.
#[must_use]
pub fn two_windows(facts: &Facts) -> Decision {
    let breached = |scope: Scope, windows: usize| {
        facts.objectives.iter().filter(|objective| objective.scope == scope).any(|objective| {
            let newest = objective.candidate.iter().rev().take(windows);
            newest.clone().count() == windows
                && newest.clone().all(|window| window.bad_share().is_some_and(|bad| bad.get() >= 500))
        })
    };
    let action = if facts.on_trial && breached(Scope::Local, 2) {
        Action::RollBack { how: How::SwitchAndFreeze }
    } else if !facts.on_trial && breached(Scope::Local, 1) {
        Action::Heal { playbook: None }
    } else if breached(Scope::Dependency, 1) {
        Action::Freeze
    } else {
        Action::Proceed
    };
    Decision { action, reasons: vec![Reason::new("two windows".into())] }
}
