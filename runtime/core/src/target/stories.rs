//! The rails of targets, each told as a story.

use backstay_model::{
    Action, Digest, How, IncidentEnd, IncidentId, IncidentLabel, Millis, Mode, Mono, Objective, Outcome,
    Permille, Rail, SchemaRange, Scope, Task, Transience, Window,
};

use super::{
    Hold, Incident, SharedData, Signals, TargetEffect, TargetInput, TargetSettings, Wish,
    world::{ROLL_BACK, World, name, release, settings, target},
};
use crate::{Breaker, Rung};

/// A canary is bad. It goes home, is never let out again by itself, and nothing is promoted for a while.
#[test]
fn a_bad_canary_goes_home_and_stays_out() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    assert!(world.state("shop").is_quarantined(&release("2.0").digest), "before the run begins");
    assert_eq!(world.advice("shop", "2.0", None).action, ROLL_BACK);
    assert_eq!(world.run_ends(), Task::GoHome { release: release("1.0") });
    let left = world.state("shop").incident().and_then(Incident::left);
    assert_eq!(left, Some(&release("2.0")), "it is being looked at whether that helped");
    assert_eq!(world.heard("the promotion breaker closed"), 0, "it had never been open");
    assert_eq!(world.runs_version("shop"), "1.0");
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 3);
    let past = &world.state("shop").past()[0];
    assert_eq!((past.end, past.label), (IncidentEnd::RolledBack, Some(IncidentLabel::TruePositive)));
    assert_eq!(world.advice("shop", "2.0", None).action, Action::Freeze, "it isn't out, and stays so");
    assert_eq!(world.advice("shop", "3.0", Some(50)).action, Action::Freeze, "the breaker is open");
    world.waits(Millis::from_secs(46 * 60));
    world.windows("shop", 1);
    assert_eq!(world.advice("shop", "3.0", Some(50)).action, Action::Proceed, "a small stage");
    assert_eq!(world.advice("shop", "3.0", Some(100)).action, Action::Proceed, "the largest small one");
    assert!(matches!(world.advice("shop", "3.0", Some(500)).action, Action::Slow { .. }), "no large one");
    assert!(
        matches!(world.advice("shop", "3.0", None).action, Action::Slow { .. }),
        "nobody says that it is small"
    );
    world.deploys("shop", "3.0", 100);
    world.windows("shop", 3);
    assert_eq!(world.heard("the promotion breaker closed"), 1);
    assert_eq!(world.state("shop").breaker(), &Breaker::Closed);
}

/// A service falls ill every hour and a half, and a restart mends it each time. That is no cure: the fourth time a person is called.
#[test]
fn what_comes_back_within_hours_is_not_mended_for_ever() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    for _ in 0..3 {
        world.says("shop", Some(Action::Heal { playbook: None }));
        world.windows("shop", 1);
        assert_eq!(world.run_ends(), Task::Heal { playbook: name("restart") });
        world.says("shop", Some(Action::Proceed));
        world.windows("shop", 3);
        assert!(world.pages.is_empty(), "{:?}", world.pages);
        world.waits(Millis::from_secs(90 * 60));
    }
    world.says("shop", Some(Action::Heal { playbook: None }));
    world.windows("shop", 1);
    assert!(world.runs.is_empty(), "{:?}", world.runs);
    assert_eq!(world.pages.len(), 1, "{:#?}", world.told);
}

/// While a service is being mended the time of its breaker comes. That ends nothing: the run has as long as any.
#[test]
fn a_run_is_not_cut_short_by_what_else_has_its_time() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.run_ends();
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 42);
    world.says("shop", Some(Action::Heal { playbook: None }));
    world.windows("shop", 1);
    assert_eq!(world.runs.len(), 1);
    world.waits(Millis::from_secs(5 * 60));
    assert_eq!(world.heard("took longer"), 0, "{:#?}", world.told);
    world.run_ends();
    world.windows("shop", 1);
    assert_eq!(world.state("shop").breaker(), &Breaker::HalfOpen, "its time came in between");
}

