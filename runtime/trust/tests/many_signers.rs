//! Several who have to agree: k of n signatures, keyrings that follow one another, and what is taken back.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test is about the refusals that it names")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod world;

use backstay_model::{Digest, FleetId, Millis, UnixMs, Version};
use backstay_trust::{
    Accepted, Audience, Chain, ChainError, Claim, Domain, Floor, Keyring, KeyringParts, OldestCompiler,
    OldestRelease, OrderKind, PluginError, PluginPart, Refusal, Revocation, RevocationError, Role, SecretKey,
    SignError, Stamp, Statement, Step, Succession, Vendor, sign_order,
};
use world::{ARTIFACT, Kind, ORDER, World, key, stamp};

/// Two of three.
fn role(keys: &[&SecretKey]) -> Role {
    Role { threshold: 2, keys: keys.iter().map(|key| key.public()).collect() }
}

fn signed(mut statement: Statement, keys: &[&SecretKey]) -> Vec<u8> {
    keys.iter().for_each(|key| statement.sign(key).unwrap());
    statement.encode().unwrap()
}

#[test]
fn two_of_three_have_to_sign_a_release() {
    let world = World::new();
    let [a, b, c, stranger] = [60, 61, 62, 63].map(key);
    let parts = KeyringParts { release: role(&[&a, &b, &c]), ..world.keyring.parts().clone() };
    let keyring = Keyring::new(parts).unwrap();
    let domain = Domain::ProductRelease;
    let by = |keys: &[&SecretKey]| {
        let draft = world.product().draft(world.fleet.clone(), stamp(7)).unwrap();
        keyring.verify_release(&signed(draft, keys), None).map(drop)
    };
    for two in [[&a, &b], [&a, &c], [&b, &c], [&c, &a]] {
        assert_eq!(by(&two), Ok(()));
    }
    assert_eq!(by(&[&a, &b, &c]), Ok(()));
    assert_eq!(by(&[&a]), Err(Refusal::TooFew { domain, has: 1, needs: 2 }));
    // The same key twice counts once, and strangers don't count, nor do they harm.
    assert_eq!(by(&[&a, &a]), Err(Refusal::TooFew { domain, has: 1, needs: 2 }));
    assert_eq!(by(&[&a, &stranger]), Err(Refusal::TooFew { domain, has: 1, needs: 2 }));
    assert_eq!(by(&[&stranger]), Err(Refusal::UnknownKey { domain, key: stranger.id() }));
    assert_eq!(by(&[&a, &stranger, &b]), Ok(()));
    // A key of another role is a stranger's.
    assert_eq!(by(&[&a, &world.operator]), Err(Refusal::TooFew { domain, has: 1, needs: 2 }));
}

/// Whoever signs first, the bytes are the same; and a set of signatures has no other form.
#[test]
fn a_set_of_signatures_has_one_form() {
    let world = World::new();
    let [a, b] = [60, 61].map(key);
    let draft = || world.product().draft(world.fleet.clone(), stamp(7)).unwrap();
    let both = signed(draft(), &[&a, &b]);
    assert_eq!(signed(draft(), &[&b, &a]), both);
    assert_eq!(signed(draft(), &[&b, &a, &b]), both);
    // Handed on as a file and signed there.
    let handed_on = Statement::read(&signed(draft(), &[&a])).unwrap();
    assert_eq!(handed_on.signers().collect::<Vec<_>>(), [a.id()]);
    assert_eq!(signed(handed_on.clone(), &[&b]), both);
    assert!(handed_on.is_signed_by(&a.public()) && !handed_on.is_signed_by(&b.public()));

    let parts = KeyringParts { release: role(&[&a, &b]), ..world.keyring.parts().clone() };
    let keyring = Keyring::new(parts).unwrap();
    assert!(keyring.verify_release(&both, None).is_ok());
    let (front, signatures) = both.split_at(both.len() - 2 * 96);
    let (one, other) = signatures.split_at(96);
    let malformed = Err(Refusal::Malformed { domain: Domain::ProductRelease, part: "order of signatures" });
    for disordered in [[front, other, one].concat(), [front, one, one].concat()] {
        assert_eq!(keyring.verify_release(&disordered, None).map(drop), malformed);
    }
    // One of the two is wrong: it is not passed over, even where the others would be enough.
    let loose =
        KeyringParts { release: Role { threshold: 1, ..role(&[&a, &b]) }, ..world.keyring.parts().clone() };
    let loose = Keyring::new(loose).unwrap();
    let mut wrong = both.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert!(matches!(loose.verify_release(&wrong, None), Err(Refusal::BadSignature { .. })));
}

