//! What an instance trusts: the keyring that it was given, what followed it, and what was revoked.
//!
//! Here: keeping links and the revocation on disk, and taking them over one by one. An instance goes on with what it has,
//! however long it is cut off. Not here: whether a statement holds (the crate `trust`), where statements come from, and
//! what follows for plugins that run.
//!
//! ```text
//!   <state>/trust/keyring-<n>   the link to keyring n, as it came
//!   <state>/trust/revocation    the revocation that is heeded
//! ```

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use backstay_journal::Disk;
use backstay_model::{Digest, Event, causes};
use backstay_trust::{Chain, Claim, Keyring, Step, VerifiedRevocation};

use crate::{Memory, keep_file, keep_folder};

/// What is trusted, and where it is kept.
#[derive(Debug)]
pub struct Trusted {
    dir: PathBuf,
    /// The number of the image's keyring.
    first: u64,
    chain: Chain,
    revocation: Option<Vec<u8>>,
    heeded: Option<VerifiedRevocation>,
}

/// Something that was not taken over. What is trusted stays as it is.
#[derive(Debug)]
pub struct TrustedError {
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for TrustedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for TrustedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: impl Into<String>) -> impl FnOnce(E) -> TrustedError {
    let what = what.into();
    move |source| TrustedError { what, source: source.into() }
}

impl Trusted {
    /// What is kept below `state`, from the keyring of the image on. What of it doesn't hold is left alone and told.
    #[must_use]
    pub fn open(image: Keyring, state: &Path) -> (Self, Vec<TrustedError>) {
        let first = image.parts().number;
        let dir = state.join("trust");
        let mut trust = Self { dir, first, chain: Chain::new(image), revocation: None, heeded: None };
        let mut odd = Vec::new();
        for number in first.saturating_add(1).. {
            let path = trust.link(number);
            match fs::read(&path) {
                Ok(link) => {
                    if let Err(why) = trust.chain.follow(&link) {
                        odd.push(failed(format!("cannot follow {}", path.display()))(why));
                        break;
                    }
                }
                Err(why) if why.kind() == io::ErrorKind::NotFound => break,
                Err(why) => {
                    odd.push(failed(format!("cannot read {}", path.display()))(why));
                    break;
                }
            }
        }
        let path = trust.dir.join("revocation");
        match fs::read(&path) {
            Ok(bytes) => {
                if let Err(why) = trust.heed(bytes) {
                    odd.push(why);
                }
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => odd.push(failed(format!("cannot read {}", path.display()))(why)),
        }
        (trust, odd)
    }

    /// The keys that are trusted, with what was revoked.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        self.chain.newest().clone().revoking(self.heeded.clone())
    }

    /// Follows a link to the next keyring, durable before it is trusted. Whether anything changed: the one that is trusted
    /// already, brought again, is fine.
    ///
    /// # Errors
    /// If it doesn't hold or can't be kept. What is trusted stays as it is.
    pub fn follow(&mut self, link: &[u8]) -> Result<bool, TrustedError> {
        let refused = || failed("does not follow to another keyring");
        let mut ahead = self.chain.clone();
        match ahead.follow(link).map_err(refused())? {
            Step::Same => Ok(false),
            Step::To(next) => {
                let number = next.parts().number;
                self.keep(&self.link(number), link)?;
                self.chain = ahead;
                tracing::info!(number, digest = %next.digest(), "trusts another keyring");
                self.look_again();
                Ok(true)
            }
        }
    }

    /// Heeds a revocation, durable before it is heeded. Whether anything changed: the same one, brought again, is fine.
    ///
    /// # Errors
    /// If it doesn't hold or can't be kept. What is trusted stays as it is.
    pub fn revoke(&mut self, bytes: Vec<u8>) -> Result<bool, TrustedError> {
        let verified = self.keyring().verify_revocation(&bytes).map_err(failed("heeds no revocation"))?;
        if self.heeded.as_ref().is_some_and(|heeded| heeded.digest() == verified.digest()) {
            return Ok(false);
        }
        self.keep(&self.dir.join("revocation"), &bytes)?;
        tracing::info!(sequence = verified.stamp().sequence, digest = %verified.digest(), "heeds a revocation");
        (self.revocation, self.heeded) = (Some(bytes), Some(verified));
        Ok(true)
    }

