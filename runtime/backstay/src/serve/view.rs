//! What people see: reported, booted and confirmed kept apart, each with its age. Not here: what is kept from being used
//! (`held_back`).

use backstay_api::{
    BreakerState, BreakerView, CohortView, DeviceView, EventView, FleetView, HealthView, PendingView,
    PluginView, PluginsView, Proof, ReleaseView,
};
use backstay_core::{Cohort, Overview, Stage};
use backstay_model::{Breaker, Channel, DeviceId, Direction, Event, Mono, Reach, Release};

use super::{
    bundles::Published, clock::Now, diary::Diary, judge::Ask, lane::Lane, register::Member, server::Server,
    sighting::Doing, targets::target_event,
};

/// The most records in one answer; who wants more asks again from the last.
pub(super) const EVENTS_MAX: usize = 1000;

impl<D: Diary, P: Ask> Server<D, P> {
    /// All that is known.
    pub(super) fn fleet_view(&self, now: Now) -> FleetView {
        FleetView {
            fleet: self.director.fleet().to_string(),
            cohorts: self
                .lanes
                .iter()
                // Of plugins there is something to see once they were steered.
                .filter(|(lane, cohort)| lane.channel == Channel::Product || cohort.helm().steer().is_some())
                .map(|(lane, cohort)| cohort_view(lane.channel, &cohort.overview(now.mono)))
                .collect(),
            devices: self.register.members().map(|member| self.device_view(now, member)).collect(),
        }
    }

    /// One cohort on one channel.
    pub(super) fn lane_view(&self, now: Now, lane: &Lane) -> Option<CohortView> {
        self.lanes.get(lane).map(|cohort| cohort_view(lane.channel, &cohort.overview(now.mono)))
    }

    /// The releases that can be handed out.
    pub(super) fn release_views(&self) -> Vec<ReleaseView> {
        let view = |(release, artifact): (&backstay_trust::VerifiedRelease, bool)| ReleaseView {
            release: release.release().clone(),
            hardware: release.hardware().to_vec(),
            home: release.way_home().0.clone(),
            artifact,
        };
        self.catalogue.all().map(view).collect()
    }

    /// The plugins that can be handed out.
    pub(super) fn plugin_views(&self) -> Vec<PluginView> {
        self.bundles.all().map(Published::view).collect()
    }

    /// All cohorts' promotion breakers.
    pub(super) fn breaker_views(&self, now: Now) -> Vec<BreakerView> {
        let view = |(lane, machine): (&Lane, &Cohort)| {
            let (state, left_ms) = match machine.helm().breaker().at(now.mono) {
                Breaker::Closed => (BreakerState::Closed, None),
                Breaker::HalfOpen => (BreakerState::HalfOpen, None),
                Breaker::Open { left } => (BreakerState::Open, Some(left.0)),
            };
            BreakerView { cohort: lane.cohort.clone(), channel: lane.channel, state, left_ms }
        };
        // A breaker of plugins that were never steered is closed, and nobody asks.
        let steered = |(lane, machine): &(&Lane, &Cohort)| {
            lane.channel == Channel::Product || machine.helm().steer().is_some()
        };
        self.lanes.iter().filter(steered).map(view).collect()
    }

    /// Who waits for a yes.
    pub(super) fn pending_views(&self, now: Now) -> Vec<PendingView> {
        let pending = self.register.pending();
        let view = pending.map(|(key, pending)| PendingView {
            fingerprint: key.0,
            hardware: pending.hardware.clone(),
            waits_ms: now.mono.since(pending.since).0,
        });
        view.collect()
    }

    /// The server's own records after one.
    pub(super) fn event_views(&self, after: u64) -> Vec<EventView> {
        let told =
            |event: &Event| target_event(event).map_or_else(|| event.to_string(), |event| event.to_string());
        let entries = self.diary.after(after, EVENTS_MAX).into_iter();
        entries.map(|(seq, entry)| EventView { seq, at_ms: entry.at.0, what: told(&entry.event) }).collect()
    }

