//! Watching: the same question again and again, and an answer that people can follow.
//!
//! On a terminal the newest frame takes the place of the one before, and never grows beyond the window: what scrolls
//! away can't be taken back. Elsewhere only what changed is printed, one line each, for logs and pipes.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    thread,
    time::{Duration, Instant},
};

use backstay_config::Span;
use clap::Args;

use crate::{
    Failure,
    printer::{Output, Printer},
    text::plain,
};

/// The window where its size is not known.
const SIZE: (usize, usize) = (24, 80);

/// How often, and how long.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Pace {
    /// How often the server is asked
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = Span::parse)]
    every: Span,
    /// When to give up; never if it is left out
    #[arg(long, value_name = "SPAN", value_parser = Span::parse)]
    timeout: Option<Span>,
}

impl Pace {
    /// Until when.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout.duration()))
    }

    /// Waits for the next turn; false once the time is over.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let every = self.every.duration().max(Duration::from_millis(100));
        thread::sleep(left.map_or(every, |left| left.min(every)));
        left.is_none_or(|left| !left.is_zero())
    }
}

/// What is on the screen.
pub(crate) struct Screen<'a> {
    printer: &'a Printer,
    kind: Kind,
}

enum Kind {
    /// So many lines of the last frame are to be taken back.
    Window { lines: usize },
    /// What was last said under each name.
    Lines(BTreeMap<String, String>),
}

impl<'a> Screen<'a> {
    pub(crate) fn new(printer: &'a Printer) -> Self {
        let window = printer.output() == Output::Table && io::stdout().is_terminal();
        let kind = if window { Kind::Window { lines: 0 } } else { Kind::Lines(BTreeMap::new()) };
        Self { printer, kind }
    }

    /// Rows and columns that a frame may take; none where lines are written and nothing is taken back.
    pub(crate) fn window(&self) -> Option<(usize, usize)> {
        match self.kind {
            Kind::Window { .. } => Some(rustix::termios::tcgetwinsize(io::stdout()).map_or(SIZE, |size| {
                let of = |given: u16, known| if given == 0 { known } else { usize::from(given) };
                (of(size.ws_row, SIZE.0), of(size.ws_col, SIZE.1))
            })),
            Kind::Lines(_) => None,
        }
    }

    /// Puts `frame` in place of the one before.
    pub(crate) fn frame(&mut self, frame: &str) -> Result<(), Failure> {
        let Kind::Window { lines } = &mut self.kind else { return self.printer.write(frame) };
        let back = match *lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        };
        *lines = frame.lines().count();
        self.printer.write(&format!("{back}{frame}"))
    }

    /// Says `line` of `name`, if that is not what was said last.
    pub(crate) fn line(&mut self, name: &str, line: &str) -> Result<(), Failure> {
        if let Kind::Lines(said) = &mut self.kind {
            if said.get(name).is_some_and(|said| said == line) {
                return Ok(());
            }
            said.insert(name.into(), line.into());
        }
        self.printer.write(&format!("{}\n", plain(line)))
    }
}

/// Cuts a frame to a window: the first lines, and how many are not shown.
pub(crate) fn fit(lines: &[String], rows: usize) -> String {
    // The cursor stands below the frame, and needs a row, too.
    let room = rows.saturating_sub(1).max(1);
    let mut frame = String::new();
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    for line in lines.iter().take(shown) {
        frame.push_str(line);
        frame.push('\n');
    }
    if shown < lines.len() {
        frame.push_str(&format!("... and {} lines more\n", lines.len() - shown));
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_window() {
        let lines: Vec<String> = (1..=5).map(|n| n.to_string()).collect();
        assert_eq!(fit(&lines, 6), "1\n2\n3\n4\n5\n");
        assert_eq!(fit(&lines, 4), "1\n2\n... and 3 lines more\n");
        assert_eq!(fit(&lines, 0), "... and 5 lines more\n");
    }
}
