//! Where a Rollout's template is: in itself, or in the Deployment that its `workloadRef` names.

use alloc::{format, string::String, vec::Vec};

use backstay_kubernetes::{
    api::{Cluster, number, text},
    json::Value,
    owners::MARKS,
    resource::{DEPLOYMENTS, Resource},
    revisions::in_vain::IN_VAIN_FIELD,
    template::{self, Told},
    workload::Workload,
};
use backstay_sdk::{
    executor::{Failed, permanent},
    quote,
};

/// What is read of a Deployment that holds a template for others.
const FIELDS: [&str; 5] = [
    "/metadata/uid",
    "/metadata/generation",
    "/metadata/annotations/deployment.kubernetes.io~1revision",
    IN_VAIN_FIELD,
    "/spec/selector",
];

/// An object with a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    pub(crate) workload: Workload,
    /// What was read of it.
    pub(crate) fields: Value,
    /// What its template runs.
    pub(crate) told: Option<Told>,
}

impl Source {
    /// Where the template is of a Rollout of which these fields were read.
    pub(crate) async fn of(
        cluster: &Cluster<'_>,
        rollout: &Workload,
        fields: &Value,
    ) -> Result<Self, Failed> {
        let told = |fields: &Value| {
            fields.pointer("/spec/template").and_then(|template| Told::of(template, cluster.config()))
        };
        let name = text(fields, "/spec/workloadRef/name");
        if name.is_empty() {
            return Ok(Self { workload: rollout.clone(), told: told(fields), fields: fields.clone() });
        }
        let (kind, version) =
            (text(fields, "/spec/workloadRef/kind"), text(fields, "/spec/workloadRef/apiVersion"));
        if kind != DEPLOYMENTS.kind || !version.starts_with("apps/") {
            return Err(permanent(format!(
                "its template is in a {}, and not in a Deployment",
                quote::text(kind)
            )));
        }
        let workload = Workload { kind: DEPLOYMENTS, name: name.into(), ..rollout.clone() };
        let template = template::fields("/spec/template", cluster.config());
        let all = FIELDS.into_iter().chain(MARKS).chain(template.iter().map(String::as_str));
        let all: Vec<&str> = all.collect();
        let fields = cluster.need(&workload.resource(), &all, &workload.told()).await?;
        Ok(Self { workload, told: told(&fields), fields })
    }

    pub(crate) fn resource(&self) -> Resource {
        self.workload.resource()
    }

    pub(crate) fn uid(&self) -> &str {
        text(&self.fields, "/metadata/uid")
    }

    /// Grows with each change of what is asked of it.
    pub(crate) fn generation(&self) -> i64 {
        number(&self.fields, "/metadata/generation").unwrap_or(0)
    }
}
