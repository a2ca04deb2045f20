//! A fleet with a verdict key, and verdicts that it signs.

use std::time::{SystemTime, UNIX_EPOCH};

use backstay_api::SignedVerdict;
use backstay_model::{BuildId, FleetId, Nonce, Reason, TargetId, UnixMs, Verdict, VerdictAction};
use backstay_trust::{Keyring, KeyringParts, Role, SecretKey, sign_verdict};

/// The fleet's name.
pub const FLEET: &str = "shop";

/// A fleet whose server signs verdicts.
#[derive(Debug)]
pub struct Shop {
    keyring: Keyring,
    key: SecretKey,
}

impl Default for Shop {
    fn default() -> Self {
        Self::new()
    }
}

impl Shop {
    /// With keys that are the same in every test.
    #[must_use]
    pub fn new() -> Self {
        let key = |seed| SecretKey::from_random(&[seed; 32]);
        let role = |seed| Role::of(key(seed).public());
        let first = KeyringParts::first(FleetId::parse(FLEET).unwrap(), role(1), role(2), role(3));
        let keyring = Keyring::new(KeyringParts { verdict: role(9), ..first }).unwrap();
        Self { keyring, key: key(9) }
    }

    /// Whom pipelines believe.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The same with another key for verdicts, which nobody trusts.
    #[must_use]
    pub fn forged(&self) -> Self {
        Self { keyring: self.keyring.clone(), key: SecretKey::from_random(&[66; 32]) }
    }

    /// A verdict for build 1812 of the service checkout.
    #[must_use]
    pub fn verdict(action: VerdictAction, nonce: Nonce) -> Verdict {
        let why = match action {
            VerdictAction::Proceed => "all objectives hold",
            VerdictAction::Slow
            | VerdictAction::Heal
            | VerdictAction::Rollback
            | VerdictAction::Freeze
            | VerdictAction::Pause => "critical objective errors: 9 of 1000 permille, 1 is the most",
        };
        Verdict {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            nonce,
            action,
            wait_secs: if action == VerdictAction::Slow { 5 } else { 0 },
            digest: None,
            version: None,
            reasons: vec![Reason::new(why.into())],
            evidence: Some("/v1/targets/checkout".into()),
        }
    }

    /// Its signed statement, good for ten minutes from `issued` on.
    #[must_use]
    pub fn statement(&self, verdict: &Verdict, issued: UnixMs) -> Vec<u8> {
        let expires = UnixMs(issued.0 + 600_000);
        sign_verdict(&self.key, verdict, FleetId::parse(FLEET).unwrap(), issued, expires).unwrap()
    }

    /// Its document. One that no gate believes looks as if it was good.
    #[must_use]
    pub fn document(&self, verdict: &Verdict, issued: UnixMs) -> SignedVerdict {
        let statement = self.statement(verdict, issued);
        let trusting = KeyringParts { verdict: Role::of(self.key.public()), ..self.keyring.parts().clone() };
        let trusting = Keyring::new(trusting).unwrap();
        SignedVerdict::new(&trusting.verify_verdict(&statement).unwrap(), &statement)
    }
}

/// The time.
#[must_use]
pub(crate) fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMs(u64::try_from(since.as_millis()).unwrap())
}
