//! The heap of what happens next, and the way of every message.
//!
//! Time is a number that goes from event to event. Whatever happens to a device or a cohort happens here, and is
//! held against the invariants before the next thing does.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt::{self, Write as _},
};

use backstay_core::{
    CohortInput, Contact, DeviceSettings, Freshness, Input, Rng, Rollout, Second, Steered, Wish,
};
use backstay_model::{
    Beat, Digest, Event, Millis, Mono, Name, Refused, Report, RolloutId, Selector, Steer, Word,
};

use crate::{
    broker::{Broker, Presence, Words},
    invariants::{self as rule, Broken, Checks, holds, take_checks},
    poison,
    product::Product,
    progress, reference,
    sabotage::Sabotage,
    shore::{self, Memory, Shore},
    trial::Trial,
    unit::{self, Power, Unit},
    weather::{Mark, Marks, Weather},
};

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Devices.
    pub devices: usize,
    /// Cohorts that they are spread over.
    pub cohorts: usize,
    /// For so long things go wrong.
    pub days: f64,
    /// Between two beats of a device.
    pub beat: Millis,
    /// Between two readings of a probe.
    pub probe: Millis,
}

impl Size {
    /// `devices` for `days`, with beats and probes as seldom as windows bear.
    #[must_use]
    pub fn of(devices: usize, days: f64) -> Self {
        let span = Millis::from_secs(300);
        Self { devices, cohorts: if devices >= 20 { 2 } else { 1 }, days, beat: span, probe: span }
    }

    /// The same with as many devices.
    #[must_use]
    pub fn with_devices(self, devices: usize) -> Self {
        let Self { devices, cohorts, .. } = Self::of(devices, self.days);
        Self { devices, cohorts, ..self }
    }
}

/// So long a server listens after it has connected.
const LISTEN: u64 = 1000;
/// Devices stand in so many racks.
const RACKS: usize = 8;
const HOUR: u64 = 3_600_000;
/// After this everything has to have come to rest: three rollouts' patience, and a budget that is free again.
const REST: u64 = 4 * 24 * HOUR;

/// For so long steering may start something, by a device's clock.
const VALID: i64 = 7 * 24 * HOUR as i64;

/// All that devices and cohorts share.
pub(crate) struct Sky {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) size: Size,
    pub(crate) weather: Weather,
    pub(crate) is_calm: bool,
    pub(crate) marks: Marks,
    pub(crate) settings: DeviceSettings,
    pub(crate) products: Vec<Product>,
    pub(crate) http: Name,
    pub(crate) uplink: Name,
    pub(crate) outage_until: u64,
    pub(crate) alarm_until: u64,
    /// What of the core is broken on purpose.
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) network_trouble: bool,
    pub(crate) events: u64,
    digest: u64,
}

impl Sky {
    /// Whether a fault of this kind strikes here and now.
    pub(crate) fn strikes(&mut self, mark: Mark) -> bool {
        let struck = !self.is_calm && self.weather.has(mark) && self.rng.below(1000) < self.weather.harsh;
        if struck {
            self.marks.count(mark);
        }
        struck
    }

    /// The same, for what is asked often.
    pub(crate) fn strikes_rarely(&mut self, mark: Mark) -> bool {
        !self.is_calm && self.weather.has(mark) && self.rng.below(50) == 0 && self.strikes(mark)
    }

    /// Whether power goes in the middle of a step that writes something down.
    pub(crate) fn strikes_in_step(&mut self) -> bool {
        !self.is_calm
            && self.weather.has(Mark::CutInStep)
            && self.rng.below(8) == 0
            && self.strikes(Mark::CutInStep)
    }

    pub(crate) fn mix(&mut self, word: u64) {
        self.digest = (self.digest ^ word ^ self.now).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn mix_text(&mut self, event: &Event) {
        struct Mixer(u64);
        impl fmt::Write for Mixer {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
                }
                Ok(())
            }
        }
        let mut mixer = Mixer(self.digest);
        let _ = write!(mixer, "{event}");
        self.digest = mixer.0;
    }
}

/// What can be on its way.
#[derive(Clone, Debug)]
enum Parcel {
    Steer(Steer),
    Words(Words),
    /// What was made of bytes that nobody we trust had signed: nothing, or words that no device may ever hear.
    Poisoned(Result<Box<Steer>, Refused>),
    State(usize, Report),
    Presence(usize, Presence),
    Beat(usize, Beat),
    /// What the broker keeps as the cohort's own words.
    Own(Steer),
}

#[derive(Debug)]
enum What {
    /// Something of this device is due.
    Unit(usize),
    /// Something of this cohort is due.
    Shore(usize),
    /// For a device, in the session with this nonce.
    ToUnit(usize, u64, Box<Parcel>),
    ToShore(usize, Box<Parcel>),
    /// The broker speaks in a device's name, if its session with this nonce is gone.
    Will(usize, u64),
    /// A fault of this kind, and when the next comes.
    Fault(Mark),
    /// A person does something.
    Person,
}

/// Where a message goes.
#[derive(Clone, Copy)]
enum To {
    Unit(usize),
    Shore(usize),
}

struct Entry {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A run that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Things that happened.
    pub steps: u64,
    /// Events that were recorded.
    pub events: u64,
    /// Virtual time, in ms.
    pub until: u64,
    /// Switches of release, over all devices.
    pub switches: u64,
    /// Turns of a cohort.
    pub turns: u64,
    /// What went wrong, and how often.
    pub marks: Marks,
    /// How often each invariant was checked.
    pub checks: Checks,
    /// Of all that was recorded, in its order.
    pub digest: u64,
}

