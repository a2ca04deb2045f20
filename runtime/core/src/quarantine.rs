//! Which plugin is asked, when plugins fail.
//!
//! A call that trapped, ran out of time or gave something that isn't an answer is a strike. Three strikes in
//! ten minutes and a version is no longer asked: the last good one takes over, and at the end nobody, which
//! counts as "hold". A call that took the whole process with it is a strike that counts for a day: starting again takes
//! time, and some devices ask only every ten minutes. Not here: what a strike is (`host`), and loading anything.

use alloc::vec::Vec;

use backstay_model::{Digest, Millis, Mono};
use serde::{Deserialize, Serialize};

/// Strikes within [`SPAN`] that put a plugin into quarantine. One is weather, two a coincidence.
const STRIKES: usize = 3;

/// Over which strikes count.
const SPAN: Millis = Millis::from_secs(600);

/// How long a strike counts that brought the process down.
const CRASH_SPAN: Millis = Millis::from_secs(86_400);

/// The most plugins that are remembered as quarantined.
const REMEMBERED_MAX: usize = 32;

/// The strikes of all plugins of an instance, by the digest of the grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    strikes: Vec<(Digest, Mono)>,
    out: Vec<Digest>,
}

impl Quarantine {
    /// Counts a strike; gives how many there were if this one puts the plugin out.
    pub fn strike(&mut self, now: Mono, grant: Digest) -> Option<u32> {
        self.count(now, now, grant)
    }

    /// Counts a call that took the process with it; gives how many strikes there were if this one puts the plugin out.
    pub fn brought_down(&mut self, now: Mono, grant: Digest) -> Option<u32> {
        // As if it happened later: so it is still within the span of all strikes when its own, longer one is over.
        self.count(now, now.after(Millis(CRASH_SPAN.0.saturating_sub(SPAN.0))), grant)
    }

    fn count(&mut self, now: Mono, at: Mono, grant: Digest) -> Option<u32> {
        self.strikes.retain(|(_, at)| now.since(*at) < SPAN);
        if self.is_out(&grant) {
            return None;
        }
        self.strikes.push((grant, at));
        let count = self.strikes.iter().filter(|(of, _)| *of == grant).count();
        if count < STRIKES {
            return None;
        }
        self.strikes.retain(|(of, _)| *of != grant);
        self.out.insert(0, grant);
        self.out.truncate(REMEMBERED_MAX);
        u32::try_from(count).ok()
    }

    /// Whether a plugin is no longer asked.
    #[must_use]
    pub fn is_out(&self, grant: &Digest) -> bool {
        self.out.contains(grant)
    }

    /// Those that are no longer asked, newest first.
    pub fn all(&self) -> impl Iterator<Item = &Digest> {
        self.out.iter()
    }

    /// The first of `grants`, newest first, that may be asked.
    #[must_use]
    pub fn choose<'a>(&self, grants: &'a [Digest]) -> Option<&'a Digest> {
        grants.iter().find(|grant| !self.is_out(grant))
    }

    /// Somebody signed that it may be asked again.
    pub fn lift(&mut self, grant: &Digest) {
        self.out.retain(|out| out != grant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_strikes_in_ten_minutes_hand_over_to_the_last_good_one() {
        let (new, old) = (Digest([2; 32]), Digest([1; 32]));
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.strike(Mono(0), new), None);
        assert_eq!(quarantine.strike(Mono(1), new), None);
        assert_eq!(quarantine.strike(Mono(600_001), new), None, "the first two are past");
        assert_eq!(quarantine.strike(Mono(600_002), new), None);
        assert_eq!(quarantine.choose(&[new, old]), Some(&new));
        assert_eq!(quarantine.strike(Mono(600_003), new), Some(3));
        assert_eq!(quarantine.choose(&[new, old]), Some(&old));
        assert_eq!(quarantine.choose(&[new]), None);
        quarantine.lift(&new);
        assert_eq!(quarantine.choose(&[new, old]), Some(&new));
    }

    #[test]
    fn three_crashes_in_a_day_count_and_an_older_one_does_not() {
        let grant = Digest([2; 32]);
        let hours = |hours: u64| Mono(hours * 3_600_000);
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.brought_down(hours(0), grant), None);
        assert_eq!(quarantine.brought_down(hours(20), grant), None);
        assert_eq!(quarantine.brought_down(hours(24), grant), None, "the first was a day ago");
        assert_eq!(quarantine.strike(hours(25), grant), Some(3), "any strike counts beside them");
        assert!(quarantine.is_out(&grant));
    }
}
