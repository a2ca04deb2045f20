//! Steering as a server signs it, and the keys that its devices believe.
//!
//! Not here: what a server makes of its own state, and anything forged (`tests/attacks`).

use backstay_model::{
    CohortId, Direction, FleetId, Generation, Millis, Reach, RolloutId, Selector, Steer, UnixMs,
};
use backstay_test_stories::release;
use backstay_trust::{Audience, Keyring, KeyringParts, OrderKind, Role, SecretKey, Stamp, sign_order};
use backstay_wire::encode;

use crate::Failure;

/// Who steers the cohorts that are measured.
#[derive(Debug)]
pub struct Director {
    key: SecretKey,
    /// What devices trust.
    pub keyring: Keyring,
}

impl Director {
    /// Always the same one.
    ///
    /// # Errors
    /// If nobody would trust it.
    pub fn new() -> Result<Self, Failure> {
        let [operator, release, key] = [2, 3, 4].map(|seed| SecretKey::from_random(&[seed; 32]));
        let [operator, release, director] = [&operator, &release, &key].map(|key| Role::of(key.public()));
        let keyring = Keyring::new(KeyringParts::first(fleet()?, operator, release, director))?;
        Ok(Self { key, keyring })
    }

    /// A message that sends all of a cohort to a new release, as it is published.
    ///
    /// # Errors
    /// If it can't be signed.
    pub fn steer(&self, cohort: &CohortId, generation: u64, within: Millis) -> Result<Vec<u8>, Failure> {
        let steer = Steer {
            rollout: RolloutId::parse(&format!("r-{generation}"))?,
            generation: Generation(generation),
            cohort: cohort.clone(),
            selector: Selector::All,
            release: release("1.5.0"),
            back: None,
            reach: Reach::ALL,
            direction: Direction::Forward,
            frozen: false,
            policies: Vec::new(),
            reconnect_window: within,
        };
        let stamp = Stamp { sequence: generation, issued: UnixMs(1_000), expires: None };
        let audience = Audience::Cohort(fleet()?, cohort.clone());
        Ok(sign_order(&self.key, OrderKind::SteerProduct, audience, stamp, &encode(&steer)?)?)
    }
}

/// The fleet that is measured.
///
/// # Errors
/// Never: it is a name.
pub fn fleet() -> Result<FleetId, Failure> {
    Ok(FleetId::parse("pumps")?)
}
