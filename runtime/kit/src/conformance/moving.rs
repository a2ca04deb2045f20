//! The machine is not as expected, or somebody else changes it in the middle.

use backstay_model::{Access, Task};

use super::{Bench, Case, Class, Fate, Found, Miss, Scene, World, case, order, play, world::release};

pub(super) const CASES: &[Case] = &[
    case("already-installed", Class::Again, "what runs already is not installed again", already_installed),
    case(
        "already-confirmed",
        Class::Again,
        "what is confirmed already is not confirmed again",
        already_confirmed,
    ),
    case("already-home", Class::Again, "where home runs already, nothing is switched", already_home),
    case(
        "confirms-only-what-runs",
        Class::Moving,
        "another release runs than the one that is to be confirmed: it fails, and changes nothing",
        confirms_what_runs,
    ),
    case(
        "stale-last-known-good",
        Class::Moving,
        "the other slot holds another release than home: the word is true",
        stale_home,
    ),
    case("no-way-home", Class::Moving, "no slot holds home: the word is true", no_way_home),
    case(
        "falls-back",
        Class::Moving,
        "the release does not come up and the boot falls back: the run ends",
        falls_back,
    ),
    case(
        "other-slot-lost",
        Class::Moving,
        "the slot that doesn't run is lost at any effect: the word is true",
        slot_lost,
    ),
    case(
        "switched-by-another",
        Class::Moving,
        "somebody else confirms and boots another release at any effect: the word is true",
        switched,
    ),
    case(
        "restarts-by-itself",
        Class::Moving,
        "the machine starts anew at any effect, unasked: the word is true",
        restarts,
    ),
    case(
        "home-after-any-installation",
        Class::Moving,
        "after a whole installation, confirmed or not, the way home is open",
        home_after_install,
    ),
];

fn installs(task: &Task) -> bool {
    matches!(task, Task::Install { .. })
}

fn confirms(task: &Task) -> bool {
    matches!(task, Task::Confirm { .. })
}

fn goes_home(task: &Task) -> bool {
    matches!(task, Task::GoHome { .. })
}

/// Plays a task on another machine than the one that it is for.
fn on(bench: &Bench<'_>, scene: &Scene, before: World) -> super::Played {
    play(&bench.bound(), order(&scene.task, 7), before, &mut |_, _, _| Fate::Done)
}

fn unmoved(bench: &Bench<'_>, scene: &Scene, before: World, when: &str) -> Found {
    let played = on(bench, scene, before.clone());
    if !played.says_done() {
        return Err(Miss::Failed(format!("{} {when}: {:?}", scene.name(), played.end)));
    }
    if played.world.lasting() != before.lasting() || played.changes() > 0 {
        let changes = played.log.iter().filter(|(effect, _)| effect.access == Access::Changes);
        let deeds: Vec<_> = changes.map(|(effect, _)| effect.deed.to_string()).collect();
        return Err(Miss::Failed(format!("{} {when} did: {}", scene.name(), deeds.join(", "))));
    }
    Ok(())
}

fn already_installed(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let scene = bench.needs(installs, "install")?;
    unmoved(bench, scene, World::on("1.5.0").other("1.4.0"), "where it runs already")
}

fn already_confirmed(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let scene = bench.needs(confirms, "confirm")?;
    unmoved(bench, scene, World::on("1.5.0").other("1.4.0"), "where it is confirmed already")
}

fn already_home(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let scene = bench.needs(goes_home, "go home")?;
    unmoved(bench, scene, World::on("1.4.0").other("1.5.0"), "where home runs already")
}

fn confirms_what_runs(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let scene = bench.needs(confirms, "confirm")?;
    let before = World::on("1.4.0").other("1.5.0");
    let played = on(bench, scene, before.clone());
    bench.honest(scene, &played, "where another release runs")?;
    if played.says_done() || played.world.lasting() != before.lasting() {
        return Err(Miss::Failed(format!("where 1.4.0 runs, 1.5.0 was to be confirmed: {:?}", played.end)));
    }
    Ok(())
}

fn stale_home(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let scene = bench.needs(goes_home, "go home")?;
    let mut before = World::on("1.5.0").other("1.2.0");
    bench.honest(scene, &on(bench, scene, before.clone()), "with another release in the other slot")?;
    before.slots.trying = before.slots.other.clone();
    bench
        .honest(scene, &on(bench, scene, before), "with another release about to be tried")
        .map_err(Into::into)
}

fn no_way_home(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let scene = bench.needs(goes_home, "go home")?;
    let played = play(&bench.bound(), order(&scene.task, 7), World::on("1.5.0"), &mut |_, effect, _| {
        let stages = matches!(&effect.deed, backstay_model::Deed::Slot(backstay_model::SlotDeed::Stage(_)));
        if stages {
            Fate::Instead(super::world::failed(backstay_model::Transience::Transient, "it can't be fetched"))
        } else {
            Fate::Done
        }
    });
    bench.honest(scene, &played, "where no slot holds it and none can be fetched")?;
    if played.says_done() {
        return Err(Miss::Failed("it says that it went home, and there was no way".into()));
    }
    Ok(())
}

fn falls_back(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let scene = bench.needs(installs, "install")?;
    let mut before = scene.before.clone();
    before.broken.push(release("1.5.0"));
    let played = on(bench, scene, before);
    bench.honest(scene, &played, "of a release that does not come up").map_err(Into::into)
}

fn moved(bench: &Bench<'_>, when: &str, change: impl Fn(&mut World)) -> Found {
    bench.by_slots()?;
    bench.each_effect(|scene, at, _| {
        if !scene.after.by_slots() {
            return Ok(());
        }
        let played = bench.play(scene, |n, _, world| {
            if n == at {
                change(world);
            }
            Fate::Done
        });
        bench.honest(scene, &played, &format!("{when} effect {at}"))
    })
}

fn slot_lost(bench: &Bench<'_>) -> Found {
    moved(bench, "with the other slot lost before", |world| {
        world.slots.other = None;
        world.slots.trying = None;
    })
}

/// Between the last look and the run's word nobody can know better, so only what comes before that look counts.
fn switched(bench: &Bench<'_>) -> Found {
    moved(bench, "with another release booted and confirmed before", |world| {
        let other = release("1.3.1");
        world.slots.other = Some(world.slots.booted.clone());
        (world.slots.booted, world.slots.confirmed, world.slots.trying) = (other.clone(), other, None);
    })
}

fn restarts(bench: &Bench<'_>) -> Found {
    moved(bench, "with a restart before", World::restarts)
}

fn home_after_install(bench: &Bench<'_>) -> Found {
    bench.by_slots()?;
    let (install, home) = (bench.needs(installs, "install")?, bench.needs(goes_home, "go home")?);
    let mut worlds = vec![install.after.world.clone()];
    if let Some(confirm) = bench.scene(confirms) {
        worlds.push(on(bench, confirm, install.after.world.clone()).world);
    }
    for world in worlds {
        let back = on(bench, home, world);
        if !back.says_done() {
            return Err(Miss::Failed(format!("home after an installation: {:?}", back.end)));
        }
        bench.honest(home, &back, "after an installation")?;
    }
    Ok(())
}
