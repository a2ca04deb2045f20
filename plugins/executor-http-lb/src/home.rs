//! From green to blue: two servers of one backend, of which one has the traffic.
//!
//! ```text
//! blue out of maintenance, without traffic -> HAProxy's check passes -> `check-home` -> blue ready
//!         -> green drained -> blue still up? -> green's sessions end, or the deadline
//! ```
//!
//! Green keeps the traffic until blue is proven and has it too, and gets it back if blue goes down meanwhile.

use alloc::{format, string::String};

use backstay_sdk::{
    executor::{Failed, Release, permanent, transient},
    quote,
};

use crate::{
    board::{Board, Does, Server},
    config::{BLUE, CHECK_HOME, DRAIN, GREEN, SETTLE, UP},
    desk::{Action, Desk},
    recycle::is_out,
};

/// Goes home to blue, which has to hold `release`.
pub(crate) async fn go_home(desk: &Desk<'_>, release: &Release) -> Result<(), Failed> {
    let (blue, green) = (BLUE.of(desk.config()), GREEN.of(desk.config()));
    if blue.is_empty() || green.is_empty() {
        return Err(permanent("there is no way home: the settings blue and green are empty"));
    }
    let board = desk.board().await?;
    let (it, other) = (board.server(blue)?, board.server(green)?);
    if it.carries() && matches!(other.does, Does::Drain | Does::Maintenance) {
        // Home, and maybe not for the first time. Whether it is the right home still is for the command to say.
        return desk.check(&CHECK_HOME, [&release.version, &release.digest]).await;
    }
    prove(desk, blue, it.does, release).await.map_err(|failed| {
        let why =
            format!("nothing was switched, {} isn't proven: {}", desk.path(blue), quote::text(&failed.why));
        Failed { why, ..failed }
    })?;
    desk.make(blue, Action::Ready, Server::carries).await.map_err(|failed| left(desk, green, failed))?;
    let board = desk.make(green, Action::Drain, is_out).await?;
    if !board.server(blue)?.carries() {
        return Err(back(desk, blue, green).await);
    }
    // Sessions that last longer are green's to end, or whoever stops it.
    let empty = |board: &Board| board.server(green).is_ok_and(|it| it.sessions == 0);
    if !empty(&board) {
        let home = |board: &Board| board.server(blue).is_ok_and(Server::carries);
        desk.wait(DRAIN.count(desk.config()).into(), |board| empty(board) || !home(board)).await?;
        if !home(&desk.board().await?) {
            return Err(back(desk, blue, green).await);
        }
    }
    Ok(())
}

/// Looks until blue is well, without any traffic on it where it had none.
async fn prove(desk: &Desk<'_>, blue: &str, does: Does, release: &Release) -> Result<(), Failed> {
    if does == Does::Maintenance {
        // In maintenance nothing is checked; drained it is, and gets no traffic either.
        desk.make(blue, Action::Drain, |it| matches!(it.does, Does::Drain | Does::Down)).await?;
        desk.pause(SETTLE.count(desk.config()).into()).await?;
    }
    let passes = |it: &Server| matches!(it.does, Does::Drain | Does::Up) && it.is_checked();
    let well = |board: &Board| board.server(blue).is_ok_and(passes);
    if !desk.wait(UP.count(desk.config()).into(), well).await? {
        return Err(transient("HAProxy's check doesn't pass"));
    }
    desk.check(&CHECK_HOME, [&release.version, &release.digest]).await
}

/// Blue went down after all: green gets the traffic back.
async fn back(desk: &Desk<'_>, blue: &str, green: &str) -> Failed {
    let (blue, path) = (desk.path(blue), desk.path(green));
    let left = match desk.make(green, Action::Ready, |it| it.does == Does::Up).await {
        Ok(_) => format!("{path} has the traffic again"),
        Err(failed) => format!("{path} could not be put back: {}", quote::text(&failed.why)),
    };
    transient(format!("{blue} went down; {left}"))
}

fn left(desk: &Desk<'_>, green: &str, failed: Failed) -> Failed {
    let why: String = format!("{}; {} keeps the traffic", quote::text(&failed.why), desk.path(green));
    Failed { why, ..failed }
}

#[cfg(test)]
mod tests;
