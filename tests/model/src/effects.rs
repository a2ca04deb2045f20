//! A run's effects and the records around them, over crashes at every write.
//!
//! The real memory (journal, view, runs) on a disk that loses power at any of its operations, and a driver that does what the
//! agent's and the server's do: a record, then the effect; the outcome, recorded before the executor hears it; after a start
//! what began without an end is in doubt. The executor looks where it is in doubt, as all that ship do. Not here: the drivers
//! themselves, which need real tasks and plugins (`tests/faults` kills the real ones), and damage (`tests/faults`).

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use backstay_journal::testing::{Memory as Disk, Survival};
use backstay_memory::{Durability, Memory, Options, Step};
use backstay_model::{Answer, Cause, Event, Fence, Mono, Name, Order, Outcome, Output, Task, Ticket};
use stateright::{Model, Property};

use crate::search::{breaks, exhausts, is_long};

const TICKET: Ticket = Ticket(1);
/// What the run has to do, at once.
const DEEDS: usize = 2;
/// What is left after the power went in an operation.
const SURVIVALS: [Survival; 3] = [Survival::All, Survival::Synced, Survival::Torn(512)];

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Effects begin, and are written down then.
    EffectFirst,
    /// What is in doubt is taken for not done.
    DoubtIsNo,
    /// The disk says that it wrote, and drops the newest commit when the power goes.
    DiskLies,
}

/// What the files of the journal are.
#[derive(Clone, Debug)]
struct Image {
    files: Arc<BTreeMap<String, Vec<u8>>>,
    hash: u64,
}

impl Image {
    fn of(disk: &Disk) -> Self {
        let files = disk.contents();
        let mut hasher = DefaultHasher::new();
        for (name, bytes) in &files {
            // Space that is only held free says nothing.
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            (name, bytes.len(), &bytes[..end]).hash(&mut hasher);
        }
        Self { files: Arc::new(files), hash: hasher.finish() }
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Hash for Image {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash.hash(hasher);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Asked {
    Do(usize),
    Look(usize),
}

/// What came of something that was asked for, as the executor hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Said {
    Done,
    IsDone,
    IsNot,
    InDoubt,
}

impl Said {
    fn answer(self) -> Answer {
        let exited = |code| Answer::Exited { code: Some(code), output: Output::default() };
        match self {
            Self::Done => Answer::Done,
            Self::IsDone => exited(0),
            Self::IsNot => exited(1),
            Self::InDoubt => Answer::InDoubt,
        }
    }

    fn of(answer: &Answer) -> Self {
        let all = [Self::Done, Self::IsDone, Self::IsNot];
        all.into_iter().find(|said| said.answer() == *answer).unwrap_or(Self::InDoubt)
    }
}

/// The executor's side of a run: a fold of what was asked for over what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Fold {
    asked: Vec<Asked>,
    open: BTreeSet<u32>,
    done: BTreeSet<usize>,
}

impl Fold {
    fn begin() -> Self {
        let mut fold = Self::default();
        (0..DEEDS).for_each(|deed| fold.asks(Asked::Do(deed)));
        fold
    }

    fn asks(&mut self, what: Asked) {
        self.open.insert(self.asked.len() as u32);
        self.asked.push(what);
    }

    fn hears(&mut self, ordinal: u32, said: Said, broken: Broken) {
        if !self.open.remove(&ordinal) {
            return;
        }
        let (Asked::Do(deed) | Asked::Look(deed)) = self.asked[ordinal as usize];
        match said {
            Said::Done | Said::IsDone => {
                self.done.insert(deed);
            }
            Said::InDoubt if broken == Broken::DoubtIsNo => self.asks(Asked::Do(deed)),
            Said::InDoubt => self.asks(Asked::Look(deed)),
            Said::IsNot => self.asks(Asked::Do(deed)),
        }
    }

