//! What devices of a fleet do when their time comes, and their sessions with the broker.
//!
//! Not here: a device by itself (`unit`), and the way of its messages (`mail`).

use backstay_core::{Contact, Freshness, Input, Second, Steered};
use backstay_model::{Beat, Digest, Report};

use super::{Fleet, HOUR, agenda::What, mail::Parcel};
use crate::{
    broker::{Presence, Words},
    invariants::{self as rule, Broken, holds},
    sabotage::Sabotage,
    unit::Power,
    weather::Mark,
};

/// The director's key. It stays: how devices go on with another one is told elsewhere (`tests/model`: `thief`).
const DIRECTOR: Digest = Digest([3; 32]);
/// For so long steering may start something, by a device's clock.
const VALID: i64 = 7 * 24 * HOUR as i64;

impl Fleet {
    pub(super) fn unit_wakes(&mut self, n: usize) -> Result<(), Broken> {
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
    pub(super) fn disconnects(&mut self, n: usize) {
        if let Some(session) = self.units[n].link.session.take() {
            let will = Presence { contact: Contact::Offline, ..session };
            self.units[n].link.will = Some(will);
            self.units[n].link.again = self.sky.now + self.sky.rng.below(10_000);
            let at = self.sky.now + 45_000 + self.sky.rng.below(45_000);
            self.push(at, What::Will(n, session.nonce));
        }
        self.schedule_unit(n);
    }

    pub(super) fn will(&mut self, n: usize, nonce: u64) {
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

    pub(super) fn unit_hears(&mut self, n: usize, nonce: u64, parcel: Parcel) -> Result<(), Broken> {
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
                let (second, by) = (Second::Missing, DIRECTOR);
                self.give(n, Input::Steered(Steered { steer, digest, freshness, second, by }))
            }
            Parcel::Words(Words { sequence, words }) => {
                self.give(n, Input::Told { sequence, words, by: DIRECTOR })
            }
            Parcel::Poisoned(taken) => {
                let refused = taken.map_err(Some).map_or_else(|why| why, |_| None);
                holds(rule::SIGNED, refused.is_some(), || "a forged message was taken".into())?;
                refused.map_or(Ok(()), |refused| self.give(n, Input::Refused(refused)))
            }
            Parcel::State(..) | Parcel::Presence(..) | Parcel::Beat(..) | Parcel::Own(_) => Ok(()),
        }
    }
}