/// A key in a device of its own signs the bytes that it is given. What comes back is checked before it is used.
#[test]
fn a_signature_that_was_made_elsewhere_is_checked() {
    let world = World::new();
    let domain = Domain::ProductRelease;
    let mut statement = world.product().draft(world.fleet.clone(), stamp(7)).unwrap();
    assert_eq!(statement.encode(), Err(SignError::Unsigned { domain }));
    let message = statement.message();
    assert!(message.starts_with(b"backstay statement 1\0"));
    let refused = statement.add(&world.release.public(), [0; 64]);
    assert_eq!(refused, Err(SignError::NotOfKey { domain, key: world.release.id() }));
    let other =
        sign_order(&world.release, OrderKind::Receipt, Audience::Fleet(world.fleet.clone()), stamp(7), ORDER)
            .unwrap();
    let signature: [u8; 64] = other[other.len() - 64..].try_into().unwrap();
    assert!(statement.add(&world.release.public(), signature).is_err());
    for seed in 100..116 {
        statement.sign(&key(seed)).unwrap();
    }
    assert_eq!(statement.sign(&key(99)), Err(SignError::TooMany { domain, max: 16 }));
    for odd in [b"".as_slice(), b"bks", b"bkk2 something", b"bks1"] {
        assert_eq!(Statement::read(odd), Err(Refusal::NotAStatement), "{odd:?}");
    }
    assert_eq!(Statement::read(b"bks1\x63\x01"), Err(Refusal::UnknownKind { found: 0x63 }));
}

#[test]
fn a_vendor_may_be_two_of_three() {
    let world = World::new();
    let [a, b, c] = [60, 61, 62].map(key);
    let vendor = |prefix: &str, role| Vendor { prefix: prefix.parse().unwrap(), role };
    let parts = KeyringParts {
        vendors: vec![vendor("acme", role(&[&a, &b, &c])), vendor("other", Role::of(world.vendor.public()))],
        ..world.keyring.parts().clone()
    };
    let keyring = Keyring::new(parts).unwrap();
    let by = |keys: &[&SecretKey]| {
        let release = signed(world.plugin().draft(stamp(7)).unwrap(), keys);
        keyring.verify_plugin_release(&release).map(drop)
    };
    assert_eq!(by(&[&a, &c]), Ok(()));
    let domain = Domain::PluginRelease;
    let too_few = Err(PluginError::Release(Refusal::TooFew { domain, has: 1, needs: 2 }));
    assert_eq!(by(&[&b]), too_few);
    // The other vendor is trusted, but not with this name.
    assert_eq!(by(&[&b, &world.vendor]), too_few);
    let plugin = world.plugin().id;
    assert_eq!(by(&[&world.vendor]), Err(PluginError::ForeignName { plugin, key: world.vendor.id() }));
}

/// An operator's signature beside the director's is what a device asks for before it leaves what is long good.
#[test]
fn an_order_is_seconded_by_as_many_operators_as_a_grant_needs() {
    let world = World::new();
    let [a, b] = [60, 61].map(key);
    let parts = KeyringParts { operator: role(&[&a, &b]), ..world.keyring.parts().clone() };
    let keyring = Keyring::new(parts).unwrap();
    let kind = OrderKind::SteerProduct;
    let order = sign_order(&world.director, kind, world.cohort_audience(), stamp(7), ORDER).unwrap();
    let by = |keys: &[&SecretKey]| {
        let both = signed(Statement::read(&order).unwrap(), keys);
        keyring.verify_order(&both, kind, world.listener(), None).map(|order| order.is_seconded())
    };
    assert_eq!(by(&[]), Ok(false));
    assert_eq!(by(&[&a]), Ok(false));
    assert_eq!(by(&[&a, &b]), Ok(true));
    assert_eq!(by(&[&world.release, &world.vendor, &a]), Ok(false));
    // Without the director's it is no order, however many operators sign.
    let refused = keyring.verify_order(
        &signed(Statement::read(&order).unwrap(), &[&a, &b])[..],
        OrderKind::SteerPlugins,
        world.listener(),
        None,
    );
    assert!(matches!(refused, Err(Refusal::OtherDomain { .. })));
    let alone = sign_order(&a, kind, world.cohort_audience(), stamp(7), ORDER).unwrap();
    let alone = signed(Statement::read(&alone).unwrap(), &[&b]);
    let refused = keyring.verify_order(&alone, kind, world.listener(), None);
    assert!(matches!(refused, Err(Refusal::UnknownKey { .. })));
}

