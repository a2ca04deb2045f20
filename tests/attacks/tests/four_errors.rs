//! One byte is flipped: in a plugin's code, in a grant, in a steering message, in a journal record. Four errors that
//! can't be mistaken for one another, each with what to do about it, and nothing is accepted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{collections::BTreeMap, fs, path::Path};

use backstay_config::Plugin;
use backstay_host::{Engine, engine_profile, machine, world_policy};
use backstay_journal::{Folder, Journal, Ledger};
use backstay_model::Event;
use backstay_plugins::{LoadError, Loader, Tier};
use backstay_test_attacks::{Keys, Shipped, Target, chain, cohort, signed, steer};
use backstay_trust::{Listener, OrderKind, PluginError, Refusal, Want};

/// Loads the policy in `bundle` as agent and server do.
fn load(keys: &Keys, bundle: &Path) -> LoadError {
    let engine = Engine::new().unwrap();
    let loader = Loader::new(Tier::Device, &engine, &keys.keyring);
    let config = Plugin { bundle: bundle.into(), ..Plugin::default() };
    loader.policies(&config).unwrap_err()
}

/// The bundle of a shipped plugin with one bit flipped at the first place where `part` stands.
fn with_a_flip_in(shipped: &Shipped, part: &[u8], at: usize, path: &Path) {
    let mut bundle = shipped.bundle();
    let begins = bundle.windows(part.len()).position(|window| window == part).unwrap();
    bundle[begins + at] ^= 0x10;
    fs::write(path, bundle).unwrap();
}

/// All that a person gets to read of an error.
fn told(what: String, help: Option<&'static str>) -> (String, &'static str) {
    (what, help.unwrap())
}

fn plugin_artifact(dir: &Path) -> (String, &'static str) {
    let (keys, path) = (Keys::new(), dir.join("policy.bundle"));
    let shipped = Shipped::new(&keys);
    with_a_flip_in(&shipped, &shipped.artifact, 2000, &path);
    let error = load(&keys, &path);
    assert!(matches!(&error, LoadError::Untrusted { source: PluginError::ArtifactDigest { .. }, .. }));
    told(chain(&error), error.help())
}

fn grant(dir: &Path) -> (String, &'static str) {
    let (keys, path) = (Keys::new(), dir.join("policy.bundle"));
    let shipped = Shipped::new(&keys);
    // In the payload, behind the header: it still reads well, but nobody signed it.
    with_a_flip_in(&shipped, &shipped.grant, shipped.grant.len() - 96 - 10, &path);
    let error = load(&keys, &path);
    assert!(matches!(
        &error,
        LoadError::Untrusted { source: PluginError::Grant(Refusal::BadSignature { .. }), .. }
    ));
    told(chain(&error), error.help())
}

fn steering() -> (String, &'static str) {
    let keys = Keys::new();
    let mut message = signed(&keys, &steer(3, "1.5.0"), None);
    let at = message.len() - 96 - 10;
    message[at] ^= 0x10;
    let cohort = cohort();
    let listener = Listener { cohort: Some(&cohort), device: None };
    let error = keys.keyring.verify_order(&message, OrderKind::SteerProduct, listener, None).unwrap_err();
    told(chain(&error), error.help())
}

fn journal_record(dir: &Path) -> (String, &'static str) {
    let open = || {
        let disk = Folder::take(dir.join("journal")).unwrap();
        Journal::open(disk, backstay_journal::Options::new("pump-7"), |finding, _| {
            finding.to_string().into_bytes()
        })
        .unwrap()
    };
    let (mut journal, _) = open();
    for body in [&b"the first"[..], b"the second", b"the third"] {
        journal.append(body).unwrap();
        journal.commit().unwrap();
    }
    drop(journal);
    let path = dir.join("journal/0000000000000000.seg");
    let path = if path.exists() { path } else { dir.join("journal/0000000000000001.seg") };
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"the second").unwrap();
    bytes[at] ^= 0x10;
    fs::write(&path, bytes).unwrap();

    let (journal, opened) = open();
    let bodies: Vec<Vec<u8>> = journal.read(0).map(|record| record.unwrap().body).collect();
    // What was before the damage, and the record that admits it: what was behind it is not passed off as whole.
    let [finding] = opened.findings.as_slice() else { panic!("{:?}", opened.findings) };
    assert_eq!(bodies, [b"the first".to_vec(), finding.to_string().into_bytes()]);
    assert_eq!((journal.head().epoch, opened.salvaged.len()), (2, 1));
    told(finding.to_string(), finding.help())
}

