//! A bundle on its way to a job, or away from it: it came or didn't, is tried, is taken, or is condemned and left.
//!
//! Not here: whether it is wanted (`steering`), and how two policies are compared (`succession`).

use backstay_model::{Cause, Digest, HandoverStep, Mono, PluginId, PluginRole, Release, Ticket, UpgradeStep};

use super::{Bundle, Condemned, Effects, Fetched, Phase, REMEMBERED_MAX, Upgrade, UpgradeEffect, record};
use crate::setback::{Retries, Setback};

impl Upgrade {
    /// Has the one before do the job of a bundle, wherever on its way that is.
    pub(super) fn leave(&mut self, bundle: &Digest, cause: Cause, out: &mut Effects) {
        self.call_off(bundle);
        let on_trial = match core::mem::take(&mut self.phase) {
            Phase::Trial { role, bundle: tried } if tried.release.digest == *bundle => Some((role, tried)),
            phase @ (Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. }) => {
                self.phase = phase;
                None
            }
        };
        let Some((role, left)) = on_trial.or_else(|| self.seats.remove(bundle)) else { return };
        let to = self.seats.trusted(role).map(|to| to.release.clone());
        out.push(record(left.release.clone(), UpgradeStep::Left { to, cause }));
        // What the configuration has is asked by that, too.
        if !self.seats.is_configured(&left.grant) {
            out.push(UpgradeEffect::Dismiss(left));
        }
        out.push(UpgradeEffect::Report);
    }

    fn condemn(&mut self, bundle: &Release, grant: Option<Digest>, why: &str, out: &mut Effects) {
        self.condemned.retain(|condemned| condemned.bundle != bundle.digest);
        self.condemned.insert(0, Condemned { bundle: bundle.digest, grant });
        self.condemned.truncate(REMEMBERED_MAX);
        out.push(record(bundle.clone(), UpgradeStep::Condemned { why: why.into() }));
    }

    pub(super) fn fetched(
        &mut self,
        now: Mono,
        retries: &Retries,
        ticket: Ticket,
        fetched: Fetched,
        out: &mut Effects,
    ) {
        let (rollout, release) = match &self.phase {
            Phase::Fetching { ticket: open, rollout, bundle } if *open == ticket => {
                (rollout.clone(), bundle.clone())
            }
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } => return,
        };
        self.phase = Phase::Idle;
        match fetched {
            // A hold or a turn came while it was on its way.
            Fetched::CalledOff => {}
            Fetched::Ready { .. } | Fetched::Unfit { .. } if !self.is_still_wanted(&release) => {}
            Fetched::Ready { plugin, role, grant, rival } => {
                self.setback.take_if(|setback| setback.rollout == rollout);
                self.try_out(plugin, role, Bundle { release, grant }, rival, out);
            }
            Fetched::Unfit { grant, why } => self.condemn(&release, grant, &why, out),
            Fetched::Not { transience, why } => {
                let failed = (transience, Cause::NotVetted { why });
                let before = self.setback.as_ref();
                let (setback, event) = Setback::after(before, &rollout, now, failed, *retries, &mut self.rng);
                self.setback = Some(setback);
                out.push(UpgradeEffect::Record(event));
            }
        }
        out.push(UpgradeEffect::Report);
    }

    fn try_out(
        &mut self,
        plugin: PluginId,
        role: PluginRole,
        bundle: Bundle,
        rival: bool,
        out: &mut Effects,
    ) {
        let back = self.seats.trusted(role).map(|back| back.release.clone());
        let step = UpgradeStep::TrialBegan { plugin, role, grant: bundle.grant, back };
        out.push(record(bundle.release.clone(), step));
        if rival {
            out.push(UpgradeEffect::Try(bundle.clone()));
            self.phase = Phase::Trial { role, bundle };
        } else {
            self.confirm(role, bundle, out);
        }
    }

    /// To hold for ever is no better than one that could not be compared.
    pub(super) fn alone(&mut self, out: &mut Effects) {
        match core::mem::take(&mut self.phase) {
            Phase::Trial { role, bundle } => self.confirm(role, bundle, out),
            phase @ (Phase::Idle | Phase::Fetching { .. }) => self.phase = phase,
        }
    }

    fn confirm(&mut self, role: PluginRole, bundle: Bundle, out: &mut Effects) {
        out.push(record(bundle.release.clone(), UpgradeStep::Confirmed));
        out.push(UpgradeEffect::Promote(bundle.clone()));
        out.extend(self.seats.take(role, bundle).map(UpgradeEffect::Dismiss));
        out.push(UpgradeEffect::Report);
    }

    pub(super) fn moved(&mut self, grant: &Digest, step: HandoverStep, goes_on: bool, out: &mut Effects) {
        let (role, bundle) = match &self.phase {
            Phase::Trial { role, bundle } if bundle.grant == *grant => (*role, bundle.clone()),
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } => return,
        };
        match step {
            HandoverStep::Refused { why, .. } => self.failed(grant, &why, out),
            HandoverStep::Settles { .. } | HandoverStep::TakesOver { .. } if !goes_on => {
                self.phase = Phase::Idle;
                self.confirm(role, bundle, out);
            }
            HandoverStep::Shadows { .. }
            | HandoverStep::Differs { .. }
            | HandoverStep::TakesOver { .. }
            | HandoverStep::Settles { .. } => out.push(UpgradeEffect::Report),
        }
    }

    /// A bundle that came by steering fails, on trial or later: it is condemned first, and then left.
    pub(super) fn failed(&mut self, grant: &Digest, why: &str, out: &mut Effects) {
        let on_trial = match &self.phase {
            Phase::Trial { bundle, .. } if bundle.grant == *grant => Some(bundle.clone()),
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } => None,
        };
        let Some(Bundle { release, grant }) = on_trial.or_else(|| self.seats.of_grant(grant)) else { return };
        self.condemn(&release, Some(grant), why, out);
        self.leave(&release.digest, Cause::IsCondemned, out);
    }
}