/// Whoever reads the evidence later has to find why nothing was promoted: an answer is left out only where it says once more that all
/// is well.
#[test]
fn what_the_policy_says_is_written_down_unless_it_is_well_once_more() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    let written = world.heard("said proceed");
    world.windows("shop", 5);
    assert_eq!(world.heard("said proceed"), written, "well, and well again");
    world.says("shop", Some(Action::Slow { windows: 2 }));
    world.windows("shop", 2);
    assert_eq!(world.heard("said slow"), 2, "{:#?}", world.told);
    world.says("shop", Some(Action::Freeze));
    world.windows("shop", 1);
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 2);
    assert_eq!(
        world.heard("said proceed"),
        written + 2,
        "an incident is open: it counts how long it is well"
    );
}

/// A person is told before they do it that it would change nothing.
#[test]
fn what_would_change_nothing_is_said_beforehand() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    let heeds = |world: &World, wish: &Wish| world.estate.target(&target("shop")).unwrap().heeds(wish);
    assert_eq!(heeds(&world, &Wish::CloseBreaker), Some("its breaker is closed"));
    assert_eq!(heeds(&world, &Wish::Thaw), Some("it is not frozen"));
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.run_ends();
    world.wishes("shop", Wish::Freeze);
    assert_eq!((heeds(&world, &Wish::CloseBreaker), heeds(&world, &Wish::Thaw)), (None, None));
    let mark = |id| Wish::Mark(id, IncidentLabel::TruePositive);
    let open = world.state("shop").incident().unwrap().id;
    assert_eq!(heeds(&world, &mark(open)), None);
    assert_eq!(heeds(&world, &mark(IncidentId(open.0 + 1))), Some("there is no such incident here"));
    assert_eq!(heeds(&world, &Wish::Heal(name("restart"))), None);
    assert_eq!(heeds(&world, &Wish::Heal(name("dance"))), Some("no such playbook is configured for it"));
}

/// Before a person presses the button they are shown what it would do, also while something keeps it from being done; and to be
/// shown it does nothing.
#[test]
fn what_would_be_done_is_shown_before_it_is() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.wishes("shop", Wish::Freeze);
    let shown = |wanted: &Action| world.estate.task(world.now, &target("shop"), wanted);
    assert_eq!(shown(&ROLL_BACK), Some(Task::GoHome { release: release("1.0") }));
    assert_eq!(shown(&Action::Heal { playbook: None }), Some(Task::Heal { playbook: name("restart") }));
    assert_eq!(shown(&Action::Proceed), None);
    assert_eq!(world.estate.task(world.now, &target("cart"), &ROLL_BACK), None, "nobody watches it");
    assert!(world.runs.is_empty() && world.runs_version("shop") == "2.0");
}

/// Some playbooks mend nothing by themselves: those are done for who asks for them, and never climbed to.
#[test]
fn what_is_done_by_name_alone_is_no_rung() {
    let by_name = Rung { playbook: name("unfreeze"), attempts: 0 };
    let mut world = World::new();
    let playbooks = alloc::vec![by_name, Rung { playbook: name("restart"), attempts: 1 }];
    world.watches("shop", TargetSettings { playbooks, ..settings() });
    world.has_good("shop", "1.0");
    world.says("shop", Some(Action::Heal { playbook: None }));
    world.windows("shop", 1);
    assert_eq!(world.run_ends(), Task::Heal { playbook: name("restart") });
    world.windows("shop", 2);
    assert!(world.runs.is_empty(), "the ladder is spent: {:?}", world.runs);
    world.wishes("shop", Wish::Thaw);
    world.wishes("shop", Wish::Heal(name("unfreeze")));
    assert_eq!(world.run_ends(), Task::Heal { playbook: name("unfreeze") });
}

/// The only release that was ever good goes bad, and there is nowhere to go. What follows is bad, too, and the first is no home for
/// it: not before it has been good again for as long as it once took to trust it.
#[test]
fn what_was_to_be_left_is_no_home() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 2);
    assert_eq!(world.heard("was to be left: it is no way home any more"), 1, "{:#?}", world.told);
    world.wishes("shop", Wish::Thaw);
    world.deploys("shop", "2.0", 1000);
    world.windows("shop", 1);
    assert!(world.runs.is_empty(), "{:?}", world.runs);
    assert_eq!(world.pages.len(), 2, "there is no way home");
    world.wishes("shop", Wish::Thaw);
    world.says("shop", Some(Action::Proceed));
    world.has_good("shop", "1.0");
    world.deploys("shop", "3.0", 1000);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    assert_eq!(world.run_ends(), Task::GoHome { release: release("1.0") });
}

