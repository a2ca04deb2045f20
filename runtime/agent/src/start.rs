//! Putting a device together from its configuration.
//!
//! What is wrong with a configuration ends the start. What is damaged does not: the device starts on what it
//! has, says so, and heals. A device that refuses to start can't go home.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use backstay_config::Span;
use backstay_core::{
    Bundle, Confidence, Configured, Device, Effect, Input, Upgrade, UpgradeEffect, UpgradeInput, Wanted,
};
use backstay_hands::{
    Command as HandsCommand, Commands, Depot, ExtraArgs, Fetch, FileAge, Hands, HttpProbe, Probe, ProbeKind,
    Probes, Program, ProgramOutput, Roots, Sources, Supervised,
};
use backstay_host::{Engine, Executor, Policy};
use backstay_memory::{Memory, Options, Recalled, Trusted, keep_folder};
use backstay_model::{
    Digest, Event, Generation, Millis, Mono, Name, PluginId, PluginRole, Reason, Release, Scope, causes,
};
use backstay_plugins::{Judge, LoadError, Loader, Mark, Ready, Tier, configured, floors_after, pin, terms};
use backstay_trust::{Accepted, GrantedPlugin, Keyring};
use backstay_wire::Stream;
use tokio::sync::mpsc;

use crate::{
    bundles::Bundles,
    clock::{Clock, boot_id},
    config::{Command, Config, ProbeScope, ServiceAction, Supervise},
    driver::{
        Driver,
        upgrading::{heard as heard_of, recorded},
    },
    identity::Papers,
    kept::Kept,
    lkg::Lkg,
    log,
    machine::Machine,
    reset::Start,
    slots::{self, Backend},
    trust::{keyring_at, latest},
};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// How long a source may send nothing.
const STALL: Millis = Millis::from_secs(30);

/// Runs the device until it is told to stop.
pub fn run(config: Config) -> Fallible<()> {
    log::listen(std::env::var("BACKSTAY_LOG").ok().as_deref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (driver, first, upgrade, up) = assemble(config).await?;
        driver.drive(first, upgrade, up).await;
        Ok(())
    })
}

/// Checks what can be checked without touching anything.
pub fn check(config: &Config) -> Fallible<()> {
    let (trust, odd) = Trusted::open(keyring(&config.keyring)?, &config.state);
    if let Some(odd) = odd.into_iter().next() {
        return Err(odd.into());
    }
    let keyring = trust.keyring();
    let engine = Engine::new()?;
    let loader = Loader::new(Tier::Device, &engine, &keyring);
    if config.executor.candidate.is_some() {
        return Err(LoadError::NoShadow.into());
    }
    for policy in loader.each_policy(&config.policy).chain(loader.candidate(&config.policy)) {
        policy?;
    }
    for executor in loader.each_executor(&config.executor) {
        executor?;
    }
    let (_, roots) = hands(config)?;
    Probes::check(probes(config), &roots)?;
    config.service.as_ref().map(|service| supervised(service, &config.state)).transpose()?;
    slots::check(&config.slots)?;
    println!("the configuration is good");
    Ok(())
}

/// Prints who this device is.
pub fn fingerprint(config: &Config) -> Fallible<()> {
    fs::create_dir_all(&config.state)?;
    println!("{}", Papers::of(&config.state).key()?.id().0);
    Ok(())
}

