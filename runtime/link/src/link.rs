//! What goes on between the caller and the broker.
//!
//! One connection after the other, each from nothing: what was under way on one is forgotten with it. A connection that made no progress
//! for a while, or that panicked on what a broker sent, is dropped like any other. So every failure has one way out, and it is used every
//! day.
//!
//! Waiting may be dropped to see to something else: nothing is taken from the broker that isn't told, and nothing is half written. What is
//! answered goes out together, as soon as there is nothing more to be read.
//!
//! All of it is one future, which the caller drives ([`Incoming`]).
//!
//! Not here: what a connection is (`connection`), what is sent again after it ended (the caller), how long to wait (`pause`), and which
//! filters are left out (`filters`).

use std::{
    future::{Future, poll_fn, ready},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use backstay_model::Millis;
use tokio::{
    runtime,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    connection::{Connection, Heard, Turn},
    desk::{Desk, Left, Room, Stays},
    files::TlsMemory,
    filters::Filters,
    handle::{Handle, Happening, Incoming},
    pause::Pause,
    settings::{Settings, SettingsError},
    socket::Socket,
    trouble::Trouble,
};

/// How long a broker may take from the first packet to CONNACK, name look-up and TLS included, and how long
/// one flush may take. A satellite link needs a few seconds.
const CONNECT: Duration = Duration::from_secs(20);
/// How long [`Handle::leave`] waits for what is under way.
const LEAVE: Duration = Duration::from_secs(5);
/// A connection that ends earlier than this was of no use, and the next try waits longer.
const OF_USE: Duration = Duration::from_secs(10);
/// Most filters in one packet; some hosted brokers take no more.
const FILTERS_PER_PACKET: usize = 8;
/// So many packets are taken together, if they are here, before they are acknowledged and all else has its turn.
const READS_IN_A_ROW: u32 = 16;
/// Who was kept waiting for so long, for an alarm or for what was told to be taken, was it by a caller that did not drive the link, or
/// by a broker that took nothing, which has a bound of its own.
const LATE: Duration = Duration::from_secs(1);

/// The link to one broker.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Starts a link in the tokio runtime that this is called in; one with a single thread will do. It connects, sends and
    /// answers while [`Incoming::next`] is waited for.
    ///
    /// The first try to connect waits like any other, so that a region that gets its power back doesn't
    /// come in one second. A link with other filters is a new link; start it after dropping this one.
    ///
    /// # Errors
    /// If no link can work with `settings`. That the broker can't be reached is none: the link goes on trying.
    pub fn start(settings: Settings) -> Result<(Handle, Incoming), SettingsError> {
        settings.check()?;
        runtime::Handle::try_current().map_err(|_| SettingsError::NoRuntime)?;
        let desk = Arc::new(Desk::new(settings.queue_max, settings.reconnect_within, settings.will.clone()));
        let handle = Handle::new(Arc::clone(&desk), settings.outgoing_bytes_max);
        let courier = Courier {
            pause: Pause::new(settings.seed, settings.reconnect_within),
            filters: Filters::new(settings.filters.len(), settings.poison_retry),
            memory: TlsMemory::default(),
            began: Instant::now(),
            settings,
            desk: Arc::clone(&desk),
            was_connected: false,
        };
        let ends = async {
            // A bug of ours ends the link, and not who drives it.
            caught(courier.run()).await;
        };
        Ok((handle, Incoming::new(desk, ends)))
    }
}

/// Why a connection is over.
enum End {
    /// The caller asked to leave.
    Wanted,
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(why: Trouble) -> Self {
        Self::Trouble(why)
    }
}

struct Courier {
    settings: Settings,
    pause: Pause,
    filters: Filters,
    memory: TlsMemory,
    began: Instant,
    desk: Arc<Desk>,
    /// Whether the broker said yes to the last try.
    was_connected: bool,
}

