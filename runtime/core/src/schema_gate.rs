//! One migration of a data base on its way through expand, migrate and contract, or back.
//!
//! Here: which phase may follow which, what has to be known before each, and which code may run meanwhile; in `phase`: the
//! words; in `look`: what a look says of it. Not here: SQL and flags (an executor and the operator's commands), what runs
//! (whoever looks), when a step is ordered and who is told (`migrations`, `target`).
//!
//!   Before -- expand --> Expanded -- dual-write-on --> `DualWrite` -- backfill --> Backfilled -- read-new --> `ReadNew`
//!   `ReadNew` -- no old code left --> Soaking -- contract, after the soak --> Contracted: nothing leads back
//!   Soaking, `ReadNew` -- read-old --> Backfilled; Backfilled, `DualWrite` -- dual-write-off --> Expanded
//!   Expanded -- expand-undo --> Before
//!
//! *Old code* lives with the schema before the migration only, *new code* with both. New code writes the columns that it
//! reads, and the others too while *dual-write* is on. Which columns it reads, `read-new` and `read-old` switch. What is not
//! known, a flag or how a step ended, moves nothing. The pattern: Sadalage and Fowler, "Evolutionary Database Design";
//! Fowler, "Parallel Change".

use alloc::collections::BTreeMap;

use backstay_model::{Millis, Mono, Name, Schema, SchemaRange, Ticket, Version};
use serde::{Deserialize, Serialize};

mod look;
mod phase;
mod refusal;

pub use look::{Columns, SchemaLook, Sight};
pub use phase::{Phase, Step, StepEnd};
pub use refusal::{GateRefusal, Hindrance, Unfit};

/// A migration as it was planned. It doesn't change while it is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The version of the schema that old code lives with. It holds until the contract: what is added harms nobody.
    pub from: u32,
    /// The version of the schema after the contract.
    pub to: u32,
    /// The first release that lives with both.
    pub release: Version,
    /// The feature flag that turns dual-write on.
    pub flag: Name,
    /// Who writes to both columns while it is on.
    pub writer: DualWriter,
    /// So long has new code to be alone, reading the new columns, before the old ones may go.
    pub soak: Millis,
}

/// Who writes to both columns while dual-write is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DualWriter {
    /// The data base, by a trigger: whatever code writes, both columns have it.
    Database,
    /// New code. What old code writes is missing in the new columns, so it can't run once they count.
    Application,
}

/// Where somebody wants a migration to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateWish {
    /// To the next phase, as long as something leads back from it.
    Next,
    /// Through the contract. It has to be said by its name: nothing leads back.
    Contract,
    /// To the phase before.
    Back,
}

/// What a wish that was granted leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateMove {
    /// Order this, and say how it ended.
    Run(Step),
    /// There is no work in it: this is the phase now.
    Stands(Phase),
}

/// Which code runs, or may have begun to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Nobody has looked.
    Unknown,
    /// Old code only.
    Old,
    /// New code only.
    New,
    /// Some of each.
    Both,
}

/// Whether dual-write is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FlagState {
    /// Nobody has looked, or nobody answered.
    Unknown,
    /// It is.
    On,
    /// It isn't.
    Off,
}

/// A step that was ordered and of which it isn't known that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Pending {
    step: Step,
    ticket: Ticket,
    in_doubt: bool,
    /// Something was written past the step while it ran, so that its being done proves nothing.
    spoiled: bool,
    /// Old code may have run meanwhile.
    beside_old: bool,
}

/// The gate of one migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaGate {
    migration: Migration,
    phase: Phase,
    pending: Option<Pending>,
    code: Code,
    /// What runs of ours are bringing in. It may start at any moment, whatever a look has seen.
    deploying: BTreeMap<Ticket, Code>,
    flag: FlagState,
    /// Whether anybody has seen how far the data base is. Until then it may be anywhere.
    seen: bool,
}

/// What a release is to a migration, by the schemas that it lives with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    Old,
    New,
    /// It can't live with the schema before the contract.
    After,
    Stranger,
}

