//! The host or the machine goes down in the middle, or the run is left and another begun.

use backstay_model::{Access, Answer, Task};

use super::{Bench, Case, Class, Fate, Found, Miss, case, order, play};

pub(super) const CASES: &[Case] = &[
    case(
        "stopped-before-each-effect",
        Class::Cut,
        "the host goes down before an effect is done: the run goes on, and its word is true",
        stopped_before,
    ),
    case(
        "stopped-after-each-effect",
        Class::Cut,
        "the host goes down after an effect was done and before that was written down",
        stopped_after,
    ),
    case(
        "power-cut-before-each-effect",
        Class::Cut,
        "the machine goes down before an effect is done, and starts anew",
        cut_before,
    ),
    case(
        "power-cut-after-each-effect",
        Class::Cut,
        "the machine goes down after an effect was done, and starts anew",
        cut_after,
    ),
    case(
        "stopped-twice-in-a-row",
        Class::Cut,
        "the host goes down at an effect, and at the one after it again",
        stopped_twice,
    ),
    case(
        "stopped-at-every-effect",
        Class::Cut,
        "the host goes down after every single effect",
        stopped_always,
    ),
    case(
        "nothing-ever-gets-done",
        Class::Cut,
        "every change is in doubt and was not done: the run ends, and does not say done",
        never_done,
    ),
    case(
        "lost-answer",
        Class::Cut,
        "a change was done and its answer is lost: it is looked at, and not done blindly again",
        lost_answer,
    ),
    case(
        "aborted-before-commit",
        Class::Aborted,
        "left before its first change, the way home is open",
        aborted_before,
    ),
    case(
        "aborted-after-each-change",
        Class::Aborted,
        "left after any change, the way home is open",
        aborted_after,
    ),
    case(
        "aborted-and-begun-anew",
        Class::Aborted,
        "left after any effect, the same order under a new number is done",
        aborted_and_again,
    ),
    case(
        "home-aborted-and-begun-anew",
        Class::Aborted,
        "the way home, left after any effect, can be gone again",
        home_again,
    ),
];

fn at_each(bench: &Bench<'_>, when: &str, fate: fn() -> Fate) -> Found {
    bench.each_effect(|scene, at, _| {
        let played = bench.play(scene, |n, _, _| if n == at { fate() } else { Fate::Done });
        bench.honest(scene, &played, &format!("{when} effect {at}"))
    })
}

fn stopped_before(bench: &Bench<'_>) -> Found {
    at_each(bench, "stopped before", || Fate::StopBefore)
}

fn stopped_after(bench: &Bench<'_>) -> Found {
    at_each(bench, "stopped after", || Fate::StopAfter)
}

fn cut_before(bench: &Bench<'_>) -> Found {
    at_each(bench, "cut before", || Fate::CutBefore)
}

fn cut_after(bench: &Bench<'_>) -> Found {
    at_each(bench, "cut after", || Fate::CutAfter)
}

fn stopped_twice(bench: &Bench<'_>) -> Found {
    bench.each_effect(|scene, at, _| {
        let played =
            bench.play(scene, |n, _, _| if n == at || n == at + 1 { Fate::StopBefore } else { Fate::Done });
        bench.honest(scene, &played, &format!("stopped before effects {at} and {}", at + 1))
    })
}

fn stopped_always(bench: &Bench<'_>) -> Found {
    bench.all_honest("stopped after every effect", |_| Fate::StopAfter, |_, _| Ok(()))
}

fn never_done(bench: &Bench<'_>) -> Found {
    let fate = |effect: &backstay_model::Effect| match effect.access {
        Access::Looks => Fate::Done,
        Access::Changes => Fate::Instead(Answer::InDoubt),
    };
    bench.all_honest("with every change in doubt and not done", fate, |_, _| Ok(()))
}

/// A run that doubts may do a change again only after it has looked, or fail.
fn lost_answer(bench: &Bench<'_>) -> Found {
    bench.each_effect(|scene, at, effect| {
        if effect.access == Access::Looks {
            return Ok(());
        }
        let played =
            bench.play(scene, |n, _, _| if n == at { Fate::Yet(Answer::InDoubt) } else { Fate::Done });
        let when = format!("with the answer to effect {at} lost");
        bench.honest(scene, &played, &when)?;
        match played.log.get(at + 1) {
            Some((next, _)) if next.access == Access::Changes && next.deed == effect.deed => {
                Err(format!("{} {when}: {} is done again without a look", scene.name(), next.deed))
            }
            Some(_) | None => Ok(()),
        }
    })
}

fn home_after(bench: &Bench<'_>, which: impl Fn(usize, Access) -> bool) -> Found {
    let install = bench.needs(|task| matches!(task, Task::Install { .. }), "install")?;
    let home = bench.needs(|task| matches!(task, Task::GoHome { .. }), "go home")?;
    bench.by_slots()?;
    let log = &install.after.log;
    for at in 0..log.len() {
        let before: usize = log[..at].iter().filter(|(effect, _)| effect.access == Access::Changes).count();
        if !which(before, log[at].0.access) {
            continue;
        }
        let left = bench.play(install, |n, _, _| if n == at { Fate::Abandon } else { Fate::Done });
        let back = play(&bench.bound(), order(&home.task, 9), left.world, &mut |_, _, _| Fate::Done);
        let when = format!("after an installation that was left at effect {at}");
        if !back.says_done() {
            return Err(Miss::Failed(format!("{} {when}: {:?}", home.name(), back.end)));
        }
        bench.honest(home, &back, &when)?;
    }
    Ok(())
}

fn aborted_before(bench: &Bench<'_>) -> Found {
    home_after(bench, |changes_before, access| changes_before == 0 && access == Access::Looks)
}

fn aborted_after(bench: &Bench<'_>) -> Found {
    home_after(bench, |_, access| access == Access::Changes)
}

fn aborted_and_again(bench: &Bench<'_>) -> Found {
    bench.each_effect(|scene, at, _| {
        let left = bench.play(scene, |n, _, _| if n == at { Fate::Abandon } else { Fate::Done });
        let again = play(&bench.bound(), order(&scene.task, 9), left.world, &mut |_, _, _| Fate::Done);
        let when = format!("anew, after it was left at effect {at}");
        if !again.says_done() {
            return Err(format!("{} {when}: {:?}", scene.name(), again.end));
        }
        bench.honest(scene, &again, &when)
    })
}

fn home_again(bench: &Bench<'_>) -> Found {
    let home = bench.needs(|task| matches!(task, Task::GoHome { .. }), "go home")?;
    for at in 0..home.after.log.len() {
        let left = bench.play(home, |n, _, _| if n == at { Fate::Abandon } else { Fate::Done });
        let mut world = left.world;
        world.restarts();
        let again = play(&bench.bound(), order(&home.task, 9), world, &mut |_, _, _| Fate::Done);
        let when = format!("anew after a restart, left at effect {at}");
        if !again.says_done() {
            return Err(Miss::Failed(format!("{} {when}: {:?}", home.name(), again.end)));
        }
        bench.honest(home, &again, &when)?;
    }
    Ok(())
}
