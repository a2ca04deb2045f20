//! From a bundle on disk to a plugin that can be asked.

use std::{
    collections::BTreeMap,
    error, fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use backstay_config::{Plugin as PluginConfig, Setting};
use backstay_core::{Confidence, Terms};
use backstay_host::{
    CallError, Config, Description, Engine, Executor, Plugin, Policy, Problem, Value, engine_profile,
    world_executor, world_policy,
};
use backstay_model::{
    Digest, Equipped, Event, Name, PluginId, PluginRole, Reason, Release, UnixMs, Version, causes,
};
use backstay_trust::{
    Accepted, Artifact, Bundle, BundleError, Floor, GrantedPlugin, Keyring, PluginError, Target,
    VerifiedPlugin, Want, World,
};

use crate::{Mark, trace};

/// What kind of instance loads a plugin: how much code it has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A device.
    Device,
    /// A server.
    Server,
}

impl Tier {
    /// The largest code that is loaded, in bytes.
    #[must_use]
    pub fn code_bytes_max(self) -> u64 {
        match self {
            Self::Device => Artifact::DEVICE_BYTES_MAX,
            Self::Server => Artifact::BYTES_MAX,
        }
    }
}

/// Loads plugins for one instance.
#[derive(Debug)]
pub struct Loader<'a> {
    /// What kind of instance it is.
    pub tier: Tier,
    /// The engine that they run in.
    pub engine: &'a Engine,
    /// Who may vouch for them.
    pub keyring: &'a Keyring,
    /// The grants of each plugin that were accepted before.
    pub floors: &'a BTreeMap<PluginId, Floor>,
    /// The latest time that is known from a signature.
    pub attested: Option<UnixMs>,
    /// Where calls are marked, because a plugin that brings this process down has to be known after it.
    pub mark: Option<Arc<Mark>>,
    /// Who is in quarantine or was sent back is not even loaded: it may be the loading that it fails at. One for whom
    /// somebody signed later is there again after the next start.
    pub held: Option<&'a Confidence>,
}

/// A plugin with the settings that it agreed to.
#[derive(Debug)]
pub struct Ready<P> {
    /// The plugin.
    pub plugin: P,
    /// What it is told with each call.
    pub config: Config,
    /// What lets it run: the floor for what comes next, and what a revocation is held against.
    pub granted: GrantedPlugin,
    /// Which plugin with which settings, as it is recorded before the first call.
    pub equipped: Equipped,
    /// The file that it came from: the plugin's version, and the digest and length of all of it.
    pub bundle: Release,
    /// That was taken back: it is not asked any more.
    pub revoked: bool,
    /// Where its calls are marked.
    pub mark: Option<Arc<Mark>>,
}

pub(crate) fn marked<T>(
    mark: Option<&Mark>,
    (plugin, version, grant): (&PluginId, &Version, &Digest),
    call: impl FnOnce() -> T,
) -> T {
    match mark {
        Some(mark) => mark.around(plugin, version, grant, call),
        None => call(),
    }
}

/// A plugin that can't be used.
#[derive(Debug)]
pub enum LoadError {
    /// "cannot read the bundle /usr/share/backstay/policy-tree.bundle"
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// "... is no bundle"
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// "the plugin in ... may not run here"
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PluginError,
    },
    /// "the bundle ... holds no code for this machine"
    NoCode {
        /// The file.
        path: PathBuf,
    },
    /// "the plugin in ... has 36000000 bytes of code, and 16777216 are the most here"
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many.
        has: u64,
        /// How many at most.
        most: u64,
    },
    /// "the plugin in ... can't be loaded"
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        source: backstay_host::LoadError,
    },
    /// "the settings of ... are not what it takes: ..."
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with which.
        problems: Vec<Problem>,
    },
    /// "the plugin in ... did not say what can be set"
    Silent {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CallError,
    },
    /// "the plugin in ... is not used: it failed here before"
    Out {
        /// The file.
        path: PathBuf,
    },
    /// "an executor has no candidate"
    NoShadow,
    /// "the plugin in ... has no process of its own"
    Apart {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn error::Error + Send + Sync>,
    },
}