    /// How it is told that this is trusted from now on.
    #[must_use]
    pub fn told(&self) -> Event {
        let newest = self.chain.newest();
        Event::Trusts {
            number: newest.parts().number,
            keyring: *newest.digest(),
            revocation: self.heeded.as_ref().map(|heeded| heeded.stamp().sequence),
        }
    }

    /// The same, where the newest record says otherwise: the power went after something was kept and before it was told, or
    /// what had been kept is gone.
    #[must_use]
    pub fn untold<D: Disk>(&self, memory: &Memory<D>) -> Option<Event> {
        let is_told = |event: &Event| matches!(event, Event::Trusts { .. });
        let last = memory.entries(0).map(|(_, entry)| entry.event).filter(is_told).last();
        // That an instance trusts what its image says goes without saying.
        let is_new = self.chain.newest().parts().number != self.first || self.heeded.is_some();
        Some(self.told()).filter(|told| if last.is_some() { last.as_ref() != Some(told) } else { is_new })
    }

    /// What was taken over, as it came, under the digest by which others ask for it: of the keyring that a link leads to,
    /// of a revocation. What of it can't be read is left out and told.
    #[must_use]
    pub fn statements(&self) -> (Vec<(Digest, Vec<u8>)>, Vec<TrustedError>) {
        let (mut all, mut odd) = (Vec::new(), Vec::new());
        for number in 0..=self.chain.newest().parts().number {
            let path = self.link(number);
            match fs::read(&path) {
                Ok(link) => match Claim::of(&link) {
                    Ok(claim) => all.push((claim.keyring, link)),
                    Err(why) => odd.push(failed(format!("{} is no link", path.display()))(why)),
                },
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                Err(why) => odd.push(failed(format!("cannot read {}", path.display()))(why)),
            }
        }
        if let (Some(bytes), Some(heeded)) = (&self.revocation, &self.heeded) {
            all.push((*heeded.digest(), bytes.clone()));
        }
        (all, odd)
    }

    /// A revocation by somebody who is no revoker any more is not heeded any more: else a stolen key would bind the
    /// fleet also after it was replaced.
    fn look_again(&mut self) {
        if let Some(bytes) = self.revocation.take() {
            self.heeded = None;
            if let Err(error) = self.heed(bytes) {
                tracing::warn!(why = causes::in_one_line(&error), "heeds the last revocation no longer");
            }
        }
    }

    fn heed(&mut self, bytes: Vec<u8>) -> Result<(), TrustedError> {
        let verified = self.chain.newest().verify_revocation(&bytes);
        self.heeded = Some(verified.map_err(failed("does not heed the revocation that is kept"))?);
        self.revocation = Some(bytes);
        Ok(())
    }