#[test]
fn keyrings_follow_one_another_and_never_lead_back() {
    let world = World::new();
    let [a, b, c, d] = [70, 71, 72, 73].map(key);
    let one = world.keyring.clone();
    let parts = |number, before: &Keyring, root| KeyringParts {
        number,
        before: Some(*before.digest()),
        root,
        ..one.parts().clone()
    };
    let two = Keyring::new(parts(2, &one, role(&[&a, &b, &c]))).unwrap();
    let three = Keyring::new(parts(3, &two, role(&[&b, &c, &d]))).unwrap();
    let link = |of: &Keyring, keys: &[&SecretKey]| signed(of.link(UnixMs(1_000), None).unwrap(), keys);
    let to_two = link(&two, &[&world.root, &a, &b]);
    let to_three = link(&three, &[&a, &b, &c]);

    let mut chain = Chain::new(one.clone());
    assert_eq!(chain.follow(&to_three), Err(ChainError::Skipped { number: 3, trusted: 1 }));
    assert_eq!(chain.follow(&to_two), Ok(Step::To(two.clone())));
    assert_eq!(chain.follow(&to_two), Ok(Step::Same));
    assert_eq!(chain.follow(&to_three), Ok(Step::To(three.clone())));
    assert_eq!(chain.follow(&to_two), Err(ChainError::Older { number: 2, trusted: 3 }));
    assert_eq!(*chain.newest(), three);
    // Whoever knows the newest by its digest finds the way from the one that is in the image.
    let claim = Claim::of(&to_three).unwrap();
    assert_eq!(claim, Claim { keyring: *three.digest(), number: 3, before: Some(*two.digest()) });
    assert_eq!(Claim::of(&to_two).unwrap().before, Some(*one.digest()));
}

#[test]
fn the_roots_of_both_keyrings_have_to_sign() {
    let world = World::new();
    let [a, b, c, d] = [70, 71, 72, 73].map(key);
    let one = Keyring::new(KeyringParts { root: role(&[&a, &b]), ..world.keyring.parts().clone() }).unwrap();
    let two = KeyringParts {
        number: 2,
        before: Some(*one.digest()),
        root: role(&[&b, &c, &d]),
        ..one.parts().clone()
    };
    let two = Keyring::new(two).unwrap();
    let by = |keys: &[&SecretKey]| {
        Chain::new(one.clone()).follow(&signed(two.link(UnixMs(1), None).unwrap(), keys))
    };
    let domain = Domain::Keyring;
    let too_few =
        |of, has| Err(ChainError::Signatures { of, source: Refusal::TooFew { domain, has, needs: 2 } });
    assert_eq!(by(&[&a, &b, &c]), Ok(Step::To(two.clone())));
    assert_eq!(by(&[&a, &b]), too_few(2, 1));
    assert_eq!(by(&[&b, &c, &d]), too_few(1, 1));
    let unknown = Refusal::UnknownKey { domain, key: c.id().min(d.id()) };
    assert_eq!(by(&[&c, &d]), Err(ChainError::Signatures { of: 1, source: unknown }));
    // A key of another role is worth nothing here.
    assert_eq!(by(&[&a, &world.operator, &c, &d]), too_few(1, 1));
}

