//! From a bundle on disk to a plugin that can be asked.

use std::{
    collections::BTreeMap,
    error, fmt, fs, io,
    path::{Path, PathBuf},
};

use backstay_config::{Plugin as PluginConfig, Setting};
use backstay_host::{
    CallError, Config, Description, Engine, Executor, Plugin, Policy, Problem, Value, engine_profile,
    world_executor, world_policy,
};
use backstay_model::{Equipped, PluginId, PluginRole, UnixMs};
use backstay_trust::{Bundle, BundleError, Keyring, PluginError, VerifiedPlugin, Want, World};

use crate::trace;

const IS_OF_ITS_WORLD: &str = "the world was verified, and it decides which of the two it is";

/// Loads plugins for one instance.
#[derive(Debug)]
pub struct Loader<'a> {
    /// The engine that they run in.
    pub engine: &'a Engine,
    /// Who may vouch for them.
    pub keyring: &'a Keyring,
    /// The newest grant of each plugin that was accepted before.
    pub floors: &'a BTreeMap<PluginId, u64>,
    /// The latest time that is known from a signature.
    pub attested: Option<UnixMs>,
}

/// A plugin with the settings that it agreed to.
#[derive(Debug)]
pub struct Ready<P> {
    /// The plugin.
    pub plugin: P,
    /// What it is told with each call.
    pub config: Config,
    /// The sequence of its grant: the floor for the next.
    pub sequence: u64,
    /// Which plugin with which settings, as it is recorded before the first call.
    pub equipped: Equipped,
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
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } => Some("check the path under [policy] and [executor], and who may read it"),
            Self::Bundle { source, .. } => source.help(),
            Self::Untrusted { source, .. } => source.help(),
            Self::NoCode { .. } => Some("grant it for this machine too: backstay plugin grant --targets"),
            Self::Load { .. } => Some("grant it again with the Backstay that runs here"),
            Self::Settings { .. } => Some("see what can be set: backstay plugin inspect"),
            Self::Silent { .. } => None,
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
            Self::Load { path, .. } => write!(f, "the plugin in {} can't be loaded", path.display()),
            Self::Settings { path, problems } => {
                write!(f, "the settings for {} are not what it takes", path.display())?;
                problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
            }
            Self::Silent { path, .. } => {
                write!(f, "the plugin in {} did not say what can be set", path.display())
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
            Self::NoCode { .. } | Self::Settings { .. } => None,
        }
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
        self.each_executor(config).collect()
    }

    /// Each policy of a configuration by itself, newest first: one that can't be used doesn't cost the other.
    pub fn each_policy(
        &self,
        config: &PluginConfig,
    ) -> impl Iterator<Item = Result<Ready<Policy>, LoadError>> {
        bundles(config).map(|path| {
            let verified = self.verify(path, &world_policy())?;
            let policy = self.load(path, &verified)?.into_policy().expect(IS_OF_ITS_WORLD);
            let said = policy.describe().map_err(silent(path))?;
            let settings = settings(path, config)?;
            agreed(path, policy.validate(&settings))?;
            Ok(ready(policy, settings, &verified, PluginRole::Policy, &said))
        })
    }

    /// Each executor of a configuration by itself, newest first.
    pub fn each_executor(
        &self,
        config: &PluginConfig,
    ) -> impl Iterator<Item = Result<Ready<Executor>, LoadError>> {
        bundles(config).map(|path| {
            let verified = self.verify(path, &world_executor())?;
            let executor = self.load(path, &verified)?.into_executor().expect(IS_OF_ITS_WORLD);
            let said = executor.describe().map_err(silent(path))?;
            let settings = settings(path, config)?;
            agreed(path, executor.validate(&settings))?;
            Ok(ready(executor, settings, &verified, PluginRole::Executor, &said))
        })
    }

    fn load(&self, path: &Path, verified: &VerifiedPlugin) -> Result<Plugin, LoadError> {
        Plugin::load(self.engine, verified).map_err(|source| LoadError::Load { path: path.into(), source })
    }

    fn verify(&self, path: &Path, world: &World) -> Result<VerifiedPlugin, LoadError> {
        let bytes = fs::read(path).map_err(|source| LoadError::Read { path: path.into(), source })?;
        let bundle =
            Bundle::decode(&bytes).map_err(|source| LoadError::Bundle { path: path.into(), source })?;
        let engine = engine_profile();
        let target = self.engine.target();
        let want = Want { target, engine: &engine, world, floors: self.floors, attested: self.attested };
        let untrusted = |source| LoadError::Untrusted { path: path.into(), source };
        let granted = self.keyring.verify_grant(bundle.release, bundle.grant, &want).map_err(untrusted)?;
        let code = bundle.artifact(&granted.artifact().digest);
        let code = code.ok_or_else(|| LoadError::NoCode { path: path.into() })?;
        granted.with_artifact(code.to_vec()).map_err(untrusted)
    }
}

/// The bundle that is to be used, and the last good one.
fn bundles(config: &PluginConfig) -> impl Iterator<Item = &Path> {
    [Some(&config.bundle), config.last_good.as_ref()].into_iter().flatten().map(PathBuf::as_path)
}

fn settings(path: &Path, config: &PluginConfig) -> Result<Config, LoadError> {
    let value = |setting: &Setting| match setting {
        Setting::Flag(flag) => Value::Flag(*flag),
        Setting::Number(number) => Value::Number(*number),
        Setting::Text(text) => Value::Text(text.clone()),
        Setting::Texts(texts) => Value::Texts(texts.clone()),
    };
    let settings = config.settings.iter().map(|(name, setting)| (name.clone(), value(setting)));
    Config::new(settings).map_err(|error| LoadError::Settings {
        path: path.into(),
        problems: vec![Problem { setting: None, text: error.to_string() }],
    })
}

fn silent(path: &Path) -> impl FnOnce(CallError) -> LoadError {
    |source| LoadError::Silent { path: path.into(), source }
}

fn agreed(path: &Path, validated: Result<Vec<Problem>, CallError>) -> Result<(), LoadError> {
    let problems = validated.map_err(silent(path))?;
    if problems.is_empty() { Ok(()) } else { Err(LoadError::Settings { path: path.into(), problems }) }
}

fn ready<P>(
    plugin: P,
    config: Config,
    verified: &VerifiedPlugin,
    role: PluginRole,
    said: &Description,
) -> Ready<P> {
    let which = (verified.id(), verified.version(), verified.grant());
    let equipped = trace::equipped(role, which, &config, said);
    Ready { plugin, config, sequence: verified.stamp().sequence, equipped }
}
