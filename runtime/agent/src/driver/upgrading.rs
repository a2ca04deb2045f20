//! Plugins that come by steering: fetched, loaded, and asked in the order that the core says.
//!
//! Not here: which bundle when (`core`: `Upgrade`), whether it may run (`trust`), where it is kept (`bundles`), and who is
//! asked a question (`plugins`).

use backstay_config::Span;
use backstay_core::{Bundle, Fetched, Input, UpgradeEffect, UpgradeInput, Wanted};
use backstay_hands::spawn;
use backstay_host::{Executor, Policy};
use backstay_model::{Digest, Event, PluginRole, Reason, Release, Ticket, causes};
use backstay_plugins::{Judge, LoadError, Loader, Ready, Tier, floors_after, terms};
use backstay_trust::GrantedPlugin;

use super::{Done, Loop};
use crate::{bundles::Missing, trust::keyring_at};

/// A plugin that may be asked, until the core says how.
#[derive(Debug)]
pub(super) enum Loaded {
    Policy(Box<Ready<Policy>>),
    Executor(Box<Ready<Executor>>),
}

impl Loop {
    /// Gives an input to the core of upgrades, and does what it wants done.
    pub(super) async fn upgrade(&mut self, input: UpgradeInput) {
        let effects = self.step_upgrade(input);
        self.record(&recorded(&effects));
        for effect in &effects {
            if let UpgradeEffect::Refuse(refused) = effect {
                self.take(Input::Refused(refused.clone())).await;
            }
        }
        self.act(effects);
    }

    /// The same in two steps, for what has to be durable together with something else.
    pub(super) fn step_upgrade(&mut self, input: UpgradeInput) -> Vec<UpgradeEffect> {
        let (now, retries) = (self.all.clock.now(), self.all.config.retries());
        self.all.upgrade.step(now, &retries, input)
    }

    /// Makes what happened to plugins durable, together with what that means for an upgrade, and does what follows.
    pub(super) fn record_of_plugins(&mut self, mut events: Vec<Event>) {
        let goes_on = self.all.confidence.succession.standing().is_some();
        let mut effects = Vec::new();
        for event in &events {
            if let Some(input) = heard(event, goes_on) {
                effects.append(&mut self.step_upgrade(input));
            }
        }
        events.append(&mut recorded(&effects));
        self.record(&events);
        self.act(effects);
    }

    /// Does what was recorded.
    pub(super) fn act(&mut self, effects: Vec<UpgradeEffect>) {
        let mut reports = false;
        for effect in effects {
            match effect {
                // Durable by now; and only a message that came is ever refused.
                UpgradeEffect::Record(_) | UpgradeEffect::Refuse(_) => {}
                UpgradeEffect::Fetch { ticket, bundle } => self.fetch_bundle(ticket, bundle),
                UpgradeEffect::Try(bundle) => self.try_out(&bundle),
                UpgradeEffect::Promote(bundle) => self.promote(&bundle),
                UpgradeEffect::Dismiss(bundle) => self.dismiss(&bundle),
                UpgradeEffect::Report => reports = true,
            }
        }
        if reports {
            self.report_plugins();
        }
    }

    /// Says which plugins there are, if anybody listens.
    pub(super) fn report_plugins(&mut self) {
        let (now, journal) = (self.all.clock.now(), self.all.memory.head().seq);
        let handover = self.all.confidence.succession.standing();
        let report = self.all.upgrade.report_at(now, journal, handover);
        if let (Some(uplink), Some(report)) = (&self.uplink, report) {
            uplink.report_plugins(&report);
        }
    }

    fn fetch_bundle(&mut self, ticket: Ticket, bundle: Release) {
        let (bundles, fetch, done) = (self.all.bundles.clone(), self.all.fetch.clone(), self.done.clone());
        let fetching = spawn(async move {
            let came = bundles.get(fetch, &bundle).await;
            let _ = done.send(Done::Bundle { ticket, bundle: bundle.digest, came }).await;
        });
        // One at a time: the one before is not waited for any more.
        if let Some(before) = self.fetching.replace(fetching.abort_handle()) {
            before.abort();
        }
    }

