//! The Jenkins stage, the shared-library step and the rollback jobs, run by Groovy as they ship: only `proceed` comes to
//! deploying, `slow` waits a bounded time and asks again, and everything else ends the build.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{fs, path::Path};

use backstay_test_gate::{Double, Groovy, Played, shipped};

/// A build's way to its end: the numbers that `backstay` ends with, and what has to come of them.
struct Case {
    what: &'static str,
    verdict: &'static [i32],
    gate: &'static [i32],
    deploys: bool,
    waits: usize,
    asks: usize,
    ends: &'static str,
}

const fn case(
    what: &'static str,
    verdict: &'static [i32],
    gate: &'static [i32],
    (deploys, waits, asks): (bool, usize, usize),
    ends: &'static str,
) -> Case {
    Case { what, verdict, gate, deploys, waits, asks, ends }
}

const STOPPED: &str = "error Stopped by Backstay: the gate ended with ";

/// Every way that a gate can end, over one question or several.
const CASES: [Case; 17] = [
    case("proceed", &[0], &[0], (true, 0, 1), "success"),
    case("slow, then proceed", &[0, 0], &[20, 0], (true, 1, 2), "success"),
    case("slow three times, then proceed", &[0; 4], &[20, 20, 20, 0], (true, 3, 4), "success"),
    case("slow for ever", &[0; 9], &[20; 9], (false, 4, 5), "20"),
    case("slow, then roll back", &[0; 2], &[20, 22], (false, 1, 2), "error Stopped by auto-rollback"),
    case("slow, then no answer", &[0; 2], &[20, 24], (false, 1, 2), "24"),
    case("roll back", &[0], &[22], (false, 0, 1), "error Stopped by auto-rollback"),
    case("heal", &[0], &[21], (false, 0, 1), "21"),
    case("freeze", &[0], &[23], (false, 0, 1), "23"),
    case("late, or none", &[0], &[24], (false, 0, 1), "24"),
    case("pause", &[0], &[25], (false, 0, 1), "25"),
    case("badly signed, or another build's", &[0], &[5], (false, 0, 1), "5"),
    case("trouble", &[0], &[1], (false, 0, 1), "1"),
    case("wrong usage", &[0], &[2], (false, 0, 1), "2"),
    case("a number that nobody knows", &[0], &[99], (false, 0, 1), "99"),
    case("killed", &[0], &[137], (false, 0, 1), "137"),
    case("a configuration", &[0], &[64], (false, 0, 1), "64"),
];

fn judge(case: &Case, double: &Double, played: &Played, asks: &str) {
    let Case { what, deploys, waits, ends, .. } = case;
    let told = format!("{what}: {played:#?} {:#?}", double.calls());
    assert_eq!(double.deployed(), *deploys, "{told}");
    assert_eq!(played.of("sleep ").len(), *waits, "{told}");
    assert!(played.of("sleep ").iter().all(|secs| *secs == "180"), "{told}");
    let calls = double.calls().iter().filter(|call| call.starts_with(asks)).count();
    assert_eq!(calls, case.asks, "{told}");
    let end = played.events.last().unwrap();
    let ends = if ends.parse::<u8>().is_ok() { format!("{STOPPED}{ends}") } else { (*ends).to_owned() };
    assert_eq!(*end, ends, "{told}");
    assert_eq!(
        played.of("build ").len(),
        usize::from(*what == "roll back" || *what == "slow, then roll back"),
        "{told}"
    );
}

const JOB: [(&str, &str); 1] = [("BUILD_NUMBER", "1812")];

#[test]
fn the_stage_deploys_only_what_may_proceed() {
    let Some(groovy) = Groovy::found() else { return };
    let doubles: Vec<_> =
        CASES.iter().map(|case| Double::ending(&[("verdict", case.verdict), ("gate", case.gate)])).collect();
    let workspaces: Vec<_> = doubles.iter().collect();
    let all = groovy.plays(&shipped("jenkins/Jenkinsfile"), None, &workspaces, &JOB);
    for ((case, double), played) in CASES.iter().zip(&doubles).zip(&all) {
        judge(case, double, played, "gate ");
        let first = &double.calls()[0];
        assert_eq!(first, "verdict --service checkout --build 1812 --out verdict.json");
        assert_eq!(double.calls()[1], "gate --service checkout --build 1812 --verdict verdict.json");
        // No agent is held while the build waits: each question has one of its own.
        let agents = played.events.iter().filter(|event| *event == "node").count();
        assert_eq!(agents, case.asks);
    }
}

