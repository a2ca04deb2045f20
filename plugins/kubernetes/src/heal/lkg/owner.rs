//! Who keeps an object as Git has it: an Application of Argo CD, or a Kustomization of Flux.
//!
//! What such a one keeps it would change back, or mark as drifted. So it is asked to do what it does anyhow, for this object, and waited for. Not
//! here: whether what it has in Git is what is wanted, which a look at the object says.
//!
//! A sync writes all keys of an object. So where it has credentials nobody is asked: what Git has of them may be old.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    quote,
    settings::{Problem, Setting, Text, problem},
};
use serde_json::{Value, json};

use super::wanted::{Id, Wanted};
use crate::{
    api::{Cluster, Written, is_true, text},
    heal::{TRIES, named},
    owners::{ARGOCD_ENDPOINT, ARGOCD_NAMESPACE},
    resource::{APPLICATIONS, HELM_RELEASES, KUSTOMIZATIONS, Kind, is_dns_name},
};

pub(super) const OWNER: Text = Text {
    name: "lkg-owner",
    default: "",
    help: "Who keeps these objects as Git has them, and is asked to sync: application/NAMESPACE/NAME of Argo CD, or kustomization/NAMESPACE/NAME of Flux. Empty: whoever marks them.",
};

/// Where Flux is told to reconcile, and tells up to which word it has.
const REQUESTED: &str = "reconcile.fluxcd.io/requestedAt";

