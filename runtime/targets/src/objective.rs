//! What is promised of a target, and how it is measured.
//!
//! Here: the four forms, and the rule that an objective has exactly one. Not here: asking (the signals), judging (a policy).

use backstay_model::{Name, Scope};

use crate::{
    Finite,
    file::{BurnTable, ObjectiveTable, RatioTable, ValueTable},
    text::{MetricName, Query},
};

/// Something that is promised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objective {
    /// What it is called in facts, reasons and evidence. Unique in its target.
    pub name: Name,
    /// Whether breaking it is worth going back for.
    pub critical: bool,
    /// Whose fault it can be.
    pub scope: Scope,
    /// How it is measured.
    pub spec: Spec,
}

/// How an objective is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Bad events of all events, for both sides or one. What is too many, the policy says.
    Ratio {
        /// The side that is judged.
        candidate: RatioQueries,
        /// The side that it is judged against.
        baseline: Option<RatioQueries>,
    },
    /// One number a window for each side, held against a limit.
    Value {
        /// The side that is judged.
        candidate: Query,
        /// The side that it is judged against.
        baseline: Option<Query>,
        /// From where on it is bad.
        limit: Limit,
    },
    /// An error budget that is spent too fast, in a long and in a short window at once.
    Burn {
        /// The share of bad events in the long window, 0 to 1.
        ratio_long: Query,
        /// The same in the short one.
        ratio_short: Query,
        /// The share of good events that is promised, more than 0 and less than 1.
        slo: Finite,
        /// How many times faster than the budget lasts; above 0, and so that it can be reached.
        factor: Finite,
    },
    /// A figure that a pipeline brings.
    Metric {
        /// What the pipeline calls it.
        metric: MetricName,
        /// From where on it is bad.
        limit: Limit,
    },
}

/// Two counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatioQueries {
    /// How many were bad.
    pub bad: Query,
    /// Of how many.
    pub total: Query,
}

/// From where on a number is bad. The limit itself is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bad above.
    Above(Finite),
    /// Bad below.
    Below(Finite),
}

impl Limit {
    /// Whether `number` breaks it. NaN is no number: it never gets here as data.
    #[must_use]
    pub fn is_broken_by(self, number: f64) -> bool {
        match self {
            Self::Above(limit) => number > limit.get(),
            Self::Below(limit) => number < limit.get(),
        }
    }
}

impl Spec {
    /// Its queries, each with its key below the objective's.
    pub fn queries(&self) -> impl Iterator<Item = (&'static str, &Query)> {
        let queries: Vec<(&'static str, &Query)> = match self {
            Self::Ratio { candidate, baseline } => {
                let mut queries =
                    vec![("candidate.bad", &candidate.bad), ("candidate.total", &candidate.total)];
                if let Some(baseline) = baseline {
                    queries.extend([("baseline.bad", &baseline.bad), ("baseline.total", &baseline.total)]);
                }
                queries
            }
            Self::Value { candidate, baseline, .. } => {
                let baseline = baseline.iter().map(|query| ("value.baseline", query));
                [("value.candidate", candidate)].into_iter().chain(baseline).collect()
            }
            Self::Burn { ratio_long, ratio_short, .. } => {
                vec![("burn.ratio_long", ratio_long), ("burn.ratio_short", ratio_short)]
            }
            Self::Metric { .. } => Vec::new(),
        };
        queries.into_iter()
    }
}

/// What is wrong with one objective: the key below it (nothing: the objective itself), and what was expected.
type Wrong = (&'static str, String);

impl Objective {
    /// The objective that a table stands for.
    pub(crate) fn of(table: &ObjectiveTable) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let spec = spec(table, &mut wrong);
        match spec {
            Some(spec) if wrong.is_empty() => Ok(Self {
                name: table.name.clone(),
                critical: table.critical,
                scope: table.scope.into(),
                spec,
            }),
            Some(_) | None => Err(wrong),
        }
    }
}

fn spec(table: &ObjectiveTable, wrong: &mut Vec<Wrong>) -> Option<Spec> {
    const FORMS: &str = "candidate (with baseline, if there is one), value, burn and metric";
    let ObjectiveTable { candidate, baseline, value, burn, metric, .. } = table;
    let forms = [
        ("candidate", candidate.is_some() || baseline.is_some()),
        ("value", value.is_some()),
        ("burn", burn.is_some()),
        ("metric", metric.is_some()),
    ];
    let found: Vec<_> = forms.iter().filter(|(_, is_there)| *is_there).map(|(form, _)| *form).collect();
    match found.as_slice() {
        [] => {
            wrong.push(("", format!("expected exactly one of {FORMS}, found none")));
            None
        }
        ["candidate"] => {
            no_limit(table, "a ratio: its policy says how many are too many", wrong);
            let Some(candidate) = candidate else {
                wrong.push((
                    "baseline",
                    "expected a candidate beside it: that is the side that is judged".into(),
                ));
                return None;
            };
            Some(Spec::Ratio { candidate: candidate.into(), baseline: baseline.as_ref().map(Into::into) })
        }
        ["value"] => {
            let limit = limit(table, wrong)?;
            let ValueTable { candidate, baseline } = value.clone()?;
            Some(Spec::Value { candidate, baseline, limit })
        }
        ["burn"] => {
            no_limit(table, "a burn rate: its factor says how fast is too fast", wrong);
            self::burn(burn.clone()?, wrong)
        }
        ["metric"] => {
            let limit = limit(table, wrong)?;
            Some(Spec::Metric { metric: metric.clone()?, limit })
        }
        [_, ..] => {
            wrong.push(("", format!("expected exactly one of {FORMS}, found {}", found.join(" and "))));
            None
        }
    }
}

impl From<&RatioTable> for RatioQueries {
    fn from(table: &RatioTable) -> Self {
        Self { bad: table.bad.clone(), total: table.total.clone() }
    }
}

fn burn(table: BurnTable, wrong: &mut Vec<Wrong>) -> Option<Spec> {
    let BurnTable { ratio_long, ratio_short, slo, factor } = table;
    if !(slo.get() > 0.0 && slo.get() < 1.0) {
        wrong.push(("burn.slo", format!("expected more than 0 and less than 1, found {}", slo.get())));
        return None;
    }
    // At this rate all events are bad. It can't be more, so a higher factor would never be reached. A promise is given in
    // decimals, so its distance to 1 is off by a few units in the last place.
    let most = (1.0 / (1.0 - slo.get())) * (1.0 + 1e-9);
    if !(factor.get() > 0.0 && factor.get() <= most) {
        let why = format!(
            "expected more than 0 and at most {most:.1}, where all events are bad with slo = {}; found {}",
            slo.get(),
            factor.get()
        );
        wrong.push(("burn.factor", why));
        return None;
    }
    Some(Spec::Burn { ratio_long, ratio_short, slo, factor })
}

fn limit(table: &ObjectiveTable, wrong: &mut Vec<Wrong>) -> Option<Limit> {
    match (table.above, table.below) {
        (Some(above), None) => Some(Limit::Above(above)),
        (None, Some(below)) => Some(Limit::Below(below)),
        (Some(_), Some(_)) => {
            wrong.push(("below", "expected either this or above, not both".into()));
            None
        }
        (None, None) => {
            wrong.push(("", "is missing: expected above or below, from where on it is bad".into()));
            None
        }
    }
}

fn no_limit(table: &ObjectiveTable, form: &str, wrong: &mut Vec<Wrong>) {
    for (key, is_there) in [("above", table.above.is_some()), ("below", table.below.is_some())] {
        if is_there {
            wrong.push((key, format!("isn't for {form}")));
        }
    }
}
