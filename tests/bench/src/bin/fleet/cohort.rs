//! Sessions of one kind: they join, have a message once for each round, and leave.
//!
//! Not here: what a device does ([`Device`]), and losing the broker (`storm`).

use std::{
    fs,
    net::Ipv4Addr,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use backstay_model::{Channel, CohortId, Millis};
use backstay_test_bench::{
    Director, Failure, Publisher, Rank, fleet, join_client, join_socket, percentile, processor_seconds, rest,
    rumqttc, socket, times_asleep,
};
use backstay_wire::Topic;
use tokio::{task::JoinSet, time::sleep};

use crate::device::{Device, Watch};

/// On how many addresses the broker listens. To one of them 28,232 connections can be open or just over.
pub const ADDRESSES: u8 = 4;
/// How many of ours may be on their way to the broker, its own spreading over two seconds included. So many fit into the queues that
/// mosquitto has for those who connect, 100 on each address. Who finds them full hears nothing from the kernel and gives up after
/// 20 s; what he sent is read later all the same, and the broker then closes the session that he has meanwhile.
const ON_THEIR_WAY_MAX: usize = 400;
/// How long all may take to be there, or to be gone.
const PATIENCE: Duration = Duration::from_secs(300);
/// A broker that does nothing for so long has done all of it.
const QUIET: Duration = Duration::from_millis(50);
/// Files that a process has open beside its sessions.
pub const FILES_BESIDE: u64 = 200;

/// Who has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device of ours.
    Link,
    /// The client library alone.
    Client,
    /// A bare socket.
    Socket,
}

impl Kind {
    /// As it is called in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Client => "rumqttc",
            Self::Socket => "bare sockets",
        }
    }

    const fn cohort(self) -> &'static str {
        match self {
            Self::Link => "links",
            Self::Client => "clients",
            Self::Socket => "sockets",
        }
    }
}

/// What the rounds of one kind came to.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Seconds until the last had it, round by round.
    pub last: Vec<f64>,
    /// The same until half of them had it.
    pub half: Vec<f64>,
    /// And until 99 % of them did.
    pub most: Vec<f64>,
    /// For each session: microseconds of processor time here and in the broker, and how often the broker fell asleep.
    pub taken: [Vec<f64>; 3],
    /// KiB that a session takes here.
    pub kib: Vec<f64>,
}

/// Who is connected.
pub struct Cohort {
    pub id: CohortId,
    pub topic: String,
    pub watch: Arc<Watch>,
    /// Since when all of them are.
    pub since: Instant,
    kind: Kind,
    sessions: usize,
    members: JoinSet<()>,
}

/// What all cohorts share.
pub struct Shared {
    pub director: Director,
    pub port: u16,
    /// The broker's process.
    pub broker: u32,
    /// The newest steering.
    pub generation: u64,
    /// Over which tries to connect are spread, as steering says.
    pub window: Millis,
}

impl Shared {
    /// New steering for a cohort.
    pub fn steer(&mut self, cohort: &CohortId) -> Result<Vec<u8>, Failure> {
        self.generation += 1;
        self.director.steer(cohort, self.generation, self.window)
    }
}

