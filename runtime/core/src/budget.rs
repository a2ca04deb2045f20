//! How many switches of release a device allows itself and others in a span.
//!
//! The budget is what a stolen server key can't spend: whoever steers, a device doesn't swing to and fro.

use alloc::vec::Vec;

use backstay_model::{Cause, Millis, Mono};
use serde::{Deserialize, Serialize};

/// The most switches that a budget can allow in its span. Each is kept as a moment.
const SWITCHES_MAX: u32 = 64;

/// How many switches in which span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// 1 to 64.
    pub switches: u32,
    /// Over this long.
    pub span: Millis,
}

/// The switches that were made lately, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget(Vec<Mono>);

impl Budget {
    /// Whether one more switch is allowed at `now`.
    ///
    /// # Errors
    /// The cause that says how many there were.
    pub fn check(&self, now: Mono, allowance: Allowance) -> Result<(), Cause> {
        let spent = self.0.iter().filter(|&&at| now.since(at) < allowance.span).count();
        let spent = u32::try_from(spent).unwrap_or(u32::MAX);
        if spent < allowance.switches.min(SWITCHES_MAX) {
            return Ok(());
        }
        Err(Cause::BudgetSpent { switches: spent, span: allowance.span })
    }

    /// Counts a switch.
    pub fn spend(&mut self, now: Mono) {
        if self.0.len() >= SWITCHES_MAX as usize {
            self.0.remove(0);
        }
        self.0.push(now);
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the next switch is allowed, if none is at `now`.
    #[must_use]
    pub fn free_at(&self, now: Mono, allowance: Allowance) -> Option<Mono> {
        self.check(now, allowance).err()?;
        let first = self.0.len().checked_sub(allowance.switches.min(SWITCHES_MAX) as usize)?;
        self.0.get(first).map(|at| at.after(allowance.span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_is_free_again_when_its_oldest_switch_is_past() {
        let allowance = Allowance { switches: 2, span: Millis(100) };
        let mut budget = Budget::default();
        budget.spend(Mono(0));
        assert_eq!(budget.check(Mono(10), allowance), Ok(()));
        budget.spend(Mono(10));
        assert!(budget.check(Mono(20), allowance).is_err());
        assert_eq!(budget.free_at(Mono(20), allowance), Some(Mono(100)));
        assert_eq!(budget.check(Mono(100), allowance), Ok(()));
    }
}
