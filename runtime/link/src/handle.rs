//! What a caller holds: a [`Handle`] to publish with, and [`Incoming`] to hear what happened.
//!
//! Not here: what goes on between the two and the broker (`link`), and where they leave things for it (`desk`).

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use backstay_model::Millis;
use bytes::Bytes;

use crate::{
    desk::Desk,
    settings::{PACKET_HEAD_BYTES, Qos, SettingsError, Will, is_topic},
    trouble::Trouble,
};

/// The caller's own number for a publish; it comes back with the broker's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Something to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to: no wildcards, at most 512 bytes.
    pub topic: String,
    /// What. An empty payload with `retain` erases what the broker keeps.
    pub payload: Bytes,
    /// How hard the broker tries.
    pub qos: Qos,
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
    /// Comes back in [`Happening::Acked`] if `qos` is [`Qos::AtLeastOnce`].
    pub token: Token,
}

/// Something that was published by somebody. Nothing in it is true before a signature says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it came in. A broker may claim any topic.
    pub topic: String,
    /// What. May be empty.
    pub payload: Bytes,
    /// Whether the broker had kept it (`true`) or it was published just now.
    pub retained: bool,
}

/// What happened on the link, in order.
#[derive(Debug)]
pub enum Happening {
    /// A new connection, and everything subscribed. Whatever was handed to `publish` before is forgotten:
    /// what is not receipted has to be published again.
    Connected,
    /// The connection ended. What was not acknowledged may or may not have arrived.
    Lost {
        /// Why.
        why: Trouble,
        /// When the next try begins.
        again: Millis,
    },
    /// A try to connect failed.
    Unreachable {
        /// Why.
        why: Trouble,
        /// When the next try begins.
        again: Millis,
    },
    /// A message came.
    Message(Message),
    /// The broker has what was published with this token. A hint: only a receipt of the receiver says that
    /// it arrived.
    Acked {
        /// The caller's number.
        token: Token,
    },
    /// The broker doesn't let us listen to this filter.
    Declined {
        /// The filter.
        topics: String,
    },
    /// Under this filter the broker keeps a message that is too large to be read. It is left out, so that
    /// the others go on.
    Poisoned {
        /// The filter.
        topics: String,
        /// When it is looked at again, at the earliest.
        again: Millis,
    },
    /// A filter that was poisoned is listened to again.
    Cured {
        /// The filter.
        topics: String,
    },
}

/// A publish that was not taken. Nothing of it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Too many wait already. Later there is room again; until then the outbox keeps it.
    Full,
    /// There is no connection. `Happening::Connected` says when there is.
    Offline,
    /// It is larger than any packet may be.
    Large {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The topic is none that can be published to.
    Topic {
        /// The topic.
        topic: String,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "too many publishes wait for the broker"),
            Self::Offline => write!(f, "not connected with the broker"),
            Self::Large { bytes, limit } => {
                write!(f, "a publish of {bytes} bytes is more than the limit of {limit}")
            }
            Self::Topic { topic } => write!(f, "{topic:?} is no topic to publish to"),
        }
    }
}

impl std::error::Error for PublishError {}

/// The side of the caller that speaks. Clones speak for the same link.
#[derive(Clone)]
pub struct Handle {
    desk: Arc<Desk>,
    packet_bytes_max: usize,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(desk: Arc<Desk>, packet_bytes_max: usize) -> Self {
        Self { desk, packet_bytes_max }
    }

    /// From the next connection on the broker says this when it has lost us, if [`Settings::will`] was set. So each
    /// connection can have a will of its own, and one that comes late says nothing of the next.
    ///
    /// # Errors
    /// If it could not have been in the settings.
    ///
    /// [`Settings::will`]: crate::Settings::will
    pub fn make_will(&self, will: Will) -> Result<(), SettingsError> {
        will.check(self.packet_bytes_max)?;
        self.desk.set_will(will);
        Ok(())
    }

    /// Hands something over to be published, in order. Never waits; it is sent while [`Incoming::next`] is waited for.
    ///
    /// # Errors
    /// When it was not taken. The caller still has it, and sends it again when there is room, or when it is
    /// connected.
    pub fn publish(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        let bytes = outgoing.topic.len() + outgoing.payload.len() + PACKET_HEAD_BYTES;
        if bytes > self.packet_bytes_max {
            return Err(PublishError::Large { bytes, limit: self.packet_bytes_max });
        }
        if !is_topic(&outgoing.topic) {
            return Err(PublishError::Topic { topic: outgoing.topic });
        }
        self.desk.publish(outgoing)
    }

    /// Spreads the next tries to connect over `window` (100 ms to 1 h, brought to the nearest bound). It
    /// comes from signed steering.
    pub fn reconnect_within(&self, window: Millis) {
        self.desk.set_window(window);
    }

    /// Asks the link to send what it was handed, to say goodbye, and to end. The broker then doesn't publish
    /// our will. [`Incoming::next`] yields `None` when it is done, after a few seconds at most.
    pub fn leave(&self) {
        self.desk.leave();
    }
}

/// The side of the caller that hears, and that drives the link: it connects, sends and answers while [`Incoming::next`] is
/// waited for. Dropping it ends the link at once and without goodbye.
pub struct Incoming {
    desk: Arc<Desk>,
    /// Until it has ended.
    courier: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

impl Incoming {
    pub(crate) fn new(desk: Arc<Desk>, courier: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { desk, courier: Some(Box::pin(courier)) }
    }

    /// The next happening; `None` when the link has ended.
    ///
    /// May be dropped while it waits: nothing is taken before. Who doesn't call it for a while slows the broker down, and
    /// loses the connection in the end (after one and a half keep alives, as brokers have it), but nothing that a resend or
    /// a retained message doesn't bring back.
    pub async fn next(&mut self) -> Option<Happening> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Happening>> {
        let Some(courier) = &mut self.courier else { return Poll::Ready(None) };
        if courier.as_mut().poll(context).is_ready() {
            self.courier = None;
        }
        // The link goes on when what it told is taken: with the next poll, so it never has to be woken up for that.
        match self.desk.take() {
            Some(happening) => Poll::Ready(Some(happening)),
            None if self.courier.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
