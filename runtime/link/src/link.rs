//! The task between the caller and the broker.
//!
//! Each connection has a client object of its own. rumqttc can carry one over, and that is where it hurts: it
//! drops what was unacknowledged without a word, stays in a collision for ever (rumqtt issue 1056), or stops
//! taking requests (1025). A client that made no progress for a while, or that panicked on what a broker
//! sent, is dropped in the same way. So every failure has one way out, and it is used every day.
//!
//! The client's future is held until it is done, and never dropped half way to look at something else: a
//! packet that was counted as sent and not written would wait for its answer for ever.
//!
//! Not here: what is sent again after a connection ended (the caller), how long to wait (`pause`), and which
//! filters are left out (`filters`).

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backstay_model::Millis;
use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, SubscribeFilter, SubscribeReasonCode,
    TlsConfiguration, Transport,
};
use tokio::{
    runtime,
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};

use crate::{
    address::Place,
    files::TlsMemory,
    filters::Filters,
    flight::{Flight, Load, RING},
    handle::{Desk, Handle, Happening, Incoming, Message, Outgoing, Stay, Wishes},
    pause::Pause,
    settings::{Qos, Settings, SettingsError, Will},
    trouble::Trouble,
};

/// How long a broker may take from the first packet to CONNACK, name look-up and TLS included, and how long
/// one flush may take. A satellite link needs a few seconds.
const CONNECT: Duration = Duration::from_secs(20);
/// How long [`Handle::leave`] waits for what is under way.
const LEAVE: Duration = Duration::from_secs(5);
/// Two and a half keep alives without progress are a stall. rumqttc gives up after two unanswered pings by
/// itself, so this finds the cases in which it doesn't.
const STALL_HALF_KEEP_ALIVES: u64 = 5;
/// A connection that ends earlier than this was of no use, and the next try waits longer.
const OF_USE: Duration = Duration::from_secs(10);
/// Most filters in one packet; some hosted brokers take no more.
const FILTERS_PER_PACKET: usize = 8;
/// What the client's own queue holds beside publishes: all filters one by one, and a goodbye.
const REQUESTS_BESIDE: usize = 40;

/// The link to one broker.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Starts a link as a task of the tokio runtime that this is called in; one with a single thread will do.
    ///
    /// The first try to connect waits like any other, so that a region that gets its power back doesn't
    /// come in one second. A link with other filters is a new link; start it after dropping this one.
    ///
    /// # Errors
    /// If no link can work with `settings`. That the broker can't be reached is none: the link goes on trying.
    pub fn start(settings: Settings) -> Result<(Handle, Incoming), SettingsError> {
        settings.check()?;
        let runtime = runtime::Handle::try_current().map_err(|_| SettingsError::NoRuntime)?;
        let (happen, happenings) = mpsc::channel(settings.queue_max);
        let wishes = Wishes { reconnect_within: settings.reconnect_within, stay: Stay::Connected };
        let (wish, wishes) = watch::channel(wishes);
        let desk = Arc::new(Desk::default());
        let will = Arc::new(Mutex::new(settings.will.clone()));
        let handle = Handle::new(Arc::clone(&desk), wish, Arc::clone(&will), settings.outgoing_bytes_max);
        let courier = Courier {
            pause: Pause::new(settings.seed, settings.reconnect_within),
            filters: Filters::new(settings.filters.len(), settings.poison_retry),
            memory: TlsMemory::default(),
            began: Instant::now(),
            settings,
            happen,
            wishes,
            desk,
            will,
        };
        // Behind a pointer it is a task of the type that all others have: less of a program.
        let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(courier.run());
        runtime.spawn(task);
        Ok((handle, Incoming::new(happenings)))
    }
}

/// Why a connection is over.
enum End {
    /// Nobody listens any more, or the caller asked to leave.
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
    happen: mpsc::Sender<Happening>,
    wishes: watch::Receiver<Wishes>,
    desk: Arc<Desk>,
    will: Arc<Mutex<Option<Will>>>,
}

/// One connection: the client that hands requests over, and what is under way.
struct Connection {
    client: AsyncClient,
    flight: Flight,
    /// When the broker last gave a sign of life.
    heard_at: Instant,
}

