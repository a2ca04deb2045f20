//! What the configuration makes of targets: settings for the core, what is watched, the plugins, and what effects may reach.
//!
//! Not here: the configuration's own rules (`backstay-targets`).

use std::{collections::BTreeMap, fs, io, sync::Arc};

use backstay_config::{Problem, Setting};
use backstay_core::{Agenda, Allowance, Allowances, TargetSettings};
use backstay_hands::{
    Command, Content, Credential, CredentialReader, CredentialSource, Endpoint, ExtraArgs, GuardedEndpoint,
    GuardedEndpoints, HttpGrant, Mark, Paths, Place, Roots, ServerCommand, ServerCommands, ServerHands, Ssh,
};
use backstay_model::{Event, Millis, Name, TargetId};
use backstay_plugins::{Judge, LoadError, Loader, terms, worker::Program};
use backstay_signals::{ObjectiveSpec, Prometheus, PrometheusSettings, Query};
use backstay_targets as written;
use tokio::runtime::Handle;

use super::{
    super::{because, clock::Now, diary::Diary, judge::Ask, server::Server},
    Executes, Policies, Targets,
    doing::Pager,
    executing::Apart,
    watching::Watch,
};

/// An hour, in which changes are counted.
const HOUR: Millis = Millis::from_secs(3600);

/// What of a target is watched.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// Who judges.
    pub(crate) policy: Name,
    /// Who acts.
    pub(crate) executor: Option<Name>,
    /// How the executor is set up for it.
    pub(crate) setup: usize,
    /// Where queries are asked.
    pub(crate) prometheus: Option<Name>,
    /// What was promised.
    pub(crate) specs: Arc<[ObjectiveSpec]>,
    /// How to ask how unusual things look.
    pub(crate) anomaly: Option<Query>,
    /// Whether its executor looks.
    pub(crate) looks: bool,
    /// How long a window is.
    pub(crate) window: Millis,
    /// What a person is to read.
    pub(crate) runbook: Option<String>,
}

/// A configuration of targets, with all that it names loaded.
pub(crate) struct Configured {
    allowances: Allowances,
    settings: BTreeMap<TargetId, TargetSettings>,
    watched: BTreeMap<TargetId, Watched>,
    policies: BTreeMap<Name, Box<dyn Ask>>,
    executors: BTreeMap<Name, Vec<Box<dyn Executes>>>,
    asks: BTreeMap<Name, HttpGrant>,
    means: Means,
}

/// The settings of a target.
type Settings = BTreeMap<Name, Setting>;

/// How executors are set up, by their names.
type Setups = BTreeMap<Name, Vec<Settings>>;

/// What is done with: effects, questions to Prometheus, and pages.
type Means = (ServerHands, BTreeMap<Name, Prometheus>, Option<Pager>);

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured").field("watched", &self.watched.len()).finish_non_exhaustive()
    }
}

impl Configured {
    /// Loads what `targets` name.
    ///
    /// # Errors
    /// Each thing that can't be used: its key, and why.
    pub(crate) fn load(
        targets: &written::Targets,
        loader: &Loader<'_>,
    ) -> Result<Self, Vec<(String, String)>> {
        let (shared, mut wrong) = (targets.shared(), Vec::new());
        let program = Program::this();
        let mut policies: BTreeMap<Name, Box<dyn Ask>> = BTreeMap::new();
        for (name, plugin) in &shared.policies {
            let loaded = loader.policy_workers(plugin, &program).and_then(|workers| {
                let judge = Judge::new(workers);
                match loader.candidate_worker(plugin, &program) {
                    None => Ok(judge),
                    Some(candidate) => Ok(judge.with_candidate(candidate?, terms(plugin))),
                }
            });
            match loaded {
                Ok(judge) => drop(policies.insert(name.clone(), Box::new(judge))),
                Err(error) => wrong.push((format!("policies.{name}.bundle"), told(&error))),
            }
        }
        let mut executors: BTreeMap<Name, Vec<Box<dyn Executes>>> = BTreeMap::new();
        let setups = setups(targets);
        for (name, plugin) in &shared.executors {
            // What no target uses is loaded all the same; which settings it would need, nobody can say.
            let setups = setups.get(name).map_or(&[][..], Vec::as_slice);
            match loader.executor_workers(plugin, setups, &program) {
                Ok(workers) => {
                    let apart = workers.into_iter().map(|worker| Box::new(Apart::new(worker)) as _);
                    executors.insert(name.clone(), apart.collect());
                }
                Err(error) => wrong.push((unfit(name, &error, setups, targets), told(&error))),
            }
        }
        let hands = hands(shared, &mut wrong);
        let asks = asks(shared, &mut wrong);
        let prometheus = prometheus(shared, &mut wrong);
        let pager = shared
            .page
            .as_ref()
            .and_then(|page| pager(page).map_err(|why| wrong.push(("page".into(), why))).ok());
        match (hands, wrong.is_empty()) {
            (Some(hands), true) => Ok(Self {
                allowances: allowances(&shared.brakes),
                settings: targets.iter().map(|target| (target.id.clone(), settings(target))).collect(),
                watched: targets.iter().map(|target| (target.id.clone(), watched(target, &setups))).collect(),
                policies,
                executors,
                asks,
                means: (hands, prometheus, pager),
            }),
            _ => Err(wrong),
        }
    }
}

