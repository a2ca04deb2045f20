//! Nothing goes wrong, or the same is asked for again.

use backstay_host::Kind;
use backstay_model::{Access, Deed, Told};
use backstay_trust::EffectKind;

use super::play::Bound;
use super::{Bench, Case, Class, Fate, Found, Miss, case, order, play};
use crate::calls::Settings;

pub(super) const CASES: &[Case] = &[
    case(
        "describes-itself",
        Class::Work,
        "it says what it is and what can be set, each with a help for the operator",
        describes_itself,
    ),
    case(
        "takes-its-defaults",
        Class::Work,
        "what it says holds where nobody sets anything, it accepts",
        takes_its_defaults,
    ),
    case(
        "takes-its-bounds",
        Class::Work,
        "both ends of every number's range are accepted, and runs still end",
        takes_its_bounds,
    ),
    case(
        "does-its-work",
        Class::Work,
        "where nothing goes wrong, at least one of the four tasks is done",
        does_its_work,
    ),
    case(
        "its-word-is-true",
        Class::Work,
        "where nothing goes wrong, what it says is done is done",
        its_word_is_true,
    ),
    case(
        "declines-cleanly",
        Class::Work,
        "a task that it does not do it ends as failed, and changes nothing",
        declines_cleanly,
    ),
    case(
        "asks-for-what-it-wants",
        Class::Work,
        "its manifest names every kind of effect that it asks for",
        asks_for_what_it_wants,
    ),
    case("dry-run", Class::Work, "where nothing may be changed it ends, and changes nothing", dry_run),
    case(
        "applied-twice",
        Class::Again,
        "the same order a second time is done, and leaves the machine as it is",
        applied_twice,
    ),
    case(
        "applied-again-after-failure",
        Class::Again,
        "after a run that failed at any effect, the same order again is done",
        applied_again_after_failure,
    ),
];

fn describes_itself(bench: &Bench<'_>) -> Found {
    let Some(description) = &bench.description else {
        return Err(Miss::Failed("it does not say what it is".into()));
    };
    if description.about.trim().is_empty() {
        return Err(Miss::Failed("what it is about is empty".into()));
    }
    match description.settings.iter().find(|info| info.help.trim().is_empty()) {
        Some(info) => Err(Miss::Failed(format!("setting {} has no help", info.name))),
        None => Ok(()),
    }
}

fn takes_its_defaults(bench: &Bench<'_>) -> Found {
    let problems = bench.subject.validate(bench.settings).map_err(|why| why.to_string())?;
    match problems.first() {
        Some(problem) => Err(Miss::Failed(problem.to_string())),
        None => Ok(()),
    }
}

fn takes_its_bounds(bench: &Bench<'_>) -> Found {
    let settings = bench.description.iter().flat_map(|description| &description.settings);
    for info in settings.filter(|info| info.kind == Kind::Number) {
        let Some(range) = &info.range else { continue };
        for end in [*range.start(), *range.end()] {
            let mut settings: Settings =
                bench.settings.iter().filter(|(name, _)| *name != info.name).cloned().collect();
            settings.push((info.name.clone(), Told::Number(end)));
            let told = |why: &dyn std::fmt::Display| format!("with {} = {end}: {why}", info.name);
            let problems = bench.subject.validate(&settings).map_err(|why| told(&why))?;
            if let Some(problem) = problems.first() {
                return Err(Miss::Failed(told(problem)));
            }
            for scene in &bench.scenes {
                let bound = Bound { subject: bench.subject, settings: &settings };
                let played =
                    play(&bound, order(&scene.task, 7), scene.before.clone(), &mut |_, _, _| Fate::Done);
                played.ended().map_err(|why| told(&why))?;
            }
        }
    }
    Ok(())
}

