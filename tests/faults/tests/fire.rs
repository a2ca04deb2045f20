//! Records of real devices on their way to a real server by a real mosquitto, while all three are killed at random moments. In the
//! end the server has each device's journal, whole and once, and nothing was done twice.
//!
//! `BACKSTAY_LONG` asks for 100,000 records through 50 kills of the broker and 50 of agents. `BACKSTAY_RECORDS` and `BACKSTAY_SEED`
//! say otherwise. Not here: what is compared (`fire::account`, which has its own tests of what it has to find), and a device alone
//! with a bad disk or no descriptors (`scarce`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    env,
    time::{Duration, Instant},
};

use backstay_core::Rng;
use backstay_test_faults::fire::herd::{Herd, Kind, Store};
use backstay_test_fleet::Broker;

/// How much there is of everything.
struct Plan {
    devices: usize,
    records: u64,
    broker: usize,
    /// Of the broker's kills, so many in which what it retained is lost.
    store_lost: usize,
    agents: usize,
    server: usize,
}

const SHORT: Plan = Plan { devices: 4, records: 800, broker: 4, store_lost: 1, agents: 4, server: 1 };
const LONG: Plan = Plan { devices: 12, records: 100_000, broker: 50, store_lost: 5, agents: 50, server: 5 };

/// The longest that a broker or a server is away.
const AWAY_MAX: u64 = 1_500;

#[derive(Clone, Copy, Debug)]
enum Kill {
    Broker(Store),
    Agent,
    Server,
}

#[test]
fn what_devices_say_arrives_once_through_kills_of_everybody() {
    if Broker::program().is_none() {
        println!("skipped, because mosquitto is not installed");
        return;
    }
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let mut plan = if env::var_os("BACKSTAY_LONG").is_some() { LONG } else { SHORT };
    plan.records = number("BACKSTAY_RECORDS").unwrap_or(plan.records);
    let seed = number("BACKSTAY_SEED").unwrap_or_else(|| std::process::id().into());
    println!("BACKSTAY_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut herd = Herd::start(dir.path(), plan.devices, &Kind::default()).unwrap();
    let (mut rng, began) = (Rng::new(seed), Instant::now());
    let kills = plan.kills(&mut rng);
    let all = kills.len() as u64;
    for (n, kill) in (0..).zip(kills) {
        // Each falls in a part of the way of its own, anywhere in it: also just after the one before.
        let part = plan.records / all;
        herd.until_records(n * part + rng.below(part))
            .unwrap_or_else(|why| panic!("seed {seed}, kill {n}: {why}"));
        // Where a program stands between two records is not for the count of records to say.
        std::thread::park_timeout(Duration::from_millis(rng.below(200)));
        let away = Duration::from_millis(rng.below(AWAY_MAX));
        match kill {
            Kill::Broker(store) => herd.kill_broker(away, store),
            Kill::Agent => herd.kill_agent(usize::try_from(rng.below(plan.devices as u64)).unwrap()),
            Kill::Server => {
                herd.fleet.kill_server();
                std::thread::park_timeout(away);
                herd.fleet.start_server().map_err(|why| why.to_string())
            }
        }
        .unwrap_or_else(|why| panic!("seed {seed}, kill {n} ({kill:?}): {why}"));
    }
    herd.until_records(plan.records).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    let took = began.elapsed().as_secs_f64();
    let sum = match herd.settle() {
        Ok(sum) => sum,
        Err(why) => panic!("seed {seed}: {why}\nthe fleet's files are in {}", dir.keep().display()),
    };
    for device in &herd.fleet.devices {
        herd.fleet.cli.ask(&["evidence", "verify", &device.name]).unwrap();
    }
    assert!(sum.deeds.done > 0 && sum.records >= plan.records, "{sum:?}");
    println!(
        "summary: {} records ({} KiB) of {} devices through {} kills of mosquitto ({} with its store lost), {} of agents and {} of \
         the server, seed {seed}, {took:.0} s: no gap, no duplicate, byte for byte as on the devices",
        sum.records,
        sum.bytes / 1024,
        plan.devices,
        plan.broker,
        plan.store_lost,
        plan.agents,
        plan.server,
    );
    println!(
        "summary: {} effects began, {} were cut off by a kill, {} were really done: none twice",
        sum.deeds.began, sum.deeds.in_doubt, sum.deeds.done
    );
}

impl Plan {
    /// All kills, in some order.
    fn kills(&self, rng: &mut Rng) -> Vec<Kill> {
        let stores = (0..self.broker).map(|n| if n < self.store_lost { Store::Lost } else { Store::Kept });
        let mut kills: Vec<_> = stores.map(Kill::Broker).collect();
        kills.extend((0..self.agents).map(|_| Kill::Agent));
        kills.extend((0..self.server).map(|_| Kill::Server));
        for at in (1..kills.len()).rev() {
            kills.swap(at, usize::try_from(rng.below(at as u64 + 1)).unwrap());
        }
        kills
    }
}
