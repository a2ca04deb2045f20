//! Stories about runs: that one ends, and that nobody goes on with what another has begun.
#![expect(clippy::wildcard_enum_match_arm, reason = "a story is about the events that it names")]
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::Effect;
use backstay_model::{Cause, Direction, Event, Millis, Outcome, Standing, Transience, Word};
use backstay_test_stories::{Behaviour, World, release, settings};

fn standing(world: &World) -> Standing {
    world.report.as_ref().unwrap().standing
}

fn ended(world: &World) -> Vec<&Outcome> {
    let ended = world.events.iter().filter_map(|event| match event {
        Event::Ended { outcome, .. } => Some(outcome),
        _ => None,
    });
    ended.collect()
}

fn passing(why: &str) -> Outcome {
    Outcome::Failed { transience: Transience::Transient, why: why.into() }
}

/// A download hangs for ever. The run is ended at its limit, and tried again later like any other that failed for a
/// passing reason.
#[test]
fn a_run_that_never_ends_is_ended() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(599);
    assert_eq!(standing(&world), Standing::Installing);
    world.waits(1);
    assert_eq!((standing(&world), world.runs()), (Standing::Excluded, "1.4.0"));
    assert_eq!(ended(&world), [&passing("it took longer than 600 s")]);
    world.behaves("1.5.0", Behaviour::Healthy).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
}

/// The limit holds over restarts: what is left is what was left.
#[test]
fn a_restart_does_not_give_a_run_more_time() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(400).loses_power().waits(201);
    assert_eq!(ended(&world).len(), 1);
    assert_eq!(standing(&world), Standing::Excluded);
}

/// The fleet is steered home while a device still brings the release in: it lets go of it at once and stays where it is.
#[test]
fn home_does_not_wait_for_an_install() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60).steers("r-1", "1.5.0", Direction::Home);
    assert_eq!((standing(&world), world.runs()), (Standing::Settled, "1.4.0"));
    assert_eq!(ended(&world), [&passing("it was called off")]);
    assert_eq!(world.count(|event| matches!(event, Event::Excluded(_))), 0, "there is nothing to try again");
    world.waits(3600);
    assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 1);
}

/// The same, and the release runs by then: what was let go of too late goes home from its trial.
#[test]
fn what_runs_by_the_time_it_is_called_off_goes_home_from_its_trial() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60).switches_by_itself("1.5.0");
    world.behaves("1.5.0", Behaviour::Healthy).steers("r-1", "1.5.0", Direction::Home).waits(1);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::CameHome { .. })), 1);
}

/// A run that fails on the release that runs now may hang, too; the way home begins when its time is up.
#[test]
fn a_way_home_that_hangs_is_tried_again() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis::from_secs(10)));
    world.behaves("1.4.0", Behaviour::Hangs).steers("r-1", "1.5.0", Direction::Forward).waits(300);
    assert_eq!((standing(&world), world.runs()), (Standing::GoingHome, "1.5.0"));
    world.behaves("1.4.0", Behaviour::Healthy).waits(800);
    assert_eq!((standing(&world), world.runs()), (Standing::Settled, "1.4.0"));
}

/// The executor is replaced while the machine is off. The run that the old one began is not the new one's to go on
/// with; it waits for the one that it knows, and no longer than any run may take.
#[test]
fn a_run_keeps_the_executor_that_it_began_with() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    world.behaves("1.5.0", Behaviour::Healthy).has_executor(2).loses_power().waits(120);
    assert_eq!((standing(&world), world.runs()), (Standing::Installing, "1.4.0"), "nobody goes on with it");
    let halted = |event: &Event| matches!(event, Event::Froze { cause: Cause::RunFailed { .. } });
    assert_eq!(world.count(halted), 1);

    world.has_executor(1).loses_power().waits(1);
    assert_eq!(world.runs(), "1.5.0", "the one that it knows does");
    let taken = world.count(|event| matches!(event, Event::RunTaken { .. }));
    assert_eq!(taken, 1, "and took it once");
}

