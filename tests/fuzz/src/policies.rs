//! What a policy says to facts, and what any plugin says of itself and of its settings.

use backstay_host::testing::{Believed, decided, decisions, described, descriptions, problems};
use backstay_model::{Action, Reason};

use crate::{
    Came, is_told_text,
    memory::within,
    script::{Script, way},
};

/// As a grant has it by default.
const MEMO_BYTES_MAX: usize = 64;
/// What 2 KiB become, and what is made of them.
const HELD_MAX: usize = 1 << 20;

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 3) {
        Some((0, rest)) => decides(rest),
        Some((1, rest)) => describes(rest),
        Some((_, rest)) => complains(rest),
        None => Came::Refused,
    }
}

/// What isn't believed says why.
fn believed<T>(said: Option<Believed<T>>) -> Option<T> {
    said?.map_err(|why| is_told_text(&why)).ok()
}

fn is_for_people(text: &str, bytes_max: usize) {
    assert!(text.len() <= bytes_max, "{} bytes for people", text.len());
    assert!(!text.contains(|c: char| c.is_control()), "{text:?} passes for another line");
}

fn decides(rest: Script<'_>) -> Came {
    let Some(decided) = believed(within(HELD_MAX, || decided(rest.0, MEMO_BYTES_MAX))) else {
        return Came::Refused;
    };
    assert!(decided.memo.len() <= MEMO_BYTES_MAX);
    let reasons = &decided.decision.reasons;
    assert!((1..=8).contains(&reasons.len()), "{} reasons", reasons.len());
    reasons.iter().for_each(|Reason(reason)| is_for_people(reason, Reason::BYTES_MAX));
    if let Action::Slow { windows } = decided.decision.action {
        assert!((1..=100).contains(&windows));
    }
    Came::Taken
}

fn describes(rest: Script<'_>) -> Came {
    let Some(described) = believed(within(HELD_MAX, || described(rest.0))) else { return Came::Refused };
    is_for_people(&described.about, 512);
    assert!(described.settings.len() <= 64);
    for (at, setting) in described.settings.iter().enumerate() {
        is_for_people(&setting.help, 512);
        assert!(setting.default.as_ref().is_none_or(|default| default.kind() == setting.kind));
        assert!(described.settings.iter().skip(at + 1).all(|other| other.name != setting.name));
    }
    Came::Taken
}

fn complains(rest: Script<'_>) -> Came {
    let Some(problems) = believed(within(HELD_MAX, || problems(rest.0))) else { return Came::Refused };
    assert!(problems.len() <= 64);
    problems.iter().for_each(|problem| is_for_people(&problem.text, 512));
    Came::Taken
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let of = |way: u8, said: Vec<Vec<u8>>| said.into_iter().map(move |said| [vec![way], said].concat());
    of(0, decisions()).chain(of(1, descriptions())).chain([vec![2, 0], vec![2, 1, 0, 1, b'x']]).collect()
}