/// A run in which something did not hold.
#[derive(Debug)]
pub struct Failure {
    /// Which run it was.
    pub trial: Trial,
    /// When.
    pub at: u64,
    /// What did not hold.
    pub broken: Broken,
    /// The last events of those who took part.
    pub story: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} after {}: {}", self.trial.seed, Millis(self.at), self.broken)?;
        writeln!(f, "{}", self.story)?;
        write!(f, "again: {}", self.trial)
    }
}

/// A fleet with all that is around it.
pub struct Fleet {
    trial: Trial,
    pub(crate) sky: Sky,
    heap: BinaryHeap<Reverse<Entry>>,
    pushed: u64,
    steps: u64,
    pub(crate) units: Vec<Unit>,
    pub(crate) shores: Vec<Shore>,
    broker: Broker,
    rollouts: u32,
    words: Vec<u64>,
    last: (Option<usize>, usize),
}

impl Fleet {
    /// The fleet of a seed, with the faults that it draws.
    #[must_use]
    pub fn new(seed: u64, size: Size) -> Self {
        Self::of_trial(Trial::of(seed, size))
    }

    /// The fleet of a trial.
    pub(crate) fn of_trial(trial: Trial) -> Self {
        let mut rng = Rng::new(trial.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xb5);
        let mut weather = Weather::drawn(&mut rng);
        if let Some(only) = &trial.only {
            weather = weather.only(only);
        }
        let mut products = vec![Product::new(0, &[])];
        for n in 1..=8 {
            let next = Product::drawn(n, &products, &mut rng);
            products.push(next);
        }
        Self::with(trial, weather, products, rng)
    }

    /// One whose first releases turn out as said, in this weather.
    #[must_use]
    pub fn told(seed: u64, size: Size, weather: Weather, faults: &[Option<(crate::Behaviour, u64)>]) -> Self {
        let mut products = vec![Product::new(0, &[])];
        for (n, fault) in (1..).zip(faults) {
            let next = Product { fault: *fault, ..Product::new(n, &products) };
            products.push(next);
        }
        Self::with(Trial { told: true, ..Trial::of(seed, size) }, weather, products, Rng::new(seed))
    }

    pub(crate) fn run_as(self, trial: Trial) -> Self {
        Self { trial, ..self }
    }

    /// Of which the core is broken like this.
    #[must_use]
    pub fn broken_by(mut self, sabotage: Sabotage) -> Self {
        self.sky.sabotage = Some(sabotage);
        self.trial.told = true;
        self
    }

    /// One release on its way through a weather that changes when things happen, and not what.
    pub(crate) fn for_reference(trial: Trial) -> Self {
        let mut rng = Rng::new(trial.seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x7e);
        let mut weather = Weather::drawn(&mut rng).only(reference::BEARABLE);
        if rng.below(3) == 0 {
            weather = Weather::calm();
        }
        if let Some(only) = &trial.only {
            weather = weather.only(only);
        }
        let first = Product::new(0, &[]);
        let next = Product::drawn(1, std::slice::from_ref(&first), &mut rng);
        Self::with(trial, weather, vec![first, next], rng)
    }

    /// The most devices that the first wave of a cohort holds.
    pub(crate) fn smallest_wave(&self) -> usize {
        let most = self.units.len().div_ceil(self.shores.len()).div_ceil(100);
        most.max(shore::plan(self.sky.size.beat).devices_min as usize)
    }

    /// Whether nothing could go wrong from the start.
    pub(crate) fn was_calm(&self) -> bool {
        self.sky.weather.marks().is_empty()
    }

    /// Runs until everything has come to rest, and compares what came of it with what should have.
    pub(crate) fn runs_as_the_reference_says(mut self) -> Result<Ran, Box<Failure>> {
        match self.runs().and_then(|()| reference::compare(&self)) {
            Ok(()) => Ok(self.ran()),
            Err(broken) => Err(Box::new(self.failure(broken))),
        }
    }

    pub(crate) fn weather(&self) -> &Weather {
        &self.sky.weather
    }

    fn with(trial: Trial, weather: Weather, products: Vec<Product>, mut rng: Rng) -> Self {
        let (seed, size) = (trial.seed, trial.size);
        take_checks();
        let settings = unit::settings(&mut rng);
        let mut sky = Sky {
            now: 0,
            rng,
            size,
            weather,
            is_calm: false,
            marks: Marks::default(),
            settings,
            products,
            http: Name::parse("http").unwrap(),
            uplink: Name::parse("uplink").unwrap(),
            outage_until: 0,
            alarm_until: 0,
            sabotage: None,
            network_trouble: false,
            events: 0,
            digest: seed,
        };
        sky.network_trouble = sky.weather.has(Mark::Network);
        let mut shores: Vec<_> = (0..size.cohorts).map(Shore::new).collect();
        let first = sky.products[0].release.clone();
        let units: Vec<_> = (0..size.devices)
            .map(|n| Unit::new(n, n % size.cohorts, &shores[n % size.cohorts].id, &first, &mut sky))
            .collect();
        for unit in &units {
            let (device, labels) = (unit.id().clone(), unit.labels().to_vec());
            shores[unit.cohort].cohort.step(Mono(0), CohortInput::Enrolled { device, labels });
        }
        let mut fleet = Self {
            trial,
            heap: BinaryHeap::new(),
            pushed: 0,
            steps: 0,
            broker: Broker::new(size.cohorts, size.devices),
            rollouts: 0,
            words: vec![0; size.devices],
            units,
            shores,
            sky,
            last: (None, 0),
        };
        (0..fleet.units.len()).for_each(|n| fleet.schedule_unit(n));
        (0..fleet.shores.len()).for_each(|n| fleet.schedule_shore(n));
        for &mark in Mark::ALL {
            if fleet.sky.weather.has(mark) {
                fleet.fault_later(mark);
            }
        }
        fleet
    }

