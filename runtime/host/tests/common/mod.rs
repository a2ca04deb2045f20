//! From source to a plugin that can be called, by the same way that a vendor and an operator go.
#![allow(dead_code, reason = "each test file uses what it needs of it")]

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use backstay_host::{
    Compiled, Engine, Machine, Plugin, compile_component, componentize, engine_profile, machine, world_of,
};
use backstay_model::{Digest, FleetId, Name, PluginId, UnixMs, Version};
use backstay_trust::{
    Artifact, EffectKind, Grant, Keyring, KeyringParts, Limits, Permissions, PluginRelease, Role, SecretKey,
    Stamp, Vendor, VerifiedPlugin, Want,
};
use sha2::{Digest as _, Sha256};

/// Builds a plugin of this workspace as a portable component.
pub(crate) fn component(package: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A directory of its own: the outer cargo holds the lock of the other one.
    let target = root.join("target/plugins");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["rustc", "--quiet", "--lib", "--crate-type", "cdylib", "--target", "wasm32-unknown-unknown"]);
    cargo.args(["--profile", "plugin", "--package", package, "--target-dir"]).arg(&target);
    let status = cargo.current_dir(&root).status().unwrap();
    assert!(status.success(), "{package} can't be built: is the target wasm32-unknown-unknown installed?");
    let module =
        target.join("wasm32-unknown-unknown/plugin").join(package.replace('-', "_")).with_extension("wasm");
    componentize(&fs::read(module).unwrap()).unwrap()
}

/// As always, but with all the time that can be granted: the time of a call is that of the wall, and a test may have
/// to share its machine.
pub(crate) const PATIENT: Limits = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };

/// What a grant may allow.
pub(crate) fn permissions(commands: &[&str], slots: bool) -> Permissions {
    let commands = commands.iter().map(|name| Name::parse(name).unwrap()).collect();
    Permissions { commands, slots, ..Permissions::default() }
}

/// The machine that this test runs on.
pub(crate) fn here() -> Machine {
    Machine::ALL.into_iter().find(|kind| kind.target() == machine()).unwrap()
}

/// Compiles, signs and verifies.
pub(crate) fn verified(component: &[u8], permissions: Permissions, limits: Limits) -> VerifiedPlugin {
    let compiled = compile_component(component, here()).unwrap();
    sign(component, &compiled, permissions, limits)
}

pub(crate) fn sign(
    component: &[u8],
    compiled: &Compiled,
    permissions: Permissions,
    limits: Limits,
) -> VerifiedPlugin {
    let [vendor, operator, other] = [1, 2, 3].map(|seed| SecretKey::from_random(&[seed; 32]));
    let fleet = FleetId::parse("test").unwrap();
    let role = |key: &SecretKey| Role::of(key.public());
    let director = SecretKey::from_random(&[4; 32]);
    let keyring = Keyring::new(KeyringParts {
        vendors: vec![Vendor { prefix: Name::parse("backstay").unwrap(), role: role(&vendor) }],
        ..KeyringParts::first(fleet.clone(), role(&operator), role(&other), role(&director))
    })
    .unwrap();
    let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
    let world = world_of(component).unwrap();
    let release = PluginRelease {
        id: PluginId::parse("backstay/tested").unwrap(),
        version: Version::parse("0.1.0").unwrap(),
        component: digest(component),
        component_bytes: component.len() as u64,
        world: world.clone(),
        wants: vec![
            EffectKind::Http,
            EffectKind::Run,
            EffectKind::Slot,
            EffectKind::File,
            EffectKind::Publish,
        ],
        limits,
    };
    let release = release.sign(&vendor, stamp).unwrap();
    let artifact = Artifact {
        target: compiled.target.clone(),
        engine: compiled.engine.clone(),
        compiler: compiled.compiler.clone(),
        digest: digest(&compiled.bytes),
        length: compiled.bytes.len() as u64,
    };
    let grant = Grant {
        release: *keyring.verify_plugin_release(&release).unwrap().digest(),
        permissions,
        limits,
        artifacts: vec![artifact],
    };
    let grant = grant.sign(&operator, fleet, stamp).unwrap();
    let (target, engine) = (machine(), engine_profile());
    let want =
        Want { target: &target, engine: &engine, world: &world, floors: &BTreeMap::new(), attested: None };
    keyring.verify_plugin(&release, &grant, compiled.bytes.clone(), &want).unwrap()
}

pub(crate) fn load(engine: &Engine, component: &[u8], permissions: Permissions, limits: Limits) -> Plugin {
    Plugin::load(engine, &verified(component, permissions, limits)).unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Numbers that are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// One of 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
