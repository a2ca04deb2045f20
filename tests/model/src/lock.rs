//! The lock on a target, and the fencing number that the target compares.
//!
//! The real [`Lock`] on a server that records it before it tells anybody, dies at any moment and starts again from what it
//! recorded; runs that sleep past their time and go on; a target that hears steps late, twice and in any order. Not here:
//! what a run does (`effects`), and when one is begun (`core`, `target`).

use std::collections::BTreeSet;

use backstay_core::Lock;
use backstay_model::{Fence, Millis, Mono, Ticket};
use stateright::{Model, Property};

use crate::search::{Real, breaks, exhausts};

/// Runs that want the target.
const RUNS: usize = 3;
/// For how long one takes it, in ticks.
const SPAN: u64 = 2;
/// Ticks.
const NOW_MAX: u64 = 4;
/// Numbers that are granted.
const FENCES_MAX: u64 = 3;
/// Restarts, and losses of what was recorded of the lock.
const RESTARTS_MAX: u8 = 1;
const LOSSES_MAX: u8 = 1;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The target does what it is told.
    TargetDoesNotCompare,
    /// A start takes the lock for free: whoever held it is thought to be dead, too.
    StartFrees,
    /// A run is told before its number is recorded.
    ToldBeforeKept,
    /// After a loss numbers go on from what the target has seen, and nobody reads the journal.
    LossAsksTheTargetAlone,
    /// Whoever gives the lock back gives back what is held.
    AnybodyReleases,
}

/// A run, and what it believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Run {
    /// The number that it was told, and until when it holds the target with it. It doesn't look at the clock.
    told: Option<(Fence, u64)>,
    /// The lock went on without it, because the server lost what it knew.
    is_void: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u64,
    lock: Real<Lock>,
    /// What is on the server's disk: the lock, and the time of that record.
    kept: (Real<Lock>, u64),
    /// The largest number in the journal.
    journal: Fence,
    /// What the server has done to the lock and not recorded yet: whom it tells then.
    untold: Option<(usize, Option<Fence>)>,
    runs: [Run; RUNS],
    /// Steps on their way to the target, each with its number. None is ever known to have arrived for the last time.
    sent: BTreeSet<Fence>,
    /// The largest number that the target has seen.
    seen: Fence,
    restarts: u8,
    losses: u8,
    been: Been,
}

/// What has happened so far, for the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Been {
    /// The largest number that any run was told.
    told: Fence,
    /// A number was told that isn't larger than all before it.
    shrank: bool,
    /// A step changed the target after one with a larger number had.
    stale_step: bool,
    /// A run was granted the lock in another one's time.
    granted_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    TimePasses,
    Takes(usize),
    Renews(usize),
    Releases(usize),
    /// What the server did becomes durable, and whom it concerns is told.
    Keeps,
    /// A run that believes that it holds the target sends a step.
    Sends(usize),
    /// A step arrives: late, or not for the first time.
    Arrives(Fence),
    /// The server dies and starts again.
    Restarts,
    /// The same, and what it knew of the lock is gone.
    Loses,
}

struct Locking(Broken);

impl Locking {
    fn takes(&self, state: &mut State, run: usize) -> Option<()> {
        let now = state.now;
        let fresh = state.lock.newest();
        let fence = state.lock.take(Mono(now), Ticket(run as u64 + 1), Millis(SPAN)).ok()?;
        if fence == fresh {
            return None;
        }
        let holds = |other: &Run| !other.is_void && other.told.is_some_and(|(_, until)| now < until);
        state.been.granted_over |= state.runs.iter().enumerate().any(|(at, other)| at != run && holds(other));
        state.untold = Some((run, Some(fence)));
        if self.0 == Broken::ToldBeforeKept {
            state.tells(run, fence);
        }
        Some(())
    }

    fn arrives(&self, state: &mut State, fence: Fence) {
        if fence < state.seen {
            state.been.stale_step |= self.0 == Broken::TargetDoesNotCompare;
        } else {
            state.seen = fence;
        }
    }
}

impl State {
    fn tells(&mut self, run: usize, fence: Fence) {
        let Lock::Held { until, .. } = self.lock.0 else { return };
        let is_new = self.runs[run].told.is_none_or(|(told, _)| told != fence);
        self.been.shrank |= is_new && fence <= self.been.told;
        self.been.told = self.been.told.max(fence);
        self.runs[run] = Run { told: Some((fence, until.0)), is_void: false };
    }

    /// Whether the server does what a step of this run asks for, at this moment.
    fn is_admitted(&self, run: &Run) -> bool {
        run.told.is_some_and(|(fence, _)| self.lock.admits(Mono(self.now), fence))
    }
}