impl Configured {
    /// Of what a story has.
    #[cfg(test)]
    pub(super) fn of(
        allowances: Allowances,
        settings: BTreeMap<TargetId, TargetSettings>,
        watched: BTreeMap<TargetId, Watched>,
        policies: BTreeMap<Name, Box<dyn Ask>>,
        executors: BTreeMap<Name, Vec<Box<dyn Executes>>>,
    ) -> Self {
        let (asks, means) = (BTreeMap::new(), Means::default());
        Self { allowances, settings, watched, policies, executors, asks, means }
    }

    /// What is done with, for whoever does it. What is run on this machine carries `mark`.
    pub(crate) fn take_means(&mut self, mark: &Mark) -> Means {
        let mut means = std::mem::take(&mut self.means);
        let (hands, ..) = &mut means;
        hands.commands.mark(mark);
        means
    }
}

impl<D: Diary, P: Ask> Server<D, P> {
    /// From now on these are the targets. What is under way goes on.
    pub(in super::super) fn configure_targets(&mut self, now: Now, configured: Configured) {
        let Configured { allowances, settings, watched, policies, executors, asks, .. } = configured;
        let mut events: Vec<Event> = Vec::new();
        let Targets { policies: seated, executors: loaded, equipped: last, .. } = &mut self.targets;
        for (name, judge) in policies {
            events.extend(judge.equipped());
            // What was remembered under a grant that is still there goes on; under another there is nothing to go on with.
            let before = seated.remove(&name);
            let (mut confidence, memos) =
                before.map(|before| (before.confidence, before.memos)).unwrap_or_default();
            events.extend(judge.seat(&mut confidence));
            seated.insert(name, Policies { judge, confidence, memos });
        }
        // How it is set up for a target is written down before a run of that target.
        let equipped = || executors.values().flatten().filter_map(|executor| executor.equipped(0));
        events.extend(equipped().cloned().map(Event::Equipped));
        *last = equipped().map(|equipped| (equipped.grant, equipped.clone())).collect();
        *loaded = executors;
        self.targets.asks = asks;
        self.targets.windows = Agenda::default();
        self.targets.watches.retain(|id, _| watched.contains_key(id));
        for (id, watched) in watched {
            let watches = &mut self.targets.watches;
            match watches.get_mut(&id) {
                Some(watch) => watch.set(watched),
                None => drop(watches.insert(id.clone(), Watch::new(now.mono, &id, watched))),
            }
            self.targets.reschedules(&id);
        }
        self.record(now, &events);
        let effects = self.targets.estate.configure(now.mono, allowances, settings);
        self.follow_targets(now, effects);
    }
}

/// How each executor is set up: with the settings of each of its targets over its own, the same ones once.
fn setups(targets: &written::Targets) -> Setups {
    let mut setups = Setups::new();
    for target in targets.iter() {
        let Some(executor) = &target.executor else { continue };
        let of = setups.entry(executor.clone()).or_default();
        if !of.contains(&target.settings) {
            of.push(target.settings.clone());
        }
    }
    setups
}

/// The key that says what an executor doesn't take.
fn unfit(name: &Name, error: &LoadError, setups: &[Settings], targets: &written::Targets) -> String {
    let LoadError::Settings { setup, .. } = error else { return format!("executors.{name}.bundle") };
    let own = setups.get(*setup).filter(|own| !own.is_empty());
    let of =
        |target: &&written::Target| target.executor.as_ref() == Some(name) && Some(&target.settings) == own;
    match targets.iter().find(of) {
        Some(target) => format!("settings of {} ({})", target.id, target.file.display()),
        None => format!("executors.{name}.settings"),
    }
}

fn told(error: &LoadError) -> String {
    match error.help() {
        Some(help) => format!("{}; {help}", because(error)),
        None => because(error),
    }
}

fn allowances(brakes: &written::Brakes) -> Allowances {
    Allowances {
        estate: Allowance { switches: brakes.per_hour(), span: HOUR },
        domain: Allowance { switches: brakes.per_domain_hour(), span: HOUR },
    }
}

