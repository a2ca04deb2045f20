//! What becomes of a pod: it gets a node, starts, is ready or not, is given other resources, and ends.
//!
//! Here: one pod, as it was seen and as the API server was told that it is. Not here: its containers (`container`), and who wakes it
//! (the threads of [`super`]).

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{
    Fault, Inner, RETRY, Resize, STRATEGIC,
    container::{Again, Container, Now},
    node::{Machine, PREFIX},
    quantity, uid,
};
use crate::clock;

/// How long a pod takes to end, unless it says otherwise: most end as soon as they are asked.
const STOPS: Duration = Duration::from_millis(100);
/// How long a pod runs that isn't meant to run for ever, unless it says otherwise.
const RUNS: Duration = Duration::from_millis(300);
/// A pod for which there is no node looks again as often as that.
const NO_NODE: Duration = Duration::from_secs(1);
/// Why a pod was put out.
const LOW: &str = "The node was low on resource: ephemeral-storage.";
/// Conditions of a resize.
const PENDING: &str = "PodResizePending";

/// A pod, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Tended {
    pod: Value,
    containers: Vec<Container>,
    /// Since when there is no node for it.
    waits: Option<SystemTime>,
    started: Option<SystemTime>,
    ready: Option<(bool, SystemTime)>,
    /// When it will have ended, once it was asked to.
    ends: Option<SystemTime>,
    told: Option<Value>,
    due: Option<SystemTime>,
    is_counted: bool,
    /// What stood last in the way of each container, so that it is an event once.
    ails: Vec<Option<&'static str>>,
}

