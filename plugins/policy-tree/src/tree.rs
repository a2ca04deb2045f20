//! The tree itself. Every leaf says why, with the numbers that led there.

use alloc::{format, string::String, vec, vec::Vec};

use backstay_sdk::{
    policy::{Action, Decision, Facts, Objective, Scope},
    remedy::REASONS_MAX,
};

use crate::{config::Config, streak::Streak};

/// An objective that is broken, and for how long.
struct Breach<'a> {
    objective: &'a Objective,
    windows: u32,
    bad: u32,
    samples: u32,
}

/// What the objectives say, sorted by what follows from it.
#[derive(Default)]
struct Signals<'a> {
    /// Critical and local.
    local: Vec<Breach<'a>>,
    /// Critical and of a dependency.
    dependency: Vec<Breach<'a>>,
    /// Not critical.
    minor: Vec<Breach<'a>>,
    /// Critical, and nothing is known.
    missing: Vec<&'a Objective>,
    /// How many of all there is data of.
    known: usize,
}

impl<'a> Signals<'a> {
    fn read(config: &Config<'_>, facts: &'a Facts) -> Self {
        let mut signals = Self::default();
        for objective in &facts.objectives {
            match Streak::of(config, objective) {
                Streak::Unknown if objective.critical => signals.missing.push(objective),
                Streak::Unknown => {}
                Streak::Kept => signals.known += 1,
                Streak::Broken { windows, bad, samples } => {
                    signals.known += 1;
                    let breach = Breach { objective, windows, bad, samples };
                    match (objective.critical, objective.scope) {
                        (true, Scope::Local) => signals.local.push(breach),
                        (true, Scope::Dependency) => signals.dependency.push(breach),
                        (false, Scope::Local | Scope::Dependency) => signals.minor.push(breach),
                    }
                }
            }
        }
        signals
    }
}

pub(crate) fn judge(config: &Config<'_>, facts: &Facts) -> Decision {
    let signals = Signals::read(config, facts);
    let long = |breach: &&Breach<'_>| breach.windows >= config.consecutive;

    let lasting = reasons(config, signals.local.iter().filter(long));
    if !lasting.is_empty() {
        return config.remedy.roll_back(facts, lasting);
    }
    let lasting = reasons(config, signals.dependency.iter().filter(long));
    if !lasting.is_empty() {
        // Everybody who depends on it sees the same. Moving them all would help nobody.
        return Decision { action: Action::Freeze, reasons: lasting };
    }
    if !signals.missing.is_empty() || signals.known == 0 {
        return without_data(config, facts, &signals);
    }
    if let Some(decision) = first_bad_window(config, facts, &signals) {
        return decision;
    }
    if let Some(decision) = unsettled(config, facts, &signals) {
        return decision;
    }
    if !facts.infra.is_empty() {
        return config.remedy.for_the_machine(facts);
    }
    let why = format!("all of {} objectives with data were kept in the newest window", signals.known);
    Decision { action: Action::Proceed, reasons: vec![why] }
}

/// Critical objectives have no data, or none has.
fn without_data(config: &Config<'_>, facts: &Facts, signals: &Signals<'_>) -> Decision {
    let total = facts.objectives.len();
    let mut reasons: Vec<_> = signals
        .missing
        .iter()
        .map(|objective| format!("no data for critical objective {} in the newest window", objective.name))
        .collect();
    if signals.known == 0 {
        reasons.insert(0, format!("no data for any of {total} objectives in the newest window"));
    }
    config.remedy.without_data(facts, reasons)
}

/// A critical objective is broken, but not for long enough to go back.
fn first_bad_window(config: &Config<'_>, facts: &Facts, signals: &Signals<'_>) -> Option<Decision> {
    let mut why = reasons(config, signals.local.iter().chain(&signals.dependency));
    let longest = signals.local.iter().chain(&signals.dependency).map(|breach| breach.windows).max()?;
    why.truncate(REASONS_MAX - 1);
    if !facts.on_trial && !signals.local.is_empty() && config.remedy.may_heal(facts) {
        why.push(format!(
            "the release is confirmed: mending comes first, attempt {} of {}",
            facts.attempts + 1,
            config.remedy.attempts()
        ));
        return Some(config.remedy.heal(why));
    }
    // At least 1: what was broken for longer was decided before.
    let windows = config.consecutive.saturating_sub(longest).max(1);
    why.push(format!("{windows} more in a row would be enough to act"));
    Some(Decision { action: Action::Slow(windows), reasons: why })
}

/// Every critical promise is kept, and still something isn't as it should be.
fn unsettled(config: &Config<'_>, facts: &Facts, signals: &Signals<'_>) -> Option<Decision> {
    let limit = config.anomaly;
    let score = facts.anomaly.map(u32::from).filter(|&score| score >= limit);
    let mut why: Vec<_> = score
        .map(|score| {
            format!(
                "anomaly score {score} of 1000 permille, at least {limit}, with all critical objectives kept"
            )
        })
        .into_iter()
        .collect();
    let lasting = |breach: &&Breach<'_>| breach.windows >= config.consecutive;
    why.extend(reasons(config, signals.minor.iter().filter(lasting)));
    why.truncate(REASONS_MAX);
    (!why.is_empty()).then_some(Decision { action: Action::Slow(config.slow_windows), reasons: why })
}

fn reasons<'a>(config: &Config<'_>, breaches: impl Iterator<Item = &'a Breach<'a>>) -> Vec<String> {
    let reason = |breach: &Breach<'_>| {
        let Breach { objective, windows, bad, samples } = breach;
        let (weight, of) = match (objective.critical, objective.scope) {
            (true, Scope::Local) => ("critical", ""),
            (true, Scope::Dependency) => ("critical", " of a dependency"),
            (false, Scope::Local) => ("minor", ""),
            (false, Scope::Dependency) => ("minor", " of a dependency"),
        };
        let share = u64::from(*bad) * 1000 / u64::from((*samples).max(1));
        format!(
            "{weight} objective {}{of} was broken in {windows} consecutive windows of {} that count ({bad} of {samples} \
             samples bad, {share} permille, limit {})",
            objective.name,
            config.consecutive,
            config.breach(&objective.name),
        )
    };
    breaches.take(REASONS_MAX).map(reason).collect()
}

#[cfg(test)]
mod tests;
