//! One device: the real core, two slots, a program that behaves as its release does, an executor, and power that
//! may go.
//!
//! What is durable is the state at the last step that recorded something, and the clock with it: a power cut sets
//! both back. On a disk that is full it is what the device keeps apart, in a place that was taken beforehand. Slots are
//! believed. Not here: the way of a message (`fleet`).

use std::collections::VecDeque;

use backstay_core::{
    Allowance, Backoff, Device, DeviceSettings, DeviceState, Effect, Identity, Input, Rng, Rung, Vetted,
    Watched, Watermarks,
};
use backstay_model::{
    BootId, CohortId, DeviceId, Digest, Event, InfraKind, Label, Millis, Mono, Name, Order, Outcome, Reading,
    Release, Report, Scope, SlotStatus, Task, Ticket, Transience,
};

use crate::{
    broker::Presence,
    invariants::{self as rule, Broken, holds},
    policy,
    product::{self, Behaviour},
    sabotage::Sabotage,
    shore::Published,
    sky::Sky,
    weather::Mark,
    witness::{Scene, Witness},
};

/// Events of a device that a failure shows.
const LOG_MAX: usize = 40;

pub(crate) struct Unit {
    pub(crate) number: usize,
    pub(crate) cohort: usize,
    identity: Identity,
    pub(crate) device: Device,
    durable: (DeviceState, Mono),
    pub(crate) slots: SlotStatus,
    clock: Clock,
    pub(crate) power: Power,
    program: Program,
    run: Option<(u64, Order)>,
    /// The executor that is there, by its grant.
    executor: Digest,
    vetting: Option<(u64, Ticket, Release)>,
    next_probe: u64,
    pub(crate) next_beat: u64,
    pub(crate) beats: u64,
    boots: u128,
    pub(crate) link: Link,
    pub(crate) scheduled: u64,
    pub(crate) witness: Witness,
    pub(crate) log: VecDeque<(u64, Event)>,
    traps_until: u64,
    /// Nothing can be written down until then.
    full_until: u64,
    /// What was known of it when it last could write something down, and what it has kept apart since, where it couldn't.
    unwritten: Option<Box<(Witness, Watermarks, Mono)>>,
    /// What it kept apart before power went, where it could write nothing else down since.
    apart: Option<(Watermarks, Mono)>,
    /// How far its wall clock is ahead.
    pub(crate) clock_ahead: i64,
    /// What its executor did last, which it writes down before it says so: the number and the end.
    did: Option<(Order, Outcome)>,
}

/// The device's own clock: it stands still while the device is off.
#[derive(Clone, Copy, Debug)]
struct Clock {
    base: Mono,
    since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    Off { until: u64 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Program {
    /// When the release began to run here.
    since: u64,
    /// Restarts since.
    restarts: u32,
    /// A fault of the device's own: restarts that it still takes.
    sick: Option<u32>,
}

/// How a device is connected.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The session, as the device knows it.
    pub(crate) session: Option<Presence>,
    /// What the broker will say in its name.
    pub(crate) will: Option<Presence>,
    /// It can't connect before.
    pub(crate) again: u64,
    pub(crate) nonce: u64,
    /// When the newest message that is on its way to it arrives.
    pub(crate) arrived: u64,
}

/// How devices decide here.
pub(crate) fn settings(rng: &mut Rng) -> DeviceSettings {
    let name = |text| Name::parse(text).unwrap();
    let mut ladder = vec![Rung { playbook: name("restart"), attempts: 2 }];
    if rng.below(2) == 0 {
        ladder.push(Rung { playbook: name("reboot"), attempts: 1 });
    }
    DeviceSettings {
        hardware: product::hardware(),
        watched: vec![
            Watched { name: name("http"), critical: true, scope: Scope::Local },
            Watched { name: name("uplink"), critical: true, scope: Scope::Dependency },
        ],
        window: Millis::from_secs(600),
        trial: Millis::from_secs(1800),
        trial_limit: Millis::from_secs(3 * 3600),
        run_limit: Millis::from_secs(2 * 3600),
        ladder,
        heal_backoff: Backoff { base: Millis::from_secs(60), cap: Millis::from_secs(600) },
        cured_after: 2,
        retry_backoff: Backoff { base: Millis::from_secs(300), cap: Millis::from_secs(3600) },
        retries: 3,
        allowance: Allowance { switches: 3 + rng.below(3) as u32, span: Millis::from_secs(6 * 3600) },
        startup: Millis(0),
        leave_jitter: Millis::from_secs(900),
        second_after: None,
    }
}

impl Clock {
    fn at(self, now: u64) -> Mono {
        self.base.after(Millis(now - self.since))
    }

