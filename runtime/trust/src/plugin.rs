//! Plugins: what a vendor releases and what an operator grants.
//!
//! Neither of the two is enough. The vendor's signature alone runs nothing, and the operator's alone
//! authorises nothing that a vendor didn't release. Not here: the proof that both agree on some bytes
//! (`verified_plugin`), and which grant may come after which (`accepted`).

use alloc::{collections::BTreeMap, string::ToString, vec::Vec};

use backstay_model::{Digest, FleetId, PluginId, UnixMs, Version};
use serde::{Deserialize, Serialize};

use crate::{
    Audience, Domain, EffectKind, EngineProfile, Floor, Limits, Permissions, SecretKey, SignError, Stamp,
    Statement, Target, World,
};

/// What a vendor signs: that this component is their plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRelease {
    /// Which plugin. Its first half is the vendor's prefix in the keyring.
    pub id: PluginId,
    /// For people.
    pub version: Version,
    /// Of the portable component.
    pub component: Digest,
    /// Bytes of the portable component.
    pub component_bytes: u64,
    /// The contract that it is built for.
    pub world: World,
    /// The kinds of effect that it asks for. No grant can give it others.
    pub wants: Vec<EffectKind>,
    /// What it says it needs. No grant can give it more.
    pub limits: Limits,
}

/// What an operator signs: that this release may run in the fleet, like this and not otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The digest of the vendor's statement, as [`crate::Keyring::verify_plugin_release`] gives it.
    pub release: Digest,
    /// The effects that it gets, by name.
    pub permissions: Permissions,
    /// What it may use. The lesser of this and of what the vendor says holds.
    pub limits: Limits,
    /// The code that runs, one for each target and engine. 1 to 16.
    pub artifacts: Vec<Artifact>,
}

/// Code that was compiled ahead of time for one kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is for.
    pub target: Target,
    /// The engine settings that it was compiled with.
    pub engine: EngineProfile,
    /// The exact version of the compiler.
    pub compiler: Version,
    /// Of its bytes.
    pub digest: Digest,
    /// How many bytes. At most [`Artifact::BYTES_MAX`].
    pub length: u64,
}

impl Artifact {
    /// The largest artifact, in bytes.
    pub const BYTES_MAX: u64 = 48 << 20;
    /// The largest that a device loads, in bytes. What is larger is for servers: a language with its whole library.
    pub const DEVICE_BYTES_MAX: u64 = 16 << 20;
}

const ARTIFACTS_MAX: usize = 16;

/// What follows a grant that leads back. One that doesn't has nothing there, so its bytes are as they always were; a
/// reader that doesn't know this refuses what follows, and that is right: it would not look at the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Back {
    /// The version of the older release.
    pub(crate) to: Version,
}

/// What a host can run, and what it has accepted before.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Its machine.
    pub target: &'a Target,
    /// Its engine.
    pub engine: &'a EngineProfile,
    /// The contract that it is going to use.
    pub world: &'a World,
    /// The grants that were accepted of each plugin. One that isn't there has none.
    pub floors: &'a BTreeMap<PluginId, Floor>,
    /// The latest time that is known from a signature. What expired before it is not taken into use anew.
    pub attested: Option<UnixMs>,
}

impl PluginRelease {
    /// Drafts it, for the vendor to sign. The sequence in `stamp` grows with each release of the plugin.
    ///
    /// # Errors
    /// If it is something that no reader would accept.
    pub fn draft(&self, stamp: Stamp) -> Result<Statement, SignError> {
        let domain = Domain::PluginRelease;
        if let Some(what) = self.unfit() {
            return Err(SignError::Inconsistent { domain, what: what.to_string() });
        }
        Statement::draft(domain, Audience::Anyone, stamp, &payload(self))
    }

    /// Drafts it and signs it with one key.
    ///
    /// # Errors
    /// As [`PluginRelease::draft`].
    pub fn sign(&self, vendor: &SecretKey, stamp: Stamp) -> Result<Vec<u8>, SignError> {
        signed(self.draft(stamp)?, vendor)
    }