impl Tended {
    /// When it is to be tended again.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        self.due
    }

    /// It is like this by now.
    pub(crate) fn seen(&mut self, inner: &Inner, pod: Value) {
        self.pod = pod;
        self.due = Some(SystemTime::UNIX_EPOCH);
        self.is_counted_on(inner);
    }

    /// Nodes or faults have changed.
    pub(crate) fn look_again(&mut self) {
        self.due = Some(SystemTime::UNIX_EPOCH);
        // The controller says of a silent node's pods that they aren't ready.
        let condition = condition(&self.pod, "Ready");
        let says = condition.is_some_and(|it| it["status"] == "True");
        if self.ready.is_some_and(|(ready, _)| ready != says) {
            self.told = None;
        }
    }

    /// It is gone, and its node has one less.
    pub(crate) fn leaves(self, inner: &Inner) {
        let mut nodes = inner.nodes();
        if let Some(machine) = self.node().and_then(|node| nodes.get_mut(node)).filter(|_| self.is_counted) {
            machine.pods = machine.pods.saturating_sub(1);
        }
    }

    fn is_counted_on(&mut self, inner: &Inner) {
        if self.is_counted {
            return;
        }
        let Some(node) = self.pod["spec"]["nodeName"].as_str() else { return };
        if let Some(machine) = inner.nodes().get_mut(node) {
            machine.pods += 1;
            self.is_counted = true;
        }
    }

    fn node(&self) -> Option<&str> {
        self.pod["spec"]["nodeName"].as_str()
    }

    fn path(&self, part: &str) -> String {
        let text = |field: &str| self.pod["metadata"][field].as_str().unwrap_or_default();
        format!("/api/v1/namespaces/{}/pods/{}{part}", text("namespace"), text("name"))
    }

    /// A time that the pod says, in seconds: `2s`.
    fn says(&self, what: &str) -> Option<Duration> {
        let told = self.pod["metadata"]["annotations"][format!("{PREFIX}{what}")].as_str()?;
        told.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
    }

    /// Does what is due for it.
    pub(crate) fn tend(&mut self, inner: &Inner, now: SystemTime) {
        self.due = None;
        let is_asked_to_end = !self.pod["metadata"]["deletionTimestamp"].is_null();
        let Some(node) = self.node() else {
            if !is_asked_to_end {
                self.finds_a_node(inner, now);
            }
            return;
        };
        let Some(machine) = inner.nodes().get(node).cloned() else { return };
        if machine.is_lost {
            return;
        }
        let is_over = ["Succeeded", "Failed"].iter().any(|phase| self.pod["status"]["phase"] == *phase);
        if is_asked_to_end {
            self.ends(inner, now, is_over);
        }
        // While it ends it is as it was.
        if !is_over && self.ends.is_none_or(|ends| now < ends) {
            self.goes_on(inner, &machine, now);
        }
    }

    fn finds_a_node(&mut self, inner: &Inner, now: SystemTime) {
        if !self.pod["spec"]["schedulingGates"].as_array().is_none_or(Vec::is_empty) {
            return;
        }
        let mut nodes = inner.nodes();
        let fits = nodes.iter_mut().filter(|(_, machine)| machine.takes(&self.pod));
        let Some((name, machine)) = fits.min_by_key(|(_, machine)| machine.pods) else {
            let message = format!("0/{} nodes are available", nodes.len());
            drop(nodes);
            self.due = Some(now + NO_NODE);
            if self.waits.is_none() {
                self.happens(inner, ("Warning", "FailedScheduling", &message), now);
            }
            let since = self.waits.get_or_insert(now);
            let status = unschedulable(&message, *since);
            self.tell(inner, status, now);
            return;
        };
        let name = name.clone();
        machine.pods += 1;
        drop(nodes);
        self.is_counted = true;
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.pod["metadata"]["name"], "uid": self.pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": name},
        });
        if inner.api.create(&self.path("/binding"), &binding).is_err() {
            // Somebody else was quicker, or it is gone.
            if let Some(machine) = inner.nodes().get_mut(&name) {
                machine.pods = machine.pods.saturating_sub(1);
            }
            self.is_counted = false;
            self.due = Some(now + RETRY);
        }
    }

    /// It was asked to end: it does after a while, at the latest when its time is over.
    fn ends(&mut self, inner: &Inner, now: SystemTime, is_over: bool) {
        let grace =
            self.pod["metadata"]["deletionGracePeriodSeconds"].as_u64().map_or(STOPS, Duration::from_secs);
        let stops = if is_over { Duration::ZERO } else { self.says("stops").unwrap_or(STOPS).min(grace) };
        let ends = *self.ends.get_or_insert(now + stops);
        if now < ends {
            self.due = Some(ends);
            return;
        }
        let body = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid(&self.pod)}});
        let gone = inner.api.ask("DELETE", &self.path(""), "application/json", &body.to_string());
        if gone.is_err_and(|e| e.code != 404 && e.code != 409) {
            self.due = Some(now + RETRY);
        }
    }

    fn goes_on(&mut self, inner: &Inner, machine: &Machine, time: SystemTime) {
        let specs = self.pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
        if self.started.is_none() {
            self.started = Some(time);
            let known = |name: &Value| {
                let statuses = self.pod["status"]["containerStatuses"].as_array();
                let status = statuses.into_iter().flatten().find(|it| it["name"] == *name);
                status
                    .and_then(|it| it["restartCount"].as_u64())
                    .and_then(|it| u32::try_from(it).ok())
                    .unwrap_or(0)
            };
            self.containers =
                specs.iter().map(|spec| Container::new(spec, known(&spec["name"]), time)).collect();
        }
        let again = match self.pod["spec"]["restartPolicy"].as_str() {
            Some("Never") => Again::Never,
            Some("OnFailure") => Again::OnFailure,
            _ => Again::Always,
        };
        let runs = self.says("runs").unwrap_or(RUNS);
        let resize = self.resized(machine, &specs, time);
        let (mut statuses, mut ready, mut due) = (Vec::new(), true, self.due);
        let (name, uid) = (self.pod["metadata"]["name"].as_str().unwrap_or_default(), uid(&self.pod));
        let (mut is_evicted, mut ails) = (false, Vec::new());
        for (place, (container, spec)) in self.containers.iter_mut().zip(&specs).enumerate() {
            let now = Now { time, fault: inner.fault(&self.pod, spec, place == 0), again, runs };
            if now.fault == Some(Fault::Evicted) {
                is_evicted = true;
                container.is_killed(time);
            }
            due = [due, container.advance(&now)].into_iter().flatten().min();
            ready &= container.is_ready(&now);
            ails.push(container.ails(&now));
            let image = spec["image"].as_str().unwrap_or_default();
            let tells_resources = machine.resize != Resize::Unsupported;
            statuses.push(container.status(image, name, &uid, &now, tells_resources));
        }
        self.due = due;
        if self.ready.is_none_or(|(known, _)| known != ready) {
            self.ready = Some((ready, time));
        }
        let mut status = self.status(machine, statuses, resize);
        if is_evicted {
            status["phase"] = json!("Failed");
            status["reason"] = json!("Evicted");
            status["message"] = json!(LOW);
        }
        self.tell(inner, status, time);
        let before = std::mem::replace(&mut self.ails, ails);
        for (place, ails) in self.ails.iter().enumerate() {
            let Some(ails) = ails.filter(|_| before.get(place) != Some(ails)) else { continue };
            let spec = specs.get(place).unwrap_or(&Value::Null);
            let (container, image) = (&spec["name"], &spec["image"]);
            let (kind, reason, message) = match ails {
                "CrashLoopBackOff" => {
                    ("Warning", "BackOff", format!("Back-off restarting failed container {container}"))
                }
                "ErrImagePull" => ("Warning", "Failed", format!("Failed to pull image {image}: not found")),
                "ImagePullBackOff" => ("Normal", "BackOff", format!("Back-off pulling image {image}")),
                "Evicted" => ("Warning", "Evicted", LOW.to_owned()),
                other => ("Warning", other, "Readiness probe failed".to_owned()),
            };
            self.happens(inner, (kind, reason, &message), time);
        }
    }

    /// An event about it, as kubelets and schedulers make them.
    fn happens(&self, inner: &Inner, (kind, reason, message): (&str, &str, &str), now: SystemTime) {
        let (metadata, now) = (&self.pod["metadata"], clock::second(now));
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": format!("{}.", metadata["name"].as_str().unwrap_or_default())},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": namespace,
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "kubelet", "host": self.node()},
        });
        // An event that is lost is one that nobody reads.
        let _ = inner.api.create(&format!("/api/v1/namespaces/{namespace}/events"), &event);
    }

    /// Gives containers the resources that their pod asks for by now, and says what stands in the way.
    fn resized(
        &mut self,
        machine: &Machine,
        specs: &[Value],
        now: SystemTime,
    ) -> Option<(&'static str, String)> {
        let mut stands = None;
        for (container, spec) in self.containers.iter_mut().zip(specs) {
            let wanted = &spec["resources"];
            if container.given == *wanted {
                continue;
            }
            let memory = wanted["requests"]["memory"].as_str();
            let could = machine.could_have(memory.and_then(quantity::bytes));
            match machine.resize {
                Resize::Unsupported => {}
                Resize::Deferred => {
                    stands = Some(("Deferred", "Node didn't have enough resource: memory".into()))
                }
                Resize::Works if could => {
                    let asks_for_restart =
                        spec["resizePolicy"].as_array().into_iter().flatten().any(|policy| {
                            let name = policy["resourceName"].as_str().unwrap_or_default();
                            let changed = |part: &str| container.given[part][name] != wanted[part][name];
                            policy["restartPolicy"] == "RestartContainer"
                                && (changed("requests") || changed("limits"))
                        });
                    container.given = wanted.clone();
                    if asks_for_restart {
                        container.is_restarted(now);
                    }
                }
                Resize::Works | Resize::Infeasible => {
                    let asked = memory.unwrap_or_default();
                    stands = Some((
                        "Infeasible",
                        format!("Node didn't have enough capacity: memory, requested: {asked}"),
                    ));
                }
            }
        }
        stands
    }

    fn status(
        &self,
        machine: &Machine,
        statuses: Vec<Value>,
        resize: Option<(&'static str, String)>,
    ) -> Value {
        let started = self.started.unwrap_or(SystemTime::UNIX_EPOCH);
        let (ready, since) = self.ready.unwrap_or((false, started));
        let over: Option<Vec<u8>> = self.containers.iter().map(Container::is_over).collect();
        let phase = match over {
            Some(codes) if codes.iter().all(|code| *code == 0) => "Succeeded",
            Some(_) => "Failed",
            None if self.containers.iter().all(Container::has_started) => "Running",
            None => "Pending",
        };
        let one = |kind: &str, is: bool, at: SystemTime| {
            let status = if is { "True" } else { "False" };
            json!({"type": kind, "status": status, "lastTransitionTime": clock::second(at)})
        };
        let mut conditions = vec![
            one("PodScheduled", true, started),
            one("PodReadyToStartContainers", true, started),
            one("Initialized", true, started),
        ];
        for kind in ["ContainersReady", "Ready"] {
            let mut condition = one(kind, ready, since);
            condition["reason"] = match phase {
                "Succeeded" => json!("PodCompleted"),
                _ if ready => Value::Null,
                _ => json!("ContainersNotReady"),
            };
            conditions.push(condition);
        }
        conditions.push(match resize {
            Some((reason, message)) => {
                let mut condition = one(PENDING, true, started);
                condition["reason"] = json!(reason);
                condition["message"] = json!(message);
                condition
            }
            None => json!({"$patch": "delete", "type": PENDING}),
        });
        let generation = &self.pod["metadata"]["generation"];
        let address = address(&uid(&self.pod));
        json!({
            "phase": phase,
            "observedGeneration": generation,
            "hostIP": machine.address,
            "hostIPs": [{"ip": machine.address}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": clock::second(started),
            "conditions": conditions,
            "initContainerStatuses": self.initial(started),
            "containerStatuses": statuses,
        })
    }

    /// Containers that run first are over at once.
    fn initial(&self, at: SystemTime) -> Vec<Value> {
        let specs = self.pod["spec"]["initContainers"].as_array().into_iter().flatten();
        let ended = json!({"terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": clock::second(at), "finishedAt": clock::second(at),
        }});
        let one = |spec: &Value| {
            json!({
                "name": spec["name"],
                "image": spec["image"],
                "imageID": "",
                "ready": true,
                "restartCount": 0,
                "state": ended,
                "lastState": {},
            })
        };
        specs.map(one).collect()
    }

    /// Tells the API server, if it doesn't know.
    fn tell(&mut self, inner: &Inner, status: Value, now: SystemTime) {
        if self.told.as_ref() == Some(&status) {
            return;
        }
        // Another pod of the same name is not this one.
        let change = json!({"metadata": {"uid": uid(&self.pod)}, "status": status});
        match inner.api.ask("PATCH", &self.path("/status"), STRATEGIC, &change.to_string()) {
            Ok(_) => self.told = Some(status),
            Err(e) if e.code == 404 || e.code == 409 => self.told = Some(status),
            Err(_) => self.due = Some(now + RETRY),
        }
    }
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|it| it["type"] == kind)
}

fn unschedulable(message: &str, now: SystemTime) -> Value {
    json!({"conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": clock::second(now),
    }]})
}

/// An address that nobody answers at, as good as a pod's own.
fn address(uid: &str) -> String {
    let digit = |at: usize| uid.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    format!("10.{}.{}.{}", digit(0), digit(2), digit(4))
}
