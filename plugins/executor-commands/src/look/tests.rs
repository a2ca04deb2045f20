//! Looking, at a target in memory.

use backstay_sdk::executor::{Answer, Exited, Outcome, Output, Task, Transience};

use crate::target::{Cut, Target, said, text};

fn look() -> Task {
    Task::Heal("look".into())
}

fn sees(text: &str) -> Target {
    Target::on("1.4.0").answers("look", said(0, text))
}

#[test]
fn what_the_command_sees_is_told_and_nothing_is_changed() {
    let mut target = sees("infra.disk=1\r\n\ninfra.process-exited=0\nanomaly=0.25\nconnections=212");
    let stood = target.clone();
    assert_eq!(target.fails(look()), None);
    assert_eq!(target.told, ["infra.disk=1\ninfra.process-exited=0\nanomaly=0.25\nconnections=212\n"]);
    target.told.clear();
    assert_eq!(target, stood);
}

#[test]
fn the_command_may_have_another_name() {
    let mut target =
        Target::on("1.4.0").set(text("look", "readings")).answers("readings", said(0, "schema=before"));
    assert_eq!(target.fails(look()), None);
    assert_eq!(target.told, ["schema=before\n"]);
    let why = target.fails(Task::Heal("readings".into())).unwrap();
    assert_eq!(why, "readings is the command for look, and no playbook");
    let mut blind = Target::on("1.4.0").set(text("look", ""));
    assert_eq!(blind.fails(look()).unwrap(), "there is no command for it: the setting look is empty");
}

/// A program that prints something else isn't the one that the operator meant: none of what it says is believed.
#[test]
fn anything_but_readings_is_said_and_nothing_is_told() {
    let long = "x".repeat(4096);
    let many: String = (0..65).map(|number| format!("n-{number}=1\n")).collect();
    for (text, bad) in [
        ("infra.disk=1\nwarning: late", "warning: late"),
        ("infra.disk=1\ninfra.disk=2", "infra.disk=2"),
        ("infra.disk = 1", "infra.disk = 1"),
        ("old_code=1", "old_code=1"),
        ("disk=", "disk="),
        ("disk=two words", "disk=two words"),
        ("disk=\u{1b}[31m1", "disk= [31m1"),
        (&many, "n-64=1"),
        (&long, &long[..100]),
    ] {
        let mut target = sees(text);
        let (end, _) = target.run(look(), None);
        let Outcome::Failed(failed) = end else { panic!("{text:?}: {end:?}") };
        let why = "which is no reading: name=value, each name once, at most 64";
        assert_eq!(failed.why, format!("the command look prints \"{bad}\", {why}"));
        assert_eq!(failed.transience, Transience::Permanent);
        assert_eq!((&target.told[..], &target.deeds[..]), (&[][..], &[][..]));
    }
}

#[test]
fn who_sees_nothing_has_not_looked() {
    let cut = Output { bytes: b"infra.disk=1".to_vec(), whole: Some("a".repeat(64)) };
    for (answer, why) in [
        (said(0, "\n"), "the command look prints no reading"),
        (said(3, "infra.disk=1\nno route"), "the command look ended with exit code 3: no route"),
        (Answer::TimedOut, "the command look did not end in its time"),
        (Answer::Refused("not granted".into()), "the command look was refused: not granted"),
        (
            Answer::Exited(Exited { code: Some(0), output: cut }),
            "the command look prints more than an answer can hold",
        ),
    ] {
        let mut target = Target::on("1.4.0").answers("look", answer);
        assert_eq!(target.fails(look()).unwrap(), why);
        assert_eq!((&target.told[..], &target.deeds[..]), (&[][..], &[][..]));
    }
}

#[test]
fn cut_off_at_every_effect_the_same_is_told() {
    let mut whole = sees("infra.disk=1");
    let (end, effects) = whole.run(look(), None);
    assert_eq!((end, effects), (Outcome::Done, 2));
    for at in 0..effects {
        for cut in [Cut::Before, Cut::After] {
            let mut target = sees("infra.disk=1");
            assert_eq!(target.run(look(), Some((at, cut))).0, Outcome::Done, "{cut:?} {at}");
            // Attached twice it says the same twice.
            target.told.dedup();
            assert_eq!(target, whole, "{cut:?} {at}");
        }
    }
}
