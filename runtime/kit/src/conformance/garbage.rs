//! Answers that are odd: of another kind, oversized, unreadable, extreme.
#![expect(clippy::wildcard_enum_match_arm, reason = "a case is about the kinds that it names")]

use backstay_model::{
    Answer, Deed, Digest, Effect, FIELDS_BYTES_MAX, Fence, OUTPUT_BYTES_MAX, Order, Output, SlotStatus, Task,
    Ticket,
};

use super::{
    Bench, Case, Class, Fate, Found, Miss, case, order, play,
    world::{release, said},
};

pub(super) const CASES: &[Case] = &[
    case(
        "answers-of-another-kind",
        Class::Garbage,
        "a command is answered with slots, slots with an exit code, and so on: the run ends, and its word is true",
        another_kind,
    ),
    case("each-answer-of-another-kind", Class::Garbage, "the same, one effect in turn", each_another_kind),
    case(
        "oversized-output",
        Class::Garbage,
        "every output has all the bytes that it may have: the state stays within its bound",
        oversized,
    ),
    case("unreadable-output", Class::Garbage, "every output is bytes that are no text", unreadable),
    case("empty-output", Class::Garbage, "commands and endpoints say nothing", empty),
    case(
        "unheard-of-release",
        Class::Garbage,
        "the slots hold releases that nobody heard of: the word is true",
        unheard_of,
    ),
    case(
        "extreme-numbers",
        Class::Garbage,
        "tickets, fences, lengths and epochs are as large as can be",
        extremes,
    ),
    case(
        "unknown-playbook",
        Class::Garbage,
        "it is asked to heal by a playbook that nobody has: it fails, and says so",
        unknown_playbook,
    ),
];

fn other_kind(effect: &Effect) -> Answer {
    let runs = release("1.5.0");
    match &effect.deed {
        Deed::Run { .. } => {
            Answer::Slots(SlotStatus { booted: runs.clone(), confirmed: runs, other: None, trying: None })
        }
        Deed::Slot(_) => Answer::Exited { code: Some(0), output: Output::default() },
        Deed::Http { .. } => Answer::Content(said(b"ok".to_vec())),
        Deed::File { .. } => Answer::Response { status: 200, body: said(b"ok".to_vec()) },
        Deed::Publish { .. } | Deed::Sleep { .. } | Deed::Attach { .. } => {
            Answer::Content(said(b"ok".to_vec()))
        }
    }
}

fn another_kind(bench: &Bench<'_>) -> Found {
    let fate = |effect: &Effect| Fate::Instead(other_kind(effect));
    for scene in &bench.scenes {
        let played = bench.play(scene, |_, effect, _| fate(effect));
        // What an executor makes of an answer that it can't have got is its own business, as long as it ends.
        played.ended().map_err(|why| format!("{} with answers of another kind: {why}", scene.name()))?;
        if played.by_slots() && played.says_done() {
            bench.honest(scene, &played, "with answers of another kind")?;
        }
    }
    Ok(())
}

fn each_another_kind(bench: &Bench<'_>) -> Found {
    bench.each_effect(|scene, at, _| {
        let played = bench
            .play(scene, |n, effect, _| if n == at { Fate::Instead(other_kind(effect)) } else { Fate::Done });
        let when = format!("with an answer of another kind to effect {at}");
        played.ended().map_err(|why| format!("{} {when}: {why}", scene.name()))?;
        if played.by_slots() { bench.honest(scene, &played, &when) } else { Ok(()) }
    })
}

