//! `lkg`: configuration as it was when it was last known to be good.
//!
//! What ConfigMaps and Secrets were stands in a signed bundle, of which a command of the operator shows one object at a time, checked. Here: that
//! exactly its keys are put back: changed ones set, missing ones added, others taken away. A credential is never read, written or taken
//! away: a frozen copy of a password that was changed since takes a service down. Where somebody else keeps the object (Argo CD, Flux),
//! they are asked to sync it in place of being fought. Parts of it: what is wanted (`wanted`, and `parts` as it is shown), how an object differs from that (`difference`), and
//! who keeps it (`owner`). Not here: when a bundle is made, and who signs it.
//!
//! A bundle is of one release, and while another one runs nothing is restored: a key that came with that release would be taken away.

mod difference;
mod owner;
mod parts;
mod wanted;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::cell::Cell;

use backstay_sdk::{
    deed,
    executor::{Failed, permanent, transient},
    quote,
    settings::{Flag, Problem, Setting, SettingInfo, Text, Texts, is_name, problem},
};
use serde_json::{Map, Value, json};

use self::{
    difference::{Difference, Live},
    owner::{OWNER, Owner},
    parts::Parts,
    wanted::{Id, Wanted},
};
use super::{TRIES, named};
use crate::{
    api::{Cluster, Written, text},
    resource::{DEPLOYMENTS, Resource},
    template::{self, Told},
    workload::Workload,
};

const OBJECTS: Texts = Texts {
    name: "lkg-objects",
    help: "What the playbook lkg restores: configmap/NAME or secret/NAME in the target's namespace, at most 8.",
};
const SHOW: Text = Text {
    name: "lkg-show",
    default: "lkg-show",
    help: "The command that prints what an object has to be, `backstay lkg show`. It gets namespace/kind/name and the number of a part.",
};
const ANY_RELEASE: Flag = Flag {
    name: "lkg-any-release",
    default: false,
    help: "Restore also while another release runs than the bundle is of. A key that came with that release is taken away then.",
};

/// The most objects of a run.
const OBJECTS_MAX: usize = 8;
/// Of the run's state, what is kept free for everything else than objects, in bytes.
const SPARE: usize = 2048;
/// How long is waited between two looks at what an owner has synced, in ms.
const SYNCED_MS: u64 = 1000;
/// The most that is attached, in bytes.
const TOLD_BYTES_MAX: usize = 4096;

/// What can be set, for `describe`.
pub(super) fn infos() -> [SettingInfo; 4] {
    [OBJECTS.info(), SHOW.info(), OWNER.info(), ANY_RELEASE.info()]
}

/// What is wrong with what was set.
pub(super) fn problems(config: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let objects = OBJECTS.of(config);
    if objects.len() > OBJECTS_MAX {
        problems.push(problem(
            OBJECTS.name,
            format!("there are {} objects, {OBJECTS_MAX} are allowed", objects.len()),
        ));
    }
    for object in objects {
        if Id::parse("", object).is_none() {
            problems
                .push(problem(OBJECTS.name, format!("{object:?} is neither configmap/NAME nor secret/NAME")));
        }
    }
    if !is_name(SHOW.of(config)) {
        problems.push(problem(SHOW.name, "a command is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -"));
    }
    problems.extend(Owner::problem(config));
    problems
}

/// Restores each object that is named, one after the other.
///
/// # Errors
/// Why one couldn't be restored. Those before it are as they were wanted.
pub async fn restore(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let restoring = Restoring { cluster, shown: Cell::new(0) };
    let objects = OBJECTS.of(cluster.config());
    if objects.is_empty() {
        return Err(permanent("the setting lkg-objects names nothing to restore"));
    }
    let mut fitting = None;
    for object in objects {
        let id = Id::parse(&workload.namespace, object).ok_or_else(|| {
            permanent(format!("{} is neither configmap/NAME nor secret/NAME", named(object)))
        })?;
        let wanted = restoring.ask(id).await?;
        if fitting.as_ref() != Some(&wanted.release) && !ANY_RELEASE.of(cluster.config()) {
            restoring.fits(workload, &wanted).await?;
            fitting = Some(wanted.release.clone());
        }
        restoring.restore(&wanted).await?;
    }
    Ok(())
}

