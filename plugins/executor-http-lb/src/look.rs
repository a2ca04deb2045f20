//! The playbook `look`: how the backend's servers do, told as readings.
//!
//! A server whose check fails counts as a lost machine, whatever the check says; for HAProxy it is one. One that is in
//! maintenance, or drained, was taken out by somebody and isn't lost. Of a drained server that is down the page says only
//! that it is down, so it counts. Not here: what the page says (`board`), and what follows from it (the server).

use backstay_sdk::{executor::Failed, readings::Readings};

use crate::{board::Does, desk::Desk};

/// Looks, and tells what it found.
pub(crate) async fn tell(desk: &Desk<'_>) -> Result<(), Failed> {
    let board = desk.board().await?;
    let mut readings = Readings::new();
    readings.say("infra.machine-lost", board.count(Does::Down)?);
    readings.say("servers-up", board.count(Does::Up)?);
    desk.attach(readings).await
}

#[cfg(test)]
mod tests;
