//! What cohorts of a fleet do when their time comes, and the server's session with the broker.
//!
//! Not here: a cohort by itself (`shore`), and the way of its messages (`mail`).

use backstay_core::CohortInput;
use backstay_model::Steer;

use super::{Fleet, mail::Parcel};
use crate::{
    broker::Presence,
    invariants::Broken,
    shore::{self, Memory},
    weather::Mark,
};

/// So long a server listens after it has connected.
const LISTEN: u64 = 1000;

impl Fleet {
    pub(super) fn shore_wakes(&mut self, n: usize) -> Result<(), Broken> {
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

    pub(super) fn shore_gives(&mut self, n: usize, input: CohortInput) -> Result<(), Broken> {
        self.last.1 = n;
        let steers = self.shores[n].give(input, &mut self.sky, &self.units)?;
        self.publish(n, steers);
        self.schedule_shore(n);
        Ok(())
    }

    pub(super) fn shore_hears(&mut self, n: usize, parcel: Parcel) -> Result<(), Broken> {
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
    pub(super) fn shore_loses_session(&mut self, n: usize) {
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
}
