//! A Helm in memory for the tests, with the records and rules of the real one, on the API server in memory of `backstay-kubernetes`.
//!
//! What it does with a roll-back was read from Helm 3.22 and 4.3: a record is made first and is pending; hooks that fail leave it so; what the
//! API server refuses makes it failed, and the one before it superseded, whatever that was; at the end all that are deployed are superseded. It can be
//! killed at each of these points. Not here: what manifests say; each revision has an image, and names what else it has.

use alloc::{
    boxed::Box,
    format,
    rc::Rc,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};
use core::cell::RefCell;

use backstay_kubernetes::{
    json::{Value, json},
    testing::{Api, Mishap, Objects, Ran, exited, text, time},
};
use backstay_sdk::{
    executor::{Answer, Exited, Outcome, Output, Release, Run, Task},
    settings::{Setting, Value as Set},
};

use crate::Helm;

pub(crate) const SHOP: &str = "/apis/apps/v1/namespaces/prod/deployments/shop";
pub(crate) const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/prod/leases/backstay-helm-shop";
/// When the double's time begins, seen from what happened before it.
const LONG_AGO: &str = "2026-10-31T00:00:00.5Z";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) revision: u32,
    pub(crate) status: &'static str,
    pub(crate) updated: String,
    pub(crate) version: String,
    pub(crate) back_to: u32,
    pub(crate) description: String,
    pub(crate) chart: String,
    /// What its manifest has beside the workload, as kinds and names: `PersistentVolumeClaim. data`.
    pub(crate) things: Vec<&'static str>,
}

/// Where a helm that goes back is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killed {
    /// After it made the record, before it changed anything.
    Begun,
    /// After it changed what is live, while it waits.
    Waiting,
    /// When all is done but the record's last word.
    Nearly,
}

pub(crate) const KILLS: [Killed; 3] = [Killed::Begun, Killed::Waiting, Killed::Nearly];

/// What is done between two commands: called with how many there were.
type Between = Box<dyn FnMut(&mut Installed, &mut Objects, u32)>;

/// A Helm release, and how the helm that works on it behaves.
#[derive(Default)]
pub(crate) struct Installed {
    pub(crate) records: Vec<Kept>,
    /// The roll-back with this number, from 0, is killed there.
    pub(crate) killed: Vec<(u32, Killed)>,
    /// So many roll-backs have a hook that fails.
    pub(crate) hooks_fail: u32,
    /// Others have written fields, so that the API server refuses what isn't forced.
    pub(crate) conflicts: bool,
    /// What of this version is brought back doesn't come up.
    pub(crate) never_ready: &'static str,
    /// Somebody else was quicker with the next revision: this one.
    pub(crate) quicker: Option<Kept>,
    /// The roll-backs that were asked for: their arguments.
    pub(crate) asked: Vec<Vec<String>>,
    pub(crate) between: Option<Between>,
    commands: u32,
}

/// The whole.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) helm: Rc<RefCell<Installed>>,
}

pub(crate) fn release(version: &str) -> Release {
    let digest = "ab".repeat(32);
    Release { version: version.into(), digest, length: 1, security_epoch: 0 }
}

pub(crate) fn home(version: &str) -> Task {
    Task::GoHome(release(version))
}

/// A record: revision, status, version, and what it says: `install`, `upgrade`, `failed`, `begun`, or `back N`.
pub(crate) fn kept(revision: u32, status: &'static str, version: &str, how: &str) -> Kept {
    let back_to = how.strip_prefix("back ").map_or(0, |to| to.parse().unwrap());
    let description = match how {
        "install" => "Install complete".into(),
        "upgrade" => "Upgrade complete".into(),
        "failed" => "Upgrade 'shop' failed: timed out waiting for the condition".into(),
        "begun" => "Preparing upgrade".into(),
        _ => format!("Rollback to {back_to}"),
    };
    let (updated, chart, version) = (LONG_AGO.into(), format!("shop-0.{version}"), version.into());
    Kept { chart, revision, status, updated, version, back_to, description, things: vec![] }
}

impl World {
    /// With these records, and what the last one that is deployed says live.
    pub(crate) fn of(records: Vec<Kept>) -> Self {
        let live = records.iter().rfind(|it| it.status == "deployed").or(records.last());
        let live = live.map_or_else(String::new, |it| it.version.clone());
        let helm = Rc::new(RefCell::new(Installed { records, ..Installed::default() }));
        let mut api = Api::of("prod", "shop").set(text("workload", "deployment/shop"));
        api.objects.put(SHOP, shop(&live));
        let at = Rc::clone(&helm);
        api.on_commands(move |run, objects, ms| at.borrow_mut().runs(run, objects, ms));
        Self { api, helm }
    }

