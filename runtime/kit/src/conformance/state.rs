//! States and events that don't fit each other.

use backstay_host::{CallError, Event, Stepped, StrikeKind};
use backstay_model::{Answer, Told};

use super::{Bench, Case, Class, Fate, Found, Miss, Scene, case, order};
use crate::calls::Settings;

/// As many states of a run are tried at most, and as many places in each.
const STATES_MAX: usize = 8;
const PLACES_MAX: usize = 96;

pub(super) const CASES: &[Case] = &[
    case(
        "resumed-from-each-state",
        Class::State,
        "a run that is taken up from its recorded outcomes comes to the same, byte for byte",
        resumed,
    ),
    case(
        "state-cut-short",
        Class::State,
        "a state that was cut anywhere is refused or understood, and never a trap",
        cut_state,
    ),
    case(
        "state-damaged",
        Class::State,
        "a state with a flipped bit anywhere is refused or understood, and never a trap",
        damaged_state,
    ),
    case("state-of-nothing", Class::State, "an answer without a beginning is refused", answered_before_begun),
    case("begun-twice", Class::State, "a second beginning is refused", begun_twice),
    case(
        "never-asked",
        Class::State,
        "an answer to what was never asked is refused, or changes nothing",
        never_asked,
    ),
    case("answered-twice", Class::State, "an answer that comes twice leads to nothing new", answered_twice),
    case(
        "another-run",
        Class::State,
        "the state of one task with the answer of another is no trap",
        another_run,
    ),
    case(
        "configured-anew",
        Class::State,
        "the configuration is changed in mid-run: the run is refused or goes on, and never a trap",
        configured_anew,
    ),
    case(
        "state-within-bounds",
        Class::State,
        "the state of the longest undisturbed run takes no more than half of what it may",
        state_bounds,
    ),
];

/// The states of a scene's undisturbed run, each with the answer that comes next.
fn states(bench: &Bench<'_>, scene: &Scene) -> Result<Vec<(Vec<u8>, Event)>, String> {
    let mut states = Vec::new();
    let begin = Event::Begin(order(&scene.task, 7));
    let mut state = bench.subject.step(bench.settings, &[], &begin).map_err(|why| why.to_string())?.state;
    for (effect, answer) in scene.after.log.iter().take(STATES_MAX) {
        let event = Event::Answered { ordinal: effect.ordinal, answer: answer.clone() };
        let next = bench.subject.step(bench.settings, &state, &event).map_err(|why| why.to_string())?;
        states.push((std::mem::replace(&mut state, next.state), event));
    }
    Ok(states)
}

/// A strike is what counts against a plugin: here, that it trapped or gave a bad answer.
fn no_strike(came: &Result<Stepped, CallError>) -> Result<(), String> {
    match came.as_ref().err().and_then(CallError::as_strike) {
        Some(strike) => Err(strike.to_string()),
        None => Ok(()),
    }
}

/// That the executor came to an end of its own. From a state that nobody wrote it may ask for what makes no sense: that
/// is refused like any other bad answer.
fn no_trap(came: &Result<Stepped, CallError>) -> Result<(), String> {
    match came.as_ref().err().and_then(CallError::as_strike) {
        Some(strike) if !matches!(strike.kind, StrikeKind::BadOutput | StrikeKind::Refused) => {
            Err(strike.to_string())
        }
        Some(_) | None => Ok(()),
    }
}

fn each_state(bench: &Bench<'_>, look: impl Fn(&[u8], &Event) -> Result<(), String>) -> Found {
    for scene in &bench.scenes {
        for (at, (state, event)) in states(bench, scene)?.iter().enumerate() {
            look(state, event).map_err(|why| format!("{}, state {at}: {why}", scene.name()))?;
        }
    }
    Ok(())
}

fn resumed(bench: &Bench<'_>) -> Found {
    bench.each_effect(|scene, at, _| {
        let played = bench.play(scene, |n, _, _| if n == at { Fate::StopAfter } else { Fate::Done });
        match played.refolded {
            Some(why) => Err(format!("{}: {why}", scene.name())),
            None => Ok(()),
        }
    })
}

fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(length.div_ceil(PLACES_MAX).max(1))
}

fn cut_state(bench: &Bench<'_>) -> Found {
    each_state(bench, |state, event| {
        for end in places(state.len()).filter(|end| *end > 0) {
            let cut = state.get(..end).unwrap_or_default();
            let came = bench.subject.step(bench.settings, cut, event);
            no_trap(&came).map_err(|why| format!("cut after {end} of {} bytes: {why}", state.len()))?;
        }
        Ok(())
    })
}

