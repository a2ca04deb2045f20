//! Stories of the program itself, as it ships: over files for devices, with the agent's client, and killed at every call.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod machine;

use std::{
    fs::{self, File},
    io::{Seek as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use backstay_boot::{Standing, Switch as _};
use backstay_model::Transience;
use backstay_slots::{
    BootWord, Program, ProgramFault, ReleaseWords, Slot, SlotError, Slots as _, program::Timeouts,
};

use crate::machine::{LOADERS, Loader, Machine, PROGRAM, bytes, release, said};

const PATIENT: Timeouts = Timeouts { answer: Duration::from_secs(60), stage: Duration::from_secs(60) };

#[test]
fn a_release_is_staged_tried_confirmed_and_taken_back() {
    for loader in LOADERS {
        let mut machine = Machine::made(loader);
        let answer = machine.answer();
        assert_eq!((&answer.status.booted, &answer.status.other), (&release("1.0"), &None));
        assert_eq!((answer.word, answer.findings), (BootWord::Confirmed, vec![]), "the factory said it");
        assert!(fs::read(machine.running()).unwrap().starts_with(&bytes("1.0")), "what runs can be read");
        machine.does("stage", "1.1");
        assert_eq!(machine.holds(Slot::B), Some("1.1"));
        assert_eq!(machine.answer().status.other, Some(release("1.1")));
        machine.does("try-next", "1.1");
        assert_eq!(machine.answer().status.trying, Some(release("1.1")));
        assert_eq!(machine.boots(), "1.1");
        assert_eq!(machine.answer().word, BootWord::Trial { tries_left: 1 });
        assert!(fs::read(machine.running()).unwrap().starts_with(&bytes("1.1")));
        for _ in 0..3 {
            assert!(machine.asks(&["note-boot"]).status.success());
            assert_eq!(machine.boots(), "1.1", "a boot that was fine uses nothing up");
        }
        machine.does("confirm", "1.1");
        let answer = machine.answer();
        assert_eq!((&answer.status.confirmed, answer.word), (&release("1.1"), BootWord::Confirmed));
        machine.does("go-home", "1.0");
        assert_eq!(machine.answer().status.booted, release("1.1"), "until the restart");
        assert_eq!(machine.boots(), "1.0");
        let answer = machine.answer();
        assert_eq!((answer.status.booted, answer.status.confirmed), (release("1.0"), release("1.0")));
        // Orders come twice, and a factory that says it again changes nothing.
        machine.does("go-home", "1.0");
        machine.does("provision", "1.0");
        assert_eq!(machine.boots(), "1.0");
    }
}

#[test]
fn a_release_that_panics_is_back_by_the_boot_loader_alone_and_that_is_said() {
    for loader in LOADERS {
        let mut machine = Machine::made(loader);
        machine.panics = &["1.1"];
        machine.does("stage", "1.1");
        machine.does("try-next", "1.1");
        assert_eq!(machine.boots(), "1.0");
        let answer = machine.answer();
        assert_eq!(answer.word, BootWord::FellBack { from: Some(release("1.1")) });
        assert_eq!((answer.status.booted, answer.status.trying), (release("1.0"), None));
        let json = machine.asks(&["--output", "json", "status"]);
        let json = String::from_utf8(json.stdout).unwrap();
        assert!(json.starts_with("{\"format\":1,\"booted\":{\"version\":\"1.0\","), "{json}");
        assert!(
            json.contains(
                "\"word\":\"fell-back\",\"tries_left\":null,\"fell_back_from\":{\"version\":\"1.1\""
            )
        );
    }
}

/// The artifact comes through a pipe, and when half of it is in the slot the program is killed.
#[test]
fn killed_in_the_middle_of_a_slot_it_has_lost_nothing_that_runs() {
    for loader in LOADERS {
        let mut machine = Machine::made(loader);
        machine.does("stage", "1.1");
        let words = ReleaseWords(&release("1.2")).to_string();
        let words: Vec<_> = std::iter::once("stage").chain(words.split(' ')).collect();
        let mut child = machine.command(&words).stdin(Stdio::piped()).spawn().unwrap();
        let image = bytes("1.2");
        // All but the last byte went into the pipe, which holds less: most of it is in the slot.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&image[..image.len() - 1]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdin);
        assert!(
            fs::read(machine.path("slot-b")).unwrap().starts_with(&image[..50_000]),
            "half of two images"
        );
        assert_eq!(machine.answer().status.other, None);
        let refused = machine.about("try-next", "1.1");
        assert_eq!(refused.status.code(), Some(69), "{}", said(&refused));
        assert!(said(&refused).ends_with("; help: stage the release first\n"), "{}", said(&refused));
        for _ in 0..3 {
            assert_eq!(machine.boots(), "1.0");
        }
        machine.does("stage", "1.2");
        machine.does("try-next", "1.2");
        assert_eq!(machine.boots(), "1.2");
    }
}

/// Killed at each call that can change something, one after the other, until nothing is left to be killed.
#[test]
fn killed_at_every_call_it_goes_on_where_it_stood() {
    let traces = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !traces.is_ok_and(|status| status.success()) {
        println!("skipped, because strace is not installed, or may not trace here");
        return;
    }
    let mut killed = 0;
    for loader in LOADERS {
        let fresh = Machine::made(loader);
        let staged = fresh.again();
        staged.does("stage", "1.1");
        let mut on_trial = staged.again();
        on_trial.does("try-next", "1.1");
        assert_eq!(on_trial.boots(), "1.1");
        let confirmed = on_trial.again();
        confirmed.does("confirm", "1.1");
        for (before, command, version, mut may_run) in [
            (&fresh, "stage", "1.1", vec!["1.0"]),
            (&confirmed, "stage", "1.2", vec!["1.1"]),
            (&staged, "try-next", "1.1", vec!["1.0", "1.1"]),
            (&on_trial, "confirm", "1.1", vec!["1.1"]),
            (&on_trial, "go-home", "1.0", vec!["1.0", "1.1"]),
            (&confirmed, "go-home", "1.0", vec!["1.0", "1.1"]),
        ] {
            may_run.sort_unstable();
            let mut ends = std::collections::BTreeSet::new();
            for at in 1.. {
                let mut machine = before.again();
                let is_killed = machine.killed_at(command, version, at);
                let answer = machine.answer();
                let on = machine.holds(machine.on).map(release);
                assert_eq!(Some(&answer.status.booted), on.as_ref(), "{command} at {at}");
                if let Some(other) = answer.status.other {
                    let held = machine.holds(machine.on.other()).map(release);
                    assert_eq!(Some(other), held, "{command} at {at}");
                }
                // The machine goes down here and now, or the order is given again: either way it ends well.
                let mut restarted = machine.again();
                ends.insert(restarted.boots());
                machine.does(command, version);
                machine.does(command, version);
                machine.boots();
                assert!(machine.asks(&["status"]).status.success());
                if !is_killed {
                    break;
                }
                killed += 1;
            }
            assert!(ends.iter().all(|end| may_run.contains(end)), "{command}: {ends:?}");
        }
    }
    println!("killed at {killed} calls, 0 bad ends");
    assert!(killed > 200, "{killed}");
}

/// What the agent asks this program, it is answered.
#[test]
fn the_agents_client_drives_it() {
    for loader in LOADERS {
        let mut machine = Machine::made(loader);
        let config = machine.path("slots.toml");
        let argv = [PROGRAM, "--config", config.to_str().unwrap()].map(str::to_owned).to_vec();
        let program = || Program::new(argv.clone(), PATIENT);
        let mut slots = program();
        slots.check().unwrap();
        slots.provision(&release("1.0")).unwrap();
        assert_eq!(slots.status().unwrap().booted, release("1.0"));
        let mut artifact = tempfile::tempfile().unwrap();
        artifact.write_all(&bytes("1.1")).unwrap();
        artifact.rewind().unwrap();
        slots.stage(&release("1.1"), &mut artifact).unwrap();
        slots.try_next(&release("1.1")).unwrap();
        assert_eq!(machine.boots(), "1.1");
        let mut slots = program();
        assert_eq!(slots.status().unwrap().confirmed, release("1.0"));
        assert_eq!(slots.booted(), BootWord::Trial { tries_left: 1 });
        let open = slots.stage(&release("1.2"), &mut artifact).unwrap_err();
        assert_eq!(open.transience(), Transience::Transient);
        assert!(open.to_string().contains("release 1.1 is still being tried; help: confirm"), "{open}");
        slots.note_boot().unwrap();
        slots.status().unwrap();
        assert_eq!(slots.booted(), BootWord::Trial { tries_left: 2 });
        slots.confirm(&release("1.1")).unwrap();
        assert_eq!((slots.booted(), slots.findings()), (BootWord::Confirmed, vec![]));
        let not = slots.go_home(&release("1.2")).unwrap_err();
        let SlotError::Program { fault, .. } = &not else { panic!("{not}") };
        assert!(matches!(**fault, ProgramFault::Exited(69)), "{not}");
        assert_eq!(not.transience(), Transience::Permanent);
        slots.go_home(&release("1.0")).unwrap();
        assert_eq!(machine.boots(), "1.0");
        slots.condemn(&release("1.1")).unwrap();
        let confirmed = slots.condemn(&release("1.0"));
        assert!(confirmed.is_ok(), "it isn't in the other slot");
        let other = slots.provision(&release("1.2")).unwrap_err();
        assert!(other.to_string().contains("slot a is provisioned already, with release 1.0"), "{other}");
    }
}

/// An environment that was lost is written anew with what the board needs to boot at all.
#[test]
fn a_lost_environment_is_written_anew_whole() {
    let machine = Machine::made(Loader::UBoot);
    let mut flash = fs::read(machine.path("flash")).unwrap();
    flash[20] ^= 1;
    flash[0x800 + 20] ^= 1;
    machine.puts("flash", &flash);
    fs::rename(machine.path("initial-env"), machine.path("elsewhere")).unwrap();
    let output = machine.asks(&["status"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(said(&output).contains("cannot read the board's own variables from"), "{}", said(&output));
    let output = machine.asks(&["check"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(said(&output).contains(": boot: the boot loader's words are lost"), "{}", said(&output));
    assert!(said(&output).contains("slots.toml:12: boot.defaults: cannot open"), "{}", said(&output));
    fs::rename(machine.path("elsewhere"), machine.path("initial-env")).unwrap();
    let answer = machine.answer();
    assert!(answer.findings[0].starts_with("the boot loader's words were written anew"), "{answer:?}");
    assert_eq!(machine.variable("bootcmd").as_deref(), Some("run backstay"));
    assert_eq!(machine.uboot().left(Slot::A).unwrap(), Standing::Tries(2));
    assert_eq!(machine.answer().findings, [""; 0]);
}

#[test]
fn what_is_wrong_is_said_by_place_and_with_an_exit_code() {
    let machine = Machine::made(Loader::UBoot);
    let good = machine.config();
    let output = machine.asks(&["check"]);
    assert!(output.status.success(), "{}", said(&output));
    let seen = "slot a runs, boot boot-1\nthe boot loader starts slot a next (a: 1 boots left, b: barred)\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), seen);
    let file = machine.path("slots.toml");
    let told = |config: &str, command: &str| {
        machine.puts("slots.toml", config.as_bytes());
        let output = machine.asks(&[command]);
        let said = said(&output).replace(file.parent().unwrap().to_str().unwrap(), "");
        (output.status.code().unwrap(), said)
    };
    let (code, line) = told(&good.replace("tries = 2", "tries = 0"), "status");
    assert_eq!(code, 64);
    assert!(line.starts_with("backstay-slots: /slots.toml:2: tries: expected 1 to 7; help: "), "{line}");
    let (code, line) = told(&good.replace("/slot-b", "/slot-c"), "check");
    assert_eq!(code, 69);
    let missing = "write.b: cannot open /slot-c: No such file or directory (os error 2)\n";
    assert_eq!(line, format!("backstay-slots: /slots.toml:17: {missing}"));
    let (code, line) = told(&good.replace("/slot-b", "/slot-c"), "status");
    assert_eq!((code, &*line), (0, ""), "who asks what runs opens no slot");
    let output = machine.about("stage", "1.1");
    assert_eq!(output.status.code(), Some(75));
    assert!(said(&output).starts_with("backstay-slots: cannot open"), "{}", said(&output));
    let (code, line) = told(&good.replace("[running]", "[running]\na = \"root=/dev/vda2\""), "status");
    assert_eq!(code, 69);
    assert!(
        line.contains("the kernel's command line has neither of `root=/dev/vda2` and `backstay.slot=b`"),
        "{line}"
    );
    let (code, line) = told(&good.replace("fw_env.config", "initial-env"), "confirm");
    assert_eq!((code, line.contains("confirm: expected VERSION SHA256 LENGTH EPOCH")), (64, true), "{line}");
    let (code, line) = told(&good.replace("fw_env.config", "initial-env"), "note-boot");
    assert_eq!((code, line.contains("line 1 of fw_env.config is not understood")), (64, true), "{line}");
    std::os::unix::fs::symlink(machine.path("slot-a"), machine.path("slot-x")).unwrap();
    let (_, line) = told(&good.replace("/slot-b", "/slot-x"), "check");
    assert!(line.contains(":17: write.b: it is slot a's device under another name"), "{line}");
    machine.puts("slots.toml", good.as_bytes());
    machine.puts("cmdline", b"backstay.slot=a backstay.slot=b");
    let output = machine.asks(&["--output", "json", "check"]);
    assert_eq!(output.status.code(), Some(69));
    let json = String::from_utf8_lossy(&output.stdout);
    assert!(json.starts_with("{\"format\":1,\"seen\":[\"the boot loader"), "{json}");
    assert!(json.contains("running: the kernel's command line has both `backstay.slot=a`"), "{json}");
    let nowhere = Command::new(PROGRAM).args(["--config", "/nowhere/slots.toml", "status"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(64));
    assert!(said(&nowhere).contains("cannot read the configuration /nowhere/slots.toml: No such"));
}

/// What is too short to be the release is found before the slot loses its first byte, and what is refused says why.
#[test]
fn other_bytes_cost_nothing_where_that_is_seen_before() {
    let machine = Machine::made(Loader::UBoot);
    machine.does("stage", "1.1");
    machine.puts("short", &bytes("1.2")[1..]);
    let words = ReleaseWords(&release("1.2")).to_string();
    let words: Vec<_> = std::iter::once("stage").chain(words.split(' ')).collect();
    let stages = |input: &Path| machine.command(&words).stdin(File::open(input).unwrap()).output().unwrap();
    let output = stages(&machine.path("short"));
    assert_eq!(output.status.code(), Some(75));
    assert!(said(&output).contains("what came is not release 1.2"), "{}", said(&output));
    assert_eq!(machine.answer().status.other, Some(release("1.1")), "still there");
    let output = stages(Path::new("/dev/null"));
    assert_eq!(
        (output.status.code(), machine.answer().status.other),
        (Some(75), None),
        "no file: it was begun"
    );
    // An answer that nobody takes is not told as given.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = machine.command(&["status"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(said(&output).contains("cannot write to standard output: No space left"), "{}", said(&output));
}
