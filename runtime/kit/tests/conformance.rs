//! The executor that ships stands every case, and one that is bad in one way is found by the case that is for it.
#![expect(clippy::wildcard_enum_match_arm, reason = "a bad executor is bad about the kinds that it names")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod native;

use std::cell::Cell;

use backstay_host::{CallError, Description, Event, Problem, Stepped, StrikeKind};
use backstay_kit::{
    CaseCame, CaseReport, Class, Conditions, Settings, Tried, calls::Steps, case_count, conformance,
};
use backstay_model::{Access, Answer, Deed, Effect, Millis, Name, Outcome, SlotDeed};
use backstay_trust::{EffectKind, Limits, Permissions};
use native::{Native, strike};

fn conditions(wants: &[EffectKind]) -> Conditions {
    let commands = ["restart", "no-such-playbook"].map(|name| Name::parse(name).unwrap()).to_vec();
    Conditions {
        settings: Settings::new(),
        wants: wants.to_vec(),
        permissions: Permissions { commands, slots: true, ..Permissions::default() },
        playbooks: Vec::new(),
        limits: Limits::DEFAULT,
    }
}

const WANTS: &[EffectKind] = &[EffectKind::Run, EffectKind::Slot];

fn tried(executor: impl Steps) -> Vec<CaseReport> {
    conformance(&Tried::new(executor), &conditions(WANTS))
}

fn failed(reports: &[CaseReport]) -> Vec<(&'static str, String)> {
    let failed = |report: &CaseReport| match &report.came {
        CaseCame::Failed(why) => Some((report.name, why.clone())),
        CaseCame::Passed | CaseCame::NotApplicable(_) => None,
    };
    reports.iter().filter_map(failed).collect()
}

#[test]
fn the_executor_that_ships_stands_every_case() {
    let reports = tried(Native::<executor_ota::Ota>::new());
    assert_eq!(failed(&reports), []);
    assert_eq!(reports.len(), case_count());
    let passed = reports.iter().filter(|report| report.came == CaseCame::Passed).count();
    assert!(passed >= 60, "{passed} of {} were passed, the others do not apply", reports.len());
    let mut names: Vec<_> = reports.iter().map(|report| report.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), reports.len(), "two cases have one name");
}

/// An executor that is as good as the one inside, but for what a test makes of its arguments and answers.
struct Spoilt<B, A> {
    inner: Native<executor_ota::Ota>,
    before: B,
    after: A,
}

type Taken = Result<Stepped, CallError>;

impl<B: Fn(Event) -> Event, A: Fn(&[u8], &Event, Taken) -> Taken> Steps for Spoilt<B, A> {
    fn describe(&self) -> Result<Description, CallError> {
        self.inner.describe()
    }

    fn validate(&self, settings: &Settings) -> Result<Vec<Problem>, CallError> {
        self.inner.validate(settings)
    }

    fn step(&self, settings: &Settings, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        let taken = self.inner.step(settings, state, &(self.before)(event.clone()));
        (self.after)(state, event, taken)
    }
}

/// Changes what it is answered.
fn hears(change: impl Fn(u32, Answer) -> Answer) -> Vec<CaseReport> {
    let before = |event| match event {
        Event::Answered { ordinal, answer } => Event::Answered { ordinal, answer: change(ordinal, answer) },
        begin @ Event::Begin(_) => begin,
    };
    tried(Spoilt { inner: Native::new(), before, after: |_: &[u8], _: &Event, taken| taken })
}

/// Changes what it says.
fn says(change: impl Fn(&[u8], &Event, Taken) -> Taken) -> Vec<CaseReport> {
    tried(Spoilt { inner: Native::new(), before: |event| event, after: change })
}

/// That the cases named are among those that failed.
#[track_caller]
fn finds(reports: &[CaseReport], wanted: &[&str]) {
    let failed = failed(reports);
    for name in wanted {
        assert!(
            failed.iter().any(|(found, _)| found == name),
            "{name} did not find it; these did: {failed:#?}"
        );
    }
}

#[test]
fn work_one_that_says_done_at_once_is_found() {
    let reports = says(|_, _, taken| {
        taken.map(|stepped| Stepped { effects: vec![], end: Some(Outcome::Done), ..stepped })
    });
    finds(&reports, &["its-word-is-true"]);
}