/// The root keys of keyring 1 were stolen after it was left: two second keyrings, both well signed.
#[test]
fn another_keyring_of_the_same_number_is_an_alarm() {
    let world = World::new();
    let mut chain = Chain::new(world.keyring.clone());
    chain.follow(&world.statement(Kind::Keyring)).unwrap();
    let other = KeyringParts { director: Role::of(key(90).public()), ..world.next_parts() };
    let fork = world.link(other.clone(), &[&world.root]);
    assert_eq!(chain.follow(&fork), Err(ChainError::Forked { number: 2 }));
    // Anybody can make up a keyring: that is no alarm.
    let made_up = world.link(other, &[&key(90)]);
    assert!(matches!(chain.follow(&made_up), Err(ChainError::Signatures { of: 2, .. })));
    // One that doesn't follow the one that is trusted, though its roots have signed.
    let stray = KeyringParts { number: 3, before: Some(Digest([1; 32])), ..world.next_parts() };
    let stray = world.link(stray, &[&world.root]);
    assert_eq!(chain.follow(&stray), Err(ChainError::OtherBefore { number: 3 }));
}

#[test]
fn a_keyring_without_roots_is_the_last() {
    let world = World::new();
    let last = KeyringParts { root: Role::none(), ..world.next_parts() };
    let refused = Chain::new(world.keyring.clone()).follow(&world.link(last, &[&world.root]));
    assert_eq!(refused, Err(ChainError::NoRoot { number: 2 }));
}

/// The statement is for one fleet and the keyring in it for another.
#[test]
fn a_keyring_of_another_fleet_does_not_follow() {
    let world = World::new();
    let fleet: FleetId = "valves".parse().unwrap();
    let other = Keyring::new(KeyringParts { fleet, ..world.next_parts() }).unwrap();
    let link = signed(other.link(UnixMs(1), None).unwrap(), &[&world.root]);
    let refused = Chain::new(world.keyring.clone()).follow(&link);
    let Err(ChainError::Signatures { of: 1, source: Refusal::OtherFleet { .. } }) = refused else {
        panic!("{refused:?}")
    };
}

/// Expired keyrings are followed all the same, however late; they only let nothing new in.
#[test]
fn an_expired_keyring_lets_nothing_new_in_and_ends_nothing() {
    let world = World::new();
    let two = Keyring::new(world.next_parts()).unwrap();
    let mut chain = Chain::new(world.keyring.clone());
    let link = signed(two.link(UnixMs(1_000), Some(UnixMs(1_500))).unwrap(), &[&world.root]);
    assert!(matches!(chain.follow(&link), Ok(Step::To(_))));
    let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
    let verify = |floor, attested| {
        world.with_floor(floor, |want| {
            let want = backstay_trust::Want { attested, ..*want };
            chain.newest().verify_plugin(&release, &grant, ARTIFACT.to_vec(), &want)
        })
    };
    let plugin = verify(None, Some(UnixMs(1_499))).unwrap();
    let id = world.plugin().id;
    let refused = verify(None, Some(UnixMs(1_500)));
    assert_eq!(
        refused,
        Err(PluginError::KeyringExpired { plugin: id.clone(), number: 2, since: UnixMs(1_500) })
    );
    // Once it was accepted, it stays: also past its own time.
    let floor = Floor::after(None, &[plugin.accepted()]);
    assert!(verify(floor, Some(UnixMs(9_999))).is_ok());
    assert_eq!(chain.newest().still_grants(plugin.granted()), Ok(()));
    let refused = world.with_want(|want| {
        let want = backstay_trust::Want { attested: Some(UnixMs(2_000)), ..*want };
        world.keyring.verify_plugin(&release, &grant, ARTIFACT.to_vec(), &want)
    });
    assert_eq!(refused, Err(PluginError::Expired { plugin: id, since: UnixMs(2_000) }));
    // The next one ends it.
    let three = KeyringParts { number: 3, before: Some(*two.digest()), ..two.parts().clone() };
    chain.follow(&world.link(three, &[&world.root])).unwrap();
    let chain = chain.newest().verify_release(&world.statement(Kind::ProductRelease), None);
    assert!(chain.is_ok());
}

