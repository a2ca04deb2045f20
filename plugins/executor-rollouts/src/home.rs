//! The way home: the template of a revision that runs the release, with all pods and all traffic.
//!
//! ```text
//! look -> revisions, and who else writes it (at once)
//!   -> a canary under way aborted, owners stopped, template read, evidence kept (at once)
//!     -> template written, where nobody wrote meanwhile
//!       -> wait until it is current; steps left? that revision is promoted -> wait until it is whole
//! ```
//!
//! To abort is first, and is done even where the rest can't be: the traffic goes to what is stable at once, at any step. It needs no
//! owner stopped, because none of them writes the status.
//!
//! What was asked for and never answered is looked at: the way begins again, and finds done what is done.

use alloc::{format, string::String, vec::Vec};

use backstay_kubernetes::{
    api::{Cluster, Refused, Written, text},
    hold::{self, Pause},
    json::{Value, json},
    owners::{self, Found},
    patience::Patience,
    resource::ROLLOUTS,
    restore,
    revisions::{self, BY_ROLLOUT, Revision, in_vain},
    template::Told,
    workload::Workload,
};
use backstay_sdk::{
    executor::{Failed, Release, Transience, both, permanent, transient},
    quote,
};

use crate::seen::{DEGRADED, Progress, Seen};

/// How often the template is tried to be written. Whoever is in the way changes the Rollout all the time.
const TRIES: u32 = 4;
/// How often the revision is told to go past its steps, where nothing comes of it.
const PROMOTIONS_MAX: u32 = 3;

/// Takes a Rollout home to `release`.
pub(crate) async fn go_home(
    cluster: &Cluster<'_>,
    workload: &Workload,
    release: &Release,
) -> Result<(), Failed> {
    let mut began: Option<Option<Told>> = None;
    let mut refused: Option<(i64, Refused)> = None;
    for _ in 0..TRIES {
        let seen = Seen::of(cluster, workload).await?;
        let is_it = seen.source.told.as_ref().is_some_and(|told| told.is(release));
        if is_it && is_whole(&seen) && seen.pause != Pause::Ours {
            return Ok(());
        }
        let (revisions, found) = both(
            revisions::list(cluster, &workload.namespace, seen.uid(), seen.selector(), BY_ROLLOUT),
            owners::look(cluster, workload, seen.owners(cluster, workload)),
        )
        .await;
        let revisions = revisions?;
        let home = revisions::choose(&revisions, release, &seen.now());
        let home = home.map_err(|why| why.failed(release, &revisions))?;
        if seen.now().current == Some(&home.hash) && seen.pause == Pause::None {
            return settle(cluster, workload, release, &seen, home).await;
        }
        // Who lets another release out meanwhile has seen something that this order knows nothing of.
        if began.get_or_insert_with(|| seen.source.told.clone()) != &seen.source.told && !is_it {
            return Err(transient(format!("nothing was moved: meanwhile it was set to {}", image(&seen))));
        }
        if let Some((generation, refused)) = refused.take()
            && generation == seen.source.generation()
        {
            return Err(refused.failed("restoring the template"));
        }
        let noted = in_vain::noting(&seen.source.fields, &revisions, release, &seen.now());
        match bring(cluster, workload, &seen, (home, noted), found).await? {
            Written::Done => return settle(cluster, workload, release, &seen, home).await,
            Written::Unknown => {}
            Written::Refused(why) => refused = Some((seen.source.generation(), why)),
        }
    }
    Err(transient(format!(
        "the template was tried to be restored {TRIES} times: others change it all the time"
    )))
}

fn is_whole(seen: &Seen) -> bool {
    seen.is_observed() && seen.progress.is_whole(seen.progress.stable())
}

fn image(seen: &Seen) -> String {
    quote::text(seen.source.told.as_ref().map_or("nothing", |told| told.image.as_str()))
}

/// Aborts what is under way, stops who else writes it, and writes the template of `home`, and what is to be noted with it.
async fn bring(
    cluster: &Cluster<'_>,
    workload: &Workload,
    seen: &Seen,
    (home, noted): (&Revision, Option<Value>),
    found: Result<Vec<Found>, Failed>,
) -> Result<Written, Failed> {
    let is_aborted =
        seen.progress.is_aborted() || !seen.is_under_way() || seen.now().current == Some(&home.hash);
    let abort = async || if is_aborted { Ok(()) } else { abort(cluster, workload, seen).await };
    let found = match found {
        Ok(found) if seen.pause != Pause::Foreign => found,
        Ok(_) => {
            abort().await?;
            let left =
                if is_aborted { "nothing was moved" } else { "it was aborted, and nothing else was moved" };
            return Err(permanent(format!("it is paused by somebody else (spec.paused): {left}")));
        }
        Err(failed) => {
            abort().await?;
            return Err(stays(cluster, workload, seen, failed).await);
        }
    };
    let (was, who) = (seen.kept(workload), owners::told(&found));
    let (aborted, (template, (frozen, kept))) = both(
        abort(),
        both(
            restore::template(cluster, &workload.namespace, home, BY_ROLLOUT),
            both(owners::freeze(cluster, found), restore::keep(cluster, &was, &who, home)),
        ),
    )
    .await;
    aborted?;
    let template = match frozen.and(kept).and(template) {
        Ok(template) => template,
        Err(failed) => return Err(stays(cluster, workload, seen, failed).await),
    };
    let source = &seen.source;
    let object = (source.uid(), source.generation());
    let is_own = source.workload.kind == ROLLOUTS;
    let mut more = if is_own { hold::lifting(seen.fields()) } else { Vec::new() };
    more.extend(noted);
    let written = restore::restore(cluster, &source.resource(), object, &template, more).await?;
    if !is_own && seen.pause == Pause::Ours && written == Written::Done {
        hold::lift(cluster, workload).await?;
    }
    Ok(written)
}

