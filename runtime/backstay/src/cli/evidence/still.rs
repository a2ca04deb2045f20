//! The journal in the state folder of a device, or of a server, read as it lies there.
//!
//! Nothing is locked, written or mended: it may be evidence, and its device may be at work. Not here: the journal's
//! form (`journal`).

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use backstay_journal::{Disk, DiskFile, Finding, Journal, Ledger, Options};

use super::Records;
use crate::{Exit, Failure, key_file, passphrase::Passphrase};

/// A folder in which nothing can be changed.
#[derive(Debug)]
struct Still(PathBuf);

#[derive(Debug)]
struct StillFile(File);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Still {
    type File = StillFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(&self.0)?.map(name).collect()
    }

    fn open(&self, name: &str) -> io::Result<StillFile> {
        File::open(self.0.join(name)).map(StillFile)
    }

    fn create(&self, _: &str) -> io::Result<StillFile> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}

impl DiskFile for StillFile {
    fn bytes(&self) -> io::Result<u64> {
        self.0.metadata().map(|data| data.len())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}

/// What says whose journal it is: on a device its key, on a server the key that its journal is named by.
const NAMED_BY: [&str; 2] = ["device.pem", "instance.pub"];

/// The records of the device, or of the server, with this state folder. Whose they are a key says, which is in the folder.
pub(super) fn read(state: &Path) -> Result<Records, Failure> {
    let named_by = NAMED_BY.map(|name| state.join(name)).into_iter().find(|path| path.is_file());
    let key = named_by.as_deref().map(|path| key_file::read_public(path, &Passphrase::default()));
    let key = key.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{} is no state folder", state.display()))
            .help("name the folder that the configuration of the agent, or of the server, calls state")
    })??;
    let trouble = |why: Box<dyn std::error::Error>| {
        Failure::new(Exit::Trouble, format!("cannot read the journal in {}", state.display())).why(why)
    };
    let options = Options::new(key.id().0.to_string());
    let gap = |_: &Finding, _: &[_]| Vec::new();
    let (journal, _) =
        Journal::open(Still(state.join("journal")), options, gap).map_err(|why| trouble(why.into()))?;
    let mut bytes = Vec::new();
    for record in journal.read(0) {
        bytes.extend(record.map_err(|why| trouble(why.into()))?.encode());
    }
    Ok(Records { bytes, key: Some(key) })
}
