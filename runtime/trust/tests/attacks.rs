//! What somebody who owns the broker, or a file server, or a key of another role can try.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod world;

use std::collections::BTreeMap;

use backstay_model::{CohortId, DeviceId, FleetId, PluginId, UnixMs};
use backstay_trust::{
    Audience, Bundle, Domain, Floor, Keyring, Listener, OrderKind, PluginError, Refusal, Target, Want,
    sign_order, sign_verdict,
};
use world::{ARTIFACT, Kind, ORDER, World, stamp};

/// A small generator, so that a failing round can be had again.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let world = World::new();
    for kind in Kind::ALL {
        let bytes = world.statement(kind);
        assert_eq!(world.verify(kind, &bytes), Ok(()), "{kind:?}");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(world.verify(kind, &flipped).is_err(), "{kind:?} with bit {bit} flipped");
        }
    }
}

#[test]
fn every_shorter_and_longer_statement_is_refused() {
    let world = World::new();
    for kind in Kind::ALL {
        let bytes = world.statement(kind);
        for end in 0..bytes.len() {
            assert!(
                matches!(
                    world.verify(kind, &bytes[..end]),
                    Err(Refusal::Truncated { .. } | Refusal::Malformed { .. } | Refusal::NotAStatement)
                ),
                "{kind:?} cut at {end}"
            );
        }
        for more in [1, 96] {
            let longer = [bytes.clone(), bytes[bytes.len() - more..].to_vec()].concat();
            assert!(
                matches!(world.verify(kind, &longer), Err(Refusal::Trailing { bytes, .. }) if bytes == more),
                "{kind:?} with {more} bytes behind it"
            );
        }
    }
}

/// Every valid statement is offered where every other kind is wanted; then with the kind that it claims
/// changed to the wanted one, which the signature covers.
#[test]
fn no_statement_stands_in_for_another() {
    let world = World::new();
    for kind in Kind::ALL {
        let bytes = world.statement(kind);
        for wanted in Kind::ALL.into_iter().filter(|wanted| *wanted != kind) {
            let refused = world.verify(wanted, &bytes).unwrap_err();
            assert!(
                matches!(refused, Refusal::OtherDomain { .. } | Refusal::TooLarge { .. }),
                "{kind:?} as {wanted:?}: {refused}"
            );
            let mut disguised = bytes.clone();
            disguised[4] = world.statement(wanted)[4];
            assert!(world.verify(wanted, &disguised).is_err(), "{kind:?} disguised as {wanted:?}");
        }
    }
}

/// Same kinds, same names, other keys: the fleet next door. And the same keys for another fleet.
#[test]
fn another_fleet_is_refused() {
    let (ours, next_door) = (World::new(), World::of("valves", 1));
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::PluginRelease) {
        let refused = ours.verify(kind, &next_door.statement(kind));
        assert!(matches!(refused, Err(Refusal::OtherFleet { .. })), "{kind:?}: {refused:?}");
    }
}

#[test]
fn other_keys_are_refused() {
    let (ours, stranger) = (World::new(), World::of("pumps", 101));
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::EnrolRequest) {
        let bytes = stranger.statement(kind);
        let refused = ours.verify(kind, &bytes);
        assert!(matches!(refused, Err(Refusal::UnknownKey { .. })), "{kind:?}: {refused:?}");

        // With the name of a trusted key put in its place, the signature is still the stranger's.
        let honest = ours.statement(kind);
        let mut disguised = bytes;
        let at = disguised.len() - 96;
        disguised[at..at + 32].copy_from_slice(&honest[honest.len() - 96..][..32]);
        let refused = ours.verify(kind, &disguised);
        assert!(matches!(refused, Err(Refusal::BadSignature { .. })), "{kind:?}: {refused:?}");
    }
}

