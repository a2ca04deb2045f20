//! The document with a verdict that a pipeline reads: `verdict.json`.
//!
//! Here: what a build asks, the document, and how it is believed. Not here: what a verdict says (`model`), what its
//! signatures are worth (`trust`), and whether a build goes on because of it (`core`'s gate).
//!
//! The document is there to be read by scripts and people; the truth is in its last field, `signature`, which holds the
//! signed statement with all that was said. Whoever believes the document believes that field, and refuses the document
//! if it says anything else beside it.

use std::fmt;

use backstay_model::{
    BuildId, Digest, Nonce, Permille, Reason, SchemaRange, TargetId, Verdict, VerdictAction, Version,
};
use backstay_signals::Metrics;
use backstay_trust::{Keyring, Refusal, VerifiedVerdict};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

/// What a build asks before it deploys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictRequest {
    /// What the pipeline calls this run of itself.
    pub build: BuildId,
    /// Which release is to be judged, by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The same by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// How much of the traffic it is to get next, in permille. After a roll-back only a small stage is let through, and one that
    /// isn't said isn't small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Permille>,
    /// The versions of shared data that the release can live with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaRange>,
    /// Made anew for each question.
    pub nonce: Nonce,
    /// What the pipeline measured itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// A verdict as a document. A field that isn't known is refused: it could only say what nobody signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedVerdict {
    /// [`Verdict::SCHEMA`].
    pub schema: u32,
    /// The service that was judged.
    pub service: TargetId,
    /// The build that asked.
    pub build: BuildId,
    /// What to do, as one word.
    pub action: VerdictAction,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
    /// The release that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its name, if the build asked by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What the build asked with.
    pub nonce: Nonce,
    /// When it was signed, in milliseconds since 1970.
    pub issued_at_ms: u64,
    /// From when on it is late, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// With `slow`: seconds until the build may ask again. Else 0.
    pub wait_secs: u32,
    /// Where more can be read: a URL, or a path of the server's API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The signed statement, in base64.
    pub signature: String,
}

/// A document that nobody should go by.
#[derive(Debug)]
pub enum VerdictError {
    /// It is larger than [`SignedVerdict::BYTES_MAX`].
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// It isn't a verdict. The cause says where, by line and column.
    Malformed(serde_json::Error),
    /// It is of another schema.
    Schema {
        /// Which.
        found: u32,
    },
    /// Its signature isn't base64.
    NotBase64,
    /// What is signed isn't to be believed.
    Untrusted(Refusal),
    /// A field says something else than what was signed.
    Differs {
        /// Which.
        field: &'static str,
    },
}

impl fmt::Display for VerdictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                let max = SignedVerdict::BYTES_MAX;
                write!(f, "the verdict of {bytes} bytes is larger than the {max} that are allowed")
            }
            Self::Malformed(_) => f.write_str("the verdict can't be read"),
            Self::Schema { found } => {
                write!(f, "the verdict is of schema {found}, {} is known here", Verdict::SCHEMA)
            }
            Self::NotBase64 => f.write_str("the signature of the verdict is no base64"),
            Self::Untrusted(_) => f.write_str("the verdict is not to be trusted"),
            Self::Differs { field } => write!(f, "the verdict's {field} is not what was signed"),
        }
    }
}

impl std::error::Error for VerdictError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(why) => Some(why),
            Self::Untrusted(why) => Some(why),
            Self::TooLarge { .. } | Self::Schema { .. } | Self::NotBase64 | Self::Differs { .. } => None,
        }
    }
}

impl VerdictError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } | Self::Malformed(_) => {
                Some("ask the server again, and see what else writes to that file")
            }
            Self::Schema { .. } => Some("bring server and command line to the same version"),
            Self::NotBase64 | Self::Differs { .. } => {
                Some("it was changed after it was signed: see who may write there")
            }
            Self::Untrusted(why) => why.help(),
        }
    }
}

/// The one field that is looked at first.
#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

impl SignedVerdict {
    /// The largest document, in bytes: four times what it takes, so that it may be set out for reading.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// The document around a signed statement. `statement` is what `verified` was checked from.
    #[must_use]
    pub fn new(verified: &VerifiedVerdict, statement: &[u8]) -> Self {
        Self::around(verified, Base64::encode_string(statement))
    }

    fn around(verified: &VerifiedVerdict, signature: String) -> Self {
        let verdict = verified.verdict().clone();
        Self {
            schema: Verdict::SCHEMA,
            service: verdict.service,
            build: verdict.build,
            action: verdict.action,
            reasons: verdict.reasons.into_iter().map(|Reason(reason)| reason).collect(),
            digest: verdict.digest,
            version: verdict.version,
            nonce: verdict.nonce,
            issued_at_ms: verified.issued().0,
            expires_at_ms: verified.expires().0,
            wait_secs: verdict.wait_secs,
            evidence: verdict.evidence,
            signature,
        }
    }

    /// Reads a document. Nothing in it is believed yet.
    ///
    /// # Errors
    /// If it is too large, isn't one, or is of another schema.
    pub fn read(document: &[u8]) -> Result<Self, VerdictError> {
        if document.len() > Self::BYTES_MAX {
            return Err(VerdictError::TooLarge { bytes: document.len() });
        }
        // Another schema may have other fields, so it is told by its number and not by the first field that differs.
        let Schema { schema } = serde_json::from_slice(document).map_err(VerdictError::Malformed)?;
        if schema != Verdict::SCHEMA {
            return Err(VerdictError::Schema { found: schema });
        }
        serde_json::from_slice(document).map_err(VerdictError::Malformed)
    }

