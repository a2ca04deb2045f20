//! The playbook `look`: how the release stands, told as readings.
//!
//! Which release is out the workload says, where the settings name one: Helm's record tells what somebody wanted. Not here: what
//! follows from it (the server).

use backstay_kubernetes::template::Told;
use backstay_sdk::{executor::Failed, readings::Readings};

use crate::{
    book::Book,
    desk::Desk,
    history::Status,
    live::{self, Live},
};

/// Looks, and tells what it found.
pub(crate) async fn tell(desk: &Desk<'_>) -> Result<(), Failed> {
    let mut readings = Readings::new();
    let history = desk.history().await?;
    let newest = history.newest();
    readings.say("helm-status", newest.status.word());
    readings.say("helm-revision", newest.revision);
    readings.say("helm-deployed", history.deployed());
    let mut book = Book::default();
    book.learn(desk, &[newest]).await?;
    let is_out = newest.status == Status::Deployed;
    if desk.workload.is_some() {
        let told: Option<Told> = live::told(desk).await?;
        if let Some(told) = &told {
            told.say(&mut readings);
        }
        if is_out {
            let word = match live::look(desk, &mut book, newest).await? {
                Live::Same => "same",
                Live::Other(_) => "differs",
            };
            readings.say("helm-live", word);
        }
    } else if let Some(told) = book.told(newest.revision).filter(|_| is_out) {
        told.say(&mut readings);
    }
    if is_out {
        readings.say("out-stage", 1000);
    }
    desk.ctx().look(readings.deed()).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
