//! One target of the chart: what is there, and how the server's hands run its executor.

use backstay_sdk::executor::{Deed, Http, Outcome, Release, Steps, Task};
use backstay_test_k8s::{Api, Fault, Namespace, Ran};
use executor_deployment::Deployment;
use serde_json::{Value, json};

use super::{
    installed::{
        granted::{lines, refused},
        waits,
    },
    world::World,
};

pub(crate) const APPS: &str = "apps/v1";
pub(crate) const ARGO: &str = "argoproj.io/v1alpha1";

/// One target.
#[derive(Clone, Copy)]
pub(crate) struct Target<'w> {
    pub(crate) world: &'w World,
    pub(crate) name: &'static str,
    /// Of which version, and what it is called there.
    pub(crate) what: (&'static str, &'static str),
}

pub(crate) fn image(version: &str) -> String {
    format!("registry.test/shop:{version}")
}

pub(crate) fn release(version: &str) -> Release {
    Release { version: version.into(), digest: "ab".repeat(32), length: 0, security_epoch: 0 }
}

impl Target<'_> {
    pub(crate) fn api(&self) -> &Api {
        self.world.api()
    }

    pub(crate) fn space(&self) -> &Namespace {
        &self.world.spaces[self.name]
    }

    pub(crate) fn at(&self, version: &str, what: &str) -> String {
        self.space().path(version, what)
    }

    /// Itself.
    pub(crate) fn path(&self) -> String {
        self.at(self.what.0, &format!("{}/{}", self.what.1, self.name))
    }

    pub(crate) fn has(&self, object: &Value) {
        self.api().create(&self.at(self.what.0, self.what.1), object).unwrap();
    }

    /// Something else that is in its namespace, called like it.
    pub(crate) fn has_beside(&self, version: &str, plural: &str, kind: &str, mut object: Value) -> String {
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = self.name.into();
        self.api().create(&self.at(version, plural), &object).unwrap();
        self.at(version, &format!("{plural}/{}", self.name))
    }

    pub(crate) fn ready(&self) -> Value {
        self.api().get(&self.path()).unwrap()["status"]["readyReplicas"].clone()
    }

    pub(crate) fn is_whole(&self) {
        waits("all pods ready", || self.ready() == 2);
    }

    /// What its pods are known by.
    pub(crate) fn labels(&self) -> Value {
        self.api().get(&self.path()).unwrap()["spec"]["selector"]["matchLabels"].clone()
    }

    pub(crate) fn pods(&self) -> Vec<String> {
        let (mut pods, labels) = (self.api().list(&self.at("v1", "pods")).unwrap(), self.labels());
        pods.retain(|pod| {
            let metadata = &pod["metadata"];
            metadata["deletionTimestamp"].is_null()
                && metadata["labels"]["app"] == labels["app"]
                && metadata["name"] != "stuck"
        });
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn falls_ill(&self, fault: Option<Fault>) {
        let pod = self.pods().remove(0);
        self.world.it.cluster.kubelet().fault_of_pod(self.space().name(), &pod, fault.as_ref()).unwrap();
    }

    pub(crate) fn lets_out(&self, version: &str) {
        let images = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image(version) }]);
        self.api().patch(&self.path(), &images).unwrap();
    }

    pub(crate) fn runs<E: Steps>(&self, task: Task) -> Ran {
        let ran = self.world.host.run::<E>(&self.world.it.settings(self.name), task);
        for (effect, _) in &ran.effects {
            if let Deed::Http(Http { method, path, .. }) = &effect.deed {
                let path = path.split(['?', '#']).next().unwrap();
                self.world.asked.borrow_mut().insert((effect.access, method.clone(), path.into()));
            }
        }
        ran
    }

    #[track_caller]
    pub(crate) fn plays<E: Steps>(&self, playbook: &str) -> Ran {
        let ran = self.runs::<E>(Task::Heal(playbook.into()));
        assert_eq!(ran.outcome, Outcome::Done, "{playbook} of {}: {:#?}", self.name, ran.told());
        ran
    }

    #[track_caller]
    pub(crate) fn goes_home<E: Steps>(&self) -> Ran {
        let ran = self.runs::<E>(Task::GoHome(release("1.0.0")));
        let asked = self.world.it.asked();
        assert_eq!(ran.outcome, Outcome::Done, "{:#?}\n{}", ran.told(), lines(&refused(&asked)));
        ran
    }

    /// All that can be done to a Deployment of which nothing is healed.
    #[track_caller]
    pub(crate) fn is_brought_back(&self) {
        self.is_looked_at::<Deployment>();
        self.plays::<Deployment>("hold");
        self.plays::<Deployment>("go-on");
        self.lets_out("2.0.0");
        self.goes_home::<Deployment>();
    }
}
