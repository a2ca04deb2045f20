//! A device of the lab with its other side: a board that runs 1.0.0, settled, and the server that may steer it to 2.0.0.
//!
//! Here: putting both together, and the words in which stories are told of them: what the console says, what the server has
//! been told. Not here: the stories.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use backstay_journal::testing::Random;
use backstay_test_fleet::Trouble;
use serde_json::Value;

use crate::{
    disk::{self, Disk, Kept, Sizes},
    image::{Fault, Kitchen, Writer},
    machine::{Line, Machine, Mark},
    shore::{self, DEVICE, Release, Shore, Times},
};

/// The release that the factory put into slot a.
pub(crate) const OLD: &str = "1.0.0";
/// The one that comes over the air.
pub(crate) const NEW: &str = "2.0.0";
/// The longest that anything may take on this machine's clock. Nothing is judged by it: it ends what would not end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);

/// Where everything is that all stories share.
pub(crate) struct Bench<'a> {
    /// `backstay` is in here.
    pub(crate) programs: &'a Path,
    /// The plugins as components.
    pub(crate) components: &'a Path,
    /// Makes images.
    pub(crate) kitchen: &'a Kitchen,
    /// A story's own files.
    pub(crate) folder: &'a Path,
    /// What chance goes by.
    pub(crate) seed: u64,
}

/// A board, its server, and what has happened.
pub(crate) struct Device {
    pub(crate) shore: Shore,
    pub(crate) machine: Machine,
    pub(crate) chance: Random,
    /// What was seen, for the report.
    pub(crate) notes: Vec<String>,
    began: Instant,
}

impl Bench<'_> {
    /// A device that runs 1.0.0, is enrolled and settled, and a server that has 2.0.0, which goes bad like that.
    ///
    /// # Errors
    /// Says what did not work out.
    pub(crate) fn device(&self, fault: Fault, times: Times) -> Result<Device, Trouble> {
        let began = Instant::now();
        shore::fresh(self.folder)?;
        let image = |version, fault| self.kitchen.image(version, fault);
        let (first, next) = (image(OLD, Fault::None)?, image(NEW, fault)?);
        let shore = Shore::start(&self.folder.join("shore"), self.programs, self.components)?;
        let deliver = |version, image: &Path| -> Result<Release, Trouble> {
            let artifact = match self.kitchen.writer {
                Writer::Raw => image.to_owned(),
                Writer::Rauc => crate::rauc::bundle(self.folder, &shore.layout.keys, version, image)?,
            };
            Ok(Release { version, artifact })
        };
        let (old, new) = (deliver(OLD, &first)?, deliver(NEW, &next)?);
        shore.publish(&old, None)?;
        shore.publish(&new, Some(&old))?;
        let data = shore::data(self.folder, &shore, &old, times)?;
        if self.kitchen.writer == Writer::Rauc {
            crate::rauc::trust(self.folder, &data)?;
        }
        let boot = disk::boot_files(self.folder)?;
        let disk = Disk::make(&self.folder.join("board"), SIZES, &boot, &first, &data)?;
        let flash = disk::flash(self.folder)?;
        let machine = Machine::new(disk, &flash, Some(shore.reach()), &self.folder.join("board"));
        let chance = Random::new(self.seed);
        let mut device = Device { shore, machine, chance, notes: Vec::new(), began };
        device.machine.on()?;
        device.up(Mark::default(), "a", OLD)?;
        device.knows("the device is settled on 1.0.0", |device| is_settled(device, OLD))?;
        device.note(format!("settled on {OLD} after {:.0} s", device.began.elapsed().as_secs_f64()));
        Ok(device)
    }
}

/// Room for an image of a device with RAUC; the files of a disk take what is written to them.
pub(crate) const SIZES: Sizes = Sizes { slot: 160 << 20, data: 512 << 20 };

