//! What a device says, signed with its own key. Beats are not: they only show that something is there.

use alloc::{borrow::ToOwned, vec::Vec};

use backstay_model::{DeviceId, Digest, FleetId};

use crate::{
    Audience, Domain, PublicKey, Refusal, SecretKey, SignError, Stamp, Watermark,
    envelope::{Signer, open, sha256},
    statement::seal,
};

/// What a device may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// What it runs.
    State,
    /// Which plugins it has.
    Plugins,
    /// Whether it is connected.
    Presence,
    /// Journal records.
    Log,
}

impl From<DeviceKind> for Domain {
    fn from(kind: DeviceKind) -> Self {
        match kind {
            DeviceKind::State => Self::DeviceState,
            DeviceKind::Plugins => Self::DevicePlugins,
            DeviceKind::Presence => Self::DevicePresence,
            DeviceKind::Log => Self::DeviceLog,
        }
    }
}

/// Something that a device said. Only [`verify_word`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedWord {
    kind: DeviceKind,
    device: DeviceId,
    stamp: Stamp,
    payload: Vec<u8>,
    digest: Digest,
    content: Digest,
}

impl VerifiedWord {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Who said it.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// When, by the device's count. Its clock may be wrong, or missing.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What it says: an item of `wire`.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Names the statement.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What to compare with the last that was accepted.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        Watermark { sequence: self.stamp.sequence, digest: self.content }
    }
}

/// Signs what `device` says. `payload` is an item of `wire`.
///
/// # Errors
/// If it would be larger than a server takes.
pub fn sign_word(
    key: &SecretKey,
    kind: DeviceKind,
    fleet: FleetId,
    device: DeviceId,
    stamp: Stamp,
    payload: &[u8],
) -> Result<Vec<u8>, SignError> {
    seal(key, kind.into(), Audience::Device(fleet, device), stamp, payload)
}

/// Checks that `bytes` were said by `device` of `fleet`, whose enrolled key is `key`.
///
/// # Errors
/// Says at what it failed.
pub fn verify_word(
    bytes: &[u8],
    kind: DeviceKind,
    fleet: &FleetId,
    device: &DeviceId,
    key: &PublicKey,
) -> Result<VerifiedWord, Refusal> {
    let meant = |audience: &Audience| matches!(audience, Audience::Device(_, of) if of == device);
    let opened = open(bytes, kind.into(), Some(fleet), meant, |_, _| Signer::Trusted(*key), 1)?;
    Ok(VerifiedWord {
        kind,
        device: device.clone(),
        stamp: opened.stamp,
        payload: opened.payload.to_owned(),
        digest: opened.digest,
        content: sha256(opened.payload),
    })
}
