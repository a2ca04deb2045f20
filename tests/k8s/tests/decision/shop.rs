//! A shop on a real control plane that a server of ours watches: a Rollout, its visitors, and who else writes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use backstay_test_k8s::{ControlPlane, Gate, Keys, Namespace, Plant, Watch, objects, until};
use serde_json::{Value, json};

use super::traffic::Traffic;

pub(crate) const ARGO: &str = "argoproj.io/v1alpha1";
pub(crate) const SHOP: &str = "shop";
const PODS: u32 = 5;
/// How often a GitOps controller looks whether all is as Git says.
const RECONCILES: Duration = Duration::from_secs(5);

/// The whole of it.
pub(crate) struct Shop {
    pub(crate) cluster: ControlPlane,
    pub(crate) space: Namespace,
    pub(crate) gate: Gate,
    pub(crate) plant: Plant,
    pub(crate) traffic: Traffic,
}

/// Somebody who keeps the Rollout as Git says. It ends with this.
pub(crate) struct Reconciler {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Instant>>>,
}

/// Whether a pod isn't on its way out.
fn is_there(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

pub(crate) fn image(version: &str) -> String {
    format!("registry.test/shop:{version}")
}

impl Shop {
    /// Opens it with release 1.0, which is confirmed by what the server sees for itself: no pipeline tells anything. `None` after it
    /// was said why the test is skipped.
    pub(crate) fn opens(mode: &str, steps: &Value) -> Option<Self> {
        let cluster = ControlPlane::start()?;
        let space = cluster.namespace(SHOP);
        let (api, pods) = (cluster.api().clone(), space.path("v1", "pods"));
        let traffic = Traffic::begins(move || {
            let pods = api.list(&pods).unwrap_or_default();
            pods.iter().any(|pod| is_there(pod) && pod["spec"]["containers"][0]["image"] != image("1.0"))
        })?;
        let rollout = objects::rollout(SHOP, PODS, &image("1.0"), steps);
        cluster.api().create(&space.path(ARGO, "rollouts"), &rollout).unwrap();
        let gate = Gate::open(cluster.api(), &cluster.ca());
        let target = format!(
            "mode = \"{mode}\"\nwindow = \"5s\"\nexecutor = \"rollouts\"\npolicy = \"tree\"\nprometheus = \"main\"\n\
             look = true\nhold = true\nrunbook = \"https://wiki.test/shop\"\n\
             settings = {{ namespace = \"{}\", name = \"{SHOP}\" }}\n{}\
             [rails]\nconfirm_windows = 1\ncure_windows = 1\nbackoff_base = \"1s\"\nbackoff_cap = \"1s\"\n",
            space.name(),
            Traffic::objectives(),
        );
        let tables = format!("[prometheus.main]\nurl = \"{}\"\n", traffic.url());
        let watch = Watch { tables, targets: vec![(SHOP.into(), target)], ..Watch::default() };
        let plant = Plant::opens(&Keys::make(), cluster.api(), &gate, &watch);
        let mut shop = Self { cluster, space, gate, plant, traffic };
        shop.comes_to("Healthy");
        shop.until("1.0 is confirmed", |view| view["out"]["confirmed"] == true);
        Some(shop)
    }

    pub(crate) fn rollout(&self) -> Value {
        self.cluster.api().get(&self.path()).unwrap()
    }

    fn path(&self) -> String {
        self.space.path(ARGO, "rollouts/shop")
    }

    /// Somebody lets a release out.
    pub(crate) fn lets_out(&self, version: &str) {
        let change = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image(version)}]);
        self.cluster.api().patch(&self.path(), &change).unwrap();
    }

    /// Waits until the controller says this of the Rollout as it is now.
    pub(crate) fn comes_to(&self, phase: &str) -> Value {
        until(&format!("a Rollout that is {phase}"), || {
            let found = self.rollout();
            let is_seen =
                found["status"]["observedGeneration"] == found["metadata"]["generation"].to_string().as_str();
            (is_seen && found["status"]["phase"] == phase).then_some(found)
        })
    }

    /// Waits until something holds of what the server knows.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.plant.until(SHOP, what, |_, view| {
            thread::sleep(Duration::from_millis(50));
            holds(view)
        })
    }

    /// How many pods of a release there are.
    pub(crate) fn pods(&self, version: &str) -> usize {
        let pods = self.cluster.api().list(&self.space.path("v1", "pods")).unwrap();
        let is_of = |pod: &&Value| is_there(pod) && pod["spec"]["containers"][0]["image"] == image(version);
        pods.iter().filter(is_of).count()
    }

    /// All pods, all traffic and the template are of this release.
    pub(crate) fn is_all(&self, version: &str) {
        let found = self.comes_to("Healthy");
        assert_eq!(found["spec"]["template"]["spec"]["containers"][0]["image"], image(version));
        assert_eq!(found["status"]["stableRS"], found["status"]["currentPodHash"]);
        until("pods of it alone", || (self.pods(version) == PODS as usize).then_some(()));
    }

    /// The newest incident, and a line for each of its records.
    pub(crate) fn story(&mut self) -> (Value, Vec<String>) {
        let story = self.plant.incidents(SHOP).remove(0);
        let told = story["events"].as_array().into_iter().flatten();
        let told = told.filter_map(|event| event["what"].as_str()).map(str::to_owned).collect();
        (story["incident"].clone(), told)
    }

    /// Waits until a person is paged about something. The double of the pager refuses the first try of each server, so what it hears
    /// twice was taken.
    pub(crate) fn is_paged(&mut self, about: &str) -> String {
        let mut page = None;
        self.plant.until(SHOP, "a person is paged", |plant, _| {
            let mut pages = plant.pages.heard();
            pages.retain(|page| page.contains(about));
            page = pages.pop().filter(|_| !pages.is_empty());
            page.is_some()
        });
        page.unwrap()
    }

    /// Somebody keeps the Rollout as Git says, with this release, and knows nothing of us.
    pub(crate) fn is_kept_at(&self, version: &str) -> Reconciler {
        let (api, path, wanted) = (self.cluster.gitops(), self.path(), image(version));
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let (mut wrote, mut next) = (Vec::new(), Instant::now());
            while !ended.load(Ordering::Relaxed) {
                if Instant::now() >= next {
                    next += RECONCILES;
                    let live =
                        api.get(&path).unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
                    let change = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": wanted}]);
                    if live != wanted.as_str() && api.patch(&path, &change).is_ok() {
                        wrote.push(Instant::now());
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
            wrote
        });
        Reconciler { over, thread: Some(thread) }
    }
}

impl Reconciler {
    /// Stops, and says when it wrote.
    pub(crate) fn wrote(mut self) -> Vec<Instant> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
