//! Stories of slots behind a boot loader, told under either of them.

use std::path::Path;

use backstay_model::Release;
use backstay_slots::{BootWord, Disk as _, Slot, SlotError, Slots as _, replace};

use crate::{
    Finding, Standing, Switch,
    testing::Cut,
    world::{DEVICE_SIZE, ENVIRONMENT_SIZE, LEDGER, LOADERS, Loader, World, bytes, release},
};

#[test]
fn a_release_is_staged_tried_and_confirmed() {
    for loader in LOADERS {
        let mut world = World::made(loader);
        assert_eq!((world.word(), world.status().other), (BootWord::Confirmed, None));
        world.stages("1.1").unwrap();
        assert_eq!((world.status().other, world.status().trying), (Some(release("1.1")), None));
        assert_eq!(world.after(Cut::Strict).holds(world.on), Some("1.0"), "staged is not tried");
        world.tries("1.1").unwrap();
        assert_eq!((world.status().booted, world.status().trying), (release("1.0"), Some(release("1.1"))));
        assert_eq!(world.boots(), "1.1");
        assert_eq!(world.word(), BootWord::Trial { tries_left: 1 });
        assert_eq!(world.status().confirmed, release("1.0"));
        assert!(matches!(world.stages("1.2"), Err(SlotError::TryOpen { .. })));
        world.confirms("1.1").unwrap();
        assert_eq!((world.word(), world.boots()), (BootWord::Confirmed, "1.1"));
        assert_eq!(world.status().other, Some(release("1.0")));
        world.goes_home("1.0").unwrap();
        assert_eq!((world.status().booted, world.status().confirmed), (release("1.1"), release("1.0")));
        assert!(matches!(world.confirms("1.1"), Err(SlotError::NotRunning { .. })));
        assert!(matches!(world.stages("1.2"), Err(SlotError::HoldsConfirmed { slot: Slot::A })));
        assert_eq!((world.boots(), world.word()), ("1.0", BootWord::Confirmed));
    }
}

/// Nobody of us ever runs on the new release: the boot loader alone brings the device home, and we say so.
#[test]
fn a_release_that_panics_falls_back_by_itself() {
    for loader in LOADERS {
        let mut world = World { panics: &["1.1"], ..World::made(loader) };
        world.stages("1.1").unwrap();
        world.tries("1.1").unwrap();
        assert_eq!(world.boots(), "1.0");
        let fell_back = BootWord::FellBack { from: Some(release("1.1")) };
        assert_eq!(world.word(), fell_back, "{loader:?}");
        assert_eq!(world.switch().left(Slot::B).unwrap(), Standing::Barred);
        assert_eq!((world.boots(), world.word()), ("1.0", fell_back), "said until the next try");
        world.is_of_use();
    }
}

/// That an earlier release fell back is said until the next try. It says nothing of what was confirmed and is left for home.
#[test]
fn what_was_confirmed_is_not_barred_for_an_earlier_fall_back() {
    for loader in LOADERS {
        let mut world = World { panics: &["1.2"], ..World::made(loader) }.updated_to("1.1");
        world.stages("1.2").unwrap();
        world.tries("1.2").unwrap();
        assert_eq!(world.boots(), "1.1");
        world.stages("1.0").unwrap();
        world.goes_home("1.0").unwrap();
        assert_eq!(world.boots(), "1.0");
        assert_eq!(world.word(), BootWord::FellBack { from: Some(release("1.2")) });
        assert!(world.switch().left(Slot::B).unwrap().starts(), "{loader:?}: 1.1 was good");
        world.is_of_use();
    }
}

#[test]
fn power_that_comes_and_goes_in_a_long_trial_does_not_use_up_the_tries() {
    for loader in LOADERS {
        let mut world = World::made(loader).on_trial("1.1");
        for _ in 0..10 {
            world.slots().note_boot().unwrap();
            assert_eq!((world.boots(), world.word()), ("1.1", BootWord::Trial { tries_left: 1 }));
        }
    }
}

/// The word "confirmed" is ours alone: U-Boot counts a confirmed slot as any other.
#[test]
fn a_confirmed_release_that_no_longer_starts_is_rescued_by_the_other() {
    let mut world = World::made(Loader::UBoot).updated_to("1.1");
    world.panics = &["1.1"];
    assert_eq!(world.boots(), "1.0");
    let (mut slots, findings) = world.opens().unwrap();
    assert!(matches!(findings[..], [Finding::Rescued { failed: Slot::B }]), "{findings:?}");
    assert_eq!((slots.booted(), slots.status().unwrap().confirmed), (BootWord::Rescued, release("1.0")));
    drop(slots);
    world.is_of_use();
}