/// A person has put the release before back by hand, and its executor sees it. What it can live with was told when it was let out.
#[test]
fn what_is_seen_again_can_live_with_what_it_could() {
    let mut world = World::of(&["shop"]);
    let range = Some(SchemaRange { from: 3, to: 4 });
    world.deploys_for("shop", "1.0", 1000, range);
    world.windows("shop", 3);
    world.deploys("shop", "2.0", 100);
    world.step("shop", TargetInput::SeenOut { release: release("1.0"), stage: Permille::ALL });
    assert_eq!(world.state("shop").out().map(|out| (out.confirmed, out.schema)), Some((true, range)));
}

/// Half of the traffic is on the bad release: all of it is switched, and what goes out next a person decides. The stable
/// side is looked after meanwhile.
#[test]
fn after_a_switch_a_person_decides_what_goes_out() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 500);
    world.says("shop", Some(Action::RollBack { how: How::SwitchAndFreeze }));
    world.windows("shop", 1);
    world.run_ends();
    assert_eq!(world.pages.len(), 1);
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 60);
    assert_eq!(world.advice("shop", "3.0", Some(50)).action, Action::Freeze);
    world.says("shop", Some(Action::Heal { playbook: None }));
    world.windows("shop", 1);
    assert!(matches!(world.run_ends(), Task::Heal { .. }));
    world.says("shop", Some(Action::Proceed));
    world.wishes("shop", Wish::Thaw);
    world.windows("shop", 3);
    assert_eq!(world.advice("shop", "3.0", Some(50)).action, Action::Proceed);
}

/// The world is bad, not the release: both sides fail alike. Going back would help nobody.
#[test]
fn a_shared_fault_moves_nobody() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.window_of("shop", 30, 28);
    assert!(world.runs.is_empty());
    assert_eq!(world.heard("errors is broken there, too"), 2, "kept from it, and held");
    world.window_of("shop", 30, 1);
    assert_eq!(world.runs.len(), 1, "now it is the release");
}

/// What the sides tell of one objective: how many of 100 were bad on the one that is judged, and what the other one saw.
fn objective(of: &str, bad: u32, baseline: Window) -> Objective {
    let candidate = Window { samples: 100, bad, ..baseline };
    let (candidate, baseline) = (alloc::vec![candidate], alloc::vec![baseline]);
    Objective { name: name(of), critical: true, scope: Scope::Local, candidate, baseline }
}

/// What is well on both sides says nothing of a fault that both have; and a side without traffic says nothing at all: there the release
/// is all that is known to be wrong.
#[test]
fn only_what_is_broken_on_both_sides_is_shared() {
    let decides = |errors: Window| {
        let mut world = World::of(&["shop"]);
        world.has_good("shop", "1.0");
        world.deploys("shop", "2.0", 100);
        world.says("shop", Some(ROLL_BACK));
        let well = objective("latency", 0, Window { bad: 0, samples: 100, ..errors });
        // Of what matters less, and of what is somebody else's, only the side that is judged is bad.
        let fine_there = Window { bad: 0, samples: 100, ..errors };
        let minor = Objective { critical: false, ..objective("jitter", 30, fine_there) };
        let theirs = Objective { scope: Scope::Dependency, ..objective("uplink", 30, fine_there) };
        let objectives = alloc::vec![well, minor, theirs, objective("errors", 30, errors)];
        world.step("shop", TargetInput::Window(Signals { objectives, ..Signals::default() }));
        (world.runs.len(), world.heard("errors is broken there, too"))
    };
    let errors = Window { opened: Mono(0), span: Millis::from_secs(60), samples: 100, bad: 28 };
    assert_eq!(decides(errors), (0, 2));
    assert_eq!(decides(Window { samples: 0, bad: 0, ..errors }), (1, 0));
}

