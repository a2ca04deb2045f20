//! How one plugin takes over from another: beside it first, then in its place, and back if that was too early.
//!
//! Here: who is asked, who is asked beside and not listened to, and when that changes. Not here: what failed too often
//! (`quarantine`), asking anybody, and where plugins come from.
//!
//!   Shadow -- agreed for its windows --> Soak -- agreed for its windows --> Settled
//!   Shadow -- differed too often, or is out --> Refused: not asked again until somebody signs that it may be
//!   Soak -- no answer, differed too often, or is out --> Refused, and the one before decides again
//!
//! A *candidate* is the plugin that is to take over; a *window* is one question that both of them were asked. In the
//! soak the one before is asked beside, so a candidate that behaved as long as it was only watched is found out, too.
//! No question is lost on the way: whoever is asked first and doesn't answer, the next one is asked the same.

use alloc::vec::Vec;

use backstay_model::{Action, Digest};
use serde::{Deserialize, Serialize};

use crate::Quarantine;

/// The most candidates that are remembered as refused.
const REFUSED_MAX: usize = 32;

/// When a candidate may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Windows that it is asked beside the other, at least 1.
    pub windows: u32,
    /// Windows in which it decides and may still be sent back. 0: it is trusted at once.
    pub soak: u32,
    /// Windows of either kind in which it may differ. No answer in the shadow counts as differing.
    pub disagreements_max: u32,
}

impl Default for Terms {
    /// An hour of one-minute windows beside, as many in the soak, and not a single difference: whoever changes what a
    /// policy decides on purpose says how much of that is to be expected.
    fn default() -> Self {
        Self { windows: 60, soak: 60, disagreements_max: 0 }
    }
}

/// The plugins for one job, by the digests of their grants.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    /// Who is to take over.
    pub candidate: Option<&'a Digest>,
    /// Who has the job, and who had it before: newest first.
    pub proven: &'a [Digest],
}

/// Who is asked one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The answer of the first that gives one counts.
    pub ask: Vec<Digest>,
    /// Is asked, too, and only compared.
    pub beside: Option<Digest>,
}

/// What one of them said: what it wants done, or no answer.
pub type Said<'a> = Option<&'a Action>;

/// A change in who decides, or on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// A candidate is asked beside, from now on.
    Shadows {
        /// Who.
        candidate: Digest,
        /// Beside whom.
        beside: Digest,
    },
    /// Both were asked and wanted different things.
    Differs {
        /// Who is on the way.
        candidate: Digest,
        /// Whether it is the one who was asked first.
        deciding: bool,
        /// How often by now, in this stage.
        differed: u32,
        /// Of how many windows, in this stage.
        windows: u32,
    },
    /// The candidate decides, from the next question on.
    TakesOver {
        /// Who.
        candidate: Digest,
        /// From whom. Stays pinned as last good.
        from: Digest,
        /// How often they differed.
        differed: u32,
        /// In how many windows.
        windows: u32,
    },
    /// It stays.
    Settles {
        /// Who.
        candidate: Digest,
        /// How often they differed in the soak.
        differed: u32,
        /// In how many windows.
        windows: u32,
    },
    /// It is not asked any more; who had the job has it still, or again.
    Refused {
        /// Who.
        candidate: Digest,
        /// Who decides.
        back_to: Digest,
        /// Whether it was deciding already.
        was_deciding: bool,
        /// Why.
        why: Trouble,
    },
}

/// Why a candidate is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It differed more often than it may.
    Differed {
        /// How often.
        times: u32,
        /// In how many windows.
        windows: u32,
    },
    /// It did not answer, where it was to decide.
    NoAnswer,
    /// It failed too often.
    Quarantined,
    /// It took the whole process with it.
    BroughtDown,
}

impl core::fmt::Display for Trouble {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Differed { times, windows } => write!(f, "it differed in {times} of {windows} windows"),
            Self::NoAnswer => f.write_str("it did not answer"),
            Self::Quarantined => f.write_str("it is in quarantine"),
            Self::BroughtDown => f.write_str("it brought the process down"),
        }
    }
}

/// Where a handover stands. What is kept from one start to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    stage: Stage,
    /// Candidates that were sent back, newest first.
    refused: Vec<Digest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Nobody is on the way.
    #[default]
    Nobody,
    Shadow(Tally),
    Soak(Tally),
    /// The candidate has the job, until the configuration says so, too.
    Settled {
        candidate: Digest,
    },
}

/// How two of them got on in a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    candidate: Digest,
    /// Who had the job when it began.
    before: Digest,
    windows: u32,
    differed: u32,
}

