//! What a roll-back would delete, and the refusal to where that holds data.
//!
//! Helm deletes what the manifest of the newest revision has and the one that is gone back to hasn't. Of most things another one can be made; a
//! claim, a volume, a namespace and a definition of objects are gone with all that is in them. What the manifests say is read by
//! `helm-look.sh preview`; what counts in the end is what is on the API server, as for Helm: what isn't there can't be lost, and what bears
//! `helm.sh/resource-policy: keep` there is kept. What can't be looked at counts as lost.

use alloc::{format, string::String, vec, vec::Vec};

use backstay_kubernetes::{
    api::{number, text},
    json::Value,
    resource::{Kind, Resource, STATEFUL_SETS},
};
use backstay_sdk::{
    deed,
    executor::{Failed, all, permanent},
    quote,
};

use crate::{
    config::{ALLOWED, REFUSED},
    desk::{Desk, ended},
};

const CLAIMS: Kind =
    Kind { group: "", version: "v1", plural: "persistentvolumeclaims", kind: "PersistentVolumeClaim" };
const VOLUMES: Kind =
    Kind { group: "", version: "v1", plural: "persistentvolumes", kind: "PersistentVolume" };
const NAMESPACES: Kind = Kind { group: "", version: "v1", plural: "namespaces", kind: "Namespace" };
const DEFINITIONS: Kind = Kind {
    group: "apiextensions.k8s.io",
    version: "v1",
    plural: "customresourcedefinitions",
    kind: "CustomResourceDefinition",
};
/// Those that belong to no namespace.
const OF_CLUSTER: [Kind; 3] = [VOLUMES, NAMESPACES, DEFINITIONS];
const KEEP_FIELD: &str = "/metadata/annotations/helm.sh~1resource-policy";
const DELETED_FIELD: &str = "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted";
/// What is read of each that may be lost.
const FIELDS: [&str; 4] = ["/metadata/uid", KEEP_FIELD, DELETED_FIELD, "/spec/replicas"];
/// A failure has 256 bytes.
const NAME_CHARS_MAX: usize = 70;
/// So many are looked at. Whoever would lose more has to be asked anyhow.
const LOOKS_MAX: usize = 16;

/// What the manifests say of one roll-back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preview {
    /// What may be lost, with what it holds.
    risks: Vec<Risk>,
    /// Whether anything is deleted at all.
    deletes: bool,
    /// All of it, for the evidence.
    told: String,
}

/// Something that may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Risk {
    /// As it is written in a manifest.
    kind: String,
    /// None, where `space` is empty.
    space: String,
    name: String,
    how: How,
    /// Whether the manifest alone says that it is lost.
    is_said: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It isn't in the manifest that is gone back to.
    Removed,
    /// A hook is made in its place.
    Hook,
    /// The claims of a StatefulSet that isn't there any more.
    Claims,
    /// The claims of a StatefulSet beyond so many replicas.
    Scaled(i64),
}

impl Preview {
    /// Compares the revision that is left with the one that is gone back to.
    pub(crate) async fn of(desk: &Desk<'_>, from: u32, to: u32) -> Result<Self, Failed> {
        let mut args = vec![format!("{from}"), format!("{to}")];
        args.extend(REFUSED.of(desk.config()).iter().cloned());
        Self::parse(&desk.look("preview", args).await?, to)
    }

    fn parse(lines: &[String], to: u32) -> Result<Self, Failed> {
        let mut preview = Self { told: lines.join("\n"), ..Self::default() };
        for line in ended("preview", lines, "end")?.1 {
            let words: Vec<&str> = line.split(' ').collect();
            let risk = match words.as_slice() {
                ["deletes" | "deletes-more", ..] => None,
                ["loses", kind, space, name, how] => Some(Risk::of(kind, space, name, how, true)?),
                ["keeps", kind, space, name, how] => Some(Risk::of(kind, space, name, how, false)?),
                ["scales", kind, space, name, replicas] => {
                    let replicas = replicas.parse().map_err(|_| odd(line))?;
                    let (kind, space, name) = ((*kind).into(), known(space), (*name).into());
                    Some(Risk { kind, space, name, how: How::Scaled(replicas), is_said: false })
                }
                ["unreadable", side, ..] => {
                    let side = if *side == "from" { "now" } else { "of the way back" };
                    let why = quote::text(line.splitn(3, ' ').last().unwrap_or_default());
                    let what = format!(
                        "what going back to revision {to} deletes can't be told, so nothing was changed"
                    );
                    return Err(permanent(format!("{what}: of the manifest {side} {why}")));
                }
                _ => return Err(odd(line)),
            };
            preview.deletes = true;
            preview.risks.extend(risk);
        }
        Ok(preview)
    }

