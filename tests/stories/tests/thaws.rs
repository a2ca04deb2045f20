//! Stories about a device that was frozen and may go on: what it has to prove then, and what not.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::Input;
use backstay_model::{
    Cause, Direction, Event, Millis, Outcome, Release, SlotStatus, Standing, Task, Transience, Word,
};
use backstay_test_stories::{Behaviour, World, release};

fn standing(world: &World) -> Standing {
    world.report.as_ref().unwrap().standing
}

fn trials(world: &World, of: &Release) -> usize {
    world.count(|event| matches!(event, Event::TrialBegan { release, .. } if release == of))
}

/// On 1.5.0, half-way through its trial, and called home. Home can't be brought back, which trying again wouldn't change: it froze
/// there. By now the server asks for nothing.
fn frozen_on_trial() -> World {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.4.0", Behaviour::Hangs);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(30).steers("r-1", "1.5.0", Direction::Home);
    assert_eq!(standing(&world), Standing::GoingHome);
    let (booted, confirmed) = (release("1.5.0"), release("1.4.0"));
    let slots = SlotStatus { booted, confirmed: confirmed.clone(), other: Some(confirmed), trying: None };
    let outcome =
        Outcome::Failed { transience: Transience::Permanent, why: "the slot can't be written to".into() };
    let ticket = world.device().order().unwrap().ticket;
    world.give(Input::Ended { ticket, outcome, slots });
    assert_eq!(world.count(|event| matches!(event, Event::Froze { cause: Cause::RunFailed { .. } })), 1);
    world.behaves("1.4.0", Behaviour::Healthy).steers("r-1", "1.5.0", Direction::Hold).waits(3600);
    assert_eq!((standing(&world), world.runs(), world.confirmed()), (Standing::Frozen, "1.5.0", "1.4.0"));
    world
}

/// Somebody has looked and lets it stay. What runs has never passed a trial, so it begins one anew, in full: else it would be neither
/// confirmed nor left, and the next start would bring the other release back.
#[test]
fn what_was_frozen_on_trial_proves_itself_anew() {
    let mut world = frozen_on_trial();
    world.tells(Word::Thaw);
    assert_eq!((standing(&world), trials(&world, &release("1.5.0"))), (Standing::OnTrial, 2));
    world.waits(55);
    assert_eq!(world.confirmed(), "1.4.0", "what it did well before it was frozen counts for nothing");
    world.waits(30);
    assert_eq!((standing(&world), world.runs(), world.confirmed()), (Standing::Settled, "1.5.0", "1.5.0"));
    world.loses_power().waits(60);
    assert_eq!(world.runs(), "1.5.0");
}

/// The same, and it does badly: it goes home by itself and mends nothing first, as from any trial.
#[test]
fn what_was_frozen_on_trial_and_fails_after_that_goes_home() {
    let mut world = frozen_on_trial();
    world.tells(Word::Thaw).behaves("1.5.0", Behaviour::FailsAfter(Millis(0))).waits(120);
    assert_eq!((standing(&world), world.runs(), world.confirmed()), (Standing::Settled, "1.4.0", "1.4.0"));
    assert_eq!(world.device().condemned(), [release("1.5.0").digest]);
    let heals = |event: &Event| matches!(event, Event::Ordered { order, .. } if matches!(order.task, Task::Heal { .. }));
    assert_eq!(world.count(heals), 0);
}

/// It was called home from what it had confirmed, had no way, and froze. What it runs was proved long ago: once it may go on it is free
/// at once for what it is steered to, and has not to pass a trial first with itself for a way home.
#[test]
fn what_was_frozen_on_its_confirmed_release_has_nothing_to_prove() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).waits(60).steers("r-0", "1.4.0", Direction::Home).waits(60);
    assert_eq!(world.count(|event| matches!(event, Event::Froze { cause: Cause::NoWayHome })), 1);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    assert_eq!((standing(&world), world.runs()), (Standing::Frozen, "1.4.0"), "frozen is frozen");
    world.tells(Word::Thaw);
    assert_eq!((trials(&world, &release("1.4.0")), world.runs()), (0, "1.5.0"));
    world.waits(90);
    assert_eq!((standing(&world), world.confirmed()), (Standing::Settled, "1.5.0"));
}
