//! The steps, on a data base in memory.

use backstay_sdk::{
    executor::{Answer, Deed, Exited, Outcome, Output, Task, Transience},
    settings::{Setting, Value},
    testing::{self, order},
};

use crate::{
    Db,
    base::{
        Base, Mishap, before, config, dual, expanded, in_step, is_command, reading_new, response, run, says,
    },
};

/// Where each step begins, with what it changes.
fn stories() -> Vec<(Base, &'static str, Vec<&'static str>)> {
    let aside = Base { dual_write: false, ahead: 15, ..reading_new() };
    let behind = Base { ahead: 5, ..reading_new() };
    vec![
        (before(), "expand", vec!["expand"]),
        (expanded(), "expand-undo", vec!["expand-undo"]),
        (expanded(), "dual-write-on", vec!["dual-write-on"]),
        (dual(), "dual-write-off", vec!["dual-write-off"]),
        (in_step(), "dual-write-off", vec!["dual-write-off"]),
        (dual(), "backfill", vec!["backfill-batch"; 4]),
        (in_step(), "read-new", vec!["read-new-on"]),
        (reading_new(), "read-old", vec!["read-new-off"]),
        (behind, "read-old", vec!["fill-back-batch", "fill-back-batch", "read-new-off"]),
        // Somebody turned dual-write off while new columns were read.
        (
            aside,
            "dual-write-on",
            vec!["dual-write-on", "fill-back-batch", "fill-back-batch", "fill-back-batch"],
        ),
        (reading_new(), "contract", vec!["contract"]),
    ]
}

/// The same with flags in the place of commands.
fn flagged() -> impl Iterator<Item = (Base, &'static str, Vec<&'static str>)> {
    stories().into_iter().map(|(base, playbook, deeds)| {
        let flags = deeds.into_iter().map(|deed| match deed {
            "dual-write-on" => "writes true",
            "dual-write-off" => "writes false",
            "read-new-on" => "reads true",
            "read-new-off" => "reads false",
            other => other,
        });
        let first = (playbook == "contract").then_some("writes false");
        (Base { by_flag: true, ..base }, playbook, first.into_iter().chain(flags).collect())
    })
}

#[test]
fn each_step_does_what_is_missing_and_nothing_the_second_time() {
    for (mut base, playbook, deeds) in stories().into_iter().chain(flagged()) {
        assert_eq!(run(&mut base, playbook, None).0, Outcome::Done, "{playbook}");
        assert_eq!(base.deeds, deeds, "{playbook}");
        let once = base.clone();
        assert_eq!(run(&mut base, playbook, None).0, Outcome::Done, "{playbook}");
        assert_eq!(base, once, "{playbook}");
    }
}