/// Who keeps an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Owner {
    /// What is wrong with the setting.
    pub(super) fn problem(config: &[Setting]) -> Option<Problem> {
        let written = OWNER.of(config);
        let why = "expected application/NAMESPACE/NAME or kustomization/NAMESPACE/NAME";
        (!written.is_empty() && Self::parse(written).is_none()).then(|| problem(OWNER.name, why))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = [APPLICATIONS, KUSTOMIZATIONS]
            .into_iter()
            .find(|known| known.kind.to_ascii_lowercase() == kind)?;
        let is_one = parts.next().is_none() && is_dns_name(namespace) && is_dns_name(name);
        is_one.then(|| Self { kind, namespace: namespace.into(), name: name.into() })
    }

    /// Who keeps an object with these labels and annotations. `None`: nobody, so that we may change it.
    ///
    /// # Errors
    /// It is somebody who can't be asked, or another one than the setting names.
    pub(super) fn of(config: &[Setting], id: &Id, marks: &Value) -> Result<Option<Self>, Failed> {
        let (named, marked) = (Self::parse(OWNER.of(config)), Self::marked(config, id, marks));
        let told = id.told();
        match (named, marked) {
            (None, Some(owner)) if owner.kind == HELM_RELEASES => Err(permanent(format!(
                "{told} is kept by {}, which brings back no single object",
                owner.told()
            ))),
            (Some(named), Some(marked)) if named != marked => Err(permanent(format!(
                "{told} is kept by {}, and the setting lkg-owner names {}",
                marked.told(),
                named.told()
            ))),
            (Some(owner), _) | (None, Some(owner)) => Ok(Some(owner)),
            (None, None) => Ok(None),
        }
    }

    /// Who has marked an object as theirs. A label that Argo CD may use and Helm's charts have, too, is no mark.
    fn marked(config: &[Setting], id: &Id, marks: &Value) -> Option<Self> {
        let mark = |at: &str| marks.pointer(at).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(tracked) = mark("/annotations/argocd.argoproj.io~1tracking-id") {
            // Whoever copies an object copies its annotations: a mark of another object is none.
            let (app, object) = tracked.split_once(':')?;
            let is_this =
                object == format!("{}/{}:{}/{}", id.kind.group, id.kind.kind, id.namespace, id.name);
            // Where Applications are in several namespaces one is called namespace_name.
            let (namespace, name) = app.split_once('_').unwrap_or((ARGOCD_NAMESPACE.of(config), app));
            return is_this.then(|| Self {
                kind: APPLICATIONS,
                namespace: namespace.into(),
                name: name.into(),
            });
        }
        if mark("/annotations/kustomize.toolkit.fluxcd.io~1reconcile") == Some("disabled") {
            return None;
        }
        [(KUSTOMIZATIONS, "kustomize.toolkit.fluxcd.io"), (HELM_RELEASES, "helm.toolkit.fluxcd.io")]
            .into_iter()
            .find_map(|(kind, group)| {
                let of = |part: &str| mark(&format!("/labels/{group}~1{part}")).map(String::from);
                Some(Self { kind, namespace: of("namespace")?, name: of("name")? })
            })
    }

    /// "Application argocd/shop", for people.
    pub(super) fn told(&self) -> String {
        format!("{} {}/{}", self.kind.kind, named(&self.namespace), named(&self.name))
    }

    /// Has it sync the object, and waits until it has. `version` is the object's; `replace` says that keys have to go, too.
    ///
    /// # Errors
    /// Why it doesn't.
    pub(super) async fn sync(
        &self,
        cluster: &Cluster<'_>,
        wanted: &Wanted,
        version: &Value,
        replace: bool,
    ) -> Result<(), Failed> {
        if wanted.has_credentials() {
            let why = format!(
                "{} has credentials, and a sync by {} would write these, too: sync it yourself",
                wanted.id.told(),
                self.told()
            );
            return Err(permanent(why));
        }
        match ARGOCD_ENDPOINT.of(cluster.config()) {
            _ if self.kind == KUSTOMIZATIONS => self.reconciles(cluster, version).await,
            "" => self.operates(cluster, &wanted.id, replace).await,
            endpoint => self.operates(&cluster.through(endpoint), &wanted.id, replace).await,
        }
    }

    /// Argo CD: an operation on the Application, of this one resource.
    async fn operates(&self, cluster: &Cluster<'_>, id: &Id, replace: bool) -> Result<(), Failed> {
        let (of, told) = (self.kind.named(&self.namespace, &self.name), self.told());
        let over =
            |seen: Option<&Value>| seen.is_none_or(|seen| seen.get("operation").is_none()).then_some(());
        let too_long = || transient(format!("{told} has not ended its sync in time"));
        for _ in 0..TRIES {
            // Somebody else's may be under way.
            cluster.until(&of, &["/operation/initiatedBy"], over).await?.ok_or_else(too_long)?;
            let fields = ["/metadata/uid", "/metadata/resourceVersion", "/operation/initiatedBy"];
            let seen = cluster.need(&of, &fields, &told).await?;
            if over(Some(&seen)).is_none() {
                continue;
            }
            let resource = json!({ "group": id.kind.group, "kind": id.kind.kind, "name": id.name, "namespace": id.namespace });
            let mut sync = json!({ "resources": [resource] });
            if replace {
                // An apply leaves keys where they are that somebody else has added.
                sync["syncOptions"] = json!(["Replace=true"]);
            }
            let operation = json!({ "initiatedBy": { "username": "backstay" }, "sync": sync });
            let operations = Vec::from([
                json!({ "op": "test", "path": "/metadata/uid", "value": seen.pointer("/metadata/uid") }),
                json!({ "op": "test", "path": "/metadata/resourceVersion", "value": seen.pointer("/metadata/resourceVersion") }),
                json!({ "op": "add", "path": "/operation", "value": operation }),
            ]);
            match cluster.patch(&of, &operations).await? {
                // Where nobody knows, it is waited for as well: if it wasn't made, the object still differs afterwards.
                Written::Done | Written::Unknown => {}
                Written::Refused(refused) if matches!(refused.status, 409 | 422) => continue,
                Written::Refused(refused) => return Err(refused.failed(&format!("the sync by {told}"))),
            }
            let state =
                ["/operation/initiatedBy", "/status/operationState/phase", "/status/operationState/message"];
            let ended = |seen: Option<&Value>| {
                let seen = seen.filter(|seen| seen.get("operation").is_none())?;
                Some((
                    text(seen, "/status/operationState/phase").to_string(),
                    text(seen, "/status/operationState/message").to_string(),
                ))
            };
            let (phase, message) = cluster.until(&of, &state, ended).await?.ok_or_else(too_long)?;
            return match phase.as_str() {
                "Failed" | "Error" => {
                    Err(transient(format!("the sync by {told} failed: {}", quote::text(&message))))
                }
                _ => Ok(()),
            };
        }
        Err(transient(format!("{told} is changed faster than it can be asked to sync")))
    }

    /// Flux: a word that the Kustomization hasn't been asked by before.
    async fn reconciles(&self, cluster: &Cluster<'_>, version: &Value) -> Result<(), Failed> {
        let (of, told) = (self.kind.named(&self.namespace, &self.name), self.told());
        let fields = ["/metadata/resourceVersion", "/spec/suspend"];
        let seen = cluster.need(&of, &fields, &told).await?;
        if is_true(&seen, "/spec/suspend") {
            return Err(permanent(format!("{told} is suspended, and syncs nothing")));
        }
        let version = version.as_str().unwrap_or_default();
        let word = format!("backstay-{version}-{}", text(&seen, "/metadata/resourceVersion"));
        let ask = json!({ "metadata": { "annotations": { REQUESTED: word } } });
        for _ in 0..TRIES {
            match cluster.merge(&of, &ask).await? {
                Written::Done => break,
                // Asked twice by the same word it is asked once.
                Written::Unknown => {}
                Written::Refused(refused) => return Err(refused.failed(&format!("asking {told} to sync"))),
            }
        }
        let handled =
            |seen: Option<&Value>| (text(seen?, "/status/lastHandledReconcileAt") == word).then_some(());
        let handled = cluster.until(&of, &["/status/lastHandledReconcileAt"], handled).await?;
        handled.ok_or_else(|| transient(format!("{told} has not synced in time")))
    }
}
