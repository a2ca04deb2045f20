//! How soon a cohort has its steering: one retained message, published once, until every connected device has its bytes.
//!
//! Three kinds of device take turns on one mosquitto, in one task each on one thread: ours (`link` as it is in the agent,
//! with all that a device listens to, and whoever listens to it), a bare socket that knows the few bytes of MQTT that it
//! needs, and rumqttc without anything around it. All of them acknowledge, and compare what came with what was sent.
//!
//! What a device then does with the bytes it does alone, so it is timed alone: here it would be shared by all cores.

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc, time::Instant};

use backstay_core::{Device, Effect, Freshness, Identity, Input, Second, Steered};
use backstay_link::{Filter, Happening, Link, Qos, Settings};
use backstay_memory::{Durability, Memory, Options};
use backstay_model::{BootId, Channel, CohortId, DeviceId, Event, Millis, Mono, SlotStatus, Steer};
use backstay_test_bench::{
    Arguments, Arrival, Budget, Cell, Column, Count, Director, Failure, Publisher, Rank, Report, Spread,
    Versions, broker, fleet, join_client, join_socket, median, micros, percentile, processor_seconds, rest,
    rumqttc, run, socket,
};
use backstay_test_stories::{release, settings};
use backstay_trust::{Listener, OrderKind};
use backstay_wire::{Topic, TopicFilter, decode};
use tokio::{runtime, task::JoinSet};

const ABOUT: &str = "\
fanout: how soon a cohort has its steering, against bare subscribers of the same broker

One signed, retained message is published at a mosquitto on the loopback; the time is taken until the last of N connected
devices has its bytes. `link` is ours, `bare sockets` the cheapest subscriber there can be, `rumqttc` the client library alone.
They take turns in every round, and a ratio is that of one round. Below it: what each device does with the bytes, alone.

cargo xtask bench fanout -- --devices 1000 --rounds 50";

const COUNTS: &[Count] = &[
    Count { name: "devices", default: 500, least: 1, most: 2000, help: "connected devices of each kind" },
    Count { name: "rounds", default: 31, least: 1, most: 1000, help: "how often each kind has its turn" },
    Count {
        name: "alone",
        default: 400,
        least: 0,
        most: 20_000,
        help: "how often a device's own part is timed; 0: not",
    },
];

/// Of what the bare broker reaches.
const BUDGET: f64 = 0.8;
/// Over which a device's tries to connect again are spread.
const WINDOW: Millis = Millis::from_secs(10);
/// What stands for the state of a device beside its records.
const SNAPSHOT_BYTES: usize = 1024;

fn main() -> ExitCode {
    run(ABOUT, COUNTS, |arguments| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure(arguments))
    })
}

