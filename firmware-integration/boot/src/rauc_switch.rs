//! RAUC as a switch: whoever has RAUC drive the boot loader, U-Boot, barebox, GRUB, EFI or a program of their own, has it asked by us.
//!
//! RAUC tells of a slot that it is good or bad, and no tries: those are its `boot-attempts`, or its boot loader's. So two words of
//! the ledger are told apart less well than with a boot loader of ours:
//!
//! ```text
//! asked,     c runs, o bad   nothing was asked: also where o was asked for, and failed, before the ledger said so. It is tried again
//! homing t,  t bad           nothing was asked: also where t failed its boots. It is gone home to again
//! ```
//!
//! Where its U-Boot's environment is lost, RAUC fails and can't write it anew: `fw_setenv` of the factory does.
//!
//! Here: what each mark is to RAUC. Not here: its words (`rauc`); its own `good` and `bad` while it installs, which are ours
//! already.

use backstay_slots::{Slot, Tries};

use crate::{
    environment::EnvironmentError,
    rauc::{Rauc, Refusal},
    switch::{Standing, Switch, SwitchError},
};

/// RAUC. How many boots it gives is said in its `system.conf` and not by us.
#[derive(Debug)]
pub struct RaucSwitch {
    rauc: Rauc,
}

impl RaucSwitch {
    /// A switch by RAUC.
    #[must_use]
    pub fn new(rauc: Rauc) -> Self {
        Self { rauc }
    }

    fn mark(&self, mark: &str, slot: Slot) -> Result<(), SwitchError> {
        self.rauc.answer(&["status", mark, self.rauc.name(slot)], None).map_err(not_done)?;
        Ok(())
    }

    fn is_good(&self, slot: Slot) -> Result<bool, SwitchError> {
        Ok(self.rauc.told(slot).map_err(not_done)?.is_good)
    }
}

fn not_done(Refusal { error, .. }: Refusal) -> SwitchError {
    SwitchError::Tool { source: Box::new(error) }
}

impl Switch for RaucSwitch {
    fn primary(&mut self) -> Result<Option<Slot>, SwitchError> {
        self.rauc.primary().map_err(not_done)
    }

    fn left(&mut self, slot: Slot) -> Result<Standing, SwitchError> {
        Ok(if self.is_good(slot)? { Standing::Good } else { Standing::Barred })
    }

    fn activate(&mut self, slot: Slot, _: Tries) -> Result<(), SwitchError> {
        self.mark("mark-active", slot)
    }

    fn refill(&mut self, slot: Slot, _: Tries) -> Result<(), SwitchError> {
        self.mark("mark-good", slot)
    }

    fn good(&mut self, slot: Slot, _: Tries) -> Result<(), SwitchError> {
        self.mark("mark-good", slot)?;
        // A slot that is not in U-Boot's order isn't put there by it.
        if self.is_good(slot)? {
            return Ok(());
        }
        self.mark("mark-active", slot)
    }

    fn bad(&mut self, slot: Slot) -> Result<(), SwitchError> {
        // RAUC would do it, and leave an empty order.
        if !self.is_good(slot.other())? {
            return Err(SwitchError::LastSlot { slot });
        }
        // Also where it says bad already: a slot that has used up its boots is still in U-Boot's order, and could be given new ones.
        self.mark("mark-bad", slot)
    }

    /// RAUC has no word for that but bad, and takes a bad slot out of the order of its U-Boot: it is no resort at all.
    fn last_resort(&mut self, slot: Slot) -> Result<(), SwitchError> {
        if self.is_good(slot)? { self.bad(slot) } else { Ok(()) }
    }

    fn renew(&mut self, _: Slot, _: Standing, _: Tries) -> Result<(), SwitchError> {
        Err(EnvironmentError::NotLost.into())
    }
}
