//! Definitions of other people's objects: Argo Rollouts', Istio's, Argo CD's, Flux's.
//!
//! They are read from the modules in which their authors released them (`cargo xtask k8s` puts them in place), and none stands in this
//! tree. The one exception is Flux's `HelmRelease`, whose module Go's proxy doesn't have: its definition here is open, so a
//! mistake in such an object isn't found.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{Api, until};

const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Where a definition begins and ends in a file of several.
const DOCUMENTS: &str = "\n---\n";
/// What is taken of Istio's: the rest costs memory, and no test uses it.
const ISTIO: [&str; 2] = ["destinationrules.networking.istio.io", "virtualservices.networking.istio.io"];

/// Makes all of them, and waits until the server knows them.
///
/// # Panics
/// If the server would not.
pub(crate) fn install(api: &Api, folder: &Path) {
    let files =
        fs::read_dir(folder).unwrap_or_else(|e| panic!("no definitions in {}: {e}", folder.display()));
    let mut names = Vec::new();
    for file in files.flatten().map(|entry| entry.path()) {
        let text =
            fs::read_to_string(&file).unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display()));
        for document in text.split(DOCUMENTS).filter(|document| wanted(document)) {
            let made = api.create_yaml(PATH, document);
            names.push(name_of(made.unwrap_or_else(|e| panic!("{}: {e}", file.display()))));
        }
    }
    let made = api.create(PATH, &helm_release());
    names.push(name_of(made.unwrap_or_else(|e| panic!("HelmRelease: {e}"))));
    until("the definitions of objects", || {
        let known = api.list(PATH).ok()?;
        let is_known = |object: &&Value| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|it| it["type"] == "Established" && it["status"] == "True")
        };
        (known.iter().filter(is_known).count() >= names.len()).then_some(())
    });
}

fn wanted(document: &str) -> bool {
    let Some(name) = document.lines().find_map(|line| line.strip_prefix("  name: ")) else { return false };
    document.contains("kind: CustomResourceDefinition")
        && (!name.ends_with(".istio.io") || ISTIO.contains(&name))
}

fn name_of(made: Value) -> String {
    made["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn helm_release() -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "helmreleases.helm.toolkit.fluxcd.io"},
        "spec": {
            "group": "helm.toolkit.fluxcd.io",
            "names": {"kind": "HelmRelease", "listKind": "HelmReleaseList", "plural": "helmreleases", "singular": "helmrelease"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v2",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
                "subresources": {"status": {}},
            }],
        },
    })
}