    fn device_view(&self, now: Now, member: &Member) -> DeviceView {
        let age = |at: Mono| now.mono.since(at).0;
        let sighting = self.sightings.get(&member.device);
        let told = sighting.and_then(|sighting| sighting.told());
        let doing = sighting.and_then(|sighting| sighting.doing());
        let (journal_from, journal) = self.archive.have(&member.device);
        let proof = |release: &Release, at| Proof { release: release.clone(), age_ms: age(at) };
        DeviceView {
            device: member.device.clone(),
            cohort: member.cohort.clone(),
            labels: member.labels.clone(),
            key: member.key_id().0,
            online: sighting.is_some_and(|sighting| sighting.is_online()),
            heard_ms: sighting.and_then(|sighting| sighting.heard_at()).map(age),
            wanted: self
                .lanes
                .get(&Lane::new(&member.cohort, Channel::Product))
                .and_then(|cohort| wanted(cohort, member, told.map(|told| &told.report.booted))),
            booted: told.map(|told| proof(&told.report.booted, told.booted)),
            confirmed: told.map(|told| proof(&told.report.confirmed, told.confirmed)),
            standing: told.map(|told| told.report.standing),
            health: told.map(|told| told.report.health),
            health_now: doing.map(|Doing { health, at, signed }| HealthView {
                health,
                age_ms: age(at),
                signed,
            }),
            condemned: told.map(|told| told.report.condemned.clone()).unwrap_or_default(),
            journal,
            journal_from,
            journal_told: told.map_or(0, |told| told.report.journal),
            plugins: sighting.and_then(|sighting| sighting.plugins()).map(|told| PluginsView {
                runs: told.report.runs.clone(),
                trusted: told.report.trusted.clone(),
                standing: told.report.standing,
                condemned: told.report.condemned.clone(),
                compared: told.report.compared,
                age_ms: age(told.at),
            }),
        }
    }
}

/// What steering wants a device to run, if it means it: the same that the device works out.
fn wanted(cohort: &Cohort, member: &Member, booted: Option<&Release>) -> Option<Release> {
    let steer = cohort.helm().steer()?;
    let reached = |device: &DeviceId| Reach::to_hold(&steer.rollout, device) <= steer.reach;
    match steer.direction {
        Direction::Forward => {
            (steer.selector.means(&member.labels) && reached(&member.device)).then_some(steer.release)
        }
        Direction::Home => booted.filter(|booted| booted.digest == steer.release.digest).and(steer.back),
        Direction::Hold => None,
    }
}

fn cohort_view(channel: Channel, view: &Overview) -> CohortView {
    CohortView {
        cohort: view.cohort.clone(),
        channel,
        rollout: view.rollout.clone(),
        release: view.release.clone(),
        back: view.back.clone(),
        direction: view.direction,
        phase: phase(view),
        generation: view.generation.0,
        frozen: view.frozen.is_some(),
        devices: view.devices,
        reached: view.reached,
        confirmed: view.confirmed,
        on_trial: view.on_release.on_trial,
        failed: view.failed,
        excluded: view.excluded,
        breaker_ms: match view.breaker {
            Breaker::Open { left } => Some(left.0),
            Breaker::Closed | Breaker::HalfOpen => None,
        },
    }
}

fn phase(view: &Overview) -> String {
    let wave =
        || view.wave.map(|wave| format!("wave {} of {}", wave.number + 1, wave.of)).unwrap_or_default();
    let because = || view.frozen.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match view.stage {
        Stage::Idle => "idle".into(),
        Stage::Forward => wave(),
        Stage::Held => format!("held in {}{}", wave(), because()),
        Stage::Arrived => "complete".into(),
        Stage::Ended => "ended by hand".into(),
        Stage::Home if view.frozen.is_some() => format!("turned home, frozen{}", because()),
        Stage::Home => "turned home".into(),
    }
}
