//! The journals of devices, as they came: checked record by record, kept one behind the other, and receipted.
//!
//! A device drops a record only after the server has signed for it, so a receipt is signed only for what is on
//! disk here, without a gap. What comes twice is dropped; what doesn't follow is refused and asked for again.
//! Not here: what the records mean to a rollout (reports do that), and the signature (`director`).

use std::{
    collections::BTreeMap,
    error, fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use backstay_evidence::{Broken, Chain, Frame, Head};
use backstay_model::{DeviceId, Digest};
use backstay_wire::{LogBatch, Receipt};

/// The most bytes that are kept of one device's journal. Beyond, nothing more is receipted until somebody moves
/// the file away.
const BYTES_MAX: u64 = 256 << 20;

/// All devices' journals.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: PathBuf,
    heads: BTreeMap<DeviceId, Kept>,
}

#[derive(Debug)]
struct Kept {
    chain: Chain,
    head: Head,
    bytes: u64,
    file: fs::File,
}

/// Records that are not taken.
#[derive(Debug)]
pub(crate) enum ArchiveError {
    /// The disk doesn't take them, or can't give back what it has.
    Disk {
        /// Whose.
        device: DeviceId,
        /// Why.
        source: io::Error,
    },
    /// One of them does not follow from those before.
    Broken {
        /// Whose.
        device: DeviceId,
        /// Which, and why.
        source: Broken,
    },
    /// There are records in between that never came.
    Gap {
        /// Whose.
        device: DeviceId,
        /// The last that is here.
        have: u64,
        /// The first that came.
        first: u64,
    },
    /// It has grown beyond its bound.
    Full {
        /// Whose.
        device: DeviceId,
    },
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { device, .. } => write!(f, "cannot keep the journal of {device}"),
            Self::Broken { device, .. } => write!(f, "the journal of {device} does not hold together"),
            Self::Gap { device, have, first } => {
                write!(f, "the journal of {device} is here up to record {have}, and record {first} came next")
            }
            Self::Full { device } => write!(f, "the journal of {device} is larger than {BYTES_MAX} bytes"),
        }
    }
}

impl error::Error for ArchiveError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Disk { source, .. } => Some(source),
            Self::Broken { source, .. } => Some(source),
            Self::Gap { .. } | Self::Full { .. } => None,
        }
    }
}

impl Archive {
    /// The archive in `dir`.
    ///
    /// # Errors
    /// If the folder can't be made.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.into(), heads: BTreeMap::new() })
    }

    /// Takes records of a device whose journal is named `instance`, and says how far it is here now.
    ///
    /// # Errors
    /// If they are not what follows. Nothing was taken.
    pub(crate) fn take(
        &mut self,
        device: &DeviceId,
        instance: &str,
        batch: &LogBatch,
    ) -> Result<Receipt, ArchiveError> {
        let kept = self.kept(device, instance)?;
        let disk = |source| ArchiveError::Disk { device: device.clone(), source };
        let broken = |source| ArchiveError::Broken { device: device.clone(), source };
        let mut rest = batch.records.as_slice();
        let (mut head, mut fresh) = (kept.head, Vec::new());
        while !rest.is_empty() {
            let frame =
                Frame::read(rest).map_err(|why| broken(Broken { seq: head.seq + 1, why: why.into() }))?;
            let (bytes, next) = rest.split_at(frame.encoded_len());
            rest = next;
            if frame.seq <= head.seq {
                continue;
            }
            // A journal that was pruned before the first contact begins where it begins; its own chain says so.
            let begins = head.seq == 0 && frame.seq > 1;
            head = if begins {
                kept.chain.head_of(&frame)
            } else {
                let seq = frame.seq;
                kept.chain.follow(&head, &frame).map_err(|why| broken(Broken { seq, why }))?
            };
            fresh.extend_from_slice(bytes);
        }
        if batch.first > kept.head.seq + 1 && kept.head.seq > 0 && head.epoch == kept.head.epoch {
            let (have, first) = (kept.head.seq, batch.first);
            return Err(ArchiveError::Gap { device: device.clone(), have, first });
        }
        if kept.bytes + fresh.len() as u64 > BYTES_MAX {
            return Err(ArchiveError::Full { device: device.clone() });
        }
        if !fresh.is_empty() {
            kept.file.write_all(&fresh).and_then(|()| kept.file.sync_data()).map_err(disk)?;
            kept.bytes += fresh.len() as u64;
            kept.head = head;
        }
        Ok(Receipt { epoch: kept.head.epoch, seq: kept.head.seq, head: Digest(kept.head.hash) })
    }

    /// Looks what is here of a device whose journal is named `instance`, so that [`Archive::have`] tells it from now on.
    ///
    /// # Errors
    /// If the disk can't give it back.
    pub(crate) fn know(&mut self, device: &DeviceId, instance: &str) -> Result<(), ArchiveError> {
        self.kept(device, instance).map(drop)
    }

    /// Up to which record a device's journal is here.
    pub(crate) fn have(&self, device: &DeviceId) -> u64 {
        self.heads.get(device).map_or(0, |kept| kept.head.seq)
    }

    /// The records of a device, as they came.
    ///
    /// # Errors
    /// If they can't be read.
    pub(crate) fn records(&self, device: &DeviceId) -> io::Result<Vec<u8>> {
        match fs::read(self.path(device)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        }
    }

    fn path(&self, device: &DeviceId) -> PathBuf {
        self.dir.join(format!("{device}.log"))
    }

    /// What is here of a device. A last write that was cut short is taken off: there was no receipt for it.
    fn kept(&mut self, device: &DeviceId, instance: &str) -> Result<&mut Kept, ArchiveError> {
        if !self.heads.contains_key(device) {
            let disk = |source| ArchiveError::Disk { device: device.clone(), source };
            let bytes = self.records(device).map_err(disk)?;
            let chain = Chain::new(instance);
            let mut head = chain.genesis();
            let mut good = 0;
            while let Some(Ok(frame)) = bytes.get(good..).filter(|rest| !rest.is_empty()).map(Frame::read) {
                let begins = good == 0 && frame.seq > 1;
                let next = if begins { Ok(chain.head_of(&frame)) } else { chain.follow(&head, &frame) };
                let Ok(next) = next else { break };
                head = next;
                good += frame.encoded_len();
            }
            let path = self.path(device);
            if good < bytes.len() {
                // Kept beside, for somebody to look at; what follows is asked for again.
                fs::copy(&path, path.with_extension("damaged")).map_err(disk)?;
            }
            let mut options = fs::OpenOptions::new();
            let file = options.create(true).read(true).append(true).open(&path).map_err(disk)?;
            file.set_len(good as u64).and_then(|()| file.sync_all()).map_err(disk)?;
            fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(disk)?;
            self.heads.insert(device.clone(), Kept { chain, head, bytes: good as u64, file });
        }
        Ok(self.heads.get_mut(device).expect("it was there, or has just been put there"))
    }
}

