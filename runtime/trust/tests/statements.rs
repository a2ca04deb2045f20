//! What honest people do with statements, and what comes of it. And that their bytes stay as they are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod world;

use std::{env, fs, path::PathBuf};

use backstay_model::{Deed, Digest, Hardware, Name, UnixMs, Version};
use backstay_trust::{
    Bundle, BundleError, Chain, ChainError, Domain, EnrolRequest, EnrolToken, Freshness, Keyring,
    KeyringError, KeyringParts, Limits, OrderKind, Refusal, Revocation, RevocationError, Role, SignError,
    Stamp, Succession, VerifiedEnrolRequest, Watermark, sign_consent, sign_order,
};
use world::{ARTIFACT, Kind, ORDER, World, key, stamp, token};

#[test]
fn an_order_comes_back_as_it_was_signed() {
    let world = World::new();
    let kind = OrderKind::SteerProduct;
    let bytes = world.statement(Kind::Order(kind));
    let order = world.keyring.verify_order(&bytes, kind, world.listener(), Some(UnixMs(1_999))).unwrap();
    assert_eq!(order.payload(), ORDER);
    assert_eq!(order.stamp(), stamp(7));
    assert_eq!(order.key(), world.director.id());
    assert_eq!(*order.audience(), world.cohort_audience());
    assert_eq!(order.freshness(), Freshness::Fresh);
}

/// The server signs a forward order afresh from time to time: the same order, with more time to live.
#[test]
fn an_order_that_was_signed_afresh_is_the_same_order() {
    let world = World::new();
    let kind = OrderKind::SteerProduct;
    let verify = |stamp, payload: &[u8], now| {
        let bytes = sign_order(&world.director, kind, world.cohort_audience(), stamp, payload).unwrap();
        world.keyring.verify_order(&bytes, kind, world.listener(), now).unwrap()
    };
    let now = Some(UnixMs(2_000));
    let old = verify(stamp(7), ORDER, now);
    assert_eq!(old.freshness(), Freshness::Expired { since: UnixMs(2_000) });
    let afresh = verify(Stamp { expires: Some(UnixMs(3_000)), ..stamp(7) }, ORDER, now);
    assert_eq!(afresh.freshness(), Freshness::Fresh);
    assert_ne!(afresh.digest(), old.digest());
    let after = |order: &backstay_trust::VerifiedOrder| order.watermark().after(Some(&old.watermark()));
    assert_eq!(after(&afresh), Succession::Same);
    assert_eq!(after(&verify(stamp(8), ORDER, now)), Succession::Newer);
    assert_eq!(after(&verify(stamp(6), ORDER, now)), Succession::Older);
    assert_eq!(after(&verify(stamp(7), b"another item", now)), Succession::Forked);
    assert_eq!(old.watermark().after(None), Succession::Newer);
    // Without an attested time, nothing is known to have expired.
    assert_eq!(verify(stamp(7), ORDER, None).freshness(), Freshness::Fresh);
}

#[test]
fn a_consent_covers_the_order_that_it_names() {
    let world = World::new();
    let kind = OrderKind::SteerProduct;
    let order = world
        .keyring
        .verify_order(&world.statement(Kind::Order(kind)), kind, world.listener(), None)
        .unwrap();
    let consent = |content: &Digest| {
        let bytes = sign_consent(&world.operator, world.cohort_audience(), stamp(1), content).unwrap();
        world.keyring.verify_consent(&bytes, world.listener()).unwrap()
    };
    assert!(consent(order.content()).covers(&order));
    assert!(!consent(order.digest()).covers(&order));
}

#[test]
fn a_plugin_gets_the_lesser_of_what_was_asked_and_granted() {
    let world = World::new();
    let plugin = world
        .with_want(|want| {
            let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
            world.keyring.verify_plugin(&release, &grant, ARTIFACT.to_vec(), want)
        })
        .unwrap();
    assert_eq!(plugin.limits(), Limits { effects_per_step: 8, ..Limits::DEFAULT });
    assert_eq!(plugin.bytes(), ARTIFACT);
    assert_eq!(plugin.stamp().sequence, 7);
    let run = |name| Deed::Run { command: Name::parse(name).unwrap(), args: Vec::new() };
    assert_eq!(plugin.permissions().check(&run("restart-pump")), Ok(()));
    assert!(plugin.permissions().check(&run("reboot")).is_err());
}

