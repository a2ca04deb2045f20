//! A data base and its flags in memory for the tests. Each effect can be cut off before it is done or after, time out, or fail.

use alloc::{
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};

use backstay_sdk::{
    executor::{Access, Answer, Attach, Deed, Effect, Exited, Http, Outcome, Output, Response, Run, Task},
    settings::{Setting, Value},
    testing::{self, order},
};

use crate::Db;

/// So many rows does a batch bring into step at most.
const BATCH: u32 = 10;

/// What the data base is like, and who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) old_columns: bool,
    pub(crate) new_columns: bool,
    /// Rows whose new columns lag behind the old ones.
    pub(crate) behind: u32,
    /// Rows whose old columns lag behind the new ones.
    pub(crate) ahead: u32,
    pub(crate) dual_write: bool,
    pub(crate) read_new: bool,
    pub(crate) old_code: u32,
    pub(crate) new_code: u32,
    pub(crate) by_flag: bool,
    /// What was changed, in order.
    pub(crate) deeds: Vec<String>,
    /// What was attached, in order.
    pub(crate) told: Vec<String>,
}

pub(crate) fn before() -> Base {
    Base {
        old_columns: true,
        new_columns: false,
        behind: 25,
        ahead: 0,
        dual_write: false,
        read_new: false,
        old_code: 2,
        new_code: 0,
        by_flag: false,
        deeds: vec![],
        told: vec![],
    }
}

pub(crate) fn expanded() -> Base {
    Base { new_columns: true, ..before() }
}

pub(crate) fn dual() -> Base {
    Base { dual_write: true, ..expanded() }
}

pub(crate) fn in_step() -> Base {
    Base { behind: 0, ..dual() }
}

pub(crate) fn reading_new() -> Base {
    Base { read_new: true, old_code: 0, ..in_step() }
}

impl Base {
    pub(crate) fn does(&mut self, deed: &Deed) -> Answer {
        match deed {
            Deed::Run(Run { command, args }) => {
                assert!(args.is_empty(), "a command takes no argument: {args:?}");
                self.runs(command)
            }
            Deed::Http(http) => self.asked(http),
            Deed::Attach(Attach { content, .. }) => {
                self.told.push(String::from_utf8(content.clone()).unwrap());
                Answer::Done
            }
            Deed::Sleep(_) => Answer::Done,
            Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) => Answer::Refused("not here".into()),
        }
    }

    fn runs(&mut self, command: &str) -> Answer {
        let switch = |on| if on { "on" } else { "off" };
        match command {
            "schema-status" => return says(self.status()),
            "old-code-count" => return says(&self.old_code.to_string()),
            "new-code-count" => return says(&self.new_code.to_string()),
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
    pub(crate) fn stand(&self) -> Self {
        Self { deeds: vec![], told: vec![], ..self.clone() }
    }
}

fn batch(rows: &mut u32) -> u32 {
    let filled = BATCH.min(*rows);
    *rows -= filled;
    filled
}

pub(crate) fn says(text: &str) -> Answer {
    let output = Output { bytes: format!("{text}\n").into(), whole: None };
    Answer::Exited(Exited { code: Some(0), output })
}

pub(crate) fn response(status: u16, body: &str) -> Answer {
    Answer::Response(Response { status, body: Output { bytes: body.into(), whole: None } })
}

pub(crate) fn is_command(effect: &Effect, name: &str) -> bool {
    matches!(&effect.deed, Deed::Run(Run { command, .. }) if command == name)
}

pub(crate) fn config(base: &Base) -> Vec<Setting> {
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
pub(crate) enum Mishap {
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
pub(crate) fn run(base: &mut Base, playbook: &str, mishap: Option<(u32, Mishap)>) -> (Outcome, u32) {
    let mut asked = 0;
    let run = testing::Run::<Db>::begin(&config(base), order(Task::Heal(playbook.into())));
    let end = run.until_end(|Effect { ordinal, access, deed }| {
        asked += 1;
        let before = (base.stand(), base.deeds.len());
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
        let after = (base.stand(), base.deeds.len());
        assert!(*access == Access::Changes || after == before, "a look changed something: {deed:?}");
        answer
    });
    (end, asked)
}
