//! Changing an object without undoing what somebody else does to it meanwhile.
//!
//! It is read, a change is made of what was read, and that is written with the version that was read: where the object has moved
//! since, the server refuses, and all of it begins again. A change of which nobody knows whether it was made is looked at in the same
//! way, so that none is made twice. Not here: what is changed.

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::executor::{Failed, transient};
use serde_json::{Value, json};

use crate::{
    api::{Cluster, Written, text},
    resource::Resource,
};

/// How often it is tried. Who is in the way changes the object all the time.
const TRIES: u32 = 5;
/// The pause after the first try, in ms. It doubles.
const PAUSE_MS: u64 = 10;
/// What has to be read besides, so that nothing is written to another object or over a change.
const IDENTITY: [&str; 2] = ["/metadata/uid", "/metadata/resourceVersion"];

/// How an object was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It isn't there.
    Missing,
    /// It was so already, or somebody has made it so.
    AsItWas,
    /// It was changed.
    Changed,
}

/// The fields of an object that [`edit`] has to know, and `fields`.
#[must_use]
pub fn known<'f>(fields: &[&'f str]) -> Vec<&'f str> {
    IDENTITY.into_iter().chain(fields.iter().copied()).collect()
}

/// Reads an object's `fields`, and merges what `change` makes of them into it; `None` says that it is as it should be. `seen` is what
/// was read just now, by [`known`] fields. `what` is "freezing the Application argocd/shop", say.
///
/// # Errors
/// What `change` says, why it can't be read or written, or that others change it all the time.
pub async fn edit(
    cluster: &Cluster<'_>,
    of: &Resource,
    fields: &[&str],
    what: &str,
    mut seen: Option<Value>,
    change: impl Fn(&Value) -> Result<Option<Value>, Failed>,
) -> Result<Left, Failed> {
    let mut last = String::new();
    for tried in 0..TRIES {
        let now = match seen.take() {
            Some(seen) => seen,
            None => match cluster.get(of, &known(fields)).await? {
                Some(now) => now,
                None => return Ok(Left::Missing),
            },
        };
        let Some(mut patch) = change(&now)? else {
            return Ok(if tried == 0 { Left::AsItWas } else { Left::Changed });
        };
        patch["metadata"]["uid"] = text(&now, "/metadata/uid").into();
        patch["metadata"]["resourceVersion"] = text(&now, "/metadata/resourceVersion").into();
        match cluster.merge(of, &patch).await? {
            Written::Done => return Ok(Left::Changed),
            Written::Refused(refused) if matches!(refused.status, 404 | 409) => last = refused.message,
            Written::Refused(refused) => return Err(refused.failed(what)),
            Written::Unknown => last = "nobody knows whether it was done".into(),
        }
        cluster.ctx().pause(PAUSE_MS << tried).await?;
    }
    Err(transient(format!("{what} was tried {TRIES} times: {last}")))
}

/// A change of an annotation; `None` takes it away.
#[must_use]
pub fn annotated(key: &str, value: Option<&str>) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}

#[cfg(test)]
mod tests {
    use backstay_sdk::{
        executor::{Ctx, Executor, Order, Outcome, Task},
        settings::Description,
    };

    use super::*;
    use crate::{
        resource::DEPLOYMENTS,
        testing::{Api, MISHAPS},
    };

    const PATH: &str = "/apis/apps/v1/namespaces/n/deployments/a";

    /// Counts one more, unless it is 2 already.
    struct Counts;

    impl Executor for Counts {
        fn describe() -> Description {
            Description { about: "For a test.".into(), settings: Vec::new() }
        }

        async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
            let one_more = |seen: &Value| {
                let two = json!({ "spec": { "count": 2 } });
                Ok((seen["spec"]["count"] != 2).then_some(two))
            };
            let of = DEPLOYMENTS.named("n", "a");
            match edit(&Cluster::new(ctx), &of, &["/spec/count"], "counting", None, one_more).await? {
                Left::Missing => Err(transient("missing")),
                Left::AsItWas | Left::Changed => Ok(()),
            }
        }
    }

    fn api() -> Api {
        let mut api = Api::of("n", "a");
        api.objects.put(PATH, json!({ "spec": { "count": 1 } }));
        api
    }

    fn run(api: &mut Api) -> Outcome {
        api.run::<Counts>(Task::Heal("count".into()), None).outcome
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let mut api = api();
        assert_eq!(run(&mut api), Outcome::Done);
        assert_eq!(run(&mut api), Outcome::Done);
        assert_eq!(api.changes, [format!("PATCH {PATH}")]);
        assert_eq!(run(&mut Api::of("n", "a")), Outcome::Failed(transient("missing")));
    }

    #[test]
    fn no_mishap_makes_it_happen_twice() {
        for at in 0..3 {
            for mishap in MISHAPS {
                let mut api = api();
                let ran = api.run::<Counts>(Task::Heal("count".into()), Some((at, mishap)));
                if ran.outcome != Outcome::Done {
                    // A look that the server fails ends the run, and the next one does what is missing.
                    assert_eq!(run(&mut api), Outcome::Done, "{mishap:?} at {at}");
                }
                assert_eq!(api.changes, [format!("PATCH {PATH}")], "{mishap:?} at {at}");
            }
        }
    }

    #[test]
    fn who_changes_it_meanwhile_is_not_overwritten() {
        let mut api = api();
        let mut times = 0;
        api.react(move |objects, _| {
            times += 1;
            if times == 1 {
                objects.edit(PATH, |object| object["spec"]["other"] = true.into());
            }
        });
        assert_eq!(run(&mut api), Outcome::Done);
        assert_eq!(api.objects.get(PATH, "/spec"), json!({ "count": 2, "other": true }));
        let mut api = self::api();
        api.react(|objects, now| objects.edit(PATH, |object| object["spec"]["other"] = now.into()));
        let Outcome::Failed(failed) = run(&mut api) else { panic!("it came through") };
        assert_eq!(failed, transient("counting was tried 5 times: the object has been modified"));
    }
}
