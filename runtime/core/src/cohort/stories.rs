//! What happens to a cohort, told in virtual time.

use alloc::vec::Vec;

use backstay_model::{
    Action, Breaker, Cause, Direction, Event, Generation, How, Label, Millis, Permille, Reach, Selector,
};

use super::{
    CohortInput, Contact, Plan, Reply, Roster, Stage, StartError, Startable, Wish, WishError,
    world::{Fate, Voice, World, decision, device, release, rollout_id, who},
};

const ROLL_BACK: Action = Action::RollBack { how: How::AbortCanary };

/// Long enough for every wave of the default plan where all goes well.
const A_GOOD_DAY: u64 = 6 * 60;

fn turned(event: &Event) -> bool {
    matches!(event, Event::Turned { .. })
}

fn froze(event: &Event) -> bool {
    matches!(event, Event::Froze { .. })
}

#[test]
fn a_good_release_reaches_everybody_wave_by_wave() {
    let mut world = World::new(200);
    world.starts("r-1", "1.5.0");
    world.waits(9);
    assert_eq!(world.run("1.5.0"), 3, "a hundredth would be 2, the fewest are 3");
    assert_eq!(world.sees().confirmed, 3);
    world.waits(30);
    assert_eq!(world.run("1.5.0"), 10, "a twentieth");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 200));
    let waves = world.events.iter().filter_map(|event| {
        if let Event::WaveOpened { share, .. } = event { Some(share.get()) } else { None }
    });
    assert_eq!(waves.collect::<Vec<_>>(), [10, 50, 250, 1000]);
    assert!(world.events.contains(&Event::Completed {
        rollout: rollout_id("r-1"),
        confirmed: 200,
        excluded: 0
    }));
    assert_eq!(world.generations(), [1, 2, 3, 4], "one message for each wave");
    assert_eq!(world.retained.unwrap().reach, Reach::ALL, "who joins later follows");
    assert_eq!(world.cohort.deadline(), None);
}

#[test]
fn a_record_comes_before_what_it_explains() {
    let mut world = World::new(10);
    let rollout = world.rollout("r-1", "1.5.0");
    let effects = world.cohort.step(world.now, CohortInput::Start { who: who(), rollout });
    let kinds: Vec<_> =
        effects.iter().map(|effect| matches!(effect, super::CohortEffect::Publish(_))).collect();
    assert_eq!(kinds, [false, false, false, true], "override, wave, steering, and only then the message");
}

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

#[test]
fn late_and_doubled_words_change_nothing() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    world.waits(5);
    let old = world.last_report.clone();
    world.waits(4);
    let (confirmed, before) = (world.sees().confirmed, world.events.len());
    assert_eq!(confirmed, 3);
    for (device, report) in old.into_iter().chain(world.last_report.clone()) {
        world.step(CohortInput::Report { device, report, labels: Vec::new() });
    }
    assert_eq!((world.sees().confirmed, world.events.len()), (confirmed, before));
    assert_eq!(world.sees().ignored, 40);
}

/// The broker's farewell for an old session comes after the new session began.
#[test]
fn a_late_farewell_does_not_end_the_session_after_its_own() {
    let mut world = World::new(3);
    world.starts("r-1", "1.5.0");
    let first = world.now;
    world.waits(1);
    world.comes(0);
    let bye =
        |nonce, began| CohortInput::Presence { device: device(0), nonce, began, contact: Contact::Offline };
    world.step(bye(1, first));
    assert_eq!(world.sees().live, 3);
    world.step(bye(2, world.now));
    assert_eq!(world.sees().live, 2);
}

#[test]
fn updated_is_said_only_of_what_passed_its_trial() {
    let mut world = World::new(3);
    world.starts("r-1", "1.5.0");
    world.waits(4);
    assert_eq!((world.run("1.5.0"), world.sees().confirmed), (3, 0));
    assert_eq!(world.sees().on_release.on_trial, 3);
    world.waits(5);
    assert_eq!((world.sees().confirmed, world.sees().on_release.settled), (3, 3));
}