async fn assemble(config: Config) -> Fallible<(Driver, Vec<Event>, Vec<UpgradeEffect>, Input)> {
    keep_folder(&config.state)?;
    let (trust, odd) = Trusted::open(keyring(&config.keyring)?, &config.state);
    let papers = Papers::of(&config.state);
    let key = papers.key()?;
    let options = Options { instance: key.id().0.to_string(), bytes_max: config.journal.kib_max * 1024 };
    let (memory, recalled) = Memory::open(&config.state, options)?;
    let Recalled { clock, snapshot, words, findings: mut first } = recalled;
    let kept = snapshot.as_deref().and_then(Kept::decode);
    if snapshot.is_some() && kept.is_none() {
        first
            .push(degraded("what was remembered is of a version that can't be read; the device begins anew"));
    }

    first.extend(odd.iter().map(|odd| degraded(&causes::in_one_line(odd))));
    first.extend(trust.untold(&memory));
    let heard = kept.as_ref().and_then(|kept| kept.heard);
    let unheard_max = config.trust.unheard_max.map(Span::millis);
    let keyring = keyring_at(&trust, heard, clock, unheard_max);

    let (mut slots, findings) = Backend::open(&config.slots)?;
    first.extend(findings.iter().map(|finding| degraded(finding)));

    let mut confidence = Confidence {
        quarantine: kept.as_ref().map(|kept| kept.quarantine.clone()).unwrap_or_default(),
        succession: kept.as_ref().map(|kept| kept.succession.clone()).unwrap_or_default(),
    };
    let mut upgrade =
        kept.as_ref().and_then(|kept| kept.upgrade.clone()).unwrap_or_else(|| Upgrade::new(seed()));
    if let Some(words) = &words {
        let generation = words.mark(Stream::Plugins).map_or(0, |mark| mark.counter);
        upgrade.remember(Generation(generation));
        upgrade.remember_starts(words.starts);
    }
    let directors = keyring.directors();
    for effect in upgrade.trust(&directors) {
        if let UpgradeEffect::Refuse(refused) = effect {
            first.push(Event::Refused(refused));
        }
    }
    let retries = config.retries();
    let mut follow = Vec::new();
    let mark = match Mark::open(&mark_file(&config.state), boot_id()) {
        Ok((mark, left)) => {
            if let Some(left) = left {
                let mut events = left.count(clock, &mut confidence);
                let goes_on = confidence.succession.standing().is_some();
                for event in &events {
                    if let Some(input) = heard_of(event, goes_on) {
                        follow.append(&mut upgrade.step(clock, &retries, input));
                    }
                }
                first.append(&mut events);
            }
            Some(Arc::new(mark))
        }
        Err(error) => {
            first.push(degraded(&format!("the call of a plugin can't be marked: {error}")));
            None
        }
    };
    let floors = kept.as_ref().map(|kept| kept.accepted.clone()).unwrap_or_default();
    let known = kept.as_ref().and_then(|kept| kept.attested);
    let known = known.max(words.as_ref().and_then(|words| words.attested)).map_or(0, |known| known.0);
    let mut attested_by = kept.as_ref().map(|kept| kept.attested_by.clone()).unwrap_or_default();
    attested_by.trust(known, &directors);
    let attested = latest(&attested_by);
    let engine = Engine::new()?;
    let held = Some(&confidence);
    let tier = Tier::Device;
    let marks = mark.clone();
    let loader = Loader { tier, engine: &engine, keyring: &keyring, floors: &floors, attested, mark, held };
    let bundles = Bundles::of(&config.state);
    let mut pinned = kept.as_ref().map(|kept| kept.pinned.clone()).unwrap_or_default();
    let is_held = kept.as_ref().is_some_and(|kept| kept.device.is_held());
    let mut plugging =
        Plugging { upgrade: &mut upgrade, pinned: &mut pinned, first: &mut first, follow: &mut follow };
    let run = kept.as_ref().and_then(|kept| kept.device.run_taken_by());
    let Plugged { policies, executors, candidate, outgoing } =
        plugging.plug(&loader, &config, &bundles, (clock, is_held, run));
    let judge = (!policies.is_empty() || candidate.is_some()).then(|| Judge::new(policies));
    let judge = judge.map(|judge| match candidate {
        Some(candidate) => judge.with_candidate(candidate, terms(&config.policy)),
        None => judge,
    });
    first.append(&mut recorded(&follow));
    // Before the first call is recorded it has to be known what was called, and with which settings.
    first.extend(judge.iter().flat_map(Judge::equipped));
    first.extend(executors.iter().map(|ready| Event::Equipped(ready.equipped.clone())));
    let loaded = judge.iter().flat_map(Judge::granted).chain(executors.iter().map(|ready| &ready.granted));
    let floors = floors_after(floors, loaded);

    let (hands, roots) = hands(&config)?;
    let (depot, fetch) = sources(&config, &roots)?;
    let service = config.service.as_ref().map(|service| supervised(service, &config.state)).transpose()?;
    let restarts: Vec<Name> = config
        .commands
        .iter()
        .filter_map(|(name, command)| match command {
            Command::Supervise(Supervise { service: ServiceAction::Restart }) => Some(name.clone()),
            Command::Program(_) => None,
        })
        .collect();
    let (ends, ended) = mpsc::channel(16);
    // The start of the agent is a restart of what it supervises: tries are counted here.
    let settings = config.device_settings();
    let status = if service.is_some() { None } else { Some(slots.slots().status()?) };
    let machine = Machine::new(slots, hands, fetch.clone(), restarts, service, ends);
    let status = match status {
        Some(status) => status,
        None => {
            let started = machine.boot().await?;
            first.extend(started.findings.iter().map(|finding| degraded(finding)));
            machine.status().await?
        }
    };
    let (start, woke) = Start::of(&config.state, &machine, &status.booted).await;
    first.splice(0..0, woke);
    let probes = Probes::start(probes(&config), &roots)?;
    let lkg = Lkg::of(&config.state, &config.lkg);

    let clock = Clock::from(clock);
    let mut device = match kept {
        Some(kept) => Device::restore(settings, kept.device),
        None => Device::new(settings, clock.now(), &status, seed()),
    };
    if let Some(words) = &words {
        device.remember(&backstay_core::Watermarks {
            condemned: words.condemned.clone(),
            floor: words.security_floor,
            generation: Generation(words.mark(Stream::Product).map_or(0, |mark| mark.counter)),
            told: words.mark(Stream::Order).map_or(0, |mark| mark.counter),
            last_known_good: words.last_known_good.clone(),
            starts: words.starts,
            ways: words.ways.clone(),
        });
    }
    for effect in device.trust(&directors) {
        if let Effect::Record(event) = effect {
            first.push(event);
        }
    }
    let up = Input::Up { boot: boot_id(), slots: status };
    let driver = Driver {
        config,
        clock,
        device,
        memory,
        judge,
        executors,
        outgoing,
        confidence,
        upgrade,
        pinned,
        bundles,
        fetch,
        engine,
        mark: marks,
        machine,
        start,
        lkg,
        probes,
        ended,
        depot,
        keyring,
        trust,
        heard,
        key,
        papers,
        attested: attested_by,
        floors,
    };
    Ok((driver, first, follow, up))
}

