//! The slots that a configuration names: its boot loader, its writer and its ledger, put together.
//!
//! Not here: which of them there are (`config`), what they do (`backstay-boot`).

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use backstay_boot::{
    Backend, Image, OpenError, Rauc, RaucSwitch, RaucWriter, Raw, Running, SdBoot, SwUpdate, Switch, UBoot,
    Write,
};
use backstay_model::Release;
use backstay_slots::{Artifact, Slot, SlotError, System, program};

use crate::{
    config::{self, Config},
    running::{self, mounted_at},
    trouble::Trouble,
};

/// How long somebody else's work on the slots is waited for. At a boot several ask at once; who writes an image takes
/// longer, and is not waited for.
const BUSY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Slots as a configuration has them.
pub type Slots = Backend<System, Box<dyn Switch>, Writer>;

/// The boot loader.
pub fn switch(config: &Config) -> Result<Box<dyn Switch>, Trouble> {
    Ok(match &config.boot {
        config::Loader::UBoot { config, lock, defaults } => {
            let uboot = UBoot::open_with(config, lock).map_err(|error| {
                let is_ours = matches!(error, OpenError::Config(_));
                let code = if is_ours { program::WRONG } else { program::LATER };
                Trouble::of(code, &error, error.help())
            })?;
            Box::new(uboot.with_defaults(defaults))
        }
        config::Loader::SystemdBoot { entries } => Box::new(SdBoot::open(entries)),
        config::Loader::Rauc {} => Box::new(RaucSwitch::new(rauc(config))),
    })
}

fn rauc(config: &Config) -> Rauc {
    let config::Rauc { command, names, timeout } = config.rauc.clone();
    Rauc::new(command, names, timeout.duration())
}

/// Who writes, once something is written or read back. Who only asks for the status opens no device: the system looks anew at
/// each that was open for writing, and the one that runs may not be opened so at all.
pub struct Writer {
    config: Config,
    opened: Option<Box<dyn Write>>,
}

impl Writer {
    fn opened(&mut self) -> Result<&mut dyn Write, SlotError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => writer(&self.config)?,
        };
        Ok(&mut **self.opened.insert(opened))
    }
}

impl Write for Writer {
    fn write(
        &mut self,
        slot: Slot,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<Image, SlotError> {
        self.opened()?.write(slot, release, artifact)
    }

    fn holds(&mut self, slot: Slot, image: &Image) -> Result<bool, SlotError> {
        self.opened()?.holds(slot, image)
    }

    fn presumed(&mut self, slot: Slot, release: &Release) -> Result<Image, SlotError> {
        self.opened()?.presumed(slot, release)
    }
}

fn writer(config: &Config) -> Result<Box<dyn Write>, SlotError> {
    Ok(match &config.write {
        config::Write::Raw { a, b } => Box::new(Raw::open(a, b)?),
        config::Write::Rauc { a, b } => Box::new(RaucWriter::open(rauc(config), a, b)?),
        config::Write::SwUpdate { a, b, command, selections, timeout } => {
            Box::new(SwUpdate::open(command.clone(), selections.clone(), timeout.duration(), a, b)?)
        }
    })
}

/// Opens the slots, and says which runs and what was found. `release` is what a factory says runs.
pub fn open(config: &Config, release: Option<&Release>) -> Result<(Slots, Slot, Vec<String>), Trouble> {
    let (slot, boot) = running::look(&config.running)?;
    let begun = Instant::now();
    loop {
        let running = Running { slot, boot: boot.clone(), release: release.cloned() };
        let (switch, write) = (switch(config)?, Writer { config: config.clone(), opened: None });
        match Backend::open(&config.ledger, switch, write, config.tries(), running) {
            Err(SlotError::Busy { .. }) if begun.elapsed() < BUSY => thread::sleep(LOOK_EVERY),
            Err(error) => return Err(error.into()),
            Ok((slots, findings)) => {
                return Ok((slots, slot, findings.iter().map(ToString::to_string).collect()));
            }
        }
    }
}

/// Makes the ledger's directory and those above it, as a factory does.
pub fn make_ledger(config: &Config) -> Result<(), Trouble> {
    fs::create_dir_all(&config.ledger).map_err(|error| {
        let what = format!("cannot make {}: {error}", config.ledger.display());
        Trouble::later(what, "see that the partition that both slots share is mounted and writable")
    })
}

/// Refuses to have a slot written to that the system is using.
pub fn is_free(config: &Config, slot: Slot) -> Result<(), Trouble> {
    let device = config.write.devices()[slot as usize];
    match mounted_at(device)? {
        None => Ok(()),
        Some(place) => Err(Trouble::refused(
            format!(
                "slot {slot} is to be written, and its device {} is mounted on {place}",
                device.display()
            ),
            "see whether write.a and write.b, or running.a and running.b, are the wrong way round; else unmount it",
        )),
    }
}