struct Restoring<'a, 'c> {
    cluster: &'a Cluster<'c>,
    /// How much commands have printed: it stays in the run's state as well.
    shown: Cell<usize>,
}

impl Restoring<'_, '_> {
    /// How much may still be heard.
    fn room(&self) -> usize {
        self.cluster.room().saturating_sub(self.shown.get() + SPARE)
    }

    /// What the bundle has of an object.
    async fn ask(&self, id: Id) -> Result<Wanted, Failed> {
        let (command, room) = (SHOW.of(self.cluster.config()), self.room());
        let mut parts = Parts::of(id);
        while let Some(part) = parts.next() {
            let asked = self
                .cluster
                .ctx()
                .look(deed::run(command, [&parts.id().to_string(), &part.to_string()]))
                .await;
            let exited =
                asked.map_err(|trouble| trouble.about(&format!("the command {command}")))?.exited()?;
            self.shown.set(self.shown.get() + exited.output.bytes.len());
            parts.take(command, exited)?;
            // It is there once as it is wanted, and twice as it is: before and after.
            let needs = parts.length() * 3;
            if needs > room {
                return Err(permanent(format!(
                    "{} takes about {} KiB of a run, which has {} left: restore it by hand, or name fewer in lkg-objects",
                    parts.id().told(),
                    needs / 1024,
                    room / 1024
                )));
            }
        }
        parts.whole()
    }

    /// Looks that the release of the bundle is the one that runs.
    async fn fits(&self, workload: &Workload, wanted: &Wanted) -> Result<(), Failed> {
        let config = self.cluster.config();
        let at = template::fields("/spec/template", config);
        let mut fields: Vec<&str> = at.iter().map(String::as_str).collect();
        fields.extend(["/spec/workloadRef/kind", "/spec/workloadRef/name"]);
        let mut seen = self.cluster.need(&workload.resource(), &fields, &workload.told()).await?;
        // A Rollout can have its template in a Deployment.
        if text(&seen, "/spec/workloadRef/kind") == DEPLOYMENTS.kind {
            let name = text(&seen, "/spec/workloadRef/name");
            let of = DEPLOYMENTS.named(&workload.namespace, name);
            seen = self.cluster.need(&of, &fields, &format!("the Deployment {}", named(name))).await?;
        }
        let told = seen.pointer("/spec/template").and_then(|template| Told::of(template, config));
        if told.as_ref().is_some_and(|told| told.is(&wanted.release)) {
            return Ok(());
        }
        let runs = told.map_or_else(|| "no container of the product".into(), |told| quote::text(&told.image));
        Err(permanent(format!(
            "the bundle is of release {}, and its template has {}: nothing is restored",
            named(&wanted.release.version),
            named(&runs)
        )))
    }

    async fn restore(&self, wanted: &Wanted) -> Result<(), Failed> {
        let told = wanted.id.told();
        let mut refused = String::new();
        let mut done = Vec::new();
        for _ in 0..TRIES {
            let Some(live) = self.look(wanted).await? else {
                if let Some(owner) = Owner::of(self.cluster.config(), &wanted.id, &Value::Null)? {
                    return self.synced(&owner, wanted, &Value::Null, false).await;
                }
                refused = self.create(wanted, &mut done).await?;
                continue;
            };
            let difference = Difference::of(wanted, &live)?;
            if difference.is_none() {
                return self.tell(&told, &done, &difference).await;
            }
            if let Some(owner) = Owner::of(self.cluster.config(), &wanted.id, &live.marks)? {
                return self.synced(&owner, wanted, &live.version, difference.takes_away()).await;
            }
            if live.immutable {
                return Err(permanent(format!(
                    "{told} differs in {} keys and is immutable: make one of another name, and have the template name it",
                    difference.count()
                )));
            }
            done.push(difference.told());
            let of = wanted.id.resource().with("fieldManager", "backstay");
            refused = self.said(
                self.cluster.patch(&of, &difference.operations(wanted, &live)).await?,
                &told,
                "patch",
            )?;
        }
        Err(transient(format!(
            "{told} differs after {TRIES} tries: {}",
            if refused.is_empty() { "somebody changes it" } else { &refused }
        )))
    }

