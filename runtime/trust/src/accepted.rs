//! Which grants of a plugin were accepted here, and what may come after them.
//!
//! Sequences never go back. A newer grant may lead back to an older release, but it has to say so, by its version: else
//! somebody who is shown a release and asked for a grant could be made to bring an old fault back without knowing. The
//! newest grant and the one before it stay good, because the one before is the last good one.
//!
//! Not here: keeping this (whoever runs plugins).

use backstay_model::Digest;
use serde::{Deserialize, Serialize};

/// A grant that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its sequence.
    pub sequence: u64,
    /// The statement. `None` where an older version kept its sequence only.
    pub grant: Option<Digest>,
    /// The sequence of the release that it grants.
    pub release: u64,
}

/// The grants of one plugin that were accepted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The one with the highest sequence.
    pub newest: Accepted,
    /// The last good one, which takes over where the newest can't be used.
    pub before: Option<Accepted>,
}

/// How a grant stands to what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was accepted before.
    Known,
    /// It is new, and may come after.
    New,
    /// One with a higher sequence was accepted.
    Older,
    /// One of the same sequence was accepted, which says something else.
    Forked,
    /// It leads back to an older release than the newest grant does.
    Back,
}

impl Floor {
    /// Where a version before this one kept nothing but a sequence.
    #[must_use]
    pub fn of_sequence(sequence: u64) -> Self {
        Self { newest: Accepted { sequence, grant: None, release: 0 }, before: None }
    }

    /// After `grants` were taken into use together: the newest, and its last good one if it has one.
    #[must_use]
    pub fn after(last: Option<Self>, grants: &[Accepted]) -> Option<Self> {
        let newest = grants.iter().copied().max_by_key(|grant| grant.sequence)?;
        let other = grants.iter().copied().filter(|grant| grant.sequence < newest.sequence);
        let other = other.max_by_key(|grant| grant.sequence);
        let Some(last) = last else { return Some(Self { newest, before: other }) };
        if newest.sequence < last.newest.sequence {
            // The last good one runs, because the newest can't be used: what was accepted stays so.
            return Some(last);
        }
        let known = if newest.sequence == last.newest.sequence { last.before } else { Some(last.newest) };
        Some(Self { newest, before: other.or(known) })
    }

    pub(crate) fn standing(floor: Option<&Self>, grant: &Accepted) -> Standing {
        let Some(Self { newest, before }) = floor else { return Standing::New };
        let known =
            |of: &Accepted| of.sequence == grant.sequence && (of.grant.is_none() || of.grant == grant.grant);
        if known(newest) || before.as_ref().is_some_and(known) {
            Standing::Known
        } else if grant.sequence < newest.sequence {
            Standing::Older
        } else if grant.sequence == newest.sequence {
            Standing::Forked
        } else if grant.release < newest.release {
            Standing::Back
        } else {
            Standing::New
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(sequence: u64, release: u64) -> Accepted {
        Accepted { sequence, grant: Some(Digest([sequence as u8; 32])), release }
    }

    fn standing(floor: Floor, grant: Accepted) -> Standing {
        Floor::standing(Some(&floor), &grant)
    }

    #[test]
    fn the_newest_and_its_last_good_one_stay_good_and_nothing_older_comes_back() {
        let floor = Floor::after(None, &[grant(5, 2), grant(4, 1)]).unwrap();
        for known in [grant(5, 2), grant(4, 1)] {
            assert_eq!(standing(floor, known), Standing::Known);
        }
        assert_eq!(standing(floor, grant(3, 1)), Standing::Older);
        assert_eq!(standing(floor, grant(6, 2)), Standing::New);
        assert_eq!(standing(floor, grant(6, 1)), Standing::Back);
        let other = Accepted { grant: Some(Digest([99; 32])), ..grant(5, 2) };
        assert_eq!(standing(floor, other), Standing::Forked);
        // The next one comes: what was newest is the last good one now.
        let next = Floor::after(Some(floor), &[grant(6, 3)]).unwrap();
        assert_eq!(next, Floor { newest: grant(6, 3), before: Some(grant(5, 2)) });
        assert_eq!(standing(next, grant(4, 1)), Standing::Older);
        // Unless somebody keeps an older one as the last good one.
        let kept = Floor::after(Some(floor), &[grant(6, 3), grant(4, 1)]).unwrap();
        assert_eq!(kept.before, Some(grant(4, 1)));
    }

    #[test]
    fn the_last_good_one_alone_lowers_nothing() {
        let floor = Floor::after(None, &[grant(5, 2), grant(4, 1)]).unwrap();
        assert_eq!(Floor::after(Some(floor), &[grant(4, 1)]), Some(floor));
        assert_eq!(Floor::after(Some(floor), &[grant(5, 2)]), Some(floor));
        assert_eq!(Floor::after(Some(floor), &[]), None);
    }

    #[test]
    fn what_an_older_version_kept_is_still_a_floor() {
        let floor = Floor::of_sequence(5);
        assert_eq!(standing(floor, grant(5, 2)), Standing::Known);
        assert_eq!(standing(floor, grant(4, 2)), Standing::Older);
        assert_eq!(standing(floor, grant(6, 1)), Standing::New);
        let after = Floor::after(Some(floor), &[grant(5, 2)]).unwrap();
        assert_eq!(after, Floor { newest: grant(5, 2), before: None });
    }
}
