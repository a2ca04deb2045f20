//! The journals of devices, as they came: checked record by record, kept one behind the other, and receipted.
//!
//! A device drops a record only after the server has signed for it, so a receipt is signed only for what is on
//! disk here, without a gap. What comes twice is dropped; what doesn't follow is refused and asked for again.
//!
//! A device that is past what is here (its receipts were for records that were lost with a disk, or it had no room) has
//! dropped what would follow, and would wait for ever. So what comes begins a new *stretch*: what was here is moved
//! aside as it is, and what is told from then on begins where the new stretch does, never at 1.
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

/// The most stretches of one device that are kept aside.
const STRETCHES_MAX: usize = 64;

/// All devices' journals.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: PathBuf,
    heads: BTreeMap<DeviceId, Kept>,
}

#[derive(Debug)]
struct Kept {
    chain: Chain,
    /// The first record of the stretch, or 0 if there is none.
    first: u64,
    head: Head,
    bytes: u64,
    /// Of the stretches before it, and how many there are.
    aside: (u64, usize),
    file: fs::File,
}

/// Records that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How far the journal is here now.
    pub(crate) receipt: Receipt,
    /// The last record before and the first after those that never came, if a new stretch began.
    pub(crate) gap: Option<(u64, u64)>,
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
            Self::Full { device } => {
                write!(
                    f,
                    "the journal of {device} is more than {BYTES_MAX} bytes, or {STRETCHES_MAX} stretches"
                )
            }
        }
    }
}