    /// Why a change wasn't made, in words; empty where it was, or where nobody knows. Either way the next look says more.
    fn said(&self, written: Written, told: &str, what: &str) -> Result<String, Failed> {
        match written {
            Written::Done | Written::Unknown => Ok(String::new()),
            Written::Refused(refused) if matches!(refused.status, 404 | 409 | 422) => Ok(refused.message),
            Written::Refused(refused) => Err(refused.failed(&format!("the {what} of {told}"))),
        }
    }

    /// Makes an object that is gone, if all of it is known.
    async fn create(&self, wanted: &Wanted, done: &mut Vec<String>) -> Result<String, Failed> {
        let told = wanted.id.told();
        if wanted.has_credentials() {
            return Err(permanent(format!(
                "{told} is gone, and it had credentials, which are never restored: make it by hand"
            )));
        }
        done.push("made anew".into());
        let of = wanted.id.all().with("fieldManager", "backstay");
        self.said(self.cluster.create(&of, &wanted.object()).await?, &told, "creation")
    }

    /// Asks the owner to sync, and looks whether that made the object as it is wanted. `version` is the object's.
    async fn synced(
        &self,
        owner: &Owner,
        wanted: &Wanted,
        version: &Value,
        replace: bool,
    ) -> Result<(), Failed> {
        let told = wanted.id.told();
        owner.sync(self.cluster, wanted, version, replace).await?;
        let done = [format!("asked {} to sync it", owner.told())];
        for _ in 1..TRIES {
            let now = self.look(wanted).await?.map(|live| Difference::of(wanted, &live)).transpose()?;
            if let Some(now) = now.filter(Difference::is_none) {
                return self.tell(&told, &done, &now).await;
            }
            self.cluster.ctx().pause(SYNCED_MS).await?;
        }
        Err(transient(format!(
            "{} has synced, and {told} still isn't as it was: what it has in Git is something else",
            owner.told()
        )))
    }

    /// The object as it is: the names of all its keys, and of configuration what they hold.
    async fn look(&self, wanted: &Wanted) -> Result<Option<Live>, Failed> {
        let of = wanted.id.resource();
        for _ in 0..TRIES {
            // Before anything is changed: a run that has no room left can't see what it did.
            if self.room() < wanted.length {
                let told = wanted.id.told();
                return Err(transient(format!(
                    "this run can't look at {told} once more: what it has heard fills its state"
                )));
            }
            let Some(found) = self.cluster.get(&of, &Live::FIELDS).await? else { return Ok(None) };
            let mut live = Live::of(found);
            let mut is_same = true;
            for batch in live.batches(wanted) {
                let fields: Vec<&str> = batch.iter().map(String::as_str).collect();
                let found = self.cluster.get(&of, &fields).await?.unwrap_or_default();
                is_same = live.take(found);
                if !is_same {
                    break;
                }
            }
            if is_same {
                return Ok(Some(live));
            }
        }
        Err(transient(format!("{} is changed faster than it can be read", wanted.id.told())))
    }

    /// Keeps what was done as evidence: keys and no value.
    async fn tell(&self, told: &str, done: &[String], now: &Difference) -> Result<(), Failed> {
        if done.is_empty() {
            return Ok(());
        }
        let mut line = format!("{told}: {}", done.join("; "));
        if !now.left_alone.is_empty() {
            line.push_str(&format!("; left alone as credentials: {}", now.left_alone.join(", ")));
        }
        let end =
            (0..=line.len().min(TOLD_BYTES_MAX)).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
        line.truncate(end);
        self.cluster.ctx().look(deed::attach("lkg", line.into_bytes())).await?;
        Ok(())
    }
}

impl Wanted {
    /// A new object of it.
    fn object(&self) -> Value {
        let mut object = Map::new();
        object.insert("apiVersion".into(), "v1".into());
        object.insert("kind".into(), self.id.kind.kind.into());
        object.insert("metadata".into(), json!({ "namespace": self.id.namespace, "name": self.id.name }));
        for (section, keys) in &self.sections {
            if !keys.is_empty() {
                object.insert((*section).into(), json!(keys));
            }
        }
        if self.immutable {
            object.insert("immutable".into(), true.into());
        }
        Value::Object(object)
    }
}

impl Id {
    fn resource(&self) -> Resource {
        self.kind.named(&self.namespace, &self.name)
    }

    fn all(&self) -> Resource {
        self.kind.of(&self.namespace)
    }
}

#[cfg(test)]
mod tests;