/// Cut off for long, a device lets nothing new in: what it is shown may have been revoked. What runs goes on.
#[test]
fn a_device_that_heard_nothing_for_long_lets_nothing_new_in() {
    let world = World::new();
    let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
    let verify = |keyring: &Keyring, floor| {
        world.with_floor(floor, |want| keyring.verify_plugin(&release, &grant, ARTIFACT.to_vec(), want))
    };
    let (age, most) = (Millis(1_001), Millis(1_000));
    let plugin = verify(&world.keyring.clone().unheard_for(most, Some(most)), None).unwrap();
    assert!(verify(&world.keyring.clone().unheard_for(age, None), None).is_ok());
    let unheard = world.keyring.clone().unheard_for(age, Some(most));
    let refused = PluginError::Unheard { plugin: world.plugin().id, age, most };
    assert_eq!(verify(&unheard, None), Err(refused));
    assert!(verify(&unheard, Floor::after(None, &[plugin.accepted()])).is_ok());
    assert_eq!(unheard.still_grants(plugin.granted()), Ok(()));
    // A way home, and orders, don't ask.
    assert!(unheard.verify_release(&world.statement(Kind::ProductRelease), None).is_ok());
    let kind = OrderKind::SteerProduct;
    let order = world.statement(Kind::Order(kind));
    assert!(unheard.verify_order(&order, kind, world.listener(), None).is_ok());
}

/// What one revocation does, to what is brought and to what runs.
#[test]
fn what_is_revoked_is_neither_let_in_nor_asked_again() {
    let world = World::new();
    let (release, grant) = (world.statement(Kind::PluginRelease), world.statement(Kind::Grant));
    let verify = |keyring: &Keyring| {
        world.with_want(|want| keyring.verify_plugin(&release, &grant, ARTIFACT.to_vec(), want))
    };
    let runs = verify(&world.keyring).unwrap();
    let floor = Floor::after(None, &[runs.accepted()]);
    let (id, artifact) = (world.plugin().id, world.artifact());
    let digests = |digest| Revocation { digests: vec![digest], ..Revocation::default() };
    let keys = |key: &SecretKey| Revocation { keys: vec![key.id()], ..Revocation::default() };
    let part = |part, digest| PluginError::Revoked { plugin: id.clone(), part, digest };
    let oldest = |sequence| Revocation {
        plugins: vec![OldestRelease { plugin: id.clone(), sequence }],
        ..Revocation::default()
    };
    let compiler = |text| Revocation {
        compilers: vec![OldestCompiler {
            target: artifact.target.clone(),
            compiler: Version::parse(text).unwrap(),
        }],
        ..Revocation::default()
    };
    let cases = [
        (world.revocation(), None),
        (digests(*runs.release()), Some(part(PluginPart::Release, *runs.release()))),
        (digests(*runs.component()), Some(part(PluginPart::Component, *runs.component()))),
        (digests(*runs.grant()), Some(part(PluginPart::Grant, *runs.grant()))),
        (digests(artifact.digest), Some(part(PluginPart::Artifact, artifact.digest))),
        (oldest(7), None),
        (oldest(8), Some(PluginError::BelowOldest { plugin: id.clone(), sequence: 7, oldest: 8 })),
        (compiler("48.0.8"), None),
        (
            compiler("48.0.9"),
            Some(PluginError::OldCompiler {
                plugin: id.clone(),
                target: artifact.target.clone(),
                has: artifact.compiler.clone(),
                oldest: Version::parse("48.0.9").unwrap(),
            }),
        ),
        (
            keys(&world.operator),
            Some(PluginError::Grant(Refusal::RevokedKey { domain: Domain::Grant, key: world.operator.id() })),
        ),
        (
            keys(&world.vendor),
            Some(PluginError::Release(Refusal::RevokedKey {
                domain: Domain::PluginRelease,
                key: world.vendor.id(),
            })),
        ),
    ];
    for (revocation, refused) in cases {
        let bytes = revocation.sign(&world.revoker, world.fleet.clone(), stamp(7)).unwrap();
        let heeded = world.keyring.verify_revocation(&bytes).unwrap();
        let keyring = world.keyring.clone().revoking(Some(heeded));
        assert_eq!(verify(&keyring).err(), refused, "{revocation:?}");
        // That it was accepted before doesn't help, and what runs is asked no longer.
        let again =
            world.with_floor(floor, |want| keyring.verify_plugin(&release, &grant, ARTIFACT.to_vec(), want));
        assert_eq!(again.err(), refused, "{revocation:?}");
        assert_eq!(keyring.still_grants(runs.granted()).err(), refused, "{revocation:?}");
    }
}

