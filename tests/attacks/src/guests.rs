//! Plugins to attack with: from a guest that is written by hand to a bundle that is signed as any other.

use std::collections::BTreeMap;

use backstay_host::{compile_component, engine_profile, machine, world_of};
use backstay_model::{PluginId, UnixMs, Version};
use backstay_trust::{
    Artifact, EffectKind, Grant, Limits, Permissions, PluginRelease, Stamp, VerifiedPlugin, Want,
};

use crate::{Keys, Shipped, chain, digest, fleet, here};

#[path = "../../../runtime/host/tests/common/guests.rs"]
mod by_hand;

pub use by_hand::{MEMORY, NOTHING, deciding, executor, facts, guest, order, policy, stepping};

/// A guest that vendor and operator signed without looking: what holds it is the sandbox alone.
///
/// # Panics
/// If it isn't a component that can be compiled.
#[must_use]
pub fn shipped(
    keys: &Keys,
    component: &[u8],
    permissions: Permissions,
    limits: Limits,
    sequence: u64,
) -> Shipped {
    let compiled = compile_component(component, here()).unwrap_or_else(|why| panic!("{}", chain(&why)));
    let stamp = Stamp { sequence, issued: UnixMs(1), expires: None };
    let release = PluginRelease {
        id: PluginId::parse("backstay/guest").unwrap(),
        version: Version::parse(&format!("0.{sequence}.0")).unwrap(),
        component: digest(component),
        component_bytes: component.len() as u64,
        world: world_of(component).unwrap(),
        wants: vec![
            EffectKind::Http,
            EffectKind::Run,
            EffectKind::Slot,
            EffectKind::File,
            EffectKind::Publish,
        ],
        limits,
    };
    let release = release.sign(&keys.vendor, stamp).unwrap();
    let grant = Grant {
        release: *keys.keyring.verify_plugin_release(&release).unwrap().digest(),
        permissions,
        limits,
        artifacts: vec![Artifact {
            target: compiled.target.clone(),
            engine: compiled.engine.clone(),
            compiler: compiled.compiler.clone(),
            digest: digest(&compiled.bytes),
            length: compiled.bytes.len() as u64,
        }],
    };
    let grant = grant.sign(&keys.operator, fleet(), stamp).unwrap();
    Shipped { release, grant, artifact: compiled.bytes }
}

/// What was shipped, as an instance verifies it.
///
/// # Panics
/// If it may not run here.
#[must_use]
pub fn verified(keys: &Keys, shipped: &Shipped, component: &[u8]) -> VerifiedPlugin {
    let (target, engine, world) = (machine(), engine_profile(), world_of(component).unwrap());
    let floors = BTreeMap::new();
    let want = Want { target: &target, engine: &engine, world: &world, floors: &floors, attested: None };
    let artifact = shipped.artifact.clone();
    keys.keyring.verify_plugin(&shipped.release, &shipped.grant, artifact, &want).unwrap()
}
