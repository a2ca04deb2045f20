//! Signed statements of all kinds.
//!
//! What has to hold: nothing is believed that none of those who may sign has signed, whoever holds a pen; and what was signed
//! is read to its last byte, or refused with a reason.

use std::{collections::BTreeMap, error::Error, sync::OnceLock};

use backstay_model::{Digest, UnixMs};
use backstay_trust::{
    Chain, Claim, DeviceKind, Domain, OrderKind, PluginError, PluginRelease, ProductRelease, Refusal,
    SecretKey, Stamp, Statement, VerifiedEnrolRequest, sign_verdict, verify_word,
};

use crate::{
    Came, as_they_are, is_told,
    memory::within,
    script::{EDITED, INSIDE, PLAIN, Script, way},
    world::{CONFIGURATION, Kind, World},
};

/// A statement taken apart, and what it says. An input has 2 KiB at most; of one byte on the wire comes an element of a list.
const HELD_MAX: usize = 256 * 1024;

/// A fleet, and one statement of each kind.
struct Made {
    world: World,
    statements: Vec<(Kind, Vec<u8>)>,
    /// What was signed, by the digest of what it says.
    signed: BTreeMap<Digest, Domain>,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let world = World::new();
        let statements: Vec<_> = Kind::ALL.into_iter().map(|kind| (kind, world.statement(kind))).collect();
        let signed = statements.iter().map(|(_, bytes)| {
            let statement = Statement::read(bytes).unwrap();
            (statement.digest(), statement.domain())
        });
        let signed = signed.collect();
        Made { world, statements, signed }
    })
}

pub(crate) fn run(input: &[u8]) -> Came {
    let made = made();
    match way(input, 3) {
        Some((PLAIN, rest)) => is_as_it_was_signed(made, rest.0),
        Some((EDITED, mut script)) => {
            let (_, mut bytes) = script.one(&made.statements).clone();
            script.edit(&mut bytes);
            is_as_it_was_signed(made, &bytes)
        }
        Some((_, script)) => says(made, script),
        None => Came::Refused,
    }
}

/// That `bytes` are believed only as what was signed, and only as the kind of it.
fn is_as_it_was_signed(made: &Made, bytes: &[u8]) -> Came {
    let statement = match within(HELD_MAX, || Statement::read(bytes)) {
        Ok(statement) => {
            assert_eq!(statement.encode().unwrap(), bytes, "a statement has one form");
            Some(statement)
        }
        Err(refusal) => {
            is_refused(&refusal);
            None
        }
    };
    if let Err(error) = within(HELD_MAX, || Claim::of(bytes)) {
        is_told(&error);
    }
    let mut came = Came::Refused;
    for kind in Kind::ALL {
        let believed = within(HELD_MAX, || verify(&made.world, kind, bytes));
        if believed.is_ok() {
            let statement =
                statement.as_ref().unwrap_or_else(|| panic!("{kind:?}: it is no statement at all"));
            let signed = made.signed.get(&statement.digest());
            assert_eq!(signed, Some(&statement.domain()), "{kind:?}: nobody signed that");
            assert_eq!(statement.domain(), domain(kind), "one kind passes for another");
            came = Came::Taken;
        }
    }
    came
}

/// A payload of any bytes, signed by who may: it is read as a whole, or refused.
fn says(made: &Made, mut script: Script<'_>) -> Came {
    let Made { world, statements, .. } = made;
    let (kind, honest) = script.one(statements);
    let statement = Statement::read(honest).unwrap();
    let mut payload = statement.payload().to_vec();
    match script.byte() % 2 {
        0 => {
            script.edit(&mut payload);
        }
        _ => payload = script.0.to_vec(),
    }
    // What is too large for its kind nobody can sign.
    let Some(bytes) = signed(&statement, &payload, key(world, *kind)) else { return Came::Refused };
    match within(HELD_MAX, || verify(world, *kind, &bytes)) {
        Ok(()) => {
            is_said_again(world, *kind, &bytes, statement.stamp());
            Came::Taken
        }
        Err(()) => Came::Refused,
    }
}

