//! Effects that fail, are refused, or do not end in their time.
#![expect(clippy::wildcard_enum_match_arm, reason = "a case is about the kinds that it names")]

use std::collections::BTreeMap;

use backstay_model::{Access, Answer, Deed, Effect, Transience};

use super::{
    Bench, Case, Class, Fate, Found, Miss, Played, Scene, case,
    world::{exited, failed, said},
};

/// How often the same may be asked for that was refused.
const REFUSED_MAX: usize = 3;
/// The longest that a run may wait altogether, in ms: a day.
const SLEEP_MS_MAX: u64 = 86_400_000;

pub(super) const CASES: &[Case] = &[
    case(
        "every-effect-fails",
        Class::Failing,
        "nothing works, for good: the run fails, and says so",
        every_fails,
    ),
    case(
        "every-effect-fails-for-now",
        Class::Failing,
        "nothing works, for now: the run fails, and says so",
        every_fails_for_now,
    ),
    case(
        "each-effect-fails",
        Class::Failing,
        "one effect fails for good, each in turn: the word is true",
        each_fails,
    ),
    case(
        "each-effect-fails-for-now",
        Class::Failing,
        "one effect fails for now, each in turn: the word is true",
        each_fails_for_now,
    ),
    case(
        "every-effect-times-out",
        Class::Failing,
        "nothing ends in its time and nothing is done: the run ends, and its word is true",
        every_times_out,
    ),
    case(
        "each-effect-times-out",
        Class::Failing,
        "one effect does not end in its time and is not done, each in turn",
        each_times_out,
    ),
    case(
        "each-effect-times-out-and-is-done",
        Class::Failing,
        "one effect does not end in its time and is done all the same",
        each_times_out_done,
    ),
    case(
        "every-effect-is-refused",
        Class::Failing,
        "the grant has nothing of it: the run fails, and does not insist",
        every_refused,
    ),
    case(
        "each-effect-is-refused",
        Class::Failing,
        "the grant lacks one effect, each in turn: the word is true",
        each_refused,
    ),
    case("blind", Class::Failing, "every look fails: a run that looked does not say done", blind),
    case(
        "lock-lost",
        Class::Failing,
        "another run holds the target, from any change on: the run fails",
        lock_lost,
    ),
    case("commands-fail", Class::Failing, "every command ends with 1: the word is true", commands_fail),
    case(
        "commands-are-killed",
        Class::Failing,
        "every command is ended by a signal: the word is true",
        commands_killed,
    ),
    case(
        "endpoints-fail",
        Class::Failing,
        "every endpoint answers 500 and does nothing: the word is true",
        endpoints_fail,
    ),
    case(
        "endpoints-deny",
        Class::Failing,
        "every endpoint answers 403 and does nothing: the word is true",
        endpoints_deny,
    ),
    case(
        "disk-full",
        Class::Failing,
        "nothing can be written to slots and files, for now: the run fails, and changes nothing",
        disk_full,
    ),
    case(
        "restart-does-nothing",
        Class::Time,
        "commands end well and change nothing: the run ends within a day, and its word is true",
        restart_does_nothing,
    ),
    case("sleeps-cut-short", Class::Time, "every wait is cut off: the word is true", sleeps_cut),
    case(
        "sleeps-time-out",
        Class::Time,
        "the clock jumps: every wait is over at once, as timed out",
        sleeps_time_out,
    ),
    case(
        "slow-to-show",
        Class::Time,
        "a restart shows only after three looks: the word is true",
        slow_to_show,
    ),
];

fn not_done(scene: &Scene, played: &Played) -> Result<(), String> {
    // What asks for nothing may well be done: there was nothing to do.
    if played.says_done() && !played.log.is_empty() {
        return Err(format!(
            "it says done after {} effects of which none worked ({})",
            played.log.len(),
            scene.name()
        ));
    }
    Ok(())
}

fn every(bench: &Bench<'_>, when: &str, answer: impl Fn() -> Answer) -> Found {
    bench.all_honest(when, |_| Fate::Instead(answer()), not_done)
}

fn each(bench: &Bench<'_>, when: &str, fate: impl Fn() -> Fate) -> Found {
    bench.each_effect(|scene, at, _| {
        let played = bench.play(scene, |n, _, _| if n == at { fate() } else { Fate::Done });
        bench.honest(scene, &played, &format!("{when} {at}"))
    })
}

