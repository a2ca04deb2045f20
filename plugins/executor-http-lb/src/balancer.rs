//! An HAProxy in memory for the tests: its page, its form, its check and its weights, which can be cut off at every
//! effect, before it is done or after.

use alloc::{format, string::String, vec, vec::Vec};

use backstay_sdk::{
    executor::{
        Access, Answer, Answered, Attach, Deed, Effect, Event, Exited, Http, Order, Outcome, Output,
        Response, Run, Task, step,
    },
    settings::{Setting, Value},
};

use crate::HttpLb;

/// A run that takes more steps than this doesn't end.
const STEPS_MAX: u32 = 100;

pub(crate) fn text(name: &str, text: &str) -> Setting {
    Setting { name: name.into(), value: Value::Text(text.into()) }
}

/// What was asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Ready,
    Drain,
    Maintenance,
}

/// A server behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) name: &'static str,
    pub(crate) asked: Asked,
    /// Whether it would pass a check.
    pub(crate) works: bool,
    pub(crate) checked: bool,
    /// How many looks its sessions last while it is drained.
    pub(crate) sessions: u32,
    /// In percent.
    pub(crate) weight: u32,
}

impl Behind {
    fn status(&self) -> &'static str {
        match (self.asked, self.works) {
            (Asked::Maintenance, _) => "MAINT",
            (_, false) if self.checked => "DOWN",
            (Asked::Drain, _) => "DRAIN",
            (Asked::Ready, _) if self.checked => "UP",
            (Asked::Ready, _) => "no check",
        }
    }

    fn has_traffic(&self) -> bool {
        self.asked == Asked::Ready && (self.works || !self.checked)
    }
}

/// What the balancer is like, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Balancer {
    pub(crate) config: Vec<Setting>,
    pub(crate) servers: Vec<Behind>,
    /// Whether the playbook's command mends what is sick.
    pub(crate) mends: bool,
    /// This server stops working when that many things were changed.
    pub(crate) dies: Option<(&'static str, usize)>,
    /// Commands and methods that answer with this, whatever they do.
    pub(crate) instead: Vec<(&'static str, Answer)>,
    /// What was changed, in order.
    pub(crate) deeds: Vec<String>,
    /// What was attached as readings, in order.
    pub(crate) told: Vec<String>,
    /// What is put at the end of each page and each command's output.
    pub(crate) noise: usize,
}

/// What happens to one of the effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The power goes before anything is done.
    Before,
    /// The power goes when all is done, and nobody hears of it.
    After,
}

