//! The remediator watches itself: what it did, as numbers for `/metrics`.
//!
//! Counters are of this process: they begin at 0 with each start, as Prometheus expects of counters. What is true now (open
//! incidents, frozen targets) is a gauge. Never a device in a label. Not here: dashboards, and Prometheus itself.

use std::{collections::BTreeMap, fmt::Write as _};

use backstay_core::{GO_ON, HOLD, TargetEffect};
use backstay_model::{
    IncidentEnd, IncidentId, IncidentLabel, Mode, Mono, Rail, TargetId, TargetStep, Task, VerdictAction,
};

use super::super::{clock::Now, diary::Diary, judge::Ask, server::Server};

/// Upper ends of the buckets of recovery times, in seconds: from a switch to a slow night.
const BUCKETS_SECS: [u64; 8] = [30, 60, 120, 300, 600, 1800, 3600, 14_400];

/// What was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    roll_backs: BTreeMap<(TargetId, &'static str), u64>,
    playbooks: BTreeMap<(TargetId, String), u64>,
    /// What held something where it stood, or let it go on: that mends nothing.
    paces: BTreeMap<(TargetId, String), u64>,
    retries: BTreeMap<TargetId, u64>,
    false_positives: BTreeMap<(TargetId, &'static str), u64>,
    recoveries: BTreeMap<TargetId, Recoveries>,
    /// Of each incident the last label: one that changes its mind isn't counted twice.
    labelled: BTreeMap<IncidentId, IncidentLabel>,
    verdicts: BTreeMap<&'static str, u64>,
    pages: u64,
    pages_failed: u64,
}

#[derive(Debug, Default)]
struct Recoveries {
    buckets: [u64; BUCKETS_SECS.len()],
    count: u64,
    sum_ms: u64,
}

/// The most incidents whose label is remembered.
const LABELLED_MAX: usize = 4096;

impl Figures {
    /// Counts what targets want done.
    pub(super) fn count(&mut self, _: Mono, effects: &[TargetEffect]) {
        for effect in effects {
            match effect {
                TargetEffect::Note(event) => self.note(&event.target, event.incident, &event.step),
                TargetEffect::Run { target, order, grant: None } => {
                    if let Task::Heal { playbook } = &order.task {
                        let runs = match playbook.as_str() {
                            HOLD | GO_ON => &mut self.paces,
                            _ => &mut self.playbooks,
                        };
                        *runs.entry((target.clone(), playbook.to_string())).or_default() += 1;
                    }
                }
                TargetEffect::Page { .. } => self.pages += 1,
                TargetEffect::Run { grant: Some(_), .. }
                | TargetEffect::Record(_)
                | TargetEffect::Ask { .. }
                | TargetEffect::Look { .. }
                | TargetEffect::Abandon { .. } => {}
            }
        }
    }

    /// A verdict was given.
    pub(super) fn told(&mut self, action: VerdictAction) {
        *self.verdicts.entry(action.as_str()).or_default() += 1;
    }