    fn shows(self, at: Mono) -> u64 {
        self.since + at.since(self.base).0
    }
}

impl Unit {
    pub(crate) fn new(
        number: usize,
        cohort: usize,
        name: &CohortId,
        release: &Release,
        sky: &mut Sky,
    ) -> Self {
        let slots =
            SlotStatus { booted: release.clone(), confirmed: release.clone(), other: None, trying: None };
        let device = Device::new(sky.settings.clone(), Mono(0), &slots, sky.rng.next_u64());
        let site = if number.is_multiple_of(2) { "site=basel" } else { "site=bern" };
        let identity = Identity {
            device: DeviceId::parse(&format!("pump-{number}")).unwrap(),
            cohort: name.clone(),
            labels: vec![Label::parse(site).unwrap()],
        };
        Self {
            number,
            cohort,
            identity,
            durable: (device.state().clone(), Mono(0)),
            device,
            slots,
            clock: Clock { base: Mono(0), since: 0 },
            power: Power::Off { until: sky.rng.below(sky.size.probe.0) },
            program: Program::default(),
            run: None,
            executor: Digest([1; 32]),
            vetting: None,
            next_probe: 0,
            next_beat: 0,
            beats: 0,
            boots: 0,
            link: Link::default(),
            scheduled: u64::MAX,
            witness: Witness::new(release),
            log: VecDeque::new(),
            traps_until: 0,
            full_until: 0,
            unwritten: None,
            apart: None,
            clock_ahead: 0,
            did: None,
        }
    }

    pub(crate) fn id(&self) -> &DeviceId {
        &self.identity.device
    }

    pub(crate) fn labels(&self) -> &[Label] {
        &self.identity.labels
    }

    pub(crate) fn mono(&self, now: u64) -> Mono {
        self.clock.at(now)
    }

    /// When it next has something to do.
    pub(crate) fn due(&self) -> u64 {
        match self.power {
            Power::Off { until } => until,
            Power::On => {
                let deadline = self.device.deadline().map(|at| self.clock.shows(at));
                let run = self.run.as_ref().map(|run| run.0);
                let vetting = self.vetting.as_ref().map(|vetting| vetting.0);
                let link = if self.link.session.is_some() { self.next_beat } else { self.link.again };
                [deadline, run, vetting, Some(link)].into_iter().flatten().fold(self.next_probe, u64::min)
            }
        }
    }

    /// Does what is due, but for its link. Gives the reports that it wants to send.
    pub(crate) fn wakes(&mut self, sky: &mut Sky, published: &Published) -> Result<Vec<Report>, Broken> {
        let now = sky.now;
        let mut reports = Vec::new();
        if let Power::Off { until } = self.power {
            if until <= now {
                self.boots(sky, published, &mut reports)?;
            }
            return Ok(reports);
        }
        if self.unwritten.is_some() && self.full_until <= now {
            // What was missed is written down late.
            self.writes_down(self.mono(now));
        }
        if let Some((_, ticket, release)) = self.vetting.take_if(|vetting| vetting.0 <= now) {
            let verdict = self.vets(sky, &release);
            self.give(Input::Vetted { ticket, verdict }, sky, published, &mut reports)?;
        }
        if let Some((_, order)) = self.run.take_if(|run| run.0 <= now) {
            self.acts(order, sky, published, &mut reports)?;
        }
        if self.power == Power::On && self.next_probe <= now {
            self.next_probe = now + sky.size.probe.0;
            self.probes(sky, published, &mut reports)?;
        }
        if self.power == Power::On && self.device.deadline().is_some_and(|at| at <= self.mono(now)) {
            self.give(Input::Tick, sky, published, &mut reports)?;
            let stuck = sky.sabotage.is_some_and(Sabotage::is_stuck);
            let deadline = if stuck { Some(self.mono(now)) } else { self.device.deadline() };
            holds(rule::NO_SPIN, deadline.is_none_or(|at| at > self.mono(now)), || format!("{deadline:?}"))?;
        }
        Ok(reports)
    }

