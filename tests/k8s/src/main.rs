//! A control plane that stays, for a person who wants to look around in one: what `cargo xtask k8s up` starts.
//!
//! `up` starts this program once more, which keeps the control plane until `down` ends it. Not here: building what it consists of
//! (xtask), and what it consists of (the library).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a person at a terminal")]

use std::{
    env,
    fs::{self, DirBuilder, File},
    io,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_test_k8s::{ControlPlane, Programs, Standing};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

const HELP: &str = "\
cargo xtask k8s up|down: a Kubernetes control plane of one's own on this machine

  up      builds what is missing (10 to 20 min the first time), and starts etcd, kube-apiserver,
          kube-controller-manager and Argo Rollouts' controller on ports of 127.0.0.1, with three nodes
  down    ends exactly those

Nodes run nothing: a pod gets a status, and no container. What is wrong with one can be said:
  kubectl annotate pod NAME kubelet.backstay.test/fault=crash-loop
     also: out-of-memory 256Mi, image-pull, not-ready, slow-ready 5s, evicted, none;
     or in the image's name: registry.test/shop:2.0.0-crash-loop
  kubectl annotate node node-1 kubelet.backstay.test/lost=true
     also: disk-pressure=true, resize=unsupported|deferred|infeasible

How a test starts one: tests/README.md";

/// As in BSD's sysexits: the command was used incorrectly.
const EXIT_USAGE: u8 = 64;
/// What the one that stays says. A folder with such a file was made here.
const LOG: &str = "k8s-cluster.log";
/// How often is looked whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["up", folder] => up(Path::new(folder)),
        ["keep", folder] => keep(Path::new(folder)),
        ["down", folder] => down(Path::new(folder)),
        ["--help" | "-h" | "help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Starts one that outlives this process, unless there is one.
fn up(folder: &Path) -> Result<(), String> {
    if Standing::find(folder).is_none() {
        start(folder)?;
    }
    let standing = Standing::find(folder).ok_or("the control plane is gone again")?;
    println!("Kubernetes at {}", standing.server());
    println!("  export KUBECONFIG={}", standing.kubeconfig());
    println!("  export PATH={}:$PATH", programs()?.display());
    println!("  kubectl get nodes");
    println!("  cargo xtask k8s down");
    Ok(())
}

fn start(folder: &Path) -> Result<(), String> {
    let cannot = |what: &str, why: io::Error| format!("cannot {what} {}: {why}", folder.display());
    if folder.join(LOG).exists() {
        // Of one that has ended.
        fs::remove_dir_all(folder).map_err(|why| cannot("empty", why))?;
    }
    // What is in it lets anybody do anything there.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|why| cannot("make", why))?;
    let log = folder.join(LOG);
    let says = File::create(&log)
        .and_then(|out| Ok((out.try_clone()?, out)))
        .map_err(|why| cannot("write to", why))?;
    let program = env::current_exe().map_err(|why| format!("cannot find this program: {why}"))?;
    let mut command = Command::new(program);
    command.arg("keep").arg(folder).stdin(Stdio::null()).stdout(says.0).stderr(says.1);
    // Ctrl-C here is not for it.
    let mut keeper =
        command.process_group(0).spawn().map_err(|why| format!("cannot start a control plane: {why}"))?;
    while Standing::find(folder).is_none() {
        if let Ok(Some(how)) = keeper.try_wait() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("the control plane ended with {how}; it says:\n{said}"));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Is one, until it is asked to end. The programs end with it.
fn keep(folder: &Path) -> Result<(), String> {
    let (asked, is_nothing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    // A terminal that goes away ends nothing.
    for (signal, means) in [(SIGTERM, &asked), (SIGINT, &asked), (SIGHUP, &is_nothing)] {
        flag::register(signal, Arc::clone(means)).map_err(|why| format!("cannot wait for signals: {why}"))?;
    }
    let cluster = ControlPlane::run(Programs::find()?, folder);
    Standing::write(folder, &cluster)
        .map_err(|why| format!("cannot write to {}: {why}", folder.display()))?;
    while !asked.load(Ordering::Relaxed) {
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn down(folder: &Path) -> Result<(), String> {
    let Some(standing) = Standing::find(folder) else {
        println!("no control plane runs");
        return Ok(());
    };
    standing.end().map_err(|left| format!("still there: {left}"))?;
    println!("ended {}", standing.server());
    Ok(())
}

/// The folder with `kubectl`.
fn programs() -> Result<PathBuf, String> {
    let folder = Programs::find()?.program("");
    fs::canonicalize(&folder).map_err(|why| format!("cannot find {}: {why}", folder.display()))
}