#[test]
fn work_one_that_asks_for_what_its_manifest_does_not_name_is_found() {
    let reports =
        conformance(&Tried::new(Native::<executor_ota::Ota>::new()), &conditions(&[EffectKind::Slot]));
    finds(&reports, &["asks-for-what-it-wants"]);
}

#[test]
fn again_one_that_does_everything_anew_is_found() {
    // Whatever the slots say, it is told that what it wants isn't there yet.
    let reports = hears(|ordinal, answer| match answer {
        Answer::Slots(mut slots) if ordinal == 0 => {
            slots.booted = backstay_kit::release(&"0.0.1".parse().unwrap());
            slots.trying = None;
            Answer::Slots(slots)
        }
        answer => answer,
    });
    finds(&reports, &["already-installed"]);
}

#[test]
fn cut_one_that_takes_doubt_for_done_is_found() {
    let reports = says(|_, event, taken| match event {
        Event::Answered { answer: Answer::InDoubt, .. } => {
            taken.map(|stepped| Stepped { effects: vec![], end: Some(Outcome::Done), ..stepped })
        }
        Event::Answered { .. } | Event::Begin(_) => taken,
    });
    finds(
        &reports,
        &["stopped-before-each-effect", "nothing-ever-gets-done", "power-cut-before-each-effect"],
    );
}

#[test]
fn aborted_one_that_gives_up_where_something_was_begun_is_found() {
    // What somebody else has put into the other slot it takes for a reason to end.
    let begun = |slots: &backstay_model::SlotStatus| {
        slots.other.as_ref().is_some_and(|other| other.version.as_str() == "1.5.0")
    };
    let reports = says(|_, event, taken| match event {
        Event::Answered { ordinal: 0, answer: Answer::Slots(slots) } if begun(slots) => {
            taken.map(|stepped| {
                let why = "somebody is at it".to_owned();
                let transience = backstay_model::Transience::Permanent;
                Stepped { effects: vec![], end: Some(Outcome::Failed { transience, why }), ..stepped }
            })
        }
        Event::Answered { .. } | Event::Begin(_) => taken,
    });
    finds(&reports, &["aborted-after-each-change", "aborted-and-begun-anew"]);
}

#[test]
fn failing_one_that_overlooks_failures_is_found() {
    let reports = says(|_, event, taken| match event {
        Event::Answered { answer: Answer::Failed(_) | Answer::Refused(_), .. } => {
            taken.map(|stepped| Stepped { effects: vec![], end: Some(Outcome::Done), ..stepped })
        }
        Event::Answered { .. } | Event::Begin(_) => taken,
    });
    finds(
        &reports,
        &["every-effect-fails", "every-effect-is-refused", "each-effect-fails", "lock-lost", "blind"],
    );
}

#[test]
fn failing_one_that_takes_any_exit_code_for_a_good_one_is_found() {
    let reports = says(|_, event, taken| match event {
        Event::Answered { answer: Answer::Exited { code, .. }, .. } if *code != Some(0) => {
            taken.map(|stepped| Stepped { effects: vec![], end: Some(Outcome::Done), ..stepped })
        }
        Event::Answered { .. } | Event::Begin(_) => taken,
    });
    finds(&reports, &["commands-fail", "commands-are-killed"]);
}

#[test]
fn garbage_one_that_panics_at_what_it_does_not_expect_is_found() {
    let reports = says(|_, event, taken| match event {
        Event::Answered { answer: Answer::Content(_) | Answer::Response { .. }, .. } => {
            Err(strike(StrikeKind::Trapped, "unreachable"))
        }
        Event::Answered { answer: Answer::Exited { output, .. }, .. }
            if std::str::from_utf8(&output.bytes).is_err() =>
        {
            Err(strike(StrikeKind::Trapped, "not a text"))
        }
        Event::Answered { answer: Answer::Slots(_), .. } | Event::Answered { .. } | Event::Begin(_) => taken,
    });
    finds(&reports, &["unreadable-output"]);
}

#[test]
fn garbage_one_that_panics_at_the_other_kind_of_answer_is_found() {
    let reports = says(|_, event, taken| match (event, &taken) {
        (Event::Answered { answer: Answer::Exited { output, .. }, .. }, Ok(stepped))
            if output.bytes.is_empty() && stepped.end.is_some() =>
        {
            Err(strike(StrikeKind::Trapped, "slots are slots"))
        }
        _ => taken,
    });
    finds(&reports, &["answers-of-another-kind"]);
}