    /// Whether anything would be deleted.
    pub(crate) fn deletes(&self) -> bool {
        self.deletes
    }

    /// Keeps it as evidence.
    pub(crate) async fn attach(self, desk: &Desk<'_>, name: &str) -> Result<(), Failed> {
        desk.ctx().look(deed::attach(name, self.told.into_bytes())).await?;
        Ok(())
    }

    /// That nothing is lost on the way back to `to`, unless the settings allow it.
    pub(crate) async fn allows(&self, desk: &Desk<'_>, to: u32) -> Result<(), Failed> {
        let allowed = ALLOWED.of(desk.config());
        let risks: Vec<&Risk> =
            self.risks.iter().filter(|risk| !allowed.iter().any(|one| *one == risk.permit())).collect();
        let more = risks.len().saturating_sub(LOOKS_MAX);
        let looks =
            risks.into_iter().take(LOOKS_MAX).map(async |risk| risk.is_lost(desk).await.then_some(risk));
        let lost: Vec<&Risk> = all(looks.collect()).await.into_iter().flatten().collect();
        let Some(first) = lost.first() else {
            if more == 0 {
                return Ok(());
            }
            let why = format!("going back to revision {to} would delete {more} more than can be looked at");
            return Err(permanent(format!("{why}: nothing was changed")));
        };
        let others = match lost.len() + more - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let what = short(&first.told());
        Err(permanent(format!(
            "going back to revision {to} would delete {what}{others}: nothing was changed; deletes-allowed = [\"{}\"] allows it",
            short(&first.permit()),
        )))
    }
}

impl Risk {
    fn of(kind: &str, space: &str, name: &str, how: &str, is_said: bool) -> Result<Self, Failed> {
        let how = match how {
            "removed" => How::Removed,
            "hook" => How::Hook,
            "claims" => How::Claims,
            _ => return Err(odd(how)),
        };
        Ok(Self { kind: kind.into(), space: known(space), name: name.into(), how, is_said })
    }

    /// What the setting `deletes-allowed` calls it.
    fn permit(&self) -> String {
        let kind = self.kind.split('.').next().unwrap_or_default();
        format!("{kind}/{}", self.name)
    }

    fn told(&self) -> String {
        let kind = self.kind.split('.').next().unwrap_or_default();
        let space = if self.space.is_empty() { String::new() } else { format!("{}/", self.space) };
        match self.how {
            How::Removed => format!("{kind} {space}{}", self.name),
            How::Hook => format!("{kind} {space}{}, which is a hook", self.name),
            How::Claims | How::Scaled(_) => format!("claims of {kind} {space}{}", self.name),
        }
    }

    /// Where it is on the API server; `None` of a kind that only the settings name.
    fn resource(&self) -> Option<Resource> {
        let known = [CLAIMS, VOLUMES, NAMESPACES, DEFINITIONS, STATEFUL_SETS];
        let kind = known.into_iter().find(|kind| format!("{}.{}", kind.kind, kind.group) == self.kind)?;
        Some(if OF_CLUSTER.contains(&kind) {
            kind.of_cluster(&self.name)
        } else {
            kind.named(&self.space, &self.name)
        })
    }

    async fn is_lost(&self, desk: &Desk<'_>) -> bool {
        let Some(at) = self.resource() else { return self.is_said };
        match desk.cluster.get(&at, &FIELDS).await {
            Ok(None) => false,
            Ok(Some(seen)) => self.loses(&seen),
            Err(_) => true,
        }
    }

    /// Whether it is lost, with what is on the API server.
    fn loses(&self, seen: &Value) -> bool {
        let is_kept = text(seen, KEEP_FIELD) == "keep";
        match self.how {
            How::Removed => !is_kept,
            How::Hook => true,
            How::Claims => !is_kept && text(seen, DELETED_FIELD) == "Delete",
            How::Scaled(to) => number(seen, "/spec/replicas").unwrap_or(1) > to,
        }
    }
}

/// As much of a name as a failure has room for twice.
fn short(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

fn known(space: &str) -> String {
    if space == "-" { String::new() } else { space.into() }
}

fn odd(line: &str) -> Failed {
    permanent(format!("what helm-look.sh preview prints can't be read: {}", quote::text(line)))
}

#[cfg(test)]
mod tests;