    fn is_over(&self) -> bool {
        self.done.len() == DEEDS
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    image: Image,
    /// What a lying disk is left with.
    older: Option<Image>,
    /// The driver while it is up.
    fold: Option<Fold>,
    /// Effects that have begun, by their number: what came of one, if it came to its end.
    begun: BTreeMap<u32, Option<Said>>,
    /// How often each deed was done.
    done: [u8; DEEDS],
    over: bool,
    crashes: u8,
    been: Been,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Been {
    began_unwritten: bool,
    forgotten: bool,
    doubted_done: bool,
    doubted_not_done: bool,
    torn: bool,
    crashed_late: bool,
}

/// Where the power goes in a turn of the driver; none: it doesn't.
type Cut = Option<(u64, usize)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Starts(Cut),
    /// An effect that has begun comes to its end.
    ComesToAnEnd(u32),
    /// The driver hears of it.
    Hears(u32, Cut),
    Dies,
}

struct Running {
    broken: Broken,
    /// Times that the power goes, or the process.
    crashes: u8,
    /// What follows from the end of the run is recorded in the same commit, and the core's state with the last record of it.
    more: bool,
}

/// What the core keeps of the run, with the record after which it is so.
const OPEN: &[u8] = b"open";
const OVER: &[u8] = b"over";

/// The core's state, of the size that it has: more than a sector.
fn state_of(run: &[u8]) -> Vec<u8> {
    [run, &[7; 2048]].concat()
}

/// The memory, and whether the run has ended as far as it knows.
fn open(disk: &Disk) -> (Memory<Disk>, bool) {
    let options = Options { instance: "pump-1".into(), bytes_max: 2 << 20 };
    let (memory, recalled) = Memory::open_on(disk.clone(), None, options).unwrap();
    let is_over = recalled.snapshot.unwrap().starts_with(OVER);
    (memory, is_over)
}

fn began(fold: &Fold, ordinal: u32) -> Event {
    let asked = fold.asked[ordinal as usize];
    let changes = matches!(asked, Asked::Do(_));
    Event::EffectBegan { ticket: TICKET, ordinal, what: format!("{asked:?}"), changes }
}

/// The numbers of what began and has no end, in a memory.
fn doubts(memory: &Memory<Disk>) -> Vec<u32> {
    Step::in_doubt(memory.steps(TICKET))
}

impl Running {
    /// One turn of the driver: records, then what follows from them. The power may go in any operation of the disk.
    fn turn(&self, state: &mut State, cut: Cut, heard: Option<(u32, Said)>) -> Option<()> {
        let disk = Disk::holding(&state.image.files);
        if let Some((operations, _)) = cut {
            disk.cut_after(operations);
        }
        let before = state.image.clone();
        let turned = self.turned(state, &disk, heard);
        match cut {
            None => {
                turned?;
                state.image = Image::of(&disk.survivor(Survival::Synced));
                state.older = (self.broken == Broken::DiskLies).then_some(before);
                Some(())
            }
            // It had nothing left to do.
            Some(_) if state.over => None,
            Some((_, survival)) => {
                assert!(turned.is_none(), "the power went, and it was not missed");
                state.been.torn |= matches!(SURVIVALS[survival], Survival::Torn(_));
                state.image = Image::of(&disk.survivor(SURVIVALS[survival]));
                state.dies(None)
            }
        }
    }

    /// Operations of the disk in one turn.
    fn operations(&self, state: &State, heard: Option<(u32, Said)>) -> u64 {
        let disk = Disk::holding(&state.image.files);
        self.turned(&mut state.clone(), &disk, heard).unwrap();
        disk.operations()
    }

