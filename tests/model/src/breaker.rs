//! The promotion breaker of a target, and what opens and closes it.
//!
//! A real [`Estate`] of one target: windows that are good or bad, pipelines that ask and pipelines that don't, roll-backs
//! that end well, badly or at their limit, people, and a server that starts again from what it kept, at any moment. Not
//! here: whether a window is good (policies), and the breaker of a cohort of devices, which is the same type (`tests/sim`).

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use backstay_core::{
    Allowance, Allowances, Backoff, Breaker, Estate, Migrations, Query, Reply, SMALL_STAGE, Shared, Signals,
    TargetEffect, TargetInput, TargetSettings, TargetWish,
};
use backstay_model::{
    Action as Does, Decision, Digest, How, Millis, Mode, Mono, Name, Order, Outcome, Permille, Reason,
    Release, TargetId, Transience, Version,
};
use stateright::{Model, Property};

use crate::search::{breaks, exhausts, is_long};

const WINDOW: u64 = 60_000;
/// Nothing is promoted for so many windows after a roll-back.
const OPEN_WINDOWS: u64 = 2;
/// A run is let go of after so many.
const RUN_WINDOWS: u64 = 2;
const DEPLOYMENTS_MAX: u8 = 2;
const RESTARTS_MAX: u8 = 1;
/// Things that people do.
const WISHES_MAX: u8 = 1;
const VERSIONS: [&str; 2] = ["2.0", "2.1"];

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A start goes on from what was kept before the newest roll-back.
    StartForgets,
    /// A timer closes the breaker in a person's stead.
    TimerCloses,
    /// A promotion doesn't ask.
    NobodyAsks,
}

/// The target, compared by what of it is kept.
#[derive(Clone, Debug)]
struct Kept {
    estate: Estate,
    bytes: Vec<u8>,
}

