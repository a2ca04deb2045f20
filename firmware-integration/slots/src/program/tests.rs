//! Small real programs in a shell, rightly written and not.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use backstay_model::{Digest, Outcome, Version};

use super::*;

struct World {
    dir: tempfile::TempDir,
}

fn release(version: &str) -> Release {
    let version = Version::parse(version).unwrap();
    Release { version, digest: Digest([7; 32]), length: 5, security_epoch: 3 }
}

fn status() -> SlotStatus {
    let other = Some(release("1.1"));
    SlotStatus { booted: release("1.0"), confirmed: release("1.0"), other, trying: None }
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        let word = BootWord::FellBack { from: Some(release("1.1")) };
        let findings = vec!["slot b could not be barred".to_owned()];
        world.answers(&SlotAnswer { status: status(), word, findings }.to_bytes());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn answers(&self, bytes: &[u8]) {
        fs::write(self.path("answer"), bytes).unwrap();
    }

    /// A program of this script, which finds its folder in `$here`.
    fn program(&self, script: &str, timeouts: Timeouts) -> Program {
        let here = self.dir.path().display();
        let script = format!("here={here}\n{script}");
        Program::new(["/bin/sh", "-c", &script, "program"].map(str::to_owned).to_vec(), timeouts)
    }

    fn says(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Long enough for a busy machine.
const PATIENT: Timeouts = Timeouts { answer: Duration::from_secs(60), stage: Duration::from_secs(60) };
const BRIEF: Timeouts = Timeouts { answer: Duration::from_millis(300), stage: Duration::from_millis(300) };

fn fault(done: Result<(), SlotError>) -> (ProgramFault, String) {
    let error = done.unwrap_err();
    let SlotError::Program { fault, said, .. } = error else { panic!("{error}") };
    (*fault, said)
}

#[test]
fn each_word_reaches_the_program_and_its_answer_comes_back() {
    let world = World::new();
    let script = r#"
        echo "$#: $*" >> $here/asked
        case $1 in status) cat $here/answer ;; stage) cat > $here/staged ;; *) echo noise ;; esac"#;
    let mut program = world.program(script, PATIENT);
    assert_eq!(program.booted(), BootWord::Confirmed);
    assert_eq!(program.status().unwrap(), status());
    assert_eq!(program.booted(), BootWord::FellBack { from: Some(release("1.1")) });
    assert_eq!(program.findings(), ["slot b could not be barred"]);
    assert_eq!(program.findings(), [""; 0]);

    let mut file = File::options().read(true).write(true).create_new(true).open(world.path("1.1")).unwrap();
    file.write_all(b"bytes").unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    fs::remove_file(world.path("1.1")).unwrap();
    program.stage(&release("1.1"), &mut file).unwrap();
    assert_eq!(world.says("staged"), "bytes", "an open file, from its start, without a name");
    program.try_next(&release("1.1")).unwrap();
    program.note_boot().unwrap();
    program.confirm(&release("1.1")).unwrap();
    assert_eq!(program.booted(), BootWord::Confirmed);
    program.go_home(&release("1.0")).unwrap();
    program.condemn(&release("1.1")).unwrap();
    program.provision(&release("1.0")).unwrap();
    program.check().unwrap();
    let digest = Digest([7; 32]);
    let asked = [
        "1: status".to_owned(),
        format!("5: stage 1.1 {digest} 5 3"),
        format!("5: try-next 1.1 {digest} 5 3"),
        "1: note-boot".to_owned(),
        format!("5: confirm 1.1 {digest} 5 3"),
        format!("5: go-home 1.0 {digest} 5 3"),
        format!("5: condemn 1.1 {digest} 5 3"),
        format!("5: provision 1.0 {digest} 5 3"),
        "1: check".to_owned(),
    ];
    assert_eq!(world.says("asked").lines().collect::<Vec<_>>(), asked);
}

/// A program of before doesn't know the word; it says so, and that is all.
#[test]
fn where_what_runs_lies_is_asked_and_not_every_program_knows() {
    let world = World::new();
    let device = std::path::Path::new("/dev/disk/by-partlabel/slot-a");
    world.answers(&RunningAnswer::new(device).unwrap().to_bytes());
    let mut program = world.program("case $1 in running) cat $here/answer ;; *) exit 64 ;; esac", PATIENT);
    assert_eq!(program.running().unwrap().as_deref(), Some(device));
    world.answers(b"/dev/sda1\n");
    let error = program.running().unwrap_err();
    assert_eq!(error.to_string(), "`running` of the slot program failed");
    let mut older = world.program("echo \"there is no command $1\" >&2; exit 64", PATIENT);
    let error = older.running().unwrap_err();
    assert_eq!(error.to_string(), "`running` of the slot program failed: there is no command running");
}

/// What the documentation shows to who writes such a program in a shell is believed.
#[test]
fn the_shell_of_the_documentation_speaks_the_words() {
    let page = include_str!("../../../../docs/firmware.md");
    let (_, rest) = page.split_once("```sh\n").unwrap();
    let (shell, _) = rest.split_once("```").unwrap();
    let (here, there) =
        (ReleaseWords(&release("1.0")).to_string(), ReleaseWords(&release("1.1")).to_string());
    let told = format!("booted='{here}' confirmed='{here}' other='{there}' trying=none word='trial 2'");
    let mut program = World::new().program(&format!("{shell}\n{told}\nstatus"), PATIENT);
    assert_eq!(program.status().unwrap(), status());
    assert_eq!(program.booted(), BootWord::Trial { tries_left: 2 });
}