fn settings(target: &written::Target) -> TargetSettings {
    let rails = &target.rails;
    TargetSettings {
        mode: target.mode,
        domain: target.domain.clone(),
        window: target.window,
        playbooks: target.playbooks.clone(),
        backoff: rails.backoff,
        breaker: rails.breaker,
        run_limit: rails.run_limit,
        confirm_windows: rails.confirm_windows,
        cure_windows: rails.cure_windows,
        roll_backs: Allowance { switches: rails.rollbacks_per_hour, span: HOUR },
        mends: Allowance { switches: rails.heals_per_hour, span: HOUR },
        schema: target.schema.clone(),
        migration: target.migration.clone(),
        looks: target.looks,
        holds: target.holds,
    }
}

fn watched(target: &written::Target, setups: &Setups) -> Watched {
    let setups = target.executor.as_ref().and_then(|executor| setups.get(executor));
    let setup = setups.and_then(|setups| setups.iter().position(|own| *own == target.settings));
    Watched {
        policy: target.policy.clone(),
        executor: target.executor.clone(),
        setup: setup.unwrap_or_default(),
        prometheus: target.prometheus.clone(),
        specs: target.objectives.iter().cloned().collect(),
        anomaly: target.anomaly.clone(),
        looks: target.looks,
        window: target.window,
        runbook: target.runbook.as_ref().map(ToString::to_string),
    }
}

fn roots(ca: Option<&written::AbsolutePath>) -> Result<Roots, String> {
    let Some(ca) = ca else { return Ok(Roots::none()) };
    let pem = fs::read(ca.as_str()).map_err(|error| format!("cannot read {}: {error}", ca.as_str()))?;
    Roots::from_pem(&pem).map_err(|error| because(&error))
}

fn credential(written: &written::Credential) -> Credential {
    let source = match &written.secret {
        written::Secret::File(path) => CredentialSource::File(path.as_str().into()),
        written::Secret::Env(variable) => CredentialSource::Environment(variable.to_string()),
        written::Secret::Command { argv, keep } => CredentialSource::Command {
            command: Command {
                argv: argv.iter().map(ToString::to_string).collect(),
                environment: BTreeMap::new(),
                dir: None,
                timeout: Millis::from_secs(10),
                extra_args: ExtraArgs::Refused,
            },
            keep: *keep,
        },
    };
    let prefix = written.scheme.as_ref().map(|scheme| format!("{scheme} ")).unwrap_or_default();
    Credential { source, header: written.header.to_string(), prefix }
}

fn hands(shared: &written::Shared, wrong: &mut Vec<(String, String)>) -> Option<ServerHands> {
    let mut endpoints = GuardedEndpoints::default();
    for (name, endpoint) in &shared.endpoints {
        match guarded(name, endpoint) {
            Ok(guarded) => endpoints.extend(guarded),
            Err((below, why)) => wrong.push((format!("endpoints.{name}{below}"), why)),
        }
    }
    let commands = shared.commands.iter().map(|(name, command)| (name.clone(), server_command(command)));
    let commands = ServerCommands::new(commands.collect());
    let commands =
        commands.map_err(|(name, error)| wrong.push((format!("commands.{name}"), because(&error)))).ok();
    Some(ServerHands { commands: commands?, endpoints, paths: Paths::default() })
}

/// Where a POST only asks.
fn asks(shared: &written::Shared, wrong: &mut Vec<(String, String)>) -> BTreeMap<Name, HttpGrant> {
    let asking = shared.endpoints.iter().filter(|(_, endpoint)| !endpoint.asks.is_empty());
    let grant = |(name, endpoint): (&Name, &written::Endpoint)| {
        let paths: Vec<String> = endpoint.asks.iter().map(ToString::to_string).collect();
        match HttpGrant::new(&["POST"], &paths) {
            Ok(grant) => Some((name.clone(), grant)),
            Err(error) => {
                wrong.push((format!("endpoints.{name}.asks"), because(&error)));
                None
            }
        }
    };
    asking.filter_map(grant).collect()
}