impl Courier {
    async fn run(mut self) {
        let mut wait = self.pause.fresh();
        loop {
            let again = tokio::select! {
                () = sleep(Duration::from_millis(wait.0)) => true,
                () = self.desk.asked_to_leave() => false,
            };
            if !again {
                return;
            }
            let began = Instant::now();
            self.was_connected = false;
            // What a broker sends has made a library panic before. What that left half done goes with the connection; filters and
            // files are looked at anew for the next.
            let end = caught(self.connect()).await.unwrap_or(End::Trouble(Trouble::Panicked));
            self.desk.close();
            let End::Trouble(why) = end else { return };

            let found = match &why {
                Trouble::Oversize { .. } => {
                    let now = self.now();
                    self.filters.oversize(now)
                }
                Trouble::Network { .. }
                | Trouble::Tls { .. }
                | Trouble::Slow
                | Trouble::Refused { .. }
                | Trouble::Closed
                | Trouble::Protocol { .. }
                | Trouble::Stalled { .. }
                | Trouble::Panicked
                | Trouble::Files { .. } => None,
            };
            self.pause.set_window(self.desk.window());
            // A connection that found a poisoned filter was of use: the next one gets further.
            let of_use = self.was_connected && (found.is_some() || began.elapsed() >= OF_USE);
            wait = if of_use { self.pause.fresh() } else { self.pause.failed() };
            let told = if self.was_connected {
                Happening::Lost { why, again: wait }
            } else {
                Happening::Unreachable { why, again: wait }
            };
            let poisoned = found.and_then(|found| {
                let topics = self.topics(found.filter)?;
                Some(Happening::Poisoned { topics, again: found.again })
            });
            for happening in [Some(told), poisoned].into_iter().flatten() {
                self.tell(happening).await;
            }
        }
    }

    /// One connection from the first packet to its end.
    async fn connect(&mut self) -> End {
        let read = match self.settings.read_files(&mut self.memory) {
            Ok(read) => read,
            Err(source) => return Trouble::Files { source }.into(),
        };
        let begins = timeout(CONNECT, Connection::begin(&self.settings, read, self.desk.will()));
        let begun = tokio::select! {
            begun = begins => begun.unwrap_or(Err(Trouble::Slow)),
            () = self.desk.asked_to_leave() => return End::Wanted,
        };
        match begun {
            Ok(connection) => {
                self.was_connected = true;
                self.serve(connection).await
            }
            Err(why) => why.into(),
        }
    }

