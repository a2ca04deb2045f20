//! What is told of a Helm release.

use alloc::{string::String, vec};

use backstay_kubernetes::testing::text;
use backstay_sdk::executor::Task;

use crate::double::{SHOP, World, goes_live, kept};

fn told(world: &mut World) -> String {
    world.api.attached.clear();
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
    assert!(said.starts_with("out-version=2.0\nout-stage=1000\npods-wanted=2\npods-ready=2\n"), "{said}");
    let helm = "helm-status=deployed\nhelm-revision=2\nhelm-deployed=1\nhelm-live=same\n";
    assert!(said.contains("infra.process-exited=0\n") && said.ends_with(helm), "{said}");
    let mut by_hand = World::of(records.clone());
    goes_live(&mut by_hand.api.objects, "1.0");
    let said = told(&mut by_hand);
    assert!(said.starts_with("out-version=1.0\n") && said.ends_with("helm-live=differs\n"), "{said}");
    // Without a workload the record is all that is known.
    let mut alone = World::of(records).set(text("version-from", "app-version"));
    alone.api.config.retain(|setting| setting.name != "workload");
    let expected =
        "helm-status=deployed\nhelm-revision=2\nhelm-deployed=1\nout-version=2.0\nout-stage=1000\n";
    assert_eq!(told(&mut alone), expected);
}

/// While somebody's helm is at work, its pods say how far it is.
#[test]
fn what_is_on_its_way_is_told_by_its_pods() {
    let records = vec![kept(1, "deployed", "1.0", "install"), kept(2, "pending-upgrade", "2.0", "begun")];
    let mut world = World::of(records);
    goes_live(&mut world.api.objects, "2.0");
    world.api.objects.edit(SHOP, |shop| shop["status"]["updatedReplicas"] = 1.into());
    let said = told(&mut world);
    assert!(said.starts_with("out-version=2.0\nout-stage=500\n"), "{said}");
    assert!(said.ends_with("helm-status=pending-upgrade\nhelm-revision=2\nhelm-deployed=1\n"), "{said}");
    // Its controller hasn't seen it yet.
    world.api.objects.edit(SHOP, |shop| shop["status"]["observedGeneration"] = 0.into());
    assert!(told(&mut world).starts_with("out-version=2.0\nout-stage=0\n"));
}

/// Each of the two can be away.
#[test]
fn what_can_not_be_read_is_left_out() {
    let records = vec![kept(1, "deployed", "1.0", "install")];
    let mut world = World::of(records.clone());
    world.helm.borrow_mut().records.clear();
    let said = told(&mut world);
    assert!(said.starts_with("out-version=1.0\n") && !said.contains("helm-"), "{said}");
    let mut world = World::of(records.clone());
    world.api.objects.take(SHOP);
    assert_eq!(told(&mut world), "helm-status=deployed\nhelm-revision=1\nhelm-deployed=1\n");
    let mut world = World::of(records);
    world.helm.borrow_mut().records.clear();
    world.api.objects.take(SHOP);
    let why = "the command helm-look ended with exit code 1: Error: release: not found";
    assert_eq!(world.fails(Task::Heal("look".into())).as_deref(), Some(why));
}