#[test]
fn nobody_is_meant_by_silence() {
    let mut world = World::new(20);
    let mut rollout = world.rollout("r-1", "1.5.0");
    rollout.selector = Selector::Labelled(Vec::new());
    world.step(CohortInput::Start { who: who(), rollout });
    world.waits(A_GOOD_DAY);
    assert_eq!((world.run("1.5.0"), world.sees().meant), (0, 0));
    assert_eq!(world.count(|event| matches!(event, Event::Completed { .. } | Event::Asked { .. })), 0);
}

#[test]
fn an_empty_cohort_moves_nobody_and_is_never_complete() {
    let mut world = World::new(0);
    world.starts("r-1", "1.5.0");
    world.waits(3 * 1440);
    assert_eq!((world.stage(), world.retained.as_ref().unwrap().reach), (Stage::Held, Reach::NONE));
    assert_eq!(world.count(|event| matches!(event, Event::Completed { .. })), 0);
}

/// Devices join while the first wave is open: it grows to its share of those who are there now.
#[test]
fn a_wave_grows_with_its_cohort() {
    let mut world = World::new(0);
    world.starts("r-1", "1.5.0");
    (0..100).for_each(|n| world.joins(n, &[]));
    world.waits(25);
    assert_eq!(world.run("1.5.0"), 3);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 100));
}

#[test]
fn only_devices_with_the_labels_are_meant() {
    let mut world = World::new(0);
    (0..40).for_each(|n| world.joins(n, if n % 4 == 0 { &["site=basel"] } else { &["site=bern"] }));
    let mut rollout = world.rollout("r-1", "1.5.0");
    rollout.selector = Selector::Labelled([Label::parse("site=basel").unwrap()].into());
    world.step(CohortInput::Start { who: who(), rollout });
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.sees().meant), (Stage::Arrived, 10, 10));
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
fn a_cohort_of_one_is_updated() {
    let mut world = World::new(1);
    world.starts("r-1", "1.5.0");
    world.waits(45);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 1));
}

#[test]
fn a_cohort_of_one_whose_device_fails_goes_no_further() {
    let mut world = World::new(1);
    world.all_fates(Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Home, 0, 1));
}

/// Devices that can't fetch the release for now say nothing of it.
#[test]
fn who_sits_it_out_is_left_out_of_the_share() {
    let mut world = World::new(100);
    let order = world.in_order("r-1");
    order.iter().step_by(3).for_each(|&n| world.fate(n, Fate::SitsOut));
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.sees().excluded), (Stage::Arrived, 66, 34));
}

/// A device that sleeps doesn't stop the others. When it wakes up after a week it reads the same message.
#[test]
fn who_is_away_follows_later() {
    let mut world = World::new(20);
    let order = world.in_order("r-1");
    world.goes(order[0]);
    world.goes(order[15]);
    world.starts("r-1", "1.5.0");
    world.waits(60);
    assert_eq!(world.sees().wave.unwrap().number, 0, "a wave has patience");
    world.waits(1440);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 18));
    world.comes(order[0]);
    world.comes(order[15]);
    world.waits(9);
    assert_eq!((world.run("1.5.0"), world.sees().confirmed), (20, 20));
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

#[test]
fn a_pause_is_lifted_by_a_person_alone() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    world.waits(15);
    world.wishes(Wish::Pause);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Held, 3));
    assert_eq!(world.retained.as_ref().unwrap().direction, Direction::Hold);
    world.wishes(Wish::Resume);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 100));
}

/// A pause stops the way forward, not the way home.
#[test]
fn a_breach_turns_a_paused_cohort() {
    let mut world = World::new(100);
    world.all_fates(Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.waits(5);
    world.wishes(Wish::Pause);
    world.waits(10);
    assert_eq!((world.stage(), world.count(turned)), (Stage::Home, 1));
}

#[test]
fn an_aborted_rollout_stays_where_it_is_and_another_one_may_begin() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    world.waits(15);
    world.wishes(Wish::Abort);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Ended, 3));
    world.starts("r-1", "1.5.0");
    assert_eq!(world.last_refusal().unwrap(), "rollout r-1 was begun before");
    world.starts("r-2", "1.5.1");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.1")), (Stage::Arrived, 100));
}

