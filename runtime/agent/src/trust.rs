//! What this device trusts: the keyring of its image, what followed it, and what was revoked.
//!
//! Here: keeping links and the revocation on disk, fetching what the trust topic names, and taking it over link by
//! link. A device goes on with what it has, however long it is cut off. Not here: whether a statement holds (the crate
//! `trust`), and whether a plugin may still be asked (`driver`).
//!
//! ```text
//!   <state>/trust/keyring-<n>   the link to keyring n, as it was fetched
//!   <state>/trust/revocation    the revocation that is heeded
//! ```

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use backstay_hands::Depot;
use backstay_model::{Digest, Mono, UnixMs, causes};
use backstay_trust::{Chain, Claim, Domain, Keyring, Statement, Step, VerifiedRevocation};
use backstay_wire::TrustFloor;
use serde::{Deserialize, Serialize};

use crate::identity::write;

/// The most links that are fetched at once. A device that is further behind comes back for the rest.
const LINKS_MAX: usize = 64;

/// What is trusted, and where it is kept.
#[derive(Debug)]
pub struct Trust {
    dir: PathBuf,
    chain: Chain,
    revocation: Option<Vec<u8>>,
    heeded: Option<VerifiedRevocation>,
}

/// What was heard last on the trust topic. Kept from one start to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Its sequence.
    pub sequence: u64,
    /// What it said.
    pub digest: Digest,
    /// When it was signed, by the server's clock. The same one, brought again, is no word that anybody is there.
    pub issued: UnixMs,
    /// When it came, on the device's clock.
    pub at: Mono,
}

/// What has to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The digest of the newest keyring, and of the one that is trusted here.
    pub keyring: Option<(Digest, Digest)>,
    /// The digest of the newest revocation.
    pub revocation: Option<Digest>,
}

/// What was fetched, unchecked. Links are in the order in which they follow one another.
#[derive(Debug, Default)]
pub struct Fetched {
    links: Vec<Vec<u8>>,
    revocation: Option<Vec<u8>>,
}

/// Something that was not taken over. What is trusted stays as it is.
#[derive(Debug)]
pub struct TrustError {
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for TrustError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: impl Into<String>) -> impl FnOnce(E) -> TrustError {
    let what = what.into();
    move |source| TrustError { what, source: source.into() }
}

