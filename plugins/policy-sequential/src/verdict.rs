//! From the evidence to an answer. Each says why, with the numbers that led there.
//!
//! ```text
//! a critical local objective is worse    -> roll back: abort the canary below 50 %, else switch and freeze
//! a critical one of a dependency is worse -> freeze
//! both sides are bad                     -> freeze: the world is bad, not the candidate
//! no data, or no baseline on trial       -> freeze (mend first, if the machine is in trouble)
//! the machine is in trouble              -> heal, a few times; then roll back, or freeze if it is the network
//! looks anomalous, or one that isn't critical is worse -> slow
//! on trial: too little seen, or suspicious -> slow
//! else                                   -> proceed
//! ```
//!
//! Where the release before can't live with the data as they are, what would be a roll-back is a pause. Missing data
//! never rolls back, and an objective that is silent isn't judged by what it said before.

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::{
    policy::{Action, Decision, Facts, Objective, Scope, Window},
    remedy::REASONS_MAX,
};

use crate::{
    config::Config,
    dispersion::Count,
    evidence::{self, Pair},
    ledger::{LONG, Ledger, merged},
    memo::{Memo, Start},
};

/// All of the traffic, in permille.
const STAGE_ALL: u16 = 1000;

/// An e-value from which on a candidate isn't let on although it had its exposure: it is doubted.
const SUSPICIOUS: f64 = 10.0;

/// The e-value against "within the practical margin", and against "as bad as is tolerable": an error of at most 5 % for a
/// candidate right at that border. The margin is a guard beside the exact test, so it doesn't carry its error rate.
const BORDER: f64 = 20.0;

/// Of the error rate, the share of the first epoch.
const FIRST_EPOCH: f64 = 0.8;

/// What an answer of `slow` may ask for.
const SLOW_MAX: u64 = 100;

/// The numbers of one objective.
struct Figures<'a> {
    objective: &'a Objective,
    candidate: Count,
    baseline: Count,
    clusters: usize,
    correlation: f64,
    /// Logarithms of e-values, and what they have to reach.
    exact: f64,
    /// Least of both scales; not looked at while the exact one is too small to matter.
    tempered: Option<f64>,
    beyond_margin: Option<f64>,
    needed: f64,
    exposed: u64,
}

