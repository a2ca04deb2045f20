//! What is said on the other side of an SSH connection: one command line for the account's shell, and what comes back.
//!
//! Here: the words that go out, and telling the command's own words and code from everything else that comes. Not here:
//! the connection (`ssh`).
//!
//! A shell on the other side reads what is sent, so each word of it is quoted, and the first thing that the shell does
//! is to make way for a small script that is always the same. Its arguments are the command's. The script
//!
//! - says a mark, then lets the command say what it has to say, then says the mark again with the command's code: so
//!   what the account's profile says is not taken for the command's words, nor an end of the connection for its end;
//! - waits beside the command for the connection to end, and then ends the command with all that it started, in whatever
//!   group: whoever sees the connection end may have been killed, and do it again;
//! - ends the command with its group in any case when it has ended, or has had its time (`timeout`, by the other machine's
//!   clock).
//!
//! Who makes a session of its own over there is let go of.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use backstay_model::{Millis, Output};

use crate::output::Tail;

/// `$0` is the mark and `$1` the folder; the rest is the command. `kill 0` reaches the whole group, which `timeout` made:
/// the command, whatever it started, this script, and `timeout` itself. `pkill -s 0` reaches the session, which sshd made for
/// this connection: also who has a group of its own. Without procps over there it is the group alone.
const SCRIPT: &str = "cd -- \"$1\" || exit; shift; exec 3<&0; { read -r _ <&3; /usr/bin/pkill -KILL -s 0; kill -KILL 0; } 2>/dev/null & \
     printf '%s\\n' \"$0\"; \"$@\" 3<&- 2>&1 </dev/null; printf '%s %s\\n' \"$0\" \"$?\"; kill -KILL 0";
/// Linux passes no longer single argument (`MAX_ARG_STRLEN`, 128 KiB), here or there.
pub(crate) const LINE_BYTES_MAX: usize = 120 * 1024;
const MARK_BYTES: usize = 16;

