//! `lkg capture`: what the ConfigMaps and Secrets of a service are, once its release is confirmed.
//!
//! Here: that there is a bundle only of a release that is known to be good, and only one of each: what drifted after that would else be
//! taken for good. Not here: reading objects (`live`), and which of their keys are what (`class`).

use std::{collections::BTreeMap, fs, path::PathBuf};

use backstay_api::TargetView;
use backstay_model::{Digest, Permille, TargetId, Version};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    bundle::Folder,
    class::{Class, Classes, Rule, Why},
    document::{Classed, Document, Known},
    live::Source,
    object::{Kind, ObjectId},
};
use crate::{Desk, Exit, Failure, Serve, file, table::Table, text};

/// What of one object an executor can put back: all that is asked and answered in a run has 64 KiB, and it reads the object twice.
const WANTED_BYTES_MAX: usize = 18 * 1024;

/// The largest file of rules, in bytes.
const RULES_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Capture {
    /// The service, as the server's targets call it
    #[arg(long, env = "BACKSTAY_SERVICE")]
    pub(super) service: TargetId,
    /// What to read, like prod/configmap/checkout; of --from everything, if nothing is named
    #[arg(long = "object", value_name = "NAMESPACE/KIND/NAME")]
    pub(super) objects: Vec<ObjectId>,
    #[command(flatten)]
    pub(super) source: Source,
    /// The release that runs and is known to be good; without it the server is asked for the one that is confirmed
    #[arg(long)]
    pub(super) version: Option<Version>,
    /// Its digest. Without it the version stands for itself, as the server has it
    #[arg(long, requires = "version")]
    pub(super) digest: Option<Digest>,
    /// Which keys are what, like configuration:secret/checkout/app.*; the first that fits counts
    #[arg(long = "class", value_name = "RULE")]
    pub(super) rules: Vec<Rule>,
    /// More of such rules: a TOML file with a list "classes"
    #[arg(long, value_name = "FILE")]
    pub(super) classes: Option<PathBuf>,
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Capture a release anew that was captured before
    #[arg(long)]
    pub(super) again: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    classes: Vec<String>,
}

/// What was captured, for machines. Never a value.
#[derive(Serialize)]
struct Captured<'a> {
    service: &'a TargetId,
    release: &'a Known,
    file: PathBuf,
    captured: bool,
    objects: BTreeMap<String, Keys>,
}

#[derive(Default, Serialize)]
struct Keys {
    configuration: Vec<String>,
    credentials: BTreeMap<String, String>,
}

impl Capture {
    pub(super) fn run(&self, desk: &Desk, serve: Serve) -> Result<Exit, Failure> {
        let classes = Classes::of(&self.rules()?);
        if !self.source.is_named() {
            return Err(Failure::new(Exit::Usage, "nothing says where the objects are")
                .help("give --endpoint kubernetes, or --from with what kubectl prints"));
        }
        let release = match &self.version {
            Some(version) => {
                Known { version: version.clone(), digest: self.digest.unwrap_or_else(|| stands_for(version)) }
            }
            None => confirmed(&desk.client()?.get(&format!("/v1/targets/{}", self.service))?)?,
        };
        if let Some(before) = self.before()?
            && before.release == release
        {
            let captured = Captured::of(&before, &self.folder, None);
            desk.printer.show("lkg-capture", &captured, String::new)?;
            desk.printer.say(format_args!(
                "release {} is captured already; --again captures it anew",
                before.release.version
            ));
            return Ok(Exit::Done);
        }
        let live = self.source.read(&self.objects, serve)?;
        if let Some(missing) = self.objects.iter().find(|id| !live.iter().any(|live| live.id == **id)) {
            return Err(Failure::new(Exit::NotFound, format!("{missing} isn't there"))
                .help("is the namespace right, and may the credential see it?"));
        }
        let (document, classed) =
            Document::capture(self.service.clone(), release, file::now().0, classes, live);
        if let Some(what) = document.unfit() {
            return Err(Failure::new(Exit::Usage, format!("that is no bundle: {what}"))
                .help("name what belongs to the service with --object"));
        }
        let length = document.write().len();
        if length > Document::BYTES_MAX {
            let what = format!(
                "the bundle would have {}, {} are allowed",
                text::bytes(length as u64),
                text::bytes(Document::BYTES_MAX as u64)
            );
            return Err(Failure::new(Exit::Usage, what).help("make a bundle of fewer objects"));
        }
        self.folder.write(&document)?;
        let captured = Captured::of(&document, &self.folder, Some(&classed));
        desk.printer.show("lkg-capture", &captured, || table(&classed))?;
        self.tell(desk, &document, &classed);
        Ok(Exit::Done)
    }

