//! Repairing what was left pending, with each mishap at each effect.

use alloc::{vec, vec::Vec};

use backstay_kubernetes::testing::MISHAPS;
use backstay_sdk::executor::{Outcome, Task, Transience};

use super::*;
use crate::double::{Kept, LEASE, World, goes_live, kept};

fn repair() -> Task {
    Task::Heal(REPAIR.into())
}

/// An upgrade from 1.0 that was cut off.
fn cut_off(version: &str) -> Vec<Kept> {
    vec![
        kept(1, "superseded", "0.9", "install"),
        kept(2, "deployed", "1.0", "upgrade"),
        kept(3, "pending-upgrade", version, "begun"),
    ]
}

#[test]
fn what_is_not_pending_is_left_alone() {
    for status in ["deployed", "failed", "superseded"] {
        let mut world =
            World::of(vec![kept(1, "superseded", "1.0", "install"), kept(2, status, "2.0", "upgrade")]);
        world.run(repair(), None).done();
        assert!(world.api.changes.is_empty());
    }
}

#[test]
fn an_upgrade_that_changed_nothing_but_settings_is_taken_back() {
    let mut world = World::of(cut_off("1.0"));
    world.run(repair(), None).done();
    assert_eq!(
        (world.newest().back_to, world.newest().status, world.live().as_str()),
        (2, "deployed", "1.0")
    );
    assert!(world.is_free());
}

/// It was killed before it changed anything: what is live is the release before, and stays.
#[test]
fn what_is_live_decides_which_release_stays() {
    let mut world = World::of(cut_off("2.0"));
    world.run(repair(), None).done();
    assert_eq!((world.newest().back_to, world.live().as_str()), (2, "1.0"));
    // It was killed afterwards: no whole revision runs what is live, and no playbook moves a release.
    let mut world = World::of(cut_off("2.0"));
    goes_live(&mut world.api.objects, "2.0");
    let failed = world.run(repair(), None).failed();
    let why = "revision 3 (pending-upgrade) can't be repaired: no whole revision runs the same release as what is live: send it home instead";
    assert_eq!((failed.transience, failed.why.as_str()), (Transience::Permanent, why));
    assert!(world.api.changes.is_empty());
}

#[test]
fn a_roll_back_that_was_cut_off_is_finished() {
    for live in ["2.0", "1.0"] {
        let mut world = World::of(vec![
            kept(1, "superseded", "1.0", "install"),
            kept(2, "deployed", "2.0", "upgrade"),
            kept(3, "pending-rollback", "1.0", "back 1"),
        ]);
        goes_live(&mut world.api.objects, live);
        world.run(repair(), None).done();
        assert_eq!((world.newest().status, world.live().as_str()), ("deployed", live));
    }
}

/// Somebody finished it while it was waited for: then there is nothing to repair, whatever runs now.
#[test]
fn what_comes_to_its_end_meanwhile_stays() {
    let mut records = cut_off("2.0");
    records[2].updated = "2026-11-01T00:00:00Z".into();
    let mut world = World::of(records).but(|helm| {
        let mut commands = 0;
        helm.between = Some(Box::new(move |helm, objects, _| {
            commands += 1;
            if commands == 9 {
                (helm.records[1].status, helm.records[2].status) = ("superseded", "deployed");
                helm.records[2].description = "Upgrade complete".into();
                goes_live(objects, "2.0");
            }
        }));
    });
    world.run(repair(), None).done();
    assert_eq!((world.asked().len(), world.live().as_str()), (0, "2.0"));
}

#[test]
fn each_mishap_at_each_effect_ends_right() {
    for at in 0..18 {
        for mishap in MISHAPS {
            let mut world = World::of(cut_off("1.0"));
            let ran = world.run(repair(), Some((at, mishap)));
            if ran.outcome != Outcome::Done {
                if world.api.objects.has(LEASE) {
                    world.api.objects.edit(LEASE, |lease| {
                        lease["spec"]["renewTime"] = "2026-10-30T00:00:00.000000Z".into()
                    });
                }
                world.run(repair(), None).done();
            }
            assert_eq!(
                (world.newest().status, world.live().as_str()),
                ("deployed", "1.0"),
                "{mishap:?} at {at}"
            );
            assert_eq!(world.asked().len(), 1, "{mishap:?} at {at}");
        }
    }
}
