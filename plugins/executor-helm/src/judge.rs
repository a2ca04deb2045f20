//! What is to be done next, from what Helm's records say: a pure function.
//!
//! Not here: reading anything, and doing it (`home`).

use alloc::format;

use backstay_sdk::executor::{Failed, permanent, transient};

use crate::history::{History, Status};

/// A roll-back that we asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The newest revision when it was asked for.
    pub after: u32,
    /// The revision that it was to bring back.
    pub to: u32,
}

/// What is known beside the records.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// The records.
    pub history: &'f History,
    /// The newest revision that is whole and runs what is wanted.
    pub to: Option<u32>,
    /// What we asked for and whose command has ended, however it did.
    pub ours: Option<Attempt>,
    /// How many ms ago the newest revision was begun. `None`: it isn't pending, or doesn't say.
    pub age_ms: Option<u64>,
    /// From which age on a pending revision is nobody's.
    pub pending_after_ms: u64,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Nothing: what is wanted is the newest revision, and whole.
    Stay,
    /// To this revision.
    Back(u32),
    /// Somebody's helm is at work. In so many ms its time is over.
    Wait(u64),
    /// Nothing can be.
    Stop(Failed),
}

/// What is to be done next.
#[must_use]
pub fn judge(facts: Facts<'_>) -> Move {
    let Facts { history, to, ours, age_ms, pending_after_ms } = facts;
    let newest = history.newest();
    let told = newest.told();
    if matches!(newest.status, Status::Uninstalling | Status::Uninstalled) {
        return Move::Stop(permanent(format!("{told} is the newest: somebody took the release away")));
    }
    let Some(to) = to else {
        let why = "none of the revisions that are kept is whole and runs what is wanted";
        return Move::Stop(permanent(format!("{why}; the newest is {told}")));
    };
    let is_ours = ours.is_some_and(|Attempt { after, to }| {
        newest.revision == after + 1 && newest.status == Status::PendingRollback && newest.back_to == Some(to)
    });
    if newest.status.is_pending() && !is_ours {
        let age = age_ms.unwrap_or(0);
        if age < pending_after_ms {
            return Move::Wait(pending_after_ms - age);
        }
    }
    // Two helms at once leave two that are called deployed; the next roll-back puts that right.
    if newest.status == Status::Deployed && to == newest.revision && history.deployed() == 1 {
        return Move::Stay;
    }
    Move::Back(to)
}

/// The failure where somebody's helm is waited for in vain.
pub(crate) fn busy(history: &History, pending_after_ms: u64) -> Failed {
    let (told, after) = (history.newest().told(), pending_after_ms / 1000);
    transient(format!(
        "{told} is somebody's, whose helm may be at work: it is taken for dead {after} s after it began"
    ))
}

#[cfg(test)]
mod tests;
