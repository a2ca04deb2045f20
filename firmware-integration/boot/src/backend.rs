//! Ledger, boot loader and writer together: slots that keep the promises of `backstay_slots::Slots`.
//!
//! What a cut can leave is named here, once for every boot loader and every writer, and ended by the next look. `c` is
//! the confirmed slot, `o` the other one:
//!
//! ```text
//! ledger            runs    boot loader              what it was, and what becomes of it
//! staging W         c       o barred or not yet      o holds nothing known: stage again, from the start
//! staging W, quiet  o       any                      c failed its boots: o is confirmed now, rescued
//! asked             o       any                      it was asked: trying
//! asked             c       o comes next             it was asked: trying
//! asked             c       o has no tries left      it was asked, tried and failed: fell back
//! asked             c       c comes next             nothing was asked: quiet
//! trying            o       any                      on trial
//! trying            c       o comes next             not restarted yet
//! trying            c       c comes next             fell back; the ledger says so before o is barred
//! homing t          any     t comes next             it was asked: t is confirmed; leaving, unless t runs already
//! homing t          t       any, after a restart     arrived: t is confirmed
//! homing t          not t   t has no tries left      after a restart: t failed its boots, what runs is confirmed, rescued
//! homing t          any     else                     nothing was asked: what was before, and go home again
//! leaving           c       any                      arrived: quiet
//! leaving           o       any                      the same boot: not restarted yet. Another: c failed its boots, rescued
//! lost              any     any                      what runs is confirmed, the other slot unknown
//! any               any     lost                     the boot loader's words are written anew from the ledger
//! ```
//!
//! Orders: the ledger says what will be done before it is, durably, and that it was done after it was, durably. A slot
//! is barred before its first byte is written, and what runs is good before the other is barred.
//!
//! Not here: which slot runs (the kernel's command line says so, whoever opens this reads it); the protocol.

use std::{io, path::Path};

use backstay_model::{Release, SlotStatus, Transience};
use backstay_slots::{Artifact, BootWord, Disk, Slot, SlotError, Slots, System, Tries};

use crate::{
    finding::Finding,
    ledger::{BootId, Held, Last, Ledger, Step, Store},
    overtaken::{View, overtaken},
    switch::{Standing, Switch, SwitchError},
    write::Write,
};

/// What is known of the boot that is on without asking anybody.
#[derive(Clone, Debug)]
pub struct Running {
    /// From which slot, as the boot loader told the kernel.
    pub slot: Slot,
    /// Which boot it is.
    pub boot: BootId,
    /// What the factory or the agent says runs. Believed only where the ledger doesn't know.
    pub release: Option<Release>,
}

/// Slots behind a boot loader.
pub struct Backend<D: Disk, S, W> {
    store: Store<D>,
    switch: S,
    write: W,
    tries: Tries,
    running: Running,
    word: BootWord,
    findings: Vec<Finding>,
}

impl<S: Switch, W: Write> Backend<System, S, W> {
    /// Opens slots whose ledger is in `dir`, on a partition that both share. Says what was found.
    ///
    /// # Errors
    /// Nobody knows what runs, somebody else works on it, or disk or boot loader failed.
    pub fn open(
        dir: &Path,
        switch: S,
        write: W,
        tries: Tries,
        running: Running,
    ) -> Result<(Self, Vec<Finding>), SlotError> {
        Self::open_on(System, dir, switch, write, tries, running)
    }
}

