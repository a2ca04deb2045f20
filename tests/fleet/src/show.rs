//! What the demo prints: chapters with the time, one line that is redrawn while something goes on, a table.

use std::{
    io::{IsTerminal, Write, stdout},
    time::{Duration, Instant},
};

/// Lines for people.
pub(crate) struct Show {
    began: Instant,
    live: bool,
    last: String,
    told: Instant,
}

/// Where lines can't be redrawn, one is printed this often at most.
const PLAIN_EVERY: Duration = Duration::from_secs(3);

impl Show {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, live: stdout().is_terminal(), last: String::new(), told: now }
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something new begins, or has happened.
    pub(crate) fn tell(&mut self, text: &str) {
        self.clear();
        println!("[{:>5.1} s] {text}", self.began.elapsed().as_secs_f64());
        self.last.clear();
    }

    /// How it stands at this moment.
    pub(crate) fn now(&mut self, text: &str) {
        if self.live {
            self.clear();
            print!("          {text}");
            let _ = stdout().flush();
        } else if text != self.last && self.told.elapsed() > PLAIN_EVERY {
            println!("          {text}");
            self.told = Instant::now();
        }
        text.clone_into(&mut self.last);
    }

    fn clear(&self) {
        if self.live {
            print!("\r\x1b[2K");
        }
    }
}

/// Rows in columns as wide as they need.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", line.join("  ").trim_end());
    };
    print(&mut head.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}