/// Bundles that nobody needs are thrown away. The executor of a run that is open is needed, over a restart, too, and not a moment
/// longer.
#[test]
fn the_executor_of_an_open_run_is_kept() {
    let mut world = World::new("1.4.0");
    let kept = |world: &World| world.device().state().run_taken_by();
    assert_eq!(kept(&world), None);
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    assert_eq!(kept(&world), Some(backstay_model::Digest([1; 32])));
    world.has_executor(2).loses_power().waits(10);
    assert_eq!(kept(&world), Some(backstay_model::Digest([1; 32])), "it may come back");
    world.has_executor(1).behaves("1.5.0", Behaviour::Healthy).loses_power().waits(1);
    assert_eq!((world.runs(), kept(&world)), ("1.5.0", None));
}

/// The same, and the executor never comes back. The run is ended, and what follows is another one's to begin.
#[test]
fn a_run_whose_executor_is_gone_is_ended_in_its_time() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    world.behaves("1.5.0", Behaviour::Healthy).has_executor(2).loses_power().waits(541);
    assert_eq!(ended(&world).len(), 1);
    world.waits(200);
    assert_eq!(world.confirmed(), "1.5.0");
    assert_eq!(world.count(|event| matches!(event, Event::RunTaken { .. })), 3, "two, and one to confirm");
}

/// The executor is put in quarantine in the middle of a run. A signed word lets both go on.
#[test]
fn a_lifted_quarantine_lets_a_halted_run_go_on() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    world.behaves("1.5.0", Behaviour::Healthy).has_no_executor().loses_power().waits(60);
    assert_eq!(world.runs(), "1.4.0");
    world.has_executor(1).tells(Word::Lift(backstay_model::Digest([1; 32]))).waits(1);
    assert_eq!(world.runs(), "1.5.0");
}

/// A state that was kept before runs had a limit: its run gets one with the start.
#[test]
fn a_run_from_before_runs_had_a_limit_gets_one() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    world.forgets_the_tail().loses_power().waits(599);
    assert_eq!(standing(&world), Standing::Installing);
    world.waits(1);
    assert_eq!(standing(&world), Standing::Excluded);
}

/// What a run is let go of with comes again after a restart, until the slots have been looked at.
#[test]
fn a_run_that_is_let_go_of_stays_so_over_a_restart() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    let mut device = world.device().clone();
    let late = world.now.after(settings().run_limit);
    let abandons = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Abandon { .. }));
    assert!(abandons(&device.step(late, backstay_core::Input::Tick)));
    assert!(!abandons(&device.step(late, backstay_core::Input::Tick)), "once is enough");
    let mut device = backstay_core::Device::restore(settings(), device.state().clone());
    let slots = backstay_model::SlotStatus {
        booted: release("1.4.0"),
        confirmed: release("1.4.0"),
        other: None,
        trying: None,
    };
    let up = backstay_core::Input::Up { boot: backstay_model::BootId(9), slots };
    assert!(abandons(&device.step(late, up)));
}

/// An update is a whole image, with an executor of its own. Nobody there can go on with the install, and it is done: what
/// came of it is on trial at once, and what follows the new executor does.
#[test]
fn an_image_with_another_executor_ends_its_own_install() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60).switches_by_itself("1.5.0");
    world.behaves("1.5.0", Behaviour::Healthy).has_executor(2).loses_power().waits(1);
    assert_eq!(standing(&world), Standing::OnTrial);
    assert_eq!(ended(&world), [&passing("it is no longer there")]);
    assert_eq!(world.count(|event| matches!(event, Event::Froze { .. })), 0, "there is nothing to wait for");
    world.waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
}

/// The same the other way: the newer executor begins the way home, and the older image has the older one.
#[test]
fn an_image_with_another_executor_ends_its_own_way_home() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    world.has_executor(2).behaves("1.4.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Home).waits(10).comes_home_by_itself("1.4.0");
    world.behaves("1.4.0", Behaviour::Healthy).has_executor(1).loses_power().waits(1);
    assert_eq!((standing(&world), world.runs(), world.confirmed()), (Standing::Settled, "1.4.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::CameHome { .. })), 1);
}

/// It runs, and a restart would bring another one back: that is not home yet, so it isn't taken for it.
#[test]
fn half_a_way_home_waits_for_its_executor() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    world.has_executor(2).behaves("1.4.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Home).waits(10).switches_by_itself("1.4.0");
    world.behaves("1.4.0", Behaviour::Healthy).has_executor(1).loses_power().waits(1);
    assert_eq!(standing(&world), Standing::GoingHome);
    world.has_executor(2).loses_power().waits(1);
    assert_eq!((standing(&world), world.confirmed()), (Standing::Settled, "1.4.0"));
}
