//! What goes on between the caller and the broker.
//!
//! Each connection has a client object of its own. rumqttc can carry one over, and that is where it hurts: it
//! drops what was unacknowledged without a word, stays in a collision for ever (rumqtt issue 1056), or stops
//! taking requests (1025). A client that made no progress for a while, or that panicked on what a broker
//! sent, is dropped in the same way. So every failure has one way out, and it is used every day.
//!
//! rumqttc's own loop is asked for the connection alone. From then on its parts (the state of the protocol, and the socket
//! that packets are read from and written to) are driven here: its loop waits for a queue, a clock and the socket anew for
//! each packet, inside of ours, which does the same.
//!
//! Reading may be dropped to see to something else: nothing is taken from the socket that isn't in the client's memory or
//! told. Writing is held until it is done, or the connection is given up: a packet that was counted as sent and not written
//! would wait for its answer for ever. What is answered goes out together, as soon as there is nothing more to be read.
//!
//! All of it is one future, which the caller drives ([`Incoming`]).
//!
//! Not here: what is sent again after a connection ended (the caller), how long to wait (`pause`), and which
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
use rumqttc::{
    ConnectionError, Disconnect, Event, EventLoop, LastWill, MqttOptions, Packet, PingReq, PubAck, Publish,
    QoS, Request, StateError, Subscribe, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::{
    runtime,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    address::Place,
    desk::{Desk, Left, Room, Stays},
    files::TlsMemory,
    filters::Filters,
    flight::{Flight, Load, RING},
    handle::{Handle, Happening, Incoming, Message, Outgoing},
    pause::Pause,
    settings::{Qos, Settings, SettingsError},
    trouble::Trouble,
};

/// How long a broker may take from the first packet to CONNACK, name look-up and TLS included, and how long
/// one flush may take. A satellite link needs a few seconds.
const CONNECT: Duration = Duration::from_secs(20);
/// How long [`Handle::leave`] waits for what is under way.
const LEAVE: Duration = Duration::from_secs(5);
/// Two and a half keep alives without progress are a stall. rumqttc gives up at the second ping if the first is
/// unanswered, so this finds the cases in which it doesn't.
const STALL_HALF_KEEP_ALIVES: u64 = 5;
/// A connection that ends earlier than this was of no use, and the next try waits longer.
const OF_USE: Duration = Duration::from_secs(10);
/// Most filters in one packet; some hosted brokers take no more.
const FILTERS_PER_PACKET: usize = 8;
/// So many packets are taken together, if they are here, before they are acknowledged and all else has its turn.
const READS_IN_A_ROW: u32 = 16;
/// Who was kept waiting for so long, for an alarm or for what was told to be taken, was it by a caller that did not drive the link.
const LATE: Duration = Duration::from_secs(1);
/// What rumqttc's own queue holds. Nothing is put into it.
const REQUESTS: usize = 1;

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
}

/// One connection: the client, and what is under way.
struct Connection {
    events: EventLoop,
    flight: Flight,
    /// Whether something was written that isn't with the kernel yet.
    unflushed: bool,
    /// When the broker last gave a sign of life.
    heard_at: Instant,
    /// When it is asked for one.
    ping_at: Instant,
}