fn every_fails(bench: &Bench<'_>) -> Found {
    every(bench, "with everything failing", || failed(Transience::Permanent, "it doesn't work"))
}

fn every_fails_for_now(bench: &Bench<'_>) -> Found {
    every(bench, "with everything failing for now", || failed(Transience::Transient, "not now"))
}

fn each_fails(bench: &Bench<'_>) -> Found {
    each(bench, "failing at effect", || Fate::Instead(failed(Transience::Permanent, "it doesn't work")))
}

fn each_fails_for_now(bench: &Bench<'_>) -> Found {
    each(bench, "failing for now at effect", || Fate::Instead(failed(Transience::Transient, "not now")))
}

fn every_times_out(bench: &Bench<'_>) -> Found {
    bench.all_honest("with everything timing out", |_| Fate::Instead(Answer::TimedOut), |_, _| Ok(()))
}

fn each_times_out(bench: &Bench<'_>) -> Found {
    each(bench, "timing out at effect", || Fate::Instead(Answer::TimedOut))
}

fn each_times_out_done(bench: &Bench<'_>) -> Found {
    each(bench, "timing out, and done, at effect", || Fate::Yet(Answer::TimedOut))
}

fn refused() -> Answer {
    Answer::Refused("it is not granted".into())
}

fn every_refused(bench: &Bench<'_>) -> Found {
    let insists = |scene: &Scene, played: &Played| {
        not_done(scene, played)?;
        let mut asked: BTreeMap<String, usize> = BTreeMap::new();
        for (effect, _) in &played.log {
            *asked.entry(effect.deed.to_string()).or_default() += 1;
        }
        match asked.iter().find(|(_, times)| **times > REFUSED_MAX) {
            Some((deed, times)) => Err(format!("\"{deed}\" was refused, and asked for {times} times")),
            None => Ok(()),
        }
    };
    bench.all_honest("with everything refused", |_| Fate::Instead(refused()), insists)
}

fn each_refused(bench: &Bench<'_>) -> Found {
    each(bench, "refused at effect", || Fate::Instead(refused()))
}

fn blind(bench: &Bench<'_>) -> Found {
    let fate = |effect: &Effect| match (effect.access, &effect.deed) {
        (Access::Changes, _) | (_, Deed::Sleep { .. } | Deed::Attach { .. }) => Fate::Done,
        (Access::Looks, _) => Fate::Instead(failed(Transience::Transient, "it can't be seen")),
    };
    let looked = |_: &Scene, played: &Played| {
        let blind = played.log.iter().any(|(_, answer)| matches!(answer, Answer::Failed(_)));
        if blind && played.says_done() { Err("it looked, saw nothing, and says done".into()) } else { Ok(()) }
    };
    bench.all_honest("blind", fate, looked)
}

fn lock_lost(bench: &Bench<'_>) -> Found {
    bench.each_effect(|scene, at, effect| {
        if effect.access == Access::Looks {
            return Ok(());
        }
        let played = bench.play(scene, |n, effect, _| {
            if n >= at && effect.access == Access::Changes {
                Fate::Instead(Answer::Refused("another run holds the target".into()))
            } else {
                Fate::Done
            }
        });
        let when = format!("with the lock lost from effect {at} on");
        bench.honest(scene, &played, &when)?;
        let insisted =
            played.log.iter().skip(at).filter(|(effect, _)| effect.access == Access::Changes).count();
        if insisted > REFUSED_MAX {
            return Err(format!("{} {when}: it tried {insisted} changes all the same", scene.name()));
        }
        Ok(())
    })
}

fn commands(bench: &Bench<'_>, when: &str, answer: impl Fn() -> Answer) -> Found {
    let uses =
        |scene: &Scene| scene.after.log.iter().any(|(effect, _)| matches!(effect.deed, Deed::Run { .. }));
    if !bench.scenes.iter().any(uses) {
        return Err(Miss::NotApplicable("it runs no command".into()));
    }
    let fate = |effect: &Effect| match effect.deed {
        Deed::Run { .. } => Fate::Instead(answer()),
        _ => Fate::Done,
    };
    bench.all_honest(when, fate, |_, _| Ok(()))
}

fn commands_fail(bench: &Bench<'_>) -> Found {
    commands(bench, "with every command ending with 1", || exited(Some(1), b"no"))
}

