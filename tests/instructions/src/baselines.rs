//! What each path took when somebody last looked, and what is too much.
//!
//! A line is a place and a path. A *place* is all that makes a compiler's output, or the way through it, another one: the target,
//! the compiler's version, and what the processor can do that code asks it for. Where a place has no lines, nothing is held.

use std::{collections::BTreeMap, fmt, process::Command};

use crate::Failure;

/// What a path may take more, in permille: other code beside it moves what the compiler puts into one another.
const MORE_MAX: u64 = 30;

const HEAD: &str = "\
# What each hot path takes, in instructions: target, compiler, processor, path. Counted by `cargo xtask bench instructions`; a path may
# take 3 % more. A new line or number comes by `--accept`, in a commit that says why.
";

/// Where something was counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    target: String,
    compiler: String,
    processor: String,
}

impl Place {
    /// This machine, with the compiler that cargo takes.
    pub(crate) fn here(processor: String) -> Result<Self, Failure> {
        let output = Command::new("rustc").arg("-vV").output()?;
        let told = String::from_utf8(output.stdout)?;
        let of = |word: &str| told.lines().find_map(|line| line.strip_prefix(word)).map(str::to_owned);
        let (target, compiler) = of("host: ").zip(of("release: ")).ok_or("rustc doesn't say what it is")?;
        Ok(Self { target, compiler, processor })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.target, self.compiler, self.processor)
    }
}

/// What a count comes to beside the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// There is none before.
    New,
    /// It is no more than may be.
    Fine { before: u64, counted: u64 },
    /// It is.
    TooMany { before: u64, counted: u64 },
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::New => write!(f, "{:>12} {:>8}", "-", "-"),
            Self::Fine { before, counted } | Self::TooMany { before, counted } => {
                let more = (counted as f64 / before.max(1) as f64 - 1.0) * 100.0;
                let mark = if matches!(self, Self::TooMany { .. }) { "  too many" } else { "" };
                write!(f, "{before:>12} {more:>+7.1}%{mark}")
            }
        }
    }
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Baselines(BTreeMap<Place, BTreeMap<String, u64>>);

impl Baselines {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        for (at, line) in lines {
            let wrong =
                || format!("line {}: expected target, compiler, processor, path, instructions", at + 1);
            let words: Vec<_> = line.split_whitespace().collect();
            let [target, compiler, processor, path, count] = words.as_slice() else { return Err(wrong()) };
            let place = Place {
                target: (*target).into(),
                compiler: (*compiler).into(),
                processor: (*processor).into(),
            };
            all.put(&place, path, count.parse().map_err(|_| wrong())?);
        }
        Ok(all)
    }

    pub(crate) fn put(&mut self, place: &Place, path: &str, count: u64) {
        self.0.entry(place.clone()).or_default().insert(path.into(), count);
    }

    pub(crate) fn has(&self, place: &Place) -> bool {
        self.0.contains_key(place)
    }

    /// Holds a count against the one before.
    pub(crate) fn judge(&self, place: &Place, path: &str, counted: u64) -> Judged {
        match self.0.get(place).and_then(|paths| paths.get(path)) {
            None => Judged::New,
            Some(&before) if counted * 1000 > before * (1000 + MORE_MAX) => {
                Judged::TooMany { before, counted }
            }
            Some(&before) => Judged::Fine { before, counted },
        }
    }

    #[cfg(test)]
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.keys()
    }

    #[cfg(test)]
    pub(crate) fn paths(&self, place: &Place) -> impl Iterator<Item = &str> {
        self.0.get(place).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }
}

impl fmt::Display for Baselines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for (place, paths) in &self.0 {
            for (path, count) in paths {
                writeln!(f, "{place} {path} {count}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(compiler: &str) -> Place {
        Place { target: "t".into(), compiler: compiler.into(), processor: "avx2".into() }
    }

    #[test]
    fn three_in_a_hundred_more_is_not_too_many_and_one_above_is() {
        let known = Baselines::read("# a line for people\n\nt 1.95.0 avx2 body 1000\n").unwrap();
        let judge = |counted| known.judge(&place("1.95.0"), "body", counted);
        assert_eq!(judge(1030), Judged::Fine { before: 1000, counted: 1030 });
        assert_eq!(judge(1031), Judged::TooMany { before: 1000, counted: 1031 });
        assert_eq!(judge(1), Judged::Fine { before: 1000, counted: 1 }, "fewer is never wrong");
        assert!(judge(1031).to_string().contains("+3.1%  too many"), "{}", judge(1031));
    }

    /// Another compiler makes another program of the same text.
    #[test]
    fn what_was_counted_elsewhere_is_held_against_nothing() {
        let known = Baselines::read("t 1.95.0 avx2 body 1000\n").unwrap();
        assert_eq!(known.judge(&place("1.96.0"), "body", 5000), Judged::New);
        assert_eq!(known.judge(&place("1.95.0"), "envelope", 5000), Judged::New);
        assert!(known.has(&place("1.95.0")) && !known.has(&place("1.96.0")));
    }

    #[test]
    fn the_table_is_read_as_it_is_written() {
        let mut known = Baselines::default();
        known.put(&place("1.95.0"), "body", 7);
        known.put(&place("1.95.0"), "body", 8);
        known.put(&place("1.94.0"), "envelope", 9);
        let text = known.to_string();
        assert!(text.ends_with("t 1.94.0 avx2 envelope 9\nt 1.95.0 avx2 body 8\n"), "{text}");
        assert_eq!(Baselines::read(&text), Ok(known));
        assert!(Baselines::read("t 1.95.0 body 7").unwrap_err().starts_with("line 1: expected"));
        assert!(Baselines::read("\nt 1.95.0 avx2 body x").unwrap_err().starts_with("line 2: expected"));
    }
}