    /// A bundle is here, or isn't. It is loaded before anything is said of it, and not even that if nobody waits for it.
    pub(super) async fn bundle_came(&mut self, ticket: Ticket, bundle: Digest, came: Result<(), Missing>) {
        let fetched = match came {
            _ if !self.all.upgrade.awaits(ticket) => Fetched::CalledOff,
            Ok(()) => self.load_bundle(&bundle),
            Err(Missing { transience, why }) => Fetched::Not { transience, why: Reason::new(why).0 },
        };
        self.upgrade(UpgradeInput::Fetched { ticket, fetched }).await;
        // Nobody wants it any more.
        self.loaded = None;
        self.tidy_bundles();
    }

    fn load_bundle(&mut self, bundle: &Digest) -> Fetched {
        // Whether anything was heard of trust lately is looked at now: a new grant is taken on nothing older.
        let unheard_max = self.all.config.trust.unheard_max.map(Span::millis);
        let now = self.all.clock.now();
        let keyring = keyring_at(&self.all.trust, self.all.heard, now, unheard_max);
        let loader = Loader {
            tier: Tier::Device,
            engine: &self.all.engine,
            keyring: &keyring,
            floors: &self.all.floors,
            attested: self.attested(),
            mark: self.all.mark.clone(),
            held: Some(&self.all.confidence),
        };
        let (path, config) = (self.all.bundles.path(bundle), &self.all.config);
        let loaded = loader.role(&path).and_then(|role| match role {
            PluginRole::Policy => Ok(Loaded::Policy(Box::new(loader.policy(&path, &config.policy)?))),
            PluginRole::Executor => Ok(Loaded::Executor(Box::new(loader.executor(&path, &config.executor)?))),
        });
        match loaded {
            Ok(loaded) => {
                let equipped = loaded.equipped();
                let (plugin, role, grant) = (equipped.plugin.clone(), equipped.role, equipped.grant);
                let decides =
                    self.all.judge.as_ref().is_some_and(|judge| judge.decides(&self.all.confidence));
                self.loaded = Some(loaded);
                // What an executor does can't be done twice to compare.
                Fetched::Ready { plugin, role, grant, rival: role == PluginRole::Policy && decides }
            }
            Err(error) => unusable(&error),
        }
    }

    /// Before the first call it has to be known what is called, and which grant was accepted.
    fn equip(&mut self) -> Option<Loaded> {
        let loaded = self.loaded.take()?;
        let mut all: Vec<&GrantedPlugin> = self.all.executors.iter().map(|ready| &ready.granted).collect();
        if let Some(judge) = &self.all.judge {
            all.extend(judge.granted());
        }
        all.push(loaded.granted());
        self.all.floors = floors_after(std::mem::take(&mut self.all.floors), all);
        self.record(&[Event::Equipped(loaded.equipped().clone())]);
        Some(loaded)
    }

    fn try_out(&mut self, bundle: &Bundle) {
        if let Some(Loaded::Policy(ready)) = self.equip() {
            debug_assert_eq!(ready.granted.grant(), &bundle.grant);
            let terms = terms(&self.all.config.policy);
            let judge = self.all.judge.get_or_insert_with(Judge::empty);
            judge.try_out(*ready, terms);
        }
        self.seat_again();
    }

    fn promote(&mut self, bundle: &Bundle) {
        match self.equip() {
            Some(Loaded::Executor(ready)) => {
                // The newest comes first; who is at work stays where it was.
                self.all.executors.insert(0, *ready);
                for (_, at) in self.run.iter_mut() {
                    *at += 1;
                }
                for (_, at) in self.picked.iter_mut() {
                    *at += 1;
                }
            }
            Some(Loaded::Policy(ready)) => {
                self.all.judge.get_or_insert_with(Judge::empty).appoint(*ready);
            }
            None => {
                if let Some(judge) = &mut self.all.judge {
                    judge.promote(&bundle.grant);
                }
            }
        }
        self.seat_again();
        self.tidy_bundles();
    }

    fn dismiss(&mut self, bundle: &Bundle) {
        if let Some(judge) = &mut self.all.judge {
            judge.dismiss(&bundle.grant);
        }
        if let Some(at) = self.executor_at(&bundle.grant) {
            // A run that it has begun it brings to its end.
            let works = self.run.as_ref().is_some_and(|(_, works)| *works == at);
            if works || self.picked.as_ref().is_some_and(|(_, picked)| *picked == at) {
                self.outgoing = Some(bundle.grant);
            } else {
                self.remove_executor(at);
            }
        }
        self.seat_again();
        self.tidy_bundles();
    }

