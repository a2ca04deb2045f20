//! What the verdict keys say to a pipeline: what to do about one build of one service.
//!
//! Here: the statement, and the proof that comes of checking it. Not here: the document around it that pipelines read
//! (`api`), and whether a build goes on because of it (`core`'s gate), which expiry and nonce belong to.

use alloc::{string::ToString, vec::Vec};

use backstay_model::{FleetId, UnixMs, Verdict};

use crate::{Audience, Domain, Keyring, Refusal, RoleKind, SecretKey, SignError, Stamp, Statement};

/// Drafts a verdict for `fleet`, good from `issued` until `expires`, for the holders of the verdict keys to sign.
///
/// # Errors
/// If it is something that no reader would accept.
pub fn draft_verdict(
    verdict: &Verdict,
    fleet: FleetId,
    issued: UnixMs,
    expires: UnixMs,
) -> Result<Statement, SignError> {
    let domain = Domain::Verdict;
    if let Some(what) = verdict.unfit() {
        return Err(SignError::Inconsistent { domain, what: what.to_string() });
    }
    // The schema goes before all else, so that a reader that doesn't know it reads no further.
    let payload = postcard::to_allocvec(&(Verdict::SCHEMA, verdict)).expect("writing to memory can't fail");
    // No reader keeps a watermark of verdicts: a build's nonce makes each of them new.
    let stamp = Stamp { sequence: 0, issued, expires: Some(expires) };
    Statement::draft(domain, Audience::Fleet(fleet), stamp, &payload)
}

/// Drafts a verdict and signs it with one key.
///
/// # Errors
/// As [`draft_verdict`].
pub fn sign_verdict(
    key: &SecretKey,
    verdict: &Verdict,
    fleet: FleetId,
    issued: UnixMs,
    expires: UnixMs,
) -> Result<Vec<u8>, SignError> {
    let mut statement = draft_verdict(verdict, fleet, issued, expires)?;
    statement.sign(key)?;
    statement.encode()
}

/// A verdict that the verdict keys vouch for. Only [`Keyring::verify_verdict`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedVerdict {
    verdict: Verdict,
    issued: UnixMs,
    expires: UnixMs,
}

impl VerifiedVerdict {
    /// What it says.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// When it was signed, by the signer's clock.
    #[must_use]
    pub fn issued(&self) -> UnixMs {
        self.issued
    }

    /// From when on it is late. That is not checked here: only whoever asks has a clock.
    #[must_use]
    pub fn expires(&self) -> UnixMs {
        self.expires
    }
}

impl Keyring {
    /// Checks that `bytes` are a verdict for this fleet, signed by as many of the verdict keys as the role asks for.
    ///
    /// # Errors
    /// Says at what it failed. A verdict that is late, or for another build, is not an error here: whoever asked knows.
    pub fn verify_verdict(&self, bytes: &[u8]) -> Result<VerifiedVerdict, Refusal> {
        let domain = Domain::Verdict;
        let opened = self.open(bytes, domain, RoleKind::Verdict)?;
        let inconsistent = |what| Refusal::Inconsistent { domain, what };
        let (schema, rest) = opened.parse_front::<u32>(domain)?;
        if schema != Verdict::SCHEMA {
            return Err(inconsistent("it is of a schema that is not known here"));
        }
        let (verdict, rest) = postcard::take_from_bytes::<Verdict>(rest)
            .map_err(|_| Refusal::Malformed { domain, part: "payload" })?;
        if !rest.is_empty() {
            return Err(Refusal::Trailing { domain, bytes: rest.len() });
        }
        if let Some(what) = verdict.unfit() {
            return Err(inconsistent(what));
        }
        let Some(expires) = opened.stamp.expires else { return Err(inconsistent("it never expires")) };
        Ok(VerifiedVerdict { verdict, issued: opened.stamp.issued, expires })
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec};

    use backstay_model::{BuildId, Nonce, Reason, TargetId, VerdictAction};

    use super::*;
    use crate::{KeyringParts, Role, statement::seal};

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn fleet() -> FleetId {
        FleetId::parse("shop").unwrap()
    }

    /// A keyring whose verdict role is of these keys.
    fn keyring(threshold: u8, seeds: &[u8]) -> Keyring {
        let role = |seed| Role::of(key(seed).public());
        let first = KeyringParts::first(fleet(), role(1), role(2), role(3));
        let keys = seeds.iter().map(|seed| key(*seed).public()).collect();
        Keyring::new(KeyringParts { verdict: Role { threshold, keys }, ..first }).unwrap()
    }