    /// Lets people start rollouts and wish things, as chance has it.
    #[must_use]
    pub fn with_people(mut self) -> Self {
        let at = self.sky.rng.below(HOUR);
        self.push(at, What::Person);
        self
    }

    /// Runs until the faults have stopped and everything has come to rest.
    ///
    /// # Errors
    /// What did not hold, and how to see it again.
    pub fn run(mut self) -> Result<Ran, Box<Failure>> {
        match self.runs() {
            Ok(()) => Ok(self.ran()),
            Err(broken) => Err(Box::new(self.failure(broken))),
        }
    }

    /// Goes on for so long.
    ///
    /// # Errors
    /// What did not hold.
    pub fn waits(&mut self, span: Millis) -> Result<(), Box<Failure>> {
        let until = self.sky.now + span.0;
        let went = self.goes_until(until);
        went.map_err(|broken| Box::new(self.failure(broken)))
    }

    /// A person starts a rollout of release `n` in every cohort.
    ///
    /// # Errors
    /// What did not hold.
    pub fn starts(&mut self, n: usize) -> Result<(), Box<Failure>> {
        let went = (0..self.shores.len()).try_for_each(|at| self.starts_in(at, n, None));
        went.map_err(|broken| Box::new(self.failure(broken)))
    }

    /// What everybody depends on is gone for so long.
    pub fn loses_what_it_depends_on(&mut self, span: Millis) {
        self.sky.outage_until = self.sky.now + span.0;
    }

    /// For so long no probe can be run anywhere, what everybody depends on looks gone, and every machine says that it is in trouble.
    pub fn alarms_falsely(&mut self, span: Millis) {
        self.sky.alarm_until = self.sky.now + span.0;
    }

    /// Each device of a rack has a fault of its own, which so many restarts mend. Gives how many there are.
    pub fn breaks_a_rack(&mut self, rack: usize, restarts: u32) -> usize {
        let size = self.units.len().div_ceil(RACKS);
        self.units.iter_mut().skip(rack * size).take(size).map(|unit| unit.falls_sick(restarts)).count()
    }

    /// How many devices have a fault of their own.
    #[must_use]
    pub fn that_are_sick(&self) -> usize {
        self.units.iter().filter(|unit| unit.is_sick()).count()
    }

    /// The broker is gone for so long.
    pub fn loses_the_broker(&mut self, span: Millis) {
        self.broker_stops(span.0);
    }

    /// How many devices run release `n`.
    #[must_use]
    pub fn run_release(&self, n: usize) -> usize {
        let release = &self.sky.products[n].release;
        self.units.iter().filter(|unit| unit.slots.booted == *release).count()
    }

    /// How many devices ever ran something that was not the first release.
    #[must_use]
    pub fn that_moved(&self) -> usize {
        self.units.iter().filter(|unit| unit.witness.moved > 0).count()
    }

    fn runs(&mut self) -> Result<(), Broken> {
        let stormy = (self.sky.size.days * 24.0 * HOUR as f64) as u64;
        self.goes_until(self.sky.now + stormy)?;
        self.calms()?;
        let bound = self.sky.now + REST;
        let mut people = self.sky.now + 2 * HOUR;
        loop {
            self.goes_until(self.sky.now + HOUR)?;
            if people <= self.sky.now {
                people = self.sky.now + 12 * HOUR;
                self.people_tidy_up()?;
            }
            match progress::unsettled(self) {
                Ok(()) => return Ok(()),
                Err(broken) if self.sky.now >= bound => return Err(broken),
                Err(_) => {}
            }
        }
    }

    fn goes_until(&mut self, until: u64) -> Result<(), Broken> {
        while let Some(Reverse(entry)) = self.heap.peek()
            && entry.at <= until
        {
            let Some(Reverse(Entry { at, what, .. })) = self.heap.pop() else { break };
            self.sky.now = at;
            self.happens(what)?;
        }
        self.sky.now = until;
        Ok(())
    }

    fn happens(&mut self, what: What) -> Result<(), Broken> {
        match what {
            What::Unit(n) => {
                if self.units[n].scheduled != self.sky.now {
                    return Ok(());
                }
                self.units[n].scheduled = u64::MAX;
                self.unit_wakes(n)?;
            }
            What::Shore(n) => {
                if self.shores[n].scheduled != self.sky.now {
                    return Ok(());
                }
                self.shores[n].scheduled = u64::MAX;
                self.shore_wakes(n)?;
            }
            What::ToUnit(n, nonce, parcel) => self.unit_hears(n, nonce, *parcel)?,
            What::ToShore(n, parcel) => self.shore_hears(n, *parcel)?,
            What::Will(n, nonce) => self.will(n, nonce),
            What::Fault(mark) => {
                if !self.sky.is_calm {
                    self.fault(mark)?;
                    self.fault_later(mark);
                }
            }
            What::Person => {
                if !self.sky.is_calm {
                    self.person()?;
                    let at = self.sky.now + HOUR / 2 + self.sky.rng.below(8 * HOUR);
                    self.push(at, What::Person);
                }
            }
        }
        self.steps += 1;
        Ok(())
    }

