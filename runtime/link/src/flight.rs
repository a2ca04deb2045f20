//! What is under way on one connection: handed to the client, and not yet answered.
//!
//! rumqttc numbers packets in a ring. A number that comes round while its last bearer is still unanswered is
//! a *collision*, which it survives badly (rumqtt issue 1056), so nothing is handed over that could collide.
//!
//! Not here: what was under way on an earlier connection. That is forgotten, and the caller sends it again.

use std::{collections::VecDeque, time::Instant};

use crate::{handle::Token, settings::Qos};

/// The size of rumqttc's ring of packet numbers. Four times the most that is under way, so that one answer
/// that is late holds nothing up for a while.
pub(crate) const RING: u16 = 256;

/// What was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// A publish.
    Publish { token: Token, qos: Qos },
    /// A subscription to these filters, by their place in the settings.
    Subscribe { filters: Vec<usize> },
}

#[derive(Debug)]
struct Carried {
    /// Counts what needs a packet number; equal numbers modulo the ring would collide.
    count: u64,
    at: Instant,
    load: Load,
    /// Its packet number, once the client has given it one.
    number: Option<u16>,
}

#[derive(Debug)]
pub(crate) struct Flight {
    /// In the order in which they were handed over.
    carried: VecDeque<Carried>,
    handed: u64,
    publishes_max: usize,
}

impl Flight {
    pub(crate) fn new(publishes_max: u16) -> Self {
        Self { carried: VecDeque::new(), handed: 0, publishes_max: publishes_max.into() }
    }

    /// Whether one more publish may be handed over.
    pub(crate) fn has_room(&self) -> bool {
        // What is subscribed counts as well: it is at most a few packets, and has its turn before.
        self.carried.len() < self.publishes_max && self.is_clear()
    }

    /// Whether the next packet number is free for certain.
    fn is_clear(&self) -> bool {
        self.carried.front().is_none_or(|oldest| self.handed - oldest.count < u64::from(RING) - 1)
    }

    pub(crate) fn hand(&mut self, load: Load, at: Instant) {
        let numbered = match &load {
            Load::Publish { qos, .. } => *qos == Qos::AtLeastOnce,
            Load::Subscribe { .. } => true,
        };
        self.carried.push_back(Carried { count: self.handed, at, load, number: None });
        self.handed += u64::from(numbered);
    }

    /// The client sent the oldest that it had not sent yet, as packet `number` (0: without one, and so
    /// without an answer to come).
    pub(crate) fn sent(&mut self, number: u16) {
        let Some(place) = self.carried.iter().position(|c| c.number.is_none()) else { return };
        if number == 0 {
            self.carried.remove(place);
        } else if let Some(carried) = self.carried.get_mut(place) {
            carried.number = Some(number);
        }
    }

    /// The broker answered packet `number`. `None`: nobody had asked.
    pub(crate) fn answered(&mut self, number: u16) -> Option<Load> {
        let place = self.carried.iter().position(|c| c.number == Some(number))?;
        self.carried.remove(place).map(|carried| carried.load)
    }

    /// Since when the oldest waits.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.carried.front().map(|c| c.at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }

    /// Nothing was read for a while, by our own fault: no answer counts as late before it is so from `now` on.
    pub(crate) fn excuse(&mut self, now: Instant) {
        for carried in &mut self.carried {
            carried.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(token: u64) -> Load {
        Load::Publish { token: Token(token), qos: Qos::AtLeastOnce }
    }

    #[test]
    fn answers_find_what_they_answer_in_any_order() {
        let mut flight = Flight::new(3);
        let now = Instant::now();
        for token in 1..=3 {
            assert!(flight.has_room());
            flight.hand(publish(token), now);
        }
        assert!(!flight.has_room());
        for number in 1..=3 {
            flight.sent(number);
        }
        assert_eq!(flight.answered(2), Some(publish(2)));
        assert_eq!(flight.answered(2), None, "a second answer answers nothing");
        assert_eq!(flight.answered(1), Some(publish(1)));
        assert!(flight.has_room());
        assert_eq!(flight.answered(3), Some(publish(3)));
        assert!(flight.is_empty());
    }

    #[test]
    fn what_gets_no_answer_is_done_once_sent() {
        let mut flight = Flight::new(3);
        let now = Instant::now();
        flight.hand(Load::Publish { token: Token(1), qos: Qos::AtMostOnce }, now);
        flight.hand(publish(2), now);
        flight.sent(0);
        flight.sent(1);
        assert_eq!(flight.answered(1), Some(publish(2)));
        assert!(flight.is_empty());
        flight.sent(9);
        assert!(flight.is_empty());
    }

    /// One publish is never answered while all others are. Its number must not come round.
    #[test]
    fn a_number_that_is_still_out_is_not_used_again() {
        let mut flight = Flight::new(8);
        let now = Instant::now();
        let mut number = 0;
        let mut handed = 0;
        while flight.has_room() {
            flight.hand(publish(handed), now);
            number = number % RING + 1;
            flight.sent(number);
            if handed > 0 {
                assert_ne!(number, 1);
                flight.answered(number);
            }
            handed += 1;
        }
        assert_eq!(handed, u64::from(RING) - 1);
        flight.answered(1);
        assert!(flight.has_room());
    }
}
