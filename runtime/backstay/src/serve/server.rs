//! The server's state and the one order in which things happen to it: something comes in, `core` decides, the
//! decision is written down, and only then anybody hears of it.
//!
//! Here: performing what a cohort wants done, and what is due by the clock. In `calls`: what the API asks. In
//! `hearing`: what the broker brings. In `view`: what people see. Not here: a socket, a task, a clock (`driver`
//! has them), so all of it can be driven by a test; and no decision: those are `core`'s.

use std::collections::{BTreeMap, VecDeque};

use backstay_core::{Cohort, CohortEffect, CohortInput, Confidence, Plan, Reply, Roster};
use backstay_link::Outgoing;
use backstay_memory::{Durability, Trusted};
use backstay_model::{
    CohortId, DeviceId, Direction, Event, Facts, Handover, HandoverStep, Millis, Mono, Reason, TargetEvent,
    TargetStep, Ticket,
};
use backstay_plugins::{Consulted, Memos};
use backstay_trust::Keyring;
use backstay_wire::TopicKind;

use super::{
    archive::Archive,
    bundles::Bundles,
    catalogue::Catalogue,
    clock::Now,
    diary::Diary,
    director::Director,
    floors::Floors,
    judge::Ask,
    kept::{Keeper, State},
    lane::Lane,
    orders::Orders,
    post::{Due, Post, Topics},
    refusals::{Refusal, Refusals},
    register::{Member, Register},
    sighting::Sighting,
    targets::{Came, Targets, Todo, target_event},
    trust::Trust,
    verdicts::Verdicts,
};

/// How soon a state that could not be written down is tried again.
const RETRY: Millis = Millis::from_secs(10);

/// What a server is made of.
#[derive(Debug)]
pub(crate) struct Parts<D, P> {
    /// Who signs.
    pub(crate) director: Director,
    /// How rollouts go forward if nobody says more.
    pub(crate) plan: Plan,
    /// How often retained messages are signed afresh.
    pub(crate) refresh_every: Millis,
    /// Where everything is written down.
    pub(crate) diary: D,
    /// Who is asked.
    pub(crate) judge: P,
    /// Who is in the fleet.
    pub(crate) register: Register,
    /// The devices' journals.
    pub(crate) archive: Archive,
    /// What can be handed out.
    pub(crate) catalogue: Catalogue,
    /// Keeps what is decided.
    pub(crate) keeper: Keeper,
    /// How far devices' reports were heard.
    pub(crate) floors: Floors,
    /// How far their reports of plugins were.
    pub(crate) plugin_floors: Floors,
    /// The plugins that can be handed out.
    pub(crate) bundles: Bundles,
    /// Whom the fleet trusts by now.
    pub(crate) trusted: Trusted,
    /// What spreads what is tried again.
    pub(crate) seed: u64,
    /// Who signs what pipelines are told, if anybody does.
    pub(crate) verdicts: Option<Verdicts>,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Server<D, P> {
    pub(super) director: Director,
    pub(super) plan: Plan,
    pub(super) diary: D,
    pub(super) judge: P,
    pub(super) register: Register,
    pub(super) archive: Archive,
    pub(super) catalogue: Catalogue,
    keeper: Keeper,
    pub(super) floors: Floors,
    pub(super) plugin_floors: Floors,
    pub(super) bundles: Bundles,
    pub(super) trust: Trust,
    pub(super) verdicts: Option<Verdicts>,
    pub(super) targets: Targets,
    /// What policies remember of each lane, while the server runs.
    memos: BTreeMap<Lane, Memos>,
    pub(super) orders: Orders,
    pub(super) confidence: Confidence,
    pub(super) lanes: BTreeMap<Lane, Cohort>,
    /// Of enrolled devices only, so there are never more.
    pub(super) sightings: BTreeMap<DeviceId, Sighting>,
    pub(super) refusals: Refusals,
    pub(super) post: Post,
    durable: bool,
    retry_at: Option<Mono>,
}

impl<D: Diary, P: Ask> Server<D, P> {
    /// Goes on from `state`. `odd` is what was not as it should be, to be written down first.
    pub(crate) fn new(parts: Parts<D, P>, state: State, odd: Vec<Event>, now: Now) -> Self {
        let Parts {
            director,
            plan,
            refresh_every,
            diary,
            judge,
            register,
            archive,
            catalogue,
            keeper,
            floors,
            plugin_floors,
            bundles,
            trusted,
            verdicts,
            seed,
        } = parts;
        let State { helms, orders, confidence, seconded, targets } = state;
        let (targets, unread) = Targets::restore(targets, seed);
        let (trust, left_out) = Trust::new(trusted, seconded);
        let mut server = Self {
            director,
            plan,
            diary,
            judge,
            register,
            archive,
            catalogue,
            keeper,
            floors,
            plugin_floors,
            bundles,
            trust,
            verdicts,
            targets,
            memos: BTreeMap::new(),
            orders,
            confidence,
            lanes: helms
                .into_iter()
                .map(|(lane, helm)| (lane, Cohort::restore(helm, Roster::default())))
                .collect(),
            sightings: BTreeMap::new(),
            refusals: Refusals::default(),
            post: Post::new(now.mono, refresh_every),
            durable: true,
            retry_at: None,
        };
        server.record(now, &[odd, left_out.into_iter().chain(unread).map(degraded).collect()].concat());
        let equipped = server.judge.equipped();
        server.record(now, &equipped);
        let seated = server.judge.seat(&mut server.confidence);
        server.record(now, seated.as_slice());
        let members: Vec<_> = server.register.members().cloned().collect();
        for member in members {
            let instance = member.key_id().0.to_string();
            if let Err(error) = server.archive.know(&member.device, &instance) {
                tracing::warn!(%error, "a device's records can't be read");
            }
            let Member { device, cohort, labels, .. } = member;
            server.step_both(now, &cohort, &CohortInput::Enrolled { device, labels });
        }
        let lanes: Vec<Lane> = server.lanes.keys().cloned().collect();
        for lane in lanes {
            server.step(now, &lane, CohortInput::Restarted);
        }
        server
    }

