//! `backstay plugin grant`: an operator lets a vendor's release run in the fleet, like this and not otherwise.
//!
//! The component is compiled here, twice for each kind of machine, and the results are compared: what the grant names
//! by its digest, somebody else can make again. The bundle that comes out was read back and verified as a device does.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use backstay_host::{Compiled, Machine, compile_component, engine_profile};
use backstay_model::Version;
use backstay_trust::{
    Artifact, Bundle, Domain, Grant as Statement, PluginError, Refusal, SignError, Stamp, Target, Want,
};
use clap::Args;
use serde::Serialize;

use super::{COMPONENT_BYTES_MAX, manifest::Manifest};
use crate::{Desk, Exit, Failure, file, signer::Signing, table::Table, text};

#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// The vendor's release
    #[arg(long, value_name = "FILE")]
    pub(super) release: PathBuf,
    /// The portable component that it is about
    #[arg(long, value_name = "FILE")]
    pub(super) component: PathBuf,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// The fleet's keyring
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
    /// What it may do and use: a file with the tables "permissions" and "limits"; nothing, and what the vendor says it needs, if it
    /// is left out
    #[arg(long, value_name = "FILE")]
    pub(super) permissions: Option<PathBuf>,
    /// The machines that it is compiled for
    #[arg(long, value_name = "TARGET", value_delimiter = ',', value_parser = machine,
        default_value = "x86_64-linux,aarch64-linux,pulley64")]
    pub(super) targets: Vec<Machine>,
    /// Grows with each grant of this plugin in this fleet
    #[arg(long, value_name = "N")]
    pub(super) sequence: u64,
    /// The release is older than the one that was granted before, and that is meant: its version
    #[arg(long, value_name = "VERSION")]
    pub(super) back_to: Option<Version>,
    /// Where the bundle goes
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

fn machine(text: &str) -> Result<Machine, String> {
    let found = Machine::ALL.into_iter().find(|machine| machine.target().as_str() == text);
    found.ok_or_else(|| {
        let all = Machine::ALL.map(|machine| machine.target().to_string());
        format!("expected one of {}", all.join(", "))
    })
}

#[derive(Serialize)]
struct Granted<'a> {
    plugin: String,
    version: String,
    fleet: String,
    sequence: u64,
    grant: String,
    artifacts: Vec<Line>,
    bundle: &'a Path,
}

#[derive(Serialize)]
struct Line {
    target: Target,
    digest: String,
    bytes: u64,
    compiler: String,
}

impl Grant {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let keyring = file::read_keyring(&self.keyring)?;
        let signer = self.signing.signer()?;
        let release = file::read(&self.release, Domain::PluginRelease.bytes_max())?;
        let component = file::read(&self.component, COMPONENT_BYTES_MAX)?;
        let verified = keyring.verify_plugin_release(&release).map_err(|why| {
            Failure::untrusted_plugin(format!("{} is not accepted", self.release.display()), why)
        })?;
        let said = verified.release();
        let digest = file::digest_of(&component);
        if said.component != digest || said.component_bytes != component.len() as u64 {
            let what =
                format!("{} is not the component of {} {}", self.component.display(), said.id, said.version);
            return Err(Failure::new(Exit::Untrusted, what)
                .help(format!("the release names {}, this is {digest}", said.component)));
        }
        let (permissions, limits) = match &self.permissions {
            Some(path) => Manifest::read(path).map(|file| (file.permissions(), file.limits(said.limits)))?,
            None => (Default::default(), said.limits),
        };
        let mut code: Vec<Compiled> = Vec::new();
        for machine in &self.targets {
            desk.printer.say(format_args!("compiling {} twice for {}", said.id, machine.target()));
            code.push(compile_component(&component, *machine).map_err(|why| {
                let help = why.help();
                Failure::new(Exit::Trouble, format!("cannot compile {}", said.id)).why(why).maybe_help(help)
            })?);
        }
        let artifact = |code: &Compiled| Artifact {
            target: code.target.clone(),
            engine: code.engine.clone(),
            compiler: code.compiler.clone(),
            digest: file::digest_of(&code.bytes),
            length: code.bytes.len() as u64,
        };
        let artifacts: Vec<_> = code.iter().map(artifact).collect();
        let statement =
            Statement { release: *verified.digest(), permissions, limits, artifacts: artifacts.clone() };
        let stamp = Stamp { sequence: self.sequence, issued: file::now(), expires: None };
        let cannot = |why: SignError| {
            let help = why.help();
            Failure::new(Exit::Configuration, format!("cannot grant {}", said.id)).why(why).maybe_help(help)
        };
        let fleet = keyring.fleet().clone();
        let draft = match &self.back_to {
            None => statement.draft(fleet, stamp),
            Some(older) => statement.draft_back_to(older, fleet, stamp),
        };
        let mut grant = draft.map_err(cannot)?;
        signer.sign(&mut grant)?;
        let name = grant.digest().to_string();
        let grant = grant.encode().map_err(cannot)?;
        // Better here than on every device; where others have to sign as well, they look again.
        let (engine, floors) = (engine_profile(), BTreeMap::new());
        let mut missing = None;
        for code in &code {
            let want = Want {
                target: &code.target,
                engine: &engine,
                world: &said.world,
                floors: &floors,
                attested: None,
            };
            match keyring.verify_plugin(&release, &grant, code.bytes.clone(), &want) {
                Ok(_) => {}
                Err(PluginError::Grant(Refusal::TooFew { has, needs, .. })) => missing = Some((has, needs)),
                Err(why) => {
                    return Err(Failure::untrusted_plugin("no device would believe this grant", why));
                }
            }
        }
        let parts: Vec<&[u8]> = code.iter().map(|code| code.bytes.as_slice()).collect();
        let bundle = Bundle::new(&release, &grant, &parts).encode().map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Trouble, "cannot make the bundle").why(why).maybe_help(help)
        })?;
        file::write(&self.out, &bundle)?;
        let line = |artifact: &Artifact| Line {
            target: artifact.target.clone(),
            digest: artifact.digest.to_string(),
            bytes: artifact.length,
            compiler: artifact.compiler.to_string(),
        };
        let granted = Granted {
            plugin: said.id.to_string(),
            version: said.version.to_string(),
            fleet: keyring.fleet().to_string(),
            sequence: self.sequence,
            grant: name,
            artifacts: artifacts.iter().map(line).collect(),
            bundle: &self.out,
        };
        desk.printer.show("plugin-grant", &granted, || granted.table(bundle.len() as u64))?;
        if let Some((has, needs)) = missing {
            let out = self.out.display();
            desk.printer.say(format_args!(
                "it has {has} of {needs} signatures. next: backstay keys cosign {out}, by another operator"
            ));
        }
        Ok(Exit::Done)
    }
}

impl Granted<'_> {
    fn table(&self, bytes: u64) -> String {
        let mut list = Table::list();
        list.say("plugin", format_args!("{} {}", self.plugin, self.version));
        list.say("fleet", &self.fleet);
        list.say("grant", &self.grant);
        list.say("sequence", self.sequence);
        list.say("bundle", format_args!("{}, {}", self.bundle.display(), text::bytes(bytes)));
        let mut table = Table::new(["TARGET", "SIZE", "COMPILER", "DIGEST"]);
        for line in &self.artifacts {
            let (target, size) = (line.target.to_string(), text::bytes(line.bytes));
            table.row([target, size, line.compiler.clone(), line.digest.clone()]);
        }
        format!("{list}{table}")
    }
}