impl<D: Disk, S: Switch, W: Write> Backend<D, S, W> {
    /// [`Backend::open`] on any disk.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        disk: D,
        dir: &Path,
        switch: S,
        write: W,
        tries: Tries,
        running: Running,
    ) -> Result<(Self, Vec<Finding>), SlotError> {
        let store = Store::open(disk, dir)?;
        let (word, findings) = (BootWord::Confirmed, Vec::new());
        let mut backend = Self { store, switch, write, tries, running, word, findings };
        backend.look()?;
        let findings = backend.findings();
        Ok((backend, findings))
    }

    /// What was found since the last time that this was asked.
    pub fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// The words, after what overtook them was taken in.
    fn look(&mut self) -> Result<(Ledger, View), SlotError> {
        let mut ledger = match self.store.load()? {
            Some(ledger) => ledger,
            None => self.begin_anew()?,
        };
        let view = match self.view() {
            Ok(view) => view,
            Err(error @ SwitchError::Lost { .. }) => {
                self.renew(&ledger).map_err(self.asking("cannot write anew the boot loader's words for"))?;
                self.findings.push(Finding::SwitchLost { error });
                self.view().map_err(self.asking("cannot ask the boot loader for"))?
            }
            Err(error) => return Err(self.asking("cannot ask the boot loader for")(error)),
        };
        // What overtook one step may be overtaken itself; homing, trying, fell back is the longest way.
        while let Some(mut next) = overtaken(&ledger, &self.running, &view) {
            if next.last == Last::Rescued && ledger.confirmed != next.confirmed {
                self.findings.push(Finding::Rescued { failed: ledger.confirmed });
                self.doubt(&ledger, &mut next)?;
            }
            self.store.save(&mut next)?;
            let was_tried = matches!(ledger.step, Step::Asked | Step::Trying);
            if was_tried
                && matches!((&next.step, &next.last), (Step::Quiet, Last::FellBack(_)))
                && let Err(error) = self.switch.bad(next.confirmed.other())
            {
                self.findings.push(Finding::NotBarred { error });
            }
            ledger = next;
        }
        self.word = match (&ledger.step, &ledger.last) {
            (Step::Trying, _) if self.running.slot != ledger.confirmed => {
                BootWord::Trial { tries_left: self.tries_left(view.of(self.running.slot)) }
            }
            (_, Last::Well) => BootWord::Confirmed,
            (_, Last::FellBack(from)) => BootWord::FellBack { from: from.clone() },
            (_, Last::Rescued) => BootWord::Rescued,
        };
        Ok((ledger, view))
    }

    fn tries_left(&self, standing: Standing) -> u8 {
        match standing {
            Standing::Barred => 0,
            Standing::Tries(left) => left,
            Standing::Good => self.tries.get(),
        }
    }

    fn view(&mut self) -> Result<View, SwitchError> {
        let primary = self.switch.primary()?;
        Ok(View { primary, standings: [self.switch.left(Slot::A)?, self.switch.left(Slot::B)?] })
    }

    fn asking(&self, doing: &'static str) -> impl Fn(SwitchError) -> SlotError + use<D, S, W> {
        let path = self.store.dir().to_owned();
        move |error| SlotError::Disk { doing, path: path.clone(), source: io::Error::other(error) }
    }

    fn begin_anew(&mut self) -> Result<Ledger, SlotError> {
        let nobody_knows = || SlotError::NothingToRun { dir: self.store.dir().to_owned() };
        let release = self.running.release.clone().ok_or_else(nobody_knows)?;
        let image = self.write.presumed(self.running.slot, &release)?;
        let confirmed = self.running.slot;
        let mut ledger = Ledger::new(confirmed, Some(Held { release, image }));
        self.store.save(&mut ledger)?;
        self.findings.push(Finding::LedgerLost { confirmed });
        Ok(ledger)
    }

    fn renew(&mut self, ledger: &Ledger) -> Result<(), SwitchError> {
        let (confirmed, other) = (ledger.confirmed, ledger.confirmed.other());
        let on_trial = matches!(ledger.step, Step::Asked | Step::Trying) && self.running.slot == other;
        let first = if on_trial { other } else { confirmed };
        let unknown = matches!(ledger.step, Step::Staging(_)) || ledger.held(first.other()).is_none();
        self.switch.renew(first, if unknown { Standing::Barred } else { Standing::Good }, self.tries)
    }

    /// What runs though it was to be written to: what the ledger says of it is looked at.
    fn doubt(&mut self, before: &Ledger, next: &mut Ledger) -> Result<(), SlotError> {
        let on = self.running.slot;
        if let (Step::Staging(_), Some(held)) = (&before.step, next.held(on)) {
            let image = held.image;
            if !self.write.holds(on, &image)? {
                next.held[on as usize] = None;
            }
        }
        Ok(())
    }

    fn holds_whole(&mut self, ledger: &Ledger, slot: Slot, release: &Release) -> Result<bool, SlotError> {
        if matches!(ledger.step, Step::Staging(_)) && slot != ledger.confirmed {
            return Ok(false);
        }
        match ledger.held(slot).filter(|held| held.release.digest == release.digest) {
            Some(held) => self.write.holds(slot, &held.image),
            None => Ok(false),
        }
    }

    /// Exactly one switches: a slot that its writer has let the boot loader start is barred again, and refused.
    fn still_bars(&mut self, slot: Slot) -> Result<(), SlotError> {
        let ask = "cannot ask the boot loader for";
        if self.switch.left(slot).map_err(self.asking(ask))? == Standing::Barred {
            return Ok(());
        }
        self.switch.bad(slot).map_err(self.asking("cannot bar a slot of"))?;
        Err(SlotError::Writer {
            slot,
            source: "who wrote it let the boot loader start it, which nobody had asked for".into(),
            help: "leave the switching to us: `activate-installed=false` for RAUC, no boot loader for SWUpdate",
            transience: Transience::Permanent,
        })
    }

    fn try_is_open(ledger: &Ledger, wanted: &Release) -> SlotError {
        let trying = ledger.release(ledger.confirmed.other()).unwrap_or(wanted).clone();
        SlotError::TryOpen { trying }
    }
}

