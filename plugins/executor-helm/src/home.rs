//! The way home: look, decide, make sure that nothing is lost by it, go back by a number, and look again until it is so.
//!
//! ```text
//! history -> which revision (`book`, `judge`) -> lock -> the same again
//!   -> somebody's helm at work: wait -> what would be deleted (`preview`) -> owners stopped -> lock renewed
//!   -> helm rollback NAME N -> history: is the newest revision what was asked for? -> is what is live what the record says?
//! ```
//!
//! Nothing that was asked for is asked for again before a look: a roll-back that was cut off left a record that is pending, and is repaired by
//! another one. Whoever doesn't know the lock, a person with helm, may have been at work meanwhile: what is found afterwards is put right, or
//! told in words. Not here: what becomes of owners afterwards.

use alloc::{format, string::String, vec::Vec};

use backstay_kubernetes::{
    clock,
    json::Value,
    lease::{Claim, Lease},
    owners::{self, Found, MARKS, Owner},
    patience::Patience,
    resource::DEPLOYMENTS,
    settings::WAIT,
    workload::Workload,
};
use backstay_sdk::{
    deed,
    executor::{Failed, Order, Release, transient},
    quote,
};

use crate::{
    book::{Book, Wanted, is_same},
    config::{FORCE, INSTANCE, LOCK, PENDING, SKIP_HOOKS},
    desk::{Desk, Ended, Way},
    history::{History, Status},
    judge::{Attempt, Facts, Move, busy, judge},
    live::{self, Live},
    preview::Preview,
};

/// So often is a roll-back asked for in one run: once, once more for what was cut off, and once for what somebody did meanwhile.
const ROUNDS: u32 = 3;
/// So many revisions that were brought back in vain are remembered. `core` tries less often.
const IN_VAIN_MAX: usize = 16;

/// Goes home to `release`.
pub(crate) async fn go_home(desk: &Desk<'_>, order: &Order, release: &Release) -> Result<(), Failed> {
    let mut book = Book::default();
    let wanted = Wanted::Release(release);
    let history = desk.history().await?;
    let to = book.find(desk, &history, &wanted, &[]).await?;
    match judge(facts(desk, &history, to)) {
        // Whoever is home takes no lock, and changes nothing.
        Move::Stay if live::look(desk, &mut book, history.newest()).await? == Live::Same => {
            return live::whole(desk).await;
        }
        // Where there is no way, nobody is kept from anything.
        Move::Stop(failed) => return Err(failed),
        Move::Stay | Move::Back(_) | Move::Wait(_) => {}
    }
    under_lock(desk, order, Journey { wanted, book, purpose: Purpose::Home }).await
}

/// A way back, as it was ordered.
pub(crate) struct Journey<'w> {
    pub(crate) wanted: Wanted<'w>,
    pub(crate) book: Book,
    pub(crate) purpose: Purpose,
}

/// What a way back is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Another release is to run. Whoever else writes it is stopped first.
    Home,
    /// The same is to run, and to be worked with again: only what is pending is touched.
    Repair,
}

/// Goes the way with the lock in hand, and lets go of it however that ends.
pub(crate) async fn under_lock(desk: &Desk<'_>, order: &Order, journey: Journey<'_>) -> Result<(), Failed> {
    let claim = Claim { instance: INSTANCE.of(desk.config()), order, lasts_ms: LOCK.count(desk.config()) };
    let name = format!("backstay-helm-{}", desk.name);
    let lease = Lease::take(&desk.cluster, desk.namespace, &name, claim).await?;
    let mut trip = Trip::after(lease.left());
    let ended = travel(desk, &lease, journey, &mut trip).await;
    lease.release(&trip.ours.map(|ours| left(ours, &trip.in_vain)).unwrap_or_default()).await;
    ended
}

/// What a run has asked for so far, and how that ended.
#[derive(Default)]
struct Trip {
    /// The roll-back that was asked for last, as long as what it left behind may be pending.
    ours: Option<Attempt>,
    /// The revisions that were brought back without success, here and in the runs before.
    in_vain: Vec<u32>,
    /// How it is asked for the next time.
    way: Way,
    /// How it ended, if not well.
    failed: Option<Failed>,
    /// Whether Helm said that it went well.
    is_said: bool,
    /// The revision whose objects may still be there, where a roll-back before had been cut off.
    left_over: Option<u32>,
}

