//! The chart and the manifests for people without Helm: that both Helms render the same, that mistakes are told, that a real API server takes
//! what comes out, and that the configuration in it is one that the server takes.
//!
//! No container runs here, so that the image is not shown to start. What it grants is in `rights`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod installed;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_sdk::settings::Value as Set;
use backstay_test_k8s::{ControlPlane, Programs};
use backstay_test_real::built;
use installed::{Installed, MAJORS, Major, chart, of_tree, rendered, said, tried};
use serde_json::{Value, json};

/// What stands above the manifests.
const ABOVE: &str = "\
# What kubernetes-integration/chart makes of values.yaml beside this, for who doesn't use Helm: kubectl apply --filename backstay.yaml
# The namespaces backstay, prod and argocd have to be there, and in the first a ConfigMap and a Secret that docs/kubernetes.md names.
# The image is nowhere to be pulled: `cargo xtask image` makes it.
";

fn programs() -> Option<Programs> {
    match Programs::find() {
        Ok(programs) => Some(programs),
        Err(why) => {
            println!("skipped, because {why}");
            None
        }
    }
}

fn example() -> PathBuf {
    of_tree("kubernetes-integration/manifests/values.yaml")
}

/// Everything that can be set, set.
fn everything() -> Value {
    let file = "policy = \"tree\"\n[[objective]]\nname = \"errors\"\nmetric = \"errors\"\nabove = 0.01\n";
    json!({
        "image": { "repository": "registry.test/backstay", "digest": format!("sha256:{}", "ab".repeat(32)), "pullPolicy": "Always", "pullSecrets": [{ "name": "pull" }] },
        "targets": {
            "canary": {
                "namespace": "prod", "kind": "Rollout", "name": "shop", "workloadRef": "templates",
                "heals": ["restart", { "name": "resize", "attempts": 2 }, "scale", "drain", "undrain", "outliers", "outliers-off", "lkg"],
                "autoscaler": "shop", "destinationRule": "shop", "drainWholeNode": true, "configMaps": ["shop", "limits"], "secrets": ["shop"],
                "owners": { "applications": ["argocd/shop"], "kustomizations": ["flux-system/apps"], "helmReleases": ["prod/shop"] },
                "settings": { "scale-ceiling": 1_000_000, "find-owners": false, "container": "a \"b\" \\ <c>", "argocd-namespace": "argocd" },
                "file": file,
            },
            "cart": { "namespace": "prod", "kind": "Deployment", "heals": ["unfreeze"], "settings": { "look-nodes": 0 }, "file": file },
            "mail": {
                "namespace": "mail", "kind": "Helm", "workload": "statefulset/mail", "objects": ["statefulsets.apps", "services"],
                "rules": [{ "apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get"] }],
                "heals": ["repair"], "file": file,
            },
        },
        "policy": { "bundle": "policy-sequential.bundle", "settings": { "alpha-ppm": 10_000 } },
        "config": "[page]\nurl = \"https://pager.example/hook\"\nca = \"/etc/backstay/ca.pem\"\n",
        "broker": { "url": "mqtts://broker.example:8883", "ca": "/etc/backstay/broker-ca.pem" },
        "keyring": { "configMap": "ring" },
        "keys": { "secret": "ours", "tls": false },
        "bundles": { "volume": { "persistentVolumeClaim": { "claimName": "bundles" } } },
        "lkg": { "volume": { "persistentVolumeClaim": { "claimName": "lkg" } } },
        "persistence": { "size": "4Gi", "storageClass": "fast" },
        "service": { "port": 443 },
        "resources": { "limits": { "memory": "1Gi" } },
        "logFormat": "text",
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": { "pool": "ops" },
        "tolerations": [{ "key": "ops", "operator": "Exists" }],
        "affinity": { "nodeAffinity": {} },
    })
}

fn written(folder: &Path, values: &Value) -> PathBuf {
    let file = folder.join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    file
}

