//! How far each device's reports were heard, over the server's starts: below that, a report is one of long ago.
//!
//! Reports come from the broker's memory whenever the server starts, and whoever writes there could put an old one
//! back. The newest numbers are written down now and then and at the end, in one small file beside the journal: what is
//! lost of it, or is a little old, costs the floor and nothing else. Not here: what a report means.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use backstay_model::{DeviceId, Millis, Mono};
use backstay_wire::{Body, OutOfBounds, Schema, decode, encode};
use serde::{Deserialize, Serialize};

/// How often the file is written at most: a hundred thousand devices are some 2 MB.
const WRITE_EVERY: Millis = Millis::from_secs(600);
/// The most devices that are in it; beyond, devices have no floor.
const DEVICES_MAX: usize = 1 << 20;

/// The largest sequence that was heard of each device before this start.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    path: PathBuf,
    before: BTreeMap<DeviceId, u64>,
    write_at: Option<Mono>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    devices: Vec<(DeviceId, u64)>,
}

impl Body for Kept {
    const SCHEMA: Schema = Schema(513);
    const VERSION: u16 = 1;
    const OPTIONAL: bool = true;
    const BYTES_MAX: usize = DEVICES_MAX * 80;

    fn check(&self) -> Result<(), OutOfBounds> {
        OutOfBounds::check("devices", self.devices.len(), 0, DEVICES_MAX)
    }
}

impl Floors {
    /// Those in the file at `path`, and what is wrong with it, if anything is.
    pub(crate) fn open(path: &Path) -> (Self, Option<String>) {
        let read = match fs::read(path) {
            Ok(bytes) => decode::<Kept>(&bytes, Kept::BYTES_MAX).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept { devices: Vec::new() }),
            Err(error) => Err(error.to_string()),
        };
        let (before, lost) = match read {
            Ok(kept) => (kept.devices.into_iter().collect(), None),
            Err(why) => {
                let what =
                    "how far devices' reports were heard can't be read, so old ones are not told apart";
                (BTreeMap::new(), Some(format!("{what}: {why}")))
            }
        };
        (Self { path: path.into(), before, write_at: None }, lost)
    }

    /// Below which sequence a device's reports are of before the last start.
    pub(crate) fn of(&self, device: &DeviceId) -> u64 {
        self.before.get(device).copied().unwrap_or(0)
    }

    /// A device begins anew: it was enrolled.
    pub(crate) fn forget(&mut self, device: &DeviceId) {
        self.before.remove(device);
    }

    /// Something was heard: it is to be written down in a while.
    pub(crate) fn heard(&mut self, now: Mono) {
        self.write_at.get_or_insert(now.after(WRITE_EVERY));
    }

    /// When it is to be written down.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.write_at
    }

    /// Writes down what was heard since, with what was known before of those who said nothing.
    ///
    /// # Errors
    /// If the disk doesn't take it; the file is then as it was.
    pub(crate) fn write(&mut self, heard: impl Iterator<Item = (DeviceId, u64)>) -> io::Result<()> {
        self.write_at = None;
        let mut all = self.before.clone();
        for (device, sequence) in heard {
            let floor = all.entry(device).or_default();
            *floor = sequence.max(*floor);
        }
        let kept = Kept { devices: all.into_iter().take(DEVICES_MAX).collect() };
        let bytes = encode(&kept).map_err(|error| io::Error::other(error.to_string()))?;
        let beside = self.path.with_extension("new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceId {
        DeviceId::parse(name).unwrap()
    }

    #[test]
    fn floors_are_kept_and_only_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports");
        let (mut floors, lost) = Floors::open(&path);
        assert_eq!((floors.of(&device("pump-7")), lost), (0, None));
        floors.write([(device("pump-7"), 9), (device("pump-8"), 4)].into_iter()).unwrap();
        let (mut floors, _) = Floors::open(&path);
        floors.write([(device("pump-7"), 3), (device("pump-9"), 1)].into_iter()).unwrap();
        let (mut floors, _) = Floors::open(&path);
        let all = ["pump-7", "pump-8", "pump-9"].map(|name| floors.of(&device(name)));
        assert_eq!(all, [9, 4, 1], "who said nothing keeps its floor");
        floors.forget(&device("pump-7"));
        assert_eq!(floors.of(&device("pump-7")), 0);
    }

    #[test]
    fn a_damaged_file_costs_the_floors_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports");
        let (mut floors, _) = Floors::open(&path);
        floors.write([(device("pump-7"), 9)].into_iter()).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (floors, lost) = Floors::open(&path);
            assert!(lost.is_some() && floors.of(&device("pump-7")) == 0, "cut at {cut}");
        }
    }
}
