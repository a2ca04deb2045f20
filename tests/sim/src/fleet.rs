//! A fleet with all that is around it, and its time, which goes from event to event.
//!
//! Whatever happens to a device or a cohort is held against the invariants before the next thing does. Here: how a fleet is made
//! and run to its end. Not here: what happens to whom (`fleet/`), and what has to hold (`witness`, `shore`, `progress`).

mod agenda;
mod cohorts;
mod devices;
mod faults;
mod mail;
mod outcome;
mod people;
mod tale;

use std::{cmp::Reverse, collections::BinaryHeap};

use backstay_core::{CohortInput, Rng};
use backstay_model::{Mono, Name};

use crate::{
    broker::Broker,
    invariants::{Broken, take_checks},
    product::Product,
    progress, reference,
    sabotage::Sabotage,
    shore::{self, Shore},
    size::Size,
    sky::Sky,
    trial::Trial,
    unit::{self, Unit},
    weather::{Mark, Marks, Weather},
};

use agenda::{Entry, What};
pub use outcome::{Failure, Ran};

/// Devices stand in so many racks.
pub(crate) const RACKS: usize = 8;
const HOUR: u64 = 3_600_000;
/// After this everything has to have come to rest: three rollouts' patience, and a budget that is free again.
const REST: u64 = 4 * 24 * HOUR;

/// So long a fleet is watched that has come to rest with a rollout that is open: all windows of a wave, and those that thaw it.
const STAY: u64 = 8 * HOUR;

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

    fn runs(&mut self) -> Result<(), Broken> {
        let stormy = (self.sky.size.days * 24.0 * HOUR as f64) as u64;
        self.goes_until(self.sky.now + stormy)?;
        self.calms()?;
        let bound = self.sky.now + REST;
        let (mut people, mut has_stayed) = (self.sky.now + 2 * HOUR, false);
        loop {
            self.goes_until(self.sky.now + HOUR)?;
            if people <= self.sky.now {
                people = self.sky.now + 12 * HOUR;
                self.people_tidy_up()?;
            }
            match progress::unsettled(self) {
                Ok(()) if has_stayed || !self.has_open_rollout() => return Ok(()),
                // What is held by then has to stay so.
                Ok(()) => {
                    has_stayed = true;
                    self.goes_until(self.sky.now + STAY)?;
                }
                Err(broken) if self.sky.now >= bound => return Err(broken),
                Err(_) => {}
            }
        }
    }

    /// Whether a rollout is neither at its end nor turned.
    fn has_open_rollout(&self) -> bool {
        self.shores.iter().any(|shore| shore.is_open(self.sky.now))
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
}
