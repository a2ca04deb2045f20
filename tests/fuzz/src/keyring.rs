//! Keyrings: who may sign what.

use std::sync::OnceLock;

use backstay_model::{Digest, FleetId, Name};
use backstay_trust::{Bundle, Keyring, KeyringError, KeyringParts, PublicKey, Role, RoleKind, Vendor};

use crate::{
    Came, as_they_are, is_told,
    memory::within,
    script::{EDITED, INSIDE, PLAIN, Script, way},
    world::{World, key},
};

/// The keyring as bytes and as parts, and one key for each byte at most.
const HELD_MAX: usize = 256 * 1024;

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 3) {
        Some((PLAIN, rest)) => reads(rest.0),
        Some((EDITED, mut script)) => {
            let mut bytes = World::new().keyring.encode();
            script.edit(&mut bytes);
            reads(&bytes)
        }
        Some((_, script)) => is_made(script),
        None => Came::Refused,
    }
}

fn reads(bytes: &[u8]) -> Came {
    match within(HELD_MAX, || Keyring::decode(bytes)) {
        Ok(keyring) => {
            assert_eq!(keyring.encode(), bytes, "a keyring has one form");
            assert_eq!(*keyring.digest(), Bundle::digest(bytes), "a digest names the bytes");
            is_worth_trusting(&keyring);
            Came::Taken
        }
        Err(error) => {
            is_refused(&error);
            Came::Refused
        }
    }
}

fn is_refused(error: &KeyringError) {
    is_told(error);
    assert!(error.help().is_some(), "{error}: what to do?");
}

/// A keyring of any roles is refused, or is one and reads as it was made.
fn is_made(mut script: Script<'_>) -> Came {
    static POOL: OnceLock<Vec<PublicKey>> = OnceLock::new();
    let pool = POOL.get_or_init(|| (1..=24).map(|seed| key(seed).public()).collect());
    let role = |script: &mut Script<'_>| {
        let threshold = script.byte() % 11;
        let keys = (0..script.byte() % 10).map(|_| *script.one(pool)).collect();
        Role { threshold, keys }
    };
    let number = script.wide();
    let parts = KeyringParts {
        number,
        fleet: FleetId::parse("pumps").unwrap(),
        before: script.flip().then(|| Digest([script.byte(); 32])),
        operator: role(&mut script),
        release: role(&mut script),
        director: role(&mut script),
        root: role(&mut script),
        revoker: role(&mut script),
        verdict: role(&mut script),
        device: role(&mut script),
        vendors: (0..script.byte() % 66)
            .map(|_| Vendor { prefix: Name::parse("acme").unwrap(), role: role(&mut script) })
            .collect(),
    };
    match Keyring::new(parts.clone()) {
        Ok(keyring) => {
            is_worth_trusting(&keyring);
            let again = Keyring::decode(&keyring.encode()).unwrap();
            assert_eq!((again.parts(), again.digest()), (&parts, keyring.digest()));
            Came::Taken
        }
        Err(error) => {
            is_refused(&error);
            Came::Refused
        }
    }
}

/// What a keyring promises, worked out anew.
fn is_worth_trusting(keyring: &Keyring) {
    let parts = keyring.parts();
    assert!(keyring.encode().len() <= Keyring::BYTES_MAX);
    let mut owners: Vec<(RoleKind, usize, PublicKey)> = Vec::new();
    let vendors = parts.vendors.iter().map(|vendor| (RoleKind::Vendor, &vendor.role));
    for (at, (kind, role)) in parts.roles().into_iter().chain(vendors).enumerate() {
        let (has, needs) = (role.keys.len(), usize::from(role.threshold));
        assert!(has <= 8 && needs <= has, "{kind:?}: {needs} of {has} can't sign");
        assert_eq!(has == 0, needs == 0, "{kind:?}: a role of nobody needs nobody, and none else does");
        owners.extend(role.keys.iter().map(|key| (kind, at, *key)));
    }
    for (at, (kind, role, key)) in owners.iter().enumerate() {
        assert!(parts.has(&key.id()));
        for (other, other_role, same) in owners.iter().skip(at + 1).filter(|(_, _, same)| same == key) {
            // A vendor may have several prefixes.
            let is_vendors = *kind == RoleKind::Vendor && *other == RoleKind::Vendor && role != other_role;
            assert!(is_vendors, "{} counts for {kind:?} and for {other:?}", same.id());
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = as_they_are([World::new().keyring.encode(), World::of("fleet-2", 40).keyring.encode()]);
    seeds.push(vec![EDITED]);
    // Number 1, three roles of one key each.
    seeds.push([&[INSIDE, 1][..], &[0; 7], &[0], &[1, 1, 0], &[1, 1, 1], &[1, 1, 2]].concat());
    let second = [&[INSIDE, 2][..], &[0; 7], &[1, 9], &[2, 3, 0, 1, 2], &[1, 1, 3], &[1, 1, 4], &[1, 1, 5]];
    seeds.push([second.concat(), vec![0, 0, 0, 0, 0, 0, 1, 1, 1, 9]].concat());
    seeds
}
