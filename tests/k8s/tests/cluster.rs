//! The control plane is a real one: what Kubernetes' own controllers, Argo Rollouts and Helm do, they do here.
//!
//! Not here: nodes and what is wrong with pods (`kubelet`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
};

use backstay_test_k8s::{ControlPlane, Namespace, objects, until};
use serde_json::{Value, json};

const FIRST: &str = "registry.test/shop:1.0.0";
const SECOND: &str = "registry.test/shop:1.1.0";
const APPS: &str = "apps/v1";
const ARGO: &str = "argoproj.io/v1alpha1";

/// What a command says, whether it went well or not.
fn tried(command: &mut Command) -> (bool, String) {
    let out = command.output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn said(command: &mut Command) -> String {
    let (well, text) = tried(command);
    assert!(well, "{command:?}: {text}");
    text
}

fn images(cluster: &ControlPlane, space: &Namespace) -> BTreeSet<String> {
    let pods = cluster.api().list(&space.path("v1", "pods")).unwrap();
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    pods.iter().map(image).collect()
}

#[test]
fn versions_memory_and_the_time_to_start_are_told() {
    let Some(cluster) = ControlPlane::start() else { return };
    let server = cluster.api().get("/version").unwrap();
    let text = |command: &mut Command| said(command).lines().next().unwrap_or_default().to_owned();
    let memory: u64 = cluster.memory().iter().map(|(_, kib)| kib / 1024).sum();
    // Past the test's own output, which nobody sees where it went well.
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\nsummary: Kubernetes {}, {}, Argo Rollouts {}, Helm {} and {}; ready after {} ms, {memory} MiB",
        server["gitVersion"].as_str().unwrap(),
        text(&mut cluster.etcd_version()).replace(" Version:", ""),
        text(cluster.argo().args(["version", "--short"])).trim_start_matches("kubectl-argo-rollouts: "),
        text(cluster.helm3().args(["version", "--short"])),
        text(cluster.helm4().args(["version", "--short"])),
        cluster.took().as_millis(),
    )
    .unwrap();
    assert_eq!(cluster.broken(), None);
}

#[test]
fn a_deployment_rolls_out_and_a_bad_release_of_it_stands_still() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("deployment"));
    let path = space.path(APPS, "deployments/shop");
    let is_out = |revision: u64| {
        let it = api.get(&path).unwrap();
        let status = &it["status"];
        let told =
            it["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == json!(revision.to_string());
        (told && status["updatedReplicas"] == 3 && status["readyReplicas"] == 3 && status["replicas"] == 3)
            .then_some(())
    };
    api.create(&space.path(APPS, "deployments"), &objects::deployment("shop", 3, FIRST)).unwrap();
    until("a first revision", || is_out(1));
    let to = |image: &str| json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
    api.patch(&path, &to(SECOND)).unwrap();
    until("a second revision", || is_out(2));
    until("pods of the second revision alone", || {
        (images(&cluster, &space) == [SECOND.to_owned()].into()).then_some(())
    });

    api.patch(&path, &to("registry.test/shop:1.2.0-not-ready")).unwrap();
    until("a pod of the third revision", || (images(&cluster, &space).len() == 2).then_some(()));
    let status = said(cluster.kubectl().args(["rollout", "undo", "deployment/shop", "-n", space.name()]));
    assert!(status.contains("rolled back"), "{status}");
    until("the second revision's pods", || {
        (images(&cluster, &space) == [SECOND.to_owned()].into()).then_some(())
    });
}

