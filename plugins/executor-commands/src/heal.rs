//! The playbook library: `restart`, `drift`, `scale`, and any other command by its name.
//!
//! A playbook changes something once, but for `look`, which has a file of its own and changes nothing. Whether it is tried again, how often and how soon, and whether the target stayed
//! healthy for long enough to count as cured, is for the runtime.

use alloc::{
    format,
    string::{String, ToString as _},
};

use backstay_sdk::{
    executor::{Exited, Failed, Output, permanent, transient},
    quote, readings,
};

use crate::{
    config::{
        self, DRIFT_DELETE, DRIFT_FIX, DRIFT_LOOK, HEALTHY, RESTART, SCALE_CEILING, SCALE_LOOK,
        SCALE_PERMILLE, SCALE_STEP, SCALE_TO,
    },
    desk::{Desk, Ended, lines},
    look,
    way::prove,
};

/// The most digits of a count.
const COUNT_DIGITS_MAX: usize = 9;

/// Runs the playbook.
pub(crate) async fn heal(desk: &Desk<'_>, playbook: &str) -> Result<(), Failed> {
    match playbook {
        "restart" => command(desk, desk.named(&RESTART)?).await,
        "drift" => drift(desk).await,
        "scale" => scale(desk).await,
        readings::LOOK => look::tell(desk).await,
        other => match config::reserved(desk.config(), other) {
            Some(setting) => Err(permanent(format!("{other} is the command for {setting}, and no playbook"))),
            None => command(desk, other).await,
        },
    }
}

/// Runs one command, and looks until the target is healthy, where somebody said how to.
async fn command(desk: &Desk<'_>, command: &str) -> Result<(), Failed> {
    let can_look = !HEALTHY.of(desk.config()).is_empty();
    match desk.change(command, []).await? {
        Ended::Ill(failed) => Err(failed),
        Ended::Doubt(failed) if !can_look => Err(failed),
        Ended::Well if !can_look => Ok(()),
        Ended::Well | Ended::Doubt(_) => prove(desk, &HEALTHY, []).await,
    }
}

/// What differs from the desired state.
struct Drift {
    /// Lines that a fix can do something about.
    mendable: usize,
    /// Lines about credentials, and about what is there without being desired: they are told, and left alone.
    left: usize,
    /// The last line of those that count.
    example: String,
}

/// Brings back the desired state.
async fn drift(desk: &Desk<'_>) -> Result<(), Failed> {
    // Both are named before anything is looked at.
    let fix = desk.named(&DRIFT_FIX)?;
    let Some(before) = look_for_drift(desk).await? else { return Ok(()) };
    if before.mendable == 0 {
        let (left, example) = (before.left, before.example);
        return Err(permanent(format!("differences that no playbook mends: {left}, the last: {example}")));
    }
    let ended = match DRIFT_DELETE.of(desk.config()) {
        true => desk.change(fix, ["--delete"]).await?,
        false => desk.change(fix, []).await?,
    };
    // In doubt or not: what counts is what a look finds.
    let told = match ended {
        Ended::Well => None,
        Ended::Ill(failed) | Ended::Doubt(failed) => Some(failed),
    };
    match look_for_drift(desk).await? {
        Some(Drift { mendable: mendable @ 1.., example, .. }) => Err(told.unwrap_or_else(|| {
            transient(format!("differences left after {fix}: {mendable}, the last: {example}"))
        })),
        Some(_) | None => Ok(()),
    }
}

async fn look_for_drift(desk: &Desk<'_>) -> Result<Option<Drift>, Failed> {
    let command = desk.named(&DRIFT_LOOK)?;
    let exited = desk.look(command, []).await?;
    let Exited { code: Some(1), output } = exited else { return exited.well(command).map(|_| None) };
    let deletes = DRIFT_DELETE.of(desk.config());
    let mut drift = Drift { mendable: 0, left: 0, example: quote::last_line(&output.bytes) };
    // Of a long list the end is known. Its first line may be half of one; it still says that there is something.
    let text = String::from_utf8_lossy(&output.bytes);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let class = line.split(' ').next().unwrap_or_default();
        if class == "credential" || class == "extra" && !deletes {
            drift.left += 1;
        } else {
            drift.mendable += 1;
            drift.example = quote::text(line);
        }
    }
    if drift.mendable + drift.left == 0 {
        return Err(permanent(format!("the command {command} ended with exit code 1 and names no drift")));
    }
    Ok(Some(drift))
}

/// Makes it one step more, within the ceiling. Never less.
async fn scale(desk: &Desk<'_>) -> Result<(), Failed> {
    let to = desk.named(&SCALE_TO)?;
    let ceiling = SCALE_CEILING.count(desk.config());
    if ceiling == 0 {
        return Err(permanent("nobody has said how many there may be: the setting scale-ceiling is 0"));
    }
    let present = count(desk).await?;
    if present >= ceiling {
        return Err(permanent(format!("{present} run, and the ceiling is {ceiling}: no more are asked for")));
    }
    let by_share = (u64::from(present) * u64::from(SCALE_PERMILLE.count(desk.config()))).div_ceil(1_000);
    let by_step = u64::from(present) + u64::from(SCALE_STEP.count(desk.config()));
    let wanted = u32::try_from(by_share.max(by_step)).unwrap_or(ceiling).min(ceiling);
    let (told, looks) = match desk.change(to, [&wanted.to_string(), &present.to_string()]).await? {
        Ended::Well => (None, desk.looks()),
        // It may come about all the same.
        Ended::Doubt(failed) => (Some(failed), desk.looks()),
        Ended::Ill(failed) => (Some(failed), 1),
    };
    let mut now = present;
    for look in 0..looks {
        if look > 0 {
            desk.pause().await?;
        }
        now = count(desk).await?;
        if now >= wanted {
            return Ok(());
        }
    }
    Err(told.unwrap_or_else(|| transient(format!("{now} run after {looks} looks; wanted are {wanted}"))))
}

/// How many run.
async fn count(desk: &Desk<'_>) -> Result<u32, Failed> {
    let command = desk.named(&SCALE_LOOK)?;
    let output: Output = desk.look(command, []).await?.well(command)?;
    let lines = lines(command, output)?;
    let digits = |text: &str| text.len() <= COUNT_DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
    match &lines[..] {
        [line] if digits(line) => line.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| {
        let said = lines.first().map_or("nothing", |line| line);
        permanent(format!("the command {command} prints \"{}\", which is no count", quote::text(said)))
    })
}

#[cfg(test)]
mod tests;
