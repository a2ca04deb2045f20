//! What the server does for targets, each told as a story: with a real journal, and effects on a machine that counts.

use backstay_api::{Kind, MarkRequest, Planned, TargetCall};
use backstay_model::{Action, Event, How, IncidentEnd, IncidentLabel, Infra, InfraKind, Name, Permille};

use super::{
    Came, target_event,
    world::{OUT, Shop, WINDOW, because, name, shop},
};
use crate::serve::world::Disk;

const ROLL_BACK: Action = Action::RollBack { how: How::AbortCanary };

/// A canary is bad. It is brought back, and everything about it was written down before it began.
#[test]
fn a_bad_canary_is_brought_back_in_writing() {
    let mut shop_ = Shop::opens();
    shop_.has_a_canary();
    shop_.says.replace(ROLL_BACK);
    shop_.windows(2);
    let written = shop_.world.written.borrow().clone();
    let at = |what: &str| {
        let told =
            |event: &Event| target_event(event).map_or_else(|| event.to_string(), |event| event.to_string());
        written
            .iter()
            .position(|event| told(event).contains(what))
            .unwrap_or_else(|| panic!("{what}: {written:#?}"))
    };
    assert!(at("2.0 (") < at("is in quarantine") && at("is in quarantine") < at("begins: go home"));
    assert!(at("begins: go home") < at("effect 0"), "the first look was written down");
    assert_eq!(shop_.machine.acts.get(), 0, "and nothing was done yet");
    shop_.does_all();
    let view = shop_.view();
    assert_eq!(view.out.map(|out| out.release.version.to_string()).as_deref(), Some("1.0"));
    assert_eq!((shop_.machine.acts.get(), shop_.machine.twice.get()), (1, 0));
    shop_.says.replace(Action::Proceed);
    shop_.windows(2);
    let incidents = shop_.calls(TargetCall::Incidents).unwrap();
    assert_eq!(incidents[0].end, Some(IncidentEnd::RolledBack));
    let story = shop_.calls(|reply| TargetCall::Incident(incidents[0].id, reply)).unwrap();
    let told: Vec<&str> = story.events.iter().map(|event| event.what.as_str()).collect();
    assert!(told.iter().any(|told| told.contains("the story says so")), "{told:#?}");
    assert!(told.iter().any(|told| told.contains("effect 1")), "{told:#?}");
    // Whoever reads all events reads the same of it.
    let events = shop_.world.server().event_views(0);
    assert!(events.iter().any(|event| event.what.contains("is in quarantine")), "{events:#?}");
}

/// The server is killed at each point of a run. It goes on with the same run, and nothing is done twice.
#[test]
fn a_killed_server_does_nothing_twice() {
    for steps in 0..5 {
        let mut shop_ = Shop::opens();
        shop_.has_a_canary();
        shop_.rolls_back().unwrap();
        for _ in 0..steps {
            shop_.does_one();
        }
        shop_.is_killed();
        shop_.does_all();
        assert_eq!(shop_.view().run, None, "after {steps} steps");
        assert_eq!((shop_.machine.acts.get(), shop_.machine.twice.get()), (1, 0), "after {steps} steps");
    }
}

/// The effect was done, and the server killed before it heard so: it looks, and does not do it again.
#[test]
fn what_is_in_doubt_is_looked_at() {
    let mut shop_ = Shop::opens();
    shop_.has_a_canary();
    shop_.rolls_back().unwrap();
    shop_.does_one();
    let (_, deed) = shop_.begun[0].clone();
    shop_.machine.does(&deed);
    shop_.is_killed();
    shop_.does_all();
    assert_eq!((shop_.machine.acts.get(), shop_.machine.twice.get()), (1, 0));
    assert_eq!(shop_.view().run, None);
}

/// 64 callers want the same at once, thousands of times, now and then with the server killed in the middle of it. One of them
/// begins a run, the others are told, and there is one effect each time.
#[test]
fn many_callers_have_one_effect() {
    const CALLERS: usize = 64;
    const KILL_EVERY: u32 = 20;
    // docs/faults.md has what ten thousand came to.
    let trials = std::env::var("BACKSTAY_TRIALS").ok().and_then(|trials| trials.parse().ok()).unwrap_or(100);
    let mut shop_ = Shop::opens();
    shop_.deploys("0.1", 1000);
    shop_.windows(2);
    let mut kills = 0;
    for trial in 1..=trials {
        shop_.deploys(&format!("1.{trial}"), 100);
        let answers: Vec<_> = (0..CALLERS).map(|_| shop_.rolls_back()).collect();
        let begun = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(begun, 1, "trial {trial}: {:?}", answers[0]);
        if trial % KILL_EVERY == 0 {
            shop_.does_one();
            let (_, deed) = shop_.begun[0].clone();
            shop_.machine.does(&deed);
            shop_.is_killed();
            kills += 1;
        }
        shop_.does_all();
        assert_eq!((shop_.machine.acts.get(), shop_.machine.twice.get()), (trial, 0), "trial {trial}");
        // An hour, so that no budget is in the way of the next trial.
        shop_.world.waits_secs(3600);
        shop_.takes();
    }
    println!("{trials} trials of {CALLERS} callers, {kills} of them across a kill: no effect twice");
}