impl Cohort {
    /// So many of a kind, all of them connected and with what is kept for them when this returns.
    pub async fn join(
        kind: Kind,
        sessions: usize,
        shared: &mut Shared,
        publisher: &mut Publisher,
    ) -> Result<Self, Failure> {
        let id = CohortId::parse(kind.cohort())?;
        let topic =
            Topic::Steer { fleet: fleet()?, cohort: id.clone(), channel: Channel::Product }.to_string();
        let (watch, members) = (Arc::new(Watch::default()), JoinSet::new());
        let mut cohort = Self { id, topic, watch, since: Instant::now(), kind, sessions, members };
        // The first message is there before the sessions are: who has it has subscribed.
        let payload = cohort.expect(shared)?;
        publisher.keep(&cohort.topic, &payload)?;
        for number in 0..u32::try_from(sessions)? {
            let host = Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(number % u32::from(ADDRESSES))?);
            let (place, name) = ((host, shared.port), format!("{}-{number}", kind.cohort()));
            let at = number as usize;
            let watch = Arc::clone(&cohort.watch);
            match kind {
                Kind::Link => {
                    let url = format!("mqtt://{host}:{}", shared.port);
                    let device = Device::start(url, number, &cohort.id, &shared.director.keyring, &watch)?;
                    cohort.members.spawn(device.run());
                    cohort.wait_for_room(at + 1).await?;
                }
                Kind::Client => {
                    let (client, events) = join_client(place, &name, &cohort.topic).await?;
                    cohort.members.spawn(async move { rumqttc(client, events, at, &watch.arrival).await });
                }
                Kind::Socket => {
                    let stream = join_socket(place, &name, &cohort.topic).await?;
                    cohort.members.spawn(async move { socket(stream, at, &watch.arrival).await });
                }
            }
        }
        cohort.all_steered().await?;
        cohort.since = Instant::now();
        Ok(cohort)
    }

    /// Until more of those who have started, `started` in all, have got there.
    async fn wait_for_room(&self, started: usize) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        while started - self.watch.arrived.load(Ordering::Relaxed) >= ON_THEIR_WAY_MAX {
            if Instant::now() > until {
                return Err("no session gets to the broker any more".into());
            }
            sleep(QUIET / 10).await;
        }
        Ok(())
    }

    /// One message, published once: until the last has it.
    pub async fn round(
        &mut self,
        shared: &mut Shared,
        publisher: Publisher,
        rounds: &mut Rounds,
    ) -> Result<Publisher, Failure> {
        let payload = self.expect(shared)?;
        self.watch.timed.store(true, Ordering::Relaxed);
        rest().await;
        let before = taken(shared.broker)?;
        let begun = Instant::now();
        let published = publisher.keep_beside(self.topic.clone(), payload);
        let times = self.watch.arrival.all_within(PATIENCE).await?;
        self.nothing_wrong()?;
        let publisher = published.await??;
        // What they acknowledge is read by the broker for as long again; it belongs to the message.
        let mut after = taken(shared.broker)?;
        loop {
            sleep(QUIET).await;
            let now = taken(shared.broker)?;
            if now[1] - after[1] < QUIET.as_micros() as f64 / 100.0 {
                break;
            }
            after = now;
        }
        for ((times, after), before) in rounds.taken.iter_mut().zip(after).zip(before) {
            times.push((after - before) / self.sessions as f64);
        }
        let spans: Vec<_> = times.iter().map(|time| time.duration_since(begun).as_secs_f64()).collect();
        for (of, rank) in [(&mut rounds.half, 500), (&mut rounds.most, 990), (&mut rounds.last, 1000)] {
            of.push(percentile(&spans, Rank(rank)));
        }
        self.watch.timed.store(false, Ordering::Relaxed);
        if self.kind != Kind::Link {
            return Ok(publisher);
        }
        // What a device does with the bytes: with the next ones, which nobody times.
        let payload = self.expect(shared)?;
        let publisher = publisher.keep_beside(self.topic.clone(), payload).await??;
        self.all_steered().await?;
        Ok(publisher)
    }

    /// All leave, and their sockets are gone here and in the broker when this returns.
    pub async fn leave(mut self, shared: &Shared) -> Result<(), Failure> {
        self.members.shutdown().await;
        let until = Instant::now() + PATIENCE;
        for process in [std::process::id(), shared.broker] {
            while fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64 > FILES_BESIDE {
                if Instant::now() > until {
                    return Err("sessions that have ended still have their sockets".into());
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// New steering, which all of them are to have.
    pub fn expect(&self, shared: &mut Shared) -> Result<Vec<u8>, Failure> {
        let payload = shared.steer(&self.id)?;
        self.watch.arrival.expect(&payload, self.sessions);
        self.watch.steered.expect(&payload, self.sessions);
        Ok(payload)
    }

    /// Until all have what they are to have, and ours have decided about it; nothing may have gone wrong.
    async fn all_steered(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Link => self.watch.steered.all_within(PATIENCE).await?,
            Kind::Client | Kind::Socket => self.watch.arrival.all_within(PATIENCE).await?,
        };
        self.nothing_wrong()
    }

    /// Whether only that has happened which was to happen.
    pub fn nothing_wrong(&self) -> Result<(), Failure> {
        match self.watch.wrong.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(what) => Err(what.into()),
        }
    }
}

/// Microseconds of processor time so far, here and in the broker, and how often the broker fell asleep.
fn taken(broker: u32) -> Result<[f64; 3], Failure> {
    let micros = |process| Ok::<_, Failure>(processor_seconds(process)? * 1e6);
    Ok([micros(std::process::id())?, micros(broker)?, times_asleep(broker)? as f64])
}
