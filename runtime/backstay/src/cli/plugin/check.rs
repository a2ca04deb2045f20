//! `backstay plugin check`: what a component is, before anybody signs for it.
//!
//! Here: what can be seen in the component and in its manifest, and what it asks for when it is tried once. Not here:
//! how it stands what goes wrong (`test`).

use std::path::PathBuf;

use backstay_host::{Machine, compile_component, system_of, world_executor, world_of, world_policy};
use backstay_kit::{Settings, Trial, TrialError, Tried, asks};
use backstay_model::{Digest, Name};
use backstay_trust::{Artifact, EffectKind, Limits};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{COMPONENT_BYTES_MAX, manifest::Manifest, test::shelf};
use crate::{Desk, Exit, Failure, file, table::Table, text};

/// The largest component for devices, in bytes: it goes over the air, and native code is some four times as large.
const DEVICE_BYTES_MAX: usize = 1_500_000;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The portable component
    pub(super) component: PathBuf,
    /// What the vendor says of it
    #[arg(long, value_name = "FILE", default_value = "manifest.toml")]
    pub(super) manifest: PathBuf,
    /// A playbook that it is asked to heal by; the commands under "permissions" if it is left out
    #[arg(long, value_name = "NAME")]
    pub(super) playbook: Vec<Name>,
    /// Where it is to run
    #[arg(long, value_enum, default_value_t = Tier::Device)]
    pub(super) tier: Tier,
}

/// How large a plugin may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tier {
    /// On devices: at most 1.5 MB, and 16 MiB of native code
    Device,
    /// On a server: at most 32 MiB, and 48 MiB of native code
    Server,
}

#[derive(Debug, Serialize)]
struct Checked {
    component: Digest,
    bytes: usize,
    passed: bool,
    /// The interfaces of the system that it imports, and that are replaced by what has nothing.
    system: Vec<String>,
    checks: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    good: bool,
    found: String,
}

impl Check {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let component = file::read(&self.component, COMPONENT_BYTES_MAX)?;
        let manifest = Manifest::read(&self.manifest)?;
        let identity = manifest.identity(&self.manifest)?;
        let (limits, permissions) = (manifest.limits(Limits::DEFAULT), manifest.permissions());
        let mut checks = Vec::new();
        let mut add = |check, found: Result<String, String>| {
            let (good, found) = match found {
                Ok(found) => (true, found),
                Err(found) => (false, found),
            };
            checks.push(Line { check, good, found });
        };
        let world = world_of(&component).map_err(|why| chain(&why));
        add("imports", world.clone().map(|_| "nothing but the contract's types".into()));
        let system = system_of(&component).unwrap_or_default();
        if !system.is_empty() {
            let count = text::count(system.len() as u64, "interface", "interfaces");
            add("system", Ok(format!("{count}, replaced by what has nothing: {}", brief(&system))));
        }
        let said = identity.world.clone();
        let agrees = world.as_ref().map_err(String::clone).and_then(|world| match &said {
            Some(said) if said != world => {
                Err(format!("it is built for {world}, and the manifest says {said}"))
            }
            Some(_) | None => Ok(world.to_string()),
        });
        add("exports", agrees);
        add("size", self.tier.fits(component.len()));
        let fit = limits.unfit().map_or(Ok(()), |what| Err(format!("{what} is out of what can be granted")));
        add("limits", fit.and_then(|()| within(world.as_ref().ok(), &identity.wants, limits)));
        let unasked = permissions.kinds().into_iter().find(|kind| !identity.wants.contains(kind));
        add(
            "permissions",
            match unasked {
                Some(kind) => Err(format!("[permissions] grants {kind}, which is not among wants")),
                None => Ok("no more than it wants".into()),
            },
        );
        // What the code can ask for isn't written in it: it is tried.
        if world.is_ok() {
            let (id, version, wants) = (&identity.id, &identity.version, &identity.wants);
            // Twice for each machine, unlike where it is only tried out: that it comes out the same is one of the checks.
            let compile = |machine| compile_component(&component, machine).map_err(TrialError::Compile);
            let code: Result<Vec<_>, _> = Machine::ALL.into_iter().map(compile).collect();
            let trial =
                code.and_then(|code| Trial::of(&component, id, version, wants, &permissions, limits, &code));
            match trial {
                Ok(trial) => {
                    let sizes: Vec<_> = trial
                        .code
                        .iter()
                        .map(|(target, bytes)| format!("{target} {}", text::bytes(*bytes)))
                        .collect();
                    let largest = trial.code.values().copied().max().unwrap_or_default();
                    let fits = self.tier.runs(largest);
                    let told = format!("compiled twice for each and the same: {}", sizes.join(", "));
                    add("code", fits.map(|()| told));
                    add("effects", effects(&trial, &identity.wants, &permissions, &self.playbook));
                }
                Err(why) => add("code", Err(chain(&why))),
            }
        }
        let passed = checks.iter().all(|line| line.good);
        let checked = Checked {
            component: file::digest_of(&component),
            bytes: component.len(),
            passed,
            system,
            checks,
        };
        desk.printer.show("plugin-check", &checked, || checked.table())?;
        Ok(if passed { Exit::Done } else { Exit::Differs })
    }
}