impl Courier {
    async fn run(mut self) {
        let mut wait = self.pause.fresh();
        loop {
            let again = tokio::select! {
                () = sleep(Duration::from_millis(wait.0)) => true,
                () = self.happen.closed() => false,
                () = asked_to_leave(&mut self.wishes) => false,
            };
            if !again {
                return;
            }
            let began = Instant::now();
            let (end, was_connected) = self.connect().await;
            self.desk.set(None);
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
            self.pause.set_window(self.wishes.borrow_and_update().reconnect_within);
            // A connection that found a poisoned filter was of use: the next one gets further.
            let of_use = was_connected && (found.is_some() || began.elapsed() >= OF_USE);
            wait = if of_use { self.pause.fresh() } else { self.pause.failed() };
            let told = if was_connected {
                Happening::Lost { why, again: wait }
            } else {
                Happening::Unreachable { why, again: wait }
            };
            let poisoned = found.and_then(|found| {
                let topics = self.topics(found.filter)?;
                Some(Happening::Poisoned { topics, again: found.again })
            });
            for happening in [Some(told), poisoned].into_iter().flatten() {
                if self.happen.send(happening).await.is_err() {
                    return;
                }
            }
        }
    }

    /// One connection from the first packet to its end, and whether it ever was one.
    async fn connect(&mut self) -> (End, bool) {
        let options = match self.options() {
            Ok(options) => options,
            Err(source) => return (End::Trouble(Trouble::Files { source }), false),
        };
        let requests = usize::from(self.settings.in_flight_max) + REQUESTS_BESIDE;
        let (client, mut events) = AsyncClient::new(options, requests);
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT.as_secs());
        events.set_network_options(network);

