//! What the caller and the link leave for each other, behind one lock.
//!
//! One waits here, the link; whom a caller has to wake is written down while it does. The caller needs no such thing:
//! it drives the link itself.
//!
//! Not here: what the caller holds (`handle`), and what becomes of what is left here (`link`).

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use backstay_model::Millis;

use crate::{
    handle::{Happening, Outgoing, PublishError},
    settings::Will,
};

/// Where publishes are handed over and happenings are told.
///
/// What is handed over belongs to one connection for certain: it is let go when that is over, and none is carried into the
/// next by accident.
#[derive(Debug)]
pub(crate) struct Desk(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    /// Most publishes that wait.
    queue_max: usize,
    /// Whether publishes are taken.
    open: bool,
    handed: VecDeque<Outgoing>,
    /// One, until it is taken: the link reads on when it is.
    told: Option<Happening>,
    reconnect_within: Millis,
    stay: Stay,
    will: Option<Will>,
    /// The link, if it waits.
    waits: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Connected,
    /// Say goodbye, so that the broker doesn't publish our will.
    UntilSent,
}

/// What the caller left for the link.
#[derive(Debug)]
pub(crate) enum Left {
    Publish(Outgoing),
    /// It wants to leave.
    Leave,
}

impl Desk {
    pub(crate) fn new(queue_max: usize, reconnect_within: Millis, will: Option<Will>) -> Self {
        Self(Mutex::new(Inside {
            queue_max,
            open: false,
            handed: VecDeque::new(),
            told: None,
            reconnect_within,
            stay: Stay::Connected,
            will,
            waits: None,
        }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing in here is half written for longer than a push takes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller's: hands over, unless nobody would send it.
    pub(crate) fn publish(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        let mut inside = self.inside();
        if !inside.open {
            return Err(PublishError::Offline);
        }
        if inside.handed.len() >= inside.queue_max {
            return Err(PublishError::Full);
        }
        inside.handed.push_back(outgoing);
        wake(inside);
        Ok(())
    }

    /// The caller's: asks the link to say goodbye.
    pub(crate) fn leave(&self) {
        let mut inside = self.inside();
        inside.stay = Stay::UntilSent;
        wake(inside);
    }

    /// The caller's. It comes with each steering and is nearly always what it was, so nobody is woken up for it.
    pub(crate) fn set_window(&self, window: Millis) {
        self.inside().reconnect_within = window;
    }

    /// The caller's: for the next connection.
    pub(crate) fn set_will(&self, will: Will) {
        self.inside().will = Some(will);
    }

    /// The caller's: what was told and not taken.
    pub(crate) fn take(&self) -> Option<Happening> {
        self.inside().told.take()
    }

    pub(crate) fn window(&self) -> Millis {
        self.inside().reconnect_within
    }

    pub(crate) fn will(&self) -> Option<Will> {
        self.inside().will.clone()
    }

    /// A connection began: publishes are taken.
    pub(crate) fn open(&self) {
        self.inside().open = true;
    }

    /// No more are taken. What is there can still be sent.
    pub(crate) fn take_no_more(&self) {
        self.inside().open = false;
    }

    /// The connection is over: nothing is taken, and what was not sent is let go.
    pub(crate) fn close(&self) {
        let mut inside = self.inside();
        inside.open = false;
        inside.handed = VecDeque::new();
    }

    /// Whether all that was handed over has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.inside().handed.is_empty()
    }

    /// Tells the caller; gives it back if what it was told before isn't taken yet.
    pub(crate) fn tell(&self, happening: Happening) -> Option<Happening> {
        let told = &mut self.inside().told;
        if told.is_some() {
            return Some(happening);
        }
        *told = Some(happening);
        None
    }

    /// Waits until the caller wants to leave.
    pub(crate) async fn asked_to_leave(&self) {
        self.wait(|inside| (inside.stay == Stay::UntilSent).then_some(())).await;
    }

    /// Waits for what the caller leaves: publishes while there is room for them, and once that it wants to leave.
    pub(crate) fn left(&self, room: Room, stays: Stays) -> impl Future<Output = Left> + Send {
        self.wait(move |inside| {
            let publish = if room == Room::Free { inside.handed.pop_front() } else { None };
            let leaves = stays == Stays::UntilAsked && inside.stay == Stay::UntilSent;
            publish.map(Left::Publish).or_else(|| leaves.then_some(Left::Leave))
        })
    }

    fn wait<T>(
        &self,
        mut look: impl FnMut(&mut Inside) -> Option<T> + Send,
    ) -> impl Future<Output = T> + Send {
        poll_fn(move |context: &mut Context<'_>| {
            let mut inside = self.inside();
            if let Some(found) = look(&mut inside) {
                return Poll::Ready(found);
            }
            match &mut inside.waits {
                Some(waits) => waits.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
    }
}

/// Wakes the link, if it waits for what has changed.
fn wake(mut inside: MutexGuard<'_, Inside>) {
    let waits = inside.waits.take();
    drop(inside);
    if let Some(waits) = waits {
        waits.wake();
    }
}

/// Whether one more publish may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    Full,
}

/// Whether the link goes on until it is asked to leave, or leaves already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    UntilAsked,
    NoMore,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::task::yield_now;

    use super::*;
    use crate::{handle::Token, settings::Qos};

    fn outgoing(token: u64) -> Outgoing {
        let payload = Bytes::from_static(b"x");
        Outgoing { topic: "a".into(), payload, qos: Qos::AtLeastOnce, retain: false, token: Token(token) }
    }

    fn desk() -> Desk {
        Desk::new(2, Millis(100), None)
    }

    /// The token of what is handed over next, if there is something.
    async fn next(desk: &Desk, room: Room) -> Option<u64> {
        tokio::select! {
            biased;
            left = desk.left(room, Stays::NoMore) => match left {
                Left::Publish(outgoing) => Some(outgoing.token.0),
                Left::Leave => None,
            },
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn a_publish_belongs_to_one_connection() {
        let desk = desk();
        assert_eq!(desk.publish(outgoing(1)), Err(PublishError::Offline), "before the first");
        desk.open();
        assert_eq!(desk.publish(outgoing(2)), Ok(()));
        desk.close();
        assert_eq!(desk.publish(outgoing(3)), Err(PublishError::Offline), "between two");
        desk.open();
        assert_eq!(next(&desk, Room::Free).await, None, "the second has nothing of the first");
    }

    #[tokio::test]
    async fn what_was_handed_over_is_sent_in_order_while_there_is_room_also_when_no_more_is_taken() {
        let desk = desk();
        desk.open();
        assert_eq!([1, 2, 3].map(|n| desk.publish(outgoing(n))), [Ok(()), Ok(()), Err(PublishError::Full)]);
        desk.take_no_more();
        assert_eq!(desk.publish(outgoing(4)), Err(PublishError::Offline));
        assert_eq!(next(&desk, Room::Full).await, None);
        assert_eq!(next(&desk, Room::Free).await, Some(1));
        assert_eq!(next(&desk, Room::Free).await, Some(2));
        assert!(desk.is_empty());
    }

    /// The link may wait in another task than who speaks.
    #[tokio::test]
    async fn who_waits_is_woken_for_a_publish_and_for_leaving() {
        let desk = Arc::new(desk());
        desk.open();
        let there = Arc::clone(&desk);
        let listens = tokio::spawn(async move {
            let first = there.left(Room::Free, Stays::UntilAsked).await;
            (first, there.left(Room::Free, Stays::UntilAsked).await)
        });
        yield_now().await;
        desk.publish(outgoing(1)).unwrap();
        yield_now().await;
        desk.leave();
        yield_now().await;
        assert!(listens.is_finished());
        assert!(matches!(listens.await.unwrap(), (Left::Publish(_), Left::Leave)));
    }

    #[test]
    fn what_is_told_waits_for_what_was_told_before() {
        let desk = desk();
        let acked = |n| Happening::Acked { token: Token(n) };
        assert!(desk.tell(acked(1)).is_none());
        assert!(matches!(desk.tell(acked(2)), Some(Happening::Acked { token: Token(2) })));
        assert!(matches!(desk.take(), Some(Happening::Acked { token: Token(1) })));
        assert!(desk.take().is_none());
        assert!(desk.tell(acked(2)).is_none());
    }
}