/// Nothing is begun that can't be written down.
#[test]
fn a_full_disk_begins_nothing() {
    let mut shop_ = Shop::opens();
    shop_.has_a_canary();
    shop_.world.disk.set(Disk::Full);
    assert_eq!(shop_.rolls_back().unwrap_err().kind, Kind::Unavailable);
    shop_.does_all();
    assert_eq!(shop_.machine.acts.get(), 0);
}

/// A dry run looks, and shows what it would change; nothing is changed, and nothing is written down.
#[test]
fn a_dry_run_changes_nothing() {
    let mut shop_ = Shop::opens();
    shop_.has_a_canary();
    let before = shop_.world.written.borrow().len();
    let mut asked = None;
    let (reply, answer) = tokio::sync::oneshot::channel();
    shop_.world.does(|server, now| {
        server.call(now, backstay_api::Call::Target(TargetCall::Plan(shop(), Planned::Rollback, reply)));
    });
    shop_.takes();
    asked.replace(answer);
    shop_.does_all();
    let shown = asked.unwrap().blocking_recv().unwrap().unwrap();
    assert!(shown.task.contains("1.0"), "{shown:#?}");
    assert_eq!(shown.effects.iter().filter(|effect| effect.changes).count(), 3, "{shown:#?}");
    assert_eq!(shop_.machine.acts.get(), 0);
    assert_eq!(shop_.world.written.borrow().len(), before);
}

/// What people do is written down, and what would change nothing is refused with the reason.
#[test]
fn what_would_change_nothing_is_refused() {
    let mut shop_ = Shop::opens();
    shop_.has_a_canary();
    let ann = || Name::parse("ann").unwrap();
    let thaw = |shop_: &mut Shop| {
        let operation = backstay_api::TargetOperation::Thaw;
        shop_.calls(|reply| TargetCall::Operate(ann(), shop(), operation, because("looked"), reply))
    };
    assert_eq!(thaw(&mut shop_).unwrap_err().what, "nothing was changed: it is not frozen");
    let operation = backstay_api::TargetOperation::Freeze;
    shop_.calls(|reply| TargetCall::Operate(ann(), shop(), operation, because("a move"), reply)).unwrap();
    assert_eq!(shop_.rolls_back().unwrap_err().kind, Kind::Refused);
    assert_eq!(shop_.view().hold.as_deref(), Some("ann said so"));
    thaw(&mut shop_).unwrap();
    shop_.rolls_back().unwrap();
    shop_.does_all();
    let incidents = shop_.calls(TargetCall::Incidents).unwrap();
    let mark = MarkRequest { label: IncidentLabel::FalsePositive, reason: because("a load test").reason };
    let id = incidents[0].id;
    let marked = shop_.calls(|reply| TargetCall::Mark(ann(), id, mark, reply)).unwrap();
    assert_eq!(marked.label, Some(IncidentLabel::FalsePositive));
    let figures = shop_.calls(TargetCall::Figures).unwrap();
    for line in [
        "backstay_rollbacks_total{target=\"shop\",end=\"done\"} 1",
        "backstay_false_positives_total{target=\"shop\",why=\"operator\"} 1",
        "backstay_targets{mode=\"enforce\"} 1",
    ] {
        assert!(figures.lines().any(|told| told == line), "{line}\n{figures}");
    }
}

/// A pipeline's own numbers close the window of a target that has no others.
#[test]
fn a_pipeline_may_bring_its_own_numbers() {
    let mut shop_ = Shop::opens();
    shop_.deploys("1.0", 1000);
    let ci = |body: &'static [u8]| move |reply| TargetCall::Measured(shop(), body.to_vec(), reply);
    let view = shop_.calls(ci(b"{\"errors\": 0.2}")).unwrap();
    assert!(view.judged.is_some() && view.missing.is_empty(), "{view:#?}");
    let error = shop_.calls(ci(b"{\"errors\": NaN}")).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    let view = shop_.calls(ci(b"{\"other\": 1}")).unwrap();
    assert_eq!(view.missing.len(), 1, "what isn't there is missing, and is said to be");
}

