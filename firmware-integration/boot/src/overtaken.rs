//! What becomes of the ledger's words that a boot, or a cut, has overtaken: the table of `backend`, as one decision.
//!
//! Not here: asking the boot loader and writing the ledger (`backend`).

use backstay_slots::Slot;

use crate::{
    backend::Running,
    ledger::{Last, Ledger, Step},
    switch::Standing,
};

/// What the boot loader says, at one look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) primary: Option<Slot>,
    pub(crate) standings: [Standing; 2],
}

impl View {
    pub(crate) fn of(&self, slot: Slot) -> Standing {
        self.standings[slot as usize]
    }
}

/// What becomes of words that a boot, or a cut, has overtaken; `None` where they are true.
pub(crate) fn overtaken(ledger: &Ledger, running: &Running, view: &View) -> Option<Ledger> {
    let (confirmed, other, on) = (ledger.confirmed, ledger.confirmed.other(), running.slot);
    let comes_next = |slot| view.primary == Some(slot);
    let with = |step| Some(Ledger { step, ..ledger.clone() });
    let quiet = |confirmed, last| Some(Ledger { confirmed, step: Step::Quiet, last, ..ledger.clone() });
    let fell_back = || quiet(confirmed, Last::FellBack(ledger.release(other).cloned()));
    let rescued = || quiet(on, Last::Rescued);
    match &ledger.step {
        Step::Quiet | Step::Staging(_) if on == other => rescued(),
        Step::Quiet | Step::Staging(_) => None,
        Step::Asked if on == other || comes_next(other) => with(Step::Trying),
        Step::Asked if view.of(other) == Standing::Tries(0) => fell_back(),
        Step::Asked => with(Step::Quiet),
        Step::Trying if on == other || comes_next(other) => None,
        Step::Trying => fell_back(),
        // After a restart it runs: on its last try it comes no more next.
        Step::Homing { to, boot, .. } if comes_next(*to) || (on == *to && *boot != running.boot) => {
            let boot = running.boot.clone();
            let step = if on == *to { Step::Quiet } else { Step::Leaving { boot } };
            Some(Ledger { confirmed: *to, step, ..ledger.clone() })
        }
        Step::Homing { to, boot, .. }
            if on != *to && *boot != running.boot && view.of(*to) == Standing::Tries(0) =>
        {
            rescued()
        }
        Step::Homing { trying: true, .. } => with(Step::Trying),
        Step::Homing { trying: false, .. } => with(Step::Quiet),
        Step::Leaving { .. } if on == confirmed => with(Step::Quiet),
        Step::Leaving { boot } if *boot == running.boot => None,
        Step::Leaving { .. } => rescued(),
    }
}
