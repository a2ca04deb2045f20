//! An incident: from the first decision that something is wrong to the proof that it is over.
//!
//! Proof is a number of good windows in a row after the last run. What was done in it decides how it ended, and whether it
//! has a label: an incident in which nothing was done can't have been a false alarm that cost something.

use alloc::string::String;

use backstay_model::{
    IncidentEnd, IncidentId, IncidentLabel, Mono, Reason, Release, TargetEvent, TargetStep,
};
use serde::{Deserialize, Serialize};

use super::{Past, Target, TargetEffect};
use crate::estate::Desk;

/// An incident that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Which.
    pub id: IncidentId,
    /// When it began.
    pub opened: Mono,
    /// The first sign of it, in words.
    pub why: String,
    /// What was done, the most that was.
    pub remedy: Remedy,
    /// Good windows in a row since the last run.
    pub good: u32,
    /// What is known against what was done.
    pub doubt: Option<IncidentLabel>,
}

/// What was done about an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// Nothing.
    Nothing,
    /// A playbook was tried.
    Mended,
    /// This release was left.
    Left(Release),
}

impl Incident {
    /// The release that was left, if one was.
    #[must_use]
    pub fn left(&self) -> Option<&Release> {
        match &self.remedy {
            Remedy::Left(release) => Some(release),
            Remedy::Nothing | Remedy::Mended => None,
        }
    }
}

impl Target {
    /// Something is wrong. What is wrong already goes on, and its proof begins anew.
    pub(super) fn opens(&mut self, now: Mono, why: &str, desk: &mut Desk<'_>) {
        if let Some(incident) = &mut self.state.incident {
            incident.good = 0;
            return;
        }
        let (id, why) = (desk.incident(), Reason::new(why.into()).0);
        let remedy = Remedy::Nothing;
        self.state.incident =
            Some(Incident { id, opened: now, why: why.clone(), remedy, good: 0, doubt: None });
        self.note(TargetStep::Opened { why }, desk);
    }

    /// Something was done about it.
    pub(super) fn remedied(&mut self, remedy: Remedy) {
        let Some(incident) = &mut self.state.incident else { return };
        incident.good = 0;
        match (&incident.remedy, &remedy) {
            // What was left stays the thing to know, whatever was mended after it.
            (Remedy::Left(_), _) | (Remedy::Mended, Remedy::Nothing) => {}
            (Remedy::Nothing | Remedy::Mended, _) => incident.remedy = remedy,
        }
    }

    /// The side that was gone back to turned out to be as bad: it was not the release.
    pub(super) fn doubts(&mut self, desk: &mut Desk<'_>) {
        let Some(incident) = &mut self.state.incident else { return };
        if matches!(incident.remedy, Remedy::Left(_)) && incident.doubt.is_none() {
            let label = IncidentLabel::BaselineFailedToo;
            incident.doubt = Some(label);
            self.note(TargetStep::Labelled { label, who: None }, desk);
        }
    }

    /// A window was good: after enough of them it is over.
    pub(super) fn good_for_incident(&mut self, now: Mono, desk: &mut Desk<'_>) {
        let Some(incident) = &mut self.state.incident else { return };
        incident.good = incident.good.saturating_add(1);
        if incident.good >= self.settings.cure_windows {
            let end = match incident.remedy {
                Remedy::Nothing => IncidentEnd::Passed,
                Remedy::Mended => IncidentEnd::Healed,
                Remedy::Left(_) => IncidentEnd::RolledBack,
            };
            self.closes(now, end, desk);
        }
    }

    pub(super) fn closes(&mut self, now: Mono, end: IncidentEnd, desk: &mut Desk<'_>) {
        let Some(Incident { id, opened, why, remedy, doubt, .. }) = self.state.incident.clone() else {
            return;
        };
        let took = now.since(opened);
        let (left, label) = match remedy {
            Remedy::Nothing => (None, None),
            Remedy::Mended => (None, Some(doubt.unwrap_or(IncidentLabel::TruePositive))),
            Remedy::Left(release) => (Some(release), Some(doubt.unwrap_or(IncidentLabel::TruePositive))),
        };
        self.note(TargetStep::Closed { end, took }, desk);
        self.state.incident = None;
        self.remember(Past { id, opened, took, end, why, left, label });
    }

    /// A person, or what was seen since, says whether an action was right. Gives whether there is such an incident.
    pub(super) fn mark(&mut self, id: IncidentId, label: IncidentLabel) -> bool {
        if let Some(incident) = self.state.incident.as_mut().filter(|incident| incident.id == id) {
            incident.doubt = Some(label);
            return true;
        }
        let past = self.state.past.iter_mut().find(|past| past.id == id);
        past.map(|past| past.label = Some(label)).is_some()
    }

    pub(super) fn note_about(&self, id: IncidentId, step: TargetStep, desk: &mut Desk<'_>) {
        desk.out.push(TargetEffect::Note(TargetEvent { target: self.id.clone(), incident: Some(id), step }));
    }
}
