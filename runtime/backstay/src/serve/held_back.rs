//! What is kept from being used: releases and plugins that a cohort was turned away from, policies that failed too often, and those that
//! were to take over and were sent back; with when and why, as the journal has it.
//!
//! Not here: what keeps them out (`core`), and letting them be used again (`calls`).

use std::collections::BTreeMap;

use backstay_api::{KeptOut, QuarantineView, Quarantined, Recorded, WayOut};
use backstay_model::{Channel, Digest, Event, Handover, HandoverStep, PluginId, Version};

use super::{clock::Now, diary::Diary, judge::Ask, server::Server, view::EVENTS_MAX};

impl<D: Diary, P: Ask> Server<D, P> {
    /// All of it: releases by cohort, then policies. Each policy is there once; one that failed too often on its way to
    /// take over is one that failed.
    pub(super) fn quarantine_views(&self, now: Now) -> Vec<QuarantineView> {
        let turned = self.lanes.iter().flat_map(|(lane, machine)| {
            machine.helm().quarantined().iter().map(move |digest| (lane, *digest))
        });
        let releases = turned.map(|(lane, digest)| {
            let (kind, release) = match lane.channel {
                Channel::Product => {
                    let known = self.catalogue.release(&digest).map(|known| known.release().clone());
                    (Quarantined::Release, known)
                }
                Channel::Plugins => (Quarantined::Plugin, self.bundles.bundle(&digest).cloned()),
            };
            QuarantineView { digest, kind, cohort: Some(lane.cohort.clone()), release, plugin: None }
        });
        let quarantine = &self.confidence.quarantine;
        let failed = quarantine.all().map(|grant| (*grant, WayOut::Failed));
        let sent_back = self.confidence.succession.refused().filter(|grant| !quarantine.is_out(grant));
        let out: Vec<_> = failed.chain(sent_back.map(|grant| (*grant, WayOut::SentBack))).collect();
        let mut recorded = self.recorded(now, &out);
        let policies = out.into_iter().map(|(digest, way)| QuarantineView {
            digest,
            kind: Quarantined::Policy,
            cohort: None,
            release: None,
            plugin: Some(KeptOut {
                way,
                loaded: self.judge.has(&digest) || self.targets.has(&digest),
                recorded: recorded.remove(&digest),
            }),
        });
        releases.chain(policies).collect()
    }

    /// What the journal says of each of these; the newest counts. People ask for it now and then, so it is looked up
    /// and not kept.
    fn recorded(&self, now: Now, out: &[(Digest, WayOut)]) -> BTreeMap<Digest, Recorded> {
        let mut found = BTreeMap::new();
        let mut after = 0;
        while !out.is_empty() {
            let entries = self.diary.after(after, EVENTS_MAX);
            let Some((last, _)) = entries.last() else { break };
            after = *last;
            for (record, entry) in entries {
                let Some((grant, way, plugin, version, why)) = put_out(entry.event) else { continue };
                if out.contains(&(grant, way)) {
                    let age_ms = now.mono.since(entry.at).0;
                    found.insert(grant, Recorded { plugin, version, why, age_ms, record });
                }
            }
        }
        found
    }
}

/// Which plugin an event put out, how, and why.
fn put_out(event: Event) -> Option<(Digest, WayOut, PluginId, Option<Version>, String)> {
    if let Event::Quarantined { plugin, grant, why, .. } = event {
        return Some((grant, WayOut::Failed, plugin, None, why));
    }
    let Event::Handover(Handover { plugin, version, grant, step }) = event else { return None };
    let HandoverStep::Refused { why, .. } = step else { return None };
    Some((grant, WayOut::SentBack, plugin, Some(version), why))
}