impl Kept {
    fn new(estate: Estate) -> Self {
        let states: Vec<_> = estate.states().collect();
        let bytes =
            postcard::to_allocvec(&(&states, estate.shared(), estate.held(), estate.setups())).unwrap();
        Self { estate, bytes }
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.bytes.hash(hasher);
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    window: u64,
    kept: Kept,
    /// What was kept before the last roll-back began.
    older: Option<Box<Kept>>,
    /// The run that is open.
    open: Option<u64>,
    deployments: u8,
    restarts: u8,
    wishes: u8,
    been: Been,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Been {
    promoted_while_open: bool,
    promoted_whole_half_open: bool,
    closed_by_itself: bool,
    changed_by_start: bool,
    shortened: bool,
    closed_by_stage: bool,
    closed_by_person: bool,
    opened_again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// A window closes, and the policy says that it was good, or bad.
    Window {
        good: bool,
    },
    /// As long as a window, and nothing is heard.
    Silence,
    /// A pipeline asks, and lets this release out if it may.
    Promotes(usize, Permille),
    /// Somebody lets it out and asks nobody.
    LetsOut(usize, Permille),
    RunEnds {
        well: bool,
    },
    Restarts,
    Closes,
    /// Only where a timer is at work.
    Timer,
}

struct Breaking {
    broken: Broken,
    /// Windows that a search lasts.
    windows: u64,
}

fn target() -> TargetId {
    TargetId::parse("shop").unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn release(version: &str) -> Release {
    let mut digest = [0; 32];
    digest[..version.len()].copy_from_slice(version.as_bytes());
    let version = Version::parse(version).unwrap();
    Release { version, digest: Digest(digest), length: 0, security_epoch: 0 }
}

fn allowances() -> Allowances {
    let allowance = Allowance { switches: 20, span: Millis(3_600_000) };
    Allowances { estate: allowance, domain: allowance }
}

fn settings() -> TargetSettings {
    let backoff = Millis(WINDOW / 6);
    let allowance = Allowance { switches: 20, span: Millis(3_600_000) };
    TargetSettings {
        mode: Mode::Enforce,
        domain: name("zone-a"),
        window: Millis(WINDOW),
        playbooks: Vec::new(),
        backoff: Backoff { base: backoff, cap: backoff },
        breaker: Millis(OPEN_WINDOWS * WINDOW),
        run_limit: Millis(RUN_WINDOWS * WINDOW),
        confirm_windows: 1,
        cure_windows: 1,
        roll_backs: allowance,
        mends: allowance,
        schema: None,
        migration: None,
        looks: false,
        holds: false,
    }
}

impl State {
    fn now(&self) -> Mono {
        Mono(self.window * WINDOW)
    }

    fn breaker(&self) -> Breaker {
        *self.kept.estate.target(&target()).unwrap().state().breaker()
    }

    fn shown(&self) -> backstay_model::Breaker {
        self.breaker().at(self.now())
    }

    /// Whether it was found good here: then letting it out again is no promotion.
    fn is_good(&self, version: &str) -> bool {
        let digest = release(version).digest;
        let estate = &self.kept.estate;
        estate.target(&target()).unwrap().state().good().iter().any(|good| good.release.digest == digest)
    }

    /// Whether a pipeline that asks may let this out, which is new here.
    fn may_new(&self, version: &str, stage: Permille) -> bool {
        !self.is_good(version) && self.may(version, stage)
    }

    /// Whether a pipeline that asks may let this out.
    fn may(&self, version: &str, stage: Permille) -> bool {
        let release = Some(release(version).digest);
        let query = Query { release, stage: Some(stage), ..Query::default() };
        self.kept.estate.advise(self.now(), &target(), &query).unwrap().action == Does::Proceed
    }

    fn lets_out(&mut self, version: &str, stage: Permille) {
        let deployed = TargetInput::Deployed {
            who: name("ci"),
            release: release(version),
            stage,
            build: None,
            schema: None,
        };
        self.steps(self.now(), deployed, true);
    }

    /// One input and all that comes of it at once.
    fn steps(&mut self, now: Mono, input: TargetInput, good: bool) {
        let effects = self.kept.estate.step(now, &target(), input);
        self.does(now, effects, good);
    }

    fn does(&mut self, now: Mono, effects: Vec<TargetEffect>, good: bool) {
        for effect in effects {
            match effect {
                TargetEffect::Ask { ticket, .. } => {
                    let action = if good { Does::Proceed } else { Does::RollBack { how: How::AbortCanary } };
                    let reasons = vec![Reason::new("the model says so".into())];
                    let reply = Reply::Decided(Decision { action, reasons });
                    self.steps(now, TargetInput::Policy { ticket, reply }, good);
                }
                TargetEffect::Run { order: Order { ticket, .. }, .. } => self.open = Some(ticket.0),
                TargetEffect::Abandon { ticket, outcome, .. } => {
                    self.open = None;
                    self.steps(now, TargetInput::Ended { ticket, outcome }, good);
                }
                TargetEffect::Record(_)
                | TargetEffect::Note(_)
                | TargetEffect::Look { .. }
                | TargetEffect::Page { .. } => {}
            }
        }
    }

    /// Time goes on by a window, and what is due meanwhile is done in its moment.
    fn passes(&mut self) {
        let (mut now, end) = (self.now(), Mono((self.window + 1) * WINDOW));
        while let Some(due) = self.kept.estate.deadline().filter(|due| *due <= end) {
            now = now.max(due);
            let effects = self.kept.estate.tick(now);
            self.does(now, effects, true);
        }
        self.window += 1;
    }

    fn wishes(&mut self, who: &str, wish: TargetWish) {
        let reason = "looked".into();
        self.steps(self.now(), TargetInput::Operator { who: name(who), reason, wish }, true);
    }

    fn starts(&mut self, from: &Estate) {
        self.open = None;
        let states = from.states().map(|(id, state)| (id.clone(), state.clone())).collect();
        let estate = Estate::restore(from.shared(), states, from.migrations().clone(), allowances());
        let estate = estate.with_held(from.held().clone()).with_setups(from.setups().clone());
        self.kept.estate = estate;
        let settings = BTreeMap::from([(target(), settings())]);
        let effects = self.kept.estate.configure(self.now(), allowances(), settings);
        self.does(self.now(), effects, true);
    }
}

impl Model for Breaking {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nothing = Estate::restore(Shared::new(7), BTreeMap::new(), Migrations::default(), allowances());
        let mut state = State {
            window: 0,
            kept: Kept::new(nothing.clone()),
            older: None,
            open: None,
            deployments: 0,
            restarts: 0,
            wishes: 0,
            been: Been::default(),
        };
        state.starts(&nothing);
        // A release that is good, and home to all that follow.
        state.lets_out("1.0", Permille::ALL);
        state.passes();
        state.steps(state.now(), TargetInput::Window(Signals::default()), true);
        state.window = 0;
        state.kept = Kept::new(state.kept.estate);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let stages = [SMALL_STAGE, Permille::ALL];
        let each = || (0..VERSIONS.len()).flat_map(|version| stages.map(|stage| (version, stage)));
        actions.extend([Action::Window { good: true }, Action::Window { good: false }, Action::Silence]);
        if state.deployments < DEPLOYMENTS_MAX {
            actions.extend(each().map(|(version, stage)| Action::Promotes(version, stage)));
            actions.extend((0..VERSIONS.len()).map(|version| Action::LetsOut(version, Permille::ALL)));
        }
        if state.open.is_some() {
            actions.extend([Action::RunEnds { well: true }, Action::RunEnds { well: false }]);
        }
        if state.restarts < RESTARTS_MAX {
            actions.push(Action::Restarts);
        }
        if state.wishes < WISHES_MAX {
            actions.push(Action::Closes);
        }
        if self.broken == Broken::TimerCloses && state.breaker() == Breaker::HalfOpen {
            actions.push(Action::Timer);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Window { good } => {
                state.passes();
                state.steps(state.now(), TargetInput::Window(Signals::default()), good);
            }
            Action::Silence => state.passes(),
            Action::Promotes(version, stage) => {
                let version = VERSIONS[version];
                if self.broken != Broken::NobodyAsks && !state.may(version, stage) {
                    return None;
                }
                state.deployments += 1;
                match state.shown() {
                    _ if state.is_good(version) => {}
                    backstay_model::Breaker::Open { .. } => state.been.promoted_while_open = true,
                    backstay_model::Breaker::HalfOpen => {
                        state.been.promoted_whole_half_open |= stage > SMALL_STAGE;
                    }
                    backstay_model::Breaker::Closed => {}
                }
                state.lets_out(version, stage);
            }
            Action::LetsOut(version, stage) => {
                state.deployments += 1;
                state.lets_out(VERSIONS[version], stage);
            }
            Action::RunEnds { well } => {
                let ticket = backstay_model::Ticket(state.open.take()?);
                let failed = || Outcome::Failed { transience: Transience::Permanent, why: "no".into() };
                let outcome = if well { Outcome::Done } else { failed() };
                state.steps(state.now(), TargetInput::Ended { ticket, outcome }, true);
            }
            Action::Restarts => {
                state.restarts += 1;
                let from = match (&last.older, self.broken) {
                    (Some(older), Broken::StartForgets) => &older.estate,
                    (Some(_) | None, _) => &last.kept.estate,
                };
                state.starts(from);
            }
            Action::Closes => {
                state.wishes += 1;
                state.wishes("ann", TargetWish::CloseBreaker);
            }
            Action::Timer => state.wishes("timer", TargetWish::CloseBreaker),
        }
        state.kept = Kept::new(state.kept.estate);
        self.watches(last, action, &mut state);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        use backstay_model::Breaker::{HalfOpen, Open};
        vec![
            Property::always(
                "while it is open nobody who asks may let anything new out",
                |_, state: &State| {
                    let may = |version| {
                        state.may_new(version, SMALL_STAGE) || state.may_new(version, Permille::ALL)
                    };
                    !matches!(state.shown(), Open { .. }) || !VERSIONS.into_iter().any(may)
                },
            ),
            Property::always(
                "half open, nobody who asks may let out more than a small stage",
                |_, state: &State| {
                    state.shown() != HalfOpen
                        || !VERSIONS.into_iter().any(|version| state.may_new(version, Permille::ALL))
                },
            ),
            Property::always(NOT_WHILE_OPEN, |_, state: &State| {
                !state.been.promoted_while_open && !state.been.promoted_whole_half_open
            }),
            Property::always(ONLY_BY, |_, state: &State| !state.been.closed_by_itself),
            Property::always(START, |_, state: &State| !state.been.changed_by_start),
            Property::always("open, it is never open for less than before", |_, state: &State| {
                !state.been.shortened
            }),
            Property::sometimes("it is open", |_, state: &State| matches!(state.shown(), Open { .. })),
            Property::sometimes("half open, it lets a small stage through", |_, state: &State| {
                state.shown() == HalfOpen
                    && VERSIONS.into_iter().any(|version| state.may_new(version, SMALL_STAGE))
            }),
            Property::sometimes("a good stage closed it", |_, state: &State| state.been.closed_by_stage),
            Property::sometimes("a person closed it", |_, state: &State| state.been.closed_by_person),
            Property::sometimes("half open, it opened again", |_, state: &State| state.been.opened_again),
            Property::sometimes("the server has started again, and it is open", |_, state: &State| {
                state.restarts > 0 && matches!(state.shown(), Open { .. })
            }),
            Property::sometimes("the server has started again, and it is half open", |_, state: &State| {
                state.restarts > 0 && state.shown() == HalfOpen
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.window <= self.windows
    }
}

impl Breaking {
    /// Remembers what the properties are about.
    fn watches(&self, last: &State, action: Action, state: &mut State) {
        let (before, after) = (last.breaker(), state.breaker());
        let been = &mut state.been;
        if before != Breaker::Closed && after == Breaker::Closed {
            match action {
                Action::Window { good: true } => been.closed_by_stage = true,
                Action::Closes => been.closed_by_person = true,
                Action::Window { good: false }
                | Action::Silence
                | Action::Promotes(..)
                | Action::LetsOut(..)
                | Action::RunEnds { .. }
                | Action::Restarts
                | Action::Timer => been.closed_by_itself = true,
            }
        }
        if action == Action::Restarts {
            been.changed_by_start |= before != after;
        }
        match (before, after) {
            (Breaker::Open { until: long }, Breaker::Open { until }) => been.shortened |= until < long,
            (Breaker::HalfOpen, Breaker::Open { .. }) => been.opened_again = true,
            (Breaker::Closed | Breaker::HalfOpen | Breaker::Open { .. }, _) => {}
        }
        if self.broken == Broken::StartForgets && before != after && matches!(after, Breaker::Open { .. }) {
            state.older = Some(Box::new(last.kept.clone()));
        }
    }
}

const NOT_WHILE_OPEN: &str = "nothing is promoted while it is open, and half open only a small stage";
const ONLY_BY: &str = "only a good stage or a person closes it";
const START: &str = "a start leaves it as it was";

#[test]
fn nothing_is_promoted_while_it_is_open() {
    let windows = if is_long() { 5 } else { 4 };
    exhausts("breaker", Breaking { broken: Broken::Nothing, windows });
}

#[test]
fn a_broken_breaker_is_found_out() {
    let of = |broken| Breaking { broken, windows: 4 };
    breaks("breaker, a start forgets", of(Broken::StartForgets), START);
    breaks("breaker, a timer closes it", of(Broken::TimerCloses), ONLY_BY);
    breaks("breaker, nobody asks", of(Broken::NobodyAsks), NOT_WHILE_OPEN);
}
