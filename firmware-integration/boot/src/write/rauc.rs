//! Installing bundles by RAUC. The artifact is the bundle; the image that it puts into a slot is another file, named with its digest
//! in the bundle's manifest.
//!
//! Who switches is said in `system.conf`, and it is never the installation: `activate-installed=false`. With `bootloader=noop` RAUC
//! leaves the boot loader alone and [`UBoot`](crate::UBoot) or [`SdBoot`](crate::SdBoot) switches; with RAUC's own
//! [`RaucSwitch`](crate::RaucSwitch) it is RAUC's.
//!
//! What a cut can leave, and what ends it. The ledger says `staging` each time, and the slot is barred:
//!
//! ```text
//! rauc killed            RAUC's service installs on: busy until it is done, then staged again
//! RAUC's service killed  the slot holds half; its status file still says `ok` of what was there before: not asked. A mount and
//!                        a loop device stay until the machine restarts, and are in nobody's way. Staged again
//! we were killed         `rauc` goes on and holds the device's lock: busy until it is done, then staged again
//! power                  the slot holds anything; staged again
//! ```
//!
//! Not here: what RAUC's words mean (`crate::rauc`).

use std::path::Path;

use backstay_model::{Release, Transience};
use backstay_slots::{Artifact, Slot, SlotError};

use super::{Devices, Summed, Write, name_of};
use crate::{
    ledger::Image,
    rauc::{Rauc, Refusal},
};

const HELP_RAUC: &str = "see what `rauc status` and `rauc info` say of slots and bundle, and what RAUC's service wrote to its log";
const HELP_SLOTS: &str = "name in RAUC's system.conf the same devices as in slots.toml, and see by `rauc status` which slot it says is booted";
const HELP_IMAGE: &str = "build the bundle with one image that is copied as it is (.img, .squashfs, .ext4), without hooks that change it";
const HELP_SKIPPED: &str =
    "leave `install-same` and `resize` in RAUC's system.conf as they are, and look at the device";

/// What RAUC unpacks or puts together, so that no image is in the slot afterwards.
const UNPACKED: [&str; 3] = [".tar", ".catar", ".caibx"];

/// Writes by RAUC.
///
/// A bundle holds one image. It is installed as the release's own open file, after it was read whole: what RAUC is given is
/// the release, and so is the manifest in it. Afterwards the slot is read, and has to hold the manifest's image byte for byte;
/// RAUC's own status is asked before, about slots, and never about what it wrote.
#[derive(Debug)]
pub struct RaucWriter {
    rauc: Rauc,
    devices: Devices,
}

impl RaucWriter {
    /// By RAUC, with slot a's block device or file and slot b's, as RAUC's `system.conf` names them.
    ///
    /// # Errors
    /// One of them can't be opened.
    pub fn open(rauc: Rauc, a: &Path, b: &Path) -> Result<Self, SlotError> {
        Ok(Self { rauc, devices: Devices::open(a, b)? })
    }

    /// RAUC chooses by itself where it installs: it has to be this slot.
    fn will_take(&self, slot: Slot, class: &str) -> Result<(), SlotError> {
        let asked = |refusal: Refusal| refused(slot, refusal, HELP_RAUC);
        let (told, beside) =
            (self.rauc.told(slot).map_err(asked)?, self.rauc.told(slot.other()).map_err(asked)?);
        let name = self.rauc.name(slot);
        let why = if told.is_booted {
            format!("RAUC takes {name} for the slot that runs")
        } else if !beside.is_booted {
            format!("RAUC doesn't take {} for the slot that runs", self.rauc.name(slot.other()))
        } else if !self.devices.is(slot, &told.device) {
            format!("RAUC's {name} is {}, another device", told.device.display())
        } else if told.class != class {
            format!("the bundle's image is for {class}, and {name} is {}", told.class)
        } else {
            return Ok(());
        };
        Err(SlotError::Writer {
            slot,
            source: why.into(),
            help: HELP_SLOTS,
            transience: Transience::Permanent,
        })
    }
}

fn refused(slot: Slot, Refusal { error, transience }: Refusal, help: &'static str) -> SlotError {
    SlotError::Writer { slot, source: Box::new(error), help, transience }
}

impl Write for RaucWriter {
    fn write(
        &mut self,
        slot: Slot,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<Image, SlotError> {
        let bundle = name_of(slot, artifact)?;
        let held = self.devices.hold(slot)?;
        Summed::new(release, artifact).finish()?;
        let content = self.rauc.content(&bundle).map_err(|refusal| refused(slot, refusal, HELP_RAUC))?;
        if UNPACKED.iter().any(|kind| content.name.contains(kind)) {
            let source =
                format!("{} is unpacked and leaves no image that can be read back", content.name).into();
            return Err(SlotError::Writer {
                slot,
                source,
                help: HELP_IMAGE,
                transience: Transience::Permanent,
            });
        }
        self.devices.has_room(slot, content.image.length)?;
        self.will_take(slot, &content.class)?;
        self.rauc
            .answer(&["install", &bundle], Some(&held))
            .map_err(|refusal| refused(slot, refusal, HELP_RAUC))?;
        if !self.holds(slot, &content.image)? {
            let source =
                format!("RAUC says that it installed, and the slot does not hold {}", content.name).into();
            return Err(SlotError::Writer {
                slot,
                source,
                help: HELP_SKIPPED,
                transience: Transience::Transient,
            });
        }
        Ok(content.image)
    }

    fn holds(&mut self, slot: Slot, image: &Image) -> Result<bool, SlotError> {
        self.devices.holds(slot, image)
    }

    fn presumed(&mut self, slot: Slot, _: &Release) -> Result<Image, SlotError> {
        self.devices.all(slot)
    }
}
