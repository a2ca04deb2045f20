//! Errors told with all their causes: an error's own text never repeats its cause, so whoever tells it walks the chain.
//!
//! Not here: what to do about an error (each type's `help()`), and how a terminal shows it.

use alloc::{
    format,
    string::{String, ToString},
};
use core::error::Error;

/// The most causes that are told. A chain of more is a circle, or nobody's to read.
const CAUSES_MAX: usize = 16;

/// Why `error` happened: its cause, the cause of that, and so on. At most 16.
pub fn of<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    core::iter::successors(error.source(), |&cause| cause.source()).take(CAUSES_MAX)
}

/// What failed and why, down to the first cause, in one line: for records and logs.
#[must_use]
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    joined(error, ": ")
}

/// The same with a line for each cause: for people at a terminal.
#[must_use]
pub fn in_lines(error: &(dyn Error + 'static)) -> String {
    joined(error, "\nwhy: ")
}

fn joined(error: &(dyn Error + 'static), between: &str) -> String {
    of(error).fold(error.to_string(), |text, cause| format!("{text}{between}{cause}"))
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use core::fmt;

    use super::*;

    #[derive(Debug)]
    struct Failure(&'static str, Option<Box<Failure>>);

    impl fmt::Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failure {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn every_cause_is_told_and_none_twice() {
        let first = Failure("no such file", None);
        let second = Failure("cannot read the key", Some(Box::new(first)));
        let last = Failure("cannot start", Some(Box::new(second)));
        assert_eq!(in_one_line(&last), "cannot start: cannot read the key: no such file");
        assert_eq!(in_lines(&last), "cannot start\nwhy: cannot read the key\nwhy: no such file");
        assert_eq!(of(&last).count(), 2);
    }
}