    fn verdict() -> Verdict {
        Verdict {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            nonce: Nonce([7; 16]),
            action: VerdictAction::Proceed,
            wait_secs: 0,
            digest: None,
            version: None,
            reasons: vec![Reason::new("all objectives hold".into())],
            evidence: None,
        }
    }

    fn signed(seed: u8) -> Vec<u8> {
        sign_verdict(&key(seed), &verdict(), fleet(), UnixMs(1000), UnixMs(601_000)).unwrap()
    }

    #[test]
    fn a_verdict_is_read_as_it_was_signed() {
        let verified = keyring(1, &[9]).verify_verdict(&signed(9)).unwrap();
        assert_eq!(verified.verdict(), &verdict());
        assert_eq!((verified.issued(), verified.expires()), (UnixMs(1000), UnixMs(601_000)));
    }

    /// The server's steering key steers; it can't wave a build through. Nor can a role that nobody has.
    #[test]
    fn only_the_verdict_keys_sign_verdicts() {
        let domain = Domain::Verdict;
        for seed in [1, 2, 3, 8] {
            let refused = keyring(1, &[9]).verify_verdict(&signed(seed));
            assert_eq!(refused, Err(Refusal::UnknownKey { domain, key: key(seed).id() }));
        }
        let nobody = keyring(0, &[]).verify_verdict(&signed(9));
        assert_eq!(nobody, Err(Refusal::UnknownKey { domain, key: key(9).id() }));
    }

    #[test]
    fn two_have_to_sign_where_two_are_asked_for() {
        let two = keyring(2, &[8, 9]);
        let refused = two.verify_verdict(&signed(9));
        assert_eq!(refused, Err(Refusal::TooFew { domain: Domain::Verdict, has: 1, needs: 2 }));
        let mut statement = Statement::read(&signed(9)).unwrap();
        statement.sign(&key(8)).unwrap();
        assert!(two.verify_verdict(&statement.encode().unwrap()).is_ok());
    }

    #[test]
    fn another_schema_and_another_action_are_refused_though_signed() {
        let domain = Domain::Verdict;
        let stamp = Stamp { sequence: 0, issued: UnixMs(1000), expires: Some(UnixMs(601_000)) };
        let seal =
            |payload: &[u8], stamp| seal(&key(9), domain, Audience::Fleet(fleet()), stamp, payload).unwrap();
        let verify = |bytes: &[u8]| keyring(1, &[9]).verify_verdict(bytes).unwrap_err();
        let payload = postcard::to_allocvec(&(2u32, verdict())).unwrap();
        let what = "it is of a schema that is not known here";
        assert_eq!(verify(&seal(&payload, stamp)), Refusal::Inconsistent { domain, what });
        let mut payload = postcard::to_allocvec(&(1u32, verdict())).unwrap();
        let action = 1 + 9 + 5 + 16;
        assert_eq!(payload[action], 0, "where the action stands");
        payload[action] = 6;
        assert_eq!(verify(&seal(&payload, stamp)), Refusal::Malformed { domain, part: "payload" });
        payload[action] = 0;
        assert!(keyring(1, &[9]).verify_verdict(&seal(&payload, stamp)).is_ok());
        payload.push(0);
        assert_eq!(verify(&seal(&payload, stamp)), Refusal::Trailing { domain, bytes: 1 });
        payload.pop();
        let for_ever = Stamp { expires: None, ..stamp };
        let what = "it never expires";
        assert_eq!(verify(&seal(&payload, for_ever)), Refusal::Inconsistent { domain, what });
    }

    #[test]
    fn nobody_signs_what_nobody_would_believe() {
        let slow = Verdict { action: VerdictAction::Slow, ..verdict() };
        let refused = sign_verdict(&key(9), &slow, fleet(), UnixMs(1), UnixMs(2));
        let Err(SignError::Inconsistent { what, .. }) = refused else { panic!("{refused:?}") };
        assert!(what.contains("slow"));
        let link = Verdict { evidence: Some(String::from("two words")), ..verdict() };
        assert!(sign_verdict(&key(9), &link, fleet(), UnixMs(1), UnixMs(2)).is_err());
    }
}