    /// A page did not go out.
    pub(in super::super) fn page_failed(&mut self) {
        self.pages_failed += 1;
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "few of the many steps are figures")]
    fn note(&mut self, target: &TargetId, incident: Option<IncidentId>, step: &TargetStep) {
        match step {
            TargetStep::CameHome { .. } => {
                *self.roll_backs.entry((target.clone(), "done")).or_default() += 1;
            }
            TargetStep::RunFailed { again: Some(_), .. } => {
                *self.retries.entry(target.clone()).or_default() += 1;
            }
            TargetStep::Waits { attempts, .. } if *attempts > 1 => {
                *self.retries.entry(target.clone()).or_default() += 1;
            }
            // A playbook that failed is a try; a way home that did, and isn't tried again, froze the target.
            TargetStep::Froze { rail: Rail::RunFailed { .. } } => {
                *self.roll_backs.entry((target.clone(), "failed")).or_default() += 1;
            }
            TargetStep::Closed { end: IncidentEnd::Healed | IncidentEnd::RolledBack, took } => {
                let recoveries = self.recoveries.entry(target.clone()).or_default();
                recoveries.count += 1;
                recoveries.sum_ms += took.0;
                for (bucket, most) in recoveries.buckets.iter_mut().zip(BUCKETS_SECS) {
                    *bucket += u64::from(took.0 <= most * 1000);
                }
            }
            TargetStep::Labelled { label, .. } => {
                let Some(incident) = incident else { return };
                let before = self.labelled.insert(incident, *label);
                if self.labelled.len() > LABELLED_MAX {
                    self.labelled.pop_first();
                }
                if label.is_false_positive() && !before.is_some_and(IncidentLabel::is_false_positive) {
                    *self.false_positives.entry((target.clone(), why(*label))).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}

const fn why(label: IncidentLabel) -> &'static str {
    match label {
        IncidentLabel::TruePositive => "true-positive",
        IncidentLabel::BaselineFailedToo => "baseline-failed-too",
        IncidentLabel::FineElsewhere => "fine-elsewhere",
        IncidentLabel::FalsePositive => "operator",
    }
}

/// A page of figures in Prometheus' text format, version 0.0.4:
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>. Names are ids, so no label has anything to escape.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String doesn't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

impl<D: Diary, P: Ask> Server<D, P> {
    /// All figures.
    pub(super) fn figures(&self, _: Now) -> String {
        let (mut page, figures) = (Page::default(), &self.targets.figures);
        page.family("backstay_rollbacks_total", "counter", "Roll-backs of targets, by how the run ended.");
        for ((target, end), count) in &figures.roll_backs {
            page.sample("backstay_rollbacks_total", &format!("target=\"{target}\",end=\"{end}\""), count);
        }
        let name = "backstay_recovery_duration_seconds";
        page.family(name, "histogram", "From the first sign of an incident to the proof that it is over.");
        for (target, recoveries) in &figures.recoveries {
            for (most, count) in BUCKETS_SECS.iter().zip(recoveries.buckets) {
                page.sample(&format!("{name}_bucket"), &format!("target=\"{target}\",le=\"{most}\""), count);
            }
            let target = format!("target=\"{target}\"");
            page.sample(&format!("{name}_bucket"), &format!("{target},le=\"+Inf\""), recoveries.count);
            let (whole, rest) = (recoveries.sum_ms / 1000, recoveries.sum_ms % 1000);
            page.sample(&format!("{name}_sum"), &target, format_args!("{whole}.{rest:03}"));
            page.sample(&format!("{name}_count"), &target, recoveries.count);
        }
        page.family(
            "backstay_false_positives_total",
            "counter",
            "Actions that should not have been, by how that is known.",
        );
        for ((target, why), count) in &figures.false_positives {
            page.sample(
                "backstay_false_positives_total",
                &format!("target=\"{target}\",why=\"{why}\""),
                count,
            );
        }
        page.family("backstay_playbook_runs_total", "counter", "Playbooks that were begun.");
        for ((target, playbook), count) in &figures.playbooks {
            let labels = format!("target=\"{target}\",playbook=\"{playbook}\"");
            page.sample("backstay_playbook_runs_total", &labels, count);
        }
        page.family(
            "backstay_pace_runs_total",
            "counter",
            "Runs that held a release where it stands, or let it go on.",
        );
        for ((target, to), count) in &figures.paces {
            page.sample("backstay_pace_runs_total", &format!("target=\"{target}\",to=\"{to}\""), count);
        }
        page.family("backstay_action_retries_total", "counter", "Tries after the first.");
        for (target, count) in &figures.retries {
            page.sample("backstay_action_retries_total", &format!("target=\"{target}\""), count);
        }
        page.family("backstay_verdicts_total", "counter", "What pipelines were told.");
        for (action, count) in &figures.verdicts {
            page.sample("backstay_verdicts_total", &format!("action=\"{action}\""), count);
        }
        page.family("backstay_pages_total", "counter", "Times that a person was needed.");
        page.sample("backstay_pages_total", "", figures.pages);
        page.family("backstay_pages_failed_total", "counter", "Pages that nobody took.");
        page.sample("backstay_pages_failed_total", "", figures.pages_failed);
        self.gauges(&mut page);
        page.0
    }

    fn gauges(&self, page: &mut Page) {
        let estate = &self.targets.estate;
        page.family("backstay_targets", "gauge", "Targets that are watched.");
        for mode in [Mode::Observe, Mode::Enforce] {
            page.sample("backstay_targets", &format!("mode=\"{mode}\""), estate.count(mode));
        }
        page.family("backstay_target_frozen", "gauge", "1 while only a person lets anything out.");
        page.family("backstay_target_incident", "gauge", "1 while an incident is open.");
        for (id, target) in estate.targets() {
            let (state, labels) = (target.state(), format!("target=\"{id}\""));
            let frozen = matches!(state.hold(), backstay_core::Hold::Frozen { .. });
            page.sample("backstay_target_frozen", &labels, u8::from(frozen));
            page.sample("backstay_target_incident", &labels, u8::from(state.incident().is_some()));
        }
        page.family("backstay_journal_durable", "gauge", "0 while nothing can be written down.");
        page.sample("backstay_journal_durable", "", u8::from(self.is_durable()));
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::{Fence, Name, Order, Ticket};

    use super::*;

    /// A canary is held, and let go on, time after time. Who counts what was mended counts none of it.
    #[test]
    fn to_hold_is_no_playbook() {
        let target = TargetId::parse("shop").unwrap();
        let run = |playbook: &str| TargetEffect::Run {
            target: target.clone(),
            order: Order {
                ticket: Ticket(1),
                fence: Fence(1),
                task: Task::Heal { playbook: Name::parse(playbook).unwrap() },
            },
            grant: None,
        };
        let mut figures = Figures::default();
        figures.count(Mono(0), &["hold", "restart", "go-on", "hold"].map(run));
        let counted = |runs: &BTreeMap<(TargetId, String), u64>| {
            runs.iter().map(|((_, playbook), count)| (playbook.clone(), *count)).collect::<Vec<_>>()
        };
        assert_eq!(counted(&figures.playbooks), [("restart".to_owned(), 1)]);
        assert_eq!(counted(&figures.paces), [("go-on".to_owned(), 1), ("hold".to_owned(), 2)]);
    }
}
