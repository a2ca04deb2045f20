//! The memory limit of one container, and how much it is to be.
//!
//! Not here: writing it, on a pod (`resize`) or in a template (`template`).

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::executor::{Failed, permanent};
use serde_json::{Value, json};

use super::{STEP, STEPS};
use crate::{
    api::{Cluster, text},
    clock::Time,
    heal::{named, raised::Raise},
    quantity::Memory,
};

/// Which limit it is, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// Where the container is in its object: `/spec/containers/0`.
    path: String,
    container: String,
    limit: (String, Memory),
    request: Option<(String, Memory)>,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It was raised because of this already.
    Answered(Raise),
    /// It is to be raised.
    Raise(Raise),
}

impl Limit {
    /// The limit of `container` in an object whose pod is described at `spec`; `None` where it has none.
    pub(super) fn find(object: &Value, spec: &str, container: &str) -> Option<Self> {
        for list in ["containers", "initContainers"] {
            let at = format!("{spec}/{list}");
            let all = object.pointer(&at).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let Some((index, found)) =
                all.iter().enumerate().find(|(_, one)| text(one, "/name") == container)
            else {
                continue;
            };
            let amount = |pointer: &str| {
                let written = text(found, pointer);
                Memory::parse(written).map(|memory| (String::from(written), memory))
            };
            return Some(Self {
                path: format!("{at}/{index}"),
                container: container.into(),
                limit: amount("/resources/limits/memory")?,
                request: amount("/resources/requests/memory"),
            });
        }
        None
    }

    /// Whether it is at least so much.
    pub(super) fn has(&self, memory: Memory) -> bool {
        self.limit.1 >= memory
    }

    /// How much it is.
    pub(super) const fn memory(&self) -> Memory {
        self.limit.1
    }

    /// What is to be done about an end at `at`, after what was noted before.
    pub(super) fn plan(
        &self,
        cluster: &Cluster<'_>,
        noted: Option<Raise>,
        at: Time,
        ceiling: Memory,
    ) -> Result<Plan, Failed> {
        if let Some(raise) = noted.filter(|raise| raise.answers >= at) {
            return Ok(if self.has(raise.to) { Plan::Answered(raise) } else { Plan::Raise(raise) });
        }
        let steps = noted.map_or(0, |raise| raise.steps).saturating_add(1);
        let (container, limit) = (named(&self.container), &self.limit.0);
        if steps > STEPS.count(cluster.config()) {
            let why = "and still it is too little: it leaks, or needs more than was thought";
            return Err(permanent(format!(
                "the limit of {container}, {limit}, was raised {} times, {why}",
                steps - 1
            )));
        }
        let to = self.limit.1.times_permille(STEP.count(cluster.config())).min(ceiling);
        if to <= self.limit.1 {
            let ceiling = ceiling.written();
            return Err(permanent(format!(
                "the limit of {container} is {limit} and memory-ceiling is {ceiling}: it gets no more"
            )));
        }
        Ok(Plan::Raise(Raise { to, steps, answers: at }))
    }

    /// The patch that makes it so much: of this object and no other, and only from what it is now.
    pub(super) fn raised(&self, uid: &str, to: Memory) -> Value {
        self.moved(uid, &self.limit.0, &to.written(), &to.written())
    }

    /// The patch that undoes that, unless somebody else did something since.
    pub(super) fn put_back(&self, uid: &str, from: Memory) -> Value {
        let request = self.request.as_ref().map_or("", |(request, _)| request);
        self.moved(uid, &from.written(), &self.limit.0, request)
    }

    fn moved(&self, uid: &str, from: &str, to: &str, request: &str) -> Value {
        let Self { path, container, limit, .. } = self;
        let at = format!("{path}/resources/limits/memory");
        let mut patch = Vec::from([
            json!({ "op": "test", "path": "/metadata/uid", "value": uid }),
            json!({ "op": "test", "path": format!("{path}/name"), "value": container }),
            json!({ "op": "test", "path": at, "value": from }),
            json!({ "op": "replace", "path": at, "value": to }),
        ]);
        // What is asked for stays as it is: so much was enough to find a node. Where it is all that is allowed it stays all of it, or the
        // pod would be of another class, which a resize may not do.
        if self.request.as_ref().is_some_and(|(_, request)| *request >= limit.1) {
            let at = format!("{path}/resources/requests/memory");
            patch.push(json!({ "op": "replace", "path": at, "value": request }));
        }
        Value::Array(patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(requests: &Value) -> Value {
        let resources = json!({ "limits": { "memory": "128Mi", "cpu": "1" }, "requests": requests });
        json!({ "spec": {
            "containers": [{ "name": "proxy" }, { "name": "app", "resources": resources }],
            "initContainers": [{ "name": "log", "resources": resources }],
        } })
    }

    #[test]
    fn a_limit_is_raised_where_it_is_and_only_from_what_it_was() {
        let pod = pod(&json!({ "memory": "64Mi" }));
        let limit = Limit::find(&pod, "/spec", "app").unwrap();
        let to = Memory::parse("192Mi").unwrap();
        let test = |path: &str, value: &str| json!({ "op": "test", "path": path, "value": value });
        let replace = |path: &str, value: &str| json!({ "op": "replace", "path": path, "value": value });
        let at = "/spec/containers/1/resources/limits/memory";
        let (uid, name) = (test("/metadata/uid", "u"), test("/spec/containers/1/name", "app"));
        assert_eq!(limit.raised("u", to), json!([uid, name, test(at, "128Mi"), replace(at, "192Mi")]));
        assert_eq!(limit.put_back("u", to), json!([uid, name, test(at, "192Mi"), replace(at, "128Mi")]));
        assert_eq!(Limit::find(&pod, "/spec", "log").unwrap().path, "/spec/initContainers/0");
        assert_eq!((Limit::find(&pod, "/spec", "proxy"), Limit::find(&pod, "/spec", "x")), (None, None));
    }

    /// A pod that asks for all that it may have is of the class of pods that go last. A resize that changes the class is refused.
    #[test]
    fn what_was_all_that_is_allowed_stays_so() {
        let limit = Limit::find(&pod(&json!({ "memory": "134217728" })), "/spec", "app").unwrap();
        let to = Memory::parse("192Mi").unwrap();
        let request = |value: &str| json!({ "op": "replace", "path": "/spec/containers/1/resources/requests/memory", "value": value });
        assert_eq!(limit.raised("u", to).get(4), Some(&request("192Mi")));
        assert_eq!(limit.put_back("u", to).get(4), Some(&request("134217728")));
    }
}