async fn travel(
    desk: &Desk<'_>,
    lease: &Lease<'_>,
    journey: Journey<'_>,
    trip: &mut Trip,
) -> Result<(), Failed> {
    let Journey { wanted, mut book, purpose } = journey;
    // What ran when the run began: what is gone away from.
    let mut leaving = None;
    for round in 0..=ROUNDS {
        let (history, to) = settled(desk, &mut book, &wanted, trip).await?;
        let newest = history.newest();
        let told = book.told(newest.revision).cloned();
        let to = match to {
            Some(to) => to,
            None => match arrived(desk, &history, &mut book, trip).await? {
                Live::Same => return live::whole(desk).await,
                // The record is what was wanted, and what is live isn't: it is brought back once more.
                Live::Other(image) => {
                    trip.failed = Some(differs(&history, &image));
                    newest.revision
                }
            },
        };
        if purpose == Purpose::Repair && round == 0 && !newest.status.is_pending() {
            return Ok(());
        }
        if round == 0 {
            leaving = told;
        } else if trip.is_said && trip.ours.is_some_and(|ours| ours.after == newest.revision) {
            return Err(transient("helm says that it went back, and its history doesn't show it"));
        } else if let Some(told) = told.filter(|told| !wanted.is(told))
            && !leaving.as_ref().is_some_and(|leaving| is_same(leaving, &told))
        {
            let told = newest.told();
            return Err(transient(format!(
                "{told} came in meanwhile, with another release: somebody else is at work"
            )));
        }
        if round == ROUNDS {
            break;
        }
        if newest.status == Status::PendingRollback {
            trip.left_over = history.applied().map(|record| record.revision);
        }
        let preview = Preview::of(desk, newest.revision, to).await?;
        preview.allows(desk, to).await?;
        if preview.deletes() {
            preview.attach(desk, "helm-preview").await?;
        }
        if purpose == Purpose::Home && round == 0 {
            stop_owners(desk).await?;
        }
        let attempt = Attempt { after: newest.revision, to };
        // What may be left behind is written down before, so that the next run knows what it finds.
        lease.renew(&left(attempt, &trip.in_vain)).await?;
        go_back(desk, attempt, round, trip).await?;
    }
    let why = format!("{ROUNDS} roll-backs in one run did not bring it home");
    Err(trip.failed.take().unwrap_or_else(|| transient(why)))
}

/// Asks for the roll-back, and notes how it ended. An error is one that another try in this run can't mend.
async fn go_back(desk: &Desk<'_>, attempt: Attempt, round: u32, trip: &mut Trip) -> Result<(), Failed> {
    let ended = desk.roll_back(attempt.to, trip.way).await?;
    (trip.ours, trip.is_said, trip.failed) = (Some(attempt), ended == Ended::Well, None);
    let (failed, said) = match ended {
        Ended::Well => return Ok(()),
        Ended::Doubt(failed) => {
            trip.failed = Some(failed);
            return Ok(());
        }
        Ended::Ill { failed, said } => (failed, said),
    };
    trip.failed = Some(failed.clone());
    // The next revision's name was taken: another helm is at work, and what is pending is not ours.
    if said.contains("release: already exists") {
        trip.ours = None;
        return Ok(());
    }
    let history = desk.newest().await?;
    let newest = history.newest();
    // A roll-back that failed says with Helm 3 no more what it brought back; an upgrade that failed is another's.
    let says = newest.back_to.map_or(!newest.description.starts_with("Upgrade '"), |to| to == attempt.to);
    if newest.revision != attempt.after + 1 || !says {
        return Ok(());
    }
    let config = desk.config();
    match newest.status {
        Status::Failed if said.contains("conflict") && FORCE.of(config) && !trip.way.forces => {
            trip.way.forces = true;
            Ok(())
        }
        // It was done, and what was brought back can't be made or doesn't come up: the same again helps nobody.
        Status::Failed => {
            trip.in_vain.push(attempt.to);
            Err(failed)
        }
        // A hook failed. One that fails twice fails.
        Status::PendingRollback if round + 2 == ROUNDS && !SKIP_HOOKS.of(config) => Err(failed),
        Status::PendingRollback => {
            trip.way.skips_hooks = round + 2 == ROUNDS;
            Ok(())
        }
        Status::Deployed
        | Status::Superseded
        | Status::PendingInstall
        | Status::PendingUpgrade
        | Status::Uninstalling
        | Status::Uninstalled
        | Status::Unknown => Ok(()),
    }
}

/// The history once nobody is at work any more, and where to go. `None`: it is as it should be.
async fn settled(
    desk: &Desk<'_>,
    book: &mut Book,
    wanted: &Wanted<'_>,
    trip: &Trip,
) -> Result<(History, Option<u32>), Failed> {
    let mut left_ms = u64::from(WAIT.count(desk.config()));
    loop {
        let history = desk.history().await?;
        let to = book.find(desk, &history, wanted, &trip.in_vain).await?;
        let age_ms = if history.newest().status.is_pending() {
            history.newest().age_ms(clock::now(&desk.cluster).await?)
        } else {
            None
        };
        match judge(Facts { ours: trip.ours, age_ms, ..facts(desk, &history, to) }) {
            Move::Stay => return Ok((history, None)),
            Move::Back(to) => return Ok((history, Some(to))),
            Move::Stop(failed) => return Err(failed),
            Move::Wait(_) if left_ms == 0 => return Err(busy(&history, pending_after(desk))),
            Move::Wait(ms) => {
                // Times are told in whole seconds.
                let ms = left_ms.min(ms + 1000);
                left_ms -= ms;
                ends(desk, &history, ms).await?;
            }
        }
    }
}

