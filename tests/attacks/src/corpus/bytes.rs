//! Bytes that are to be read: a frame with a message in it, a bundle, a keyring.

use backstay_model::{Beat, Health, Name};
use backstay_trust::{KeyringParts, Role, Vendor};
use backstay_wire::{decode, encode};
use serde::Deserialize;

use super::{Damage, Verdict};
use crate::{Keys, Shipped, steer};

/// A steering message in its frame, without an envelope around it.
///
/// ```text
/// schema u16 | version u16 | flags u16 | length u32 | body
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Item {
    /// A beat comes instead.
    beat: bool,
    /// What is done to it.
    damage: Vec<Damage>,
}

impl Item {
    pub(super) fn tried(&self) -> Verdict {
        let mut bytes = match self.beat {
            true => encode(&Beat { nonce: 1, count: 1, health: Health::Good }).unwrap(),
            false => encode(&steer(6, "1.5.0")).unwrap(),
        };
        Damage::all(&self.damage, &mut bytes);
        match decode::<backstay_model::Steer>(&bytes, usize::MAX) {
            Ok(steer) => Verdict::Accepted(format!("{steer:?}")),
            Err(error) => Verdict::of(&error, error.help()),
        }
    }
}

/// A plugin as one file.
///
/// ```text
/// "bkp1" | length u32 | release | length u32 | grant | artifacts u32 | { digest | length u32 | bytes } * artifacts
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bundle {
    /// What is done to it.
    damage: Vec<Damage>,
}

impl Bundle {
    pub(super) fn tried(&self) -> Verdict {
        let mut bytes = Shipped::new(&Keys::new()).bundle();
        Damage::all(&self.damage, &mut bytes);
        match backstay_trust::Bundle::decode(&bytes) {
            Ok(bundle) => Verdict::Accepted(format!("{} artifacts", bundle.artifacts().count())),
            Err(error) => Verdict::of(&error, error.help()),
        }
    }
}

/// The keys that are trusted, as a file: `"bkk2"`, then what the keyring says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keyring {
    /// The operator's key is the director's too.
    shared: bool,
    /// Nobody is trusted with grants.
    nobody: bool,
    /// So many signatures are said to be wanted of operators.
    threshold: Option<u8>,
    /// So many vendors are trusted.
    vendors: usize,
    /// What is done to it.
    damage: Vec<Damage>,
}

impl Keyring {
    pub(super) fn tried(&self) -> Verdict {
        let keys = Keys::new();
        let honest = keys.keyring.parts().clone();
        let mut parts = KeyringParts { ..honest.clone() };
        if self.shared {
            parts.operator = Role::of(keys.director.public());
        }
        if self.nobody {
            parts.operator.keys.clear();
        }
        if let Some(threshold) = self.threshold {
            parts.operator.threshold = threshold;
        }
        for n in 0..self.vendors {
            let prefix = Name::parse(&format!("vendor-{n}")).unwrap();
            parts.vendors.push(Vendor { prefix, role: Role::of(keys.vendor.public()) });
        }
        let keyring = if parts == honest {
            backstay_trust::Keyring::new(honest)
        } else {
            backstay_trust::Keyring::new(parts)
        };
        let read = keyring.and_then(|keyring| {
            let mut bytes = keyring.encode();
            Damage::all(&self.damage, &mut bytes);
            backstay_trust::Keyring::decode(&bytes)
        });
        match read {
            Ok(keyring) => Verdict::Accepted(keyring.digest().to_string()),
            Err(error) => Verdict::of(&error, error.help()),
        }
    }
}