#[test]
fn a_rollout_goes_through_its_steps_and_an_abort_leads_back() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("rollout"));
    let path = space.path(ARGO, "rollouts/shop");
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]);
    api.create(&space.path(ARGO, "rollouts"), &objects::rollout("shop", 4, FIRST, &steps)).unwrap();
    let phase = |wanted: &str| {
        until(wanted, || Some(api.get(&path).unwrap()).filter(|it| it["status"]["phase"] == wanted))
    };
    phase("Healthy");
    let to = |image: &str| json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
    api.patch(&path, &to(SECOND)).unwrap();
    let paused = phase("Paused");
    assert_eq!(
        (&paused["status"]["currentStepIndex"], &paused["status"]["updatedReplicas"]),
        (&json!(1), &json!(1))
    );
    let argo = |verb: &str| said(cluster.argo().args([verb, "shop", "-n", space.name()]));
    argo("promote");
    until("a whole rollout", || {
        let status = api.get(&path).unwrap()["status"].clone();
        let is_whole = status["stableRS"] == status["currentPodHash"] && status["phase"] == "Healthy";
        (is_whole && status["updatedReplicas"] == 4).then_some(())
    });
    api.patch(&path, &to("registry.test/shop:1.2.0")).unwrap();
    phase("Paused");
    argo("abort");
    phase("Degraded");
    until("the stable release's pods", || {
        (images(&cluster, &space) == [SECOND.to_owned()].into()).then_some(())
    });
}

#[test]
fn other_peoples_objects_are_taken() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("objects"));
    let make = |version: &str, plural: &str, kind: &str, spec: Value| {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "shop"}, "spec": spec});
        let made = api.create(&space.path(version, plural), &object);
        made.unwrap_or_else(|e| panic!("{kind}: {e}"))
    };
    let target = json!({"apiVersion": APPS, "kind": "Deployment", "name": "shop"});
    let bounds = json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5});
    make("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", bounds);
    make(
        "networking.istio.io/v1",
        "destinationrules",
        "DestinationRule",
        json!({"host": "shop", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 5}}}),
    );
    make(
        "argoproj.io/v1alpha1",
        "applications",
        "Application",
        json!({
            "project": "default",
            "destination": {"namespace": "shop", "server": "https://kubernetes.default.svc"},
            "source": {"repoURL": "https://git.test/shop", "path": "."},
            "syncPolicy": {"automated": {"selfHeal": true}},
        }),
    );
    let source = json!({"kind": "GitRepository", "name": "shop"});
    let spec = json!({"interval": "1m", "prune": true, "sourceRef": source, "suspend": false});
    make("kustomize.toolkit.fluxcd.io/v1", "kustomizations", "Kustomization", spec);
    make(
        "helm.toolkit.fluxcd.io/v2",
        "helmreleases",
        "HelmRelease",
        json!({"interval": "1m", "suspend": false}),
    );
    // A mistake in one is found by its definition.
    let wrong = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "wrong"},
        "spec": {"host": "shop", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": "many"}}},
    });
    let refused = api.create(&space.path("networking.istio.io/v1", "destinationrules"), &wrong).unwrap_err();
    assert_eq!(refused.code, 422, "{refused}");
}

#[test]
fn a_drain_waits_for_the_budget() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("drain"));
    cluster.kubelet().add_node("drain-1", &[("pool", "drain")]);
    let mut deployment = objects::deployment("shop", 2, FIRST);
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"pool": "drain"});
    api.create(&space.path(APPS, "deployments"), &deployment).unwrap();
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "shop"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "shop"}}},
    });
    api.create(&space.path("policy/v1", "poddisruptionbudgets"), &budget).unwrap();
    let path = space.path("policy/v1", "poddisruptionbudgets/shop");
    until("a budget that counts", || {
        (api.get(&path).unwrap()["status"]["currentHealthy"] == 2).then_some(())
    });

    let drain = |time: &str| tried(cluster.kubectl().args(["drain", "drain-1", "--timeout", time]));
    let (well, told) = drain("2s");
    assert!(
        !well && told.contains("Cannot evict pod as it would violate the pod's disruption budget"),
        "{told}"
    );
    // One may go at a time, and there is a node for it.
    api.merge(&path, &json!({"spec": {"minAvailable": 1}})).unwrap();
    cluster.kubelet().add_node("drain-2", &[("pool", "drain")]);
    let (well, told) = drain("60s");
    assert!(well, "{told}");
    let pods = api.list(&space.path("v1", "pods")).unwrap();
    assert!(pods.iter().all(|pod| pod["spec"]["nodeName"] == "drain-2"), "{pods:?}");
}

