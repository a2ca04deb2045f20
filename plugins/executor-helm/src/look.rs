//! The playbook `look`: how the release stands, told as readings.
//!
//! Which release is out, and how much of it, the workload says, where the settings name one: Helm's record tells what somebody wanted. What
//! can't be read is left out. Not here: trouble with machines (`backstay-kubernetes`), and what follows from any of it (the server).

use backstay_kubernetes::{look, template::Told};
use backstay_sdk::{
    executor::{Failed, both},
    readings::Readings,
};

use crate::{
    book::Book,
    desk::Desk,
    history::{History, Status},
    live::{self, Live},
};

/// What Helm keeps.
struct Recorded {
    history: History,
    /// Which release the newest revision runs.
    told: Option<Told>,
    /// How the workload compares with it.
    live: Option<Live>,
}

/// Looks, and tells what it found.
pub(crate) async fn tell(desk: &Desk<'_>) -> Result<(), Failed> {
    let mut readings = Readings::new();
    let (recorded, looked) = both(recorded(desk), at_workload(desk, &mut readings)).await;
    if let Ok(Recorded { history, told, live }) = &recorded {
        let newest = history.newest();
        readings.say("helm-status", newest.status.word());
        readings.say("helm-revision", newest.revision);
        readings.say("helm-deployed", history.deployed());
        match live {
            Some(Live::Same) => readings.say("helm-live", "same"),
            Some(Live::Other(_)) => readings.say("helm-live", "differs"),
            None => true,
        };
        if desk.workload.is_none()
            && newest.status == Status::Deployed
            && let Some(told) = told
        {
            told.say(&mut readings);
            readings.say("out-stage", 1000);
        }
    }
    if readings.is_empty() {
        return recorded.map(|_| ()).and(looked);
    }
    desk.ctx().look(readings.deed()).await?;
    Ok(())
}

async fn recorded(desk: &Desk<'_>) -> Result<Recorded, Failed> {
    let history = desk.history().await?;
    let (mut book, newest) = (Book::default(), history.newest());
    book.learn(desk, &[newest]).await?;
    // While somebody's helm is at work nothing is wrong with what is live.
    let is_out = newest.status == Status::Deployed && desk.workload.is_some();
    let live = if is_out { live::look(desk, &mut book, newest).await.ok() } else { None };
    Ok(Recorded { told: book.told(newest.revision).cloned(), live, history })
}

/// What the workload says, and its pods and nodes.
async fn at_workload(desk: &Desk<'_>, readings: &mut Readings) -> Result<(), Failed> {
    let Some(workload) = &desk.workload else { return Ok(()) };
    let (told, stage) = live::out(desk).await?;
    told.say(readings);
    if let Some(stage) = stage {
        readings.say("out-stage", stage);
    }
    look::tell(&desk.cluster, workload, readings).await
}

#[cfg(test)]
mod tests;