#[test]
fn four_flips_are_four_errors() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::new();
    let bundle = dir.path().join("policy.bundle");
    let (operator, director) = (keys.operator.public().id(), keys.director.public().id());
    let all = [plugin_artifact(dir.path()), grant(dir.path()), steering(), journal_record(dir.path())];
    let expected = [
        (
            format!(
                "the plugin in {} may not run here: code of plugin backstay/policy-tree for {} is not what the grant \
                 names",
                bundle.display(),
                machine(),
            ),
            "fetch the code again; if that doesn't help, see who may write where it is kept",
        ),
        (
            format!(
                "the plugin in {} may not run here: the operator's grant of the plugin is not accepted: grant does \
                 not bear a signature of key {operator}",
                bundle.display(),
            ),
            "it was changed after it was signed: see who may write there",
        ),
        (
            format!("product steering does not bear a signature of key {director}"),
            "it was changed after it was signed: see who may write there",
        ),
        (
            "records 2 to 3 are lost: record 2 is bad, the checksum of the record is wrong (segment 0, byte 1096); 1 records \
             behind it are whole"
                .to_owned(),
            "check the disk, and keep the damaged segments for whoever looks into it",
        ),
    ];
    assert_eq!(all, expected);
}

/// Without the flips all of it is believed: the errors above come from the flips alone.
#[test]
fn without_a_flip_nothing_is_refused() {
    let keys = Keys::new();
    let Shipped { release, grant, artifact } = Shipped::new(&keys);
    let (target, engine, world, floors) = (machine(), engine_profile(), world_policy(), BTreeMap::new());
    let want = Want { target: &target, engine: &engine, world: &world, floors: &floors, attested: None };
    assert!(keys.keyring.verify_plugin(&release, &grant, artifact, &want).is_ok());

    let mut device = Target::new();
    assert!(!device.hears(&signed(&keys, &steer(3, "1.5.0"), None)).is_empty());
    assert!(matches!(device.events.as_slice(), [Event::Steered { .. }]), "{:?}", device.events);
}

/// Every bit of every byte of a steering message: none can be changed without being noticed.
#[test]
fn no_bit_of_a_steering_message_can_be_flipped() {
    let keys = Keys::new();
    let good = signed(&keys, &steer(3, "1.5.0"), None);
    let mut device = Target::new();
    let mut told = BTreeMap::<String, u32>::new();
    for at in 0..good.len() {
        // Checking a signature takes long without optimisation: three bits of each byte.
        for bit in [0, 3, 7] {
            let mut message = good.clone();
            message[at] ^= 1 << bit;
            let cohort = cohort();
            let listener = Listener { cohort: Some(&cohort), device: None };
            let refusal = keys.keyring.verify_order(&message, OrderKind::SteerProduct, listener, None);
            let refusal = refusal.expect_err(&format!("bit {bit} of byte {at} makes no difference"));
            assert!(refusal.help().is_some());
            *told.entry(kind(&refusal)).or_default() += 1;
        }
        let mut message = good.clone();
        message[at] ^= 1 << (at % 8);
        let before = device.stands();
        assert_eq!(device.hears(&message), [], "byte {at}");
        assert_eq!(device.stands(), before, "byte {at}");
    }
    println!("{} bytes, refused as: {told:?}", good.len());
    assert!(device.events.iter().all(|event| matches!(event, Event::Refused(_))), "{:?}", device.events);
}

/// Every byte of a grant and of a vendor's release.
#[test]
fn no_byte_of_a_grant_or_a_release_can_be_flipped() {
    let keys = Keys::new();
    let Shipped { release, grant, .. } = Shipped::new(&keys);
    let (target, engine, world, floors) = (machine(), engine_profile(), world_policy(), BTreeMap::new());
    let want = Want { target: &target, engine: &engine, world: &world, floors: &floors, attested: None };
    assert!(keys.keyring.verify_grant(&release, &grant, &want).is_ok());
    for at in 0..grant.len() {
        let mut flipped = grant.clone();
        flipped[at] ^= 1 << (at % 8);
        let refused = keys.keyring.verify_grant(&release, &flipped, &want);
        assert!(matches!(refused, Err(PluginError::Grant(_))), "byte {at} of the grant: {refused:?}");
    }
    for at in 0..release.len() {
        let mut flipped = release.clone();
        flipped[at] ^= 1 << (at % 8);
        let refused = keys.keyring.verify_grant(&flipped, &grant, &want);
        assert!(matches!(refused, Err(PluginError::Release(_))), "byte {at} of the release: {refused:?}");
    }
}

/// Cut anywhere, or with something behind it, it is refused before its signature is looked at.
#[test]
fn no_part_of_a_steering_message_is_taken_for_it() {
    let keys = Keys::new();
    let good = signed(&keys, &steer(3, "1.5.0"), None);
    let cohort = cohort();
    let listener = Listener { cohort: Some(&cohort), device: None };
    for length in 0..good.len() {
        let refused = keys.keyring.verify_order(&good[..length], OrderKind::SteerProduct, listener, None);
        assert!(matches!(refused, Err(Refusal::Truncated { .. })), "{length} bytes: {refused:?}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    let refused = keys.keyring.verify_order(&longer, OrderKind::SteerProduct, listener, None);
    assert!(matches!(refused, Err(Refusal::Trailing { bytes: 1, .. })), "{refused:?}");
}

fn kind(refusal: &Refusal) -> String {
    let text = format!("{refusal:?}");
    text.split([' ', '{']).next().unwrap().to_owned()
}
