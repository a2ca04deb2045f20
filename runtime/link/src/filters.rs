//! Which filters are subscribed, and how one that is poisoned is found and left out.
//!
//! MQTT 3.1.1 has no way to decline a message. One that is larger than our limit ends the connection, and if
//! the broker keeps it, the next one, too: one retained message could cut a fleet off for good. The error
//! doesn't name the topic. So after such an end the next connection is *careful*: it subscribes filter by
//! filter and lets each one *settle*, which means that its answer came and then nothing for a while. If the
//! connection ends by a large message again, it was the one that was just settling: it is left out, and
//! looked at again later, each time after twice as long.
//!
//! A broker that delivers what it keeps later than we wait gets the wrong filter blamed, or none. So the wait
//! doubles whenever a careful connection ends that way: the next rounds find the right one, and the wrong one
//! comes back when it is looked at again.
//!
//! Not here: the connection, and a clock. Times are milliseconds since the link began.

use std::collections::VecDeque;

use backstay_model::Millis;

/// How long a filter has to be silent at first before it counts as settled.
const SETTLE_MIN: u64 = 500;
/// The longest that a filter has to be silent.
const SETTLE_MAX: u64 = 30_000;
/// Traffic of other filters can't keep one from settling for more settle times than this.
const RESTLESS_SETTLES: u64 = 8;
/// A careful connection whose filters are all settled, and that held for this long then, is an ordinary one.
const CALM: u64 = 60_000;
/// The longest that a poisoned filter is left alone, unless the settings say more.
const RETRY_MAX: u64 = 3_600_000;

#[derive(Debug, Default)]
struct Out {
    /// How often in a row it was found to be poisoned; 0 means that it isn't.
    times: u32,
    until: u64,
}

#[derive(Debug)]
struct Settling {
    filter: usize,
    /// Once the broker has answered the subscription.
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    at: u64,
    /// When something came last, whatever it was.
    heard: u64,
}

#[derive(Debug)]
pub(crate) struct Filters {
    out: Vec<Out>,
    /// How many of them are left out. It is asked for with each packet, and is nearly always none.
    left_out: usize,
    careful: bool,
    waiting: VecDeque<usize>,
    settling: Option<Settling>,
    settle: u64,
    /// When a careful connection may be called an ordinary one.
    calm_at: Option<u64>,
    retry: u64,
}

/// What a look at the clock came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Subscribe to these now.
    pub(crate) subscribe: Vec<usize>,
    /// This one was poisoned and isn't any more.
    pub(crate) cured: Option<usize>,
}

/// A filter that was found to be poisoned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) filter: usize,
    pub(crate) again: Millis,
}

impl Filters {
    pub(crate) fn new(count: usize, retry: Millis) -> Self {
        Self {
            out: (0..count).map(|_| Out::default()).collect(),
            left_out: 0,
            careful: false,
            waiting: VecDeque::new(),
            settling: None,
            settle: SETTLE_MIN,
            calm_at: None,
            retry: retry.0.max(1),
        }
    }

    /// A connection began: which filters to subscribe at once.
    pub(crate) fn connected(&mut self, now: u64) -> Vec<usize> {
        self.settling = None;
        self.calm_at = None;
        let sound = self.out.iter().enumerate().filter(|(_, out)| out.times == 0).map(|(filter, _)| filter);
        if self.careful {
            self.waiting = sound.collect();
            self.tick(now).subscribe
        } else {
            self.waiting.clear();
            sound.collect()
        }
    }

    /// The broker answered a subscription.
    pub(crate) fn answered(&mut self, filters: &[usize], now: u64) {
        if let Some(settling) = &mut self.settling
            && filters.contains(&settling.filter)
        {
            settling.answer = Some(Answer { at: now, heard: now });
        }
    }

    /// Something came, whatever it was.
    pub(crate) fn heard(&mut self, now: u64) {
        if let Some(Settling { answer: Some(answer), .. }) = &mut self.settling {
            answer.heard = now;
        }
    }

    /// The connection ended because of a message above the limit.
    pub(crate) fn oversize(&mut self, now: u64) -> Option<Found> {
        if self.careful {
            // It came in spite of our care: perhaps later than we waited, so somebody else is blamed for it.
            self.settle = (self.settle * 2).min(SETTLE_MAX);
        }
        self.careful = true;
        let settling = self.settling.take()?;
        self.leave_out(settling.filter, now)
    }

