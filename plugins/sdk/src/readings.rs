//! What an executor saw when it was asked to do nothing but look.
//!
//! The playbook [`LOOK`] is reserved. A run of it changes nothing, attaches what it saw once, and ends as done; the
//! server takes the readings for facts, and a policy decides by them. These names mean something to it, and all others
//! are kept as evidence:
//!
//! | name | value |
//! |---|---|
//! | `infra.process-exited`, `infra.out-of-memory`, `infra.machine-lost`, `infra.disk`, `infra.network` | how many were seen; 0: none |
//! | `anomaly` | how unusual things look, 0 to 1 with decimals |
//! | `schema` | `before`, `expanded`, `in-step` or `contracted` |
//! | `old-code`, `new-code` | how many instances of it there are |
//! | `dual-write`, `read-new` | `on` or `off` |
//!
//! What could not be read is not said: what is missing isn't known, and that is not the same as none. A run that saw
//! nothing at all has failed. Here: how readings are written down. Not here: what follows from them (the server), and
//! whether a number makes sense (whoever read it).
//!
//! ```
//! use backstay_sdk::{
//!     deed,
//!     executor::{Ctx, Executor, Failed, Order, Task, permanent, transient},
//!     readings::{LOOK, Readings},
//!     settings::Description,
//!     testing::{Run, exited, order, response},
//! };
//!
//! struct Pump;
//!
//! impl Executor for Pump {
//!     fn describe() -> Description {
//!         Description { about: "Looks at a pump.".into(), settings: Vec::new() }
//!     }
//!
//!     async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
//!         match &order.task {
//!             Task::Heal(playbook) if playbook == LOOK => look(ctx).await,
//!             _ => Err(permanent("it only looks")),
//!         }
//!     }
//! }
//!
//! async fn look(ctx: &Ctx) -> Result<(), Failed> {
//!     let mut readings = Readings::new();
//!     if let Ok(reply) = ctx.look(deed::get("pump", "/health")).await {
//!         readings.say("infra.machine-lost", u8::from(!reply.is_well()));
//!     }
//!     if ctx.look(deed::run("disk-full", [])).await.is_ok_and(|reply| reply.is_well()) {
//!         readings.say("infra.disk", 1);
//!     }
//!     if readings.is_empty() {
//!         return Err(transient("nothing could be looked at"));
//!     }
//!     ctx.look(readings.deed()).await?;
//!     Ok(())
//! }
//!
//! let mut run = Run::<Pump>::begin(&[], order(Task::Heal(LOOK.into())));
//! run.answer(response(200));
//! run.answer(exited(2));
//! assert_eq!(run.asked(), [deed::attach("readings", b"infra.machine-lost=0\n".to_vec())]);
//! run.answer(backstay_sdk::executor::Answer::Done);
//! assert!(run.is_done());
//! ```

use alloc::string::{String, ToString};
use core::fmt::Display;

use crate::{deed, executor::Deed};

/// The playbook that only looks.
pub const LOOK: &str = "look";
/// What readings are attached as.
const ATTACHED: &str = "readings";
/// The most lines.
const LINES_MAX: usize = 64;
/// The most bytes of all lines: as much as can be attached.
const BYTES_MAX: usize = 4096;
/// The most bytes of a name, and of a value.
const WORD_BYTES_MAX: usize = 64;

/// What a run saw, written as the server reads it: a line `name=value` for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    text: String,
}

impl Readings {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: String::new() }
    }

    /// Says one thing. `false` where it is left out: the name is not 1 to 64 of `a-z`, `0-9`, `.` and `-`, or was said
    /// before (what was said first stays); the value is not 1 to 64 bytes of printable ASCII without spaces; or there is
    /// no room. Everything else that was said stays as it is, so that one odd value never costs the others.
    pub fn say(&mut self, name: &str, value: impl Display) -> bool {
        let value = value.to_string();
        let line = name.len() + value.len() + 2;
        let fits = is_name(name)
            && is_value(&value)
            && self.text.lines().count() < LINES_MAX
            && self.text.len() + line <= BYTES_MAX
            && !self.text.lines().any(|line| line.split_once('=').is_some_and(|(said, _)| said == name));
        if fits {
            self.text.extend([name, "=", &value, "\n"]);
        }
        fits
    }

    /// Whether nothing was said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// To attach them, once in a run, with [`Ctx::look`](crate::executor::Ctx::look).
    #[must_use]
    pub fn deed(self) -> Deed {
        deed::attach(ATTACHED, self.text.into_bytes())
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_value(text: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec::Vec};

    use super::*;
    use crate::executor::Attach;

    fn text(readings: Readings) -> String {
        let Deed::Attach(Attach { name, content }) = readings.deed() else { panic!("it attaches") };
        assert_eq!(name, "readings");
        assert!(content.len() <= BYTES_MAX);
        String::from_utf8(content).unwrap()
    }

    #[test]
    fn what_was_seen_is_told_in_the_order_in_which_it_was_said() {
        let mut readings = Readings::new();
        assert!(readings.is_empty());
        assert!(readings.say("schema", "in-step"));
        assert!(readings.say("old-code", 3_u64));
        assert!(readings.say("anomaly", 0.25));
        assert!(!readings.is_empty());
        assert_eq!(text(readings), "schema=in-step\nold-code=3\nanomaly=0.25\n");
    }

    #[test]
    fn what_fits_no_line_is_left_out_and_the_rest_stays() {
        let mut readings = Readings::new();
        assert!(readings.say("a", "x=y"));
        let (long, most) = ("x".repeat(65), "x".repeat(64));
        for name in ["", "A", "old_code", "old code", "a=b", "a\n", "ä", &long] {
            assert!(!readings.say(name, 1), "{name:?}");
        }
        for value in ["", " ", "1 2", "1\n", "\t", "ä", "\u{7f}", &long] {
            assert!(!readings.say("b", value), "{value:?}");
        }
        assert!(!readings.say("a", 2), "what was said first stays");
        assert!(readings.say(&most, &most));
        assert_eq!(text(readings), format!("a=x=y\n{most}={most}\n"));
    }

    #[test]
    fn there_are_never_more_lines_or_bytes_than_the_server_reads() {
        let mut short = Readings::new();
        let said = (0..100).filter(|number| short.say(&format!("n-{number}"), number)).count();
        assert_eq!((said, text(short).lines().count()), (64, 64));
        let mut long = Readings::new();
        let names: Vec<_> = (0..64).map(|number| format!("{number:0>64}")).collect();
        let said = names.iter().filter(|name| long.say(name, "x".repeat(64))).count();
        assert!(long.say("n", 1), "what is shorter may have room still");
        assert_eq!((said, text(long).len()), (31, 31 * 130 + 4));
    }
}
