//! A call on its way to whoever holds the state, and the answer on its way back.

use backstay_model::{Channel, CohortId, DeviceId, Digest, Name};
use tokio::sync::{mpsc, oneshot};

use crate::{
    ApiError, Because, BreakerView, Closed, CohortView, EnrolAnswer, EventView, FleetView, Kind, LiftRequest,
    Lifted, MintedToken, Operation, PendingView, PluginView, QuarantineView, ReleaseView, StartRollout,
    Started, TargetCall, Told, TrustView, WordRequest,
};

/// Where the answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// One call. A `Name` is who calls, as the token names them: who changes something is recorded by it.
#[derive(Debug)]
pub enum Call {
    /// A device asks to be enrolled; the answer is its signed enrolment, or none while an operator has to say yes.
    Enrol(Vec<u8>, Reply<Option<Vec<u8>>>),
    /// All that is known.
    Fleet(Reply<FleetView>),
    /// One cohort, on one channel.
    Cohort(CohortId, Channel, Reply<CohortView>),
    /// The releases that can be handed out.
    Releases(Reply<Vec<ReleaseView>>),
    /// An artifact with this digest and of so many bytes was put on the shelf.
    Uploaded(Name, Digest, u64, Reply<()>),
    /// A signed statement about a release is to be handed out from now on.
    Publish(Name, Vec<u8>, Reply<ReleaseView>),
    /// The plugins that can be handed out.
    Plugins(Reply<Vec<PluginView>>),
    /// The plugin in the artifact with this digest is to be handed out from now on.
    PublishPlugin(Name, Digest, Reply<PluginView>),
    /// Whom the fleet trusts.
    Trust(Reply<TrustView>),
    /// A link to a keyring, a revocation or a seconded order is to be heeded and handed out.
    Heed(Name, Vec<u8>, Reply<TrustView>),
    /// The link to the keyring with this digest, or the revocation with it, as it came.
    Statement(Digest, Reply<Vec<u8>>),
    /// The signed order that a cohort is under.
    Order(CohortId, Reply<Vec<u8>>),
    /// Start a rollout.
    Start(Name, StartRollout, Reply<Started>),
    /// Do something with a cohort's rollout.
    Operate(Name, CohortId, Channel, Operation, Reply<CohortView>),
    /// What is kept from being used.
    Quarantine(Reply<Vec<QuarantineView>>),
    /// Let it be used again.
    Lift(Name, Digest, LiftRequest, Reply<Lifted>),
    /// All cohorts' promotion breakers.
    Breakers(Reply<Vec<BreakerView>>),
    /// Close one of them.
    CloseBreaker(Name, CohortId, Channel, Because, Reply<Closed>),
    /// Tell one device something.
    Tell(Name, DeviceId, WordRequest, Reply<Told>),
    /// A token that enrols one device as this.
    Mint(Name, EnrolAnswer, Reply<MintedToken>),
    /// Devices that wait for somebody to say yes.
    Pending(Reply<Vec<PendingView>>),
    /// Yes to one of them.
    Accept(Name, Digest, EnrolAnswer, Reply<()>),
    /// The records of a device's journal, as they came, and its public key in text.
    Evidence(DeviceId, Reply<(String, Vec<u8>)>),
    /// About the targets of the server.
    Target(TargetCall),
    /// The server's own records after one.
    Events(u64, Reply<Vec<EventView>>),
}

/// The way to whoever holds the state.
#[derive(Clone, Debug)]
pub struct Calls(mpsc::Sender<Call>);

impl Calls {
    /// A way for at most `waiting` calls at a time.
    #[must_use]
    pub fn new(waiting: usize) -> (Self, mpsc::Receiver<Call>) {
        let (calls, receiver) = mpsc::channel(waiting);
        (Self(calls), receiver)
    }

    pub(crate) async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let gone = || ApiError::new(Kind::Unavailable, "the server is stopping");
        self.0.send(call(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
