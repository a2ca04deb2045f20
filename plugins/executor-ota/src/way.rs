//! The steps of each task.

use alloc::{format, string::String};

use backstay_sdk::{
    deed,
    executor::{Ctx, Deed, Failed, Release, SlotStatus, Trouble, permanent, transient},
};

use crate::{LOOKS, PAUSE, RESTART};

/// How often something that ended in doubt is done again, if a look shows that it wasn't done.
const TRIES: u32 = 3;

/// Brings `release` in and runs it on trial.
pub(crate) async fn install(ctx: &Ctx, release: &Release) -> Result<(), Failed> {
    let slots = look(ctx).await?;
    if same(&slots.booted, release) {
        return Ok(());
    }
    if !has(slots.trying.as_ref(), release) {
        if !has(slots.other.as_ref(), release) {
            until(ctx, deed::stage(release), |slots| has(slots.other.as_ref(), release)).await?;
        }
        // A try that came about while nobody could look has ended in a restart: then the release runs by now.
        let tried = |slots: &SlotStatus| has(slots.trying.as_ref(), release) || same(&slots.booted, release);
        until(ctx, deed::try_next(release), tried).await?;
    }
    // A release that did not come up was brought in all the same. What runs now, the slots say, and the runtime
    // condemns what fell back.
    restart(ctx, release).await.map(|_| ())
}

/// Makes `release`, which has to run, the one that a restart brings back.
pub(crate) async fn confirm(ctx: &Ctx, release: &Release) -> Result<(), Failed> {
    let slots = look(ctx).await?;
    if !same(&slots.booted, release) {
        let runs = &slots.booted.version;
        return Err(permanent(format!("{runs} runs, not {}: there is nothing to confirm", release.version)));
    }
    if same(&slots.confirmed, release) && slots.trying.is_none() {
        return Ok(());
    }
    until(ctx, deed::confirm(release), |slots| same(&slots.confirmed, release)).await
}

/// Goes back to `release` for good.
pub(crate) async fn go_home(ctx: &Ctx, release: &Release) -> Result<(), Failed> {
    let slots = look(ctx).await?;
    let runs = same(&slots.booted, release);
    let stays = |slots: &SlotStatus| same(&slots.confirmed, release) && slots.trying.is_none();
    if !stays(&slots) {
        if runs && !same(&slots.confirmed, release) {
            // Home runs already, on trial. It stays by being confirmed.
            until(ctx, deed::confirm(release), stays).await?;
        } else {
            if !same(&slots.confirmed, release) && !has(slots.other.as_ref(), release) {
                until(ctx, deed::stage(release), |slots| has(slots.other.as_ref(), release)).await?;
            }
            until(ctx, deed::go_home(release), stays).await?;
        }
    }
    if runs {
        return Ok(());
    }
    match restart(ctx, release).await? {
        Came::Up => Ok(()),
        Came::Elsewhere(runs) => {
            Err(permanent(format!("{} did not come up: the device fell back to {runs}", release.version)))
        }
    }
}

/// Where a restart led.
enum Came {
    /// The release runs.
    Up,
    /// This version runs, and a restart doesn't change that any more.
    Elsewhere(String),
}

/// Runs the command that is named like the playbook. Whether it helped, the next windows say.
pub(crate) async fn heal(ctx: &Ctx, playbook: &str) -> Result<(), Failed> {
    // In doubt means that the machine went down in the middle. Nothing shows whether the playbook got to its
    // end, and another attempt is for the runtime to count and to space.
    ctx.change(deed::run(playbook, [])).await?.well()?;
    Ok(())
}

/// Restarts into what the slots say, and looks until `release` runs.
async fn restart(ctx: &Ctx, release: &Release) -> Result<Came, Failed> {
    let command = RESTART.of(ctx.config());
    let mut slots = look(ctx).await?;
    for _ in 0..TRIES {
        if same(&slots.booted, release) {
            return Ok(Came::Up);
        }
        if !is_next(&slots, release) {
            break;
        }
        let ended = match ctx.change(deed::run(command, [])).await {
            Ok(reply) => reply.well().map(|_| ()),
            // A restart that takes the host with it never comes back with more than this.
            Err(Trouble::InDoubt | Trouble::TimedOut) => Ok(()),
            Err(refused) => return Err(refused.into()),
        };
        slots = settled(ctx, release).await?;
        if let Err(failed) = ended
            && !same(&slots.booted, release)
        {
            return Err(failed);
        }
    }
    if same(&slots.booted, release) {
        return Ok(Came::Up);
    }
    let (wanted, runs) = (&release.version, &slots.booted.version);
    if is_next(&slots, release) {
        return Err(transient(format!("{runs} still runs after {TRIES} restarts into {wanted}")));
    }
    Ok(Came::Elsewhere(runs.clone()))
}

/// Looks until `release` runs, or is no longer what a restart brings, or it has taken too long.
async fn settled(ctx: &Ctx, release: &Release) -> Result<SlotStatus, Failed> {
    let pause = PAUSE.count(ctx.config()).into();
    let mut slots = look(ctx).await?;
    for _ in 1..LOOKS.count(ctx.config()) {
        if same(&slots.booted, release) || !is_next(&slots, release) {
            break;
        }
        ctx.pause(pause).await?;
        slots = look(ctx).await?;
    }
    Ok(slots)
}

/// Does `deed` until a look shows that it is `done`.
async fn until(ctx: &Ctx, deed: Deed, done: impl Fn(&SlotStatus) -> bool) -> Result<(), Failed> {
    for _ in 0..TRIES {
        match ctx.change(deed.clone()).await {
            Ok(_) | Err(Trouble::InDoubt | Trouble::TimedOut) => {}
            Err(failed) => return Err(failed.into()),
        }
        if done(&look(ctx).await?) {
            return Ok(());
        }
    }
    Err(transient(format!("it was done {TRIES} times, and the slots don't show it")))
}

async fn look(ctx: &Ctx) -> Result<SlotStatus, Failed> {
    ctx.look(deed::slot_status()).await?.slots()
}

/// Whether the next restart brings `release`.
fn is_next(slots: &SlotStatus, release: &Release) -> bool {
    let trying = slots.trying.as_ref();
    has(trying, release) || trying.is_none() && same(&slots.confirmed, release)
}

/// The digest is the release; all else is for people.
fn same(one: &Release, other: &Release) -> bool {
    one.digest == other.digest
}

fn has(slot: Option<&Release>, release: &Release) -> bool {
    slot.is_some_and(|held| same(held, release))
}

#[cfg(test)]
mod tests;
