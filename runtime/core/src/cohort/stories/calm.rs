//! What it takes for a cohort to be moved again: so many good windows, or a person, and no less.

use backstay_model::{Breaker, Direction};

use super::{A_GOOD_DAY, turned};
use crate::{
    Breaker as Kept,
    cohort::{
        Stage, Wish, WishError,
        world::{Fate, Voice, World},
    },
};

/// Half of a cohort was cut off for a while and is back. One good window is luck: it goes on only after as many as the plan wants.
#[test]
fn a_hold_is_not_lifted_by_the_first_good_window() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    world.waits(12);
    (0..20).for_each(|n| world.falls_silent(n));
    world.waits(60);
    assert_eq!(world.stage(), Stage::Held);
    (0..20).for_each(|n| world.speaks_again(n));
    let needed = world.plan.thaw_windows;
    assert!(needed > 1);
    world.waits(world.windows(needed - 1));
    assert_eq!(world.stage(), Stage::Held, "{needed} are needed");
    world.waits(world.windows(2));
    assert_eq!((world.stage(), world.directions().last()), (Stage::Forward, Some(&Direction::Forward)));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Arrived, 20, 0));
}

/// All are back and well, and the policy doesn't answer. Windows that nobody judged count for nothing, however many there are.
#[test]
fn a_hold_is_not_lifted_by_windows_that_nobody_judged() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    world.waits(12);
    (0..20).for_each(|n| world.falls_silent(n));
    world.waits(60);
    (0..20).for_each(|n| world.speaks_again(n));
    let needed = world.plan.thaw_windows;
    for _ in 0..3 {
        world.waits(world.windows(needed - 1));
        assert_eq!(world.stage(), Stage::Held);
        world.voice = Voice::IsMute;
        world.waits(world.windows(1));
        world.voice = Voice::Judges;
    }
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 20));
}

/// After a turn nothing is promoted for a while, and whoever asks a cohort or what is kept of it is told so.
#[test]
fn a_turn_opens_the_breaker_for_everybody_to_see() {
    let mut world = World::new(20);
    world.all_fates(Fate::Fails);
    world.starts("r-1", "1.5.0");
    while world.stage() == Stage::Forward {
        world.waits(1);
    }
    assert_eq!(world.stage(), Stage::Home);
    assert!(matches!(world.sees().breaker, Breaker::Open { .. }));
    assert!(matches!(world.cohort.helm().breaker(), Kept::Open { .. }));
    let may_close = |world: &World| world.cohort.may(world.now, &Wish::CloseBreaker);
    assert_eq!(may_close(&world), Ok(()));
    world.wishes(Wish::Thaw);
    world.wishes(Wish::CloseBreaker);
    assert_eq!(world.cohort.helm().breaker(), Kept::Closed);
    assert_eq!(may_close(&world), Err(WishError::BreakerClosed), "there is nothing left to close");
}

/// A quarter of a cohort is connected and mute when it is called home, which is as many as the plan bears. The others are home and
/// well: that is calm enough.
#[test]
fn as_many_silent_devices_as_the_plan_bears_keep_no_freeze_up_after_home() {
    let mut world = World::new(100);
    let order = world.in_order("r-1");
    order.iter().rev().take(25).for_each(|&n| world.falls_silent(n));
    world.fate(order[0], Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.sees().silent, world.sees().frozen), (Stage::Home, 25, None));
}

/// Nobody is heard of, and the cohort is held for that, when a person holds it, too. That they are all back lets nobody go on then.
#[test]
fn a_pause_of_what_is_held_already_is_lifted_by_a_person_alone() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    world.waits(12);
    (0..20).for_each(|n| world.falls_silent(n));
    world.waits(60);
    world.wishes(Wish::Pause);
    (0..20).for_each(|n| world.speaks_again(n));
    world.waits(A_GOOD_DAY);
    assert_eq!(world.stage(), Stage::Held);
    world.wishes(Wish::Resume);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 20));
}
