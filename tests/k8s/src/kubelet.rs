//! Nodes that tell of their pods as kubelets do, and run nothing.
//!
//! Here: what a test gets hold of, and the threads: two that watch pods and nodes, one that renews the nodes' leases, and some that
//! each tend their share of the pods. Not here: what a node is (`node`), what becomes of a pod (`pod`), of a container
//! (`container`), and what can be wrong with one (`fault`).
//!
//! **No container runs.** A pod gets a node, an address that nothing answers at, and a status. It is a scheduler of the simplest kind as
//! well: the ready node with the fewest pods, without a look at CPU and memory.
//!
//! Everything that can be told to a node or a pod is an annotation of the object in the API server, whose names begin with
//! `kubelet.backstay.test/`. So a person at a cluster of `cargo xtask k8s up` can do with `kubectl annotate` what a test does here.

mod container;
mod fault;
mod node;
mod pod;
mod quantity;

pub use fault::Fault;
pub use node::Resize;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::{Api, Refusal};
use node::{Machine, NODES, PREFIX};
use pod::Tended;

const PODS: &str = "/api/v1/pods";
/// How many threads tend pods. The server answers each of them in a few milliseconds.
const TENDERS: usize = 4;
/// How often a lease is renewed, and so how soon after its return a node is heard of.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A pod that has nothing to wait for is looked at as often as that, in case a write went wrong.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// After what the server didn't like.
const RETRY: Duration = Duration::from_millis(200);

/// All nodes of a control plane. They are gone with its process.
#[derive(Clone)]
pub struct Kubelet(Arc<Inner>);

pub(crate) struct Inner {
    api: Api,
    nodes: Mutex<BTreeMap<String, Machine>>,
    images: Mutex<Vec<(String, Fault)>>,
    tenders: Vec<Sender<News>>,
}

/// What a thread that tends pods is told.
enum News {
    /// A pod is like this by now.
    Pod(Value),
    /// It is gone.
    Gone(String),
    /// Nodes have changed: everything is looked at again.
    Nodes,
}

/// One node.
#[derive(Clone)]
pub struct Node {
    api: Api,
    name: String,
}

impl Kubelet {
    /// Begins to look after the pods of this server. There are no nodes yet.
    #[must_use]
    pub fn start(api: &Api) -> Self {
        let (tenders, told): (Vec<_>, Vec<_>) = (0..TENDERS).map(|_| mpsc::channel()).unzip();
        let kubelet = Self(Arc::new(Inner {
            api: api.clone(),
            nodes: Mutex::default(),
            images: Mutex::default(),
            tenders,
        }));
        for told in told {
            let inner = Arc::clone(&kubelet.0);
            thread::spawn(move || inner.tend(&told));
        }
        for work in [Inner::watch_pods, Inner::watch_nodes, Inner::beat] {
            let inner = Arc::clone(&kubelet.0);
            thread::spawn(move || work(&inner));
        }
        kubelet
    }

    /// A new node. With labels it takes the pods that ask for one of them by their `nodeSelector`, and no others; without, all that
    /// ask for nothing.
    ///
    /// # Panics
    /// If the server would not.
    pub fn add_node(&self, name: &str, labels: &[(&str, &str)]) -> Node {
        let inner = &self.0;
        let node = Node { api: inner.api.clone(), name: name.into() };
        let address = u8::try_from(inner.nodes().len() + 1).unwrap_or(u8::MAX);
        let object = node::object(name, labels, address);
        let made = inner.api.create(NODES, &object);
        let made = made.unwrap_or_else(|e| panic!("no node {name}: {e}"));
        // Before it says that it is ready: what the controller then takes away, the taint that keeps pods off, is seen only of a node that is known.
        inner.nodes().insert(name.into(), Machine::of(&made));
        let status = json!({"status": object["status"]});
        let told = inner.api.merge(&node.path("/status"), &status);
        told.unwrap_or_else(|e| panic!("no status of node {name}: {e}"));
        inner.heartbeat(name);
        inner.everybody();
        node
    }

