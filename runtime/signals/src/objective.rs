//! What was promised of a target, where its numbers come from, and the window that the numbers make.
//!
//! Pure: answers in, windows out. The two sides never touch: what one side lacks changes nothing about the other, and
//! a number that one side lacks is never borrowed from the other.
//!
//! Not here: asking (`prometheus`), keeping windows (`series`), and what a window means (the policy).

use std::collections::BTreeMap;

use backstay_model::{Millis, Mono, Name, Scope, Window};

use crate::{AlertName, Answer, BurnRate, Finite, MetricName, NoData, Query};

/// One promise of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveSpec {
    /// Its name in the configuration.
    pub name: Name,
    /// Whether breaking it is worth going back for.
    pub critical: bool,
    /// Whose fault it can be.
    pub scope: Scope,
    /// Where its numbers come from.
    pub source: Source,
}

/// Where an objective's numbers come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// How many there were, and how many of them were bad: a window of many samples.
    Ratio {
        /// The side that is judged.
        candidate: Ratio,
        /// The side that it is judged against, if there is one.
        baseline: Option<Ratio>,
    },
    /// One value with a limit: a window of one sample.
    Value {
        /// The side that is judged.
        candidate: Query,
        /// The side that it is judged against, if there is one.
        baseline: Option<Query>,
        /// Where bad begins.
        limit: Limit,
    },
    /// An error budget, and how fast it may be spent: a window of one sample.
    Burn(Burn),
    /// A number that a pipeline sends: a window of one sample.
    Metric {
        /// Its name in the pipeline's document.
        name: MetricName,
        /// Where bad begins.
        limit: Limit,
    },
    /// An alert of Alertmanager: a window of one sample, and of none while nobody said anything.
    Alert {
        /// Its `alertname`.
        name: AlertName,
    },
}

/// Two counts over the same span: `sum(increase(x[1m]))` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// How many were bad.
    pub bad: Query,
    /// How many there were.
    pub total: Query,
}

/// The error ratios over a long and a short span, 0 to 1, and what is too much.
#[derive(Clone, Debug, PartialEq)]
pub struct Burn {
    /// Over the long one.
    pub ratio_long: Query,
    /// Over the short one.
    pub ratio_short: Query,
    /// The SLO and the factor.
    pub rate: BurnRate,
}

/// Where bad begins. The limit itself is still good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Bad when above.
    Above(Finite),
    /// Bad when below.
    Below(Finite),
}

impl Limit {
    /// Whether `value` is past the limit.
    #[must_use]
    pub fn is_broken_by(&self, value: Finite) -> bool {
        match self {
            Self::Above(limit) => value > *limit,
            Self::Below(limit) => value < *limit,
        }
    }
}

/// Which side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one that is judged.
    Candidate,
    /// The one that it is judged against.
    Baseline,
}

/// Which of a side's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// How many were bad.
    Bad,
    /// How many there were.
    Total,
    /// The one value; of [`Source::Alert`] 1 while it fires, and 0 once it was said to be over.
    Value,
    /// The error ratio over the long span.
    Long,
    /// The error ratio over the short span.
    Short,
}

/// A question that an objective has for Prometheus, and what the answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// For which side.
    pub side: Side,
    /// For which of its numbers.
    pub part: Part,
    /// The query.
    pub query: &'a Query,
}

/// What came of an objective's questions. What isn't in it was not answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers(BTreeMap<(Side, Part), Answer>);

/// What an objective's answers make of the span that has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of the side that is judged. 0 samples: no data.
    pub candidate: Window,
    /// Of the side that it is judged against; `None` if the objective has no such side.
    pub baseline: Option<Window>,
}

impl Answers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an answer where it belongs.
    pub fn put(&mut self, side: Side, part: Part, answer: Answer) {
        self.0.insert((side, part), answer);
    }

    /// An answer; [`NoData::NotAsked`] if there is none.
    ///
    /// # Errors
    /// There is no number, and this is why.
    pub fn get(&self, side: Side, part: Part) -> Answer {
        self.0.get(&(side, part)).cloned().unwrap_or(Err(NoData::NotAsked))
    }

    /// What has no number, and why: for people.
    pub fn missing(&self) -> impl Iterator<Item = (Side, Part, &NoData)> {
        self.0.iter().filter_map(|((side, part), answer)| Some((*side, *part, answer.as_ref().err()?)))
    }
}

