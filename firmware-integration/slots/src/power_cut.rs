//! Stories of slots, and the power cut between any two file operations of each of them.

use std::{collections::BTreeSet, path::Path};

use backstay_model::{Digest, Release, Version};
use sha2::{Digest as _, Sha256};

use crate::{
    BootWord, Files, Finding, ProvisionError, Slot, SlotError, Slots as _, Tries,
    artifact::verified,
    disk::Disk,
    memory::{Cut, Memory},
};

const DIR: &str = "/slots";
const TWO_TRIES: Tries = Tries::new(2).unwrap();

fn bytes(version: &str) -> Vec<u8> {
    // More than one chunk of a copy, so that a cut can fall into the middle of an artifact.
    version.bytes().cycle().take(66_000 + version.len()).collect()
}

fn release(version: &str) -> Release {
    let bytes = bytes(version);
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(Sha256::digest(&bytes).into()),
        length: bytes.len() as u64,
        security_epoch: 1,
    }
}

/// A device with a disk whose power can go.
struct World {
    disk: Memory,
    slots: Option<Files<Memory>>,
}

impl World {
    fn provisioned() -> Self {
        let disk = Memory::new();
        Files::provision_on(disk.clone(), Path::new(DIR), &release("1.0"), &mut &bytes("1.0")[..]).unwrap();
        Self { disk, slots: None }
    }

    fn on(disk: Memory) -> Self {
        Self { disk, slots: None }
    }

    fn slots(&mut self) -> &mut Files<Memory> {
        let disk = self.disk.clone();
        self.slots.get_or_insert_with(|| {
            Files::open_on(disk, Path::new(DIR), TWO_TRIES).map(|(slots, _)| slots).unwrap()
        })
    }

    fn restarts(&mut self) -> Result<(String, BootWord), SlotError> {
        self.slots = None;
        let (mut slots, _) = Files::open_on(self.disk.clone(), Path::new(DIR), TWO_TRIES)?;
        let boot = slots.begin_boot()?;
        assert_eq!(slots.booted(), boot.word);
        self.slots = Some(slots);
        Ok((boot.release.version.to_string(), boot.word))
    }

    fn runs(&mut self) -> String {
        self.restarts().unwrap().0
    }

    fn stages(&mut self, version: &str) -> Result<(), SlotError> {
        self.slots().stage(&release(version), &mut &bytes(version)[..])
    }

    fn installs(&mut self, version: &str) {
        self.stages(version).unwrap();
        self.slots().try_next(&release(version)).unwrap();
        assert_eq!(self.runs(), version);
    }

    fn updated_to(mut self, version: &str) -> Self {
        self.installs(version);
        self.slots().confirm(&release(version)).unwrap();
        self
    }

    /// What the link on disk leads to, whole.
    fn current(&self) -> Option<String> {
        let slot = self.disk.read_link(Path::new("/slots/current")).ok()?;
        let (release, _) = verified(&self.disk, &Path::new(DIR).join(slot)).ok()??;
        Some(release.version.to_string())
    }
}

#[test]
fn a_release_is_staged_tried_and_confirmed() {
    let mut world = World::provisioned();
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::Confirmed));
    world.stages("1.1").unwrap();
    assert_eq!(world.slots().status().unwrap().other, Some(release("1.1")));
    world.slots().try_next(&release("1.1")).unwrap();
    let status = world.slots().status().unwrap();
    assert_eq!((status.booted, status.trying), (release("1.0"), Some(release("1.1"))));
    assert_eq!(world.restarts().unwrap(), ("1.1".into(), BootWord::Trial { tries_left: 1 }));
    let status = world.slots().status().unwrap();
    assert_eq!((status.booted, status.confirmed), (release("1.1"), release("1.0")));
    world.slots().confirm(&release("1.1")).unwrap();
    assert_eq!(world.restarts().unwrap(), ("1.1".into(), BootWord::Confirmed));
    assert_eq!(world.slots().status().unwrap().other, Some(release("1.0")));
}

/// What runs on trial has nowhere to go if it fails, and nobody would look there before.
#[test]
fn a_try_says_that_the_confirmed_slot_is_damaged() {
    for file in ["/slots/a/manifest", "/slots/a/release"] {
        let mut world = World::provisioned();
        world.installs("1.1");
        world.disk.damage(file);
        world.slots = None;
        let (mut slots, _) = Files::open_on(world.disk.clone(), Path::new(DIR), TWO_TRIES).unwrap();
        let boot = slots.begin_boot().unwrap();
        assert_eq!(boot.release.version.to_string(), "1.1");
        assert!(
            matches!(boot.findings[..], [Finding::ConfirmedDamaged { slot: Slot::A }]),
            "{:?}",
            boot.findings
        );
    }
}