    pub(crate) fn unfit(&self) -> Option<&'static str> {
        if self.wants.len() > 16 { Some("it wants too many effects") } else { self.limits.unfit() }
    }
}

impl Grant {
    /// Drafts it, for operators to sign. The sequence in `stamp` grows with each grant of the plugin in this fleet.
    ///
    /// # Errors
    /// If it is something that no reader would accept.
    pub fn draft(&self, fleet: FleetId, stamp: Stamp) -> Result<Statement, SignError> {
        self.drafted(&payload(self), fleet, stamp)
    }

    /// Drafts it as one that leads *back*: to the older release of this version. Without naming it, no grant leads to a
    /// release that is older than the one before.
    ///
    /// # Errors
    /// As [`Grant::draft`].
    pub fn draft_back_to(
        &self,
        older: &Version,
        fleet: FleetId,
        stamp: Stamp,
    ) -> Result<Statement, SignError> {
        let back = Back { to: older.clone() };
        let both = postcard::to_extend(&back, payload(self)).expect("writing to memory can't fail");
        self.drafted(&both, fleet, stamp)
    }

    /// Drafts it and signs it with one key.
    ///
    /// # Errors
    /// As [`Grant::draft`].
    pub fn sign(&self, operator: &SecretKey, fleet: FleetId, stamp: Stamp) -> Result<Vec<u8>, SignError> {
        signed(self.draft(fleet, stamp)?, operator)
    }

    fn drafted(&self, payload: &[u8], fleet: FleetId, stamp: Stamp) -> Result<Statement, SignError> {
        let domain = Domain::Grant;
        if let Some(what) = self.unfit() {
            return Err(SignError::Inconsistent { domain, what: what.to_string() });
        }
        Statement::draft(domain, Audience::Fleet(fleet), stamp, payload)
    }

    pub(crate) fn unfit(&self) -> Option<&'static str> {
        if !(1..=ARTIFACTS_MAX).contains(&self.artifacts.len()) {
            return Some("it has no artifact, or too many");
        }
        if self.artifacts.iter().any(|artifact| artifact.length > Artifact::BYTES_MAX) {
            return Some("an artifact is too large");
        }
        let same = |(at, one): (usize, &Artifact)| {
            let mut before = self.artifacts.iter().take(at);
            before.any(|other| other.target == one.target && other.engine == one.engine)
        };
        if self.artifacts.iter().enumerate().any(same) {
            return Some("two artifacts are for the same target and engine");
        }
        self.permissions.unfit().or_else(|| self.limits.unfit())
    }
}

fn payload<T: Serialize>(statement: &T) -> Vec<u8> {
    postcard::to_allocvec(statement).expect("writing to memory can't fail")
}