#[test]
fn a_person_can_turn_a_cohort_round_after_it_arrived() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    world.goes(7);
    let before = world.publishes.len();
    world.wishes(Wish::Rollback);
    world.waits(5);
    assert_eq!((world.stage(), world.run("1.5.0"), world.publishes.len()), (Stage::Home, 1, before + 1));
    // The one that was away goes home by the same message.
    world.comes(7);
    world.waits(5);
    assert_eq!(world.run("1.5.0"), 0);
    world.waits(A_GOOD_DAY);
    assert_eq!(world.sees().frozen, Some(Cause::Operator { who: who() }), "a person's freeze stays");
    // Home twice is home once: the same message again, as it was.
    world.wishes(Wish::Rollback);
    assert_eq!(
        (world.count(turned), world.publishes.last(), world.publishes.len()),
        (1, world.publishes.get(before), before + 2)
    );
}

#[test]
fn after_home_a_rollout_never_goes_forward_again() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(15);
    world.wishes(Wish::Rollback);
    for wish in [Wish::Resume, Wish::Pause, Wish::Abort] {
        assert_eq!(world.cohort.may(world.now, &wish), Err(WishError::GoesHome));
        world.wishes(wish);
    }
    world.wishes(Wish::Thaw);
    world.wishes(Wish::CloseBreaker);
    world.wishes(Wish::Lift(release("1.5.0").digest));
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Home, 0));
    assert_eq!(world.last_refusal().unwrap(), "rollout r-1 was begun before");
    // A new one does.
    world.starts("r-2", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 50));
}

#[test]
fn rails_refuse_a_start_one_after_the_other() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.starts("r-2", "1.5.1");
    assert_eq!(world.last_restraint(), Some(&Cause::Locked));
    world.waits(15);
    world.wishes(Wish::Rollback);
    world.starts("r-3", "1.5.1");
    assert_eq!(world.last_restraint(), Some(&Cause::Operator { who: who() }), "frozen");
    world.wishes(Wish::Thaw);
    world.starts("r-3", "1.5.1");
    assert_eq!(world.last_restraint(), Some(&Cause::BreakerOpen { left: Millis::from_secs(2700) }));
    world.waits(45);
    world.starts("r-3", "1.5.0");
    assert_eq!(world.last_restraint(), Some(&Cause::IsCondemned));
    let publishes = world.publishes.len();
    world.starts("r-3", "1.5.1");
    assert_eq!(world.publishes.len(), publishes + 1);
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

#[test]
fn starting_twice_is_starting_once() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    world.waits(5);
    let (events, publishes) = (world.events.len(), world.publishes.len());
    world.starts("r-1", "1.5.0");
    assert_eq!((world.events.len(), world.publishes.len()), (events, publishes));
    let rollout = world.rollout("r-1", "1.5.0");
    assert_eq!(world.cohort.may_start(world.now, &rollout), Ok(Startable::Already));
    // The same name for something else is a mistake.
    let other = world.rollout("r-1", "1.6.0");
    assert!(matches!(world.cohort.may_start(world.now, &other), Err(StartError::UnderWay { .. })));
}

#[test]
fn a_start_that_makes_no_sense_is_refused_with_the_reason() {
    let mut world = World::new(20);
    let mut rollout = world.rollout("r-1", "1.4.0");
    world.step(CohortInput::Start { who: who(), rollout: rollout.clone() });
    assert_eq!(world.last_restraint(), Some(&Cause::NoWayHome));
    rollout.back = None;
    rollout.plan.waves.clear();
    world.step(CohortInput::Start { who: who(), rollout });
    let why = "the plan of rollout r-1 can't be followed: a plan has 1 to 16 waves, not 0";
    assert_eq!((world.last_refusal().as_deref(), world.publishes.len()), (Some(why), 0));
}

