//! The power goes under a real ext4: nothing that a device said is lost, and its course ends as without a cut. In the same
//! rig sled with nothing but its own `flush()` loses what it said: a rig that couldn't see that would prove nothing.
//!
//! `BACKSTAY_TRIALS` says how many cuts of each are mounted and looked at, spread over the run; `BACKSTAY_LONG` asks for all.

use std::{
    env,
    process::{Command, Output},
};

const CUTS: usize = 24;

/// What the rig is made of: programs, and the file that FUSE needs.
const NEEDS: [&str; 6] = ["qemu-storage-daemon", "mkfs.ext4", "setpriv", "unshare", "mount", "sync"];

fn cuts() -> usize {
    let usual = if env::var_os("BACKSTAY_LONG").is_some() { usize::MAX } else { CUTS };
    env::var("BACKSTAY_TRIALS").map_or(usual, |many| many.parse().expect("BACKSTAY_TRIALS is a number"))
}

/// Mounts need root's powers, and namespaces in which all ends with the rig.
fn missing() -> Option<String> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(Into::into);
    let has = |name: &&&str| {
        !env::split_paths(&paths)
            .chain(more.clone())
            .any(|path: std::path::PathBuf| path.join(name).is_file())
    };
    if let Some(name) = NEEDS.iter().find(has) {
        return Some(format!("{name} is not installed"));
    }
    let tried = apart(&["sh", "-c", "mount -t tmpfs none /mnt && test -w /dev/fuse -a -w /dev/loop-control"]);
    (!tried.status.success()).then(|| {
        format!(
            "mounts, FUSE or loop devices can't be had: {}",
            String::from_utf8_lossy(&tried.stderr).trim()
        )
    })
}

/// Runs something in namespaces of its own. If the test ends before it, however it does, all of that ends too.
fn apart(words: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    command.args(words).env("PATH", path).output().expect("setpriv starts")
}

fn rig(words: &[&str]) -> (Option<i32>, String) {
    let output = apart(&[&[env!("CARGO_BIN_EXE_disk-rig")], words].concat());
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), format!("{said}{why}"))
}

#[test]
fn no_power_cut_under_ext4_loses_what_a_device_said() {
    if let Some(why) = missing() {
        println!("skipped, because {why}");
        return;
    }
    for course in ["outbox drain", "go home", "key rotation", "policy change"] {
        let (code, said) = rig(&["course", course, &cuts().to_string()]);
        println!("summary: ext4, {course}: {}", said.lines().next().unwrap_or_default());
        assert_eq!(code, Some(0), "{course}: {said}");
    }
}

/// Were this not lost, the rig would see no loss at all.
#[test]
fn sled_with_its_flush_alone_loses_what_it_said_under_the_same_cuts() {
    if let Some(why) = missing() {
        println!("skipped, because {why}");
        return;
    }
    let (code, said) = rig(&["sled", &cuts().to_string()]);
    println!("summary: ext4, sled alone: {}", said.lines().next().unwrap_or_default());
    assert_eq!(code, Some(1), "it lost nothing, so the rig sees no loss: {said}");
    assert!(said.contains("values are gone"), "{said}");
}
