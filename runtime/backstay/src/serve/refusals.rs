//! What came in and changed nothing: counted by kind of topic and ground, and told at the first and at each power
//! of two.
//!
//! There are few kinds and few grounds, so a flood takes neither memory nor journal, whatever names it makes up.
//! Not here: finding out what is wrong (`mail`).

use std::collections::BTreeMap;

use backstay_model::{Reason, Refused};
use backstay_wire::TopicKind;

/// Why something is refused, in few words; the rest is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ground {
    /// The topic is none of ours, or nobody should write to it.
    Foreign,
    /// There is nothing in it.
    Empty,
    /// It is larger than its kind may be.
    Oversize,
    /// It is of a device that is not enrolled.
    Stranger,
    /// Its signature does not hold, or is somebody else's.
    Untrusted,
    /// It is well signed and can't be read.
    Unreadable,
    /// It is well signed and says what can't be.
    Contradiction,
    /// It is older than what is known.
    Late,
    /// It does not follow from what is here.
    Gap,
    /// The disk does not take it.
    Unkept,
    /// The broker does not let it through.
    Withheld,
}

/// Something that is not believed, or not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In few words.
    pub(crate) ground: Ground,
    /// For people.
    pub(crate) why: String,
}

impl Refusal {
    /// For this reason.
    pub(crate) fn new(ground: Ground, why: impl ToString) -> Self {
        Self { ground, why: why.to_string() }
    }
}

/// How often what was refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<(Option<TopicKind>, Ground), u32>);

impl Refusals {
    /// Counts one, and says what is to be written down, if it is its turn.
    pub(crate) fn count(&mut self, kind: Option<TopicKind>, what: &str, refusal: Refusal) -> Option<Refused> {
        let count = self.0.entry((kind, refusal.ground)).or_insert(0);
        *count = count.saturating_add(1);
        let clip = |text: &str| Reason::new(text.into()).0;
        count.is_power_of_two().then(|| Refused { what: clip(what), why: clip(&refusal.why), count: *count })
    }

    /// How many there were since the start.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.0.values().copied().map(u64::from).sum()
    }

    /// How many kinds are counted.
    #[cfg(test)]
    pub(crate) fn kinds(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_each_power_of_two_are_told() {
        let mut refusals = Refusals::default();
        let told: Vec<u32> = (0..1000)
            .filter_map(|n| {
                let refusal = Refusal::new(Ground::Stranger, "x".repeat(1000));
                refusals.count(Some(TopicKind::Beat), &format!("device-{n}"), refusal)
            })
            .inspect(|refused| assert!(refused.why.len() <= 256))
            .map(|refused| refused.count)
            .collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!((refusals.total(), refusals.kinds()), (1000, 1));
    }
}