/// The server comes back on an empty disk. Devices and broker know how far it had counted.
#[test]
fn generations_go_on_after_a_lost_state() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    let newest = *world.generations().last().unwrap();
    world.loses_everything();
    assert_eq!(world.stage(), Stage::Idle);
    world.starts("r-2", "1.6.0");
    assert_eq!(world.generations().last(), Some(&(newest + 1)));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.6.0")), (Stage::Arrived, 50));
}

/// A start came first, and only then a device that knows a larger generation: what is in force is said again, so
/// that it is heard; once a minute at most.
#[test]
fn a_larger_generation_that_shows_up_later_is_passed() {
    let mut world = World::new(10);
    world.starts("r-1", "1.5.0");
    world.step(CohortInput::KnownGeneration(Generation(40)));
    assert_eq!(world.generations(), [1, 41]);
    world.step(CohortInput::KnownGeneration(Generation(50)));
    world.step(CohortInput::KnownGeneration(Generation(60)));
    assert_eq!(world.generations(), [1, 41], "not yet");
    world.waits(1);
    assert_eq!(world.generations(), [1, 41, 61]);
    world.step(CohortInput::KnownGeneration(Generation(u64::MAX)));
    world.waits(5);
    assert_eq!(world.generations(), [1, 41, 61], "nobody counts that far");
    assert!(world.last_refusal().unwrap().contains("too far ahead"));
}

#[test]
fn a_restart_says_again_what_is_in_force_and_goes_on() {
    let mut world = World::new(100);
    world.voice = Voice::IsMute;
    world.starts("r-1", "1.5.0");
    world.waits(12);
    let said = world.publishes.last().cloned();
    world.voice = Voice::Judges;
    world.restarts();
    assert_eq!(world.publishes.last().cloned(), said, "the same generation says the same");
    for _ in 0..10 {
        world.waits(A_GOOD_DAY / 10);
        world.restarts();
    }
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(froze)), (Stage::Arrived, 100, 0));
}

/// The roster is lost with the view: it is learnt again, and nothing is decided on what is not known.
#[test]
fn a_lost_roster_is_learnt_again() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    world.waits(50);
    world.cohort = super::Cohort::restore(world.cohort.helm().clone(), Roster::default());
    world.step(CohortInput::Restarted);
    for n in 0..100 {
        world.step(CohortInput::Enrolled { device: device(n), labels: Vec::new() });
        world.comes(n);
    }
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Arrived, 100, 0));
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

/// All that the second wave adds is asleep. Those of the first wave look well, and say nothing of the second.
#[test]
fn a_wave_is_not_judged_by_the_one_before() {
    let mut world = World::new(100);
    let order = world.in_order("r-1");
    order.iter().skip(3).take(2).for_each(|&n| world.goes(n));
    world.starts("r-1", "1.5.0");
    world.waits(1200);
    assert_eq!((world.sees().wave.unwrap().number, world.run("1.5.0")), (1, 3));
    world.comes(order[3]);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 99));
}

#[test]
fn a_wave_whose_devices_all_sit_it_out_is_passed_over() {
    let mut world = World::new(100);
    let order = world.in_order("r-1");
    order.iter().skip(3).take(2).for_each(|&n| world.fate(n, Fate::SitsOut));
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 98));
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

#[test]
fn a_device_that_has_not_confirmed_the_release_is_not_updated() {
    let mut world = World::new(1);
    world.starts("r-1", "1.5.0");
    let mut report = world.last_report[&device(0)].clone();
    (report.sequence, report.booted) = (report.sequence + 1, release("1.5.0"));
    report.standing = backstay_model::Standing::Settled;
    world.step(CohortInput::Report { device: device(0), report: report.clone(), labels: Vec::new() });
    assert_eq!((world.sees().on_release.settled, world.sees().confirmed), (1, 0));
    (report.sequence, report.confirmed) = (report.sequence + 1, release("1.5.0"));
    world.step(CohortInput::Report { device: device(0), report, labels: Vec::new() });
    assert_eq!(world.sees().confirmed, 1);
}
