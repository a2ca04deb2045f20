//! The one loop of the agent: it acts and never decides.
//!
//! Here: the closed list of all that can happen to a device, and the order of things: what the core says is to
//! be recorded is durable before anything that follows from it begins. What takes time is only started here, and
//! how it ends comes back as something that happened. In `driver/`: runs, whom this device
//! trusts, plugins that come by steering, and becoming enrolled. Not here: any `if` about health or releases (`core`).

mod enrolling;
mod running;
mod trusting;
pub(crate) mod upgrading;

use std::time::Duration;

use backstay_core::{
    Confidence, Device, Effect, Heights, Input, Upgrade, UpgradeEffect, UpgradeInput, Vetted, Watermarks,
};
use backstay_hands::{Depot, Ended, Fetch, Probes, Sample, spawn};
use backstay_host::{Engine, Executor};
use backstay_memory::{Durability, Memory, Trusted};
use backstay_model::{
    Answer, Digest, Event, InfraKind, Millis, Mono, Order, Outcome, Reason, Refused, Release, SlotStatus,
    Ticket, Transience, Word, causes,
};
use backstay_plugins::{Consulted, Judge, Ready, Run};
use backstay_trust::{Keyring, SecretKey};
use backstay_wire::{AnchorWords, Mark, Stream};
use tokio::sync::{mpsc, watch};

use self::upgrading::Loaded;
use crate::{
    bundles::{Bundles, Missing},
    clock::Clock,
    config::Config,
    identity::{self, Papers},
    kept::Keep,
    lkg::Lkg,
    machine::Machine,
    reset::Start,
    trust::{FetchError, Fetched, Heard, latest},
    uplink::{Came, Uplink},
};

/// The most things that wait to be taken in. Who can't hand over waits, or is heard next time.
const WAITING_MAX: usize = 256;

/// Between two tries to capture the configuration on a disk that didn't take it.
const CAPTURE_EVERY: Millis = Millis::from_secs(600);

/// Between two tries to tell the boot loader what is condemned.
const CONDEMN_EVERY: Millis = Millis::from_secs(600);

/// Something that was started here has ended.
#[derive(Debug)]
enum Done {
    /// An effect of a run.
    Effect { ticket: Ticket, ordinal: u32, answer: Answer },
    /// A run, and what the slots say of where it left them, after they were waited for so long. Zero: at the first look.
    Run { ticket: Ticket, outcome: Outcome, slots: Result<SlotStatus, String>, waited: Duration },
    /// A release was looked into.
    Vetted { ticket: Ticket, verdict: Vetted },
    /// The server was asked to enrol this device.
    Enrolled(identity::Asked),
    /// It is time to keep an enrolment that the disk didn't take.
    Keep(Vec<u8>),
    /// Links and revocations were fetched.
    Trust(Result<Fetched, FetchError>),
    /// The boot loader was told what is condemned.
    Condemned(Result<(), String>),
    /// A bundle was fetched.
    Bundle { ticket: Ticket, bundle: Digest, came: Result<(), Missing> },
}

/// Whether something that the disk didn't take is tried for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    First,
    Again,
}

