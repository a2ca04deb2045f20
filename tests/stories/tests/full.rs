//! Stories about a disk that is full: nothing but what is kept apart can be written down, and then power goes.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{Device, Watermarks};
use backstay_model::{
    Cause, Direction, Event, Fence, Millis, Mono, Order, Outcome, SlotStatus, Standing, Task, Ticket,
    Transience,
};
use backstay_test_stories::{Behaviour, Policy, Recorded, World, release, settings};

/// What could be written down last.
fn last(world: &World) -> Recorded {
    world.steps.last().unwrap().clone()
}

/// The last step in which something like this was written down.
fn last_with(world: &World, like: impl Fn(&Event) -> bool) -> Recorded {
    world.steps.iter().rev().find(|step| step.events.iter().any(&like)).unwrap().clone()
}

fn is_heal(event: &Event) -> bool {
    matches!(event, Event::Ordered { order: Order { task: Task::Heal { .. }, .. }, .. })
}

fn is_install(event: &Event) -> bool {
    matches!(event, Event::Ordered { order: Order { task: Task::Install { .. }, .. }, .. })
}

fn is_going_home(event: &Event) -> bool {
    matches!(event, Event::Ordered { order: Order { task: Task::GoHome { .. }, .. }, .. })
}

/// Goes on until what runs was tried to be mended so often.
fn is_mended(world: &mut World, times: usize) {
    let is_tried = |event: &Event| matches!(event, Event::Waits { .. });
    while world.count(is_tried) < times {
        world.waits(1);
    }
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

/// It failed its trial and went home, and nothing of that is written down. That it is condemned is: so nobody says that a boot
/// fell back.
#[test]
fn what_was_condemned_meanwhile_did_not_fail_to_come_up() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    world.steers("r-1", "1.5.0", Direction::Forward);
    let old = last(&world);
    assert_eq!(world.device().standing(), Standing::OnTrial);
    world.waits(120);
    assert_eq!(world.confirmed(), "1.4.0");
    let world = wakes(&world, &old);
    let home = |event: &Event| matches!(event, Event::CameHome { cause: Cause::IsCondemned, .. });
    assert_eq!((world.count(home), world.count(|event| matches!(event, Event::Condemned { .. }))), (1, 0));
    assert_eq!((world.runs(), world.device().standing()), ("1.4.0", Standing::Excluded));
}

/// It was tried twice to mend what runs, and a release that was brought in did not come up. That is known no more; that it is condemned is,
/// and it says nothing of what runs. So one try is left of three.
#[test]
fn tries_stay_counted_where_what_was_brought_in_was_condemned_meanwhile() {
    let mut world = World::new("1.4.0");
    world.policy(Policy::Heals).signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::DoesNotBoot);
    world.behaves("1.4.0", Behaviour::FailsAfter(Millis(0)));
    is_mended(&mut world, 2);
    world.steers("r-1", "1.5.0", Direction::Forward);
    let old = last_with(&world, is_install);
    assert_eq!(world.device().condemned(), [release("1.5.0").digest]);
    let mut world = wakes(&world, &old);
    world.policy(Policy::Heals).behaves("1.4.0", Behaviour::FailsAfter(Millis(0)));
    while world.count(|event| matches!(event, Event::Stranded { .. })) == 0 {
        world.waits(1);
    }
    assert_eq!((world.runs(), world.count(is_heal)), ("1.4.0", 1));
}

/// What it remembers to run was left meanwhile, mended in vain. What runs has all its tries, and nobody restarts it for another one.
#[test]
fn tries_to_mend_a_release_are_not_counted_for_the_one_that_is_found() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    world.policy(Policy::Heals).behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    is_mended(&mut world, 2);
    let between = last(&world);
    world.waits(600);
    let in_it = last_with(&world, is_heal);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    for old in [between, in_it] {
        let mut world = wakes(&world, &old);
        assert_eq!((world.device().order(), world.device().standing()), (None, Standing::Excluded));
        world.behaves("1.4.0", Behaviour::NeedsRestarts(2)).waits(300);
        assert_eq!(world.count(|event| matches!(event, Event::Cured { attempts: 2 })), 1, "{}", world.told());
        assert_eq!((world.runs(), world.count(is_heal)), ("1.4.0", 2));
    }
}

