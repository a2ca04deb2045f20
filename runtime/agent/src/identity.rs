//! Who this device is: its own key, made on first boot, and what the operator's server said of it.
//!
//! Here: the key and the enrolment on disk, and asking to be enrolled. Until then the device heals on what it
//! has. Not here: what being enrolled leads to (`core`, `uplink`).

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use backstay_core::Identity;
use backstay_hands::{Depot, DepotError};
use backstay_memory::keep_file;
use backstay_model::Hardware;
use backstay_trust::{EnrolRequest, EnrolToken, Enrolment, Keyring, SecretKey};

/// Something about the device's key or enrolment can't be read or kept.
#[derive(Debug)]
pub struct IdentityError {
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for IdentityError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: &str, path: &Path) -> impl FnOnce(E) -> IdentityError {
    let what = format!("cannot {what} {}", path.display());
    move |source| IdentityError { what, source: source.into() }
}

/// Files of a state directory that say who the device is.
#[derive(Clone, Debug)]
pub struct Papers {
    key: PathBuf,
    /// The same key once more: without it the device would be another one, and start with nothing.
    spare: PathBuf,
    enrolment: PathBuf,
}

impl Papers {
    /// In `state`.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        let file = |name| state.join(name);
        Self { key: file("device.pem"), spare: file("device-spare.pem"), enrolment: file("enrolment") }
    }

    /// The device's key; made and kept if there is none yet. Of its two copies one is enough, and the other is made good.
    ///
    /// # Errors
    /// If it can't be read or kept. A key that was there is never replaced by another one.
    pub fn key(&self) -> Result<SecretKey, IdentityError> {
        let (key, spare) = (read_key(&self.key), read_key(&self.spare));
        let found = match (key, spare) {
            (Ok(Some(key)), _) | (_, Ok(Some(key))) => key,
            (Err(error), _) | (_, Err(error)) => return Err(error),
            (Ok(None), Ok(None)) => {
                let mut random = [0; 32];
                getrandom::fill(&mut random)
                    .map_err(|error| failed("make the key", &self.key)(error.to_string()))?;
                let key = SecretKey::from_random(&random);
                keep_file(&self.key, key.to_pem().as_bytes()).map_err(failed("keep the key", &self.key))?;
                key
            }
        };
        let pem = found.to_pem();
        for path in [&self.key, &self.spare] {
            if fs::read(path).ok().as_deref() != Some(pem.as_bytes()) {
                // A disk that takes nothing keeps no device from starting: one copy is there.
                let _ = keep_file(path, pem.as_bytes());
            }
        }
        Ok(found)
    }

    /// What the server said of this device, if it has and that still holds.
    ///
    /// # Errors
    /// If it can't be read, or isn't for this device. Then the device asks again.
    pub fn enrolment(&self, keyring: &Keyring, key: &SecretKey) -> Result<Option<Enrolment>, IdentityError> {
        let bytes = match fs::read(&self.enrolment) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read the enrolment", &self.enrolment)(error)),
        };
        let verified = keyring.verify_enrolment(&bytes, &key.id());
        let verified =
            verified.map_err(|error| failed("use the enrolment", &self.enrolment)(error.to_string()))?;
        Ok(Some(verified.enrolment().clone()))
    }

    /// What the server said, after checking it.
    ///
    /// # Errors
    /// If it isn't for this device.
    pub fn check(keyring: &Keyring, key: &SecretKey, bytes: &[u8]) -> Result<Enrolment, IdentityError> {
        let verified = keyring.verify_enrolment(bytes, &key.id()).map_err(|error| IdentityError {
            what: "cannot use the enrolment that the server sent".into(),
            source: error.to_string().into(),
        })?;
        Ok(verified.enrolment().clone())
    }

    /// Keeps what the server said for the next start.
    ///
    /// # Errors
    /// If the disk doesn't take it. What was there before is still there.
    pub fn keep(&self, enrolment: &[u8]) -> Result<(), IdentityError> {
        keep_file(&self.enrolment, enrolment).map_err(failed("keep the enrolment", &self.enrolment))
    }
}

