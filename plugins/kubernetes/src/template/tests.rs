//! Images, labels and digests that are this release, or look like it and aren't; and templates as controllers leave them.

use serde_json::json;

use super::*;
use crate::testing;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// `printf 1.5.0 | sha256sum`
const OF_VERSION: &str = "1f4dc096d58f7d21e3875671aee6f29b120ab84218fa47db2cb53bc9eb5b4dac";

fn release(version: &str, digest: &str) -> Release {
    Release { version: version.into(), digest: digest.into(), length: 0, security_epoch: 0 }
}

/// A release that was told without a digest.
fn only_version(version: &str) -> Release {
    let digest =
        Sha256::digest(version.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    release(version, &digest)
}

fn config(more: &[(&str, &str)]) -> Vec<Setting> {
    [("namespace", "prod"), ("name", "shop")]
        .iter()
        .chain(more)
        .map(|(name, value)| testing::text(name, value))
        .collect()
}

fn template(image: &str, label: Option<&str>) -> Value {
    let labels = label.map_or_else(|| json!({}), |label| json!({ "app.kubernetes.io/version": label }));
    json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "main", "image": image }] } })
}

fn told(image: &str, label: Option<&str>) -> Told {
    Told::of(&template(image, label), &config(&[])).unwrap()
}

#[test]
fn a_pinned_image_is_the_release_of_its_digest_and_no_other() {
    let pinned = told(&format!("r.example:5000/a/shop:1.5.0@sha256:{A}"), Some("1.4.0"));
    assert!(pinned.is(&release("1.5.0", A)));
    assert!(pinned.is(&release("9.9.9", A)), "what it is called makes no difference");
    assert!(!pinned.is(&release("1.5.0", B)), "the same version, built again");
    assert!(pinned.is(&only_version("1.5.0")), "nothing but the version is known of it");
    assert!(!pinned.is(&only_version("1.4.0")), "the label of another version");
    for odd in [
        format!("shop:1.5.0@sha512:{A}{A}"),
        "shop:1.5.0@sha256:abc".into(),
        format!("shop:1.5.0@sha256:{}", A.to_uppercase()),
    ] {
        assert!(!told(&odd, None).is(&release("1.5.0", A)), "{odd}");
    }
}

#[test]
fn an_image_that_is_not_pinned_is_the_release_of_its_version() {
    for release in [release("1.5.0", A), only_version("1.5.0")] {
        assert!(told("r.example:5000/a/shop:1.5.0", None).is(&release));
        assert!(told("shop:1.5.0", Some("1.4.0")).is(&release), "a chart's label that nobody moved on");
        assert!(!told("shop:1.4.0", Some("1.5.0")).is(&release));
        for unsaid in ["shop", "shop:latest", "r.example:5000/shop", "r.example:1.5.0/shop"] {
            assert!(!told(unsaid, None).is(&release), "{unsaid}");
            assert!(told(unsaid, Some("1.5.0")).is(&release), "{unsaid}");
        }
    }
    assert!(told("shop:1.5.0_7", None).is(&only_version("1.5.0+7")));
    assert!(!told("shop:1.5.0-7", None).is(&only_version("1.5.0+7")));
}

#[test]
fn a_label_says_the_version_where_the_operator_says_so() {
    let config = config(&[("version-label", "shop.example/version")]);
    let mut template = template("shop:3f2a1c", Some("1.4.0"));
    assert_eq!(Told::of(&template, &config).unwrap().version, None);
    template["metadata"]["labels"]["shop.example/version"] = "1.5.0".into();
    assert!(Told::of(&template, &config).unwrap().is(&only_version("1.5.0")));
    assert_eq!(fields("/t", &config)[2], "/t/metadata/labels/shop.example~1version");
    assert!(problems(&config).is_empty());
    assert_eq!(problems(&self::config(&[("version-label", "a,b")])).len(), 1);
}

#[test]
fn the_product_is_the_container_that_is_named_or_called_like_the_target() {
    let template = json!({ "spec": { "containers": [
        { "name": "proxy", "image": "proxy:1" }, { "name": "shop", "image": "shop:2" }, { "name": "x", "image": "x:3" },
    ] } });
    let image = |more: &[(&str, &str)]| Told::of(&template, &config(more)).map(|told| told.image);
    assert_eq!(image(&[]).unwrap(), "shop:2");
    assert_eq!(image(&[("container", "x")]).unwrap(), "x:3");
    assert_eq!(image(&[("container", "gone")]), None);
    let others = json!({ "spec": { "containers": [{ "name": "a", "image": "a:1" }, { "name": "b", "image": "b:1" }] } });
    assert_eq!(Told::of(&others, &config(&[])).unwrap().image, "a:1");
    assert_eq!(Told::of(&json!({ "spec": { "containers": [] } }), &config(&[])), None);
    assert_eq!(Told::of(&json!({}), &config(&[])), None);
}

#[test]
fn a_digest_of_a_version_is_known_as_such() {
    assert!(is_of_version(&release("1.5.0", OF_VERSION)));
    assert!(!is_of_version(&release("1.5.1", OF_VERSION)));
    assert!(!is_of_version(&release("1.5.0", A)));
}

#[test]
fn what_controllers_wrote_is_taken_off_and_nothing_else() {
    let was = json!({
        "metadata": { "labels": { "app": "shop", "role": "web" }, "annotations": { "a": "b" } },
        "spec": {
            "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
                { "weight": 1, "podAffinityTerm": { "labelSelector": { "matchLabels": { "app": "shop" } }, "topologyKey": "zone" } },
            ] } },
            "containers": [{ "name": "shop", "image": "shop:1" }],
        },
    });
    let mut live = was.clone();
    live["metadata"]["creationTimestamp"] = Value::Null;
    live["metadata"]["labels"]["hash"] = "abc".into();
    live["metadata"]["labels"]["stage"] = "stable".into();
    live["metadata"]["annotations"]["note"] = "c".into();
    let term = json!({ "labelSelector": { "matchExpressions": [{ "key": "hash", "operator": "In", "values": ["x"] }] } });
    let apart = live.pointer_mut("/spec/affinity/podAntiAffinity").unwrap();
    apart["requiredDuringSchedulingIgnoredDuringExecution"] = json!([term]);
    apart["preferredDuringSchedulingIgnoredDuringExecution"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "podAffinityTerm": term }));
    let marks = Marks {
        hash_label: "hash",
        ephemeral: r#"{"labels":{"stage":"stable"},"annotations":{"note":"c"}}"#,
    };
    assert_eq!(marks.taken_off(live), was);
    assert_eq!(marks.taken_off(was.clone()), was);
}

#[test]
fn what_held_only_marks_goes_with_them() {
    let live = json!({
        "metadata": { "labels": { "app": "shop", "hash": "abc" }, "annotations": { "note": "c" } },
        "spec": {
            "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
                { "labelSelector": { "matchExpressions": [{ "key": "hash" }] } },
            ] } },
            "containers": [],
        },
    });
    let marks = Marks { hash_label: "hash", ephemeral: r#"{"annotations":{"note":"c"}}"# };
    let was = json!({ "metadata": { "labels": { "app": "shop" } }, "spec": { "containers": [] } });
    assert_eq!(marks.taken_off(live.clone()), was);
    let marks = Marks { ephemeral: "not json", ..marks };
    assert_eq!(marks.taken_off(live)["metadata"]["annotations"], json!({ "note": "c" }));
}
