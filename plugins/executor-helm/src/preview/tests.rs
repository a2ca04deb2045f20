//! What a roll-back would delete, and what of that is refused.

use alloc::{format, string::String, vec::Vec};

use backstay_kubernetes::json::json;

use super::*;

fn preview(text: &str) -> Result<Preview, Failed> {
    let lines: Vec<String> = text.lines().map(String::from).collect();
    Preview::parse(&lines, 3)
}

#[test]
fn what_is_printed_is_read_as_a_whole_or_not_at_all() {
    let said = "deletes Deployment worker\ndeletes-more 4\nloses Namespace. - old removed\nscales StatefulSet.apps prod db 1\nend 9 3";
    let it = preview(said).unwrap();
    assert!(it.deletes());
    let told: Vec<String> = it.risks.iter().map(Risk::told).collect();
    assert_eq!(told, ["Namespace old", "claims of StatefulSet prod/db"]);
    assert!(!preview("end 3 3").unwrap().deletes());
    // What is cut off, or says something else, might have said more.
    for odd in [
        "",
        "loses Namespace. - old removed",
        "end",
        "loses a b\nend 1 1",
        "scales StatefulSet.apps prod db x\nend 1 1",
        "hello\nend 1 1",
    ] {
        assert!(preview(odd).is_err() || odd == "end", "{odd}");
    }
}

#[test]
fn a_manifest_that_can_not_be_read_may_hold_anything() {
    let why = preview("unreadable from a tab stands before its content\nend 1 1").unwrap_err().why;
    let expected = "what going back to revision 3 deletes can't be told, so nothing was changed: of the manifest now a tab stands before its content";
    assert_eq!(why, expected);
    let long = format!("unreadable to {}\nend 1 1", "x".repeat(300));
    assert!(preview(&long).unwrap_err().why.len() <= 256);
}

#[test]
fn what_is_on_the_api_server_counts() {
    let risk = |how| Risk {
        kind: "StatefulSet.apps".into(),
        space: "prod".into(),
        name: "db".into(),
        how,
        is_said: true,
    };
    let kept = json!({ "metadata": { "annotations": { "helm.sh/resource-policy": "keep" } } });
    let deleting = json!({ "spec": { "replicas": 3, "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete" } } });
    let mut both = deleting.clone();
    both["metadata"] = kept["metadata"].clone();
    for (how, seen, is_lost) in [
        (How::Removed, &kept, false),
        (How::Removed, &deleting, true),
        (How::Hook, &kept, true),
        (How::Claims, &kept, false),
        (How::Claims, &both, false),
        (How::Claims, &deleting, true),
        (How::Claims, &json!({}), false),
        (How::Scaled(3), &deleting, false),
        (How::Scaled(2), &deleting, true),
        (How::Scaled(1), &json!({}), false),
    ] {
        assert_eq!(risk(how).loses(seen), is_lost, "{how:?} {seen}");
    }
}

#[test]
fn things_are_where_the_api_server_has_them() {
    for (kind, space, at) in [
        ("PersistentVolumeClaim.", "prod", Some("/api/v1/namespaces/prod/persistentvolumeclaims/x")),
        ("Namespace.", "", Some("/api/v1/namespaces/x")),
        ("PersistentVolume.", "", Some("/api/v1/persistentvolumes/x")),
        (
            "CustomResourceDefinition.apiextensions.k8s.io",
            "",
            Some("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x"),
        ),
        ("StatefulSet.apps", "prod", Some("/apis/apps/v1/namespaces/prod/statefulsets/x")),
        ("Cluster.postgresql.cnpg.io", "prod", None),
    ] {
        let risk = Risk::of(kind, if space.is_empty() { "-" } else { space }, "x", "removed", true).unwrap();
        assert_eq!(risk.resource().as_ref().map(Resource::path), at);
    }
}
