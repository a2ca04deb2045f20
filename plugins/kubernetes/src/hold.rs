//! Holding a workload: nothing of it goes out further, until it goes on.
//!
//! A pause that is ours is told by an annotation, and is the only one that is ever lifted. What somebody else paused stays so.
//!
//! What is held stands with pods: a canary that was paused before it had any would never have data, and without data nobody says that
//! it may go on. And a Rollout that is paused doesn't scale, because its controller then leaves all of its ReplicaSets alone; so it is
//! held only while something is on its way. Not here: when anything is held (`core`), and the pause steps of a Rollout, which are its own.

use alloc::{format, vec::Vec};

use backstay_sdk::executor::{Failed, permanent, transient};
use serde_json::{Value, json};

use crate::{
    api::{Cluster, is_true, number, text},
    edit::{Left, annotated, edit, known},
    patience::Patience,
    resource::ROLLOUTS,
    workload::Workload,
};

/// The playbook that holds.
pub const HOLD: &str = "hold";
/// The playbook that lets it go on.
pub const GO_ON: &str = "go-on";
/// The annotation that says that a pause is ours.
pub const HELD: &str = "backstay.dev/held";
/// The same, as a field.
pub const HELD_FIELD: &str = "/metadata/annotations/backstay.dev~1held";
/// What it says.
const OURS: &str = "paused";
/// What is read of the workload.
const FIELDS: [&str; 11] = [
    "/metadata/generation",
    HELD_FIELD,
    "/metadata/annotations/rollout.argoproj.io~1workload-generation",
    "/spec/paused",
    "/status/abort",
    "/status/currentPodHash",
    "/status/observedGeneration",
    "/status/pauseConditions/*/reason",
    "/status/stableRS",
    "/status/updatedReplicas",
    "/status/workloadObservedGeneration",
];
/// How long the first pods of a release on its way are waited for, in ms. They don't have to be well: they only have to be wanted.
const PODS_MS: u64 = 20_000;

/// Who paused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Nobody.
    None,
    /// We did.
    Ours,
    /// Somebody else.
    Foreign,
}

impl Pause {
    /// Of a workload of which [`HELD_FIELD`] and `/spec/paused` were read.
    #[must_use]
    pub fn of(seen: &Value) -> Self {
        match (is_true(seen, "/spec/paused"), text(seen, HELD_FIELD)) {
            (false, _) => Self::None,
            (true, "") => Self::Foreign,
            (true, _) => Self::Ours,
        }
    }

    /// Whether an annotation was left behind by a pause that somebody else lifted.
    fn leaves_annotation(self, seen: &Value) -> bool {
        self == Self::None && !text(seen, HELD_FIELD).is_empty()
    }
}

/// Holds it.
///
/// # Errors
/// It isn't there, can't be changed, or has no pods yet of what is on its way.
pub async fn hold(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let is_rollout = workload.kind == ROLLOUTS;
    let mut patience = Patience::of(cluster.config(), PODS_MS);
    loop {
        let seen = cluster.need(&workload.resource(), &known(&FIELDS), &workload.told()).await?;
        if Pause::of(&seen) != Pause::None || (is_rollout && !is_on_its_way(&seen)) {
            return Ok(());
        }
        if has_pods(&seen) {
            let pause = |seen: &Value| {
                let mut patch = annotated(HELD, Some(OURS));
                patch["spec"] = json!({ "paused": true });
                Ok((Pause::of(seen) == Pause::None).then_some(patch))
            };
            let what = format!("pausing {}", workload.told());
            let left = edit(cluster, &workload.resource(), &FIELDS, &what, Some(seen), pause).await?;
            return is_there(left, workload);
        }
        if !patience.wait(cluster.ctx()).await? {
            let why = "what is on its way has no pods yet: held like that it would never have data";
            return Err(transient(why));
        }
    }
}

/// Whether the controller has seen what is asked of the workload. A Rollout says so in texts, where other kinds have numbers.
fn is_observed(seen: &Value) -> bool {
    let observed = match seen.pointer("/status/observedGeneration") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(observed) => observed.as_i64(),
        None => None,
    };
    // What its template in another object is like, Argo Rollouts notes beside.
    let template = text(seen, "/metadata/annotations/rollout.argoproj.io~1workload-generation");
    observed == number(seen, "/metadata/generation")
        && (template.is_empty() || template == text(seen, "/status/workloadObservedGeneration"))
}

/// Whether a Rollout has anything yet to promote. What was aborted goes no further by itself.
fn is_on_its_way(seen: &Value) -> bool {
    let (current, stable) = (text(seen, "/status/currentPodHash"), text(seen, "/status/stableRS"));
    !is_observed(seen) || (current != stable && !is_true(seen, "/status/abort"))
}