impl ObjectiveSpec {
    /// What has to be asked of Prometheus for one window. At most 4 questions; none if the numbers come from
    /// elsewhere.
    #[must_use]
    pub fn questions(&self) -> Vec<Question<'_>> {
        let ask = |side, part, query| Question { side, part, query };
        match &self.source {
            Source::Ratio { candidate, baseline } => {
                let sides = [(Side::Candidate, Some(candidate)), (Side::Baseline, baseline.as_ref())];
                sides
                    .into_iter()
                    .filter_map(|(side, ratio)| Some((side, ratio?)))
                    .flat_map(|(side, Ratio { bad, total })| {
                        [ask(side, Part::Bad, bad), ask(side, Part::Total, total)]
                    })
                    .collect()
            }
            Source::Value { candidate, baseline, limit: _ } => {
                let sides = [(Side::Candidate, Some(candidate)), (Side::Baseline, baseline.as_ref())];
                sides.into_iter().filter_map(|(side, query)| Some(ask(side, Part::Value, query?))).collect()
            }
            Source::Burn(Burn { ratio_long, ratio_short, rate: _ }) => vec![
                ask(Side::Candidate, Part::Long, ratio_long),
                ask(Side::Candidate, Part::Short, ratio_short),
            ],
            Source::Metric { .. } | Source::Alert { .. } => Vec::new(),
        }
    }

    /// What the answers make of the span that began at `opened`. A metric or an alert is put among the answers as
    /// the candidate's [`Part::Value`].
    #[must_use]
    pub fn windows(&self, answers: &Answers, opened: Mono, span: Millis) -> Windows {
        let window = |counted: Result<Counted, NoData>| {
            let Counted { samples, bad } = counted.unwrap_or(Counted::NONE);
            Window { opened, span, samples, bad }
        };
        let of = |side| window(self.counted(answers, side));
        Windows { candidate: of(Side::Candidate), baseline: self.has_baseline().then(|| of(Side::Baseline)) }
    }

    /// Whether there is a side to judge against.
    #[must_use]
    pub fn has_baseline(&self) -> bool {
        match &self.source {
            Source::Ratio { baseline, .. } => baseline.is_some(),
            Source::Value { baseline, .. } => baseline.is_some(),
            Source::Burn(_) | Source::Metric { .. } | Source::Alert { .. } => false,
        }
    }

    fn counted(&self, answers: &Answers, side: Side) -> Result<Counted, NoData> {
        let get = |part| answers.get(side, part);
        match &self.source {
            Source::Ratio { .. } => Counted::of(get(Part::Bad)?, get(Part::Total)?),
            Source::Value { limit, .. } | Source::Metric { limit, .. } => {
                Ok(Counted::one(limit.is_broken_by(get(Part::Value)?)))
            }
            // One window alone says nothing: a long one that isn't burning may have begun before the trouble, and the
            // short one that would tell may be the one that is missing.
            Source::Burn(Burn { rate, .. }) => {
                let (long, short) = (get(Part::Long)?, get(Part::Short)?);
                match [long, short].into_iter().find(|ratio| ratio.get() < 0.0) {
                    Some(value) => Err(NoData::NotAShare { value }),
                    None => Ok(Counted::one(rate.burns(long, short))),
                }
            }
            Source::Alert { .. } => Ok(Counted::one(get(Part::Value)?.get() > 0.0)),
        }
    }
}

/// A window's counts: `bad` is at most `samples`.
#[derive(Clone, Copy)]
struct Counted {
    samples: u32,
    bad: u32,
}

impl Counted {
    const NONE: Self = Self { samples: 0, bad: 0 };

    const fn one(is_bad: bool) -> Self {
        Self { samples: 1, bad: is_bad as u32 }
    }