fn signed(mut statement: Statement, key: &SecretKey) -> Result<Vec<u8>, SignError> {
    statement.sign(key)?;
    statement.encode()
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec};

    use backstay_model::Name;

    use super::*;
    use crate::{Keyring, KeyringParts, PluginError, Refusal, Role, Vendor};

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn fleet() -> FleetId {
        FleetId::parse("pumps").unwrap()
    }

    fn keyring() -> Keyring {
        let [operator, release, director, vendor] = [1, 2, 3, 4].map(|seed| Role::of(key(seed).public()));
        let first = KeyringParts::first(fleet(), operator, release, director);
        let vendors = vec![Vendor { prefix: Name::parse("acme").unwrap(), role: vendor }];
        Keyring::new(KeyringParts { vendors, ..first }).unwrap()
    }

    fn plugin() -> PluginRelease {
        PluginRelease {
            id: PluginId::parse("acme/pump").unwrap(),
            version: Version::parse("1.0.0").unwrap(),
            component: Digest([3; 32]),
            component_bytes: 1,
            world: World::parse("backstay:plugin/executor@0.1.0").unwrap(),
            wants: vec![EffectKind::File],
            limits: Limits::DEFAULT,
        }
    }

    fn artifact(target: &str) -> Artifact {
        Artifact {
            target: Target::parse(target).unwrap(),
            engine: EngineProfile::parse("backstay-1").unwrap(),
            compiler: Version::parse("48.0.8").unwrap(),
            digest: Digest([4; 32]),
            length: 1,
        }
    }

    const STAMP: Stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };

    fn greedy() -> Limits {
        Limits { memory_bytes: u32::MAX, ..Limits::DEFAULT }
    }

    /// Somebody with the vendor's key doesn't need our tools to sign.
    #[test]
    fn a_release_that_nobody_could_grant_is_neither_signed_nor_believed() {
        let keyring = keyring();
        let by_hand = |release: &PluginRelease| {
            let draft = Statement::draft(Domain::PluginRelease, Audience::Anyone, STAMP, &payload(release));
            keyring.verify_plugin_release(&signed(draft.unwrap(), &key(4)).unwrap()).map(drop)
        };
        assert_eq!(by_hand(&plugin()), Ok(()));
        for odd in [
            PluginRelease { wants: vec![EffectKind::File; 17], ..plugin() },
            PluginRelease { limits: greedy(), ..plugin() },
        ] {
            assert!(matches!(odd.draft(STAMP), Err(SignError::Inconsistent { .. })), "{odd:?}");
            let refused = by_hand(&odd);
            assert!(
                matches!(refused, Err(PluginError::Release(Refusal::Inconsistent { .. }))),
                "{refused:?}"
            );
        }
    }

    /// The same of somebody with an operator's key.
    #[test]
    fn a_grant_of_what_nobody_can_grant_is_neither_signed_nor_believed() {
        let keyring = keyring();
        let release = plugin().sign(&key(4), STAMP).unwrap();
        let grant = Grant {
            release: *keyring.verify_plugin_release(&release).unwrap().digest(),
            permissions: Permissions::default(),
            limits: Limits::DEFAULT,
            artifacts: vec![artifact("x86_64-linux")],
        };
        let (target, engine, world) =
            (artifact("x86_64-linux").target, artifact("x86_64-linux").engine, plugin().world);
        let floors = BTreeMap::new();
        let want = Want { target: &target, engine: &engine, world: &world, floors: &floors, attested: None };
        let by_hand = |grant: &Grant| {
            let draft = Statement::draft(Domain::Grant, Audience::Fleet(fleet()), STAMP, &payload(grant));
            keyring.verify_grant(&release, &signed(draft.unwrap(), &key(1)).unwrap(), &want).map(drop)
        };
        assert_eq!(by_hand(&grant), Ok(()));
        let with = |change: &dyn Fn(&mut Grant)| {
            let mut odd = grant.clone();
            change(&mut odd);
            odd
        };
        let targets = |names: &[&str]| names.iter().map(|name| artifact(name)).collect();
        let seventeen: Vec<_> = (0..17).map(|n| artifact(&format!("cpu-{n}"))).collect();
        let large = |length| Artifact { length, ..artifact("x86_64-linux") };
        assert_eq!(by_hand(&with(&|grant| grant.artifacts = vec![large(Artifact::BYTES_MAX)])), Ok(()));
        assert_eq!(by_hand(&with(&|grant| grant.artifacts = targets(&["x86_64-linux", "pulley64"]))), Ok(()));
        for odd in [
            with(&|grant| grant.artifacts.clear()),
            with(&|grant| grant.artifacts = vec![large(Artifact::BYTES_MAX + 1)]),
            with(&|grant| grant.artifacts = targets(&["x86_64-linux", "x86_64-linux"])),
            with(&|grant| grant.artifacts.clone_from(&seventeen)),
            with(&|grant| grant.permissions.paths = vec![String::from("/etc/../")]),
            with(&|grant| grant.limits = greedy()),
        ] {
            assert!(matches!(odd.draft(fleet(), STAMP), Err(SignError::Inconsistent { .. })), "{odd:?}");
            let refused = by_hand(&odd);
            assert!(matches!(refused, Err(PluginError::Grant(Refusal::Inconsistent { .. }))), "{refused:?}");
        }
    }
}
