//! What waits to go out, and when it may.
//!
//! The broker keeps one message of each topic, so nothing is queued here but *whose* message is due: what it says
//! is looked up when it goes. After a connection the server listens for a moment before it speaks: if the broker
//! holds something newer than what is known here, it must not be covered with something older. Not here: signing
//! (`director`), and the connection (`link`).

use std::{collections::BTreeSet, mem};

use backstay_link::Outgoing;
use backstay_model::{DeviceId, Millis, Mono};

use super::lane::Lane;

/// How long the server listens before it speaks: retained messages come first on a connection, within this.
const LISTEN: Millis = Millis::from_secs(1);
/// How soon after something foreign was seen where our own should be it is covered.
const REPAIR_AFTER: Millis = Millis::from_secs(5);
/// How often that is done at most: who writes there all the time costs a message a minute.
const REPAIR_EVERY: Millis = Millis::from_secs(60);

/// Whether anything can go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Down,
    /// Up, and nothing is said until then.
    Listening(Mono),
    Open,
}

/// What waits to go out.
#[derive(Debug)]
pub(crate) struct Post {
    line: Line,
    steers: BTreeSet<Lane>,
    orders: BTreeSet<DeviceId>,
    trust: bool,
    out: Vec<Outgoing>,
    repair_at: Option<Mono>,
    repaired: Option<Mono>,
    refresh_every: Millis,
    refresh_at: Mono,
}

/// Whose message goes out.
#[derive(Debug)]
pub(crate) struct Topics {
    /// What is steered.
    pub(crate) steers: BTreeSet<Lane>,
    /// The devices that are told something.
    pub(crate) orders: BTreeSet<DeviceId>,
    /// Whether whom the fleet trusts is said.
    pub(crate) trust: bool,
}

/// What is due of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Everything is to be said again.
    Everything,
    /// Nothing.
    Nothing,
}

impl Post {
    /// Nothing waits, and there is no connection. What is retained is said afresh in this span.
    pub(crate) fn new(now: Mono, refresh_every: Millis) -> Self {
        Self {
            line: Line::Down,
            steers: BTreeSet::new(),
            orders: BTreeSet::new(),
            trust: false,
            out: Vec::new(),
            repair_at: None,
            repaired: None,
            refresh_every,
            refresh_at: now.after(refresh_every),
        }
    }

    /// There is a new connection.
    pub(crate) fn up(&mut self, now: Mono) {
        self.line = Line::Listening(now.after(LISTEN));
    }

    /// There is none.
    pub(crate) fn down(&mut self) {
        self.line = Line::Down;
        self.out.clear();
    }

    /// A lane's steering is to be said.
    pub(crate) fn steer(&mut self, lane: &Lane) {
        self.steers.insert(lane.clone());
    }

    /// A device's order is to be said.
    pub(crate) fn order(&mut self, device: &DeviceId) {
        self.orders.insert(device.clone());
    }

    /// Whom the fleet trusts is to be said.
    pub(crate) fn trust(&mut self) {
        self.trust = true;
    }

    /// Something foreign is where our own message should be, or the broker didn't take all: say all of it again.
    pub(crate) fn repair(&mut self, now: Mono) {
        let earliest = self.repaired.map_or(Mono(0), |at| at.after(REPAIR_EVERY));
        self.repair_at.get_or_insert(now.after(REPAIR_AFTER).max(earliest));
    }

    /// Takes note of the time.
    pub(crate) fn wake(&mut self, now: Mono) -> Due {
        if let Line::Listening(until) = self.line
            && until <= now
        {
            self.line = Line::Open;
        }
        let repairs = self.repair_at.is_some_and(|at| at <= now);
        let refreshes = self.refresh_at <= now;
        if !repairs && !refreshes {
            return Due::Nothing;
        }
        if repairs {
            self.repair_at = None;
            self.repaired = Some(now);
        }
        self.refresh_at = now.after(self.refresh_every);
        Due::Everything
    }

    /// What is due, if anything may be said now.
    pub(crate) fn due(&mut self) -> Option<Topics> {
        (self.line == Line::Open).then(|| Topics {
            steers: mem::take(&mut self.steers),
            orders: mem::take(&mut self.orders),
            trust: mem::take(&mut self.trust),
        })
    }

    /// Hands a message over, to be taken by the driver.
    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        if self.line != Line::Down {
            self.out.push(outgoing);
        }
    }

    /// What goes out now, in this order.
    pub(crate) fn take(&mut self) -> Vec<Outgoing> {
        mem::take(&mut self.out)
    }

    /// When [`Post::wake`] would change anything.
    pub(crate) fn deadline(&self) -> Mono {
        let listening = match self.line {
            Line::Listening(until) => Some(until),
            Line::Down | Line::Open => None,
        };
        [listening, self.repair_at].into_iter().flatten().fold(self.refresh_at, Mono::min)
    }
}