#[test]
fn a_revoked_release_of_the_product_is_not_installed() {
    let world = World::new();
    let bytes = world.statement(Kind::ProductRelease);
    let digest = world.product().release.digest;
    let with = |revocation: Revocation| {
        let signed = revocation.sign(&world.revoker, world.fleet.clone(), stamp(7)).unwrap();
        let heeded = world.keyring.verify_revocation(&signed).unwrap();
        world.keyring.clone().revoking(Some(heeded)).verify_release(&bytes, None).map(drop)
    };
    let domain = Domain::ProductRelease;
    let named = Revocation { digests: vec![digest], ..Revocation::default() };
    assert_eq!(with(named), Err(Refusal::Revoked { domain, digest }));
    let key = world.release.id();
    let stolen = Revocation { keys: vec![key], ..Revocation::default() };
    assert_eq!(with(stolen), Err(Refusal::RevokedKey { domain, key }));
    assert_eq!(with(world.revocation()), Ok(()));
    let epoch = world.product().release.security_epoch;
    let floor = |security_floor| Revocation { security_floor, ..world.revocation() };
    assert_eq!(with(floor(epoch)), Ok(()));
    assert_eq!(with(floor(epoch + 1)), Err(Refusal::BelowFloor { epoch, floor: epoch + 1 }));
}

#[test]
fn revocations_only_ever_add() {
    let world = World::new();
    let heeded = world.keyring.verify_revocation(&world.statement(Kind::Revocation)).unwrap();
    assert_eq!(heeded.watermark().after(None), Succession::Newer);
    let keyring = world.keyring.clone().revoking(Some(heeded));
    let verify = |revocation: &Revocation, sequence| {
        let bytes = revocation.sign(&world.revoker, world.fleet.clone(), stamp(sequence)).unwrap();
        keyring.verify_revocation(&bytes).map(drop)
    };
    let same = world.revocation();
    assert_eq!(verify(&same, 7), Ok(()));
    assert_eq!(verify(&same, 6), Err(RevocationError::Older { sequence: 6, heeded: 7 }));
    let more = Revocation { keys: vec![key(200).id(), world.vendor.id()], ..world.revocation() };
    assert_eq!(verify(&more, 7), Err(RevocationError::Forked { sequence: 7 }));
    assert_eq!(verify(&more, 8), Ok(()));
    let less = Revocation { digests: Vec::new(), ..world.revocation() };
    assert_eq!(verify(&less, 8), Err(RevocationError::TakesBack { sequence: 8, what: "a digest" }));
    // Of a key that the keyring doesn't have, nothing has to be said.
    let less = Revocation { keys: Vec::new(), ..world.revocation() };
    assert_eq!(verify(&less, 8), Ok(()));
    // Nobody but the revokers.
    let stolen = more.sign(&world.director, world.fleet.clone(), stamp(9)).unwrap();
    let domain = Domain::Revocation;
    let refused = Err(RevocationError::Refused(Refusal::UnknownKey { domain, key: world.director.id() }));
    assert_eq!(keyring.verify_revocation(&stolen), refused);
}

#[test]
fn floors_and_keys_are_not_taken_back_either() {
    let world = World::new();
    let target = world.artifact().target;
    let compiler = |text| OldestCompiler { target: target.clone(), compiler: Version::parse(text).unwrap() };
    let plugin = |sequence| OldestRelease { plugin: world.plugin().id, sequence };
    let all = Revocation {
        keys: vec![world.vendor.id()],
        digests: Vec::new(),
        plugins: vec![plugin(5)],
        compilers: vec![compiler("48.0.8")],
        security_floor: 3,
    };
    let sign = |revocation: &Revocation, sequence| {
        revocation.sign(&world.revoker, world.fleet.clone(), stamp(sequence)).unwrap()
    };
    let heeded = world.keyring.verify_revocation(&sign(&all, 1)).unwrap();
    let keyring = world.keyring.clone().revoking(Some(heeded));
    let verify = |revocation: Revocation| {
        keyring.verify_revocation(&sign(&revocation, 2)).map(drop).map_err(|error| match error {
            RevocationError::TakesBack { what, .. } => what,
            other => panic!("{other}"),
        })
    };
    assert_eq!(verify(Revocation { keys: Vec::new(), ..all.clone() }), Err("a key"));
    let lower = Revocation { plugins: vec![plugin(4)], ..all.clone() };
    assert_eq!(verify(lower), Err("the oldest release of a plugin"));
    let lower = Revocation { compilers: vec![compiler("48.0.7")], ..all.clone() };
    assert_eq!(verify(lower), Err("the oldest compiler of a CPU"));
    let higher = Revocation { plugins: vec![plugin(6)], compilers: vec![compiler("49.0.0")], ..all.clone() };
    assert_eq!(verify(higher), Ok(()));
    let lower = Revocation { security_floor: 2, ..all.clone() };
    assert_eq!(verify(lower), Err("the security floor"));
    let higher = Revocation { security_floor: 4, ..all.clone() };
    assert_eq!(verify(higher), Ok(()));
    let odd = Revocation { compilers: vec![compiler("new")], ..all };
    let refused = odd.sign(&world.revoker, world.fleet.clone(), stamp(2));
    assert!(matches!(refused, Err(SignError::Inconsistent { .. })));
}

