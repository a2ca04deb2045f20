//! Commands by SSH, against OpenSSH's own server: what arrives, what comes back, and what is left when the time is over.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use backstay_hands::{Command, ExtraArgs, Place, ServerCommand, ServerCommands, Ssh};
use backstay_model::{Answer, Millis, Name, OUTPUT_BYTES_MAX, Outcome, Transience};
use backstay_test_real::Sshd;

/// How long what was ended may take to be gone.
const GONE: Duration = Duration::from_secs(30);

fn name() -> Name {
    Name::parse("it").unwrap()
}

fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        environment: BTreeMap::new(),
        dir: None,
        timeout: Millis::from_secs(60),
        extra_args: ExtraArgs::Allowed,
    }
}

fn shell(script: &str) -> Command {
    command(&["/bin/sh", "-c", script])
}

fn account(sshd: &Sshd) -> Ssh {
    Ssh {
        host: "127.0.0.1".into(),
        port: sshd.port(),
        user: sshd.user().into(),
        key: sshd.file("key"),
        known_hosts: sshd.file("known_hosts"),
        program: Ssh::PROGRAM.into(),
    }
}

fn commands(command: Command, ssh: Ssh) -> ServerCommands {
    let command = ServerCommand { command, place: Place::Ssh(ssh) };
    ServerCommands::new(BTreeMap::from([(name(), command)])).unwrap()
}

async fn answer(command: Command, ssh: Ssh, args: &[String]) -> Answer {
    commands(command, ssh).run(&name(), args).await
}

fn exited(answer: Answer) -> (i32, String) {
    let Answer::Exited { code: Some(code), output } = answer else { panic!("{answer:?}") };
    (code, String::from_utf8_lossy(&output.bytes).into_owned())
}

fn failed(answer: Answer) -> (Transience, String) {
    let Answer::Failed(Outcome::Failed { transience, why }) = answer else { panic!("{answer:?}") };
    (transience, why)
}

#[tokio::test]
async fn a_command_runs_over_there_and_its_code_is_its_own() {
    let Some(sshd) = Sshd::start() else { return };
    let said = exited(answer(shell("echo one; echo two >&2; echo three"), account(&sshd), &[]).await);
    assert_eq!(said, (0, "one\ntwo\nthree\n".into()));
    for code in [1, 124, 137, 254, 255] {
        let said = exited(answer(shell(&format!("exit {code}")), account(&sshd), &[]).await);
        assert_eq!(said, (code, String::new()), "the client itself ends with 255 when it fails");
    }
    assert_eq!(exited(answer(shell("kill -9 $$"), account(&sshd), &[]).await).0, 128 + 9);
    let (code, said) = exited(answer(command(&["/nowhere/to/be/found"]), account(&sshd), &[]).await);
    assert!(code == 127 && said.contains("/nowhere/to/be/found"), "{code}: {said}");
    let there = Command {
        environment: BTreeMap::from([("A".into(), "$(id) 'x'".into())]),
        dir: Some("/usr".into()),
        ..shell("/usr/bin/env | /usr/bin/grep -v PWD; pwd")
    };
    assert_eq!(exited(answer(there, account(&sshd), &[]).await), (0, "A=$(id) 'x'\n/usr\n".into()));
    assert!(sshd.log().contains("Accepted publickey"), "it was this sshd");
}

#[tokio::test]
async fn hostile_arguments_arrive_byte_for_byte() {
    let Some(sshd) = Sshd::start() else { return };
    let hostile = [
        "",
        " ",
        "two  words",
        "'",
        "\"",
        "it's \"so\"",
        "$(touch pwned)",
        "`touch pwned`",
        "$HOME",
        "\\",
        "\\n",
        "a\nb\n",
        "\r\n",
        "-n",
        "--",
        "-oProxyCommand=x",
        "*",
        "~",
        "!x",
        "^a^b",
        ";reboot",
        "&",
        "|",
        ">x",
        "#",
        "{a,b}",
        "ü 🛟",
        "\u{1}\u{7f}\t",
        "A=B",
        "%h %n %%",
    ];
    let args: Vec<String> = hostile.iter().map(|arg| (*arg).to_owned()).collect();
    let said = exited(answer(command(&["/usr/bin/printf", "%s\\0"]), account(&sshd), &args).await);
    let wanted: String = hostile.iter().flat_map(|arg| [*arg, "\0"]).collect();
    assert_eq!(said, (0, wanted));
    let most = vec!["'".repeat(1024); 32];
    let (code, said) = exited(answer(command(&["/usr/bin/printf", "%s"]), account(&sshd), &most).await);
    assert!(code == 0 && said == "'".repeat(OUTPUT_BYTES_MAX));
}