    fn push(&mut self, at: u64, what: What) {
        self.pushed += 1;
        self.heap.push(Reverse(Entry { at, order: self.pushed, what }));
    }

    fn schedule_unit(&mut self, n: usize) {
        let due = self.units[n].due().max(self.sky.now);
        if due < self.units[n].scheduled {
            self.units[n].scheduled = due;
            self.push(due, What::Unit(n));
        }
    }

    fn schedule_shore(&mut self, n: usize) {
        let due = self.shores[n].due().max(self.sky.now);
        if due < self.shores[n].scheduled {
            self.shores[n].scheduled = due;
            self.push(due, What::Shore(n));
        }
    }

    // Devices.

    fn unit_wakes(&mut self, n: usize) -> Result<(), Broken> {
        self.last = (Some(n), self.units[n].cohort);
        let unit = &mut self.units[n];
        let reports = unit.wakes(&mut self.sky, &self.shores[unit.cohort].published)?;
        self.after_unit(n, reports)?;
        let now = self.sky.now;
        if self.units[n].power == Power::On {
            if self.units[n].link.session.is_none() && self.units[n].link.again <= now {
                self.connects(n)?;
            }
            if self.units[n].link.session.is_some() && self.units[n].next_beat <= now {
                self.beats(n)?;
            }
        }
        self.schedule_unit(n);
        Ok(())
    }

    fn give(&mut self, n: usize, input: Input) -> Result<(), Broken> {
        self.last = (Some(n), self.units[n].cohort);
        let unit = &mut self.units[n];
        let mut reports = Vec::new();
        unit.give(input, &mut self.sky, &self.shores[unit.cohort].published, &mut reports)?;
        self.after_unit(n, reports)?;
        self.schedule_unit(n);
        Ok(())
    }

    fn after_unit(&mut self, n: usize, reports: Vec<Report>) -> Result<(), Broken> {
        if self.units[n].power != Power::On && self.units[n].link.session.is_some() {
            self.disconnects(n);
        }
        if self.sky.sabotage.is_some_and(Sabotage::is_mute) {
            return Ok(());
        }
        for report in reports {
            self.says(n, report)?;
        }
        Ok(())
    }

    fn says(&mut self, n: usize, report: Report) -> Result<(), Broken> {
        if self.units[n].link.session.is_none() || self.sky.strikes(Mark::Loss) {
            return Ok(());
        }
        self.broker.state[n] = Some(report.clone());
        self.sends_to_shore(self.units[n].cohort, Parcel::State(n, report))
    }

    fn beats(&mut self, n: usize) -> Result<(), Broken> {
        let unit = &mut self.units[n];
        unit.next_beat = self.sky.now + self.sky.size.beat.0;
        unit.beats += 1;
        let Some(session) = unit.link.session else { return Ok(()) };
        let beat = Beat { nonce: session.nonce, count: unit.beats, health: unit.device.health() };
        let cohort = unit.cohort;
        if self.sky.strikes(Mark::Loss) {
            return Ok(());
        }
        // A beat that nothing holds up needs no place in the heap.
        if self.sky.is_calm || !(self.sky.weather.has(Mark::Reorder) || self.sky.weather.has(Mark::Duplicate))
        {
            let shore = &mut self.shores[cohort];
            if shore.hears(self.sky.now) {
                let now = shore.mono(self.sky.now);
                shore.cohort.beat(now, self.units[n].id(), beat);
            }
            return Ok(());
        }
        self.sends_to_shore(cohort, Parcel::Beat(n, beat))
    }

    fn connects(&mut self, n: usize) -> Result<(), Broken> {
        if !self.broker.is_up(self.sky.now) {
            self.units[n].link.again = self.broker.down_until + self.sky.rng.below(10_000);
            return Ok(());
        }
        if let Some(will) = self.units[n].link.will.take() {
            self.publish_presence(n, will)?;
        }
        let unit = &mut self.units[n];
        unit.link.nonce += 1 + self.sky.rng.below(1 << 20);
        unit.beats = 0;
        unit.next_beat = self.sky.now + self.sky.rng.below(self.sky.size.beat.0);
        let (nonce, began) = (unit.link.nonce, unit.mono(self.sky.now));
        let presence = Presence { nonce, began, contact: Contact::Online };
        unit.link.session = Some(presence);
        let (cohort, report) = (unit.cohort, unit.says_again(self.sky.now)?);
        self.publish_presence(n, presence)?;
        if let Some(report) = report {
            self.says(n, report)?;
        }
        if let Some(steer) = self.broker.steer[cohort].clone() {
            self.sends_to_unit(n, Parcel::Steer(steer));
        }
        if let Some(words) = self.broker.order[n].clone() {
            self.sends_to_unit(n, Parcel::Words(words));
        }
        Ok(())
    }

    /// The session ends without a farewell; the broker notices later.
    fn disconnects(&mut self, n: usize) {
        if let Some(session) = self.units[n].link.session.take() {
            let will = Presence { contact: Contact::Offline, ..session };
            self.units[n].link.will = Some(will);
            self.units[n].link.again = self.sky.now + self.sky.rng.below(10_000);
            let at = self.sky.now + 45_000 + self.sky.rng.below(45_000);
            self.push(at, What::Will(n, session.nonce));
        }
        self.schedule_unit(n);
    }

