//! A shop in the double of the API server, and the bundle that says how its configuration was good.

use alloc::{
    collections::BTreeMap,
    format,
    rc::Rc,
    string::{String, ToString as _},
    vec::Vec,
};
use core::cell::RefCell;

use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task},
    settings::{Description, Setting},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{Cluster, DEPLOYMENTS, Workload, infos, restore};
use crate::testing::{Api, Mishap, Ran, texts};

pub(super) struct Restorer;

impl Executor for Restorer {
    fn describe() -> Description {
        Description { about: "Restores.".into(), settings: infos().to_vec() }
    }

    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        restore(&Cluster::new(ctx), &Workload::of(DEPLOYMENTS, ctx.config())).await
    }
}

pub(super) const CONFIG: &str = "/api/v1/namespaces/prod/configmaps/shop";
pub(super) const SECRET: &str = "/api/v1/namespaces/prod/secrets/shop";
pub(super) const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/prod/deployments/shop";
pub(super) const APPLICATION: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop";
pub(super) const KUSTOMIZATION: &str =
    "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/shop";

/// What bundles have of objects, by their names.
pub(super) type Bundle = Rc<RefCell<BTreeMap<String, Value>>>;

pub(super) fn good(object: &str, data: Value, binary: Value, credentials: &[&str]) -> (String, Value) {
    let classes = if object.contains("/secret/") {
        json!(["configuration:app.*", "credential:*"])
    } else {
        json!([
            "configuration:password-rules",
            "credential:*password*",
            "credential:*token*",
            "configuration:*"
        ])
    };
    let digest: String = Sha256::digest(b"2.1.0").iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = json!({
        "schema": "backstay.io/lkg-object/v1", "service": "shop", "object": object, "immutable": false, "captured_at_ms": 1,
        "release": { "version": "2.1.0", "digest": digest }, "classes": classes,
        "data": data, "binaryData": binary, "credentials": credentials,
    });
    (object.into(), shown)
}

/// What `backstay lkg show` prints.
pub(super) fn show(bundle: &Bundle, arguments: &[String]) -> (i32, String) {
    let [object, part] = arguments else { panic!("{arguments:?}") };
    let bundle = bundle.borrow();
    let Some(shown) = bundle.get(object) else {
        return (3, format!("error: there is no {object} in the bundle\n  help:    there are others\n"));
    };
    let whole = shown.to_string();
    assert!(whole.is_ascii(), "parts end anywhere");
    let parts: Vec<&str> =
        whole.as_bytes().chunks(3900).map(|part| core::str::from_utf8(part).unwrap()).collect();
    let (digest, at): (_, usize) = (Sha256::digest(whole.as_bytes()), part.parse().unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (0, format!("part {at} of {} of {digest}\n{}", parts.len(), parts[at - 1]))
}

pub(super) fn deployment(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "shop", "image": image }] } } } })
}

/// A shop that runs 2.1.0, with one ConfigMap, and a bundle of it.
pub(super) struct World {
    pub(super) api: Api,
    pub(super) bundle: Bundle,
}

impl World {
    pub(super) fn new() -> Self {
        let mut api = Api::of("prod", "shop").set(texts("lkg-objects", &["configmap/shop"]));
        api.objects.put(DEPLOYMENT, deployment("registry/shop:2.1.0"));
        let bundle = Bundle::default();
        let of = bundle.clone();
        api.command("lkg-show", move |arguments| show(&of, arguments));
        let mut world = Self { api, bundle };
        world.knows(good(
            "prod/configmap/shop",
            json!({ "mode": "safe", "app.properties": "a=1\nb=2\n", "password-rules": "min=12" }),
            json!({ "logo": "if8=" }),
            &["db-password"],
        ));
        world.has(
            CONFIG,
            json!({
                "data": { "mode": "safe", "app.properties": "a=1\nb=2\n", "password-rules": "min=12", "db-password": "hunter2" },
                "binaryData": { "logo": "if8=" },
            }),
        );
        world
    }

    pub(super) fn knows(&mut self, (object, shown): (String, Value)) {
        self.bundle.borrow_mut().insert(object, shown);
    }

    pub(super) fn has(&mut self, path: &str, object: Value) {
        self.api.objects.put(path, object);
    }

    pub(super) fn set(mut self, setting: Setting) -> Self {
        self.api.config.retain(|other| other.name != setting.name);
        self.api.config.push(setting);
        self
    }

    pub(super) fn drifts(&mut self, change: impl FnOnce(&mut Value)) {
        let mut object = self.api.objects.at(CONFIG).clone();
        change(&mut object);
        self.has(CONFIG, object);
    }

    pub(super) fn runs(&mut self, mishap: Option<(u32, Mishap)>) -> Ran {
        let ran = self.api.run::<Restorer>(Task::Heal("lkg".into()), mishap);
        assert!(!contains(&ran.state, b"hunter"), "a credential is in the run's state");
        assert!(self.api.attached.iter().all(|(_, content)| !content.contains("hunter")));
        ran
    }

    pub(super) fn at(&self, path: &str) -> Value {
        self.api.objects.at(path).clone()
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}