    /// One that is there.
    #[must_use]
    pub fn node(&self, name: &str) -> Node {
        Node { api: self.0.api.clone(), name: name.into() }
    }

    /// From now on this is wrong with every container whose image has `part` in its reference, a digest for example; with `None`
    /// nothing is.
    pub fn fault_of_images(&self, part: &str, fault: Option<Fault>) {
        let mut images = self.0.images();
        images.retain(|(known, _)| known != part);
        images.extend(fault.map(|fault| (part.to_owned(), fault)));
        drop(images);
        self.0.everybody();
    }

    /// This is wrong with one pod's first container, or nothing is any more.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn fault_of_pod(&self, namespace: &str, pod: &str, fault: Option<&Fault>) -> Result<(), Refusal> {
        let fault = fault.map(ToString::to_string);
        let change = json!({"metadata": {"annotations": {fault::ANNOTATION: fault}}});
        self.0.api.merge(&format!("/api/v1/namespaces/{namespace}/pods/{pod}"), &change).map(|_| ())
    }
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It is silent from now on: no heartbeats, and nothing becomes of its pods.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn is_lost(&self) -> Result<(), Refusal> {
        self.told("lost", Some("true"))
    }

    /// It is heard of again.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn comes_back(&self) -> Result<(), Refusal> {
        self.told("lost", None)
    }

    /// Whether its disk is nearly full.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn disk_pressure(&self, is_full: bool) -> Result<(), Refusal> {
        self.told("disk-pressure", is_full.then_some("true"))
    }

    /// What it makes of a wish for other resources while a pod runs.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn resize(&self, how: Resize) -> Result<(), Refusal> {
        self.told("resize", how.word())
    }

    fn told(&self, what: &str, value: Option<&str>) -> Result<(), Refusal> {
        let change = json!({"metadata": {"annotations": {format!("{PREFIX}{what}"): value}}});
        self.api.merge(&self.path(""), &change).map(|_| ())
    }

    fn path(&self, part: &str) -> String {
        format!("{NODES}/{}{part}", self.name)
    }
}

impl Inner {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Machine>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn images(&self) -> MutexGuard<'_, Vec<(String, Fault)>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with a container: what its pod says of the first one, else what is known of its image.
    fn fault(&self, pod: &Value, container: &Value, is_first: bool) -> Option<Fault> {
        let told = pod["metadata"]["annotations"][fault::ANNOTATION].as_str().filter(|_| is_first);
        if let Some(told) = told {
            return Fault::parse(told);
        }
        let image = container["image"].as_str()?;
        let known = self.images().iter().find(|(part, _)| image.contains(part.as_str())).map(|(_, it)| *it);
        known.or_else(|| Fault::in_image(image))
    }

    fn everybody(&self) {
        for tender in &self.tenders {
            // A thread ends with the process only.
            let _ = tender.send(News::Nodes);
        }
    }

    fn watch_pods(&self) {
        let mut known = BTreeMap::<String, ()>::new();
        loop {
            let tell = |uid: &str, news: News| {
                let mut hasher = DefaultHasher::new();
                uid.hash(&mut hasher);
                let place = usize::try_from(hasher.finish() % TENDERS as u64).unwrap_or(0);
                let _ = self.tenders.get(place).map(|tender| tender.send(news));
            };
            let seen = self.follow(PODS, |all| {
                let before = std::mem::take(&mut known);
                for pod in all {
                    known.insert(uid(&pod), ());
                    tell(&uid(&pod), News::Pod(pod));
                }
                before
                    .into_keys()
                    .filter(|uid| !known.contains_key(uid))
                    .for_each(|gone| tell(&gone.clone(), News::Gone(gone)));
            });
            let Ok(version) = seen else { continue };
            // Its end is as good as any other reason to look at all of them again.
            let _ = self.api.watch(PODS, &version, |mut event| {
                let pod = event["object"].take();
                match event["type"].as_str() {
                    Some("ADDED" | "MODIFIED") => {
                        known.insert(uid(&pod), ());
                        tell(&uid(&pod), News::Pod(pod));
                    }
                    Some("DELETED") => {
                        known.remove(&uid(&pod));
                        tell(&uid(&pod), News::Gone(uid(&pod)));
                    }
                    Some("ERROR") => return false,
                    _ => {}
                }
                true
            });
        }
    }

