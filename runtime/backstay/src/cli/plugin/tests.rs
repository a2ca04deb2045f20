//! From a component to a bundle that is believed, and what isn't.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backstay_host::{Machine, compile_component, engine_profile, world_policy};
use backstay_model::{Digest, FleetId, Millis, Name, PluginId, UnixMs, Version};
use backstay_trust::{
    Artifact, Bundle, EffectKind, Keyring, KeyringParts, Limits, Permissions, PluginRelease, Role, SecretKey,
    Stamp, Vendor, Want,
};
use tempfile::TempDir;

use super::{grant::Grant, inspect::Inspect, ls::Ls, pull::Pull, push::Push, sign::Sign};
use crate::{Desk, Exit, oci::Access, signer::Signing};

/// A policy as far as its shape goes: enough to be signed, compiled and granted.
const COMPONENT: &str = r#"(component
    (core module $m (func (export "decide") (result i32) i32.const 7))
    (core instance $i (instantiate $m))
    (func (export "decide") (result u32) (canon lift (core func $i "decide"))))"#;

const MANIFEST: &str = r#"
id = "acme/policy-seven"
version = "1.0.0"
wants = ["run"]

[permissions]
commands = ["restart"]
"#;

/// A folder with the keys of a fleet, and a vendor's manifest and component.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        let key = |byte: u8, name: &str| {
            let key = SecretKey::from_random(&[byte; 32]);
            fs::write(bench.path(name), key.to_pem().as_bytes()).unwrap();
            Role::of(key.public())
        };
        let fleet = FleetId::parse("acme").unwrap();
        let (operator, release) = (key(1, "operator.pem"), key(2, "release.pem"));
        let first = KeyringParts::first(fleet, operator, release, key(3, "director.pem"));
        let parts = KeyringParts {
            vendors: vec![Vendor { prefix: Name::parse("acme").unwrap(), role: key(4, "vendor.pem") }],
            ..first
        };
        fs::write(bench.path("keyring"), Keyring::new(parts).unwrap().encode()).unwrap();
        fs::write(bench.path("manifest.toml"), MANIFEST).unwrap();
        fs::write(bench.path("seven.wasm"), wat::parse_str(COMPONENT).unwrap()).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sign(&self) -> Sign {
        Sign {
            manifest: self.path("manifest.toml"),
            component: self.path("seven.wasm"),
            signing: Signing::of(self.path("vendor.pem")),
            sequence: 1,
            out: self.path("seven.release"),
        }
    }

    fn grant(&self) -> Grant {
        Grant {
            release: self.path("seven.release"),
            component: self.path("seven.wasm"),
            signing: Signing::of(self.path("operator.pem")),
            back_to: None,
            keyring: self.path("keyring"),
            permissions: Some(self.path("manifest.toml")),
            targets: vec![Machine::X86_64Linux, Machine::Pulley64],
            sequence: 1,
            out: self.path("seven.bundle"),
        }
    }

    fn inspect(&self) -> Inspect {
        Inspect { bundle: self.path("seven.bundle"), keyring: Some(self.path("keyring")) }
    }

    fn reference(&self) -> String {
        format!("oci:{}:1.0.0", self.path("shelf").display())
    }

    fn push(&self) -> Push {
        Push {
            bundle: self.path("seven.bundle"),
            reference: self.reference().parse().unwrap(),
            keyring: Some(self.path("keyring")),
            access: Access::default(),
        }
    }

    fn pull(&self) -> Pull {
        Pull {
            reference: self.reference().parse().unwrap(),
            out: self.path("pulled.bundle"),
            keyring: Some(self.path("keyring")),
            access: Access::default(),
        }
    }

    /// Signs and grants.
    fn made(self) -> Self {
        self.sign().run(&Desk::quiet()).unwrap();
        self.grant().run(&Desk::quiet()).unwrap();
        self
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_signed_and_granted_is_what_a_device_believes() {
    let bench = Bench::new().made();
    assert_eq!(bench.inspect().run(&Desk::quiet()).unwrap(), Exit::Done);
    let bare = Inspect { keyring: None, ..bench.inspect() };
    assert_eq!(bare.run(&Desk::quiet()).unwrap(), Exit::Done);
}

/// What the files and the command line say, each in a way of its own, is what is signed.
#[test]
fn what_is_signed_is_what_was_said() {
    let bench = Bench::new();
    let world = "world = \"backstay:plugin/policy@0.1.0\"\n";
    let limits = "[limits]\ncall-ms = 17\n";
    fs::write(bench.path("manifest.toml"), format!("{world}{MANIFEST}{limits}")).unwrap();
    Sign { sequence: 11, ..bench.sign() }.run(&Desk::quiet()).unwrap();
    fs::write(bench.path("grant.toml"), "[permissions]\ncommands = [\"stop\"]\n[limits]\nstate-bytes = 18\n")
        .unwrap();
    Grant { permissions: Some(bench.path("grant.toml")), sequence: 12, ..bench.grant() }
        .run(&Desk::quiet())
        .unwrap();

    let keyring = crate::file::read_keyring(&bench.path("keyring")).unwrap();
    let component = fs::read(bench.path("seven.wasm")).unwrap();
    let bytes = fs::read(bench.path("seven.bundle")).unwrap();
    let bundle = Bundle::decode(&bytes).unwrap();
    let verified = keyring.verify_plugin_release(bundle.release).unwrap();
    assert_eq!(verified.stamp().sequence, 11);
    let said = Limits { call: Millis(17), ..Limits::DEFAULT };
    let release = PluginRelease {
        id: PluginId::parse("acme/policy-seven").unwrap(),
        version: Version::parse("1.0.0").unwrap(),
        component: crate::file::digest_of(&component),
        component_bytes: component.len() as u64,
        world: world_policy(),
        wants: vec![EffectKind::Run],
        limits: said,
    };
    assert_eq!(*verified.release(), release);
    let (engine, world, floors) = (engine_profile(), world_policy(), BTreeMap::new());
    for machine in bench.grant().targets {
        let target = machine.target();
        let want = Want { target: &target, engine: &engine, world: &world, floors: &floors, attested: None };
        let granted = keyring.verify_grant(bundle.release, bundle.grant, &want).unwrap();
        let compiled = compile_component(&component, machine).unwrap();
        let artifact = Artifact {
            target: compiled.target,
            engine: compiled.engine,
            compiler: compiled.compiler,
            digest: crate::file::digest_of(&compiled.bytes),
            length: compiled.bytes.len() as u64,
        };
        assert_eq!(*granted.artifact(), artifact);
        let plugin = granted.with_artifact(bundle.artifact(&artifact.digest).unwrap().to_vec()).unwrap();
        assert_eq!(plugin.stamp().sequence, 12);
        assert_eq!(plugin.limits(), Limits { state_bytes: 18, ..said });
        let commands = vec![Name::parse("stop").unwrap()];
        assert_eq!(*plugin.permissions(), Permissions { commands, ..Permissions::default() });
    }
}

/// A release names its component by digest and length. One that lies about either is not granted.
#[test]
fn a_release_that_lies_about_its_component_is_not_granted() {
    let bench = Bench::new();
    let component = fs::read(bench.path("seven.wasm")).unwrap();
    let true_one = PluginRelease {
        id: PluginId::parse("acme/policy-seven").unwrap(),
        version: Version::parse("1.0.0").unwrap(),
        component: crate::file::digest_of(&component),
        component_bytes: component.len() as u64,
        world: world_policy(),
        wants: vec![EffectKind::Run],
        limits: Limits::DEFAULT,
    };
    let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
    let release = |release: &PluginRelease| {
        let signed = release.sign(&SecretKey::from_random(&[4; 32]), stamp).unwrap();
        fs::write(bench.path("seven.release"), signed).unwrap();
        bench.grant().run(&Desk::quiet())
    };
    assert_eq!(release(&true_one).unwrap(), Exit::Done);
    fs::remove_file(bench.path("seven.bundle")).unwrap();
    for lie in [
        PluginRelease { component: Digest([7; 32]), ..true_one.clone() },
        PluginRelease { component_bytes: true_one.component_bytes + 1, ..true_one.clone() },
    ] {
        let failure = release(&lie).unwrap_err();
        assert!(failure.to_string().contains("is not the component of"), "{failure}");
        assert!(!bench.path("seven.bundle").exists());
    }
}

#[test]
fn a_flipped_byte_anywhere_in_a_bundle_is_found() {
    let bench = Bench::new().made();
    let bundle = fs::read(bench.path("seven.bundle")).unwrap();
    // Every part of it: begin and end, and one byte in every few of all between.
    for at in (0..bundle.len()).step_by(997).chain([0, 3, 4, 100, bundle.len() - 1]) {
        flip(&bench.path("seven.bundle"), at);
        let failure = bench.inspect().run(&Desk::quiet()).unwrap_err();
        assert_eq!(failure.exit(), Exit::Untrusted, "byte {at}: {failure}");
        flip(&bench.path("seven.bundle"), at);
    }
}

#[test]
fn another_component_is_not_granted() {
    let bench = Bench::new();
    bench.sign().run(&Desk::quiet()).unwrap();
    let other = COMPONENT.replace("i32.const 7", "i32.const 8");
    fs::write(bench.path("seven.wasm"), wat::parse_str(other).unwrap()).unwrap();
    let failure = bench.grant().run(&Desk::quiet()).unwrap_err();
    assert_eq!(failure.exit(), Exit::Untrusted);
    assert!(failure.to_string().contains("is not the component of acme/policy-seven 1.0.0"), "{failure}");
    assert!(!bench.path("seven.bundle").exists());
}

#[test]
fn neither_the_wrong_key_nor_the_wrong_name_gets_through() {
    let bench = Bench::new();
    Sign { signing: Signing::of(bench.path("release.pem")), ..bench.sign() }.run(&Desk::quiet()).unwrap();
    assert_eq!(bench.grant().run(&Desk::quiet()).unwrap_err().exit(), Exit::Untrusted, "no vendor's key");

    fs::write(bench.path("manifest.toml"), MANIFEST.replace("acme/", "backstay/")).unwrap();
    bench.sign().run(&Desk::quiet()).unwrap();
    let failure = bench.grant().run(&Desk::quiet()).unwrap_err();
    assert!(failure.to_string().contains("may not use this name"), "{failure}");

    fs::write(bench.path("manifest.toml"), MANIFEST).unwrap();
    bench.sign().run(&Desk::quiet()).unwrap();
    let grant = Grant { signing: Signing::of(bench.path("director.pem")), ..bench.grant() };
    assert_eq!(grant.run(&Desk::quiet()).unwrap_err().exit(), Exit::Untrusted, "no operator's key");
    assert!(!bench.path("seven.bundle").exists());
}

#[test]
fn nothing_is_granted_that_the_vendor_did_not_ask_for() {
    let bench = Bench::new();
    bench.sign().run(&Desk::quiet()).unwrap();
    fs::write(bench.path("grant.toml"), "[permissions]\nslots = true\n").unwrap();
    let failure = Grant { permissions: Some(bench.path("grant.toml")), ..bench.grant() }
        .run(&Desk::quiet())
        .unwrap_err();
    assert!(failure.to_string().contains("is granted slot, which its vendor does not ask for"), "{failure}");
}

#[test]
fn a_manifest_that_names_another_contract_is_not_signed() {
    let bench = Bench::new();
    let world = "world = \"backstay:plugin/executor@0.1.0\"\n";
    fs::write(bench.path("manifest.toml"), format!("{world}{MANIFEST}")).unwrap();
    assert_eq!(bench.sign().run(&Desk::quiet()).unwrap_err().exit(), Exit::Configuration);
}

#[test]
fn what_is_no_plugin_is_not_signed() {
    let bench = Bench::new();
    fs::write(bench.path("seven.wasm"), b"\0asm\x01\0\0\0").unwrap();
    assert_eq!(bench.sign().run(&Desk::quiet()).unwrap_err().exit(), Exit::Usage);
}

/// A component at which the compiler panics is no more than one that can't be compiled, and it is named by its plugin.
#[test]
fn a_compiler_that_gives_up_is_told_with_the_plugin() {
    let attack = include_str!("../../../../../tests/attacks/corpus/compiler-brought-down/attack.toml");
    let text = attack.split("'''").nth(1).unwrap();
    let bench = Bench::new();
    fs::write(bench.path("seven.wasm"), wat::parse_str(text).unwrap()).unwrap();
    bench.sign().run(&Desk::quiet()).unwrap();
    let failure = bench.grant().run(&Desk::quiet()).unwrap_err();
    assert_eq!(failure.exit(), Exit::Trouble);
    let told = failure.to_string();
    assert!(told.contains("cannot compile acme/policy-seven"), "{told}");
    assert!(told.contains("for x86_64-linux") && told.contains("the compiler gave up: "), "{told}");
    assert!(!bench.path("seven.bundle").exists());
}

#[test]
fn the_chain_is_told_link_by_link_and_ends_where_it_breaks() {
    let bench = Bench::new().made();
    let why = || super::why::Why { bundle: bench.path("seven.bundle"), keyring: bench.path("keyring") };
    assert_eq!(why().run(&Desk::quiet()).unwrap(), Exit::Done);
    let ls = Ls { folder: bench.dir.path().into(), keyring: bench.path("keyring") };
    assert_eq!(ls.run(&Desk::quiet()).unwrap(), Exit::Done);
    let last = fs::read(bench.path("seven.bundle")).unwrap().len() - 1;
    flip(&bench.path("seven.bundle"), last);
    assert_eq!(why().run(&Desk::quiet()).unwrap_err().exit(), Exit::Untrusted, "the code is another");
}

#[test]
fn a_bundle_that_is_handed_on_is_the_same_bundle() {
    let bench = Bench::new().made();
    for _ in 0..2 {
        assert_eq!(bench.push().run(&Desk::quiet()).unwrap(), Exit::Done);
        assert_eq!(bench.pull().run(&Desk::quiet()).unwrap(), Exit::Done);
    }
    let read = |name: &str| fs::read(bench.path(name)).unwrap();
    assert_eq!(read("pulled.bundle"), read("seven.bundle"));
    let shelf = format!("oci:{}", bench.path("shelf").display());
    let ls = Ls { folder: shelf.into(), keyring: bench.path("keyring") };
    assert_eq!(ls.run(&Desk::quiet()).unwrap(), Exit::Done);
}

/// Whoever keeps the place can put there what they like. It comes, and it isn't believed.
#[test]
fn a_detour_by_a_shelf_is_no_way_round_the_keyring() {
    let (bench, stranger) = (Bench::new().made(), Bench::new());
    fs::write(stranger.path("vendor.pem"), SecretKey::from_random(&[9; 32]).to_pem().as_bytes()).unwrap();
    let keyring = stranger.path("keyring");
    let parts = Keyring::decode(&fs::read(&keyring).unwrap()).unwrap().parts().clone();
    let role = Role::of(SecretKey::from_random(&[9; 32]).public());
    let vendors = vec![Vendor { prefix: Name::parse("acme").unwrap(), role }];
    fs::write(&keyring, Keyring::new(KeyringParts { vendors, ..parts }).unwrap().encode()).unwrap();
    let stranger = stranger.made();

    let foreign = Push { bundle: stranger.path("seven.bundle"), ..bench.push() };
    assert_eq!(foreign.run(&Desk::quiet()).unwrap_err().exit(), Exit::Untrusted);
    assert!(!bench.path("shelf").exists(), "nothing is made for what is refused");
    let foreign = Push { keyring: None, ..foreign };
    foreign.run(&Desk::quiet()).unwrap();

    assert_eq!(bench.pull().run(&Desk::quiet()).unwrap_err().exit(), Exit::Untrusted);
    assert!(!bench.path("pulled.bundle").exists(), "what is refused is not written");
    let unasked = Pull { keyring: None, ..bench.pull() };
    unasked.run(&Desk::quiet()).unwrap();
    let inspect = Inspect { bundle: bench.path("pulled.bundle"), ..bench.inspect() };
    assert_eq!(
        inspect.run(&Desk::quiet()).unwrap_err().exit(),
        Exit::Untrusted,
        "it is checked where it is used"
    );
}

#[test]
fn what_cannot_come_whole_leaves_what_was_there() {
    let bench = Bench::new().made();
    bench.push().run(&Desk::quiet()).unwrap();
    fs::write(bench.path("pulled.bundle"), "the one before").unwrap();
    let blobs = fs::read_dir(bench.path("shelf/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let bundle = blobs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    flip(&bundle, 1000);
    assert_eq!(bench.pull().run(&Desk::quiet()).unwrap_err().exit(), Exit::Untrusted);
    assert_eq!(fs::read(bench.path("pulled.bundle")).unwrap(), b"the one before");

    fs::write(bench.path("seven.bundle"), "no bundle").unwrap();
    assert_eq!(bench.push().run(&Desk::quiet()).unwrap_err().exit(), Exit::Untrusted);
}
