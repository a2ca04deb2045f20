//! A canary that a controller takes further by itself, and what it is told.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_model::{Action, How, Millis, Mode, Permille, Task};

use crate::target::{
    Hold, Signals, TargetInput, TargetSettings, Wish, Work,
    world::{ROLL_BACK, World, release, settings, target},
};

const SLOW: Option<Action> = Some(Action::Slow { windows: 1 });

/// A canary on its way, of which the executor was told that it may go on: whoever held anything before, nobody knew.
fn shop() -> World {
    let mut world = World::new();
    world.watches("shop", TargetSettings { holds: true, ..settings() });
    world.has_good("shop", "1.0");
    assert_eq!(settles(&mut world), ["go-on"]);
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

/// Nothing is frozen where the policy says slow, and it stands all the same: a person may have it go on, before a restart and after.
#[test]
fn what_only_slow_holds_a_person_lets_go_on() {
    let heeds = |world: &World| world.estate.target(&target("shop")).unwrap().heeds(&Wish::Thaw);
    let mut world = shop();
    world.windows("shop", 1);
    assert_eq!(heeds(&world), Some("it is not frozen"), "nor held");
    world.says("shop", SLOW);
    for restarts in [false, true] {
        world.windows("shop", 1);
        assert_eq!(settles(&mut world), ["hold"]);
        if restarts {
            world.restarts();
        }
        assert_eq!(heeds(&world), None);
        world.wishes("shop", Wish::Thaw);
        assert_eq!(settles(&mut world), ["go-on"]);
    }
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
    assert_eq!(settles(&mut world), ["hold"], "what is let out meanwhile stands as well");
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
    assert_eq!(settles(&mut world), ["go-on"], "how the way home left it isn't known");
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

/// Windows come more often than an executor that can't is asked again.
#[test]
fn a_hold_that_failed_is_not_tried_with_every_window() {
    let mut world = shop();
    world.says("shop", SLOW);
    world.windows("shop", 2);
    world.fails_for_now();
    for _ in 0..3 {
        world.step("shop", TargetInput::Window(Signals::default()));
        assert!(world.runs.is_empty());
    }
    world.windows("shop", 2);
    assert_eq!(settles(&mut world), ["hold"]);
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

/// An executor waits for pods that never come, or for an API server that is down. What it waits for is what is bad.
#[test]
fn a_hold_under_way_keeps_nothing_from_going_home() {
    for by_a_person in [true, false] {
        let mut world = shop();
        world.says("shop", SLOW);
        world.windows("shop", 1);
        if by_a_person {
            world.wishes("shop", Wish::RollBack);
        } else {
            world.says("shop", Some(ROLL_BACK));
            world.windows("shop", 1);
        }
        assert!(
            matches!(world.state("shop").work(), Work::Running(run) if run.order.task.to_string().contains("1.0"))
        );
        assert_eq!(world.heard("something else was to be done first"), 1, "{:#?}", world.told);
        // The one that was let go of ends late.
        assert_eq!(settles(&mut world), ["hold", "home to 1.0"]);
        assert_eq!(world.runs_version("shop"), "1.0");
    }
}

/// It can't be held, and that is no reason to let it stay.
#[test]
fn what_can_not_be_held_goes_home_all_the_same() {
    let mut world = shop();
    world.says("shop", SLOW);
    for _ in 0..3 {
        world.windows("shop", 2);
        assert_eq!(world.fails_for_now().to_string(), "heal by hold");
    }
    assert_eq!(world.pages.len(), 1, "{:#?}", world.pages);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["home to 1.0"]);
}

/// One that can't be let go on stands for ever, and nobody would know.
#[test]
fn who_can_not_be_let_go_on_is_told_of() {
    let mut world = shop();
    world.says("shop", SLOW);
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"]);
    world.says("shop", Some(Action::Proceed));
    for tries in 1..=3 {
        assert_eq!(world.pages.len(), 0, "not after {tries} tries");
        world.windows("shop", 2);
        world.fails_for_now();
    }
    assert_eq!(world.pages.len(), 1, "{:#?}", world.pages);
    world.says("shop", SLOW);
    world.windows("shop", 1);
    world.fails_for_now();
    assert_eq!(
        (world.pages.len(), world.state("shop").hold()),
        (1, &Hold::Free),
        "that it can't be held is another matter"
    );
}

/// What was seen before a person looked is what they looked at.
#[test]
fn what_a_person_lets_go_on_is_not_held_again_before_a_window_says_so() {
    let mut world = shop();
    world.says("shop", Some(Action::Freeze));
    world.windows("shop", 1);
    world.wishes("shop", Wish::Thaw);
    assert_eq!(settles(&mut world), ["hold", "go-on"], "the hold was under way");
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"]);
}

/// The one that was held is left behind by another: held from the first, that would never have data.
#[test]
fn another_release_is_not_held_for_the_one_before() {
    let mut world = shop();
    world.says("shop", Some(Action::Freeze));
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"]);
    world.deploys("shop", "3.0", 100);
    assert_eq!(settles(&mut world), ["go-on"]);
    world.windows("shop", 1);
    assert_eq!(settles(&mut world), ["hold"], "it is no better");
    assert_eq!(world.heard("heal by go-on; there is no data"), 2, "{:#?}", world.told);
    world.wishes("shop", Wish::Freeze);
    world.deploys("shop", "4.0", 100);
    assert_eq!(settles(&mut world), ["hold"], "what a person froze stays so, whatever is let out");
}

/// It was held before a restart, and is out by other means. The next release must not stand for that.
#[test]
fn what_was_held_before_a_restart_is_let_go_of_after_it() {
    let mut world = shop();
    world.says("shop", SLOW);
    world.windows("shop", 1);
    settles(&mut world);
    world.restarts();
    world.deploys("shop", "2.0", 1000);
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 2);
    assert_eq!(settles(&mut world), ["go-on"]);
}

/// Nobody watches what is held any more, or only observes it. It stands outside, so somebody has to know, once; and whoever has it
/// watched again can let it go on.
#[test]
fn what_is_held_and_let_alone_is_told_of() {
    let holds = |holds, mode| TargetSettings { holds, mode, ..settings() };
    let still = |world: &World| world.pages.iter().filter(|page| page.contains("may still stand")).count();
    for changed in [None, Some(holds(true, Mode::Observe)), Some(holds(false, Mode::Enforce))] {
        for restarts in [false, true] {
            let mut world = shop();
            world.says("shop", SLOW);
            world.windows("shop", 1);
            assert_eq!(settles(&mut world), ["hold"]);
            world.restarts();
            assert_eq!(still(&world), 0, "it is looked after");
            match changed.clone() {
                changed if restarts => world.restarts_with("shop", changed),
                Some(changed) => world.watches("shop", changed),
                None => world.forgets("shop"),
            }
            world.restarts();
            assert_eq!((still(&world), world.heard("may still stand")), (1, 1), "{:#?}", world.told);
            world.watches("shop", holds(true, Mode::Enforce));
            assert_eq!(world.estate.target(&target("shop")).unwrap().heeds(&Wish::Thaw), None);
            world.wishes("shop", Wish::Thaw);
            assert_eq!(settles(&mut world), ["go-on"]);
            world.forgets("shop");
            assert_eq!(still(&world), 1, "it went on before");
        }
    }
}

/// To hold it changes nothing of what is out.
#[test]
fn what_is_seen_while_it_is_held_counts() {
    let mut world = shop();
    world.says("shop", SLOW);
    world.windows("shop", 1);
    let stage = Permille::new(200).unwrap();
    world.step("shop", TargetInput::SeenOut { release: release("2.0"), stage });
    assert_eq!(world.state("shop").out().unwrap().stage, stage);
}
