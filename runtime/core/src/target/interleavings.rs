//! Every order in which a few things can happen to two targets, and what has to hold after each of them.
//!
//! All sequences are walked breadth first; a state that was seen before is not walked again. What a state is apart from the
//! time: numbers that only count (tickets, fences, moments) are left out, so that the walk ends.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::String,
    vec::Vec,
};

use backstay_model::{Action, How, Mode, Outcome, Task, Ticket, Transience};

use super::{
    Hold, TargetInput, Wish, Work,
    world::{ROLL_BACK, World, name, release, settings, target},
};

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    Deploys(&'static str, u16),
    Says(Says),
    EndsWell,
    EndsBadly(Transience2),
    /// The same end again, of a run that is over.
    EndsTwice,
    Restarts,
    Waits,
    Freezes,
    Thaws,
    Lifts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Proceed,
    Heal,
    Abort,
    Switch,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transience2 {
    ForNow,
    ForGood,
}

const MOVES: [Move; 16] = [
    Move::Deploys("1.0", 1000),
    Move::Deploys("2.0", 100),
    Move::Deploys("2.0", 500),
    Move::Says(Says::Proceed),
    Move::Says(Says::Heal),
    Move::Says(Says::Abort),
    Move::Says(Says::Switch),
    Move::Says(Says::Nothing),
    Move::EndsWell,
    Move::EndsBadly(Transience2::ForNow),
    Move::EndsBadly(Transience2::ForGood),
    Move::EndsTwice,
    Move::Restarts,
    Move::Waits,
    Move::Freezes,
    Move::Thaws,
];

/// How deep the walk goes. Everything that takes fewer steps than this was tried in every order.
const DEPTH: usize = 6;
/// The same where its executor is asked to hold releases, which makes more states.
const DEPTH_HELD: usize = 5;

/// What a walk has done so far: enough to do it again.
type Path = Vec<Move>;

fn walk(path: &[Move], held: bool) -> World {
    let mut world = World::new();
    let mut small = settings();
    (small.confirm_windows, small.cure_windows, small.holds) = (1, 1, held);
    world.watches("shop", small);
    world.has_one("1.0");
    for (at, step) in path.iter().enumerate() {
        take(&mut world, *step);
        holds(&world, &path[..=at]);
    }
    world
}

impl World {
    fn has_one(&mut self, version: &str) {
        self.deploys("shop", version, 1000);
        self.windows("shop", 1);
    }
}

fn take(world: &mut World, step: Move) {
    match step {
        Move::Deploys(version, stage) => world.deploys("shop", version, stage),
        Move::Says(says) => {
            let action = match says {
                Says::Proceed => Some(Action::Proceed),
                Says::Heal => Some(Action::Heal { playbook: None }),
                Says::Abort => Some(ROLL_BACK),
                Says::Switch => Some(Action::RollBack { how: How::SwitchAndFreeze }),
                Says::Nothing => None,
            };
            world.says("shop", action);
            world.windows("shop", 1);
        }
        Move::EndsWell if !world.runs.is_empty() => drop(world.run_ends()),
        Move::EndsBadly(transience) if !world.runs.is_empty() => {
            let transience = match transience {
                Transience2::ForNow => Transience::Transient,
                Transience2::ForGood => Transience::Permanent,
            };
            world.run_ends_with(Outcome::Failed { transience, why: "no".into() });
        }
        Move::EndsWell | Move::EndsBadly(_) => {}
        Move::EndsTwice => {
            // Of a run that is over, or never was.
            let before = format!("{:?}", world.state("shop"));
            let (ticket, outcome) = (Ticket(1), Outcome::Done);
            world.step("shop", TargetInput::Ended { ticket, outcome });
            assert_eq!(before, format!("{:?}", world.state("shop")), "a late end changes nothing");
        }
        Move::Restarts => world.restarts(),
        Move::Waits => world.waits(backstay_model::Millis::from_secs(1000)),
        Move::Freezes => world.wishes("shop", Wish::Freeze),
        Move::Thaws => world.wishes("shop", Wish::Thaw),
        Move::Lifts => world.wishes("shop", Wish::Lift(release("2.0").digest)),
    }
}

/// What has to hold whatever happened.
fn holds(world: &World, path: &[Move]) {
    let state = world.state("shop");
    // A run that is asked for is the one that the target is under.
    let open = state.work().ticket();
    let asked: BTreeSet<Ticket> = world.runs.iter().map(|(_, order)| order.ticket).collect();
    let live = asked.iter().filter(|ticket| Some(**ticket) == open).count();
    assert!(live <= 1, "two runs at once: {path:?}");
    for (_, order) in world.runs.iter().filter(|(_, order)| Some(order.ticket) == open) {
        if let Task::GoHome { release } = &order.task {
            assert!(!state.is_quarantined(&release.digest), "home is in quarantine: {path:?}");
            let good = state.good().iter().any(|good| good.release.digest == release.digest);
            assert!(good, "home was never good: {path:?}");
        }
    }
    // What was left is in quarantine for as long as nobody lifts it, restarts or not.
    let left = world.told.iter().filter(|told| told.contains("came home from 2.0")).count();
    let lifted = path.contains(&Move::Lifts);
    assert!(
        left == 0 || lifted || state.is_quarantined(&release("2.0").digest),
        "it may come again: {path:?}"
    );
    // Nothing bad is let through.
    let advice = world.advice("shop", "2.0", None);
    let judged_good = state.judged().is_some_and(|judged| judged.decision.action == Action::Proceed);
    assert!(
        advice.action != Action::Proceed
            || (judged_good
                && !state.is_quarantined(&release("2.0").digest)
                && state.hold().rail().is_none()),
        "a pipeline is let go: {path:?}"
    );
    // What a person froze only a person thaws.
    let last = path.iter().rfind(|step| matches!(step, Move::Freezes | Move::Thaws));
    if last == Some(&Move::Freezes) {
        assert!(matches!(state.hold(), Hold::Frozen { .. }), "it thawed by itself: {path:?}");
    }
}

/// What a state is, apart from numbers that only count.
fn essence(world: &World) -> String {
    let state = world.state("shop");
    let work = match state.work() {
        Work::Idle => "idle".into(),
        Work::Running(running) => {
            format!("{:?} try {} of {:?}", running.order.task, running.tries, running.ending)
        }
        Work::Waiting { task, tries, .. } => format!("waits for {task:?} after {tries}"),
    };
    let out = state.out().map(|out| (&out.release.version, out.stage, out.confirmed, out.good.min(1)));
    let judged = state.judged().map(|judged| (&judged.about, &judged.decision.action));
    let paced = world.estate.target(&target("shop")).map(|target| target.paced.known());
    format!(
        "{paced:?} {out:?} {:?} {:?} {:?} {:?} {judged:?} {work} {:?} {:?} {}",
        state.good().iter().map(|good| &good.release.version).collect::<Vec<_>>(),
        state.quarantine().iter().map(|bad| &bad.version).collect::<Vec<_>>(),
        state.hold().rail(),
        state.incident().map(|incident| (&incident.remedy, incident.doubt)),
        world.estate.shared_budget(&name("zone-a")),
        core::mem::discriminant(state.breaker()),
        state.attempts(),
    )
}

#[test]
fn whatever_the_order_no_rail_gives_way() {
    every_order(DEPTH, false);
}

#[test]
fn nor_where_releases_are_held() {
    every_order(DEPTH_HELD, true);
}

fn every_order(depth: usize, held: bool) {
    let (mut seen, mut todo, mut walked) =
        (BTreeMap::<String, usize>::new(), VecDeque::from([Path::new()]), 0);
    while let Some(path) = todo.pop_front() {
        let world = walk(&path, held);
        walked += 1;
        if seen.insert(essence(&world), path.len()).is_some() || path.len() == depth {
            continue;
        }
        for step in MOVES.into_iter().chain([Move::Lifts]) {
            let mut longer = path.clone();
            longer.push(step);
            todo.push_back(longer);
        }
    }
    assert!(seen.len() > 500, "{} states in {walked} walks", seen.len());
    extern crate std;
    std::println!("{} states in {walked} walks of at most {depth} steps", seen.len());
}

/// Nothing is ever begun on an observed target, in whatever order things happen to it.
#[test]
fn an_observed_target_has_no_run_in_any_order() {
    for first in MOVES {
        for second in MOVES {
            for third in MOVES {
                let mut world = World::new();
                world.watches("shop", super::TargetSettings { mode: Mode::Observe, ..settings() });
                world.has_good("shop", "1.0");
                [first, second, third].into_iter().for_each(|step| take(&mut world, step));
                assert!(world.runs.is_empty(), "{first:?} {second:?} {third:?}");
                assert!(world.estate.target(&target("shop")).is_some());
            }
        }
    }
}
