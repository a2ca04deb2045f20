//! What a factory does once: the first release into empty slots.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use backstay_model::{Digest, Release, Version};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, Slots};

/// The first release of a device.
#[derive(Debug)]
pub struct Provision {
    artifact: PathBuf,
    version: Version,
    security_epoch: u32,
}

/// What the command line said of it so far.
#[derive(Debug, Default)]
pub struct Arguments {
    /// The artifact's file.
    pub artifact: Option<PathBuf>,
    /// Its version.
    pub version: Option<Version>,
    /// Its security epoch.
    pub security_epoch: u32,
}

impl Arguments {
    /// All that is needed.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn complete(self) -> Result<Provision, String> {
        let artifact = self.artifact.ok_or("provision needs --artifact FILE")?;
        let version = self.version.ok_or("provision needs --version VERSION")?;
        Ok(Provision { artifact, version, security_epoch: self.security_epoch })
    }
}

impl Provision {
    /// Puts it into the slots. Done before with the same release, it changes nothing.
    ///
    /// # Errors
    /// If the artifact can't be read, or the slots hold something else.
    pub fn put(&self, config: &Config) -> Result<(), Box<dyn std::error::Error>> {
        let mut file = File::open(&self.artifact)?;
        let (digest, length) = digest(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        let release =
            Release { version: self.version.clone(), digest, length, security_epoch: self.security_epoch };
        let Slots::Files { path, .. } = &config.slots;
        backstay_slots::provision(path, &release, &mut file)?;
        println!("{release} is in {}", path.display());
        Ok(())
    }
}

fn digest(file: &mut File) -> io::Result<(Digest, u64)> {
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        length += read as u64;
    }
    Ok((Digest(hash.finalize().into()), length))
}
