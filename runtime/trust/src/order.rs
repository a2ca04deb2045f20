//! What the server tells devices, and the second signature that some of it needs.

use alloc::{borrow::ToOwned, vec::Vec};

use backstay_model::{CohortId, DeviceId, Digest, UnixMs};

use crate::{
    Audience, Domain, Freshness, KeyId, Keyring, Refusal, RoleKind, SecretKey, SignError, Stamp,
    envelope::{Opened, Signer, open, sha256},
    statement::seal,
};

/// What the director may sign for devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderKind {
    /// Steering of the product.
    SteerProduct,
    /// Steering of the plugins.
    SteerPlugins,
    /// Instructions for one device.
    DeviceOrder,
    /// What the fleet trusts.
    TrustFloor,
    /// How far the server has a device's journal.
    Receipt,
}

impl From<OrderKind> for Domain {
    fn from(kind: OrderKind) -> Self {
        match kind {
            OrderKind::SteerProduct => Self::SteerProduct,
            OrderKind::SteerPlugins => Self::SteerPlugins,
            OrderKind::DeviceOrder => Self::DeviceOrder,
            OrderKind::TrustFloor => Self::TrustFloor,
            OrderKind::Receipt => Self::Receipt,
        }
    }
}

/// Who is listening. A statement for the whole fleet is always meant for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener<'a> {
    /// The cohort, once enrolled.
    pub cohort: Option<&'a CohortId>,
    /// The device, once enrolled; none is a server that reads its own words again.
    pub device: Option<&'a DeviceId>,
}

impl Listener<'_> {
    fn is_meant(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Anyone => false,
            Audience::Fleet(_) => true,
            Audience::Cohort(_, cohort) => self.cohort == Some(cohort),
            Audience::Device(_, device) => self.device == Some(device),
        }
    }
}

/// Something that the director said to whoever listens here. Only [`Keyring::verify_order`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedOrder {
    kind: OrderKind,
    audience: Audience,
    stamp: Stamp,
    payload: Vec<u8>,
    key: KeyId,
    seconded: bool,
    digest: Digest,
    content: Digest,
    freshness: Freshness,
}

impl VerifiedOrder {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> OrderKind {
        self.kind
    }

    /// Whom it is for.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// When it was made.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What it says: an item of `wire`.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Who signed it.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Whether operators have signed it, too: as many as have to sign a grant.
    #[must_use]
    pub fn is_seconded(&self) -> bool {
        self.seconded
    }

    /// Names the statement with its times. Signed afresh, it is another.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Names what it says: of the payload alone. Signed afresh, it is the same.
    #[must_use]
    pub fn content(&self) -> &Digest {
        &self.content
    }

    /// Whether it may still move something forward. Home, hold and revocation don't ask.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// What to compare with the last that was accepted, and to keep in its place.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        Watermark { sequence: self.stamp.sequence, digest: self.content }
    }
}

/// The highest that was accepted of something that comes in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Its sequence.
    pub sequence: u64,
    /// What it said.
    pub digest: Digest,
}

/// How something stands to the last that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It comes after it: accept it, and write the watermark down before anything follows from it.
    Newer,
    /// It is the same, brought again: nothing to do, and no replay.
    Same,
    /// It has the same sequence and says something else: an alarm, somebody signs two histories.
    Forked,
    /// It comes before it: ignored.
    Older,
}

impl Watermark {
    /// How this stands to `last`, the last that was accepted.
    #[must_use]
    pub fn after(&self, last: Option<&Self>) -> Succession {
        match last {
            None => Succession::Newer,
            Some(last) if self.sequence > last.sequence => Succession::Newer,
            Some(last) if self.sequence < last.sequence => Succession::Older,
            Some(last) if self.digest == last.digest => Succession::Same,
            Some(_) => Succession::Forked,
        }
    }
}

/// Signs what the server tells devices. `payload` is an item of `wire`.
///
/// # Errors
/// If it would be larger than devices take, or expires before it is issued.
pub fn sign_order(
    director: &SecretKey,
    kind: OrderKind,
    audience: Audience,
    stamp: Stamp,
    payload: &[u8],
) -> Result<Vec<u8>, SignError> {
    seal(director, kind.into(), audience, stamp, payload)
}

/// An operator's word that an order is to be followed. Only [`Keyring::verify_consent`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedConsent {
    key: KeyId,
    content: Digest,
}

impl VerifiedConsent {
    /// Which operator's key.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Whether it is about what `order` says.
    #[must_use]
    pub fn covers(&self, order: &VerifiedOrder) -> bool {
        self.content == order.content
    }
}

/// Signs an operator's consent to an order with this [`VerifiedOrder::content`].
///
/// # Errors
/// If it expires before it is issued.
pub fn sign_consent(
    operator: &SecretKey,
    audience: Audience,
    stamp: Stamp,
    content: &Digest,
) -> Result<Vec<u8>, SignError> {
    seal(operator, Domain::Consent, audience, stamp, &content.0)
}

impl Keyring {
    /// Checks that `bytes` are an order of the director for `listener`.
    ///
    /// `attested`: the latest time that is known from a signature, for [`VerifiedOrder::freshness`].
    ///
    /// # Errors
    /// Says at what it failed. A sequence that was there before is not an error here: see [`Watermark`].
    pub fn verify_order(
        &self,
        bytes: &[u8],
        kind: OrderKind,
        listener: Listener<'_>,
        attested: Option<UnixMs>,
    ) -> Result<VerifiedOrder, Refusal> {
        let opened = self.open_for(bytes, kind.into(), RoleKind::Director, listener)?;
        let operators = usize::from(self.needs(RoleKind::Operator)).max(1);
        Ok(VerifiedOrder {
            kind,
            stamp: opened.stamp,
            payload: opened.payload.to_owned(),
            key: opened.key(),
            seconded: opened.seconds.len() >= operators,
            digest: opened.digest,
            content: sha256(opened.payload),
            freshness: opened.stamp.freshness(attested),
            audience: opened.audience,
        })
    }

    /// Checks that `bytes` are an operator's consent for `listener`.
    ///
    /// # Errors
    /// Says at what it failed.
    pub fn verify_consent(&self, bytes: &[u8], listener: Listener<'_>) -> Result<VerifiedConsent, Refusal> {
        let domain = Domain::Consent;
        let opened = self.open_for(bytes, domain, RoleKind::Operator, listener)?;
        let content = Digest(opened.parse(domain)?);
        Ok(VerifiedConsent { key: opened.key(), content })
    }

    fn open_for<'b>(
        &self,
        bytes: &'b [u8],
        domain: Domain,
        role: RoleKind,
        listener: Listener<'_>,
    ) -> Result<Opened<'b>, Refusal> {
        let meant = |audience: &Audience| listener.is_meant(audience);
        // An operator's signature beside the director's is a second one. Beside an operator's it is another of theirs.
        let signer = |id: &KeyId, _: &[u8]| match (self.signer(role, id), role) {
            (Signer::Unknown, RoleKind::Director) => match self.signer(RoleKind::Operator, id) {
                Signer::Trusted(key) => Signer::Second(key),
                Signer::Second(_) | Signer::Revoked | Signer::Unknown => Signer::Unknown,
            },
            (signer, _) => signer,
        };
        open(bytes, domain, Some(self.fleet()), meant, signer, self.needs(role))
    }
}
