//! What turns a cohort round, and what may begin after it.

use alloc::vec::Vec;

use backstay_model::{Breaker, Cause, Direction, Event, Permille};

use super::{A_GOOD_DAY, turned};
use crate::cohort::{
    Plan, Stage, Wish,
    world::{Fate, World, release},
};

/// Half of the devices on the release fail. The cohort is turned round by one message, once, and every device
/// that is on the release goes home by it.
#[test]
fn a_breach_turns_the_cohort_round_with_one_message() {
    let mut world = World::new(200);
    world.starts("r-1", "1.5.0");
    world.waits(31);
    let before = world.publishes.len();
    let order = world.in_order("r-1");
    order.iter().skip(3).step_by(2).for_each(|&n| world.fate(n, Fate::Fails));
    world.waits(A_GOOD_DAY);
    assert_eq!(world.count(turned), 1);
    let since: Vec<_> =
        world.publishes[before..].iter().map(|steer| (steer.direction, steer.frozen)).collect();
    // The freeze is lifted hours later, when everybody is home and well and the breaker let go.
    assert_eq!(since, [(Direction::Home, true), (Direction::Home, false)]);
    assert_eq!(world.run("1.5.0"), 0);
    assert_eq!(world.sees().breaker, Breaker::HalfOpen);
    assert_eq!(world.sees().quarantined, [release("1.5.0").digest]);
    let home = world.events.iter().position(turned).unwrap();
    assert!(
        matches!(
            &world.events[home..home + 5],
            [
                Event::Turned { on_release: 6.., .. },
                Event::Condemned { .. },
                Event::BreakerOpened { .. },
                Event::Froze { cause: Cause::CohortFailed { failed: 2, tried: 5.. } },
                Event::Steered { direction: Direction::Home, .. }
            ]
        ),
        "{:?}",
        &world.events[home..home + 5]
    );
}

/// A device is cut off while it brings the release in, and is back when it is home again and has condemned it. It tried: that is a failure,
/// and no device that sits it out.
#[test]
fn a_failure_counts_though_nobody_saw_the_device_try() {
    let mut world = World::new(3);
    world.fate(0, Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.goes(0);
    world.waits(15);
    world.comes(0);
    assert_eq!((world.sees().failed, world.sees().excluded), (1, 0));
}

/// One device of three fails: that is no breach by the plan, but the policy has seen enough after two windows.
#[test]
fn the_policy_turns_what_the_plan_would_bear() {
    let mut world = World::new(100);
    let first = world.in_order("r-1")[0];
    world.fate(first, Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.waits(9);
    assert_eq!((world.sees().failed, world.stage()), (1, Stage::Forward));
    world.waits(2);
    assert_eq!(world.stage(), Stage::Forward, "one bad window is not two");
    world.waits(9);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Home, 2), "on their way");
    world.waits(2);
    assert_eq!(world.run("1.5.0"), 0);
    assert!(matches!(world.sees().frozen, Some(Cause::Policy { .. })));
}

/// Two of fifty fail, and they are the first to say anything. The others are on a slower way, and get there.
#[test]
fn failures_that_come_first_do_not_turn_a_large_wave() {
    let mut world = World::new(50);
    world.plan = Plan { waves: [Permille::ALL].into(), ..Plan::default() };
    let order = world.in_order("r-1");
    order.iter().take(2).for_each(|&n| world.fate(n, Fate::Fails));
    order.iter().skip(2).for_each(|&n| world.is_slow(n));
    world.starts("r-1", "1.5.0");
    world.waits(9);
    assert_eq!((world.sees().failed, world.sees().confirmed, world.stage()), (2, 0, Stage::Forward));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 48));
}

#[test]
fn a_cohort_of_one_whose_device_fails_goes_no_further() {
    let mut world = World::new(1);
    world.all_fates(Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Home, 0, 1));
}

/// After a turn the first wave is the smallest there is, whatever the plan says. When it was good, the plan holds.
#[test]
fn a_half_open_breaker_lets_the_smallest_wave_through() {
    let mut world = World::new(200);
    world.plan = Plan { waves: [Permille::new(500).unwrap(), Permille::ALL].into(), ..Plan::default() };
    world.starts("r-1", "1.5.0");
    world.waits(3);
    world.wishes(Wish::Rollback);
    world.wishes(Wish::Thaw);
    world.waits(60);
    assert_eq!(world.sees().breaker, Breaker::HalfOpen);
    world.starts("r-2", "1.5.1");
    world.waits(15);
    assert_eq!(world.run("1.5.1"), 3);
    world.waits(30);
    assert_eq!(world.sees().breaker, Breaker::Closed);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.1")), (Stage::Arrived, 200));
}

#[test]
fn a_single_wave_begins_small_too_while_the_breaker_is_half_open() {
    let mut world = World::new(50);
    world.plan = Plan { waves: [Permille::ALL].into(), ..Plan::default() };
    world.starts("r-1", "1.5.0");
    world.wishes(Wish::Rollback);
    world.wishes(Wish::Thaw);
    world.waits(60);
    world.starts("r-2", "1.5.1");
    world.waits(15);
    assert_eq!(world.run("1.5.1"), 3);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.1")), (Stage::Arrived, 50));
}

/// A device that was cut off when the cohort was turned tells of its failure a day later.
#[test]
fn a_late_reporter_after_home_turns_nothing_again() {
    let mut world = World::new(100);
    world.all_fates(Fate::Fails);
    let first = world.in_order("r-1")[0];
    world.starts("r-1", "1.5.0");
    world.waits(4);
    world.goes(first);
    world.waits(30);
    assert_eq!((world.stage(), world.count(turned)), (Stage::Home, 1));
    let publishes = world.publishes.len();
    world.wishes(Wish::Pause);
    world.comes(first);
    world.waits(10);
    assert_eq!((world.count(turned), world.publishes.len()), (1, publishes));
    assert_eq!(world.run("1.5.0"), 0);
}

/// Devices that had condemned the release long before don't take part, and are no failures of the new rollout.
#[test]
fn an_old_verdict_is_not_a_new_failure() {
    let mut world = World::new(30);
    let order = world.in_order("r-1");
    order.iter().take(2).for_each(|&n| world.fate(n, Fate::Fails));
    world.starts("r-1", "1.5.0");
    world.waits(60);
    assert_eq!(world.stage(), Stage::Home);
    world.wishes(Wish::Thaw);
    world.wishes(Wish::CloseBreaker);
    world.wishes(Wish::Lift(release("1.5.0").digest));
    world.all_fates(Fate::Settles);
    world.starts("r-2", "1.5.0");
    world.waits(2 * A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.sees().excluded), (Stage::Arrived, 28, 2));
}
