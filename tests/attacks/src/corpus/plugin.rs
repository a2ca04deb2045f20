//! What a vendor and an operator signed, and the code: the way that every plugin comes to an instance.

use std::{collections::BTreeMap, fs, sync::OnceLock};

use backstay_config::Plugin as Configured;
use backstay_host::{
    Engine, Machine, compile_component, engine_profile, machine, world_executor, world_policy,
};
use backstay_model::{Digest, PluginId, UnixMs, Version};
use backstay_plugins::{Loader, Tier};
use backstay_trust::{
    Accepted, Artifact, Bundle, EffectKind, EngineProfile, Floor, Grant, Limits, Permissions, PluginRelease,
    Stamp,
};
use serde::Deserialize;

use super::{Damage, Verdict, guest};
use crate::{Keys, digest, fleet_called, here};

/// A policy as a bundle on disk, brought to an instance of the fleet `pumps`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plugin {
    /// Whose key signs the release.
    vendor: String,
    /// Whose key signs the grant.
    operator: String,
    /// What the plugin is called.
    id: String,
    /// The contract that it is said to be built for: `policy` or `executor`.
    world: String,
    /// The fleet that the grant is for.
    fleet: String,
    /// The sequence of the grant.
    sequence: u64,
    /// The sequence of the grant that was accepted before.
    floor: u64,
    /// The sequence of the release that was accepted with it, if another grant than this was.
    floor_release: Option<u64>,
    /// Whose key the fleet's revokers have taken back.
    revoked: Option<String>,
    /// The keyring has expired by the time that the server attests.
    keyring_expired: bool,
    /// The grant has.
    grant_expired: bool,
    /// The grant is for another release of the plugin.
    other_release: bool,
    /// The vendor asks for slots and the operator grants commands.
    grants_more: bool,
    /// The machine that the grant names: `here` or another.
    target: String,
    /// The engine that the grant names.
    engine: Option<String>,
    /// The machine that the code is really for.
    code_for: String,
    /// The code in the bundle is what the grant names, or there is none.
    without_code: bool,
    /// So many bytes of code are said to be granted.
    code_bytes: Option<u64>,
    /// What is done to the code before it is signed.
    built: Vec<Damage>,
    /// What is done to the vendor's statement.
    release: Vec<Damage>,
    /// What is done to the operator's statement.
    grant: Vec<Damage>,
    /// What is done to the code.
    code: Vec<Damage>,
    /// What is done to the file.
    bundle: Vec<Damage>,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            vendor: "vendor".into(),
            operator: "operator".into(),
            id: "backstay/policy-tree".into(),
            world: "policy".into(),
            fleet: "pumps".into(),
            sequence: 7,
            floor: 7,
            floor_release: None,
            revoked: None,
            keyring_expired: false,
            grant_expired: false,
            other_release: false,
            grants_more: false,
            target: "here".into(),
            engine: None,
            code_for: "here".into(),
            without_code: false,
            code_bytes: None,
            built: vec![],
            release: vec![],
            grant: vec![],
            code: vec![],
            bundle: vec![],
        }
    }
}

fn code(machine: &str) -> Vec<u8> {
    static CODE: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let all = CODE.get_or_init(|| {
        let compile = |machine: Machine| {
            let name = if machine == here() { "here".into() } else { machine.target().to_string() };
            (name, compile_component(guest::good_policy(), machine).unwrap().bytes)
        };
        Machine::ALL.into_iter().map(compile).collect()
    });
    all[machine].clone()
}

