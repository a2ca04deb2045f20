//! The tree itself. Every leaf says why, with the numbers that led there.

use alloc::{format, string::String, vec, vec::Vec};

use backstay_sdk::policy::{Action, Decision, Facts, How, InfraKind, Objective, Schema, Scope};

use crate::{config::Config, streak::Streak};

/// The most reasons that a decision has.
const REASONS_MAX: usize = 8;

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
        return roll_back(config, facts, lasting);
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
        return infra_flake(config, facts);
    }
    let why = format!("all of {} objectives with data were kept in the newest window", signals.known);
    Decision { action: Action::Proceed, reasons: vec![why] }
}

/// Back, in the way that the stage asks for; unless the data can't go back.
fn roll_back(config: &Config<'_>, facts: &Facts, mut reasons: Vec<String>) -> Decision {
    let (stage, switch) = (u32::from(facts.stage), config.switch_stage);
    let (action, why) = match facts.schema {
        Schema::OneWay(version) => {
            let why =
                format!("the release before can't live with schema {version}: neither forward nor back");
            (Action::Pause, why)
        }
        Schema::Unknown | Schema::Compatible(_) if stage < switch => {
            let why = format!("stage {stage} of 1000 permille, below {switch}: the canary is aborted");
            (Action::RollBack(How::AbortCanary), why)
        }
        Schema::Unknown | Schema::Compatible(_) => {
            let why = format!(
                "stage {stage} of 1000 permille, at least {switch}: all is switched to stable, and frozen"
            );
            (Action::RollBack(How::SwitchAndFreeze), why)
        }
    };
    reasons.truncate(REASONS_MAX - 1);
    reasons.push(why);
    Decision { action, reasons }
}

/// Nothing is known, so nothing moves. A machine that is known to be in trouble is mended: that is data.
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
    reasons.truncate(REASONS_MAX - 1);
    if facts.infra.is_empty() || facts.attempts >= config.heal_attempts {
        reasons.push("what is missing never moves anything".into());
        return Decision { action: Action::Freeze, reasons };
    }
    reasons.insert(0, trouble(config, facts));
    heal(config, reasons)
}

/// A critical objective is broken, but not for long enough to go back.
fn first_bad_window(config: &Config<'_>, facts: &Facts, signals: &Signals<'_>) -> Option<Decision> {
    let mut why = reasons(config, signals.local.iter().chain(&signals.dependency));
    let longest = signals.local.iter().chain(&signals.dependency).map(|breach| breach.windows).max()?;
    why.truncate(REASONS_MAX - 1);
    if !facts.on_trial && !signals.local.is_empty() && facts.attempts < config.heal_attempts {
        why.push(format!(
            "the release is confirmed: mending comes first, attempt {} of {}",
            facts.attempts + 1,
            config.heal_attempts
        ));
        return Some(heal(config, why));
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

/// The machine is in trouble and nothing says that it is the code.
fn infra_flake(config: &Config<'_>, facts: &Facts) -> Decision {
    let why = vec![trouble(config, facts)];
    if facts.attempts < config.heal_attempts {
        return heal(config, why);
    }
    // A network that is gone is gone for everybody on it, and no release brings it back.
    if facts.infra.iter().all(|infra| infra.kind == InfraKind::Network) {
        return Decision { action: Action::Freeze, reasons: why };
    }
    roll_back(config, facts, why)
}

fn heal(config: &Config<'_>, reasons: Vec<String>) -> Decision {
    Decision { action: Action::Heal(config.playbook()), reasons }
}

fn trouble(config: &Config<'_>, facts: &Facts) -> String {
    let mut text = String::from("the machine is in trouble:");
    for (n, infra) in facts.infra.iter().enumerate() {
        let kind = match infra.kind {
            InfraKind::ProcessExited => "process exited",
            InfraKind::OutOfMemory => "out of memory",
            InfraKind::MachineLost => "machine lost",
            InfraKind::Disk => "disk",
            InfraKind::Network => "network",
        };
        let comma = if n == 0 { "" } else { "," };
        text.push_str(&format!("{comma} {kind} {} times", infra.count));
    }
    text.push_str(&format!("; healed {} of {} times", facts.attempts, config.heal_attempts));
    text
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
