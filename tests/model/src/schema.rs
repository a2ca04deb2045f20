//! The gate of a data base's migration, with several instances of old and new code and several runs that bring them in.
//!
//! The real [`SchemaGate`], asked as the server asks it, and around it a data base and services that obey nobody: steps take
//! effect at any moment after they were ordered, also after their run has ended; instances start while they are being brought
//! in and stop whenever they like; looks see all, a part or nothing; somebody turns the flag by hand; the server starts again, or
//! loses the gate. Not here: looks that are late (the server throws them away), and a real data base (`tests/real`).

use backstay_core::{
    Code, Columns, DualWriter, FlagState, GateMove, GateWish, Migration, Phase, SchemaGate, SchemaLook, Step,
    StepEnd,
};
use backstay_model::{Millis, Mono, Name, SchemaRange, Ticket, Version};
use stateright::{Model, Property};

use crate::search::{Real, breaks, exhausts, is_long};

const SOAK: u64 = 10;
const OLD: SchemaRange = SchemaRange { from: 6, to: 7 };
const NEW: SchemaRange = SchemaRange { from: 7, to: 8 };
/// Runs that bring releases in at the same time, at most.
const RUNS: usize = 2;
/// A way back takes so many steps and looks at most.
const BACK_MAX: u8 = 14;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A step that isn't seen to be done may come about later all the same.
    LateSteps,
    /// Whoever brings a release in doesn't ask.
    NobodyAsks,
    /// Whoever looks sees new code only.
    LookMissesOldCode,
    /// The server keeps a step after it ordered it, and starts again between the two.
    OrderedBeforeKept,
    /// It is said that the data base writes to both columns, and it doesn't.
    NobodyMirrors,
    /// Somebody turns the flag without asking, and it is held to do no harm at all.
    Drifts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    old_columns: bool,
    new_columns: bool,
    /// The columns hold all that was written.
    old_complete: bool,
    new_complete: bool,
    dual_write: bool,
    read_new: bool,
    old_code: u8,
    new_code: u8,
    /// A step that was ordered and may still take effect.
    at_work: Option<Step>,
    /// The step that the gate waits for has taken effect.
    is_done: bool,
    /// A whole soak has passed since old code ran, old columns were read, or dual-write was off.
    quiet: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    gate: Real<SchemaGate>,
    /// What a start would find, where that is another.
    kept: Option<Real<SchemaGate>>,
    /// Steps are numbered in turn, so that the one before can be told from the newest.
    ticket: u64,
    now: u64,
    coming: [Option<Code>; RUNS],
    world: World,
    /// A contract was ordered before a whole soak of new code alone.
    early: bool,
    /// A contract was ordered while old code ran or could start.
    beside_old: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Wishes(GateWish),
    /// What was ordered takes effect.
    TakesEffect,
    /// What was ordered ends without it, and nobody may know.
    ComesToNothing,
    Ends(StepEnd),
    Deploys(usize, Code),
    Deployed(usize),
    Starts(Code),
    Stops(Code),
    Looks,
    /// Nobody answers who is asked.
    LooksInVain,
    /// Of all that is asked only which code runs is answered, or not even that.
    SeesCode(Code),
    /// The same of the flag.
    SeesFlag(FlagState),
    /// Somebody turns the flag by hand.
    Drifts,
    SoakPasses,
    Restarts,
    Loses,
}

struct Migrating {
    /// Runs that bring releases in at the same time, and instances of each code.
    runs: usize,
    instances: u8,
    writer: DualWriter,
    /// Whether the flag is turned by hand.
    drift: bool,
    broken: Broken,
}

