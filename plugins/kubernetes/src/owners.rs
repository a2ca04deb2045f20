//! Who else writes a workload: GitOps controllers, which put back what Git says.
//!
//! Git still has the bad release. So before anything is brought back its owners are stopped: an Application of Argo CD loses
//! `spec.syncPolicy.automated`, a Kustomization or HelmRelease of Flux gets `spec.suspend`. What was there before is kept in an
//! annotation on the owner itself, and is what [`thaw`] puts back, exactly. An owner that was stopped already isn't ours, and stays as
//! it is. Not here: when an owner goes on again (a person says so, when Git is mended).

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, all, permanent},
    quote,
    settings::{Flag, Problem, Setting, SettingInfo, Text, Texts, is_name, problem},
};
use serde_json::{Value, json};

use crate::{
    api::{Cluster, text},
    edit::{Left, annotated, edit, known},
    resource::{APPLICATIONS, HELM_RELEASES, KUSTOMIZATIONS, Kind, Resource, is_dns_name},
    workload::Workload,
};

/// The playbook that lets owners go on.
pub const UNFREEZE: &str = "unfreeze";
/// The annotation on an owner that we stopped: what was there before.
pub const FROZEN: &str = "backstay.dev/frozen";
const FROZEN_FIELD: &str = "/metadata/annotations/backstay.dev~1frozen";

/// Whether owners are found by themselves.
pub const FIND: Flag = Flag {
    name: "find-owners",
    default: true,
    help: "Whether the owners that the target's labels and annotations name are stopped too, beside those that are named here.",
};
/// The Applications that own the target.
pub const ARGOCD: Texts = Texts {
    name: "argocd-applications",
    help: "The Applications of Argo CD that write the target, each as namespace/name: an Application of Applications too, where it would turn the others' sync on again.",
};
/// Where Argo CD is.
pub const ARGOCD_NAMESPACE: Text = Text {
    name: "argocd-namespace",
    default: "argocd",
    help: "The namespace of Argo CD's Applications, where the target names no other.",
};
/// Which API server has the Applications.
pub const ARGOCD_ENDPOINT: Text = Text {
    name: "argocd-endpoint",
    default: "",
    help: "The endpoint of the API server that has Argo CD's Applications. Empty: the target's own.",
};
/// The Kustomizations that own the target.
pub const FLUX_KUSTOMIZATIONS: Texts = Texts {
    name: "flux-kustomizations",
    help: "The Kustomizations of Flux that write the target, each as namespace/name.",
};
/// The HelmReleases that own the target.
pub const FLUX_HELM_RELEASES: Texts = Texts {
    name: "flux-helmreleases",
    help: "The HelmReleases of Flux that write the target, each as namespace/name.",
};

/// All of them, for `describe`.
#[must_use]
pub fn infos() -> Vec<SettingInfo> {
    Vec::from([
        FIND.info(),
        ARGOCD.info(),
        ARGOCD_NAMESPACE.info(),
        ARGOCD_ENDPOINT.info(),
        FLUX_KUSTOMIZATIONS.info(),
        FLUX_HELM_RELEASES.info(),
    ])
}

/// What is wrong with them.
#[must_use]
pub fn problems(config: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for setting in [ARGOCD, FLUX_KUSTOMIZATIONS, FLUX_HELM_RELEASES] {
        for named in setting.of(config).iter().filter(|named| split(named).is_none()) {
            problems.push(problem(setting.name, format!("{named:?} is not written as namespace/name")));
        }
    }
    if !is_dns_name(ARGOCD_NAMESPACE.of(config)) {
        problems.push(problem(ARGOCD_NAMESPACE.name, "a namespace is called by a-z, 0-9 and -"));
    }
    let endpoint = ARGOCD_ENDPOINT.of(config);
    if !endpoint.is_empty() && !is_name(endpoint) {
        problems.push(problem(ARGOCD_ENDPOINT.name, "an endpoint is 1 to 64 of a-z, 0-9 and -"));
    }
    problems
}

/// What of a workload names its owners: what [`Owner::all`] reads.
pub const MARKS: [&str; 2] = ["/metadata/labels", "/metadata/annotations/argocd.argoproj.io~1tracking-id"];

/// Somebody who writes a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    kind: Kind,
    namespace: String,
    name: String,
    named: By,
}

/// Who says that it is an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The operator. It has to be there.
    Operator,
    /// The controller's own mark on the workload. It may be gone since.
    Mark,
    /// A label that others write, too. It has to look like it.
    Label,
}

/// An owner as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    owner: Owner,
    seen: Value,
}

