//! What can be set for every executor for Kubernetes: what the target is (here), and what its template, its owners and its playbooks have
//! to be told (each says that of itself).

use alloc::{format, vec::Vec};

use backstay_sdk::settings::{Number, Problem, Required, Setting, SettingInfo, Text, is_name, problem};

use crate::{heal, owners, resource::is_dns_name, template};

/// The endpoint of the API server.
pub const ENDPOINT: Text = Text {
    name: "endpoint",
    default: "kubernetes",
    help: "The endpoint of the API server. The operator gives it `json = true`.",
};
/// Where the target is.
pub const NAMESPACE: Required =
    Required { name: "namespace", secret: false, help: "The namespace that the target is in." };
/// What the target is called.
pub const NAME: Required = Required { name: "name", secret: false, help: "What the target is called there." };
/// Which container of the pod is the product.
pub const CONTAINER: Text = Text {
    name: "container",
    default: "",
    help: "The container whose image is the release. Empty: the only one, else the one that is called like the target, else the first.",
};
/// How long something that was asked for may take.
pub const WAIT: Number = Number {
    name: "wait-ms",
    default: 300_000,
    least: 1000,
    most: 3_600_000,
    help: "So long is waited for pods to be as they were asked to be, in ms. After that the run fails, and may be tried again.",
};
/// The longest pause between two looks while something is waited for.
pub const POLL: Number = Number {
    name: "poll-ms",
    default: 2000,
    least: 100,
    most: 60_000,
    help: "The longest pause between two looks while something is waited for, in ms. The first are shorter.",
};

/// All of them, for `describe`: what the target is, what the executor has of its `own`, and what is the same for all.
#[must_use]
pub fn infos(own: impl IntoIterator<Item = SettingInfo>) -> Vec<SettingInfo> {
    let target = [ENDPOINT.info(), NAMESPACE.info(), NAME.info(), CONTAINER.info(), WAIT.info(), POLL.info()];
    let mut infos: Vec<SettingInfo> = target.into_iter().chain(own).collect();
    infos.push(template::VERSION_LABEL.info());
    infos.extend(owners::infos());
    infos.extend(heal::infos());
    infos
}

/// What is wrong with them, but for an executor's own.
#[must_use]
pub fn problems(config: &[Setting]) -> Vec<Problem> {
    let mut problems = of_target(config);
    problems.extend(template::problems(config));
    problems.extend(owners::problems(config));
    problems.extend(heal::problems(config));
    problems
}

fn of_target(config: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !is_name(ENDPOINT.of(config)) {
        problems.push(problem(
            ENDPOINT.name,
            "an endpoint is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -",
        ));
    }
    for setting in [NAMESPACE, NAME] {
        if !is_dns_name(setting.of(config)) {
            let why = format!(
                "{:?} names nothing in Kubernetes: up to 253 of a-z, 0-9, - and .",
                setting.of(config)
            );
            problems.push(problem(setting.name, why));
        }
    }
    let container = CONTAINER.of(config);
    if !container.is_empty() && !is_dns_name(container) {
        problems.push(problem(CONTAINER.name, "a container is called by a-z, 0-9 and -"));
    }
    problems
}