/// A release was on its way in when nothing more could be written down; what it was to take the place of was left since. It isn't brought in with
/// a way home that is none.
#[test]
fn an_install_is_of_the_past_where_what_it_began_on_was_left() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    world.signs("1.6.0", &["1.5.0"]).behaves("1.6.0", Behaviour::FailsToStage(9));
    world.steers("r-2", "1.6.0", Direction::Forward);
    let old = last_with(&world, is_install);
    world.steers("r-1", "1.5.0", Direction::Home).waits(60);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    let mut world = wakes(&world, &old);
    assert_eq!((world.device().order(), world.device().standing()), (None, Standing::Settled));
    world.waits(120);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
}

/// It was on its way home when nothing more could be written down. It came home, and another release earned its trust since: that is not left for
/// a reason that it never gave.
#[test]
fn the_way_home_is_of_the_past_where_another_release_is_trusted() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).signs("1.6.0", &["1.4.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    world.steers("r-1", "1.5.0", Direction::Home).waits(60);
    let old = last_with(&world, is_going_home);
    assert_eq!(world.confirmed(), "1.4.0");
    world.steers("r-2", "1.6.0", Direction::Forward);
    let on_trial = wakes(&world, &old);
    assert_eq!((on_trial.runs(), on_trial.device().standing()), ("1.6.0", Standing::OnTrial));
    world.waits(120);
    let mut world = wakes(&world, &old);
    assert_eq!((world.device().order(), world.device().standing()), (None, Standing::Settled));
    world.waits(1200);
    assert_eq!((world.runs(), world.confirmed(), world.count(is_going_home)), ("1.6.0", "1.6.0", 0));
}

/// The same, and home failed for good and was left for what runs.
#[test]
fn the_way_home_is_of_the_past_where_home_was_condemned() {
    let mut world = World::new("1.4.0");
    world.signs("1.3.0", &["1.5.0"]).signs("1.5.0", &["1.4.0", "1.3.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    world.condemns("1.4.0");
    let mut home = world.steer("r-1", "1.5.0", Direction::Home);
    home.back = Some(release("1.3.0"));
    world.hears(home, backstay_core::Freshness::Fresh).waits(30);
    let old = last_with(&world, is_going_home);
    assert_eq!(world.confirmed(), "1.3.0");
    world.behaves("1.3.0", Behaviour::FailsAfter(Millis(0))).waits(900);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.5.0"));
    assert!(world.device().condemned().contains(&release("1.3.0").digest));
    let mut world = wakes(&world, &old);
    assert_eq!(world.device().order(), None);
    world.waits(1200);
    assert_eq!((world.runs(), world.count(is_going_home)), ("1.5.0", 0));
}

/// It was on trial, or about to be confirmed, and passed; what came after it passed, too. No boot fell back, so nothing is condemned, and what was
/// on trial is home.
#[test]
fn a_trial_is_of_the_past_where_no_boot_can_have_fallen_back() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).signs("1.6.0", &["1.5.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward);
    let on_trial = last(&world);
    world.waits(120);
    let confirming = last_with(&world, |event| {
        matches!(event, Event::Ordered { order: Order { task: Task::Confirm { .. }, .. }, .. })
    });
    world.steers("r-2", "1.6.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.6.0");
    for old in [on_trial, confirming] {
        let mut world = wakes(&world, &old);
        assert_eq!((world.device().order(), world.device().standing()), (None, Standing::Settled));
        assert_eq!((world.runs(), world.device().condemned()), ("1.6.0", [].as_slice()));
        world.steers("r-2", "1.6.0", Direction::Home).waits(60);
        assert_eq!(world.confirmed(), "1.5.0");
    }
}