async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let (devices, rounds) = (arguments.count("devices"), arguments.count("rounds"));
    let mut report = Report::new("fanout", Versions::of(&["rumqttc", "tokio"]).with_broker());
    let dir = tempfile::tempdir()?;
    let broker = broker(dir.path())?;
    let director = Director::new()?;
    let mut publisher = Publisher::start(broker.port, "publisher")?;

    let (mut cohorts, mut bytes) = (Vec::new(), 0);
    for kind in [Kind::Link, Kind::Socket, Kind::Client] {
        let mut cohort = Cohort::new(kind, devices)?;
        // The first message is there before the devices are: who has it has subscribed.
        let payload = director.steer(&cohort.id, 1, WINDOW)?;
        bytes = payload.len();
        cohort.arrival.expect(&payload, devices);
        publisher.keep(&cohort.topic, &payload)?;
        cohort.join(broker.port).await?;
        cohort.arrival.all().await?;
        cohorts.push(cohort);
    }
    for round in 0..rounds {
        for turn in 0..cohorts.len() {
            let place = (round + turn) % cohorts.len();
            let cohort = cohorts.get_mut(place).expect("it is one of them");
            let payload = director.steer(&cohort.id, 2 + round as u64, WINDOW)?;
            cohort.arrival.expect(&payload, devices);
            let taken = || -> Result<_, Failure> {
                Ok([
                    processor_seconds(std::process::id())?,
                    processor_seconds(broker.pid().ok_or("no broker")?)?,
                ])
            };
            rest().await;
            let (before, begun) = (taken()?, Instant::now());
            let published = publisher.keep_beside(cohort.topic.clone(), payload);
            let last = cohort.arrival.all().await?.into_iter().max().ok_or("there is no device")?;
            publisher = published.await??;
            cohort.spans.push(last.duration_since(begun).as_secs_f64());
            for ((times, after), before) in cohort.taken.iter_mut().zip(taken()?).zip(before) {
                times.push((after - before) * 1e6 / devices as f64);
            }
        }
    }

    report.describe(
        format!(
            "{devices} devices of each kind, {rounds} rounds, {bytes} bytes a message; median (least to most)"
        ),
        &[
            Column { key: "all_ms", title: "all have it, ms" },
            Column { key: "devices_per_second", title: "devices/s" },
            Column { key: "of_bare_sockets", title: "of bare sockets" },
            Column { key: "cpu_here_us", title: "CPU here, us" },
            Column { key: "cpu_broker_us", title: "broker, us" },
            Column { key: "each_p50_us", title: "each, p50 us" },
            Column { key: "each_p99_us", title: "p99 us" },
        ],
    );
    let [ours, bare, _] = &cohorts[..] else { return Err("there are three kinds".into()) };
    let reach = Spread::ratio(&bare.spans, &ours.spans);
    for cohort in &cohorts {
        let per_second: Vec<_> = cohort.spans.iter().map(|span| devices as f64 / span).collect();
        let millis: Vec<_> = cohort.spans.iter().map(|span| span * 1e3).collect();
        report.row(
            cohort.kind.name(),
            vec![
                Cell::Rounds(Spread::of(&millis), 1),
                Cell::Rounds(Spread::of(&per_second), 0),
                Cell::Rounds(Spread::ratio(&bare.spans, &cohort.spans), 2),
                Cell::Figure(median(&cohort.taken[0]), 1),
                Cell::Figure(median(&cohort.taken[1]), 1),
            ],
        );
    }
    let alone = match arguments.count("alone") {
        0 => Vec::new(),
        times => alone(&director, &dir.path().join("state"), times)?,
    };
    for (what, times) in alone {
        let at = |rank| Cell::Figure(percentile(&times, rank), 1);
        report.row(what, [vec![Cell::None; 5], vec![at(Rank(500)), at(Rank(990))]].concat());
    }
    report.hold("link, of what bare sockets reach", reach.median, Budget::AtLeast(BUDGET));
    report.print(arguments.output);
    Ok(())
}

/// The kinds of device that take turns.
#[derive(Clone, Copy)]
enum Kind {
    Link,
    Socket,
    Client,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Socket => "bare sockets",
            Self::Client => "rumqttc",
        }
    }

    const fn cohort(self) -> &'static str {
        match self {
            Self::Link => "links",
            Self::Socket => "sockets",
            Self::Client => "clients",
        }
    }
}

/// Devices of one kind, and a topic of their own.
struct Cohort {
    kind: Kind,
    id: CohortId,
    topic: String,
    devices: usize,
    arrival: Arc<Arrival>,
    members: JoinSet<()>,
    /// Seconds until all had it, round by round.
    spans: Vec<f64>,
    /// Microseconds of processor time for each device, here and in the broker, round by round.
    taken: [Vec<f64>; 2],
}

impl Cohort {
    fn new(kind: Kind, devices: usize) -> Result<Self, Failure> {
        let id = CohortId::parse(kind.cohort())?;
        let topic =
            Topic::Steer { fleet: fleet()?, cohort: id.clone(), channel: Channel::Product }.to_string();
        let (arrival, members) = (Arc::default(), JoinSet::new());
        Ok(Self {
            kind,
            id,
            topic,
            devices,
            arrival,
            members,
            spans: Vec::new(),
            taken: [const { Vec::new() }; 2],
        })
    }

