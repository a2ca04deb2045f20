//! Why the machine started anew, told from what is left of the time before; and whether a try that this cost is given back.
//!
//! A boot loader counts each start of a release on trial, and can't tell a release that doesn't come up from power that
//! comes and goes. Who can, once it is up, is this. A release on trial that has crashed gets no tries back for boots that
//! begin well: one that hangs after minutes begins well each time. Not here: where the traces are, and giving tries back (whoever has the
//! slots).

use backstay_model::{BootId, Digest, ResetCause};

/// The most tries that power gives back to one release on trial. A release may be what makes power go, so that ends: then
/// each start takes a try, until one is fine or none is left.
const FLICKERS_MAX: u8 = 8;

/// What is left of the time before a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// The boot that is on.
    pub boot: BootId,
    /// What was written down last, in the start before this one. `None`: this is the first, or that is lost.
    pub before: Option<Before>,
    /// Whether a watchdog says that it ended what ran before. `None`: none here can say.
    pub watchdog: Option<bool>,
    /// Whether the power supply was seen to fail.
    pub power_failed: bool,
    /// Whether the kernel has left a record of its end that wasn't there before. `None`: it keeps none here.
    pub panicked: Option<bool>,
    /// The release on trial that runs, and the starts that it has left.
    pub tried: Option<Tried>,
    /// Whether what runs is confirmed: its starts are counted, too, and where none is left the other slot is started.
    pub confirmed: bool,
}

/// What was written down in the start before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Of which boot.
    pub boot: BootId,
    /// Whether it was told to stop, and did.
    pub stopped: bool,
    /// The release that was on trial then, and the starts that it had left.
    pub tried: Option<Tried>,
    /// How often power has given a try back to it.
    pub flickers: u8,
    /// The last boot that began because it had crashed.
    pub crashed: Option<BootId>,
}

/// A release on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Which.
    pub release: Digest,
    /// Starts that it has left.
    pub left: u8,
}

/// What a start of the machine was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Why it came.
    pub cause: ResetCause,
    /// Whether the try that it cost is to be given back.
    pub gives_back: bool,
    /// How often that was done for what is on trial, this one included.
    pub flickers: u8,
    /// The last boot that began because what is on trial had crashed: its watchdog or its kernel ended it.
    pub crashed: Option<BootId>,
}

impl Reset {
    /// What `traces` tell. `None`: the machine didn't start anew, or this is the first start that is known.
    #[must_use]
    pub fn of(traces: &Traces) -> Option<Self> {
        let before = traces.before.as_ref().filter(|before| before.boot != traces.boot)?;
        let cause = cause(traces, before);
        let same = |then: Tried, now: Tried| then.release == now.release;
        let goes_on = before.tried.zip(traces.tried).filter(|(then, now)| same(*then, *now));
        // More than one start in between is a start that never got as far as this: that the release has to answer for.
        let one_start = goes_on.is_some_and(|(then, now)| now.left.saturating_add(1) == then.left);
        let so_far = if goes_on.is_some() { before.flickers } else { 0 };
        let flickered = cause == ResetCause::Power && one_start && so_far < FLICKERS_MAX;
        let flickers = so_far.saturating_add(u8::from(flickered));
        // What is confirmed came up each time. Were restarts that are to mend it counted against it, the boot loader would
        // start what lies in the other slot, and that may be condemned.
        let gives_back =
            flickered || (traces.confirmed && matches!(cause, ResetCause::Asked | ResetCause::Power));
        let crashed = match (goes_on, cause) {
            (None, _) => None,
            (Some(_), ResetCause::Watchdog | ResetCause::Panic) => Some(traces.boot),
            (Some(_), ResetCause::Power | ResetCause::Asked | ResetCause::Unknown) => before.crashed,
        };
        Some(Self { cause, gives_back, flickers, crashed })
    }
}