/// What was left for good is in the other slot, and whole. Home is started first, again and again; only where it doesn't come up
/// any more there is nothing better.
#[test]
fn what_is_condemned_is_the_last_resort() {
    for loader in LOADERS {
        let mut world = World::made(loader).on_trial("1.1");
        assert!(world.condemns("1.1").is_ok(), "it runs, so it is in no other slot");
        let confirmed = world.condemns("1.0").unwrap_err();
        assert!(matches!(confirmed, SlotError::HoldsConfirmed { slot: Slot::A }), "{confirmed}");
        world.goes_home("1.0").unwrap();
        assert_eq!(world.boots(), "1.0");
        world.condemns("1.1").unwrap();
        assert_eq!(world.switch().left(Slot::B).unwrap(), Standing::Tries(0));
        assert_eq!(world.status().other, Some(release("1.1")), "it is known what it is");
        // Nobody notes that home's boots are fine: it has two, and then two more. Without the word it had two.
        let homes = if loader == Loader::UBoot { 3 } else { 10 };
        for _ in 0..homes {
            assert_eq!(world.boots(), "1.0", "{loader:?}");
        }
        // Somebody lifts that, and it is tried again.
        world.slots().note_boot().unwrap();
        world.tries("1.1").unwrap();
        let open = world.condemns("1.1").unwrap_err();
        assert!(matches!(open, SlotError::TryOpen { .. }), "{open}");
        assert_eq!(world.boots(), "1.1");
        world.goes_home("1.0").unwrap();
        assert_eq!(world.boots(), "1.0");
        world.condemns("1.1").unwrap();
        if loader == Loader::UBoot {
            world.panics = &["1.0"];
            assert_eq!((world.boots(), world.word()), ("1.1", BootWord::Rescued), "that or nothing");
        }
        world.is_of_use();
    }
}

#[test]
fn a_home_that_no_longer_starts_is_no_home() {
    let mut world = World::made(Loader::UBoot).updated_to("1.1");
    world.panics = &["1.0"];
    world.goes_home("1.0").unwrap();
    assert_eq!((world.boots(), world.word()), ("1.1", BootWord::Rescued));
    assert_eq!(world.status().confirmed, release("1.1"));
    world.is_of_use();
}

#[test]
fn other_bytes_than_the_release_has_are_never_tried() {
    for loader in LOADERS {
        let world = World::made(loader).updated_to("1.1");
        let good = bytes("1.2");
        let mut flipped = good.clone();
        flipped[600] ^= 1;
        for bad in [&good[..600], &[&good[..], b"x"].concat(), &flipped, b""] {
            let error = world.slots().stage(&release("1.2"), &mut &bad[..]).unwrap_err();
            assert!(matches!(error, SlotError::OtherBytes { .. }), "{error}");
            assert_eq!(world.status().other, None, "what was there is gone");
            assert!(matches!(world.tries("1.2"), Err(SlotError::NotThere { .. })));
            assert!(matches!(world.goes_home("1.0"), Err(SlotError::NotThere { .. })));
        }
        let large = Release { length: DEVICE_SIZE as u64 + 1, ..release("1.2") };
        assert!(matches!(world.slots().stage(&large, &mut &good[..]), Err(SlotError::Disk { .. })));
        world.is_sound();
        world.is_of_use();
    }
}

/// A slot that rots, or that somebody writes to behind our back, is found before it is tried.
#[test]
fn a_slot_that_changed_is_not_tried_and_is_no_home() {
    for loader in LOADERS {
        let world = World::made(loader).updated_to("1.1");
        world.power.damage("slot-a", 300);
        assert!(matches!(world.goes_home("1.0"), Err(SlotError::NotThere { .. })));
        world.stages("1.2").unwrap();
        world.power.damage("slot-a", 300);
        assert!(matches!(world.tries("1.2"), Err(SlotError::NotThere { .. })));
        world.stages("1.2").unwrap();
        world.tries("1.2").unwrap();
        assert_eq!(world.after(Cut::Strict).holds(Slot::A), Some("1.2"));
    }
}

#[test]
fn a_lost_ledger_is_begun_anew_with_what_runs() {
    for loader in LOADERS {
        let world = World::made(loader);
        world.stages("1.1").unwrap();
        for copy in ["ledger-0", "ledger-1"] {
            let mut power = world.power.clone();
            replace(&mut power, &Path::new(LEDGER).join(copy), b"rot").unwrap();
            if copy == "ledger-0" {
                assert_eq!(world.status().other, Some(release("1.1")), "one copy is enough");
                replace(&mut power, &Path::new(LEDGER).join(copy), b"rot").unwrap();
            }
        }
        let mut power = world.power.clone();
        for copy in ["ledger-0", "ledger-1"] {
            power.remove(&Path::new(LEDGER).join(copy)).unwrap();
        }
        let (mut slots, findings) = world.opens().unwrap();
        assert!(matches!(findings[..], [Finding::LedgerLost { confirmed: Slot::A }]), "{findings:?}");
        let status = slots.status().unwrap();
        assert_eq!((status.confirmed, status.other), (release("1.0"), None));
        drop(slots);
        world.is_of_use();
    }
}