/// An endpoint as effects ask it; else below which of its keys it is wrong, and why.
pub(crate) fn guarded(
    name: &Name,
    endpoint: &written::Endpoint,
) -> Result<GuardedEndpoints, (&'static str, String)> {
    let roots = roots(endpoint.ca.as_ref()).map_err(|why| (".ca", why))?;
    let methods: Vec<&str> = endpoint.methods.iter().map(|method| method.as_str()).collect();
    let paths: Vec<String> = endpoint.paths.iter().map(ToString::to_string).collect();
    let grant = HttpGrant::new(&methods, &paths).map_err(|error| (".paths", because(&error)))?;
    let (base, timeout) = (endpoint.base.to_string(), endpoint.timeout());
    let headers = endpoint.headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let guarded = GuardedEndpoint {
        endpoint: Endpoint { base, headers: headers.collect(), timeout },
        credential: endpoint.credential.as_ref().map(credential),
        certificate: None,
        grant,
        response_bytes_max: endpoint.response_bytes_max().into(),
        content: if endpoint.json { Content::Json } else { Content::Any },
    };
    let endpoints = GuardedEndpoints::new(BTreeMap::from([(name.clone(), guarded)]), &roots);
    endpoints.map_err(|(_, error)| ("", because(&error)))
}

fn server_command(command: &written::Command) -> ServerCommand {
    let place = match &command.ssh {
        None => Place::Here,
        Some(ssh) => Place::Ssh(Ssh {
            host: ssh.host.to_string(),
            port: ssh.port(),
            user: ssh.user.to_string(),
            key: ssh.key.as_str().into(),
            known_hosts: ssh.known_hosts.as_str().into(),
            program: Ssh::PROGRAM.into(),
        }),
    };
    let extra_args = if command.extra_args { ExtraArgs::Allowed } else { ExtraArgs::Refused };
    let command = Command {
        argv: command.argv.iter().map(ToString::to_string).collect(),
        environment: command
            .environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        dir: command.dir.as_ref().map(|dir| dir.as_str().into()),
        timeout: command.timeout(),
        extra_args,
    };
    ServerCommand { command, place }
}

fn prometheus(shared: &written::Shared, wrong: &mut Vec<(String, String)>) -> BTreeMap<Name, Prometheus> {
    let mut all = BTreeMap::new();
    for (name, written) in &shared.prometheus {
        let ca = written.ca.as_ref().map(|ca| fs::read(ca.as_str())).transpose();
        let roots = match ca {
            Ok(roots) => roots,
            Err(error) => {
                wrong.push((format!("prometheus.{name}.ca"), error.to_string()));
                continue;
            }
        };
        let credential = match written.credential.as_ref().map(credential).map(read_each_time).transpose() {
            Ok(credential) => credential,
            Err(why) => {
                wrong.push((format!("prometheus.{name}.credential"), why));
                continue;
            }
        };
        let headers = written.headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let settings = PrometheusSettings {
            url: written.url.to_string(),
            timeout: written.timeout(),
            roots,
            headers: headers.collect(),
            credential,
        };
        match Prometheus::new(settings) {
            Ok(prometheus) => drop(all.insert(name.clone(), prometheus)),
            Err(error) => wrong.push((format!("prometheus.{name}"), because(&error))),
        }
    }
    all
}

/// A credential as questions to Prometheus want it: on a thread that may wait.
fn read_each_time(credential: Credential) -> Result<Box<dyn backstay_signals::Credential>, String> {
    let reader = CredentialReader::new(credential).map_err(|error| because(&error))?;
    Ok(Box::new(move || -> io::Result<(String, String)> {
        let secret = Handle::current().block_on(reader.read()).map_err(io::Error::other)?;
        Ok((reader.header().to_owned(), reader.header_value(&secret)))
    }))
}

/// One endpoint that may be posted to at one path.
fn pager(page: &written::Page) -> Result<Pager, String> {
    let url = page.url.to_string();
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let (host, path) =
        rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, path.to_owned()));
    let path = format!("/{path}");
    let grant = HttpGrant::new(&["POST"], &[path.as_str()]).map_err(|error| because(&error))?;
    let name = Name::parse("page").map_err(|error| error.to_string())?;
    let endpoint = GuardedEndpoint {
        endpoint: Endpoint {
            base: format!("{scheme}://{host}"),
            headers: BTreeMap::from([("content-type".into(), "application/json".into())]),
            timeout: page.timeout(),
        },
        credential: page.credential.as_ref().map(credential),
        certificate: None,
        grant,
        response_bytes_max: 65_536,
        content: Content::Any,
    };
    let endpoints =
        GuardedEndpoints::new(BTreeMap::from([(name.clone(), endpoint)]), &roots(page.ca.as_ref())?);
    let endpoints = endpoints.map_err(|(_, error)| because(&error))?;
    Ok(Pager { endpoints, name, path })
}

/// What is wrong with what a configuration names, in its own words.
pub(crate) fn problems(document: &backstay_config::Document, wrong: Vec<(String, String)>) -> Vec<Problem> {
    wrong.into_iter().map(|(key, why)| document.problem(&key, why)).collect()
}
