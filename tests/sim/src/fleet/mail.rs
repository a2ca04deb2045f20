//! The way of a message: what can be on its way, when it arrives, and what happens to it.
//!
//! Not here: what the broker keeps (`broker`), and what whoever hears it makes of it (`devices`, `cohorts`).

use backstay_model::{Beat, Refused, Report, Steer};

use super::{Fleet, agenda::What};
use crate::{
    broker::{Presence, Words},
    invariants::Broken,
    poison,
    weather::Mark,
};

/// What can be on its way.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
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

/// Where a message goes.
#[derive(Clone, Copy)]
pub(super) enum To {
    Unit(usize),
    Shore(usize),
}

impl Fleet {
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

    pub(super) fn sends_to_unit(&mut self, n: usize, parcel: Parcel) {
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

    pub(super) fn sends_to_shore(&mut self, n: usize, parcel: Parcel) -> Result<(), Broken> {
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
}