    /// Gives the core an input, and does what it says, and what follows from that.
    pub(crate) fn give(
        &mut self,
        input: Input,
        sky: &mut Sky,
        published: &Published,
        reports: &mut Vec<Report>,
    ) -> Result<(), Broken> {
        // Most inputs lead to no other one, and then nothing is allocated.
        let (mut next, mut inputs) = (Some(input), VecDeque::new());
        while let Some(input) = next.take().or_else(|| inputs.pop_front()) {
            if self.power != Power::On {
                return Ok(());
            }
            let now = self.mono(sky.now);
            let mut effects = self.device.step(now, input);
            if let Some(sabotage) = sky.sabotage {
                sabotage.device(&mut effects, now);
            }
            if effects.is_empty() {
                self.witness.keeps_its_word(&self.device)?;
                continue;
            }
            let records = effects.iter().any(|effect| matches!(effect, Effect::Record(_)));
            let full = sky.now < self.full_until;
            let cut = records && !full && self.unwritten.is_none() && sky.strikes_in_step();
            if cut && sky.rng.below(2) == 0 {
                // Nothing of it was written down, and nothing follows from it.
                self.loses_power(sky, 600_000);
                return Ok(());
            }
            if records && full {
                // What a word led to isn't written down, so neither is that it was told.
                let apart = Watermarks { told: 0, ..self.device.watermarks() };
                match &mut self.unwritten {
                    Some(unwritten) => (unwritten.1, unwritten.2) = (apart, now),
                    None => self.unwritten = Some(Box::new((self.witness.clone(), apart, now))),
                }
            }
            let scene = Scene {
                now,
                id: &self.identity.device,
                labels: &self.identity.labels,
                device: &self.device,
                settings: &sky.settings,
                slots: &self.slots,
                products: &sky.products,
                published,
            };
            self.witness.sees(&scene, &effects)?;
            self.witness.keeps_its_word(&self.device)?;
            if records && !full {
                self.writes_down(now);
            }
            if cut {
                // It was written down, and what follows from it was not begun.
                for effect in effects {
                    if let Effect::Record(event) = effect {
                        self.notes(sky, event);
                    }
                }
                self.loses_power(sky, 600_000);
                return Ok(());
            }
            for effect in effects {
                match effect {
                    Effect::Record(event) => self.notes(sky, event),
                    Effect::Report(report) => {
                        sky.mix(report.sequence);
                        reports.push(report);
                    }
                    Effect::Ask { ticket, facts } => {
                        if sky.strikes(Mark::Trap) {
                            self.traps_until = sky.now + sky.rng.below(4 * 3_600_000);
                        }
                        let traps = sky.now < self.traps_until && !sky.is_calm;
                        inputs.push_back(if traps {
                            Input::Unanswered { ticket, why: "it trapped".into() }
                        } else {
                            Input::Answered { ticket, decision: policy::decide(&facts) }
                        });
                    }
                    Effect::Vet { ticket, release } => {
                        self.vetting = Some((sky.now + sky.rng.below(5000), ticket, release));
                    }
                    Effect::Run { order, grant } => {
                        let ticket = order.ticket;
                        if grant.is_some_and(|grant| grant != self.executor) {
                            inputs.push_back(Input::Halted { ticket, why: "it is no longer there".into() });
                            continue;
                        }
                        let slow = sky.strikes(Mark::Slow);
                        let most = if slow { 3 * 3_600_000 } else { 120_000 };
                        let ends =
                            if sky.strikes(Mark::Hang) { u64::MAX } else { sky.now + sky.rng.below(most) };
                        self.run = Some((ends, order));
                        inputs.push_back(Input::Taken { ticket, grant: self.executor });
                    }
                    Effect::Abandon { ticket, outcome } => {
                        // Whoever is let go of may have done it all the same.
                        if let Some((_, order)) = self.run.take()
                            && sky.rng.below(2) == 0
                        {
                            let _ = self.does(&order.task, sky);
                        }
                        let slots = self.slots.clone();
                        inputs.push_back(Input::Ended { ticket, outcome, slots });
                    }
                }
            }
        }
        Ok(())
    }