fn does_its_work(bench: &Bench<'_>) -> Found {
    if !bench.scenes.is_empty() {
        return Ok(());
    }
    let ends: Vec<_> =
        bench.refused.iter().map(|scene| format!("{}: {:?}", scene.name(), scene.after.end)).collect();
    Err(Miss::Failed(ends.join("; ")))
}

fn its_word_is_true(bench: &Bench<'_>) -> Found {
    for scene in &bench.scenes {
        if scene.after.log.is_empty() {
            let why = format!("{} says done, and has neither done nor looked at anything", scene.name());
            return Err(Miss::Failed(why));
        }
        bench.honest(scene, &scene.after, "undisturbed")?;
    }
    Ok(())
}

fn declines_cleanly(bench: &Bench<'_>) -> Found {
    if bench.refused.is_empty() {
        return Err(Miss::NotApplicable("it does all four tasks".into()));
    }
    for scene in &bench.refused {
        scene.after.ended().map_err(|why| format!("{}: {why}", scene.name()))?;
        if scene.after.world.lasting() != scene.before.lasting() {
            return Err(Miss::Failed(format!("{} failed, and the machine is another", scene.name())));
        }
    }
    Ok(())
}

fn asks_for_what_it_wants(bench: &Bench<'_>) -> Found {
    for scene in bench.scenes.iter().chain(&bench.refused) {
        let kinds = scene.after.log.iter().filter_map(|(effect, _)| kind(&effect.deed));
        if let Some(kind) = kinds.into_iter().find(|kind| !bench.wants.contains(kind)) {
            return Err(Miss::Failed(format!(
                "{} asks for {kind}, which the manifest does not want",
                scene.name()
            )));
        }
    }
    Ok(())
}

fn dry_run(bench: &Bench<'_>) -> Found {
    let refuse = || backstay_model::Answer::Refused("this is a dry run".into());
    for scene in &bench.scenes {
        let played = bench.play(scene, |_, effect, _| match effect.access {
            Access::Looks => Fate::Done,
            Access::Changes => Fate::Instead(refuse()),
        });
        bench.honest(scene, &played, "as a dry run")?;
        if played.world.lasting() != scene.before.lasting() {
            return Err(Miss::Failed(format!("{} changed the machine by looking", scene.name())));
        }
    }
    Ok(())
}

fn applied_twice(bench: &Bench<'_>) -> Found {
    for scene in &bench.scenes {
        let world = scene.after.world.clone();
        let again = play(&bench.bound(), order(&scene.task, 8), world.clone(), &mut |_, _, _| Fate::Done);
        if !again.says_done() {
            return Err(Miss::Failed(format!("{} a second time: {:?}", scene.name(), again.end)));
        }
        if again.world.lasting() != world.lasting() {
            return Err(Miss::Failed(format!("{} a second time changed the machine", scene.name())));
        }
    }
    Ok(())
}

fn applied_again_after_failure(bench: &Bench<'_>) -> Found {
    bench.each_effect(|scene, at, _| {
        let first = bench.play(scene, |n, _, _| {
            if n == at {
                Fate::Instead(super::world::failed(backstay_model::Transience::Transient, "not now"))
            } else {
                Fate::Done
            }
        });
        let again = play(&bench.bound(), order(&scene.task, 8), first.world, &mut |_, _, _| Fate::Done);
        if !again.says_done() {
            return Err(format!("{} again, after effect {at} had failed: {:?}", scene.name(), again.end));
        }
        bench.honest(scene, &again, "again")
    })
}

/// The kind of an effect that needs a permission.
pub(super) fn kind(deed: &Deed) -> Option<EffectKind> {
    match deed {
        Deed::Http { .. } => Some(EffectKind::Http),
        Deed::Run { .. } => Some(EffectKind::Run),
        Deed::Slot(_) => Some(EffectKind::Slot),
        Deed::File { .. } => Some(EffectKind::File),
        Deed::Publish { .. } => Some(EffectKind::Publish),
        Deed::Sleep { .. } | Deed::Attach { .. } => None,
    }
}
