//! Every state that a gate and the world around it can come into, and what must hold in each.
//!
//! Here: a small world (columns, rows, a flag, instances of old and new code) in which steps take effect at any moment
//! after they were ordered, end well, badly or in doubt, code starts and stops, looks come or don't. The search goes through all of it.
//! Not here: single paths told as stories, and a real data base (`tests/real`).

extern crate std;

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use std::{println, sync::OnceLock};

use super::*;

const SOAK: Millis = Millis(10);
const OLD: SchemaRange = SchemaRange { from: 6, to: 7 };
const NEW: SchemaRange = SchemaRange { from: 7, to: 8 };
const TICKET: Ticket = Ticket(1);
/// The run that brings releases in.
const RUN: Ticket = Ticket(2);

/// What is really so, whatever the gate believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    old_columns: bool,
    new_columns: bool,
    /// The columns hold all that was written.
    old_complete: bool,
    new_complete: bool,
    flag: bool,
    reads_new: bool,
    old_runs: bool,
    new_runs: bool,
    /// The step that is pending has taken effect.
    applied: bool,
    /// A whole soak has passed since old code ran, old columns were read, or dual-write was off.
    quiet: bool,
    now: Mono,
}

/// All that tells one state from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    phase: Phase,
    pending: Option<Pending>,
    code: Code,
    deploying: Option<Code>,
    flag: FlagState,
    world: World,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Wish(GateWish),
    TakesEffect,
    Ended(StepEnd),
    Looked,
    Deploys(Code),
    Deployed,
    Starts(Code),
    Stops(Code),
    SeesCode(Code),
    SeesFlag(FlagState),
    SoakPasses,
    /// Somebody turns the flag without asking.
    Drifts,
    /// Whoever keeps the gate has lost all of it between two steps, and looks.
    Forgets,
}

const ACTS: [Act; 25] = [
    Act::Wish(GateWish::Next),
    Act::Wish(GateWish::Contract),
    Act::Wish(GateWish::Back),
    Act::TakesEffect,
    Act::Ended(StepEnd::Done),
    Act::Ended(StepEnd::Failed),
    Act::Ended(StepEnd::InDoubt),
    Act::Looked,
    Act::Deploys(Code::Old),
    Act::Deploys(Code::New),
    Act::Deployed,
    Act::Starts(Code::Old),
    Act::Starts(Code::New),
    Act::Stops(Code::Old),
    Act::Stops(Code::New),
    Act::SeesCode(Code::Unknown),
    Act::SeesCode(Code::Old),
    Act::SeesCode(Code::New),
    Act::SeesCode(Code::Both),
    Act::SeesFlag(FlagState::Unknown),
    Act::SeesFlag(FlagState::On),
    Act::SeesFlag(FlagState::Off),
    Act::SoakPasses,
    Act::Drifts,
    Act::Forgets,
];

/// What one search is about.
#[derive(Clone, Copy, Debug)]
struct Search {
    /// What the gate was told of who writes to both.
    planned: DualWriter,
    /// Who really does.
    real: DualWriter,
    drift: bool,
}

impl Search {
    fn honest(writer: DualWriter) -> Self {
        Self { planned: writer, real: writer, drift: false }
    }

    fn begin(self) -> State {
        let world = World {
            old_columns: true,
            new_columns: false,
            old_complete: true,
            new_complete: false,
            flag: false,
            reads_new: false,
            old_runs: true,
            new_runs: false,
            applied: false,
            quiet: false,
            now: Mono(0),
        };
        let SchemaGate { phase, pending, code, flag, .. } = self.gate_of_nothing();
        State { phase, pending, code, deploying: None, flag, world }
    }

    fn gate_of_nothing(self) -> SchemaGate {
        let mut gate = SchemaGate::new(Migration {
            from: 7,
            to: 8,
            release: Version::parse("2.2").unwrap(),
            flag: Name::parse("dual-write").unwrap(),
            writer: self.planned,
            soak: SOAK,
        });
        gate.seen = true;
        gate
    }

    fn gate(self, state: State) -> SchemaGate {
        let State { phase, pending, code, deploying, flag, .. } = state;
        let deploying = deploying.map(|coming| (RUN, coming)).into_iter().collect();
        SchemaGate { phase, pending, code, deploying, flag, ..self.gate_of_nothing() }
    }

