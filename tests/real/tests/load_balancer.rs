//! Servers behind a real HAProxy, recycled under traffic by executor-http-lb.
//!
//! The executor runs natively; what it asks for is done by the hands that the server has: its endpoints and its commands.
//! Here: that visitors notice nothing, that the last server stays, that a sick one does not come back, and that a run that
//! was cut off does nothing twice. Not here: every cut and every answer (the executor's own tests, in memory).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use backstay_hands::{
    Command, Content, Endpoint, ExtraArgs, GuardedEndpoint, GuardedEndpoints, HttpGrant, Place, Roots,
    ServerCommand, ServerCommands, ServerHands,
};
use backstay_model as model;
use backstay_sdk::{
    executor::{
        Answer, Answered, Deed, Event, Exited, Failed, Http, Outcome, Output, Release, Response, Run, Task,
        Transience, step,
    },
    settings::{Setting, Value},
    testing::order,
};
use backstay_test_real::{HaProxy, Seen};
use executor_http_lb::HttpLb;

/// A run that takes more steps than this doesn't end.
const STEPS_MAX: u32 = 100;
/// How many visitors there are at any time. A web server works on a request for 20 ms.
const VISITORS: usize = 4;
/// HAProxy looks every 100 ms, and needs two looks to change its mind.
const SETTLE_MS: i64 = 600;

/// A server instance's hands, and what they did.
struct World {
    haproxy: HaProxy,
    hands: ServerHands,
    config: Vec<Setting>,
}

impl World {
    fn new(names: &[&'static str]) -> Option<Self> {
        let haproxy = HaProxy::start(names)?;
        let base = haproxy.page();
        let timeout = model::Millis::from_secs(10);
        let lb = GuardedEndpoint {
            endpoint: Endpoint { base, headers: BTreeMap::new(), timeout },
            credential: None,
            certificate: None,
            grant: HttpGrant::new(&["GET", "POST"], &["/"]).unwrap(),
            response_bytes_max: GuardedEndpoint::RESPONSE_BYTES,
            content: Content::Any,
        };
        let endpoints = BTreeMap::from([(name("lb"), lb)]);
        let mut commands = BTreeMap::new();
        for server in names {
            let site = haproxy.site(server);
            // Down for a moment, as any restart; each one leaves a mark.
            let script = "rm -f \"$0\" \"$1\"; sleep 0.3; echo . >> \"$0.log\"; : > \"$0\"";
            let restart = shell(script, &[site.serves(), site.sick()], ExtraArgs::Refused);
            commands.insert(name(&format!("restart-{server}")), restart);
        }
        let weight =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/executor-http-lb/commands/lb-weight.pl");
        let argv = ["/usr/bin/perl".into(), weight.into(), haproxy.socket().display().to_string()].to_vec();
        commands.insert(name("lb-weight"), Command { argv, ..shell("", &[], ExtraArgs::Allowed) });
        let hands = ServerHands {
            commands: here(commands),
            endpoints: GuardedEndpoints::new(endpoints, &Roots::default()).unwrap(),
            ..ServerHands::default()
        };
        let pairs = names.iter().map(|name| format!("restart-{name}={name}")).collect();
        let number = |name: &str, number| Setting { name: name.into(), value: Value::Number(number) };
        let config = vec![
            text("backend", "web"),
            Setting { name: "servers".into(), value: Value::Texts(pairs) },
            number("drain-ms", 5_000),
            number("settle-ms", SETTLE_MS),
            number("up-ms", 5_000),
        ];
        Some(Self { haproxy, hands, config })
    }

    fn set(mut self, setting: Setting) -> Self {
        self.config.push(setting);
        self
    }

    /// Runs a task to its end. At the first effect that `cut` names the host goes down when it was done, and nobody hears
    /// of it.
    async fn runs(&self, task: Task, mut cut: Option<fn(&Deed) -> bool>) -> Outcome {
        let mut stepped = step::<HttpLb>(&self.config, &[], Event::Begin(order(task))).unwrap();
        for _ in 0..STEPS_MAX {
            if let Some(end) = stepped.end {
                return end;
            }
            let [effect] = &stepped.effects[..] else { panic!("{stepped:?}") };
            let mut answer = self.does(&effect.deed).await;
            if cut.is_some_and(|cut| cut(&effect.deed)) {
                (cut, answer) = (None, Answer::InDoubt);
            }
            let event = Event::Answered(Answered { ordinal: effect.ordinal, answer });
            stepped = step::<HttpLb>(&self.config, &stepped.state, event).unwrap();
        }
        panic!("the run doesn't end")
    }

    async fn heals(&self, server: &str) -> Outcome {
        self.runs(Task::Heal(format!("restart-{server}")), None).await
    }

    async fn does(&self, deed: &Deed) -> Answer {
        let deed = match deed.clone() {
            Deed::Http(Http { endpoint, method, path, body }) => {
                model::Deed::Http { endpoint: name(&endpoint), method, path, body }
            }
            Deed::Run(Run { command, args }) => model::Deed::Run { command: name(&command), args },
            Deed::Sleep(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                return Answer::Done;
            }
            Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) | Deed::Attach(_) => {
                panic!("it has no business with {deed:?}")
            }
        };
        let output = |said: model::Output| Output {
            bytes: said.bytes,
            whole: said.whole.map(|digest| digest.to_string()),
        };
        match self.hands.perform(&deed).await.unwrap() {
            model::Answer::Exited { code, output: said } => {
                Answer::Exited(Exited { code, output: output(said) })
            }
            model::Answer::Response { status, body } => {
                Answer::Response(Response { status, body: output(body) })
            }
            model::Answer::TimedOut => Answer::TimedOut,
            model::Answer::Refused(why) => Answer::Refused(why),
            model::Answer::Failed(model::Outcome::Failed { why, .. }) => {
                Answer::Failed(Failed { transience: Transience::Transient, why })
            }
            model::Answer::Failed(model::Outcome::Done)
            | model::Answer::Done
            | model::Answer::Content(_)
            | model::Answer::Slots(_)
            | model::Answer::InDoubt => panic!("no answer of an endpoint or a command"),
        }
    }

