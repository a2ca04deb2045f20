//! Looking, on a data base in memory.

use backstay_sdk::{
    executor::{Access, Answer, Deed, Outcome, Task, Transience},
    readings::LOOK,
    testing::{self, order},
};

use crate::{
    Db,
    base::{Base, Mishap, before, config, in_step, is_command, reading_new, response, run, says},
};

/// What a look tells, and in how many effects.
#[track_caller]
fn told(base: &mut Base, mishap: Option<(u32, Mishap)>) -> (String, u32) {
    base.told.clear();
    let (end, effects) = run(base, LOOK, mishap);
    assert_eq!(end, Outcome::Done);
    assert!(base.deeds.is_empty(), "a look changed something: {:?}", base.deeds);
    // Where the power goes when they are attached, they are once more, and the same.
    base.told.dedup();
    let [told] = &base.told[..] else { panic!("it told {:?}", base.told) };
    (told.clone(), effects)
}

fn both_ways(base: &Base) -> [Base; 2] {
    [base.clone(), Base { by_flag: true, ..base.clone() }]
}

#[test]
fn everything_is_told_by_command_and_by_flag() {
    let stories = [
        (before(), "schema=before\nold-code=2\nnew-code=0\ndual-write=off\nread-new=off\n"),
        (in_step(), "schema=in-step\nold-code=2\nnew-code=0\ndual-write=on\nread-new=off\n"),
        (
            Base { new_code: 3, ..reading_new() },
            "schema=in-step\nold-code=0\nnew-code=3\ndual-write=on\nread-new=on\n",
        ),
    ];
    for (base, text) in stories {
        for mut base in both_ways(&base) {
            assert_eq!(told(&mut base, None), (text.into(), 6));
        }
    }
}

/// Nothing but an evaluation is ever asked for as a change: OFREP evaluates by POST, which the host takes for one.
#[test]
fn a_look_asks_for_looks_alone() {
    for mut base in both_ways(&in_step()) {
        let run = testing::Run::<Db>::begin(&config(&base), order(Task::Heal(LOOK.into())));
        let end = run.until_end(|effect| {
            let evaluates =
                matches!(&effect.deed, Deed::Http(http) if http.path.starts_with("/ofrep/v1/evaluate/"));
            assert_eq!(effect.access == Access::Changes, evaluates, "{:?}", effect.deed);
            base.does(&effect.deed)
        });
        assert_eq!(end, Outcome::Done);
        assert_eq!(base.stand(), Base { by_flag: base.by_flag, ..in_step() });
    }
}

#[test]
fn cut_off_at_every_effect_the_same_is_told() {
    for mut base in both_ways(&in_step()) {
        let (whole, effects) = told(&mut base, None);
        for at in 0..effects {
            for mishap in [Mishap::CutBefore, Mishap::CutAfter] {
                assert_eq!(told(&mut base, Some((at, mishap))).0, whole, "{mishap:?} at {at}");
            }
        }
    }
}

/// One command is broken, or not there. That is one thing that isn't known, and no reason to keep the others back.
#[test]
fn what_can_not_be_read_is_left_out() {
    for mut base in both_ways(&in_step()) {
        let whole = told(&mut base, None).0;
        for at in 0..5_u32 {
            let mut lines: Vec<_> = whole.lines().collect();
            lines.remove(at as usize);
            let rest = lines.join("\n") + "\n";
            assert_eq!(told(&mut base, Some((at, Mishap::Fails))).0, rest, "{at}");
        }
    }
    for (command, answer) in [
        ("schema-status", says("Before")),
        ("old-code-count", says("-1")),
        ("new-code-count", says("none")),
        ("new-code-count", Answer::Refused("command new-code-count is not granted".into())),
        ("dual-write-status", says("yes")),
        ("read-new-status", Answer::TimedOut),
    ] {
        let mut base = in_step();
        let run = testing::Run::<Db>::begin(&[], order(Task::Heal(LOOK.into())));
        let end = run.until_end(|effect| match is_command(effect, command) {
            true => answer.clone(),
            false => base.does(&effect.deed),
        });
        assert_eq!(end, Outcome::Done, "{command}");
        let name = command.trim_end_matches("-status").trim_end_matches("-count");
        assert_eq!(base.told[0].lines().count(), 4, "{command}");
        assert!(!base.told[0].contains(&format!("{name}=")), "{command}: {:?}", base.told);
    }
}

/// A dry run evaluates nothing, and a host may refuse it in a look. Then a switch that is a flag isn't known.
#[test]
fn a_flag_that_may_not_be_asked_for_is_left_out() {
    for answer in [Answer::Refused("a look changes nothing".into()), response(200, ""), response(503, "")] {
        let mut base = Base { by_flag: true, ..in_step() };
        let run = testing::Run::<Db>::begin(&config(&base), order(Task::Heal(LOOK.into())));
        let end = run.until_end(|effect| match effect.access {
            Access::Changes => answer.clone(),
            Access::Looks => base.does(&effect.deed),
        });
        assert_eq!(end, Outcome::Done);
        assert_eq!(base.told, ["schema=in-step\nold-code=2\nnew-code=0\n"]);
    }
}

#[test]
fn where_nothing_can_be_read_the_first_reason_is_said() {
    let run = testing::Run::<Db>::begin(&[], order(Task::Heal(LOOK.into())));
    let end = run.until_end(|effect| {
        assert!(!matches!(effect.deed, Deed::Attach(_)), "nothing was seen that could be told");
        if is_command(effect, "schema-status") { says("what?") } else { testing::exited(1) }
    });
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    let why = "command schema-status says \"what?\", not before, expanded, in-step or contracted";
    assert_eq!((failed.why.as_str(), failed.transience), (why, Transience::Transient));
}