    fn writes_down(&mut self, now: Mono) {
        self.durable = (self.device.state().clone(), now);
        (self.unwritten, self.apart) = (None, None);
    }

    /// Nothing can be written down for a while.
    pub(crate) fn fills_up(&mut self, until: u64) {
        self.full_until = self.full_until.max(until);
    }

    fn notes(&mut self, sky: &mut Sky, event: Event) {
        if matches!(event, Event::Asked { .. }) {
            return;
        }
        sky.events += 1;
        sky.mix(self.number as u64);
        sky.mix_text(&event);
        if self.log.len() == LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back((sky.now, event));
    }

    fn vets(&self, sky: &mut Sky, release: &Release) -> Vetted {
        let product = sky.products.iter().find(|product| product.release == *release).map(|p| p.vetted());
        let not = |transience| Vetted::Not { transience, why: "nobody answers".into() };
        match product {
            Some(_) if sky.strikes(Mark::Unvetted) => not(Transience::Transient),
            Some(verdict) => verdict,
            None => not(Transience::Permanent),
        }
    }

    /// How what runs behaves on this device.
    fn behaviour(&self, sky: &Sky) -> Option<Behaviour> {
        let runs = &self.slots.booted.digest;
        sky.products.iter().find(|product| product.release.digest == *runs)?.on(self.number)
    }

    /// What its own probe would read now.
    pub(crate) fn local(&self, sky: &Sky) -> Reading {
        if self.program.sick.is_some() {
            return Reading::Failed;
        }
        match self.behaviour(sky) {
            Some(Behaviour::FailsAfter(span)) if sky.now - self.program.since >= span.0 => Reading::Failed,
            Some(Behaviour::NeedsRestarts(needed)) if self.program.restarts < needed => Reading::Failed,
            Some(Behaviour::IsSilent) => Reading::NotRun,
            Some(Behaviour::FailsAfter(_) | Behaviour::NeedsRestarts(_) | Behaviour::DoesNotBoot) | None => {
                Reading::Passed
            }
        }
    }

    /// Whether `release` would be healthy here.
    pub(crate) fn would_be_well_on(&self, release: &Release, sky: &Sky) -> bool {
        let product = sky.products.iter().find(|product| product.release.digest == release.digest);
        self.program.sick.is_none()
            && product.is_some_and(|product| {
                matches!(product.on(self.number), None | Some(Behaviour::NeedsRestarts(_)))
            })
    }