impl LoadError {
    /// Whether it may run here and doesn't, by its own doing. Otherwise it could not be had, or may not.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::Silent { .. } | Self::Out { .. } => true,
            Self::Read { .. }
            | Self::Bundle { .. }
            | Self::Untrusted { .. }
            | Self::NoCode { .. }
            | Self::TooLarge { .. }
            | Self::Load { .. }
            | Self::NoShadow
            | Self::Apart { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } => Some("check the path under [policy] and [executor], and who may read it"),
            Self::Bundle { source, .. } => source.help(),
            Self::Untrusted { source, .. } => source.help(),
            Self::NoCode { .. } => Some("grant it for this machine too: backstay plugin grant --targets"),
            Self::TooLarge { .. } => Some(
                "it is made for a server: backstay plugin check says how large a plugin for devices may be",
            ),
            Self::Load { .. } => Some("grant it again with the Backstay that runs here"),
            Self::Settings { .. } => Some("see what can be set: backstay plugin inspect"),
            Self::Silent { .. } => None,
            Self::Out { .. } => Some(
                "look at why in the events; sign that it may be tried again (backstay device tell), then start again",
            ),
            Self::NoShadow => Some("what an executor does can't be done twice to compare: remove the key"),
            Self::Apart { .. } => {
                Some("look at the limits on processes and memory, and whether seccomp is allowed")
            }
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read the bundle {}", path.display()),
            Self::Bundle { path, .. } => write!(f, "{} is no plugin bundle", path.display()),
            Self::Untrusted { path, .. } => write!(f, "the plugin in {} may not run here", path.display()),
            Self::NoCode { path } => {
                write!(f, "the bundle {} holds no code for this machine", path.display())
            }
            Self::TooLarge { path, has, most } => {
                let path = path.display();
                write!(f, "the plugin in {path} has {has} bytes of code, and {most} are the most here")
            }
            Self::Load { path, .. } => write!(f, "the plugin in {} can't be loaded", path.display()),
            Self::Settings { path, problems } => {
                write!(f, "the settings for {} are not what it takes", path.display())?;
                problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
            }
            Self::Silent { path, .. } => {
                write!(f, "the plugin in {} did not say what can be set", path.display())
            }
            Self::Out { path } => {
                write!(f, "the plugin in {} is not used: it failed here before", path.display())
            }
            Self::NoShadow => f.write_str("an executor has no candidate"),
            Self::Apart { path, .. } => {
                write!(f, "the plugin in {} has no process of its own", path.display())
            }
        }
    }
}

impl error::Error for LoadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Bundle { source, .. } => Some(source),
            Self::Untrusted { source, .. } => Some(source),
            Self::Load { source, .. } => Some(source),
            Self::Silent { source, .. } => Some(source),
            Self::Apart { source, .. } => Some(source.as_ref()),
            Self::NoCode { .. }
            | Self::TooLarge { .. }
            | Self::Settings { .. }
            | Self::Out { .. }
            | Self::NoShadow => None,
        }
    }
}

/// No grant was accepted before.
static NO_FLOORS: BTreeMap<PluginId, Floor> = BTreeMap::new();

impl<'a> Loader<'a> {
    /// For an instance that knows of nothing before: no grants that were accepted, no time, no mark, nobody who is held back.
    #[must_use]
    pub fn new(tier: Tier, engine: &'a Engine, keyring: &'a Keyring) -> Self {
        Self { tier, engine, keyring, floors: &NO_FLOORS, attested: None, mark: None, held: None }
    }
}