    /// What the driver does in its turn; `None`: the power went.
    fn turned(&self, state: &mut State, disk: &Disk, heard: Option<(u32, Said)>) -> Option<()> {
        let (mut memory, is_over) = open(disk);
        if is_over {
            // The end was written, and the power went before that was known.
            (state.over, state.fold) = (true, None);
            return Some(());
        }
        let record = |memory: &mut Memory<Disk>, events: &[Event]| {
            (memory.record(Mono(1), events, None) == Durability::Durable).then_some(())
        };
        let fold = match heard {
            None => {
                let lost = doubts(&memory);
                let answers: Vec<Event> =
                    lost.iter().map(|ordinal| Step::ended(TICKET, *ordinal, &Answer::InDoubt)).collect();
                record(&mut memory, &answers)?;
                let mut fold = Fold::begin();
                for (ordinal, answer) in Step::answers(memory.steps(TICKET)) {
                    fold.hears(ordinal, Said::of(&answer), self.broken);
                }
                state.been.doubted_done |= lost.iter().any(|ordinal| state.is_done(&fold, *ordinal));
                state.been.doubted_not_done |= lost.iter().any(|ordinal| !state.is_done(&fold, *ordinal));
                state.been.forgotten |= state.forgot(&memory);
                fold
            }
            Some((ordinal, said)) => {
                record(&mut memory, &[Step::ended(TICKET, ordinal, &said.answer())])?;
                let mut fold = state.fold.take()?;
                fold.hears(ordinal, said, self.broken);
                fold
            }
        };
        if fold.is_over() {
            let (ticket, fence, outcome) = (TICKET, Fence(1), Outcome::Done);
            let mut ended = vec![Event::Ended { ticket, fence, outcome }];
            if self.more {
                ended.push(Event::Degraded { what: "what follows from it".into() });
            }
            let durable = memory.record(Mono(1), &ended, Some(state_of(OVER))) == Durability::Durable;
            durable.then_some(())?;
            (state.over, state.fold) = (true, None);
            return Some(());
        }
        let new: Vec<u32> =
            fold.open.iter().copied().filter(|ordinal| !state.begun.contains_key(ordinal)).collect();
        let events: Vec<Event> = new.iter().map(|ordinal| began(&fold, *ordinal)).collect();
        if self.broken == Broken::EffectFirst {
            // It is done before the record is tried.
            for ordinal in &new {
                if let Asked::Do(deed) = fold.asked[*ordinal as usize] {
                    state.done[deed] += 1;
                }
            }
        }
        record(&mut memory, &events)?;
        let (durable, _) = open(&disk.survivor(Survival::Synced));
        let written = doubts(&durable);
        state.been.began_unwritten |= new.iter().any(|ordinal| !written.contains(ordinal));
        let ended = (self.broken == Broken::EffectFirst).then_some(Said::Done);
        let comes =
            |ordinal: &u32| if matches!(fold.asked[*ordinal as usize], Asked::Do(_)) { ended } else { None };
        state.begun.extend(new.iter().map(|ordinal| (*ordinal, comes(ordinal))));
        state.fold = Some(fold);
        Some(())
    }
}

impl State {
    fn dies(&mut self, image: Option<Image>) -> Option<()> {
        self.image = image.unwrap_or_else(|| self.image.clone());
        self.crashes += 1;
        self.been.crashed_late |= self.done.iter().all(|times| *times > 0);
        // What was under way ends with the process; whether it was done, the world knows.
        (self.fold, self.older) = (None, None);
        self.begun.clear();
        Some(())
    }

    fn is_done(&self, fold: &Fold, ordinal: u32) -> bool {
        let asked = fold.asked.get(ordinal as usize);
        matches!(asked, Some(Asked::Do(deed)) if self.done[*deed] > 0)
    }

