//! A control plane ends when it should: with a test that is killed, and by `down`, which ends exactly what `up` has started.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use backstay_test_k8s::{ControlPlane, Programs, Standing, until};

/// Set for the process that is killed: this very test, once more.
const IS_KILLED: &str = "BACKSTAY_IS_KILLED";
/// What it says before: its folder, then its processes.
const TELLS: &str = "started in ";

fn runs(id: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// Starts a control plane, tells of it, and waits to be killed.
fn waits_for_its_end() {
    let Some(cluster) = ControlPlane::start() else { return };
    let ids: Vec<_> = cluster.processes().iter().map(|(_, id)| id.to_string()).collect();
    println!("\n{TELLS}{} {}", cluster.ca().parent().unwrap().display(), ids.join(" "));
    loop {
        std::thread::park();
    }
}

#[test]
fn nothing_outlives_a_test_that_is_killed() {
    if env::var_os(IS_KILLED).is_some() {
        return waits_for_its_end();
    }
    if let Err(why) = Programs::find() {
        println!("skipped, because {why}");
        return;
    }
    let mut test = Command::new(env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_test_that_is_killed", "--nocapture"])
        .env(IS_KILLED, "")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.find_map(|line| line.strip_prefix(TELLS).map(str::to_owned)).unwrap();
    let mut words = told.split(' ').map(str::to_owned);
    let (folder, ids) = (words.next().unwrap(), words.collect::<Vec<_>>());
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| runs(id)) && Path::new(&folder).is_dir());
    test.kill().unwrap();
    test.wait().unwrap();
    until("the end of its programs", || (!ids.iter().any(|id| runs(id))).then_some(()));
    until("the end of its folder", || (!Path::new(&folder).exists()).then_some(()));
}

#[test]
fn down_ends_what_up_has_started_and_both_can_be_said_twice() {
    if let Err(why) = Programs::find() {
        println!("skipped, because {why}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    let say = |word: &str| {
        let out = Command::new(env!("CARGO_BIN_EXE_k8s-cluster")).arg(word).arg(&folder).output().unwrap();
        assert!(out.status.success(), "{word}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let up = say("up");
    assert!(up.contains("export KUBECONFIG="), "{up}");
    assert_eq!(say("up"), up);
    let standing = Standing::find(&folder).unwrap();
    let nodes = Command::new(Programs::find().unwrap().program("kubectl"))
        .args(["get", "nodes", "--no-headers", "--kubeconfig", standing.kubeconfig()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&nodes.stdout).lines().count(), 3);
    let state = fs::read_to_string(folder.join("state.json")).unwrap();
    let ids: Vec<_> =
        state.split("\"pid\":").skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
    assert!(ids.len() == 5 && ids.iter().all(|id| runs(id)), "{state}");
    assert!(say("down").starts_with("ended https://127.0.0.1:"));
    assert!(!ids.iter().any(|id| runs(id)));
    assert_eq!(say("down"), "no control plane runs\n");
}