    fn will(&mut self, n: usize, nonce: u64) {
        if let Some(will) = self.units[n].link.will.take_if(|will| will.nonce == nonce) {
            // Nothing follows from a presence, so nothing can break.
            let _ = self.publish_presence(n, will);
        }
    }

    fn publish_presence(&mut self, n: usize, presence: Presence) -> Result<(), Broken> {
        if !self.broker.is_up(self.sky.now) {
            return Ok(());
        }
        self.broker.presence[n] = Some(presence);
        self.sends_to_shore(self.units[n].cohort, Parcel::Presence(n, presence))
    }

    fn unit_hears(&mut self, n: usize, nonce: u64, parcel: Parcel) -> Result<(), Broken> {
        if self.units[n].link.session.is_none_or(|session| session.nonce != nonce) {
            return Ok(());
        }
        match parcel {
            Parcel::Steer(steer) => {
                // By a clock that is far ahead everything is over; one that is behind is led by what signatures attest.
                let ahead = self.units[n].clock_ahead > VALID;
                let expired = ahead || self.sky.strikes(Mark::Expired);
                let freshness = if expired { Freshness::Expired } else { Freshness::Fresh };
                let digest = Digest([steer.generation.0 as u8; 32]);
                self.give(n, Input::Steered(Steered { steer, digest, freshness, second: Second::Missing }))
            }
            Parcel::Words(Words { sequence, words }) => self.give(n, Input::Told { sequence, words }),
            Parcel::Poisoned(taken) => {
                let refused = taken.map_err(Some).map_or_else(|why| why, |_| None);
                holds(rule::SIGNED, refused.is_some(), || "a forged message was taken".into())?;
                refused.map_or(Ok(()), |refused| self.give(n, Input::Refused(refused)))
            }
            Parcel::State(..) | Parcel::Presence(..) | Parcel::Beat(..) | Parcel::Own(_) => Ok(()),
        }
    }

    // Cohorts.

    fn shore_wakes(&mut self, n: usize) -> Result<(), Broken> {
        self.last.1 = n;
        if let Some(until) = self.shores[n].down_until
            && until <= self.sky.now
        {
            let memory = if self.sky.strikes(Mark::Amnesia) || self.forgets(Mark::Amnesia) {
                Memory::None
            } else if self.forgets(Mark::OldCopy) {
                Memory::Old
            } else if self.forgets(Mark::RosterLost) {
                Memory::NoRoster
            } else {
                Memory::Whole
            };
            // It says nothing before it has heard what the broker has.
            let _ = self.shores[n].starts(memory, &mut self.sky, &self.units)?;
        }
        let steers = self.shores[n].wakes(&mut self.sky, &self.units)?;
        self.publish(n, steers);
        let now = self.sky.now;
        if self.shores[n].greets && self.shores[n].hears(now) {
            if self.broker.is_up(now) {
                (self.shores[n].greets, self.shores[n].speaks_at) = (false, Some(now + LISTEN));
                self.shore_greets(n);
            } else {
                self.shores[n].is_cut_off(self.broker.down_until);
            }
        }
        if self.shores[n].speaks_at.is_some_and(|at| at <= now) {
            self.shores[n].speaks_at = None;
            let steer = self.shores[n].cohort.helm().steer();
            self.publish(n, steer.into_iter().collect());
        }
        self.schedule_shore(n);
        Ok(())
    }

    fn forgets(&mut self, mark: Mark) -> bool {
        let forgets = !self.sky.is_calm && self.sky.weather.has(mark) && self.sky.rng.below(3) == 0;
        if forgets {
            self.sky.marks.count(mark);
        }
        forgets
    }

    /// A connection of the server: it reads all that is retained.
    fn shore_greets(&mut self, n: usize) {
        if let Some(steer) = self.broker.steer[n].clone() {
            let _ = self.sends_to_shore(n, Parcel::Own(steer));
        }
        for device in 0..self.units.len() {
            if self.units[device].cohort != n {
                continue;
            }
            if let Some(presence) = self.broker.presence[device] {
                let _ = self.sends_to_shore(n, Parcel::Presence(device, presence));
            }
            if let Some(report) = self.broker.state[device].clone() {
                let _ = self.sends_to_shore(n, Parcel::State(device, report));
            }
        }
    }

    fn shore_gives(&mut self, n: usize, input: CohortInput) -> Result<(), Broken> {
        self.last.1 = n;
        let steers = self.shores[n].give(input, &mut self.sky, &self.units)?;
        self.publish(n, steers);
        self.schedule_shore(n);
        Ok(())
    }

    fn shore_hears(&mut self, n: usize, parcel: Parcel) -> Result<(), Broken> {
        if !self.shores[n].hears(self.sky.now) {
            return Ok(());
        }
        let id = |device: usize| self.units[device].id().clone();
        let input = match parcel {
            Parcel::State(device, report) => {
                self.last.0 = Some(device);
                let labels = self.units[device].labels().to_vec();
                CohortInput::Report { device: id(device), report, labels }
            }
            Parcel::Presence(device, Presence { nonce, began, contact }) => {
                CohortInput::Presence { device: id(device), nonce, began, contact }
            }
            Parcel::Beat(device, beat) => CohortInput::Beat { device: id(device), beat },
            Parcel::Own(steer) => {
                let ours = self.shores[n].cohort.helm().steer();
                match ours {
                    Some(ours) if ours.generation >= steer.generation && ours != steer => {
                        self.publish(n, vec![ours]);
                        return Ok(());
                    }
                    Some(_) | None => {
                        let plan = shore::plan(self.sky.size.beat);
                        CohortInput::OwnWords { steer, plan }
                    }
                }
            }
            Parcel::Steer(_) | Parcel::Words(_) | Parcel::Poisoned(_) => return Ok(()),
        };
        self.shore_gives(n, input)
    }