impl<D: Disk, S: Switch, W: Write> Slots for Backend<D, S, W> {
    /// What it calls whole was verified when it was staged, and is again before it is tried or gone home to: to read a whole
    /// slot at each look would take seconds.
    fn status(&mut self) -> Result<SlotStatus, SlotError> {
        let (ledger, view) = self.look()?;
        let (on, other) = (self.running.slot, ledger.confirmed.other());
        let booted = ledger.release(on).or(self.running.release.as_ref()).cloned();
        let booted = booted.ok_or_else(|| SlotError::NothingToRun { dir: self.store.dir().to_owned() })?;
        let confirmed = ledger.release(ledger.confirmed).unwrap_or(&booted).clone();
        let staging = matches!(ledger.step, Step::Staging(_));
        let beside = ledger.release(on.other()).filter(|_| !staging).cloned();
        let tries_on = ledger.step == Step::Trying && view.of(other).starts();
        let trying = ledger.release(other).filter(|_| tries_on).cloned();
        Ok(SlotStatus { booted, confirmed, other: beside, trying })
    }

    /// What was in the slot is gone from the first byte on: a device has no room for both.
    fn stage(&mut self, release: &Release, artifact: &mut dyn Artifact) -> Result<(), SlotError> {
        let (mut ledger, _) = self.look()?;
        let (on, slot) = (self.running.slot, self.running.slot.other());
        if ledger.holds(on, release) || self.holds_whole(&ledger, slot, release)? {
            return Ok(());
        }
        if ledger.step == Step::Trying {
            return Err(Self::try_is_open(&ledger, release));
        }
        if ledger.confirmed == slot {
            return Err(SlotError::HoldsConfirmed { slot });
        }
        let staging = Step::Staging(release.clone());
        if ledger.step != staging {
            ledger.step = staging;
            self.store.save(&mut ledger)?;
        }
        self.switch.good(on, self.tries).map_err(self.asking("cannot mark as good a slot of"))?;
        self.switch.bad(slot).map_err(self.asking("cannot bar a slot of"))?;
        let written = self.write.write(slot, release, artifact);
        let barred = self.still_bars(slot);
        let image = written?;
        barred?;
        ledger.held[slot as usize] = Some(Held { release: release.clone(), image });
        ledger.step = Step::Quiet;
        self.store.save(&mut ledger)
    }

    fn try_next(&mut self, release: &Release) -> Result<(), SlotError> {
        let (mut ledger, view) = self.look()?;
        let slot = ledger.confirmed.other();
        if ledger.step == Step::Trying {
            let same = ledger.holds(slot, release);
            return if same { Ok(()) } else { Err(Self::try_is_open(&ledger, release)) };
        }
        if ledger.holds(ledger.confirmed, release) {
            return Ok(());
        }
        if ledger.confirmed != self.running.slot {
            return Err(SlotError::HoldsConfirmed { slot: ledger.confirmed });
        }
        if !self.holds_whole(&ledger, slot, release)? {
            return Err(SlotError::NotThere { release: release.clone(), slot });
        }
        self.switch
            .good(self.running.slot, self.tries)
            .map_err(self.asking("cannot mark as good a slot of"))?;
        if view.of(slot) == Standing::Tries(0) {
            // Else it would look tried and failed, were there a cut before it is asked for.
            self.switch.bad(slot).map_err(self.asking("cannot bar a slot of"))?;
        }
        (ledger.step, ledger.last) = (Step::Asked, Last::Well);
        self.store.save(&mut ledger)?;
        self.switch
            .activate(slot, self.tries)
            .map_err(self.asking("cannot ask the boot loader to try a slot of"))?;
        ledger.step = Step::Trying;
        self.store.save(&mut ledger)
    }