/// Puts something in the place of what was said, and leaves what came of it.
fn saying(bench: &Bench<'_>, when: &str, output: impl Fn(&Effect) -> Output) -> Found {
    let mut says = false;
    for scene in &bench.scenes {
        let played = bench.play(scene, |_, effect, world| match world.does(effect) {
            Answer::Exited { code, .. } => Fate::Instead(Answer::Exited { code, output: output(effect) }),
            Answer::Response { status, .. } => {
                Fate::Instead(Answer::Response { status, body: output(effect) })
            }
            Answer::Content(_) => Fate::Instead(Answer::Content(output(effect))),
            answer => Fate::Instead(answer),
        });
        says |= played.log.iter().any(|(_, answer)| {
            matches!(answer, Answer::Exited { .. } | Answer::Response { .. } | Answer::Content(_))
        });
        played.ended().map_err(|why| format!("{} {when}: {why}", scene.name()))?;
        let most = bench.limits.state_bytes as usize;
        if played.state_max > most {
            return Err(Miss::Failed(format!(
                "{} {when} keeps {} bytes of {most}",
                scene.name(),
                played.state_max
            )));
        }
    }
    if says { Ok(()) } else { Err(Miss::NotApplicable("nothing that it asks for says anything".into())) }
}

fn oversized(bench: &Bench<'_>) -> Found {
    saying(bench, "with oversized output", |effect| match &effect.deed {
        // Fields that were asked for are never cut. There may be many of them, or one long text.
        Deed::Http { path, .. } if path.contains('#') => said(vec![b'x'; FIELDS_BYTES_MAX]),
        _ => Output { bytes: vec![b'x'; OUTPUT_BYTES_MAX], whole: Some(Digest([7; 32])) },
    })
}

fn unreadable(bench: &Bench<'_>) -> Found {
    saying(bench, "with unreadable output", |_| said((0..=255).collect()))
}

fn empty(bench: &Bench<'_>) -> Found {
    saying(bench, "with empty output", |_| Output::default())
}

fn unheard_of(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let (one, other) = (release("9.9.9"), release("8.8.8"));
    for scene in bench.scenes.iter().filter(|scene| scene.after.by_slots()) {
        let played = bench.play(scene, |_, effect, world| match world.does(effect) {
            Answer::Slots(_) => Fate::Instead(Answer::Slots(SlotStatus {
                booted: one.clone(),
                confirmed: other.clone(),
                other: Some(other.clone()),
                trying: None,
            })),
            answer => Fate::Instead(answer),
        });
        played.ended().map_err(|why| format!("{} among unheard-of releases: {why}", scene.name()))?;
        if played.says_done() {
            return Err(Miss::Failed(format!("{} says done where the slots never showed it", scene.name())));
        }
    }
    Ok(())
}

fn extremes(bench: &Bench<'_>) -> Found {
    let mut large = release(&"9".repeat(64));
    (large.length, large.security_epoch) = (u64::MAX, u32::MAX);
    for scene in &bench.scenes {
        let mut before = scene.before.clone();
        let task = match &scene.task {
            Task::Install { .. } => Task::Install { release: large.clone() },
            Task::Confirm { .. } => {
                (before.slots.booted, before.slots.trying) = (large.clone(), Some(large.clone()));
                Task::Confirm { release: large.clone() }
            }
            Task::GoHome { .. } => {
                (before.slots.confirmed, before.slots.other) = (large.clone(), Some(large.clone()));
                Task::GoHome { release: large.clone() }
            }
            Task::Heal { playbook } => Task::Heal { playbook: playbook.clone() },
        };
        let order = Order { ticket: Ticket(u64::MAX), fence: Fence(u64::MAX), task };
        let played = play(&bench.bound(), order, before, &mut |_, _, _| Fate::Done);
        if !played.says_done() {
            return Err(Miss::Failed(format!("{} with extreme numbers: {:?}", scene.name(), played.end)));
        }
    }
    Ok(())
}

fn unknown_playbook(bench: &Bench<'_>) -> Found {
    let playbook = super::UNKNOWN_PLAYBOOK.parse().expect("it is written down as a name");
    let before = super::World::on("1.5.0").other("1.4.0");
    let played = play(&bench.bound(), order(&Task::Heal { playbook }, 7), before, &mut |_, effect, _| {
        let unknown =
            matches!(&effect.deed, Deed::Run { command, .. } if command.as_str() == super::UNKNOWN_PLAYBOOK);
        if unknown { Fate::Instead(Answer::Refused("there is no such command".into())) } else { Fate::Done }
    });
    played.ended()?;
    if played.says_done() {
        return Err(Miss::Failed(format!("it says that it healed by {}", super::UNKNOWN_PLAYBOOK)));
    }
    Ok(())
}