/// A stolen key of one role is worth nothing in another.
#[test]
fn a_key_is_trusted_with_its_own_role_only() {
    let world = World::new();
    let kind = OrderKind::SteerProduct;
    for thief in [&world.operator, &world.release, &world.vendor, &world.device_key] {
        let bytes = sign_order(thief, kind, world.cohort_audience(), stamp(8), ORDER).unwrap();
        let refused = world.verify(Kind::Order(kind), &bytes);
        assert_eq!(refused, Err(Refusal::UnknownKey { domain: Domain::SteerProduct, key: thief.id() }));
    }
    for thief in [&world.operator, &world.director, &world.vendor, &world.device_key] {
        let bytes = world.product().sign(thief, world.fleet.clone(), stamp(8)).unwrap();
        assert!(matches!(world.verify(Kind::ProductRelease, &bytes), Err(Refusal::UnknownKey { .. })));
    }
    for thief in [&world.release, &world.director, &world.vendor, &world.device_key] {
        let bytes = world.grant().sign(thief, world.fleet.clone(), stamp(8)).unwrap();
        assert!(matches!(world.verify(Kind::Grant, &bytes), Err(Refusal::UnknownKey { .. })));
    }
    for thief in [&world.release, &world.director, &world.operator, &world.root] {
        let (verdict, fleet) = (world.verdict(), world.fleet.clone());
        let bytes = sign_verdict(thief, &verdict, fleet, UnixMs(1_000), UnixMs(2_000)).unwrap();
        assert!(matches!(world.verify(Kind::Verdict, &bytes), Err(Refusal::UnknownKey { .. })));
    }
    for thief in [&world.operator, &world.director, &world.verdict, &world.root] {
        let bytes = world.known_good().sign(thief, world.fleet.clone(), stamp(8)).unwrap();
        assert!(matches!(world.verify(Kind::KnownGood, &bytes), Err(Refusal::UnknownKey { .. })));
    }
    let product = world.product().sign(&world.verdict, world.fleet.clone(), stamp(8)).unwrap();
    assert!(matches!(world.verify(Kind::ProductRelease, &product), Err(Refusal::UnknownKey { .. })));
}

#[test]
fn only_those_who_are_meant_listen() {
    let world = World::new();
    let fleet = || world.fleet.clone();
    let other_cohort = CohortId::parse("rest").unwrap();
    let other_device = DeviceId::parse("pump-8").unwrap();
    let kind = OrderKind::SteerProduct;
    let hears = |audience, listener| {
        let bytes = sign_order(&world.director, kind, audience, stamp(7), ORDER).unwrap();
        world.keyring.verify_order(&bytes, kind, listener, None)
    };
    for audience in [
        Audience::Fleet(fleet()),
        Audience::Cohort(fleet(), world.cohort.clone()),
        Audience::Device(fleet(), world.device.clone()),
    ] {
        assert!(hears(audience, world.listener()).is_ok());
    }
    for audience in [Audience::Cohort(fleet(), other_cohort), Audience::Device(fleet(), other_device)] {
        assert!(matches!(hears(audience, world.listener()), Err(Refusal::OtherAudience { .. })));
    }
    // Before it is enrolled, a device is in no cohort and has no id.
    let nobody = Listener { cohort: None, device: None };
    assert!(hears(Audience::Fleet(fleet()), nobody).is_ok());
    assert!(matches!(hears(world.cohort_audience(), nobody), Err(Refusal::OtherAudience { .. })));
    // "Anyone" is no fleet, so no order is for anyone.
    assert!(matches!(hears(Audience::Anyone, world.listener()), Err(Refusal::OtherFleet { .. })));
    assert!(FleetId::parse("").is_err());
}

/// (R, S + L) is the other form of a signature (R, S) that careless verifiers accept.
#[test]
fn the_other_form_of_a_signature_is_refused() {
    const ORDER_OF_THE_GROUP: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let world = World::new();
    for kind in Kind::ALL {
        let mut bytes = world.statement(kind);
        let at = bytes.len() - 32;
        let mut carry = 0;
        for (byte, add) in bytes[at..].iter_mut().zip(ORDER_OF_THE_GROUP) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        assert!(matches!(world.verify(kind, &bytes), Err(Refusal::BadSignature { .. })), "{kind:?}");
    }
}

