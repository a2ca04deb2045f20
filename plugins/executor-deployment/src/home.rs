//! The way home: the template of a revision that runs the release, and all pods on it.
//!
//! ```text
//! look -> runs the release already? -> wait until it is whole
//!   \-> revisions, and who else writes it (at once) -> owners stopped, template read, evidence kept (at once)
//!         -> template written, where nobody wrote meanwhile -> wait until it is whole
//! ```
//!
//! What was asked for and never answered is looked at: the way begins again, and finds done what is done.

use alloc::{format, vec::Vec};

use backstay_kubernetes::{
    api::{Cluster, Refused, Written},
    hold::{self, Pause},
    json::Value,
    owners::{self, Found, Owner},
    patience::Patience,
    restore,
    revisions::{self, BY_DEPLOYMENT, Now, Revision, in_vain},
    template::Told,
    workload::Workload,
};
use backstay_sdk::{
    executor::{Failed, Release, both, permanent, transient},
    quote,
};

use crate::seen::{Progress, Seen};

/// How often the template is tried to be written. Whoever is in the way changes the Deployment all the time.
const TRIES: u32 = 4;

/// Takes a Deployment home to `release`.
pub(crate) async fn go_home(
    cluster: &Cluster<'_>,
    workload: &Workload,
    release: &Release,
) -> Result<(), Failed> {
    let mut began: Option<Option<Told>> = None;
    let mut refused: Option<(i64, Refused)> = None;
    for _ in 0..TRIES {
        let seen = Seen::of(cluster, workload).await?;
        let is_home = seen.told.as_ref().is_some_and(|told| told.is(release));
        if is_home && seen.progress.is_whole() && seen.pause != Pause::Ours {
            return Ok(());
        }
        if seen.pause == Pause::Foreign {
            return Err(permanent("it is paused by somebody else (spec.paused): nothing was moved"));
        }
        if is_home && seen.pause == Pause::None && !seen.progress.gave_up() {
            return wait(cluster, workload, release, &seen.progress).await;
        }
        // Who lets another release out meanwhile has seen something that this order knows nothing of.
        if began.get_or_insert_with(|| seen.told.clone()) != &seen.told && !is_home {
            let image = seen.told.as_ref().map_or("nothing", |told| told.image.as_str());
            return Err(transient(format!(
                "nothing was moved: meanwhile it was set to {}",
                quote::text(image)
            )));
        }
        if let Some((generation, refused)) = refused.take()
            && generation == seen.progress.generation()
        {
            return Err(refused.failed("restoring the template"));
        }
        let (home, noted, found) = found(cluster, workload, &seen, release).await?;
        match bring(cluster, workload, &seen, (&home, noted), found).await? {
            Written::Done | Written::Unknown => {}
            Written::Refused(why) => refused = Some((seen.progress.generation(), why)),
        }
    }
    Err(transient(format!(
        "the template was tried to be restored {TRIES} times: others change it all the time"
    )))
}

/// Which revision is home, what is to be noted of the one that is left, and who else writes the Deployment.
async fn found(
    cluster: &Cluster<'_>,
    workload: &Workload,
    seen: &Seen,
    release: &Release,
) -> Result<(Revision, Option<Value>, Vec<Found>), Failed> {
    let owners = Owner::all(cluster.config(), workload, seen.fields());
    let (revisions, found) = both(
        revisions::list(cluster, &workload.namespace, seen.uid(), seen.selector(), BY_DEPLOYMENT),
        owners::look(cluster, workload, owners),
    )
    .await;
    let revisions = revisions?;
    let (current, in_vain) = (seen.current(&revisions), in_vain::read(seen.fields()));
    let now = Now { current, stable: None, gave_up: seen.progress.gave_up(), in_vain: &in_vain };
    let home = revisions::choose(&revisions, release, &now).map_err(|why| why.failed(release, &revisions))?;
    Ok((home.clone(), in_vain::noting(seen.fields(), &revisions, release, &now), found?))
}

/// Stops who else writes it, and writes the template of `home`, and what is to be noted with it.
async fn bring(
    cluster: &Cluster<'_>,
    workload: &Workload,
    seen: &Seen,
    (home, noted): (&Revision, Option<Value>),
    found: Vec<Found>,
) -> Result<Written, Failed> {
    let (was, who) = (seen.kept(workload), owners::told(&found));
    let (template, (frozen, kept)) = both(
        restore::template(cluster, &workload.namespace, home, BY_DEPLOYMENT),
        both(owners::freeze(cluster, found), restore::keep(cluster, &was, &who, home)),
    )
    .await;
    frozen?;
    kept?;
    let object = (seen.uid(), seen.progress.generation());
    let more = hold::lifting(seen.fields()).into_iter().chain(noted).collect();
    restore::restore(cluster, &workload.resource(), object, &template?, more).await
}

/// Waits until all pods are of the template, and it is still that of the release.
async fn wait(
    cluster: &Cluster<'_>,
    workload: &Workload,
    release: &Release,
    progress: &Progress,
) -> Result<(), Failed> {
    let (mut progress, mut generation) = (progress.clone(), progress.generation());
    let (mut patience, mut is_anew) = (Patience::new(cluster.config()), false);
    loop {
        if progress.is_whole() || progress.generation() != generation {
            // The counts alone say nothing of what it is that is whole.
            let seen = Seen::of(cluster, workload).await?;
            if !seen.told.as_ref().is_some_and(|told| told.is(release)) {
                let image = seen.told.as_ref().map_or("nothing", |told| told.image.as_str());
                return Err(transient(format!("somebody put {} back", quote::text(image))));
            }
            if seen.progress.is_whole() {
                return Ok(());
            }
            generation = seen.progress.generation();
        }
        let (updated, available, all) = progress.counts();
        let stands = format!("{updated} of {all} pods are of it, {available} of all are available");
        // What it gave up on may be the template before this one, and be said for a moment longer.
        is_anew |= progress.is_observed() && !progress.gave_up();
        if is_anew && progress.gave_up() {
            return Err(transient(format!("it did not come up within its progress deadline: {stands}")));
        }
        if !patience.wait(cluster.ctx()).await? {
            return Err(transient(format!("it isn't whole within wait-ms: {stands}")));
        }
        progress = Progress::of(cluster, workload).await?;
    }
}

#[cfg(test)]
mod tests;
