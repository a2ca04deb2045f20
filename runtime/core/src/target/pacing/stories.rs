//! A canary that a controller takes further by itself, and what it is told.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_model::{Action, How, Millis, Mode, Task};

use crate::target::{
    Hold, TargetSettings, Wish,
    world::{ROLL_BACK, World, settings},
};

const SLOW: Option<Action> = Some(Action::Slow { windows: 1 });

fn shop() -> World {
    let mut world = World::new();
    world.watches("shop", TargetSettings { holds: true, ..settings() });
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world
}

/// Whatever is being done ends well. Gives the playbooks.
fn settles(world: &mut World) -> Vec<String> {
    let mut done = Vec::new();
    while !world.runs.is_empty() {
        done.push(match world.run_ends() {
            Task::Heal { playbook } => playbook.to_string(),
            Task::GoHome { release } => format!("home to {}", release.version),
            Task::Install { .. } | Task::Confirm { .. } => panic!("no such order is given to a target"),
        });
    }
    done
}

#[test]
fn slow_holds_it_and_proceed_lets_it_go_on() {
    let mut world = shop();
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["go-on"], "whoever held it before, nobody knows");
    world.windows("shop", 2);
    assert!(settles(&mut world).is_empty(), "it goes on as it did");
    world.says("shop", SLOW);
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"]);
    world.windows("shop", 3);
    assert!(settles(&mut world).is_empty(), "it is held already");
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 2);
    assert_eq!(settles(&mut world), ["go-on"]);
}

#[test]
fn without_an_answer_it_is_held_too() {
    let mut world = shop();
    world.says("shop", None);
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"]);
    assert_eq!(world.heard("heal by hold; the policy did not answer"), 1, "{:#?}", world.told);
}

#[test]
fn what_has_all_the_traffic_is_held_only_where_it_is_frozen() {
    let mut world = shop();
    world.deploys("shop", "2.0", 1000);
    for says in [SLOW, Some(Action::Freeze), None] {
        world.says("shop", says);
        world.windows("shop", 1);
    }
    assert!(settles(&mut world).is_empty());
    world.wishes("shop", Wish::Freeze);
    assert_eq!(settles(&mut world), ["hold"], "what is let out next stands");
}

/// Held before it had a single pod, a release would never show how it does: whoever thaws lets it go on, whatever was seen.
#[test]
fn who_thaws_lets_it_go_on() {
    let mut world = shop();
    world.wishes("shop", Wish::Freeze);
    assert_eq!(settles(&mut world), ["hold"]);
    world.deploys("shop", "3.0", 100);
    world.wishes("shop", Wish::Thaw);
    assert_eq!(settles(&mut world), ["go-on"]);
    assert_eq!(world.state("shop").hold(), &Hold::Free);
}

#[test]
fn a_canary_that_goes_home_is_not_held_first() {
    let mut world = shop();
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["home to 1.0"]);
    world.wishes("shop", Wish::CloseBreaker);
    world.deploys("shop", "3.0", 600);
    world.says("shop", Some(Action::RollBack { how: How::SwitchAndFreeze }));
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["home to 1.0", "hold"], "and nothing goes out until a person says so");
}

#[test]
fn a_hold_that_fails_is_tried_again_and_a_person_is_told() {
    let mut world = shop();
    world.says("shop", SLOW);
    for tries in 1..=3 {
        assert_eq!(world.pages.len(), 0, "not after {tries} tries");
        world.windows("shop", 2);
        world.fails_for_now();
    }
    assert_eq!(world.pages.len(), 1, "{:#?}", world.pages);
    world.waits(Millis::from_secs(60));
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"], "frozen or not, it is still to be held");
}

#[test]
fn after_a_restart_it_is_asked_for_once_more() {
    let mut world = shop();
    world.says("shop", SLOW);
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"]);
    world.restarts();
    world.windows("shop", 2);
    assert_eq!(settles(&mut world), ["hold"]);
}

#[test]
fn nobody_is_told_anything_who_only_observes_or_can_not_hold() {
    for changed in [
        TargetSettings { holds: true, mode: Mode::Observe, ..settings() },
        TargetSettings { holds: false, ..settings() },
    ] {
        let mut world = shop();
        world.watches("shop", changed);
        world.says("shop", SLOW);
        world.windows("shop", 2);
        world.wishes("shop", Wish::Freeze);
        world.wishes("shop", Wish::Thaw);
        assert!(settles(&mut world).is_empty());
    }
}