impl error::Error for ArchiveError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Disk { source, .. } => Some(source),
            Self::Broken { source, .. } => Some(source),
            Self::Full { .. } => None,
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
    ) -> Result<Taken, ArchiveError> {
        let aside = self.aside(device);
        let path = self.path(device);
        let kept = self.kept(device, instance)?;
        let disk = |source| ArchiveError::Disk { device: device.clone(), source };
        let broken = |source| ArchiveError::Broken { device: device.clone(), source };
        let mut rest = batch.records.as_slice();
        let (mut head, mut fresh, mut first, mut gap) = (kept.head, Vec::new(), kept.first, None);
        while !rest.is_empty() {
            let frame =
                Frame::read(rest).map_err(|why| broken(Broken { seq: head.next_seq(), why: why.into() }))?;
            let (bytes, next) = rest.split_at(frame.encoded_len());
            rest = next;
            if frame.seq <= head.seq {
                continue;
            }
            let (have, seq) = (head.seq, frame.seq);
            // A journal that was pruned before the first contact begins where it begins; its own chain says so.
            let begins = have == 0 && seq > 1;
            head = match kept.chain.follow(&head, &frame) {
                Ok(next) => next,
                // Only what was sent first can begin anew: within a batch there is never a hole.
                Err(_)
                    if begins
                        || (seq > have + 1
                            && seq == batch.first
                            && fresh.is_empty()
                            && frame.epoch >= head.epoch) =>
                {
                    gap = (!begins).then_some((have, seq));
                    kept.chain.head_of(&frame)
                }
                Err(why) => return Err(broken(Broken { seq, why })),
            };
            if fresh.is_empty() && (have == 0 || gap.is_some()) {
                first = seq;
            }
            fresh.extend_from_slice(bytes);
        }
        let is_full = gap.is_some() && kept.aside.1 >= STRETCHES_MAX;
        if is_full || kept.aside.0 + kept.bytes + fresh.len() as u64 > BYTES_MAX {
            return Err(ArchiveError::Full { device: device.clone() });
        }
        if gap.is_some() {
            let name = format!("{}-{}.log", kept.first, kept.head.seq);
            fs::create_dir_all(&aside).and_then(|()| fs::rename(&path, aside.join(name))).map_err(disk)?;
            kept.file = create(&path).map_err(disk)?;
            kept.aside = (kept.aside.0 + kept.bytes, kept.aside.1 + 1);
            (kept.bytes, kept.first, kept.head) = (0, 0, kept.chain.genesis());
        }
        if !fresh.is_empty() {
            kept.file.write_all(&fresh).and_then(|()| kept.file.sync_data()).map_err(disk)?;
            kept.bytes += fresh.len() as u64;
            (kept.first, kept.head) = (first, head);
        }
        let Head { epoch, seq, hash } = kept.head;
        Ok(Taken { receipt: Receipt { epoch, seq, head: Digest(hash) }, gap })
    }

    /// Looks what is here of a device whose journal is named `instance`, so that [`Archive::have`] tells it from now on.
    ///
    /// # Errors
    /// If the disk can't give it back.
    pub(crate) fn know(&mut self, device: &DeviceId, instance: &str) -> Result<(), ArchiveError> {
        self.kept(device, instance).map(drop)
    }

    /// From which record to which a device's journal is here, without a gap; 0 and 0 if nothing is.
    pub(crate) fn have(&self, device: &DeviceId) -> (u64, u64) {
        self.heads.get(device).map_or((0, 0), |kept| (kept.first, kept.head.seq))
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

    /// Where the stretches before the one that is told are.
    fn aside(&self, device: &DeviceId) -> PathBuf {
        self.dir.join("aside").join(device.as_str())
    }

    /// What is here of a device. A last write that was cut short is taken off: there was no receipt for it.
    fn kept(&mut self, device: &DeviceId, instance: &str) -> Result<&mut Kept, ArchiveError> {
        if !self.heads.contains_key(device) {
            let disk = |source| ArchiveError::Disk { device: device.clone(), source };
            let bytes = self.records(device).map_err(disk)?;
            let chain = Chain::new(instance);
            let mut head = chain.genesis();
            let (mut good, mut first) = (0, 0);
            while let Some(Ok(frame)) = bytes.get(good..).filter(|rest| !rest.is_empty()).map(Frame::read) {
                let begins = good == 0 && frame.seq > 1;
                let next = if begins { Ok(chain.head_of(&frame)) } else { chain.follow(&head, &frame) };
                let Ok(next) = next else { break };
                if good == 0 {
                    first = frame.seq;
                }
                head = next;
                good += frame.encoded_len();
            }
            let path = self.path(device);
            if good < bytes.len() {
                // Kept beside, for somebody to look at; what follows is asked for again.
                fs::copy(&path, path.with_extension("damaged")).map_err(disk)?;
            }
            let aside = sizes(&self.aside(device)).map_err(disk)?;
            let file = create(&path).map_err(disk)?;
            file.set_len(good as u64).and_then(|()| file.sync_all()).map_err(disk)?;
            let kept = Kept { chain, first, head, bytes: good as u64, aside, file };
            self.heads.insert(device.clone(), kept);
        }
        Ok(self.heads.get_mut(device).expect("it was there, or has just been put there"))
    }
}

/// The file at `path`, made if it isn't there, and its name durable.
fn create(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).read(true).append(true).open(path)?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(file)
}

