//! Errors told with all their causes.

use std::error::Error;

/// What failed and why, down to the first cause, in one line: for records and logs.
pub fn in_one_line(error: &dyn Error) -> String {
    joined(error, ": ")
}

/// The same with a line for each cause: for people at a terminal.
pub fn in_lines(error: &dyn Error) -> String {
    joined(error, "\nwhy: ")
}

fn joined(error: &dyn Error, between: &str) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}{between}{cause}");
        source = cause.source();
    }
    text
}