    fn link(&self, number: u64) -> PathBuf {
        self.dir.join(format!("keyring-{number}"))
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> Result<(), TrustedError> {
        let kept = keep_folder(&self.dir).and_then(|()| keep_file(path, bytes));
        kept.map_err(failed(format!("cannot keep {}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::{FleetId, UnixMs};
    use backstay_trust::{KeyringParts, Revocation, Role, SecretKey, Stamp};
    use tempfile::TempDir;

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn image() -> Keyring {
        let role = |seed| Role::of(key(seed).public());
        let fleet = FleetId::parse("pumps").unwrap();
        let first = KeyringParts::first(fleet, role(1), role(2), role(3));
        Keyring::new(KeyringParts { root: role(4), revoker: role(5), ..first }).unwrap()
    }

    /// The keyring after `last`, with another revoker, and the link to it.
    fn next(last: &Keyring, revoker: u8) -> (Keyring, Vec<u8>) {
        let parts = last.parts().clone();
        let (number, before) = (parts.number + 1, Some(*last.digest()));
        let revoker = Role::of(key(revoker).public());
        let next = Keyring::new(KeyringParts { number, before, revoker, ..parts }).unwrap();
        let mut link = next.link(UnixMs(1), None).unwrap();
        link.sign(&key(4)).unwrap();
        (next, link.encode().unwrap())
    }

    fn revocation(by: u8, sequence: u64) -> Vec<u8> {
        let revocation = Revocation { keys: vec![key(1).id()], ..Revocation::default() };
        let stamp = Stamp { sequence, issued: UnixMs(1), expires: None };
        revocation.sign(&key(by), FleetId::parse("pumps").unwrap(), stamp).unwrap()
    }

    fn open(state: &TempDir) -> Trusted {
        let (trust, odd) = Trusted::open(image(), state.path());
        assert!(odd.is_empty(), "{odd:?}");
        trust
    }

    /// A device is told, cut off, and started again: it goes on with what it has.
    #[test]
    fn what_was_trusted_last_is_trusted_after_a_restart() {
        let state = TempDir::new().unwrap();
        let (two, to_two) = next(&image(), 5);
        let (three, to_three) = next(&two, 5);
        let mut trust = open(&state);
        assert!(trust.follow(&to_two).unwrap() && trust.follow(&to_three).unwrap());
        assert!(trust.revoke(revocation(5, 1)).unwrap());
        assert!(
            !trust.follow(&to_three).unwrap() && !trust.revoke(revocation(5, 1)).unwrap(),
            "twice is once"
        );
        let again = open(&state);
        assert_eq!(again.keyring(), trust.keyring());
        assert_eq!(again.keyring().digest(), three.digest());
        let heeded = *again.keyring().revocation().unwrap().digest();
        let (statements, odd) = again.statements();
        assert_eq!((odd.len(), statements.len()), (0, 3));
        let names: Vec<Digest> = statements.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [*two.digest(), *three.digest(), heeded]);
        assert_eq!(statements[1].1, to_three, "as it came");
        let told = Event::Trusts { number: 3, keyring: *three.digest(), revocation: Some(1) };
        assert_eq!(again.told(), told);
    }

    /// Whoever has the server's key names what he likes; it is followed only where the roots have signed.
    #[test]
    fn what_does_not_hold_changes_nothing() {
        let state = TempDir::new().unwrap();
        let (two, _) = next(&image(), 5);
        let (_, to_three) = next(&two, 5);
        let (other, _) = next(&image(), 9);
        let mut by_director = other.link(UnixMs(1), None).unwrap();
        by_director.sign(&key(3)).unwrap();
        let by_director = by_director.encode().unwrap();
        let mut trust = open(&state);
        for link in [to_three, by_director, b"nothing".to_vec()] {
            assert!(trust.follow(&link).is_err());
            assert_eq!(trust.keyring(), image());
        }
        for revocation in [revocation(3, 1), b"nothing".to_vec()] {
            assert!(trust.revoke(revocation).is_err());
            assert_eq!(trust.keyring(), image());
        }
        assert!(!state.path().join("trust").exists(), "nothing of it was kept");
    }

    #[test]
    fn a_replaced_revoker_binds_nobody_any_more() {
        let state = TempDir::new().unwrap();
        let mut trust = open(&state);
        // A thief, with the highest number there is.
        trust.revoke(revocation(5, u64::MAX)).unwrap();
        assert!(trust.keyring().revocation().is_some());
        let (_, to_two) = next(&image(), 6);
        assert!(trust.follow(&to_two).unwrap());
        assert!(trust.keyring().revocation().is_none());
        assert!(trust.revoke(revocation(6, 1)).unwrap());
        let sequence = trust.keyring().revocation().unwrap().stamp().sequence;
        assert_eq!(sequence, 1);
        assert_eq!(open(&state).keyring(), trust.keyring());
    }

    #[test]
    fn damage_is_told_and_what_lies_before_it_is_trusted() {
        let state = TempDir::new().unwrap();
        let (two, to_two) = next(&image(), 5);
        let (_, to_three) = next(&two, 5);
        let mut trust = open(&state);
        trust.follow(&to_two).unwrap();
        trust.follow(&to_three).unwrap();
        trust.revoke(revocation(5, 1)).unwrap();
        fs::write(state.path().join("trust/keyring-3"), b"rot").unwrap();
        fs::write(state.path().join("trust/revocation"), b"rot").unwrap();
        let (trust, odd) = Trusted::open(image(), state.path());
        assert_eq!(trust.keyring(), two);
        assert_eq!(odd.len(), 2, "{odd:?}");
    }
}