/// How large the files in `dir` are together, and how many there are.
fn sizes(dir: &Path) -> io::Result<(u64, usize)> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
        entries => entries?
            .try_fold((0, 0), |(bytes, count), entry| Ok((bytes + entry?.metadata()?.len(), count + 1))),
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

    fn upto(archive: &mut Archive, records: &[Record]) -> Option<u64> {
        let device = DeviceId::parse("pump-7").unwrap();
        archive.take(&device, "key", &batch(records)).ok().map(|taken| taken.receipt.seq)
    }

    #[test]
    fn records_are_taken_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let device = DeviceId::parse("pump-7").unwrap();
        let all = records(9);
        let mut archive = Archive::open(dir.path()).unwrap();
        assert_eq!(upto(&mut archive, &all[..3]), Some(3));
        assert_eq!(upto(&mut archive, &all[..3]), Some(3), "a duplicate is no harm");
        assert_eq!(upto(&mut archive, &all[1..7]), Some(7), "an overlap is none either");
        let mut forged = all[7..].to_vec();
        forged[0].body[0] ^= 1;
        forged[1].body[0] ^= 1;
        assert!(archive.take(&device, "key", &batch(&forged)).is_err());
        drop(archive);
        let mut archive = Archive::open(dir.path()).unwrap();
        assert_eq!(upto(&mut archive, &all[7..]), Some(9));
        assert_eq!(archive.have(&device), (1, 9));
        let chain = Chain::new("key");
        assert_eq!(chain.verify_bytes(&archive.records(&device).unwrap(), chain.genesis()).unwrap().seq, 9);
    }

    /// Whoever has a device's key can sign any numbers.
    #[test]
    fn a_device_with_the_last_sequence_there_is_brings_nobody_down() {
        let dir = tempfile::tempdir().unwrap();
        let device = DeviceId::parse("pump-7").unwrap();
        let last = Record { seq: u64::MAX, epoch: 1, prev: [7; 32], body: Vec::new() };
        let mut torn = batch(&[last]);
        torn.records.push(0);
        let refused = Archive::open(dir.path()).unwrap().take(&device, "key", &torn);
        assert!(matches!(refused, Err(ArchiveError::Broken { .. })), "{refused:?}");
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
            assert_eq!(receipt.receipt.seq, 4, "cut at {cut}");
        }
    }

    /// The disk with the newest records is gone, and the device, which has receipts for them, no longer has them. It
    /// goes on where it is; what is here is told from there on, and what was here is kept aside.
    #[test]
    fn a_device_that_is_past_what_is_here_begins_a_new_stretch() {
        let dir = tempfile::tempdir().unwrap();
        let device = DeviceId::parse("pump-7").unwrap();
        let all = records(12);
        let mut archive = Archive::open(dir.path()).unwrap();
        assert_eq!(upto(&mut archive, &all[..3]), Some(3));
        let taken = archive.take(&device, "key", &batch(&all[6..9])).unwrap();
        assert_eq!((taken.receipt.seq, taken.gap), (9, Some((3, 7))));
        assert_eq!(archive.have(&device), (7, 9));
        drop(archive);
        let mut archive = Archive::open(dir.path()).unwrap();
        let taken = archive.take(&device, "key", &batch(&all[9..])).unwrap();
        assert_eq!((taken.gap, archive.have(&device)), (None, (7, 12)), "that is said once");
        let told = archive.records(&device).unwrap();
        assert_eq!(told, batch(&all[6..]).records);
        let aside = dir.path().join("aside/pump-7/1-3.log");
        assert_eq!(fs::read(&aside).unwrap(), batch(&all[..3]).records);
        // What never came and comes after all is older than what is told: nothing is lost by it, and nothing told.
        assert_eq!(upto(&mut archive, &all[3..6]), Some(12));
        // A hole within a batch is no stretch, and neither is another history from the next record on.
        let mut holed = batch(&all[..1]);
        holed.records.extend(batch(&all[3..4]).records);
        let mut empty = Archive::open(&dir.path().join("other")).unwrap();
        assert!(matches!(empty.take(&device, "key", &holed), Err(ArchiveError::Broken { .. })));
        assert_eq!(upto(&mut empty, &all[..2]), Some(2));
        let fork = Record { body: vec![9], prev: [7; 32], ..all[2].clone() };
        assert_eq!(upto(&mut empty, &[fork]), None);
        assert_eq!(empty.have(&device), (1, 2));
    }

    /// However often a device jumps, it takes no more room than any other.
    #[test]
    fn stretches_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let all = records(300);
        let mut archive = Archive::open(dir.path()).unwrap();
        let taken: Vec<_> =
            all.iter().step_by(2).map_while(|one| upto(&mut archive, std::slice::from_ref(one))).collect();
        assert_eq!(taken.len(), STRETCHES_MAX + 1);
        assert_eq!(fs::read_dir(dir.path().join("aside/pump-7")).unwrap().count(), STRETCHES_MAX);
    }
}
