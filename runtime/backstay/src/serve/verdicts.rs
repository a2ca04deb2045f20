//! Signs what pipelines are told.
//!
//! Here: the verdict key, and for how long a verdict is good. Not here: what a verdict says (the target's loop), and the
//! document's form (`api`).

use backstay_api::{ApiError, Kind, SignedVerdict};
use backstay_model::{Millis, UnixMs, Verdict};
use backstay_trust::{Keyring, SecretKey, sign_verdict};

use super::calls::untrusted_with;

/// Signs verdicts with the server's verdict key.
#[derive(Debug)]
pub(crate) struct Verdicts {
    key: SecretKey,
    life: Millis,
}

impl Verdicts {
    /// With `key`; each verdict is good for `life`.
    ///
    /// # Errors
    /// If the keyring doesn't have the key in its verdict role, or asks for more signatures than the server's one: no gate
    /// would believe what comes out. In words, for whoever wrote the configuration.
    pub(crate) fn new(keyring: &Keyring, key: SecretKey, life: Millis) -> Result<Self, String> {
        let (parts, id) = (keyring.parts(), key.id());
        let number = parts.number;
        if !parts.verdict.keys.contains(&key.public()) {
            return Err(format!("expected a key that keyring {number} has for verdicts, found {id}"));
        }
        if parts.verdict.threshold > 1 {
            let needs = parts.verdict.threshold;
            return Err(format!(
                "keyring {number} asks for {needs} signatures under each verdict, and a server has one key; expected a \
                 keyring with verdict=1:..."
            ));
        }
        Ok(Self { key, life })
    }

    /// The document with `verdict`, good from `now` on.
    ///
    /// # Errors
    /// If `keyring`, which may have changed since the start, doesn't trust the key any more, or the verdict is one that
    /// nobody would accept.
    pub(crate) fn sign(
        &self,
        keyring: &Keyring,
        verdict: &Verdict,
        now: UnixMs,
    ) -> Result<SignedVerdict, ApiError> {
        let expires = UnixMs(now.0.saturating_add(self.life.0));
        let statement = sign_verdict(&self.key, verdict, keyring.fleet().clone(), now, expires)
            .map_err(|why| untrusted_with("the verdict can't be signed", &why, why.help()))?;
        // What the server itself wouldn't believe is better missing than refused at every gate.
        let verified = keyring
            .verify_verdict(&statement)
            .map_err(|why| untrusted_with("no gate would believe the verdict", &why, why.help()))?;
        Ok(SignedVerdict::new(&verified, &statement))
    }
}

/// That this server signs none.
pub(crate) fn unsigned() -> ApiError {
    ApiError::new(Kind::Refused, "this server signs no verdicts: it has no verdict key").help(
        "name the key in the server's configuration (verdict_key); backstay keys init makes one, and backstay keys rotate \
         --role verdict=1:FILE has the fleet trust it",
    )
}

#[cfg(test)]
mod tests {
    use backstay_model::{BuildId, FleetId, Nonce, Reason, TargetId, VerdictAction};
    use backstay_trust::{KeyringParts, Role};

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn keyring(verdict: Role) -> Keyring {
        let role = |seed| Role::of(key(seed).public());
        let first = KeyringParts::first(FleetId::parse("shop").unwrap(), role(1), role(2), role(3));
        Keyring::new(KeyringParts { verdict, ..first }).unwrap()
    }

    fn verdict() -> Verdict {
        Verdict {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            nonce: Nonce([7; 16]),
            action: VerdictAction::Freeze,
            wait_secs: 0,
            digest: None,
            version: None,
            reasons: vec![Reason::new("no data for 2 windows".into())],
            evidence: None,
        }
    }

    #[test]
    fn a_gate_believes_what_the_server_signs() {
        let keyring = keyring(Role::of(key(9).public()));
        let verdicts = Verdicts::new(&keyring, key(9), Millis::from_secs(600)).unwrap();
        let document = verdicts.sign(&keyring, &verdict(), UnixMs(5_000)).unwrap();
        assert_eq!(document.expires_at_ms, 605_000);
        assert_eq!(document.verify(&keyring).unwrap().verdict(), &verdict());
    }

    #[test]
    fn a_key_that_no_gate_would_believe_is_told_at_the_start() {
        let why = Verdicts::new(&keyring(Role::none()), key(9), Millis(1)).unwrap_err();
        assert!(why.starts_with("expected a key that keyring 1 has for verdicts"), "{why}");
        let two = Role { threshold: 2, keys: vec![key(8).public(), key(9).public()] };
        let why = Verdicts::new(&keyring(two), key(9), Millis(1)).unwrap_err();
        assert!(why.starts_with("keyring 1 asks for 2 signatures"), "{why}");
    }

    /// The fleet followed to a keyring without the key while the server ran.
    #[test]
    fn a_key_that_is_trusted_no_more_signs_nothing() {
        let before = keyring(Role::of(key(9).public()));
        let verdicts = Verdicts::new(&before, key(9), Millis(1000)).unwrap();
        let error = verdicts.sign(&keyring(Role::of(key(8).public())), &verdict(), UnixMs(1)).unwrap_err();
        assert_eq!(error.kind, Kind::Untrusted);
        assert!(error.what.starts_with("no gate would believe the verdict"), "{}", error.what);
    }
}