impl Balancer {
    pub(crate) fn of(names: &[&'static str]) -> Self {
        let servers = names.iter().map(|name| Behind {
            name,
            asked: Asked::Ready,
            works: true,
            checked: true,
            sessions: 0,
            weight: 100,
        });
        let pairs = names.iter().map(|name| format!("restart-{name}={name}")).collect();
        Self {
            config: vec![
                text("backend", "web"),
                Setting { name: "servers".into(), value: Value::Texts(pairs) },
            ],
            servers: servers.collect(),
            mends: true,
            dies: None,
            instead: vec![],
            deeds: vec![],
            told: vec![],
            noise: 0,
        }
    }

    pub(crate) fn set(mut self, setting: Setting) -> Self {
        self.config.push(setting);
        self
    }

    pub(crate) fn answers(mut self, to: &'static str, answer: Answer) -> Self {
        self.instead.push((to, answer));
        self
    }

    pub(crate) fn with(mut self, name: &str, change: impl Fn(&mut Behind)) -> Self {
        change(self.server(name));
        self
    }

    pub(crate) fn server(&mut self, name: &str) -> &mut Behind {
        self.servers.iter_mut().find(|server| server.name == name).unwrap()
    }

    /// Runs `task` to its end, with the power cut at the effect that has the ordinal `at`.
    pub(crate) fn run(&mut self, task: Task, cut: Option<(u32, Cut)>) -> (Outcome, u32) {
        let order = Order { ticket: 1, fence: 1, task };
        let mut stepped = step::<HttpLb>(&self.config, &[], Event::Begin(order)).unwrap();
        for asked in 0..STEPS_MAX {
            if let Some(end) = stepped.end {
                if let Outcome::Failed(failed) = &end {
                    assert!(failed.why.len() <= 256, "{failed:?}");
                }
                return (end, asked);
            }
            let [Effect { ordinal, access, deed }] = &stepped.effects[..] else { panic!("{stepped:?}") };
            let before = self.deeds.len();
            let answer = match cut.filter(|(at, _)| at == ordinal) {
                None => self.does(deed),
                Some((_, Cut::Before)) => Answer::InDoubt,
                Some((_, Cut::After)) => {
                    self.does(deed);
                    Answer::InDoubt
                }
            };
            assert!(
                *access == Access::Changes || self.deeds.len() == before,
                "a look changed something: {deed:?}"
            );
            let event = Event::Answered(Answered { ordinal: *ordinal, answer });
            stepped = step::<HttpLb>(&self.config, &stepped.state, event).unwrap();
        }
        panic!("the run doesn't end: {self:?}")
    }

    /// The same, whole: why it failed, or nothing.
    pub(crate) fn fails(&mut self, task: Task) -> Option<String> {
        match self.run(task, None).0 {
            Outcome::Done => None,
            Outcome::Failed(failed) => Some(failed.why),
        }
    }

    fn does(&mut self, deed: &Deed) -> Answer {
        let to = match deed {
            Deed::Http(http) => http.method.as_str(),
            Deed::Run(run) => run.command.as_str(),
            Deed::Sleep(_) => return Answer::Done,
            Deed::Attach(Attach { name, content }) => {
                assert_eq!(name, "readings");
                self.told.push(String::from_utf8(content.clone()).unwrap());
                return Answer::Done;
            }
            Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) => panic!("{deed:?}"),
        };
        if let Some((_, answer)) = self.instead.iter().find(|(instead, _)| *instead == to) {
            return answer.clone();
        }
        match deed {
            Deed::Http(Http { method, path, .. }) if method == "GET" => {
                assert_eq!(path, "/;csv?scope=web");
                self.page()
            }
            Deed::Http(Http { path, body, .. }) => {
                assert_eq!(path, "/");
                self.form(core::str::from_utf8(body).unwrap());
                Answer::Response(Response { status: 303, body: Output { bytes: vec![], whole: None } })
            }
            Deed::Run(run) => self.command(run),
            Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) | Deed::Attach(_) | Deed::Sleep(_) => {
                Answer::Done
            }
        }
    }

    fn form(&mut self, form: &str) {
        let fields: Vec<_> = form.split('&').map(|field| field.split_once('=').unwrap()).collect();
        let [("s", server), ("action", action), ("b", "web")] = fields[..] else { panic!("{form}") };
        let asked = if action == "drain" { Asked::Drain } else { Asked::Ready };
        assert!(["drain", "ready"].contains(&action));
        let others = self.servers.iter().filter(|other| other.name != server && other.has_traffic()).count();
        if self.server(server).has_traffic() && asked == Asked::Drain {
            assert!(others > 0, "the last server that has traffic is never drained");
        }
        if self.server(server).asked != asked {
            self.server(server).asked = asked;
            self.changed(format!("{action} {server}"));
        }
    }

    fn command(&mut self, run: &Run) -> Answer {
        let args: Vec<&str> = run.args.iter().map(String::as_str).collect();
        match (run.command.as_str(), &args[..]) {
            ("check" | "check-home", [..]) => {}
            ("lb-weight", [server, weight]) => {
                let server = server.strip_prefix("web/").unwrap();
                self.server(server).weight = weight.strip_suffix('%').unwrap().parse().unwrap();
                self.changed(format!("weight {server} {weight}"));
            }
            (command, []) => {
                let server = command.strip_prefix("restart-").unwrap();
                assert!(!self.server(server).has_traffic(), "{server} is restarted with traffic on it");
                self.server(server).works = self.mends;
                self.server(server).sessions = 0;
                self.changed(command.into());
            }
            _ => panic!("{run:?}"),
        }
        said(0, &"x".repeat(self.noise))
    }

    fn changed(&mut self, deed: String) {
        self.deeds.push(deed);
        if let Some((server, after)) = self.dies
            && self.deeds.len() == after
        {
            self.server(server).works = false;
        }
    }

    /// As HAProxy 2.6 writes it, up to the column that is read last.
    pub(crate) fn page(&mut self) -> Answer {
        let mut columns = vec!["x"; 40];
        let named = [
            (0, "# pxname"),
            (1, "svname"),
            (4, "scur"),
            (17, "status"),
            (18, "weight"),
            (36, "check_status"),
        ];
        named.iter().for_each(|(at, name)| columns[*at] = name);
        let mut page = columns.join(",") + "\n";
        for server in &mut self.servers {
            let mut fields = vec![String::new(); 40];
            let check = match (server.checked && server.asked != Asked::Maintenance, server.works) {
                (false, _) => "",
                (true, true) => "* L7OK",
                (true, false) => "L4CON",
            };
            let own: [(usize, String); 6] = [
                (0, "web".into()),
                (1, server.name.into()),
                (4, format!("{}", server.sessions)),
                (17, server.status().into()),
                (18, format!("{}", server.weight)),
                (36, check.into()),
            ];
            for (at, field) in own {
                fields[at] = field;
            }
            page += &(fields.join(",") + "\n");
            if !server.has_traffic() {
                server.sessions = server.sessions.saturating_sub(1);
            }
        }
        page += &"x".repeat(self.noise.saturating_sub(page.len()));
        Answer::Response(Response { status: 200, body: Output { bytes: page.into_bytes(), whole: None } })
    }
}

pub(crate) fn said(code: i32, text: &str) -> Answer {
    Answer::Exited(Exited {
        code: Some(code),
        output: Output { bytes: text.as_bytes().to_vec(), whole: None },
    })
}
