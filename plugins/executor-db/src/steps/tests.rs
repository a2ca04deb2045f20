//! A data base and its flags in memory. Each effect can be cut off before it is done or after, time out, or fail.

use backstay_sdk::{
    executor::{
        Access, Answer, Deed, Effect, Exited, Http, Outcome, Output, Response, Run, Task, Transience,
    },
    settings::{Setting, Value},
    testing::{self, order},
};

use crate::Db;

/// So many rows does a batch bring into step at most.
const BATCH: u32 = 10;

/// What the data base is like, and who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Base {
    old_columns: bool,
    new_columns: bool,
    /// Rows whose new columns lag behind the old ones.
    behind: u32,
    /// Rows whose old columns lag behind the new ones.
    ahead: u32,
    dual_write: bool,
    read_new: bool,
    old_code: u32,
    by_flag: bool,
    /// What was changed, in order.
    deeds: Vec<String>,
}

fn before() -> Base {
    Base {
        old_columns: true,
        new_columns: false,
        behind: 25,
        ahead: 0,
        dual_write: false,
        read_new: false,
        old_code: 2,
        by_flag: false,
        deeds: vec![],
    }
}

fn expanded() -> Base {
    Base { new_columns: true, ..before() }
}

fn dual() -> Base {
    Base { dual_write: true, ..expanded() }
}

fn in_step() -> Base {
    Base { behind: 0, ..dual() }
}

fn reading_new() -> Base {
    Base { read_new: true, old_code: 0, ..in_step() }
}

impl Base {
    fn does(&mut self, deed: &Deed) -> Answer {
        match deed {
            Deed::Run(Run { command, args }) => {
                assert!(args.is_empty(), "a command takes no argument: {args:?}");
                self.runs(command)
            }
            Deed::Http(http) => self.asked(http),
            Deed::Sleep(_) => Answer::Done,
            Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) | Deed::Attach(_) => {
                Answer::Refused("not here".into())
            }
        }
    }

    fn runs(&mut self, command: &str) -> Answer {
        let switch = |on| if on { "on" } else { "off" };
        match command {
            "schema-status" => return says(self.status()),
            "old-code-count" => return says(&self.old_code.to_string()),
            "dual-write-status" => return says(switch(self.dual_write)),
            "read-new-status" => return says(switch(self.read_new)),
            _ => {}
        }
        self.deeds.push(command.into());
        match command {
            "expand" => self.new_columns = true,
            "expand-undo" => {
                assert!(!self.dual_write && !self.read_new, "somebody uses the new columns");
                (self.new_columns, self.behind) = (false, before().behind);
            }
            "dual-write-on" => self.dual_write = true,
            "dual-write-off" => self.dual_write = false,
            "read-new-on" => self.read_new = true,
            "read-new-off" => self.read_new = false,
            "backfill-batch" => {
                assert!(self.old_columns && self.new_columns && !self.read_new);
                return says(&batch(&mut self.behind).to_string());
            }
            "fill-back-batch" => {
                assert!(self.old_columns && self.new_columns && self.read_new);
                return says(&batch(&mut self.ahead).to_string());
            }
            "contract" => {
                assert!(self.read_new && self.old_code == 0 && self.behind == 0);
                assert!(!self.by_flag || !self.dual_write, "code would write to columns that are gone");
                self.old_columns = false;
                self.dual_write = false;
            }
            other => panic!("no command is called {other}"),
        }
        says("")
    }

    fn asked(&mut self, http: &Http) -> Answer {
        let body = String::from_utf8(http.body.clone()).unwrap();
        if let Some(key) = http.path.strip_prefix("/ofrep/v1/evaluate/flags/") {
            assert_eq!(http.method, "POST");
            let value = if key == "writes" { self.dual_write } else { self.read_new };
            let answer = format!(r#"{{"key":"{key}","reason":"STATIC","value":{value}}}"#);
            return response(200, &answer);
        }
        let key = http.path.strip_prefix("/flags/").unwrap();
        let on = body == r#"{"enabled":true}"#;
        assert!(on || body == r#"{"enabled":false}"#, "{body}");
        self.deeds.push(format!("{key} {on}"));
        if key == "writes" {
            self.dual_write = on;
        } else {
            self.read_new = on;
        }
        response(204, "")
    }

    fn status(&self) -> &'static str {
        match (self.old_columns, self.new_columns) {
            (true, false) => "before",
            (true, true) if self.behind + self.ahead > 0 => "expanded",
            (true, true) => "in-step",
            (false, _) => "contracted",
        }
    }

    /// All but the diary.
    fn stand(&self) -> Self {
        Self { deeds: vec![], ..self.clone() }
    }
}

fn batch(rows: &mut u32) -> u32 {
    let filled = BATCH.min(*rows);
    *rows -= filled;
    filled
}

fn says(text: &str) -> Answer {
    let output = Output { bytes: format!("{text}\n").into(), whole: None };
    Answer::Exited(Exited { code: Some(0), output })
}

fn response(status: u16, body: &str) -> Answer {
    Answer::Response(Response { status, body: Output { bytes: body.into(), whole: None } })
}

fn is_command(effect: &Effect, name: &str) -> bool {
    matches!(&effect.deed, Deed::Run(Run { command, .. }) if command == name)
}

fn config(base: &Base) -> Vec<Setting> {
    let text = |name: &str, value: &str| Setting { name: name.into(), value: Value::Text(value.into()) };
    if !base.by_flag {
        return vec![];
    }
    vec![
        text("dual-write-flag", "writes"),
        text("read-new-flag", "reads"),
        text("flag-change-path", "/flags/{flag}"),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// The power goes before anything is done.
    CutBefore,
    /// The power goes when all is done, and nobody hears of it.
    CutAfter,
    /// It takes too long, and is done all the same.
    TimesOut,
    /// It ends with exit code 1, or status 500, and does nothing.
    Fails,
}

/// Runs `playbook` to its end, with a mishap at the effect that has the ordinal `at`. Says how many effects there were.
fn run(base: &mut Base, playbook: &str, mishap: Option<(u32, Mishap)>) -> (Outcome, u32) {
    let mut asked = 0;
    let run = testing::Run::<Db>::begin(&config(base), order(Task::Heal(playbook.into())));
    let end = run.until_end(|Effect { ordinal, access, deed }| {
        asked += 1;
        let before = base.clone();
        let answer = match mishap.filter(|(at, _)| at == ordinal).map(|(_, mishap)| mishap) {
            None => base.does(deed),
            Some(Mishap::CutBefore) => Answer::InDoubt,
            Some(Mishap::CutAfter) => {
                base.does(deed);
                Answer::InDoubt
            }
            Some(Mishap::TimesOut) => {
                base.does(deed);
                Answer::TimedOut
            }
            Some(Mishap::Fails) if matches!(deed, Deed::Http(_)) => response(500, ""),
            Some(Mishap::Fails) => testing::exited(1),
        };
        assert!(*access == Access::Changes || *base == before, "a look changed something: {deed:?}");
        answer
    });
    (end, asked)
}

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
    assert_eq!(failed.why, "contract: the command ended with exit code 1");
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
        true => testing::exited(3),
        false => base.does(&effect.deed),
    });
    let Outcome::Failed(failed) = end else { panic!("{end:?}") };
    assert_eq!(failed.why, "backfill-batch, 3 times in a row: the command ended with exit code 3");
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