    /// What a connection of the server loses ends it; the next one says everything again.
    fn shore_loses_session(&mut self, n: usize) {
        let until = self.sky.now + 1000 + self.sky.rng.below(60_000);
        self.shores[n].is_cut_off(until);
        self.schedule_shore(n);
    }

    fn publish(&mut self, n: usize, steers: Vec<Steer>) {
        for steer in steers {
            if !self.shores[n].speaks(self.sky.now) || !self.broker.is_up(self.sky.now) {
                // It is said with the next connection.
                continue;
            }
            if self.sky.strikes(Mark::Loss) {
                self.shore_loses_session(n);
                continue;
            }
            self.broker.steer[n] = Some(steer.clone());
            for device in 0..self.units.len() {
                if self.units[device].cohort == n {
                    self.sends_to_unit(device, Parcel::Steer(steer.clone()));
                }
            }
        }
    }

    // The way of a message.

    /// When a message arrives that sets out now. A connection keeps the order of what it carries; what a fault
    /// delays comes by another way, and late.
    fn arrival(&mut self, to: To, parcel: &Parcel) -> u64 {
        // A broker keeps the order of one topic (MQTT 3.1.1, 4.6), and sessions of a device share the one of its
        // presence. Reports and steering have numbers of their own, so they may come in any order here.
        // The server's own words are on one topic, too.
        let in_order = matches!(parcel, Parcel::Presence(..) | Parcel::Own(_));
        if !in_order && self.sky.strikes(Mark::Reorder) {
            return self.sky.now + self.sky.rng.below(20 * 60_000);
        }
        let at = self.sky.now + 10 + self.sky.rng.below(200);
        let last = match to {
            To::Unit(n) => &mut self.units[n].link.arrived,
            To::Shore(n) => &mut self.shores[n].arrived,
        };
        *last = at.max(*last);
        *last
    }

    fn sends_to_unit(&mut self, n: usize, parcel: Parcel) {
        let Some(session) = self.units[n].link.session else { return };
        if self.sky.strikes(Mark::Loss) {
            // What a live session loses, it loses for good; most losses end the session.
            if self.sky.rng.below(3) > 0 {
                self.disconnects(n);
            }
            return;
        }
        if let Parcel::Steer(steer) = &parcel
            && self.sky.strikes(Mark::Poison)
        {
            let steer = steer.clone();
            self.poisons(n, &steer);
        }
        if self.sky.strikes(Mark::Duplicate) {
            let at = self.arrival(To::Unit(n), &parcel);
            self.push(at, What::ToUnit(n, session.nonce, Box::new(parcel.clone())));
        }
        let at = self.arrival(To::Unit(n), &parcel);
        self.push(at, What::ToUnit(n, session.nonce, Box::new(parcel)));
    }

    /// Somebody else sends a device what looks like this message.
    fn poisons(&mut self, n: usize, steer: &Steer) {
        let device = self.units[n].id().clone();
        let refused = poison::refused(steer, &device, &mut self.sky.rng);
        let Some(session) = self.units[n].link.session else { return };
        let parcel = Parcel::Poisoned(refused);
        let at = self.arrival(To::Unit(n), &parcel);
        self.push(at, What::ToUnit(n, session.nonce, Box::new(parcel)));
    }

    fn sends_to_shore(&mut self, n: usize, parcel: Parcel) -> Result<(), Broken> {
        if self.sky.strikes(Mark::Loss) {
            if matches!(parcel, Parcel::Own(_)) {
                self.shore_loses_session(n);
            }
            return Ok(());
        }
        if self.sky.strikes(Mark::Duplicate) {
            let at = self.arrival(To::Shore(n), &parcel);
            self.push(at, What::ToShore(n, Box::new(parcel.clone())));
        }
        let at = self.arrival(To::Shore(n), &parcel);
        self.push(at, What::ToShore(n, Box::new(parcel)));
        Ok(())
    }

    // Faults.

    fn fault_later(&mut self, mark: Mark) {
        let at = self.sky.now + self.sky.rng.below(2 * self.sky.weather.between.0);
        self.push(at, What::Fault(mark));
    }

    fn some_unit(&mut self) -> usize {
        self.sky.rng.below(self.units.len() as u64) as usize
    }

    fn some_shore(&mut self) -> usize {
        self.sky.rng.below(self.shores.len() as u64) as usize
    }

