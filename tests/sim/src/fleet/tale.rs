//! What a test tells of a fleet whose story it knows beforehand, and what it asks of it.

use backstay_model::Millis;

use super::{Failure, Fleet, RACKS};

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
}
