//! The real `backstay`, asked by what ships: what a verdict is worth, only the program that checks its signature can say. It
//! talks to a server that speaks the real API and gives verdicts that are really signed, late, forged or somebody else's.
//!
//! Skipped where the program isn't built.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use backstay_api::SignedVerdict;
use backstay_model::VerdictAction::{self, Freeze, Heal, Pause, Proceed, Rollback, Slow};
use backstay_signals::Metrics;
use backstay_test_gate::{Answer, Double, Groovy, Server, Shop, backstay, scripts, shipped};

/// Every answer that is wrong in itself, and the number that the gate ends with.
const WRONG: [(Answer, i32); 8] = [
    (Answer::Late, 24),
    (Answer::Early, 24),
    (Answer::None, 24),
    (Answer::OtherBuild, 5),
    (Answer::OtherService, 5),
    (Answer::Replayed, 5),
    (Answer::Forged, 5),
    (Answer::Altered, 5),
];

/// Every action, and the number that the gate ends with.
const ACTIONS: [(VerdictAction, i32); 6] =
    [(Proceed, 0), (Slow, 20), (Heal, 21), (Rollback, 22), (Freeze, 23), (Pause, 25)];

/// A workspace with the real program in it, the keyring beside it, and a server that answers.
struct World {
    workspace: Double,
    server: Server,
}

impl World {
    fn with(answers: &[Answer]) -> Option<Self> {
        let workspace = Double::real(&backstay()?);
        fs::write(workspace.path().join("keyring"), Shop::new().keyring().encode()).unwrap();
        Some(Self { workspace, server: Server::with(answers) })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.workspace.path().join(name)
    }

