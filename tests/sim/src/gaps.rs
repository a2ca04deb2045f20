//! What the core is known to do wrong and the simulation has to bear until it is mended. Each is counted and printed, so that
//! nobody takes it for well; once it is mended, its count stays at 0 and it goes from here.

use std::{cell::RefCell, fmt};

/// A known gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// A device says after a start that it doesn't know yet how it does, and once it knows says so only if it connects anew.
    HealthUntold,
    /// What a device says in the middle of a step isn't corrected where it stands at the step's end as it stood before it: one that
    /// is thawed and freezes again at once says that it is settled.
    EarlyWord,
}

impl Gap {
    /// All of them.
    pub const ALL: &[Self] = &[Self::HealthUntold, Self::EarlyWord];

    /// For people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::HealthUntold => {
                "a rollout was held, or a freeze kept, for a health that the device never said it has again"
            }
            Self::EarlyWord => {
                "a device that left off and began again in one step, such as one that was thawed and froze at once, said that it is settled"
            }
        }
    }
}

/// How often each was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met([u64; Gap::ALL.len()]);

impl Met {
    /// How often.
    #[must_use]
    pub fn of(&self, gap: Gap) -> u64 {
        self.0[gap as usize]
    }

    /// What another run met, too.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Gap::ALL.iter().try_for_each(|&gap| writeln!(f, "  {:>10}  {}", self.of(gap), gap.says()))
    }
}

thread_local! {
    static MET: RefCell<Met> = RefCell::default();
}

/// Counts that something which should hold doesn't, because of a known gap. Always true, to be put where a check asks.
pub(crate) fn excused(gap: Gap) -> bool {
    MET.with_borrow_mut(|met| met.0[gap as usize] += 1);
    true
}

/// What was met on this thread since it was taken last.
pub(crate) fn take_met() -> Met {
    MET.take()
}