    /// Does what the time asks for.
    pub(crate) fn tick(&mut self, now: Now) {
        if self.retry_at.is_some_and(|at| at <= now.mono) {
            let what = "the journal could not be written; this is the state since".to_owned();
            self.record(now, &[Event::Degraded { what }]);
        }
        let due = self.lanes.iter().filter(|(_, cohort)| cohort.deadline().is_some_and(|at| at <= now.mono));
        let due: Vec<Lane> = due.map(|(lane, _)| lane.clone()).collect();
        for lane in due {
            self.step(now, &lane, CohortInput::Tick);
        }
        let floors = [self.floors.deadline(), self.plugin_floors.deadline()];
        if floors.into_iter().flatten().any(|at| at <= now.mono) {
            self.note_floors();
        }
        self.tick_targets(now);
        self.dispatch(now);
    }

    /// Whom the fleet trusts by now.
    pub(crate) fn keyring(&self) -> &Keyring {
        self.director.keyring()
    }

    /// What is to be begun now that waits.
    pub(crate) fn todo(&mut self) -> Vec<Todo> {
        self.targets.todo().collect()
    }

    /// Something that was begun has come back.
    pub(crate) fn came(&mut self, now: Now, came: Came) {
        match came {
            Came::Effect(key, answer) => self.effect_ended(now, key, answer),
            Came::Measured(target, asked, numbers) => self.numbers_came(now, &target, &asked, numbers),
            Came::Paged(target, Ok(())) => tracing::info!(%target, "a person was told"),
            Came::Paged(target, Err(why)) => {
                self.targets.figures.page_failed();
                self.note(now, degraded(format!("nobody could be told about {target}: {why}")));
            }
        }
        self.dispatch(now);
    }

    /// The next moment at which [`Server::tick`] would change anything.
    pub(crate) fn deadline(&self) -> Mono {
        let lanes = self.lanes.values().filter_map(Cohort::deadline);
        let floors = [self.floors.deadline(), self.plugin_floors.deadline()].into_iter().flatten();
        lanes
            .chain(self.retry_at)
            .chain(floors)
            .chain(self.targets.deadline())
            .fold(self.post.deadline(), Mono::min)
    }

    /// Writes down how far devices' reports were heard: now and then, and when the server stops.
    pub(crate) fn note_floors(&mut self) {
        let heard = self.sightings.iter().filter_map(|(device, sighting)| {
            sighting.told().map(|told| (device.clone(), told.report.sequence))
        });
        let plugins = self.sightings.iter().filter_map(|(device, sighting)| {
            sighting.plugins().map(|told| (device.clone(), told.report.sequence))
        });
        for written in [self.floors.write(heard), self.plugin_floors.write(plugins)] {
            if let Err(error) = written {
                tracing::warn!(%error, "how far devices' reports were heard can't be written down");
            }
        }
    }

    /// What goes out now, in this order. What the broker doesn't take is told by [`Server::unsent`].
    pub(crate) fn outgoing(&mut self) -> Vec<Outgoing> {
        self.post.take()
    }

    /// The connection did not take something. All of it is said again in a while.
    pub(crate) fn unsent(&mut self, now: Now) {
        self.post.repair(now.mono);
    }