    fn fault(&mut self, mark: Mark) -> Result<(), Broken> {
        let now = self.sky.now;
        match mark {
            Mark::Partition => {
                let (share, until) = (self.sky.rng.below(1000), now + self.sky.rng.below(4 * HOUR));
                for n in 0..self.units.len() {
                    if self.sky.rng.below(1000) < share {
                        self.disconnects(n);
                        self.units[n].link.again = until;
                        self.schedule_unit(n);
                    }
                }
            }
            Mark::ServerCut => {
                let n = self.some_shore();
                let until = now + self.sky.rng.below(2 * HOUR);
                self.shores[n].is_cut_off(until);
                self.schedule_shore(n);
            }
            Mark::RetainedLost => {
                let (n, device) = (self.some_shore(), self.some_unit());
                self.broker.steer[n] = None;
                self.broker.state[device] = None;
                self.broker.presence[device] = None;
            }
            Mark::BrokerRestart => {
                let span = self.sky.rng.below(HOUR);
                self.broker_stops(span);
            }
            Mark::ServerCrash => {
                let n = self.some_shore();
                let until = now + self.sky.rng.below(HOUR);
                self.shores[n].crashes(until);
                self.schedule_shore(n);
            }
            Mark::PowerCut | Mark::LongOff | Mark::Reboot => {
                let many = if mark == Mark::PowerCut { 1 + self.sky.rng.below(8) } else { 1 };
                let most = if mark == Mark::LongOff {
                    21 * 24 * HOUR
                } else if mark == Mark::Reboot {
                    60_000
                } else {
                    2 * HOUR
                };
                for _ in 0..many {
                    let n = self.some_unit();
                    if self.units[n].power == Power::On {
                        self.units[n].loses_power(&mut self.sky, most);
                        self.disconnects(n);
                        self.schedule_unit(n);
                    }
                }
            }
            Mark::Outage => self.sky.outage_until = now + self.sky.rng.below(5 * HOUR),
            Mark::FalseAlarm => self.sky.alarm_until = now + self.sky.rng.below(3 * HOUR),
            Mark::ClockJump => {
                for _ in 0..=self.sky.rng.below(8) {
                    let n = self.some_unit();
                    let most = 120 * 24 * HOUR;
                    self.units[n].clock_ahead = self.sky.rng.below(most) as i64 - most as i64 / 2;
                }
            }
            Mark::DiskFull => {
                for _ in 0..=self.sky.rng.below(8) {
                    let (n, until) = (self.some_unit(), now + self.sky.rng.below(6 * HOUR));
                    self.units[n].fills_up(until);
                }
            }
            Mark::Rack | Mark::RackFault => {
                let rack = self.units.len().div_ceil(RACKS);
                let first = self.some_unit() / rack * rack;
                let needs = 1 + self.sky.rng.below(3) as u32;
                for n in first..(first + rack).min(self.units.len()) {
                    if mark == Mark::RackFault {
                        self.units[n].falls_sick(needs);
                    } else if self.units[n].power == Power::On {
                        self.units[n].loses_power(&mut self.sky, 12 * HOUR);
                        self.disconnects(n);
                        self.schedule_unit(n);
                    }
                }
            }
            Mark::Wish => self.wish()?,
            Mark::Told => {
                let (n, product) = (self.some_unit(), self.some_product());
                let word = match self.sky.rng.below(4) {
                    0 => Word::Hold,
                    1 => Word::Lift(self.sky.products[product].release.digest),
                    _ => Word::Thaw,
                };
                self.tell(n, word);
            }
            Mark::Loss
            | Mark::Poison
            | Mark::OldCopy
            | Mark::CutInStep
            | Mark::FullAndCut
            | Mark::Crash
            | Mark::Duplicate
            | Mark::Reorder
            | Mark::RosterLost
            | Mark::Amnesia
            | Mark::FlatBoot
            | Mark::Slow
            | Mark::Transient
            | Mark::Permanent
            | Mark::RunLost
            | Mark::Hang
            | Mark::Replaced
            | Mark::Trap
            | Mark::Network
            | Mark::Sick
            | Mark::Unvetted
            | Mark::Expired => return Ok(()),
        }
        self.sky.marks.count(mark);
        Ok(())
    }

    fn broker_stops(&mut self, span: u64) {
        self.broker.down_until = self.sky.now + span;
        for n in 0..self.units.len() {
            // A broker that is gone speaks in nobody's name.
            self.disconnects(n);
            self.units[n].link.will = None;
            if self.sky.weather.has(Mark::RetainedLost) && self.sky.rng.below(4) == 0 {
                self.broker.state[n] = None;
                self.broker.presence[n] = None;
            }
        }
        for n in 0..self.shores.len() {
            self.shores[n].is_cut_off(self.broker.down_until);
            self.schedule_shore(n);
            if self.sky.weather.has(Mark::RetainedLost) && self.sky.rng.below(2) == 0 {
                self.broker.steer[n] = None;
            }
        }
    }

    fn some_product(&mut self) -> usize {
        1 + self.sky.rng.below(self.sky.products.len() as u64 - 1) as usize
    }

    fn tell(&mut self, n: usize, word: Word) {
        self.words[n] += 1;
        let words = Words { sequence: self.words[n], words: vec![word] };
        self.broker.order[n] = Some(words.clone());
        self.sends_to_unit(n, Parcel::Words(words));
    }

    // People.

    fn person(&mut self) -> Result<(), Broken> {
        let (n, product) = (self.some_shore(), self.some_product());
        if self.shores[n].down_until.is_some() {
            return Ok(());
        }
        let selector = match self.sky.rng.below(8) {
            0 => Some(Selector::Labelled(vec!["site=basel".parse().unwrap()])),
            1 => Some(Selector::Labelled(Vec::new())),
            _ => None,
        };
        self.starts_in(n, product, selector)
    }