/// What an executor sees at the end of a window counts for that window, and one that hangs is not waited for long, nor asked again
/// beside it.
#[test]
fn what_an_executor_sees_counts_for_its_window() {
    let mut shop_ = Shop::looks();
    shop_.machine.sees.replace("infra.disk=2\nanomaly=0.8\nqueue=17\n".into());
    looks(&mut shop_, 1);
    let shown = shop_.shown.take().unwrap();
    assert_eq!(shown.infra, [Infra { kind: InfraKind::Disk, count: 2 }]);
    assert_eq!(shown.anomaly, Permille::new(800));
    while shop_.begun.is_empty() {
        shop_.world.waits_secs(1);
        shop_.takes();
    }
    assert_eq!(shop_.shown.take(), None, "it is waited for");
    shop_.windows(1);
    let shown = shop_.shown.take().unwrap();
    assert_eq!((shown.infra, shown.anomaly), (Vec::new(), None));
    assert!(shop_.view().missing.contains(&"look: it is still under way".into()));
    shop_.windows(1);
    assert_eq!(shop_.begun.len(), 1);
    looks(&mut shop_, 1);
    assert_eq!(shop_.shown.take().unwrap().anomaly, Permille::new(800));
}

/// A release that was sent back is let out again in the middle of a window. It is seen before anybody is asked about that window: it
/// is sent back at once, and nothing is mended of the good one.
#[test]
fn what_comes_out_in_the_middle_of_a_window_is_seen_before_it_is_judged() {
    let mut shop_ = Shop::looks();
    shop_.machine.sees.replace(OUT.into());
    shop_.machine.home.set(true);
    looks(&mut shop_, 2);
    shop_.machine.home.set(false);
    looks(&mut shop_, 1);
    shop_.says.replace(ROLL_BACK);
    looks(&mut shop_, 2);
    assert_eq!(shop_.view().out.unwrap().release.version.as_str(), "1.0", "it is home");

    // The bad one is back, and looks as bad as before. A policy that believes that this is the good one would mend it.
    shop_.says.replace(Action::Heal { playbook: Some(name("restart")) });
    shop_.shown.take();
    shop_.machine.home.set(false);
    looks(&mut shop_, 1);
    assert_eq!(shop_.shown.take(), None, "nobody is asked about a window of both");
    assert_eq!(shop_.view().out.unwrap().release.version.as_str(), "1.0", "it was sent back at once");
    assert_eq!((shop_.machine.acts.get(), shop_.machine.twice.get()), (2, 0));
}

/// A pipeline lets a release out while its executor looks, and has looked already. What it saw was so before: it takes nothing back.
#[test]
fn what_was_seen_before_a_pipeline_spoke_is_too_old() {
    let mut shop_ = Shop::looks();
    shop_.machine.sees.replace(OUT.into());
    shop_.machine.home.set(true);
    looks(&mut shop_, 2);
    shop_.windows(1);
    let (key, deed) = shop_.begun.pop().unwrap();
    let seen = shop_.machine.does(&deed);
    shop_.deploys("2.0", 100);
    let told = shop_.world.written.borrow().len();
    shop_.world.does(|server, now| server.came(now, Came::Effect(key, seen)));
    shop_.takes();
    shop_.does_all();
    let out = shop_.view().out.unwrap();
    assert_eq!((out.release.version.as_str(), out.stage.get()), ("2.0", 100));
    let back = |event: &Event| target_event(event).is_some_and(|event| event.to_string().contains("1.0"));
    assert!(!shop_.world.written.borrow()[told..].iter().any(back), "not for a moment");
}

/// Nobody tells which release is out: its executor sees it. Somebody lets out again what was sent back, time after time.
#[test]
fn what_is_out_is_seen_and_who_fights_is_noticed() {
    let mut shop_ = Shop::looks();
    shop_.machine.sees.replace(OUT.into());
    shop_.machine.home.set(true);
    looks(&mut shop_, 3);
    let out = shop_.view().out.unwrap();
    assert_eq!((out.release.version.as_str(), out.stage.get(), out.confirmed), ("1.0", 1000, true));
    shop_.machine.home.set(false);
    looks(&mut shop_, 1);
    assert_eq!(shop_.view().out.unwrap().stage.get(), 100);

    shop_.says.replace(ROLL_BACK);
    looks(&mut shop_, 2);
    assert_eq!(shop_.view().out.unwrap().release.version.as_str(), "1.0", "it is home");
    assert!(shop_.pages.is_empty(), "{:?}", shop_.pages);
    shop_.says.replace(Action::Proceed);
    for _ in 0..2 {
        // A controller has put 2.0 back.
        shop_.machine.home.set(false);
        looks(&mut shop_, 2);
    }
    assert_eq!(shop_.pages.len(), 1, "{:?}", shop_.pages);
    assert!(shop_.pages[0].contains("2 times"), "{:?}", shop_.pages);
    assert_eq!(shop_.machine.acts.get(), 2, "sent back by a decision, and once at once; not a third time");
}