    /// The oldest of a grant: the same one may have come again.
    fn executor_at(&self, grant: &Digest) -> Option<usize> {
        self.all.executors.iter().rposition(|ready| ready.granted.grant() == grant)
    }

    fn remove_executor(&mut self, at: usize) {
        self.all.executors.remove(at);
        let behind = self.run.iter_mut().map(|(_, works)| works);
        for works in
            behind.chain(self.picked.iter_mut().map(|(_, picked)| picked)).filter(|works| **works > at)
        {
            *works -= 1;
        }
    }

    /// The run of an executor that was dismissed has ended.
    pub(super) fn see_off(&mut self) {
        if let Some(at) = self.outgoing.take().and_then(|grant| self.executor_at(&grant)) {
            self.remove_executor(at);
            self.tidy_bundles();
        }
    }

    /// A trial that has nobody to be compared with any more would never end.
    pub(super) fn mind_the_trial(&mut self) {
        let decides = self.all.judge.as_ref().is_none_or(|judge| judge.decides(&self.all.confidence));
        if self.all.upgrade.is_trying() && !decides {
            let effects = self.step_upgrade(UpgradeInput::Alone);
            self.record(&recorded(&effects));
            self.act(effects);
        }
    }

    /// Who came or went has the turns looked at again.
    pub(super) fn seat_again(&mut self) {
        let seated = self.seat();
        self.record_of_plugins(seated.into_iter().collect());
        self.mind_the_trial();
    }

    /// Removes the bundles that nobody needs any more.
    pub(super) fn tidy_bundles(&self) {
        let Wanted { trusted, on_trial, fetched } = self.all.upgrade.wanted();
        let mut used: Vec<Digest> = self.all.executors.iter().map(|ready| ready.bundle.digest).collect();
        for (_, bundle) in &trusted {
            used.push(bundle.release.digest);
        }
        used.extend(on_trial.map(|bundle| bundle.release.digest));
        used.extend(fetched);
        let works = self.all.executors.iter().map(|ready| *ready.plugin.grant());
        let runs: Vec<Digest> = works.chain(self.all.device.state().run_taken_by()).collect();
        self.all.bundles.retain(&used, &runs);
    }
}

impl Loaded {
    fn equipped(&self) -> &backstay_model::Equipped {
        match self {
            Self::Policy(ready) => &ready.equipped,
            Self::Executor(ready) => &ready.equipped,
        }
    }

    fn granted(&self) -> &GrantedPlugin {
        match self {
            Self::Policy(ready) => &ready.granted,
            Self::Executor(ready) => &ready.granted,
        }
    }
}

/// What an event of plugins says to the core of upgrades. `goes_on`: whether a handover is under way after it.
#[expect(clippy::wildcard_enum_match_arm, reason = "of all events these are about who is asked")]
pub(crate) fn heard(event: &Event, goes_on: bool) -> Option<UpgradeInput> {
    match event {
        Event::Handover(handover) => {
            Some(UpgradeInput::Handover { grant: handover.grant, step: handover.step.clone(), goes_on })
        }
        Event::Quarantined { grant, why, .. } => {
            Some(UpgradeInput::Quarantined { grant: *grant, why: why.clone() })
        }
        _ => None,
    }
}

/// What is to be written down of effects.
pub(crate) fn recorded(effects: &[UpgradeEffect]) -> Vec<Event> {
    let recorded = effects.iter().filter_map(|effect| match effect {
        UpgradeEffect::Record(event) => Some(event.clone()),
        UpgradeEffect::Refuse(_)
        | UpgradeEffect::Fetch { .. }
        | UpgradeEffect::Try(_)
        | UpgradeEffect::Promote(_)
        | UpgradeEffect::Dismiss(_)
        | UpgradeEffect::Report => None,
    });
    recorded.collect()
}

/// What an error in loading says of a bundle.
fn unusable(error: &LoadError) -> Fetched {
    let (why, transience) = (Reason::new(causes::in_one_line(error)).0, error.transience());
    if error.is_unfit() {
        Fetched::Unfit { grant: error.out(), why }
    } else {
        Fetched::Not { transience, why }
    }
}
