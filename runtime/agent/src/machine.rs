//! The machine under the agent: its slots, the program that it supervises, and the commands that runs may use.
//!
//! Here: joining those three, so that "restart" means what it means on a machine with a boot loader: the slots
//! say what runs next, tries are counted, and a release that didn't come up falls back. Not here: when any of
//! it is done (`core`), and whether a plugin may ask for it (`host`).

use std::{
    error::Error,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use backstay_hands::{Carriage, Ended, Fetch, FetchError, Fetched, Hands, Supervised, beside, spawn};
use backstay_model::{
    Answer, Deed, Name, Outcome, Output, Reason, Release, SlotDeed, SlotStatus, Transience, causes,
};
use backstay_slots::{BootWord, SlotError, Slots};
use tokio::sync::{mpsc, oneshot};

use crate::slots::Backend;

/// The machine, for those who act on it. Clones act on the same one.
#[derive(Clone)]
pub struct Machine {
    slots: Arc<Mutex<Backend>>,
    hands: Arc<Hands>,
    fetch: Option<Fetch>,
    /// The commands that are about the supervised program.
    restarts: Arc<Vec<Name>>,
    service: Option<mpsc::Sender<(Service, oneshot::Sender<()>)>>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

/// What the supervised program is to do.
#[derive(Debug)]
enum Service {
    Stop,
    Start(PathBuf),
}

/// A (simulated) restart of the machine: what runs from now on.
#[derive(Debug)]
pub struct Started {
    /// Damage that was found on the way, in words.
    pub findings: Vec<String>,
}

impl Machine {
    /// A machine with these slots and commands. `service` is the program that it keeps running, if there is one;
    /// what ends by itself is told to `ended`.
    #[must_use]
    pub fn new(
        slots: Backend,
        hands: Hands,
        fetch: Option<Fetch>,
        restarts: Vec<Name>,
        service: Option<Supervised>,
        ended: mpsc::Sender<Ended>,
    ) -> Self {
        let service = service.map(|service| {
            let (ask, asked) = mpsc::channel(1);
            spawn(keep_running(service, asked, ended));
            ask
        });
        let slots = Arc::new(Mutex::new(slots));
        Self { slots, hands: Arc::new(hands), fetch, restarts: Arc::new(restarts), service }
    }

    /// What is in the slots.
    ///
    /// # Errors
    /// If what runs can't be told.
    pub async fn status(&self) -> Result<SlotStatus, SlotError> {
        self.with_slots(|slots| slots.status()).await
    }

    /// What the boot loader says of this boot.
    ///
    /// # Errors
    /// None as yet: what says it is in memory.
    pub async fn booted(&self) -> Result<BootWord, SlotError> {
        self.with_slots(|slots| Ok(slots.booted())).await
    }

    /// This boot is fine, though the trial goes on: a try gets its tries back.
    ///
    /// # Errors
    /// If the disk failed.
    pub async fn note_boot(&self) -> Result<(), SlotError> {
        self.with_slots(|slots| slots.note_boot()).await
    }

    /// Makes a release that is in the other slot the last resort.
    ///
    /// # Errors
    /// It is what a restart brings back by now, or the disk failed.
    pub async fn condemn(&self, release: Release) -> Result<(), SlotError> {
        self.with_slots(move |slots| slots.condemn(&release)).await
    }

    /// Starts what is supervised: what the slots say is next, and counts the try if it is one.
    ///
    /// # Errors
    /// If there is nothing that could run.
    pub async fn boot(&self) -> Result<Started, SlotError> {
        // The slots are not switched under a program that runs.
        self.tell(Service::Stop).await;
        let begun = self.with_backend(Backend::begin).await?;
        self.tell(Service::Start(begun.path)).await;
        Ok(Started { findings: begun.findings })
    }

    async fn tell(&self, what: Service) {
        let Some(service) = &self.service else { return };
        let (done, heard) = oneshot::channel();
        // Its task lives as long as this does; it answers when it has done so.
        if service.send((what, done)).await.is_ok() {
            let _ = heard.await;
        }
    }

    /// Does what a run asks for. What can be broken off in the middle is once `broken_off` comes; what can't, such as a
    /// switch of slots or a restart, is done.
    pub async fn perform(&self, deed: Deed, broken_off: impl Future<Output = ()>) -> Answer {
        match deed {
            Deed::Slot(SlotDeed::Stage(release)) => self.stage(release, broken_off).await,
            Deed::Slot(deed) => self.slot(deed).await,
            Deed::Run { command, .. } if self.restarts.contains(&command) => match self.boot().await {
                Ok(_) => Answer::Exited { code: Some(0), output: Output::default() },
                Err(error) => Answer::Failed(error.outcome()),
            },
            // What is attached is in the journal already: it is part of the run's record.
            Deed::Attach { .. } => Answer::Done,
            Deed::Publish { topic, .. } => Answer::Refused(format!("no topic named {topic} is configured")),
            Deed::Sleep { .. } | Deed::Http { .. } | Deed::Run { .. } | Deed::File { .. } => {
                tokio::select! {
                    answer = self.work(deed) => answer,
                    () = broken_off => Answer::InDoubt,
                }
            }
        }
    }

    async fn work(&self, deed: Deed) -> Answer {
        if let Deed::Sleep { span } = deed {
            tokio::time::sleep(std::time::Duration::from_millis(span.0)).await;
            return Answer::Done;
        }
        let answer = self.hands.perform(&deed).await;
        answer.unwrap_or_else(|| Answer::Refused("nobody here does such a thing".into()))
    }

    /// Fetches a release and writes it into the slot that doesn't run. Only the first can be broken off.
    async fn stage(&self, release: Release, broken_off: impl Future<Output = ()>) -> Answer {
        let Some(fetch) = &self.fetch else {
            return Answer::Refused("no [server] is configured to fetch from".into());
        };
        let fetched = tokio::select! {
            fetched = self.fetched(fetch, &release) => fetched,
            () = broken_off => return Answer::InDoubt,
        };
        let mut file = match fetched {
            Ok(fetched) => {
                tell(&release, &fetched);
                fetched.file
            }
            Err(error) => return failed(FetchError::transience(&error), &error),
        };
        answer(self.with_slots(move |slots| slots.stage(&release, &mut file)).await)
    }

    /// Fetches what of a release isn't in what runs.
    async fn fetched(&self, fetch: &Fetch, release: &Release) -> Result<Fetched, FetchError> {
        // It saves bytes, and nothing hangs on it.
        let old = self.with_slots(|slots| slots.running()).await;
        let old = old.inspect_err(|error| {
            let why = causes::in_one_line(error);
            tracing::info!(why, "what runs can't be read, so nothing of a release is taken from there");
        });
        fetch.get_beside(release.digest, release.length, old.ok().flatten()).await
    }

    async fn slot(&self, deed: SlotDeed) -> Answer {
        let done = match deed {
            SlotDeed::Status => {
                return match self.status().await {
                    Ok(status) => Answer::Slots(status),
                    Err(error) => Answer::Failed(error.outcome()),
                };
            }
            SlotDeed::Stage(release) => return self.stage(release, std::future::pending()).await,
            SlotDeed::TryNext(release) => self.with_slots(move |slots| slots.try_next(&release)).await,
            SlotDeed::Confirm(release) => self.with_slots(move |slots| slots.confirm(&release)).await,
            SlotDeed::GoHome(release) => self.with_slots(move |slots| slots.go_home(&release)).await,
        };
        answer(done)
    }

    async fn with_slots<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Slots) -> Result<T, SlotError> + Send + 'static,
    ) -> Result<T, SlotError> {
        self.with_backend(|backend| work(backend.slots())).await
    }

    /// Slots read whole artifacts, so they work beside the agent's one thread.
    async fn with_backend<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Backend) -> Result<T, SlotError> + Send + 'static,
    ) -> Result<T, SlotError> {
        let slots = Arc::clone(&self.slots);
        let done = beside(move || {
            // Every operation of slots can be asked for again, so one that panicked leaves nothing half believed.
            let mut backend = slots.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut backend);
            for finding in backend.findings() {
                tracing::warn!(finding, "slots");
            }
            done
        });
        match done.await {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

async fn keep_running(
    mut service: Supervised,
    mut asked: mpsc::Receiver<(Service, oneshot::Sender<()>)>,
    ended: mpsc::Sender<Ended>,
) {
    loop {
        tokio::select! {
            what = asked.recv() => {
                let Some((what, done)) = what else { break };
                match what {
                    Service::Stop => service.stop().await,
                    Service::Start(path) => service.start(&path).await,
                }
                let _ = done.send(());
            }
            end = service.next() => {
                // A program that ends faster than anybody can listen is counted by the ends that are heard.
                let _ = ended.try_send(end);
            }
        }
    }
    service.stop().await;
}

/// What a release cost the network. Nobody pays for what was here already.
fn tell(release: &Release, Fetched { carriage, said, .. }: &Fetched) {
    for why in said {
        tracing::warn!(why, "a release came another way than the shortest");
    }
    let Carriage { carried, found, left_over } = carriage;
    let (version, length) = (&release.version, release.length);
    tracing::info!(%version, length, carried, found, left_over, "fetched a release");
}

fn answer(done: Result<(), SlotError>) -> Answer {
    match done {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(error.outcome()),
    }
}

fn failed(transience: Transience, error: &(dyn Error + 'static)) -> Answer {
    Answer::Failed(Outcome::Failed { transience, why: Reason::new(causes::in_one_line(error)).0 })
}

#[cfg(test)]
mod tests;