/// The text without the empty lines that Helm 4 puts behind each object.
fn close(text: &str) -> String {
    text.lines().filter(|line| !line.is_empty()).fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn both_helms_render_the_same_and_find_nothing_to_say() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let all = written(folder.path(), &everything());
    for values in [vec![], vec![example()], vec![all]] {
        let values: Vec<&Path> = values.iter().map(PathBuf::as_path).collect();
        let [three, four] = MAJORS.map(|major| rendered(&programs, major, &values).unwrap());
        assert_eq!(close(&three), close(&four), "{values:?}");
        for major in MAJORS {
            let mut helm = Command::new(programs.program(major.program()));
            helm.arg("lint").arg(chart()).args(["--strict", "--kube-version", "1.36.3"]);
            for values in &values {
                helm.arg("--values").arg(values);
            }
            let told = said(&mut helm);
            assert!(told.contains("1 chart(s) linted, 0 chart(s) failed"), "{told}");
            let odd: Vec<&str> =
                told.lines().filter(|line| line.contains("[WARNING]") || line.contains("[ERROR]")).collect();
            assert_eq!(odd, [] as [&str; 0]);
        }
    }
}

#[test]
fn the_manifests_are_what_the_chart_makes() {
    let Some(programs) = programs() else { return };
    let file = of_tree("kubernetes-integration/manifests/backstay.yaml");
    let made = rendered(&programs, Major::Four, &[&example()]).unwrap();
    // Who applies them has no Helm, and what would say so is not for them.
    let made: String =
        made.lines().filter(|line| !line.starts_with("# Source: ")).fold(String::new(), |all, line| {
            all + &line.replace("managed-by: Helm", "managed-by: kubectl") + "\n"
        });
    let made = format!("{ABOVE}{made}");
    if env::var_os("BACKSTAY_REWRITE").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == made, "BACKSTAY_REWRITE=1 writes {} anew", file.display());
}