/// All that the loop holds.
pub struct Driver {
    /// The configuration.
    pub config: Config,
    /// The instance's clock.
    pub clock: Clock,
    /// Who decides.
    pub device: Device,
    /// What is remembered.
    pub memory: Memory,
    /// Who is asked. None: no policy could be loaded, and every question stays without an answer.
    pub judge: Option<Judge>,
    /// Who acts, newest first.
    pub executors: Vec<Ready<Executor>>,
    /// The grant of an executor that is here only for the run that it has begun.
    pub outgoing: Option<Digest>,
    /// What counts against plugins, and who is to take over.
    pub confidence: Confidence,
    /// Which plugins the device was steered to.
    pub upgrade: Upgrade,
    /// The newest grants that the configuration has brought.
    pub pinned: Vec<(backstay_model::PluginId, backstay_trust::Accepted)>,
    /// Where those are kept.
    pub bundles: Bundles,
    /// Where they are fetched from.
    pub fetch: Option<Fetch>,
    /// What plugins run in.
    pub engine: Engine,
    /// Where their calls are marked.
    pub mark: Option<std::sync::Arc<backstay_plugins::Mark>>,
    /// Slots, program, commands.
    pub machine: Machine,
    /// What the next start is to know of this one.
    pub start: Start,
    /// The configuration that was good.
    pub lkg: Lkg,
    /// What looks.
    pub probes: Probes,
    /// Ends of the supervised program.
    pub ended: mpsc::Receiver<Ended>,
    /// The operator's servers.
    pub depot: Option<Depot>,
    /// The operator's keys, with what was revoked.
    pub keyring: Keyring,
    /// Where that is kept.
    pub trust: Trusted,
    /// What was heard last of who is trusted.
    pub heard: Option<Heard>,
    /// This device's key.
    pub key: SecretKey,
    /// Where key and enrolment are.
    pub papers: Papers,
    /// The latest times that the server signed for, as they were kept.
    pub attested: Heights,
    /// The newest grants that were accepted.
    pub floors: std::collections::BTreeMap<backstay_model::PluginId, backstay_trust::Floor>,
}

/// The loop at work.
struct Loop {
    all: Driver,
    run: Option<(Run, usize)>,
    /// The call of a policy whose answer the core has yet to record, if it does.
    consulted: Option<(Ticket, Consulted)>,
    /// A run that an executor was found for, and that begins once that is durable.
    picked: Option<(Order, usize)>,
    /// A plugin that came and that nobody was told yet what to do with.
    loaded: Option<Loaded>,
    /// What fetches a bundle: one at a time.
    fetching: Option<tokio::task::AbortHandle>,
    /// The grant of an executor that goes once its run has ended.
    outgoing: Option<Digest>,
    /// Runs up to this one were let go of: what is still done for them is broken off.
    let_go: watch::Sender<Ticket>,
    uplink: Option<Uplink>,
    done: mpsc::Sender<Done>,
    results: mpsc::Receiver<Done>,
    /// The highest word of which it is durable what it led to: after a power cut, one above it is to be heard again.
    told: u64,
    /// Whether what happened last was recorded, or at least what is kept apart was kept.
    is_kept: bool,
    boot_noted: bool,
    /// What the boot loader was told is condemned, and when it may be told again.
    condemned: Option<Digest>,
    condemns_at: Mono,
    next_beat: Mono,
    fetches_trust: bool,
    /// When an announcement of trust that is older than the last one is looked into again.
    looks_at: Mono,
    /// When a capture that failed is tried again.
    captures_at: Mono,
}

impl Driver {
    /// Runs until it is told to stop.
    pub async fn drive(self, first: Vec<Event>, upgrade: Vec<UpgradeEffect>, up: Input) {
        let (done, results) = mpsc::channel(WAITING_MAX);
        let (next_beat, outgoing) = (self.clock.now(), self.outgoing);
        let told = self.device.last_told();
        let mut work = Loop {
            all: self,
            run: None,
            consulted: None,
            picked: None,
            loaded: None,
            fetching: None,
            outgoing,
            let_go: watch::Sender::new(Ticket(0)),
            uplink: None,
            done,
            results,
            told,
            is_kept: true,
            boot_noted: false,
            condemned: None,
            condemns_at: Mono(0),
            next_beat,
            fetches_trust: false,
            looks_at: Mono(0),
            captures_at: Mono(0),
        };
        work.record(&first);
        work.act(upgrade);
        work.seat_again();
        work.take(up).await;
        if work.all.start.comes_from_a_crash() {
            work.take(Input::Crashed).await;
        }
        work.tidy_bundles();
        work.find_papers().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        work.turn().await;
    }
}