    fn leave_out(&mut self, filter: usize, now: u64) -> Option<Found> {
        let out = self.out.get_mut(filter)?;
        let doubled = self.retry.saturating_mul(1 << out.times.min(31));
        let again = doubled.min(RETRY_MAX.max(self.retry));
        self.left_out += usize::from(out.times == 0);
        out.times = out.times.saturating_add(1);
        out.until = now.saturating_add(again);
        Some(Found { filter, again: Millis(again) })
    }

    /// The next moment at which [`Filters::tick`] would change anything.
    pub(crate) fn deadline(&self) -> Option<u64> {
        match &self.settling {
            Some(settling) => self.settled_at(settling),
            None => self.calm_at.into_iter().chain(self.next_retry().map(|(_, until)| until)).min(),
        }
    }

    fn settled_at(&self, settling: &Settling) -> Option<u64> {
        let Answer { at, heard } = settling.answer?;
        if self.out.get(settling.filter).is_some_and(|out| out.times > 0) {
            // What it has is delivered from the first moment on. Only the word that it is cured can wait, so
            // it does: said too early, the filter would be found and cured in turn for ever.
            return Some(at + SETTLE_MAX.min(self.retry.max(self.settle)));
        }
        Some((heard + self.settle).min(at + self.settle * RESTLESS_SETTLES))
    }

    fn next_retry(&self) -> Option<(usize, u64)> {
        if self.left_out == 0 {
            return None;
        }
        let out = self.out.iter().enumerate().filter(|(_, out)| out.times > 0);
        out.map(|(filter, out)| (filter, out.until)).min_by_key(|(_, until)| *until)
    }

