//! What people and builds want, and what the rails let through.

use alloc::{string::ToString, vec};

use backstay_model::{Cause, Direction, Event, Label, Millis, Selector, WayHome};

use super::{A_GOOD_DAY, turned};
use crate::cohort::{
    CohortInput, Leading, Stage, StartError, Startable, Wish, WishError,
    world::{Fate, World, release, rollout_id, who},
};

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
    assert_eq!(world.sees().on_release.going_home, 49);
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
    rollout.selector = Selector::Labelled(vec![Label::parse("site=basel").unwrap(); 17]);
    world.step(CohortInput::Start { who: who(), rollout: rollout.clone() });
    let many = "rollout r-1 asks for 17 labels, at most 16 are allowed";
    assert_eq!(world.last_refusal().as_deref(), Some(many));
    rollout.plan.waves.clear();
    world.step(CohortInput::Start { who: who(), rollout });
    let why = "the plan of rollout r-1 can't be followed: a plan has 1 to 16 waves, not 0";
    assert_eq!((world.last_refusal().as_deref(), world.publishes.len()), (Some(why), 0));
}

/// Home is where the cohort was brought to last, as long as it may be gone back to.
#[test]
fn a_rollout_leads_back_to_where_the_cohort_was() {
    let mut world = World::new(20);
    let both = WayHome([release("1.4.0").digest, release("1.5.0").digest].into());
    let back = |world: &World, rollout: &str, version: &str, way: &WayHome, named: Option<&str>| {
        let (rollout, release_) = (rollout_id(rollout), release(version));
        let leading = Leading { rollout: &rollout, release: &release_, way };
        let back = world.cohort.way_back(leading, named.map(release).as_ref(), |_| true);
        back.map(|back| back.map(|back| back.version.to_string()))
    };
    let somewhere = |version: &str| Ok(Some(version.into()));
    assert_eq!(back(&world, "r-1", "1.5.0", &both, None), Ok(None), "nobody knows yet");
    assert_eq!(back(&world, "r-1", "1.5.0", &both, Some("1.4.0")), somewhere("1.4.0"));
    let why = back(&world, "r-1", "1.5.0", &WayHome::default(), Some("1.4.0")).unwrap_err();
    assert!(why.to_string().starts_with("release 1.5.0 ("), "{why}");
    assert!(why.to_string().contains("may not be left for 1.4.0 (") && why.help().is_some(), "{why}");
    assert_eq!(why.rail(), Some(Cause::NoWayHome));
    world.starts("r-1", "1.5.0");
    world.waits(A_GOOD_DAY);
    assert_eq!(back(&world, "r-2", "1.6.0", &both, None), somewhere("1.5.0"));
    assert_eq!(back(&world, "r-2", "1.6.0", &WayHome::default(), None), Ok(None), "to each its own");
    assert_eq!(back(&world, "r-1", "1.5.0", &both, None), somewhere("1.4.0"), "begun twice it is the same");
    // It was bad after all: home is what was there before.
    world.wishes(Wish::Rollback);
    assert_eq!(world.retained.as_ref().unwrap().back, Some(release("1.4.0")));
    assert_eq!(back(&world, "r-2", "1.6.0", &both, None), somewhere("1.4.0"));
    let left = back(&world, "r-2", "1.6.0", &both, Some("1.5.0"));
    assert_eq!(left, Err(StartError::Quarantined { release: release("1.5.0").digest }));
}

/// A reason is part of what is recorded, and is as long as a record allows.
#[test]
fn a_wish_is_recorded_with_its_reason() {
    let mut world = World::new(3);
    world.starts("r-1", "1.5.0");
    let reason = Some("the lab is on fire ".repeat(100));
    world.step(CohortInput::Operator { who: who(), wish: Wish::Pause, reason });
    let said =
        world.events.iter().rev().find_map(|event| {
            if let Event::Override { what, .. } = event { Some(what.clone()) } else { None }
        });
    let said = said.unwrap();
    assert!(said.starts_with("pause: the lab is on fire") && said.len() <= 256, "{said}");
}