impl Loader<'_> {
    /// The policies of a configuration, newest first: the one that is to be asked, and its last good one.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn policies(&self, config: &PluginConfig) -> Result<Vec<Ready<Policy>>, LoadError> {
        self.each_policy(config).collect()
    }

    /// The executors of a configuration, newest first.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn executors(&self, config: &PluginConfig) -> Result<Vec<Ready<Executor>>, LoadError> {
        if config.candidate.is_some() {
            return Err(LoadError::NoShadow);
        }
        self.each_executor(config).collect()
    }

    /// Each policy of a configuration by itself, newest first: one that can't be used doesn't cost the other.
    pub fn each_policy(
        &self,
        config: &PluginConfig,
    ) -> impl Iterator<Item = Result<Ready<Policy>, LoadError>> {
        bundles(config).map(|path| self.policy(path, config))
    }

    /// The policy that is to take over, if there is to be one.
    pub fn candidate(&self, config: &PluginConfig) -> Option<Result<Ready<Policy>, LoadError>> {
        config.candidate.as_ref().map(|path| self.policy(path, config))
    }

    /// Each executor of a configuration by itself, newest first.
    pub fn each_executor(
        &self,
        config: &PluginConfig,
    ) -> impl Iterator<Item = Result<Ready<Executor>, LoadError>> {
        bundles(config).map(|path| self.executor(path, config))
    }

    /// What the plugin in a bundle is asked for, if a vendor released it who may.
    ///
    /// # Errors
    /// If it can't be read, or is none of such a vendor.
    pub fn role(&self, path: &Path) -> Result<PluginRole, LoadError> {
        let bytes = read(path)?;
        let bundle =
            Bundle::decode(&bytes).map_err(|source| LoadError::Bundle { path: path.into(), source })?;
        let released = self.keyring.verify_plugin_release(bundle.release);
        let released = released.map_err(|source| LoadError::Untrusted { path: path.into(), source })?;
        // A world that is neither is refused with all that is known of it when the plugin is loaded.
        let is_policy = released.release().world == world_policy();
        Ok(if is_policy { PluginRole::Policy } else { PluginRole::Executor })
    }

    /// The executor in a bundle, with the settings of a configuration.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn executor(&self, path: &Path, config: &PluginConfig) -> Result<Ready<Executor>, LoadError> {
        let bytes = read(path)?;
        let calls = (Plugin::into_executor, Executor::describe, Executor::validate);
        self.ready(path, &bytes, values(config), PluginRole::Executor, calls)
    }

    /// The policy in a bundle, with the settings of a configuration.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn policy(&self, path: &Path, config: &PluginConfig) -> Result<Ready<Policy>, LoadError> {
        let bytes = read(path)?;
        let calls = (Plugin::into_policy, Policy::describe, Policy::validate);
        self.ready(path, &bytes, values(config), PluginRole::Policy, calls)
    }

    fn ready<P>(
        &self,
        path: &Path,
        bundle: &[u8],
        settings: Vec<(Name, Value)>,
        role: PluginRole,
        (narrow, describe, validate): (
            impl Fn(Plugin) -> Option<P>,
            impl Fn(&P) -> Result<Description, CallError>,
            impl Fn(&P, &Config) -> Result<Vec<Problem>, CallError>,
        ),
    ) -> Result<Ready<P>, LoadError> {
        let world = match role {
            PluginRole::Policy => world_policy(),
            PluginRole::Executor => world_executor(),
        };
        let verified = self.verify(path, bundle, self.engine.target(), &world)?;
        let grant = verified.grant();
        if self.held.is_some_and(|held| held.quarantine.is_out(grant) || held.succession.is_refused(grant)) {
            return Err(LoadError::Out { path: path.into() });
        }
        let config = config(path, settings)?;
        // Loading is marked, too: code that does harm there is as much to blame.
        marked(self.mark.as_deref(), (verified.id(), verified.version(), grant), || {
            let loaded = Plugin::load(self.engine, &verified);
            let loaded = loaded.map_err(|source| LoadError::Load { path: path.into(), source })?;
            let plugin =
                narrow(loaded).expect("the world was verified, and it decides which of the two it is");
            let said = describe(&plugin);
            let said = said.map_err(|source| LoadError::Silent { path: path.into(), source })?;
            agreed(path, validate(&plugin, &config))?;
            let which = (verified.id(), verified.version(), grant);
            let equipped = trace::equipped(role, which, &config, &said);
            let granted = verified.granted().clone();
            let bundle = as_release(verified.version(), bundle);
            Ok(Ready { plugin, config, granted, equipped, bundle, revoked: false, mark: self.mark.clone() })
        })
    }

    /// What may run of a bundle on `target`.
    pub(crate) fn verify(
        &self,
        path: &Path,
        bundle: &[u8],
        target: &Target,
        world: &World,
    ) -> Result<VerifiedPlugin, LoadError> {
        let bundle =
            Bundle::decode(bundle).map_err(|source| LoadError::Bundle { path: path.into(), source })?;
        let engine = engine_profile();
        let want = Want { target, engine: &engine, world, floors: self.floors, attested: self.attested };
        let untrusted = |source| LoadError::Untrusted { path: path.into(), source };
        let granted = self.keyring.verify_grant(bundle.release, bundle.grant, &want).map_err(untrusted)?;
        let (has, most) = (granted.artifact().length, self.tier.code_bytes_max());
        if has > most {
            return Err(LoadError::TooLarge { path: path.into(), has, most });
        }
        let code = bundle.artifact(&granted.artifact().digest);
        let code = code.ok_or_else(|| LoadError::NoCode { path: path.into() })?;
        granted.with_artifact(code.to_vec()).map_err(untrusted)
    }
}