impl Plugin {
    pub(super) fn tried(&self) -> Verdict {
        let keys = Keys::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.bundle");
        fs::write(&path, self.made(&keys)).unwrap();
        let engine = Engine::new().unwrap();
        let floors = BTreeMap::from([(PluginId::parse(&self.id).unwrap(), self.accepted())]);
        let keyring = match &self.revoked {
            Some(stolen) => keys.revoking(&[keys.called(stolen)]),
            None if self.keyring_expired => keys.expiring(UnixMs(5_000)),
            None => keys.keyring.clone(),
        };
        let attested = (self.keyring_expired || self.grant_expired).then_some(UnixMs(5_000));
        let loader = Loader { floors: &floors, attested, ..Loader::new(Tier::Device, &engine, &keyring) };
        let config = Configured { bundle: path, ..Configured::default() };
        match loader.policies(&config) {
            Ok(ready) => Verdict::Accepted(format!("{} plugin runs", ready.len())),
            Err(error) => Verdict::of(&error, error.help()),
        }
    }

    /// What was accepted here before: this very grant, if its sequence is the same and nothing more is said.
    fn accepted(&self) -> Floor {
        let Some(release) = self.floor_release else { return Floor::of_sequence(self.floor) };
        let newest = Accepted { sequence: self.floor, grant: Some(Digest([1; 32])), release };
        Floor { newest, before: None }
    }

    fn made(&self, keys: &Keys) -> Vec<u8> {
        let stamp = |sequence| Stamp { sequence, issued: UnixMs(1), expires: None };
        let said = PluginRelease {
            id: PluginId::parse(&self.id).unwrap(),
            version: Version::parse("0.1.0").unwrap(),
            component: digest(guest::good_policy()),
            component_bytes: guest::good_policy().len() as u64,
            world: if self.world == "policy" { world_policy() } else { world_executor() },
            wants: vec![EffectKind::Slot],
            limits: Limits::DEFAULT,
        };
        let mut release = said.sign(keys.called(&self.vendor), stamp(1)).unwrap();
        let granted = match self.other_release {
            true => {
                PluginRelease { component_bytes: 1, ..said.clone() }.sign(&keys.vendor, stamp(2)).unwrap()
            }
            false => said.sign(&keys.vendor, stamp(1)).unwrap(),
        };
        // What names a statement doesn't depend on who signed it.
        let granted = keys.everybodys().verify_plugin_release(&granted).unwrap();
        let mut artifact = code(&self.code_for);
        Damage::all(&self.built, &mut artifact);
        let named = Artifact {
            target: if self.target == "here" { machine() } else { self.target.parse().unwrap() },
            engine: self
                .engine
                .as_ref()
                .map_or_else(engine_profile, |name| EngineProfile::parse(name).unwrap()),
            compiler: Version::parse("48.0.8").unwrap(),
            digest: digest(&artifact),
            length: self.code_bytes.unwrap_or(artifact.len() as u64),
        };
        let mut permissions = Permissions { slots: true, ..Permissions::default() };
        if self.grants_more {
            permissions.commands.push("restart".parse().unwrap());
        }
        let grant = Grant {
            release: *granted.digest(),
            permissions,
            limits: Limits::DEFAULT,
            artifacts: vec![named],
        };
        let operator = keys.called(&self.operator);
        let expires = self.grant_expired.then_some(UnixMs(5_000));
        let granted = Stamp { expires, ..stamp(self.sequence) };
        let mut grant = grant.sign(operator, fleet_called(&self.fleet), granted).unwrap();
        Damage::all(&self.release, &mut release);
        Damage::all(&self.grant, &mut grant);
        let whole = artifact.clone();
        Damage::all(&self.code, &mut artifact);
        let mut bundle = Bundle::new(&release, &grant, &[&whole]).encode().unwrap();
        if self.code.is_empty() && self.without_code {
            bundle = Bundle::new(&release, &grant, &[]).encode().unwrap();
        } else if !self.code.is_empty() {
            // Under the digest of the whole: who damages code does not also change its name.
            let at = bundle.len() - whole.len() - 4;
            bundle.truncate(at);
            bundle.extend_from_slice(&(artifact.len() as u32).to_le_bytes());
            bundle.extend_from_slice(&artifact);
        }
        Damage::all(&self.bundle, &mut bundle);
        bundle
    }
}