    /// Gives both lanes of a cohort an input.
    pub(super) fn step_both(&mut self, now: Now, cohort: &CohortId, input: &CohortInput) {
        for lane in Lane::both(cohort) {
            self.step(now, &lane, input.clone());
        }
    }

    /// Gives a lane an input, and does what it wants done, in order.
    pub(super) fn step(&mut self, now: Now, lane: &Lane, input: CohortInput) {
        let (mut inputs, mut consulted) = (VecDeque::from([input]), None);
        while let Some(input) = inputs.pop_front() {
            let new = || Cohort::new(lane.cohort.clone());
            let machine = self.lanes.entry(lane.clone()).or_insert_with(new);
            let effects = machine.step(now.mono, input);
            let record = |effect: &CohortEffect| match effect {
                CohortEffect::Record(event) => Some(event.clone()),
                CohortEffect::Publish(_) | CohortEffect::Ask { .. } => None,
            };
            // One commit for all of a step, and before anything else of it.
            let mut events: Vec<Event> = effects.iter().filter_map(record).collect();
            // With an answer goes the call that it came from, so that it can be made again.
            let call = consulted.take_if(|(ticket, _)| events.iter().any(|event| event.answers(*ticket)));
            events.extend(call.map(|(ticket, consulted): (Ticket, Consulted)| consulted.about(ticket)));
            let _in = tracing::info_span!("cohort", name = %lane).entered();
            self.record(now, &events);
            for effect in effects {
                match effect {
                    CohortEffect::Record(_) => {}
                    // What it says is looked up when it goes out: the newest counts.
                    CohortEffect::Publish(_) => self.post.steer(lane),
                    CohortEffect::Ask { ticket, facts } => {
                        let reply = self.ask(now, lane, &facts);
                        consulted = self.judge.consulted().map(|consulted| (ticket, consulted));
                        inputs.push_back(CohortInput::Policy { ticket, reply });
                    }
                }
            }
        }
    }

    /// Asks about a lane. What was decided before is what is remembered of this lane alone.
    fn ask(&mut self, now: Now, lane: &Lane, facts: &Facts) -> Reply {
        self.judge.exchange(self.memos.remove(lane).unwrap_or_default());
        let asked = self.judge.ask(now.mono, facts, &mut self.confidence);
        self.memos.insert(lane.clone(), self.judge.exchange(Memos::default()));
        self.record(now, &asked.events);
        match asked.answer {
            Ok(decision) => Reply::Decided(decision),
            Err(why) => Reply::Unanswered { why },
        }
    }

    /// Writes events down together with all that is decided, durably, and tells them.
    pub(super) fn record(&mut self, now: Now, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        events.iter().for_each(tell);
        let helms = self.lanes.iter().map(|(lane, cohort)| (lane, cohort.helm()));
        let written = self.targets.parts().and_then(|targets| {
            self.keeper.write(helms, &self.orders, &self.confidence, &self.trust.seconded, targets)
        });
        let durability = match written {
            Ok(snapshot) => self.diary.record(now.mono, events, Some(snapshot)),
            Err(why) if self.durable => Durability::Degraded(why),
            Err(_) => Durability::StillDegraded,
        };
        match durability {
            Durability::Durable => {
                self.keeper.durable();
                self.durable = true;
                self.retry_at = None;
                return;
            }
            Durability::Degraded(why) => {
                tracing::error!(
                    why,
                    "nothing can be written down; only holding and going home is still published"
                );
            }
            Durability::StillDegraded => {}
        }
        self.durable = false;
        self.retry_at = Some(now.mono.after(RETRY));
    }

    /// Writes one event down that changes nothing.
    pub(super) fn note(&mut self, now: Now, event: Event) {
        tell(&event);
        match self.diary.record(now.mono, &[event], None) {
            Durability::Durable | Durability::StillDegraded => {}
            Durability::Degraded(why) => tracing::error!(why, "nothing can be written down"),
        }
    }

    /// Counts something that changed nothing.
    pub(super) fn refuse(&mut self, now: Now, kind: Option<TopicKind>, what: &str, refusal: Refusal) {
        if let Some(refused) = self.refusals.count(kind, what, refusal) {
            self.note(now, Event::Refused(refused));
        }
    }

    /// Whether all that was decided is written down.
    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }

    /// Says everything again, as soon as it may be said.
    pub(super) fn say_all(&mut self) {
        for lane in self.lanes.keys() {
            self.post.steer(lane);
        }
        for (device, _) in self.orders.open() {
            self.post.order(device);
        }
        self.post.trust();
    }