/// Both copies of the environment rot. From the ledger it is known what has to be in it.
#[test]
fn a_lost_environment_is_written_anew_from_the_ledger() {
    let loses = |world: &World| {
        world.power.damage("flash", 40);
        world.power.damage("flash", 2 * ENVIRONMENT_SIZE + 40);
        let (_, findings) = world.opens().unwrap();
        assert!(findings.iter().any(|finding| matches!(finding, Finding::SwitchLost { .. })), "{findings:?}");
        assert!(findings[0].to_string().contains("both copies of the boot environment are damaged"));
    };
    let world = World::made(Loader::UBoot);
    loses(&world);
    assert_eq!(world.switch().left(Slot::B).unwrap(), Standing::Barred, "it holds nothing");
    let world = world.updated_to("1.1");
    loses(&world);
    world.is_sound();
    assert_eq!(world.status().confirmed, release("1.1"));
    world.is_of_use();
    let mut world = World::made(Loader::UBoot).on_trial("1.1");
    loses(&world);
    assert_eq!((world.boots(), world.status().confirmed), ("1.1", release("1.0")), "the trial goes on");
}

/// Nobody noted that its boots were fine, so U-Boot gives the way home no more of them. It has to have some before another
/// slot is put first.
#[test]
fn a_home_whose_boots_are_used_up_is_still_a_way_home() {
    let mut world = World { panics: &["1.1"], ..World::made(Loader::UBoot) };
    while world.switch().primary().unwrap() == Some(Slot::A) {
        assert_eq!(world.boots(), "1.0");
    }
    world.stages("1.1").unwrap();
    assert_eq!(world.switch().primary().unwrap(), Some(Slot::A), "alone, and it can be started");
    world.uboot().uses_up(Slot::A);
    world.tries("1.1").unwrap();
    assert_eq!((world.boots(), world.word()), ("1.0", BootWord::FellBack { from: Some(release("1.1")) }));
}

/// The other slot's boots are used up from before. A cut before the boot loader is asked must not make it look as if it had
/// been asked, tried, and failed.
#[test]
fn boots_that_were_used_up_before_are_no_failed_try() {
    type Deed = fn(&World) -> Result<(), SlotError>;
    let deeds: [Deed; 2] = [|world| world.tries("1.0"), |world| world.goes_home("1.0")];
    for deed in deeds {
        for at in 0.. {
            let world = World::made(Loader::UBoot).updated_to("1.1");
            world.uboot().uses_up(Slot::A);
            world.power.lasts(at);
            let done = deed(&world).is_ok();
            let world = world.after(Cut::Strict);
            assert!(
                matches!(world.word(), BootWord::Confirmed | BootWord::Trial { .. }),
                "cut at {at}: {:?}",
                world.word()
            );
            if done {
                break;
            }
        }
    }
}

/// Home runs on its last try, and nobody of us has looked since the boot loader was asked: it comes no more next, and yet
/// it is where we were to go, and no rescue.
#[test]
fn home_is_home_on_its_last_try() {
    let mut world = World::made(Loader::UBoot).updated_to("1.1");
    // The boot loader is asked, and then the power goes.
    for operations in 0.. {
        world = World { power: world.power.after(Cut::Kill), ..world };
        world.power.lasts(operations);
        let cut_off = world.goes_home("1.0").is_err();
        world.power.lasts(usize::MAX);
        if !cut_off || world.switch().primary().unwrap() == Some(Slot::A) {
            assert!(cut_off);
            break;
        }
    }
    assert_eq!([world.boots(), world.boots()], ["1.0", "1.0"]);
    assert_eq!(world.switch().primary().unwrap(), Some(Slot::B), "a's tries are used up");
    assert_eq!((world.word(), world.status().confirmed), (BootWord::Confirmed, release("1.0")));
}

/// Orders come twice, and after a crash nobody knows whether they were carried out.
#[test]
fn doing_any_of_it_again_changes_nothing() {
    for loader in LOADERS {
        let mut world = World::made(loader);
        let twice = |world: &World, deed: &dyn Fn(&World) -> Result<(), SlotError>| {
            deed(world).unwrap();
            world.power.lasts(0);
            deed(world).unwrap();
            world.power.lasts(usize::MAX);
        };
        twice(&world, &|world| world.stages("1.1"));
        twice(&world, &|world| world.tries("1.1"));
        assert_eq!(world.boots(), "1.1");
        twice(&world, &|world| world.stages("1.1"));
        twice(&world, &|world| world.tries("1.1"));
        twice(&world, &|world| world.slots().note_boot());
        twice(&world, &|world| world.confirms("1.1"));
        twice(&world, &|world| world.goes_home("1.0"));
        assert_eq!(world.boots(), "1.0");
        twice(&world, &|world| world.goes_home("1.0"));
        twice(&world, &|world| world.condemns("1.1"));
        twice(&world, &|world| world.condemns("1.2"));
    }
}