/// It was aborted and can't be brought home, so it stays as it is. A pause of ours is lifted all the same: a Rollout that is paused
/// doesn't scale, and its canary would keep its pods and with them their traffic.
async fn stays(cluster: &Cluster<'_>, workload: &Workload, seen: &Seen, failed: Failed) -> Failed {
    if seen.pause == Pause::Ours && seen.is_under_way() {
        // It failed already. Why it did is what a person has to know first.
        let _ = hold::lift(cluster, workload).await;
    }
    failed
}

/// Sends the traffic to what is stable, and keeps it there. Where nobody knows whether it was done, the look after it says, or the
/// template that is restored makes no difference of it.
async fn abort(cluster: &Cluster<'_>, workload: &Workload, seen: &Seen) -> Result<(), Failed> {
    let operations = [
        json!({ "op": "test", "path": "/metadata/uid", "value": seen.uid() }),
        json!({ "op": "add", "path": "/status/abort", "value": true }),
    ];
    cluster.patch(&workload.resource().part("status"), &operations).await.map(|_| ())
}

/// Waits until `home` is current, takes it past its steps, and waits until all of the Rollout is it. `seen` is from before.
async fn settle(
    cluster: &Cluster<'_>,
    workload: &Workload,
    release: &Release,
    seen: &Seen,
    home: &Revision,
) -> Result<(), Failed> {
    let (mut patience, mut promotions, mut is_anew) = (Patience::new(cluster.config()), 0, false);
    let mut hash = home.hash.clone();
    loop {
        let progress = Progress::of(cluster, workload).await?;
        let is_current = progress.is_observed() && progress.current() == hash;
        if progress.is_observed() && !is_current {
            // Its controller has not seen the template yet, or made another revision of it; or it isn't that template any more.
            let seen = still(cluster, workload, release).await?;
            if seen.is_observed() {
                hash = seen.progress.current().into();
            }
        }
        // The counts alone say nothing of what it is that is whole.
        if progress.is_whole(&hash) && is_whole(&still(cluster, workload, release).await?) {
            return Ok(());
        }
        // What it gave up on may be what was there before, and be said for a moment longer.
        is_anew |= is_current && progress.phase() != DEGRADED;
        if is_anew && progress.gave_up() {
            return Err(stuck(cluster, workload, "it did not come up").await);
        }
        if is_current && is_held_up(seen, &progress, &hash) {
            if promotions == PROMOTIONS_MAX {
                return Err(stuck(cluster, workload, "it was promoted, and nothing came of it").await);
            }
            promotions += 1;
            promote(cluster, workload, seen, &hash).await?;
            patience.refresh();
        }
        if !patience.wait(cluster.ctx()).await? {
            return Err(stuck(cluster, workload, "it isn't whole within wait-ms").await);
        }
    }
}

/// Whether there are steps between this revision and all of the traffic, past which it was not told to go.
fn is_held_up(seen: &Seen, progress: &Progress, hash: &str) -> bool {
    let is_past = seen.steps_left(progress) == 0;
    progress.stable() != hash && !progress.is_promoted() && !is_past
}

/// Looks, and makes sure that the template is that of the release.
async fn still(cluster: &Cluster<'_>, workload: &Workload, release: &Release) -> Result<Seen, Failed> {
    let seen = Seen::of(cluster, workload).await?;
    if seen.source.told.as_ref().is_some_and(|told| told.is(release)) {
        Ok(seen)
    } else {
        Err(transient(format!("somebody put {} back", image(&seen))))
    }
}

/// Takes the revision with this hash past all steps: only while it is the current one. Of another one, which may be the bad release,
/// the same words would make the stable one.
async fn promote(cluster: &Cluster<'_>, workload: &Workload, seen: &Seen, hash: &str) -> Result<(), Failed> {
    let operations = [
        json!({ "op": "test", "path": "/metadata/uid", "value": seen.uid() }),
        json!({ "op": "test", "path": "/status/currentPodHash", "value": hash }),
        json!({ "op": "add", "path": "/status/promoteFull", "value": true }),
    ];
    // Whatever came of it, the next look says.
    cluster.patch(&workload.resource().part("status"), &operations).await.map(|_| ())
}

/// What its controller says of it, after `why`.
async fn stuck(cluster: &Cluster<'_>, workload: &Workload, why: &str) -> Failed {
    let fields = ["/status/phase", "/status/message"];
    match cluster.need(&workload.resource(), &fields, &workload.told()).await {
        Ok(said) => {
            let (phase, message) = (text(&said, "/status/phase"), text(&said, "/status/message"));
            transient(format!("{why}: {} {}", quote::text(phase), quote::text(message)))
        }
        Err(failed) => Failed { transience: Transience::Transient, ..failed },
    }
}

#[cfg(test)]
mod tests;
