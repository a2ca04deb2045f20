//! Stories about a disk that is full: nothing but what is kept apart can be written down, and then power goes.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{Device, Watermarks};
use backstay_model::{
    Direction, Event, Fence, Mono, Order, Outcome, SlotStatus, Standing, Task, Ticket, Transience,
};
use backstay_test_stories::{Recorded, World, release, settings};

/// What could be written down last.
fn last(world: &World) -> Recorded {
    world.steps.last().unwrap().clone()
}

/// Power goes and comes back on a disk that has been full since `old`: what was kept apart is there, and the slots.
fn wakes(world: &World, old: &Recorded) -> World {
    let slots = last(world).slots;
    // What a word led to isn't written down, so neither is the word.
    let kept = Watermarks { told: 0, ..world.device().watermarks() };
    goes_on(Device::restore(settings(), old.state.clone()), &kept, world.now, slots)
}

fn goes_on(mut device: Device, kept: &Watermarks, now: Mono, slots: SlotStatus) -> World {
    device.remember(kept);
    let mut world = World::woken(settings(), device, now, slots);
    world.signs("1.3.0", &["1.5.0"]).signs("1.5.0", &["1.4.0", "1.3.0"]);
    world
}

/// The server takes no report with a number that is not higher than all before.
#[test]
fn reports_after_a_start_come_after_all_that_were_sent_before_it() {
    let mut world = World::new("1.4.0");
    let old = last(&world);
    let mut newest = 0;
    for _ in 0..4 {
        world.waits(30);
        let said = world.report.as_ref().unwrap().sequence;
        assert!(said > newest, "{said} after {newest}");
        newest = said;
        world = wakes(&world, &old);
    }
}

/// All of an update came after the disk was full. What runs can be left for what it came from all the same.
#[test]
fn what_was_brought_in_meanwhile_is_left_when_the_fleet_is_steered_home() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]);
    let old = last(&world);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    let mut world = wakes(&world, &old);
    assert_eq!(world.runs(), "1.5.0");
    world.steers("r-1", "1.5.0", Direction::Home).waits(60);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.device().standing(), Standing::Settled);
}

/// The same, and power goes when it is on its way in: what comes up is on trial, and the way home from it is known.
#[test]
fn what_comes_up_in_the_middle_of_its_install_is_on_trial() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]);
    let old = last(&world);
    world.steers("r-1", "1.5.0", Direction::Forward);
    let way = |world: &World| world.device().watermarks().ways[&release("1.5.0").digest].clone();
    assert!(way(&world).allows(&release("1.4.0").digest));
    let mut world = wakes(&world, &old);
    assert_eq!((world.runs(), world.device().standing()), ("1.5.0", Standing::OnTrial));
    world.waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    assert!(way(&world).allows(&release("1.4.0").digest));
}

/// Home came from afar, vouched for by the release keys. What they said of it is known where nothing else is.
#[test]
fn home_that_came_from_afar_can_be_left_again() {
    let mut world = World::new("1.4.0");
    world.signs("1.3.0", &["1.5.0"]).signs("1.5.0", &["1.4.0", "1.3.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    let old = last(&world);
    world.condemns("1.4.0");
    let mut home = world.steer("r-1", "1.5.0", Direction::Home);
    home.back = Some(release("1.3.0"));
    world.hears(home, backstay_core::Freshness::Fresh).waits(30);
    assert_eq!(world.confirmed(), "1.3.0");
    let mut world = wakes(&world, &old);
    world.steers("r-2", "1.3.0", Direction::Home).waits(60);
    assert_eq!(world.confirmed(), "1.5.0");
    assert_eq!(world.count(|event| matches!(event, Event::Froze { .. })), 0);
}

/// A disk that takes nothing at all: nothing is brought in whose way home can't be kept, and whoever is at something worse goes
/// home and mends all the same.
#[test]
fn where_nothing_can_be_kept_nothing_is_brought_in() {
    let begins = |task| Device::begins_unkept(&Order { ticket: Ticket(1), fence: Fence(1), task });
    let install = begins(Task::Install { release: release("1.5.0") });
    assert!(matches!(install, Err(Outcome::Failed { transience: Transience::Transient, .. })), "{install:?}");
    for task in [
        Task::GoHome { release: release("1.4.0") },
        Task::Confirm { release: release("1.5.0") },
        Task::Heal { playbook: "restart".parse().unwrap() },
    ] {
        assert_eq!(begins(task), Ok(()));
    }
}

/// The journal is gone, and with it all that was known of what runs. What is kept apart says where it may be left for.
#[test]
fn a_device_without_a_journal_knows_its_way_home() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    let (kept, slots) = (world.device().watermarks(), last(&world).slots);
    let device = Device::new(settings(), world.now, &slots, 7);
    let mut world = goes_on(device, &kept, world.now, slots);
    world.steers("r-1", "1.5.0", Direction::Home).waits(60);
    assert_eq!(world.confirmed(), "1.4.0");
}

/// What had come of the steering that it went by is written down; the newest steering is only known to be newer. So nothing is gone by until it
/// comes again, and then the rollout is sat out as before.
#[test]
fn a_rollout_that_did_not_work_out_is_sat_out_when_its_steering_comes_again() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &[]);
    world.steers("r-1", "1.5.0", Direction::Forward);
    assert_eq!(world.device().standing(), Standing::Excluded);
    let old = last(&world);
    world.steers("r-1", "1.5.0", Direction::Hold);
    let mut world = wakes(&world, &old);
    assert_eq!(world.device().steering(), None);
    // It could be left by now, and is still not started: that is for who thaws.
    world.signs("1.5.0", &["1.4.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!((world.runs(), world.device().standing()), ("1.4.0", Standing::Excluded));
    world.steers("r-2", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
}
