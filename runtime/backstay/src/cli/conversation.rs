//! The commands against the real routes of the API, with somebody behind them who gives set answers.
//!
//! What it holds together: paths, bodies and answers of both sides, the token, and the number that each command ends
//! with. What the server makes of a call is the server's.

use std::{fs, net::SocketAddr, path::PathBuf, thread};

use backstay_api::{
    ApiError, BreakerState, BreakerView, Call, Calls, Closed, CohortView, EventView, FleetView, Kind, Lifted,
    MintedToken, PendingView, PluginView, QuarantineView, Quarantined, ReleaseView, Shelf, SignedVerdict,
    Started, TargetCall, Tokens, Told, TrustView, VerdictRequest, routes,
};
use backstay_blocks::{Index, Shape};
use backstay_model::{
    Channel, CohortId, Digest, FleetId, Hardware, PluginId, PluginRole, Reason, Release, Standing, TargetId,
    UnixMs, Verdict, VerdictAction, Version,
};
use backstay_trust::{Keyring, KeyringParts, Role, SecretKey, sign_verdict};
use clap::Parser;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Builder};

use crate::{
    Exit, Failure, Serve,
    arguments::{Backstay, Otactl},
    desk::Desk,
    file, story,
    tree::tests::device,
    verdict::tests::underway,
};

const TOKEN: &str = "0123456789abcdef";
const SERVE: Serve = Serve {
    run: |_| Ok(()),
    check: |_| Ok(()),
    inspect: |_, _| backstay_targets::Reading::default(),
    schema: || serde_json::Value::Null,
    get: |_, _, _| Ok(Vec::new()),
};

/// A server that knows one cohort and one device.
struct World {
    dir: TempDir,
    at: SocketAddr,
}

fn release(version: &str, bytes: &[u8], home: &[Digest]) -> ReleaseView {
    let (version, digest) = (Version::parse(version).unwrap(), file::digest_of(bytes));
    let release = Release { version, digest, length: bytes.len() as u64, security_epoch: 0 };
    let hardware = vec![Hardware::parse("pump-mk2").unwrap()];
    ReleaseView { release, hardware, home: home.to_vec(), artifact: true }
}

fn plugin(digest: Digest) -> PluginView {
    let version = Version::parse("1.1.0").unwrap();
    PluginView {
        plugin: PluginId::parse("acme/policy-pump").unwrap(),
        role: PluginRole::Policy,
        bundle: Release { version, digest, length: 3, security_epoch: 0 },
        grant: Digest([8; 32]),
        sequence: 2,
    }
}

fn quarantined(digest: Digest) -> QuarantineView {
    let cohort = Some(CohortId::parse("canary").unwrap());
    QuarantineView { digest, kind: Quarantined::Release, cohort, release: None, plugin: None }
}

/// Whom pipelines believe here.
fn keyring() -> Keyring {
    let role = |seed| Role::of(SecretKey::from_random(&[seed; 32]).public());
    let first = KeyringParts::first(FleetId::parse("acme").unwrap(), role(1), role(2), role(3));
    Keyring::new(KeyringParts { verdict: role(9), ..first }).unwrap()
}

/// Every build of checkout may go on.
fn verdict(service: TargetId, request: VerdictRequest) -> SignedVerdict {
    let VerdictRequest { build, digest, version, nonce, .. } = request;
    let verdict = Verdict {
        service,
        build,
        nonce,
        action: VerdictAction::Proceed,
        wait_secs: 0,
        digest,
        version,
        reasons: vec![Reason::new("all objectives hold".into())],
        evidence: None,
    };
    let (key, now) = (SecretKey::from_random(&[9; 32]), file::now());
    let expires = UnixMs(now.0 + 600_000);
    let statement = sign_verdict(&key, &verdict, FleetId::parse("acme").unwrap(), now, expires).unwrap();
    SignedVerdict::new(&keyring().verify_verdict(&statement).unwrap(), &statement)
}