    async fn serve(&mut self, mut connection: Connection<Socket>) -> End {
        let desk = Arc::clone(&self.desk);
        // It is there once for as long as the connection: to make it anew each time would cost more than most of what is
        // waited for.
        let mut alarm = pin!(sleep_until(self.alarm(&connection).into()));
        let mut leaving: Option<Instant> = None;

        let filters = self.filters.connected(self.now());
        if let Err(end) = self.subscribe(&mut connection, &filters).await {
            return end;
        }
        desk.open();
        self.tell_of(&mut connection, Happening::Connected).await;
        let mut reads = 0;
        loop {
            if leaving.is_some() && desk.is_empty() && connection.is_idle() {
                connection.leave();
                return self.flush(&mut connection).await.err().unwrap_or(End::Wanted);
            }
            let room = if connection.has_room() { Room::Free } else { Room::Full };
            let stays = if leaving.is_some() { Stays::NoMore } else { Stays::UntilAsked };
            let next = tokio::select! {
                biased;
                turn = connection.turn(), if reads < READS_IN_A_ROW => Next::Turn(turn),
                left = desk.left(room, stays) => Next::Left(left),
                () = &mut alarm => Next::Alarm,
                () = ready(()), if reads == READS_IN_A_ROW => Next::Turn(Turn::Flush),
            };
            reads = if matches!(next, Next::Turn(Turn::Heard(_))) { reads + 1 } else { 0 };
            let done = match next {
                Next::Turn(Turn::Heard(heard)) => {
                    let armed_for = self.filters.deadline();
                    let done = self.take(&mut connection, heard).await;
                    // The alarm may ring early, never late: only what came nearer has to be set anew.
                    if self.filters.deadline() != armed_for {
                        alarm.as_mut().reset(self.alarm_or(&connection, leaving).into());
                    }
                    done
                }
                Next::Turn(Turn::Flush) => self.flush(&mut connection).await,
                Next::Left(Left::Publish(outgoing)) => {
                    connection.publish(outgoing);
                    self.flush(&mut connection).await
                }
                Next::Left(Left::Leave) => {
                    desk.take_no_more();
                    leaving = Some(Instant::now() + LEAVE);
                    alarm.as_mut().reset(self.alarm_or(&connection, leaving).into());
                    Ok(())
                }
                Next::Alarm if leaving.is_some_and(|until| Instant::now() >= until) => Err(End::Wanted),
                Next::Alarm => {
                    if alarm.deadline().elapsed() >= LATE {
                        connection.excuse();
                    }
                    let done = self.look_around(&mut connection).await;
                    alarm.as_mut().reset(self.alarm_or(&connection, leaving).into());
                    done
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// What the broker said: the caller is told, and only then the broker that we have it.
    async fn take(
        &mut self,
        connection: &mut Connection<Socket>,
        heard: Result<Heard, Trouble>,
    ) -> Result<(), End> {
        let heard = heard?;
        self.filters.heard(self.at(connection.heard_at()));
        match heard {
            Heard::Message(message, number) => {
                self.tell_of(connection, Happening::Message(message)).await;
                if let Some(number) = number {
                    connection.acknowledge(number);
                }
            }
            Heard::Acked(token) => self.tell_of(connection, Happening::Acked { token }).await,
            Heard::Subscribed(answers) => {
                let filters: Vec<_> = answers.iter().map(|(filter, _)| *filter).collect();
                let now = self.now();
                self.filters.answered(&filters, now);
                for (filter, lets_us) in answers {
                    if !lets_us && let Some(topics) = self.topics(filter) {
                        self.tell_of(connection, Happening::Declined { topics }).await;
                    }
                }
            }
            Heard::Alive => {}
        }
        Ok(())
    }

    /// Waits until all that was written is with the kernel: at once, unless the broker doesn't read.
    async fn flush(&mut self, connection: &mut Connection<Socket>) -> Result<(), End> {
        let flushed = tokio::select! {
            biased;
            flushed = timeout(CONNECT, connection.flush()) => flushed,
            () = self.left() => return Err(End::Wanted),
        };
        Ok(flushed.unwrap_or(Err(Trouble::Slow))?)
    }

    /// Waits until the caller wants to leave and has waited for long enough.
    async fn left(&self) {
        self.desk.asked_to_leave().await;
        sleep(LEAVE).await;
    }

    /// Tells the caller. What waited long for that isn't the broker's fault.
    async fn tell_of(&mut self, connection: &mut Connection<Socket>, happening: Happening) {
        if let Some(happening) = self.desk.tell(happening) {
            let since = Instant::now();
            self.tell(happening).await;
            if since.elapsed() >= LATE {
                connection.excuse();
            }
        }
    }

    /// Tells the caller, when it has taken what it was told before: until then nothing is read from the broker either.
    async fn tell(&mut self, happening: Happening) {
        let mut left = self.desk.tell(happening);
        while let Some(happening) = left {
            asked_again().await;
            left = self.desk.tell(happening);
        }
    }

    /// What there is to do at a certain time: finding out that nothing goes forward, a ping, and the next filter.
    async fn look_around(&mut self, connection: &mut Connection<Socket>) -> Result<(), End> {
        if let Some(waited) = connection.stalled_for() {
            let span = Millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
            return Err(Trouble::Stalled { span }.into());
        }
        connection.ping()?;
        self.flush(connection).await?;
        let turn = self.filters.tick(self.now());
        self.subscribe(connection, &turn.subscribe).await?;
        if let Some(topics) = turn.cured.and_then(|filter| self.topics(filter)) {
            self.tell_of(connection, Happening::Cured { topics }).await;
        }
        Ok(())
    }

    /// When there is something to do.
    fn alarm(&self, connection: &Connection<Socket>) -> Instant {
        let due = connection.due_at();
        match self.filters.deadline() {
            Some(ms) => due.min(self.began + Duration::from_millis(ms)),
            None => due,
        }
    }

    /// The same, or when leaving takes too long.
    fn alarm_or(&self, connection: &Connection<Socket>, leaving: Option<Instant>) -> Instant {
        let next = self.alarm(connection);
        leaving.map_or(next, |until| until.min(next))
    }

    async fn subscribe(&mut self, connection: &mut Connection<Socket>, filters: &[usize]) -> Result<(), End> {
        for some in filters.chunks(FILTERS_PER_PACKET) {
            connection.subscribe(&self.settings, some);
            self.flush(connection).await?;
        }
        Ok(())
    }

    fn topics(&self, filter: usize) -> Option<String> {
        self.settings.filters.get(filter).map(|filter| filter.topics.clone())
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.desk.close();
    }
}

/// What is next while a connection lasts.
enum Next {
    /// On the connection itself.
    Turn(Turn),
    /// The caller left something.
    Left(Left),
    /// Something is due.
    Alarm,
}

/// Until the caller asks again for what happened, which it does when it has taken what it was told.
async fn asked_again() {
    let mut asked = false;
    poll_fn(|_| if mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// `None` if the future panicked.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        let mut future: Pin<&mut F> = future.as_mut();
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_library_is_caught_and_nothing_else_changes() {
        assert_eq!(caught(async { 7 }).await, Some(7));
        let nothing = Vec::<u8>::new();
        assert_eq!(caught(async { nothing[0] }).await, None);
    }
}