impl SchemaGate {
    /// A migration of which nothing is known. The first look that is whole says where it stands.
    #[must_use]
    pub const fn new(migration: Migration) -> Self {
        let (code, flag) = (Code::Unknown, FlagState::Unknown);
        let deploying = BTreeMap::new();
        Self { migration, phase: Phase::Before, pending: None, code, deploying, flag, seen: false }
    }

    /// What was planned.
    #[must_use]
    pub const fn migration(&self) -> &Migration {
        &self.migration
    }

    /// Whether anybody has seen how far the data base is.
    #[must_use]
    pub const fn is_seen(&self) -> bool {
        self.seen
    }

    /// Which code runs, as far as is known.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Whether dual-write is on, as far as is known.
    #[must_use]
    pub const fn flag(&self) -> FlagState {
        self.flag
    }

    /// The phase that is known to have been reached; a step may be under way.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The step that is under way or in doubt.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        self.pending.map(|pending| pending.step)
    }

    /// Whether it isn't known how the step ended.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.pending.is_some_and(|pending| pending.in_doubt)
    }

    /// The run that was to do the step.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        self.pending.map(|pending| pending.ticket)
    }

    /// What a wish would lead to now; nothing is changed.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn preview(&self, now: Mono, wish: GateWish) -> Result<GateMove, GateRefusal> {
        self.granted(now, wish).map_err(|why| self.refusal(why))
    }

    /// Takes a wish: names the work, which counts as begun under `ticket`, or says why not and what to do. While a step is in
    /// doubt, all that can be ordered is the same step: executors look first and do what is missing.
    ///
    /// # Errors
    /// What stands in the way. Nothing has changed.
    pub fn wish(&mut self, now: Mono, ticket: Ticket, wish: GateWish) -> Result<GateMove, GateRefusal> {
        let granted = self.preview(now, wish)?;
        match granted {
            GateMove::Run(step) => {
                let (spoiled, beside_old) =
                    self.pending.map_or((false, false), |pending| (pending.spoiled, pending.beside_old));
                self.pending = Some(Pending { step, ticket, in_doubt: false, spoiled, beside_old });
                self.watch();
            }
            GateMove::Stands(phase) => self.phase = phase,
        }
        Ok(granted)
    }

    /// A step ended. `false`: it isn't the one that is under way, and nothing has changed.
    pub fn ended(&mut self, ticket: Ticket, end: StepEnd) -> bool {
        let Some(pending) = self.pending.filter(|pending| pending.ticket == ticket) else { return false };
        match end {
            StepEnd::Done => self.done(pending),
            StepEnd::Failed => self.failed(pending),
            StepEnd::InDoubt => self.pending = Some(Pending { in_doubt: true, ..pending }),
        }
        if end != StepEnd::Done && matches!(pending.step, Step::DualWriteOn | Step::DualWriteOff) {
            self.flag = FlagState::Unknown;
        }
        self.watch();
        true
    }

    /// Somebody looked at whether the step that is in doubt was done, when nothing of it could be running any more. `false`: no
    /// step is in doubt.
    pub fn looked(&mut self, was_done: bool) -> bool {
        match self.pending {
            Some(Pending { in_doubt: true, ticket, .. }) => {
                self.ended(ticket, if was_done { StepEnd::Done } else { StepEnd::Failed })
            }
            Some(_) | None => false,
        }
    }

    /// Somebody looked at which code runs. The look has to have begun after the last deployment ended.
    pub fn sees_code(&mut self, code: Code) {
        self.code = self.deploying.values().fold(code, |code, coming| code.with(*coming));
        self.watch();
    }

    /// Somebody looked at the flag.
    pub fn sees_flag(&mut self, flag: FlagState) {
        self.flag = flag;
        self.watch();
    }

    /// A release is about to be brought in by a run, forward or back. If it may, its code counts as running from now on.
    ///
    /// # Errors
    /// It can't live with the data as they are, or as they may be by now. Nothing has changed.
    pub fn deploys(
        &mut self,
        run: Ticket,
        release: &Version,
        range: &SchemaRange,
    ) -> Result<(), GateRefusal> {
        let coming = self.fits(release, range)?;
        self.brings(run, coming);
        Ok(())
    }

    /// The same of a release of which nobody said what it can live with: until it is there nobody knows which code runs.
    pub fn deploys_unsaid(&mut self, run: Ticket) {
        self.brings(run, Code::Unknown);
    }

    fn brings(&mut self, run: Ticket, coming: Code) {
        let earlier = self.deploying.get(&run);
        let coming = earlier.map_or(coming, |earlier| earlier.with(coming));
        self.deploying.insert(run, coming);
        self.code = self.code.with(coming);
        self.watch();
    }

    /// Which code a release would bring in now; nothing is changed.
    ///
    /// # Errors
    /// It can't live with the data as they are, or as they may be by now.
    pub fn fits(&self, release: &Version, range: &SchemaRange) -> Result<Code, GateRefusal> {
        let refused = |why| self.refusal(Hindrance::Release { release: release.clone(), why });
        self.placed(range).map_err(refused)
    }

    /// What a run was bringing in is there, or was given up. What runs has to be looked at. `false`: it brought nothing in here.
    pub fn deployed(&mut self, run: Ticket) -> bool {
        let was_ours = self.deploying.remove(&run).is_some();
        if was_ours {
            self.code = Code::Unknown;
            self.watch();
        }
        was_ours
    }

    /// Somebody else brought a release in, whatever it can live with. What runs has to be looked at.
    pub fn found_deployed(&mut self, range: Option<&SchemaRange>) {
        let Migration { from, to, .. } = self.migration;
        if range.is_some_and(|range| Generation::of(range, from, to) == Generation::Old) {
            self.code = Code::Old;
            self.watch();
        }
        self.code = Code::Unknown;
        self.watch();
    }

    /// Nobody looked for a while: what was seen before says nothing of now.
    pub fn forgets_looks(&mut self) {
        (self.code, self.flag) = (Code::Unknown, FlagState::Unknown);
        self.watch();
    }

    /// Whether a release with this range may run now: the rail for each target of a roll-back.
    #[must_use]
    pub fn admits(&self, range: &SchemaRange) -> bool {
        self.placed(range).is_ok()
    }

    /// What policies are told, with `before` the range of the release that they could go back to, if it is known. A contract
    /// that was begun counts as done here.
    #[must_use]
    pub fn facts(&self, before: Option<&SchemaRange>) -> Schema {
        let contract = self.phase == Phase::Contracted || self.step() == Some(Step::Contract);
        let version = if contract { self.migration.to } else { self.migration.from };
        match before {
            _ if !self.seen => Schema::Unknown,
            None => Schema::Unknown,
            Some(range) if self.admits(range) => Schema::Compatible(version),
            Some(_) => Schema::OneWay(version),
        }
    }

    fn refusal(&self, why: Hindrance) -> GateRefusal {
        GateRefusal::new(self.migration.clone(), why)
    }

    fn granted(&self, now: Mono, wish: GateWish) -> Result<GateMove, Hindrance> {
        if let Some(Pending { step, in_doubt, .. }) = self.pending {
            return match (wish, step) {
                _ if !in_doubt => Err(Hindrance::UnderWay { step }),
                (GateWish::Back, Step::Contract) => Err(Hindrance::PastContract),
                (GateWish::Next, Step::Contract) => Err(Hindrance::Irrevocable),
                (GateWish::Contract, other) if other != Step::Contract => Err(Hindrance::BeforeSoak),
                (GateWish::Next, Step::ExpandUndo | Step::DualWriteOff | Step::ReadOld)
                | (GateWish::Back, Step::Expand | Step::Backfill | Step::ReadNew) => {
                    Err(Hindrance::InDoubt { step })
                }
                (GateWish::Next | GateWish::Contract | GateWish::Back, step) => self.again(step),
            };
        }
        if !self.seen {
            return Err(Hindrance::NotSeen);
        }
        if self.phase == Phase::Contracted {
            return match wish {
                GateWish::Next | GateWish::Contract => Err(Hindrance::AtEnd),
                GateWish::Back => Err(Hindrance::PastContract),
            };
        }
        let on = match self.flag {
            FlagState::Unknown => return Err(Hindrance::FlagUnknown),
            FlagState::On => true,
            FlagState::Off => false,
        };
        let step = match (wish, self.phase) {
            // Somebody turned it off. It has to be on before anything else, whichever way it goes then.
            (GateWish::Next | GateWish::Back, Phase::ReadNew | Phase::Soaking { .. }) if !on => {
                Step::DualWriteOn
            }
            (GateWish::Next, Phase::Before) => Step::Expand,
            (GateWish::Next, Phase::Expanded) => Step::DualWriteOn,
            (GateWish::Next, Phase::DualWrite) => self.mirrored(Step::Backfill)?,
            (GateWish::Next, Phase::Backfilled) => self.readable()?,
            (GateWish::Next, Phase::ReadNew) => {
                self.alone()?;
                return Ok(GateMove::Stands(Phase::Soaking { since: now }));
            }
            (GateWish::Next, Phase::Soaking { since }) => {
                self.soaked(now, since)?;
                return Err(Hindrance::Irrevocable);
            }
            (GateWish::Contract, Phase::Soaking { since }) if on => self.soaked(now, since)?,
            (GateWish::Contract, _) => return Err(Hindrance::BeforeSoak),
            (GateWish::Back, Phase::Before) => return Err(Hindrance::AtBeginning),
            (GateWish::Back, Phase::Expanded) if !on => Step::ExpandUndo,
            (GateWish::Back, Phase::Expanded | Phase::DualWrite | Phase::Backfilled) => Step::DualWriteOff,
            (GateWish::Back, Phase::ReadNew | Phase::Soaking { .. }) => Step::ReadOld,
            (_, Phase::Contracted) => return Err(Hindrance::AtEnd),
        };
        Ok(GateMove::Run(step))
    }

    /// The step that is in doubt, once more, under the conditions that it began under.
    fn again(&self, step: Step) -> Result<GateMove, Hindrance> {
        if step == Step::Contract {
            self.alone()?;
        }
        Ok(GateMove::Run(step))
    }

    /// Whether all that is written reaches both columns, so that `step` proves something.
    fn mirrored(&self, step: Step) -> Result<Step, Hindrance> {
        match (self.migration.writer, self.code) {
            (DualWriter::Database, _) | (DualWriter::Application, Code::New) => Ok(step),
            (DualWriter::Application, Code::Unknown) => Err(Hindrance::CodeUnknown),
            (DualWriter::Application, Code::Old | Code::Both) => Err(Hindrance::OldCode),
        }
    }

    fn readable(&self) -> Result<Step, Hindrance> {
        match self.code {
            Code::Unknown => Err(Hindrance::CodeUnknown),
            Code::Old => Err(Hindrance::NoNewCode),
            Code::New | Code::Both => self.mirrored(Step::ReadNew),
        }
    }

    fn alone(&self) -> Result<(), Hindrance> {
        match self.code {
            Code::Unknown => Err(Hindrance::CodeUnknown),
            Code::Old | Code::Both => Err(Hindrance::OldCode),
            Code::New => Ok(()),
        }
    }

    fn soaked(&self, now: Mono, since: Mono) -> Result<Step, Hindrance> {
        self.alone()?;
        let left = Millis(self.migration.soak.0.saturating_sub(now.since(since).0));
        if left == Millis(0) { Ok(Step::Contract) } else { Err(Hindrance::Soak { left }) }
    }

    fn done(&mut self, pending: Pending) {
        self.pending = None;
        self.phase = match pending.step {
            Step::Expand => Phase::Expanded,
            Step::ExpandUndo => Phase::Before,
            Step::DualWriteOn => {
                self.flag = FlagState::On;
                if self.reads_new() { Phase::ReadNew } else { Phase::DualWrite }
            }
            Step::DualWriteOff => {
                self.flag = FlagState::Off;
                Phase::Expanded
            }
            Step::Backfill | Step::ReadOld if pending.spoiled => Phase::DualWrite,
            Step::Backfill | Step::ReadOld => Phase::Backfilled,
            Step::ReadNew => Phase::ReadNew,
            Step::Contract => Phase::Contracted,
        };
    }

    fn failed(&mut self, pending: Pending) {
        self.pending = None;
        // The step changed nothing, but what was written meanwhile may have.
        self.phase = match self.phase {
            Phase::Backfilled if pending.spoiled => Phase::DualWrite,
            Phase::Soaking { .. } if pending.spoiled || pending.beside_old => Phase::ReadNew,
            as_it_was @ (Phase::Before
            | Phase::Expanded
            | Phase::DualWrite
            | Phase::Backfilled
            | Phase::ReadNew
            | Phase::Soaking { .. }
            | Phase::Contracted) => as_it_was,
        };
    }

    /// Draws the conclusions from what is known by now: a phase lasts only as long as what makes it up.
    fn watch(&mut self) {
        let runs_old = |code: Code| matches!(code, Code::Old | Code::Both);
        let old = runs_old(self.code) || self.deploying.values().copied().any(runs_old);
        let past = old && self.migration.writer == DualWriter::Application;
        if let Some(pending) = &mut self.pending {
            // Whether dual-write was on all the while nobody can say who doesn't know it now; that it was turned off somebody saw.
            pending.spoiled |= past || self.flag == FlagState::Off;
            pending.beside_old |= old;
            // How it ends says what the phase is. A look in its midst may be older than what it did.
            return;
        }
        self.phase = match self.phase {
            Phase::DualWrite | Phase::Backfilled if self.flag == FlagState::Off => Phase::Expanded,
            Phase::Backfilled if past => Phase::DualWrite,
            Phase::Soaking { .. } if old || self.flag == FlagState::Off => Phase::ReadNew,
            as_it_was @ (Phase::Before
            | Phase::Expanded
            | Phase::DualWrite
            | Phase::Backfilled
            | Phase::ReadNew
            | Phase::Soaking { .. }
            | Phase::Contracted) => as_it_was,
        };
    }

    /// Whether new columns are read, or may be by now.
    fn reads_new(&self) -> bool {
        matches!(self.phase, Phase::ReadNew | Phase::Soaking { .. })
            || matches!(self.step(), Some(Step::ReadNew | Step::ReadOld))
    }

    /// What the code of a release with this range would be here, if it may run.
    fn placed(&self, range: &SchemaRange) -> Result<Code, Unfit> {
        let Migration { from, to, writer, .. } = self.migration;
        let contracted = self.phase == Phase::Contracted;
        match Generation::of(range, from, to) {
            Generation::New => Ok(Code::New),
            Generation::Old | Generation::After if !self.seen => Err(Unfit::NotSeen),
            Generation::After if contracted => Ok(Code::New),
            Generation::After => Err(Unfit::TooEarly),
            Generation::Stranger => Err(Unfit::Neither),
            Generation::Old if contracted || self.step() == Some(Step::Contract) => Err(Unfit::PastContract),
            Generation::Old if !self.reads_new() => Ok(Code::Old),
            // Old code would read old columns that may lack what was written since.
            Generation::Old if self.flag == FlagState::Unknown => Err(Unfit::FlagUnknown),
            Generation::Old if self.flag == FlagState::Off => Err(Unfit::NotMirrored),
            // New code would read new columns that lack what old code writes.
            Generation::Old if writer == DualWriter::Application => Err(Unfit::ReadsNew),
            Generation::Old => Ok(Code::Old),
        }
    }
}

impl Generation {
    fn of(range: &SchemaRange, from: u32, to: u32) -> Self {
        let lives_with = |version| (range.from..=range.to).contains(&version);
        match (lives_with(from), lives_with(to)) {
            (true, true) => Self::New,
            (true, false) => Self::Old,
            (false, true) => Self::After,
            (false, false) => Self::Stranger,
        }
    }
}

impl Code {
    /// This and what is coming. What is unknown stays so.
    fn with(self, coming: Self) -> Self {
        match (self, coming) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Old, Self::Old) => Self::Old,
            (Self::New, Self::New) => Self::New,
            (Self::Old | Self::New | Self::Both, Self::Old | Self::New | Self::Both) => Self::Both,
        }
    }
}

#[cfg(test)]
mod stories;