    fn tell(&self, desk: &Desk, document: &Document, classed: &[Classed]) {
        let shown = classed
            .iter()
            .filter(|(id, _, class, _)| id.kind == Kind::Secret && *class == Class::Configuration);
        for (id, key, ..) in shown {
            desk.printer.say(format_args!(
                "warning: key {key} of {id} is in the bundle as it is, for everybody who reads the checkout"
            ));
        }
        for object in &document.objects {
            let length = document.wanted(object).len();
            if length > WANTED_BYTES_MAX {
                desk.printer.say(format_args!(
                    "warning: {} takes {} and is too large for a run of an executor, which has room for {}",
                    object.id,
                    text::bytes(length as u64),
                    text::bytes(WANTED_BYTES_MAX as u64)
                ));
            }
        }
        let path = self.folder.path().display();
        desk.printer.say(format_args!("next: look at {path}, then backstay lkg sign --bundle {path}"));
    }

    /// What is captured already.
    fn before(&self) -> Result<Option<Document>, Failure> {
        if self.again || !fs::exists(self.folder.file()).unwrap_or(true) {
            return Ok(None);
        }
        let (_, before) = self.folder.read()?;
        if before.service == self.service {
            return Ok(Some(before));
        }
        let what = format!("the bundle in {} is of service {}", self.folder.path().display(), before.service);
        Err(Failure::new(Exit::Refused, what).help("each service has a folder of its own"))
    }

    fn rules(&self) -> Result<Vec<Rule>, Failure> {
        let mut rules = self.rules.clone();
        let Some(path) = &self.classes else { return Ok(rules) };
        let bytes = file::read(path, RULES_BYTES_MAX)?;
        let wrong = |why: String| {
            Failure::new(Exit::Configuration, format!("{} holds no rules", path.display()))
                .why(why)
                .help("it looks like classes = [\"configuration:secret/checkout/app.*\"]")
        };
        let text = std::str::from_utf8(&bytes).map_err(|why| wrong(why.to_string()))?;
        let read: Rules = toml::from_str(text).map_err(|why| wrong(why.to_string()))?;
        for rule in read.classes {
            rules.push(rule.parse().map_err(wrong)?);
        }
        Ok(rules)
    }
}

/// The digest of a release that was never given one: a version stands for itself.
fn stands_for(version: &Version) -> Digest {
    file::digest_of(version.as_str().as_bytes())
}

/// The release of a target, if it is known to be good now.
fn confirmed(view: &TargetView) -> Result<Known, Failure> {
    let TargetView { service, out, .. } = view;
    let Some(out) = out else {
        return Err(Failure::new(Exit::NotFound, format!("nothing is known to run at {service}"))
            .help("say what a pipeline let out: backstay target deployed"));
    };
    let refused = |why: String| {
        Failure::new(Exit::Refused, format!("{service} is not captured: {why}"))
            .help("what is wrong now must not become what is put back: see backstay target show")
    };
    if let Some(incident) = view.incident {
        return Err(refused(format!("incident {incident} is open")));
    }
    if view.frozen {
        return Err(refused("it is frozen".into()));
    }
    let version = &out.release.version;
    let wait = |why: String| {
        Failure::new(Exit::Slow, format!("{service} is not captured yet: {why}"))
            .help("ask again later; nothing was written")
    };
    if !out.confirmed {
        return Err(wait(format!("release {version} isn't confirmed")));
    }
    if out.stage < Permille::ALL {
        return Err(wait(format!("release {version} has {} of the traffic", text::percent(out.stage.get()))));
    }
    if let Some(run) = &view.run {
        return Err(wait(format!("it is being worked at: {run}")));
    }
    Ok(Known { version: version.clone(), digest: out.release.digest })
}