/// A statement with another payload, signed with `key`.
fn signed(like: &Statement, payload: &[u8], key: &SecretKey) -> Option<Vec<u8>> {
    // Prelude, header, payload, and one signature that is none: a draft can't be had in any other way.
    let honest = like.encode().unwrap();
    let header = usize::from(u16::from_le_bytes([honest[6], honest[7]]));
    let mut bytes = honest[..12 + header].to_vec();
    bytes[5] = 1;
    bytes[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&[0; 96]);
    let mut statement = Statement::read(&bytes).ok()?;
    statement.sign(key).ok()?;
    statement.encode().ok()
}

/// That what was believed can be said again, and is then believed as the same.
fn is_said_again(world: &World, kind: Kind, bytes: &[u8], stamp: Stamp) {
    let fleet = || world.fleet.clone();
    match kind {
        Kind::PluginRelease => {
            let release: PluginRelease =
                world.keyring.verify_plugin_release(bytes).unwrap().release().clone();
            let again = release.sign(&world.vendor, stamp).unwrap();
            assert_eq!(world.keyring.verify_plugin_release(&again).unwrap().release(), &release);
        }
        Kind::ProductRelease => {
            let verified = world.keyring.verify_release(bytes, None).unwrap();
            let (release, hardware) = (verified.release().clone(), verified.hardware().to_vec());
            let (schemas, home) = (verified.schemas(), verified.way_home().clone());
            let said = ProductRelease { release, hardware, schemas, home };
            let again = said.sign(&world.release, fleet(), stamp).unwrap();
            let again = world.keyring.verify_release(&again, None).unwrap();
            assert_eq!(again.release(), &said.release);
            assert_eq!((again.hardware(), again.schemas()), (&*said.hardware, said.schemas));
            assert_eq!(again.way_home(), &said.home);
        }
        Kind::Enrolment => {
            let id = world.device_key.id();
            let said = world.keyring.verify_enrolment(bytes, &id).unwrap().enrolment().clone();
            let again = said.sign(&world.director, fleet(), stamp).unwrap();
            assert_eq!(world.keyring.verify_enrolment(&again, &id).unwrap().enrolment(), &said);
        }
        Kind::Revocation => {
            let said = world.keyring.verify_revocation(bytes).unwrap().revocation().clone();
            let again = said.sign(&world.revoker, fleet(), stamp).unwrap();
            assert_eq!(world.keyring.verify_revocation(&again).unwrap().revocation(), &said);
        }
        Kind::Verdict => {
            let keyring = world.with_verdicts();
            let said = keyring.verify_verdict(bytes).unwrap().verdict().clone();
            let again = sign_verdict(&world.verdict, &said, fleet(), UnixMs(1_000), UnixMs(2_000)).unwrap();
            assert_eq!(keyring.verify_verdict(&again).unwrap().verdict(), &said);
        }
        Kind::KnownGood => {
            let verify = |bytes: &[u8]| world.keyring.verify_known_good(bytes, CONFIGURATION.into()).unwrap();
            let said = verify(bytes).known_good().clone();
            let again = said.sign(&world.release, fleet(), stamp).unwrap();
            assert_eq!(verify(&again).known_good(), &said);
        }
        // What these say is an item of `wire`, a digest, or can't be had from the proof.
        Kind::Order(_) | Kind::Word(_) | Kind::Consent | Kind::Grant | Kind::EnrolRequest | Kind::Keyring => {
        }
    }
}