/// The plugins of a device.
struct Plugged {
    /// Newest first.
    policies: Vec<Ready<Policy>>,
    /// Newest first.
    executors: Vec<Ready<Executor>>,
    candidate: Option<Ready<Policy>>,
    /// The grant of the last executor, which is here only for the run that it has begun.
    outgoing: Option<Digest>,
}

/// What loading them changes, or is told of.
struct Plugging<'a> {
    upgrade: &'a mut Upgrade,
    pinned: &'a mut Vec<(PluginId, Accepted)>,
    first: &'a mut Vec<Event>,
    follow: &'a mut Vec<UpgradeEffect>,
}

impl Plugging<'_> {
    /// Loads those of the configuration and those that came by steering. Where the newest can't be used there is the last
    /// good one. Without a policy the device holds, without an executor it can't act; it starts all the same, and says so.
    fn plug(
        &mut self,
        loader: &Loader<'_>,
        config: &Config,
        bundles: &Bundles,
        (now, held, run): (Mono, bool, Option<Digest>),
    ) -> Plugged {
        // What the configuration has brought stays good, whatever came by steering or with the other image since.
        let pinned = self.pinned.clone();
        let policy_at = |path: &Path| loader.beside(&pinned, |loader| loader.policy(path, &config.policy));
        let executor_at =
            |path: &Path| loader.beside(&pinned, |loader| loader.executor(path, &config.executor));
        let (mut policies, policy) =
            self.configured(PluginRole::Policy, configured(&config.policy).map(policy_at));
        let (mut executors, executor) =
            self.configured(PluginRole::Executor, configured(&config.executor).map(executor_at));
        let mut candidate = config.policy.candidate.as_deref().and_then(|path| self.usable(policy_at(path)));

        let retries = config.retries();
        let up = UpgradeInput::Up { boot: boot_id(), configured: vec![policy, executor], held };
        self.follow.append(&mut self.upgrade.step(now, &retries, up));
        let Wanted { trusted, on_trial, .. } = self.upgrade.wanted();
        let mut lost = Vec::new();
        // The newest ends up in front.
        for (role, Bundle { release, .. }) in trusted.into_iter().rev() {
            let path = bundles.path(&release.digest);
            let came = match role {
                PluginRole::Policy => {
                    self.usable(loader.policy(&path, &config.policy)).map(|ready| policies.insert(0, ready))
                }
                PluginRole::Executor => self
                    .usable(loader.executor(&path, &config.executor))
                    .map(|ready| executors.insert(0, ready)),
            };
            lost.extend(came.is_none().then_some(release.digest));
        }
        if let Some(Bundle { release, .. }) = on_trial {
            match self.usable(loader.policy(&bundles.path(&release.digest), &config.policy)) {
                Some(ready) => candidate = Some(ready),
                None => lost.push(release.digest),
            }
        }
        for bundle in lost {
            self.follow.append(&mut self.upgrade.step(now, &retries, UpgradeInput::Lost(bundle)));
        }
        // An open run goes on with the executor that began it, also in an image that brings another one.
        let is_there = |grant: &Digest| executors.iter().any(|ready| ready.granted.grant() == grant);
        let missing = run.filter(|grant| !is_there(grant));
        let came = missing.map(|grant| executor_at(&bundles.path_of_run(&grant)));
        let outgoing =
            came.and_then(|came| self.usable(came)).filter(|came| Some(*came.granted.grant()) == run);
        let leaves = outgoing.as_ref().map(|came| *came.granted.grant());
        executors.extend(outgoing);
        Plugged { policies, executors, candidate, outgoing: leaves }
    }

    /// Those of the configuration for a job that can be used, newest first.
    fn configured<P>(
        &mut self,
        role: PluginRole,
        loaded: impl Iterator<Item = Result<Ready<P>, LoadError>>,
    ) -> (Vec<Ready<P>>, Configured) {
        let (mut named, mut usable) = (None, Vec::new());
        for (at, loaded) in loaded.enumerate() {
            let Some(ready) = self.usable(loaded) else { continue };
            if at == 0 {
                named = Some(ready.bundle.digest);
                pin(self.pinned, &ready.granted);
            }
            usable.push(ready);
        }
        let first = usable.first().map(|ready| bundle(&ready.bundle, &ready.granted));
        (usable, Configured { role, named, usable: first })
    }

    fn usable<P>(&mut self, loaded: Result<Ready<P>, LoadError>) -> Option<Ready<P>> {
        loaded.map_err(|error| self.first.push(degraded(&causes::in_one_line(&error)))).ok()
    }
}

