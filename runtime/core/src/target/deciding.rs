//! From a window to a question, and from an answer to what follows. Not here: the rails (`rails`).

use alloc::{format, string::ToString};

use backstay_model::{
    Action, Decision, Digest, Event, Facts, How, IncidentEnd, Mono, Name, Objective, Permille, Rail, Reason,
    Release, Scope, TargetStep, Ticket, Window,
};

use super::{Good, Hold, Judged, Out, Question, SharedData, Signals, Target, TargetEffect, Undone, Work};
use crate::{Breaker, Migrations, Outlook, Reply, estate::Desk};

/// Up to here a release that is let out after a roll-back counts as a small stage.
pub const SMALL_STAGE: Permille = match Permille::new(100) {
    Some(share) => share,
    None => Permille::NONE,
};

/// From here on all traffic is switched back at once, where a person or a repeated release asks for a roll-back and no policy
/// says how: the half of the decision tree.
const SWITCH_STAGE: u16 = 500;

/// Windows that are added up to tell whether the side to go back to is any better.
const COMPARED_WINDOWS: usize = 3;

impl Target {
    /// A pipeline says what is out.
    pub(super) fn is_told_out(&mut self, now: Mono, who: &Name, out: Out, desk: &mut Desk<'_>) {
        let what = |out: &Out| (out.release.digest, out.stage);
        let is_news = self.state.out.as_ref().map(what) != Some(what(&out));
        self.deployed(now, Some(who), out, desk);
        // A look that is under way may have seen what was out before.
        if is_news {
            self.looks(desk);
        }
    }

    /// Somebody says what is out, or, without a name, it was seen.
    fn deployed(&mut self, now: Mono, who: Option<&Name>, mut out: Out, desk: &mut Desk<'_>) {
        let before = self.state.out.as_ref();
        if before
            .is_some_and(|before| before.release.digest == out.release.digest && before.stage == out.stage)
        {
            // Told twice is told once. Only what nobody had said, which schemas it can live with, is news.
            return self.learns_schema(who, &out, desk);
        }
        let release = out.release.clone();
        let goes_on = before.is_some_and(|before| before.release.digest == release.digest);
        out.confirmed = self.state.good.iter().any(|good| good.release.digest == release.digest);
        self.tells_out(who, &out, desk);
        // What waited to be done was about the release before.
        if !goes_on && matches!(self.state.work, Work::Waiting { .. }) {
            self.state.work = Work::Idle;
        }
        if !goes_on && self.state.incident.is_some() && !self.state.work.changes() {
            self.closes(now, IncidentEnd::Superseded, desk);
        }
        self.is_out_on_shared_data(now, &out, desk);
        self.state.out = Some(out);
        self.state.question = None;
        if self.state.is_quarantined(&release.digest) {
            self.is_bad(now, release.digest, goes_on, desk);
        } else if !goes_on && matches!(self.state.hold, Hold::Frozen { .. }) {
            // There was nothing to hold before it, as an executor may have had it.
            self.is_paced_anew();
            self.paces(now, desk);
        } else if !goes_on {
            // What held the release before would keep this one from ever showing how it does.
            self.may_go_on(now, desk);
        }
    }

    /// Its executor saw what is out. While something is being done to it, that is about to change.
    pub(super) fn seen_out(&mut self, now: Mono, release: Release, stage: Permille, desk: &mut Desk<'_>) {
        if self.state.work.changes() {
            return;
        }
        // What a pipeline said of the same release besides stays true.
        let same = self.state.out.as_ref().filter(|out| out.release.digest == release.digest);
        let good = self.state.good.iter().find(|good| good.release.digest == release.digest);
        let schema = same.and_then(|out| out.schema).or_else(|| good.and_then(|good| good.schema));
        let build = same.and_then(|out| out.build.clone());
        self.deployed(
            now,
            None,
            Out { release, stage, build, schema, since: now, good: 0, confirmed: false },
            desk,
        );
    }

    /// Which schemas what is out can live with is told, or told in another way.
    fn learns_schema(&mut self, who: Option<&Name>, told: &Out, desk: &mut Desk<'_>) {
        let digest = told.release.digest;
        let Some(out) = self.state.out.as_mut().filter(|_| told.schema.is_some()) else { return };
        if out.schema == told.schema {
            return;
        }
        out.schema = told.schema;
        for good in self.state.good.iter_mut().filter(|good| good.release.digest == digest) {
            good.schema = told.schema;
        }
        self.tells_out(who, told, desk);
    }

    /// What is out, and before it who said so. That is a record of its own, so that whoever knows one without a name reads both.
    fn tells_out(&self, who: Option<&Name>, out: &Out, desk: &mut Desk<'_>) {
        let (release, stage, build) = (out.release.clone(), out.stage, out.build.clone());
        if let Some(who) = who {
            let what = Reason::new(format!("said that {release} is out to {} permille", stage.get())).0;
            self.note(TargetStep::Override { who: who.clone(), what }, desk);
        }
        self.note(TargetStep::Deployed { release, stage, build }, desk);
    }

