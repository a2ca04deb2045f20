//! A cohort with its broker, its devices and its policy, in virtual time. The stories know it and not the API.
//!
//! A device here is a script: it follows the retained message as soon as it hears it, and its release turns out
//! as its `fate` says. The real device is in `device`; the two meet in the fleet simulation.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use backstay_model::{
    Action, Beat, BootId, Cause, CohortId, Decision, DeviceId, Digest, Direction, Event, Facts, Generation,
    Health, Label, Millis, Mono, Name, Permille, Reach, Reason, Release, Report, RolloutId, Selector,
    Standing, Steer, Version,
};

use super::{
    Cohort, CohortEffect, CohortInput, Contact, Helm, Overview, Plan, Reply, Rollout, Roster, Stage, Wish,
};

/// How often devices give a sign of life, and how fine time is.
const BEAT: Millis = Millis::from_secs(60);
const INSTALL: Millis = Millis::from_secs(120);
const TRIAL: Millis = Millis::from_secs(300);

/// What becomes of a release on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Settles,
    Fails,
    /// It can't be brought in for now.
    SitsOut,
    /// It is brought in for ever.
    Hangs,
}

/// How the policy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// Back after two windows with a fifth of failures; otherwise onward.
    Judges,
    Says(Action),
    Traps,
    IsMute,
}

pub(super) struct Gadget {
    pub(super) fate: Fate,
    install: Millis,
    pub(super) runs: Release,
    pub(super) confirmed: Release,
    standing: Standing,
    condemned: Vec<Digest>,
    labels: Vec<Label>,
    steer: Option<Steer>,
    sequence: u64,
    online: bool,
    mute: bool,
    nonce: u64,
    beats: u64,
    /// What comes next, and when.
    next: Option<Mono>,
}

pub(super) struct World {
    pub(super) now: Mono,
    pub(super) cohort: Cohort,
    pub(super) voice: Voice,
    pub(super) plan: Plan,
    pub(super) retained: Option<Steer>,
    pub(super) publishes: Vec<Steer>,
    pub(super) events: Vec<Event>,
    pub(super) gadgets: BTreeMap<DeviceId, Gadget>,
    pub(super) last_report: BTreeMap<DeviceId, Report>,
    /// Whether the broker carries anything.
    pub(super) connected: bool,
}

pub(super) fn release(version: &str) -> Release {
    let mut digest = [0; 32];
    for (byte, text) in digest.iter_mut().zip(version.bytes()) {
        *byte = text;
    }
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(digest),
        length: 1,
        security_epoch: 1,
    }
}

pub(super) fn device(n: usize) -> DeviceId {
    DeviceId::parse(&format!("pump-{n}")).unwrap()
}

pub(super) fn who() -> Name {
    Name::parse("ana").unwrap()
}

pub(super) fn rollout_id(name: &str) -> RolloutId {
    RolloutId::parse(name).unwrap()
}

pub(super) fn decision(action: Action) -> Decision {
    Decision { action, reasons: vec![Reason::new("as the story has it".into())] }
}

impl Gadget {
    fn report(&mut self, now: Mono) -> Report {
        self.sequence += 1;
        Report {
            sequence: self.sequence,
            at: now,
            boot: BootId(1),
            cohort: CohortId::parse("canary").unwrap(),
            steered: self.steer.as_ref().map(|steer| (steer.rollout.clone(), steer.generation)),
            booted: self.runs.clone(),
            confirmed: self.confirmed.clone(),
            standing: self.standing,
            health: Health::Good,
            condemned: self.condemned.clone(),
            journal: 0,
        }
    }

    /// Takes the retained message. Says whether there is news to report.
    fn hear(&mut self, id: &DeviceId, now: Mono, steer: &Steer) -> bool {
        if self.steer.as_ref().is_some_and(|known| known.generation >= steer.generation) {
            return false;
        }
        self.steer = Some(steer.clone());
        let on = self.runs.digest == steer.release.digest;
        match steer.direction {
            Direction::Home if on => {
                (self.standing, self.next) = (Standing::GoingHome, Some(now.after(BEAT)));
            }
            Direction::Forward
                if !on
                    && self.standing != Standing::Installing
                    && !self.condemned.contains(&steer.release.digest)
                    && steer.selector.means(&self.labels)
                    && Reach::to_hold(&steer.rollout, id) <= steer.reach =>
            {
                self.next = (self.fate != Fate::Hangs).then(|| now.after(self.install));
                self.standing = Standing::Installing;
                if self.fate == Fate::SitsOut {
                    (self.standing, self.next) = (Standing::Excluded, None);
                }
            }
            Direction::Forward | Direction::Hold | Direction::Home => {}
        }
        true
    }

