//! A bare component as a plugin that can be called, under keys that live for the moment.
//!
//! Nothing runs that nobody vouches for, not even in a test: so a vendor, an operator and a fleet are made up, sign
//! what is to be tried out, and are forgotten. What they sign is refused everywhere else.

use std::collections::BTreeMap;
use std::{error, fmt};

use backstay_host::{CompileError, Compiled, Machine, compile_once, engine_profile, world_of};
use backstay_model::{Digest, FleetId, Name, PluginId, UnixMs, Version};
use backstay_trust::{
    Artifact, Bundle, EffectKind, Grant, Keyring, KeyringParts, Limits, Permissions, PluginRelease, Role,
    SecretKey, Stamp, Target, Vendor, World,
};
use sha2::{Digest as _, Sha256};

/// A plugin under a grant that holds here only.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Who vouches for it.
    pub keyring: Vec<u8>,
    /// The plugin, with code for each kind of machine.
    pub bundle: Vec<u8>,
    /// The digest of its grant.
    pub grant: Digest,
    /// The contract that it is built for.
    pub world: World,
    /// For what code was made, and how many bytes it has.
    pub code: BTreeMap<Target, u64>,
}

/// A component that can't be tried out.
#[derive(Debug)]
pub enum TrialError {
    /// It can't be compiled.
    Compile(CompileError),
    /// "it can't be granted: the list of permissions is too long"
    Grant(String),
}

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compile(_) => f.write_str("the component can't be compiled"),
            Self::Grant(why) => write!(f, "the component can't be granted: {why}"),
        }
    }
}

impl error::Error for TrialError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Compile(source) => Some(source),
            Self::Grant(_) => None,
        }
    }
}

impl TrialError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Compile(source) => source.help(),
            Self::Grant(_) => Some("see what the manifest says under wants, permissions and limits"),
        }
    }
}

impl Trial {
    /// Compiles a component for each of these machines, once: nobody but a trial has to believe the code.
    ///
    /// # Errors
    /// It can't be compiled.
    pub fn code(component: &[u8], machines: &[Machine]) -> Result<Vec<Compiled>, TrialError> {
        let compile = |machine: &Machine| compile_once(component, *machine).map_err(TrialError::Compile);
        machines.iter().map(compile).collect()
    }

    /// Signs for a component and the code that was made of it.
    ///
    /// # Errors
    /// It is no plugin, or nobody could grant what is asked for.
    pub fn of(
        component: &[u8],
        id: &PluginId,
        version: &Version,
        wants: &[EffectKind],
        permissions: &Permissions,
        limits: Limits,
        parts: &[Compiled],
    ) -> Result<Self, TrialError> {
        let world = world_of(component).map_err(TrialError::Compile)?;
        // Keys of nobody: what they sign is believed by the keyring beside it and by no other. That they can be
        // guessed harms nobody, and makes the same component the same trial everywhere.
        let [vendor, operator, release, director] = [1, 2, 3, 4].map(|n| SecretKey::from_random(&[n; 32]));
        let fleet = FleetId::parse("trial").map_err(refused)?;
        let prefix = id.as_str().split('/').next().unwrap_or_default();
        let role = |key: &SecretKey| Role::of(key.public());
        let vendors = vec![Vendor { prefix: Name::parse(prefix).map_err(refused)?, role: role(&vendor) }];
        let first = KeyringParts::first(fleet.clone(), role(&operator), role(&release), role(&director));
        let keyring = Keyring::new(KeyringParts { vendors, ..first }).map_err(refused)?;
        let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
        let said = PluginRelease {
            id: id.clone(),
            version: version.clone(),
            component: digest(component),
            component_bytes: component.len() as u64,
            world: world.clone(),
            wants: wants.to_vec(),
            limits,
        };
        let said = said.sign(&vendor, stamp).map_err(refused)?;
        let artifacts = parts.iter().map(|code| Artifact {
            target: code.target.clone(),
            engine: code.engine.clone(),
            compiler: code.compiler.clone(),
            digest: digest(&code.bytes),
            length: code.bytes.len() as u64,
        });
        let grant = Grant {
            release: *keyring.verify_plugin_release(&said).map_err(refused)?.digest(),
            permissions: permissions.clone(),
            limits,
            artifacts: artifacts.collect(),
        };
        let granted = grant.sign(&operator, fleet, stamp).map_err(refused)?;
        let code: Vec<&[u8]> = parts.iter().map(|code| code.bytes.as_slice()).collect();
        let bundle = Bundle::new(&said, &granted, &code).encode().map_err(refused)?;
        let profile = engine_profile();
        let target = parts.first().map(|code| code.target.clone());
        let target = target.ok_or_else(|| TrialError::Grant("it is for no machine".into()))?;
        let want = backstay_trust::Want {
            target: &target,
            engine: &profile,
            world: &world,
            floors: &BTreeMap::new(),
            attested: None,
        };
        let first = parts.first().map(|code| code.bytes.clone()).unwrap_or_default();
        let verified = keyring.verify_plugin(&said, &granted, first, &want).map_err(refused)?;
        let grant = *verified.grant();
        let code = parts.iter().map(|code| (code.target.clone(), code.bytes.len() as u64)).collect();
        Ok(Self { keyring: keyring.encode(), bundle, grant, world, code })
    }
}

fn refused(why: impl fmt::Display) -> TrialError {
    TrialError::Grant(why.to_string())
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