    /// What was signed, if it is to be believed and the document says nothing else.
    ///
    /// # Errors
    /// If the signatures don't hold under `keyring`, or a field differs from what was signed.
    pub fn verify(&self, keyring: &Keyring) -> Result<VerifiedVerdict, VerdictError> {
        let statement = Base64::decode_vec(&self.signature).map_err(|_| VerdictError::NotBase64)?;
        let verified = keyring.verify_verdict(&statement).map_err(VerdictError::Untrusted)?;
        let signed = Self::around(&verified, self.signature.clone());
        match self.difference(&signed) {
            None => Ok(verified),
            Some(field) => Err(VerdictError::Differs { field }),
        }
    }

    /// The first field in which two differ.
    fn difference(&self, signed: &Self) -> Option<&'static str> {
        // Taken apart, so that a new field can't be forgotten here.
        let Self { schema, service, build, action, reasons, digest, version, nonce, .. } = self;
        let Self { issued_at_ms, expires_at_ms, wait_secs, evidence, signature, .. } = self;
        let same = [
            ("schema", *schema == signed.schema),
            ("service", *service == signed.service),
            ("build", *build == signed.build),
            ("action", *action == signed.action),
            ("reasons", *reasons == signed.reasons),
            ("digest", *digest == signed.digest),
            ("version", *version == signed.version),
            ("nonce", *nonce == signed.nonce),
            ("issued_at_ms", *issued_at_ms == signed.issued_at_ms),
            ("expires_at_ms", *expires_at_ms == signed.expires_at_ms),
            ("wait_secs", *wait_secs == signed.wait_secs),
            ("evidence", *evidence == signed.evidence),
            ("signature", *signature == signed.signature),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::{FleetId, UnixMs};
    use backstay_trust::{KeyringParts, Role, SecretKey, sign_verdict};

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn keyring() -> Keyring {
        let role = |seed| Role::of(key(seed).public());
        let fleet = FleetId::parse("shop").unwrap();
        let first = KeyringParts::first(fleet, role(1), role(2), role(3));
        Keyring::new(KeyringParts { verdict: role(9), ..first }).unwrap()
    }

    fn document(action: VerdictAction) -> SignedVerdict {
        let verdict = Verdict {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            nonce: Nonce([7; 16]),
            action,
            wait_secs: if action == VerdictAction::Slow { 180 } else { 0 },
            digest: Some(Digest([1; 32])),
            version: None,
            reasons: vec![Reason::new("errors 9 of 1000 permille, 1 is the most".into())],
            evidence: Some("/v1/targets/checkout".into()),
        };
        let fleet = FleetId::parse("shop").unwrap();
        let bytes = sign_verdict(&key(9), &verdict, fleet, UnixMs(1000), UnixMs(601_000)).unwrap();
        SignedVerdict::new(&keyring().verify_verdict(&bytes).unwrap(), &bytes)
    }

    #[test]
    fn a_document_is_believed_as_it_was_made() {
        for action in VerdictAction::ALL {
            let bytes = serde_json::to_vec_pretty(&document(action)).unwrap();
            let verified = SignedVerdict::read(&bytes).unwrap().verify(&keyring()).unwrap();
            assert_eq!(verified.verdict().action, action);
        }
    }

    /// What a script reads and what was signed are the same, or the document is nothing.
    #[test]
    fn a_field_that_differs_from_what_was_signed_is_named() {
        type Change = fn(&mut SignedVerdict);
        let told = |change: Change| {
            let mut document = document(VerdictAction::Rollback);
            change(&mut document);
            document.verify(&keyring()).unwrap_err().to_string()
        };
        let changes: [(Change, &str); 11] = [
            (|v| v.service = TargetId::parse("cart").unwrap(), "service"),
            (|v| v.build = BuildId::parse("1813").unwrap(), "build"),
            (|v| v.action = VerdictAction::Proceed, "action"),
            (|v| v.reasons.clear(), "reasons"),
            (|v| v.digest = None, "digest"),
            (|v| v.version = Some(Version::parse("2.0.0").unwrap()), "version"),
            (|v| v.nonce = Nonce([8; 16]), "nonce"),
            (|v| v.issued_at_ms += 1, "issued_at_ms"),
            (|v| v.expires_at_ms += 1, "expires_at_ms"),
            (|v| v.wait_secs = 1, "wait_secs"),
            (|v| v.evidence = None, "evidence"),
        ];
        for (change, field) in changes {
            assert_eq!(told(change), format!("the verdict's {field} is not what was signed"));
        }
        assert_eq!(told(|v| v.signature.push(' ')), "the signature of the verdict is no base64");
        assert_eq!(told(|v| v.signature.clear()), "the verdict is not to be trusted");
    }

    #[test]
    fn a_document_of_tomorrow_is_told_by_its_number() {
        let read = |text: &str| SignedVerdict::read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            read("{\"schema\": 2, \"action\": \"proceed\"}"),
            "the verdict is of schema 2, 1 is known here"
        );
        for text in
            ["", "null", "{}", "{\"schema\": 1}", "{\"schema\": \"1\"}", "{\"schema\": 1, \"schema\": 1}"]
        {
            assert_eq!(read(text), "the verdict can't be read", "{text}");
        }
        let mut document = serde_json::to_value(document(VerdictAction::Proceed)).unwrap();
        document["deploy_anyway"] = true.into();
        assert_eq!(read(&document.to_string()), "the verdict can't be read");
        assert!(read(&" ".repeat(SignedVerdict::BYTES_MAX + 1)).contains("larger than the 65536"));
    }
}
