//! How fast the server takes heartbeats, against bare subscribers that read as many from the same broker.
//!
//! A plain publisher sends the beats of many devices as fast as mosquitto takes them. The server is the program as it is: its
//! link, its register, its roster, with a rollout under way whose windows close, and are judged, once a second. It is done when
//! it signs for a journal record that was sent behind the last beat. A peer is done when it has counted the last beat.
//!
//! Nothing may be lost on the way: the broker drops nothing for a slow reader here, a peer counts, and of the server it is
//! asked after each round whether the last beat of every device is what it has.

mod fleet;
mod readers;

use std::{process::ExitCode, time::Instant};

use backstay_model::Health;
use backstay_test_bench::{
    Arguments, Budget, Cell, Column, Count, Failure, Publisher, Report, Spread, Versions, broker,
    processor_seconds, run,
};

use crate::{
    fleet::{Beats, Fleet},
    readers::Reader,
};

const ABOUT: &str = "\
beats: how fast the server takes heartbeats, against bare subscribers of the same broker

Beats of many devices are published as fast as mosquitto takes them, to the server (`backstay serve`, a rollout under way, a window
judged each second), to a bare socket that counts them, and to rumqttc alone, by turns. A ratio is that of one round. CPU is what
the server's process took for one beat.

cargo xtask bench beats -- --beats 400000 --devices 500";

const COUNTS: &[Count] = &[
    Count { name: "devices", default: 100, least: 1, most: 1000, help: "devices that send them" },
    Count {
        name: "beats",
        default: 100_000,
        least: 1000,
        most: 2_000_000,
        help: "beats in a round, of all devices",
    },
    Count { name: "rounds", default: 9, least: 1, most: 100, help: "how often each reader has its turn" },
];

/// Of what a bare subscriber reads.
const BUDGET: f64 = 0.7;

fn main() -> ExitCode {
    run(ABOUT, COUNTS, measure)
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let (devices, rounds) = (arguments.count("devices"), arguments.count("rounds"));
    // As many of each device.
    let each = (arguments.count("beats") / devices).max(1);
    let beats = each * devices;
    let mut report = Report::new("beats", Versions::of(&["rumqttc", "tokio"]).with_broker());
    let dir = tempfile::tempdir()?;
    let broker = broker(dir.path())?;
    let mut fleet = Fleet::start(dir.path(), broker.port, devices)?;
    let mut publisher = Publisher::start(broker.port, "publisher")?;

    let socket = Reader::socket(broker.port)?;
    let client = Reader::client(broker.port)?;
    let [mut ours, mut bare, mut rumqttc] = [const { Vec::new() }; 3];
    let mut cpu = Vec::new();
    let mut sent = 0;
    for round in 0..rounds {
        for turn in 0..3 {
            // Each reader listens to a fleet of its own; only the name differs, by as many letters.
            match (round + turn) % 3 {
                0 => {
                    let health = if round % 2 == 0 { Health::Bad } else { Health::Good };
                    let packets =
                        fleet.beats(Beats { fleet: Fleet::NAME, after: sent, each, last: health })?;
                    sent += each as u64;
                    let (before, begun) = (processor_seconds(fleet.process())?, Instant::now());
                    publisher.send(&packets)?;
                    publisher.send(fleet.full_stop())?;
                    fleet.receipt()?;
                    ours.push(begun.elapsed().as_secs_f64());
                    cpu.push((processor_seconds(fleet.process())? - before) * 1e6 / beats as f64);
                    fleet.has_last_beats(health)?;
                }
                place => {
                    let (reader, times) =
                        if place == 1 { (&socket, &mut bare) } else { (&client, &mut rumqttc) };
                    let beats_of = Beats { fleet: reader.fleet(), after: 0, each, last: Health::Good };
                    let packets = fleet.beats(beats_of)?;
                    reader.expect(beats)?;
                    let begun = Instant::now();
                    publisher.send(&packets)?;
                    times.push(reader.done()?.duration_since(begun).as_secs_f64());
                }
            }
        }
    }
    let windows = fleet.windows_judged()?;

    report.describe(
        format!("{beats} beats of {devices} devices, {rounds} rounds, {windows} windows judged meanwhile; median (least to most)"),
        &[
            Column { key: "beats_per_second", title: "beats/s" },
            Column { key: "of_bare_socket", title: "of a bare socket" },
            Column { key: "cpu_us", title: "CPU, us a beat" },
        ],
    );
    let rate = |spans: &[f64]| {
        let rates: Vec<_> = spans.iter().map(|span| beats as f64 / span).collect();
        Cell::Rounds(Spread::of(&rates), 0)
    };
    let against = |spans: &[f64]| Cell::Rounds(Spread::ratio(&bare, spans), 2);
    report.row("backstay serve", vec![rate(&ours), against(&ours), Cell::Rounds(Spread::of(&cpu), 2)]);
    report.row("bare socket", vec![rate(&bare), against(&bare)]);
    report.row("rumqttc", vec![rate(&rumqttc), against(&rumqttc)]);
    report.hold(
        "the server, of what a bare socket reads",
        Spread::ratio(&bare, &ours).median,
        Budget::AtLeast(BUDGET),
    );
    report.print(arguments.output);
    Ok(())
}
