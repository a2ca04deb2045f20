//! How much a plugin may use. Not here: holding it to that (`host`).

use backstay_model::Millis;
use serde::{Deserialize, Serialize};

/// What one call of a plugin may use at most. Nothing lasts from one call to the next but its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory, in bytes. At least a page of 64 KiB.
    pub memory_bytes: u32,
    /// Elements of all its tables.
    pub table_elements: u32,
    /// Time of one call.
    pub call: Millis,
    /// What it may return from one call, in bytes.
    pub output_bytes: u32,
    /// State, or memo, that it may keep, in bytes.
    pub state_bytes: u32,
    /// Effects that one step may ask for.
    pub effects_per_step: u32,
}

impl Limits {
    /// What is right for most plugins.
    pub const DEFAULT: Self = Self {
        memory_bytes: 4 << 20,
        table_elements: 1024,
        call: Millis(250),
        output_bytes: 128 << 10,
        state_bytes: 64 << 10,
        effects_per_step: 64,
    };

    /// More than this nobody can grant.
    pub const MAX: Self = Self {
        memory_bytes: 16 << 20,
        table_elements: 16 << 10,
        call: Millis(5_000),
        output_bytes: 1 << 20,
        state_bytes: 64 << 10,
        effects_per_step: 256,
    };

    const MIN: Self = Self {
        memory_bytes: 64 << 10,
        table_elements: 0,
        call: Millis(1),
        output_bytes: 1,
        state_bytes: 0,
        effects_per_step: 0,
    };

    /// The lesser of both, limit by limit.
    #[must_use]
    pub fn least(&self, other: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            table_elements: self.table_elements.min(other.table_elements),
            call: self.call.min(other.call),
            output_bytes: self.output_bytes.min(other.output_bytes),
            state_bytes: self.state_bytes.min(other.state_bytes),
            effects_per_step: self.effects_per_step.min(other.effects_per_step),
        }
    }

    /// The first limit that is below what anything can run with, or above what anybody can grant.
    #[must_use]
    pub fn unfit(&self) -> Option<&'static str> {
        let (min, max) = (&Self::MIN, &Self::MAX);
        let fits = [
            ("memory_bytes", (min.memory_bytes..=max.memory_bytes).contains(&self.memory_bytes)),
            ("table_elements", (min.table_elements..=max.table_elements).contains(&self.table_elements)),
            ("call", (min.call..=max.call).contains(&self.call)),
            ("output_bytes", (min.output_bytes..=max.output_bytes).contains(&self.output_bytes)),
            ("state_bytes", (min.state_bytes..=max.state_bytes).contains(&self.state_bytes)),
            (
                "effects_per_step",
                (min.effects_per_step..=max.effects_per_step).contains(&self.effects_per_step),
            ),
        ];
        fits.into_iter().find(|(_, fits)| !fits).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stay_within_what_can_be_granted() {
        assert_eq!(Limits::DEFAULT.unfit(), None);
        assert_eq!(Limits::MAX.unfit(), None);
        let greedy = Limits { memory_bytes: Limits::MAX.memory_bytes + 1, ..Limits::DEFAULT };
        assert_eq!(greedy.unfit(), Some("memory_bytes"));
        assert_eq!(greedy.least(&Limits::MAX).unfit(), None);
        assert_eq!(Limits { call: Millis(0), ..Limits::DEFAULT }.unfit(), Some("call"));
    }

    /// Taken apart without `..`: a limit that is added has to be shown here to be bounded, and to be the lesser of two.
    #[test]
    fn each_limit_is_bounded_and_the_lesser_of_two_counts() {
        let Limits { memory_bytes, table_elements, call, output_bytes, state_bytes, effects_per_step } =
            Limits::MAX;
        let usual = Limits::DEFAULT;
        let greedy = [
            ("memory_bytes", Limits { memory_bytes: memory_bytes + 1, ..usual }),
            ("table_elements", Limits { table_elements: table_elements + 1, ..usual }),
            ("call", Limits { call: Millis(call.0 + 1), ..usual }),
            ("output_bytes", Limits { output_bytes: output_bytes + 1, ..usual }),
            ("state_bytes", Limits { state_bytes: state_bytes + 1, ..usual }),
            ("effects_per_step", Limits { effects_per_step: effects_per_step + 1, ..usual }),
        ];
        for (name, greedy) in greedy {
            assert_eq!(greedy.unfit(), Some(name));
            assert_eq!(greedy.least(&usual), usual, "{name}");
            assert_eq!(usual.least(&greedy), usual, "{name}");
        }
        let nothing_can_run_with = [
            ("memory_bytes", Limits { memory_bytes: (64 << 10) - 1, ..usual }),
            ("call", Limits { call: Millis(0), ..usual }),
            ("output_bytes", Limits { output_bytes: 0, ..usual }),
        ];
        for (name, meagre) in nothing_can_run_with {
            assert_eq!(meagre.unfit(), Some(name));
        }
    }
}