/// Each is one mistake in what is right otherwise, and what is said of it.
#[test]
fn what_makes_no_sense_is_told() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut values = everything();
        change(&mut values);
        let file = written(folder.path(), &values);
        let [three, four] =
            MAJORS.map(|major| rendered(&programs, major, &[&file]).expect_err("it was rendered"));
        assert_eq!(three.lines().take(3).collect::<Vec<_>>(), four.lines().take(3).collect::<Vec<_>>());
        four
    };
    let at = |path: &'static str, value: Value| {
        let set = move |values: &mut Value| {
            let (above, key) = path.rsplit_once('/').unwrap();
            values.pointer_mut(above).unwrap()[key] = value.clone();
        };
        wrong(&set)
    };
    let without = |path: &'static str| {
        let take = move |values: &mut Value| {
            let (above, key) = path.rsplit_once('/').unwrap();
            values.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        };
        wrong(&take)
    };
    for (told, expected) in [
        (at("/imgae", json!({})), "additional properties 'imgae' not allowed"),
        (
            at("/targets/canary/namespce", json!("prod")),
            "at '/targets/canary': additional properties 'namespce' not allowed",
        ),
        (
            at("/targets/canary/kind", json!("rollout")),
            "at '/targets/canary/kind': value must be one of 'Rollout', 'Deployment', 'Helm'",
        ),
        (
            at("/targets/canary/heals", json!(["reboot"])),
            "at '/targets/canary/heals/0': value must be one of 'restart', 'resize'",
        ),
        (at("/targets/Canary", json!({})), "at '/targets': additional properties 'Canary' not allowed"),
        (
            at("/targets/canary/owners/applications", json!(["shop"])),
            "at '/targets/canary/owners/applications/0': 'shop' does not match pattern",
        ),
        (at("/targets/canary/settings/wait-ms", json!(1.5)), "at '/targets/canary/settings/wait-ms'"),
        (without("/targets/canary/file"), "at '/targets/canary': missing property 'file'"),
        (without("/targets/canary/namespace"), "at '/targets/canary': missing property 'namespace'"),
        (without("/targets/canary/autoscaler"), "targets.canary: scale takes `autoscaler`"),
        (without("/targets/canary/destinationRule"), "targets.canary: outliers takes `destinationRule`"),
        (at("/targets/canary/heals", json!(["lkg"])), "targets.canary: `drainWholeNode` is for drain"),
        (at("/targets/cart/heals", json!(["lkg"])), "targets.cart: lkg takes `configMaps` or `secrets`"),
        (
            at("/targets/cart/configMaps", json!(["cart"])),
            "targets.cart: `configMaps` and `secrets` are for lkg",
        ),
        (at("/targets/cart/heals", json!(["repair"])), "targets.cart: repair is for releases of Helm"),
        (at("/targets/cart/objects", json!(["services"])), "targets.cart: `objects` is for releases of Helm"),
        (at("/targets/cart/workloadRef", json!("cart")), "targets.cart: `workloadRef` is for a Rollout"),
        (
            at("/targets/cart/settings/name", json!("x")),
            "targets.cart: `settings` has \"name\", which the chart writes",
        ),
        (
            at("/targets/cart/file", json!("look = true\n")),
            "targets.cart: `file` has \"look\", which the chart writes",
        ),
        (without("/targets/mail/objects"), "targets.mail: a release of Helm takes `objects`"),
        (
            at(
                "/targets/mail",
                json!({ "namespace": "mail", "kind": "Helm", "objects": ["services"], "heals": ["restart"], "file": "x" }),
            ),
            "targets.mail: restart takes `workload`: what of the release is healed, such as deployment/mail",
        ),
        (at("/image/digest", json!("sha256:12")), "at '/image/digest': 'sha256:12' does not match pattern"),
        (at("/broker/host", json!("x")), "at '/broker': additional properties 'host' not allowed"),
        (
            at("/beside", json!({ "etc": "/etc/backstay" })),
            "at '/beside': properties 'address' required, if 'etc' exists",
        ),
        (
            at("/beside", json!({ "address": "http://api.example" })),
            "at '/beside/address': 'http://api.example' does not match pattern",
        ),
        (
            at("/beside", json!({ "address": "https://api.example:6443" })),
            "bundles.volume: is mounted into a pod, and beside the cluster there is none",
        ),
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

/// Helm, and what it takes to look at its releases, is in one of two images: who has no release of Helm gets none of it.
#[test]
fn the_image_has_helm_where_a_target_is_a_release_of_it() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut values = everything();
    values["image"] = json!({ "helm": 3 });
    let image = |values: &Value| {
        let file = written(folder.path(), values);
        let made = rendered(&programs, Major::Four, &[&file]).unwrap();
        made.lines().find_map(|line| line.trim().strip_prefix("image: ").map(str::to_owned)).unwrap()
    };
    assert_eq!(image(&values), "\"backstay:0.1.0-helm3\"");
    values["targets"].as_object_mut().unwrap().remove("mail").unwrap();
    assert_eq!(image(&values), "\"backstay:0.1.0\"");
    values["image"]["tag"] = json!("of-ours");
    assert_eq!(image(&values), "\"backstay:of-ours\"");
}

/// What the server is told is read as a kubelet would put it there: links to a folder of the day.
fn folder_of(installed: &Installed) -> PathBuf {
    let folder = installed.path("etc");
    let today = folder.join("..2026_11_28");
    fs::create_dir_all(today.join("targets.d")).unwrap();
    let targets = installed.config_map("backstay-targets");
    for (name, text) in targets {
        fs::write(today.join("targets.d").join(name), text).unwrap();
    }
    fs::write(today.join("backstay.toml"), &installed.config_map("backstay")["backstay.toml"]).unwrap();
    symlink("..2026_11_28", folder.join("..data")).unwrap();
    for name in ["targets.d", "backstay.toml"] {
        symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
    }
    folder
}

/// Namespaces of these names, whichever test makes them first.
fn are_there(cluster: &ControlPlane, namespaces: &[&str]) {
    for name in namespaces {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let made = cluster.api().create("/api/v1/namespaces", &object);
        assert!(made.as_ref().map_or_else(|refused| refused.code == 409, |_| true), "{name}: {made:?}");
    }
}

