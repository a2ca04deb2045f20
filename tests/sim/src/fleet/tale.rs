//! What a test tells of a fleet whose story it knows beforehand, and what it asks of it.

use backstay_model::{Health, Millis, Standing};

use super::{Failure, Fleet, RACKS};
use crate::{
    unit::{Power, Unit},
    weather::{Mark, Weather},
};

impl Fleet {
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
        let racks = self.units.len().div_ceil(size);
        self.units
            .iter_mut()
            .skip(rack % racks * size)
            .take(size)
            .map(|unit| unit.falls_sick(restarts))
            .count()
    }

    /// How many devices have a fault of their own.
    #[must_use]
    pub fn that_are_sick(&self) -> usize {
        self.units.iter().filter(|unit| unit.is_sick()).count()
    }

    /// A number that this run draws.
    pub(crate) fn lot(&mut self) -> u64 {
        self.sky.rng.next_u64() >> 8
    }

    /// From now on things go wrong as in this weather.
    pub(crate) fn breaks_loose(&mut self, weather: Weather) {
        self.sky.weather = weather;
        self.sky.network_trouble = self.sky.weather.has(Mark::Network);
        self.sky.weather.marks().into_iter().for_each(|mark| self.fault_later(mark));
    }

    /// What each device has done so far: orders to mend what runs, and switches of release.
    pub(crate) fn deeds(&self) -> Vec<(u64, u64)> {
        self.units.iter().map(|unit| (unit.witness.mended, unit.witness.moved)).collect()
    }

    /// Goes on until each device was seen to be well once, for at most so long, and looks once a minute. Gives how long that took,
    /// and how many were not.
    pub(crate) fn waits_for_all_to_be_well(&mut self, most: Millis) -> Result<(Millis, usize), Box<Failure>> {
        let (began, until) = (self.sky.now, self.sky.now + most.0);
        let mut unwell: Vec<usize> = (0..self.units.len()).collect();
        while !unwell.is_empty() && self.sky.now < until {
            self.waits(Millis::from_secs(60))?;
            unwell.retain(|&n| !is_well(&self.units[n]));
        }
        Ok((Millis(self.sky.now - began), unwell.len()))
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
}

/// It is there, at rest, has nothing wrong with it, and knows that.
fn is_well(unit: &Unit) -> bool {
    let says = (unit.device.standing(), unit.device.health());
    unit.power == Power::On && !unit.is_sick() && says == (Standing::Settled, Health::Good)
}