impl Tally {
    fn new(candidate: Digest, before: Digest) -> Self {
        Self { candidate, before, windows: 0, differed: 0 }
    }

    /// Counts a window; whether they differed in it.
    fn count(&mut self, differ: bool) -> bool {
        self.windows = self.windows.saturating_add(1);
        self.differed = self.differed.saturating_add(u32::from(differ));
        differ
    }
}

impl Succession {
    /// Holds what is remembered against who is there. To be called before questions are asked: at the start, and
    /// whenever somebody came or went. Who is not there any more is forgotten.
    pub fn seat(&mut self, bench: Bench<'_>, terms: &Terms, quarantine: &Quarantine) -> Option<Move> {
        let Some(candidate) = bench.candidate else {
            self.stage = Stage::Nobody;
            return None;
        };
        let goes_on = match &self.stage {
            Stage::Shadow(tally) | Stage::Soak(tally) => {
                tally.candidate == *candidate && bench.proven.contains(&tally.before)
            }
            Stage::Settled { candidate: settled } => settled == candidate,
            Stage::Nobody => false,
        };
        if goes_on {
            return None;
        }
        self.stage = Stage::Nobody;
        // Beside nobody there is nothing to be compared with, and to decide alone it has yet to earn: hold is better.
        let before = *quarantine.choose(bench.proven)?;
        if before == *candidate || self.is_refused(candidate) || quarantine.is_out(candidate) {
            return None;
        }
        if terms.windows == 0 {
            return Some(self.take_over(Tally::new(*candidate, before), terms));
        }
        self.stage = Stage::Shadow(Tally::new(*candidate, before));
        Some(Move::Shadows { candidate: *candidate, beside: before })
    }

    /// Who is asked the next question.
    #[must_use]
    pub fn turn(&self, bench: Bench<'_>, quarantine: &Quarantine) -> Turn {
        let may = |grant: &&Digest| !quarantine.is_out(grant);
        let proven = || bench.proven.iter().filter(may).copied();
        let there = |grant: &Digest| bench.candidate == Some(grant) && !quarantine.is_out(grant);
        match &self.stage {
            Stage::Shadow(tally) => Turn {
                ask: proven().collect(),
                beside: Some(tally.candidate).filter(there).filter(|_| proven().next().is_some()),
            },
            Stage::Soak(tally) if there(&tally.candidate) => Turn {
                ask: core::iter::once(tally.candidate).chain(proven()).collect(),
                beside: Some(tally.before).filter(|before| proven().any(|grant| grant == *before)),
            },
            Stage::Settled { candidate } if there(candidate) => {
                Turn { ask: core::iter::once(*candidate).chain(proven()).collect(), beside: None }
            }
            Stage::Nobody | Stage::Soak(_) | Stage::Settled { .. } => {
                Turn { ask: proven().collect(), beside: None }
            }
        }
    }

    /// Takes what was said to one question of a [`Turn`]: by the first who was asked, and by who was asked beside.
    /// What counts against a plugin was counted in `quarantine` before.
    pub fn heard(
        &mut self,
        terms: &Terms,
        first: Said<'_>,
        beside: Said<'_>,
        quarantine: &Quarantine,
    ) -> Vec<Move> {
        match core::mem::take(&mut self.stage) {
            Stage::Shadow(mut tally) => {
                // Where the one who decides has no answer, there is nothing that could be agreed with.
                let Some(first) = first else {
                    return self.shadow_goes_on(tally, terms, quarantine, Vec::new());
                };
                let differs = tally.count(beside != Some(first));
                let moves = differs.then(|| tally.differs(false)).into_iter().collect();
                self.shadow_goes_on(tally, terms, quarantine, moves)
            }
            Stage::Soak(tally) if quarantine.is_out(&tally.candidate) => {
                // Then it was not asked: who answered first is the one before.
                self.refuse(tally, true, Trouble::Quarantined, Vec::new())
            }
            Stage::Soak(mut tally) => {
                let Some(first) = first else {
                    return self.refuse(tally, true, Trouble::NoAnswer, Vec::new());
                };
                // The one before may fail or be gone: then nobody is there to differ from.
                let differs = tally.count(beside.is_some_and(|beside| beside != first));
                let moves: Vec<Move> = differs.then(|| tally.differs(true)).into_iter().collect();
                if tally.differed > terms.disagreements_max {
                    let why = tally.too_often();
                    return self.refuse(tally, true, why, moves);
                }
                if tally.windows < terms.soak {
                    self.stage = Stage::Soak(tally);
                    return moves;
                }
                self.settle(&tally, moves)
            }
            stage @ (Stage::Nobody | Stage::Settled { .. }) => {
                self.stage = stage;
                Vec::new()
            }
        }
    }

