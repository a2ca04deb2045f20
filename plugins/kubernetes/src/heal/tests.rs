//! Playbooks on a small cluster in memory, with every mishap at every effect.

mod autoscaler;
mod memory;
mod node;
mod outlier;
mod restarts;

use backstay_sdk::executor::{Outcome, Transience};

use crate::heal::{PLAYBOOKS, infos, problems, world::World};

/// Runs `playbook` with each mishap at each effect, and again until it is done; `after` says what has to be true in the end.
#[track_caller]
fn through_every_mishap(playbook: &str, world: impl Fn() -> World, after: impl Fn(&World, &str)) {
    let mut whole = world();
    let effects = whole.runs(playbook, None).done().effects;
    after(&whole, "without mishap");
    for mishap in crate::testing::MISHAPS {
        for at in 0..effects {
            let told = format!("{playbook}, {mishap:?} at {at} of {effects}");
            let mut world = world();
            let once = world.runs(playbook, Some((at, mishap)));
            if let Outcome::Failed(failed) = &once.outcome {
                assert_eq!(failed.transience, Transience::Transient, "{told}: {}", failed.why);
                let again = world.runs(playbook, None);
                assert_eq!(
                    again.outcome,
                    Outcome::Done,
                    "{told}, after {}: {:#?}",
                    failed.why,
                    world.api.changes
                );
            }
            after(&world, &told);
        }
    }
}

#[test]
fn a_playbook_that_is_not_there_is_told_with_those_that_are() {
    let why = World::new().fails("reboot");
    assert!(PLAYBOOKS.iter().all(|playbook| why.contains(playbook)), "{why}");
}

#[test]
fn what_nobody_set_fits_together() {
    assert_eq!(problems(&[]), []);
    let infos = infos();
    assert!(infos.iter().all(|info| info.help.len() <= 512 && info.default.is_some()));
    let names: std::collections::BTreeSet<&str> = infos.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names.len(), infos.len(), "two settings have one name");
    let wrong = [
        crate::testing::text("memory-ceiling", "lots"),
        crate::testing::text("autoscaler", "A b"),
        crate::testing::text("drain-node", "../n1"),
        crate::testing::text("destination-rule", "x/y"),
    ];
    let told: Vec<String> = problems(&wrong).into_iter().filter_map(|problem| problem.setting).collect();
    assert_eq!(told, ["memory-ceiling", "autoscaler", "drain-node", "destination-rule"]);
}