    fn probes(
        &mut self,
        sky: &mut Sky,
        published: &Published,
        reports: &mut Vec<Report>,
    ) -> Result<(), Broken> {
        let alarm = sky.now < sky.alarm_until;
        if sky.strikes_rarely(Mark::Sick) {
            let needs = [1, 1, 2, 3, u32::MAX][sky.rng.below(5) as usize];
            self.program.sick = Some(needs);
        }
        let local = if alarm { Reading::NotRun } else { self.local(sky) };
        self.witness.reads(local);
        if local == Reading::Failed && sky.rng.below(8) == 0 {
            self.witness.program_ended();
            self.give(Input::Trouble(InfraKind::ProcessExited), sky, published, reports)?;
        }
        if alarm || sky.network_trouble && !sky.is_calm && self.link.session.is_none() {
            self.witness.has_trouble();
            if !alarm {
                sky.marks.count(Mark::Network);
            }
            self.give(Input::Trouble(InfraKind::Network), sky, published, reports)?;
        }
        let uplink = if alarm || sky.now < sky.outage_until { Reading::Failed } else { Reading::Passed };
        self.give(Input::Reading { probe: sky.http.clone(), reading: local }, sky, published, reports)?;
        self.give(Input::Reading { probe: sky.uplink.clone(), reading: uplink }, sky, published, reports)
    }

    /// Brings a run to its end, as far as power and chance let it.
    fn acts(
        &mut self,
        order: Order,
        sky: &mut Sky,
        published: &Published,
        reports: &mut Vec<Report>,
    ) -> Result<(), Broken> {
        if sky.strikes(Mark::RunLost) {
            self.loses_power(sky, 60_000);
            return Ok(());
        }
        let forgets = sky.sabotage.is_some_and(Sabotage::is_forgetful);
        let outcome = match self.did.as_ref().filter(|_| !forgets) {
            // It was in doubt, and the executor looks what it did.
            Some((did, outcome)) if *did == order => outcome.clone(),
            Some(_) | None => {
                let last = self.did.as_ref().map(|(did, _)| (did.ticket, did.fence));
                let newer = last.is_none_or(|last| last.0 < order.ticket && last.1 < order.fence);
                holds(rule::EFFECT_ONCE, newer, || format!("{order:?} after {last:?}"))?;
                self.does(&order.task, sky)
            }
        };
        self.did = Some((order.clone(), outcome.clone()));
        if sky.strikes(Mark::RunLost) {
            // It was done, and nobody was there to hear of it.
            self.loses_power(sky, 60_000);
            return Ok(());
        }
        let (ticket, slots) = (order.ticket, self.slots.clone());
        self.give(Input::Ended { ticket, outcome, slots }, sky, published, reports)
    }

    fn does(&mut self, task: &Task, sky: &mut Sky) -> Outcome {
        let failed = |transience, why: &str| Outcome::Failed { transience, why: why.into() };
        let done_already = match task {
            Task::Install { release } => self.slots.booted == *release,
            Task::Confirm { release } => self.slots.confirmed == *release,
            Task::GoHome { release } => self.slots.booted == *release && self.slots.confirmed == *release,
            Task::Heal { .. } => false,
        };
        if done_already {
            return Outcome::Done;
        }
        if sky.strikes(Mark::Transient) {
            return failed(Transience::Transient, "the connection was lost");
        }
        if sky.strikes_rarely(Mark::Permanent) {
            return failed(Transience::Permanent, "the slot is too small");
        }
        match task {
            Task::Install { release } => {
                let product = sky.products.iter().find(|product| product.release == *release);
                let behaviour = product.and_then(|product| product.on(self.number));
                if behaviour == Some(Behaviour::DoesNotBoot) {
                    self.slots.other = Some(release.clone());
                    self.witness.fell_back = true;
                    // Executors differ in what they say of it; the slots say the same.
                    return if release.digest.0[3].is_multiple_of(2) {
                        Outcome::Done
                    } else {
                        failed(Transience::Permanent, "it did not come up")
                    };
                }
                self.switches_to(release, sky.now);
            }
            Task::Confirm { release } if self.slots.booted == *release => {
                self.slots.confirmed = release.clone();
            }
            Task::Confirm { .. } => return failed(Transience::Permanent, "another release runs"),
            Task::GoHome { release } => {
                self.switches_to(release, sky.now);
                self.slots.confirmed = release.clone();
            }
            Task::Heal { .. } => {
                self.program.restarts += 1;
                self.program.sick = match self.program.sick {
                    Some(u32::MAX) => Some(u32::MAX),
                    Some(needs @ 2..) => Some(needs - 1),
                    Some(_) | None => None,
                };
            }
        }
        Outcome::Done
    }