    /// Does what is due. Says whether there is news to report.
    fn live(&mut self, now: Mono) -> bool {
        if self.next.is_none_or(|at| now < at) {
            return false;
        }
        let wanted = self.steer.as_ref().unwrap().release.clone();
        (self.standing, self.next) = match self.standing {
            Standing::Installing => {
                self.runs = wanted;
                (Standing::OnTrial, Some(now.after(TRIAL)))
            }
            Standing::OnTrial if self.fate == Fate::Fails => {
                self.condemned.push(wanted.digest);
                (Standing::GoingHome, Some(now.after(BEAT)))
            }
            Standing::OnTrial => {
                self.confirmed = wanted;
                (Standing::Settled, None)
            }
            Standing::GoingHome => {
                (self.runs, self.confirmed) = (release("1.4.0"), release("1.4.0"));
                (Standing::Settled, None)
            }
            standing @ (Standing::Settled | Standing::Frozen | Standing::Stranded | Standing::Excluded) => {
                (standing, None)
            }
        };
        true
    }
}

impl World {
    pub(super) fn new(devices: usize) -> Self {
        let mut world = Self {
            now: Mono(1000),
            cohort: Cohort::new(CohortId::parse("canary").unwrap()),
            voice: Voice::Judges,
            plan: Plan::default(),
            retained: None,
            publishes: vec![],
            events: vec![],
            gadgets: BTreeMap::new(),
            last_report: BTreeMap::new(),
            connected: true,
        };
        (0..devices).for_each(|n| world.joins(n, &[]));
        world
    }

    pub(super) fn joins(&mut self, n: usize, labels: &[&str]) {
        let labels: Vec<_> = labels.iter().map(|label| Label::parse(label).unwrap()).collect();
        let gadget = Gadget {
            fate: Fate::Settles,
            install: INSTALL,
            runs: release("1.4.0"),
            confirmed: release("1.4.0"),
            standing: Standing::Settled,
            condemned: vec![],
            labels: labels.clone(),
            steer: None,
            sequence: 0,
            online: false,
            mute: false,
            nonce: 0,
            beats: 0,
            next: None,
        };
        self.gadgets.insert(device(n), gadget);
        self.step(CohortInput::Enrolled { device: device(n), labels });
        self.comes(n);
    }

    pub(super) fn fate(&mut self, n: usize, fate: Fate) {
        self.gadgets.get_mut(&device(n)).unwrap().fate = fate;
    }

    /// The device is done with `version` after all, whatever its fate was.
    pub(super) fn settles(&mut self, n: usize, version: &str) {
        let gadget = self.gadgets.get_mut(&device(n)).unwrap();
        (gadget.runs, gadget.confirmed) = (release(version), release(version));
        (gadget.standing, gadget.next) = (Standing::Settled, None);
        self.tells(&device(n));
    }

    /// The device takes longer to bring something in than the others take in all.
    pub(super) fn is_slow(&mut self, n: usize) {
        self.gadgets.get_mut(&device(n)).unwrap().install = Millis::from_secs(500);
    }

    pub(super) fn all_fates(&mut self, fate: Fate) {
        self.gadgets.values_mut().for_each(|gadget| gadget.fate = fate);
    }