    fn env(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        [
            ("BACKSTAY_SERVER", self.server.url()),
            ("BACKSTAY_TOKEN_FILE", path("token")),
            ("BACKSTAY_KEYRING", path("keyring")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(self.path("bin/backstay"));
        command.args(line.split_whitespace()).current_dir(self.workspace.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", self.workspace.search_path()).envs(self.env()).output().unwrap()
    }

    fn code(&self, line: &str) -> i32 {
        self.run(line).status.code().unwrap_or(-1)
    }

    fn asks(&self) -> i32 {
        self.code("verdict --service checkout --build 1812 --out verdict.json")
    }

    fn checks(&self) -> i32 {
        self.code("gate --service checkout --build 1812 --verdict verdict.json")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

#[test]
fn each_action_ends_with_its_number() {
    let answers: Vec<_> = ACTIONS.iter().flat_map(|(action, _)| [Answer::Says(*action); 2]).collect();
    let Some(world) = World::with(&answers) else { return };
    for (action, code) in ACTIONS {
        assert_eq!(world.asks(), 0, "a verdict was written, whatever it says");
        let document = SignedVerdict::read(&fs::read(world.path("verdict.json")).unwrap()).unwrap();
        assert_eq!(document.action, action);
        assert_eq!(world.checks(), code, "{action}");
        assert_eq!(world.code("gate --service checkout --build 1812"), code, "{action}");
    }
    let nonces: Vec<_> = world.server.asked().iter().map(|request| request.nonce.to_string()).collect();
    let mut once = nonces.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), nonces.len(), "each question has a nonce of its own");
}

#[test]
fn a_verdict_that_is_wrong_is_none() {
    let answers: Vec<_> = WRONG.iter().map(|(answer, _)| *answer).collect();
    let Some(world) = World::with(&answers) else { return };
    for (answer, code) in WRONG {
        fs::write(world.path("verdict.json"), "{\"action\": \"proceed\"}").unwrap();
        let output = world.run("gate --service checkout --build 1812 --out verdict.json");
        assert_eq!(output.status.code(), Some(code), "{answer:?}: {}", said(&output));
        assert!(!world.path("verdict.json").exists(), "{answer:?}");
        assert!(said(&output).contains("error: "), "{}", said(&output));
    }
}

/// What `backstay verdict` was given and doesn't believe, it doesn't write; and what stood there is gone.
#[test]
fn without_a_verdict_there_is_no_file() {
    let wrong = [Answer::None, Answer::Forged, Answer::Altered, Answer::OtherBuild, Answer::Replayed];
    let Some(world) = World::with(&wrong) else { return };
    for answer in wrong {
        for file in ["verdict.json", "verdict.json.nonce"] {
            fs::write(world.path(file), "{\"action\": \"proceed\"}").unwrap();
        }
        assert_eq!(world.asks(), 2, "{answer:?}");
        assert!(
            !world.path("verdict.json").exists() && !world.path("verdict.json.nonce").exists(),
            "{answer:?}"
        );
        assert_eq!(world.checks(), 24, "{answer:?}");
    }
    fs::write(world.path("verdict.json"), "{\"action\": \"proceed\"}").unwrap();
    assert_eq!(
        world.code("verdict --service checkout --build 1812 --out verdict.json --server http://127.0.0.1:1"),
        2
    );
    assert!(!world.path("verdict.json").exists());
}

/// A file that was good: cut short, changed by a letter, of another day's build, or with another question's nonce.
#[test]
fn a_file_that_somebody_got_at_is_none() {
    let Some(world) = World::with(&[Answer::Says(Proceed), Answer::Says(Rollback), Answer::Says(Proceed)])
    else {
        return;
    };
    assert_eq!(world.asks(), 0);
    let good = fs::read_to_string(world.path("verdict.json")).unwrap();
    assert_eq!(world.checks(), 0);
    let put = |text: &str| fs::write(world.path("verdict.json"), text).unwrap();
    for (text, code) in [
        (good[..good.len() / 2].to_owned(), 24),
        (String::new(), 24),
        (good.replace("\"proceed\"", "\"deploy\""), 24),
        (good.replace("\"schema\": 1", "\"schema\": 2"), 24),
        (good.replace("\"proceed\"", "\"freeze\""), 5),
        (good.replace("1812", "1813"), 5),
    ] {
        assert_ne!(text, good);
        put(&text);
        assert_eq!(world.checks(), code, "{text}");
    }
    put(&good);
    assert_eq!(world.code("gate --service checkout --build 1813 --verdict verdict.json"), 5);
    assert_eq!(world.code("gate --service cart --build 1812 --verdict verdict.json"), 5);
    assert_eq!(world.code("gate --service checkout --build 1812 --version 2.0.0 --verdict verdict.json"), 5);
    fs::write(world.path("verdict.json.nonce"), "00".repeat(16)).unwrap();
    assert_eq!(world.checks(), 5, "another question's nonce");
    fs::remove_file(world.path("verdict.json.nonce")).unwrap();
    assert_eq!(world.checks(), 24, "no nonce");
    // The answer of before, put in the place of a later one that says no: the same build, and another question.
    assert_eq!(world.asks(), 0);
    assert_eq!(world.checks(), 22);
    put(&good);
    assert_eq!(world.checks(), 5);
    // A keyring of somebody else's, or none.
    assert_eq!(world.asks(), 0);
    fs::write(world.path("other"), "no keyring").unwrap();
    assert_eq!(world.code("gate --service checkout --build 1812 --verdict verdict.json --keyring other"), 5);
    assert_eq!(world.code("gate --service checkout --build 1812 --verdict verdict.json --keyring none"), 3);
}

#[test]
fn slow_waits_and_asks_again_a_bounded_number_of_times() {
    let Some(world) = World::with(&[Answer::Says(Slow), Answer::Says(Proceed)]) else { return };
    let output = world.run("gate --wait --service checkout --build 1812");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("waiting 5.0 s: slow"), "{}", said(&output));
    assert_eq!(world.server.asked().len(), 2);
    let Some(world) = World::with(&[Answer::Says(Slow); 4]) else { return };
    assert_eq!(world.code("gate --wait --asks 2 --service checkout --build 1812"), 20);
    assert_eq!(world.server.left(), 2, "it asked twice");
    assert_eq!(world.code("gate --wait --patience 1s --service checkout --build 1812"), 20);
    assert_eq!(world.server.left(), 1, "there was no time to wait even once");
}

#[test]
fn metrics_go_along_and_bad_ones_stop() {
    let Some(world) = World::with(&[Answer::Says(Proceed); 2]) else { return };
    fs::write(world.path("metrics.json"), "{\"error_rate\": 0.002}").unwrap();
    let line = "verdict --service checkout --build 1812 --metrics metrics.json --out verdict.json";
    assert_eq!(world.code(line), 0);
    assert_eq!(world.server.asked()[0].metrics, Some(Metrics::read(b"{\"error_rate\": 0.002}").unwrap()));
    for bad in ["{\"error_rate\": NaN}", "{\"error_rate\": \"0\"}", "", &" ".repeat(70_000)] {
        fs::write(world.path("metrics.json"), bad).unwrap();
        let output = world.run(line);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(!world.path("verdict.json").exists());
        assert_ne!(world.code("gate --service checkout --build 1812 --metrics metrics.json"), 0);
    }
    assert_eq!(world.server.left(), 1, "the server wasn't asked");
}

/// The Jenkins stage and the step with the real program: what a double can't show.
#[test]
fn jenkins_with_the_real_gate() {
    let (Some(groovy), Some(_)) = (Groovy::found(), backstay()) else { return };
    let step = "
pipeline { agent none
  stages {
    stage('Gate') { steps { backstayGate(service: 'checkout', keyring: env.BACKSTAY_KEYRING, server: env.BACKSTAY_SERVER,
      credentials: 'backstay-ci-token', asks: 3) } }
    stage('Deploy') { agent any; steps { sh './deploy.sh' } }
  }
}";
    let answers: Vec<(Vec<Answer>, bool)> = [Answer::Says(Proceed)]
        .map(|answer| (vec![answer], true))
        .into_iter()
        .chain([(vec![Answer::Says(Slow), Answer::Says(Proceed)], true)])
        .chain([(vec![Answer::Says(Slow); 5], false)])
        .chain([Heal, Rollback, Freeze, Pause].map(|action| (vec![Answer::Says(action)], false)))
        .chain(WRONG.map(|(answer, _)| (vec![answer], false)))
        .collect();
    let stage = fs::read_to_string(shipped("jenkins/Jenkinsfile")).unwrap();
    for library in [None, Some(shipped("jenkins/vars/backstayGate.groovy"))] {
        let mut jobs = Vec::new();
        for (answers, deploys) in &answers {
            let world = World::with(answers).unwrap();
            // The stage names a server and a keyring of its own: only these are others here.
            let text = match library {
                None => stage
                    .replace("https://backstay.example:8440", &world.server.url())
                    .replace("/etc/backstay/keyring", &world.path("keyring").display().to_string()),
                Some(_) => step.to_owned(),
            };
            fs::write(world.path("Jenkinsfile"), text).unwrap();
            let mut env = world.env();
            env.push(("BUILD_NUMBER".into(), "1812".into()));
            world.workspace.sets(&env);
            jobs.push((world.path("Jenkinsfile"), world, answers, deploys));
        }
        let files: Vec<_> = jobs.iter().map(|(file, world, ..)| (file.as_path(), &world.workspace)).collect();
        let all = groovy.plays_each(&files, library.as_deref(), &[]);
        for ((_, world, answers, deploys), played) in jobs.iter().zip(all) {
            assert_eq!(world.workspace.deployed(), **deploys, "{answers:?}: {played:#?}");
            let ends = if **deploys { "success" } else { "error Stopped by" };
            assert!(played.events.last().unwrap().starts_with(ends), "{answers:?}: {played:#?}");
        }
    }
}

#[test]
fn github_and_gitlab_with_the_real_gate() {
    let Some(_) = backstay() else { return };
    let github = scripts(&fs::read_to_string(shipped("github/action.yml")).unwrap(), "run:");
    let gitlab = scripts(&fs::read_to_string(shipped("gitlab/backstay-gate.gitlab-ci.yml")).unwrap(), "-");
    let more = [
        ("GATE_TOKEN", "0123456789abcdef"),
        ("GATE_PATIENCE", "1s"),
        ("GITHUB_OUTPUT", "output"),
        ("BACKSTAY_SERVICE", "checkout"),
        ("BACKSTAY_BUILD", "1812"),
        ("SERVICE", "checkout"),
        ("CI_JOB_ID", "1812"),
    ];
    let answers = ACTIONS.map(|(action, code)| (Answer::Says(action), code)).into_iter().chain(WRONG);
    for (answer, code) in answers {
        for script in [&github[0], &gitlab[0]] {
            let world = World::with(&[answer]).unwrap();
            let mut env = world.env();
            env.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
            let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let ended =
                world.workspace.run(&["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"], script, &env);
            assert_eq!(ended.code, code, "{answer:?}: {}", ended.said);
        }
    }
}
