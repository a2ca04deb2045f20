//! A statement on its way: drafted, signed, handed on to be signed by others, and written down.
//!
//! Here: what it takes to add a signature, be the key here or in a device of its own that is given the bytes to sign.
//! Nothing in a [`Statement`] is believed; believing is for the verifiers of each kind. Not here: the form of the bytes
//! (`envelope`).

use alloc::{borrow::ToOwned, vec::Vec};

use backstay_model::Digest;

use crate::{
    Audience, Domain, KeyId, PublicKey, Refusal, SecretKey, SignError, Stamp,
    envelope::{
        HEADER_BYTES_MAX, Header, MAGIC, MESSAGE_BYTES, PRELUDE_BYTES, SIGNATURE_BYTES, SIGNATURES_MAX,
        signed_message, split, statement_digest,
    },
};

/// A statement of any kind, with the signatures that it has so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    domain: Domain,
    audience: Audience,
    stamp: Stamp,
    header: Vec<u8>,
    payload: Vec<u8>,
    /// In the order of their keys, none twice.
    signatures: Vec<(KeyId, [u8; 64])>,
}

impl Statement {
    /// The largest of any kind, in bytes.
    pub const BYTES_MAX: usize = 128 * 1024;

    pub(crate) fn draft(
        domain: Domain,
        audience: Audience,
        stamp: Stamp,
        payload: &[u8],
    ) -> Result<Self, SignError> {
        if stamp.expires.is_some_and(|expires| expires < stamp.issued) {
            return Err(SignError::Inconsistent { domain, what: "it expires before it is issued".into() });
        }
        let header = postcard::to_allocvec(&Header { audience: audience.clone(), stamp })
            .expect("writing to memory can't fail");
        let draft =
            Self { domain, audience, stamp, header, payload: payload.to_owned(), signatures: Vec::new() };
        draft.fits(1)?;
        Ok(draft)
    }

    /// Takes a statement apart, whatever its kind. Its signatures are not checked: who adds another one looks at what
    /// it says.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (Some(&MAGIC), Some(found)) = (bytes.first_chunk(), bytes.get(MAGIC.len())) else {
            return Err(Refusal::NotAStatement);
        };
        let domain = Domain::from_code(*found).ok_or(Refusal::UnknownKind { found: *found })?;
        if bytes.len() > domain.bytes_max() {
            return Err(Refusal::TooLarge { domain, bytes: bytes.len(), max: domain.bytes_max() });
        }
        let parts = split(bytes, domain)?;
        Ok(Self {
            domain,
            audience: parts.header.audience,
            stamp: parts.header.stamp,
            header: parts.header_bytes.to_owned(),
            payload: parts.payload.to_owned(),
            signatures: parts.signatures.into_iter().map(|(key, signature)| (key, *signature)).collect(),
        })
    }

    /// Which kind.
    #[must_use]
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// Whom it is for.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Sequence and times.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What it says, unread.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Names it, whoever signed it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        statement_digest(self.domain, &self.header, &self.payload)
    }

    /// The bytes that a key signs: they name the kind and, by a digest, all of the statement.
    #[must_use]
    pub fn message(&self) -> [u8; MESSAGE_BYTES] {
        signed_message(&self.digest())
    }

    /// The keys that its signatures are said to be of, in order.
    pub fn signers(&self) -> impl Iterator<Item = KeyId> {
        self.signatures.iter().map(|(key, _)| *key)
    }

    /// Whether it bears a signature of `key`, and that is right.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let id = key.id();
        let found = self.signatures.iter().find(|(signer, _)| *signer == id);
        found.is_some_and(|(_, signature)| key.signed(&self.message(), signature))
    }

    /// Adds a signature over [`Statement::message`] that was made elsewhere, after checking it. A key that has signed
    /// before still counts once.
    ///
    /// # Errors
    /// If the signature isn't one of `key`, or there are too many.
    pub fn add(&mut self, key: &PublicKey, signature: [u8; 64]) -> Result<(), SignError> {
        let (domain, id) = (self.domain, key.id());
        if !key.signed(&self.message(), &signature) {
            return Err(SignError::NotOfKey { domain, key: id });
        }
        match self.signatures.binary_search_by_key(&id, |(signer, _)| *signer) {
            Ok(at) => {
                // Whatever stood there: this one is right.
                if let Some((_, old)) = self.signatures.get_mut(at) {
                    *old = signature;
                }
            }
            Err(_) if self.signatures.len() >= SIGNATURES_MAX => {
                return Err(SignError::TooMany { domain, max: SIGNATURES_MAX });
            }
            Err(at) => {
                self.fits(self.signatures.len() + 1)?;
                self.signatures.insert(at, (id, signature));
            }
        }
        Ok(())
    }

    /// Signs it with a key that is here.
    ///
    /// # Errors
    /// As [`Statement::add`].
    pub fn sign(&mut self, key: &SecretKey) -> Result<(), SignError> {
        let signature = key.sign(&self.message());
        self.add(&key.public(), signature)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// If nobody has signed it: no reader takes it.
    pub fn encode(&self) -> Result<Vec<u8>, SignError> {
        let domain = self.domain;
        let count = u8::try_from(self.signatures.len()).ok().filter(|count| *count > 0);
        let count = count.ok_or(SignError::Unsigned { domain })?;
        let whole = self.fits(self.signatures.len())?;
        let too_large = SignError::TooLarge { domain, bytes: whole, max: domain.bytes_max() };
        let (Ok(header), Ok(payload)) = (u16::try_from(self.header.len()), u32::try_from(self.payload.len()))
        else {
            return Err(too_large);
        };
        let mut bytes = Vec::with_capacity(whole);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[domain.code(), count]);
        bytes.extend_from_slice(&header.to_le_bytes());
        bytes.extend_from_slice(&payload.to_le_bytes());
        bytes.extend_from_slice(&self.header);
        bytes.extend_from_slice(&self.payload);
        for (key, signature) in &self.signatures {
            bytes.extend_from_slice(&key.0.0);
            bytes.extend_from_slice(signature);
        }
        Ok(bytes)
    }

    /// Its length with so many signatures.
    fn fits(&self, signatures: usize) -> Result<usize, SignError> {
        let (domain, max) = (self.domain, self.domain.bytes_max());
        let bytes = PRELUDE_BYTES + self.header.len() + self.payload.len() + signatures * SIGNATURE_BYTES;
        if bytes > max || self.header.len() > HEADER_BYTES_MAX {
            return Err(SignError::TooLarge { domain, bytes, max });
        }
        Ok(bytes)
    }
}

/// Drafts a statement and signs it with one key.
pub(crate) fn seal(
    key: &SecretKey,
    domain: Domain,
    audience: Audience,
    stamp: Stamp,
    payload: &[u8],
) -> Result<Vec<u8>, SignError> {
    let mut statement = Statement::draft(domain, audience, stamp, payload)?;
    statement.sign(key)?;
    statement.encode()
}