impl Trust {
    /// What is kept below `state`, from the keyring of the image on. What of it doesn't hold is left alone and told.
    #[must_use]
    pub fn open(image: Keyring, state: &Path) -> (Self, Vec<TrustError>) {
        let first = image.parts().number;
        let dir = state.join("trust");
        let mut trust = Self { dir, chain: Chain::new(image), revocation: None, heeded: None };
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

    /// What of `floor` isn't here.
    #[must_use]
    pub fn missing(&self, floor: &TrustFloor) -> Option<Missing> {
        let ours = *self.chain.newest().digest();
        let keyring = (floor.keyring != ours).then_some((floor.keyring, ours));
        let heeded = self.heeded.as_ref().map(|heeded| *heeded.digest());
        let revocation = floor.revocation.filter(|digest| heeded != Some(*digest));
        (keyring.is_some() || revocation.is_some()).then_some(Missing { keyring, revocation })
    }

    /// Takes over what was fetched, each durable before it is trusted: the links first, since they say who may revoke.
    /// Whether anything changed.
    ///
    /// # Errors
    /// At the first that doesn't hold or can't be kept. What was taken over before it stays.
    pub fn take(&mut self, fetched: Fetched) -> Result<bool, TrustError> {
        let before = self.keyring();
        for link in fetched.links {
            let step = self.chain.clone().follow(&link);
            match step.map_err(failed("does not follow to another keyring"))? {
                Step::Same => {}
                Step::To(next) => {
                    let number = next.parts().number;
                    self.keep(&self.link(number), &link)?;
                    self.chain.follow(&link).map_err(failed("does not follow to another keyring"))?;
                    tracing::info!(number, digest = %next.digest(), "trusts another keyring");
                    self.look_again();
                }
            }
        }
        if let Some(bytes) = fetched.revocation {
            let verified = self.keyring().verify_revocation(&bytes).map_err(failed("heeds no revocation"))?;
            self.keep(&self.dir.join("revocation"), &bytes)?;
            tracing::info!(sequence = verified.stamp().sequence, digest = %verified.digest(), "heeds a revocation");
            (self.revocation, self.heeded) = (Some(bytes), Some(verified));
        }
        Ok(self.keyring() != before)
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

    fn heed(&mut self, bytes: Vec<u8>) -> Result<(), TrustError> {
        let verified = self.chain.newest().verify_revocation(&bytes);
        self.heeded = Some(verified.map_err(failed("does not heed the revocation that is kept"))?);
        self.revocation = Some(bytes);
        Ok(())
    }

    fn link(&self, number: u64) -> PathBuf {
        self.dir.join(format!("keyring-{number}"))
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
        let kept = fs::create_dir_all(&self.dir).and_then(|()| write(path, bytes));
        kept.map_err(failed(format!("cannot keep {}", path.display())))
    }
}

impl Fetched {
    /// Fetches what is missing, by its digest. Links are fetched from the newest back to the one that is trusted, since
    /// each names the one before it.
    ///
    /// # Errors
    /// If nobody has one of them, or what came is not what was asked for.
    pub async fn get(depot: &Depot, missing: &Missing) -> Result<Self, TrustError> {
        let mut fetched = Self::default();
        if let Some((newest, ours)) = missing.keyring {
            let mut wanted = newest;
            while wanted != ours {
                if fetched.links.len() >= LINKS_MAX {
                    let why = format!("{LINKS_MAX} links lead to no keyring that is trusted here");
                    return Err(failed("cannot follow to another keyring")(why));
                }
                let what = format!("cannot fetch keyring {wanted}");
                let answered = depot.get(&format!("/v1/trust/{wanted}")).await.map_err(failed(&what))?;
                let claim = Claim::of(&answered.body).map_err(failed(&what))?;
                if claim.keyring != wanted {
                    return Err(failed(what)(format!("keyring {} came", claim.keyring)));
                }
                fetched.links.insert(0, answered.body);
                let why = "it follows none, and is not the one that is trusted here";
                wanted = claim.before.ok_or_else(|| failed(&what)(why))?;
            }
        }
        if let Some(wanted) = missing.revocation {
            let what = format!("cannot fetch revocation {wanted}");
            let answered = depot.get(&format!("/v1/trust/{wanted}")).await.map_err(failed(&what))?;
            let statement = Statement::read(&answered.body).map_err(failed(&what))?;
            if statement.domain() != Domain::Revocation || statement.digest() != wanted {
                return Err(failed(what)(format!("{} {} came", statement.domain(), statement.digest())));
            }
            fetched.revocation = Some(answered.body);
        }
        Ok(fetched)
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

    fn open(state: &TempDir) -> Trust {
        let (trust, odd) = Trust::open(image(), state.path());
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
        let fetched = Fetched { links: vec![to_two, to_three], revocation: Some(revocation(5, 1)) };
        assert!(trust.take(fetched).unwrap());
        let again = open(&state);
        assert_eq!(again.keyring(), trust.keyring());
        assert_eq!(again.keyring().digest(), three.digest());
        let heeded = *again.keyring().revocation().unwrap().digest();
        let floor =
            TrustFloor { sequence: 1, keyring: *three.digest(), revocation: Some(heeded), security_floor: 0 };
        assert_eq!(again.missing(&floor), None);
        let ahead = TrustFloor { keyring: Digest([9; 32]), ..floor };
        let missing = Missing { keyring: Some((Digest([9; 32]), *three.digest())), revocation: None };
        assert_eq!(again.missing(&ahead), Some(missing));
    }

    /// Whoever has the server's key names what he likes; it is followed only where the roots have signed.
    #[test]
    fn what_does_not_hold_changes_nothing() {
        let state = TempDir::new().unwrap();
        let (two, to_two) = next(&image(), 5);
        let (_, to_three) = next(&two, 5);
        let mut forged = Statement::read(&to_two).unwrap();
        forged.sign(&key(3)).unwrap();
        let (other, _) = next(&image(), 9);
        let mut by_director = other.link(UnixMs(1), None).unwrap();
        by_director.sign(&key(3)).unwrap();
        let by_director = by_director.encode().unwrap();
        let mut trust = open(&state);
        for (links, revocation) in [
            (vec![to_three], None),
            (vec![by_director], None),
            (vec![b"nothing".to_vec()], None),
            (Vec::new(), Some(revocation(3, 1))),
            (Vec::new(), Some(b"nothing".to_vec())),
        ] {
            assert!(trust.take(Fetched { links, revocation }).is_err());
            assert_eq!(trust.keyring(), image());
        }
        assert!(!state.path().join("trust").exists(), "nothing of it was kept");
    }

    #[test]
    fn a_replaced_revoker_binds_nobody_any_more() {
        let state = TempDir::new().unwrap();
        let mut trust = open(&state);
        // A thief, with the highest number there is.
        trust.take(Fetched { links: Vec::new(), revocation: Some(revocation(5, u64::MAX)) }).unwrap();
        assert!(trust.keyring().revocation().is_some());
        let (_, to_two) = next(&image(), 6);
        assert!(trust.take(Fetched { links: vec![to_two], revocation: None }).unwrap());
        assert!(trust.keyring().revocation().is_none());
        assert!(trust.take(Fetched { links: Vec::new(), revocation: Some(revocation(6, 1)) }).unwrap());
        let sequence = trust.keyring().revocation().unwrap().stamp().sequence;
        assert_eq!(sequence, 1);
        assert_eq!(open(&state).keyring(), trust.keyring());
    }

    #[test]
    fn damage_is_told_and_what_lies_before_it_is_trusted() {
        let state = TempDir::new().unwrap();
        let (two, to_two) = next(&image(), 5);
        let (_, to_three) = next(&two, 5);
        let fetched = Fetched { links: vec![to_two, to_three], revocation: Some(revocation(5, 1)) };
        open(&state).take(fetched).unwrap();
        fs::write(state.path().join("trust/keyring-3"), b"rot").unwrap();
        fs::write(state.path().join("trust/revocation"), b"rot").unwrap();
        let (trust, odd) = Trust::open(image(), state.path());
        assert_eq!(trust.keyring(), two);
        assert_eq!(odd.len(), 2, "{odd:?}");
    }
}
