//! `backstay events`: what the server itself did and decided, from its own journal.

use std::{thread, time::Duration};

use backstay_api::EventView;
use clap::Args;
use serde::Serialize;

use crate::{Desk, Exit, Failure, text};

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

#[derive(Serialize)]
struct Shown {
    events: Vec<EventView>,
}

impl Events {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        let mut shown = Shown { events: Vec::new() };
        let mut after = self.after;
        loop {
            let events: Vec<EventView> = client.get(&format!("/v1/events?after={after}"))?;
            // The server answers in pieces. A piece without anything new is the last one.
            let last = events.iter().map(|event| event.seq).max().filter(|last| *last > after);
            match last {
                Some(last) if self.follow => {
                    events
                        .iter()
                        .try_for_each(|event| desk.printer.stream("event", event, || line(event)))?;
                    after = last;
                }
                Some(last) => {
                    shown.events.extend(events);
                    after = last;
                }
                None if self.follow => thread::sleep(EVERY),
                None => break,
            }
            if desk.printer.gone() {
                return Ok(Exit::Done);
            }
        }
        desk.printer.show("events", &shown, || shown.events.iter().map(line).collect())?;
        Ok(Exit::Done)
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
