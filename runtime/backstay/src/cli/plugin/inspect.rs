//! `backstay plugin inspect`: what a bundle holds, who signed it, and whether a device would run it.
//!
//! Without a keyring nothing in a bundle is believed, so nothing but its sizes and digests is shown.

use std::{
    collections::BTreeMap,
    fmt::Display,
    path::{Path, PathBuf},
};

use backstay_host::{Machine, engine_profile};
use backstay_model::Digest;
use backstay_trust::{
    Artifact, Bundle, GrantedPlugin, Keyring, Limits, Permissions, PluginError, VerifiedPlugin, Want,
};
use clap::Args;
use serde::Serialize;

use crate::{Desk, Exit, Failure, file, table::Table, text};

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// What `plugin grant` wrote
    pub(super) bundle: PathBuf,
    /// The fleet's keyring; without it, no signature is checked
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: Option<PathBuf>,
}

/// Takes a bundle apart, and believes nothing of it.
pub(super) fn decode<'a>(bytes: &'a [u8], name: &dyn Display) -> Result<Bundle<'a>, Failure> {
    Bundle::decode(bytes).map_err(|why| {
        let help = why.help();
        Failure::new(Exit::Untrusted, format!("cannot read {name}")).why(why).maybe_help(help)
    })
}

/// What is shown of a bundle.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    /// Whether signatures were checked, and hold.
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<Said>,
    artifacts: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Said {
    id: String,
    version: String,
    world: String,
    component: Digest,
    component_bytes: u64,
    wants: Vec<String>,
    release: Digest,
    release_sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<Terms>,
}

#[derive(Debug, Serialize)]
struct Terms {
    digest: Digest,
    sequence: u64,
    limits: Limits,
    permissions: Permissions,
}

#[derive(Debug, Serialize)]
struct Line {
    target: String,
    digest: Option<Digest>,
    bytes: Option<u64>,
    compiler: Option<String>,
    state: String,
    good: bool,
}

impl Inspect {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let bytes = file::read(&self.bundle, Bundle::BYTES_MAX)?;
        let bundle = decode(&bytes, &self.bundle.display())?;
        let shown = Shown::of(&bundle, self.keyring.as_deref())?;
        desk.printer.show("plugin", &shown, || shown.table())?;
        if self.keyring.is_none() {
            desk.printer.say("nothing was checked but digests; --keyring checks who signed it");
        }
        shown.runs(&self.bundle.display())?;
        Ok(Exit::Done)
    }
}

impl Shown {
    /// Held against a keyring, if there is one.
    pub(super) fn of(bundle: &Bundle<'_>, keyring: Option<&Path>) -> Result<Self, Failure> {
        match keyring {
            Some(path) => Self::checked(bundle, &file::read_keyring(path)?),
            None => Ok(Self::bare(bundle)),
        }
    }

    /// That all code in it would run, as far as it was checked.
    pub(super) fn runs(&self, bundle: &dyn Display) -> Result<(), Failure> {
        if self.artifacts.iter().all(|line| line.good) {
            return Ok(());
        }
        Err(Failure::new(Exit::Untrusted, format!("{bundle} holds code that no device runs"))
            .help("make the bundle anew: backstay plugin grant"))
    }

    fn bare(bundle: &Bundle<'_>) -> Self {
        let artifacts = bundle.artifacts().map(|digest| Line::unnamed(bundle, digest)).collect();
        Self { verified: false, plugin: None, artifacts }
    }

    fn checked(bundle: &Bundle<'_>, keyring: &Keyring) -> Result<Self, Failure> {
        let refused = |why| Failure::untrusted_plugin("the bundle is not accepted", why);
        let release = keyring.verify_plugin_release(bundle.release).map_err(refused)?;
        let said = release.release();
        let (engine, floors) = (engine_profile(), BTreeMap::new());
        let mut artifacts = Vec::new();
        let mut terms = None;
        let mut named = Vec::new();
        for machine in Machine::ALL {
            let target = machine.target();
            let want = Want {
                target: &target,
                engine: &engine,
                world: &said.world,
                floors: &floors,
                attested: None,
            };
            let granted = match keyring.verify_grant(bundle.release, bundle.grant, &want) {
                Ok(granted) => granted,
                // The grant is good, and names no code for this machine: none of the bundle's business.
                Err(PluginError::NoArtifact { .. }) => continue,
                Err(why) => return Err(refused(why)),
            };
            named.push(granted.artifact().digest);
            let (line, plugin) = Line::granted(bundle, &granted);
            terms = plugin.as_ref().map(Terms::of).or(terms);
            artifacts.push(line);
        }
        let others = bundle.artifacts().filter(|digest| !named.contains(digest));
        artifacts.extend(others.map(|digest| Line::unnamed(bundle, digest)));
        let plugin = Said {
            id: said.id.to_string(),
            version: said.version.to_string(),
            world: said.world.to_string(),
            component: said.component,
            component_bytes: said.component_bytes,
            wants: said.wants.iter().map(ToString::to_string).collect(),
            release: *release.digest(),
            release_sequence: release.stamp().sequence,
            grant: terms,
        };
        Ok(Self { verified: true, plugin: Some(plugin), artifacts })
    }

