//! What goes wrong in a fleet, and that it stops.
//!
//! Not here: which kinds of faults there are (`weather`), and those that strike where something is done (`sky`, and who asks it).

use backstay_model::Word;

use super::{Fleet, HOUR, RACKS, agenda::What};
use crate::{invariants::Broken, unit::Power, weather::Mark};

impl Fleet {
    pub(super) fn fault_later(&mut self, mark: Mark) {
        let at = self.sky.now + self.sky.rng.below(2 * self.sky.weather.between.0);
        self.push(at, What::Fault(mark));
    }

    pub(super) fn some_unit(&mut self) -> usize {
        self.sky.rng.below(self.units.len() as u64) as usize
    }

    pub(super) fn some_shore(&mut self) -> usize {
        self.sky.rng.below(self.shores.len() as u64) as usize
    }

    pub(super) fn fault(&mut self, mark: Mark) -> Result<(), Broken> {
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

    pub(super) fn broker_stops(&mut self, span: u64) {
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

    /// Nothing goes wrong any more. Whatever was cut off comes back.
    pub(super) fn calms(&mut self) -> Result<(), Broken> {
        self.sky.is_calm = true;
        (self.sky.outage_until, self.sky.alarm_until) = (0, 0);
        self.broker_stops(60_000);
        for n in 0..self.shores.len() {
            self.shores[n].cut_until = self.broker.down_until;
            // The connection comes back a moment after the broker.
            self.shores[n].crashes(self.broker.down_until + 1);
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
}
