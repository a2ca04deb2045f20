//! The playbooks, on a target in memory.

use backstay_sdk::{
    executor::{Answer, Outcome, Task, Transience},
    settings::{Setting, Value},
};

use crate::target::{Cut, Target, number, said, text};

fn heal(playbook: &str) -> Task {
    Task::Heal(playbook.into())
}

fn can_look() -> Target {
    Target::on("1.4.0").set(text("healthy", "healthy"))
}

fn scales() -> Target {
    Target::on("1.4.0").set(number("scale-ceiling", 5))
}

fn drifted(lines: &[&'static str]) -> Target {
    Target { drift: lines.to_vec(), ..Target::on("1.4.0") }
}

#[test]
fn a_restart_is_over_when_the_target_is_healthy() {
    let mut target = can_look();
    assert_eq!(target.fails(heal("restart")), None);
    assert_eq!(target.deeds, ["restart"]);
    let mut target = can_look().answers("healthy", said(1, "503"));
    assert_eq!(target.fails(heal("restart")).unwrap(), "the command healthy ended with exit code 1: 503");
    let mut target = can_look().answers("restart", said(4, "unit is masked"));
    assert_eq!(
        target.fails(heal("restart")).unwrap(),
        "the command restart ended with exit code 4: unit is masked"
    );
}

/// Another attempt is for the runtime to count: a run in doubt never restarts a second time by itself.
#[test]
fn a_restart_in_doubt_is_looked_at() {
    let mut target = can_look();
    assert_eq!(target.run(heal("restart"), Some((0, Cut::After))).0, Outcome::Done);
    assert_eq!(target.deeds, ["restart"]);
    let mut target = can_look();
    assert!(matches!(target.run(heal("restart"), Some((0, Cut::Before))).0, Outcome::Failed(_)));
    assert!(target.deeds.is_empty());
    let mut blind = Target::on("1.4.0").answers("restart", Answer::TimedOut);
    assert_eq!(blind.fails(heal("restart")).unwrap(), "the command restart did not end in its time");
}

#[test]
fn any_other_playbook_is_the_command_of_its_name() {
    let mut target = Target::on("1.4.0");
    assert_eq!(target.fails(heal("clear-cache")), None);
    assert_eq!(target.deeds, ["clear-cache"]);
    for reserved in ["install", "go-home", "status", "scale-to", "drift-fix"] {
        let why = target.fails(heal(reserved)).unwrap();
        assert_eq!(why, format!("{reserved} is the command for {reserved}, and no playbook"));
    }
    assert_eq!(target.deeds, ["clear-cache"]);
}

#[test]
fn drift_is_mended_and_looked_at_again() {
    let mut target = drifted(&["changed etc/app.conf", "missing etc/b.conf"]);
    assert_eq!(target.fails(heal("drift")), None);
    assert_eq!(target.deeds, ["drift-fix"]);
    assert_eq!(target.fails(heal("drift")), None);
    assert_eq!(target.deeds, ["drift-fix"], "without drift nothing is done");
}

#[test]
fn credentials_are_told_and_never_mended() {
    let mut target = drifted(&["credential etc/key.pem"]);
    let (end, _) = target.run(heal("drift"), None);
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    assert_eq!(failed.transience, Transience::Permanent);
    assert_eq!(failed.why, "differences that no playbook mends: 1, the last: credential etc/key.pem");
    assert!(target.deeds.is_empty());
    let mut target = drifted(&["credential etc/key.pem", "changed etc/app.conf"]);
    assert_eq!(target.fails(heal("drift")), None);
    assert_eq!(target.drift, ["credential etc/key.pem"]);
}

#[test]
fn nothing_is_deleted_unless_somebody_said_so() {
    let mut target = drifted(&["extra etc/old.conf", "changed etc/app.conf"]);
    assert_eq!(target.fails(heal("drift")), None);
    assert_eq!(
        (&target.deeds[..], &target.drift[..]),
        (&["drift-fix".into()][..], &["extra etc/old.conf"][..])
    );
    let delete = Setting { name: "drift-delete".into(), value: Value::Flag(true) };
    let mut target = drifted(&["extra etc/old.conf"]).set(delete);
    assert_eq!(target.fails(heal("drift")), None);
    assert_eq!(target.deeds, ["drift-fix --delete"]);
    assert!(target.drift.is_empty());
}

#[test]
fn drift_that_is_left_or_can_not_be_looked_at_is_a_failure() {
    let mut target = drifted(&["changed etc/app.conf"]).answers("drift-fix", said(0, ""));
    assert_eq!(
        target.fails(heal("drift")).unwrap(),
        "differences left after drift-fix: 1, the last: changed etc/app.conf"
    );
    let mut target = drifted(&["changed etc/app.conf"]).answers("drift-fix", said(2, "read-only"));
    assert_eq!(
        target.fails(heal("drift")).unwrap(),
        "the command drift-fix ended with exit code 2: read-only"
    );
    let mut target = drifted(&[]).answers("drift-look", said(2, "no checkout"));
    assert_eq!(
        target.fails(heal("drift")).unwrap(),
        "the command drift-look ended with exit code 2: no checkout"
    );
    let mut target = drifted(&[]).answers("drift-look", said(1, "\n"));
    assert!(target.fails(heal("drift")).unwrap().contains("names no drift"));
    assert!(target.deeds.is_empty());
}

#[test]
fn scaling_goes_one_step_up_and_never_beyond_the_ceiling() {
    let mut target = scales();
    for (wanted, from) in [(3, 2), (5, 3)] {
        assert_eq!(target.count, from);
        assert_eq!(target.fails(heal("scale")), None);
        assert_eq!(target.count, wanted);
    }
    let why = target.fails(heal("scale")).unwrap();
    assert_eq!(why, "5 run, and the ceiling is 5: no more are asked for");
    target.count = 9;
    assert!(target.fails(heal("scale")).is_some(), "it is never made less");
    assert_eq!(target.deeds, ["scale-to 3", "scale-to 5"]);
    let mut nobody = Target { count: 0, ..scales() };
    assert_eq!(nobody.fails(heal("scale")), None);
    assert_eq!(nobody.count, 1);
}

#[test]
fn without_a_ceiling_or_a_count_nothing_is_scaled() {
    assert!(Target::on("1.4.0").fails(heal("scale")).unwrap().contains("scale-ceiling is 0"));
    for garbage in ["", "two", "-1", "2 3", "2\n3", "1234567890", "+2"] {
        let mut target = scales().answers("scale-look", said(0, garbage));
        assert!(target.fails(heal("scale")).unwrap().contains("which is no count"), "{garbage:?}");
        assert!(target.deeds.is_empty());
    }
}

#[test]
fn scaling_that_does_not_come_about_is_a_failure() {
    let mut target = scales().answers("scale-to", said(0, ""));
    assert_eq!(target.fails(heal("scale")).unwrap(), "2 run after 4 looks; wanted are 3");
    let mut target = scales().answers("scale-to", said(1, "quota"));
    assert_eq!(target.fails(heal("scale")).unwrap(), "the command scale-to ended with exit code 1: quota");
}

#[test]
fn cut_off_at_every_effect_nothing_is_done_twice() {
    let stories = [
        ("restart", can_look()),
        ("drift", drifted(&["changed a", "credential b"])),
        ("scale", scales()),
        ("clear-cache", can_look()),
    ];
    for (playbook, target) in stories {
        let mut whole = target.clone();
        let (end, effects) = whole.run(heal(playbook), None);
        assert_eq!(end, Outcome::Done, "{playbook}");
        for at in 0..effects {
            for cut in [Cut::Before, Cut::After] {
                let mut target = target.clone();
                let (end, _) = target.run(heal(playbook), Some((at, cut)));
                assert!(target.deeds.len() <= 1, "{playbook}, {cut:?} {at}: {:?}", target.deeds);
                // It says that it is done only where it is.
                assert_eq!(end == Outcome::Done, target.deeds == whole.deeds, "{playbook}, {cut:?} {at}");
            }
        }
    }
}

/// Each look may print 4 KiB, and a run's state has room for some dozen of them.
#[test]
fn a_command_that_says_too_much_ends_the_run_and_breaks_nothing() {
    let loud = said(1, &"x".repeat(4096));
    let mut target = can_look().set(number("looks", 60)).answers("healthy", loud);
    target.config.retain(|setting| setting.value != Value::Number(4));
    let why = target.fails(heal("restart")).unwrap();
    assert_eq!(why, "the commands of one run printed 53248 bytes, more than 49152: print less");
}