/// Nothing goes out after a switch. Somebody lets the next release out all the same, and the way back from that one fails for good. That
/// stops more, so it is what a person is told, and sees.
#[test]
fn what_stops_more_is_what_a_person_sees() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 500);
    world.says("shop", Some(Action::RollBack { how: How::SwitchAndFreeze }));
    world.windows("shop", 1);
    world.run_ends();
    assert!(matches!(world.state("shop").hold(), Hold::Frozen { rail: Rail::Switched, .. }));
    world.deploys("shop", "3.0", 500);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.run_ends_with(Outcome::Failed { transience: Transience::Permanent, why: "no such unit".into() });
    assert!(matches!(world.state("shop").hold(), Hold::Frozen { rail: Rail::RunFailed { .. }, .. }));
    assert_eq!(world.pages.len(), 2, "{:?}", world.pages);
}

/// Nothing is known, so nothing moves; when data are back, it goes on by itself.
#[test]
fn no_answer_holds_and_good_windows_lift_it() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    for silence in [None, Some(Action::Freeze), Some(Action::Pause)] {
        world.says("shop", silence);
        world.windows("shop", 3);
        assert_eq!(world.advice("shop", "2.0", None).action, Action::Freeze);
        assert!(world.runs.is_empty() && world.pages.is_empty());
        world.says("shop", Some(Action::Proceed));
        world.windows("shop", 1);
        assert_eq!(*world.state("shop").hold(), Hold::Free);
    }
}

/// An answer that is old means no more than none.
#[test]
fn a_stale_answer_is_no_answer() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    assert_eq!(world.advice("shop", "2.0", None).action, Action::Proceed);
    world.waits(Millis::from_secs(181));
    assert_eq!(world.advice("shop", "2.0", None).action, Action::Freeze);
}

/// A flake is mended, and counts as cured only after it was held healthy for as long as a proof takes.
#[test]
fn a_cure_has_to_be_proven() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.says("shop", Some(Action::Heal { playbook: None }));
    world.windows("shop", 1);
    assert!(matches!(world.run_ends(), Task::Heal { .. }));
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 2);
    assert_eq!(world.heard("cured"), 0, "two windows are no proof");
    world.says("shop", Some(Action::Heal { playbook: None }));
    world.windows("shop", 2);
    world.run_ends();
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 3);
    assert_eq!(world.heard("cured after 2 tries"), 1);
    assert_eq!(world.state("shop").past()[0].end, IncidentEnd::Healed);
}

/// Mending has a cap and pauses that grow; at its end a person is told, once.
#[test]
fn mending_ends() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.says("shop", Some(Action::Heal { playbook: None }));
    let mut tries = 0;
    for _ in 0..20 {
        world.windows("shop", 1);
        while !world.runs.is_empty() {
            world.run_ends();
            tries += 1;
        }
    }
    assert_eq!(tries, 2);
    assert_eq!(world.pages, ["2 tries to mend it did not help"]);
}

/// It is mended, and falls ill again, and again: that isn't a cure.
#[test]
fn a_fault_that_keeps_coming_back_is_a_persons() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    let mut mended = 0;
    for _ in 0..6 {
        world.says("shop", Some(Action::Heal { playbook: None }));
        world.windows("shop", 1);
        if world.runs.pop_front().is_some_and(|(_, order)| {
            let (ticket, outcome) = (order.ticket, Outcome::Done);
            world.step("shop", TargetInput::Ended { ticket, outcome });
            true
        }) {
            mended += 1;
        }
        world.says("shop", Some(Action::Proceed));
        world.windows("shop", 3);
    }
    assert_eq!(mended, 3);
    assert_eq!(world.pages.len(), 1, "{:?}", world.pages);
}

/// Somebody lets the bad release out again. Once it is sent back; the second time two are fighting, and a person is told.
#[test]
fn what_is_undone_twice_is_a_fight() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.run_ends();
    world.says("shop", Some(Action::Proceed));
    world.deploys("shop", "2.0", 100);
    assert_eq!(world.run_ends(), Task::GoHome { release: release("1.0") }, "without waiting for windows");
    world.deploys("shop", "2.0", 100);
    assert!(world.runs.is_empty());
    assert_eq!(world.pages, ["what was done here was undone 2 times by somebody else"]);
    world.deploys("shop", "1.0", 1000);
    world.windows("shop", 50);
    assert!(world.runs.is_empty());
    assert!(matches!(world.state("shop").hold(), Hold::Frozen { .. }), "no window lifts it");
}

