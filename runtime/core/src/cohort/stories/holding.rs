//! What holds a rollout, and what lets it go on: silence, no answer, no end.

use alloc::vec::Vec;

use backstay_model::{Action, Cause, Direction, Event};

use super::{A_GOOD_DAY, ROLL_BACK, froze, turned};
use crate::cohort::{
    CohortInput, Reply, Stage, Wish,
    world::{Fate, Voice, World, decision, device, release},
};

/// The broker is gone. Nobody knows how the devices are, so nobody is moved, in either direction; and when they
/// are back, the rollout goes on by itself.
#[test]
fn silence_freezes_and_never_turns() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    world.waits(50);
    let on = world.run("1.5.0");
    world.connected = false;
    world.waits(300);
    assert_eq!((world.stage(), world.sees().frozen), (Stage::Held, Some(Cause::NoData)));
    assert_eq!((world.count(turned), world.count(froze), world.run("1.5.0")), (0, 1, on));
    world.connected = true;
    (0..100).for_each(|n| world.comes(n));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Arrived, 100, 0));
    assert_eq!(world.directions(), [Direction::Forward, Direction::Hold, Direction::Forward]);
}

/// The release cuts devices off from the network: they begin, and are not heard of again. Those that are left
/// look well, and are not enough.
#[test]
fn devices_that_vanish_in_a_try_are_missed() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    world.waits(4);
    let order = world.in_order("r-1");
    world.goes(order[0]);
    world.goes(order[1]);
    world.waits(20);
    assert_eq!((world.stage(), world.sees().frozen), (Stage::Held, Some(Cause::NoData)));
    world.waits(600);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Held, 3));
}

/// The same where the last that they said is that they are done, and it isn't confirmed: no device stays like that.
#[test]
fn devices_that_vanish_before_they_confirm_are_missed() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    for n in world.in_order("r-1").into_iter().take(2) {
        world.settles(n, "1.5.0");
        world.gadgets.get_mut(&device(n)).unwrap().confirmed = release("1.4.0");
        world.comes(n);
        world.goes(n);
    }
    world.waits(20);
    assert_eq!((world.stage(), world.sees().frozen), (Stage::Held, Some(Cause::NoData)));
}

#[test]
fn a_policy_that_does_not_answer_freezes() {
    for voice in [Voice::Traps, Voice::IsMute] {
        let mut world = World::new(100);
        world.voice = voice;
        world.starts("r-1", "1.5.0");
        world.waits(45);
        assert_eq!((world.stage(), world.sees().frozen), (Stage::Held, Some(Cause::NoPolicy)));
        assert!(world.count(|event| matches!(event, Event::Unanswered { .. })) >= 1);
        world.waits(300);
        assert_eq!((world.stage(), world.count(turned), world.run("1.5.0")), (Stage::Held, 0, 3));
        world.voice = Voice::Judges;
        world.waits(600);
        assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 100));
    }
}

#[test]
fn freeze_pause_and_heal_hold() {
    for action in [Action::Freeze, Action::Pause, Action::Heal { playbook: None }] {
        let mut world = World::new(100);
        world.voice = Voice::Says(action);
        world.starts("r-1", "1.5.0");
        world.waits(A_GOOD_DAY);
        assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Held, 3, 0));
        assert!(
            world.retained.as_ref().is_some_and(|steer| steer.frozen && steer.direction == Direction::Hold)
        );
        assert_eq!(world.publishes.len(), 2, "held once");
    }
}

#[test]
fn slow_looks_for_longer() {
    let mut world = World::new(100);
    world.voice = Voice::Says(Action::Slow { windows: 2 });
    world.starts("r-1", "1.5.0");
    world.waits(35);
    assert_eq!(world.sees().wave.unwrap().needs, 3 + 3 * 2);
    world.voice = Voice::Judges;
    world.waits(80);
    assert_eq!(world.sees().wave.unwrap().number, 0);
    world.waits(20);
    assert_eq!(world.sees().wave.unwrap().number, 1);
}

/// A late answer is for a question that is no longer open, so it is no answer.
#[test]
fn a_late_answer_is_not_taken_for_a_new_one() {
    let mut world = World::new(100);
    world.voice = Voice::IsMute;
    world.starts("r-1", "1.5.0");
    world.waits(25);
    let asked: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| if let Event::Asked { ticket, .. } = event { Some(*ticket) } else { None })
        .collect();
    assert_eq!(asked.len(), 2);
    let before = world.events.len();
    let reply = Reply::Decided(decision(ROLL_BACK));
    world.step(CohortInput::Policy { ticket: asked[0], reply: reply.clone() });
    assert_eq!((world.events.len(), world.count(turned)), (before, 0));
    world.step(CohortInput::Policy { ticket: asked[1], reply: reply.clone() });
    world.step(CohortInput::Policy { ticket: asked[1], reply });
    assert_eq!(world.count(turned), 1);
}

/// Connected, and without a sign of life: three of a hundred are weather.
#[test]
fn a_few_silent_devices_hold_nobody_up() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    world.waits(45);
    let late: Vec<_> = world.in_order("r-1").into_iter().rev().take(3).collect();
    late.iter().for_each(|&n| world.falls_silent(n));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.count(froze), world.sees().silent), (0, 3));
    late.iter().for_each(|&n| world.speaks_again(n));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.sees().confirmed), (Stage::Arrived, 100));
}