#[test]
fn time_one_that_waits_for_ever_is_found() {
    // It never believes that a restart came about, and looks again, and again.
    let reports = says(|state, event, taken| match (event, taken) {
        (Event::Answered { ordinal, .. }, Ok(stepped)) if stepped.end.is_some() && *ordinal > 2 => {
            let deed = Deed::Sleep { span: Millis(3_600_000) };
            let effect = Effect { ordinal: ordinal + 1, access: Access::Looks, deed };
            Ok(Stepped { state: state.to_vec(), effects: vec![effect], end: None })
        }
        (_, taken) => taken,
    });
    assert!(!failed(&reports).is_empty());
}

#[test]
fn moving_one_that_believes_its_first_look_for_ever_is_found() {
    // After the first look it takes every effect to have worked.
    let reports = says(|_, event, taken| match (event, taken) {
        (Event::Answered { ordinal, answer: Answer::Slots(_) }, Ok(stepped))
            if *ordinal > 0 && stepped.end.is_none() =>
        {
            Ok(Stepped { effects: vec![], end: Some(Outcome::Done), ..stepped })
        }
        (_, taken) => taken,
    });
    assert!(!failed(&reports).is_empty());
}

#[test]
fn moving_one_that_confirms_whatever_runs_is_found() {
    let reports = says(|_, event, taken| match (event, taken) {
        (Event::Answered { answer: Answer::Slots(slots), .. }, Ok(stepped))
            if matches!(stepped.end, Some(Outcome::Failed { .. })) && slots.trying.is_none() =>
        {
            Ok(Stepped { end: Some(Outcome::Done), ..stepped })
        }
        (_, taken) => taken,
    });
    finds(&reports, &["confirms-only-what-runs"]);
}

#[test]
fn state_one_that_panics_at_a_state_that_is_not_its_own_is_found() {
    let reports = says(|_, _, taken| match taken {
        Err(CallError::Diverged { why, .. }) => Err(strike(StrikeKind::Trapped, &why)),
        taken => taken,
    });
    finds(&reports, &["state-cut-short", "state-damaged", "state-of-nothing", "configured-anew"]);
}

#[test]
fn state_one_that_takes_any_answer_is_found() {
    let reports = says(|state, _, taken| match taken {
        Err(CallError::Unexpected { .. } | CallError::Diverged { .. }) => {
            Ok(Stepped { state: state.to_vec(), effects: vec![], end: Some(Outcome::Done) })
        }
        taken => taken,
    });
    finds(&reports, &["state-of-nothing", "never-asked", "begun-twice"]);
}

#[test]
fn state_one_that_throws_dice_is_found() {
    let dice = Cell::new(0u8);
    let reports = says(|_, _, taken| {
        taken.map(|mut stepped| {
            dice.set(dice.get().wrapping_add(1));
            stepped.state.push(dice.get());
            stepped
        })
    });
    finds(&reports, &["deterministic"]);
}

#[test]
fn state_one_whose_state_grows_beyond_its_bound_is_found() {
    let reports = says(|_, _, taken| {
        taken.map(|stepped| Stepped { state: [stepped.state, vec![0; 40 << 10]].concat(), ..stepped })
    });
    // A state that is another than it wrote it can't read, either: what matters is that the bound is looked at.
    let found = failed(&reports);
    assert!(!found.is_empty(), "{found:?}");
}

#[test]
fn an_effect_that_changes_and_says_that_it_looks_is_found_in_a_dry_run() {
    let reports = says(|_, _, taken| {
        taken.map(|mut stepped| {
            for effect in &mut stepped.effects {
                if matches!(effect.deed, Deed::Slot(SlotDeed::Stage(_))) {
                    effect.access = Access::Looks;
                }
            }
            stepped
        })
    });
    finds(&reports, &["dry-run"]);
}

#[test]
fn every_class_has_a_case() {
    let reports = tried(Native::<executor_ota::Ota>::new());
    for class in [
        Class::Work,
        Class::Again,
        Class::Cut,
        Class::Aborted,
        Class::Failing,
        Class::Garbage,
        Class::Time,
        Class::Moving,
        Class::State,
    ] {
        assert!(reports.iter().any(|report| report.class == class), "{class}");
    }
}