    pub(crate) fn set(mut self, setting: Setting) -> Self {
        self.api = self.api.set(setting);
        self
    }

    pub(crate) fn but(self, change: impl FnOnce(&mut Installed)) -> Self {
        change(&mut self.helm.borrow_mut());
        self
    }

    pub(crate) fn run(&mut self, task: Task, mishap: Option<(u32, Mishap)>) -> Ran {
        self.api.run::<Helm>(task, mishap)
    }

    /// Why it failed, or nothing.
    pub(crate) fn fails(&mut self, task: Task) -> Option<String> {
        match self.run(task, None).outcome {
            Outcome::Done => None,
            Outcome::Failed(failed) => Some(failed.why),
        }
    }

    /// The records as revision, status and version.
    pub(crate) fn records(&self) -> Vec<(u32, &'static str, String)> {
        self.helm.borrow().records.iter().map(|it| (it.revision, it.status, it.version.clone())).collect()
    }

    /// The newest record.
    pub(crate) fn newest(&self) -> Kept {
        self.helm.borrow().newest().clone()
    }

    /// The version that is live.
    pub(crate) fn live(&self) -> String {
        let image = self.api.objects.get(SHOP, "/spec/template/spec/containers/0/image");
        image.as_str().unwrap().rsplit(':').next().unwrap().into()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.helm.borrow().asked.iter().map(|args| args.join(" ")).collect()
    }

    /// Nobody holds the lock.
    pub(crate) fn is_free(&self) -> bool {
        !self.api.objects.has(LEASE) || self.api.objects.get(LEASE, "/spec/holderIdentity").is_null()
    }
}

fn shop(version: &str) -> Value {
    json!({
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "shop" } }, "template": { "spec": { "containers": [{ "name": "app", "image": image(version) }] } } },
        "status": { "observedGeneration": 99, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2 },
    })
}

fn image(version: &str) -> String {
    format!("registry.test/shop:{version}")
}

pub(crate) fn goes_live(objects: &mut Objects, version: &str) {
    objects.edit(SHOP, |shop| {
        shop["spec"]["template"]["spec"]["containers"][0]["image"] = image(version).into()
    });
}

impl Installed {
    pub(crate) fn newest(&self) -> &Kept {
        self.records.iter().max_by_key(|it| it.revision).unwrap()
    }

    fn get(&mut self, revision: u32) -> Option<&mut Kept> {
        self.records.iter_mut().find(|it| it.revision == revision)
    }

    fn runs(&mut self, run: &Run, objects: &mut Objects, ms: u64) -> (Answer, Option<String>) {
        if let Some(mut between) = self.between.take() {
            between(self, objects, self.commands);
            self.between.get_or_insert(between);
        }
        self.commands += 1;
        let args: Vec<&str> = run.args.iter().map(String::as_str).collect();
        match (run.command.as_str(), args.as_slice()) {
            ("helm-look", ["history", "prod", "shop", most]) => (self.history(most.parse().unwrap()), None),
            ("helm-look", ["images", "prod", "shop", _, "app.kubernetes.io~1version", of @ ..]) => {
                (self.images(of), None)
            }
            ("helm-look", ["preview", "prod", "shop", from, to, ..]) => {
                (self.preview(from.parse().unwrap(), to.parse().unwrap()), None)
            }
            ("helm-rollback", ["shop", to, "--namespace", "prod", flags @ ..]) => {
                self.asked.push(run.args.clone());
                let answer = self.rolls_back(to.parse().unwrap(), flags, objects, ms);
                (answer, Some(format!("rollback {to}")))
            }
            _ => panic!("{run:?}"),
        }
    }

    fn history(&self, most: usize) -> Answer {
        let mut records: Vec<&Kept> = self.records.iter().collect();
        records.sort_by_key(|it| it.revision);
        let lines: Vec<String> = records
            .iter()
            .skip(records.len().saturating_sub(most))
            .map(|it| {
                let Kept { revision, status, updated, version, back_to, description, chart, .. } = it;
                let said: String = description.chars().take(60).collect();
                format!("{revision}\t{status}\t{updated}\t{chart}\t{version}\t{back_to}\t{said}\n")
            })
            .collect();
        if lines.is_empty() {
            return exited(1, "Error: release: not found");
        }
        said(&lines.concat())
    }