    /// A release that is in quarantine is out: let out past the gate, or by somebody who undoes what was done here. Where it was out
    /// before, nobody has let it out again: it goes further before it has been sent back.
    fn is_bad(&mut self, now: Mono, digest: Digest, goes_on: bool, desk: &mut Desk<'_>) {
        if !goes_on {
            let undone = self.state.undone.as_ref().filter(|undone| undone.digest == digest);
            let times = undone.map_or(0, |undone| undone.times).saturating_add(1);
            self.state.undone = Some(Undone { digest, times });
            self.opens(now, "a release that is in quarantine was let out", desk);
            if times >= 2 {
                self.freeze(now, Rail::Fight { undone: times }, desk);
                return;
            }
        }
        self.roll_back(now, self.how(), desk);
    }

    /// How to go back where nobody says how.
    pub(super) fn how(&self) -> How {
        let (_, stage, _) = self.judged_release();
        if stage.get() < SWITCH_STAGE { How::AbortCanary } else { How::SwitchAndFreeze }
    }

    /// A window closed: the policy is asked, unless a run is changing what it would be asked about.
    pub(super) fn window(&mut self, now: Mono, signals: Signals, desk: &mut Desk<'_>) {
        self.wake_breaker(now);
        if self.state.work.changes() {
            return;
        }
        let (release, stage, on_trial) = self.judged_release();
        let ticket = desk.ticket();
        self.state.question =
            Some(Question { ticket, about: release.digest, baseline_bad: no_better(&signals.objectives) });
        let facts = Facts {
            now,
            release,
            stage,
            on_trial,
            objectives: signals.objectives,
            anomaly: signals.anomaly,
            infra: signals.infra,
            attempts: self.state.ladder.attempts(),
            breaker: self.state.breaker.at(now),
            schema: self.schema_fact(desk.migrations),
        };
        self.asked = Some(facts.clone());
        desk.out.push(TargetEffect::Ask { target: self.id.clone(), ticket, facts });
    }

    /// Writes down what was asked and what came of it. A good window after a good window changes nothing that a restart
    /// would miss, and hundreds of targets close one every minute: those are not written down.
    fn record_answer(&mut self, ticket: Ticket, answer: Event, desk: &mut Desk<'_>) {
        let asked = self.asked.take();
        self.note(TargetStep::Asked { ticket }, desk);
        desk.out.extend(asked.map(|facts| TargetEffect::Record(Event::Asked { ticket, facts })));
        desk.out.push(TargetEffect::Record(answer));
    }

    /// Whether an answer says what the one before said, and nothing waits for it.
    fn is_routine(&self, about: Digest, action: &Action) -> bool {
        let before = self.state.judged.as_ref();
        *action == Action::Proceed
            && before.is_some_and(|before| before.about == about && before.decision.action == Action::Proceed)
            && self.state.incident.is_none()
            && self.state.hold == Hold::Free
            && self.state.ladder.attempts() == 0
    }

    /// Whether the release that would be gone back to can live with the data as they are.
    fn schema_fact(&self, migrations: &Migrations) -> backstay_model::Schema {
        use backstay_model::Schema;
        match (&self.settings.schema, self.way_home(migrations)) {
            (None, _) => Schema::Unknown,
            (Some(SharedData::Of(data)), home) => {
                // Where no way home is left, the newest release that was good is the one that can't be gone back to.
                let (out, _, _) = self.judged_release();
                let is_meant = |good: &&Good| match &home {
                    Ok(home) => good.release.digest == home.digest,
                    Err(_) => {
                        let digest = good.release.digest;
                        digest != out.digest && !self.state.is_quarantined(&digest)
                    }
                };
                let meant = self.state.good.iter().find(is_meant);
                migrations.facts(data, meant.and_then(|good| good.schema.as_ref()))
            }
            (Some(SharedData::Version(version)), Ok(_)) => Schema::Compatible(*version),
            (Some(SharedData::Version(version)), Err(Rail::NoWayHome { one_way: 1.., .. })) => {
                Schema::OneWay(*version)
            }
            (Some(SharedData::Version(version)), Err(_)) => Schema::Compatible(*version),
        }
    }