    /// A plugin took the whole process with it. A candidate is not tried a second time after that.
    pub fn brought_down(&mut self, grant: &Digest) -> Option<Move> {
        let (tally, was_deciding) = match &self.stage {
            Stage::Shadow(tally) if tally.candidate == *grant => (tally.clone(), false),
            Stage::Soak(tally) if tally.candidate == *grant => (tally.clone(), true),
            Stage::Shadow(_) | Stage::Soak(_) | Stage::Nobody | Stage::Settled { .. } => return None,
        };
        self.refuse(tally, was_deciding, Trouble::BroughtDown, Vec::new()).pop()
    }

    /// Somebody signed that it may be tried again.
    pub fn lift(&mut self, grant: &Digest) {
        self.refused.retain(|refused| refused != grant);
    }

    /// Whether it was sent back.
    #[must_use]
    pub fn is_refused(&self, grant: &Digest) -> bool {
        self.refused.contains(grant)
    }

    /// Those that were sent back, newest first.
    pub fn refused(&self) -> impl Iterator<Item = &Digest> {
        self.refused.iter()
    }

    /// For people: what is under way, none where nothing is.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let of = |tally: &Tally, deciding| Standing {
            candidate: tally.candidate,
            before: tally.before,
            deciding,
            windows: tally.windows,
            differed: tally.differed,
        };
        match &self.stage {
            Stage::Shadow(tally) => Some(of(tally, false)),
            Stage::Soak(tally) => Some(of(tally, true)),
            Stage::Nobody | Stage::Settled { .. } => None,
        }
    }

    fn shadow_goes_on(
        &mut self,
        tally: Tally,
        terms: &Terms,
        quarantine: &Quarantine,
        mut moves: Vec<Move>,
    ) -> Vec<Move> {
        if quarantine.is_out(&tally.candidate) {
            return self.refuse(tally, false, Trouble::Quarantined, moves);
        }
        if tally.differed > terms.disagreements_max {
            let why = tally.too_often();
            return self.refuse(tally, false, why, moves);
        }
        if tally.windows < terms.windows {
            self.stage = Stage::Shadow(tally);
            return moves;
        }
        moves.push(self.take_over(tally, terms));
        moves
    }

    fn take_over(&mut self, tally: Tally, terms: &Terms) -> Move {
        let Tally { candidate, before, windows, differed } = tally;
        self.stage = match terms.soak {
            0 => Stage::Settled { candidate },
            _ => Stage::Soak(Tally::new(candidate, before)),
        };
        Move::TakesOver { candidate, from: before, differed, windows }
    }

    fn settle(&mut self, tally: &Tally, mut moves: Vec<Move>) -> Vec<Move> {
        let Tally { candidate, windows, differed, .. } = *tally;
        self.stage = Stage::Settled { candidate };
        moves.push(Move::Settles { candidate, differed, windows });
        moves
    }

    fn refuse(&mut self, tally: Tally, was_deciding: bool, why: Trouble, mut moves: Vec<Move>) -> Vec<Move> {
        self.stage = Stage::Nobody;
        self.refused.insert(0, tally.candidate);
        self.refused.truncate(REFUSED_MAX);
        moves.push(Move::Refused { candidate: tally.candidate, back_to: tally.before, was_deciding, why });
        moves
    }
}

impl Tally {
    fn differs(&self, deciding: bool) -> Move {
        Move::Differs { candidate: self.candidate, deciding, differed: self.differed, windows: self.windows }
    }

    fn too_often(&self) -> Trouble {
        Trouble::Differed { times: self.differed, windows: self.windows }
    }
}

/// What is held of an instance's plugins, and kept from one start to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confidence {
    /// Who failed, and who too often.
    pub quarantine: Quarantine,
    /// Who is to take over from whom.
    pub succession: Succession,
}

impl Confidence {
    /// Somebody signed that a plugin may be asked again.
    pub fn lift(&mut self, grant: &Digest) {
        self.quarantine.lift(grant);
        self.succession.lift(grant);
    }
}

/// How far a handover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who is to take over.
    pub candidate: Digest,
    /// From whom.
    pub before: Digest,
    /// Whether it decides already.
    pub deciding: bool,
    /// Windows of this stage.
    pub windows: u32,
    /// How often they differed in it.
    pub differed: u32,
}

#[cfg(test)]
mod stories;