fn commands_killed(bench: &Bench<'_>) -> Found {
    commands(bench, "with every command killed", || exited(None, b""))
}

fn restart_does_nothing(bench: &Bench<'_>) -> Found {
    let fate = |effect: &Effect| match (effect.access, &effect.deed) {
        (Access::Changes, Deed::Run { .. }) => Fate::Instead(exited(Some(0), b"")),
        _ => Fate::Done,
    };
    for scene in bench.scenes.iter().filter(|scene| scene.after.by_slots()) {
        let played = bench.play(scene, |_, effect, _| fate(effect));
        bench.honest(scene, &played, "with commands that change nothing")?;
        if played.slept() > SLEEP_MS_MAX {
            return Err(Miss::Failed(format!("{} waits for {} ms altogether", scene.name(), played.slept())));
        }
    }
    bench.by_slots()
}

fn endpoints(bench: &Bench<'_>, status: u16) -> Found {
    let uses =
        |scene: &Scene| scene.after.log.iter().any(|(effect, _)| matches!(effect.deed, Deed::Http { .. }));
    if !bench.scenes.iter().any(uses) {
        return Err(Miss::NotApplicable("it asks no endpoint".into()));
    }
    let fate = |effect: &Effect| match effect.deed {
        Deed::Http { .. } => Fate::Instead(Answer::Response { status, body: said(b"no".to_vec()) }),
        _ => Fate::Done,
    };
    bench.all_honest(&format!("with every endpoint answering {status}"), fate, |_, _| Ok(()))
}

fn endpoints_fail(bench: &Bench<'_>) -> Found {
    endpoints(bench, 500)
}

fn endpoints_deny(bench: &Bench<'_>) -> Found {
    endpoints(bench, 403)
}

fn disk_full(bench: &Bench<'_>) -> Found {
    let writes = |effect: &Effect| {
        effect.access == Access::Changes && matches!(effect.deed, Deed::Slot(_) | Deed::File { .. })
    };
    let uses = |scene: &Scene| scene.after.log.iter().any(|(effect, _)| writes(effect));
    if !bench.scenes.iter().any(uses) {
        return Err(Miss::NotApplicable("it writes to no slot and no file".into()));
    }
    for scene in bench.scenes.iter().filter(|scene| uses(scene)) {
        let played = bench.play(scene, |_, effect, _| {
            if writes(effect) {
                Fate::Instead(failed(Transience::Transient, "no space is left"))
            } else {
                Fate::Done
            }
        });
        bench.honest(scene, &played, "with a full disk")?;
        if played.world.slots != scene.before.slots && !played.says_done() {
            return Err(Miss::Failed(format!(
                "{} with a full disk failed, and the slots are others",
                scene.name()
            )));
        }
    }
    Ok(())
}

fn sleeps(bench: &Bench<'_>, when: &str, answer: impl Fn() -> Answer) -> Found {
    let mut slept = false;
    for scene in &bench.scenes {
        let mut before = scene.before.clone();
        before.slow = 2;
        let scene = Scene { task: scene.task.clone(), before, after: scene.after.clone() };
        let played = bench.play(&scene, |_, effect, _| match effect.deed {
            Deed::Sleep { .. } => Fate::Instead(answer()),
            _ => Fate::Done,
        });
        slept |= played.log.iter().any(|(effect, _)| matches!(effect.deed, Deed::Sleep { .. }));
        bench.honest(&scene, &played, when)?;
    }
    if slept { Ok(()) } else { Err(Miss::NotApplicable("it never waits".into())) }
}

fn sleeps_cut(bench: &Bench<'_>) -> Found {
    sleeps(bench, "with every wait in doubt", || Answer::InDoubt)
}

fn sleeps_time_out(bench: &Bench<'_>) -> Found {
    sleeps(bench, "with every wait timed out", || Answer::TimedOut)
}

fn slow_to_show(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    for scene in bench.scenes.iter().filter(|scene| scene.after.by_slots()) {
        let mut before = scene.before.clone();
        before.slow = 3;
        let scene = Scene { task: scene.task.clone(), before, after: scene.after.clone() };
        let played = bench.play(&scene, |_, _, _| Fate::Done);
        bench.honest(&scene, &played, "on a machine that is slow to show")?;
    }
    Ok(())
}