#[test]
fn the_exit_code_says_whether_trying_again_can_help() {
    let world = World::new();
    for (script, transience, told) in [
        ("exit 75", Transience::Transient, "exit code 75"),
        ("exit 69", Transience::Permanent, "exit code 69"),
        ("exit 64", Transience::Permanent, "exit code 64"),
        ("exit 1", Transience::Transient, "exit code 1"),
        ("kill -9 $$", Transience::Transient, "it was killed by signal 9"),
        ("kill -TERM $$", Transience::Transient, "it was killed by signal 15"),
    ] {
        let script = format!("echo first >&2; echo 'the disk is full; help: mend it' >&2; {script}");
        let error = world.program(&script, PATIENT).try_next(&release("1.1")).unwrap_err();
        assert_eq!(error.transience(), transience, "{script}");
        assert!(error.help().is_some());
        let why = format!("`try-next` of the slot program failed: the disk is full; help: mend it: {told}");
        assert_eq!(error.outcome(), Outcome::Failed { transience, why });
    }
    let error = world.program("echo one >&2; echo two >&2; exit 64", PATIENT).check().unwrap_err();
    assert_eq!(error.to_string(), "`check` of the slot program failed: one\ntwo");
    let error = world.program("exit 75", PATIENT).note_boot().unwrap_err();
    assert_eq!(error.to_string(), "`note-boot` of the slot program failed");
    for argv in [vec![], vec!["/nowhere/slots".to_owned()], vec!["/".to_owned()]] {
        let (fault, _) = fault(Program::new(argv, PATIENT).note_boot());
        assert!(matches!(fault, ProgramFault::NotRun(_)), "{fault}");
        assert_eq!(fault.transience(), Transience::Permanent);
    }
}

#[test]
fn what_is_no_whole_answer_is_not_believed() {
    let world = World::new();
    let whole = fs::read(world.path("answer")).unwrap();
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    for answer in [
        &b""[..],
        b"booted 1.0\n",
        &whole[..whole.len() - 1],
        &whole[..whole.len() / 2],
        &flipped,
        &[&b"starting\n"[..], &whole].concat(),
        &[&whole[..], &whole].concat(),
        &[0xff; 9000],
    ] {
        world.answers(answer);
        let error = world.program("cat $here/answer", PATIENT).status().unwrap_err();
        let SlotError::Program { fault, .. } = &error else { panic!("{error}") };
        assert!(matches!(**fault, ProgramFault::Altered), "{error}");
        assert_eq!(error.transience(), Transience::Transient);
    }
    // A status that stands there and an exit code that says no: it is no.
    world.answers(&whole);
    let done = world.program("cat $here/answer; exit 75", PATIENT).status().map(|_| ());
    assert!(matches!(fault(done), (ProgramFault::Exited(75), _)));
}

/// It says more than anybody reads, and goes on: its memory is not ours, and its time is over at some moment.
#[test]
fn what_never_ends_is_ended_with_all_that_it_started() {
    let world = World::new();
    for script in [
        "yes",
        "yes >&2",
        "(trap '' TERM; echo > $here/child; exec 9> $here/held; flock 9; echo $$ >&2; exec sleep 1000) & wait",
        "exec sleep 1000",
        "exec >&- 2>&-; exec sleep 1000",
    ] {
        let mut program = world.program(script, BRIEF);
        let begun = Instant::now();
        let done = program.status().map(|_| ());
        let (fault, said) = fault(done);
        assert!(matches!(fault, ProgramFault::TimedOut(_)), "{script}: {fault}");
        assert_eq!(fault.transience(), Transience::Transient);
        assert!(begun.elapsed() < PATIENT.answer && said.len() <= SAID_BYTES_MAX);
    }
    // The grandchild's lock ends with it.
    let held = File::open(world.path("held")).unwrap();
    let begun = Instant::now();
    while held.try_lock().is_err() {
        assert!(begun.elapsed() < PATIENT.answer, "the grandchild lives on");
        std::thread::yield_now();
    }
}

#[test]
fn what_it_leaves_behind_is_not_waited_for() {
    let world = World::new();
    // One in its group, one that has left it; both hold on to what it speaks through.
    let script = "sleep 1000 & setsid sleep 1000 & echo $! > $here/left; cat $here/answer; echo found >&2";
    let mut program = world.program(script, PATIENT);
    let begun = Instant::now();
    assert_eq!(program.status().unwrap(), status());
    assert!(begun.elapsed() < PATIENT.answer);
    assert_eq!(program.findings(), ["found", "slot b could not be barred"]);
    let left = world.says("left").trim().parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn much_is_said_and_little_is_kept() {
    let world = World::new();
    let script = r"i=0; while [ $i -lt 3000 ]; do printf 'a line \033[31m of %s\n' $i >&2; i=$((i+1)); done";
    let mut program = world.program(script, PATIENT);
    program.note_boot().unwrap();
    let findings = program.findings();
    assert_eq!(findings.len(), FINDINGS_MAX);
    assert!(findings.iter().all(|finding| !finding.contains('\u{1b}')), "{findings:?}");
}

#[test]
fn a_release_that_is_in_no_file_is_refused_before_anything_starts() {
    let world = World::new();
    let mut program = world.program("touch $here/started", PATIENT);
    let (fault, _) = fault(program.stage(&release("1.1"), &mut &b"bytes"[..]));
    assert!(matches!(fault, ProgramFault::NoFile), "{fault}");
    assert!(!world.path("started").exists());
}
