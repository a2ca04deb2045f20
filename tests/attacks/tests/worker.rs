//! A plugin in a process of its own that gets out of its sandbox, dies, or hangs: it costs itself and nobody else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use backstay_config::Plugin;
use backstay_core::Confidence;
use backstay_host::{CallError, Engine, Event as RunEvent, Executor, StrikeKind};
use backstay_model::{Action, Event, Millis, Mono};
use backstay_plugins::{
    Adviser as _, Judge, LoadError, Loader, Tier,
    worker::{ARGUMENT, Program, Worker},
};
use backstay_test_attacks::{Keys, guests};
use backstay_trust::{Limits, Permissions};
use tempfile::TempDir;

struct Bench {
    keys: Keys,
    engine: Engine,
    dir: TempDir,
}

/// All the time that can be granted: the machine may be busy.
const PATIENT: Limits = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };

impl Bench {
    fn new() -> Self {
        Self { keys: Keys::new(), engine: Engine::new().unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    fn bundle(&self, name: &str, component: &[u8], limits: Limits, sequence: u64) -> PathBuf {
        let shipped = guests::shipped(&self.keys, component, Permissions::default(), limits, sequence);
        let path = self.dir.path().join(name);
        fs::write(&path, shipped.bundle()).unwrap();
        path
    }

    /// A policy that always says "proceed".
    fn good(&self, limits: Limits) -> PathBuf {
        self.bundle("good.bundle", &guests::policy(guests::MEMORY, ""), limits, 1)
    }

    fn loader(&self) -> Loader<'_> {
        Loader::new(Tier::Server, &self.engine, &self.keys.keyring)
    }

    fn worker(&self, bundle: PathBuf, program: &Program) -> Result<Worker, LoadError> {
        let config = Plugin { bundle, ..Plugin::default() };
        let mut workers = self.loader().policy_workers(&config, program)?;
        Ok(workers.remove(0))
    }
}

fn program(arguments: &[&str]) -> Program {
    let mut all = vec![ARGUMENT.into()];
    all.extend(arguments.iter().map(Into::into));
    Program { path: env!("CARGO_BIN_EXE_worker").into(), arguments: all }
}

fn strike(error: &CallError) -> (StrikeKind, &str) {
    let strike = error.as_strike().unwrap_or_else(|| panic!("{error}"));
    (strike.kind, &strike.why)
}

#[test]
fn a_worker_decides_as_the_plugin_in_this_process_does() {
    let bench = Bench::new();
    let bundle = bench.good(PATIENT);
    let mut worker = bench.worker(bundle.clone(), &program(&[])).unwrap();
    let config = Plugin { bundle, ..Plugin::default() };
    let here = bench.loader().policies(&config).unwrap().remove(0);
    let facts = guests::facts();
    for prior in [&b""[..], b"remembered", &[7; 60_000]] {
        let apart = worker.decide(Mono(0), &facts, prior).unwrap();
        assert_eq!(apart, here.plugin.decide(&here.config, &facts, prior).unwrap());
    }
    // What is wrong with the question is no fault of the plugin there either.
    let error = worker.decide(Mono(0), &facts, &[0; 70_000]).unwrap_err();
    assert_eq!(error.to_string(), "too many bytes of memo: 70000 of at most 65536");
    assert!(worker.decide(Mono(0), &facts, b"").is_ok(), "and it goes on");
}

#[test]
fn an_executor_steps_in_a_worker() {
    let bench = Bench::new();
    let component = guests::executor(guests::MEMORY, "(global.set $naps (i32.const 3))", "");
    let bundle = bench.bundle("naps.bundle", &component, PATIENT, 1);
    let config = Plugin { bundle, ..Plugin::default() };
    let loader = bench.loader();
    let mut worker = loader.executor_workers(&config, &[BTreeMap::new()], &program(&[])).unwrap().remove(0);
    let here = loader.executors(&config).unwrap().remove(0);
    let begin = RunEvent::Begin(guests::order());
    let stepped = worker.step(Mono(0), 0, b"", &begin).unwrap();
    assert_eq!(stepped, Executor::step(&here.plugin, &here.config, b"", &begin).unwrap());
    assert_eq!(stepped.effects.len(), 3);
    // It is set up in one way, and there is no other.
    let error = worker.step(Mono(0), 1, b"", &begin).unwrap_err();
    assert!(matches!(error, CallError::Host { .. }), "{error}");
    // It is not a policy, and being asked like one is nobody's strike.
    let error = worker.decide(Mono(0), &guests::facts(), b"").unwrap_err();
    assert!(matches!(error, CallError::Host { .. }), "{error}");
}

/// Whatever it tries, the kernel ends it at the first system call, and it is started again.
#[test]
fn what_gets_out_of_the_sandbox_is_ended_and_named() {
    let bench = Bench::new();
    let bundle = bench.good(PATIENT);
    let forbidden = "it was ended for a system call that no plugin needs";
    for (how, why) in [
        ("open", forbidden),
        ("connect", forbidden),
        ("run", forbidden),
        ("thread", forbidden),
        ("say", forbidden),
        ("kill", forbidden),
        ("gain", forbidden),
        ("exit", "it ended with code 7"),
    ] {
        let mut worker = bench.worker(bundle.clone(), &program(&[how, "1"])).unwrap();
        worker.decide(Mono(0), &guests::facts(), b"").unwrap();
        let error = worker.decide(Mono(0), &guests::facts(), b"").unwrap_err();
        assert_eq!(strike(&error), (StrikeKind::BroughtDown, why), "{how}");
        assert!(error.help().is_some());
        assert_eq!(worker.process(), None);
        // Not at once: the operating system is not to be kept busy by it.
        let later = Mono(60_000);
        assert!(worker.decide(later, &guests::facts(), b"").is_ok(), "{how}");
    }
    for how in ["abort", "panic"] {
        let mut worker = bench.worker(bundle.clone(), &program(&[how])).unwrap();
        let error = worker.decide(Mono(0), &guests::facts(), b"").unwrap_err();
        assert_eq!(strike(&error).0, StrikeKind::BroughtDown, "{how}");
    }
}

#[test]
fn garbage_on_the_line_is_a_bad_answer_and_ends_it() {
    let bench = Bench::new();
    let mut worker = bench.worker(bench.good(PATIENT), &program(&["garbage"])).unwrap();
    let error = worker.decide(Mono(0), &guests::facts(), b"").unwrap_err();
    let why = "a message of 4294967295 bytes, at most 4194304 are taken";
    assert_eq!(strike(&error), (StrikeKind::BadOutput, why));
    assert_eq!(worker.process(), None);
}

/// One that hangs is given up after its time and some grace.
#[test]
fn a_worker_that_hangs_is_given_up() {
    let bench = Bench::new();
    let mut worker =
        bench.worker(bench.good(Limits { call: Millis(10), ..PATIENT }), &program(&["hang"])).unwrap();
    let error = worker.decide(Mono(0), &guests::facts(), b"").unwrap_err();
    assert_eq!(strike(&error), (StrikeKind::Hung, "within 2010 ms"));
    assert_eq!(worker.process(), None);
}

/// A guest that only misbehaves inside its sandbox doesn't cost its process.
#[test]
fn a_guest_that_traps_leaves_its_worker_alive() {
    let bench = Bench::new();
    let traps = bench.bundle("traps.bundle", &guests::policy(guests::MEMORY, "(unreachable)"), PATIENT, 1);
    let mut worker = bench.worker(traps, &program(&[])).unwrap();
    let process = worker.process();
    for _ in 0..5 {
        let error = worker.decide(Mono(0), &guests::facts(), b"").unwrap_err();
        assert_eq!(strike(&error).0, StrikeKind::Trapped);
    }
    assert_eq!(worker.process(), process);
    let endless = Limits { call: Millis(30), ..PATIENT };
    let endless =
        bench.bundle("endless.bundle", &guests::policy(guests::MEMORY, "(loop $l (br $l))"), endless, 1);
    let mut worker = bench.worker(endless, &program(&[])).unwrap();
    let error = worker.decide(Mono(0), &guests::facts(), b"").unwrap_err();
    assert_eq!(strike(&error).0, StrikeKind::OutOfTime);
}

/// The whole way: a policy takes its process down three times, the last good one answers each of those questions, and
/// then it is not asked any more.
#[test]
fn three_dead_workers_are_a_quarantine_and_no_question_is_lost() {
    let bench = Bench::new();
    let bad = bench.worker(bench.good(PATIENT), &program(&["abort"])).unwrap();
    let slow = guests::policy(guests::MEMORY, "(i32.store8 (i32.const 4) (i32.const 4))");
    let last_good = bench.bundle("freezes.bundle", &slow, PATIENT, 2);
    let last_good = bench.worker(last_good, &program(&[])).unwrap();
    let grant = *bad.grant();
    let (mut judge, mut confidence) = (Judge::new([bad, last_good]), Confidence::default());
    let mut events = Vec::new();
    for minute in 0..5 {
        let asked = judge.ask(Mono(minute * 120_000), &guests::facts(), &mut confidence);
        assert_eq!(asked.answer.unwrap().action, Action::Freeze, "the last good one says so");
        events.extend(asked.events);
    }
    let [Event::Quarantined { grant: out, strikes: 3, why, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*out, grant);
    assert!(why.contains("brought its process down"), "{why}");
}

/// What may not run is not even started, and what is said of it is what is said where there is no worker.
#[test]
fn a_forged_plugin_never_gets_a_process() {
    let bench = Bench::new();
    let bundle = bench.good(PATIENT);
    let mut bytes = fs::read(&bundle).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let nowhere = Program { path: "/nonexistent".into(), arguments: vec![] };
    let error = bench.worker(bundle, &nowhere).unwrap_err();
    assert!(matches!(error, LoadError::Untrusted { .. }), "{error}");
    let error = bench.worker(bench.good(PATIENT), &nowhere).unwrap_err();
    assert!(matches!(error, LoadError::Apart { .. }) && error.help().is_some(), "{error}");
}

/// Settings are the plugin's to agree to, in its worker; what is wrong is told as it is told elsewhere.
#[test]
fn settings_are_checked_in_the_worker() {
    let bench = Bench::new();
    let name = backstay_model::Name::parse("tries").unwrap();
    let settings = BTreeMap::from([(name, backstay_config::Setting::Number(3))]);
    let config = Plugin { bundle: bench.good(PATIENT), settings, ..Plugin::default() };
    let error = bench.loader().policy_workers(&config, &program(&[])).unwrap_err();
    assert!(matches!(&error, LoadError::Settings { problems, .. } if problems.len() == 1), "{error}");
}