fn bundle(release: &Release, granted: &GrantedPlugin) -> Bundle {
    Bundle { release: release.clone(), grant: *granted.grant() }
}

/// Where the call of a plugin is marked: in memory, where systemd gives a place that outlives the agent
/// (`RuntimeDirectoryPreserve`), else beside the state, where it is written and never waited for.
fn mark_file(state: &Path) -> PathBuf {
    let place = std::env::var_os("RUNTIME_DIRECTORY").map_or_else(|| state.to_owned(), PathBuf::from);
    place.join("plugin-call")
}

fn keyring(path: &Path) -> Fallible<Keyring> {
    let bytes =
        fs::read(path).map_err(|error| format!("cannot read the keyring {}: {error}", path.display()))?;
    Ok(Keyring::decode(&bytes).map_err(|error| format!("{} is no keyring: {error}", path.display()))?)
}

fn hands(config: &Config) -> Fallible<(Hands, Roots)> {
    let mut commands = BTreeMap::new();
    for (name, command) in &config.commands {
        let Command::Program(program) = command else { continue };
        let command = HandsCommand {
            argv: program.argv.clone(),
            environment: program.environment.clone(),
            dir: None,
            timeout: program.timeout.millis(),
            extra_args: ExtraArgs::Refused,
        };
        commands.insert(name.clone(), command);
    }
    let commands = Commands::new(commands).map_err(|(name, error)| format!("commands.{name}: {error}"))?;
    let roots = match config.server.as_ref().and_then(|server| server.ca.as_ref()) {
        None => Roots::none(),
        Some(ca) => {
            let pem =
                fs::read(ca).map_err(|error| format!("cannot read server.ca {}: {error}", ca.display()))?;
            Roots::from_pem(&pem)?
        }
    };
    Ok((Hands { commands, ..Hands::default() }, roots))
}

