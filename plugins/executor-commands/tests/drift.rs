//! The drift scripts of the library, run by sh on a Git repository and a root in temporary folders.
//!
//! Here: that what they print is what the playbook drift reads, and that they leave nothing but the desired state behind.
//! Without git the tests say why they were skipped, and pass.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_sdk::{
    executor::{Access, Answer, Deed, Effect, Exited, Outcome, Output, Task},
    testing::{Run, order},
};
use executor_commands::Commands;
use tempfile::TempDir;

const MAP: &str = "# what this machine is to be\n\
                   file etc/app.conf etc/app.conf 0640\n\
                   file etc/app.d/one.conf etc/app.d/one.conf\n\
                   credential secrets/key.sha256 etc/key.pem\n\
                   folder - etc/app.d\n";

/// A repository with the desired state, and a root as it should be.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// `None` after it was said why the test is skipped.
    fn new() -> Option<Self> {
        let git = Command::new("git").arg("--version").stdout(Stdio::null()).status();
        if !git.is_ok_and(|status| status.success()) {
            println!("skipped, because git is not installed");
            return None;
        }
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        machine.git(&["init", "-q"]);
        machine.desires("etc/app.conf", "port = 80\n");
        machine.desires("etc/app.d/one.conf", "one\n");
        machine.desires("map", MAP);
        machine.desires("secrets/key.sha256", &format!("{}  key.pem\n", digest("secret\n")));
        machine.commits();
        machine.writes("etc/key.pem", "secret\n");
        machine.writes("bystander", "not ours\n");
        assert_eq!(machine.fix(&[]), (0, "restored etc/app.conf\nrestored etc/app.d/one.conf\n".into()));
        assert_eq!(machine.look(), (0, String::new()));
        Some(machine)
    }

    fn checkout(&self) -> PathBuf {
        self.dir.path().join("checkout")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn holds(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn git(&self, args: &[&str]) {
        fs::create_dir_all(self.checkout()).unwrap();
        let mut git = Command::new("git");
        git.arg("-C").arg(self.checkout()).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(args);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        assert!(git.status().unwrap().success(), "{args:?}");
    }

    fn desires(&self, path: &str, text: &str) {
        write(&self.checkout().join(path), text);
    }

    fn commits(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "desired"]);
    }

    fn writes(&self, path: &str, text: &str) {
        write(&self.at(path), text);
    }

    /// Exit code and what it said.
    fn look(&self) -> (i32, String) {
        self.runs("drift-look.sh", "map", &[])
    }

    fn fix(&self, more: &[&str]) -> (i32, String) {
        self.runs("drift-fix.sh", "map", more)
    }

    fn runs(&self, script: &str, map: &str, more: &[&str]) -> (i32, String) {
        self.runs_in(&self.at(""), script, map, more)
    }

    fn runs_in(&self, root: &Path, script: &str, map: &str, more: &[&str]) -> (i32, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks").join(script);
        fs::create_dir_all(self.at("")).unwrap();
        let mut sh = Command::new("/bin/sh");
        // Nothing is inherited, as the host does it.
        sh.env_clear().env("PATH", "/usr/bin:/bin");
        sh.arg(script).arg(self.checkout()).arg(map).arg(root).args(more);
        let output = sh.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "whoever looks at a record wants no noise");
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn digest(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("it");
    fs::write(&file, text).unwrap();
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn what_was_changed_or_lost_comes_back_with_its_mode_and_nothing_else_is_touched() {
    let Some(machine) = Machine::new() else { return };
    machine.writes("etc/app.conf", "port = 81\n");
    fs::remove_file(machine.at("etc/app.d/one.conf")).unwrap();
    let drift = "changed etc/app.conf\nmissing etc/app.d/one.conf\n";
    assert_eq!(machine.look(), (1, drift.into()));
    assert_eq!(machine.look(), (1, drift.into()), "a look changes nothing");
    assert_eq!(machine.fix(&[]), (0, "restored etc/app.conf\nrestored etc/app.d/one.conf\n".into()));
    assert_eq!(machine.look(), (0, String::new()));
    assert_eq!(machine.fix(&[]), (0, String::new()), "the second time there is nothing to do");
    assert_eq!(machine.holds("etc/app.conf"), "port = 80\n");
    assert_eq!(machine.holds("bystander"), "not ours\n");
    let mode = |path| fs::metadata(machine.at(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("etc/app.conf"), mode("etc/app.d/one.conf")), (0o640, 0o644));
    fs::set_permissions(machine.at("etc/app.conf"), fs::Permissions::from_mode(0o4666)).unwrap();
    assert_eq!(machine.look(), (1, "changed etc/app.conf\n".into()));
    assert_eq!(machine.fix(&[]).0, 0);
    assert_eq!(mode("etc/app.conf"), 0o640);
    let left: Vec<_> =
        fs::read_dir(machine.at("etc")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "no half-written file is left: {left:?}");
}

/// Somebody edits the checkout's own folder. Nobody committed that, so nobody desires it.
#[test]
fn the_desired_state_is_what_is_committed() {
    let Some(machine) = Machine::new() else { return };
    machine.desires("etc/app.conf", "port = 666\n");
    machine.desires("map", "file etc/app.conf ../../outside\n");
    assert_eq!(machine.look(), (0, String::new()));
    machine.desires("map", MAP);
    machine.commits();
    assert_eq!(machine.look(), (1, "changed etc/app.conf\n".into()));
}

#[test]
fn a_credential_is_told_and_never_brought_back() {
    let Some(machine) = Machine::new() else { return };
    machine.writes("etc/key.pem", "other\n");
    assert_eq!(machine.look(), (1, "credential etc/key.pem\n".into()));
    assert_eq!(machine.fix(&["--delete"]), (0, String::new()));
    assert_eq!(machine.holds("etc/key.pem"), "other\n");
    fs::remove_file(machine.at("etc/key.pem")).unwrap();
    assert_eq!(machine.look(), (1, "credential etc/key.pem\n".into()));
}

#[test]
fn what_nobody_desires_is_deleted_only_where_that_is_said() {
    let Some(machine) = Machine::new() else { return };
    machine.writes("etc/app.d/old.conf", "old\n");
    machine.writes("etc/app.d/deep/er.conf", "a folder is never emptied\n");
    assert_eq!(machine.look(), (1, "extra etc/app.d/old.conf\n".into()));
    assert_eq!(machine.fix(&[]), (0, String::new()));
    assert_eq!(machine.holds("etc/app.d/old.conf"), "old\n");
    assert_eq!(machine.fix(&["--delete"]), (0, "deleted etc/app.d/old.conf\n".into()));
    assert_eq!(machine.look(), (0, String::new()));
    assert!(machine.at("etc/app.d/deep/er.conf").exists() && machine.at("bystander").exists());
}

/// A link at the place, or on the way to it, would make root write wherever its maker likes.
#[test]
fn a_link_is_never_followed() {
    let Some(machine) = Machine::new() else { return };
    let outside = machine.dir.path().join("outside");
    write(&outside.join("one.conf"), "theirs\n");
    fs::remove_file(machine.at("etc/app.conf")).unwrap();
    symlink(outside.join("one.conf"), machine.at("etc/app.conf")).unwrap();
    assert_eq!(machine.look(), (1, "changed etc/app.conf\n".into()));
    let (code, said) = machine.fix(&[]);
    assert_eq!(code, 2);
    assert!(said.ends_with("etc/app.conf is no plain file: somebody has to look\n"), "{said}");
    fs::remove_file(machine.at("etc/app.conf")).unwrap();
    fs::remove_dir_all(machine.at("etc/app.d")).unwrap();
    symlink(&outside, machine.at("etc/app.d")).unwrap();
    assert_eq!(machine.look().0, 1);
    assert_eq!(machine.fix(&["--delete"]).0, 2);
    assert_eq!(fs::read_to_string(outside.join("one.conf")).unwrap(), "theirs\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_map_that_leads_outside_is_refused_before_anything_is_written() {
    let Some(machine) = Machine::new() else { return };
    symlink("/etc/hostname", machine.checkout().join("link")).unwrap();
    for bad in [
        "file etc/app.conf ../outside",
        "file etc/app.conf /etc/outside",
        "file etc/app.conf a/./b",
        "file ../secret etc/b",
        "file .git/config etc/b",
        "file etc/app.conf",
        "file etc/app.conf etc/b 9999",
        "file etc/app.conf $(id)",
        "file etc/app.conf etc/b 0644 more",
        "file link etc/b",
        "file nowhere etc/b",
        "file etc etc/b",
        "secret etc/app.conf etc/b",
        "folder etc etc/b",
        "file etc/app.conf etc/new\nfile etc/app.conf etc/new",
    ] {
        // A good line before it: it must not be done either.
        machine.desires("bad", &format!("file etc/app.conf etc/first\n{bad}\n"));
        machine.commits();
        for script in ["drift-look.sh", "drift-fix.sh"] {
            let (code, said) = machine.runs(script, "bad", &[]);
            assert_eq!(code, 2, "{script} takes {bad:?}: {said}");
        }
        assert!(!machine.at("etc/first").exists(), "{bad:?}");
    }
    for map in ["nowhere", "../map", "/etc/passwd", "etc"] {
        assert_eq!(machine.runs("drift-fix.sh", map, &[]).0, 2, "{map}");
    }
    assert_eq!(machine.fix(&["--everything"]).0, 2);
    assert!(!machine.dir.path().join("outside").exists());
}

#[test]
fn a_checkout_that_is_none_is_said() {
    let Some(machine) = Machine::new() else { return };
    fs::remove_dir_all(machine.checkout().join(".git")).unwrap();
    let (code, said) = machine.look();
    assert_eq!(code, 2);
    assert!(said.ends_with("is no Git checkout with a commit\n"), "{said}");
    assert_eq!(machine.fix(&[]).0, 2);
}

/// Where the destinations are the machine's own paths.
#[test]
fn the_root_may_be_the_machine_itself() {
    let Some(machine) = Machine::new() else { return };
    let here = machine.dir.path().canonicalize().unwrap();
    let there = here.strip_prefix("/").unwrap().join("etc/app.conf");
    machine.desires("own", &format!("file etc/app.conf {}\n", there.display()));
    machine.commits();
    let runs = |script| machine.runs_in(Path::new("/"), script, "own", &[]);
    assert_eq!(runs("drift-look.sh"), (1, format!("missing {}\n", there.display())));
    assert_eq!(runs("drift-fix.sh"), (0, format!("restored {}\n", there.display())));
    assert_eq!(runs("drift-look.sh"), (0, String::new()));
    assert_eq!(fs::read_to_string(here.join("etc/app.conf")).unwrap(), "port = 80\n");
    for root in ["relative", "", "/nowhere/at/all"] {
        assert_eq!(machine.runs_in(Path::new(root), "drift-fix.sh", "own", &[]).0, 2, "{root:?}");
    }
}

/// The playbook and the scripts, as the executor asks for them.
#[test]
fn the_playbook_mends_what_the_scripts_find() {
    let Some(machine) = Machine::new() else { return };
    machine.writes("etc/app.conf", "port = 81\n");
    machine.writes("etc/app.d/old.conf", "old\n");
    let heals = || {
        let run = Run::<Commands>::begin(&[], order(Task::Heal("drift".into())));
        run.until_end(|effect: &Effect| {
            let Deed::Run(run) = &effect.deed else { panic!("{effect:?}") };
            assert_eq!(effect.access == Access::Looks, run.command == "drift-look");
            let more: Vec<_> = run.args.iter().map(String::as_str).collect();
            let (code, said) = machine.runs(&format!("{}.sh", run.command), "map", &more);
            let output = Output { bytes: said.into_bytes(), whole: None };
            Answer::Exited(Exited { code: Some(code), output })
        })
    };
    assert_eq!(heals(), Outcome::Done);
    assert_eq!(machine.holds("etc/app.conf"), "port = 80\n");
    assert_eq!(
        machine.look(),
        (1, "extra etc/app.d/old.conf\n".into()),
        "nobody said that it may be deleted"
    );
    let Outcome::Failed(failed) = heals() else { panic!("there is nothing that it may mend") };
    assert_eq!(failed.why, "differences that no playbook mends: 1, the last: extra etc/app.d/old.conf");
}
