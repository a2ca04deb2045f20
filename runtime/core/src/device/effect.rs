//! What a device's state machine wants done.

use backstay_model::{Digest, Event, Facts, Order, Outcome, Release, Report, Ticket};

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write down; durable before anything that follows in the list is begun.
    Record(Event),
    /// Ask the policy; [`Input::Answered`](super::Input::Answered) or [`Input::Unanswered`](super::Input::Unanswered) comes back.
    Ask {
        /// Ties the answer to it.
        ticket: Ticket,
        /// All that it sees.
        facts: Facts,
    },
    /// Fetch and check what the release keys say of a release; [`Input::Vetted`](super::Input::Vetted) comes back.
    Vet {
        /// Ties the answer to it.
        ticket: Ticket,
        /// By its digest.
        release: Release,
    },
    /// Begin a run, or go on with one after a restart: [`Input::Taken`](super::Input::Taken) and [`Input::Ended`](super::Input::Ended) come back.
    Run {
        /// What for.
        order: Order,
        /// The executor that began it, by its grant, where one has: it goes on or nobody does
        /// ([`Input::Halted`](super::Input::Halted)). `None`: whoever may.
        grant: Option<Digest>,
    },
    /// Let go of a run where it stands: no further effect of it begins, and what can be broken off is. Then the slots
    /// are looked at, and [`Input::Ended`](super::Input::Ended) comes back with this outcome.
    Abandon {
        /// Which run.
        ticket: Ticket,
        /// How it ended.
        outcome: Outcome,
    },
    /// Tell the fleet where the device stands.
    Report(Report),
}