    /// How often a server was restarted.
    fn restarts(&self, server: &str) -> usize {
        let log = format!("{}.log", self.haproxy.site(server).serves().display());
        fs::read_to_string(log).unwrap_or_default().lines().count()
    }

    /// Waits until HAProxy shows this.
    async fn sees(&self, server: &str, status: &str) {
        for _ in 0..1000 {
            if self.haproxy.shows(server, status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{server} is {:?}, not {status}", self.haproxy.status(server));
    }
}

fn shell(script: &str, args: &[&Path], extra_args: ExtraArgs) -> Command {
    let argv = ["/bin/sh", "-c", script].map(String::from).into_iter();
    let args = args.iter().map(|path| path.display().to_string());
    Command {
        argv: argv.chain(args).collect(),
        environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        dir: None,
        timeout: model::Millis::from_secs(30),
        extra_args,
    }
}

fn here(commands: BTreeMap<model::Name, Command>) -> ServerCommands {
    let here = |(name, command)| (name, ServerCommand { command, place: Place::Here });
    ServerCommands::new(commands.into_iter().map(here).collect()).unwrap()
}

fn name(text: &str) -> model::Name {
    model::Name::parse(text).unwrap()
}

fn text(name: &str, text: &str) -> Setting {
    Setting { name: name.into(), value: Value::Text(text.into()) }
}

fn why(outcome: Outcome) -> String {
    let Outcome::Failed(failed) = outcome else { panic!("it is done") };
    failed.why
}

fn nobody_noticed(seen: &Seen) {
    assert_eq!(seen.failed, [] as [String; 0], "after {} that were served", seen.served);
    assert!(seen.served > 50, "there was traffic: {seen:?}");
}

/// Each of three servers is restarted under traffic, and is down meanwhile. HAProxy tries nothing twice.
#[tokio::test]
async fn nobody_notices_that_servers_are_recycled() {
    let Some(world) = World::new(&["a", "b", "c"]) else { return };
    let visitors = world.haproxy.visitors(VISITORS);
    for server in ["a", "b", "c"] {
        assert_eq!(world.heals(server).await, Outcome::Done);
        assert!(world.haproxy.shows(server, "UP"));
        assert_eq!(world.restarts(server), 1);
    }
    let before = world.haproxy.site("a").served();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = world.haproxy.site("a").served();
    nobody_noticed(&visitors.end());
    assert!(after > before, "it has traffic again");
}

/// The counter-proof: the same restarts without draining, and visitors lose requests.
#[tokio::test]
async fn without_draining_everybody_would_notice() {
    let Some(world) = World::new(&["a", "b"]) else { return };
    let visitors = world.haproxy.visitors(VISITORS);
    for _ in 0..3 {
        assert!(matches!(
            world.hands.commands.run(&name("restart-a"), &[]).await,
            model::Answer::Exited { code: Some(0), .. }
        ));
        world.sees("a", "UP").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(!visitors.end().failed.is_empty());
}

#[tokio::test]
async fn a_server_comes_back_with_a_small_weight_first() {
    let Some(world) = World::new(&["a", "b"]) else { return };
    let world = world.set(text("lb-weight", "lb-weight"));
    let visitors = world.haproxy.visitors(VISITORS);
    let mut lightest = 100;
    let watch = async {
        loop {
            let (status, weight) = world.haproxy.status("a");
            if status == "UP" {
                lightest = weight.min(lightest);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::select! {
        ended = world.heals("a") => ended,
        () = watch => panic!("it goes on for as long as the run"),
    };
    // While it settled it had a tenth of the traffic.
    assert_eq!((ended, lightest), (Outcome::Done, 10));
    assert_eq!(world.haproxy.status("a"), ("UP".into(), 100));
    nobody_noticed(&visitors.end());
}

#[tokio::test]
async fn the_last_server_is_not_drained() {
    let Some(world) = World::new(&["a", "b"]) else { return };
    fs::write(world.haproxy.site("b").sick(), "").unwrap();
    world.sees("b", "DOWN").await;
    let visitors = world.haproxy.visitors(VISITORS);
    assert_eq!(
        why(world.heals("a").await),
        "web/a was not drained: others that carry traffic are 0, and have to be 1"
    );
    assert_eq!(world.restarts("a"), 0);
    // The sick one is mended, and then the other may go.
    assert_eq!(world.heals("b").await, Outcome::Done);
    assert_eq!(world.heals("a").await, Outcome::Done);
    nobody_noticed(&visitors.end());
}

#[tokio::test]
async fn a_dead_server_comes_back_only_when_it_is_well() {
    let Some(world) = World::new(&["a", "b"]) else { return };
    let site = world.haproxy.site("a");
    // It is dead, and the playbook's command can do nothing about it.
    fs::remove_file(site.serves()).unwrap();
    world.sees("a", "DOWN").await;
    let visitors = world.haproxy.visitors(VISITORS);
    let hopeless = {
        let nothing = shell("exit 0", &[], ExtraArgs::Refused);
        let commands = here(BTreeMap::from([(name("restart-a"), nothing)]));
        let World { haproxy, hands, config } = world;
        World { haproxy, hands: ServerHands { commands, ..hands }, config }
    };
    assert_eq!(
        why(hopeless.heals("a").await),
        "HAProxy's check of web/a doesn't pass after the command; web/a is left out, down (L4CON, 0 sessions); \
         others that carry: 1"
    );
    // It comes up by itself, and still has no traffic: somebody has to say that it is well.
    fs::write(hopeless.haproxy.site("a").serves(), "").unwrap();
    hopeless.sees("a", "DRAIN").await;
    let served = hopeless.haproxy.site("a").served();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hopeless.haproxy.site("a").served(), served);
    assert_eq!(hopeless.heals("a").await, Outcome::Done);
    hopeless.sees("a", "UP").await;
    nobody_noticed(&visitors.end());
}

/// The host goes down right after an effect was done, three times in three runs, each time at another one.
#[tokio::test]
async fn a_run_that_was_cut_off_does_nothing_twice() {
    let Some(world) = World::new(&["a", "b"]) else { return };
    let visitors = world.haproxy.visitors(VISITORS);
    let cuts: [fn(&Deed) -> bool; 3] = [
        |deed| matches!(deed, Deed::Http(http) if http.method == "POST"),
        |deed| matches!(deed, Deed::Run(_)),
        |deed| matches!(deed, Deed::Http(http) if http.body.windows(5).any(|word| word == b"ready")),
    ];
    for (run, cut) in cuts.into_iter().enumerate() {
        assert_eq!(world.runs(Task::Heal("restart-a".into()), Some(cut)).await, Outcome::Done);
        assert_eq!(world.restarts("a"), run + 1);
        assert!(world.haproxy.shows("a", "UP"));
    }
    nobody_noticed(&visitors.end());
}

/// Two servers of one backend stand for blue and green behind any balancer. It is a double for others, not a proof of them.
#[tokio::test]
async fn nobody_notices_the_way_home_from_green_to_blue() {
    let Some(world) = World::new(&["blue", "green"]) else { return };
    let world = world.set(text("blue", "blue")).set(text("green", "green"));
    assert_eq!(world.haproxy.says("set server web/blue state maint").trim(), "");
    world.sees("blue", "MAINT").await;
    let visitors = world.haproxy.visitors(VISITORS);
    let release = Release { version: "1.4.0".into(), digest: "ab".repeat(32), length: 1, security_epoch: 0 };
    // Blue is sick at first, and green keeps the traffic.
    fs::write(world.haproxy.site("blue").sick(), "").unwrap();
    let home = || Task::GoHome(release.clone());
    assert_eq!(
        why(world.runs(home(), None).await),
        "nothing was switched, web/blue isn't proven: HAProxy's check doesn't pass"
    );
    assert!(world.haproxy.shows("green", "UP"));
    fs::remove_file(world.haproxy.site("blue").sick()).unwrap();
    assert_eq!(world.runs(home(), None).await, Outcome::Done);
    assert_eq!(
        (world.haproxy.status("blue").0, world.haproxy.status("green").0),
        ("UP".into(), "DRAIN".into())
    );
    let green = world.haproxy.site("green").served();
    assert_eq!(world.runs(home(), None).await, Outcome::Done);
    tokio::time::sleep(Duration::from_millis(300)).await;
    nobody_noticed(&visitors.end());
    assert_eq!(world.haproxy.site("green").served(), green);
}