    fn watch_nodes(&self) {
        loop {
            let seen = self.follow(NODES, |all| all.iter().for_each(|node| self.node_seen(node)));
            let Ok(version) = seen else { continue };
            let _ = self.api.watch(NODES, &version, |event| {
                let node = &event["object"];
                match event["type"].as_str() {
                    Some("ADDED" | "MODIFIED") => self.node_seen(node),
                    Some("DELETED") => {
                        self.nodes().remove(node["metadata"]["name"].as_str().unwrap_or_default());
                        self.everybody();
                    }
                    Some("ERROR") => return false,
                    _ => {}
                }
                true
            });
        }
    }

    /// All of a list, and the version that it is of.
    fn follow(&self, path: &str, seen: impl FnOnce(Vec<Value>)) -> Result<String, Refusal> {
        let list = self.api.get(path).inspect_err(|_| thread::sleep(RETRY));
        let mut list = list?;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        seen(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        Ok(version)
    }

    fn node_seen(&self, node: &Value) {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        // Nodes that this one didn't make are somebody else's.
        let changed = match self.nodes().get_mut(name) {
            Some(machine) => machine.seen(node),
            None => return,
        };
        if changed {
            self.heartbeat(name);
            self.everybody();
        }
    }

    fn beat(&self) {
        loop {
            let names: Vec<_> = self.nodes().keys().cloned().collect();
            names.iter().for_each(|name| self.heartbeat(name));
            thread::sleep(HEARTBEAT);
        }
    }

    /// Says that a node is there, and how it is, if it isn't lost.
    fn heartbeat(&self, name: &str) {
        let Some(machine) = self.nodes().get(name).cloned() else { return };
        if machine.is_lost {
            return;
        }
        let now = SystemTime::now();
        if self.api.merge(&node::lease_path(name), &node::renewal(now)).is_err_and(|e| e.code == 404) {
            // The next beat tries again.
            let _ = self.api.create(node::LEASES, &node::lease(name, now));
        }
        if machine.is_to_tell() {
            let path = format!("{NODES}/{name}/status");
            let told = self.api.ask("PATCH", &path, STRATEGIC, &machine.status(now).to_string());
            if told.is_ok()
                && let Some(known) = self.nodes().get_mut(name)
            {
                known.has_told(&machine);
            }
        }
    }

    fn tend(&self, told: &Receiver<News>) {
        let mut pods = BTreeMap::<String, Tended>::new();
        loop {
            let next = pods.values().filter_map(Tended::due).min();
            let wait =
                next.map_or(LOOK_AGAIN, |due| due.duration_since(SystemTime::now()).unwrap_or_default());
            let mut news = match told.recv_timeout(wait.min(LOOK_AGAIN)) {
                Ok(news) => Some(news),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // All that is known by now, so that nothing is done for what is over already.
            while let Some(one) = news.take().or_else(|| told.try_recv().ok()) {
                match one {
                    News::Pod(pod) => pods.entry(uid(&pod)).or_default().seen(self, pod),
                    News::Gone(uid) => {
                        if let Some(gone) = pods.remove(&uid) {
                            gone.leaves(self);
                        }
                    }
                    News::Nodes => pods.values_mut().for_each(Tended::look_again),
                }
            }
            let now = SystemTime::now();
            for pod in pods.values_mut().filter(|pod| pod.due().is_some_and(|due| due <= now)) {
                pod.tend(self, now);
            }
        }
    }
}

/// The kind of patch that merges lists of conditions by their types.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
