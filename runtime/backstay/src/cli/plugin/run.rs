//! `backstay plugin run`: one call of a plugin, from a fixture or from a record, and what it comes to.

use std::path::{Path, PathBuf};

use backstay_evidence::Frame;
use backstay_host::Machine;
use backstay_kit::{For, Shelf, Trial, Vector};
use backstay_model::{Digest, Event, Facts, Memo};
use backstay_trust::{Bundle, Limits};
use backstay_wire::{Body as _, Entry, decode};
use clap::Args;
use serde::Serialize;

use super::{
    COMPONENT_BYTES_MAX,
    manifest::Manifest,
    test::{native, shelf, vector},
};
use crate::{Desk, Exit, Failure, evidence::Source, file};

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The portable component; or a bundle, with --keyring
    pub(super) component: PathBuf,
    /// What the vendor says of it
    #[arg(long, value_name = "FILE", default_value = "manifest.toml", conflicts_with = "keyring")]
    pub(super) manifest: PathBuf,
    /// The fleet's keyring: what is called is a bundle, verified and loaded as a device does, under its grant
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: Option<PathBuf>,
    /// What it is shown: a file as `plugin test` takes them
    #[arg(long, value_name = "FILE", required_unless_present = "record", conflicts_with = "record")]
    pub(super) fixture: Option<PathBuf>,
    /// What it is shown: the facts of a record, as DEVICE|FILE|FOLDER:SEQUENCE of a record that says "asked"
    #[arg(long, value_name = "OF:SEQUENCE")]
    pub(super) record: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    asked: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

impl Run {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let (shelf, grant) = match &self.keyring {
            Some(keyring) => self.granted(keyring)?,
            None => self.tried()?,
        };
        let no_answer = |why: String| Failure::new(Exit::Differs, "the plugin did not answer").why(why);
        let shown = match (&self.fixture, &self.record) {
            (Some(path), _) => {
                let vector = vector(path)?;
                match (vector.is_for(), shelf.policy(&grant), shelf.executor(&grant)) {
                    (For::Policy, Some(policy), _) => {
                        Shown::decided(&vector.decide(policy).map_err(no_answer)?)
                    }
                    (For::Executor, _, Some(executor)) => {
                        Shown::walked(&vector, executor).map_err(no_answer)?
                    }
                    (For::Policy, None, _) | (For::Executor, _, None) => {
                        let what = format!("{} is for the other kind of plugin", path.display());
                        return Err(Failure::new(Exit::Usage, what));
                    }
                }
            }
            (None, Some(record)) => {
                let (facts, prior) = facts(desk, record)?;
                let policy = shelf.policy(&grant).ok_or_else(|| {
                    Failure::new(Exit::Usage, "a record holds facts, which are for a policy")
                        .help("an executor's runs are made again as a whole: backstay replay")
                })?;
                let decided = policy.decide(&Default::default(), &facts, &prior);
                Shown::decided(&decided.map_err(|why| no_answer(why.to_string()))?.decision)
            }
            (None, None) => return Err(Failure::new(Exit::Usage, "name a fixture or a record")),
        };
        desk.printer.show("plugin-run", &shown, || shown.text())?;
        Ok(Exit::Done)
    }
}

impl Run {
    /// A bare component, under keys that live for the moment.
    fn tried(&self) -> Result<(Shelf, Digest), Failure> {
        let component = file::read(&self.component, COMPONENT_BYTES_MAX)?;
        let manifest = Manifest::read(&self.manifest)?;
        let identity = manifest.identity(&self.manifest)?;
        let (permissions, limits) = (manifest.permissions(), manifest.limits(Limits::DEFAULT));
        let here = Machine::ALL.into_iter().find(|machine| machine.target() == backstay_host::machine());
        let here = here.ok_or_else(|| Failure::new(Exit::Trouble, "this machine can't run plugins"))?;
        let (id, version, wants) = (&identity.id, &identity.version, &identity.wants);
        let trial = Trial::code(&component, &[here])
            .and_then(|code| Trial::of(&component, id, version, wants, &permissions, limits, &code));
        let trial = trial.map_err(|why| {
            let help = why.help();
            let what = format!("{} can't be run", self.component.display());
            Failure::new(Exit::Usage, what).why(why).maybe_help(help)
        })?;
        Ok((shelf(&trial)?, trial.grant))
    }

    /// A bundle, under the keys that vouch for it.
    fn granted(&self, keyring: &Path) -> Result<(Shelf, Digest), Failure> {
        let bundle = file::read(&self.component, Bundle::BYTES_MAX)?;
        let (keyring, mut shelf) = (file::read_keyring(keyring)?, Shelf::default());
        let shelved = shelf.add(&native()?, &keyring, &bundle).map_err(|why| {
            let help = why.help();
            let what = format!("{} does not run here", self.component.display());
            Failure::new(Exit::Untrusted, what).why(why).maybe_help(help)
        })?;
        Ok((shelf, shelved.grant))
    }
}

impl Shown {
    fn decided(decision: &backstay_model::Decision) -> Self {
        let reasons = decision.reasons.iter().map(|reason| reason.0.clone()).collect();
        Self { decision: Some(decision.action.to_string()), reasons, asked: Vec::new(), end: None }
    }

    fn walked(vector: &Vector, executor: &backstay_host::Executor) -> Result<Self, String> {
        let (asked, end) = vector.walk(executor)?;
        let end = end.map(|outcome| outcome.to_string());
        Ok(Self { decision: None, reasons: Vec::new(), asked, end })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(decision) = &self.decision {
            text.push_str(&format!("{decision}\n"));
        }
        self.reasons.iter().for_each(|reason| text.push_str(&format!("  because: {reason}\n")));
        self.asked.iter().enumerate().for_each(|(n, deed)| text.push_str(&format!("{n:>3}  {deed}\n")));
        match (&self.end, &self.decision) {
            (Some(end), _) => text.push_str(&format!("     {end}\n")),
            (None, None) => text.push_str("     the run goes on: the fixture has no answer to the last\n"),
            (None, Some(_)) => {}
        }
        text
    }
}

/// The facts of a record, and what the policy remembered if the records say so.
fn facts(desk: &Desk, record: &str) -> Result<(Facts, Vec<u8>), Failure> {
    let shape = || Failure::new(Exit::Usage, "expected DEVICE|FILE|FOLDER:SEQUENCE");
    let (of, seq) = record.rsplit_once(':').ok_or_else(shape)?;
    let wanted: u64 = seq.parse().map_err(|_| shape())?;
    let records = Source { from: of.into() }.read(desk)?;
    let mut rest = records.bytes.as_slice();
    let mut found = None;
    while !rest.is_empty() {
        let frame = Frame::read(rest).map_err(|why| {
            Failure::new(Exit::Untrusted, format!("the records of {of} can't be read")).why(why)
        })?;
        rest = rest.get(frame.encoded_len()..).unwrap_or_default();
        let Ok(entry) = decode::<Entry>(frame.body, Entry::BYTES_MAX) else { continue };
        match (entry.event, &found) {
            (Event::Asked { ticket, facts }, None) if frame.seq == wanted => found = Some((ticket, facts)),
            (Event::Consulted { ticket, prior: Memo::Whole(prior), .. }, Some((asked, facts)))
                if ticket == *asked =>
            {
                return Ok((facts.clone(), prior));
            }
            _ => {}
        }
    }
    let what = format!("record {wanted} of {of} holds no facts");
    let none = Failure::new(Exit::NotFound, what);
    let (_, facts) =
        found.ok_or_else(|| none.help("backstay evidence show tells which record says \"asked\""))?;
    Ok((facts, Vec::new()))
}