#[test]
fn cut_off_or_too_slow_at_any_effect_a_step_comes_to_the_same_end() {
    let mut tried = 0;
    for (base, playbook, _) in stories().into_iter().chain(flagged()) {
        let mut whole = base.clone();
        let (_, effects) = run(&mut whole, playbook, None);
        for at in 0..effects {
            for mishap in [Mishap::CutBefore, Mishap::CutAfter, Mishap::TimesOut] {
                let mut base = base.clone();
                let mut end = run(&mut base, playbook, Some((at, mishap))).0;
                if let Outcome::Failed(failed) = &end {
                    // A look that timed out is no answer. The runtime tries again, later.
                    assert_eq!(failed.transience, Transience::Transient, "{playbook}, {mishap:?} at {at}");
                    end = run(&mut base, playbook, None).0;
                }
                assert_eq!(end, Outcome::Done, "{playbook}, {mishap:?} at {at}");
                assert_eq!(base.stand(), whole.stand(), "{playbook}, {mishap:?} at {at}");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn what_fails_is_said_and_can_be_tried_again() {
    for (base, playbook, _) in stories().into_iter().chain(flagged()) {
        let mut whole = base.clone();
        let (_, effects) = run(&mut whole, playbook, None);
        for at in 0..effects {
            let mut base = base.clone();
            let before = base.stand();
            let (end, _) = run(&mut base, playbook, Some((at, Mishap::Fails)));
            if let Outcome::Failed(failed) = end {
                assert_eq!(failed.transience, Transience::Transient, "{playbook} at {at}: {}", failed.why);
                let filled = base.deeds.iter().any(|deed| deed.ends_with("batch"));
                let turned = base.deeds.iter().any(|deed| deed.ends_with("on") || deed.ends_with("true"));
                assert!(
                    filled || turned || base.stand() == before || base.stand() == whole.stand(),
                    "{playbook} at {at}"
                );
            }
            assert_eq!(run(&mut base, playbook, None).0, Outcome::Done, "{playbook} at {at}");
            assert_eq!(base.stand(), whole.stand(), "{playbook} at {at}");
        }
    }
}

#[test]
fn a_contract_that_fails_leaves_the_way_back_open() {
    let mut base = Base { by_flag: true, ..reading_new() };
    let run = testing::Run::<Db>::begin(&config(&base), order(Task::Heal("contract".into())));
    let end = run.until_end(|effect| {
        if !is_command(effect, "contract") {
            return base.does(&effect.deed);
        }
        // What was written meanwhile is in the new columns only.
        base.ahead = 12;
        testing::exited(1)
    });
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    assert_eq!(failed.why, "the command contract ended with exit code 1");
    assert_eq!(base.stand(), Base { by_flag: true, ..reading_new() });
}

/// How a step ends that must not change anything.
#[track_caller]
fn refuses(mut base: Base, playbook: &str, why: &str) {
    let Outcome::Failed(failed) = run(&mut base, playbook, None).0 else { panic!("{playbook} was done") };
    assert_eq!(failed.why, why);
    assert!(base.deeds.is_empty(), "{:?}", base.deeds);
}

#[test]
fn no_step_destroys_what_somebody_needs() {
    let on = |of: &str| format!("{of} is on: turn it off first");
    refuses(reading_new(), "expand-undo", &on("read-new"));
    refuses(dual(), "expand-undo", &on("dual-write"));
    refuses(reading_new(), "dual-write-off", &on("read-new"));
    refuses(reading_new(), "backfill", &on("read-new"));
    refuses(expanded(), "backfill", "dual-write is off: turn it on first");
    refuses(dual(), "read-new", "some rows differ: the backfill has to be done again");
    refuses(expanded(), "read-new", "dual-write is off: turn it on first");
    refuses(before(), "dual-write-on", "the new columns are not there: expand first");
    refuses(in_step(), "contract", "read-new is off: turn it on first");
    refuses(before(), "contract", "there are no new columns that could take over");
    let old = Base { old_code: 3, ..reading_new() };
    refuses(old, "contract", "3 instances of old code are there: the old columns can't go");
    let behind = Base { ahead: 1, ..reading_new() };
    refuses(behind, "contract", "some rows differ: the old columns can't go");
    let contracted = || Base { old_columns: false, ..reading_new() };
    for playbook in ["expand", "expand-undo", "dual-write-on", "backfill", "read-old"] {
        refuses(contracted(), playbook, "the old columns are gone: nothing leads back from the contract");
    }
    refuses(before(), "drop-everything", "drop-everything is no step of a migration");
}

#[test]
fn a_long_backfill_ends_in_good_order_and_goes_on_in_the_next_run() {
    let mut base = Base { behind: 4_005, ..dual() };
    let (end, _) = run(&mut base, "backfill", None);
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    assert_eq!(failed.why, "backfill-batch: 2000 rows were filled, and there are more");
    assert_eq!(failed.transience, Transience::Transient);
    assert_eq!(base.behind, 2_005);
    base.deeds.clear();
    assert_ne!(run(&mut base, "backfill", None).0, Outcome::Done);
    assert_eq!(run(&mut base, "backfill", None).0, Outcome::Done);
}

#[test]
fn a_batch_that_always_fails_is_given_up() {
    let mut base = dual();
    let run = testing::Run::<Db>::begin(&[], order(Task::Heal("backfill".into())));
    let end = run.until_end(|effect| match is_command(effect, "backfill-batch") {
        true => {
            let output = Output { bytes: b"5000\nERROR: lock timeout\n".to_vec(), whole: None };
            Answer::Exited(Exited { code: Some(3), output })
        }
        false => base.does(&effect.deed),
    });
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    assert_eq!(
        failed.why,
        "backfill-batch, 3 times in a row: the command backfill-batch ended with exit code 3: ERROR: lock timeout"
    );
}

/// What a look or a batch says is taken for what it is, or for nothing.
#[test]
fn a_wrong_answer_moves_nothing() {
    let cases = [
        ("schema-status", "", "expand"),
        ("schema-status", "Before", "expand"),
        ("schema-status", "before\nin-step", "expand"),
        ("old-code-count", "-1", "contract"),
        ("old-code-count", "none", "contract"),
        ("old-code-count", "", "contract"),
        ("dual-write-status", "yes", "expand-undo"),
        ("read-new-status", "t", "contract"),
        ("backfill-batch", "UPDATE 5", "backfill"),
        ("backfill-batch", "99999999999999999999", "backfill"),
    ];
    for (command, text, playbook) in cases {
        let mut base = match playbook {
            "contract" => reading_new(),
            "backfill" => dual(),
            "expand-undo" => expanded(),
            _ => before(),
        };
        let stood = base.clone();
        let run = testing::Run::<Db>::begin(&[], order(Task::Heal(playbook.into())));
        let end = run.until_end(|effect| match is_command(effect, command) {
            true => says(text),
            false => base.does(&effect.deed),
        });
        let Outcome::Failed(failed) = end else { panic!("{command} {text:?}: {end:?}") };
        assert_eq!(failed.transience, Transience::Permanent, "{command} {text:?}: {}", failed.why);
        assert_eq!(base, stood, "{command} {text:?}");
    }
}

#[test]
fn a_flag_that_nobody_can_tell_moves_nothing() {
    for (status, body) in [
        (200, r#"{"key":"reads","reason":"DEFAULT"}"#),
        (200, r#"{"key":"writes","value":true}"#),
        (200, "<html>"),
        (302, ""),
        (404, r#"{"key":"reads","errorCode":"FLAG_NOT_FOUND"}"#),
        (401, ""),
        (500, ""),
    ] {
        let mut base = Base { by_flag: true, ..reading_new() };
        let stood = base.clone();
        let run = testing::Run::<Db>::begin(&config(&base), order(Task::Heal("contract".into())));
        let asks = |deed: &Deed| matches!(deed, Deed::Http(http) if http.path.ends_with("/flags/reads"));
        let end = run.until_end(|effect| match asks(&effect.deed) {
            true => response(status, body),
            false => base.does(&effect.deed),
        });
        assert!(matches!(end, Outcome::Failed(_)), "{status} {body}");
        assert_eq!(base, stood, "{status} {body}");
    }
}

#[test]
fn settings_that_can_not_work_are_named() {
    use backstay_sdk::executor::Executor as _;
    let text = |name: &str, value: &str| Setting { name: name.into(), value: Value::Text(value.into()) };
    assert!(Db::validate(&[]).is_empty());
    for (name, value) in [
        ("dual-write-flag", "../admin"),
        ("read-new-flag", "a b"),
        ("flag-endpoint", ""),
        ("flag-change-path", "flags/{flag}"),
        ("flag-change-path", "/flags"),
        ("flag-change-method", "GET"),
        ("flag-off-body", r#"{"enabled":true}"#),
    ] {
        let problems = Db::validate(&[text(name, value)]);
        assert_eq!(problems.len(), 1, "{name} {value}");
        assert_eq!(problems[0].setting.as_deref(), Some(name));
    }
    let same = [text("dual-write-flag", "x"), text("read-new-flag", "x")];
    assert_eq!(Db::validate(&same).len(), 1);
}