    /// Signs what is due and hands it over, if it may be said now.
    pub(super) fn dispatch(&mut self, now: Now) {
        if self.post.wake(now.mono) == Due::Everything {
            self.say_all();
        }
        let Some(Topics { steers, orders, trust }) = self.post.due() else { return };
        if trust {
            self.say_trust(now);
        }
        for lane in steers {
            let Some(steer) = self.lanes.get(&lane).and_then(|cohort| cohort.helm().steer()) else {
                continue;
            };
            // Forward waits for the record. Hold and home only narrow: a full disk keeps nobody from going home.
            if steer.direction == Direction::Forward && !self.durable {
                self.post.steer(&lane);
                continue;
            }
            match self.steering(now, lane.channel, &steer) {
                Ok(outgoing) => self.post.send(outgoing),
                Err(why) => tracing::error!(cohort = %lane, %why, "cannot steer"),
            }
        }
        if !self.durable {
            orders.iter().for_each(|device| self.post.order(device));
            return;
        }
        let open: BTreeMap<_, _> =
            self.orders.open().filter(|(device, _)| orders.contains(*device)).collect();
        for (device, order) in open {
            match self.director.order(device, &order, now.unix) {
                Ok(outgoing) => self.post.send(outgoing),
                Err(why) => tracing::error!(%device, %why, "cannot tell"),
            }
        }
    }
}

/// Each event is told once, here.
fn tell(event: &Event) {
    if let Some(event) = target_event(event) {
        return tell_of_target(&event);
    }
    match event {
        Event::Refused(_)
        | Event::Unanswered { .. }
        | Event::Restrained { .. }
        | Event::Condemned { .. }
        | Event::Froze { .. }
        | Event::Turned { .. }
        | Event::BreakerOpened { .. }
        | Event::Degraded { .. }
        | Event::Gap { .. }
        | Event::Stranded { .. }
        | Event::Quarantined { .. }
        | Event::BroughtDown { .. }
        | Event::Handover(Handover {
            step: HandoverStep::Differs { .. } | HandoverStep::Refused { .. },
            ..
        }) => tracing::warn!("{event}"),
        Event::Handover(_) => tracing::info!("{event}"),
        Event::Started { .. }
        | Event::Steered { .. }
        | Event::Asked { .. }
        | Event::Decided { .. }
        | Event::Ordered { .. }
        | Event::Ended { .. }
        | Event::TrialBegan { .. }
        | Event::Confirmed { .. }
        | Event::CameHome { .. }
        | Event::Thawed { .. }
        | Event::Excluded(_)
        | Event::Waits { .. }
        | Event::Cured { .. }
        | Event::WaveOpened { .. }
        | Event::Completed { .. }
        | Event::BreakerClosed
        | Event::Enrolled { .. }
        | Event::EffectBegan { .. }
        | Event::EffectEnded { .. }
        | Event::Override { .. }
        | Event::Told { .. }
        | Event::RunTaken { .. }
        | Event::Equipped(_)
        | Event::Consulted { .. }
        | Event::Stepped { .. }
        | Event::Upgrade(_)
        | Event::Target(_)
        | Event::Reset { .. }
        | Event::Captured { .. }
        | Event::Trusts { .. } => tracing::info!("{event}"),
    }
}

/// The same of a target. Which it is, and which incident, the span says that it is told in.
fn tell_of_target(event: &TargetEvent) {
    match &event.step {
        TargetStep::Paged { .. } | TargetStep::Froze { .. } | TargetStep::RunFailed { .. } => {
            tracing::warn!("{event}");
        }
        TargetStep::Asked { .. } => tracing::debug!("{event}"),
        TargetStep::Watched { .. }
        | TargetStep::Unwatched
        | TargetStep::Deployed { .. }
        | TargetStep::Confirmed { .. }
        | TargetStep::Quarantined { .. }
        | TargetStep::Lifted { .. }
        | TargetStep::Opened { .. }
        | TargetStep::Closed { .. }
        | TargetStep::Ordered { .. }
        | TargetStep::CameHome { .. }
        | TargetStep::Restrained { .. }
        | TargetStep::Thawed { .. }
        | TargetStep::BreakerOpened { .. }
        | TargetStep::BreakerClosed { .. }
        | TargetStep::Cured { .. }
        | TargetStep::Waits { .. }
        | TargetStep::Labelled { .. }
        | TargetStep::Override { .. }
        | TargetStep::Migration { .. }
        | TargetStep::Distrusted { .. }
        | TargetStep::SetUp { .. } => tracing::info!("{event}"),
    }
}

/// Something of our own that did not work, as an event.
pub(super) fn degraded(what: impl ToString) -> Event {
    Event::Degraded { what: Reason::new(what.to_string()).0 }
}