    fn confirm(&mut self, release: &Release) -> Result<(), SlotError> {
        let (mut ledger, _) = self.look()?;
        let on = self.running.slot;
        if !ledger.holds(on, release) || (ledger.confirmed != on && ledger.step != Step::Trying) {
            return Err(SlotError::NotRunning { release: release.clone() });
        }
        if ledger.confirmed == on {
            return Ok(());
        }
        self.switch.good(on, self.tries).map_err(self.asking("cannot mark as good a slot of"))?;
        (ledger.confirmed, ledger.step, ledger.last) = (on, Step::Quiet, Last::Well);
        self.store.save(&mut ledger)?;
        self.word = BootWord::Confirmed;
        Ok(())
    }

    fn go_home(&mut self, release: &Release) -> Result<(), SlotError> {
        let (mut ledger, view) = self.look()?;
        let (on, confirmed, other) = (self.running.slot, ledger.confirmed, ledger.confirmed.other());
        let is_confirmed = ledger.holds(confirmed, release);
        let trying = ledger.step == Step::Trying;
        let not_there = |slot| SlotError::NotThere { release: release.clone(), slot };
        if trying && !is_confirmed {
            return Err(match ledger.holds(other, release) {
                true => SlotError::OnTrial { release: release.clone() },
                false => not_there(confirmed),
            });
        }
        let home = if is_confirmed { confirmed } else { other };
        // Not confirmed and yet what runs: it was given up for the confirmed one, and stays so.
        if home == on && !is_confirmed {
            return Err(match ledger.holds(on, release) {
                true => SlotError::NotRunning { release: release.clone() },
                false => not_there(confirmed),
            });
        }
        if home != on && !self.holds_whole(&ledger, home, release)? {
            return Err(not_there(home));
        }
        let home_by = self.asking("cannot ask the boot loader to go home to a slot of");
        if home == confirmed && !trying {
            if view.primary == Some(home) {
                return Ok(());
            }
            return self.switch.activate(home, self.tries).map_err(home_by);
        }
        if view.of(home) == Standing::Tries(0) {
            // Else it would look tried and failed, were there a cut before it is asked for.
            self.switch.refill(home, self.tries).map_err(&home_by)?;
        }
        let boot = self.running.boot.clone();
        ledger.step = Step::Homing { to: home, boot: boot.clone(), trying };
        self.store.save(&mut ledger)?;
        self.switch.activate(home, self.tries).map_err(home_by)?;
        ledger.confirmed = home;
        ledger.step = if home == on { Step::Quiet } else { Step::Leaving { boot } };
        self.store.save(&mut ledger)
    }

    fn condemn(&mut self, release: &Release) -> Result<(), SlotError> {
        let (ledger, view) = self.look()?;
        let slot = self.running.slot.other();
        if !ledger.holds(slot, release) || !view.of(slot).starts() {
            return Ok(());
        }
        if ledger.confirmed == slot {
            return Err(SlotError::HoldsConfirmed { slot });
        }
        if ledger.step == Step::Trying {
            return Err(Self::try_is_open(&ledger, release));
        }
        self.switch.last_resort(slot).map_err(self.asking("cannot put last a slot of"))
    }

    fn booted(&self) -> BootWord {
        self.word.clone()
    }

    fn note_boot(&mut self) -> Result<(), SlotError> {
        let (ledger, _) = self.look()?;
        let on = self.running.slot;
        let noted = match &ledger.step {
            // It is left: its tries are nobody's business.
            Step::Leaving { .. } => return Ok(()),
            Step::Trying if on != ledger.confirmed => self.switch.refill(on, self.tries),
            Step::Quiet | Step::Staging(_) | Step::Asked | Step::Trying | Step::Homing { .. } => {
                self.switch.good(on, self.tries)
            }
        };
        noted.map_err(self.asking("cannot mark as good a slot of"))?;
        self.look().map(|_| ())
    }
}