    /// Looks at the clock, while connected.
    pub(crate) fn tick(&mut self, now: u64) -> Turn {
        let mut turn = Turn::default();
        if let Some(settling) = &self.settling {
            if self.settled_at(settling).is_none_or(|at| now < at) {
                return turn;
            }
            let filter = settling.filter;
            self.settling = None;
            turn.cured = self.out.get_mut(filter).filter(|out| out.times > 0).map(|out| {
                *out = Out::default();
                self.left_out -= 1;
                filter
            });
        }
        let next = self
            .waiting
            .pop_front()
            .or_else(|| self.next_retry().filter(|(_, until)| now >= *until).map(|(filter, _)| filter));
        if let Some(filter) = next {
            self.settling = Some(Settling { filter, answer: None });
            self.calm_at = None;
            turn.subscribe.push(filter);
        } else if self.careful {
            let calm_at = *self.calm_at.get_or_insert(now + CALM);
            if now >= calm_at {
                self.careful = false;
                self.settle = SETTLE_MIN;
                self.calm_at = None;
            }
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that keeps a large message under some filters and delivers it `late` ms after the answer.
    struct World {
        filters: Filters,
        poisoned: Vec<usize>,
        late: u64,
        now: u64,
        subscribed: Vec<usize>,
    }

    impl World {
        fn new(count: usize, poisoned: &[usize], late: u64) -> Self {
            let filters = Filters::new(count, Millis(60_000));
            Self { filters, poisoned: poisoned.to_vec(), late, now: 0, subscribed: Vec::new() }
        }

        /// One connection, until a large message ends it or `until`. Says which filter was found.
        fn connection(&mut self, until: u64) -> Result<(), Option<usize>> {
            self.subscribed.clear();
            let mut bang: Option<u64> = None;
            let mut fresh = self.filters.connected(self.now);
            loop {
                if fresh.iter().any(|f| self.poisoned.contains(f)) {
                    bang = Some(bang.unwrap_or(u64::MAX).min(self.now + self.late));
                }
                self.filters.answered(&fresh, self.now);
                self.subscribed.append(&mut fresh);
                let tick = self.filters.deadline().unwrap_or(u64::MAX);
                if bang.is_some_and(|bang| bang <= tick && bang <= until) {
                    self.now = bang.unwrap();
                    return Err(self.filters.oversize(self.now).map(|found| found.filter));
                }
                if tick > until {
                    self.now = until;
                    return Ok(());
                }
                self.now = tick;
                fresh = self.filters.tick(self.now).subscribe;
            }
        }
    }

    #[test]
    fn without_trouble_all_are_subscribed_at_once_and_nothing_is_awaited() {
        let mut world = World::new(4, &[], 0);
        assert_eq!(world.connection(1_000_000), Ok(()));
        assert_eq!(world.subscribed, [0, 1, 2, 3]);
        assert_eq!(world.filters.deadline(), None);
    }

    #[test]
    fn the_poisoned_filter_is_found_on_the_second_connection_and_the_others_go_on() {
        let mut world = World::new(4, &[1], 3);
        assert_eq!(world.connection(60_000), Err(None));
        assert_eq!(world.connection(60_000), Err(Some(1)));
        assert_eq!(world.connection(30_000), Ok(()));
        assert_eq!(world.subscribed, [0, 2, 3]);
    }

    #[test]
    fn several_poisoned_filters_are_found_one_after_the_other() {
        let mut world = World::new(5, &[0, 4], 3);
        assert_eq!(world.connection(60_000), Err(None));
        assert_eq!(world.connection(60_000), Err(Some(0)));
        assert_eq!(world.connection(60_000), Err(Some(4)));
        assert_eq!(world.connection(30_000), Ok(()));
        assert_eq!(world.subscribed, [1, 2, 3]);
    }

    #[test]
    fn a_cured_filter_comes_back_and_one_that_is_not_waits_twice_as_long() {
        let mut world = World::new(3, &[2], 3);
        let _ = world.connection(60_000);
        assert_eq!(world.connection(60_000), Err(Some(2)));
        let found_at = world.now;
        assert_eq!(world.connection(10_000_000), Err(Some(2)), "still there after a minute");
        assert!((60_000..61_000).contains(&(world.now - found_at)));
        let found_at = world.now;
        world.poisoned.clear();
        assert_eq!(world.connection(found_at + 119_999), Ok(()));
        assert_eq!(world.subscribed, [0, 1]);
        let deadline = world.filters.deadline().unwrap();
        assert_eq!(world.filters.tick(deadline).subscribe, [2]);
        world.filters.answered(&[2], deadline);
        let turn = world.filters.tick(deadline + SETTLE_MAX);
        assert_eq!(turn, Turn { subscribe: vec![], cured: Some(2) });
        assert_eq!(world.filters.connected(0).first(), Some(&0));
    }

    /// A broker that takes longer than we wait: the settle time grows until the right one is found, and
    /// whoever was wrongly blamed comes back.
    #[test]
    fn a_broker_that_delivers_late_is_found_out_in_the_end() {
        const HOUR: u64 = 3_600_000;
        for late in [600, 2_000, 5_000, 20_000] {
            let mut world = World::new(6, &[2], late);
            while world.connection(HOUR).is_err() {}
            let mut ends = 0;
            while world.connection(6 * HOUR).is_err() {
                ends += 1;
            }
            assert!(ends <= 12, "{late} ms late: {ends} ends in five hours");
            world.subscribed.sort_unstable();
            assert_eq!(world.subscribed, [0, 1, 3, 4, 5], "{late} ms late");
        }
    }

    #[test]
    fn traffic_keeps_a_filter_from_settling_and_a_missing_answer_too() {
        let mut filters = Filters::new(2, Millis(1000));
        filters.oversize(0);
        assert_eq!(filters.connected(0), [0]);
        assert_eq!(filters.deadline(), None, "the broker has not answered");
        filters.answered(&[0], 100);
        filters.heard(400);
        assert_eq!(filters.deadline(), Some(900));
        assert_eq!(filters.tick(899).subscribe, [0; 0]);
        assert_eq!(filters.tick(900).subscribe, [1]);
        filters.answered(&[1], 1000);
        (1000..9000).for_each(|now| filters.heard(now));
        assert_eq!(filters.deadline(), Some(5000), "traffic that never ends holds up nothing for ever");
    }

    #[test]
    fn a_calm_connection_makes_the_next_one_an_ordinary_one() {
        let mut world = World::new(3, &[], 0);
        world.filters.oversize(0);
        assert_eq!(world.connection(30_000), Ok(()));
        assert_eq!(world.filters.connected(30_000), [0]);
        assert_eq!(world.connection(200_000), Ok(()));
        assert_eq!(world.filters.connected(200_000), [0, 1, 2]);
    }
}
