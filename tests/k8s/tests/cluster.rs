//! The harness does what it says.

use backstay_test_k8s::{ControlPlane, until};
use serde_json::json;

#[test]
fn a_deployment_rolls_out() {
    let Some(cluster) = ControlPlane::start() else { return };
    println!("took {:?}; {:?}", cluster.took(), cluster.memory());
    let space = cluster.namespace("shop");
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "shop"}},
        "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "shop", "image": "registry.test/shop:1.0.0"}]}}}});
    let began = std::time::Instant::now();
    cluster.api().create(&space.path("apps/v1", "deployments"), &deployment).unwrap();
    until("three ready", || {
        let d = cluster.api().get(&space.path("apps/v1", "deployments/shop")).unwrap();
        (d["status"]["readyReplicas"] == 3).then_some(())
    });
    println!("{:?}", began.elapsed());
    let out = cluster.kubectl().args(["get", "pods,nodes", "-A", "-o", "wide"]).output().unwrap();
    println!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}
