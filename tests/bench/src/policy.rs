//! The policy that ships, released, granted and compiled for this machine: what a decision is measured on.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use backstay_host::{Machine, compile_component, engine_profile, machine, world_policy};
use backstay_model::{
    Breaker, Digest, Facts, Millis, Mono, Name, Objective, Permille, Release, Schema, Scope, Window,
};
use backstay_test_attacks::{Keys, Shipped, guests};
use backstay_trust::{Limits, Permissions, VerifiedPlugin, Want};

use crate::Failure;

/// The policy with everything that a device checks before it loads it.
pub struct Signed {
    keys: Keys,
    shipped: Shipped,
    /// Its bytes as they are distributed to be compiled.
    pub component: Vec<u8>,
}

impl Signed {
    /// Signs `policy-tree` as `cargo xtask plugins` built it.
    ///
    /// # Errors
    /// If it isn't there.
    pub fn policy_tree() -> Result<Self, Failure> {
        let component = component("policy-tree")?;
        let keys = Keys::new();
        // All the time that can be granted: a machine that stands still for a moment is no reason to stop measuring.
        let limits = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };
        let shipped = guests::shipped(&keys, &component, Permissions::default(), limits, 1);
        Ok(Self { keys, shipped, component })
    }

    /// Checks both signatures, the digest of the artifact, and all that a grant says, as a device does before it loads.
    ///
    /// # Errors
    /// If it isn't to be believed.
    pub fn verify(&self) -> Result<VerifiedPlugin, Failure> {
        let (target, engine, world, floors) = (machine(), engine_profile(), world_policy(), BTreeMap::new());
        let want = Want { target: &target, engine: &engine, world: &world, floors: &floors, attested: None };
        let Shipped { release, grant, artifact } = &self.shipped;
        Ok(self.keys.keyring.verify_plugin(release, grant, artifact.clone(), &want)?)
    }

    /// The keys that it is signed with.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// As one file.
    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        self.shipped.bundle()
    }
}

/// A plugin that ships, as the component that `cargo xtask plugins` built.
///
/// # Errors
/// If it isn't there.
pub fn component(name: &str) -> Result<Vec<u8>, Failure> {
    let folder =
        env::var_os("BACKSTAY_PLUGINS").ok_or("BACKSTAY_PLUGINS is not set: `cargo xtask bench` sets it")?;
    let file = PathBuf::from(folder).join(name).with_extension("wasm");
    let help = |why| format!("cannot read {}: {why}; `cargo xtask plugins` makes it", file.display());
    Ok(fs::read(&file).map_err(help)?)
}

/// The bytes of a component's code, for each machine that it can be compiled for.
///
/// # Errors
/// If it can't be compiled.
pub fn code_bytes(component: &[u8]) -> Result<Vec<(String, usize)>, Failure> {
    let compile = |machine| {
        let compiled = compile_component(component, machine)?;
        Ok((compiled.target.to_string(), compiled.bytes.len()))
    };
    Machine::ALL.into_iter().map(compile).collect()
}

/// Eight critical objectives of four windows, all of them kept: what a policy is asked nearly always.
#[must_use]
pub fn facts() -> Facts {
    let window = |n: u64| Window { opened: Mono(n * 60_000), span: Millis(60_000), samples: 12, bad: 0 };
    let objective = |n: u64| Objective {
        name: Name::parse(&format!("objective-{n}")).expect("it is a name"),
        critical: true,
        scope: Scope::Local,
        candidate: (0..4).map(window).collect(),
        baseline: Vec::new(),
    };
    Facts {
        now: Mono(240_000),
        release: Release {
            version: "1.5.0".parse().expect("it is a version"),
            digest: Digest([5; 32]),
            length: 1,
            security_epoch: 0,
        },
        stage: Permille::ALL,
        on_trial: true,
        objectives: (0..8).map(objective).collect(),
        anomaly: None,
        infra: Vec::new(),
        attempts: 0,
        breaker: Breaker::Closed,
        schema: Schema::Unknown,
    }
}