    /// Prometheus extrapolates an increase to the whole span, so counts come as fractions, and the bad ones can be
    /// more than all: <https://prometheus.io/docs/prometheus/latest/querying/functions/#increase>.
    fn of(bad: Finite, total: Finite) -> Result<Self, NoData> {
        let (samples, bad) = (total.count()?, bad.count()?);
        Ok(Self { samples, bad: bad.min(samples) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finite(number: f64) -> Finite {
        Finite::new(number).unwrap()
    }

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    fn spec(source: Source) -> ObjectiveSpec {
        ObjectiveSpec { name: Name::parse("o").unwrap(), critical: true, scope: Scope::Local, source }
    }

    fn ratio(has_baseline: bool) -> ObjectiveSpec {
        let of =
            |side: &str| Ratio { bad: query(&format!("{side}-bad")), total: query(&format!("{side}-all")) };
        spec(Source::Ratio { candidate: of("new"), baseline: has_baseline.then(|| of("old")) })
    }

    /// What the spec makes of these answers: samples and bad ones of each side.
    fn counts(spec: &ObjectiveSpec, given: &[(Side, Part, Answer)]) -> ((u32, u32), Option<(u32, u32)>) {
        let mut answers = Answers::new();
        for (side, part, answer) in given {
            answers.put(*side, *part, answer.clone());
        }
        let (opened, span) = (Mono(5000), Millis(1000));
        let Windows { candidate, baseline } = spec.windows(&answers, opened, span);
        for window in [Some(candidate), baseline].into_iter().flatten() {
            assert_eq!((window.opened, window.span), (opened, span));
            assert!(window.bad <= window.samples);
        }
        ((candidate.samples, candidate.bad), baseline.map(|window| (window.samples, window.bad)))
    }

    #[test]
    fn questions_say_what_their_answers_are_for() {
        let asked = |spec: &ObjectiveSpec| {
            let questions = spec.questions();
            questions
                .iter()
                .map(|q| format!("{:?} {:?} {}", q.side, q.part, q.query.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            asked(&ratio(true)),
            [
                "Candidate Bad new-bad",
                "Candidate Total new-all",
                "Baseline Bad old-bad",
                "Baseline Total old-all"
            ]
        );
        assert_eq!(asked(&ratio(false)).len(), 2);
        let burn = Burn {
            ratio_long: query("l"),
            ratio_short: query("s"),
            rate: BurnRate::new(0.999, 14.4).unwrap(),
        };
        assert_eq!(asked(&spec(Source::Burn(burn))), ["Candidate Long l", "Candidate Short s"]);
        assert!(asked(&spec(Source::Alert { name: AlertName::parse("A").unwrap() })).is_empty());
    }

    #[test]
    fn counts_are_rounded_and_never_more_than_all() {
        for (bad, total, counted) in [
            (0.0, 0.0, (0, 0)),
            (0.0, 0.49, (0, 0)), // nothing happened
            (1.0, 0.49, (0, 0)),
            (0.4, 0.5, (1, 0)),
            (2.2, 100.7, (101, 2)),
            (10.4, 9.8, (10, 10)), // extrapolated past all of them
            (-0.2, 50.0, (50, 0)), // what floats make of 0
            (3.0, 5e9, (u32::MAX, 3)),
            (6e9, 5e9, (u32::MAX, u32::MAX)),
            (-7.0, 50.0, (0, 0)), // counts nothing: no data
            (7.0, -50.0, (0, 0)),
        ] {
            let given = [
                (Side::Candidate, Part::Bad, Ok(finite(bad))),
                (Side::Candidate, Part::Total, Ok(finite(total))),
            ];
            assert_eq!(counts(&ratio(false), &given), (counted, None), "{bad} of {total}");
        }
    }

    /// The baseline has run dry, or nobody could be asked about it: the candidate is still told as it is, and the other
    /// way round.
    #[test]
    fn what_one_side_lacks_changes_nothing_about_the_other() {
        let whole = |side| [(side, Part::Bad, Ok(finite(2.0))), (side, Part::Total, Ok(finite(10.0)))];
        let lacks = [NoData::Empty, NoData::NotFinite, NoData::Negative { value: finite(-9.0) }];
        for (there, gone) in [(Side::Candidate, Side::Baseline), (Side::Baseline, Side::Candidate)] {
            for lack in &lacks {
                for part in [Part::Bad, Part::Total] {
                    let mut given = [whole(there), whole(gone)].concat();
                    let it = given.iter_mut().find(|(side, of, _)| (*side, *of) == (gone, part)).unwrap();
                    it.2 = Err(lack.clone());
                    let (candidate, baseline) = counts(&ratio(true), &given);
                    let (there_counts, gone_counts) = match there {
                        Side::Candidate => (candidate, baseline.unwrap()),
                        Side::Baseline => (baseline.unwrap(), candidate),
                    };
                    assert_eq!((there_counts, gone_counts), ((10, 2), (0, 0)), "{gone:?} {part:?} {lack}");
                }
            }
        }
        assert_eq!(counts(&ratio(true), &[]), ((0, 0), Some((0, 0))), "nobody answered");
    }

    #[test]
    fn a_value_is_one_sample_and_its_limit_is_still_good() {
        for (limit, value, bad) in [
            (Limit::Above(finite(0.3)), 0.31, 1),
            (Limit::Above(finite(0.3)), 0.3, 0),
            (Limit::Above(finite(0.3)), -5.0, 0),
            (Limit::Below(finite(0.3)), 0.29, 1),
            (Limit::Below(finite(0.3)), 0.3, 0),
        ] {
            let value_of = spec(Source::Value { candidate: query("c"), baseline: Some(query("b")), limit });
            let given = [(Side::Candidate, Part::Value, Ok(finite(value)))];
            assert_eq!(counts(&value_of, &given), ((1, bad), Some((0, 0))), "{limit:?} {value}");
            let metric = spec(Source::Metric { name: MetricName::parse("m").unwrap(), limit });
            assert_eq!(counts(&metric, &given), ((1, bad), None), "{limit:?} {value}");
        }
    }

    #[test]
    fn a_budget_burns_only_where_both_windows_are_known() {
        let rate = BurnRate::new(0.999, 14.4).unwrap();
        let burn = spec(Source::Burn(Burn { ratio_long: query("l"), ratio_short: query("s"), rate }));
        let (high, low) = (Ok(finite(0.02)), Ok(finite(0.001)));
        for (long, short, counted) in [
            (high.clone(), high.clone(), (1, 1)),
            (high.clone(), low.clone(), (1, 0)),
            (low.clone(), high.clone(), (1, 0)),
            (low.clone(), Err(NoData::Empty), (0, 0)),
            (Err(NoData::NotFinite), high.clone(), (0, 0)),
            (Ok(finite(-0.5)), high, (0, 0)),
            (Ok(finite(1.3)), Ok(finite(1.3)), (1, 1)), // extrapolated past all of them
        ] {
            let given =
                [(Side::Candidate, Part::Long, long.clone()), (Side::Candidate, Part::Short, short.clone())];
            assert_eq!(counts(&burn, &given), (counted, None), "{long:?} {short:?}");
        }
    }

    #[test]
    fn an_alert_is_bad_while_it_is_on_and_silence_is_no_data() {
        let alert = spec(Source::Alert { name: AlertName::parse("ErrorsHigh").unwrap() });
        for (answer, counted) in
            [(Ok(finite(1.0)), (1, 1)), (Ok(finite(0.0)), (1, 0)), (Err(NoData::NotAsked), (0, 0))]
        {
            assert_eq!(counts(&alert, &[(Side::Candidate, Part::Value, answer)]), (counted, None));
        }
    }

    #[test]
    fn what_is_missing_can_be_told() {
        let mut answers = Answers::new();
        answers.put(Side::Candidate, Part::Bad, Err(NoData::Empty));
        answers.put(Side::Candidate, Part::Total, Ok(finite(1.0)));
        let missing: Vec<_> = answers.missing().collect();
        assert_eq!(missing, [(Side::Candidate, Part::Bad, &NoData::Empty)]);
    }
}