impl Loop {
    async fn turn(&mut self) {
        let mut stop = std::pin::pin!(stop_asked());
        let watchdog = sd_notify::watchdog_enabled().map(|span| span / 2);
        let mut alive = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
        loop {
            let wake = self.all.clock.instant(self.deadline());
            let mut ticked = false;
            tokio::select! {
                sample = self.all.probes.next() => self.looked(sample).await,
                Some(ended) = self.all.ended.recv() => self.program_ended(&ended).await,
                Some(done) = self.results.recv() => self.finished(done).await,
                Some(happening) = next_of(&mut self.uplink) => self.heard(happening).await,
                () = tokio::time::sleep_until(wake.into()) => ticked = true,
                _ = alive.tick() => {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
                () = &mut stop => break,
            }
            if ticked {
                self.take(Input::Tick).await;
                let now = self.all.clock.now();
                if self.all.upgrade.deadline(now).is_some_and(|at| at <= now) {
                    self.upgrade(UpgradeInput::Tick).await;
                }
            }
            self.tend();
            self.speak();
        }
        tracing::info!("stops");
        self.all.memory.flush();
        if let Err(error) = self.all.start.stops() {
            tracing::warn!(%error, "cannot write down that this was asked for");
        }
        if let Some(uplink) = self.uplink.take() {
            let goodbye = uplink.leave(self.all.clock.now());
            let _ = tokio::time::timeout(Duration::from_secs(5), goodbye).await;
        }
    }

    fn deadline(&self) -> Mono {
        let own = self.all.device.deadline();
        let upgrade = self.all.upgrade.deadline(self.all.clock.now());
        let uplink = self.uplink.as_ref().and_then(Uplink::deadline);
        let beat = self.uplink.is_some().then_some(self.next_beat);
        let soonest =
            [own, upgrade, uplink, beat, Some(self.all.memory.deadline())].into_iter().flatten().min();
        soonest.unwrap_or(Mono(u64::MAX / 2)).min(self.all.clock.now().after(Millis::from_secs(60)))
    }

    /// Gives the core an input, and does what it says, and what follows from that.
    async fn take(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.all.clock.now();
            let is_taken = matches!(input, Input::Taken { .. });
            let effects = self.all.device.step(now, input);
            let mut events: Vec<Event> = effects.iter().filter_map(recorded).cloned().collect();
            // With an answer that is worth recording goes the call that it came from, so that it can be made again.
            if let Some((ticket, consulted)) =
                self.consulted.take_if(|(ticket, _)| events.iter().any(|event| event.answers(*ticket)))
            {
                events.push(consulted.about(ticket));
            }
            // What a word means for plugins is durable together with the word.
            let (mut seated, mut upgrade) = (Vec::new(), Vec::new());
            for event in &events {
                let Event::Told { word, .. } = event else { continue };
                if let Word::Lift(digest) = word {
                    // A bundle that was condemned is named by itself, its plugin by the grant.
                    let grant = self.all.upgrade.grant_of(digest).unwrap_or(*digest);
                    self.all.confidence.lift(&grant);
                    seated.extend(self.seat());
                }
                upgrade.append(&mut self.step_upgrade(UpgradeInput::Told(*word)));
            }
            events.extend(seated);
            events.append(&mut upgrading::recorded(&upgrade));
            self.record(&events);
            self.act(upgrade);
            for effect in effects {
                match effect {
                    // Durable by now, together with the state after all of this step.
                    Effect::Record(_) => {}
                    Effect::Ask { ticket, facts } => inputs.push_back(self.ask(now, ticket, &facts)),
                    Effect::Vet { ticket, release } => self.vet(ticket, release),
                    Effect::Run { order, grant } => inputs.extend(self.pick(order, grant)),
                    Effect::Abandon { ticket, outcome } => self.abandon(ticket, outcome),
                    Effect::Report(mut report) => {
                        report.journal = self.all.memory.head().seq;
                        if let Some(uplink) = &self.uplink {
                            uplink.report(&report);
                        }
                    }
                }
            }
            if is_taken {
                inputs.extend(self.begin());
            }
        }
    }