    fn images(&mut self, revisions: &[&str]) -> Answer {
        let mut text = String::new();
        for revision in revisions {
            let Some(it) = self.get(revision.parse().unwrap()) else {
                return exited(1, "Error: release: not found");
            };
            text += &format!("{revision} deployment/shop app {} -\n", image(&it.version));
        }
        said(&(text + "end\n"))
    }

    fn preview(&mut self, from: u32, to: u32) -> Answer {
        let of = |it: Option<&mut Kept>| it.map(|it| it.things.clone());
        let (Some(left), Some(kept)) = (of(self.get(from)), of(self.get(to))) else {
            return exited(1, "Error: release: not found");
        };
        let mut text = String::new();
        for thing in left.iter().filter(|thing| !kept.contains(thing)) {
            let (kind, name) = thing.split_once(' ').unwrap();
            text += &match kind {
                "PersistentVolumeClaim." => format!("loses {kind} prod {name} removed\n"),
                _ => format!("deletes {} {name}\n", kind.split('.').next().unwrap()),
            };
        }
        said(&format!("{text}end {} {}\n", left.len() + 1, kept.len() + 1))
    }

    /// `helm rollback shop TO`.
    fn rolls_back(&mut self, to: u32, flags: &[&str], objects: &mut Objects, ms: u64) -> Answer {
        let number = u32::try_from(self.asked.len()).unwrap().saturating_sub(1);
        let killed = self.killed.iter().find(|(at, _)| *at == number).map(|(_, killed)| *killed);
        let last = self.newest().revision;
        let Some(target) = self.get(to).cloned() else {
            return exited(1, &format!("Error: release has no {to} version"));
        };
        if let Some(theirs) = self.quicker.take() {
            self.records.push(theirs);
            return exited(1, "Error: release: already exists");
        }
        let version = target.version.clone();
        self.records.push(Kept {
            revision: last + 1,
            status: "pending-rollback",
            updated: time(ms),
            back_to: to,
            description: format!("Rollback to {to}"),
            ..target
        });
        if killed == Some(Killed::Begun) {
            return Answer::InDoubt;
        }
        if self.hooks_fail > 0 && !flags.contains(&"--no-hooks") {
            self.hooks_fail -= 1;
            return exited(1, "Error: job shop-before failed: BackoffLimitExceeded");
        }
        if self.conflicts && !flags.contains(&"--force-conflicts") {
            self.get(last).unwrap().status = "superseded";
            self.ends(
                last + 1,
                "failed",
                "Rollback 'shop' failed: Apply failed with 1 conflict: conflict with \"kubectl\"",
            );
            return exited(1, "Error: Apply failed with 1 conflict: conflict with \"kubectl\"");
        }
        goes_live(objects, &version);
        if killed == Some(Killed::Waiting) {
            return Answer::TimedOut;
        }
        if self.never_ready == version {
            self.ends(last + 1, "failed", "Release 'shop' failed: timed out waiting for the condition");
            return exited(1, "Error: release shop failed: timed out waiting for the condition");
        }
        for record in self.records.iter_mut().filter(|it| it.status == "deployed") {
            record.status = "superseded";
        }
        if killed == Some(Killed::Nearly) {
            return Answer::InDoubt;
        }
        self.get(last + 1).unwrap().status = "deployed";
        exited(0, "Rollback was a success! Happy Helming!\n")
    }

    fn ends(&mut self, revision: u32, status: &'static str, description: &str) {
        let record = self.get(revision).unwrap();
        (record.status, record.description) = (status, description.to_string());
        // As with Helm 3, which tells it by the description alone.
        record.back_to = 0;
    }
}

/// What a command said, as the host keeps it: the last 4 KiB, and a digest where that isn't all.
fn said(text: &str) -> Answer {
    const MOST: usize = 4096;
    let bytes = text.as_bytes();
    let kept = bytes.get(bytes.len().saturating_sub(MOST)..).unwrap_or_default();
    let whole = (bytes.len() > MOST).then(|| "ab".repeat(32));
    Answer::Exited(Exited { code: Some(0), output: Output { bytes: kept.to_vec(), whole } })
}

/// A setting that is yes or no.
pub(crate) fn flag(name: &str, value: bool) -> Setting {
    Setting { name: name.into(), value: Set::Flag(value) }
}