/// Nobody of us ever runs on the new release: the counter alone brings the device home.
#[test]
fn a_release_that_never_comes_up_falls_back_by_itself() {
    let mut world = World::provisioned();
    world.installs("1.1");
    assert_eq!(world.restarts().unwrap(), ("1.1".into(), BootWord::Trial { tries_left: 0 }));
    let fell_back = BootWord::FellBack { from: Some(release("1.1")) };
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), fell_back.clone()));
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), fell_back), "said until the next try");
    world.stages("1.2").unwrap();
    world.slots().try_next(&release("1.2")).unwrap();
    assert_eq!(world.runs(), "1.2");
}

#[test]
fn power_that_comes_and_goes_in_a_long_trial_does_not_use_up_the_tries() {
    let mut world = World::provisioned();
    world.installs("1.1");
    for _ in 0..10 {
        world.slots().note_boot().unwrap();
        assert_eq!(world.restarts().unwrap(), ("1.1".into(), BootWord::Trial { tries_left: 1 }));
    }
}

#[test]
fn a_trial_goes_home_at_the_next_restart_and_stays_there() {
    let mut world = World::provisioned();
    world.installs("1.1");
    assert!(matches!(world.slots().go_home(&release("1.1")), Err(SlotError::OnTrial { .. })));
    world.slots().go_home(&release("1.0")).unwrap();
    assert!(matches!(world.slots().confirm(&release("1.1")), Err(SlotError::NotRunning { .. })));
    assert!(matches!(world.stages("1.2"), Err(SlotError::HoldsConfirmed { slot: Slot::A })));
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::Confirmed));
    assert_eq!(world.runs(), "1.0");
}

#[test]
fn a_confirmed_release_goes_back_to_the_one_before() {
    let mut world = World::provisioned().updated_to("1.1");
    world.slots().go_home(&release("1.0")).unwrap();
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::Confirmed));
}

/// Orders come twice, and after a crash nobody knows whether they were carried out.
#[test]
fn doing_any_of_it_again_changes_nothing() {
    let mut world = World::provisioned();
    for _ in 0..2 {
        world.stages("1.1").unwrap();
    }
    for _ in 0..2 {
        world.slots().try_next(&release("1.1")).unwrap();
    }
    world.stages("1.1").unwrap();
    assert_eq!(world.runs(), "1.1");
    world.stages("1.1").unwrap();
    world.slots().try_next(&release("1.1")).unwrap();
    let written = |world: &World| world.disk.done();
    for _ in 0..2 {
        world.slots().confirm(&release("1.1")).unwrap();
    }
    let before = written(&world);
    world.slots().confirm(&release("1.1")).unwrap();
    world.stages("1.1").unwrap();
    world.slots().try_next(&release("1.1")).unwrap();
    assert_eq!(written(&world), before);
    assert_eq!(world.slots().status().unwrap().other, Some(release("1.0")), "the way home is still there");
    for _ in 0..2 {
        world.slots().go_home(&release("1.0")).unwrap();
    }
    assert_eq!(world.runs(), "1.0");
    world.slots().go_home(&release("1.0")).unwrap();
    assert_eq!(world.runs(), "1.0");
}

#[test]
fn nothing_is_staged_while_a_try_is_open() {
    let mut world = World::provisioned();
    world.stages("1.1").unwrap();
    world.slots().try_next(&release("1.1")).unwrap();
    assert!(matches!(world.stages("1.2"), Err(SlotError::TryOpen { .. })));
    assert!(matches!(world.slots().try_next(&release("1.2")), Err(SlotError::TryOpen { .. })));
    world.slots().go_home(&release("1.0")).unwrap();
    world.stages("1.2").unwrap();
    assert_eq!(world.runs(), "1.0");
}

#[test]
fn other_bytes_than_the_release_has_change_nothing() {
    let mut world = World::provisioned().updated_to("1.1");
    let good = bytes("1.2");
    let longer = [&good[..], b"x"].concat();
    let mut flipped = good.clone();
    flipped[65_999] ^= 1;
    for bad in [&good[..65_000], &longer, &flipped, b""] {
        let error = world.slots().stage(&release("1.2"), &mut &bad[..]).unwrap_err();
        assert!(matches!(error, SlotError::OtherBytes { .. }), "{error}");
    }
    assert_eq!(world.slots().status().unwrap().other, Some(release("1.0")));
    assert!(matches!(world.slots().try_next(&release("1.2")), Err(SlotError::NotThere { .. })));
    assert_eq!(world.runs(), "1.1");
}