/// What is next on a connection.
enum Turn {
    /// A packet came, or what came is none.
    Read(Result<Packet, StateError>),
    /// What was written has to go out, and the broker is slow to take it; or it is time for that.
    Flush,
    /// The caller left something.
    Left(Left),
    /// Something is due.
    Alarm,
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
            let (end, was_connected) = self.connect().await;
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
                self.tell(happening).await;
            }
        }
    }

    /// One connection from the first packet to its end, and whether it ever was one.
    async fn connect(&mut self) -> (End, bool) {
        let options = match self.options() {
            Ok(options) => options,
            Err(source) => return (End::Trouble(Trouble::Files { source }), false),
        };
        let mut events = EventLoop::new(options, REQUESTS);
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT.as_secs());
        events.set_network_options(network);

        let first = tokio::select! {
            first = caught(events.poll()) => first,
            () = self.desk.asked_to_leave() => return (End::Wanted, false),
        };
        match self.understood(first) {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {}
            Ok(other) => {
                let what = format!("it began with {:.32}", format!("{other:?}"));
                return (End::Trouble(Trouble::Protocol { what }), false);
            }
            Err(why) => return (End::Trouble(why), false),
        }
        let (flight, now) = (Flight::new(self.settings.in_flight_max), Instant::now());
        let ping_at = now + self.keep_alive();
        let connection = Connection { events, flight, unflushed: false, heard_at: now, ping_at };
        (self.serve(connection).await, true)
    }

    async fn serve(&mut self, mut connection: Connection) -> End {
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
            if leaving.is_some() && desk.is_empty() && connection.flight.is_empty() {
                return self
                    .send(&mut connection, Request::Disconnect(Disconnect))
                    .await
                    .err()
                    .unwrap_or(End::Wanted);
            }
            let room = if connection.flight.has_room() { Room::Free } else { Room::Full };
            let stays = if leaving.is_some() { Stays::NoMore } else { Stays::UntilAsked };
            let turn = tokio::select! {
                biased;
                turn = caught(connection.turn()), if reads < READS_IN_A_ROW => turn,
                left = desk.left(room, stays) => Some(Turn::Left(left)),
                () = &mut alarm => Some(Turn::Alarm),
                () = ready(()), if reads == READS_IN_A_ROW => Some(Turn::Flush),
            };
            let Some(turn) = turn else { return End::Trouble(Trouble::Panicked) };
            reads = if matches!(turn, Turn::Read(_)) { reads + 1 } else { 0 };
            let done = match turn {
                Turn::Read(read) => {
                    let armed_for = self.filters.deadline();
                    let done = self.take_packet(&mut connection, read).await;
                    // The alarm may ring early, never late: only what came nearer has to be set anew.
                    if self.filters.deadline() != armed_for {
                        alarm.as_mut().reset(self.alarm_or(&connection, leaving).into());
                    }
                    done
                }
                Turn::Flush => self.flush(&mut connection).await,
                Turn::Left(Left::Publish(outgoing)) => self.publish(&mut connection, outgoing).await,
                Turn::Left(Left::Leave) => {
                    desk.take_no_more();
                    leaving = Some(Instant::now() + LEAVE);
                    alarm.as_mut().reset(self.alarm_or(&connection, leaving).into());
                    Ok(())
                }
                Turn::Alarm if leaving.is_some_and(|until| Instant::now() >= until) => Err(End::Wanted),
                Turn::Alarm => {
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

    /// A message is told as it is. All else the client sees to first.
    #[expect(clippy::wildcard_enum_match_arm, reason = "MQTT's packets, of which one is a message")]
    async fn take_packet(
        &mut self,
        connection: &mut Connection,
        read: Result<Packet, StateError>,
    ) -> Result<(), End> {
        let packet = read.map_err(|error| self.trouble(error))?;
        connection.heard_at = Instant::now();
        self.filters.heard(self.at(connection.heard_at));
        let answered = match packet {
            Packet::Publish(publish) if publish.qos != QoS::ExactlyOnce => {
                let number = (publish.qos == QoS::AtLeastOnce).then_some(publish.pkid);
                self.tell_message(connection, publish).await;
                let Some(number) = number else { return Ok(()) };
                caught(connection.acknowledge(number)).await
            }
            other => caught(connection.answer(other)).await,
        };
        answered.ok_or(Trouble::Panicked)?.map_err(|error| self.trouble(error))?;
        self.take_all(connection).await;
        Ok(())
    }

    /// Hands a request to the client, and returns when it has written it.
    async fn send(&mut self, connection: &mut Connection, request: Request) -> Result<(), End> {
        let written = caught(connection.write(request)).await.ok_or(Trouble::Panicked)?;
        written.map_err(|error| self.trouble(error))?;
        self.flush(connection).await?;
        self.take_all(connection).await;
        Ok(())
    }

    /// Waits until all that was written is with the kernel: at once, unless the broker doesn't read.
    async fn flush(&mut self, connection: &mut Connection) -> Result<(), End> {
        let flushed = tokio::select! {
            biased;
            flushed = timeout(CONNECT, caught(connection.flush())) => flushed,
            () = self.left() => return Err(End::Wanted),
        };
        let flushed = flushed.map_err(|_| Trouble::Slow)?.ok_or(Trouble::Panicked)?;
        flushed.map_err(|error| self.trouble(error).into())
    }

    /// Waits until the caller wants to leave and has waited for long enough.
    async fn left(&self) {
        self.desk.asked_to_leave().await;
        sleep(LEAVE).await;
    }

    /// What the client has to tell by now.
    async fn take_all(&mut self, connection: &mut Connection) {
        while let Some(event) = connection.events.state.events.pop_front() {
            self.take(connection, event).await;
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "MQTT's packets; the client sees to the others")]
    async fn take(&mut self, connection: &mut Connection, event: Event) {
        match event {
            Event::Outgoing(rumqttc::Outgoing::Publish(number) | rumqttc::Outgoing::Subscribe(number)) => {
                connection.flight.sent(number);
            }
            Event::Incoming(Packet::Publish(publish)) => self.tell_message(connection, publish).await,
            Event::Incoming(Packet::PubAck(ack)) => match connection.flight.answered(ack.pkid) {
                Some(Load::Publish { token, .. }) => {
                    self.tell_of(connection, Happening::Acked { token }).await;
                }
                Some(Load::Subscribe { .. }) | None => {}
            },
            Event::Incoming(Packet::SubAck(ack)) => {
                let Some(Load::Subscribe { filters }) = connection.flight.answered(ack.pkid) else { return };
                let now = self.now();
                self.filters.answered(&filters, now);
                for (filter, code) in filters.into_iter().zip(ack.return_codes) {
                    if code == SubscribeReasonCode::Failure
                        && let Some(topics) = self.topics(filter)
                    {
                        self.tell_of(connection, Happening::Declined { topics }).await;
                    }
                }
            }
            _ => {}
        }
    }

    async fn tell_message(&mut self, connection: &mut Connection, publish: Publish) {
        let message = Message { topic: publish.topic, payload: publish.payload, retained: publish.retain };
        self.tell_of(connection, Happening::Message(message)).await;
    }

    /// Tells the caller. What waited long for that isn't the broker's fault.
    async fn tell_of(&mut self, connection: &mut Connection, happening: Happening) {
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
    async fn look_around(&mut self, connection: &mut Connection) -> Result<(), End> {
        let waited = connection.waits_since().elapsed();
        if waited >= self.stall() {
            let span = Millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
            return Err(Trouble::Stalled { span }.into());
        }
        if connection.ping_at <= Instant::now() {
            connection.ping_at = Instant::now() + self.keep_alive();
            self.send(connection, Request::PingReq(PingReq)).await?;
        }
        let turn = self.filters.tick(self.now());
        self.subscribe(connection, &turn.subscribe).await?;
        if let Some(topics) = turn.cured.and_then(|filter| self.topics(filter)) {
            self.tell_of(connection, Happening::Cured { topics }).await;
        }
        Ok(())
    }

    /// When there is something to do.
    fn alarm(&self, connection: &Connection) -> Instant {
        let due = (connection.waits_since() + self.stall()).min(connection.ping_at);
        match self.filters.deadline() {
            Some(ms) => due.min(self.began + Duration::from_millis(ms)),
            None => due,
        }
    }

    /// The same, or when leaving takes too long.
    fn alarm_or(&self, connection: &Connection, leaving: Option<Instant>) -> Instant {
        let next = self.alarm(connection);
        leaving.map_or(next, |until| until.min(next))
    }

    async fn subscribe(&mut self, connection: &mut Connection, filters: &[usize]) -> Result<(), End> {
        for some in filters.chunks(FILTERS_PER_PACKET) {
            let wanted = some.iter().filter_map(|filter| self.settings.filters.get(*filter));
            let wanted = wanted.map(|filter| SubscribeFilter::new(filter.topics.clone(), qos(filter.qos)));
            let request = Request::Subscribe(Subscribe::new_many(wanted));
            connection.flight.hand(Load::Subscribe { filters: some.to_vec() }, Instant::now());
            self.send(connection, request).await?;
        }
        Ok(())
    }

    async fn publish(&mut self, connection: &mut Connection, outgoing: Outgoing) -> Result<(), End> {
        let Outgoing { topic, payload, qos: wanted, retain, token } = outgoing;
        let mut publish = Publish::from_bytes(topic, qos(wanted), payload);
        publish.retain = retain;
        connection.flight.hand(Load::Publish { token, qos: wanted }, Instant::now());
        self.send(connection, Request::Publish(publish)).await
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
        options.set_keep_alive(self.keep_alive());
        options.set_clean_session(true);
        options.set_max_packet_size(settings.incoming_bytes_max, settings.outgoing_bytes_max);
        options.set_inflight(RING);
        if let Some((user, password)) = read.login {
            options.set_credentials(user, password);
        }
        if let Some(will) = self.desk.will() {
            options.set_last_will(LastWill {
                topic: will.topic,
                message: will.payload,
                qos: qos(will.qos),
                retain: will.retain,
            });
        }
        Ok(options)
    }

    fn understood(&self, polled: Option<Result<Event, ConnectionError>>) -> Result<Event, Trouble> {
        polled.ok_or(Trouble::Panicked)?.map_err(|error| Trouble::of(error, self.settings.incoming_bytes_max))
    }

    fn trouble(&self, error: StateError) -> Trouble {
        Trouble::of(ConnectionError::MqttState(error), self.settings.incoming_bytes_max)
    }

    fn topics(&self, filter: usize) -> Option<String> {
        self.settings.filters.get(filter).map(|filter| filter.topics.clone())
    }

    fn keep_alive(&self) -> Duration {
        // Whole seconds, as the broker was told.
        Duration::from_secs(self.settings.keep_alive.0 / 1000)
    }

    fn stall(&self) -> Duration {
        Duration::from_millis(self.settings.keep_alive.0.saturating_mul(STALL_HALF_KEEP_ALIVES) / 2)
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Connection {
    /// The next packet, as soon as there is one. As long as there is none, what was written goes out.
    async fn turn(&mut self) -> Turn {
        let Some(network) = &mut self.events.network else {
            return Turn::Read(Err(StateError::ConnectionAborted));
        };
        let unflushed = &mut self.unflushed;
        poll_fn(|context| {
            if let Poll::Ready(read) = pin!(network.read()).poll(context) {
                return Poll::Ready(Turn::Read(read));
            }
            if !*unflushed {
                return Poll::Pending;
            }
            match pin!(network.flush()).poll(context) {
                Poll::Ready(Ok(())) => {
                    *unflushed = false;
                    Poll::Pending
                }
                Poll::Ready(Err(error)) => Poll::Ready(Turn::Read(Err(error))),
                Poll::Pending => Poll::Ready(Turn::Flush),
            }
        })
        .await
    }

    /// Lets the client see to a packet, and writes what it answers.
    async fn answer(&mut self, packet: Packet) -> Result<(), StateError> {
        let answer = self.events.state.handle_incoming_packet(packet)?;
        self.write_packet(answer).await
    }

    async fn acknowledge(&mut self, number: u16) -> Result<(), StateError> {
        self.write_packet(Some(Packet::PubAck(PubAck::new(number)))).await
    }

    async fn write(&mut self, request: Request) -> Result<(), StateError> {
        let packet = self.events.state.handle_outgoing_packet(request)?;
        self.write_packet(packet).await
    }

    async fn write_packet(&mut self, packet: Option<Packet>) -> Result<(), StateError> {
        match (&mut self.events.network, packet) {
            (_, None) => Ok(()),
            (Some(network), Some(packet)) => {
                self.unflushed = true;
                network.write(packet).await
            }
            (None, Some(_)) => Err(StateError::ConnectionAborted),
        }
    }

    async fn flush(&mut self) -> Result<(), StateError> {
        match &mut self.events.network {
            Some(network) => network.flush().await?,
            None => return Err(StateError::ConnectionAborted),
        }
        self.unflushed = false;
        Ok(())
    }

    /// Nothing was read for a while, by our own fault: nothing counts as late before it is so from now on.
    fn excuse(&mut self) {
        let now = Instant::now();
        self.heard_at = now;
        self.flight.excuse(now);
    }

    /// Since when something should have come forward: the broker's last sign of life, or what waits longest.
    fn waits_since(&self) -> Instant {
        self.flight.since().map_or(self.heard_at, |since| since.min(self.heard_at))
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.desk.close();
    }
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

/// Until the caller asks again for what happened, which it does when it has taken what it was told.
async fn asked_again() {
    let mut asked = false;
    poll_fn(|_| if mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// `None` if the future panicked. The client is dropped then, so what it left half done doesn't matter.
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
    async fn a_panic_in_the_client_is_caught_and_nothing_else_changes() {
        assert_eq!(caught(async { 7 }).await, Some(7));
        let nothing = Vec::<u8>::new();
        assert_eq!(caught(async { nothing[0] }).await, None);
    }
}