#[cfg(test)]
mod tests {
    use backstay_evidence::{Place, Record};

    use super::*;

    fn records(count: u64) -> Vec<Record> {
        let chain = Chain::new("key");
        let mut head = chain.genesis();
        let mut record = |seq| {
            let record = Record { seq, epoch: 1, prev: head.hash, body: vec![seq as u8; 20] };
            head = chain.head_of(&record.frame());
            record
        };
        (1..=count).map(&mut record).collect()
    }

    fn batch(records: &[Record]) -> LogBatch {
        let mut bytes = Vec::new();
        for record in records {
            Frame { place: Place::First, ..record.frame() }.write(&mut bytes);
        }
        LogBatch { epoch: 1, first: records[0].seq, count: records.len() as u32, records: bytes }
    }

    #[test]
    fn records_are_taken_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let device = DeviceId::parse("pump-7").unwrap();
        let all = records(9);
        let mut archive = Archive::open(dir.path()).unwrap();
        assert_eq!(archive.take(&device, "key", &batch(&all[..3])).unwrap().seq, 3);
        assert_eq!(archive.take(&device, "key", &batch(&all[..3])).unwrap().seq, 3, "a duplicate is no harm");
        assert!(matches!(
            archive.take(&device, "key", &batch(&all[6..])),
            Err(ArchiveError::Broken { .. } | ArchiveError::Gap { .. })
        ));
        assert_eq!(
            archive.take(&device, "key", &batch(&all[1..7])).unwrap().seq,
            7,
            "an overlap is none either"
        );
        let mut forged = all[7..].to_vec();
        forged[0].body[0] ^= 1;
        forged[1].body[0] ^= 1;
        assert!(archive.take(&device, "key", &batch(&forged)).is_err());
        drop(archive);
        let mut archive = Archive::open(dir.path()).unwrap();
        assert_eq!(archive.take(&device, "key", &batch(&all[7..])).unwrap().seq, 9);
        let chain = Chain::new("key");
        assert_eq!(chain.verify_bytes(&archive.records(&device).unwrap(), chain.genesis()).unwrap().seq, 9);
    }

    #[test]
    fn a_write_that_was_cut_short_is_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let device = DeviceId::parse("pump-7").unwrap();
        let all = records(4);
        Archive::open(dir.path()).unwrap().take(&device, "key", &batch(&all[..3])).unwrap();
        let path = dir.path().join("pump-7.log");
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let receipt = Archive::open(dir.path()).unwrap().take(&device, "key", &batch(&all)).unwrap();
            assert_eq!(receipt.seq, 4, "cut at {cut}");
        }
    }
}