fn run(at: usize) -> Ticket {
    Ticket(10 + at as u64)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn flag(on: bool) -> FlagState {
    if on { FlagState::On } else { FlagState::Off }
}

impl World {
    fn does(&mut self, step: Step) {
        match step {
            Step::Expand => self.new_columns = true,
            Step::ExpandUndo => (self.new_columns, self.new_complete) = (false, false),
            Step::DualWriteOn => {
                self.dual_write = true;
                self.old_complete |= self.read_new;
            }
            Step::DualWriteOff => self.dual_write = false,
            Step::Backfill => self.new_complete = self.new_columns,
            Step::ReadNew => self.read_new = true,
            Step::ReadOld => (self.read_new, self.old_complete) = (false, true),
            Step::Contract => (self.old_columns, self.old_complete) = (false, false),
        }
    }

    /// Whatever runs goes on writing.
    fn goes_on(&mut self, is_mirrored: bool) {
        let mirrors = self.dual_write && is_mirrored;
        let (old, new) = (self.old_code > 0, self.new_code > 0);
        let old_only = old && !mirrors || new && !self.read_new && !self.dual_write;
        let new_only = new && self.read_new && !self.dual_write;
        self.new_complete &= !old_only;
        self.old_complete &= !new_only;
        self.quiet &= !old && self.read_new && self.dual_write;
    }

    fn look(&self) -> SchemaLook {
        let columns = match (self.old_columns, self.new_columns) {
            (true, false) => Columns::Before,
            (true, true) if self.old_complete && self.new_complete => Columns::InStep,
            (true, true) => Columns::Expanded,
            (false, _) => Columns::Contracted,
        };
        SchemaLook {
            columns: Some(columns),
            old_code: Some(self.old_code > 0),
            new_code: Some(self.new_code > 0),
            dual_write: flag(self.dual_write),
            read_new: flag(self.read_new),
        }
    }

    fn code(&self) -> Code {
        match (self.old_code > 0, self.new_code > 0) {
            (true, true) => Code::Both,
            (true, false) => Code::Old,
            (false, true) => Code::New,
            (false, false) => Code::Unknown,
        }
    }

    fn count(&mut self, code: Code) -> &mut u8 {
        if code == Code::Old { &mut self.old_code } else { &mut self.new_code }
    }
}

impl State {
    fn may_start(&self, code: Code) -> bool {
        self.coming.iter().flatten().any(|coming| *coming == code || *coming == Code::Both)
    }
}

impl Migrating {
    fn gate(&self) -> SchemaGate {
        SchemaGate::new(Migration {
            from: 7,
            to: 8,
            release: version("2.2"),
            flag: name("dual-write"),
            writer: self.writer,
            soak: Millis(SOAK),
        })
    }

    fn wishes(&self, state: &mut State, wish: GateWish) -> Option<()> {
        let (before, was_pending) = (state.gate.clone(), state.gate.step().is_some());
        let ticket = if was_pending { state.ticket } else { 3 - state.ticket };
        let GateMove::Run(step) = state.gate.wish(Mono(state.now), Ticket(ticket), wish).ok()? else {
            return Some(());
        };
        state.ticket = ticket;
        if self.broken == Broken::OrderedBeforeKept {
            state.kept = Some(before);
        }
        if step == Step::Contract {
            state.early |= !was_pending && !state.world.quiet;
            state.beside_old |= state.world.old_code > 0 || state.may_start(Code::Old);
        }
        state.world.at_work = Some(step);
        // The same step once more finds what it did before.
        state.world.is_done &= was_pending;
        Some(())
    }

    fn looks(&self, state: &mut State) -> Option<()> {
        let mut look = state.world.look();
        if self.broken == Broken::LookMissesOldCode {
            look.old_code = Some(false);
        }
        let at_rest = state.world.at_work.is_none();
        let takes_away = matches!(state.gate.step(), Some(Step::Contract | Step::ExpandUndo));
        let in_doubt = state.gate.is_in_doubt() && !takes_away;
        // Of all steps that take nothing away it is taken that they are at rest when their run has ended.
        if in_doubt && !at_rest && !state.world.is_done && self.broken != Broken::LateSteps {
            return None;
        }
        state.gate.sees(&look, at_rest);
        Some(())
    }

    /// What a person would do who wants to go back: let the step end, look, ask for the way back. Gives where that leads.
    fn goes_back(&self, from: &State) -> Option<State> {
        let mut state = from.clone();
        let mut steps = 0;
        while !state.gate.is_seen() || state.gate.phase() != Phase::Before || state.gate.step().is_some() {
            steps += 1;
            if steps > BACK_MAX {
                return None;
            }
            let act = |state: &State, action| self.next_state(state, action);
            if state.gate.step().is_some() && !state.gate.is_in_doubt() {
                let end = if state.world.is_done { StepEnd::Done } else { StepEnd::Failed };
                let at_rest = act(&state, Action::ComesToNothing).unwrap_or_else(|| state.clone());
                state = act(&at_rest, Action::Ends(end))?;
                continue;
            }
            state = act(&state, Action::ComesToNothing).unwrap_or(state);
            state = act(&state, Action::Looks).unwrap_or(state);
            if state.gate.is_seen() && state.gate.step().is_none() && state.gate.phase() != Phase::Before {
                state = act(&state, Action::Wishes(GateWish::Back))?;
                state = act(&state, Action::TakesEffect).unwrap_or(state);
            }
        }
        Some(state)
    }
}

impl Model for Migrating {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let world = World {
            old_columns: true,
            new_columns: false,
            old_complete: true,
            new_complete: false,
            dual_write: false,
            read_new: false,
            old_code: self.instances,
            new_code: 0,
            at_work: None,
            is_done: false,
            quiet: false,
        };
        let gate = Real(self.gate());
        let (kept, coming) = (None, [None; RUNS]);
        vec![State { gate, kept, ticket: 1, now: 0, coming, world, early: false, beside_old: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([GateWish::Next, GateWish::Contract, GateWish::Back].map(Action::Wishes));
        actions.extend([StepEnd::Done, StepEnd::Failed, StepEnd::InDoubt].map(Action::Ends));
        for code in [Code::Old, Code::New] {
            actions.extend((0..self.runs).map(|at| Action::Deploys(at, code)));
            actions.extend([Action::Starts(code), Action::Stops(code)]);
        }
        actions.extend((0..self.runs).map(Action::Deployed));
        actions.extend([
            Action::TakesEffect,
            Action::ComesToNothing,
            Action::Looks,
            Action::LooksInVain,
            Action::SeesCode(state.world.code()),
            Action::SeesCode(Code::Unknown),
            Action::SeesFlag(flag(state.world.dual_write)),
            Action::SeesFlag(FlagState::Unknown),
            Action::Drifts,
            Action::SoakPasses,
            Action::Restarts,
            Action::Loses,
        ]);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        if !matches!(action, Action::Restarts) {
            // Whatever comes next is kept with what was before.
            state.kept = None;
        }
        match action {
            Action::Wishes(wish) => self.wishes(&mut state, wish)?,
            Action::TakesEffect => {
                let step = state.world.at_work.take()?;
                state.world.does(step);
                state.world.is_done = state.gate.step() == Some(step);
            }
            Action::ComesToNothing => drop(state.world.at_work.take()?),
            Action::Ends(end) => {
                (state.gate.step().is_some() && !state.gate.is_in_doubt()).then_some(())?;
                let is_so = match end {
                    StepEnd::Done => state.world.is_done,
                    StepEnd::Failed => !state.world.is_done && state.world.at_work.is_none(),
                    StepEnd::InDoubt => true,
                };
                (is_so && state.gate.ended(Ticket(last.ticket), end)).then_some(())?;
            }
            Action::Deploys(at, code) => {
                let range = if code == Code::Old { OLD } else { NEW };
                // A run brings one release in.
                state.coming[at].is_none().then_some(())?;
                if self.broken != Broken::NobodyAsks {
                    state.gate.deploys(run(at), &version("x"), &range).ok()?;
                }
                state.coming[at] = Some(code);
            }
            Action::Deployed(at) => {
                state.coming[at].take()?;
                state.gate.deployed(run(at));
            }
            Action::Starts(code) => {
                state.may_start(code).then_some(())?;
                let count = state.world.count(code);
                *count = (*count + 1).min(self.instances);
            }
            Action::Stops(code) => {
                let count = state.world.count(code);
                *count = count.checked_sub(1)?;
            }
            Action::Looks => self.looks(&mut state)?,
            Action::LooksInVain => drop(state.gate.sees(&SchemaLook::NOTHING, last.world.at_work.is_none())),
            Action::SeesCode(code) => state.gate.sees_code(code),
            Action::SeesFlag(flag) => state.gate.sees_flag(flag),
            Action::Drifts => {
                self.drift.then_some(())?;
                state.world.dual_write ^= true;
            }
            Action::SoakPasses => {
                matches!(state.gate.phase(), Phase::Soaking { .. }).then_some(())?;
                (state.now, state.world.quiet) = (SOAK, true);
            }
            Action::Restarts => {
                if let Some(kept) = state.kept.take() {
                    state.gate = kept;
                }
                state.gate.forgets_looks();
            }
            Action::Loses => {
                let is_idle = state.world.at_work.is_none() && state.coming == [None; RUNS];
                is_idle.then(|| state.gate = Real(self.gate()))?;
            }
        }
        state.world.goes_on(self.writer == DualWriter::Database && self.broken != Broken::NobodyMirrors);
        if state.gate.step().is_none() {
            state.world.is_done = false;
        }
        if !matches!(state.gate.phase(), Phase::Soaking { .. }) {
            state.now = 0;
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(NO_CONTRACT, |_, state: &State| {
                let contract =
                    state.gate.step() == Some(Step::Contract) || state.world.at_work == Some(Step::Contract);
                !state.beside_old && !(contract && (state.world.old_code > 0 || state.may_start(Code::Old)))
            }),
            Property::always(HAS_COLUMNS, |_, state: &State| {
                let World { old_code, new_code, read_new, old_columns, new_columns, .. } = state.world;
                let is_there = if read_new { new_columns } else { old_columns };
                (old_code == 0 || old_columns) && (new_code == 0 || is_there)
            }),
            Property::always("the gate believes in the columns that there are", |_, state: &State| {
                let phase = state.gate.phase();
                let believed = (phase != Phase::Before, phase != Phase::Contracted);
                let knows = state.gate.is_seen() && state.gate.step().is_none();
                !knows || (state.world.new_columns, state.world.old_columns) == believed
            }),
            Property::always(UNKNOWN, |_, state: &State| state.moves_by_what_is_known()),
            Property::always(WAY_BACK, |model: &Self, state: &State| {
                !state.world.old_columns
                    || state.world.at_work == Some(Step::Contract)
                    || model.goes_back(state).is_some_and(|back| {
                        !back.world.new_columns && (back.world.old_complete || model.forgives_drift())
                    })
            }),
            Property::always(
                "that a step ended is heard once, and of the newest alone",
                |_, state: &State| {
                    let mut gate = state.gate.0.clone();
                    let of_the_one_before = gate.ended(Ticket(3 - state.ticket), StepEnd::Done);
                    !of_the_one_before && gate == state.gate.0
                },
            ),
        ];
        if !self.forgives_drift() {
            all.extend(Self::where_nobody_turns_the_flag());
        }
        if self.runs > 1 {
            all.push(Property::sometimes(
                "two runs bring old and new code in at once, and both codes run",
                |_, state: &State| {
                    let both = state.world.old_code > 0 && state.world.new_code > 0;
                    both && state.may_start(Code::Old) && state.may_start(Code::New)
                },
            ));
        }
        all.extend(Self::reached());
        all
    }
}

impl State {
    /// Whether no wish leads on where what it takes is not known, or is known to be otherwise.
    fn moves_by_what_is_known(&self) -> bool {
        let wishes = [GateWish::Next, GateWish::Contract, GateWish::Back];
        let ordered = |gate: &SchemaGate| {
            wishes.map(|wish| match gate.preview(Mono(self.now), wish) {
                Ok(GateMove::Run(step)) => Some(step),
                Ok(GateMove::Stands(_)) | Err(_) => None,
            })
        };
        if let Some(step) = self.gate.step() {
            // Only the same step, and only where nobody knows how it ended.
            return ordered(&self.gate)
                .into_iter()
                .flatten()
                .all(|again| again == step && self.gate.is_in_doubt());
        }
        let forward = |step: &Step| matches!(step, Step::Backfill | Step::ReadNew | Step::Contract);
        let with = |see: &dyn Fn(&mut SchemaGate)| {
            let mut gate = self.gate.0.clone();
            see(&mut gate);
            ordered(&gate)
        };
        let is_contract = |step: &Step| *step == Step::Contract;
        with(&|gate| gate.sees_flag(FlagState::Unknown)) == [None; 3]
            && !with(&|gate| gate.sees_flag(FlagState::Off)).iter().flatten().any(forward)
            && [Code::Unknown, Code::Old, Code::Both]
                .into_iter()
                .all(|code| !with(&move |gate| gate.sees_code(code)).iter().flatten().any(is_contract))
    }
}

impl Migrating {
    /// Where somebody turns the flag, no gate can prevent what comes of it at once. Columns it costs nobody.
    fn forgives_drift(&self) -> bool {
        self.drift && self.broken != Broken::Drifts
    }

    fn where_nobody_turns_the_flag() -> Vec<Property<Self>> {
        vec![
            Property::always(
                "a contract is ordered only after a whole soak of new code alone",
                |_, state: &State| !state.early,
            ),
            Property::always(EXPAND_FIRST, |_, state: &State| {
                let World { new_code, read_new, dual_write, new_columns, .. } = state.world;
                new_code == 0 || new_columns || !(read_new || dual_write)
            }),
            Property::always(WHOLE, |_, state: &State| {
                let World { old_code, new_code, read_new, old_complete, new_complete, .. } = state.world;
                let old_is_read = old_code > 0 || new_code > 0 && !read_new;
                (!old_is_read || old_complete) && (new_code == 0 || !read_new || new_complete)
            }),
            Property::always(NOTHING_LOST, |_, state: &State| {
                let World { old_columns, new_columns, old_complete, new_complete, .. } = state.world;
                old_columns && old_complete || new_columns && new_complete
            }),
            Property::always(
                "while a backfill counts as done and both codes run, all is written to both columns",
                |_, state: &State| {
                    let World { old_code, new_code, dual_write, .. } = state.world;
                    let phase = state.gate.phase();
                    let counts = matches!(phase, Phase::Backfilled | Phase::ReadNew | Phase::Soaking { .. });
                    let turning = state.gate.step() == Some(Step::DualWriteOff);
                    old_code == 0 || new_code == 0 || dual_write || !counts || turning
                },
            ),
            Property::always("a backfill that counts as done is done", |_, state: &State| {
                let counts = state.gate.phase() == Phase::Backfilled && state.gate.step().is_none();
                !counts || state.world.new_complete
            }),
        ]
    }

    fn reached() -> Vec<Property<Self>> {
        vec![
            Property::sometimes("the contract is done", |_, state: &State| {
                state.gate.phase() == Phase::Contracted
            }),
            Property::sometimes(
                "a contract may still come about after its run has ended",
                |_, state: &State| state.gate.is_in_doubt() && state.world.at_work == Some(Step::Contract),
            ),
            Property::sometimes(
                "new columns are read, beside old code where the data base writes to both",
                |model: &Self, state: &State| {
                    let beside_old = state.world.old_code == 1;
                    state.world.read_new && (beside_old || model.writer == DualWriter::Application)
                },
            ),
            Property::sometimes("nobody knows a thing of the data base", |_, state: &State| {
                !state.gate.is_seen()
            }),
        ]
    }
}

const NO_CONTRACT: &str = "no contract is ordered or at work while old code runs or may start";
const HAS_COLUMNS: &str = "no code runs without the columns that it reads";
const UNKNOWN: &str = "what is not known, or known to be otherwise, moves nothing";
const EXPAND_FIRST: &str = "nothing new is used before it is there";
const WHOLE: &str = "whatever is read holds all that was written";
const NOTHING_LOST: &str = "all that was written is somewhere";
const WAY_BACK: &str = "until a contract is at work there is a way back, and nothing is lost on it";

#[test]
fn no_contract_beside_old_code() {
    for (name, writer) in
        [("gate, by the data base", DualWriter::Database), ("gate, by new code", DualWriter::Application)]
    {
        let (drift, broken) = (false, Broken::Nothing);
        exhausts(name, Migrating { runs: 2, instances: 2, writer, drift, broken });
    }
}

#[test]
fn whoever_turns_the_flag_without_asking_costs_no_columns() {
    for (name, writer) in [
        ("gate, turned by hand, by the data base", DualWriter::Database),
        ("gate, turned by hand, by new code", DualWriter::Application),
    ] {
        let (drift, broken) = (true, Broken::Nothing);
        // With two runs there are ten times as many states.
        let runs = if is_long() { 2 } else { 1 };
        exhausts(name, Migrating { runs, instances: 1, writer, drift, broken });
    }
}

#[test]
fn a_broken_gate_is_found_out() {
    let of = |broken| {
        let drift = broken == Broken::Drifts;
        Migrating { runs: 1, instances: 1, writer: DualWriter::Database, drift, broken }
    };
    breaks("gate, nobody asks", of(Broken::NobodyAsks), NO_CONTRACT);
    breaks("gate, the look misses old code", of(Broken::LookMissesOldCode), NO_CONTRACT);
    breaks("gate, ordered before it is kept", of(Broken::OrderedBeforeKept), NO_CONTRACT);
    breaks("gate, nobody mirrors", of(Broken::NobodyMirrors), WHOLE);
    breaks("gate, late steps", of(Broken::LateSteps), EXPAND_FIRST);
    breaks("gate, turned by hand", of(Broken::Drifts), WHOLE);
}