/// Whether what is on its way has pods already, or waits by itself.
fn has_pods(seen: &Value) -> bool {
    let pauses = seen.pointer("/status/pauseConditions").and_then(Value::as_array);
    let waits = pauses.is_some_and(|pauses| !pauses.is_empty());
    is_observed(seen) && (waits || number(seen, "/status/updatedReplicas") > Some(0))
}

/// Lifts the pause that is ours. A Rollout that was aborted stays so: to try the same release again is for people.
///
/// # Errors
/// It was aborted, isn't there, or can't be changed.
pub async fn go_on(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let lift = |seen: &Value| {
        let lifted = lifted(seen);
        if lifted.is_some() && is_true(seen, "/status/abort") {
            let why = "it was aborted: what was aborted isn't tried again by itself";
            return Err(permanent(why));
        }
        Ok(lifted)
    };
    let what = format!("going on with {}", workload.told());
    is_there(edit(cluster, &workload.resource(), &FIELDS, &what, None, lift).await?, workload)
}

/// Lifts the pause that is ours, whatever else is so: for who has made sure that what goes on is the right thing.
///
/// # Errors
/// It can't be changed.
pub async fn lift(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let what = format!("lifting the pause of {}", workload.told());
    let lift = |seen: &Value| Ok(lifted(seen));
    is_there(edit(cluster, &workload.resource(), &FIELDS, &what, None, lift).await?, workload)
}

/// The change that lifts a pause of ours, if there is anything of ours.
fn lifted(seen: &Value) -> Option<Value> {
    let pause = Pause::of(seen);
    let mut patch = annotated(HELD, None);
    if pause == Pause::Ours {
        patch["spec"] = json!({ "paused": null });
    }
    (pause == Pause::Ours || pause.leaves_annotation(seen)).then_some(patch)
}

/// The same as operations of a JSON patch, for who changes more in one go.
#[must_use]
pub fn lifting(seen: &Value) -> Vec<Value> {
    match Pause::of(seen) {
        Pause::Ours => Vec::from([
            json!({ "op": "remove", "path": "/spec/paused" }),
            json!({ "op": "remove", "path": HELD_FIELD }),
        ]),
        Pause::None | Pause::Foreign => Vec::new(),
    }
}

