//! The steps for GitHub and GitLab, and the drop-in for `analyze_metrics`, run as they ship: by the shells that run them
//! there, out of the YAML that is there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::fs;

use backstay_test_gate::{Double, Ended, program, scripts, shipped};

/// As GitHub starts `shell: bash`.
const GITHUB: [&str; 6] = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"];
/// As GitLab's runner does it.
const GITLAB: [&str; 4] = ["bash", "-e", "-o", "pipefail"];

/// Each number that a gate can end with, and what GitHub's step calls it.
const ENDS: [(i32, &str); 12] = [
    (0, "proceed"),
    (20, "slow"),
    (21, "heal"),
    (22, "rollback"),
    (23, "freeze"),
    (25, "pause"),
    (24, "none"),
    (1, "none"),
    (2, "none"),
    (5, "none"),
    (64, "none"),
    (137, "none"),
];

fn yaml(file: &str) -> String {
    fs::read_to_string(shipped(file)).unwrap()
}

fn github(double: &Double, more: &[(&str, &str)]) -> (Ended, String) {
    let [script] = &scripts(&yaml("github/action.yml"), "run:")[..] else { panic!("one step") };
    let output = double.path().join("output");
    let output_text = output.display().to_string();
    let env = [("GATE_TOKEN", "0123456789abcdef"), ("GATE_PATIENCE", "30m"), ("GITHUB_OUTPUT", &output_text)];
    let ended = double.run(&GITHUB, script, &[&env, more].concat());
    (ended, fs::read_to_string(output).unwrap_or_default())
}

#[test]
fn githubs_step_succeeds_only_for_what_may_proceed() {
    for (code, action) in ENDS {
        let double = Double::ending(&[("gate", &[code])]);
        let (ended, output) = github(&double, &[]);
        assert_eq!(ended.code, code, "{action}: {}", ended.said);
        assert_eq!(output, format!("action={action}\n"), "{}", ended.said);
        let [call] = &double.calls()[..] else { panic!("{:?}", double.calls()) };
        assert!(call.starts_with("gate --wait --patience 30m --token-file "), "{call}");
        assert!(!ended.said.contains("0123456789abcdef"), "the token is not told");
    }
    let (ended, output) = github(&Double::without_backstay(), &[]);
    assert_eq!((ended.code, output.as_str()), (127, "action=none\n"), "{}", ended.said);
}

#[test]
fn githubs_step_hands_on_what_it_is_told_as_it_is() {
    let double = Double::ending(&[("gate", &[0])]);
    let (ended, _) =
        github(&double, &[("GATE_DIGEST", "$(touch deployed)"), ("GATE_METRICS", "a b; touch deployed")]);
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(double.calls()[0].ends_with("--digest $(touch deployed) --metrics a b; touch deployed"));
    assert!(!double.deployed());
}

/// What GitHub evaluates by itself is read, because nothing else evaluates it here.
#[test]
fn githubs_jobs_wait_for_the_gate() {
    let workflow = yaml("github/workflow.yml");
    let job = |name: &str| {
        let from = workflow.find(&format!("\n  {name}:\n")).unwrap();
        let rest = &workflow[from + 1..];
        let end = rest
            .match_indices("\n  ")
            .find(|(at, _)| !rest[at + 3..].starts_with(' '))
            .map_or(rest.len(), |(at, _)| at);
        rest[..end].to_owned()
    };
    let deploy = job("deploy");
    assert!(
        deploy.contains(
            "    needs: gate\n    if: ${{ success() && needs.gate.outputs.action == 'proceed' }}\n"
        ),
        "{deploy}"
    );
    let rollback = job("rollback");
    assert!(rollback.contains("needs.gate.outputs.action == 'rollback'"), "{rollback}");
    assert!(job("gate").contains("action: ${{ steps.gate.outputs.action }}"));
    assert!(
        !workflow.contains("continue-on-error") && !yaml("github/action.yml").contains("continue-on-error")
    );
    let [script] = &scripts(&workflow, "run:")[..] else { panic!("one script") };
    let double = Double::ending(&[("target", &[0])]);
    let ended = double.run(&GITHUB, script, &[("GATE_TOKEN", "0123456789abcdef"), ("GITHUB_RUN_ID", "77")]);
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(
        double.calls()[0]
            .starts_with("target rollback checkout --reason the verdict of run 77 --token-file ")
    );
}