impl Tier {
    /// Whether code of this size is loaded there.
    fn runs(self, bytes: u64) -> Result<(), String> {
        let (most, whose) = match self {
            Self::Device => (Artifact::DEVICE_BYTES_MAX, "a device"),
            Self::Server => (Artifact::BYTES_MAX, "a server"),
        };
        if bytes <= most {
            return Ok(());
        }
        Err(format!("{}, and {whose} loads {} at most", text::bytes(bytes), text::bytes(most)))
    }

    fn fits(self, bytes: usize) -> Result<String, String> {
        let (most, whose) = match self {
            Self::Device => (DEVICE_BYTES_MAX, "a device"),
            Self::Server => (COMPONENT_BYTES_MAX, "a server"),
        };
        let told = text::bytes(bytes as u64);
        if bytes <= most {
            Ok(format!("{told}, fit for {whose}"))
        } else {
            Err(format!("{told}, and {whose} takes {} at most", text::bytes(most as u64)))
        }
    }
}

/// Whether what the manifest says fits the contract: a policy has no effects.
fn within(
    world: Option<&backstay_trust::World>,
    wants: &[EffectKind],
    limits: Limits,
) -> Result<String, String> {
    let Some(world) = world else { return Ok("as they can be granted".into()) };
    if *world == world_policy() && !wants.is_empty() {
        return Err("a policy has no effects, and the manifest wants some".into());
    }
    if *world == world_executor() && limits.effects_per_step == 0 {
        return Err("an executor that may ask for no effect in a step can do nothing".into());
    }
    Ok("as they can be granted".into())
}

/// What it asks for when it is tried, held against what its manifest names.
fn effects(
    trial: &Trial,
    wants: &[EffectKind],
    permissions: &backstay_trust::Permissions,
    playbooks: &[Name],
) -> Result<String, String> {
    let shelf = shelf(trial).map_err(|why| why.to_string())?;
    if let Some(policy) = shelf.policy(&trial.grant) {
        return policy
            .describe()
            .map(|_| "none, and it says what it is".into())
            .map_err(|why| why.to_string());
    }
    let executor = shelf.into_executor(&trial.grant).ok_or("it was loaded as something else than it is")?;
    let asked = asks(&Tried::new(executor), &Settings::new(), permissions, playbooks)?;
    if let Some(kind) = asked.keys().find(|kind| !wants.contains(kind)) {
        return Err(format!("it asks for {kind}, which is not among wants"));
    }
    let idle: Vec<_> =
        wants.iter().filter(|kind| !asked.contains_key(kind)).map(ToString::to_string).collect();
    let told: Vec<_> = asked.iter().map(|(kind, deed)| format!("{kind} (\"{deed}\")")).collect();
    let told = if told.is_empty() { "nothing".into() } else { told.join(", ") };
    Ok(if idle.is_empty() {
        told
    } else {
        format!("{told}; wanted and never asked for here: {}", idle.join(", "))
    })
}

impl Checked {
    fn table(&self) -> String {
        let mut table = Table::new(["CHECK", "CAME", "FOUND"]);
        for Line { check, good, found } in &self.checks {
            table.row([(*check).into(), if *good { "good".into() } else { "BAD".into() }, found.clone()]);
        }
        let verdict = if self.passed { "passed" } else { "FAILED" };
        format!("{table}\n{verdict}: component {}, {}\n", self.component, text::bytes(self.bytes as u64))
    }
}

/// Interfaces by what they are about: `wasi:cli/stdin@0.2.9` and its like are `wasi:cli`.
fn brief(system: &[String]) -> String {
    let mut about: Vec<_> = system.iter().map(|name| name.split('/').next().unwrap_or(name)).collect();
    about.dedup();
    about.join(", ")
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
