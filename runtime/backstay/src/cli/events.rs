//! `backstay events`: what the server itself did and decided, from its own journal.

use std::{thread, time::Duration};

use backstay_api::EventView;
use clap::Args;

use crate::{Desk, Exit, Failure, client::Client, text};

/// How often it is asked for more.
const EVERY: Duration = Duration::from_secs(1);

/// The server's own journal.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  backstay events --after 120 --follow")]
pub(crate) struct Events {
    /// Only the records after this one
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Stay, and print what comes, until interrupted
    #[arg(long)]
    follow: bool,
}

impl Events {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        let mut after = self.print(desk, &client, self.after)?;
        while self.follow && !desk.printer.gone() {
            thread::sleep(EVERY);
            after = self.print(desk, &client, after)?;
        }
        Ok(Exit::Done)
    }

    /// Prints what is after a record, and says which was the last.
    fn print(&self, desk: &Desk, client: &Client, mut after: u64) -> Result<u64, Failure> {
        loop {
            let events: Vec<EventView> = client.get(&format!("/v1/events?after={after}"))?;
            let before = after;
            for event in &events {
                desk.printer.stream("event", event, || line(event))?;
                after = after.max(event.seq);
            }
            // The server answers in pieces. A piece without anything new is the last.
            if after == before || desk.printer.gone() {
                return Ok(after);
            }
        }
    }
}

fn line(event: &EventView) -> String {
    format!("{:>6}  {}  {}\n", event.seq, text::uptime(event.at_ms), text::plain(&event.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = EventView { seq: 12, at_ms: 61_005, what: "cohort canary was\nturned".into() };
        assert_eq!(line(&event), "    12  0d 00:01:01.005  cohort canary was?turned\n");
    }
}