/// Those who are done are gone, those who are there are not done: what is known is old, and nobody is asked.
#[test]
fn old_words_alone_are_no_data() {
    let mut world = World::new(3);
    (1..3).for_each(|n| world.fate(n, Fate::Hangs));
    world.starts("r-1", "1.5.0");
    world.waits(9);
    world.goes(0);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.sees().confirmed, world.stage()), (1, Stage::Forward));
    assert_eq!(world.count(|event| matches!(event, Event::Asked { .. })), 0);
}

/// A device is brought into the release for ever. After its patience the wave is judged by the others, but a
/// rollout with somebody on the way is not complete.
#[test]
fn a_device_that_hangs_keeps_the_rollout_from_being_complete() {
    let mut world = World::new(20);
    let first = world.in_order("r-1")[0];
    world.fate(first, Fate::Hangs);
    world.starts("r-1", "1.5.0");
    world.waits(1440);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Forward, 19));
    world.waits(1440);
    assert_eq!(world.count(|event| matches!(event, Event::Completed { .. })), 0);
    assert!(world.count(froze) >= 1, "in the end a person hears of it");
}

/// Everybody who is reached brings the release in for ever: there is nobody to judge by. The rollout is held, that is
/// said once, and days later it still is; it doesn't go on only to be held again.
#[test]
fn a_rollout_without_anybody_to_judge_by_is_held_once() {
    let mut world = World::new(3);
    world.all_fates(Fate::Hangs);
    world.starts("r-1", "1.5.0");
    let a_day = world.windows(world.plan.windows_max);
    world.waits(5 * a_day);
    assert_eq!((world.stage(), world.sees().frozen), (Stage::Held, Some(Cause::NoData)));
    assert_eq!((world.count(froze), world.directions()), (1, [Direction::Forward, Direction::Hold].into()));
    // One of them is done after all: that is data, and the rollout goes on.
    world.settles(0, "1.5.0");
    world.waits(world.windows(6));
    assert_eq!((world.stage(), world.count(turned)), (Stage::Forward, 0));
}

/// Everybody who is reached is asleep when their wave is open. When they wake up, days later, it goes on by itself.
#[test]
fn a_rollout_that_is_held_for_sleepers_goes_on_when_they_wake() {
    let mut world = World::new(3);
    (0..3).for_each(|n| world.goes(n));
    world.starts("r-1", "1.5.0");
    world.waits(5 * world.windows(world.plan.windows_max));
    assert_eq!((world.stage(), world.count(froze)), (Stage::Held, 1));
    (0..3).for_each(|n| world.comes(n));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(froze)), (Stage::Arrived, 3, 1));
}

/// Waits until the rollout stands there. Gives how many windows that took.
fn waits_for(world: &mut World, stage: Stage) -> u64 {
    let a_window = world.windows(1);
    let windows = (0..).take(1000).find(|_| {
        let is_there = world.stage() == stage;
        if !is_there {
            world.waits(a_window);
        }
        is_there
    });
    windows.unwrap()
}

/// A world in which all but one settle, and that one brings the release in for ever; told until the rollout is held.
fn with_one_that_never_follows() -> (World, usize) {
    let mut world = World::new(20);
    let late = world.in_order("r-1")[19];
    world.fate(late, Fate::Hangs);
    world.starts("r-1", "1.5.0");
    waits_for(&mut world, Stage::Held);
    assert_eq!((world.sees().frozen, world.run("1.5.0")), (Some(Cause::NoData), 19));
    (world, late)
}

/// There is enough to judge by, and yet the wave comes to no end. What keeps the last one may pass without a word, so the
/// rollout is tried again, and ever more seldom: to be let go on only to be held again helps nobody, and everybody hears of it.
#[test]
fn a_rollout_that_some_never_follow_goes_on_ever_more_seldom() {
    let (mut world, late) = with_one_that_never_follows();
    let a_wave = u64::from(world.plan.windows_max);
    for waves in [1, 2, 4, 4] {
        let said = world.publishes.len();
        let held = waits_for(&mut world, Stage::Forward);
        assert!(
            held.abs_diff(waves * a_wave) < 3,
            "held for {held} windows, and {waves} waves have {a_wave} each"
        );
        let forward = waits_for(&mut world, Stage::Held);
        assert!(forward.abs_diff(a_wave) < 3, "forward for {forward} windows");
        assert_eq!(world.publishes.len(), said + 2);
    }
    // It is done after all: that is news, and the rollout arrives by itself.
    world.settles(late, "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.count(turned)), (Stage::Arrived, 0));
}

/// Those who are done go to sleep and wake up each day. They have nothing to add, so nobody hears more for that.
#[test]
fn who_is_done_is_no_news() {
    let (mut steady, _) = with_one_that_never_follows();
    let (mut sleepy, _) = with_one_that_never_follows();
    let order = sleepy.in_order("r-1");
    let half_a_day = sleepy.windows(72);
    for _ in 0..10 {
        order[..3].iter().for_each(|&n| sleepy.goes(n));
        sleepy.waits(half_a_day);
        order[..3].iter().for_each(|&n| sleepy.comes(n));
        sleepy.waits(half_a_day);
        steady.waits(2 * half_a_day);
    }
    assert_eq!(sleepy.generations(), steady.generations());
}

/// A person need not wait for any of that.
#[test]
fn a_person_lets_it_go_on_at_once() {
    let (mut world, _) = with_one_that_never_follows();
    world.wishes(Wish::Resume);
    world.waits(1);
    assert_eq!(world.stage(), Stage::Forward);
}