#[test]
fn one_damaged_copy_of_the_words_loses_nothing() {
    for copy in ["/slots/environment-0", "/slots/environment-1"] {
        let mut world = World::provisioned().updated_to("1.1");
        world.disk.damage(copy);
        assert_eq!(world.restarts().unwrap(), ("1.1".into(), BootWord::Confirmed));
        let (_, findings) = Files::open_on(world.disk.clone(), Path::new(DIR), TWO_TRIES).unwrap();
        assert!(findings.is_empty(), "mended by the restart: {findings:?}");
    }
}

#[test]
fn with_both_copies_damaged_what_ran_goes_on_and_that_is_said() {
    let mut world = World::provisioned().updated_to("1.1");
    world.disk.damage("/slots/environment-0");
    world.disk.loses("/slots/environment-1");
    world.slots = None;
    let (_, findings) = Files::open_on(world.disk.clone(), Path::new(DIR), TWO_TRIES).unwrap();
    assert!(matches!(findings[..], [Finding::EnvironmentLost { confirmed: Slot::B }]), "{findings:?}");
    assert_eq!(world.restarts().unwrap(), ("1.1".into(), BootWord::Confirmed));
}

#[test]
fn a_lost_link_is_made_again() {
    let mut world = World::provisioned().updated_to("1.1");
    world.disk.loses("/slots/current");
    assert_eq!(world.runs(), "1.1");
    assert_eq!(world.current().as_deref(), Some("1.1"));
}

#[test]
fn a_damaged_confirmed_slot_is_rescued_by_the_other() {
    let mut world = World::provisioned().updated_to("1.1");
    world.disk.damage("/slots/b/release");
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::Rescued));
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::Rescued));
    world.disk.damage("/slots/a/manifest");
    assert!(matches!(world.restarts(), Err(SlotError::NothingToRun { .. })));
}

#[test]
fn a_damaged_try_is_over_before_it_starts() {
    let mut world = World::provisioned();
    world.stages("1.1").unwrap();
    world.slots().try_next(&release("1.1")).unwrap();
    world.disk.damage("/slots/b/release");
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::FellBack { from: None }));
}

/// A try that can't be counted could go on for ever. The confirmed release needs no writing.
#[test]
fn a_disk_that_cannot_be_written_runs_the_confirmed_release() {
    let mut world = World::provisioned();
    world.stages("1.1").unwrap();
    world.slots().try_next(&release("1.1")).unwrap();
    world.disk.lasts(0);
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::Confirmed));
    world.disk.lasts(usize::MAX);
    assert_eq!(world.restarts().unwrap(), ("1.1".into(), BootWord::Trial { tries_left: 1 }));
    world.runs();
    world.disk.lasts(0);
    assert_eq!(world.restarts().unwrap(), ("1.0".into(), BootWord::FellBack { from: Some(release("1.1")) }));
}

/// Files that can't be opened for want of a descriptor are not damaged: nothing is given up for them, and what is missing is
/// said.
#[test]
fn without_descriptors_nothing_is_taken_for_damaged() {
    let tried = || {
        let mut world = World::provisioned().updated_to("1.1");
        world.stages("1.2").unwrap();
        world.slots().try_next(&release("1.2")).unwrap();
        world
    };
    let mut refused = 0;
    for openings in 0.. {
        let mut world = tried();
        world.disk.opens(openings);
        let restarted = world.restarts();
        match &restarted {
            Err(SlotError::NoDescriptor { .. }) => refused += 1,
            Err(error) => panic!("after {openings}: {error}"),
            // What can't be looked at for the moment may be left for later.
            Ok((version, _)) => assert!(["1.1", "1.2"].contains(&version.as_str()), "{version}"),
        }
        let is_whole = matches!(&restarted, Ok((version, _)) if version == "1.2");
        if restarted.is_ok() {
            world.disk.opens(0);
            let error = world.slots().status().unwrap_err();
            assert!(error.to_string().starts_with("no file descriptor is left to open /slots/"), "{error}");
            assert!(error.help().is_some_and(|help| help.contains("LimitNOFILE=")), "{error:?}");
        }
        world.disk.opens(usize::MAX);
        let (version, word) = world.restarts().unwrap();
        assert!(version == "1.2" && matches!(word, BootWord::Trial { .. }), "after {openings}: {word:?}");
        if is_whole {
            break;
        }
    }
    assert!(refused > 3, "{refused}");
}