#[test]
fn a_bundle_comes_back_as_it_was_packed_and_is_cut_nowhere() {
    let world = World::new();
    let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
    let bytes = Bundle::new(&release, &grant, &[ARTIFACT, b"other"]).encode().unwrap();
    let bundle = Bundle::decode(&bytes).unwrap();
    assert_eq!(bundle.artifact(&world.artifact().digest), Some(ARTIFACT));
    assert_eq!(bundle.artifact(&Digest([0; 32])), None);
    let granted =
        world.with_want(|want| world.keyring.verify_grant(bundle.release, bundle.grant, want)).unwrap();
    let code = bundle.artifact(&granted.artifact().digest).unwrap();
    assert_eq!(granted.with_artifact(code.to_vec()).unwrap().bytes(), ARTIFACT);

    for end in 0..bytes.len() {
        assert!(Bundle::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Bundle::decode(&longer), Err(BundleError::Trailing { bytes: 1 }));
    // A length that nothing can have is refused before anything is looked for.
    let bomb = [b"bkp1".as_slice(), &u32::MAX.to_le_bytes()].concat();
    assert!(matches!(Bundle::decode(&bomb), Err(BundleError::TooLarge { part: "release", .. })));
    let empty = Bundle::new(&release, &grant, &[]).encode().unwrap();
    assert_eq!(Bundle::decode(&empty).unwrap().artifacts().count(), 0);
}

#[test]
fn a_product_release_says_where_it_may_be_left_for() {
    let world = World::new();
    let bytes = world.statement(Kind::ProductRelease);
    let release = world.keyring.verify_release(&bytes, Some(UnixMs(5_000))).unwrap();
    assert!(release.permits_home_to(&Digest([4; 32])));
    assert!(!release.permits_home_to(&Digest([5; 32])));
    assert!(release.fits(&Hardware::parse("pump-a").unwrap()));
    assert!(!release.fits(&Hardware::parse("pump-b").unwrap()));
    // Expiry is told and doesn't refuse: the device may have to go home to it.
    assert_eq!(release.freshness(), Freshness::Expired { since: UnixMs(2_000) });
    let for_nobody = backstay_trust::ProductRelease { hardware: Vec::new(), ..world.product() };
    let refused = for_nobody.sign(&world.release, world.fleet.clone(), stamp(1));
    assert!(matches!(refused, Err(SignError::Inconsistent { .. })));
}

/// The request shows that somebody has both the key and the token, and gives neither away.
#[test]
fn a_token_enrols_the_one_who_has_it() {
    let world = World::new();
    let bytes = world.statement(Kind::EnrolRequest);
    let request = VerifiedEnrolRequest::verify(&bytes, &world.fleet).unwrap();
    assert_eq!(*request.key(), world.device_key.public());
    assert!(request.proves(&token()));
    assert!(!request.proves(&EnrolToken::from_random([0xac; 16])));
    assert!(!bytes.windows(16).any(|window| window == [0xab; 16]));
    assert_eq!(EnrolToken::parse(&token().to_text()).unwrap(), token());
    assert!(EnrolToken::parse("abab").is_err());
    assert!(EnrolToken::parse(&"AB".repeat(16)).is_err());

    let hardware = Hardware::parse("pump-a").unwrap();
    let without = EnrolRequest::sign(&world.device_key, world.fleet.clone(), hardware, 99, None).unwrap();
    let without = VerifiedEnrolRequest::verify(&without, &world.fleet).unwrap();
    assert!(!without.has_proof() && !without.proves(&token()));
}

#[test]
fn an_enrolment_is_for_the_key_that_asked() {
    let world = World::new();
    let bytes = world.statement(Kind::Enrolment);
    let enrolment = world.keyring.verify_enrolment(&bytes, &world.device_key.id()).unwrap();
    assert_eq!(*enrolment.enrolment(), world.enrolment());
    assert!(world.keyring.verify_enrolment(&bytes, &key(77).id()).is_err());
    let Watermark { sequence, .. } = enrolment.watermark();
    assert_eq!(sequence, 7);
}

#[test]
fn a_keyring_that_proves_little_is_refused() {
    let world = World::new();
    let bytes = world.keyring.encode();
    assert_eq!(Keyring::decode(&bytes).unwrap(), world.keyring);
    assert_eq!(Keyring::decode(&[bytes.as_slice(), &[0]].concat()), Err(KeyringError::Malformed));
    for end in 0..bytes.len() {
        assert!(Keyring::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let parts = || world.keyring.parts().clone();
    let director = world.director.public();
    let shared = KeyringParts { release: Role::of(director), ..parts() };
    assert!(matches!(Keyring::new(shared), Err(KeyringError::Shared { .. })));
    let twice = KeyringParts { director: Role { threshold: 1, keys: vec![director, director] }, ..parts() };
    assert!(matches!(Keyring::new(twice), Err(KeyringError::Shared { .. })));
    let none = KeyringParts { director: Role { threshold: 1, keys: Vec::new() }, ..parts() };
    assert!(matches!(Keyring::new(none), Err(KeyringError::Keys { .. })));
    let refused = |role: Role| {
        let refused = Keyring::new(KeyringParts { operator: role, ..parts() });
        assert!(matches!(refused, Err(KeyringError::Threshold { .. })), "{refused:?}");
    };
    refused(Role { threshold: 2, keys: vec![key(90).public()] });
    refused(Role { threshold: 0, keys: vec![key(90).public()] });
    // The server has one key, so nobody could ever steer.
    let two_of = Role { threshold: 2, keys: vec![director, key(90).public()] };
    let alone = Keyring::new(KeyringParts { director: two_of, ..parts() });
    assert!(matches!(alone, Err(KeyringError::Threshold { .. })));
    let nobody = Role { threshold: 1, keys: Vec::new() };
    let nobody = Keyring::new(KeyringParts { revoker: nobody, ..parts() });
    assert!(matches!(nobody, Err(KeyringError::Threshold { .. })));
    for (number, before) in [(0, None), (1, Some(Digest([1; 32]))), (2, None)] {
        let odd = Keyring::new(KeyringParts { number, before, ..parts() });
        assert_eq!(odd, Err(KeyringError::Before { number }));
    }
    // While a key is being replaced there are two, and either is enough.
    let both = Role { threshold: 1, keys: vec![key(90).public(), director] };
    let keyring = Keyring::new(KeyringParts { director: both, ..parts() }).unwrap();
    let bytes = world.statement(Kind::Order(OrderKind::Receipt));
    assert!(keyring.verify_order(&bytes, OrderKind::Receipt, world.listener(), None).is_ok());
}

/// What devices in the field hold was signed once and is not signed again.
#[test]
fn the_bytes_of_statements_stay_as_they_are() {
    let world = World::new();
    for kind in Kind::ALL {
        golden(&format!("signed-{}", name(kind)), &world.statement(kind));
    }
    golden("keyring-2", &world.keyring.encode());
    let mut shared = world.product().draft(world.fleet.clone(), stamp(7)).unwrap();
    [key(60), key(61), key(60)].iter().for_each(|key| shared.sign(key).unwrap());
    golden("signed-product-release-by-two", &shared.encode().unwrap());
    let older = Version::parse("1.2.3").unwrap();
    let mut back = world.grant().draft_back_to(&older, world.fleet.clone(), stamp(8)).unwrap();
    back.sign(&world.operator).unwrap();
    golden("signed-grant-back", &back.encode().unwrap());
    let floor = Revocation { security_floor: 300, ..world.revocation() };
    let floor = floor.sign(&world.revoker, world.fleet.clone(), stamp(7)).unwrap();
    golden("signed-revocation-with-a-floor", &floor);
    assert_eq!(world.keyring.verify_revocation(&floor).unwrap().revocation().security_floor, 300);
}

/// The first form of a keyring is in images that are out. Its bytes and its digest stay, and what its keys sign is
/// believed; what it has no roles for, nobody may do.
#[test]
fn a_keyring_of_the_first_form_is_still_read() {
    let world = World::new();
    let bytes = read("keyring");
    let old = Keyring::decode(&bytes).unwrap();
    assert_eq!(old.encode(), bytes);
    assert_eq!(old.digest().to_string(), "bfb59b06e32e034d4424876064176ce45ca931341959e58d6cb08258c71990e7");
    assert_ne!(old.digest(), world.keyring.digest());
    assert_eq!(old.parts().operator, world.keyring.parts().operator);
    assert!(old.verify_release(&world.statement(Kind::ProductRelease), None).is_ok());
    assert_eq!(old.parts().root, Role::none());
    let link = world.link(KeyringParts { before: Some(*old.digest()), ..world.next_parts() }, &[&world.root]);
    assert_eq!(Chain::new(old.clone()).follow(&link), Err(ChainError::NoRoot { number: 1 }));
    let domain = Domain::Revocation;
    let refused = old.verify_revocation(&world.statement(Kind::Revocation));
    assert_eq!(
        refused,
        Err(RevocationError::Refused(Refusal::UnknownKey { domain, key: world.revoker.id() }))
    );
    for end in 0..bytes.len() {
        assert!(Keyring::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/wire/{name}.hex"))
}

fn read(name: &str) -> Vec<u8> {
    let path = path(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn golden(name: &str, bytes: &[u8]) {
    let path = path(name);
    let text: String = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    if env::var_os("BACKSTAY_REWRITE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, golden, "{name} is no longer what {} has", path.display());
}

fn name(kind: Kind) -> &'static str {
    use backstay_trust::DeviceKind;
    match kind {
        Kind::Order(OrderKind::SteerProduct) => "steer-product",
        Kind::Order(OrderKind::SteerPlugins) => "steer-plugins",
        Kind::Order(OrderKind::DeviceOrder) => "device-order",
        Kind::Order(OrderKind::TrustFloor) => "trust-floor",
        Kind::Order(OrderKind::Receipt) => "receipt",
        Kind::Word(DeviceKind::State) => "device-state",
        Kind::Word(DeviceKind::Plugins) => "device-plugins",
        Kind::Word(DeviceKind::Presence) => "device-presence",
        Kind::Word(DeviceKind::Log) => "device-log",
        Kind::Consent => "consent",
        Kind::PluginRelease => "plugin-release",
        Kind::Grant => "grant",
        Kind::ProductRelease => "product-release",
        Kind::EnrolRequest => "enrol-request",
        Kind::Enrolment => "enrolment",
        Kind::Keyring => "keyring",
        Kind::Revocation => "revocation",
        Kind::Verdict => "verdict",
        Kind::KnownGood => "known-good",
    }
}