#[test]
fn the_api_server_takes_it_and_the_server_its_configuration() {
    let Some(cluster) = ControlPlane::start() else { return };
    are_there(&cluster, &["prod", "mail", "argocd", "flux-system"]);
    for major in MAJORS {
        let installed = Installed::with(&cluster, major, &everything());
        let folder = folder_of(&installed);
        let mut check = Command::new(built().programs.join("backstay"));
        check.arg("check").arg("--config").arg(folder.join("backstay.toml"));
        let (well, told) = tried(check.arg("--targets").arg(folder.join("targets.d")));
        assert!(well && told.ends_with("is right: 3 targets, 0 enforced and 3 observed\n"), "{told}");
        // Texts arrive as they were given, and numbers as numbers.
        let settings = installed.settings("canary");
        let set = |name: &str| settings.iter().find(|it| it.name == name).unwrap().value.clone();
        assert_eq!(set("container"), Set::Text("a \"b\" \\ <c>".into()));
        assert_eq!(set("scale-ceiling"), Set::Number(1_000_000));
        let mut helm = major.helm(&cluster);
        said(helm.args(["uninstall", "backstay", "--namespace", installed.space.name()]));
    }
}

/// A server beside the cluster has its rights and its configuration from the chart, and nothing of it runs there.
#[test]
fn beside_the_cluster_there_are_rights_and_a_configuration() {
    let Some(cluster) = ControlPlane::start() else { return };
    for name in ["prod", "mail", "argocd", "flux-system"] {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let _ = cluster.api().create("/api/v1/namespaces", &object);
    }
    let mut values = everything();
    for volume in ["bundles", "lkg"] {
        values.as_object_mut().unwrap().remove(volume).unwrap();
    }
    values["beside"] = json!({ "address": cluster.api().server(), "etc": "/srv/etc", "share": "/srv/share", "bin": "/opt/bin" });
    let installed = Installed::with(&cluster, Major::Four, &values);
    for path in [installed.space.path("apps/v1", "statefulsets"), installed.space.path("v1", "services")] {
        assert_eq!(cluster.api().list(&path).unwrap(), Vec::<Value>::new(), "{path}");
    }
    let account = format!("{}-backstay", installed.space.name());
    let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/prod/roles/{account}");
    cluster.api().get(&role).unwrap();
    let folder = folder_of(&installed);
    let mut check = Command::new(built().programs.join("backstay"));
    check.arg("check").arg("--config").arg(folder.join("backstay.toml"));
    let (well, told) = tried(check.arg("--targets").arg(folder.join("targets.d")));
    assert!(well && told.ends_with("is right: 3 targets, 0 enforced and 3 observed\n"), "{told}");
    let files = installed.config_map("backstay");
    let text = &files["backstay.toml"];
    // Nothing that only a pod has.
    for place in
        ["/var/run/secrets", "kubernetes.default.svc", "/etc/backstay/tokens", "/usr/share", "/usr/bin/"]
    {
        assert!(!text.contains(place), "{place}: {text}");
    }
    assert!(
        text.contains("keyring = \"/srv/etc/keyring\"") && text.contains("[\"/opt/bin/helm\", \"rollback\"]"),
        "{text}"
    );
    let helm: Value = serde_json::from_str(&files["helm.kubeconfig"]).unwrap();
    assert_eq!(helm["users"][0]["user"]["tokenFile"], "/srv/etc/token");
    assert_eq!(helm["clusters"][0]["cluster"]["server"], cluster.api().server());
    said(Major::Four.helm(&cluster).args(["uninstall", "backstay", "--namespace", installed.space.name()]));
}

#[test]
fn the_manifests_can_be_applied() {
    let Some(cluster) = ControlPlane::start() else { return };
    are_there(&cluster, &["backstay", "prod", "argocd"]);
    let file = of_tree("kubernetes-integration/manifests/backstay.yaml");
    let mut kubectl = cluster.kubectl();
    kubectl.args(["apply", "--validate=strict", "--filename"]).arg(file);
    let told = said(&mut kubectl);
    let made: Vec<&str> = told.lines().filter(|line| line.ends_with(" created")).collect();
    assert_eq!(made.len(), told.lines().count(), "{told}");
    let role =
        cluster.api().get("/apis/rbac.authorization.k8s.io/v1/namespaces/prod/roles/backstay-backstay");
    assert!(role.is_ok(), "{role:?}");
}
