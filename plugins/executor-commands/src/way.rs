//! Releases: the steps of each task.

use alloc::format;

use backstay_sdk::{
    executor::{Failed, Release, Transience, permanent, transient},
    settings::Text,
};

use crate::{
    config::{CHECK_HOME, CONFIRM, GO_HOME, INSTALL, STATUS},
    desk::{Desk, Ended},
    status::Status,
};

/// How often a command that ended in doubt is run again, if looks show that it didn't come about.
const TRIES: u32 = 2;

/// Brings `release` in and runs it.
pub(crate) async fn install(desk: &Desk<'_>, release: &Release) -> Result<(), Failed> {
    if look(desk).await?.runs(release) {
        return Ok(());
    }
    bring(desk, &INSTALL, release, Status::runs).await
}

/// Makes `release`, which has to run, the one that stays.
pub(crate) async fn confirm(desk: &Desk<'_>, release: &Release) -> Result<(), Failed> {
    let status = look(desk).await?;
    if !status.runs(release) {
        let (runs, wanted) = (status.told(), &release.version);
        return Err(permanent(format!("{runs} runs, not {wanted}: there is nothing to confirm")));
    }
    if status.says_it_stays() {
        return Ok(());
    }
    bring(desk, &CONFIRM, release, Status::keeps).await
}

/// Goes back to `release` for good.
pub(crate) async fn go_home(desk: &Desk<'_>, release: &Release) -> Result<(), Failed> {
    if look(desk).await?.keeps(release) {
        return Ok(());
    }
    // Nothing is asked of a target that has no way back: the refusal comes first.
    desk.named(&GO_HOME)?;
    if !CHECK_HOME.of(desk.config()).is_empty() {
        prove(desk, &CHECK_HOME, [&release.version, &release.digest]).await.map_err(|failed| {
            let why = format!("nothing was switched, home isn't healthy: {}", failed.why);
            Failed { why, ..failed }
        })?;
    }
    bring(desk, &GO_HOME, release, Status::keeps).await
}

/// Looks with the command that `setting` names until it ends with exit code 0.
pub(crate) async fn prove<const N: usize>(
    desk: &Desk<'_>,
    setting: &Text,
    args: [&str; N],
) -> Result<(), Failed> {
    let command = desk.named(setting)?;
    let mut found = Ok(());
    for look in 0..desk.looks() {
        if look > 0 {
            desk.pause().await?;
        }
        found = match desk.look(command, args).await {
            Ok(exited) => exited.well(command).map(|_| ()),
            Err(failed) => Err(failed),
        };
        if is_settled(&found) {
            break;
        }
    }
    found
}

/// Runs the command that `setting` names, and looks until the target is `done` with it.
async fn bring(
    desk: &Desk<'_>,
    setting: &Text,
    release: &Release,
    done: impl Fn(&Status, &Release) -> bool,
) -> Result<(), Failed> {
    let command = desk.named(setting)?;
    let mut doubt = None;
    for _ in 0..TRIES {
        match desk.change(command, [&release.version, &release.digest]).await? {
            Ended::Well => return until(desk, release, &done).await,
            // It says that it failed. What counts is what runs.
            Ended::Ill(failed) => {
                let runs = look(desk).await.is_ok_and(|status| done(&status, release));
                return if runs { Ok(()) } else { Err(failed) };
            }
            Ended::Doubt(failed) => {
                let came = until(desk, release, &done).await;
                if is_settled(&came) {
                    return came;
                }
                doubt = Some(failed);
            }
        }
    }
    Err(doubt.unwrap_or_else(|| transient(format!("the command {command} did not come about"))))
}

/// Looks until the target is `done`, with a pause between. A look that fails may be one while the target starts.
async fn until(
    desk: &Desk<'_>,
    release: &Release,
    done: &impl Fn(&Status, &Release) -> bool,
) -> Result<(), Failed> {
    let mut found = Ok(());
    for at in 0..desk.looks() {
        if at > 0 {
            desk.pause().await?;
        }
        found = match look(desk).await {
            Ok(status) if done(&status, release) => Ok(()),
            Ok(status) => {
                let (looks, wanted, runs) = (at + 1, &release.version, status.told());
                let stays = if status.runs(release) { ", and does not stay" } else { "" };
                Err(transient(format!("after {looks} looks {runs} runs{stays}; wanted is {wanted}")))
            }
            Err(failed) => Err(failed),
        };
        if is_settled(&found) {
            break;
        }
    }
    found
}

/// Whether a further look can't change it.
fn is_settled(found: &Result<(), Failed>) -> bool {
    found.as_ref().err().is_none_or(|failed| failed.transience == Transience::Permanent)
}

async fn look(desk: &Desk<'_>) -> Result<Status, Failed> {
    let command = desk.named(&STATUS)?;
    let output = desk.look(command, []).await?.well(command)?;
    Status::parse(command, output)
}

#[cfg(test)]
mod tests;
