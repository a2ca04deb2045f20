//! What a target has been through: releases that were good, releases that were not, incidents that are over.

use backstay_model::{
    Digest, IncidentEnd, IncidentId, IncidentLabel, Millis, Mono, Rail, Release, SchemaRange, TargetStep,
    Version,
};
use serde::{Deserialize, Serialize};

use super::{Out, SharedData, Target};
use crate::{Migrations, estate::Desk};

/// The most releases that are remembered as good.
const GOOD_MAX: usize = 16;
/// The most releases that are remembered as bad. The oldest is let out of quarantine beyond that, and it is written down.
const QUARANTINE_MAX: usize = 64;
/// The most incidents that are remembered with their labels.
const PAST_MAX: usize = 32;

/// A release that was confirmed here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// Which.
    pub release: Release,
    /// The schemas that it can live with; none: nobody said.
    pub schema: Option<SchemaRange>,
    /// When it was confirmed.
    pub at: Mono,
}

/// An incident that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Which.
    pub id: IncidentId,
    /// When it began.
    pub opened: Mono,
    /// How long it took.
    pub took: Millis,
    /// How it ended.
    pub end: IncidentEnd,
    /// The first sign of it.
    pub why: alloc::string::String,
    /// The release that was left, if one was.
    pub left: Option<Release>,
    /// Whether what was done was right; none where nothing was done.
    pub label: Option<IncidentLabel>,
}

impl Target {
    /// Where home is.
    ///
    /// # Errors
    /// There is none, and why.
    pub(super) fn way_home(&self, migrations: &Migrations) -> Result<Release, Rail> {
        let (left, _, _) = self.judged_release();
        let known = self.state.good.iter().filter(|good| good.release.digest != left.digest);
        let is_quarantined = |good: &&Good| self.state.is_quarantined(&good.release.digest);
        // Where nobody said what a release can live with, nobody said that it can't.
        let is_one_way = |good: &&Good| match (&self.settings.schema, &good.schema) {
            (Some(SharedData::Version(present)), Some(range)) => !(range.from..=range.to).contains(present),
            (Some(SharedData::Of(data)), range) => !migrations.admits(data, range.as_ref()),
            (Some(SharedData::Version(_)), None) | (None, _) => false,
        };
        let mut fit = known.clone().filter(|good| !is_quarantined(good) && !is_one_way(good));
        // Where the data is what is in the way, the way out of that is what helps.
        let past = self.shares().and_then(|data| {
            let newest = known.clone().find(|good| !is_quarantined(good) && is_one_way(good))?;
            migrations.refusal(data, &newest.release.version, newest.schema.as_ref())
        });
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        fit.next().map(|good| good.release.clone()).ok_or_else(|| {
            past.unwrap_or_else(|| Rail::NoWayHome {
                known: count(known.clone().count()),
                quarantined: count(known.clone().filter(is_quarantined).count()),
                one_way: count(known.filter(|good| !is_quarantined(good) && is_one_way(good)).count()),
            })
        })
    }

    /// The release that is out has been good for long enough.
    pub(super) fn confirm(&mut self, now: Mono, desk: &mut Desk<'_>) {
        let Some(out) = &mut self.state.out else { return };
        out.confirmed = true;
        let good = Good { release: out.release.clone(), schema: out.schema, at: now };
        self.state.good.retain(|known| known.release.digest != good.release.digest);
        self.state.good.insert(0, good.clone());
        self.state.good.truncate(GOOD_MAX);
        desk.confirmed.push(good.release.digest);
        self.note(TargetStep::Confirmed { release: good.release }, desk);
    }

    /// What is to be left is no home any more, whether it can be left now or not: not before it has been good for long enough again.
    pub(super) fn is_no_home(&mut self, desk: &mut Desk<'_>) {
        let (left, _, _) = self.judged_release();
        let known = self.state.good.len();
        self.state.good.retain(|good| good.release.digest != left.digest);
        if let Some(out) = &mut self.state.out {
            out.confirmed = false;
        }
        if self.state.good.len() < known {
            self.note(TargetStep::Distrusted { release: left }, desk);
        }
    }

    /// A release is kept from being let out, and from being gone back to.
    pub(super) fn quarantine(&mut self, release: &Release, desk: &mut Desk<'_>) {
        if self.state.is_quarantined(&release.digest) || *release == unnamed() {
            return;
        }
        self.state.quarantine.insert(0, release.clone());
        self.note(TargetStep::Quarantined { release: release.clone() }, desk);
        self.state.quarantine.truncate(QUARANTINE_MAX);
    }

    /// What is out again after a roll-back.
    pub(super) fn is_out_again(&mut self, now: Mono, home: &Release) {
        let good = self.state.good.iter().find(|good| good.release.digest == home.digest);
        self.state.out = Some(Out {
            release: home.clone(),
            stage: backstay_model::Permille::ALL,
            build: None,
            schema: good.and_then(|good| good.schema),
            since: now,
            good: 0,
            confirmed: good.is_some(),
        });
    }

    pub(super) fn remember(&mut self, past: Past) {
        self.state.past.insert(0, past);
        self.state.past.truncate(PAST_MAX);
    }

    /// The same digest was confirmed at another target: leaving it here was not its fault.
    pub(super) fn fine_elsewhere(&mut self, digest: &Digest, desk: &mut Desk<'_>) {
        let label = IncidentLabel::FineElsewhere;
        let of = |past: &&mut Past| {
            past.label == Some(IncidentLabel::TruePositive)
                && past.left.as_ref().is_some_and(|left| left.digest == *digest)
        };
        let found = self.state.past.iter_mut().find(of).map(|past| {
            past.label = Some(label);
            past.id
        });
        if let Some(id) = found {
            self.note_about(id, TargetStep::Labelled { label, who: None }, desk);
        }
    }
}

/// Stands where nobody said what is out: nothing has its digest.
pub(crate) fn unnamed() -> Release {
    let version = Version::parse("unnamed").expect("it is a version");
    Release { version, digest: Digest([0; 32]), length: 0, security_epoch: 0 }
}