const GITLAB_ENV: [(&str, &str); 4] = [
    ("SERVICE", "checkout"),
    ("CI_JOB_ID", "1812"),
    ("CI_PIPELINE_ID", "9"),
    ("BACKSTAY_OPERATOR_TOKEN_FILE", "operator"),
];

#[test]
fn gitlabs_job_succeeds_only_for_what_may_proceed() {
    let [gate, rollback] = &scripts(&yaml("gitlab/backstay-gate.gitlab-ci.yml"), "-")[..] else {
        panic!("two scripts")
    };
    for (code, action) in ENDS {
        let double = Double::ending(&[("gate", &[code]), ("target", &[0])]);
        // Left over from a run before, in a workspace that is used again.
        fs::write(double.path().join("backstay-action"), "rollback\n").unwrap();
        let ended = double.run(&GITLAB, gate, &GITLAB_ENV);
        assert_eq!(ended.code, code, "{action}: {}", ended.said);
        assert_eq!(double.calls(), ["gate --wait --patience 30m --service checkout --build 1812"]);
        let ended = double.run(&GITLAB, rollback, &GITLAB_ENV);
        assert_eq!(ended.code, 0, "{}", ended.said);
        let rolls = double.calls().iter().any(|call| {
            call == "target rollback checkout --token-file operator --reason the verdict of pipeline 9"
        });
        assert_eq!(rolls, action == "rollback", "{:?}", double.calls());
    }
    let none = Double::without_backstay();
    assert_eq!(none.run(&GITLAB, gate, &GITLAB_ENV).code, 127);
}

#[test]
fn gitlabs_deploy_waits_for_the_gate() {
    let text = yaml("gitlab/backstay-gate.gitlab-ci.yml");
    assert!(
        text.contains("\ndeploy:\n  stage: deploy\n  needs: [backstay-gate]\n  when: on_success\n"),
        "{text}"
    );
    assert!(text.contains("  allow_failure: false\n"));
}

fn drop_in(double: &Double, arguments: &str, env: &[(&str, &str)]) -> Ended {
    double.run(&["sh"], &format!("exec python3 ci/analyze_metrics.py {arguments}\n"), env)
}

/// The contract of the document's call: 0 and a file, or 2 and none.
#[test]
fn the_drop_in_ends_with_zero_or_two() {
    if program("python3").is_none() {
        return;
    }
    let env = [("SERVICE", "checkout"), ("BUILD_NUMBER", "1812")];
    let cases = [(0, 0), (2, 2), (1, 2), (24, 2), (3, 2), (137, 2)];
    for (code, ends) in cases {
        let double = Double::ending(&[("verdict", &[code])]);
        let file = double.path().join("verdict.json");
        fs::write(&file, "{\"action\": \"proceed\"}").unwrap();
        let ended = drop_in(&double, "--out verdict.json", &env);
        assert_eq!(ended.code, ends, "{code}: {}", ended.said);
        assert_eq!(file.exists(), ends == 0, "an older verdict is never left for a new one");
        assert_eq!(double.calls(), ["verdict --service checkout --build 1812 --out verdict.json"]);
    }
    let double = Double::ending(&[("verdict", &[0])]);
    let ended = drop_in(&double, "--out v.json --metrics m.json --service cart --build 7", &[]);
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert_eq!(double.calls(), ["verdict --service cart --build 7 --out v.json --metrics m.json"]);
}

#[test]
fn the_drop_in_fails_closed() {
    if program("python3").is_none() {
        return;
    }
    let none = Double::without_backstay();
    fs::write(none.path().join("verdict.json"), "{\"action\": \"proceed\"}").unwrap();
    let ended = drop_in(&none, "--out verdict.json", &[("SERVICE", "checkout"), ("BUILD_NUMBER", "1812")]);
    assert_eq!(ended.code, 2, "{}", ended.said);
    assert!(ended.said.contains("there is no verdict"), "{}", ended.said);
    assert!(!none.path().join("verdict.json").exists());
    // Nobody said which service, or where to.
    let double = Double::ending(&[("verdict", &[0])]);
    assert_eq!(drop_in(&double, "--out verdict.json", &[]).code, 2);
    assert_eq!(drop_in(&double, "", &[]).code, 2);
    // It says that one was written, and none was.
    let liar = Double::ending(&[("verdict", &[0])]);
    fs::write(liar.path().join("bin/backstay"), "#!/bin/sh\nexit 0\n").unwrap();
    let ended = drop_in(&liar, "--out verdict.json", &[("SERVICE", "checkout"), ("BUILD_NUMBER", "1812")]);
    assert_eq!(ended.code, 2, "{}", ended.said);
}