        let first = tokio::select! {
            first = caught(events.poll()) => first,
            () = self.happen.closed() => return (End::Wanted, false),
            () = asked_to_leave(&mut self.wishes) => return (End::Wanted, false),
        };
        match self.understood(first) {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {}
            Ok(other) => {
                let what = format!("it began with {:.32}", format!("{other:?}"));
                return (End::Trouble(Trouble::Protocol { what }), false);
            }
            Err(why) => return (End::Trouble(why), false),
        }
        let flight = Flight::new(self.settings.in_flight_max);
        let connection = Connection { client, flight, heard_at: Instant::now() };
        (self.serve(connection, &mut events).await, true)
    }

    async fn serve(&mut self, mut connection: Connection, events: &mut EventLoop) -> End {
        let filters = self.filters.connected(self.now());
        if let Err(why) = self.subscribe(&mut connection, &filters) {
            return why.into();
        }
        let (queue, mut handed) = mpsc::channel(self.settings.queue_max);
        self.desk.set(Some(queue));
        if let Err(end) = self.tell(&mut connection, Happening::Connected).await {
            return end;
        }
        let mut alarm = pin!(sleep_until(self.alarm(&connection).into()));
        let mut leaving: Option<Instant> = None;
        loop {
            let event = {
                let mut poll = pin!(caught(events.poll()));
                loop {
                    if leaving.is_none() && self.wishes.borrow().stay == Stay::UntilSent {
                        self.desk.set(None);
                        leaving = Some(Instant::now() + LEAVE);
                        alarm.as_mut().reset(self.alarm(&connection).min(Instant::now() + LEAVE).into());
                    }
                    if leaving.is_some() && handed.is_empty() && connection.flight.is_empty() {
                        // The queue of requests has room for it; if it had not, the alarm ends this.
                        let _ = connection.client.try_disconnect();
                    }
                    tokio::select! {
                        event = &mut poll => break event,
                        Some(outgoing) = handed.recv(), if connection.flight.has_room() => {
                            if let Err(why) = connection.publish(outgoing) {
                                return why.into();
                            }
                        }
                        () = &mut alarm => {
                            if leaving.is_some_and(|until| Instant::now() >= until) {
                                return End::Wanted;
                            }
                            match self.look_around(&mut connection) {
                                Ok(None) => {}
                                Ok(Some(cured)) => {
                                    if let Err(end) = self.tell(&mut connection, cured).await {
                                        return end;
                                    }
                                }
                                Err(why) => return why.into(),
                            }
                            let next = self.alarm(&connection);
                            alarm.as_mut().reset(leaving.map_or(next, |until| until.min(next)).into());
                        }
                        Ok(()) = self.wishes.changed() => {}
                        () = self.happen.closed() => return End::Wanted,
                    }
                }
            };
            match self.understood(event) {
                Ok(event) => {
                    let armed_for = self.filters.deadline();
                    // What was read together is taken together: the client would yield it one by one, and each time all
                    // else that can happen would be looked at as well.
                    let mut next = Some(event);
                    while let Some(event) = next {
                        if leaving.is_some() && event == Event::Outgoing(rumqttc::Outgoing::Disconnect) {
                            return End::Wanted;
                        }
                        if let Err(end) = self.take(&mut connection, event).await {
                            return end;
                        }
                        next = events.state.events.pop_front();
                    }
                    // The alarm may ring early, never late: only what came nearer has to be set anew.
                    if self.filters.deadline() != armed_for && leaving.is_none() {
                        alarm.as_mut().reset(self.alarm(&connection).into());
                    }
                }
                Err(why) => {
                    // What was read together with the packet that ended it has not been told yet. Behind a
                    // poisoned topic's message it would be lost each time.
                    while let Some(event) = events.state.events.pop_front() {
                        if let Err(end) = self.take(&mut connection, event).await {
                            return end;
                        }
                    }
                    return why.into();
                }
            }
        }
    }

    async fn take(&mut self, connection: &mut Connection, event: Event) -> Result<(), End> {
        match event {
            Event::Outgoing(rumqttc::Outgoing::Publish(number) | rumqttc::Outgoing::Subscribe(number)) => {
                connection.flight.sent(number);
                Ok(())
            }
            Event::Outgoing(_) => Ok(()),
            Event::Incoming(packet) => {
                connection.heard_at = Instant::now();
                let now = self.now();
                self.filters.heard(now);
                self.take_packet(connection, packet).await
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "MQTT's packets; the client sees to the others")]
    async fn take_packet(&mut self, connection: &mut Connection, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => {
                let message =
                    Message { topic: publish.topic, payload: publish.payload, retained: publish.retain };
                self.tell(connection, Happening::Message(message)).await
            }
            Packet::PubAck(ack) => match connection.flight.answered(ack.pkid) {
                Some(Load::Publish { token, .. }) => self.tell(connection, Happening::Acked { token }).await,
                Some(Load::Subscribe { .. }) | None => Ok(()),
            },
            Packet::SubAck(ack) => {
                let Some(Load::Subscribe { filters }) = connection.flight.answered(ack.pkid) else {
                    return Ok(());
                };
                let now = self.now();
                self.filters.answered(&filters, now);
                for (filter, code) in filters.into_iter().zip(ack.return_codes) {
                    if code == SubscribeReasonCode::Failure
                        && let Some(topics) = self.topics(filter)
                    {
                        self.tell(connection, Happening::Declined { topics }).await?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tells the caller. Waits if the caller is slow: then nothing is read from the broker either.
    async fn tell(&mut self, connection: &mut Connection, happening: Happening) -> Result<(), End> {
        let happening = match self.happen.try_send(happening) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(End::Wanted),
            Err(mpsc::error::TrySendError::Full(happening)) => happening,
        };
        let sent = self.happen.send(happening).await;
        let now = Instant::now();
        connection.heard_at = now;
        connection.flight.excuse(now);
        sent.map_err(|_| End::Wanted)
    }

    /// What there is to do at a certain time: finding out that nothing goes forward, and the next filter.
    fn look_around(&mut self, connection: &mut Connection) -> Result<Option<Happening>, Trouble> {
        let waited = connection.waits_since().elapsed();
        if waited >= self.stall() {
            let span = Millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
            return Err(Trouble::Stalled { span });
        }
        let turn = self.filters.tick(self.now());
        self.subscribe(connection, &turn.subscribe)?;
        Ok(turn.cured.and_then(|filter| self.topics(filter)).map(|topics| Happening::Cured { topics }))
    }

    fn alarm(&self, connection: &Connection) -> Instant {
        let stalled = connection.waits_since() + self.stall();
        match self.filters.deadline() {
            Some(ms) => stalled.min(self.began + Duration::from_millis(ms)),
            None => stalled,
        }
    }

    fn subscribe(&self, connection: &mut Connection, filters: &[usize]) -> Result<(), Trouble> {
        for some in filters.chunks(FILTERS_PER_PACKET) {
            let wanted = some.iter().filter_map(|filter| self.settings.filters.get(*filter));
            let wanted = wanted.map(|filter| SubscribeFilter::new(filter.topics.clone(), qos(filter.qos)));
            connection.client.try_subscribe_many(wanted).map_err(not_taken)?;
            connection.flight.hand(Load::Subscribe { filters: some.to_vec() }, Instant::now());
        }
        Ok(())
    }

    fn options(&mut self) -> Result<MqttOptions, SettingsError> {
        let read = self.settings.read_files(&mut self.memory)?;
        let settings = &self.settings;
        let (host, port, transport) = match settings.address.place() {
            Place::Plain { host, port } => (host.clone(), *port, Transport::Tcp),
            Place::Tls { host, port } => {
                let tls = read.tls.ok_or(SettingsError::NoCa)?;
                let transport = Transport::Tls(TlsConfiguration::Rustls(tls));
                (host.clone(), *port, transport)
            }
            #[cfg(unix)]
            Place::Socket { path } => (path.display().to_string(), 0, Transport::Unix),
            #[cfg(not(unix))]
            Place::Socket { path } => (path.display().to_string(), 0, Transport::Tcp),
        };
        let mut options = MqttOptions::new(settings.client_id.clone(), host, port);
        options.set_transport(transport);
        options.set_keep_alive(Duration::from_secs(settings.keep_alive.0 / 1000));
        options.set_clean_session(true);
        options.set_max_packet_size(settings.incoming_bytes_max, settings.outgoing_bytes_max);
        options.set_inflight(RING);
        if let Some((user, password)) = read.login {
            options.set_credentials(user, password);
        }
        if let Some(will) = &*self.will.lock().unwrap_or_else(PoisonError::into_inner) {
            options.set_last_will(LastWill {
                topic: will.topic.clone(),
                message: will.payload.clone(),
                qos: qos(will.qos),
                retain: will.retain,
            });
        }
        Ok(options)
    }

    fn understood(&self, polled: Option<Result<Event, rumqttc::ConnectionError>>) -> Result<Event, Trouble> {
        polled.ok_or(Trouble::Panicked)?.map_err(|error| Trouble::of(error, self.settings.incoming_bytes_max))
    }

    fn topics(&self, filter: usize) -> Option<String> {
        self.settings.filters.get(filter).map(|filter| filter.topics.clone())
    }

    fn stall(&self) -> Duration {
        Duration::from_millis(self.settings.keep_alive.0.saturating_mul(STALL_HALF_KEEP_ALIVES) / 2)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Connection {
    fn publish(&mut self, outgoing: Outgoing) -> Result<(), Trouble> {
        let Outgoing { topic, payload, qos: wanted, retain, token } = outgoing;
        self.client.try_publish(topic, qos(wanted), retain, payload).map_err(not_taken)?;
        self.flight.hand(Load::Publish { token, qos: wanted }, Instant::now());
        Ok(())
    }

    /// Since when something should have come forward: the broker's last sign of life, or what waits longest.
    fn waits_since(&self) -> Instant {
        self.flight.since().map_or(self.heard_at, |since| since.min(self.heard_at))
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.desk.set(None);
    }
}

/// The client's queue has room for all that may be under way, so one that takes nothing is stuck.
fn not_taken(_: rumqttc::ClientError) -> Trouble {
    Trouble::Stalled { span: Millis(0) }
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

/// Waits until the caller wants to leave; for ever if no caller is left to want it.
async fn asked_to_leave(wishes: &mut watch::Receiver<Wishes>) {
    if wishes.wait_for(|wishes| wishes.stay == Stay::UntilSent).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// `None` if the future panicked. The client is dropped then, so what it left half done doesn't matter.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        let mut future: Pin<&mut F> = future.as_mut();
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            Err(_) => std::task::Poll::Ready(None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_the_client_is_caught_and_nothing_else_changes() {
        assert_eq!(caught(async { 7 }).await, Some(7));
        let nothing = Vec::<u8>::new();
        assert_eq!(caught(async { nothing[0] }).await, None);
    }
}