/// An error in the middle, and the process lives on: what it does next has to win over what it left half done.
#[test]
fn an_operation_that_failed_half_way_can_be_done_again_at_once() {
    for failing in 0.. {
        let mut world = World::provisioned();
        world.stages("1.1").unwrap();
        world.slots();
        world.disk.lasts(failing);
        let failed = world.slots().try_next(&release("1.1")).is_err();
        world.disk.lasts(usize::MAX);
        world.stages("1.1").unwrap();
        if failed {
            world.slots().go_home(&release("1.0")).unwrap();
            world.stages("1.2").unwrap();
            world.slots().try_next(&release("1.2")).unwrap();
            assert_eq!(world.runs(), "1.2", "failed at operation {failing}");
        } else if world.runs() == "1.1" && failing > 20 {
            return;
        }
    }
}

/// Every way that a cut can leave the disk.
fn cuts() -> impl Iterator<Item = Cut> {
    [Cut::Kill, Cut::Strict, Cut::NamesOnly]
        .into_iter()
        .chain((1..=8).map(|seed| Cut::Torn(seed * 0x9e37_79b9)))
}

/// Cuts the power at every file operation of `story`, in every way, and again at every operation of the first
/// restart after it. At each point `current` has to name a whole slot, and the restart has to come to one of
/// `may_run`. Says how many cuts that were, and what ran.
fn cut_everywhere(
    before: impl Fn() -> World,
    story: impl Fn(&mut World) -> Result<(), SlotError>,
    may_run: &[&str],
) -> (usize, BTreeSet<String>) {
    let mut count = 0;
    let mut ran = BTreeSet::new();
    for at in 0.. {
        let mut world = before();
        world.slots();
        world.disk.lasts(at);
        let cut_off = story(&mut world).is_err();
        for cut in cuts() {
            let disk = world.disk.after(cut);
            let current = World::on(disk.clone()).current();
            assert!(current.is_some_and(|runs| may_run.contains(&&*runs)), "cut {cut:?} at {at}: no current");
            count += 1;
            for again in 0.. {
                let mut world = World::on(disk.after(Cut::Kill));
                world.disk.lasts(again);
                let runs = world.runs();
                assert!(may_run.contains(&&*runs), "cut {cut:?} at {at}, then at {again}: {runs} runs");
                let whole = world.disk.done() < again;
                let current = World::on(world.disk.after(Cut::Strict)).current();
                assert!(current.is_some(), "cut {cut:?} at {at}, then at {again}: no current");
                if whole {
                    world.disk.lasts(usize::MAX);
                    assert_eq!(current.as_ref(), Some(&runs), "cut {cut:?} at {at}");
                    // The device can still be updated, whatever was left half done.
                    let home = world.slots().status().unwrap().confirmed;
                    world.slots().go_home(&home).unwrap();
                    assert_eq!(world.runs(), home.version.as_str());
                    world.installs("9.9");
                    ran.insert(runs);
                    break;
                }
            }
        }
        if !cut_off {
            break;
        }
    }
    (count, ran)
}

#[test]
fn an_install_survives_a_cut_at_every_operation() {
    let install = |world: &mut World| {
        world.stages("1.2")?;
        world.slots().try_next(&release("1.2"))
    };
    let (count, ran) = cut_everywhere(|| World::provisioned().updated_to("1.1"), install, &["1.1", "1.2"]);
    assert!(count > 200, "{count}");
    assert_eq!(ran, ["1.1", "1.2"].map(String::from).into());
}

#[test]
fn a_confirmation_survives_a_cut_at_every_operation() {
    let before = || {
        let mut world = World::provisioned();
        world.installs("1.1");
        world.runs();
        world
    };
    let confirm = |world: &mut World| world.slots().confirm(&release("1.1"));
    let (_, ran) = cut_everywhere(before, confirm, &["1.0", "1.1"]);
    assert_eq!(ran, ["1.0", "1.1"].map(String::from).into());
}