    fn starts_in(&mut self, n: usize, product: usize, selector: Option<Selector>) -> Result<(), Broken> {
        self.rollouts += 1;
        let back = (self.sky.rng.below(3) == 0).then(|| self.sky.products[0].release.clone());
        let rollout = Rollout {
            rollout: RolloutId::parse(&format!("r-{}", self.rollouts)).unwrap(),
            release: self.sky.products[product].release.clone(),
            back,
            selector: selector.unwrap_or(Selector::All),
            policies: Vec::new(),
            plan: shore::plan(self.sky.size.beat),
        };
        let input = self.shores[n].rollout(rollout);
        self.shore_gives(n, input)
    }

    fn wish(&mut self) -> Result<(), Broken> {
        let (n, product) = (self.some_shore(), self.some_product());
        if self.shores[n].down_until.is_some() {
            return Ok(());
        }
        let wish = match self.sky.rng.below(10) {
            0 => Wish::Pause,
            1..=2 => Wish::Resume,
            3 => Wish::Abort,
            4 => Wish::Rollback,
            5..=6 => Wish::Thaw,
            7..=8 => Wish::Lift(self.sky.products[product].release.digest),
            _ => Wish::CloseBreaker,
        };
        self.shore_gives(n, CohortInput::Operator { who: shore::who(), wish, reason: None })
    }

    /// Nothing goes wrong any more. Whatever was cut off comes back.
    fn calms(&mut self) -> Result<(), Broken> {
        self.sky.is_calm = true;
        (self.sky.outage_until, self.sky.alarm_until) = (0, 0);
        self.broker_stops(60_000);
        for n in 0..self.shores.len() {
            self.shores[n].cut_until = self.broker.down_until;
            if self.shores[n].down_until.is_some() {
                self.shores[n].crashes(self.broker.down_until + 1);
            } else {
                // The connection comes back a moment after the broker.
                self.shores[n].crashes(self.broker.down_until + 1);
            }
            self.schedule_shore(n);
        }
        for n in 0..self.units.len() {
            self.units[n].fills_up(0);
            self.units[n].clock_ahead = 0;
            if let Power::Off { until } = self.units[n].power {
                let until = until.min(self.sky.now + HOUR);
                self.units[n].power = Power::Off { until };
            }
            self.units[n].link.again = self.units[n].link.again.min(self.sky.now + HOUR);
            self.schedule_unit(n);
        }
        Ok(())
    }

    /// What people do on the day after: let go on what they held.
    fn people_tidy_up(&mut self) -> Result<(), Broken> {
        for n in 0..self.units.len() {
            if self.units[n].witness.held {
                self.tell(n, Word::Thaw);
            }
        }
        for n in 0..self.shores.len() {
            if progress::waits_for_a_person(&self.shores[n], self.sky.now) {
                let input = CohortInput::Operator { who: shore::who(), wish: Wish::Thaw, reason: None };
                self.shore_gives(n, input)?;
            }
        }
        Ok(())
    }

    /// What the broker has of a device's words.
    pub(crate) fn last_word(&self, n: usize) -> Option<&Report> {
        self.broker.state[n].as_ref()
    }

    // The end.

    fn ran(&self) -> Ran {
        Ran {
            steps: self.steps,
            events: self.sky.events,
            until: self.sky.now,
            switches: self.units.iter().map(|unit| unit.witness.moved).sum(),
            turns: self.shores.iter().map(Shore::turns).sum(),
            marks: self.sky.marks.clone(),
            checks: take_checks(),
            digest: self.sky.digest,
        }
    }

    fn failure(&self, broken: Broken) -> Failure {
        let mut story = String::new();
        let (unit, shore) = self.last;
        let mut lines: Vec<(u64, String)> = Vec::new();
        if let Some(unit) = unit.and_then(|n| self.units.get(n)) {
            let told = |(at, event): &(u64, Event)| (*at, format!("{}: {event}", unit.id()));
            lines.extend(unit.log.iter().map(told));
        }
        if let Some(shore) = self.shores.get(shore) {
            let told = |(at, event): &(u64, Event)| (*at, format!("{}: {event}", shore.id));
            lines.extend(shore.log.iter().map(told));
        }
        // Whoever stands elsewhere than the server heard last comes first.
        let mut mine: Vec<_> = self.units.iter().filter(|unit| unit.cohort == shore).collect();
        let said = |unit: &Unit| self.last_word(unit.number).map(|report| (report.standing, report.health));
        let stands = |unit: &Unit| (unit.device.standing(), unit.device.health());
        mine.sort_by_key(|unit| said(unit).map(|said| said.0) == Some(stands(unit).0));
        if let Some(other) = mine.first().filter(|other| unit.is_none() && !other.log.is_empty()) {
            let told = |(at, event): &(u64, Event)| (*at, format!("{}: {event}", other.id()));
            lines.extend(other.log.iter().map(told));
        }
        for unit in mine.into_iter().take(3) {
            let (standing, health) = stands(unit);
            let (runs, confirmed) = (&unit.slots.booted, &unit.slots.confirmed);
            let said = said(unit);
            lines.push((
                self.sky.now,
                format!(
                    "{}: {standing:?}, {health:?}, said {said:?}, on {runs}, confirmed {confirmed}",
                    unit.id()
                ),
            ));
        }
        lines.sort_by_key(|line| line.0);
        for (at, line) in lines {
            let _ = writeln!(story, "  {:>12}  {line}", at / 1000);
        }
        Failure { trial: self.trial.clone(), at: self.sky.now, broken, story }
    }

    pub(crate) fn blames(&mut self, unit: usize) {
        self.last = (Some(unit), self.units[unit].cohort);
    }

    pub(crate) fn blames_shore(&mut self, shore: usize) {
        self.last = (None, shore);
    }
}