fn damaged_state(bench: &Bench<'_>) -> Found {
    each_state(bench, |state, event| {
        for at in places(state.len()) {
            let mut damaged = state.to_vec();
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= 0x41;
            }
            let came = bench.subject.step(bench.settings, &damaged, event);
            no_trap(&came).map_err(|why| format!("with byte {at} of {} flipped: {why}", state.len()))?;
        }
        Ok(())
    })
}

fn must_refuse(came: Result<Stepped, CallError>, what: &str) -> Result<(), String> {
    no_strike(&came)?;
    match came {
        Ok(stepped) => {
            Err(format!("{what} was taken: {} effects, end {:?}", stepped.effects.len(), stepped.end))
        }
        Err(_) => Ok(()),
    }
}

fn answered_before_begun(bench: &Bench<'_>) -> Found {
    let event = Event::Answered { ordinal: 0, answer: Answer::Done };
    must_refuse(bench.subject.step(bench.settings, &[], &event), "an answer without a beginning")
        .map_err(Into::into)
}

fn begun_twice(bench: &Bench<'_>) -> Found {
    for scene in &bench.scenes {
        let begin = Event::Begin(order(&scene.task, 7));
        for (state, _) in states(bench, scene)?.iter().filter(|(state, _)| !state.is_empty()) {
            must_refuse(bench.subject.step(bench.settings, state, &begin), "a second beginning")
                .map_err(|why| format!("{}: {why}", scene.name()))?;
        }
    }
    Ok(())
}

fn never_asked(bench: &Bench<'_>) -> Found {
    each_state(bench, |state, _| {
        let event = Event::Answered { ordinal: 4_000_000, answer: Answer::Done };
        let came = bench.subject.step(bench.settings, state, &event);
        no_strike(&came)?;
        match came {
            Ok(stepped) if !stepped.effects.is_empty() || stepped.end.is_some() => {
                Err("an answer to what was never asked moved the run".into())
            }
            Ok(_) | Err(_) => Ok(()),
        }
    })
}

fn answered_twice(bench: &Bench<'_>) -> Found {
    each_state(bench, |state, event| {
        let Ok(once) = bench.subject.step(bench.settings, state, event) else { return Ok(()) };
        if once.end.is_some() {
            return Ok(());
        }
        let twice = bench.subject.step(bench.settings, &once.state, event);
        no_strike(&twice)?;
        match twice {
            Ok(twice) if !twice.effects.is_empty() => {
                let deeds: Vec<_> = twice.effects.iter().map(|effect| effect.deed.to_string()).collect();
                Err(format!("the same answer a second time led to {}", deeds.join(", ")))
            }
            Ok(twice) if twice.end.is_some() => Err("the same answer a second time ended the run".into()),
            Ok(_) | Err(_) => Ok(()),
        }
    })
}

fn another_run(bench: &Bench<'_>) -> Found {
    if bench.scenes.len() < 2 {
        return Err(Miss::NotApplicable("it does one task only".into()));
    }
    for (at, scene) in bench.scenes.iter().enumerate() {
        let other = bench.scenes.get((at + 1) % bench.scenes.len()).unwrap_or(scene);
        let (ours, theirs) = (states(bench, scene)?, states(bench, other)?);
        for ((state, _), (_, event)) in ours.iter().zip(theirs.iter().rev()) {
            no_strike(&bench.subject.step(bench.settings, state, event))
                .map_err(|why| format!("{} with answers of {}: {why}", scene.name(), other.name()))?;
        }
    }
    Ok(())
}

fn configured_anew(bench: &Bench<'_>) -> Found {
    let infos = bench.description.iter().flat_map(|description| &description.settings);
    let Some((info, range)) = infos.filter_map(|info| Some((info, info.range.as_ref()?))).next() else {
        return Err(Miss::NotApplicable("it has no number to set".into()));
    };
    let mut anew: Settings = bench.settings.iter().filter(|(name, _)| *name != info.name).cloned().collect();
    anew.push((info.name.clone(), Told::Number(*range.end())));
    each_state(bench, |state, event| no_strike(&bench.subject.step(&anew, state, event)))
}

fn state_bounds(bench: &Bench<'_>) -> Found {
    let most = bench.limits.state_bytes as usize / 2;
    match bench.scenes.iter().find(|scene| scene.after.state_max > most) {
        Some(scene) => Err(Miss::Failed(format!(
            "{} keeps {} bytes, {most} is half",
            scene.name(),
            scene.after.state_max
        ))),
        None => Ok(()),
    }
}