/// A controller takes a bad release further while it is being sent back. Nobody has let it out again, so nobody is to be fought.
#[test]
fn what_goes_further_on_its_way_back_is_no_fight() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    for stage in [200, 300, 400] {
        world.deploys("shop", "2.0", stage);
    }
    assert!(world.pages.is_empty(), "{:?}", world.pages);
    assert_eq!(world.run_ends(), Task::GoHome { release: release("1.0") });
    world.deploys("shop", "2.0", 100);
    assert_eq!(world.run_ends(), Task::GoHome { release: release("1.0") }, "now it is out again, once");
    world.deploys("shop", "2.0", 100);
    assert_eq!(world.pages, ["what was done here was undone 2 times by somebody else"]);
}

/// There is only one run at a time, and one that hangs is let go of at its limit.
#[test]
fn one_run_at_a_time() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 5);
    world.wishes("shop", Wish::RollBack);
    assert_eq!(world.runs.len(), 1);
    let first = world.runs.pop_front().unwrap().1;
    world.waits(Millis::from_secs(16 * 60));
    let second = world.runs.pop_front().unwrap().1;
    assert!(second.fence > first.fence, "who was let go of comes too late");
}

/// A run that fails for now is begun again, a few times; then a person is told.
#[test]
fn a_way_home_that_fails_is_tried_again() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    for _ in 0..2 {
        world.fails_for_now();
        assert!(world.pages.is_empty());
        world.waits(Millis::from_secs(60));
    }
    world.fails_for_now();
    world.waits(Millis::from_secs(3600));
    assert!(world.runs.is_empty());
    assert_eq!(world.pages, ["the run failed for now: no connection"]);
}

/// A killed server goes on with the run that was open, and with no other.
#[test]
fn a_restart_goes_on_with_the_run() {
    let mut world = World::of(&["shop", "pay"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    let before = world.runs[0].1.clone();
    world.restarts();
    assert_eq!(world.runs.len(), 1);
    assert_eq!(world.runs[0].1, before);
    world.run_ends();
    world.restarts();
    assert!(world.runs.is_empty());
    assert!(world.state("shop").is_quarantined(&release("2.0").digest));
}

/// While the server was down the time of the run went by. It is let go of, and not begun where it stood; after a while it is tried again.
#[test]
fn a_restart_lets_go_of_a_run_whose_time_is_over() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.wishes("shop", Wish::RollBack);
    let ticket = world.runs[0].1.ticket;
    world.now = world.now.after(settings().run_limit);
    world.restarts();
    assert!(world.runs.is_empty(), "{:?}", world.runs);
    assert_eq!(world.heard("took longer"), 2, "{:#?}", world.told);
    world.waits(Millis::from_secs(60));
    assert_ne!(world.runs[0].1.ticket, ticket);
}

/// How the executor of a run was set up is known for as long as the run is open, also after a restart, and is written down once.
#[test]
fn how_the_executor_of_a_run_is_set_up_is_kept_as_long_as_it_is_open() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.wishes("shop", Wish::RollBack);
    let ticket = world.runs[0].1.ticket;
    let (grant, setup) = (Digest([1; 32]), Digest([2; 32]));
    for _ in 0..2 {
        world.step("shop", TargetInput::Taken { ticket, grant, setup: Some(setup) });
        world.restarts();
        assert_eq!(world.estate.setups().get(&ticket), Some(&setup));
    }
    assert_eq!(world.heard("is set up as 02020202"), 1, "{:#?}", world.told);
    world.fails_for_now();
    assert!(world.estate.setups().is_empty());
}

/// An observed target is decided about, and nothing is done.
#[test]
fn an_observed_target_is_left_alone() {
    let mut world = World::new();
    world.watches("shop", TargetSettings { mode: Mode::Observe, ..settings() });
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 5);
    assert!(world.runs.is_empty());
    assert_eq!(world.heard("the target is only observed"), 1, "told once, not with each window");
    assert_eq!(world.advice("shop", "2.0", None).action, ROLL_BACK, "a pipeline is told all the same");
}