#[test]
fn the_way_home_survives_a_cut_at_every_operation() {
    let go_home = |world: &mut World| world.slots().go_home(&release("1.0"));
    let (_, ran) = cut_everywhere(|| World::provisioned().updated_to("1.1"), go_home, &["1.0", "1.1"]);
    assert_eq!(ran, ["1.0", "1.1"].map(String::from).into());
    let on_trial = || {
        let mut world = World::provisioned();
        world.installs("1.1");
        world
    };
    cut_everywhere(on_trial, go_home, &["1.0", "1.1"]);
}

/// The slot is written twice: an old copy of the words must never bring back what was there before.
#[test]
fn staging_over_the_former_release_after_a_cut_confirmation_never_runs_half_of_it() {
    let before = || {
        let mut world = World::provisioned();
        world.installs("1.1");
        world
    };
    let confirm_and_stage = |world: &mut World| {
        world.slots().confirm(&release("1.1"))?;
        world.stages("1.2")
    };
    let (_, ran) = cut_everywhere(before, confirm_and_stage, &["1.0", "1.1"]);
    assert!(!ran.contains("1.2"), "it was never asked to be tried");
}

/// The newer copy of the words rots after the slot that the older one calls confirmed was written to.
#[test]
fn an_older_copy_never_calls_a_slot_confirmed_that_was_written_to_since() {
    for at in 0.. {
        let mut world = World::provisioned();
        world.installs("1.1");
        world.disk.lasts(at);
        let cut_off = world.slots().confirm(&release("1.1")).is_err();
        let all_done = world.disk.done();
        let mut world = World::on(world.disk.after(Cut::Strict));
        if world.stages("1.2").is_ok() {
            for copy in ["/slots/environment-0", "/slots/environment-1"] {
                let mut world = World::on(world.disk.after(Cut::Strict));
                world.disk.damage(copy);
                for _ in 0..4 {
                    assert_eq!(world.runs(), "1.1", "cut at {at}, then {copy} rots");
                }
            }
        }
        // One operation more than the confirmation has: nothing was cut.
        if !cut_off && all_done < at {
            return;
        }
    }
}

#[test]
fn a_try_is_counted_before_it_starts() {
    let mut world = World::provisioned();
    world.installs("1.1");
    let mut world = World::on(world.disk.after(Cut::Strict));
    assert_eq!(world.restarts().unwrap().1, BootWord::Trial { tries_left: 0 });
    let mut world = World::on(world.disk.after(Cut::Strict));
    assert_eq!(world.runs(), "1.0");
}

#[test]
fn provisioning_is_done_again_after_a_cut_at_every_operation() {
    let provision = |disk: &Memory, version: &str| {
        Files::provision_on(disk.clone(), Path::new(DIR), &release(version), &mut &bytes(version)[..])
    };
    for at in 0.. {
        let disk = Memory::new();
        disk.lasts(at);
        let cut_off = provision(&disk, "1.0").is_err();
        for cut in cuts() {
            let disk = disk.after(cut);
            provision(&disk, "1.0").unwrap();
            let mut world = World::on(disk.clone());
            assert_eq!(world.current().as_deref(), Some("1.0"), "cut {cut:?} at {at}");
            assert_eq!(world.runs(), "1.0");
            assert!(matches!(provision(&disk, "2.0"), Err(ProvisionError::Occupied { .. })));
        }
        if !cut_off {
            return;
        }
    }
}

#[test]
fn on_a_real_disk_it_is_the_same() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("slots");
    crate::provision(&dir, &release("1.0"), &mut &bytes("1.0")[..]).unwrap();
    {
        let (mut slots, findings) = Files::open(&dir, Tries::default()).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        assert!(matches!(Files::open(&dir, Tries::default()), Err(SlotError::Busy { .. })));
        slots.begin_boot().unwrap();
        slots.stage(&release("1.1"), &mut &bytes("1.1")[..]).unwrap();
        slots.try_next(&release("1.1")).unwrap();
        let boot = slots.begin_boot().unwrap();
        assert_eq!((boot.slot, boot.path), (Slot::B, dir.join("b/release")));
        slots.confirm(&release("1.1")).unwrap();
    }
    assert_eq!(std::fs::read(dir.join("current/release")).unwrap(), bytes("1.1"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.join("b/release")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o755);
    let (mut slots, _) = Files::open(&dir, Tries::default()).unwrap();
    assert_eq!(slots.status().unwrap().other, Some(release("1.0")));
    assert!(matches!(
        Files::open(&home.path().join("nothing"), Tries::default()),
        Err(SlotError::NothingToRun { .. })
    ));
}