    /// The policy answered, or did not. A late answer to an older question changes nothing.
    pub(super) fn policy(&mut self, now: Mono, ticket: Ticket, reply: Reply, desk: &mut Desk<'_>) {
        let Some(question) = self.state.question.take_if(|question| question.ticket == ticket) else {
            return;
        };
        match reply {
            Reply::Unanswered { why } => {
                let why = Reason::new(why).0;
                self.record_answer(ticket, Event::Unanswered { ticket, why: why.clone() }, desk);
                self.not_good();
                self.hold(now, Rail::NoAnswer { why }, desk);
            }
            Reply::Decided(decision) => {
                if !self.is_routine(question.about, &decision.action) {
                    let decision = decision.clone();
                    self.record_answer(ticket, Event::Decided { ticket, decision }, desk);
                }
                self.decided(now, &question, decision, desk);
            }
        }
    }

    fn decided(&mut self, now: Mono, question: &Question, decision: Decision, desk: &mut Desk<'_>) {
        let why =
            decision.reasons.first().map_or_else(|| decision.action.to_string(), |reason| reason.0.clone());
        let action = decision.action.clone();
        self.state.judged = Some(Judged { at: now, about: question.about, decision });
        if action == Action::Proceed {
            self.good_window(now, desk);
            return;
        }
        self.not_good();
        match action {
            Action::Proceed | Action::Slow { .. } => {}
            Action::Freeze | Action::Pause => {
                self.opens(now, &why, desk);
                self.hold(now, Rail::Policy { why }, desk);
            }
            Action::Heal { playbook } => {
                self.opens(now, &why, desk);
                self.heal(now, playbook, desk);
            }
            Action::RollBack { how } => {
                self.opens(now, &why, desk);
                self.doubts(desk);
                if let Some(objective) = question.baseline_bad.clone() {
                    let rail = Rail::BaselineBad { objective };
                    self.note(
                        TargetStep::Restrained { wanted: Action::RollBack { how }, rail: rail.clone() },
                        desk,
                    );
                    self.hold(now, rail, desk);
                    return;
                }
                self.roll_back(now, how, desk);
            }
        }
    }

    /// A window that wasn't good: whatever counts good ones in a row begins anew.
    fn not_good(&mut self) {
        self.state.ladder.window(Outlook::NotGood, self.settings.cure_windows);
        if let Some(out) = &mut self.state.out {
            out.good = 0;
        }
        if let Some(incident) = &mut self.state.incident {
            incident.good = 0;
        }
    }

    /// There was data, and all of it was good.
    fn good_window(&mut self, now: Mono, desk: &mut Desk<'_>) {
        self.thaw_if_held(desk);
        // Windows that pipelines fill close as fast as they are filled: a proof takes its time all the same.
        let since = self.state.counted.map(|at| now.since(at));
        if since.is_some_and(|since| since.0 < self.settings.window.0 / 2) {
            return;
        }
        self.state.counted = Some(now);
        let needed = self.settings.cure_windows;
        if let Some(attempts) = self.state.ladder.window(Outlook::Good, needed) {
            let held = backstay_model::Millis(self.settings.window.0.saturating_mul(needed.into()));
            self.state.cures.spend(now);
            self.note(TargetStep::Cured { attempts, held }, desk);
        }
        self.good_for_incident(now, desk);
        self.goes_on_migrating(now, desk);
        let Some(out) = &mut self.state.out else { return };
        out.good = out.good.saturating_add(1);
        if out.confirmed || out.good < self.settings.confirm_windows {
            return;
        }
        let (full, quarantined) = (out.stage == Permille::ALL, out.release.digest);
        if self.state.is_quarantined(&quarantined) {
            return;
        }
        if self.state.breaker == Breaker::HalfOpen {
            self.state.breaker.close();
            self.note(TargetStep::BreakerClosed { who: None }, desk);
        }
        if full {
            self.confirm(now, desk);
        }
    }
}

/// The first critical objective that is no better on the side that would be gone back to: at least half as often bad there as
/// on the side that is judged. Sides without data say nothing.
fn no_better(objectives: &[Objective]) -> Option<Name> {
    let sum = |windows: &[Window]| {
        let newest = windows.iter().rev().take(COMPARED_WINDOWS);
        newest.fold((0_u128, 0_u128), |(bad, samples), window| {
            (bad + u128::from(window.bad), samples + u128::from(window.samples))
        })
    };
    let critical = |objective: &&Objective| objective.critical && objective.scope == Scope::Local;
    let is_no_better = |objective: &&Objective| {
        let ((bad, samples), (base_bad, base_samples)) =
            (sum(&objective.candidate), sum(&objective.baseline));
        // As products: shares of small numbers would be rounded away.
        bad > 0 && base_samples > 0 && base_bad * 2 * samples >= bad * base_samples
    };
    // Where one objective tells the sides apart, going back helps with that one.
    let mut broken =
        objectives.iter().filter(critical).filter(|objective| sum(&objective.candidate).0 > 0).peekable();
    let first = broken.peek().map(|objective| objective.name.clone());
    let all = broken.all(|objective| is_no_better(&objective));
    first.filter(|_| all)
}
