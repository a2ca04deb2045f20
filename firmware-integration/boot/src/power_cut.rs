//! A cut at any operation of each story, under either boot loader, and again while it is done again.

use std::{collections::BTreeSet, path::Path};

use backstay_model::{Digest, Release};
use backstay_slots::{BootWord, Disk as _, Slot, SlotError, Slots as _};
use sha2::{Digest as _, Sha256};

use crate::{
    Raw, Switch as _, Write as _,
    ledger::Image,
    testing::Cut,
    world::{LEDGER, LOADERS, Loader, World, release},
};

fn cuts() -> impl Iterator<Item = Cut> {
    [Cut::Kill, Cut::KillHalf(3), Cut::Strict].into_iter().chain((1..=8).map(Cut::Torn))
}

/// Cuts `story` at every operation, in every way, and again at every operation of doing it again. Each time what is said
/// has to be true, whatever is started whole, and the device of use afterwards. Says how many cuts that were, and what ran.
fn cut_everywhere(
    what: &str,
    may_confirm: &'static [&'static str],
    before: impl Fn(Loader) -> World,
    story: impl Fn(&World) -> Result<(), SlotError>,
    told: impl Fn(&World),
) {
    for loader in LOADERS {
        let (mut points, mut again_points) = (0, 0);
        // Many cuts leave the same: what was looked at once is not looked at again.
        let (mut seen, mut seen_again) = (BTreeSet::new(), BTreeSet::new());
        for at in 0.. {
            let world = World { may_confirm, ..before(loader) };
            world.power.lasts(at);
            let done = story(&world).is_ok();
            let gone = world.power.is_gone();
            assert!(done || gone, "{what} under {loader:?} is not to fail by itself");
            for cut in cuts() {
                let world = world.after(cut);
                points += 1;
                if !seen.insert(world.mark()) && gone {
                    continue;
                }
                world.is_sound();
                if !gone {
                    told(&world);
                }
                world.is_of_use();
                for again in 0.. {
                    let world = world.after(Cut::Kill);
                    world.power.lasts(again);
                    // It may have been overtaken: what was to be confirmed fell back.
                    let _ = story(&world);
                    let gone = world.power.is_gone();
                    for cut in
                        [Cut::Kill, Cut::Strict, Cut::Torn(11 + again as u64), Cut::Torn(77 + again as u64)]
                    {
                        let world = world.after(cut);
                        again_points += 1;
                        if seen_again.insert(world.mark()) {
                            world.is_sound();
                            // The dear one, for a part of them: after each first cut it was of use already.
                            if seen_again.len() % 4 == 0 {
                                world.is_of_use();
                            }
                        }
                    }
                    if !gone {
                        break;
                    }
                }
            }
            if !gone {
                break;
            }
        }
        let states = seen.union(&seen_again).count();
        println!(
            "{what}, {loader:?}: {points} cuts and {again_points} in doing it again left {states} states, 0 bad ends"
        );
        assert!(points > 100, "{points}");
    }
}

#[test]
fn an_install_survives_a_cut_at_every_operation() {
    let before = |loader| World::made(loader).updated_to("1.1");
    let install = |world: &World| world.stages("1.2").and_then(|()| world.tries("1.2"));
    let told = |world: &World| assert_eq!(world.status().trying, Some(release("1.2")));
    cut_everywhere("an install", &["1.1"], before, install, told);
}

#[test]
fn a_confirmation_survives_a_cut_at_every_operation() {
    let told = |world: &World| assert_eq!(world.status().confirmed, release("1.1"));
    cut_everywhere(
        "a confirmation",
        &["1.0", "1.1"],
        |loader| World::made(loader).on_trial("1.1"),
        |world| world.confirms("1.1"),
        told,
    );
}

#[test]
fn the_way_home_survives_a_cut_at_every_operation() {
    let home = |world: &World| world.goes_home("1.0");
    let told = |world: &World| assert_eq!(world.status().confirmed, release("1.0"));
    cut_everywhere("home from a trial", &["1.0"], |loader| World::made(loader).on_trial("1.1"), home, told);
    cut_everywhere(
        "home from a confirmed release",
        &["1.0", "1.1"],
        |loader| World::made(loader).updated_to("1.1"),
        home,
        told,
    );
}

/// What was left is condemned, then the next release is staged over it.
#[test]
fn condemning_what_was_left_survives_a_cut_at_every_operation() {
    let before = |loader| {
        let mut world = World::made(loader).on_trial("1.1");
        world.goes_home("1.0").unwrap();
        assert_eq!(world.boots(), "1.0");
        world.slots().note_boot().unwrap();
        world
    };
    let condemn = |world: &World| {
        world.opens()?.0.note_boot()?;
        world.condemns("1.1")?;
        assert!(!world.switch().left(Slot::B).unwrap().starts());
        world.stages("1.2")
    };
    cut_everywhere("condemning", &["1.0"], before, condemn, |world| {
        assert_eq!(world.status().other, Some(release("1.2")))
    });
}

/// The first look after a fall-back is cut, then the next release is staged over what fell back.
#[test]
fn a_fall_back_survives_a_cut_at_every_operation() {
    let before = |loader| {
        let mut world = World { panics: &["1.1"], ..World::made(loader) };
        world.stages("1.1").unwrap();
        world.tries("1.1").unwrap();
        assert_eq!(world.boots(), "1.0");
        world
    };
    let stage = |world: &World| {
        assert_eq!(world.opens()?.0.booted(), BootWord::FellBack { from: Some(release("1.1")) });
        world.stages("1.2")
    };
    cut_everywhere("a fall-back", &["1.0"], before, stage, |world| {
        assert_eq!(world.status().other, Some(release("1.2")))
    });
}

#[test]
fn the_first_start_survives_a_cut_at_every_operation() {
    let before = |loader| {
        let world = World::made(loader);
        let mut power = world.power.clone();
        for copy in ["ledger-0", "ledger-1"] {
            power.remove(&Path::new(LEDGER).join(copy)).unwrap();
        }
        power.sync_dir(Path::new(LEDGER)).unwrap();
        world
    };
    let first = |world: &World| world.opens().and_then(|(mut slots, _)| slots.note_boot());
    cut_everywhere("the first start", &["1.0"], before, first, |world| {
        assert_eq!(world.status().booted, release("1.0"))
    });
}

#[test]
fn an_image_is_read_from_a_real_file_as_it_was_written() {
    let home = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| home.path().join(name));
    for path in &paths {
        std::fs::write(path, vec![0; 200_000]).unwrap();
    }
    let image: Vec<u8> = (0..150_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    let digest = Digest(Sha256::digest(&image).into());
    let release = Release { digest, length: 150_000, ..release("1.1") };
    let mut raw = Raw::open(&paths[0], &paths[1]).unwrap();
    let written = raw.write(Slot::B, &release, &mut &image[..]).unwrap();
    assert_eq!(written, Image { digest, length: 150_000 });
    assert!(std::fs::read(&paths[1]).unwrap().starts_with(&image));
    assert_eq!(std::fs::read(&paths[0]).unwrap(), vec![0; 200_000]);
    assert!(raw.holds(Slot::B, &written).unwrap() && !raw.holds(Slot::A, &written).unwrap());
    assert!(!raw.holds(Slot::B, &Image { length: 200_001, ..written }).unwrap());
    assert!(matches!(Raw::open(&home.path().join("none"), &paths[1]), Err(SlotError::Disk { .. })));
}
