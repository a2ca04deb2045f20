//! How far a release reaches: waves, selectors, and who counts as updated.

use alloc::vec::Vec;

use backstay_model::{Event, Label, Reach, Selector};

use super::A_GOOD_DAY;
use crate::cohort::{
    CohortEffect, CohortInput, Stage,
    world::{Fate, World, device, release, rollout_id, who},
};

/// A policy is asked about a cohort by how those do who run the release, beside how many settled: what settles may fall ill later.
#[test]
fn a_policy_is_shown_how_those_do_who_run_the_release() {
    let mut world = World::new(100);
    world.starts("r-1", "1.5.0");
    world.waits(30);
    let facts = world
        .events
        .iter()
        .rev()
        .find_map(|event| if let Event::Asked { facts, .. } = event { Some(facts) } else { None });
    let mut shown = facts.unwrap().objectives.iter();
    let health = shown.find(|objective| objective.name.as_str() == "health").unwrap();
    let newest = health.candidate.last().unwrap();
    assert!(newest.samples > 0 && newest.bad == 0, "{newest:?}");
}

/// The only one who tried it is home again. How the others do, on what they had before, says nothing of the release, and isn't shown.
#[test]
fn a_policy_is_shown_no_health_where_nobody_runs_the_release() {
    let mut world = World::new(3);
    world.all_fates(Fate::SitsOut);
    world.fate(0, Fate::Fails);
    world.starts("r-1", "1.5.0");
    world.waits(15);
    assert_eq!((world.run("1.5.0"), world.sees().failed), (0, 1));
    let mut asked = world.events.iter().filter_map(|event| {
        if let Event::Asked { facts, .. } = event { Some(&facts.objectives) } else { None }
    });
    let shown: Vec<_> = asked.next().unwrap().iter().map(|objective| objective.name.as_str()).collect();
    assert_eq!(shown, ["ota-success", "beats"]);
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
    let kinds: Vec<_> = effects.iter().map(|effect| matches!(effect, CohortEffect::Publish(_))).collect();
    assert_eq!(kinds, [false, false, false, true], "override, wave, steering, and only then the message");
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

#[test]
fn a_cohort_of_one_is_updated() {
    let mut world = World::new(1);
    world.starts("r-1", "1.5.0");
    world.waits(45);
    assert_eq!((world.stage(), world.run("1.5.0")), (Stage::Arrived, 1));
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