    /// What comes of an act, or `None` where it can't happen. The second: what the gate ordered.
    fn after(self, state: State, act: Act) -> Option<(State, Option<Step>)> {
        let (mut gate, mut world) = (self.gate(state), state.world);
        let mut ordered = None;
        let coming = |code| state.deploying.is_some_and(|coming| coming == code || coming == Code::Both);
        match act {
            Act::Wish(wish) => {
                if let GateMove::Run(step) = gate.wish(world.now, TICKET, wish).ok()? {
                    ordered = Some(step);
                    // The same step once more finds what it did before.
                    world.applied &= state.pending.is_some();
                }
            }
            Act::TakesEffect => {
                let pending = state.pending.filter(|_| !world.applied)?;
                world.applied = true;
                world.does(pending.step);
            }
            Act::Ended(end) => {
                state.pending.filter(|pending| !pending.in_doubt)?;
                let possible = match end {
                    StepEnd::Done => world.applied,
                    StepEnd::Failed => !world.applied,
                    StepEnd::InDoubt => true,
                };
                (possible && gate.ended(TICKET, end)).then_some(())?;
            }
            Act::Looked => gate.looked(world.applied).then_some(())?,
            Act::Deploys(code) => {
                let range = if code == Code::Old { OLD } else { NEW };
                gate.deploys(RUN, &Version::parse("x").unwrap(), &range).ok()?;
            }
            Act::Deployed => {
                state.deploying?;
                gate.deployed(RUN);
            }
            Act::Starts(Code::Old) if coming(Code::Old) => world.old_runs = true,
            Act::Starts(Code::New) if coming(Code::New) => world.new_runs = true,
            Act::Stops(Code::Old) => world.old_runs = false,
            Act::Stops(Code::New) => world.new_runs = false,
            Act::Starts(_) | Act::Stops(_) => return None,
            Act::SeesCode(code) => {
                let seen = match (world.old_runs, world.new_runs) {
                    (true, true) => Code::Both,
                    (true, false) => Code::Old,
                    (false, true) => Code::New,
                    (false, false) => Code::Unknown,
                };
                (code == seen || code == Code::Unknown).then(|| gate.sees_code(code))?;
            }
            Act::SeesFlag(flag) => {
                let seen = if world.flag { FlagState::On } else { FlagState::Off };
                (flag == seen || flag == FlagState::Unknown).then(|| gate.sees_flag(flag))?;
            }
            Act::SoakPasses => {
                matches!(state.phase, Phase::Soaking { .. }).then_some(())?;
                world.now = Mono(SOAK.0);
                world.quiet = true;
            }
            Act::Drifts => {
                self.drift.then_some(())?;
                world.flag = !world.flag;
            }
            Act::Forgets => {
                (state.pending.is_none() && state.deploying.is_none()).then_some(())?;
                gate = SchemaGate { seen: false, ..self.gate_of_nothing() };
                gate.sees(&world.look(), true);
            }
        }
        world.goes_on(self.real);
        if gate.pending.is_none() {
            world.applied = false;
        }
        if !matches!(gate.phase, Phase::Soaking { .. }) {
            world.now = Mono(0);
        }
        let SchemaGate { phase, pending, code, flag, ref deploying, .. } = gate;
        let deploying = deploying.get(&RUN).copied();
        Some((State { phase, pending, code, deploying, flag, world }, ordered))
    }

    /// All reachable states, each with the act that first led there.
    fn explore(self) -> Explored {
        let begin = self.begin();
        let mut came: BTreeMap<State, Option<(State, Act)>> = BTreeMap::from([(begin, None)]);
        let mut queue = VecDeque::from([begin]);
        let (mut moves, mut ordered) = (0, Vec::new());
        while let Some(state) = queue.pop_front() {
            for act in ACTS {
                let Some((next, step)) = self.after(state, act) else { continue };
                moves += 1;
                if let Some(step) = step {
                    ordered.push((state, step));
                }
                came.entry(next).or_insert_with(|| {
                    queue.push_back(next);
                    Some((state, act))
                });
            }
        }
        Explored { came, moves, ordered }
    }
}

struct Explored {
    came: BTreeMap<State, Option<(State, Act)>>,
    moves: u64,
    ordered: Vec<(State, Step)>,
}

impl Explored {
    /// How a state is reached.
    fn way(&self, state: State) -> Vec<Act> {
        let (mut way, mut at) = (Vec::new(), state);
        while let Some(&Some((before, act))) = self.came.get(&at) {
            way.push(act);
            at = before;
        }
        way.reverse();
        way
    }