/// Where home is has to be a release that was good here, isn't in quarantine, and can live with the data as they are.
#[test]
fn a_way_home_has_to_be_one() {
    let mut world = World::of(&["shop"]);
    world.deploys("shop", "1.0", 1000);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    assert!(world.runs.is_empty());
    assert_eq!(world.pages.len(), 1, "nothing was ever confirmed");

    let mut world = World::new();
    world.watches("shop", TargetSettings { schema: Some(SharedData::Version(8)), ..settings() });
    world.deploys_for("shop", "1.0", 1000, Some(SchemaRange { from: 5, to: 7 }));
    world.windows("shop", 3);
    world.deploys_for("shop", "1.1", 1000, Some(SchemaRange { from: 5, to: 8 }));
    world.windows("shop", 3);
    world.deploys_for("shop", "2.0", 100, Some(SchemaRange { from: 8, to: 8 }));
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    assert_eq!(world.run_ends(), Task::GoHome { release: release("1.1") });
    world.windows("shop", 1);
    assert!(world.runs.is_empty());
    assert!(
        world.pages[0].contains("1 of them are in quarantine") || world.pages[0].contains("1 can't live"),
        "{:?}",
        world.pages
    );
}

/// Many targets fall ill at once: that is the world, not twenty releases. A few are moved, and then a person looks.
#[test]
fn a_storm_moves_a_few_of_a_domain() {
    let names: alloc::vec::Vec<alloc::string::String> =
        (0..12).map(|number| alloc::format!("shop-{number}")).collect();
    let mut world =
        World::of(&names.iter().map(alloc::string::String::as_str).collect::<alloc::vec::Vec<_>>());
    for name in &names {
        world.has_good(name, "1.0");
        world.deploys(name, "2.0", 100);
        world.says(name, Some(ROLL_BACK));
    }
    for name in &names {
        world.windows(name, 1);
    }
    assert_eq!(world.runs.len(), 5, "as many as a domain allows in an hour");
    assert_eq!(world.pages.len(), 7);
}

/// The same release turns out to be fine elsewhere, or the side that was gone back to is as bad, or a person says so.
#[test]
fn an_action_is_labelled_later() {
    let mut world = World::of(&["shop", "pay"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.run_ends();
    world.says("shop", Some(Action::Proceed));
    world.windows("shop", 3);
    world.has_good("pay", "2.0");
    assert_eq!(world.state("shop").past()[0].label, Some(IncidentLabel::FineElsewhere));
    let id = world.state("shop").past()[0].id;
    world.wishes("shop", Wish::Mark(id, IncidentLabel::TruePositive));
    assert_eq!(world.state("shop").past()[0].label, Some(IncidentLabel::TruePositive));

    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.run_ends();
    world.windows("shop", 1);
    assert_eq!(world.heard("looks like baseline-failed-too"), 1);
}

/// A run that can't work at all is not tried again.
#[test]
fn what_can_never_work_is_not_repeated() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    let why = "no such service".into();
    world.run_ends_with(Outcome::Failed { transience: Transience::Permanent, why });
    world.waits(Millis::from_secs(7200));
    assert!(world.runs.is_empty());
    assert_eq!(world.pages.len(), 1);
}

/// What a person does is written down with who and what for, and lifts what only a person may.
#[test]
fn a_person_overrides_in_writing() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.wishes("shop", Wish::Freeze);
    assert_eq!(world.advice("shop", "2.0", None).action, Action::Freeze);
    world.wishes("shop", Wish::Thaw);
    world.deploys("shop", "2.0", 100);
    world.wishes("shop", Wish::RollBack);
    world.run_ends();
    world.wishes("shop", Wish::CloseBreaker);
    world.wishes("shop", Wish::Lift(release("2.0").digest));
    world.windows("shop", 3);
    assert_eq!(world.advice("shop", "2.0", Some(500)).action, Action::Proceed);
    assert_eq!(world.heard("ann did by hand"), 5);
}

/// Nobody knows what happened while the server was down: what was good before says nothing of now, and who was to be paged is
/// paged again.
#[test]
fn a_restart_begins_without_an_answer() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    assert_eq!(world.advice("shop", "1.0", None).action, Action::Proceed);
    world.restarts();
    assert_ne!(world.advice("shop", "1.0", None).action, Action::Proceed);
    world.windows("shop", 1);
    assert_eq!(world.advice("shop", "1.0", None).action, Action::Proceed);
    world.deploys("shop", "2.0", 500);
    world.says("shop", Some(Action::RollBack { how: How::SwitchAndFreeze }));
    world.windows("shop", 1);
    world.run_ends();
    assert_eq!(world.pages.len(), 1);
    world.restarts();
    assert_eq!(world.pages.len(), 2, "the first may not have gone out");
}