/// A vendor who is trusted with one name signs a plugin under somebody else's, or one that begins like theirs.
#[test]
fn a_vendor_releases_under_their_own_name_only() {
    let world = World::new();
    for name in ["other/executor-pump", "acme-2/executor-pump", "acm/executor-pump"] {
        let id = PluginId::parse(name).unwrap();
        let plugin = backstay_trust::PluginRelease { id: id.clone(), ..world.plugin() };
        let bytes = plugin.sign(&world.vendor, stamp(7)).unwrap();
        let refused = world.keyring.verify_plugin_release(&bytes);
        assert_eq!(refused, Err(PluginError::ForeignName { plugin: id, key: world.vendor.id() }));
    }
}

#[test]
fn a_host_gets_only_what_it_can_run() {
    let world = World::new();
    let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
    let verify = |want: &Want<'_>| world.keyring.verify_plugin(&release, &grant, ARTIFACT.to_vec(), want);
    let id = world.plugin().id;
    let floors = |floor| BTreeMap::from([(id.clone(), floor)]);
    let other_target = Target::parse("aarch64-unknown-linux-musl").unwrap();
    let other_engine = "backstay-2".parse().unwrap();
    let other_world = "backstay:policy/policy@1.0.0".parse().unwrap();
    world.with_want(|want| {
        assert!(verify(&Want { floors: &floors(Floor::of_sequence(7)), ..*want }).is_ok());
        let refused = verify(&Want { floors: &floors(Floor::of_sequence(8)), ..*want });
        assert_eq!(refused, Err(PluginError::Older { plugin: id.clone(), sequence: 7, floor: 8 }));
        let refused = verify(&Want { target: &other_target, ..*want });
        assert!(matches!(refused, Err(PluginError::NoArtifact { .. })));
        let refused = verify(&Want { engine: &other_engine, ..*want });
        assert!(matches!(refused, Err(PluginError::NoArtifact { .. })));
        let refused = verify(&Want { world: &other_world, ..*want });
        assert!(matches!(refused, Err(PluginError::OtherWorld { .. })));
    });
}

#[test]
fn what_is_larger_than_its_kind_is_not_looked_into() {
    let world = World::new();
    for kind in Kind::ALL {
        let mut bytes = world.statement(kind);
        bytes.resize(256 * 1024, 0);
        assert!(matches!(world.verify(kind, &bytes), Err(Refusal::TooLarge { .. })), "{kind:?}");
    }
}

/// Bytes that anybody may have made up: noise, and valid statements with some of it in them.
#[test]
fn made_up_bytes_are_refused_and_never_panic() {
    let world = World::new();
    let mut rng = Rng(0x5eed_0001);
    let statements = Kind::ALL.map(|kind| world.statement(kind));
    let keyring = world.keyring.encode();
    let bundle = Bundle::new(&statements[9], &statements[10], &[ARTIFACT]).encode().unwrap();
    for round in 0..20_000 {
        let mut bytes: Vec<u8> = match round % 3 {
            0 => (0..rng.below(400)).map(|_| rng.next() as u8).collect(),
            1 => statements[rng.below(statements.len())].clone(),
            _ => [&keyring, &bundle][rng.below(2)].clone(),
        };
        let original = bytes.clone();
        for _ in 0..=rng.below(4) {
            if !bytes.is_empty() {
                let at = rng.below(bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, rng.next() as u8][rng.below(6)];
            }
        }
        if bytes == original {
            continue;
        }
        let kind = Kind::ALL[rng.below(Kind::ALL.len())];
        assert!(world.verify(kind, &bytes).is_err(), "round {round}");
        let _ = Bundle::decode(&bytes);
        // A keyring isn't signed: a changed one may be one, but never the same.
        assert_ne!(Keyring::decode(&bytes).as_ref(), Ok(&world.keyring), "round {round}");
    }
}
