//! From a bundle on disk to a plugin that can be asked.
//!
//! Not here: why there may be none (`load_error`).

use std::{collections::BTreeMap, fs, io::Read as _, path::Path, sync::Arc};

use backstay_config::{Plugin as PluginConfig, Setting};
use backstay_core::{Confidence, Terms};
use backstay_host::{
    CallError, Config, Description, Engine, Executor, Plugin, Policy, Problem, Strike, StrikeKind, Value,
    engine_profile, world_executor, world_policy,
};
use backstay_model::{
    Digest, Equipped, Event, Name, PluginId, PluginRole, Reason, Release, UnixMs, Version, causes,
};
use backstay_trust::{
    Accepted, Artifact, Bundle, Floor, GrantedPlugin, Keyring, Target, VerifiedPlugin, Want, World,
};

use crate::{LoadError, Mark, configured, trace};

/// How often a plugin is asked, while it is loaded, that runs out of time.
const LOADING_ASKED_MAX: u32 = 4;

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

    /// The largest bundle that is read, in bytes.
    #[must_use]
    pub fn bundle_bytes_max(self) -> usize {
        match self {
            Self::Device => Bundle::DEVICE_BYTES_MAX,
            Self::Server => Bundle::BYTES_MAX,
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
        configured(config).map(|path| self.policy(path, config))
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
        configured(config).map(|path| self.executor(path, config))
    }

    /// What the plugin in a bundle is asked for, if a vendor released it who may.
    ///
    /// # Errors
    /// If it can't be read, or is none of such a vendor.
    pub fn role(&self, path: &Path) -> Result<PluginRole, LoadError> {
        let bytes = read(path, self.tier)?;
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
        let bytes = read(path, self.tier)?;
        let calls = (Plugin::into_executor, Executor::describe, Executor::validate);
        self.ready(path, &bytes, values(&config.settings), PluginRole::Executor, calls)
    }

    /// The policy in a bundle, with the settings of a configuration.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn policy(&self, path: &Path, config: &PluginConfig) -> Result<Ready<Policy>, LoadError> {
        let bytes = read(path, self.tier)?;
        let calls = (Plugin::into_policy, Policy::describe, Policy::validate);
        self.ready(path, &bytes, values(&config.settings), PluginRole::Policy, calls)
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
            return Err(LoadError::Out { path: path.into(), grant: *grant });
        }
        let config = config(path, 0, settings)?;
        // Loading is marked, too: code that does harm there is as much to blame.
        marked(self.mark.as_deref(), (verified.id(), verified.version(), grant), || {
            let loaded = Plugin::load(self.engine, &verified);
            let loaded = loaded.map_err(|source| LoadError::Load { path: path.into(), source })?;
            let plugin =
                narrow(loaded).expect("the world was verified, and it decides which of the two it is");
            let said = patiently(|| describe(&plugin));
            let said = said.map_err(|source| LoadError::Silent { path: path.into(), source })?;
            agreed(path, 0, patiently(|| validate(&plugin, &config)))?;
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

/// A whole bundle, or not a byte of one that is larger than any that is of use here.
pub(crate) fn read(path: &Path, tier: Tier) -> Result<Vec<u8>, LoadError> {
    let cannot = |source| LoadError::Read { path: path.into(), source };
    let file = fs::File::open(path).map_err(cannot)?;
    let (has, most) = (file.metadata().map_err(cannot)?.len(), tier.bundle_bytes_max() as u64);
    if has > most {
        return Err(LoadError::LargeBundle { path: path.into(), has, most });
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile, or be no plain file: then it is cut here, and what is cut is no bundle.
    file.take(most).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// The settings of a configuration in the host's words.
pub(crate) fn values(settings: &BTreeMap<Name, Setting>) -> Vec<(Name, Value)> {
    let value = |setting: &Setting| match setting {
        Setting::Flag(flag) => Value::Flag(*flag),
        Setting::Number(number) => Value::Number(*number),
        Setting::Text(text) => Value::Text(text.clone()),
        Setting::Texts(texts) => Value::Texts(texts.clone()),
    };
    settings.iter().map(|(name, setting)| (name.clone(), value(setting))).collect()
}

pub(crate) fn config(path: &Path, setup: usize, settings: Vec<(Name, Value)>) -> Result<Config, LoadError> {
    Config::new(settings).map_err(|error| LoadError::Settings {
        path: path.into(),
        setup,
        problems: vec![Problem { setting: None, text: error.to_string() }],
    })
}

/// A machine that comes up is busy, and code that runs for the first time is slow: what ran out of time is asked again. No
/// decision waits for this, and without it the instance would do without the plugin until its next start.
pub(crate) fn patiently<T>(ask: impl Fn() -> Result<T, CallError>) -> Result<T, CallError> {
    for _ in 1..LOADING_ASKED_MAX {
        match ask() {
            Err(CallError::Strike(Strike { kind: StrikeKind::OutOfTime, .. })) => {}
            answered => return answered,
        }
    }
    ask()
}

/// Whether a plugin agrees to its settings.
pub(crate) fn agreed(
    path: &Path,
    setup: usize,
    problems: Result<Vec<Problem>, CallError>,
) -> Result<(), LoadError> {
    let problems = problems.map_err(|source| LoadError::Silent { path: path.into(), source })?;
    if problems.is_empty() { Ok(()) } else { Err(LoadError::Settings { path: path.into(), setup, problems }) }
}

/// The floors after `loaded` were taken into use together.
#[must_use]
pub fn floors_after<'a>(
    mut floors: BTreeMap<PluginId, Floor>,
    loaded: impl IntoIterator<Item = &'a GrantedPlugin>,
) -> BTreeMap<PluginId, Floor> {
    let loaded: Vec<&GrantedPlugin> = loaded.into_iter().collect();
    for (at, granted) in loaded.iter().enumerate() {
        let same = |other: &&&GrantedPlugin| other.id() == granted.id();
        // Each plugin once: all its grants together are what was taken into use.
        if loaded.iter().position(|other| same(&other)) != Some(at) {
            continue;
        }
        let grants: Vec<Accepted> = loaded.iter().filter(same).map(|other| other.accepted()).collect();
        let last = floors.get(granted.id()).copied();
        floors.extend(Floor::after(last, &grants).map(|floor| (granted.id().clone(), floor)));
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
    use std::cell::Cell;

    use backstay_model::FleetId;
    use backstay_trust::{
        Grant, KeyringParts, Limits, Permissions, PluginRelease, Role, SecretKey, Stamp, Vendor,
    };

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_too_large_to_be_a_bundle_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.bundle");
        let file = fs::File::create(&path).unwrap();
        for (tier, most) in [(Tier::Device, 48 * MIB + MIB / 8), (Tier::Server, 128 * MIB)] {
            file.set_len(most + 1).unwrap();
            let error = read(&path, tier).unwrap_err();
            assert!(matches!(error, LoadError::LargeBundle { .. }), "{error}");
            let told = error.to_string();
            assert!(told.contains("huge.bundle") && told.contains(&most.to_string()), "{told}");
            assert!(error.help().is_some());
        }
        file.set_len(1000).unwrap();
        assert_eq!(read(&path, Tier::Device).unwrap().len(), 1000);
    }

    #[test]
    fn who_runs_out_of_time_while_the_machine_comes_up_is_asked_again() {
        let strike = |kind| {
            let plugin = PluginId::parse("acme/slow").unwrap();
            CallError::Strike(Strike { plugin, kind, why: String::new() })
        };
        let asked = |kind, until| {
            let asked = Cell::new(0);
            let ask = || {
                asked.set(asked.get() + 1);
                if asked.get() > until { Ok(()) } else { Err(strike(kind)) }
            };
            (patiently(ask).is_ok(), asked.get())
        };
        assert_eq!(asked(StrikeKind::OutOfTime, 0), (true, 1));
        assert_eq!(asked(StrikeKind::OutOfTime, 3), (true, 4));
        assert_eq!(asked(StrikeKind::OutOfTime, 4), (false, 4), "it is slow everywhere");
        assert_eq!(asked(StrikeKind::Trapped, 1), (false, 1), "that is no matter of time");
    }

    /// A bundle without code, whose grant names so many bytes of it: the length is looked at before the code is.
    fn granted(code_bytes: u64) -> (Keyring, Vec<u8>) {
        let [operator, product, director, vendor] = [1, 2, 3, 4].map(|n| SecretKey::from_random(&[n; 32]));
        let role = |key: &SecretKey| Role::of(key.public());
        let fleet = FleetId::parse("pumps").unwrap();
        let first = KeyringParts::first(fleet.clone(), role(&operator), role(&product), role(&director));
        let vendors = vec![Vendor { prefix: Name::parse("acme").unwrap(), role: role(&vendor) }];
        let keyring = Keyring::new(KeyringParts { vendors, ..first }).unwrap();
        let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
        let release = PluginRelease {
            id: PluginId::parse("acme/large").unwrap(),
            version: Version::parse("1.0.0").unwrap(),
            component: Digest([3; 32]),
            component_bytes: 1,
            world: world_policy(),
            wants: Vec::new(),
            limits: Limits::DEFAULT,
        };
        let release = release.sign(&vendor, stamp).unwrap();
        let artifact = Artifact {
            target: backstay_host::machine(),
            engine: engine_profile(),
            compiler: Version::parse("48.0.8").unwrap(),
            digest: Digest([4; 32]),
            length: code_bytes,
        };
        let grant = Grant {
            release: *keyring.verify_plugin_release(&release).unwrap().digest(),
            permissions: Permissions::default(),
            limits: Limits::DEFAULT,
            artifacts: vec![artifact],
        };
        let grant = grant.sign(&operator, fleet, stamp).unwrap();
        let bundle = Bundle::new(&release, &grant, &[]).encode().unwrap();
        (keyring, bundle)
    }

    #[test]
    fn a_device_refuses_more_code_than_it_has_room_for() {
        let engine = Engine::new().unwrap();
        let refused = |tier, code_bytes| {
            let (keyring, bundle) = granted(code_bytes);
            let loader = Loader::new(tier, &engine, &keyring);
            loader.verify(Path::new("large.bundle"), &bundle, engine.target(), &world_policy()).unwrap_err()
        };
        let error = refused(Tier::Device, 16 * MIB + 1);
        let LoadError::TooLarge { has: 16_777_217, most: 16_777_216, .. } = error else { panic!("{error}") };
        // What fits, and what is for a server, gets as far as to be looked for in the bundle.
        for (tier, code_bytes) in
            [(Tier::Device, 16 * MIB), (Tier::Server, 16 * MIB + 1), (Tier::Server, 48 * MIB)]
        {
            let error = refused(tier, code_bytes);
            assert!(matches!(error, LoadError::NoCode { .. }), "{tier:?}: {error}");
        }
    }
}