impl Model for Locking {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let lock = Real(Lock::default());
        vec![State {
            now: 0,
            kept: (lock.clone(), 0),
            lock,
            journal: Fence(0),
            untold: None,
            runs: [Run::default(); RUNS],
            sent: BTreeSet::new(),
            seen: Fence(0),
            restarts: 0,
            losses: 0,
            been: Been::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::TimePasses);
        // The server does one thing after the other.
        if state.untold.is_some() {
            actions.push(Action::Keeps);
        } else {
            actions.extend(
                (0..RUNS).flat_map(|run| [Action::Takes(run), Action::Renews(run), Action::Releases(run)]),
            );
        }
        actions.extend((0..RUNS).map(Action::Sends));
        actions.extend(state.sent.iter().copied().map(Action::Arrives));
        actions.extend([Action::Restarts, Action::Loses]);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::TimePasses => state.now += 1,
            Action::Takes(run) => self.takes(&mut state, run)?,
            Action::Renews(run) => {
                let (fence, _) = state.runs[run].told?;
                state.lock.renew(Mono(last.now), fence, Millis(SPAN)).ok()?;
                state.untold = Some((run, Some(fence)));
            }
            Action::Releases(run) => {
                let (fence, _) = state.runs[run].told?;
                // It is done with the target before it says so; its steps may still be on their way.
                state.runs[run] = Run::default();
                let given = if self.0 == Broken::AnybodyReleases { state.lock.newest() } else { fence };
                if state.lock.release(given).is_ok() {
                    state.untold = Some((run, None));
                }
            }
            Action::Keeps => {
                let (run, fence) = state.untold.take()?;
                state.kept = (state.lock.clone(), state.now);
                state.journal = state.journal.max(state.lock.newest());
                if let Some(fence) = fence {
                    state.tells(run, fence);
                }
            }
            Action::Sends(run) => {
                let (fence, _) = state.runs[run].told?;
                state.sent.insert(fence);
            }
            Action::Arrives(fence) => self.arrives(&mut state, fence),
            Action::Restarts => {
                state.restarts += 1;
                state.untold = None;
                // The clock goes on from the newest record.
                (state.lock, state.now) = state.kept.clone();
                if self.0 == Broken::StartFrees {
                    state.lock = Real(Lock::Free { last: state.lock.newest() });
                }
            }
            Action::Loses => {
                state.losses += 1;
                state.untold = None;
                state.now = state.kept.1;
                let mut lock = Lock::default();
                lock.seen(state.seen);
                if self.0 != Broken::LossAsksTheTargetAlone {
                    lock.seen(state.journal);
                }
                state.lock = Real(lock);
                state.kept.0 = state.lock.clone();
                state.runs.iter_mut().for_each(|run| run.is_void = true);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ALONE, |_, state: &State| {
                state.runs.iter().filter(|run| state.is_admitted(run)).count() <= 1
            }),
            Property::always(NO_STALE_STEP, |_, state: &State| !state.been.stale_step),
            Property::always(GROW, |_, state: &State| !state.been.shrank),
            Property::always(ITS_TIME, |_, state: &State| !state.been.granted_over),
            Property::always(
                "a dead holder's lock is free when its time is over, and with a larger number",
                |_, state: &State| {
                    let Lock::Held { fence, until, .. } = state.lock.0 else { return true };
                    let mut lock = state.lock.0;
                    lock.take(until, Ticket(99), Millis(SPAN)).is_ok_and(|next| next > fence)
                },
            ),
            Property::always("nobody is admitted whose time is over", |_, state: &State| {
                let over = |run: &&Run| run.told.is_some_and(|(_, until)| until <= state.now);
                // A renewal that isn't recorded yet counts: only the run doesn't know of it.
                state.untold.is_some() || !state.runs.iter().filter(over).any(|run| state.is_admitted(run))
            }),
            Property::sometimes(
                "a run sends a step while another one holds the target",
                |_, state: &State| {
                    let stale = |run: &&Run| run.told.is_some_and(|(fence, _)| state.sent.contains(&fence));
                    let late = state.runs.iter().filter(stale).any(|run| !state.is_admitted(run));
                    late && state.runs.iter().any(|run| state.is_admitted(run))
                },
            ),
            Property::sometimes(
                "a stale step is on its way to a target that has seen a newer one",
                |_, state: &State| state.sent.iter().any(|fence| *fence < state.seen),
            ),
            Property::sometimes("a start finds the lock in a holder's time", |_, state: &State| {
                let held = matches!(state.lock.0, Lock::Held { until, .. } if state.now < until.0);
                held && state.restarts > 0 && state.lock == state.kept.0
            }),
            Property::sometimes(
                "a start would forget a grant of which nobody has heard",
                |_, state: &State| {
                    state.restarts < RESTARTS_MAX && state.kept.0.newest() < state.lock.newest()
                },
            ),
            Property::sometimes("after a loss a newer number was granted", |_, state: &State| {
                state.losses > 0 && state.runs.iter().any(|run| !run.is_void && run.told.is_some())
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        let in_time = state.now <= NOW_MAX && state.lock.newest() <= Fence(FENCES_MAX);
        in_time && state.restarts <= RESTARTS_MAX && state.losses <= LOSSES_MAX
    }
}

const ALONE: &str = "no two runs are admitted at the same time";
const NO_STALE_STEP: &str = "a stale number never changes the target, whatever its holder believes";
const GROW: &str = "the numbers that runs are told only grow, over restarts and losses";
const ITS_TIME: &str = "nobody is granted the lock in another one's time";

#[test]
fn one_run_at_a_time() {
    exhausts("lock", Locking(Broken::Nothing));
}

#[test]
fn a_broken_lock_is_found_out() {
    breaks("lock, the target does not compare", Locking(Broken::TargetDoesNotCompare), NO_STALE_STEP);
    breaks("lock, a start frees it", Locking(Broken::StartFrees), ITS_TIME);
    breaks("lock, told before it is recorded", Locking(Broken::ToldBeforeKept), GROW);
    breaks("lock, told before it is recorded", Locking(Broken::ToldBeforeKept), ALONE);
    breaks("lock, a loss asks the target alone", Locking(Broken::LossAsksTheTargetAlone), GROW);
    breaks("lock, anybody releases", Locking(Broken::AnybodyReleases), ITS_TIME);
}