    /// Makes events durable, with the state after them, and tells them once to whoever reads the log.
    fn record(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let now = self.all.clock.now();
        for event in events {
            tracing::info!(at = now.0, "{event}");
        }
        let Driver { device, confidence, floors, heard, upgrade, pinned, .. } = &self.all;
        let plugins = (upgrade, pinned.as_slice());
        let kept = Keep::of(device.state(), confidence, floors, self.attested_by(), *heard, plugins);
        // A disk that takes nothing stops nobody from going home; it is said, where anybody can hear it.
        let recorded = self.all.memory.record(now, events, kept.encode());
        self.is_kept = recorded == Durability::Durable;
        match recorded {
            Durability::Durable => self.told = self.all.device.last_told(),
            Durability::Degraded(why) => {
                tracing::error!(why, "what happens is not recorded any more; the device goes on deciding");
            }
            Durability::StillDegraded => {}
        }
        let words = self.words(now);
        match self.all.memory.anchor(&words) {
            Durability::Durable => self.is_kept = true,
            Durability::Degraded(why) => {
                tracing::error!(why, "the words that decide about booting can't be kept");
            }
            Durability::StillDegraded => {}
        }
    }

    /// Keeps the clock now and then, and tries a disk that failed again.
    fn tend(&mut self) {
        let now = self.all.clock.now();
        if self.all.memory.deadline() > now {
            return;
        }
        let words = self.words(now);
        if let Durability::Degraded(why) = self.all.memory.tend(now, &words) {
            tracing::error!(why, "the clock can't be kept");
        }
    }

    fn attested(&self) -> Option<backstay_model::UnixMs> {
        latest(self.attested_by())
    }

    fn attested_by(&self) -> &Heights {
        self.uplink.as_ref().map_or(&self.all.attested, Uplink::attested)
    }

    fn words(&self, now: Mono) -> AnchorWords {
        let Watermarks { condemned, floor, generation, last_known_good, starts, ways, .. } =
            self.all.device.watermarks();
        let mark = |stream, counter| Mark { stream, counter, digest: Digest([0; 32]) };
        AnchorWords {
            clock: now,
            attested: self.attested(),
            confirmed: self.all.device.confirmed().clone(),
            last_known_good,
            marks: [mark(Stream::Product, generation.0), mark(Stream::Order, self.told)]
                .into_iter()
                .chain([mark(Stream::Plugins, self.all.upgrade.generation().0)])
                .chain(self.all.heard.map(|heard| Mark {
                    stream: Stream::Trust,
                    counter: heard.sequence,
                    digest: heard.digest,
                }))
                .collect(),
            condemned,
            security_floor: floor,
            breaker_until: None,
            receipt_epoch: 0,
            starts: starts.max(self.all.upgrade.starts()),
            ways,
        }
    }

    fn ask(&mut self, now: Mono, ticket: Ticket, facts: &backstay_model::Facts) -> Input {
        let Some(judge) = &mut self.all.judge else {
            return Input::Unanswered { ticket, why: "no policy could be loaded".into() };
        };
        let asked = judge.ask(now, facts, &mut self.all.confidence);
        self.consulted = judge.consulted().map(|consulted| (ticket, consulted));
        self.record_of_plugins(asked.events);
        match asked.answer {
            Ok(decision) => Input::Answered { ticket, decision },
            Err(why) => {
                self.mind_the_trial();
                Input::Unanswered { ticket, why }
            }
        }
    }

    /// A policy that is to take over is looked at before it is asked.
    fn seat(&mut self) -> Option<Event> {
        self.all.judge.as_ref().and_then(|judge| judge.seat(&mut self.all.confidence))
    }

