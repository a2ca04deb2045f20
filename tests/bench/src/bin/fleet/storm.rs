//! The broker is killed with all sessions open, and started again at once.
//!
//! Nothing that it kept is left, so the steering is published anew, and each device has to find its way back to it by itself:
//! with the link's own spreading over the window that signed steering gave it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use backstay_test_bench::{Failure, Publisher, Rank, percentile, processor_seconds};
use backstay_test_fleet::Broker;
use tokio::{task::spawn_blocking, time::sleep_until};

use crate::cohort::{Cohort, Shared};

/// A connection that was shorter was of no use to the link, and it would come back later. Two seconds more than that.
const SETTLED: Duration = Duration::from_secs(12);
/// How many windows are waited for the last one.
const PATIENCE: u32 = 6;

/// What it came to.
#[derive(Debug)]
pub struct Storm {
    /// Tries to connect for each device, until all were steered.
    pub tries: f64,
    /// Seconds from the kill until half of them had decided about the new steering.
    pub half: f64,
    /// Until 99 % of them had.
    pub most: f64,
    /// Until the last had.
    pub last: f64,
    /// Until the broker listened again and had the steering.
    pub away: f64,
    /// The window that they were to come back in, in seconds.
    pub window: f64,
    /// The share that had decided when the window and a tenth of it were over.
    pub in_time: f64,
    /// Microseconds of processor time for each session, here and in the broker.
    pub taken: [f64; 2],
}

/// One of them, with the broker that was started again.
pub async fn storm(
    cohort: &Cohort,
    sessions: usize,
    shared: &mut Shared,
    mut broker: Broker,
) -> Result<(Storm, Broker, Publisher), Failure> {
    sleep_until((cohort.since + SETTLED).into()).await;
    let payload = cohort.expect(shared)?;
    cohort.watch.tries.store(0, Ordering::Relaxed);
    let (window, topic, here) = (
        Duration::from_millis(shared.window.0),
        cohort.topic.clone(),
        processor_seconds(std::process::id())?,
    );
    let begun = Instant::now();
    // Beside them, as a broker is: who comes while it is away is turned away.
    let restarted = spawn_blocking(move || {
        broker.kill();
        broker.resume().map_err(|why| why.to_string())?;
        let mut publisher = Publisher::start(broker.port, "publisher").map_err(|why| why.to_string())?;
        publisher.keep(&topic, &payload).map_err(|why| why.to_string())?;
        Ok::<_, String>((broker, publisher))
    });
    let (broker, publisher) = restarted.await??;
    let away = begun.elapsed().as_secs_f64();
    shared.broker = broker.pid().ok_or("there is no broker")?;
    let times = cohort.watch.steered.all_within(window * PATIENCE).await?;
    let each = |seconds: f64| seconds * 1e6 / sessions as f64;
    let taken =
        [each(processor_seconds(std::process::id())? - here), each(processor_seconds(shared.broker)?)];
    cohort.nothing_wrong()?;
    let spans: Vec<_> = times.iter().map(|time| time.duration_since(begun).as_secs_f64()).collect();
    let at = |rank| percentile(&spans, Rank(rank));
    let window = window.as_secs_f64();
    let in_time = spans.iter().filter(|span| **span <= window * 1.1).count() as f64 / sessions as f64;
    let tries = cohort.watch.tries.load(Ordering::Relaxed) as f64 / sessions as f64;
    let storm = Storm { tries, half: at(500), most: at(990), last: at(1000), away, window, in_time, taken };
    Ok((storm, broker, publisher))
}