    fn switches_to(&mut self, release: &Release, now: u64) {
        if self.slots.booted.digest != release.digest {
            self.slots.other = Some(std::mem::replace(&mut self.slots.booted, release.clone()));
            (self.program.since, self.program.restarts) = (now, 0);
        }
    }

    /// Power goes: what was not written down is gone, and the clock goes on from what was.
    pub(crate) fn loses_power(&mut self, sky: &mut Sky, most: u64) {
        if self.unwritten.is_some() && !sky.weather.has(Mark::FullAndCut) {
            // There was room again just in time.
            self.writes_down(self.mono(sky.now));
        }
        self.power = Power::Off { until: sky.now + 5_000 + sky.rng.below(most) };
        (self.run, self.vetting) = (None, None);
        if let Some((witness, apart, at)) = self.unwritten.take().map(|unwritten| *unwritten) {
            sky.marks.count(Mark::FullAndCut);
            // What the device could not write down it can't be held to, and its executor writes on the same disk.
            self.witness.forgets(witness);
            self.did = None;
            self.apart = Some((apart, at));
        }
    }

    pub(crate) const fn is_sick(&self) -> bool {
        self.program.sick.is_some()
    }

    /// It has a fault of its own, which so many restarts mend.
    pub(crate) const fn falls_sick(&mut self, needs: u32) {
        self.program.sick = Some(needs);
    }

    fn boots(
        &mut self,
        sky: &mut Sky,
        published: &Published,
        reports: &mut Vec<Report>,
    ) -> Result<(), Broken> {
        let now = sky.now;
        self.power = Power::On;
        self.boots += 1;
        self.witness.starts();
        let on_trial = self.slots.booted.digest != self.slots.confirmed.digest;
        let refuses = self.behaviour(sky) == Some(Behaviour::DoesNotBoot);
        if on_trial && (refuses || sky.strikes(Mark::FlatBoot)) {
            let confirmed = self.slots.confirmed.clone();
            // It didn't come up here, whatever the device remembers of it.
            self.witness.failed.insert(self.slots.booted.digest);
            self.switches_to(&confirmed, now);
            self.witness.fell_back = true;
        }
        let (state, mut at) = self.durable.clone();
        // Another one is configured, or the one before is back.
        self.executor = Digest([if sky.strikes(Mark::Replaced) { 2 } else { 1 }; 32]);
        self.device = Device::restore(sky.settings.clone(), state);
        if let Some((apart, then)) = &self.apart {
            self.device.remember(apart);
            at = at.max(*then);
        }
        // What moved it since is written down nowhere.
        let remembered = self.device.running().digest;
        let moved = self.apart.is_some() && remembered != self.slots.booted.digest;
        if moved {
            self.witness.finds_another(remembered);
        }
        self.clock = Clock { base: at, since: now };
        self.next_probe = now + sky.rng.below(sky.size.probe.0);
        self.link.again = now + 1000 + sky.rng.below(10_000);
        let (boot, slots) = (BootId(self.boots), self.slots.clone());
        let crashed = on_trial && sky.strikes(Mark::Crash);
        self.give(Input::Up { boot, slots }, sky, published, reports)?;
        self.witness.moved_unwritten = None;
        if crashed && self.power == Power::On {
            self.witness.crashed(self.mono(now));
            self.give(Input::Crashed, sky, published, reports)?;
        }
        if self.power != Power::On {
            return Ok(());
        }
        self.give(Input::Enrolled(self.identity.clone()), sky, published, reports)
    }

    /// Says again where it stands, as each connection does.
    pub(crate) fn says_again(&mut self, now: u64) -> Result<Option<Report>, Broken> {
        let report = self.device.report_at(self.clock.at(now));
        report.as_ref().map_or(Ok(()), |report| self.witness.counts(report))?;
        Ok(report)
    }
}