    fn vet(&self, ticket: Ticket, release: Release) {
        let (done, keyring) = (self.done.clone(), self.all.keyring.clone());
        let (depot, attested) = (self.all.depot.clone(), self.attested());
        spawn(async move {
            let not = |transience, why: String| Vetted::Not { transience, why: Reason::new(why).0 };
            let verdict = match depot {
                None => not(Transience::Permanent, "no [server] is configured to ask".into()),
                Some(depot) => match depot.get(&format!("/v1/releases/{}", release.digest)).await {
                    Err(error) => not(error.transience, error.to_string()),
                    Ok(answered) => match keyring.verify_release(&answered.body, attested) {
                        Ok(verified) => Vetted::Genuine {
                            release: verified.release().clone(),
                            way: verified.way_home().clone(),
                            hardware: verified.hardware().to_vec(),
                        },
                        // Who answered is not who was meant, a portal or a proxy: tries are counted, so it ends.
                        Err(refusal) => not(Transience::Transient, refusal.to_string()),
                    },
                },
            };
            let _ = done.send(Done::Vetted { ticket, verdict }).await;
        });
    }

    async fn finished(&mut self, done: Done) {
        match done {
            Done::Run { ticket, outcome, slots: Ok(slots), .. } => {
                self.take(Input::Ended { ticket, outcome, slots }).await;
            }
            Done::Run { ticket, outcome, slots: Err(why), waited } => {
                // Nothing is known of the slots, so nothing can be said of the run; it may not stay open for ever.
                if waited.is_zero() {
                    self.record(&[Event::Degraded { what: Reason::new(why).0 }]);
                } else {
                    tracing::warn!(why, "cannot tell what is in the slots");
                }
                self.look(ticket, outcome, running::longer(waited));
            }
            Done::Vetted { ticket, verdict } => self.take(Input::Vetted { ticket, verdict }).await,
            Done::Effect { ticket, ordinal, answer } => self.answered(ticket, ordinal, answer),
            Done::Keep(bytes) => self.keep_enrolment(bytes, Look::Again),
            Done::Enrolled(asked) => self.asked_to_enrol(asked).await,
            Done::Trust(fetched) => self.trust_fetched(fetched).await,
            Done::Condemned(Ok(())) => {}
            Done::Condemned(Err(why)) => {
                (self.condemned, self.condemns_at) = (None, self.all.clock.now().after(CONDEMN_EVERY));
                tracing::warn!(why, "the boot loader can't be told what is condemned");
            }
            Done::Bundle { ticket, bundle, came } => self.bundle_came(ticket, bundle, came).await,
        }
    }

    async fn looked(&mut self, sample: Sample) {
        if sample.reading != backstay_model::Reading::Passed {
            tracing::debug!(probe = %sample.probe, reading = ?sample.reading, why = sample.why, "probe");
        }
        self.take(Input::Reading { probe: sample.probe, reading: sample.reading }).await;
        self.capture_configuration();
        self.note_boot();
        self.condemn();
    }

    /// Notes once that this boot is fine. Where it is so no longer, what is mended is restarted, which takes a try: then it has to
    /// show itself again.
    fn note_boot(&mut self) {
        let boots_well = self.all.device.boots_well(self.all.start.has_crashed());
        if boots_well && !self.boot_noted {
            let machine = self.all.machine.clone();
            // The slots may be busy for as long as a release takes to be written.
            spawn(async move {
                if let Err(error) = machine.note_boot().await {
                    tracing::warn!(%error, "cannot note that the boot is fine");
                }
            });
        }
        self.boot_noted = boots_well;
    }

    /// Has the boot loader told what this device will not run again, once each start.
    fn condemn(&mut self) {
        let now = self.all.clock.now();
        let told = |release: &&Release| self.condemned == Some(release.digest);
        let release = self.all.device.last_resort().filter(|release| !told(release));
        let Some(release) = release.filter(|_| self.condemns_at <= now).cloned() else { return };
        self.condemned = Some(release.digest);
        let (machine, done) = (self.all.machine.clone(), self.done.clone());
        spawn(async move {
            let put_last = machine.condemn(release).await.map_err(|error| causes::in_one_line(&error));
            let _ = done.send(Done::Condemned(put_last)).await;
        });
    }