/// No verdict was written, whatever is left of an older one; or there is no `backstay` at all.
#[test]
fn the_stage_stops_where_there_is_no_verdict() {
    let Some(groovy) = Groovy::found() else { return };
    let mut doubles: Vec<_> =
        [2, 1, 137].map(|code| Double::ending(&[("verdict", &[code]), ("gate", &[0])])).into_iter().collect();
    doubles.push(Double::without_backstay());
    let broken = Double::ending(&[("verdict", &[0]), ("gate", &[0])]);
    fs::remove_file(broken.path().join("ci/analyze_metrics.py")).unwrap();
    doubles.push(broken);
    for double in &doubles {
        fs::write(double.path().join("verdict.json"), "{\"action\": \"proceed\"}").unwrap();
    }
    let workspaces: Vec<_> = doubles.iter().collect();
    let all = groovy.plays(&shipped("jenkins/Jenkinsfile"), None, &workspaces, &JOB);
    for (double, played) in doubles.iter().zip(&all) {
        assert!(!double.deployed(), "{played:#?}");
        assert_eq!(played.events.last().unwrap(), &format!("{STOPPED}24"), "{played:#?}");
        assert!(double.calls().iter().all(|call| !call.starts_with("gate")), "{:#?}", double.calls());
    }
}

/// The rollback job may fail itself: the build says so, and stops all the same.
#[test]
fn a_rollback_that_fails_is_told() {
    let Some(groovy) = Groovy::found() else { return };
    let doubles =
        ["SUCCESS", "FAILURE", "ABORTED"].map(|_| Double::ending(&[("verdict", &[0]), ("gate", &[22])]));
    for (double, result) in doubles.iter().zip(["SUCCESS", "FAILURE", "ABORTED"]) {
        fs::write(double.path().join("job-result"), result).unwrap();
    }
    let workspaces: Vec<_> = doubles.iter().collect();
    let all = groovy.plays(&shipped("jenkins/Jenkinsfile"), None, &workspaces, &JOB);
    let told = ["Auto-rollback executed", "Auto-rollback ended FAILURE", "Auto-rollback ended ABORTED"];
    for ((played, told), double) in all.iter().zip(told).zip(&doubles) {
        assert_eq!(played.of("build "), ["rollback-controller TARGET=checkout CAUSE=build 1812"]);
        assert_eq!(played.of("description "), [told]);
        assert_eq!(played.events.last().unwrap(), "error Stopped by auto-rollback");
        assert!(!double.deployed());
    }
}

/// A pipeline with the step of the shared library in it.
const PIPELINE: &str = "
pipeline {
  agent none
  stages {
    stage('Gate') { steps { backstayGate(service: 'checkout', keyring: '/etc/backstay/keyring', server: 'https://b.example',
      credentials: 'backstay-ci-token', asks: 5, rollbackJob: 'rollback-controller') } }
    stage('Deploy') { agent any; steps { sh './deploy.sh' } }
  }
}
";

fn plays_step(groovy: &Groovy, pipeline: &str, workspaces: &[&Double]) -> Vec<Played> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("Jenkinsfile");
    fs::write(&file, pipeline).unwrap();
    groovy.plays(&file, Some(&shipped("jenkins/vars/backstayGate.groovy")), workspaces, &JOB)
}

#[test]
fn the_step_returns_only_for_what_may_proceed() {
    let Some(groovy) = Groovy::found() else { return };
    let doubles: Vec<_> = CASES.iter().map(|case| Double::ending(&[("gate", case.gate)])).collect();
    let workspaces: Vec<_> = doubles.iter().collect();
    let all = plays_step(&groovy, PIPELINE, &workspaces);
    for ((case, double), played) in CASES.iter().zip(&doubles).zip(&all) {
        judge(case, double, played, "gate ");
    }
}

