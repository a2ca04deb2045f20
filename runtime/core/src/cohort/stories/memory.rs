//! What comes late or twice, and what a server knows again after a crash, a loss, or from an old copy.

use alloc::{vec, vec::Vec};

use backstay_model::{Beat, Breaker, Cause, Direction, Generation, Health, Millis, Reach, Steer};

use super::{A_GOOD_DAY, froze, turned};
use crate::cohort::{
    Cohort, CohortInput, Contact, Roster, Stage, Wish,
    world::{Fate, Voice, World, device, release, rollout_id},
};

#[test]
fn late_and_doubled_words_change_nothing() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    world.waits(5);
    let old = world.last_report.clone();
    world.waits(4);
    let (confirmed, before) = (world.sees().confirmed, world.events.len());
    assert_eq!((confirmed, world.sees().reached, world.sees().meant), (3, 3, 20));
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
    // Nor does its greeting, which comes twice, begin it once more.
    let (nonce, began) = (1, first);
    world.step(CohortInput::Presence { device: device(0), nonce, began, contact: Contact::Online });
    world.step(bye(2, world.now));
    assert_eq!(world.sees().live, 2);
}

/// A device's agent starts again and counts its beats from one. They count at once, however many it had sent before.
#[test]
fn a_new_session_counts_its_beats_from_the_start() {
    let mut world = World::new(1);
    world.waits(30);
    let ignored = world.sees().ignored;
    let (nonce, began) = (77, world.now);
    world.step(CohortInput::Presence { device: device(0), nonce, began, contact: Contact::Online });
    for count in 1..3 {
        let beat = Beat { nonce, count, health: Health::Good };
        world.step(CohortInput::Beat { device: device(0), beat });
    }
    assert_eq!(world.sees().ignored, ignored);
    world.step(CohortInput::Beat { device: device(0), beat: Beat { nonce, count: 2, health: Health::Good } });
    assert_eq!(world.sees().ignored, ignored + 1, "each counts once");
}

/// The server comes back on an empty disk. The broker still has its last words: they are taken over, and the count goes
/// on from there.
#[test]
fn generations_go_on_after_a_lost_state() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    let newest = *world.generations().last().unwrap();
    world.loses_everything();
    assert_eq!((world.stage(), world.sees().generation), (Stage::Forward, Generation(newest)));
    world.waits(A_GOOD_DAY);
    assert_eq!(world.stage(), Stage::Arrived, "it has shown itself once more");
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
    world.has_seen(0, 40);
    assert_eq!(world.generations(), [1], "its words may still come");
    world.waits(1);
    assert_eq!(world.generations(), [1, 41]);
    world.has_seen(0, 50);
    world.has_seen(0, 60);
    assert_eq!(world.generations(), [1, 41], "not yet");
    world.waits(1);
    assert_eq!(world.generations(), [1, 41, 61]);
    let ignored = world.sees().ignored;
    world.has_seen(0, u64::MAX);
    world.waits(5);
    assert_eq!(
        (world.generations(), world.sees().ignored),
        (vec![1, 41, 61], ignored + 1),
        "nobody counts that far"
    );
    assert_eq!(world.stage(), Stage::Forward, "a start is newer than whatever was said before it");
}

/// The same long after the last word: how long it has been quiet is no reason to wait any less for words that may still come.
#[test]
fn a_larger_generation_is_waited_for_however_long_it_was_quiet() {
    let mut world = World::new(10);
    world.starts("r-1", "1.5.0");
    world.restarts();
    world.waits(3);
    let said = world.generations();
    world.has_seen(0, 40);
    assert_eq!(world.generations(), said, "its words may still come");
    world.waits(1);
    assert_eq!(world.generations().last(), Some(&41));
}

/// A broker that was brought back from a copy has words of ours from long ago. They say nothing by now, and nobody is told anything.
#[test]
fn old_words_of_ours_change_nothing() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(5);
    let old = world.retained.clone().unwrap();
    world.waits(A_GOOD_DAY);
    for is_restarted in [false, true] {
        if is_restarted {
            world.restarts();
        }
        let (helm, events) = (world.cohort.helm().clone(), world.events.len());
        let said = world.generations();
        world.step(CohortInput::OwnWords { steer: old.clone(), plan: world.plan.clone() });
        assert_eq!((world.cohort.helm(), world.events.len()), (&helm, events));
        assert_eq!(world.generations(), said);
    }
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 50));
}