/// How an objective stands.
enum Standing<'a> {
    /// Its newest windows have no data on this side.
    Silent(&'a Objective, &'static str),
    /// There is nothing that it could be held against.
    Alone(&'a Objective),
    /// Both sides are bad.
    Incident(&'a Objective, Count, Count),
    /// The candidate is worse.
    Worse(Figures<'a>),
    /// It may be.
    Doubted(Figures<'a>),
    /// Nothing speaks against it, and too little was seen.
    Open(Figures<'a>),
    /// Enough was seen, or the evidence says that it isn't worse.
    Good(Figures<'a>),
}

pub(crate) fn judge(config: &Config<'_>, facts: &Facts, memo: &Memo, start: Start) -> Decision {
    let mut decision = Bench::new(config, facts, memo).decide();
    if start == Start::Lost {
        // Last, because it isn't why; but it is said, because it explains why an answer takes longer.
        decision.reasons.truncate(REASONS_MAX - 1);
        decision.reasons.push("what was remembered can't be read by this version: judged afresh".into());
    }
    decision
}

/// All objectives, judged one by one.
struct Bench<'a> {
    config: &'a Config<'a>,
    facts: &'a Facts,
    standings: Vec<Standing<'a>>,
}

impl<'a> Bench<'a> {
    fn new(config: &'a Config<'a>, facts: &'a Facts, memo: &Memo) -> Self {
        // Bonferroni: each of `n` critical objectives has to reach `n / a` alone. The mean of their e-values would be a
        // valid test, too, and a little sooner where several rise together (Vovk and Wang, E-values, Annals of Statistics
        // 2021); but then nobody could say which objective it was.
        let critical = facts.objectives.iter().filter(|objective| objective.critical).count().max(1);
        let standings = facts.objectives.iter().map(|objective| {
            let ledger = memo.ledgers.get(&objective.name);
            ledger.map_or(Standing::Silent(objective, "candidate"), |ledger| {
                standing(config, facts, objective, ledger, critical as f64)
            })
        });
        Self { config, facts, standings: standings.collect() }
    }

    /// Told of those that `which` picks, the weightiest first.
    fn tell(&self, which: impl Fn(&Standing<'_>) -> bool) -> Vec<String> {
        self.standings.iter().filter(|standing| which(standing)).take(REASONS_MAX).map(reason).collect()
    }

    fn decide(&self) -> Decision {
        let Self { config, facts, .. } = self;
        let worse = |scope: Scope| move |standing: &Standing<'_>| matches!(standing, Standing::Worse(f) if f.objective.critical && f.objective.scope == scope);
        let local = self.tell(worse(Scope::Local));
        if !local.is_empty() {
            return config.remedy.roll_back(facts, local);
        }
        let dependency = self.tell(worse(Scope::Dependency));
        if !dependency.is_empty() {
            // Everybody who depends on it sees the same. Moving the candidate would help nobody.
            return Decision { action: Action::Freeze, reasons: dependency };
        }
        let incident =
            self.tell(|standing| matches!(standing, Standing::Incident(objective, ..) if objective.critical));
        if !incident.is_empty() {
            return Decision { action: Action::Freeze, reasons: incident };
        }
        if let Some(decision) = self.without_data() {
            return decision;
        }
        if !facts.infra.is_empty() {
            return config.remedy.for_the_machine(facts);
        }
        if let Some(decision) = self.unsettled() {
            return decision;
        }
        self.go_on()
    }

    /// Nothing is known, or there is nothing to compare with; so nothing moves.
    fn without_data(&self) -> Option<Decision> {
        let Self { config, facts, .. } = self;
        let is_missing = |standing: &Standing<'_>| match standing {
            Standing::Silent(objective, _) => objective.critical,
            // A release that has all the traffic has nothing beside it that it could be compared with.
            Standing::Alone(objective) => objective.critical && facts.on_trial && facts.stage < STAGE_ALL,
            Standing::Incident(..)
            | Standing::Worse(_)
            | Standing::Doubted(_)
            | Standing::Open(_)
            | Standing::Good(_) => false,
        };
        let mut reasons = self.tell(is_missing);
        if facts.objectives.iter().all(|objective| !objective.critical) {
            reasons.push("no critical objective is configured: there is nothing to judge by".into());
        }
        if reasons.is_empty() {
            return None;
        }
        Some(config.remedy.without_data(facts, reasons))
    }

    /// Nothing critical speaks for going back, and still something isn't as it should be.
    fn unsettled(&self) -> Option<Decision> {
        let limit = self.config.anomaly;
        let score = self.facts.anomaly.map(u32::from).filter(|&score| score >= limit);
        let mut reasons: Vec<_> = score
            .map(|score| format!("anomaly score {score} of 1000 permille, at least {limit}"))
            .into_iter()
            .collect();
        reasons.extend(
            self.tell(|standing| matches!(standing, Standing::Worse(figures) if !figures.objective.critical)),
        );
        reasons.truncate(REASONS_MAX);
        let windows = self.windows_of_a_cluster();
        (!reasons.is_empty()).then_some(Decision { action: Action::Slow(windows), reasons })
    }

    /// Everything critical was compared, as far as it could be.
    fn go_on(&self) -> Decision {
        let doubted = self.tell(|standing| matches!(standing, Standing::Doubted(f) if f.objective.critical));
        if !doubted.is_empty() {
            return Decision { action: Action::Slow(self.windows_of_a_cluster()), reasons: doubted };
        }
        let is_open = |standing: &Standing<'_>| matches!(standing, Standing::Open(f) if f.objective.critical);
        let open = self.tell(is_open);
        if self.facts.on_trial && !open.is_empty() {
            let windows = self.standings.iter().filter(|standing| is_open(standing)).map(|standing| {
                let Standing::Open(figures) = standing else { return 1 };
                let missing = u64::from(self.config.exposure).saturating_sub(figures.exposed);
                let windows = figures.objective.candidate.len() as u64;
                let recent: u64 =
                    figures.objective.candidate.iter().map(|window| u64::from(window.samples)).sum();
                missing.saturating_mul(windows).div_ceil(recent.max(1)).clamp(1, SLOW_MAX)
            });
            let windows = windows.max().unwrap_or(1);
            // At most 100, as just said.
            return Decision { action: Action::Slow(windows as u32), reasons: open };
        }
        let mut reasons = self.tell(
            |standing| matches!(standing, Standing::Good(f) | Standing::Open(f) if f.objective.critical),
        );
        if reasons.is_empty() {
            reasons.push(if self.facts.on_trial {
                "the release has all the traffic: there is no side left to compare it with".into()
            } else {
                "nothing is on trial and there is no baseline: watched, to know how bursty the objectives are"
                    .into()
            });
        }
        Decision { action: Action::Proceed, reasons }
    }

    /// Before a cluster is over, its windows are one observation.
    fn windows_of_a_cluster(&self) -> u32 {
        let span =
            self.facts.objectives.iter().filter_map(|o| o.candidate.last()).map(|window| window.span).max();
        let windows = self.config.cluster_ms.div_ceil(span.unwrap_or(1).max(1)).clamp(1, SLOW_MAX);
        // At most 100, as just said.
        windows as u32
    }
}

fn standing<'a>(
    config: &Config<'_>,
    facts: &Facts,
    objective: &'a Objective,
    ledger: &Ledger,
    critical: f64,
) -> Standing<'a> {
    let is_silent =
        |side: &[Window]| side.iter().rev().take(config.silent as usize).all(|window| window.samples == 0);
    if is_silent(&objective.candidate) {
        return Standing::Silent(objective, "candidate");
    }
    if objective.baseline.is_empty() {
        return Standing::Alone(objective);
    }
    if is_silent(&objective.baseline) {
        return Standing::Silent(objective, "baseline");
    }
    if facts.now < ledger.paused_until {
        let sum = |side: &[Window]| {
            side.iter().fold(Count::default(), |sum, window| sum.plus(Count::of(window)).unwrap_or(sum))
        };
        return Standing::Incident(objective, sum(&objective.candidate), sum(&objective.baseline));
    }
    let figures = figures(config, objective, ledger, critical);
    let reaches = |log: Option<f64>, needed: f64| log.is_some_and(|log| log >= needed);
    let is_worse = figures.exact >= figures.needed
        && reaches(figures.tempered, figures.needed)
        && reaches(figures.beyond_margin, libm::log(BORDER));
    if is_worse {
        return Standing::Worse(figures);
    }
    if figures.exact >= libm::log(SUSPICIOUS) {
        return Standing::Doubted(figures);
    }
    let no_worse = || {
        scales(ledger, |pairs, correlation| evidence::no_worse(pairs, config.tolerable, correlation))
            >= libm::log(BORDER)
    };
    if facts.on_trial && figures.exposed < u64::from(config.exposure) && !no_worse() {
        return Standing::Open(figures);
    }
    Standing::Good(figures)
}

fn figures<'a>(config: &Config<'_>, objective: &'a Objective, ledger: &Ledger, critical: f64) -> Figures<'a> {
    let sum = |of: fn(&Pair) -> Count| {
        let compared = ledger.clusters.iter().filter(|pair| pair.compares()).map(of);
        compared.fold(Count::default(), |sum, count| sum.plus(count).unwrap_or(sum))
    };
    let exact = evidence::worse(&ledger.clusters, 1.0, 0.0);
    let matters = exact >= libm::log(SUSPICIOUS);
    let least = |allowed| {
        matters.then(|| scales(ledger, |pairs, correlation| evidence::worse(pairs, allowed, correlation)))
    };
    Figures {
        objective,
        candidate: sum(|pair| pair.candidate),
        baseline: sum(|pair| pair.baseline),
        clusters: ledger.clusters.len(),
        correlation: ledger.learned.short.correlation().max(ledger.learned.long.correlation()),
        exact,
        tempered: least(1.0),
        beyond_margin: least(config.margin),
        needed: libm::log(critical / (config.error * share_of(ledger.epoch))),
        exposed: ledger.exposed,
    }
}

/// The least that the short and the long clusters say.
fn scales(ledger: &Ledger, say: impl Fn(&[Pair], f64) -> f64) -> f64 {
    let short = say(&ledger.clusters, ledger.learned.short.correlation());
    short.min(say(&merged(&ledger.clusters, LONG), ledger.learned.long.correlation()))
}

/// An epoch's share of the error rate. All of them together are at most 1, so that the rate is one of the whole trial,
/// however long it is: `4/5`, then `1/5` as `1/2 + 1/6 + 1/12 + ...` of it.
fn share_of(epoch: u32) -> f64 {
    if epoch == 0 {
        return FIRST_EPOCH;
    }
    let epoch = f64::from(epoch);
    (1.0 - FIRST_EPOCH) / (epoch * (epoch + 1.0))
}

fn reason(standing: &Standing<'_>) -> String {
    match standing {
        Standing::Silent(objective, side) => {
            format!("no data for objective {} of the {side} in its newest windows", objective.name)
        }
        Standing::Alone(objective) => {
            format!("objective {} has no baseline that the candidate could be held against", objective.name)
        }
        Standing::Incident(objective, candidate, baseline) => format!(
            "{} is bad on both sides ({}, {}): the world is bad, not the candidate, and nothing is judged meanwhile",
            objective.name,
            share("candidate", *candidate),
            share("baseline", *baseline),
        ),
        Standing::Worse(figures) => told(figures, "is worse"),
        Standing::Doubted(figures) => told(figures, "may be worse"),
        Standing::Open(figures) => {
            let seen = format!("isn't shown to be worse, but only {} samples were seen", figures.exposed);
            told(figures, &seen)
        }
        Standing::Good(figures) => told(figures, "isn't shown to be worse"),
    }
}

/// The longest reason, in bytes. Only the longest names with the largest counts get there, and lose the end.
const REASON_BYTES_MAX: usize = 256;

/// Beyond this power of ten an e-value is told as this: nobody needs the rest.
const TOLD_MAX: f64 = 999.0;

/// The numbers; e-values as powers of ten, because they span hundreds of them.
fn told(figures: &Figures<'_>, verdict: &str) -> String {
    let log10 = |log: f64| decimal((log * core::f64::consts::LOG10_E).clamp(-TOLD_MAX, TOLD_MAX));
    let mut text = format!(
        "{} {verdict}: {}, {}; e-value 10^{} of 10^{}",
        figures.objective.name,
        share("candidate", figures.candidate),
        share("baseline", figures.baseline),
        log10(figures.exact),
        log10(figures.needed),
    );
    if let (Some(tempered), Some(margin)) = (figures.tempered, figures.beyond_margin) {
        text.push_str(&format!(
            ", bursts 10^{}, margin 10^{} of 10^{}",
            log10(tempered),
            log10(margin),
            log10(libm::log(BORDER)),
        ));
    }
    text.push_str(&format!("; {} clusters, correlation {}", figures.clusters, decimal(figures.correlation),));
    while text.len() > REASON_BYTES_MAX {
        text.pop();
    }
    text
}

fn share(side: &str, count: Count) -> String {
    format!("{side} {}/{} bad ({} %)", count.bad, count.samples, decimal(count.rate() * 100.0))
}

/// With two decimals. Formatting floats would bring 20 KB of tables.
fn decimal(value: f64) -> String {
    let rounded = (value.abs() * 100.0 + 0.5) as u64;
    let sign = if value < 0.0 && rounded > 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", rounded / 100, rounded % 100)
}

#[cfg(test)]
mod tests;
