//! Stories about a machine that starts again and again while a release is on trial: what it is blamed for, and what not.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{Before, Reset, Traces, Tried};
use backstay_model::{BootId, Digest, ResetCause};

/// A machine and its boot loader, which takes a try at each start of what is on trial.
struct Machine {
    boots: u128,
    left: u8,
    flickers: u8,
    crashed: Option<BootId>,
}

impl Machine {
    /// One that has just come up on a release with so many tries left.
    fn tries(left: u8) -> Self {
        Self { boots: 1, left, flickers: 0, crashed: None }
    }

    /// It starts anew, and what is seen then is what `sees` makes of a machine without a trace of anything.
    fn starts(&mut self, sees: impl Fn(&mut Traces)) -> ResetCause {
        let tried = |left| Some(Tried { release: Digest([5; 32]), left });
        let before = Before {
            boot: BootId(self.boots),
            stopped: false,
            tried: tried(self.left),
            flickers: self.flickers,
            crashed: self.crashed,
        };
        self.boots += 1;
        self.left -= 1;
        let mut traces = Traces {
            boot: BootId(self.boots),
            before: Some(before),
            watchdog: Some(false),
            power_failed: false,
            panicked: Some(false),
            tried: tried(self.left),
            confirmed: false,
        };
        sees(&mut traces);
        let reset = Reset::of(&traces).unwrap();
        self.left += u8::from(reset.gives_back);
        (self.flickers, self.crashed) = (reset.flickers, reset.crashed);
        reset.cause
    }
}

/// A pump hangs on a loose plug. A good release isn't lost for that; but it may be the release that draws too much, so that ends.
#[test]
fn a_loose_plug_costs_no_try_eight_times() {
    let mut pump = Machine::tries(3);
    for _ in 0..8 {
        assert_eq!(pump.starts(|_| {}), ResetCause::Power);
        assert_eq!(pump.left, 3);
    }
    pump.starts(|_| {});
    pump.starts(|_| {});
    assert_eq!(pump.left, 1, "from then on each start takes one");
}

/// A cheap board keeps no record of its kernel and has no watchdog that can be asked; but its supply says that it failed.
#[test]
fn a_supply_that_was_seen_to_fail_is_believed_by_a_board_that_sees_nothing_else() {
    let blind = |traces: &mut Traces| (traces.watchdog, traces.panicked) = (None, None);
    let mut board = Machine::tries(3);
    let seen = |traces: &mut Traces| {
        blind(traces);
        traces.power_failed = true;
    };
    assert_eq!((board.starts(seen), board.left), (ResetCause::Power, 3));
    assert_eq!((board.starts(blind), board.left), (ResetCause::Unknown, 2));
}

/// What hangs after minutes comes up well each time. Its tries go down, whatever the plug does in between.
#[test]
fn what_hangs_uses_up_its_tries() {
    let mut pump = Machine::tries(3);
    let hangs = |traces: &mut Traces| traces.watchdog = Some(true);
    assert_eq!((pump.starts(hangs), pump.left), (ResetCause::Watchdog, 2));
    assert_eq!((pump.starts(|_| {}), pump.left), (ResetCause::Power, 2));
    assert_eq!(pump.crashed, Some(BootId(2)), "a flicker is no excuse for what was before");
    assert_eq!((pump.starts(hangs), pump.left), (ResetCause::Watchdog, 1));
}

/// Somebody restarts a pump by hand. Its power is fine, and nobody is to look for a loose plug: a try is what that costs.
#[test]
fn a_restart_that_was_asked_for_is_no_power_cut() {
    let mut pump = Machine::tries(3);
    let asked = |traces: &mut Traces| {
        if let Some(before) = &mut traces.before {
            before.stopped = true;
        }
    };
    assert_eq!((pump.starts(asked), pump.left, pump.flickers), (ResetCause::Asked, 2, 0));
}
