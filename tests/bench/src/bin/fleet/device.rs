//! A device as it is in the agent, without what it runs on: its side of the mailbox, its keys and its core.
//!
//! Real are the link, the agent's own file of what it listens to, believes and says ([`Uplink`]), the keyring, and the core
//! that decides. Not here are its disk (measured apart, and by itself), its slots, plugins and probes: what the core wants
//! done with those is not done, and what it wants written down is counted.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use backstay_config::{Broker, Span};
use backstay_core::{Device as Core, Effect, Heights, Identity, Input};
use backstay_link::Happening;
use backstay_model::{BootId, CohortId, DeviceId, Event, Mono, SlotStatus};
use backstay_test_bench::{Arrival, Failure, micros};
use backstay_test_stories::{release, settings};
use backstay_trust::{Enrolment, Keyring, SecretKey};

use crate::uplink::{Came, Uplink};

/// What is known of all devices of a cohort.
#[derive(Debug, Default)]
pub struct Watch {
    /// Who has the bytes.
    pub arrival: Arrival,
    /// Who has believed them and decided.
    pub steered: Arrival,
    /// Tries to connect, those that got there and those that did not.
    pub tries: AtomicUsize,
    /// Devices that have been connected.
    pub arrived: AtomicUsize,
    /// Whether it is timed how bytes come. A device does nothing with them then: that would take its own processor, and here
    /// there is one for all.
    pub timed: AtomicBool,
    /// In microseconds, one of each device and message.
    pub verify: Mutex<Vec<f64>>,
    /// The same.
    pub decide: Mutex<Vec<f64>>,
    /// What should not have happened.
    pub wrong: Mutex<Option<String>>,
}

impl Watch {
    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }
}

/// One of a cohort.
pub struct Device {
    number: usize,
    has_arrived: bool,
    uplink: Uplink,
    core: Core,
    began: Instant,
    watch: Arc<Watch>,
}

impl Device {
    /// Begins to connect, as the agent does when it starts.
    pub fn start(
        url: String,
        number: u32,
        cohort: &CohortId,
        keyring: &Keyring,
        watch: &Arc<Watch>,
    ) -> Result<Self, Failure> {
        let device = DeviceId::parse(&format!("pump-{number}"))?;
        let mut random = [7; 32];
        random[..4].copy_from_slice(&number.to_le_bytes());
        let key = SecretKey::from_random(&random);
        let broker = Broker {
            url,
            ca: None,
            certificate: None,
            key: None,
            user: None,
            password_file: None,
            keep_alive: Span::from_secs(60),
        };
        let enrolment =
            Enrolment { device: device.clone(), key: key.id(), cohort: cohort.clone(), labels: Vec::new() };
        let core = core(device, cohort, number);
        // Of a device's own, as its system's randomness would give it; and the same in each run.
        let seed = (u64::from(number) << 20, 1);
        let heights = Heights::default();
        let uplink = Uplink::start(&broker, key, keyring.clone(), enrolment, Mono(0), heights, seed)
            .map_err(|why| why.to_string())?;
        let number = usize::try_from(number)?;
        Ok(Self { number, has_arrived: false, uplink, core, began: Instant::now(), watch: Arc::clone(watch) })
    }

    /// Listens until it is dropped.
    pub async fn run(mut self) {
        while let Some(happening) = self.uplink.next().await {
            match happening {
                Happening::Message(message) => {
                    self.watch.arrival.came(self.number, &message.payload);
                    if self.watch.timed.load(Ordering::Relaxed) {
                        continue;
                    }
                    let payload = message.payload.clone();
                    if self.hear(Happening::Message(message)) {
                        self.watch.steered.came(self.number, &payload);
                    }
                }
                tried @ (Happening::Connected | Happening::Unreachable { .. }) => {
                    self.watch.tries.fetch_add(1, Ordering::Relaxed);
                    if matches!(tried, Happening::Connected) && !mem::replace(&mut self.has_arrived, true) {
                        self.watch.arrived.fetch_add(1, Ordering::Relaxed);
                    }
                    self.hear(tried);
                }
                said @ (Happening::Declined { .. } | Happening::Poisoned { .. }) => {
                    self.watch.wrong(format!("the broker did what it should not: {said:?}"));
                }
                Happening::Lost { why, .. } if self.watch.timed.load(Ordering::Relaxed) => {
                    self.watch.wrong(format!("a session was lost while messages were timed: {why}"));
                }
                other @ (Happening::Lost { .. } | Happening::Acked { .. } | Happening::Cured { .. }) => {
                    self.hear(other);
                }
            }
        }
    }

    /// What the agent's driver does with what came, as far as it goes here; whether it was steering that was obeyed.
    fn hear(&mut self, happening: Happening) -> bool {
        let now = Mono(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let begun = Instant::now();
        let came = self.uplink.take(happening);
        let taken = micros(begun.elapsed());
        match came {
            Came::Input(input) if matches!(*input, Input::Steered(_)) => {
                add(&self.watch.verify, taken);
                // Each time a device that has heard nothing yet: what it decides is the same each time, and not nothing.
                let mut core = self.core.clone();
                let begun = Instant::now();
                let effects = core.step(now, *input);
                add(&self.watch.decide, micros(begun.elapsed()));
                if records(effects).is_empty() {
                    self.watch.wrong("steering led to nothing that is written down".into());
                }
                if let Some(steer) = core.steering() {
                    self.uplink.reconnect_within(steer.reconnect_window);
                }
                true
            }
            Came::Connected => {
                self.uplink.greet(now);
                if let Some(report) = self.core.report_at(now) {
                    self.uplink.report(&report);
                }
                false
            }
            Came::Input(input) => {
                self.watch.wrong(format!("a device heard {input:?}"));
                false
            }
            Came::Plugins(_) | Came::Receipt(_) | Came::Trust(_) | Came::Nothing => false,
        }
    }
}

/// A core that is up and enrolled.
pub fn core(device: DeviceId, cohort: &CohortId, number: u32) -> Core {
    let on = release("1.4.0");
    let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
    let mut core = Core::new(settings(), Mono(0), &slots, number.into());
    core.step(Mono(1), Input::Up { boot: BootId(1), slots });
    core.step(Mono(2), Input::Enrolled(Identity { device, cohort: cohort.clone(), labels: Vec::new() }));
    core
}

/// What is written down, of what is to be done.
pub fn records(effects: Vec<Effect>) -> Vec<Event> {
    let event = |effect| if let Effect::Record(event) = effect { Some(event) } else { None };
    effects.into_iter().filter_map(event).collect()
}

fn add(times: &Mutex<Vec<f64>>, time: f64) {
    times.lock().unwrap_or_else(PoisonError::into_inner).push(time);
}
