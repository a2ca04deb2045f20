//! What controllers and kubelets make of the shop: pods that go and come, get ready, and get another limit.

use serde_json::json;

use super::{Faults, NODE_NAMES, Resizes, is_ready, node_at, pod, pod_at, set_ready, shop_at};
use crate::testing::{Objects, time};

/// What controllers and kubelets do in a moment.
pub(super) fn controllers(faults: &Faults, objects: &mut Objects, now: u64) {
    if objects.has("/apis/autoscaling/v2/namespaces/prod/horizontalpodautoscalers/shop") {
        let least = objects
            .get("/apis/autoscaling/v2/namespaces/prod/horizontalpodautoscalers/shop", "/spec/minReplicas");
        if objects.get(&shop_at(), "/spec/replicas").as_u64() < least.as_u64() {
            objects.edit(&shop_at(), |shop| shop["spec"]["replicas"] = least);
        }
    }
    let limit = objects.get(&shop_at(), "/spec/template/spec/containers/0/resources/limits/memory");
    for at in objects.below("/api/v1/namespaces/") {
        let pod = objects.at(&at);
        let node = node_at(pod["spec"]["nodeName"].as_str().unwrap_or_default());
        let is_lost = objects.has(&node) && objects.get(&node, "/status/conditions/1/status") != "True";
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            // A kubelet that isn't heard of ends nothing.
            if !is_lost {
                objects.take(&at);
            }
            continue;
        }
        if pod["metadata"]["labels"]["app"] != "shop" || pod["status"]["phase"] == "Failed" {
            continue;
        }
        if pod["metadata"]["annotations"]["made-with"] != limit {
            objects.take(&at);
            continue;
        }
        kubelet(faults, objects, &at, is_lost, now);
    }
    let wanted = objects.get(&shop_at(), "/spec/replicas").as_u64().unwrap_or(0);
    let active = |objects: &Objects| {
        let all = objects.below(&pod_at("shop"));
        all.into_iter()
            .filter(|at| objects.get(at, "/metadata/deletionTimestamp").is_null())
            .collect::<Vec<_>>()
    };
    while (active(objects).len() as u64) < wanted {
        let takes = |name: &&str| {
            objects.has(&node_at(name))
                && objects.get(&node_at(name), "/spec/unschedulable") != true
                && objects.get(&node_at(name), "/status/conditions/1/status") == "True"
        };
        let node = NODE_NAMES.into_iter().rfind(takes).unwrap_or_default();
        let name = format!("shop-a-{}", objects.version());
        objects.put(&pod_at(&name), pod(node, limit.as_str().unwrap_or_default(), now));
    }
    let ready = active(objects).iter().filter(|at| is_ready(objects.at(at))).count();
    let (count, generation) = (active(objects).len(), objects.get(&shop_at(), "/metadata/generation"));
    objects.edit(&shop_at(), |shop| {
        shop["status"] = json!({
            "readyReplicas": ready, "replicas": count, "updatedReplicas": count, "observedGeneration": generation,
        });
    });
}

fn kubelet(faults: &Faults, objects: &mut Objects, at: &str, is_lost: bool, now: u64) {
    let name = at.rsplit('/').next().unwrap_or_default().to_string();
    let is_sick = faults.sick.contains(&name);
    objects.edit(at, |pod| {
        if is_lost || pod["spec"]["nodeName"] == "" {
            set_ready(pod, false);
            return;
        }
        let born: u64 =
            pod["metadata"]["annotations"]["born"].as_str().and_then(|born| born.parse().ok()).unwrap_or(0);
        let (asked, has) = (
            "/spec/containers/0/resources/limits/memory",
            "/status/containerStatuses/0/resources/limits/memory",
        );
        let wanted = pod.pointer(asked).cloned().unwrap_or_default();
        if pod.pointer(has) != Some(&wanted) {
            match faults.resizes {
                Resizes::Pending(reason) => {
                    let pending = json!({
                        "type": "PodResizePending", "status": "True", "reason": reason,
                        "message": "Node didn't have enough capacity: memory",
                    });
                    let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
                    conditions.truncate(2);
                    conditions.push(pending);
                }
                Resizes::Works | Resizes::Unsupported | Resizes::Unknown => {
                    *pod.pointer_mut(has).unwrap() = wanted.clone();
                    if faults.hungry_to.is_none_or(|most| wanted != most) {
                        pod["status"]["containerStatuses"][0]["state"] =
                            json!({ "running": { "startedAt": time(now) } });
                    }
                }
            }
        }
        let is_held_back = !pod["status"]["containerStatuses"][0]["state"]["waiting"].is_null();
        // Who was there at the beginning is ready.
        let is_up = born == 0 || now >= born + 20 && !faults.sick_for_ever;
        let ready = !is_sick && !is_held_back && is_up;
        set_ready(pod, ready);
    });
}
