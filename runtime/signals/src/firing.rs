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
        for Heard { alert, .. } in self.about(now, service) {
            let (Meaning::Infra(kind), AlertState::Firing) = (&alert.meaning, alert.state) else { continue };
            let kind = *kind;
            match infra.iter_mut().find(|seen| seen.kind == kind) {
                Some(seen) => seen.count = seen.count.saturating_add(1),
                None => infra.push(Infra { kind, count: 1 }),
            }
        }
        infra.sort_by_key(|infra| order(infra.kind));
        infra
    }

    /// Whether a target's alert is on: 1 while any of that name is, 0 if within the last `span` one was said to be over
    /// and none is on.
    ///
    /// # Errors
    /// Nothing was heard of it, or too long ago. That an alert was over once says nothing of now.
    pub fn answer(&self, now: Mono, span: Millis, service: &TargetId, name: &AlertName) -> Answer {
        let is_meant = |heard: &&Heard| {
            matches!(&heard.alert.meaning, Meaning::Objective(meant) if meant == name)
                && (heard.alert.state == AlertState::Firing || now.since(heard.at) <= span)
        };
        let about: Vec<&Heard> = self.about(now, service).filter(is_meant).collect();
        if about.is_empty() {
            return Err(NoData::NotAsked);
        }
        let is_on = about.iter().any(|heard| heard.alert.state == AlertState::Firing);
        Ok(Finite::from_bool(is_on))
    }

    fn about(&self, now: Mono, service: &TargetId) -> impl Iterator<Item = &Heard> {
        self.heard
            .values()
            .filter(move |heard| now.since(heard.at) <= self.holds && heard.alert.service == *service)
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDS: Millis = Millis::from_secs(3600);
    const SPAN: Millis = Millis::from_secs(60);

    fn checkout() -> TargetId {
        TargetId::parse("checkout").unwrap()
    }

    fn alert(fingerprint: &str, state: AlertState, meaning: Meaning) -> Alert {
        let fingerprint = Fingerprint::parse(fingerprint).unwrap();
        Alert { fingerprint, service: checkout(), state, meaning }
    }

    fn secs(secs: u64) -> Mono {
        Mono(secs * 1000)
    }

    #[test]
    fn trouble_counts_once_for_each_alert_until_it_is_over() {
        let mut firing = Firing::new(HOLDS);
        let disk = |which, state| alert(which, state, Meaning::Infra(InfraKind::Disk));
        firing.hear(secs(0), vec![disk("a", AlertState::Firing), disk("b", AlertState::Firing)]);
        firing.hear(secs(1), vec![disk("a", AlertState::Firing)]);
        assert_eq!(firing.infra(secs(2), &checkout()), [Infra { kind: InfraKind::Disk, count: 2 }]);
        assert_eq!(firing.infra(secs(2), &TargetId::parse("search").unwrap()), []);
        firing.hear(secs(3), vec![disk("a", AlertState::Resolved)]);
        assert_eq!(firing.infra(secs(4), &checkout()), [Infra { kind: InfraKind::Disk, count: 1 }]);
    }

    /// The word that it is over was lost, and so was Alertmanager.
    #[test]
    fn an_alert_that_nobody_repeats_is_forgotten() {
        let mut firing = Firing::new(HOLDS);
        firing.hear(secs(0), vec![alert("a", AlertState::Firing, Meaning::Infra(InfraKind::Network))]);
        assert_eq!(firing.infra(secs(3600), &checkout()).len(), 1);
        assert_eq!(firing.infra(secs(3601), &checkout()), []);
    }

    #[test]
    fn silence_is_no_data_and_what_was_over_once_says_nothing_of_now() {
        let name = AlertName::parse("ErrorsHigh").unwrap();
        let errors = |state| vec![alert("a", state, Meaning::Objective(name.clone()))];
        let mut firing = Firing::new(HOLDS);
        let asked =
            |firing: &Firing, now| firing.answer(secs(now), SPAN, &checkout(), &name).map(Finite::get);
        assert_eq!(asked(&firing, 0), Err(NoData::NotAsked));
        firing.hear(secs(0), errors(AlertState::Firing));
        assert_eq!(asked(&firing, 1800), Ok(1.0));
        firing.hear(secs(2000), errors(AlertState::Resolved));
        assert_eq!(asked(&firing, 2060), Ok(0.0));
        assert_eq!(asked(&firing, 2061), Err(NoData::NotAsked));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes() {
        let mut firing = Firing::new(HOLDS);
        for at in 0..Firing::ALERTS_MAX as u64 + 10 {
            let disk = Meaning::Infra(InfraKind::Disk);
            firing.hear(Mono(at), vec![alert(&format!("f{at}"), AlertState::Firing, disk)]);
        }
        assert_eq!(firing.heard.len(), Firing::ALERTS_MAX);
        assert!(!firing.heard.contains_key(&Fingerprint::parse("f9").unwrap()));
        assert!(firing.heard.contains_key(&Fingerprint::parse("f10").unwrap()));
    }
}
