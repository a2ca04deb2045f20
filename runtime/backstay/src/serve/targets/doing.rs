//! What waits: effects of runs, questions to Prometheus, pages. Each is begun here and comes back as one [`Came`].
//!
//! It acts and never decides. Not here: what is begun (the one task says), and what comes of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use backstay_api::PageBody;
use backstay_hands::{ServerHands, spawn};
use backstay_model::{Answer, Deed, Millis, Name, TargetId, UnixMs};
use backstay_signals::Prometheus;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    Key, Todo, Whose,
    watching::{Numbers, Questions},
};

/// How often a page is tried, and the pause after the first try; it doubles.
const PAGE_TRIES: u32 = 6;
const PAGE_PAUSE: Duration = Duration::from_secs(1);
/// What came and was not taken yet. Who has more waits.
const CAME_MAX: usize = 256;

/// Something that came back.
#[derive(Debug)]
pub(crate) enum Came {
    /// An effect has ended.
    Effect(Key, Answer),
    /// Numbers, or why there are none: for each objective.
    Measured(TargetId, Questions, Numbers),
    /// A page went out, or did not in all its tries.
    Paged(TargetId, Result<(), String>),
}

/// Where a page goes.
#[derive(Debug)]
pub(crate) struct Pager {
    /// The one endpoint, with its credential.
    pub(super) endpoints: backstay_hands::GuardedEndpoints,
    /// Its name there.
    pub(super) name: Name,
    /// The path of its address.
    pub(super) path: String,
}

/// Does what waits.
pub(crate) struct Doer {
    hands: Arc<ServerHands>,
    prometheus: BTreeMap<Name, Prometheus>,
    pager: Option<Arc<Pager>>,
    /// Whose effects are under way: who holds the other end hears when nobody waits any more.
    open: BTreeMap<Whose, watch::Sender<()>>,
    came: mpsc::Sender<Came>,
}

impl Doer {
    /// With nothing to do it with yet; and where what comes back is heard.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Came>) {
        let (came, heard) = mpsc::channel(CAME_MAX);
        let (hands, prometheus) = (Arc::default(), BTreeMap::new());
        (Self { hands, prometheus, pager: None, open: BTreeMap::new(), came }, heard)
    }

    /// From now on with this. What is under way ends as it began.
    pub(crate) fn equip(
        &mut self,
        hands: ServerHands,
        prometheus: BTreeMap<Name, Prometheus>,
        pager: Option<Pager>,
    ) {
        self.hands = Arc::new(hands);
        self.prometheus = prometheus;
        self.pager = pager.map(Arc::new);
    }

    /// Begins something.
    pub(crate) fn begin(&mut self, todo: Todo, now: UnixMs) {
        let came = self.came.clone();
        match todo {
            Todo::LetGo(whose) => drop(self.open.remove(&whose)),
            Todo::Effect { key, deed } => {
                let mut let_go =
                    self.open.entry(key.whose).or_insert_with(|| watch::channel(()).0).subscribe();
                let hands = Arc::clone(&self.hands);
                spawn(async move {
                    let nobody_waits = async { while let_go.changed().await.is_ok() {} };
                    // Dropped in the middle it leaves no process behind.
                    tokio::select! {
                        answer = perform(&hands, deed) => drop(came.send(Came::Effect(key, answer)).await),
                        () = nobody_waits => {}
                    }
                });
            }
            Todo::Measure { target, prometheus, questions, stale } => {
                let prometheus = self.prometheus.get(&prometheus).cloned();
                spawn(async move {
                    let numbers = match prometheus {
                        Some(prometheus) => measure(&prometheus, &questions, now, stale).await,
                        None => Numbers::default(),
                    };
                    drop(came.send(Came::Measured(target, questions, numbers)).await);
                });
            }
            Todo::Page(body) => {
                let Some(pager) = self.pager.clone() else { return };
                spawn(async move {
                    let service = body.service.clone();
                    let paged = pager.page(&body).await;
                    drop(came.send(Came::Paged(service, paged)).await);
                });
            }
        }
    }
}

/// All that a window takes.
async fn measure(prometheus: &Prometheus, questions: &Questions, now: UnixMs, stale: Millis) -> Numbers {
    let objectives = prometheus.answers(&questions.specs, now, stale).await;
    let anomaly = match &questions.anomaly {
        Some(query) => Some(prometheus.ask(query, now, stale).await),
        None => None,
    };
    Numbers { objectives, anomaly }
}

async fn perform(hands: &ServerHands, deed: Deed) -> Answer {
    match deed {
        Deed::Sleep { span } => {
            sleep(Duration::from_millis(span.0)).await;
            Answer::Done
        }
        // What is attached is in the journal already: it is part of the run's record.
        Deed::Attach { .. } => Answer::Done,
        Deed::Slot(_) => Answer::Refused("a target of the server has no slots".into()),
        Deed::Publish { topic, .. } => Answer::Refused(format!("no topic named {topic} is configured")),
        Deed::Http { .. } | Deed::Run { .. } | Deed::File { .. } => {
            let answer = hands.perform(&deed).await;
            answer.unwrap_or_else(|| Answer::Refused("nobody here does such a thing".into()))
        }
    }
}

impl Pager {
    /// Posts a page, again and again if it has to.
    async fn page(&self, body: &PageBody) -> Result<(), String> {
        let bytes = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let mut pause = PAGE_PAUSE;
        let mut why = String::new();
        for tried in 0..PAGE_TRIES {
            if tried > 0 {
                sleep(pause).await;
                pause *= 2;
            }
            why = match self.endpoints.request(&self.name, "POST", &self.path, &bytes).await {
                Answer::Response { status: 200..=299, .. } => return Ok(()),
                Answer::Response { status, .. } => format!("it answered {status}"),
                Answer::Failed(outcome) => outcome.to_string(),
                Answer::TimedOut => "it did not answer in time".into(),
                Answer::Refused(why) => return Err(why),
                Answer::Done
                | Answer::Exited { .. }
                | Answer::Content(_)
                | Answer::Slots(_)
                | Answer::InDoubt => "it answered something else".into(),
            };
        }
        Err(why)
    }
}