    async fn join(&mut self, port: u16) -> Result<(), Failure> {
        for n in 0..self.devices {
            let (name, arrival) = (format!("{}-{n}", self.kind.cohort()), Arc::clone(&self.arrival));
            match self.kind {
                Kind::Link => self.members.spawn(link(port, name, n, &self.id, arrival)?),
                Kind::Socket => {
                    let stream = join_socket((Ipv4Addr::LOCALHOST, port), &name, &self.topic).await?;
                    self.members.spawn(async move { socket(stream, n, &arrival).await })
                }
                Kind::Client => {
                    let (client, events) =
                        join_client((Ipv4Addr::LOCALHOST, port), &name, &self.topic).await?;
                    self.members.spawn(async move { rumqttc(client, events, n, &arrival).await })
                }
            };
        }
        Ok(())
    }
}

/// A device as it is: everything that it listens to, and somebody who listens to the link.
fn link(
    port: u16,
    name: String,
    number: usize,
    cohort: &CohortId,
    arrival: Arc<Arrival>,
) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let device = DeviceId::parse(&name)?;
    let mut settings = Settings::new(format!("mqtt://127.0.0.1:{port}").parse()?, name, port.into());
    let filters = TopicFilter::for_device(&fleet()?, &device, cohort);
    let filter = |filter: &TopicFilter| Filter { topics: filter.as_str().into(), qos: Qos::AtLeastOnce };
    settings.filters = filters.iter().map(filter).collect();
    let (handle, mut incoming) = Link::start(settings)?;
    Ok(async move {
        while let Some(happening) = incoming.next().await {
            if let Happening::Message(message) = happening {
                arrival.came(number, &message.payload);
            }
        }
        drop(handle);
    })
}

/// What a device does with the bytes: believes them, decides, and writes down what it decided. In microseconds.
fn alone(
    director: &Director,
    state: &std::path::Path,
    times: usize,
) -> Result<Vec<(&'static str, Vec<f64>)>, Failure> {
    let (cohort, name) = (CohortId::parse("canary")?, DeviceId::parse("pump-7")?);
    let on = release("1.4.0");
    let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
    let mut device = Device::new(settings(), Mono(0), &slots, 42);
    device.step(Mono(1), Input::Up { boot: BootId(1), slots });
    device.step(
        Mono(2),
        Input::Enrolled(Identity { device: name.clone(), cohort: cohort.clone(), labels: Vec::new() }),
    );
    let (mut memory, _) = Memory::open(state, Options { instance: "bench".into(), bytes_max: 64 << 20 })?;

    let [mut verify, mut decide, mut record] = [const { Vec::new() }; 3];
    for n in 0..times {
        let payload = director.steer(&cohort, 1 + n as u64, WINDOW)?;
        let begun = Instant::now();
        let listener = Listener { cohort: Some(&cohort), device: Some(&name) };
        let order = director.keyring.verify_order(&payload, OrderKind::SteerProduct, listener, None)?;
        let said: Steer = decode(order.payload(), usize::MAX)?;
        verify.push(micros(begun.elapsed()));

        // Each time a device that has heard nothing yet: what it decides is the same each time, and not nothing.
        let mut device = device.clone();
        let steered = Steered {
            steer: said,
            digest: *order.content(),
            freshness: Freshness::Fresh,
            second: Second::Missing,
            by: order.key().0,
        };
        let begun = Instant::now();
        let effects = device.step(Mono(1000), Input::Steered(steered));
        decide.push(micros(begun.elapsed()));

        let event = |effect| if let Effect::Record(event) = effect { Some(event) } else { None };
        let events: Vec<Event> = effects.into_iter().filter_map(event).collect();
        if events.is_empty() {
            return Err("steering led to nothing that is written down".into());
        }
        let begun = Instant::now();
        let kept = memory.record(Mono(1000 + n as u64), &events, Some(vec![0x5A; SNAPSHOT_BYTES]));
        record.push(micros(begun.elapsed()));
        if !matches!(kept, Durability::Durable) {
            return Err("the disk did not take a record".into());
        }
    }
    Ok(vec![("each: verify and read", verify), ("each: decide", decide), ("each: durable record", record)])
}