/// Whoever has the key calls a rollout home that was followed by another one long ago. That can't be so; it is told once, and
/// nobody moves.
#[test]
fn a_thief_who_calls_home_what_is_over_is_told_of_once() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    let first = world.retained.clone().unwrap();
    world.starts("r-2", "1.6.0");
    world.waits(A_GOOD_DAY);
    let refused = |world: &World| world.count(|event| matches!(event, backstay_model::Event::Refused(_)));
    let before = refused(&world);
    let generation = Generation(world.sees().generation.0 + 5);
    let theirs = Steer { generation, direction: Direction::Home, ..first };
    world.step(CohortInput::OwnWords { steer: theirs, plan: world.plan.clone() });
    assert_eq!((refused(&world) - before, world.stage()), (1, Stage::Arrived));
    world.waits(60);
    assert_eq!((world.run("1.6.0"), world.count(turned)), (20, 0));
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
    assert_eq!((world.cohort.roster().len(), world.cohort.roster().is_empty()), (100, false));
    world.cohort = Cohort::restore(world.cohort.helm().clone(), Roster::default());
    world.step(CohortInput::Restarted);
    assert_eq!(world.cohort.roster().len(), 0);
    for n in 0..100 {
        world.step(CohortInput::Enrolled { device: device(n), labels: Vec::new() });
        world.comes(n);
    }
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Arrived, 100, 0));
}

/// The server is brought back from a copy of when the first wave was open. Since then the cohort was called home, and
/// the broker has that: it counts, quarantine and freeze included, and is not covered with the old forward.
#[test]
fn home_at_the_broker_counts_more_than_an_old_copy() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(9);
    let copy = world.cohort.helm().clone();
    world.wishes(Wish::Rollback);
    world.waits(5);
    let home = world.retained.clone().unwrap();
    let before = world.generations().len();
    world.is_restored(copy);
    assert_eq!(world.stage(), Stage::Forward, "that is what the copy says");
    // A device's word comes first, and has seen the larger generation.
    world.comes(0);
    world.hears_the_broker();
    assert_eq!((world.stage(), world.cohort.helm().steer()), (Stage::Home, Some(home.clone())));
    let sees = world.sees();
    assert_eq!(sees.quarantined, [release("1.5.0").digest]);
    assert!(matches!(sees.breaker, Breaker::Open { .. }));
    assert!(matches!(sees.frozen, Some(Cause::Steering { .. })));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Home, 0));
    assert!(world.publishes[before..].iter().skip(1).all(|steer| *steer == home), "nothing else was said");
    assert!(world.sees().frozen.is_some(), "who froze it is not known here, so a person lifts it");
    world.wishes(Wish::Thaw);
    world.starts("r-2", "1.6.0");
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.6.0")), (Stage::Arrived, 50));
}

/// The copy is from the first wave, and two more were opened since: the rollout goes on from where it really is.
#[test]
fn a_wider_reach_at_the_broker_is_taken_over() {
    let mut world = World::new(200);
    world.starts("r-1", "1.5.0");
    world.waits(9);
    let copy = world.cohort.helm().clone();
    world.waits(70);
    let wide = world.retained.clone().unwrap();
    world.is_restored(copy);
    world.hears_the_broker();
    assert_eq!(world.cohort.helm().steer(), Some(wide));
    (0..200).for_each(|n| world.comes(n));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0"), world.count(turned)), (Stage::Arrived, 200, 0));
}

/// Everything that steering can say is taken over as it was said: the same generation says the same.
#[test]
fn all_that_can_be_said_is_taken_over_as_it_is() {
    let wishes: [&[Wish]; 6] = [
        &[],
        &[Wish::Pause],
        &[Wish::Abort],
        &[Wish::Rollback],
        &[Wish::Rollback, Wish::Thaw],
        &[Wish::Pause, Wish::Resume],
    ];
    for wishes in wishes {
        for minutes in [5, A_GOOD_DAY] {
            let mut world = World::new(20);
            let copy = world.cohort.helm().clone();
            world.starts("r-1", "1.5.0");
            world.waits(minutes);
            wishes.iter().for_each(|wish| world.wishes(*wish));
            let said = world.retained.clone().unwrap();
            // What is configured may be another span by now. It is for the rollouts that begin from now on.
            world.plan.reconnect_window = Millis(77);
            world.is_restored(copy);
            world.hears_the_broker();
            assert_eq!(world.cohort.helm().steer(), Some(said), "{wishes:?} after {minutes} min");
        }
    }
}

