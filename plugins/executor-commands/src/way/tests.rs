//! Releases, on a target in memory.

use backstay_sdk::executor::{Answer, Outcome, Task, transient};

use crate::target::{Cut, Target, release, said, text};

fn install(version: &str) -> Task {
    Task::Install(release(version))
}

fn confirm(version: &str) -> Task {
    Task::Confirm(release(version))
}

fn home(version: &str) -> Task {
    Task::GoHome(release(version))
}

#[test]
fn a_release_comes_in_is_confirmed_and_goes_home() {
    let mut target = Target::on("1.4.0");
    assert_eq!(target.fails(install("1.5.0")), None);
    assert_eq!((&target.runs, target.stays), (&release("1.5.0"), false));
    assert_eq!(target.fails(confirm("1.5.0")), None);
    assert_eq!(target.fails(home("1.4.0")), None);
    assert_eq!((&target.runs, target.stays), (&release("1.4.0"), true));
    assert_eq!(target.deeds, ["install 1.5.0", "confirm 1.5.0", "go-home 1.4.0"]);
}

fn stories() -> Vec<(&'static str, Target, Task)> {
    let blue_green = || Target::on("1.5.0").set(text("check-home", "check-home"));
    vec![
        ("install", Target::on("1.4.0"), install("1.5.0")),
        ("install what runs", Target::on("1.5.0"), install("1.5.0")),
        ("confirm", Target::on_trial("1.5.0"), confirm("1.5.0")),
        ("confirm what stays", Target::on("1.5.0"), confirm("1.5.0")),
        ("home", Target::on("1.5.0"), home("1.4.0")),
        ("home on trial", Target::on_trial("1.4.0"), home("1.4.0")),
        ("home with a check", blue_green(), home("1.4.0")),
    ]
}

#[test]
fn cut_off_at_every_effect_the_run_comes_to_the_same_end() {
    for (told, target, task) in stories() {
        let mut whole = target.clone();
        let (end, effects) = whole.run(task.clone(), None);
        assert_eq!(end, Outcome::Done, "{told}");
        for at in 0..effects {
            for cut in [Cut::Before, Cut::After] {
                let mut target = target.clone();
                assert_eq!(
                    target.run(task.clone(), Some((at, cut))).0,
                    Outcome::Done,
                    "{told}, {cut:?} {at}"
                );
                assert_eq!((&target.runs, target.stays), (&whole.runs, whole.stays), "{told}, {cut:?} {at}");
                assert_eq!(target.deeds, whole.deeds, "{told}, {cut:?} {at}: nothing is done twice");
            }
        }
    }
}

#[test]
fn an_order_that_comes_twice_does_nothing_twice() {
    for (told, mut target, task) in stories() {
        assert_eq!(target.fails(task.clone()), None, "{told}");
        let once = target.clone();
        assert_eq!(target.fails(task), None, "{told}");
        assert_eq!(target, once, "{told}");
    }
}

/// A command whose time was over may have come about, and a second one would restart the target for nothing.
#[test]
fn a_command_that_timed_out_is_looked_at_and_run_again_only_if_nothing_came_of_it() {
    let mut target = Target::on("1.4.0").answers("install", Answer::TimedOut);
    assert_eq!(
        target.run(install("1.5.0"), None).0,
        Outcome::Failed(transient("the command install did not end in its time"))
    );
    let looks: Vec<_> = stories().into_iter().filter(|(told, ..)| *told == "install").collect();
    let (_, mut target, task) = looks.into_iter().next().unwrap();
    // Effect 0 is the look, effect 1 the command.
    assert_eq!(target.run(task, Some((1, Cut::After))).0, Outcome::Done);
    assert_eq!(target.deeds, ["install 1.5.0"]);
}

#[test]
fn what_fails_says_its_last_line() {
    let mut target = Target::on("1.4.0").answers("install", said(3, "copying\ndisk is full\n\n"));
    assert_eq!(
        target.run(install("1.5.0"), None).0,
        Outcome::Failed(transient("the command install ended with exit code 3: disk is full"))
    );
    let mut target = Target::on("1.4.0").answers("status", said(1, "no route"));
    assert_eq!(
        target.fails(install("1.5.0")).unwrap(),
        "the command status ended with exit code 1: no route"
    );
    assert!(target.deeds.is_empty(), "what can't be looked at isn't changed");
    let loud = format!("\u{1b}[31m{}", "x".repeat(4000));
    let mut target = Target::on("1.4.0").answers("install", said(1, &loud));
    let why = target.fails(install("1.5.0")).unwrap();
    assert!(!why.contains('\u{1b}') && why.ends_with('x'), "{why}");
}

#[test]
fn garbage_moves_nothing() {
    for answer in [
        said(0, "Welcome!"),
        said(0, ""),
        said(0, "version=1.5.0\nversion=1.4.0"),
        Answer::Done,
        Answer::Refused("no".into()),
    ] {
        let mut target = Target::on("1.4.0").answers("status", answer.clone());
        for task in [install("1.5.0"), confirm("1.4.0"), home("1.3.0")] {
            assert!(target.fails(task).is_some(), "{answer:?}");
        }
        assert!(target.deeds.is_empty(), "{answer:?}");
    }
}

#[test]
fn a_release_that_never_shows_is_a_failure_that_may_pass() {
    let mut target = Target { slow: 100, ..Target::on("1.4.0") };
    let wanted = transient("after 4 looks 1.4.0 runs; wanted is 1.5.0");
    assert_eq!(target.run(install("1.5.0"), None).0, Outcome::Failed(wanted));
    assert_eq!(target.deeds, ["install 1.5.0"], "it ended well, so it isn't run again");
}

/// Blue is to take the traffic back. If it can't serve, green with errors is better than blue with none at all.
#[test]
fn no_traffic_goes_to_a_home_that_is_not_healthy() {
    let mut target = Target::on("1.5.0").set(text("check-home", "check-home"));
    target.home_is_healthy = false;
    assert_eq!(
        target.fails(home("1.4.0")).unwrap(),
        "nothing was switched, home isn't healthy: the command check-home ended with exit code 1: blue answers 503"
    );
    assert!(target.deeds.is_empty());
}

#[test]
fn what_has_no_command_is_refused_and_names_the_setting() {
    for (setting, task) in
        [("install", install("1.5.0")), ("go-home", home("1.3.0")), ("status", install("1.5.0"))]
    {
        let mut target = Target::on("1.4.0").set(text(setting, ""));
        let why = target.fails(task).unwrap();
        assert_eq!(why, format!("there is no command for it: the setting {setting} is empty"));
    }
    let mut target = Target::on_trial("1.5.0").set(text("confirm", ""));
    assert!(target.fails(confirm("1.5.0")).unwrap().contains("the setting confirm is empty"));
    target.stays = true;
    assert_eq!(target.fails(confirm("1.5.0")), None);
}

#[test]
fn what_does_not_run_can_not_be_confirmed() {
    let mut target = Target::on("1.4.0");
    assert_eq!(target.fails(confirm("1.5.0")).unwrap(), "1.4.0 runs, not 1.5.0: there is nothing to confirm");
}
