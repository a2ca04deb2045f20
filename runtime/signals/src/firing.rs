//! Which alerts are on, over all messages of Alertmanager.
//!
//! Alertmanager repeats an alert that stays on, and says once that it is over. Both words can be lost, so each holds
//! for a time only, and silence is no data: an Alertmanager that is gone sends nothing either.
//!
//! Not here: the messages (`alert`).

use std::collections::BTreeMap;

use backstay_model::{Infra, InfraKind, Millis, Mono, TargetId};

use crate::{Alert, AlertName, AlertState, Answer, Fingerprint, Finite, Meaning, NoData};

/// What was last said of each alert.
#[derive(Clone, Debug)]
pub struct Firing {
    holds: Millis,
    heard: BTreeMap<Fingerprint, Heard>,
}

#[derive(Clone, Debug)]
struct Heard {
    at: Mono,
    alert: Alert,
}

impl Firing {
    /// The most alerts that are remembered. Beyond it the one that was heard of longest ago goes.
    pub const ALERTS_MAX: usize = 4096;

    /// Nothing was heard yet. What is heard holds for `holds`: more than Alertmanager's `repeat_interval`.
    #[must_use]
    pub fn new(holds: Millis) -> Self {
        Self { holds, heard: BTreeMap::new() }
    }

    /// Takes what a message says at `now`.
    pub fn hear(&mut self, now: Mono, alerts: Vec<Alert>) {
        self.heard.retain(|_, heard| now.since(heard.at) <= self.holds);
        for alert in alerts {
            self.heard.insert(alert.fingerprint.clone(), Heard { at: now, alert });
        }
        while self.heard.len() > Self::ALERTS_MAX {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| heard.at).map(|(which, _)| which.clone());
            let Some(oldest) = oldest else { break };
            self.heard.remove(&oldest);
        }
    }

    /// A target's trouble with machines: each alert that is on counts once.
    #[must_use]
    pub fn infra(&self, now: Mono, service: &TargetId) -> Vec<Infra> {
        let mut infra: Vec<Infra> = Vec::new();
        for alert in self.about(now, service).filter(|alert| alert.state == AlertState::Firing) {
            let Meaning::Infra(kind) = alert.meaning else { continue };
            match infra.iter_mut().find(|seen: &&mut Infra| seen.kind == kind) {
                Some(seen) => seen.count = seen.count.saturating_add(1),
                None => infra.push(Infra { kind, count: 1 }),
            }
        }
        infra.sort_by_key(|infra| order(infra.kind));
        infra
    }

    /// Whether a target's alert is on: 1 while any of that name is, 0 once all that were heard of are over.
    ///
    /// # Errors
    /// Nothing was heard of it, or too long ago.
    pub fn answer(&self, now: Mono, service: &TargetId, name: &AlertName) -> Answer {
        let mut about = self
            .about(now, service)
            .filter(|alert| matches!(&alert.meaning, Meaning::Objective(meant) if meant == name))
            .peekable();
        if about.peek().is_none() {
            return Err(NoData::NotAsked);
        }
        let is_on = about.any(|alert| alert.state == AlertState::Firing);
        Finite::new(if is_on { 1.0 } else { 0.0 }).ok_or(NoData::NotFinite)
    }

    fn about(&self, now: Mono, service: &TargetId) -> impl Iterator<Item = &Alert> {
        self.heard
            .values()
            .filter(move |heard| now.since(heard.at) <= self.holds && heard.alert.service == *service)
            .map(|heard| &heard.alert)
    }
}

/// So that the same trouble is always told in the same order.
fn order(kind: InfraKind) -> u8 {
    match kind {
        InfraKind::ProcessExited => 0,
        InfraKind::OutOfMemory => 1,
        InfraKind::MachineLost => 2,
        InfraKind::Disk => 3,
        InfraKind::Network => 4,
    }
}