    /// The devices in the order in which waves reach them.
    pub(super) fn in_order(&self, rollout: &str) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.gadgets.len()).collect();
        order.sort_by_key(|&n| Reach::to_hold(&rollout_id(rollout), &device(n)));
        order
    }

    /// The device connects: presence, what is retained, its report.
    pub(super) fn comes(&mut self, n: usize) {
        let id = device(n);
        let gadget = self.gadgets.get_mut(&id).unwrap();
        gadget.online = true;
        gadget.nonce += 1;
        gadget.beats = 0;
        let nonce = gadget.nonce;
        self.step(CohortInput::Presence {
            device: id.clone(),
            nonce,
            began: self.now,
            contact: Contact::Online,
        });
        if let Some(steer) = self.retained.clone() {
            self.gadgets.get_mut(&id).unwrap().hear(&id, self.now, &steer);
        }
        self.tells(&id);
    }

    /// The device is cut off: the broker speaks in its name.
    pub(super) fn goes(&mut self, n: usize) {
        let gadget = self.gadgets.get_mut(&device(n)).unwrap();
        gadget.online = false;
        let (nonce, began) = (gadget.nonce, Mono(0));
        self.step(CohortInput::Presence { device: device(n), nonce, began, contact: Contact::Offline });
    }

    /// The device stays connected and gives no sign of life.
    pub(super) fn falls_silent(&mut self, n: usize) {
        self.gadgets.get_mut(&device(n)).unwrap().mute = true;
    }

    pub(super) fn speaks_again(&mut self, n: usize) {
        self.gadgets.get_mut(&device(n)).unwrap().mute = false;
        self.tells(&device(n));
    }

    fn tells(&mut self, id: &DeviceId) {
        let now = self.now;
        let gadget = self.gadgets.get_mut(id).unwrap();
        if !gadget.online || gadget.mute || !self.connected {
            return;
        }
        let (report, labels) = (gadget.report(now), gadget.labels.clone());
        self.last_report.insert(id.clone(), report.clone());
        self.step(CohortInput::Report { device: id.clone(), report, labels });
    }

    pub(super) fn rollout(&self, name: &str, version: &str) -> Rollout {
        Rollout {
            rollout: rollout_id(name),
            release: release(version),
            back: Some(release("1.4.0")),
            selector: Selector::All,
            policies: vec![],
            plan: self.plan.clone(),
        }
    }

    pub(super) fn starts(&mut self, name: &str, version: &str) {
        let rollout = self.rollout(name, version);
        self.step(CohortInput::Start { who: who(), rollout });
    }

    pub(super) fn wishes(&mut self, wish: Wish) {
        self.step(CohortInput::Operator { who: who(), wish, reason: None });
    }

    pub(super) fn step(&mut self, input: CohortInput) {
        for effect in self.cohort.step(self.now, input) {
            match effect {
                CohortEffect::Record(event) => self.events.push(event),
                CohortEffect::Publish(steer) => self.publish(steer),
                CohortEffect::Ask { ticket, facts } => {
                    if let Some(reply) = self.answer(&facts) {
                        self.step(CohortInput::Policy { ticket, reply });
                    }
                }
            }
        }
    }

    fn publish(&mut self, steer: Steer) {
        self.publishes.push(steer.clone());
        self.retained = Some(steer.clone());
        if !self.connected {
            return;
        }
        let ids: Vec<_> = self.gadgets.keys().cloned().collect();
        for id in ids {
            let gadget = self.gadgets.get_mut(&id).unwrap();
            if gadget.online && gadget.hear(&id, self.now, &steer) {
                self.tells(&id);
            }
        }
    }

    fn answer(&self, facts: &Facts) -> Option<Reply> {
        let ota = facts.objectives.first().unwrap();
        let bad = |window: &backstay_model::Window| {
            window.bad_share().expect("nobody asks without data") >= Permille::new(200).unwrap()
        };
        match &self.voice {
            Voice::Judges => {
                let streak = ota.candidate.iter().rev().take_while(|window| bad(window)).count();
                let action = if streak >= 2 {
                    Action::RollBack { how: backstay_model::How::AbortCanary }
                } else if streak == 1 {
                    Action::Slow { windows: 1 }
                } else {
                    Action::Proceed
                };
                Some(Reply::Decided(decision(action)))
            }
            Voice::Says(action) => Some(Reply::Decided(decision(action.clone()))),
            Voice::Traps => Some(Reply::Unanswered { why: "it trapped".into() }),
            Voice::IsMute => None,
        }
    }

    pub(super) fn waits(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.now = self.now.after(BEAT);
            let ids: Vec<_> = self.gadgets.keys().cloned().collect();
            for id in ids {
                let gadget = self.gadgets.get_mut(&id).unwrap();
                gadget.beats += 1;
                let beat = Beat { nonce: gadget.nonce, count: gadget.beats, health: Health::Good };
                let heard = gadget.online && !gadget.mute && self.connected;
                let news = gadget.live(self.now);
                if heard {
                    self.cohort.beat(self.now, &id, beat);
                }
                if news {
                    self.tells(&id);
                }
            }
            if self.cohort.deadline().is_some_and(|at| at <= self.now) {
                self.step(CohortInput::Tick);
            }
        }
    }

    pub(super) fn sees(&self) -> Overview {
        self.cohort.overview(self.now)
    }

    pub(super) fn stage(&self) -> Stage {
        self.sees().stage
    }

    /// How many devices run `version`.
    pub(super) fn run(&self, version: &str) -> usize {
        self.gadgets.values().filter(|gadget| gadget.runs == release(version)).count()
    }

    pub(super) fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| is(event)).count()
    }

    /// Directions in the order of their publishes, without repeats.
    pub(super) fn directions(&self) -> Vec<Direction> {
        let mut all: Vec<_> = self.publishes.iter().map(|steer| steer.direction).collect();
        all.dedup();
        all
    }

    pub(super) fn generations(&self) -> Vec<u64> {
        self.publishes.iter().map(|steer| steer.generation.0).collect()
    }

    /// The server loses its power and comes back with what was written down.
    pub(super) fn restarts(&mut self) {
        self.cohort = Cohort::restore(self.cohort.helm().clone(), self.cohort.roster().clone());
        self.step(CohortInput::Restarted);
    }

    /// The server comes back with nothing at all but its enrolments.
    pub(super) fn loses_everything(&mut self) {
        self.cohort = Cohort::new(CohortId::parse("canary").unwrap());
        let members: Vec<_> =
            self.gadgets.iter().map(|(id, gadget)| (id.clone(), gadget.labels.clone())).collect();
        for (device, labels) in members {
            self.step(CohortInput::Enrolled { device, labels });
        }
        self.hears_the_broker();
        let online: Vec<_> = (0..self.gadgets.len()).filter(|&n| self.gadgets[&device(n)].online).collect();
        online.into_iter().for_each(|n| self.comes(n));
    }

    /// The server comes back with a copy of what was written down once.
    pub(super) fn is_restored(&mut self, copy: Helm) {
        self.cohort = Cohort::restore(copy, Roster::default());
        let members: Vec<_> =
            self.gadgets.iter().map(|(id, gadget)| (id.clone(), gadget.labels.clone())).collect();
        for (device, labels) in members {
            self.step(CohortInput::Enrolled { device, labels });
        }
        // What it says then waits a moment, for what the broker has.
        let retained = self.retained.clone();
        self.step(CohortInput::Restarted);
        self.retained = retained;
    }

    /// The broker brings what it retains to the server.
    pub(super) fn hears_the_broker(&mut self) {
        if let Some(steer) = self.retained.clone() {
            self.step(CohortInput::OwnWords { steer, plan: self.plan.clone() });
        }
    }

    /// A device has followed this generation, as it says.
    pub(super) fn has_seen(&mut self, n: usize, generation: u64) {
        let id = device(n);
        let gadget = self.gadgets.get_mut(&id).unwrap();
        let mut report = gadget.report(self.now);
        report.steered = Some((rollout_id("r-seen"), Generation(generation)));
        let labels = gadget.labels.clone();
        self.step(CohortInput::Report { device: id, report, labels });
    }

    /// So many windows, in minutes.
    pub(super) fn windows(&self, count: u32) -> u64 {
        u64::from(count) * self.plan.window.0 / 60_000
    }

    pub(super) fn last_restraint(&self) -> Option<&Cause> {
        self.events
            .iter()
            .rev()
            .find_map(|event| if let Event::Restrained { rail, .. } = event { Some(rail) } else { None })
    }

    pub(super) fn last_refusal(&self) -> Option<String> {
        self.events.iter().rev().find_map(|event| {
            if let Event::Refused(refused) = event { Some(refused.why.to_string()) } else { None }
        })
    }
}
