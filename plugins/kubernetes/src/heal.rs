//! Playbooks: what mends a workload while its release stays as it is.
//!
//! Here: which there are, and what can be set for them. Each has a file of its own. Not here: whether one may run, how often and how soon it is tried again,
//! and whether it cured anything (`core`); and seeing that something is wrong (`look`).
//!
//! What holds for all: each looks first and does what is missing, so that one that comes twice or was cut off does nothing twice. What was
//! changed and never answered is looked at. A change says which object it is for, by its uid, so that what has the same name by then
//! isn't touched. Each has a cap of its own, and where it can't help it says so: what, why, and what to do.

pub(crate) mod bounds;
pub(crate) mod drain;
pub(crate) mod evict;
pub(crate) mod lkg;
pub(crate) mod outliers;
pub(crate) mod raised;
pub(crate) mod resize;
pub(crate) mod restart;

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::{
    executor::{Failed, permanent},
    quote,
    settings::{Problem, Setting, SettingInfo},
};

use crate::{
    age::SETTLES,
    api::Cluster,
    hold::{self, GO_ON, HOLD},
    look,
    owners::{self, Owner, UNFREEZE},
    pods::STARTS,
    workload::Workload,
};

/// What can be asked for.
pub const PLAYBOOKS: [&str; 8] =
    ["restart", "resize", "scale", "drain", "undrain", "outliers", "outliers-off", "lkg"];

/// How often an object is looked at and changed again, where somebody else was quicker or nobody knows what became of it.
pub(crate) const TRIES: u32 = 4;
/// The most pods that one run does anything to.
pub(crate) const PODS_MAX: u32 = 60;
/// How much of a name is told. A failure has 256 bytes.
const NAME_BYTES_MAX: usize = 64;

/// Runs a playbook on a workload that is itself what is let out, and so can be held: also those that hold it, and give it back to
/// `owners`, whoever else writes it.
///
/// # Errors
/// Why it didn't help, or can't.
pub async fn held_or_healed(
    cluster: &Cluster<'_>,
    workload: &Workload,
    playbook: &str,
    owners: impl AsyncFnOnce() -> Result<Vec<Owner>, Failed>,
) -> Result<(), Failed> {
    match playbook {
        HOLD => hold::hold(cluster, workload).await,
        GO_ON => hold::go_on(cluster, workload).await,
        UNFREEZE => owners::thaw(cluster, owners::look(cluster, workload, owners().await?).await?).await,
        _ => heal(cluster, workload, playbook).await,
    }
}

/// Runs a playbook that mends.
///
/// # Errors
/// Why it didn't help, or can't.
pub async fn heal(cluster: &Cluster<'_>, workload: &Workload, playbook: &str) -> Result<(), Failed> {
    match playbook {
        "restart" => restart::restart(cluster, workload).await,
        "resize" => resize::resize(cluster, workload).await,
        "scale" => bounds::raise(cluster, workload).await,
        "drain" => drain::drain(cluster, workload).await,
        "undrain" => drain::undrain(cluster, workload).await,
        "outliers" => outliers::on(cluster, workload).await,
        "outliers-off" => outliers::off(cluster, workload).await,
        "lkg" => lkg::restore(cluster, workload).await,
        other => {
            let there_are = PLAYBOOKS.join(", ");
            Err(permanent(format!("there is no playbook {}: there are {there_are}", quote::text(other))))
        }
    }
}

/// What can be set for playbooks, the one that only looks among them, for `describe`.
#[must_use]
pub fn infos() -> Vec<SettingInfo> {
    let mut infos = Vec::from([SETTLES.info(), STARTS.info()]);
    infos.extend(look::infos());
    infos.extend(restart::infos());
    infos.extend(resize::infos());
    infos.extend(bounds::infos());
    infos.extend(drain::infos());
    infos.extend(outliers::infos());
    infos.extend(lkg::infos());
    infos
}

/// What is wrong with what was set.
#[must_use]
pub fn problems(config: &[Setting]) -> Vec<Problem> {
    let mut problems = resize::problems(config);
    problems.extend(bounds::problems(config));
    problems.extend(drain::problems(config));
    problems.extend(outliers::problems(config));
    problems.extend(lkg::problems(config));
    problems
}

/// A name, short enough to stand in a failure with others.
pub(crate) fn named(name: &str) -> String {
    let end = (0..=name.len().min(NAME_BYTES_MAX)).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    quote::text(name.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod world;
