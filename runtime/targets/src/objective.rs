//! From the table of an objective to what `signals` can measure.
//!
//! Here: the rule that an objective has exactly one of five forms, and what each of them takes. Not here: what the forms mean, and
//! asking (`signals`), judging (a policy).

use backstay_signals::{Burn, BurnRate, BurnRateError, Limit, ObjectiveSpec, Query, Ratio, Source};

use crate::file::{BurnTable, ObjectiveTable, RatioTable};

/// What is wrong with one table: the key below it (nothing: the table itself), and what was expected.
pub(crate) type Wrong = (&'static str, String);

/// The objective that a table stands for.
pub(crate) fn objective(table: &ObjectiveTable) -> Result<ObjectiveSpec, Wrong> {
    let source = source(table)?;
    Ok(ObjectiveSpec {
        name: table.name.clone(),
        critical: table.critical,
        scope: table.scope.into(),
        source,
    })
}

/// Its queries, each with its key below the objective's.
pub(crate) fn queries(source: &Source) -> Vec<(&'static str, &Query)> {
    match source {
        Source::Ratio { candidate, baseline } => {
            let baseline = baseline
                .iter()
                .flat_map(|ratio| [("baseline.bad", &ratio.bad), ("baseline.total", &ratio.total)]);
            [("candidate.bad", &candidate.bad), ("candidate.total", &candidate.total)]
                .into_iter()
                .chain(baseline)
                .collect()
        }
        Source::Value { candidate, baseline, .. } => {
            let baseline = baseline.iter().map(|query| ("value.baseline", query));
            [("value.candidate", candidate)].into_iter().chain(baseline).collect()
        }
        Source::Burn(Burn { ratio_long, ratio_short, .. }) => {
            vec![("burn.ratio_long", ratio_long), ("burn.ratio_short", ratio_short)]
        }
        Source::Metric { .. } | Source::Alert { .. } => Vec::new(),
    }
}

fn source(table: &ObjectiveTable) -> Result<Source, Wrong> {
    let ObjectiveTable { candidate, baseline, value, burn, metric, alert, .. } = table;
    if candidate.is_none() && baseline.is_some() {
        return Err(("candidate", "is missing: a baseline is there, and nothing to hold against it".into()));
    }
    match (candidate, value, burn, metric, alert) {
        (Some(candidate), None, None, None, None) => {
            no_limit(table, "a ratio: its policy says how many are too many")?;
            Ok(Source::Ratio { candidate: candidate.into(), baseline: baseline.as_ref().map(Into::into) })
        }
        (None, Some(value), None, None, None) => Ok(Source::Value {
            candidate: value.candidate.0.clone(),
            baseline: value.baseline.clone().map(|query| query.0),
            limit: limit(table)?,
        }),
        (None, None, Some(burn), None, None) => {
            no_limit(table, "a burn rate: its factor says how fast is too fast")?;
            self::burn(burn).map(Source::Burn)
        }
        (None, None, None, Some(metric), None) => {
            Ok(Source::Metric { name: metric.0.clone(), limit: limit(table)? })
        }
        (None, None, None, None, Some(alert)) => {
            no_limit(table, "an alert: its rule says from where on it fires")?;
            Ok(Source::Alert { name: alert.0.clone() })
        }
        (_, _, _, _, _) => {
            let forms = [
                ("candidate", candidate.is_some()),
                ("value", value.is_some()),
                ("burn", burn.is_some()),
                ("metric", metric.is_some()),
                ("alert", alert.is_some()),
            ];
            let found: Vec<_> =
                forms.iter().filter(|(_, is_there)| *is_there).map(|(form, _)| *form).collect();
            let found = if found.is_empty() { "none".into() } else { found.join(" and ") };
            let forms = "candidate (with baseline, if there is one), value, burn, metric and alert";
            Err(("", format!("expected exactly one of {forms}, found {found}")))
        }
    }
}

impl From<&RatioTable> for Ratio {
    fn from(table: &RatioTable) -> Self {
        Self { bad: table.bad.0.clone(), total: table.total.0.clone() }
    }
}

fn burn(table: &BurnTable) -> Result<Burn, Wrong> {
    let rate = BurnRate::new(table.slo.0.get(), table.factor.0.get()).map_err(|error| {
        let key = match error {
            BurnRateError::Slo { .. } => "burn.slo",
            BurnRateError::Factor { .. } | BurnRateError::Unreachable { .. } => "burn.factor",
        };
        (key, error.help().map_or_else(|| error.to_string(), |help| format!("{error}: {help}")))
    })?;
    Ok(Burn { ratio_long: table.ratio_long.0.clone(), ratio_short: table.ratio_short.0.clone(), rate })
}

fn limit(table: &ObjectiveTable) -> Result<Limit, Wrong> {
    match (table.above, table.below) {
        (Some(above), None) => Ok(Limit::Above(above.0)),
        (None, Some(below)) => Ok(Limit::Below(below.0)),
        (Some(_), Some(_)) => Err(("below", "expected either this or above, not both".into())),
        (None, None) => Err(("above", "is missing: expected this or below, from where on it is bad".into())),
    }
}

fn no_limit(table: &ObjectiveTable, form: &str) -> Result<(), Wrong> {
    let limits = [("above", table.above.is_some()), ("below", table.below.is_some())];
    match limits.into_iter().find(|(_, is_there)| *is_there) {
        Some((key, _)) => Err((key, format!("isn't for {form}"))),
        None => Ok(()),
    }
}
