//! What happens to a cohort, told in virtual time; a file for each theme.

mod calm;
mod holding;
mod memory;
mod people;
mod turning;
mod waves;

use backstay_model::{Action, Event, How};

const ROLL_BACK: Action = Action::RollBack { how: How::AbortCanary };

/// Long enough for every wave of the default plan where all goes well, in minutes.
const A_GOOD_DAY: u64 = 6 * 60;

fn turned(event: &Event) -> bool {
    matches!(event, Event::Turned { .. })
}

fn froze(event: &Event) -> bool {
    matches!(event, Event::Froze { .. })
}