#[test]
fn the_step_stops_without_backstay_and_is_patient_for_so_long() {
    let Some(groovy) = Groovy::found() else { return };
    let none = Double::without_backstay();
    fs::write(none.path().join("verdict.json"), "{\"wait_secs\": 5}").unwrap();
    let played = plays_step(&groovy, PIPELINE, &[&none]);
    assert_eq!(played[0].events.last().unwrap(), &format!("{STOPPED}127"));
    assert!(!none.deployed());
    let slow = Double::ending(&[("gate", &[20; 9])]);
    let played = plays_step(&groovy, &PIPELINE.replace("asks: 5", "asks: 20, waitMost: 400"), &[&slow]);
    assert_eq!(played[0].of("sleep "), ["180", "180"], "a third wait would be longer than 400 s");
    assert_eq!(played[0].events.last().unwrap(), &format!("{STOPPED}20"));
}

/// A name can't become a command, wherever it comes from.
#[test]
fn the_step_hands_on_what_it_is_told_as_it_is() {
    let Some(groovy) = Groovy::found() else { return };
    let double = Double::ending(&[("gate", &[0])]);
    let odd =
        PIPELINE.replace("asks: 5", "asks: 5, metrics: 'a b; touch deployed', digest: '$(touch deployed)'");
    let odd = odd.replace("./deploy.sh", "true");
    let played = plays_step(&groovy, &odd, &[&double]);
    assert_eq!(played[0].events.last().unwrap(), "success");
    assert!(!double.deployed());
    assert_eq!(
        double.calls(),
        ["gate --out verdict.json --digest $(touch deployed) --metrics a b; touch deployed"]
    );
}

#[test]
fn the_rollback_jobs_call_what_they_say() {
    let Some(groovy) = Groovy::found() else { return };
    let calls = |file: &str, codes: &[(&str, &[i32])]| {
        let double = Double::ending(codes);
        let env = [("TARGET", "checkout"), ("CAUSE", "build 7"), ("BUILD_NUMBER", "7")];
        let played = groovy.plays(&shipped(&format!("jenkins/{file}")), None, &[&double], &env);
        (double.calls(), played[0].events.last().unwrap().clone())
    };
    for file in ["Jenkinsfile.rollback-kubernetes", "Jenkinsfile.rollback-windows"] {
        let (called, end) = calls(file, &[("target", &[0])]);
        assert_eq!(
            (called, end),
            (vec!["target rollback checkout --reason build 7".to_owned()], "success".to_owned())
        );
        let (_, end) = calls(file, &[("target", &[4])]);
        assert_eq!(end, "error script returned exit code 4", "a job that could not is a failed one");
    }
    let (called, end) = calls("Jenkinsfile.rollback-arm", &[("rollout", &[0])]);
    assert_eq!((called, end), (vec!["rollout rollback --cohort checkout".to_owned()], "success".to_owned()));
}

/// The document's stage, which this one replaces, would deploy on a freeze. If it didn't here, these tests would show nothing.
#[test]
fn the_stage_of_the_document_falls_through() {
    let Some(groovy) = Groovy::found() else { return };
    let naive = "
pipeline { agent any
  stages {
    stage('Decision') { steps { script {
      def v = readJSON file: 'verdict.json'
      if (v.action == 'rollback') { error('Stopped by auto-rollback') } else if (v.action == 'slow') { sleep time: 180, unit: 'SECONDS' }
    } } }
    stage('Deploy') { steps { sh './deploy.sh' } }
  }
}";
    let dir = tempfile::tempdir().unwrap();
    let file: &Path = &dir.path().join("Jenkinsfile");
    fs::write(file, naive).unwrap();
    let deploys = |action: &str| {
        let double = Double::ending(&[]);
        fs::write(double.path().join("verdict.json"), format!("{{\"action\": \"{action}\"}}")).unwrap();
        let played = groovy.plays(file, None, &[&double], &JOB);
        assert_eq!(played.len(), 1);
        double.deployed()
    };
    assert!(!deploys("rollback"));
    assert!(deploys("freeze") && deploys("nonsense") && deploys("slow"));
}