fn answer(call: Call) {
    let none = || ApiError::new(Kind::NotFound, "there is no such cohort").help("backstay fleet ls");
    let known = |cohort: &CohortId| if cohort.as_str() == "canary" { Ok(underway()) } else { Err(none()) };
    let old = release("1.4.0", b"old", &[]);
    // Nobody waits any more where a test is over, and then there is nothing to answer.
    match call {
        Call::Fleet(to) => drop(to.send(Ok(FleetView {
            fleet: "acme".into(),
            cohorts: vec![underway()],
            devices: vec![device("pump-7", Standing::OnTrial)],
        }))),
        // Who asks for one channel is answered for that one.
        Call::Cohort(cohort, channel, to) | Call::Operate(_, cohort, channel, _, to) => {
            drop(to.send(known(&cohort).map(|view| CohortView { channel, ..view })));
        }
        Call::Releases(to) => {
            let mut new = release("2.0.0", b"new", &[old.release.digest]);
            new.release.digest = Digest([0xab; 32]);
            drop(to.send(Ok(vec![old, new])));
        }
        Call::Plugins(to) => drop(to.send(Ok(vec![plugin(Digest([7; 32]))]))),
        Call::PublishPlugin(_, digest, to) => drop(to.send(Ok(plugin(digest)))),
        Call::Publish(_, _, to) => drop(to.send(Ok(old))),
        Call::Start(_, request, to) if request.version.as_str() == "9.9.9" => {
            drop(to.send(Err(ApiError::new(Kind::Refused, "the breaker is open"))));
        }
        Call::Start(_, request, to) => {
            let rollout = request.rollout.unwrap_or_else(|| underway().rollout.unwrap());
            drop(to.send(Ok(Started { rollout, release: old.release })));
        }
        Call::Quarantine(to) => drop(to.send(Ok(vec![quarantined(Digest([5; 32]))]))),
        Call::Lift(_, digest, _, to) => drop(to.send(Ok(Lifted { lifted: vec![quarantined(digest)] }))),
        Call::Breakers(to) => {
            let cohort = CohortId::parse("canary").unwrap();
            drop(to.send(Ok(vec![BreakerView {
                cohort,
                channel: Channel::Product,
                state: BreakerState::Open,
                left_ms: Some(5),
            }])));
        }
        Call::CloseBreaker(_, cohort, _, _, to) => drop(to.send(match known(&cohort) {
            Ok(_) => Ok(Closed { cohort, changed: true }),
            Err(why) => Err(why),
        })),
        Call::Tell(_, _, _, to) => drop(to.send(Ok(Told { sequence: 3 }))),
        Call::Target(call) => answer_about_targets(call),
        Call::Mint(_, _, to) => drop(to.send(Ok(MintedToken { token: "ab".repeat(16) }))),
        Call::Pending(to) => drop(to.send(Ok(vec![PendingView {
            fingerprint: Digest([5; 32]),
            hardware: Hardware::parse("pump-mk2").unwrap(),
            waits_ms: 1,
        }]))),
        Call::Uploaded(_, _, _, to) | Call::Accept(_, _, _, to) => drop(to.send(Ok(()))),
        Call::Evidence(_, to) => {
            drop(
                to.send(Ok((story::tests::key().to_string(), story::tests::bytes(&story::tests::story(5))))),
            );
        }
        Call::Events(after, to) => {
            let event = |seq| EventView { seq, at_ms: seq, what: "started".into() };
            drop(to.send(Ok((after + 1..=3).take(2).map(event).collect())));
        }
        Call::Enrol(_, to) => drop(to.send(Ok(None))),
        Call::Trust(to) | Call::Heed(_, _, to) => drop(to.send(Ok(TrustView {
            number: 2,
            keyring: Digest([6; 32]),
            revocation: None,
            director: true,
            seconded: Vec::new(),
        }))),
        Call::Statement(_, to) => drop(to.send(Err(none()))),
        Call::Order(cohort, to) => drop(to.send(known(&cohort).map(|_| b"signed".to_vec()))),
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shelf = |name: &str| Shelf::open(dir.path().join(name)).unwrap();
        let (calls, mut asked) = Calls::new(4);
        let router = routes(calls, Tokens::single(TOKEN).unwrap(), shelf("artifacts"), shelf("statements"));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        // It serves as long as the test's process lives.
        thread::spawn(move || {
            runtime.spawn(async move {
                while let Some(call) = asked.recv().await {
                    answer(call);
                }
            });
            runtime.block_on(async { axum::serve(listener, router).await })
        });
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        fs::write(dir.path().join("old.img"), b"old").unwrap();
        fs::write(dir.path().join("other.img"), b"other").unwrap();
        fs::write(dir.path().join("statement"), b"signed").unwrap();
        fs::write(dir.path().join("keyring"), keyring().encode()).unwrap();
        Self { dir, at }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a line as a person would type it, with `@` for the folder of this world.
    fn run(&self, line: &str) -> Result<Exit, Failure> {
        let (server, token) = (format!("http://{}", self.at), self.path("token"));
        let here = self.dir.path().display().to_string();
        let mut words: Vec<String> = line.split_whitespace().map(|word| word.replace('@', &here)).collect();
        words.extend(["--quiet".into(), "--server".into(), server]);
        if !line.contains("--token-file") {
            words.extend(["--token-file".into(), token.display().to_string()]);
        }
        if line.starts_with("otactl") {
            let arguments = Otactl::parse_from(words);
            return arguments.command.run(&Desk::new(arguments.global).unread());
        }
        let arguments = Backstay::parse_from(words);
        arguments.command.run(&Desk::new(arguments.global).unread(), SERVE)
    }

    fn code(&self, line: &str) -> u8 {
        self.run(line).unwrap_or_else(|failure| failure.exit()).code()
    }
}

#[test]
fn every_command_is_understood_and_answered() {
    let world = World::new();
    let fingerprint = "05".repeat(32);
    for line in [
        "backstay fleet ls",
        "backstay fleet ls --cohort canary --output json",
        "backstay fleet show pump-7",
        "backstay fleet watch --timeout 1ms",
        "backstay release ls",
        "backstay release publish --statement @/statement --artifact @/old.img",
        "backstay enrol token --device pump-8 --cohort canary --label site=basel",
        "backstay enrol pending",
        &format!("backstay enrol accept {fingerprint} --device pump-8 --cohort canary"),
        "backstay rollout start --cohort canary --version 2.0.0 --wave 10% --wave 100% --window 30s",
        "backstay rollout status --cohort canary",
        "backstay rollout pause --cohort canary",
        "backstay rollout resume --cohort canary",
        "backstay rollout abort --cohort canary",
        "backstay rollout rollback --cohort canary",
        "backstay rollout thaw --cohort canary",
        "backstay rollout order --cohort canary --out @/home.order",
        "backstay rollout start --cohort canary --plugin acme/policy-pump --version 1.1.0 --wave 10% --wave 100%",
        "backstay rollout status --cohort canary --channel plugins --output json",
        "backstay rollout rollback --cohort canary --channel plugins",
        "backstay breaker close canary --channel plugins --reason mended",
        "backstay plugin publish @/old.img",
        "backstay plugin publish --output json",
        "backstay keys publish",
        "backstay keys publish @/home.order --output json",
        "backstay rollout start --cohort canary --version 2.0.0 --back 1.4.0",
        "backstay quarantine ls",
        "backstay quarantine ls --output json",
        &format!("backstay quarantine lift {fingerprint} --reason tested"),
        &format!("backstay quarantine lift {fingerprint} --reason tested --cohort canary --output json"),
        "backstay breaker ls --output json",
        "backstay breaker close canary --reason mended",
        "backstay device tell pump-7 hold",
        "backstay device tell pump-7 thaw",
        &format!("backstay device tell pump-7 lift {fingerprint}"),
        "backstay evidence show pump-7",
        "backstay evidence verify pump-7",
        "backstay evidence fetch pump-7 --out @/pump-7.log",
        "backstay evidence show @/pump-7.log --output json",
        "backstay events --after 1",
        "backstay verdict --service checkout --build 1812",
        "backstay verdict --service checkout --build 1812 --keyring @/keyring --out @/verdict.json --output json",
        "backstay gate --service checkout --build 1812 --keyring @/keyring --verdict @/verdict.json",
        "backstay gate --wait --service checkout --build 1812 --version 2.0.0 --keyring @/keyring --out @/asked.json",
        "otactl push --fleet acme --cohort canary --version 1.4.0",
        "otactl push --fleet acme --cohort canary --version 2.0.0",
        "otactl push --fleet acme --cohort field --version 2.0.0",
    ] {
        match world.run(line) {
            Ok(exit) => assert_eq!(exit, Exit::Done, "{line}"),
            Err(failure) => panic!("{line}\n{failure}"),
        }
    }
    assert_eq!(fs::read(world.path("pump-7.log")).unwrap(), story::tests::bytes(&story::tests::story(5)));
    let artifact = world.path("artifacts").join(file::digest_of(b"old").to_string());
    assert_eq!(fs::read(artifact).unwrap(), b"old", "what was published is there under its digest");
}

#[test]
fn the_blocks_of_an_artifact_are_made_for_a_mirror() {
    let world = World::new();
    let artifact = "all that a device runs\n".repeat(60_000).into_bytes();
    fs::write(world.path("app.img"), &artifact).unwrap();
    fs::create_dir(world.path("mirror")).unwrap();
    let there = || fs::read_dir(world.path("mirror")).unwrap().count();
    for (line, code) in [
        ("--artifact @/none.img --out @/mirror", 3),
        ("--artifact @/app.img --out @/none", 3),
        ("--artifact @/mirror --out @/mirror", 2),
        ("--artifact @/app.img --out @/app.img", 2),
        // Of 3 bytes: it has none.
        ("--artifact @/old.img --out @/mirror", 2),
    ] {
        assert_eq!(world.code(&format!("backstay release blocks {line}")), code, "{line}");
        assert_eq!(there(), 0, "{line}: nothing stays");
    }
    let digest = file::digest_of(&artifact);
    let blocks = world.path("mirror").join(format!("{digest}.blocks"));
    let mut made = Vec::new();
    // Made again, it is the same.
    for output in ["table", "json"] {
        let line = format!("backstay release blocks --artifact @/app.img --out @/mirror --output {output}");
        assert_eq!(world.code(&line), 0, "{line}");
        made.push(fs::read(&blocks).unwrap());
    }
    assert!(there() == 1 && made[0] == made[1] && made[0].len() < artifact.len() / 10);
    let index = Shape::of(artifact.len() as u64).unwrap().index_bytes();
    Index::read(made[0][..index].to_vec(), &digest, artifact.len() as u64).unwrap();
}

#[test]
fn every_way_to_fail_has_its_number() {
    let world = World::new();
    fs::write(world.path("wrong"), "fedcba9876543210").unwrap();
    assert_eq!(world.code("backstay fleet ls --token-file @/wrong"), 4);
    assert_eq!(world.code("backstay fleet ls --token-file @/none"), 3);
    assert_eq!(world.code("backstay fleet show pump-8"), 3);
    assert_eq!(world.code("backstay fleet ls --cohort field"), 3);
    assert_eq!(world.code("backstay rollout status --cohort field"), 3);
    assert_eq!(world.code("backstay rollout order --cohort field --out @/none"), 3);
    assert_eq!(world.code("backstay keys publish @/none"), 3);
    assert_eq!(world.code("backstay breaker close field --reason mended"), 3);
    assert_eq!(world.code("backstay rollout start --cohort canary --version 9.9.9"), 4);
    assert_eq!(world.code("backstay rollout watch --cohort canary --timeout 1ms"), 6);
    assert_eq!(world.code("backstay release publish --statement @/statement --artifact @/other.img"), 5);
    assert_eq!(world.code("otactl push --fleet other --cohort canary --version 1.4.0"), 3);
    // Of a verdict there is one number for all that can go wrong, and of a gate none that is zero.
    for service in [
        "cart",
        "checkout --token-file @/wrong",
        "checkout --token-file @/none",
        "checkout --metrics @/old.img",
    ] {
        assert_eq!(
            world.code(&format!("backstay verdict --build 1 --out @/verdict.json --service {service}")),
            2
        );
        assert!(!world.path("verdict.json").exists());
    }
    assert_eq!(world.code("backstay gate --service cart --build 1 --keyring @/keyring"), 24);
    assert_eq!(
        world.code("backstay gate --service checkout --build 1 --keyring @/keyring --token-file @/wrong"),
        24
    );
    assert_eq!(
        world.code("backstay gate --service checkout --build 1 --keyring @/keyring --verdict @/none"),
        24
    );
    assert_eq!(
        world.code("backstay gate --service checkout --build 1 --keyring @/keyring --metrics @/old.img"),
        64
    );
    assert_eq!(world.code("backstay gate --service checkout --build 1 --keyring @/statement"), 5);
    let other = SecretKey::from_random(&[9; 32]).public();
    assert_eq!(world.code(&format!("backstay evidence verify pump-7 --key {other}")), 5);
}

#[test]
fn what_the_server_says_is_passed_on_with_its_help() {
    let failure = World::new().run("backstay rollout pause --cohort field").unwrap_err();
    assert_eq!(failure.to_string(), "error: there is no such cohort\n  help:    backstay fleet ls");
}

/// What is said of targets: one, which is clear; and nothing else is known.
fn answer_about_targets(call: TargetCall) {
    let none = || ApiError::new(Kind::NotFound, "no such target is configured here");
    match call {
        TargetCall::All(to) => drop(to.send(Ok(vec![crate::target::tests::view()]))),
        TargetCall::One(id, to)
        | TargetCall::Operate(_, id, _, _, to)
        | TargetCall::Deployed(_, id, _, to) => {
            let view = crate::target::tests::view();
            drop(to.send(if id == view.service { Ok(view) } else { Err(none()) }));
        }
        TargetCall::Measured(_, _, to) => drop(to.send(Err(none()))),
        TargetCall::Verdict(service, request, to) => {
            let known = service.as_str() == "checkout";
            drop(to.send(if known { Ok(verdict(service, request)) } else { Err(none()) }));
        }
        TargetCall::Plan(_, _, to) => drop(to.send(Err(none()))),
        TargetCall::Alerts(_, to) => drop(to.send(Err(none()))),
        TargetCall::Incidents(to) => drop(to.send(Ok(Vec::new()))),
        TargetCall::Incident(_, to) => drop(to.send(Err(none()))),
        TargetCall::Mark(_, _, _, to) => drop(to.send(Err(none()))),
        TargetCall::Figures(to) => drop(to.send(Err(none()))),
    }
}