/// In the middle of a run the configuration says that the target is another object, or that another executor acts for it, at once or
/// after a restart. What the run found out is about the one before, so it is let go of, and begun anew.
#[test]
fn a_run_does_not_go_on_at_another_object() {
    let object = ("native", "depot");
    for (set, restarts) in [(object, false), (("other", "shop"), false), (object, true)] {
        let mut shop_ = Shop::opens();
        shop_.has_a_canary();
        shop_.rolls_back().unwrap();
        shop_.does_one();
        shop_.set = set;
        if restarts {
            shop_.is_killed();
        } else {
            shop_.configures();
        }
        assert!(!restarts || shop_.begun.is_empty(), "nothing is asked of the other one");
        // What it asked for is done, and leads no further.
        shop_.does_all();
        assert_eq!(shop_.view().out.unwrap().release.version.as_str(), "2.0");
        shop_.world.waits_secs(5);
        shop_.takes();
        shop_.does_all();
        assert_eq!(shop_.view().out.unwrap().release.version.as_str(), "1.0");
        let events: Vec<String> = shop_.world.written.borrow().iter().map(ToString::to_string).collect();
        let ended = events.iter().filter(|event| event.contains("in the middle of it")).count();
        assert_eq!((shop_.machine.twice.get(), ended), (0, 1), "{events:#?}");
    }
}

/// Somebody builds an image anew and gives it the name of the one before. Its executor sees what it is.
#[test]
fn a_version_with_another_digest_is_another_release() {
    let mut shop_ = Shop::looks();
    let sees = |shop_: &mut Shop, digit: &str| {
        shop_.machine.sees.replace(format!("{OUT}\nout-digest={}", digit.repeat(64)));
        looks(shop_, 3);
        shop_.view().out.unwrap()
    };
    shop_.machine.home.set(true);
    let first = sees(&mut shop_, "a");
    assert!(first.confirmed);
    // A pipeline that knows no digests means the one that is out.
    shop_.deploys("1.0", 1000);
    shop_.machine.home.set(true);
    assert_eq!(shop_.view().out.unwrap().release, first.release);
    let second = sees(&mut shop_, "b");
    assert_eq!(second.release.version, first.release.version);
    assert_ne!(second.release.digest, first.release.digest);
}

/// Windows in which whatever is begun is done within a second.
fn looks(shop_: &mut Shop, windows: u32) {
    for _ in 0..windows {
        for _ in 0..WINDOW.0 / 1000 {
            shop_.world.waits_secs(1);
            shop_.takes();
            shop_.does_all();
        }
    }
}

/// Somebody takes a target out of the configuration while the server is down, and its executor was asked to hold what is on its way.
/// Nobody would let that go on any more: it is written down, and a person is told, once.
#[test]
fn what_was_held_and_is_not_watched_any_more_is_told_of() {
    let mut shop_ = Shop::opens();
    shop_.holds = Some(true);
    shop_.configures();
    shop_.has_a_canary();
    shop_.says.replace(Action::Slow { windows: 1 });
    shop_.windows(1);
    assert_eq!(shop_.view().run.map(|run| run.contains("heal by hold")), Some(true));
    shop_.holds = None;
    for _ in 0..2 {
        shop_.is_killed();
        let still = |told: &str| told.contains("what was held here may still stand");
        let written = shop_.world.written.borrow();
        let told = |event: &&Event| target_event(event).is_some_and(|event| still(&event.to_string()));
        assert_eq!(written.iter().filter(told).count(), 1);
        assert_eq!(shop_.pages.iter().filter(|page| still(page)).count(), 1);
    }
}

/// A look may change nothing, whatever an executor wants, and what it says has to be readings.
#[test]
fn a_look_changes_nothing() {
    let mut shop_ = Shop::looks();
    for (sees, why) in
        [("meddle", "look: failed: it does not come home"), ("infra.disk=full", "look: line 1: ")]
    {
        shop_.machine.sees.replace(sees.into());
        looks(&mut shop_, 1);
        let missing = shop_.view().missing;
        assert!(missing.iter().any(|told| told.starts_with(why)), "{missing:?}");
    }
    assert_eq!(shop_.machine.acts.get(), 0);
}
