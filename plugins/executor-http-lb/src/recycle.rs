//! One server out of the traffic, mended, and back.
//!
//! ```text
//! looks:  others carry enough? -> drain -> no sessions, or the deadline -> the playbook's command
//!         -> settle -> HAProxy's check passes -> `check` -> small weight -> ready -> settle -> still up -> all of its weight
//! ```
//!
//! However it ends, the last words say in which state the server was left. It stays drained after a failure only while
//! others carry traffic; the last one is put back, sick as it may be: an error page is better than none.

use alloc::{format, string::String};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    quote,
};

use crate::{
    board::{Board, Does, Server},
    config::{self, CHECK, DRAIN, OTHERS, SETTLE, UP, WEIGHT, WEIGHT_PERCENT},
    desk::{Action, Desk},
};

/// Recycles the server that belongs to the playbook.
pub(crate) async fn recycle(desk: &Desk<'_>, playbook: &str) -> Result<(), Failed> {
    let Some(server) = config::server(desk.config(), playbook) else {
        return Err(permanent(format!(
            "the setting servers has no \"{playbook}=...\": no server is recycled by it"
        )));
    };
    may_be_drained(desk, &desk.board().await?, server)?;
    match mend(desk, server, playbook).await {
        Ok(()) => Ok(()),
        Err(failed) => {
            let left = leave(desk, server).await;
            Err(Failed { why: format!("{}; {left}", quote::text(&failed.why)), ..failed })
        }
    }
}

/// Whether taking the server out leaves enough, and it can be told when it is well again.
fn may_be_drained(desk: &Desk<'_>, board: &Board, server: &str) -> Result<(), Failed> {
    let (it, path) = (board.server(server)?, desk.path(server));
    let (others, least) = (board.others(server), OTHERS.count(desk.config()));
    if it.does == Does::Maintenance {
        return Err(permanent(format!(
            "{path} is in maintenance: somebody took it out, and nothing was changed"
        )));
    }
    if !it.has_check() {
        return Err(permanent(format!(
            "HAProxy doesn't check {path}, so nobody could tell when it is well: add check"
        )));
    }
    // One that is down or drained carries nothing: taking it out takes nothing away.
    if matches!(it.does, Does::Up | Does::Stopping) && others < least {
        let why =
            format!("{path} was not drained: others that carry traffic are {others}, and have to be {least}");
        return Err(transient(why));
    }
    Ok(())
}

async fn mend(desk: &Desk<'_>, server: &str, playbook: &str) -> Result<(), Failed> {
    drain(desk, server).await?;
    desk.run(playbook, []).await?;
    prove(desk, server).await?;
    put_back(desk, server).await
}

/// Takes the server out, and waits for its sessions.
async fn drain(desk: &Desk<'_>, server: &str) -> Result<(), Failed> {
    let board = desk.make(server, Action::Drain, is_out).await?;
    let enough = |board: &Board| {
        // Whoever can't carry isn't missed.
        board.others(server) > 0 || !board.server(server).is_ok_and(Server::is_checked)
    };
    let empty = |board: &Board| board.server(server).is_ok_and(|it| it.sessions == 0);
    let alone = || transient(format!("while {} was drained, the last other went down", desk.path(server)));
    if !enough(&board) {
        return Err(alone());
    }
    if !empty(&board) {
        // At the deadline the command cuts off what is left.
        desk.wait(DRAIN.count(desk.config()).into(), |board| empty(board) || !enough(board)).await?;
        if !enough(&desk.board().await?) {
            return Err(alone());
        }
    }
    Ok(())
}

/// Looks until the server is well, without any traffic on it.
async fn prove(desk: &Desk<'_>, server: &str) -> Result<(), Failed> {
    // Before that, HAProxy may still tell what it found before the command.
    desk.pause(SETTLE.count(desk.config()).into()).await?;
    let well = |board: &Board| {
        let passes = |it: &Server| matches!(it.does, Does::Drain | Does::Up) && it.is_checked();
        board.server(server).is_ok_and(passes)
    };
    if !desk.wait(UP.count(desk.config()).into(), well).await? {
        return Err(transient(format!(
            "HAProxy's check of {} doesn't pass after the command",
            desk.path(server)
        )));
    }
    desk.check(&CHECK, [server]).await
}

/// Gives the server traffic again: a little, then all.
async fn put_back(desk: &Desk<'_>, server: &str) -> Result<(), Failed> {
    let (command, path) = (WEIGHT.of(desk.config()), desk.path(server));
    if !command.is_empty() {
        desk.run(command, [&path, &format!("{}%", WEIGHT_PERCENT.of(desk.config()))]).await?;
    }
    // With traffic it may go down at once; whether it stays up is seen when it has settled.
    desk.make(server, Action::Ready, |it| matches!(it.does, Does::Up | Does::Down)).await?;
    desk.pause(SETTLE.count(desk.config()).into()).await?;
    stays_up(desk, server, |it| it.does == Does::Up && it.is_checked()).await?;
    if !command.is_empty() {
        desk.run(command, [&path, "100%"]).await?;
        stays_up(desk, server, Server::carries).await?;
    }
    Ok(())
}

async fn stays_up(desk: &Desk<'_>, server: &str, up: impl Fn(&Server) -> bool) -> Result<(), Failed> {
    let board = desk.board().await?;
    let it = board.server(server)?;
    if up(it) {
        return Ok(());
    }
    Err(transient(format!("{} did not stay up with traffic: it is {}", desk.path(server), it.told())))
}

/// Whether no new sessions come to the server.
pub(crate) fn is_out(it: &Server) -> bool {
    matches!(it.does, Does::Drain | Does::Down | Does::Maintenance)
}

/// Leaves the server as it is best left after a failure, and says how.
async fn leave(desk: &Desk<'_>, server: &str) -> String {
    let path = desk.path(server);
    let Ok(board) = desk.board().await else {
        return format!("how {path} was left can't be seen");
    };
    let Ok(it) = board.server(server) else { return format!("{path} is gone") };
    let (told, others) = (it.told(), board.others(server));
    match it.does {
        Does::Up | Does::Stopping | Does::Maintenance => format!("{path} is left {told}"),
        Does::Drain if others > 0 => format!("{path} is left out, {told}; others that carry: {others}"),
        // Of a server that is down the page doesn't say whether it is drained too. It has to be, or it would be back by itself.
        Does::Down if others > 0 => match desk.make(server, Action::Drain, is_out).await {
            Ok(_) => format!("{path} is left out, {told}; others that carry: {others}"),
            Err(_) => format!("{path} is left {told}, and could not be drained"),
        },
        Does::Drain | Does::Down => {
            let put_back = |it: &Server| matches!(it.does, Does::Up | Does::Down);
            match desk.make(server, Action::Ready, put_back).await {
                Ok(_) => format!("{path}, {told}, was put back: no other carries"),
                Err(_) => format!("{path} is left {told}, could not be put back, and no other carries"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
