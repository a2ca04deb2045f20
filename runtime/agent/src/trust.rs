//! What the trust topic names, and how it gets here: what isn't known is fetched by its digest.
//!
//! Here: what is missing, and fetching it, unchecked. Not here: whether it holds (the crate `trust`), what is kept of it
//! (`memory`), and what follows for plugins that run (`driver`).

use std::{error::Error, fmt};

use backstay_hands::Depot;
use backstay_memory::{Trusted, TrustedError};
use backstay_model::{Digest, Millis, Mono, UnixMs};
use backstay_trust::{Claim, Domain, Keyring, Statement};
use backstay_wire::TrustFloor;
use serde::{Deserialize, Serialize};

pub use crate::uplink::latest;

/// The most links that are fetched at once. A device that is further behind comes back for the rest.
const LINKS_MAX: usize = 64;

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

/// The keyring that is trusted, as it lets something new in at `now`: for how long nothing was heard of it counts.
#[must_use]
pub fn keyring_at(
    trusted: &Trusted,
    heard: Option<Heard>,
    now: Mono,
    unheard_max: Option<Millis>,
) -> Keyring {
    let silent = now.since(heard.map_or(Mono(0), |heard| heard.at));
    trusted.keyring().unheard_for(silent, unheard_max)
}

/// What has to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The digest of the newest keyring, and of the one that is trusted here.
    pub keyring: Option<(Digest, Digest)>,
    /// The number of that one.
    pub number: u64,
    /// The digest of the newest revocation.
    pub revocation: Option<Digest>,
}

/// What was fetched, unchecked. Links are in the order in which they follow one another.
#[derive(Debug, Default)]
pub struct Fetched {
    links: Vec<Vec<u8>>,
    revocation: Option<Vec<u8>>,
}

/// Something that did not come, or is not what was asked for.
#[derive(Debug)]
pub struct FetchError {
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(what: impl Into<String>) -> impl FnOnce(E) -> FetchError {
    let what = what.into();
    move |source| FetchError { what, source: source.into() }
}

impl Missing {
    /// What `floor` names and `keyring` isn't or hasn't heeded.
    #[must_use]
    pub fn of(floor: &TrustFloor, keyring: &Keyring) -> Option<Self> {
        let (ours, number) = (*keyring.digest(), keyring.parts().number);
        let heeded = keyring.revocation().map(|heeded| *heeded.digest());
        let keyring = (floor.keyring != ours).then_some((floor.keyring, ours));
        let revocation = floor.revocation.filter(|digest| heeded != Some(*digest));
        (keyring.is_some() || revocation.is_some()).then_some(Self { keyring, number, revocation })
    }
}

impl Fetched {
    /// Fetches what is missing, by its digest. Links are fetched from the newest back to the one that is trusted, since
    /// each names the one before it.
    ///
    /// # Errors
    /// If nobody has one of them, or what came is not what was asked for.
    pub async fn get(depot: &Depot, missing: &Missing) -> Result<Self, FetchError> {
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
                if claim.number <= missing.number {
                    let why = format!(
                        "keyring {} is trusted here already, or another one of its number",
                        missing.number
                    );
                    return Err(failed(what)(why));
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

    /// Hands all of it over, the links first, since they say who may revoke. Whether anything changed.
    ///
    /// # Errors
    /// At the first that doesn't hold or can't be kept. What was taken over before it stays.
    pub fn hand_over(self, trusted: &mut Trusted) -> Result<bool, TrustedError> {
        let mut changed = false;
        for link in &self.links {
            changed |= trusted.follow(link)?;
        }
        if let Some(revocation) = self.revocation {
            changed |= trusted.revoke(revocation)?;
        }
        Ok(changed)
    }
}