impl Device {
    /// For the report.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("lab: {:6.1} s  {what}", self.began.elapsed().as_secs_f64());
        self.notes.push(what);
    }

    /// Waits for a line of the console that begins with these words.
    ///
    /// # Errors
    /// If none comes.
    pub(crate) fn says(&self, mark: Mark, begins: &str) -> Result<(Line, Mark), Trouble> {
        self.machine.until(mark, &format!("it says `{begins}`"), PATIENCE, |line| line.starts_with(begins))
    }

    /// Waits until a slot is up with a version in it.
    ///
    /// # Errors
    /// If it doesn't come up.
    pub(crate) fn up(&self, mark: Mark, slot: &str, version: &str) -> Result<(Line, Mark), Trouble> {
        self.says(mark, &format!("LAB up slot={slot} version={version} "))
    }

    /// Waits until something holds of what the server knows.
    ///
    /// # Errors
    /// If it doesn't in time.
    pub(crate) fn knows(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<(), Trouble> {
        let known = self.shore.until(what, PATIENCE, holds);
        known.map_err(|error| {
            Trouble(format!("{error}\nthe device said last:\n{}", self.machine.last_lines()))
        })
    }

    /// Waits until the device's own records, as the server has them, have one of this kind that says so.
    ///
    /// # Errors
    /// If none comes.
    pub(crate) fn told(&self, kind: &str, says: &str) -> Result<String, Trouble> {
        let end = Instant::now() + PATIENCE;
        loop {
            let records = self.shore.records().unwrap_or_default();
            if let Some((_, what)) = records.iter().find(|(of, what)| of == kind && what.contains(says)) {
                return Ok(what.clone());
            }
            if Instant::now() > end || backstay_test_fleet::stop_wanted() {
                let last = records.iter().rev().take(20).rev();
                let last: Vec<_> = last.map(|(kind, what)| format!("  {kind}: {what}")).collect();
                return Err(Trouble(format!(
                    "{DEVICE} never told of {kind} with `{says}`; its last records:\n{}",
                    last.join("\n")
                )));
            }
            std::thread::park_timeout(Duration::from_millis(500));
        }
    }

    /// How often a line was said that begins with these words.
    pub(crate) fn count(&self, mark: Mark, begins: &str) -> usize {
        self.machine.since(mark).iter().filter(|line| line.text.starts_with(begins)).count()
    }

    /// Takes the power away and gives it back. What the disk had not flushed is kept by chance.
    ///
    /// # Errors
    /// If the machine doesn't start again.
    pub(crate) fn power_cut(&mut self) -> Result<Mark, Trouble> {
        self.machine.off();
        let kept = [Kept::All, Kept::None, Kept::Some][self.chance.below(3)];
        let cut = self.machine.disk().cut(kept, &mut self.chance)?;
        self.note(format!(
            "power cut: {} writes were durable, {} were not and {} of their sectors are lost",
            cut.durable, cut.loose, cut.lost_sectors
        ));
        let mark = self.machine.mark();
        self.machine.on()?;
        Ok(mark)
    }

    /// That a restart brings the same slot back, and that what the device told hangs together.
    ///
    /// # Errors
    /// If one of them is not so.
    pub(crate) fn stays(&mut self, slot: &str, version: &str) -> Result<(), Trouble> {
        let mark = self.power_cut()?;
        self.up(mark, slot, version)?;
        self.knows("it is settled after a restart, too", |device| is_settled(device, version))?;
        let records = self.shore.chain_holds()?;
        self.note(format!("a restart brings {version} back; {records} records hang together"));
        Ok(())
    }
}

/// The version that a proof is of.
fn version<'a>(device: &'a Value, proof: &str) -> &'a str {
    device[proof]["release"]["version"].as_str().unwrap_or_default()
}

/// Whether a device runs a version that passed its trial there, and has nothing more to do.
pub(crate) fn is_settled(device: &Value, on: &str) -> bool {
    device["standing"] == "Settled" && version(device, "booted") == on && version(device, "confirmed") == on
}

/// How many releases a device will not run again.
pub(crate) fn condemned(device: &Value) -> usize {
    device["condemned"].as_array().map_or(0, Vec::len)
}