/// Something was decided since the start, and then words turn up that are signed with our key and were not said here.
/// That is told. Home counts all the same; anything else does not undo what was decided.
#[test]
fn words_that_were_not_said_here_are_told() {
    let mut world = World::new(20);
    world.starts("r-1", "1.5.0");
    let ours = world.retained.clone().unwrap();
    let mut theirs = Steer { generation: Generation(30), rollout: rollout_id("r-9"), ..ours.clone() };
    theirs.reach = Reach::ALL;
    let plan = world.plan.clone();
    world.step(CohortInput::OwnWords { steer: theirs.clone(), plan: plan.clone() });
    assert!(world.last_refusal().unwrap().contains("signed with the director key"));
    world.waits(1);
    let again = world.retained.clone().unwrap();
    assert_eq!(again, Steer { generation: Generation(31), ..ours }, "ours is said above it");
    theirs.generation = Generation(40);
    theirs.direction = Direction::Home;
    world.step(CohortInput::OwnWords { steer: theirs, plan: plan.clone() });
    assert_eq!((world.stage(), world.sees().generation), (Stage::Home, Generation(40)));
    let far = Steer { generation: Generation(u64::MAX), ..again };
    world.step(CohortInput::OwnWords { steer: far, plan });
    assert!(world.last_refusal().unwrap().contains("too far ahead"));
    assert_eq!(world.sees().generation, Generation(40));
}

/// What can't be our own: a rollout that goes forward after home, shrinks, or comes back after another one.
#[test]
fn words_that_contradict_what_was_said_are_not_taken_over() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(40);
    let wide = world.retained.clone().unwrap();
    let plan = world.plan.clone();
    let claims = |world: &mut World, steer: Steer| {
        world.restarts();
        let before = world.cohort.helm().clone();
        let generation = Generation(before.generation().0 + 5);
        world.step(CohortInput::OwnWords { steer: Steer { generation, ..steer }, plan: plan.clone() });
        assert!(world.last_refusal().unwrap().contains("can't have been said"), "{:?}", world.last_refusal());
        assert_eq!(world.cohort.helm().steer(), before.steer());
    };
    claims(&mut world, Steer { reach: Reach::new(1).unwrap(), ..wide.clone() });
    claims(&mut world, Steer { release: release("9.9.9"), ..wide.clone() });
    claims(&mut world, Steer { frozen: true, ..wide.clone() });
    world.wishes(Wish::Abort);
    claims(&mut world, wide.clone());
    world.wishes(Wish::Rollback);
    claims(&mut world, wide.clone());
    world.wishes(Wish::Thaw);
    world.wishes(Wish::CloseBreaker);
    world.starts("r-2", "1.6.0");
    claims(&mut world, wide);
}

/// The server is from an old copy, the broker has lost everything, and devices have seen more than the copy says. What
/// they have seen may have been home, so nobody starts anything before a person has looked.
#[test]
fn forward_from_an_old_copy_is_held_where_nobody_knows_better() {
    let mut world = World::new(50);
    world.starts("r-1", "1.5.0");
    world.waits(9);
    let copy = world.cohort.helm().clone();
    world.waits(30);
    world.retained = None;
    world.is_restored(copy);
    (0..50).for_each(|n| world.comes(n));
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.sees().frozen.is_some()), (Stage::Held, true));
    assert_eq!(world.retained.as_ref().unwrap().direction, Direction::Hold);
    world.wishes(Wish::Resume);
    world.waits(A_GOOD_DAY);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 50));
}

/// A device is cut off while it is on its way, and what it had to say is lost. Nobody saw it on the release; when it comes back it has
/// condemned it, and that is a failure like any other.
#[test]
fn what_failed_while_nobody_listened_has_failed() {
    let mut world = World::new(20);
    let first = world.in_order("r-1")[0];
    world.fate(first, Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.goes(first);
    world.waits(9);
    assert_eq!((world.sees().failed, world.run("1.5.0")), (0, 2));
    world.comes(first);
    assert_eq!((world.sees().failed, world.sees().excluded), (1, 0));
}