/// Whether `bytes` are believed as a statement of `kind`. A refusal says why.
fn verify(world: &World, kind: Kind, bytes: &[u8]) -> Result<(), ()> {
    let World { keyring, fleet, device, .. } = world;
    match kind {
        Kind::Order(kind) => judged(keyring.verify_order(bytes, kind, world.listener(), None)),
        Kind::Word(kind) => judged(verify_word(bytes, kind, fleet, device, &world.device_key.public())),
        Kind::Consent => judged(keyring.verify_consent(bytes, world.listener())),
        Kind::PluginRelease => told(keyring.verify_plugin_release(bytes), PluginError::help),
        Kind::Grant => {
            static RELEASE: OnceLock<Vec<u8>> = OnceLock::new();
            let release = RELEASE.get_or_init(|| world.statement(Kind::PluginRelease));
            told(world.with_want(|want| keyring.verify_grant(release, bytes, want)), PluginError::help)
        }
        Kind::ProductRelease => judged(keyring.verify_release(bytes, None)),
        Kind::EnrolRequest => judged(VerifiedEnrolRequest::verify(bytes, fleet)),
        Kind::Enrolment => judged(keyring.verify_enrolment(bytes, &world.device_key.id())),
        Kind::Keyring => told(Chain::new(keyring.clone()).follow(bytes), |error| error.help()),
        Kind::Revocation => told(keyring.verify_revocation(bytes), |error| error.help()),
        Kind::Verdict => {
            static WITH: OnceLock<backstay_trust::Keyring> = OnceLock::new();
            judged(WITH.get_or_init(|| world.with_verdicts()).verify_verdict(bytes))
        }
        Kind::KnownGood => judged(keyring.verify_known_good(bytes, CONFIGURATION.into())),
    }
}

fn judged<T>(result: Result<T, Refusal>) -> Result<(), ()> {
    result.map(drop).map_err(|refusal| is_refused(&refusal))
}

fn told<T, E: Error>(result: Result<T, E>, help: impl FnOnce(&E) -> Option<&'static str>) -> Result<(), ()> {
    result.map(drop).map_err(|error| {
        is_told(&error);
        assert!(help(&error).is_some(), "{error}: what to do?");
    })
}

fn is_refused(refusal: &Refusal) {
    is_told(refusal);
    assert!(refusal.help().is_some(), "{refusal}: what to do?");
}

/// Whose signature a kind asks for.
fn key(world: &World, kind: Kind) -> &SecretKey {
    match kind {
        Kind::Order(_) | Kind::Enrolment => &world.director,
        Kind::Word(_) | Kind::EnrolRequest => &world.device_key,
        Kind::Consent | Kind::Grant => &world.operator,
        Kind::PluginRelease => &world.vendor,
        Kind::ProductRelease | Kind::KnownGood => &world.release,
        Kind::Keyring => &world.root,
        Kind::Revocation => &world.revoker,
        Kind::Verdict => &world.verdict,
    }
}

fn domain(kind: Kind) -> Domain {
    match kind {
        Kind::Order(OrderKind::SteerProduct) => Domain::SteerProduct,
        Kind::Order(OrderKind::SteerPlugins) => Domain::SteerPlugins,
        Kind::Order(OrderKind::DeviceOrder) => Domain::DeviceOrder,
        Kind::Order(OrderKind::TrustFloor) => Domain::TrustFloor,
        Kind::Order(OrderKind::Receipt) => Domain::Receipt,
        Kind::Word(DeviceKind::State) => Domain::DeviceState,
        Kind::Word(DeviceKind::Plugins) => Domain::DevicePlugins,
        Kind::Word(DeviceKind::Presence) => Domain::DevicePresence,
        Kind::Word(DeviceKind::Log) => Domain::DeviceLog,
        Kind::Consent => Domain::Consent,
        Kind::PluginRelease => Domain::PluginRelease,
        Kind::Grant => Domain::Grant,
        Kind::ProductRelease => Domain::ProductRelease,
        Kind::EnrolRequest => Domain::EnrolRequest,
        Kind::Enrolment => Domain::Enrolment,
        Kind::Keyring => Domain::Keyring,
        Kind::Revocation => Domain::Revocation,
        Kind::Verdict => Domain::Verdict,
        Kind::KnownGood => Domain::KnownGood,
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let made = made();
    let mut seeds = as_they_are(made.statements.iter().map(|(_, bytes)| bytes));
    for at in 0..made.statements.len() as u8 {
        seeds.push(vec![EDITED, at]);
        seeds.push(vec![INSIDE, at, 0]);
    }
    seeds
}
