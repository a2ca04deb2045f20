//! Kinds of runs, for tests that look at each: what is there before, the order, and what there is to be afterwards.
//!
//! Here: what a kind is. Not here: each of them (the other files), and what is tried with them.
#![allow(dead_code, reason = "each test that shares these takes what it needs")]

pub(crate) mod healing;
pub(crate) mod helm;
pub(crate) mod left;
pub(crate) mod undoing;
pub(crate) mod workloads;

use backstay_test_k8s::{ControlPlane, Gate, Keys, Namespace, Plant};
use serde_json::{Value, json};

/// What every target of these tests is called.
pub(crate) const SHOP: &str = "shop";

/// What all kinds have.
pub(crate) struct World {
    pub(crate) cluster: ControlPlane,
    /// Through which the server asks the API server, and so may its commands.
    pub(crate) gate: Gate,
    pub(crate) keys: Keys,
}

/// One kind of run. Each trial of it has a namespace of its own, in which things are called [`SHOP`].
pub(crate) trait Kind: Sync {
    /// For people.
    fn name(&self) -> String;

    /// Who does it: `rollouts`, `deployment` or `helm`.
    fn executor(&self) -> &'static str;

    /// Tables of the server's configuration: commands. `spaces` are those of all of its targets.
    fn tables(&self, _world: &World, _spaces: &[Namespace]) -> String {
        String::new()
    }

    /// What a target's file has besides, at its top level.
    fn target(&self) -> String {
        String::new()
    }

    /// What the target is told besides where it is, as it stands between the braces of `settings`.
    fn settings(&self, _space: &Namespace) -> String {
        String::new()
    }

    /// Makes in a namespace what is to be mended, and waits until it is there.
    fn is_there(&self, world: &World, space: &Namespace);

    /// Tells the server of it.
    fn is_told(&self, plant: &mut Plant, service: &str) {
        plant.has_good(service, "1.0");
    }

    /// Gives the order.
    fn is_ordered(&self, plant: &mut Plant, service: &str);

    /// How many orders of a trial take effect: a server lets only so many do in an hour.
    fn orders(&self) -> usize {
        1
    }

    /// What `backstay plan` is asked after the name of the target, for the same order.
    fn planned(&self) -> Vec<&'static str> {
        vec!["rollback"]
    }

    /// Whether the server has brought it to its end, if nothing is under way.
    fn is_over(&self, view: &Value) -> bool;

    /// All that must not depend on whether anybody was killed.
    fn leaves(&self, world: &World, space: &Namespace) -> Value;

    /// Removes what would be in the way of the next one. Whether there was anything.
    fn is_cleared(&self, _world: &World, _space: &Namespace) -> bool {
        false
    }
}

/// A pipeline let a release out that may be gone back to, and then a bad one to a part of the traffic.
pub(crate) fn has_bad(plant: &mut Plant, service: &str, stage: u32) {
    plant.has_good(service, "1.0");
    plant.says(service, "deployments", &json!({"version": "2.0", "stage": stage}));
}

/// Somebody has the one before back.
pub(crate) fn goes_home(plant: &mut Plant, service: &str) {
    plant.says(service, "rollback", &json!({"reason": "customers see empty carts"}));
}

/// That one is what the server knows to be out.
pub(crate) fn is_home(view: &Value) -> bool {
    view["out"]["release"]["version"] == "1.0"
}

/// The file of a target.
pub(crate) fn file(kind: &dyn Kind, space: &Namespace) -> String {
    let settings = kind.settings(space);
    let comma = if settings.is_empty() { "" } else { ", " };
    format!(
        "mode = \"enforce\"\nwindow = \"1h\"\npolicy = \"tree\"\nexecutor = \"{}\"\n{}\
         settings = {{ namespace = \"{}\", name = \"{SHOP}\"{comma}{settings} }}\n\
         [[objective]]\nname = \"errors\"\nmetric = \"errors\"\nabove = 0.5\n\
         [rails]\nconfirm_windows = 1\nrollbacks_per_hour = 64\nheals_per_hour = 64\nbackoff_base = \"100ms\"\nbackoff_cap = \"100ms\"\n",
        kind.executor(),
        kind.target(),
        space.name(),
    )
}
