//! Two who want one lock, and one who is cut off while it holds it.

use backstay_sdk::{
    executor::{Ctx, Executor, Outcome, Task},
    settings::Description,
};

use super::*;
use crate::testing::{Api, MISHAPS, text as set, time};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/prod/leases/shop";

/// Takes the lock, notes each step in an annotation of its own, and lets go of it; with the playbook `keep` it doesn't.
struct Works;

impl Executor for Works {
    fn describe() -> Description {
        Description { about: "For a test.".into(), settings: Vec::new() }
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let cluster = Cluster::new(ctx);
        let instance = crate::settings::NAME.of(ctx.config());
        let lease =
            Lease::take(&cluster, "prod", "shop", Claim { instance, order, lasts_ms: 60_000 }).await?;
        let left = lease.left().to_string();
        lease.renew("works").await?;
        if order.task == Task::Heal("keep".into()) {
            return Ok(());
        }
        lease.release(&format!("after {left:?}")).await;
        Ok(())
    }
}

fn api(instance: &str) -> Api {
    Api::default().set(set("name", instance))
}

fn run(api: &mut Api, playbook: &str) -> Outcome {
    api.run::<Works>(Task::Heal(playbook.into()), None).outcome
}

fn field(api: &Api, field: &str) -> Value {
    api.objects.get(PATH, field)
}

#[test]
fn one_after_the_other_has_it_and_the_fence_grows() {
    let mut api = api("one");
    for fence in 1..=3_u32 {
        assert_eq!(run(&mut api, "work"), Outcome::Done);
        assert_eq!(field(&api, FENCE_FIELD), fence.to_string());
        assert_eq!(field(&api, HOLDER_FIELD), Value::Null);
        assert_eq!(field(&api, "/spec/leaseTransitions"), fence - 1);
    }
    // What each left behind the next one was told.
    assert_eq!(field(&api, DOING_FIELD), r#"after "after \"after \\\"\\\"\"""#);
}

#[test]
fn who_comes_second_waits_until_the_time_of_the_first_is_over() {
    let mut api = api("one");
    assert_eq!(run(&mut api, "keep"), Outcome::Done);
    assert_eq!(field(&api, HOLDER_FIELD), "one/1.1");
    assert_eq!(field(&api, "/spec/renewTime"), "2026-11-01T00:00:00.000000Z");
    // The same name says nothing: another server may be called so, and have a run with these numbers.
    for instance in ["two", "one"] {
        api.config = vec![set("name", instance)];
        let Outcome::Failed(failed) = run(&mut api, "work") else { panic!("there were two") };
        assert_eq!(failed, transient("one/1.1 is at work and holds the Lease shop, for 60 s at most"));
    }
    api.objects.edit(PATH, |lease| lease["spec"]["renewTime"] = json!("2026-10-31T23:59:00.000000Z"));
    assert_eq!(run(&mut api, "keep"), Outcome::Done);
    assert_eq!((field(&api, FENCE_FIELD), field(&api, HOLDER_FIELD)), (json!("2"), json!("one/1.1")));
    // Whether what the first one began has ended nobody knows.
    assert_eq!(field(&api, DOING_FIELD), "works");
}

#[test]
fn of_two_that_write_at_once_one_has_it() {
    let mut api = api("one");
    assert_eq!(run(&mut api, "work"), Outcome::Done);
    let mut taken = false;
    api.react(move |objects, ms| {
        if !core::mem::replace(&mut taken, true) {
            objects.edit(PATH, |lease| {
                let spec =
                    json!({ "holderIdentity": "two/1.1", "leaseDurationSeconds": 60, "renewTime": time(ms) });
                lease["spec"] = spec;
                lease["metadata"]["annotations"][FENCE] = json!("2");
            });
        }
    });
    let Outcome::Failed(failed) = run(&mut api, "work") else { panic!("there were two") };
    assert_eq!(failed, transient("two/1.1 is at work and holds the Lease shop, for 60 s at most"));
    assert_eq!(field(&api, FENCE_FIELD), "2");
}

#[test]
fn who_lost_it_does_nothing() {
    let mut api = api("one");
    let mut done = false;
    api.react(move |objects, _| {
        if objects.has(PATH) && !core::mem::replace(&mut done, true) {
            objects.edit(PATH, |lease| lease["metadata"]["annotations"][FENCE] = json!("9"));
        }
    });
    let Outcome::Failed(failed) = run(&mut api, "work") else { panic!("it went on") };
    assert_eq!(failed, transient("the Lease shop is not ours any more: nothing was done"));
}

/// A write of which nobody knows is looked at, and made again if it wasn't: the run goes on.
#[test]
fn a_write_in_doubt_keeps_nobody_from_the_lock() {
    for at in [2, 4, 5] {
        for mishap in MISHAPS {
            let ran = api("one").run::<Works>(Task::Heal("work".into()), Some((at, mishap)));
            assert_eq!(ran.outcome, Outcome::Done, "{mishap:?} at {at}");
        }
    }
}

/// Whatever happens, it is never held by a run that doesn't know it, and the next one comes after at most its time.
#[test]
fn each_mishap_at_each_effect_leaves_a_lock_that_can_be_had() {
    for at in 0..8 {
        for mishap in MISHAPS {
            let mut api = api("one");
            let ran = api.run::<Works>(Task::Heal("work".into()), Some((at, mishap)));
            if ran.outcome == Outcome::Done {
                assert_eq!(field(&api, HOLDER_FIELD), Value::Null, "{mishap:?} at {at}");
            }
            if api.objects.has(PATH) {
                api.objects
                    .edit(PATH, |lease| lease["spec"]["renewTime"] = json!("2026-10-31T00:00:00.000000Z"));
            }
            let before = if api.objects.has(PATH) { field(&api, FENCE_FIELD) } else { Value::from("0") };
            assert_eq!(run(&mut api, "work"), Outcome::Done, "{mishap:?} at {at}");
            let number = |value: Value| value.as_str().unwrap().parse::<u32>().unwrap();
            assert_eq!(number(field(&api, FENCE_FIELD)), number(before) + 1);
        }
    }
}
