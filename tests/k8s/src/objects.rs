//! Objects that tests make, as short as they can be said.
//!
//! Here: workloads of one container. Each is called like its label `app`. Whoever needs more changes the JSON.

use serde_json::{Value, json};

/// A Deployment.
#[must_use]
pub fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": selector(name), "template": template(name, image)},
    })
}

/// A Rollout of Argo's, with the steps of a canary.
#[must_use]
pub fn rollout(name: &str, replicas: u32, image: &str, steps: &Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": selector(name),
            "strategy": {"canary": {"steps": steps}},
            "template": template(name, image),
        },
    })
}

/// A pod that nobody makes anew.
#[must_use]
pub fn pod(name: &str, image: &str) -> Value {
    let mut pod = template(name, image);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod
}

fn selector(name: &str) -> Value {
    json!({"matchLabels": {"app": name}})
}

fn template(name: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{
            "name": name,
            "image": image,
            "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        }]},
    })
}