fn sources(config: &Config, roots: &Roots) -> Fallible<(Option<Depot>, Option<Fetch>)> {
    let Some(server) = &config.server else { return Ok((None, None)) };
    let sources = Sources {
        bases: server.urls.clone(),
        cache: config.state.join("artifacts"),
        cache_bytes_max: server.cache_mib_max << 20,
        stall: STALL,
    };
    Ok((Some(Depot::new(&server.urls, roots)?), Some(Fetch::new(sources, roots)?)))
}

fn supervised(service: &crate::config::Service, state: &Path) -> Fallible<Supervised> {
    Ok(Supervised::new(Program {
        argv: service.command.clone(),
        environment: service.environment.clone(),
        dir: None,
        output: ProgramOutput::File { path: state.join("service.log"), bytes_max: 1 << 20 },
        grace: service.grace.millis(),
        backoff: Millis::from_secs(1),
        backoff_max: Millis::from_secs(60),
    })?)
}

fn probes(config: &Config) -> Vec<Probe> {
    config.probe.iter().filter_map(probe).collect()
}

fn probe(probe: &crate::config::Probe) -> Option<Probe> {
    let kind = match (&probe.http, &probe.tcp, &probe.command, &probe.file, &probe.age) {
        (Some(url), ..) => ProbeKind::Http(HttpProbe { url: url.clone(), status: 200..=299 }),
        (None, Some(address), ..) => ProbeKind::Tcp(address.clone()),
        (None, None, Some(argv), ..) => ProbeKind::Command(HandsCommand {
            argv: argv.clone(),
            environment: BTreeMap::new(),
            dir: None,
            timeout: probe.timeout.millis(),
            extra_args: ExtraArgs::Refused,
        }),
        (None, None, None, Some(path), Some(age)) => {
            ProbeKind::FileAge(FileAge { path: path.clone(), max: age.millis() })
        }
        // The configuration was checked: each probe is of one kind.
        (None, None, None, _, _) => return None,
    };
    let scope = match probe.scope {
        ProbeScope::Local => Scope::Local,
        ProbeScope::Dependency => Scope::Dependency,
    };
    let (interval, timeout) = (probe.every.millis(), probe.timeout.millis());
    Some(Probe { name: probe.name.clone(), scope, interval, timeout, kind })
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without the system's randomness jitter is the same on many devices, which is worse and not wrong.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn degraded(what: &str) -> Event {
    Event::Degraded { what: Reason::new(what.into()).0 }
}
