use alloc::{string::String, vec};

use backstay_kubernetes::testing::text;
use backstay_sdk::executor::Task;

use crate::double::{World, goes_live, kept};

fn told(world: &mut World) -> String {
    world.run(Task::Heal("look".into()), None).done();
    assert!(world.api.changes.is_empty());
    let [(name, said)] = world.api.attached.as_slice() else { panic!("{:?}", world.api.attached) };
    assert_eq!(name, "readings");
    said.clone()
}

#[test]
fn it_tells_which_release_is_out_and_how_helm_stands() {
    let records = vec![kept(1, "superseded", "1.0", "install"), kept(2, "deployed", "2.0", "upgrade")];
    let said = told(&mut World::of(records.clone()));
    let expected = "helm-status=deployed\nhelm-revision=2\nhelm-deployed=1\nout-version=2.0\nhelm-live=same\nout-stage=1000\n";
    assert_eq!(said, expected);
    let mut by_hand = World::of(records.clone());
    goes_live(&mut by_hand.api.objects, "1.0");
    let said = told(&mut by_hand);
    assert!(said.contains("out-version=1.0\nhelm-live=differs\n"), "{said}");
    // Without a workload the record is all that is known.
    let said = told(&mut World::of(records).set(text("version-from", "app-version")));
    assert!(said.contains("out-version=2.0\n"), "{said}");
}

/// Which release is out while an upgrade is under way, and how far, isn't known from records.
#[test]
fn what_is_pending_is_told_as_pending() {
    let records = vec![kept(1, "deployed", "1.0", "install"), kept(2, "pending-upgrade", "2.0", "begun")];
    let said = told(&mut World::of(records));
    assert_eq!(said, "helm-status=pending-upgrade\nhelm-revision=2\nhelm-deployed=1\nout-version=1.0\n");
}