/// A bundle as something that a fleet is steered to.
#[must_use]
pub fn as_release(version: &Version, bundle: &[u8]) -> Release {
    let (digest, length) = (Bundle::digest(bundle), bundle.len() as u64);
    Release { version: version.clone(), digest, length, security_epoch: 0 }
}

/// On which terms the candidate of a configuration takes over.
#[must_use]
pub fn terms(config: &PluginConfig) -> Terms {
    let usual = Terms::default();
    Terms {
        windows: config.windows.unwrap_or(usual.windows),
        soak: config.soak.unwrap_or(usual.soak),
        disagreements_max: config.disagreements_max.unwrap_or(usual.disagreements_max),
    }
}

/// The bundle that is to be used, and the last good one.
pub(crate) fn bundles(config: &PluginConfig) -> impl Iterator<Item = &Path> {
    [Some(&config.bundle), config.last_good.as_ref()].into_iter().flatten().map(PathBuf::as_path)
}

/// A whole bundle, or not more of what can be none than is needed to know that.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    let mut read = || {
        let file = fs::File::open(path)?;
        if file.metadata()?.len() > Bundle::BYTES_MAX as u64 {
            let why = format!("a bundle has at most {} bytes", Bundle::BYTES_MAX);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        file.take(Bundle::BYTES_MAX as u64).read_to_end(&mut bytes)
    };
    read().map_err(|source| LoadError::Read { path: path.into(), source })?;
    Ok(bytes)
}

/// The settings of a configuration in the host's words.
pub(crate) fn values(config: &PluginConfig) -> Vec<(Name, Value)> {
    let value = |setting: &Setting| match setting {
        Setting::Flag(flag) => Value::Flag(*flag),
        Setting::Number(number) => Value::Number(*number),
        Setting::Text(text) => Value::Text(text.clone()),
        Setting::Texts(texts) => Value::Texts(texts.clone()),
    };
    config.settings.iter().map(|(name, setting)| (name.clone(), value(setting))).collect()
}

pub(crate) fn config(path: &Path, settings: Vec<(Name, Value)>) -> Result<Config, LoadError> {
    Config::new(settings).map_err(|error| LoadError::Settings {
        path: path.into(),
        problems: vec![Problem { setting: None, text: error.to_string() }],
    })
}

/// Whether a plugin agrees to its settings.
pub(crate) fn agreed(path: &Path, problems: Result<Vec<Problem>, CallError>) -> Result<(), LoadError> {
    let problems = problems.map_err(|source| LoadError::Silent { path: path.into(), source })?;
    if problems.is_empty() { Ok(()) } else { Err(LoadError::Settings { path: path.into(), problems }) }
}

/// The floors after `loaded` were taken into use together.
#[must_use]
pub fn floors_after<'a>(
    mut floors: BTreeMap<PluginId, Floor>,
    loaded: impl IntoIterator<Item = &'a GrantedPlugin>,
) -> BTreeMap<PluginId, Floor> {
    let mut grants: BTreeMap<&PluginId, Vec<Accepted>> = BTreeMap::new();
    for granted in loaded {
        grants.entry(granted.id()).or_default().push(granted.accepted());
    }
    for (plugin, grants) in grants {
        let last = floors.get(plugin).copied();
        floors.extend(Floor::after(last, &grants).map(|floor| (plugin.clone(), floor)));
    }
    floors
}

/// Why a plugin that was granted once may not be asked any more by `keyring`, as it is recorded. None: it may.
#[must_use]
pub fn taken_back(keyring: &Keyring, granted: &GrantedPlugin) -> Option<Event> {
    let why = keyring.still_grants(granted).err()?;
    let (plugin, grant) = (granted.id().clone(), *granted.grant());
    let why = Reason::new(causes::in_one_line(&why)).0;
    Some(Event::Quarantined { plugin, grant, strikes: 0, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_to_be_a_bundle_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.bundle");
        fs::File::create(&path).unwrap().set_len(Bundle::BYTES_MAX as u64 + 1).unwrap();
        let error = read(&path).unwrap_err();
        let told = causes::in_one_line(&error);
        assert!(told.contains("huge.bundle") && told.contains("a bundle has at most"), "{told}");
    }
}