    fn unsafe_state(&self, rules: &[(&'static str, Unsafe)]) -> Option<(&'static str, Vec<Act>)> {
        self.came.keys().find_map(|&state| {
            let broken = rules.iter().find(|(_, is_unsafe)| is_unsafe(&state))?;
            Some((broken.0, self.way(state)))
        })
    }
}

impl World {
    fn look(&self) -> SchemaLook {
        let columns = match (self.old_columns, self.new_columns) {
            (true, false) => Columns::Before,
            (true, true) if self.old_complete && self.new_complete => Columns::InStep,
            (true, true) => Columns::Expanded,
            (false, _) => Columns::Contracted,
        };
        let flag = |on| if on { FlagState::On } else { FlagState::Off };
        SchemaLook {
            columns: Some(columns),
            old_code: Some(self.old_runs),
            new_code: Some(self.new_runs),
            dual_write: flag(self.flag),
            read_new: flag(self.reads_new),
        }
    }

    fn does(&mut self, step: Step) {
        match step {
            Step::Expand => self.new_columns = true,
            Step::ExpandUndo => (self.new_columns, self.new_complete) = (false, false),
            Step::DualWriteOn => {
                self.flag = true;
                self.old_complete |= self.reads_new;
            }
            Step::DualWriteOff => self.flag = false,
            Step::Backfill => self.new_complete = true,
            Step::ReadNew => self.reads_new = true,
            Step::ReadOld => (self.reads_new, self.old_complete) = (false, true),
            Step::Contract => (self.old_columns, self.old_complete) = (false, false),
        }
    }

    /// Whatever runs goes on writing.
    fn goes_on(&mut self, writer: DualWriter) {
        let mirrored = self.flag && writer == DualWriter::Database;
        let old_only = self.old_runs && !mirrored || self.new_runs && !self.reads_new && !self.flag;
        let new_only = self.new_runs && self.reads_new && !self.flag;
        self.new_complete &= !old_only;
        self.old_complete &= !new_only;
        self.quiet &= !self.old_runs && self.reads_new && self.flag;
    }
}

type Unsafe = fn(&State) -> bool;

/// What must never be, whoever turns flags.
const ALWAYS: [(&str, Unsafe); 5] = [
    ("old code runs while the columns that it reads and writes are gone", |state| {
        state.world.old_runs && !state.world.old_columns
    }),
    ("new code reads columns that are not there", |state| {
        state.world.new_runs && state.world.reads_new && !state.world.new_columns
    }),
    ("new code reads old columns that are gone", |state| {
        state.world.new_runs && !state.world.reads_new && !state.world.old_columns
    }),
    ("a contract was begun while old code runs, or could be started", |state| {
        let contract = state.pending.is_some_and(|pending| pending.step == Step::Contract);
        let coming = state.deploying.is_some_and(|coming| coming != Code::New);
        contract && (state.world.old_runs || coming)
    }),
    ("the gate believes in columns that are not there, or not in some that are", |state| {
        let new = state.phase != Phase::Before;
        let old = state.phase != Phase::Contracted;
        state.pending.is_none() && (state.world.new_columns, state.world.old_columns) != (new, old)
    }),
];

/// What must never be where flags turn only when the gate says so.
const UNDISTURBED: [(&str, Unsafe); 5] = [
    ("new code reads new columns that were not backfilled, or that lack what was written since", |state| {
        state.world.new_runs && state.world.reads_new && !state.world.new_complete
    }),
    ("somebody reads old columns that lack what was written to the new ones", |state| {
        let World { old_runs, new_runs, reads_new, old_complete, .. } = state.world;
        (old_runs || new_runs && !reads_new) && !old_complete
    }),
    ("dual-write is off while both codes run and the backfill counts as done", |state| {
        let World { old_runs, new_runs, flag, .. } = state.world;
        let counts = matches!(state.phase, Phase::Backfilled | Phase::ReadNew | Phase::Soaking { .. });
        let turning = state.pending.is_some_and(|pending| pending.step == Step::DualWriteOff);
        old_runs && new_runs && !flag && counts && !turning
    }),
    ("new code writes to new columns that are not there", |state| {
        state.world.new_runs && state.world.flag && !state.world.new_columns
    }),
    ("a phase that counts on complete columns stands on others", |state| {
        state.pending.is_none() && state.phase == Phase::Backfilled && !state.world.new_complete
    }),
];

fn all() -> Vec<(&'static str, Unsafe)> {
    ALWAYS.into_iter().chain(UNDISTURBED).collect()
}

/// The searches without drift and those with it, made once for all tests.
fn searches(drift: bool) -> impl Iterator<Item = &'static (Search, Explored)> {
    static SEARCHES: OnceLock<Vec<(Search, Explored)>> = OnceLock::new();
    let searches = SEARCHES.get_or_init(|| {
        let of = |drift, writer| Search { drift, ..Search::honest(writer) };
        [false, true]
            .into_iter()
            .flat_map(|drift| [DualWriter::Database, DualWriter::Application].map(|writer| of(drift, writer)))
            .map(|search| (search, search.explore()))
            .collect()
    });
    searches.iter().filter(move |(search, _)| search.drift == drift)
}

#[test]
fn no_reachable_state_is_unsafe() {
    for (search, found) in searches(false) {
        println!("{search:?}: {} states, {} moves", found.came.len(), found.moves);
        assert_eq!(found.unsafe_state(&all()), None);
        let phases: Vec<_> = found.came.keys().map(|state| state.phase).collect();
        assert!(phases.contains(&Phase::Contracted) && phases.contains(&Phase::Soaking { since: Mono(0) }));
    }
}

#[test]
fn a_contract_begins_only_after_a_whole_soak_of_new_code_alone() {
    for (_, found) in searches(false) {
        let begun: Vec<_> = found.ordered.iter().filter(|(_, step)| *step == Step::Contract).collect();
        assert!(!begun.is_empty());
        for (state, _) in begun {
            // Ordered once more, it was begun before.
            let fresh = state.pending.is_none();
            assert!(!fresh || state.world.quiet, "{state:?}: {:?}", found.way(*state));
            assert!(!state.world.old_runs && state.code == Code::New, "{:?}", found.way(*state));
        }
    }
}

#[test]
fn whoever_turns_the_flag_without_asking_costs_no_columns() {
    for (search, found) in searches(true) {
        println!("{search:?}: {} states, {} moves", found.came.len(), found.moves);
        assert_eq!(found.unsafe_state(&ALWAYS), None);
        for (state, step) in &found.ordered {
            let forward = matches!(step, Step::Backfill | Step::ReadNew | Step::Contract);
            assert!(
                !forward || state.flag == FlagState::On || state.pending.is_some(),
                "{step:?} in {state:?}"
            );
        }
    }
}

#[test]
fn what_is_not_known_moves_nothing() {
    for (state, step) in searches(true).flat_map(|(_, found)| &found.ordered) {
        match state.pending {
            None => assert_ne!(state.flag, FlagState::Unknown, "{step:?} in {state:?}"),
            Some(pending) => assert_eq!((pending.step, pending.in_doubt), (*step, true)),
        }
    }
}

/// From everywhere before the contract took effect, by nothing but looking and going back.
#[test]
fn every_state_before_the_contract_has_a_way_back() {
    const MOVES_MAX: usize = 12;
    for (search, found) in searches(false).chain(searches(true)) {
        let mut longest = 0;
        for &begin in found.came.keys().filter(|state| state.world.old_columns) {
            let (mut state, mut moves) = (begin, 0);
            while state.phase != Phase::Before || state.pending.is_some() {
                assert!(moves < MOVES_MAX, "no way back from {begin:?}, which {:?} led to", found.way(begin));
                state = search.goes_back(state);
                moves += 1;
            }
            longest = longest.max(moves);
        }
        println!("{search:?}: Before is at most {longest} moves away");
    }
}

impl Search {
    /// What a person would do who wants to go back: let the step end, look at everything, and ask for the way back.
    fn goes_back(self, state: State) -> State {
        let mut state = state;
        if let Some(pending) = state.pending {
            let ended = if state.world.applied { StepEnd::Done } else { StepEnd::Failed };
            let act = if pending.in_doubt { Act::Looked } else { Act::Ended(ended) };
            return self.after(state, act).unwrap().0;
        }
        for act in ACTS {
            let looks = matches!(act, Act::SeesFlag(FlagState::On | FlagState::Off));
            if let Some((next, _)) = self.after(state, act).filter(|_| looks) {
                state = next;
            }
        }
        if state.phase == Phase::Before {
            return state;
        }
        let (next, _) = self.after(state, Act::Wish(GateWish::Back)).unwrap();
        self.after(next, Act::TakesEffect).unwrap().0
    }
}

/// The search finds what it is there to find: a plan that says that the data base writes to both, where only new code does.
#[test]
fn a_plan_that_is_wrong_about_who_writes_is_found_out() {
    let search = Search { real: DualWriter::Application, ..Search::honest(DualWriter::Database) };
    let (broken, way) = search.explore().unsafe_state(&all()).unwrap();
    println!("{broken}: {way:?}");
}

/// And that a flag which is turned without asking does harm that no gate can prevent, only notice.
#[test]
fn a_flag_that_drifts_is_found_out() {
    let search = Search { drift: true, ..Search::honest(DualWriter::Database) };
    assert!(search.explore().unsafe_state(&UNDISTURBED).is_some());
}