impl<'a> Captured<'a> {
    fn of(document: &'a Document, folder: &Folder, classed: Option<&[Classed]>) -> Self {
        let mut objects: BTreeMap<String, Keys> = BTreeMap::new();
        for object in &document.objects {
            let configuration = object.configuration.keys().cloned().collect();
            objects.insert(object.id.to_string(), Keys { configuration, credentials: BTreeMap::new() });
        }
        let credentials =
            classed.unwrap_or_default().iter().filter(|(_, _, class, _)| *class == Class::Credential);
        for (id, key, _, why) in credentials {
            objects.entry(id.to_string()).or_default().credentials.insert(key.clone(), why.to_string());
        }
        let (service, release) = (&document.service, &document.release);
        Self { service, release, file: folder.file(), captured: classed.is_some(), objects }
    }
}

fn table(classed: &[Classed]) -> String {
    let mut table = Table::new(["OBJECT", "KEY", "CLASS", "WHY"]);
    for (id, key, class, why) in classed {
        let why = match (class, why) {
            (Class::Configuration, Why::Kind) => String::new(),
            (Class::Configuration | Class::Credential, why) => why.to_string(),
        };
        table.row([id.to_string(), key.clone(), class.as_str().into(), why]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use backstay_api::{BreakerState, OutView};
    use backstay_model::{IncidentId, Mode, Name, Release};

    use super::*;

    fn view() -> TargetView {
        let release = Release {
            version: Version::parse("2.1.0").unwrap(),
            digest: Digest([5; 32]),
            length: 0,
            security_epoch: 0,
        };
        let name = || Name::parse("tree").unwrap();
        TargetView {
            service: TargetId::parse("checkout").unwrap(),
            mode: Mode::Enforce,
            domain: name(),
            policy: name(),
            executor: None,
            out: Some(OutView { release, stage: Permille::ALL, build: None, confirmed: true, age_ms: 1 }),
            good: vec![],
            quarantine: vec![],
            hold: None,
            frozen: false,
            breaker: BreakerState::Closed,
            breaker_ms: None,
            run: None,
            incident: None,
            judged: None,
            attempts: 0,
            missing: vec![],
            runbook: None,
            migration: None,
        }
    }

    #[test]
    fn only_what_is_known_to_be_good_is_captured() {
        assert_eq!(confirmed(&view()).unwrap().version.as_str(), "2.1.0");
        let told = |change: fn(&mut TargetView)| {
            let mut view = view();
            change(&mut view);
            let failure = confirmed(&view).unwrap_err();
            (failure.exit(), failure.what().to_owned())
        };
        assert_eq!(told(|view| view.out = None).0, Exit::NotFound);
        let out = |view: &mut TargetView| view.out.as_mut().unwrap().confirmed = false;
        assert_eq!(
            told(out),
            (Exit::Slow, "checkout is not captured yet: release 2.1.0 isn't confirmed".into())
        );
        let some = |view: &mut TargetView| view.out.as_mut().unwrap().stage = Permille::new(100).unwrap();
        assert_eq!(told(some).1, "checkout is not captured yet: release 2.1.0 has 10% of the traffic");
        assert_eq!(told(|view| view.run = Some("heal".into())).0, Exit::Slow);
        assert_eq!(told(|view| view.frozen = true).0, Exit::Refused);
        assert_eq!(told(|view| view.incident = Some(IncidentId(7))).0, Exit::Refused);
    }
}
