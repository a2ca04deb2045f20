//! Which object a target is.

use alloc::string::String;

use backstay_sdk::settings::Setting;

use crate::{
    resource::{Kind, Resource},
    settings::{NAME, NAMESPACE},
};

/// An object with a pod template and pods: a Deployment, a Rollout, a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Of which kind.
    pub kind: Kind,
    /// Where.
    pub namespace: String,
    /// Which.
    pub name: String,
}

impl Workload {
    /// The one that the settings name.
    #[must_use]
    pub fn of(kind: Kind, config: &[Setting]) -> Self {
        Self { kind, namespace: NAMESPACE.of(config).into(), name: NAME.of(config).into() }
    }

    /// Where it is on the API server.
    #[must_use]
    pub fn resource(&self) -> Resource {
        self.kind.named(&self.namespace, &self.name)
    }

    /// "Deployment prod/shop", for people.
    #[must_use]
    pub fn told(&self) -> String {
        alloc::format!("{} {}/{}", self.kind.kind, self.namespace, self.name)
    }
}