fn is_there(left: Left, workload: &Workload) -> Result<(), Failed> {
    match left {
        Left::Missing => Err(permanent(format!("{} isn't there", workload.told()))),
        Left::AsItWas | Left::Changed => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use backstay_sdk::{
        executor::{Ctx, Executor, Order, Outcome, Task, Transience},
        settings::Description,
    };

    use super::*;
    use crate::testing::{Api, MISHAPS};

    const PATH: &str = "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop";

    struct Holds;

    impl Executor for Holds {
        fn describe() -> Description {
            Description { about: "For a test.".into(), settings: Vec::new() }
        }

        async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
            let shop = Workload::of(ROLLOUTS, ctx.config());
            let cluster = Cluster::new(ctx);
            if order.task == Task::Heal(HOLD.into()) {
                hold(&cluster, &shop).await
            } else {
                go_on(&cluster, &shop).await
            }
        }
    }

    /// One with a canary on its way, which has a pod.
    fn api(spec: Value, annotations: Value) -> Api {
        let mut api = Api::of("prod", "shop");
        let status = json!({ "currentPodHash": "b", "stableRS": "a", "observedGeneration": "1", "updatedReplicas": 1 });
        let meta = json!({ "annotations": annotations });
        api.objects.put(PATH, json!({ "metadata": meta, "spec": spec, "status": status }));
        api
    }

    fn run(api: &mut Api, playbook: &str) -> Outcome {
        api.run::<Holds>(Task::Heal(playbook.into()), None).outcome
    }

    #[test]
    fn what_is_held_goes_on_as_it_was() {
        for annotations in [json!({ "a": "b" }), Value::Null] {
            let mut api = api(json!({ "replicas": 3 }), annotations.clone());
            let held = json!({ "spec": { "replicas": 3, "paused": true }, "held": "paused" });
            for _ in 0..2 {
                assert_eq!(run(&mut api, HOLD), Outcome::Done);
                let now = json!({ "spec": api.objects.get(PATH, "/spec"), "held": api.objects.get(PATH, HELD_FIELD) });
                assert_eq!(now, held);
            }
            for _ in 0..2 {
                assert_eq!(run(&mut api, GO_ON), Outcome::Done);
                assert_eq!(api.objects.get(PATH, "/spec"), json!({ "replicas": 3 }));
                assert_eq!(api.objects.get(PATH, HELD_FIELD), Value::Null);
            }
            assert_eq!(api.changes.len(), 2);
        }
    }

    #[test]
    fn what_somebody_else_paused_stays_so() {
        let mut api = api(json!({ "paused": true }), json!({}));
        assert_eq!((run(&mut api, HOLD), run(&mut api, GO_ON)), (Outcome::Done, Outcome::Done));
        assert!(api.changes.is_empty());
        let mut lifted = self::api(json!({}), json!({ HELD: "paused" }));
        assert_eq!(run(&mut lifted, HOLD), Outcome::Done);
        assert_eq!(lifted.objects.get(PATH, "/spec/paused"), true);
    }

    #[test]
    fn a_rollout_of_which_nothing_is_on_its_way_can_still_scale() {
        for status in [
            json!({ "currentPodHash": "a", "stableRS": "a", "observedGeneration": "1" }),
            json!({ "currentPodHash": "b", "stableRS": "a", "observedGeneration": "1", "abort": true }),
        ] {
            let mut api = api(json!({}), json!({}));
            api.objects.edit(PATH, |rollout| rollout["status"] = status);
            assert_eq!(run(&mut api, HOLD), Outcome::Done);
            assert!(api.changes.is_empty());
        }
    }

    #[test]
    fn what_is_on_its_way_has_pods_before_it_is_held() {
        let without = |observed: &str| {
            let mut api = api(json!({}), json!({}));
            api.objects.edit(PATH, |rollout| {
                rollout["status"]["observedGeneration"] = observed.into();
                rollout["status"]["updatedReplicas"] = 0.into();
            });
            api
        };
        for observed in ["0", "1"] {
            let mut api = without(observed);
            let failed = api.run::<Holds>(Task::Heal(HOLD.into()), None).failed();
            assert_eq!(failed.transience, Transience::Transient);
            assert!(api.changes.is_empty());
            api.react(|objects, now| {
                if now > 1000 {
                    objects.edit(PATH, |rollout| {
                        rollout["status"]["observedGeneration"] =
                            format!("{}", rollout["metadata"]["generation"]).into();
                        rollout["status"]["updatedReplicas"] = 1.into();
                    });
                }
            });
            assert_eq!(run(&mut api, HOLD), Outcome::Done);
            assert_eq!(api.objects.get(PATH, "/spec/paused"), true);
        }
        // A step that gives it no pods, and waits, is its own.
        let mut waits = without("1");
        waits.objects.edit(PATH, |rollout| {
            rollout["status"]["pauseConditions"] = json!([{ "reason": "CanaryPauseStep" }])
        });
        assert_eq!(run(&mut waits, HOLD), Outcome::Done);
        assert_eq!(waits.objects.get(PATH, "/spec/paused"), true);
        // A template in another object, of which its controller hasn't taken notice.
        let noted = json!({ "rollout.argoproj.io/workload-generation": "5" });
        let mut elsewhere = api(json!({}), noted);
        elsewhere.objects.edit(PATH, |rollout| rollout["status"]["workloadObservedGeneration"] = "4".into());
        assert!(matches!(run(&mut elsewhere, HOLD), Outcome::Failed(_)));
    }

    #[test]
    fn what_was_aborted_is_not_tried_again() {
        let mut api = api(json!({ "paused": true }), json!({ HELD: "paused" }));
        api.objects.edit(PATH, |rollout| rollout["status"]["abort"] = true.into());
        let Outcome::Failed(failed) = run(&mut api, GO_ON) else { panic!("it went on") };
        assert_eq!(failed, permanent("it was aborted: what was aborted isn't tried again by itself"));
        assert!(api.changes.is_empty());
        api.objects.edit(PATH, |rollout| rollout["metadata"]["annotations"] = json!({}));
        assert_eq!(run(&mut api, GO_ON), Outcome::Done, "nothing of ours is there to be lifted");
        assert!(matches!(run(&mut Api::of("prod", "shop"), HOLD), Outcome::Failed(_)));
    }

    #[test]
    fn each_mishap_at_each_effect_ends_right() {
        for at in 0..3 {
            for mishap in MISHAPS {
                let mut api = api(json!({}), json!({}));
                for playbook in [HOLD, GO_ON] {
                    let ran = api.run::<Holds>(Task::Heal(playbook.into()), Some((at, mishap)));
                    assert!(ran.outcome == Outcome::Done || run(&mut api, playbook) == Outcome::Done);
                    let is_held = api.objects.get(PATH, "/spec/paused") == true;
                    assert_eq!(is_held, playbook == HOLD, "{mishap:?} at {at}");
                }
                assert_eq!(api.changes.len(), 2, "{mishap:?} at {at}");
            }
        }
    }
}