/// What nobody can know before it is said: 128 random bits, in hexadecimal digits.
pub(crate) fn mark() -> io::Result<String> {
    let mut bytes = [0; MARK_BYTES];
    let mut have = 0;
    while have < bytes.len() {
        have += rustix::rand::getrandom(&mut bytes[have..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The line that the account's shell is given. `None`: it would be too long, or holds a zero byte.
pub(crate) fn line(
    mark: &str,
    argv: &[&String],
    environment: &BTreeMap<String, String>,
    dir: Option<&PathBuf>,
    timeout: Millis,
) -> Option<String> {
    let secs = timeout.0.div_ceil(1000).to_string();
    let dir = dir.map(PathBuf::as_path).unwrap_or(Path::new(".")).to_str()?;
    let variables: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fixed =
        ["/usr/bin/timeout", "-s", "KILL", &secs, "/bin/sh", "-c", SCRIPT, mark, dir, "/usr/bin/env", "-i"];
    let words = fixed
        .into_iter()
        .chain(variables.iter().map(String::as_str))
        .chain(argv.iter().map(|word| word.as_str()));
    let line = format!("exec {}", shlex::try_join(words).ok()?);
    (line.len() <= LINE_BYTES_MAX).then_some(line)
}

/// Takes in what comes back, and keeps the command's part of it.
pub(crate) struct Session {
    mark: Vec<u8>,
    /// Not taken apart yet.
    held: Vec<u8>,
    tail: Tail,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The mark was not said yet: the command has not begun.
    Before,
    /// The command speaks.
    Speaks,
    /// The command ended with this code.
    Ended(i32),
}

impl Session {
    pub(crate) fn new(mark: &str) -> Self {
        Self { mark: mark.as_bytes().to_vec(), held: Vec::new(), tail: Tail::new(), stage: Stage::Before }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// What the command said.
    pub(crate) fn finish(self) -> Output {
        self.tail.finish()
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        if self.stage == Stage::Before {
            let begin = [&self.mark[..], b"\n"].concat();
            match find(&self.held, &begin) {
                Some(at) => {
                    self.held.drain(..at + begin.len());
                    self.stage = Stage::Speaks;
                }
                None => {
                    let over = self.held.len().saturating_sub(begin.len() - 1);
                    self.held.drain(..over);
                }
            }
        }
        if self.stage == Stage::Speaks {
            self.speak();
        }
    }

    fn speak(&mut self) {
        let end = [&self.mark[..], b" "].concat();
        while let Some(at) = find(&self.held, &end) {
            self.tail.take(&self.held[..at]);
            self.held.drain(..at);
            match code(&self.held[end.len()..]) {
                Code::Is(code) => {
                    self.stage = Stage::Ended(code);
                    self.held.clear();
                    return;
                }
                Code::MayCome => return,
                // The command said its own mark.
                Code::Isnt => {
                    self.tail.take(&end);
                    self.held.drain(..end.len());
                }
            }
        }
        let over = self.held.len().saturating_sub(end.len() - 1);
        self.tail.take(&self.held[..over]);
        self.held.drain(..over);
    }
}

/// What follows a mark.
enum Code {
    Is(i32),
    MayCome,
    Isnt,
}

/// A code is a line of one to three digits.
fn code(bytes: &[u8]) -> Code {
    let digits = bytes.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    match bytes.get(digits) {
        None => Code::MayCome,
        Some(b'\n') if digits > 0 => {
            Code::Is(bytes[..digits].iter().fold(0, |code, digit| code * 10 + i32::from(digit - b'0')))
        }
        Some(_) => Code::Isnt,
    }
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const MARK: &str = "00112233445566778899aabbccddeeff";

    /// What a shell makes of the line: with no connection, but with all the rest of it.
    fn told(
        shell: &[&str],
        argv: &[&str],
        variables: &[(&str, &str)],
        dir: Option<&str>,
    ) -> (Stage, Vec<u8>) {
        told_within(Millis::from_secs(30), shell, argv, variables, dir)
    }

    fn told_within(
        timeout: Millis,
        shell: &[&str],
        argv: &[&str],
        variables: &[(&str, &str)],
        dir: Option<&str>,
    ) -> (Stage, Vec<u8>) {
        let argv: Vec<_> = argv.iter().map(|word| (*word).to_owned()).collect();
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let dir = dir.map(PathBuf::from);
        let line = line(MARK, &argv.iter().collect::<Vec<_>>(), &environment, dir.as_ref(), timeout).unwrap();
        let mut child = Command::new("/usr/bin/setsid");
        let mut child = child
            .args(shell)
            .arg(line)
            .stderr(Stdio::null())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Open until all was said, as a connection would be.
        let stdin = child.stdin.take();
        let out = child.wait_with_output().unwrap().stdout;
        drop(stdin);
        let mut session = Session::new(MARK);
        session.take(&out);
        (session.stage(), session.finish().bytes)
    }

    const SH: [&str; 2] = ["/bin/sh", "-c"];

    #[test]
    fn no_word_is_read_by_a_shell_on_the_way() {
        let hostile = [
            "",
            " ",
            "a b",
            "'",
            "\"",
            "it's \"so\"",
            "$(id)",
            "`id`",
            "$HOME",
            "\\",
            "\\n",
            "a\nb\n",
            "\r\n",
            "-n",
            "--",
            "-",
            "*",
            "~",
            "~root",
            "!x",
            "^a^b",
            "a;b",
            "a&&b",
            "|",
            ">x",
            "#",
            "{a,b}",
            "[a]",
            "ü 🛟",
            "\u{1}\u{7f}\t",
            "A=B",
            MARK,
        ];
        for shell in [SH, ["/bin/bash", "-c"]] {
            let argv = [&["/usr/bin/printf", "%s\\0"], &hostile[..]].concat();
            let (stage, said) = told(&shell, &argv, &[], None);
            let wanted: String = hostile.iter().flat_map(|word| [*word, "\0"]).collect();
            assert_eq!((stage, String::from_utf8(said).unwrap()), (Stage::Ended(0), wanted), "{shell:?}");
        }
    }

    #[test]
    fn the_environment_and_the_folder_are_what_is_configured() {
        let variables = [("A", "$(id) 'x'"), ("B", "")];
        let (_, said) = told(&SH, &["/usr/bin/env"], &variables, None);
        assert_eq!(String::from_utf8(said).unwrap(), "A=$(id) 'x'\nB=\n");
        let (stage, said) = told(&SH, &["/bin/pwd"], &[], Some("/usr/bin"));
        assert_eq!((stage, &said[..]), (Stage::Ended(0), &b"/usr/bin\n"[..]));
        assert_eq!(told(&SH, &["/bin/pwd"], &[], Some("/nowhere")).0, Stage::Before);
    }

    #[test]
    fn both_outputs_come_in_their_order_and_the_code_with_them() {
        let script = "echo one; echo two >&2; printf three; exit 255";
        let (stage, said) = told(&SH, &["/bin/sh", "-c", script], &[], None);
        assert_eq!((stage, &said[..]), (Stage::Ended(255), &b"one\ntwo\nthree"[..]));
        let (stage, _) = told(&SH, &["/bin/sh", "-c", "kill -9 $$"], &[], None);
        assert_eq!(stage, Stage::Ended(128 + 9));
        assert_eq!(told(&SH, &["/nowhere"], &[], None).0, Stage::Ended(127));
    }

    /// The connection stays open, as one does that nobody notices to be dead. The clock over there is not ours to move, so
    /// this takes its second.
    #[test]
    fn what_has_had_its_time_is_ended_by_the_other_machine_alone() {
        let script = "/bin/sleep 1000 & echo begun; wait";
        let (stage, said) = told_within(Millis(1), &SH, &["/bin/sh", "-c", script], &[], None);
        assert_eq!(
            (stage, &said[..]),
            (Stage::Speaks, &b""[..]),
            "begun is held: it may be the beginning of a mark"
        );
    }

    /// What is left over would hold the pipe open for ever; so that this test ends shows that it was ended.
    #[test]
    fn what_a_command_leaves_behind_is_ended() {
        let (stage, said) = told(&SH, &["/bin/sh", "-c", "/bin/sleep 1000 & echo left"], &[], None);
        assert_eq!((stage, &said[..]), (Stage::Ended(0), &b"left\n"[..]));
    }

    #[test]
    fn what_comes_may_come_in_any_pieces_and_with_noise_before_it() {
        let own = format!("out\n{MARK}x{MARK} x{MARK} 1234\n");
        let said = format!("Welcome {MARK}!\n{MARK}\n{own}{MARK} 17\nlate");
        for size in 1..said.len() {
            let mut session = Session::new(MARK);
            said.as_bytes().chunks(size).for_each(|chunk| session.take(chunk));
            assert_eq!(session.stage(), Stage::Ended(17), "in pieces of {size}");
            assert_eq!(session.finish().bytes, own.clone().into_bytes());
        }
        for (said, stage) in [
            ("Welcome\n".to_owned(), Stage::Before),
            (MARK.to_owned(), Stage::Before),
            (format!("{MARK}\nout"), Stage::Speaks),
            (format!("{MARK}\n{MARK} 1"), Stage::Speaks),
        ] {
            let mut session = Session::new(MARK);
            session.take(said.as_bytes());
            assert_eq!(session.stage(), stage, "{said:?}");
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut session = Session::new(MARK);
        for _ in 0..100 {
            session.take(&[b'x'; 10_000]);
            assert!(session.held.len() < 64);
        }
        session.take(format!("\n{MARK}\n").as_bytes());
        for _ in 0..100 {
            session.take(&[b'y'; 10_000]);
            assert!(session.held.len() < 64);
        }
        assert_eq!(session.finish().bytes.len(), backstay_model::OUTPUT_BYTES_MAX);
    }

    #[test]
    fn a_line_that_no_machine_would_take_is_not_made() {
        let long = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(line(MARK, &[&long], &BTreeMap::new(), None, Millis(1)), None);
        assert_eq!(line(MARK, &[&"a\0b".to_owned()], &BTreeMap::new(), None, Millis(1)), None);
        let line = line(MARK, &[&"/bin/true".to_owned()], &BTreeMap::new(), None, Millis(1001)).unwrap();
        assert!(line.starts_with("exec /usr/bin/timeout -s KILL 2 /bin/sh -c "), "{line}");
        assert!(line.ends_with(&format!(" {MARK} . /usr/bin/env -i /bin/true")), "{line}");
        assert_ne!(mark().unwrap(), mark().unwrap());
    }
}
