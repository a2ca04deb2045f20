//! Stories about the last known good configuration: when it is captured, and when it is put back.
#![expect(clippy::wildcard_enum_match_arm, reason = "a story is about the events that it names")]
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{DeviceSettings, Rung};
use backstay_model::{Direction, Event, Millis, Name, Task};
use backstay_test_stories::{Behaviour, RESTORE, World, release, settings};

/// Restarted twice, then its configuration is put back, then the machine is restarted.
fn ladder() -> DeviceSettings {
    let rung = |playbook, attempts| Rung { playbook: Name::parse(playbook).unwrap(), attempts };
    DeviceSettings { ladder: vec![rung("restart", 2), rung(RESTORE, 1), rung("reboot", 1)], ..settings() }
}

fn tried(world: &World) -> Vec<&str> {
    let tried = world.events.iter().filter_map(|event| match event {
        Event::Ordered { order, .. } => match &order.task {
            Task::Heal { playbook } => Some(playbook.as_str()),
            Task::Install { .. } | Task::Confirm { .. } | Task::GoHome { .. } => None,
        },
        _ => None,
    });
    tried.collect()
}

/// Somebody changes a setting of a pump that ran well for months. Restarts don't help, and its configuration does: the machine
/// isn't restarted for it, and the release isn't left.
#[test]
fn a_drifted_configuration_is_put_back_before_the_machine_is_restarted() {
    let mut world = World::with(ladder(), "1.4.0");
    world.waits(60);
    assert_eq!(world.captured, [release("1.4.0").digest]);
    world.behaves("1.4.0", Behaviour::LacksItsConfiguration).waits(1200);
    assert_eq!(tried(&world), ["restart", "restart", RESTORE]);
    assert_eq!(world.count(|event| matches!(event, Event::Cured { .. })), 1);
    assert_eq!(world.runs(), "1.4.0");
}

/// A release on trial has not proved anything: what it is configured with is neither captured nor put back, and it goes home.
#[test]
fn what_is_on_trial_is_neither_captured_nor_restored() {
    let mut world = World::with(ladder(), "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::LacksItsConfiguration).waits(30);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(600);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.captured, [release("1.4.0").digest]);
}

/// It is captured when the trial is passed and the release is confirmed, not a moment before.
#[test]
fn it_is_captured_when_the_release_is_confirmed() {
    let mut world = World::with(ladder(), "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).waits(30);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(50);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
    assert_eq!(world.captured.len(), 1);
    world.waits(60);
    assert_eq!((world.confirmed(), world.captured.last()), ("1.5.0", Some(&release("1.5.0").digest)));
}

/// Power goes between the confirmation and the capture: the device finds out by itself that one is missing.
#[test]
fn a_capture_that_a_cut_came_before_is_made_up_for() {
    let mut world = World::with(ladder(), "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    world.captured.clear();
    world.loses_power();
    assert!(world.captured.is_empty(), "nothing is known yet of how it does");
    world.waits(30);
    assert_eq!(world.captured, [release("1.5.0").digest]);
}

/// What had to be mended is captured only once it has held: it may be the configuration that it was ill of.
#[test]
fn what_is_being_mended_is_not_captured() {
    let mut world = World::with(ladder(), "1.4.0");
    world.behaves("1.4.0", Behaviour::FailsAfter(Millis(0))).waits(12);
    world.behaves("1.4.0", Behaviour::Healthy).waits(15);
    assert!(!tried(&world).is_empty() && world.captured.is_empty(), "one good window is not a cure");
    world.waits(120);
    assert_eq!(world.captured, [release("1.4.0").digest]);
}
