//! Deployments and Rollouts, played and looked at.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    Stage, becomes,
    objects::{APPS, ARGO, read, restarted, written},
    runs, told,
};
use crate::{
    Refusal,
    histories::{Act, Kind, Set, Shape, Template, Tool},
    objects,
};

/// What is compared of a workload.
#[derive(Debug, PartialEq)]
struct Seen {
    current: Template,
    /// Number, template, whether it is to have a pod, whether that is available.
    sets: Vec<(u64, Template, bool, bool)>,
    stable: Option<Template>,
    aborted: bool,
    /// Whether its canary, if its pods come up, stands where somebody has to let it go on. One whose pods don't may stand there, too: where
    /// the canary before had the same trouble, the controller takes the first step without a single pod.
    waits: bool,
    /// Whether its controller has seen all that was asked for.
    is_seen: bool,
}

impl Stage<'_> {
    pub(super) fn creates(&self) -> Result<(), String> {
        let (product, limit) = (&self.history.product, self.history.setup.limit);
        let image = product.image(0);
        let mut object = if self.history.kind == Kind::Deployment {
            objects::deployment("shop", 1, &image)
        } else {
            objects::rollout("shop", 1, &image, &json!([{"setWeight": 50}, {"pause": {}}]))
        };
        object["spec"]["template"] = written(product, &Template::default());
        object["spec"]["revisionHistoryLimit"] = limit.into();
        let (version, kinds) = self.kinds();
        self.cluster.api().create(&self.space.path(version, kinds), &object).map(|_| ()).map_err(told)
    }

    fn kinds(&self) -> (&'static str, &'static str) {
        if self.history.kind == Kind::Rollout { (ARGO, "rollouts") } else { (APPS, "deployments") }
    }

    fn path(&self) -> String {
        let (version, kinds) = self.kinds();
        self.space.path(version, &format!("{kinds}/shop"))
    }

    /// Does it. The model has done it already.
    pub(super) fn acts_on_workload(&self, act: &Act) -> Result<bool, String> {
        let api = self.cluster.api();
        let current = self.model.current();
        match *act {
            Act::Ships { .. } => self.takes(&current)?,
            Act::Restarts if self.history.kind == Kind::Rollout => self.restarts_rollout()?,
            Act::Restarts => {
                let change = json!({ "spec": { "template": { "metadata": { "annotations": {
                    (super::objects::RESTARTED): restarted(current.restart),
                } } } } });
                api.merge(&self.path(), &change).map_err(told)?;
            }
            Act::Promotes => self.promotes()?,
            Act::Aborts => {
                let change = json!({"status": {"abort": true}});
                api.merge(&format!("{}/status", self.path()), &change).map_err(told)?;
            }
            Act::Undoes => {
                let tool = if self.history.kind == Kind::Rollout { Tool::Argo } else { Tool::Kubectl };
                return Ok(self.tool(tool, &self.model)?.is_some_and(|out| out.status.success()));
            }
            Act::GoesHome { .. } => {
                self.takes(&current)?;
                if self.history.kind == Kind::Rollout && self.history.product.comes_up(&current) {
                    self.is_current(&current)?;
                    self.promotes()?;
                }
            }
            Act::Forgets { revision } => {
                let name = self.sets()?.into_iter().find(|(set, ..)| set.number == revision);
                let name = name.map(|(_, name, _)| name).ok_or("there is no such revision")?;
                api.delete(&self.space.path(APPS, &format!("replicasets/{name}"))).map_err(told)?;
            }
            Act::Pauses => {
                api.merge(&self.path(), &json!({"spec": {"paused": true}})).map_err(told)?;
            }
        }
        Ok(true)
    }

    fn takes(&self, template: &Template) -> Result<(), String> {
        self.is_a_second_later();
        let value = written(&self.history.product, template);
        let change = json!([{"op": "replace", "path": "/spec/template", "value": value}]);
        self.cluster.api().patch(&self.path(), &change).map(|_| ()).map_err(told)
    }

    /// Which of a Rollout's revisions are deleted goes by when they were made, in whole seconds. Nobody ships twice in one.
    fn is_a_second_later(&self) {
        let ships = self.history.acts.iter().filter(|act| matches!(act, Act::Ships { .. })).count();
        if self.history.kind == Kind::Rollout && ships + 1 > self.history.setup.limit {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            thread::sleep(Duration::from_millis(1010 - u64::from(now.subsec_millis())));
        }
    }

    fn promotes(&self) -> Result<(), String> {
        let change = json!({"status": {"promoteFull": true}});
        self.cluster.api().merge(&format!("{}/status", self.path()), &change).map(|_| ()).map_err(told)
    }

    /// Waits until the controller has taken it for what it is to be.
    fn is_current(&self, template: &Template) -> Result<(), String> {
        becomes("the template was written", &true, || {
            let hash = self.cluster.api().get(&self.path())?["status"]["currentPodHash"].clone();
            let sets = self.sets().map_err(|message| Refusal { code: 0, reason: String::new(), message })?;
            Ok(sets.iter().any(|(set, _, of)| set.template == *template && hash == of.as_str()))
        })
    }

    fn restarts_rollout(&self) -> Result<(), String> {
        let out = runs(self.cluster.argo().args(["restart", "shop", "-n", self.space.name()]))?;
        if !out.status.success() {
            return Err(String::from_utf8_lossy(&out.stderr).into_owned());
        }
        // Where pods are missing, the controller waits for them first.
        let Shape::Rollout(model) = &self.model.shape else { return Ok(()) };
        if model.sets().any(|set| set.wanted && !set.available) {
            return Ok(());
        }
        becomes("the restart", &true, || {
            let it = self.cluster.api().get(&self.path())?;
            Ok(!it["spec"]["restartAt"].is_null() && it["status"]["restartedAt"] == it["spec"]["restartAt"])
        })
    }

    /// Its ReplicaSets: what is modelled of each, its name, and the hash of its template.
    fn sets(&self) -> Result<Vec<(Set, String, String)>, String> {
        let found = self.cluster.api().list(&self.space.path(APPS, "replicasets")).map_err(told)?;
        let one = |set: &Value| {
            let meta = &set["metadata"];
            let mark = |of: &Value, keys: [&str; 2]| {
                keys.iter().find_map(|key| of[*key].as_str()).unwrap_or_default().to_owned()
            };
            let revisions = ["deployment.kubernetes.io/revision", "rollout.argoproj.io/revision"];
            let modelled = Set {
                number: mark(&meta["annotations"], revisions).parse().unwrap_or(0),
                template: read(&self.history.product, &set["spec"]["template"])?,
                wanted: set["spec"]["replicas"] != 0,
                available: set["status"]["availableReplicas"].as_u64().unwrap_or(0) > 0,
                born: 0,
            };
            let hash = mark(&meta["labels"], ["pod-template-hash", "rollouts-pod-template-hash"]);
            Ok((modelled, meta["name"].as_str().unwrap_or_default().to_owned(), hash))
        };
        found.iter().filter(|set| set["metadata"]["deletionTimestamp"].is_null()).map(one).collect()
    }

    pub(super) fn is_as_modelled(&self, after: &str) -> Result<(), String> {
        let mut sets: Vec<&Set> = match &self.model.shape {
            Shape::Helm(_) => Vec::new(),
            Shape::Deployment(it) => it.sets().collect(),
            Shape::Rollout(it) => it.sets().collect(),
        };
        sets.sort();
        let (stable, aborted) = match &self.model.shape {
            Shape::Rollout(it) => (it.stable(), it.is_aborted()),
            Shape::Helm(_) | Shape::Deployment(_) => (None, false),
        };
        let current = self.model.current();
        let wanted = Seen {
            current,
            sets: sets.into_iter().map(compared).collect(),
            stable,
            aborted,
            waits: self.model.has_canary() && self.history.product.comes_up(&current),
            is_seen: true,
        };
        becomes(after, &wanted, || self.seen())
    }

    fn seen(&self) -> Result<Seen, Refusal> {
        let odd = |message| Refusal { code: 0, reason: String::new(), message };
        let it = self.cluster.api().get(&self.path())?;
        let sets = self.sets().map_err(odd)?;
        let (spec, status) = (&it["spec"], &it["status"]);
        let stable = sets.iter().find(|(_, _, hash)| status["stableRS"] == hash.as_str());
        let stable = stable.map(|(set, ..)| set.template);
        let mut compared_sets: Vec<_> = sets.iter().map(|(set, ..)| compared(set)).collect();
        compared_sets.sort();
        let current = read(&self.history.product, &spec["template"]).map_err(odd)?;
        let is_seen = if self.history.kind == Kind::Rollout {
            sets.iter()
                .any(|(set, _, hash)| set.template == current && status["currentPodHash"] == hash.as_str())
        } else {
            status["observedGeneration"] == it["metadata"]["generation"]
        };
        Ok(Seen {
            current,
            sets: compared_sets,
            stable,
            aborted: status["abort"] == true,
            waits: status["currentStepIndex"] == 1
                && status["pauseConditions"].is_array()
                && self.history.product.comes_up(&current),
            is_seen: is_seen && status["promoteFull"] != true,
        })
    }
}

fn compared(set: &Set) -> (u64, Template, bool, bool) {
    (set.number, set.template, set.wanted, set.available)
}