/// A target is taken out of the configuration in the middle of a run: nothing goes on that nobody watches.
#[test]
fn what_is_not_watched_any_more_is_let_go_of() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.forgets("shop");
    assert_eq!(world.heard("is not watched any more"), 3, "{:#?}", world.told);
    world.runs.clear();
    world.watches("shop", settings());
    world.waits(Millis::from_secs(60));
    assert_eq!(
        world.run_ends(),
        Task::GoHome { release: release("1.0") },
        "what is left to do is begun anew"
    );
}

/// What waits to be tried again is not tried if nobody wants it any more.
#[test]
fn a_retry_heeds_what_changed_meanwhile() {
    let waiting = || {
        let mut world = World::of(&["shop"]);
        world.has_good("shop", "1.0");
        world.deploys("shop", "2.0", 100);
        world.says("shop", Some(ROLL_BACK));
        world.windows("shop", 1);
        world.fails_for_now();
        world
    };
    let mut world = waiting();
    world.watches("shop", TargetSettings { mode: Mode::Observe, ..settings() });
    world.waits(Millis::from_secs(3600));
    assert!(world.runs.is_empty(), "it is only observed by now");
    let mut world = waiting();
    world.deploys("shop", "2.1", 100);
    world.waits(Millis::from_secs(3600));
    assert!(world.runs.is_empty(), "another release is out");
    assert_eq!(world.runs_version("shop"), "2.1");
}

/// Whoever asks at the moment at which a wait is over is told what is done, and not that it is to be waited for.
#[test]
fn a_wait_is_over_when_its_time_has_come() {
    let mut world = World::of(&["shop"]);
    world.has_good("shop", "1.0");
    world.deploys("shop", "2.0", 100);
    world.says("shop", Some(ROLL_BACK));
    world.windows("shop", 1);
    world.fails_for_now();
    let over = world.estate.deadline().unwrap();
    let shown = |now| world.estate.preview(now, &target("shop"), &ROLL_BACK);
    assert_eq!(shown(Mono(over.0 - 1)), Some(Err(Rail::Backoff { until: over })));
    assert_eq!(shown(over), Some(Ok(Task::GoHome { release: release("1.0") })));
}

/// Good windows count in a row: one without an answer, or one that was slow, begins them anew.
#[test]
fn a_row_has_no_gap() {
    for gap in [None, Some(Action::Slow { windows: 1 })] {
        let mut world = World::of(&["shop"]);
        world.deploys("shop", "1.0", 1000);
        world.windows("shop", 2);
        world.says("shop", gap);
        world.windows("shop", 1);
        world.says("shop", Some(Action::Proceed));
        world.windows("shop", 2);
        assert!(!world.state("shop").out().unwrap().confirmed);
        world.windows("shop", 1);
        assert!(world.state("shop").out().unwrap().confirmed);
    }
}

/// A pipeline brings three good numbers at once: that is one window, and no proof of anything.
#[test]
fn a_proof_takes_its_time() {
    let mut world = World::of(&["shop"]);
    world.deploys("shop", "1.0", 1000);
    for _ in 0..50 {
        world.step("shop", TargetInput::Window(Signals::default()));
    }
    assert!(!world.state("shop").out().unwrap().confirmed);
}

/// A policy may be stricter with what has yet to earn trust: it is told, and it is told when the trust is there.
#[test]
fn a_policy_hears_whether_what_it_judges_is_on_trial() {
    let mut world = World::of(&["shop"]);
    let hears = |world: &mut World| {
        let window = TargetInput::Window(Signals::default());
        world.estate.step(world.now, &target("shop"), window).iter().find_map(|effect| {
            if let TargetEffect::Ask { facts, .. } = effect { Some(facts.on_trial) } else { None }
        })
    };
    world.deploys("shop", "1.0", 100);
    assert_eq!(hears(&mut world), Some(true));
    world.has_good("shop", "1.0");
    assert_eq!(hears(&mut world), Some(false));
}
