//! Events of targets as they stand in the server's journal.

use backstay_model::{Event, TargetEvent};
use backstay_wire::{Body, Schema, decode, encode};
use serde::{Deserialize, Serialize};

/// One of them.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Told(TargetEvent);

impl Body for Told {
    const SCHEMA: Schema = Schema(513);
    const VERSION: u16 = 1;
    const OPTIONAL: bool = true;
    const BYTES_MAX: usize = 4096;
}

/// As an event of the journal.
pub(super) fn recorded(event: &TargetEvent) -> Event {
    match encode(&Told(event.clone())) {
        Ok(told) => Event::Target(told),
        // Each of its texts is bounded when it is made, so this is a text of ours that grew.
        Err(error) => {
            Event::Degraded { what: format!("an event of {} can't be written: {error}", event.target) }
        }
    }
}

/// What stands in an event, if it is of a target and can be read here.
pub(crate) fn target_event(event: &Event) -> Option<TargetEvent> {
    let Event::Target(told) = event else { return None };
    decode::<Told>(told, usize::MAX).ok().map(|Told(event)| event)
}
