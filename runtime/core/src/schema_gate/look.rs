//! What one look at a data base says of its migration.
//!
//! Here: from what was seen to how a step that is in doubt ended, and to the phase, where nobody knows it or somebody changed
//! the data base by hand. It never takes a migration to be further than what can be seen. Not here: looking (an executor).

use super::{Code, FlagState, Phase, SchemaGate, Step};

/// Which columns there are, and whether they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// The old ones only.
    Before,
    /// Both, and some rows differ.
    Expanded,
    /// Both, and no row differs.
    InStep,
    /// The new ones only.
    Contracted,
}

/// What was seen. What nobody answered to is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaLook {
    /// Which columns there are.
    pub columns: Option<Columns>,
    /// Whether old code runs.
    pub old_code: Option<bool>,
    /// Whether new code runs.
    pub new_code: Option<bool>,
    /// Whether dual-write is on.
    pub dual_write: FlagState,
    /// Whether new code reads the new columns.
    pub read_new: FlagState,
}

/// What a gate learned from a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// How a step that was in doubt ended, and whether it was done.
    pub settled: Option<(Step, bool)>,
    /// The phase that it is in by now, where nobody knew it or it was another without any step.
    pub found: Option<Phase>,
}

impl SchemaLook {
    /// Nobody answered.
    pub const NOTHING: Self = Self {
        columns: None,
        old_code: None,
        new_code: None,
        dual_write: FlagState::Unknown,
        read_new: FlagState::Unknown,
    };

    /// Which code runs. Where none does, nobody can say which will.
    fn code(&self) -> Code {
        match (self.old_code, self.new_code) {
            (Some(true), Some(true)) => Code::Both,
            // Old code that was seen is there, whatever else is.
            (Some(true), Some(false) | None) => Code::Old,
            (Some(false), Some(true)) => Code::New,
            (Some(false), Some(false) | None) | (None, _) => Code::Unknown,
        }
    }

    /// Whether a step was done; none: what it takes to tell was not seen.
    fn shows(&self, step: Step) -> Option<bool> {
        let known = |flag: FlagState| match flag {
            FlagState::Unknown => None,
            FlagState::On => Some(true),
            FlagState::Off => Some(false),
        };
        let columns = self.columns;
        match step {
            Step::Expand => columns.map(|seen| seen != Columns::Before),
            Step::ExpandUndo => columns.map(|seen| seen == Columns::Before),
            // Where new columns are read, it ends with old ones that are in step.
            Step::DualWriteOn => match (known(self.dual_write)?, known(self.read_new)?) {
                (true, true) => columns.map(|seen| seen == Columns::InStep),
                (on, _) => Some(on),
            },
            Step::DualWriteOff => known(self.dual_write).map(|on| !on),
            Step::Backfill => columns.map(|seen| seen == Columns::InStep),
            Step::ReadNew => known(self.read_new),
            Step::ReadOld => known(self.read_new).map(|on| !on),
            Step::Contract => columns.map(|seen| seen == Columns::Contracted),
        }
    }

    /// The phase that can be seen, and none that takes more than that: a backfill is done once more, a soak begins anew.
    fn phase(&self) -> Option<Phase> {
        match (self.columns?, self.read_new, self.dual_write) {
            (Columns::Before, _, _) => Some(Phase::Before),
            (Columns::Contracted, _, _) => Some(Phase::Contracted),
            (Columns::Expanded | Columns::InStep, FlagState::On, _) => Some(Phase::ReadNew),
            (Columns::Expanded | Columns::InStep, FlagState::Off, FlagState::On) => Some(Phase::DualWrite),
            (Columns::Expanded | Columns::InStep, FlagState::Off, FlagState::Off) => Some(Phase::Expanded),
            (Columns::Expanded | Columns::InStep, FlagState::Off | FlagState::Unknown, _) => None,
        }
    }
}

/// Whether a step takes columns away.
fn takes_away(step: Step) -> bool {
    match step {
        Step::Contract | Step::ExpandUndo => true,
        Step::Expand
        | Step::DualWriteOn
        | Step::DualWriteOff
        | Step::Backfill
        | Step::ReadNew
        | Step::ReadOld => false,
    }
}

impl SchemaGate {
    /// Takes a look that began after the last deployment ended and, where a step is in doubt, after its run did. With `at_rest`
    /// nothing of the step can be at work any more: until then one that takes something away, and isn't seen to be done, may still
    /// come about, under whatever was built on what it takes.
    pub fn sees(&mut self, look: &SchemaLook, at_rest: bool) -> Sight {
        let in_doubt = self.step().filter(|_| self.is_in_doubt());
        let settled = in_doubt.and_then(|step| look.shows(step).map(|done| (step, done)));
        let settled = settled.filter(|(step, done)| *done || at_rest || !takes_away(*step));
        if let Some((_, done)) = settled {
            self.looked(done);
        }
        let is_found = |phase: &Phase| self.step().is_none() && self.is_belied(*phase);
        let found = look.phase().filter(is_found);
        if let Some(phase) = found {
            (self.phase, self.seen) = (phase, true);
        }
        self.sees_flag(look.dual_write);
        self.sees_code(look.code());
        Sight { settled, found }
    }

    /// Whether this phase has other columns than the known one, or others of them are read, or nobody knows one.
    fn is_belied(&self, seen: Phase) -> bool {
        let kind = |phase: Phase| match phase {
            Phase::Before => 0,
            Phase::Expanded | Phase::DualWrite | Phase::Backfilled => 1,
            Phase::ReadNew | Phase::Soaking { .. } => 2,
            Phase::Contracted => 3,
        };
        !self.seen || kind(seen) != kind(self.phase)
    }
}
