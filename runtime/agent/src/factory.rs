//! What a factory does once: the first release into empty slots.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use backstay_model::{Digest, Release, Version};
use sha2::{Digest as _, Sha256};

use crate::{config::Config, slots};

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
    /// Puts it into the slots; where another program works them, its image is there by now, and the program is told which it
    /// is. Done before with the same release, it changes nothing.
    ///
    /// # Errors
    /// If the artifact can't be read, or the slots hold something else.
    pub fn put(&self, config: &Config) -> Result<(), Box<dyn std::error::Error>> {
        let cannot_read = |error| format!("cannot read {}: {error}", self.artifact.display());
        let mut file = File::open(&self.artifact).map_err(cannot_read)?;
        let (digest, length) = digest(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        let release =
            Release { version: self.version.clone(), digest, length, security_epoch: self.security_epoch };
        // As the package and the unit make it: the device's key will be in it.
        DirBuilder::new().recursive(true).mode(0o700).create(&config.state).map_err(|error| {
            format!("cannot make {}, where the device keeps its state: {error}", config.state.display())
        })?;
        slots::provision(&config.slots, &release, &mut file)?;
        println!("{release} is what runs here");
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