    /// Whether anything was done that the run's steps say nothing of.
    fn forgot(&self, memory: &Memory<Disk>) -> bool {
        let mut fold = Fold::begin();
        let steps = memory.steps(TICKET);
        for (ordinal, answer) in Step::answers(steps) {
            fold.hears(ordinal, Said::of(&answer), Broken::Nothing);
        }
        let knows = |deed: usize| {
            steps.iter().any(|step| {
                let (Step::Began { ordinal } | Step::Ended { ordinal, .. }) = step;
                fold.asked.get(*ordinal as usize) == Some(&Asked::Do(deed))
            })
        };
        (0..DEEDS).any(|deed| self.done[deed] > 0 && !knows(deed))
    }
}

impl Model for Running {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let disk = Disk::default();
        let options = Options { instance: "pump-1".into(), bytes_max: 2 << 20 };
        let (mut memory, _) = Memory::open_on(disk.clone(), None, options).unwrap();
        let task = Task::Heal { playbook: Name::parse("restart").unwrap() };
        let order = Order { ticket: TICKET, fence: Fence(1), task };
        let ordered = Event::Ordered { order, cause: Cause::IsCondemned };
        assert_eq!(memory.record(Mono(0), &[ordered], Some(state_of(OPEN))), Durability::Durable);
        vec![State {
            image: Image::of(&disk.survivor(Survival::Synced)),
            older: None,
            fold: None,
            begun: BTreeMap::new(),
            done: [0; DEEDS],
            over: false,
            crashes: 0,
            been: Been::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.over {
            return;
        }
        let cuts = |heard| {
            let operations = if state.crashes < self.crashes { self.operations(state, heard) } else { 0 };
            let some = |operation| (0..SURVIVALS.len()).map(move |survival| Some((operation, survival)));
            std::iter::once(None).chain((0..operations).flat_map(some))
        };
        if state.fold.is_none() {
            actions.extend(cuts(None).map(Action::Starts));
            return;
        }
        for (ordinal, said) in &state.begun {
            match said {
                None => actions.push(Action::ComesToAnEnd(*ordinal)),
                Some(said) => {
                    actions.extend(cuts(Some((*ordinal, *said))).map(|cut| Action::Hears(*ordinal, cut)))
                }
            }
        }
        if state.crashes < self.crashes {
            actions.push(Action::Dies);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Starts(cut) => self.turn(&mut state, cut, None)?,
            Action::ComesToAnEnd(ordinal) => {
                let said = match state.fold.as_ref()?.asked[ordinal as usize] {
                    Asked::Do(deed) => {
                        state.done[deed] += 1;
                        Said::Done
                    }
                    Asked::Look(deed) if state.done[deed] > 0 => Said::IsDone,
                    Asked::Look(_) => Said::IsNot,
                };
                state.begun.insert(ordinal, Some(said));
            }
            Action::Hears(ordinal, cut) => {
                let said = state.begun.remove(&ordinal)??;
                self.turn(&mut state, cut, Some((ordinal, said)))?;
            }
            Action::Dies => {
                let image = state.older.take();
                state.dies(image)?;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(WRITTEN, |_, state: &State| !state.been.began_unwritten),
            Property::always(ONCE, |_, state: &State| state.done.iter().all(|times| *times <= 1)),
            Property::always(NOT_FORGOTTEN, |_, state: &State| !state.been.forgotten),
            Property::always(ALL_DONE, |_, state: &State| !state.over || state.done == [1; DEEDS]),
            Property::eventually("the run comes to its end", |_, state: &State| state.over),
            Property::sometimes("a run ends after all crashes", |model: &Self, state: &State| {
                state.over && state.crashes == model.crashes
            }),
            Property::sometimes("what was done is in doubt", |_, state: &State| state.been.doubted_done),
            Property::sometimes("what was not done is in doubt", |_, state: &State| {
                state.been.doubted_not_done
            }),
            Property::sometimes("a record was torn", |_, state: &State| state.been.torn),
            Property::sometimes("two effects are under way", |_, state: &State| {
                state.begun.values().filter(|said| said.is_none()).count() == 2
            }),
            Property::sometimes(
                "all was done, and the power went before the end was written",
                |_, state: &State| state.been.crashed_late,
            ),
        ]
    }
}

const WRITTEN: &str = "no effect begins before its record is durable";
const ONCE: &str = "nothing is done twice";
const NOT_FORGOTTEN: &str = "whatever was done is known to be done, or to be in doubt";
const ALL_DONE: &str = "a run that has ended has done all of it, once";

#[test]
fn each_effect_is_done_once() {
    let crashes = if is_long() { 2 } else { 1 };
    exhausts("effects", Running { broken: Broken::Nothing, crashes, more: false });
}

#[test]
fn a_broken_order_is_found_out() {
    let of = |broken| Running { broken, crashes: 1, more: false };
    breaks("effects, an effect before its record", of(Broken::EffectFirst), NOT_FORGOTTEN);
    breaks("effects, an effect before its record", of(Broken::EffectFirst), ONCE);
    breaks("effects, doubt is taken for no", of(Broken::DoubtIsNo), ONCE);
    breaks("effects, a disk that lies", of(Broken::DiskLies), NOT_FORGOTTEN);
}

/// What agent and server do: the end of a run, what follows from it, and the state in one commit. A cut in that write can leave the end without
/// the state. Then the run is open, and its steps are still there: it comes to the same end, and does nothing twice.
#[test]
fn an_end_that_outlives_its_state_does_nothing_twice() {
    exhausts("effects, an end with its state", Running { broken: Broken::Nothing, crashes: 1, more: true });
}