/// What is seen goes before what is only not there; and that a crash took the machine down says more than that it was
/// about to stop anyhow.
fn cause(traces: &Traces, before: &Before) -> ResetCause {
    match (traces.panicked, traces.watchdog) {
        (Some(true), _) => ResetCause::Panic,
        (_, Some(true)) => ResetCause::Watchdog,
        _ if traces.power_failed => ResetCause::Power,
        _ if before.stopped => ResetCause::Asked,
        (Some(false), Some(false)) => ResetCause::Power,
        (None, _) | (_, None) => ResetCause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(left: u8) -> Option<Tried> {
        Some(Tried { release: Digest([5; 32]), left })
    }

    /// The machine started anew, and everything that could tell why says no.
    fn quiet() -> Traces {
        let before = Before { boot: BootId(1), stopped: false, tried: tried(3), flickers: 0, crashed: None };
        Traces {
            boot: BootId(2),
            before: Some(before),
            watchdog: Some(false),
            power_failed: false,
            panicked: Some(false),
            tried: tried(2),
            confirmed: false,
        }
    }

    fn before(change: impl FnOnce(&mut Before)) -> Traces {
        let mut traces = quiet();
        if let Some(before) = &mut traces.before {
            change(before);
        }
        traces
    }

    fn of(traces: &Traces) -> (ResetCause, bool) {
        let reset = Reset::of(traces).unwrap();
        (reset.cause, reset.gives_back)
    }

    #[test]
    fn each_trace_has_its_cause() {
        use ResetCause::{Asked, Panic, Power, Unknown, Watchdog};
        assert_eq!(of(&quiet()), (Power, true));
        assert_eq!(of(&Traces { watchdog: Some(true), ..quiet() }), (Watchdog, false));
        assert_eq!(of(&Traces { panicked: Some(true), watchdog: Some(true), ..quiet() }), (Panic, false));
        assert_eq!(of(&before(|before| before.stopped = true)), (Asked, false));
        let stopped = before(|before| before.stopped = true);
        assert_eq!(of(&Traces { watchdog: Some(true), ..stopped }).0, Watchdog, "it hung on its way down");
        // Who has no eyes for a cause can't rule it out.
        assert_eq!(of(&Traces { watchdog: None, ..quiet() }), (Unknown, false));
        assert_eq!(of(&Traces { panicked: None, ..quiet() }), (Unknown, false));
        let seen = Traces { panicked: None, watchdog: None, power_failed: true, ..quiet() };
        assert_eq!(of(&seen), (Power, true));
    }

    #[test]
    fn the_first_start_and_a_restart_of_the_agent_are_none() {
        assert_eq!(Reset::of(&Traces { before: None, ..quiet() }), None);
        assert_eq!(Reset::of(&before(|before| before.boot = BootId(2))), None);
    }

    /// Between two starts of this there was one that nobody saw the end of.
    #[test]
    fn what_did_not_come_up_is_not_given_back() {
        assert!(!of(&Traces { tried: tried(1), ..quiet() }).1);
        assert!(!of(&Traces { tried: None, ..quiet() }).1, "nothing is on trial");
        let other = Some(Tried { release: Digest([6; 32]), left: 2 });
        assert!(!of(&Traces { tried: other, ..quiet() }).1, "another one is");
    }

    /// A restart that is to mend it is none of the starts that it didn't come through.
    #[test]
    fn what_is_confirmed_gets_the_starts_back_that_others_ended() {
        let home =
            |stopped| Traces { tried: None, confirmed: true, ..before(|before| before.stopped = stopped) };
        assert_eq!(of(&home(true)), (ResetCause::Asked, true));
        assert_eq!(of(&home(false)), (ResetCause::Power, true));
        assert_eq!(Reset::of(&home(false)).unwrap().flickers, 0, "only of a trial they are counted");
        assert!(!of(&Traces { watchdog: Some(true), ..home(false) }).1, "it crashed by itself");
        assert!(!of(&Traces { panicked: None, ..home(false) }).1, "nobody can say that it didn't");
    }

    #[test]
    fn what_has_crashed_on_trial_is_remembered_until_the_trial_is_over() {
        let crashed = |traces: &Traces| Reset::of(traces).unwrap().crashed;
        assert_eq!(crashed(&Traces { watchdog: Some(true), ..quiet() }), Some(BootId(2)));
        assert_eq!(crashed(&Traces { panicked: Some(true), ..quiet() }), Some(BootId(2)));
        assert_eq!(crashed(&quiet()), None, "its power went");
        let earlier = before(|before| before.crashed = Some(BootId(1)));
        assert_eq!(crashed(&earlier), Some(BootId(1)), "power is no excuse for what was before");
        assert_eq!(
            crashed(&Traces { tried: None, watchdog: Some(true), ..earlier }),
            None,
            "nothing is on trial"
        );
    }

    #[test]
    fn power_gives_back_only_so_often() {
        let after = |flickers| before(|before| before.flickers = flickers);
        assert_eq!(Reset::of(&after(7)).map(|reset| (reset.gives_back, reset.flickers)), Some((true, 8)));
        assert_eq!(Reset::of(&after(8)).map(|reset| (reset.gives_back, reset.flickers)), Some((false, 8)));
        // The next release on trial begins anew.
        let other = before(|before| {
            before.flickers = 8;
            before.tried = Some(Tried { release: Digest([6; 32]), left: 3 });
        });
        assert_eq!(Reset::of(&other).map(|reset| reset.flickers), Some(0));
    }
}