/// A newer grant may lead back to an older release, if it says so by the version that it means.
#[test]
fn a_plugin_goes_back_only_where_the_grant_names_the_older_version() {
    let world = World::new();
    let release = world.statement(Kind::PluginRelease);
    let newest = Accepted { sequence: 7, grant: Some(Digest([1; 32])), release: 9 };
    let floor = Some(Floor { newest, before: None });
    let version = |text| Version::parse(text).unwrap();
    let verify = |grant: &[u8]| {
        world
            .with_floor(floor, |want| world.keyring.verify_plugin(&release, grant, ARTIFACT.to_vec(), want))
            .map(|plugin| plugin.accepted().release)
    };
    let fleet = || world.fleet.clone();
    let plain = world.grant().sign(&world.operator, fleet(), stamp(8)).unwrap();
    let id = world.plugin().id;
    assert_eq!(
        verify(&plain),
        Err(PluginError::Back { plugin: id.clone(), version: version("1.2.3"), sequence: 7, newest: 9 })
    );
    let back = |to, sequence| {
        let draft = world.grant().draft_back_to(&version(to), fleet(), stamp(sequence)).unwrap();
        signed(draft, &[&world.operator])
    };
    assert_eq!(verify(&back("1.2.3", 8)), Ok(7));
    assert!(matches!(verify(&back("1.2.2", 8)), Err(PluginError::Back { .. })));
    // Naming it is not enough without a newer grant.
    let older = verify(&back("1.2.3", 6));
    assert_eq!(older, Err(PluginError::Older { plugin: id.clone(), sequence: 6, floor: 7 }));
    assert_eq!(verify(&back("1.2.3", 7)), Err(PluginError::Forked { plugin: id.clone(), sequence: 7 }));
    // And one that leads nowhere back may not name another version than the one it grants.
    let odd = world.with_want(|want| {
        world.keyring.verify_plugin(&release, &back("1.0.0", 8), ARTIFACT.to_vec(), want).map(drop)
    });
    let (named, version) = (version("1.0.0"), version("1.2.3"));
    assert_eq!(odd, Err(PluginError::OtherVersion { plugin: id, named, version }));
}

/// A factory vouches for its devices with a key that can steer nothing.
#[test]
fn a_device_key_enrols_and_steers_nothing() {
    let world = World::new();
    let factory = key(80);
    let parts = KeyringParts { device: Role::of(factory.public()), ..world.keyring.parts().clone() };
    let keyring = Keyring::new(parts).unwrap();
    let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
    let enrolment = world.enrolment().sign(&factory, world.fleet.clone(), stamp).unwrap();
    assert!(keyring.verify_enrolment(&enrolment, &world.device_key.id()).is_ok());
    let directors = world.statement(Kind::Enrolment);
    assert!(keyring.verify_enrolment(&directors, &world.device_key.id()).is_ok());
    let kind = OrderKind::SteerProduct;
    let order = sign_order(&factory, kind, world.cohort_audience(), stamp, ORDER).unwrap();
    let refused = keyring.verify_order(&order, kind, world.listener(), None);
    assert!(matches!(refused, Err(Refusal::UnknownKey { .. })));
    assert!(world.keyring.verify_enrolment(&enrolment, &world.device_key.id()).is_err());
}