/// The key in a file, if there is such a file.
fn read_key(path: &Path) -> Result<Option<SecretKey>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(pem) => SecretKey::from_pem(&pem)
            .map(Some)
            .map_err(|error| failed("read the key", path)(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read the key", path)(error)),
    }
}

/// What came of asking to be enrolled.
#[derive(Debug)]
pub enum Asked {
    /// The server signed who this is.
    Enrolled(Vec<u8>),
    /// Somebody has to say yes to the fingerprint.
    Waits,
    /// It did not work, or was denied.
    Failed(DepotError),
}

/// Asks the operator's servers to enrol this device.
pub async fn ask(
    depot: &Depot,
    keyring: &Keyring,
    key: &SecretKey,
    hardware: &Hardware,
    token: Option<&EnrolToken>,
    nonce: u64,
) -> Asked {
    let request = match EnrolRequest::sign(key, keyring.fleet().clone(), hardware.clone(), nonce, token) {
        Ok(request) => request,
        // Its parts were parsed from the configuration, and all fit.
        Err(error) => unreachable!("{error}"),
    };
    match depot.post("/v1/enrol", request).await {
        Ok(answered) if answered.status == 202 => Asked::Waits,
        Ok(answered) => Asked::Enrolled(answered.body),
        Err(error) => Asked::Failed(error),
    }
}

/// The one-time token in a file, if a file is configured and holds one.
#[must_use]
pub fn token(file: Option<&Path>) -> Option<EnrolToken> {
    let text = fs::read_to_string(file?).ok()?;
    EnrolToken::parse(text.trim()).ok()
}

/// What the core is told of an enrolment.
#[must_use]
pub fn identity(enrolment: &Enrolment) -> Identity {
    let Enrolment { device, cohort, labels, .. } = enrolment.clone();
    Identity { device, cohort, labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing can be written beside the enrolment; what was there before stays, and once it can, the new one is kept.
    #[test]
    fn an_enrolment_that_can_not_be_kept_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let papers = Papers::of(dir.path());
        papers.keep(b"before").unwrap();
        let in_the_way = dir.path().join("enrolment.new");
        fs::create_dir(&in_the_way).unwrap();
        let error = papers.keep(b"after").unwrap_err();
        assert!(error.to_string().starts_with("cannot keep the enrolment "), "{error}");
        assert_eq!(fs::read(dir.path().join("enrolment")).unwrap(), b"before");
        fs::remove_dir(&in_the_way).unwrap();
        papers.keep(b"after").unwrap();
        assert_eq!(fs::read(dir.path().join("enrolment")).unwrap(), b"after");
    }

    /// Flash wears out, one bit at a time. A device that took that for another key, or didn't start any more, could not go
    /// home.
    #[test]
    fn either_copy_of_the_key_is_enough_and_no_damage_makes_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let papers = Papers::of(dir.path());
        let (id, files) = (
            papers.key().unwrap().id(),
            ["device.pem", "device-spare.pem"].map(|name| dir.path().join(name)),
        );
        let whole = fs::read(&files[0]).unwrap();
        for file in &files {
            // Each repair waits for the disk: one bit in seven, another one of each byte.
            for bit in (0..whole.len() * 8).step_by(7) {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                fs::write(file, &bytes).unwrap();
                assert_eq!(papers.key().unwrap().id(), id, "bit {bit} of {}", file.display());
                assert!(files.iter().all(|file| fs::read(file).unwrap() == whole), "bit {bit}: made good");
            }
            fs::remove_file(file).unwrap();
            assert_eq!(papers.key().unwrap().id(), id);
        }
        // Both: that is said, and no third key is made.
        files.iter().for_each(|file| fs::write(file, b"rot").unwrap());
        assert!(papers.key().is_err());
        assert!(files.iter().all(|file| fs::read(file).unwrap() == b"rot"));
    }
}