impl Owner {
    /// The owners of a workload of which [`MARKS`] were read, each once.
    #[must_use]
    pub fn all(config: &[Setting], workload: &Workload, seen: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for (setting, kind) in [
            (ARGOCD, APPLICATIONS),
            (FLUX_KUSTOMIZATIONS, KUSTOMIZATIONS),
            (FLUX_HELM_RELEASES, HELM_RELEASES),
        ] {
            let named = setting.of(config).iter().filter_map(|named| split(named));
            all.extend(named.map(|(namespace, name)| Self::new(kind, namespace, name, By::Operator)));
        }
        if FIND.of(config) {
            all.extend(Self::of_argo(config, workload, seen));
            let label = |key: &str| {
                seen.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str)
            };
            for (kind, group) in
                [(KUSTOMIZATIONS, "kustomize.toolkit.fluxcd.io"), (HELM_RELEASES, "helm.toolkit.fluxcd.io")]
            {
                let (namespace, name) =
                    (label(&format!("{group}/namespace")), label(&format!("{group}/name")));
                let marked =
                    namespace.zip(name).map(|(namespace, name)| Self::new(kind, namespace, name, By::Mark));
                all.extend(marked);
            }
        }
        Self::once(all)
    }

    /// Each of them once, by whoever named it first.
    #[must_use]
    pub fn once(all: Vec<Self>) -> Vec<Self> {
        let mut once: Vec<Self> = Vec::new();
        for owner in all {
            if !once.iter().any(|it| it.resource() == owner.resource()) {
                once.push(owner);
            }
        }
        once
    }

    /// Argo CD marks what it writes with an annotation, `shop:apps/Deployment:prod/shop`, or, as it used to and can still be told
    /// to, with a label that Helm's charts have, too.
    fn of_argo(config: &[Setting], workload: &Workload, seen: &Value) -> Option<Self> {
        let tracked = text(seen, "/metadata/annotations/argocd.argoproj.io~1tracking-id");
        let usual = ARGOCD_NAMESPACE.of(config);
        if tracked.is_empty() {
            let name = text(seen, "/metadata/labels/app.kubernetes.io~1instance");
            return is_dns_name(name).then(|| Self::new(APPLICATIONS, usual, name, By::Label));
        }
        let (app, object) = tracked.split_once(':')?;
        let Workload { kind, namespace, name } = workload;
        // Whoever copies an object copies its annotations: such a mark is another object's.
        if object != format!("{}/{}:{namespace}/{name}", kind.group, kind.kind) {
            return None;
        }
        // One that is in another namespace than Argo CD itself is called `namespace_name`.
        let (namespace, name) = app.split_once('_').unwrap_or((usual, app));
        (is_dns_name(namespace) && is_dns_name(name))
            .then(|| Self::new(APPLICATIONS, namespace, name, By::Mark))
    }

    fn new(kind: Kind, namespace: &str, name: &str, named: By) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into(), named }
    }

    fn resource(&self) -> Resource {
        self.kind.named(&self.namespace, &self.name)
    }

    /// "Application argocd/shop", for people.
    fn told(&self) -> String {
        format!("{} {}", self.kind.kind, quote::text(&format!("{}/{}", self.namespace, self.name)))
    }

    fn fields(&self) -> [&'static str; 3] {
        if self.kind == APPLICATIONS {
            [FROZEN_FIELD, "/spec/syncPolicy/automated", "/spec/destination/namespace"]
        } else {
            [FROZEN_FIELD, "/spec/suspend", "/spec/suspend"]
        }
    }

    /// What makes it write, as it is now. `None`: it writes nothing by itself.
    fn drive(&self, seen: &Value) -> Option<Value> {
        if self.kind == APPLICATIONS {
            let automated = seen.pointer("/spec/syncPolicy/automated").filter(|it| !it.is_null())?;
            (automated.get("enabled") != Some(&Value::Bool(false))).then(|| json!({ "automated": automated }))
        } else {
            let suspend = seen.pointer("/spec/suspend").cloned().unwrap_or_default();
            (suspend != Value::Bool(true)).then(|| json!({ "suspend": suspend }))
        }
    }

    /// The change that stops it, with what is there now as what was there before.
    fn stopped(&self, seen: &Value) -> Option<Value> {
        let before = self.drive(seen)?;
        let mut patch = annotated(FROZEN, Some(&before.to_string()));
        patch["spec"] = if self.kind == APPLICATIONS {
            json!({ "syncPolicy": { "automated": null } })
        } else {
            json!({ "suspend": true })
        };
        Some(patch)
    }

    /// The change that puts back what was there before, if it was us. What somebody set meanwhile stays.
    fn restored(&self, seen: &Value) -> Result<Option<Value>, Failed> {
        let noted = text(seen, FROZEN_FIELD);
        if noted.is_empty() {
            return Ok(None);
        }
        let mut patch = annotated(FROZEN, None);
        if self.drive(seen).is_none() {
            let before: Value = serde_json::from_str(noted).unwrap_or_default();
            let unread = || permanent(format!("{} says in {FROZEN} what nobody can read", self.told()));
            patch["spec"] = if self.kind == APPLICATIONS {
                let automated = before.get("automated").filter(|it| it.is_object()).ok_or_else(unread)?;
                json!({ "syncPolicy": { "automated": automated } })
            } else {
                let suspend = before.get("suspend").filter(|it| !it.is_string()).ok_or_else(unread)?;
                json!({ "suspend": suspend })
            };
        }
        Ok(Some(patch))
    }
}