    fn table(&self) -> String {
        self.table_under(Table::list())
    }

    /// The same with more above it.
    pub(super) fn table_under(&self, mut list: Table) -> String {
        if let Some(said) = &self.plugin {
            list.say("plugin", format_args!("{} {}", said.id, said.version));
            list.say("world", &said.world);
            list.say("component", format_args!("{}, {}", said.component, text::bytes(said.component_bytes)));
            list.say("release", format_args!("{}, sequence {}", said.release, said.release_sequence));
            list.say("wants", none_or(&said.wants));
            if let Some(terms) = &said.grant {
                terms.tell(&mut list);
            }
        }
        let mut table = Table::new(["TARGET", "SIZE", "COMPILER", "DIGEST", "STATE"]);
        for line in &self.artifacts {
            table.row([
                line.target.clone(),
                line.bytes.map_or_else(|| "-".into(), text::bytes),
                line.compiler.clone().unwrap_or_else(|| "-".into()),
                line.digest.map_or_else(|| "-".into(), |digest| digest.short().to_string()),
                line.state.clone(),
            ]);
        }
        format!("{list}{table}")
    }
}

impl Terms {
    fn of(plugin: &VerifiedPlugin) -> Self {
        Self {
            digest: *plugin.grant(),
            sequence: plugin.stamp().sequence,
            limits: plugin.limits(),
            permissions: plugin.permissions().clone(),
        }
    }

    fn tell(&self, list: &mut Table) {
        list.say("grant", format_args!("{}, sequence {}", self.digest, self.sequence));
        let Permissions { endpoints, commands, topics, paths, slots } = &self.permissions;
        list.say("may call", none_or(endpoints));
        list.say("may run", none_or(commands));
        list.say("may publish", none_or(topics));
        list.say("may write", none_or(paths));
        list.say("may switch", if *slots { "slots" } else { "nothing" });
        let Limits { memory_bytes, table_elements, call, output_bytes, state_bytes, effects_per_step } =
            self.limits;
        let [memory, output, state] =
            [memory_bytes, output_bytes, state_bytes].map(|size| text::bytes(size.into()));
        list.say("memory", format_args!("{memory}, {table_elements} table elements"));
        list.say(
            "each call",
            format_args!("{} ms, returns {output}, keeps {state}, {effects_per_step} effects", call.0),
        );
    }
}

impl Line {
    /// Code that no statement was held against.
    fn unnamed(bundle: &Bundle<'_>, digest: &Digest) -> Self {
        let bytes = bundle.artifact(digest);
        let whole = bytes.is_some_and(|bytes| file::digest_of(bytes) == *digest);
        let state = if whole { "is what its digest says" } else { "is not what its digest says" };
        Self {
            target: "?".into(),
            digest: Some(*digest),
            bytes: bytes.map(|bytes| bytes.len() as u64),
            compiler: None,
            state: state.into(),
            good: whole,
        }
    }

    /// Code that the grant names.
    fn granted(bundle: &Bundle<'_>, granted: &GrantedPlugin) -> (Self, Option<VerifiedPlugin>) {
        let artifact = granted.artifact();
        let (state, good, plugin) = match bundle.artifact(&artifact.digest) {
            None => ("granted, not in this file".to_owned(), true, None),
            Some(bytes) => match granted.with_artifact(bytes.to_vec()) {
                Ok(plugin) if artifact.length > Artifact::DEVICE_BYTES_MAX => {
                    ("verified, too large for devices".to_owned(), true, Some(plugin))
                }
                Ok(plugin) => ("verified".to_owned(), true, Some(plugin)),
                Err(why) => (why.to_string(), false, None),
            },
        };
        let line = Self {
            target: artifact.target.to_string(),
            digest: Some(artifact.digest),
            bytes: Some(artifact.length),
            compiler: Some(artifact.compiler.to_string()),
            state,
            good,
        };
        (line, plugin)
    }
}

fn none_or<T: ToString>(all: &[T]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}