#[tokio::test]
async fn who_is_not_known_is_not_talked_to_and_each_reason_is_told() {
    let Some(sshd) = Sshd::start() else { return };
    let marker = sshd.file("marker");
    let touch = || command(&["/usr/bin/touch", marker.to_str().unwrap()]);
    for hosts in ["wrong_hosts", "no-such-file"] {
        let ssh = Ssh { known_hosts: sshd.file(hosts), ..account(&sshd) };
        let (again, why) = failed(answer(touch(), ssh, &[]).await);
        assert_eq!(again, Transience::Permanent);
        assert!(why.starts_with("the key of host 127.0.0.1 is not known: "), "{why}");
    }
    for key in ["other-key", "no-such-file"] {
        let (again, why) = failed(answer(touch(), Ssh { key: sshd.file(key), ..account(&sshd) }, &[]).await);
        assert_eq!(again, Transience::Permanent);
        assert!(why.starts_with("host 127.0.0.1 does not let "), "{why}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (again, why) = failed(answer(touch(), Ssh { port: nobody, ..account(&sshd) }, &[]).await);
    assert_eq!(again, Transience::Transient);
    assert!(why.starts_with("host 127.0.0.1 could not be reached: "), "{why}");
    assert!(!marker.exists(), "none of them ran");
    assert_eq!(exited(answer(touch(), account(&sshd), &[]).await).0, 0);
    assert!(marker.exists(), "and this is how it looks when one does");
}

/// A host that takes connections and never speaks: what ends the wait is our own time.
#[tokio::test]
async fn a_host_that_says_nothing_costs_no_more_than_its_time() {
    let Some(sshd) = Sshd::start() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let ssh = Ssh { port: silent.local_addr().unwrap().port(), ..account(&sshd) };
    let short = Command { timeout: Millis(300), ..shell("true") };
    assert_eq!(answer(short, ssh, &[]).await, Answer::TimedOut);
}

/// The command writes its own number and those of what it started. When its time is over they are gone, on the other
/// side, long before their own end.
#[tokio::test]
async fn at_its_time_out_a_command_is_ended_over_there_too() {
    let Some(sshd) = Sshd::start() else { return };
    let pids = sshd.file("pids");
    let running = Command { timeout: Millis::from_secs(5), ..lingering(&pids) };
    assert_eq!(answer(running, account(&sshd), &[]).await, Answer::TimedOut);
    gone(&pids);
    // Nobody waits any more: the run was let go of.
    fs::remove_file(&pids).unwrap();
    let commands = commands(lingering(&pids), account(&sshd));
    let name = name();
    let mut running = Box::pin(commands.run(&name, &[]));
    while !pids.exists() {
        let answer = tokio::time::timeout(Duration::from_millis(10), &mut running).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    drop(running);
    gone(&pids);
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_with_it() {
    let Some(sshd) = Sshd::start() else { return };
    let pids = sshd.file("pids");
    let script = format!("/bin/sleep 1000 & echo $! > {}; echo done", pids.display());
    assert_eq!(exited(answer(shell(&script), account(&sshd), &[]).await), (0, "done\n".into()));
    gone(&pids);
}

#[tokio::test]
async fn of_a_long_output_the_end_is_kept() {
    let Some(sshd) = Sshd::start() else { return };
    let script = "/usr/bin/head -c 3000000 /dev/zero; printf end";
    let Answer::Exited { code: Some(0), output } = answer(shell(script), account(&sshd), &[]).await else {
        panic!("it ends")
    };
    assert!(output.bytes.ends_with(b"\0end") && output.whole.is_some());
    assert_eq!(output.bytes.len(), OUTPUT_BYTES_MAX);
}

/// The connection is cut in the middle, by the death of the process that holds its other end. It began, and nobody heard
/// how it ended.
#[tokio::test]
async fn a_connection_that_breaks_leaves_it_in_doubt() {
    let Some(sshd) = Sshd::start() else { return };
    // The script's parents: the one that wraps it, `timeout`, and then sshd's process for this connection.
    let script = "p=$PPID; for up in 1 2; do p=$(/usr/bin/awk '/^PPid/ { print $2 }' /proc/$p/status); done; \
                  kill -KILL $p; exec /bin/sleep 1000";
    assert_eq!(answer(shell(script), account(&sshd), &[]).await, Answer::InDoubt);
}

/// One of those that it starts makes a group of its own, as `timeout` does.
fn lingering(pids: &Path) -> Command {
    let path = pids.display();
    shell(&format!(
        "/usr/bin/timeout 1000 /bin/sleep 1000 & apart=$!; /bin/sleep 1000 & echo $$ $! $apart > {path}.new; mv {path}.new {path}; trap '' TERM HUP; wait"
    ))
}

/// A killed process is there until somebody reaps it, as a zombie (state Z).
fn gone(pids: &Path) {
    let begun = Instant::now();
    let pids = fs::read_to_string(pids).unwrap();
    let lives =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    assert!(pids.split_whitespace().count() > 0);
    while pids.split_whitespace().any(lives) {
        assert!(begun.elapsed() < GONE, "{pids} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}