/// Looks at owners, all at once. One that isn't there, or only looks like one, is left out.
///
/// # Errors
/// One can't be read, or one that the operator named isn't there.
pub async fn look(
    cluster: &Cluster<'_>,
    workload: &Workload,
    owners: Vec<Owner>,
) -> Result<Vec<Found>, Failed> {
    let looks = owners.into_iter().map(async |owner| {
        let through = through(cluster, &owner);
        let seen = match through.get(&owner.resource(), &known(&owner.fields())).await {
            // A guess that can't be looked at is no owner that anybody knows of.
            Err(_) if owner.named == By::Label => None,
            seen => seen?,
        };
        match seen {
            None if owner.named == By::Operator => {
                Err(permanent(format!("{} isn't there, which the settings name", owner.told())))
            }
            Some(seen) if owner.named == By::Label => {
                let is_of_here = text(&seen, "/spec/destination/namespace") == workload.namespace;
                Ok(is_of_here.then_some(Found { owner, seen }))
            }
            seen => Ok(seen.map(|seen| Found { owner, seen })),
        }
    });
    let found: Result<Vec<Option<Found>>, Failed> = all(looks.collect()).await.into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}

/// Stops them, all at once. Those that write nothing by themselves stay as they are.
///
/// # Errors
/// One can't be stopped. Others may be.
pub async fn freeze(cluster: &Cluster<'_>, found: Vec<Found>) -> Result<(), Failed> {
    change(cluster, found, "stopping", |owner, seen| Ok(owner.stopped(seen))).await
}

/// Lets those go on that we stopped, as they were before.
///
/// # Errors
/// One can't be changed, or says nothing of how it was. Others may go on.
pub async fn thaw(cluster: &Cluster<'_>, found: Vec<Found>) -> Result<(), Failed> {
    change(cluster, found, "restoring", Owner::restored).await
}

async fn change(
    cluster: &Cluster<'_>,
    found: Vec<Found>,
    what: &str,
    of: impl Fn(&Owner, &Value) -> Result<Option<Value>, Failed>,
) -> Result<(), Failed> {
    let changes = found.into_iter().map(async |Found { owner, seen }| {
        let what = format!("{what} {}", owner.told());
        let (at, fields, through) = (owner.resource(), owner.fields(), through(cluster, &owner));
        // One that is gone meanwhile writes nothing.
        let left: Left = edit(&through, &at, &fields, &what, Some(seen), |seen| of(&owner, seen)).await?;
        Ok::<Left, Failed>(left)
    });
    all(changes.collect()).await.into_iter().try_for_each(|left| left.map(|_| ()))
}

/// What they were like, for the evidence.
#[must_use]
pub fn told(found: &[Found]) -> Value {
    let one = |Found { owner, seen }: &Found| {
        let drive = owner.drive(seen).unwrap_or_default();
        json!({ "owner": format!("{} {}/{}", owner.kind.kind, owner.namespace, owner.name), "was": drive })
    };
    found.iter().map(one).collect()
}

/// Argo CD may write to other clusters than its own.
fn through<'a>(cluster: &Cluster<'a>, owner: &Owner) -> Cluster<'a> {
    match ARGOCD_ENDPOINT.of(cluster.ctx().config()) {
        endpoint if owner.kind == APPLICATIONS && !endpoint.is_empty() => cluster.through(endpoint),
        _ => cluster.clone(),
    }
}

fn split(named: &str) -> Option<(&str, &str)> {
    named.split_once('/').filter(|(namespace, name)| is_dns_name(namespace) && is_dns_name(name))
}

#[cfg(test)]
mod tests;