/// A chart with a Deployment, and a Job that has to end before a release counts as deployed.
fn chart(folder: &Path) {
    fs::create_dir_all(folder.join("templates")).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\nkubeVersion: \">=1.30.0-0\"\n");
    write("values.yaml", "image: registry.test/shop:1.0.0\n");
    let mut deployment = objects::deployment("shop", 1, "IMAGE");
    deployment["metadata"]["name"] = json!("{{ .Release.Name }}");
    write("templates/deployment.yaml", &deployment.to_string().replace("IMAGE", "{{ .Values.image }}"));
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "migrate", "image": "registry.test/migrate:1"}]});
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "{{ .Release.Name }}-migrate", "annotations": {"helm.sh/hook": "pre-install,pre-upgrade"}},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    });
    write("templates/migrate.yaml", &job.to_string());
}

#[test]
fn both_helms_install_a_chart_and_roll_it_back() {
    let Some(cluster) = ControlPlane::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    chart(folder.path());
    let chart = folder.path().to_str().unwrap();
    for (helm, about) in
        [(ControlPlane::helm3 as fn(&ControlPlane) -> Command, "helm3"), (ControlPlane::helm4, "helm4")]
    {
        let space = cluster.namespace(about);
        let run =
            |words: &[&str]| said(helm(&cluster).args(words).args(["-n", space.name(), "--timeout", "60s"]));
        run(&["install", "shop", chart, "--wait"]);
        run(&["upgrade", "shop", chart, "--wait", "--set", "image=registry.test/shop:1.1.0"]);
        assert_eq!(images(&cluster, &space).iter().filter(|image| image.contains("1.1.0")).count(), 1);
        run(&["rollback", "shop", "1", "--wait"]);
        let told = said(helm(&cluster).args(["history", "shop", "-o", "json", "-n", space.name()]));
        let history: Value = serde_json::from_str(&told).unwrap();
        let states: Vec<_> =
            history.as_array().unwrap().iter().map(|it| it["status"].as_str().unwrap()).collect();
        assert_eq!(states, ["superseded", "superseded", "deployed"], "{about}");
        until("pods of the first release", || (!images(&cluster, &space).contains(SECOND)).then_some(()));
    }
}

#[test]
fn a_service_account_may_do_what_its_role_says_and_what_it_did_is_known() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("roles"));
    let named = |kind: &str, more: Value| {
        let mut object = json!({"kind": kind, "metadata": {"name": "reader"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    api.create(&space.path("v1", "serviceaccounts"), &named("ServiceAccount", json!({"apiVersion": "v1"})))
        .unwrap();
    const RBAC: &str = "rbac.authorization.k8s.io/v1";
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let role = named("Role", json!({"apiVersion": RBAC, "rules": rules}));
    let subjects = json!([{"kind": "ServiceAccount", "name": "reader"}]);
    let of = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"});
    let binding = named("RoleBinding", json!({"apiVersion": RBAC, "subjects": subjects, "roleRef": of}));
    api.create(&space.path(RBAC, "roles"), &role).unwrap();
    api.create(&space.path(RBAC, "rolebindings"), &binding).unwrap();
    api.create(&space.path("v1", "pods"), &objects::pod("shop", FIRST)).unwrap();

    let reader = api.with_token(&api.token(space.name(), "reader").unwrap());
    until("the role to count", || reader.get(&space.path("v1", "pods/shop")).ok());
    let refused = reader.delete(&space.path("v1", "pods/shop")).unwrap_err();
    assert_eq!(refused.code, 403, "{refused}");
    let user = format!("system:serviceaccount:{}:reader", space.name());
    assert_eq!(api.acting_as(&user, &[]).delete(&space.path("v1", "pods/shop")).unwrap_err().code, 403);
    assert_eq!(api.with_token("nonsense").get("/api/v1/pods").unwrap_err().code, 401);
    let did = until("what it did", || {
        let all = cluster.audit();
        let mine = all.iter().filter(|event| event["user"]["username"] == user.as_str());
        let verbs: BTreeSet<_> = mine.map(|event| event["verb"].as_str().unwrap().to_owned()).collect();
        (verbs.len() == 2).then_some(verbs)
    });
    assert_eq!(did, ["delete".to_owned(), "get".to_owned()].into());
}