    /// Captures the configuration of what has proved itself, once.
    fn capture_configuration(&mut self) {
        let now = self.all.clock.now();
        let Some(release) = self.all.device.proven().filter(|release| self.all.lkg.lacks(release)) else {
            return;
        };
        if now < self.captures_at {
            return;
        }
        match self.all.lkg.capture(release, &self.all.device.at_hand()) {
            Ok(captured) => self.record(&[captured]),
            Err(error) => {
                self.captures_at = now.after(CAPTURE_EVERY);
                tracing::warn!(%error, "the configuration can't be captured");
            }
        }
    }

    async fn program_ended(&mut self, ended: &Ended) {
        tracing::warn!(code = ?ended.code, signal = ?ended.signal, ran = %ended.ran, "the program ended");
        self.take(Input::Trouble(InfraKind::ProcessExited)).await;
    }

    async fn heard(&mut self, happening: backstay_link::Happening) {
        let Some(uplink) = &mut self.uplink else { return };
        let came = uplink.take(happening);
        self.came(came).await;
    }

    async fn came(&mut self, came: Came) {
        match came {
            Came::Nothing => {}
            Came::Input(input) => {
                self.take(*input).await;
                if let (Some(uplink), Some(steer)) = (&self.uplink, self.all.device.steering()) {
                    uplink.reconnect_within(steer.reconnect_window);
                }
            }
            Came::Receipt(receipt) => match self.all.memory.receipted(&receipt) {
                Ok(()) => {
                    if let Some(uplink) = &mut self.uplink {
                        uplink.log_received();
                    }
                }
                Err(error) => {
                    let refused = Refused { what: "receipt".into(), why: error.to_string(), count: 1 };
                    self.take(Input::Refused(refused)).await;
                }
            },
            Came::Trust(said) => self.told_of_trust(*said).await,
            Came::Plugins(steered) => self.upgrade(UpgradeInput::Steered(steered)).await,
            Came::Connected => self.greet(),
        }
    }

    /// On each new connection everything that matters is said again.
    fn greet(&mut self) {
        let now = self.all.clock.now();
        if let Some(uplink) = &self.uplink {
            uplink.greet(now);
        }
        if let (Some(uplink), Some(mut report)) = (&self.uplink, self.all.device.report_at(now)) {
            report.journal = self.all.memory.head().seq;
            uplink.report(&report);
        }
        self.report_plugins();
    }

    /// Sends what is due: a sign of life, and records without a receipt.
    fn speak(&mut self) {
        let now = self.all.clock.now();
        let Some(uplink) = &mut self.uplink else { return };
        if self.next_beat <= now {
            self.next_beat = now.after(self.all.config.beat.millis());
            uplink.beat(self.all.device.health());
        }
        if uplink.wants_log(now) {
            match self.all.memory.unreceipted() {
                Some(batch) => uplink.log(now, &batch),
                // Else a receipt that is overdue, for what can't be read any more, would wake this loop without end.
                None => uplink.log_received(),
            }
        }
    }
}

async fn next_of(uplink: &mut Option<Uplink>) -> Option<backstay_link::Happening> {
    match uplink {
        Some(uplink) => uplink.next().await,
        None => std::future::pending().await,
    }
}

fn recorded(effect: &Effect) -> Option<&Event> {
    match effect {
        Effect::Record(event) => Some(event),
        Effect::Ask { .. }
        | Effect::Vet { .. }
        | Effect::Run { .. }
        | Effect::Abandon { .. }
        | Effect::Report(_) => None,
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness of the system devices may come back together; that is all that depends on it.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

async fn stop_asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
