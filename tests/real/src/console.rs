//! The console blocks of a page, run as a reader would run them, and held against what the page says comes out.
//!
//! A block begins with three backticks and `console`. In it a line that begins with `$ ` is a command (a backslash at
//! its end goes on in the next line), and what follows it is what it prints, standard error included. `...` stands for
//! whatever is not shown: alone in a line for any lines, in a line for any text.
//!
//! Digests, ages, times and spaces differ from run to run and from machine to machine, so both sides are compared with
//! those made equal. A command that only looks is asked again for a while, because what it looks for may take a moment.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long a command that only looks is asked again.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long it waits before it is.
const PAUSE: Duration = Duration::from_millis(300);
/// What only looks.
const LOOKS: [&str; 8] = [
    "backstay fleet ",
    "backstay rollout status",
    "backstay rollout watch",
    "backstay events",
    "backstay evidence ",
    "backstay quarantine ls",
    "backstay breaker ls",
    "backstay enrol pending",
];

/// One command of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// On which line of the page it begins.
    pub line: usize,
    /// What is typed.
    pub command: String,
    /// What comes out.
    pub output: Vec<String>,
}

/// The commands in the console blocks of a page, in order.
#[must_use]
pub fn commands(page: &str) -> Vec<Shown> {
    let (mut all, mut inside, mut goes_on) = (Vec::<Shown>::new(), false, false);
    for (at, line) in page.lines().enumerate() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = !inside && fence == "console";
            continue;
        }
        if !inside {
            continue;
        }
        if goes_on && let Some(shown) = all.last_mut() {
            shown.command.push('\n');
            shown.command.push_str(line);
            goes_on = line.ends_with('\\');
        } else if let Some(command) = line.strip_prefix("$ ") {
            all.push(Shown { line: at + 1, command: command.into(), output: Vec::new() });
            goes_on = line.ends_with('\\');
        } else if let Some(shown) = all.last_mut() {
            shown.output.push(line.into());
        }
    }
    all
}

impl Shown {
    /// Runs it in `dir` with these variables, and says what is not as the page says.
    ///
    /// # Errors
    /// Page and reality beside each other.
    pub fn run(&self, dir: &Path, env: &[(&str, String)]) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = self.say(dir, env);
            if fits(&self.output, &said.lines().map(str::to_owned).collect::<Vec<_>>()) {
                return Ok(());
            }
            if !LOOKS.iter().any(|looks| self.command.starts_with(looks)) || Instant::now() > until {
                let Self { line, command, output } = self;
                let page = output.join("\n");
                return Err(format!(
                    "line {line}: $ {command}\n--- the page says\n{page}\n--- it prints\n{said}"
                ));
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn say(&self, dir: &Path, env: &[(&str, String)]) -> String {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec 2>&1\n{}", self.command)).current_dir(dir).stdin(Stdio::null());
        shell.envs(env.iter().map(|(name, value)| (name, value)));
        match shell.output() {
            Ok(done) => String::from_utf8_lossy(&done.stdout).into_owned(),
            Err(error) => format!("cannot run sh: {error}"),
        }
    }
}

/// Whether lines are as a page shows them.
fn fits(page: &[String], said: &[String]) -> bool {
    match page.split_first() {
        None => said.is_empty(),
        Some((line, rest)) if line.trim() == "..." => {
            (0..=said.len()).any(|skipped| fits(rest, said.get(skipped..).unwrap_or_default()))
        }
        Some((line, rest)) => said
            .split_first()
            .is_some_and(|(first, others)| is_like(&even(line), &even(first)) && fits(rest, others)),
    }
}

/// Whether a line is as the page shows it, with `...` for any text.
fn is_like(page: &str, said: &str) -> bool {
    let mut parts = page.split("...");
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// A line with all that differs from run to run made equal.
fn even(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_digest = bare.len() >= 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_age = bare.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(is_number);
        let is_time =
            bare.len() == 12 && bare.split([':', '.']).count() == 4 && bare.split([':', '.']).all(is_number);
        let even = match () {
            () if is_digest => "<digest>",
            () if is_age => "<age>",
            () if is_time => "<time>",
            () => return word.to_owned(),
        };
        word.replace(bare, even)
    });
    words.collect::<Vec<_>>().join(" ")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn commands_are_read_with_what_they_print() {
        let page = "words\n```console\n$ one \\\n    two\nout\n...\n$ three\n```\n```text\n$ four\n```\n";
        let all = commands(page);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].line, all[0].command.as_str()), (3, "one \\\n    two"));
        assert_eq!(all[0].output, ["out", "..."]);
        assert_eq!((all[1].line, all[1].output.len()), (7, 0));
    }

    #[test]
    fn what_differs_from_run_to_run_is_even_and_nothing_else() {
        let same = |one: &str, other: &str| fits(&lines(one), &lines(other));
        assert!(same("2.0.0 (24bbaccc), 3m ago", "2.0.0  (00bbaccc), 12s ago"));
        assert!(same("  8  0d 00:00:01.006  run", "  8  0d 00:12:01.999  run"));
        assert!(same("a\n...\nd", "a\nb\nc\nd") && same("a\n...", "a"));
        assert!(same("key ed25519:... ok", "key ed25519:1234 ok"));
        for (page, said) in [
            ("settled", "frozen"),
            ("", "more"),
            ("a\n...\nd", "a\nb"),
            ("2 devices", "3 devices"),
            ("2.0.0 (24bbaccc)", "2.1.0 (24bbaccc)"),
            ("a ... b", "a"),
        ] {
            assert!(!same(page, said), "{page:?} {said:?}");
        }
    }

    #[test]
    fn what_a_page_makes_up_is_told_with_both_sides() {
        let shown = &commands("```console\n$ echo is; echo was >&2\nis\nwill be\n```\n")[0];
        let dir = std::env::temp_dir();
        let told = shown.run(&dir, &[]).unwrap_err();
        assert!(
            told.contains("line 2: $ echo is") && told.contains("will be") && told.contains("was"),
            "{told}"
        );
        let right = &commands("```console\n$ echo $WORD; echo was >&2\nis\nwas\n```\n")[0];
        assert_eq!(right.run(&dir, &[("WORD", "is".into())]), Ok(()));
    }
}