/// Waits until the newest revision isn't what it was, for so long.
async fn ends(desk: &Desk<'_>, history: &History, ms: u64) -> Result<(), Failed> {
    let mut patience = Patience::of(desk.config(), ms);
    while patience.wait(desk.ctx()).await? {
        if desk.newest().await?.newest() != history.newest() {
            break;
        }
    }
    Ok(())
}

fn facts<'h>(desk: &Desk<'_>, history: &'h History, to: Option<u32>) -> Facts<'h> {
    Facts { history, to, ours: None, age_ms: None, pending_after_ms: pending_after(desk) }
}

fn pending_after(desk: &Desk<'_>) -> u64 {
    PENDING.count(desk.config()).into()
}

/// The records say that it is done. Is it?
async fn arrived(
    desk: &Desk<'_>,
    history: &History,
    book: &mut Book,
    trip: &mut Trip,
) -> Result<Live, Failed> {
    trip.ours = None;
    let newest = history.newest();
    if let Some(from) = trip.left_over.take().filter(|from| *from != newest.revision) {
        // The second roll-back compares with the record of the first: what only the revision before had stays. Objects are told, if they
        // can be. That fields are still there nothing shows that can be asked for, so it is told that they may be.
        let fields = format!(
            "a roll-back was cut off: with Helm 3 fields may have stayed that only revision {from} had. Hold what is live against: helm get manifest {}",
            desk.name
        );
        desk.ctx().look(deed::attach("helm-left-fields", fields.into_bytes())).await?;
        if let Ok(preview) = Preview::of(desk, from, newest.revision).await
            && preview.deletes()
        {
            preview.attach(desk, "helm-left-over").await?;
        }
    }
    live::look(desk, book, newest).await
}

fn differs(history: &History, image: &str) -> Failed {
    let told = history.newest().told();
    transient(format!(
        "{told} is what Helm has recorded, and what is live has the image {}",
        quote::text(image)
    ))
}

/// Stops whoever else writes the release. It goes on when a person says so, once Git is mended.
async fn stop_owners(desk: &Desk<'_>) -> Result<(), Failed> {
    owners::freeze(&desk.cluster, owners_of(desk).await?).await
}

/// Lets those go on that were stopped.
pub(crate) async fn unfreeze(desk: &Desk<'_>) -> Result<(), Failed> {
    owners::thaw(&desk.cluster, owners_of(desk).await?).await
}

async fn owners_of(desk: &Desk<'_>) -> Result<Vec<Found>, Failed> {
    let (workload, seen) = match &desk.workload {
        Some(workload) => {
            let seen = desk.cluster.get(&workload.resource(), &MARKS).await?;
            (workload.clone(), seen.unwrap_or_default())
        }
        // Then only those are known that the settings name.
        None => (Workload::of(DEPLOYMENTS, desk.config()), Value::Null),
    };
    let owners = Owner::all(desk.config(), &workload, &seen);
    owners::look(&desk.cluster, &workload, owners).await
}

impl Trip {
    /// One that knows what the one before left behind: `rollback to 3 after 8; in vain 5 3`, as it stands in the lock.
    fn after(left: &str) -> Self {
        let (asked, in_vain) = left.split_once("; in vain ").unwrap_or((left, ""));
        let ours = asked.strip_prefix("rollback to ").and_then(|rest| rest.split_once(" after "));
        let ours =
            ours.and_then(|(to, after)| Some(Attempt { to: to.parse().ok()?, after: after.parse().ok()? }));
        let in_vain = in_vain.split(' ').filter_map(|number| number.parse().ok()).take(IN_VAIN_MAX).collect();
        Self { ours, in_vain, ..Self::default() }
    }
}

/// What the next run is to know of this one.
fn left(Attempt { after, to }: Attempt, in_vain: &[u32]) -> String {
    let mut text = format!("rollback to {to} after {after}");
    let newest = in_vain.len().saturating_sub(IN_VAIN_MAX);
    for (at, number) in in_vain.iter().skip(newest).enumerate() {
        text.push_str(if at == 0 { "; in vain " } else { " " });
        text.push_str(&format!("{number}"));
    }
    text
}

#[cfg(test)]
mod tests;
