//! The last known good configuration, from a live API server into a signed bundle and back: a thousand drifts of every kind, each restored
//! exactly, and no credential read, written or taken away.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backstay_kubernetes::{api::Cluster, heal, resource::DEPLOYMENTS, workload::Workload};
use backstay_sdk::{
    executor::{
        Answer, Ctx, Deed, Executor, Exited, Failed, Http, Order, Outcome, Output, Response, Task, Transience,
    },
    settings::{Description, Setting, Value as Set},
};
use backstay_test_k8s::{Api, ControlPlane, Gate, Host, Keys, Namespace, Plant, Ran, Watch, objects, until};
use backstay_test_real::built;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How many drifts; `BACKSTAY_TRIALS` says otherwise.
const TRIALS: usize = 1000;

/// What is in a credential, and nowhere else.
const SECRET: &str = "hunter";

/// The playbook, of a Deployment.
struct Lkg;

impl Executor for Lkg {
    fn describe() -> Description {
        Description { about: "Restores configuration.".into(), settings: heal::infos() }
    }

    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        heal::heal(&Cluster::new(ctx), &Workload::of(DEPLOYMENTS, ctx.config()), "lkg").await
    }
}

fn heals(host: &Host, settings: &[Setting]) -> Ran {
    host.run::<Lkg>(settings, Task::Heal("lkg".into()))
}

/// All that a run said to the API server, heard of it and of commands, and attached: more than its state has.
fn all_of(ran: &Ran) -> String {
    let mut all = ran.attached.join("\n");
    for (effect, _) in &ran.effects {
        if let Deed::Http(Http { method, path, body, .. }) = &effect.deed {
            all += &format!("{method} {path} {}\n", String::from_utf8_lossy(body));
        }
    }
    for answer in &ran.answers {
        if let Answer::Response(Response { body: Output { bytes, .. }, .. })
        | Answer::Exited(Exited { output: Output { bytes, .. }, .. }) = answer
        {
            all += &format!("{}\n", String::from_utf8_lossy(bytes));
        }
    }
    all
}

/// A namespace with a shop in it, the keys of a fleet, and a bundle's folder.
struct Shop {
    cluster: ControlPlane,
    space: Namespace,
    dir: TempDir,
}

impl Shop {
    fn opens() -> Option<Self> {
        let cluster = ControlPlane::start()?;
        let shop = Self { space: cluster.namespace("lkg"), cluster, dir: tempfile::tempdir().unwrap() };
        let deployment = objects::deployment("shop", 1, "registry.test/shop:2.1.0");
        shop.api().create(&shop.space.path("apps/v1", "deployments"), &deployment).unwrap();
        shop.backstay(&["keys", "init", "--fleet", "shop", "--dir", &shop.path("keys")]).unwrap();
        Some(shop)
    }

    fn api(&self) -> &Api {
        self.cluster.api()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Runs the command line; what it printed, or how it failed.
    fn backstay(&self, arguments: &[&str]) -> Result<String, (Option<i32>, String)> {
        let output = Command::new(program()).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err((output.status.code(), text(&output.stdout) + &text(&output.stderr))),
        }
    }

    fn at(&self, kind: &str) -> String {
        self.space.path("v1", &format!("{kind}/shop"))
    }

    fn has(&self, kind: &str, object: Value) {
        let mut object = object;
        object["apiVersion"] = "v1".into();
        object["kind"] = if kind == "configmaps" { "ConfigMap" } else { "Secret" }.into();
        object["metadata"]["name"] = "shop".into();
        let _ = self.api().delete(&self.at(kind));
        self.api().create(&self.space.path("v1", kind), &object).unwrap();
    }

    /// The configuration of a server that asks this cluster.
    fn configuration(&self) -> String {
        let (token, ca) = (self.path("admin-token"), self.cluster.ca());
        fs::write(&token, self.api().token("kube-system", "lkg-admin").unwrap()).unwrap();
        fs::create_dir_all(self.dir.path().join("targets.d")).unwrap();
        let config = format!(
            "targets = \"{}\"\n[endpoints.kubernetes]\nbase = \"{}\"\nca = \"{}\"\njson = true\n\
             credential = {{ file = \"{token}\", header = \"authorization\", scheme = \"Bearer\" }}\npaths = [\"/api/v1/namespaces/{}\"]\n",
            self.path("targets.d"),
            self.api().server(),
            ca.display(),
            self.space.name(),
        );
        let path = self.path("backstay.toml");
        fs::write(&path, config).unwrap();
        path
    }

    /// Captures both objects over the API server, as they are now, and signs them.
    fn captures(&self, objects: &[&str], rules: &[&str]) {
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "lkg-admin" } });
        let _ = self.api().create("/api/v1/namespaces/kube-system/serviceaccounts", &account);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "lkg-admin" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "lkg-admin", "namespace": "kube-system" }],
        });
        let _ = self.api().create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding);
        let (config, bundle) = (self.configuration(), self.path("lkg"));
        let mut arguments: Vec<String> =
            ["lkg", "capture", "--service", "shop", "--version", "2.1.0", "--again"].map(String::from).into();
        arguments
            .extend(["--endpoint", "kubernetes", "--config", &config, "--bundle", &bundle].map(String::from));
        for object in objects {
            arguments.extend(["--object".into(), format!("{}/{object}", self.space.name())]);
        }
        for rule in rules {
            arguments.extend(["--class".into(), (*rule).into()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.backstay(&arguments).unwrap();
        let (key, keyring) = (self.path("keys/release.pem"), self.path("keys/keyring"));
        self.backstay(&["lkg", "sign", "--bundle", &bundle, "--key", &key, "--keyring", &keyring]).unwrap();
    }

    /// A server's hands, which ask as who has this token.
    fn host(&self, token: &str) -> Host {
        let (program, bundle, keyring) =
            (program().display().to_string(), self.path("lkg"), self.path("keys/keyring"));
        let show = [&program, "lkg", "show", "--quiet", "--bundle", &bundle, "--keyring", &keyring];
        let show = ("lkg-show", show.map(String::from).into(), Duration::from_secs(60));
        Host::of(&self.cluster, token).with_commands(&BTreeMap::new(), &[show])
    }

    fn settings(&self, objects: &[&str]) -> Vec<Setting> {
        let text = |name: &str, value: &str| Setting { name: name.into(), value: Set::Text(value.into()) };
        let objects = objects.iter().map(|&object| object.into()).collect();
        vec![
            text("namespace", self.space.name()),
            text("name", "shop"),
            Setting { name: "lkg-objects".into(), value: Set::Texts(objects) },
        ]
    }

    /// What an account may that is to restore these two, and nothing more.
    fn account(&self) -> String {
        let metadata = json!({ "name": "backstay" });
        let object = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
        self.api().create(&self.space.path("v1", "serviceaccounts"), &object).unwrap();
        let rule = |group: &str, kind: &str, verbs: &[&str]| json!({ "apiGroups": [group], "resources": [kind], "resourceNames": ["shop"], "verbs": verbs });
        let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [
            rule("", "configmaps", &["get", "patch"]),
            rule("", "secrets", &["get", "patch"]),
            rule("apps", "deployments", &["get"]),
        ] });
        self.api().create(&self.space.path("rbac.authorization.k8s.io/v1", "roles"), &role).unwrap();
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "backstay" },
            "subjects": [{ "kind": "ServiceAccount", "name": "backstay", "namespace": self.space.name() }],
        });
        self.api()
            .create(&self.space.path("rbac.authorization.k8s.io/v1", "rolebindings"), &binding)
            .unwrap();
        self.api().token(self.space.name(), "backstay").unwrap()
    }
}

fn program() -> PathBuf {
    built().programs.join("backstay")
}

fn trials() -> usize {
    env::var("BACKSTAY_TRIALS").ok().and_then(|trials| trials.parse().ok()).unwrap_or(TRIALS)
}

/// A small generator, so that a failing round can be had again.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Text and bytes, long and short, and what Kubernetes takes for a key; two credentials.
fn good_config() -> Value {
    json!({
        "data": {
            "mode": "safe",
            "app.properties": "a=1\nb=2\n",
            "empty": "",
            "UPPER_case-1": "ü \"quoted\" \\ \u{1f600}",
            "long": "x".repeat(3000),
            ".hidden": "1",
            "db-password": "hunter2",
            "url": "amqp://shop:hunter3@mq/shop",
        },
        "binaryData": { "logo.png": "iVBORw0KGgo=", "cache": "/w==" },
    })
}

fn good_secret() -> Value {
    json!({ "data": { "app.yaml": "YTogMQo=", "token": base64("hunter4"), "password": base64("hunter5") } })
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > three.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

const CONFIGURATION: [&str; 6] = ["mode", "app.properties", "empty", "UPPER_case-1", "long", ".hidden"];
const CREDENTIALS: [&str; 4] = ["db-password", "url", "API_TOKEN", "tls.key"];
const SURPLUS: [&str; 4] = ["new", "debug.yaml", "x_1", "mode2"];

/// One write of somebody who isn't us: a merge patch, a server-side apply of another manager, or a whole new object.
fn drifts(shop: &Shop, rng: &mut Rng) {
    let at = shop.at("configmaps");
    let (key, value) = (rng.pick(&CONFIGURATION), format!("bad {}", rng.below(1000)));
    let merges = |change: Value| shop.api().merge(&at, &change);
    let written = match rng.below(8) {
        0 => merges(json!({ "data": { key: value } })),
        1 => merges(json!({ "data": { key: null } })),
        2 => merges(json!({ "data": { rng.pick(&SURPLUS): value } })),
        3 => merges(json!({ "binaryData": { rng.pick(&["logo.png", "cache"]): null } })),
        4 => merges(json!({ "data": { rng.pick(&CREDENTIALS): format!("hunter{}", rng.below(1000)) } })),
        // A key moves to the other section.
        5 => merges(json!({ "data": { key: null }, "binaryData": { key: "AAAA" } })),
        6 => {
            let data = BTreeMap::from([(key, value.as_str()), (rng.pick(&SURPLUS), value.as_str())]);
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "shop" }, "data": data });
            shop.api().apply(&at, rng.pick(&["ann", "kubectl", "operator"]), &object)
        }
        _ => {
            let mut whole = shop.api().get(&at).unwrap();
            whole["data"] = json!({ "mode": value, "db-password": "hunter6" });
            whole.as_object_mut().unwrap().remove("binaryData");
            shop.api().replace(&at, &whole)
        }
    };
    if let Err(refusal) = written {
        // The key is in the other section by now: then this one drifts nothing.
        assert!(refusal.code == 422 && refusal.message.contains("duplicate of key"), "{refusal}");
    }
}

fn drifts_secret(shop: &Shop, rng: &mut Rng) {
    let at = shop.at("secrets");
    let (config, rotated) =
        (base64(&format!("bad {}", rng.below(1000))), base64(&format!("hunter{}", rng.below(1000))));
    let key = rng.pick(&["token", "password", "another"]);
    let patch = match rng.below(4) {
        0 => json!({ "data": { "app.yaml": config } }),
        1 => json!({ "data": { "app.yaml": null } }),
        2 => json!({ "data": { "app.yaml": config, key: rotated } }),
        _ => json!({ "data": { key: rotated } }),
    };
    shop.api().merge(&at, &patch).unwrap();
}

fn section(object: &Value, name: &str) -> BTreeMap<String, String> {
    let keys = object.get(name).and_then(Value::as_object);
    keys.map(|keys| keys.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().into())).collect())
        .unwrap_or_default()
}

/// The keys that are never touched, as they are.
fn credentials(object: &Value, are: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    section(object, "data").into_iter().filter(|(key, _)| are(key)).collect()
}

/// Drift after drift, each some writes by others, of a ConfigMap and a Secret. One run restores both exactly; what is a credential in
/// either is what it was right before the run.
#[test]
fn a_thousand_drifts_are_restored_exactly_and_no_credential_is_touched() {
    let Some(shop) = Shop::opens() else { return };
    shop.has("configmaps", good_config());
    shop.has("secrets", good_secret());
    let objects = ["configmap/shop", "secret/shop"];
    shop.captures(&objects, &["configuration:secret/shop/app.yaml"]);
    let bundle = fs::read_to_string(shop.path("lkg/lkg.json")).unwrap();
    assert!(!bundle.contains(SECRET) && !bundle.contains(&base64("hunter4")[..8]), "{bundle}");
    let (host, settings) = (shop.host(&shop.account()), shop.settings(&objects));
    let is_credential = |key: &str| CREDENTIALS.contains(&key);
    let is_secret = |key: &str| key != "app.yaml";
    let good_keys = |name: &str| -> BTreeMap<String, String> {
        section(&good_config(), name).into_iter().filter(|(key, _)| !is_credential(key)).collect()
    };
    let (good, good_binary) = (good_keys("data"), good_keys("binaryData"));
    let (mut rng, mut drifted, began, mut took) = (Rng(0x5eed), 0, Instant::now(), Vec::new());
    for round in 0..trials() {
        for _ in 0..=rng.below(4) {
            drifts(&shop, &mut rng);
        }
        drifts_secret(&shop, &mut rng);
        let (config, secret) =
            (shop.api().get(&shop.at("configmaps")).unwrap(), shop.api().get(&shop.at("secrets")).unwrap());
        let before = (credentials(&config, is_credential), credentials(&secret, is_secret));
        let asked = Instant::now();
        let ran = heals(&host, &settings);
        took.push(asked.elapsed());
        assert_eq!(ran.outcome, Outcome::Done, "round {round}: {:#?}", ran.told());
        let (now, secret_now) =
            (shop.api().get(&shop.at("configmaps")).unwrap(), shop.api().get(&shop.at("secrets")).unwrap());
        let mut wanted = good.clone();
        wanted.extend(before.0.clone());
        assert_eq!(section(&now, "data"), wanted, "round {round}");
        assert_eq!(section(&now, "binaryData"), good_binary, "round {round}");
        assert_eq!(credentials(&secret_now, is_secret), before.1, "round {round}");
        assert_eq!(secret_now["data"]["app.yaml"], "YTogMQo=", "round {round}");
        // Nothing of a credential went over the wire by us, in either direction, or is in what is kept.
        let all = all_of(&ran);
        assert!(!all.contains(SECRET) && !all.contains(&base64(SECRET)[..8]), "round {round}: {all}");
        drifted += usize::from(config["metadata"]["resourceVersion"] != now["metadata"]["resourceVersion"]);
    }
    // Who wrote what is on record: we own no key of a credential.
    let owned = shop.api().get(&shop.at("secrets")).unwrap()["metadata"]["managedFields"].clone();
    let ours: Vec<&Value> =
        owned.as_array().unwrap().iter().filter(|it| it["manager"] == "backstay").collect();
    assert!(
        !ours.is_empty()
            && ours.iter().all(|it| it["fieldsV1"]["f:data"]
                .as_object()
                .unwrap()
                .keys()
                .all(|key| key == "f:app.yaml" || key == ".")),
        "{owned}"
    );
    took.sort();
    println!(
        "{} drifts of a ConfigMap and a Secret in {:.0?}, {drifted} of them of the ConfigMap; a run takes p50 {:.0?}, p99 {:.0?}",
        trials(),
        began.elapsed(),
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
    assert!(drifted * 10 > trials() * 7, "{drifted} of {} drifts were drifts", trials());
}

/// Somebody writes all the time. A run either restores it, with a patch of the very version that it has seen, or says that it could not;
/// and what they wrote is never half undone.
#[test]
fn who_writes_at_the_same_time_is_never_half_undone() {
    let Some(shop) = Shop::opens() else { return };
    shop.has("configmaps", json!({ "data": { "a": "good", "b": "good" } }));
    shop.captures(&["configmap/shop"], &[]);
    let (token, settings) = (shop.account(), shop.settings(&["configmap/shop"]));
    let (ended, gitops, at) =
        (Arc::new(AtomicBool::new(false)), shop.cluster.gitops(), shop.at("configmaps"));
    let writer = thread::spawn({
        let ended = Arc::clone(&ended);
        move || {
            let mut seen = [0, 0];
            for round in 0.. {
                if ended.load(Ordering::Relaxed) {
                    return seen;
                }
                // Both keys are of one write, always, be it ours or theirs.
                let found = gitops.get(&at).unwrap();
                assert_eq!(found["data"]["a"], found["data"]["b"], "{found}");
                seen[usize::from(found["data"]["a"] == "good")] += 1;
                let value = format!("bad {round}");
                let now = gitops.merge(&at, &json!({ "data": { "a": value, "b": value } })).unwrap();
                assert_eq!(now["data"]["a"], now["data"]["b"], "{now}");
                thread::sleep(Duration::from_millis(round % 60));
            }
            seen
        }
    });
    let host = shop.host(&token);
    let (mut done, mut refused) = (0, 0);
    for _ in 0..30 {
        match heals(&host, &settings).outcome {
            Outcome::Done => done += 1,
            Outcome::Failed(failed) => {
                assert_eq!(failed.transience, Transience::Transient, "{failed:?}");
                refused += 1;
            }
        }
    }
    ended.store(true, Ordering::Relaxed);
    let [theirs, ours] = writer.join().unwrap();
    println!(
        "of 30 runs {done} were done and {refused} gave up; the writer found {theirs} times its own and {ours} times ours"
    );
    assert!(ours > 0, "nothing was restored while it wrote");
    assert!(heals(&host, &settings).outcome == Outcome::Done);
    assert_eq!(section(&shop.api().get(&shop.at("configmaps")).unwrap(), "data")["a"], "good");
}

/// What the API server says of immutable objects, of those that are gone, and to who may not.
#[test]
fn what_cannot_be_restored_is_told() {
    let Some(shop) = Shop::opens() else { return };
    shop.has("configmaps", json!({ "data": { "mode": "safe" } }));
    shop.captures(&["configmap/shop"], &[]);
    let (token, settings) = (shop.account(), shop.settings(&["configmap/shop"]));
    let host = shop.host(&token);
    shop.has("configmaps", json!({ "immutable": true, "data": { "mode": "fast" } }));
    let before = shop.api().get(&shop.at("configmaps")).unwrap();
    let why = heals(&host, &settings).failed();
    assert_eq!(why.transience, Transience::Permanent);
    assert!(why.why.contains("is immutable: make one of another name"), "{why:?}");
    assert_eq!(shop.api().get(&shop.at("configmaps")).unwrap(), before);

    // The account may not make one. An administrator may.
    shop.api().delete(&shop.at("configmaps")).unwrap();
    let why = heals(&host, &settings).failed();
    assert_eq!(why.transience, Transience::Permanent);
    assert!(why.why.contains("does not let us POST"), "{why:?}");
    let admin = shop.api().token("kube-system", "lkg-admin").unwrap();
    assert_eq!(heals(&shop.host(&admin), &settings).outcome, Outcome::Done);
    assert_eq!(
        section(&shop.api().get(&shop.at("configmaps")).unwrap(), "data"),
        BTreeMap::from([("mode".into(), "safe".into())])
    );

    // Another release runs.
    let template = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "shop", "image": "registry.test/shop:2.2.0" }] } } } });
    let deployment = shop.space.path("apps/v1", "deployments/shop");
    let patch = |image: &Value| {
        let path = "/spec/template/spec/containers/0/image";
        let operation = json!([{ "op": "replace", "path": path, "value": image }]);
        shop.api().patch(&deployment, &operation).unwrap();
    };
    patch(&template["spec"]["template"]["spec"]["containers"][0]["image"]);
    shop.api().merge(&shop.at("configmaps"), &json!({ "data": { "came-with-2.2.0": "x" } })).unwrap();
    let why = heals(&host, &settings).failed();
    assert_eq!(why.transience, Transience::Permanent);
    assert!(why.why.contains("the bundle is of release 2.1.0"), "{why:?}");
    assert_eq!(shop.api().get(&shop.at("configmaps")).unwrap()["data"]["came-with-2.2.0"], "x");
    // Back on the bundle's release, it is restored.
    patch(&json!("registry.test/shop:2.1.0"));
    assert_eq!(heals(&host, &settings).outcome, Outcome::Done);
    assert_eq!(shop.api().get(&shop.at("configmaps")).unwrap()["data"].get("came-with-2.2.0"), None);

    // Somebody has edited the bundle.
    let file = shop.path("lkg/lkg.json");
    let edited = fs::read_to_string(&file).unwrap().replace("\"safe\"", "\"fast\"");
    fs::write(&file, edited).unwrap();
    shop.api().merge(&shop.at("configmaps"), &json!({ "data": { "mode": "odd" } })).unwrap();
    let why = heals(&host, &settings).failed();
    assert_eq!(why.transience, Transience::Permanent);
    assert!(why.why.contains("lkg-show ended with exit code 5"), "{why:?}");
    assert_eq!(shop.api().get(&shop.at("configmaps")).unwrap()["data"]["mode"], "odd");
}

/// A drift is told by the command line as well, and ends with a number of its own.
#[test]
fn the_command_line_tells_what_drifted() {
    let Some(shop) = Shop::opens() else { return };
    shop.has("configmaps", good_config());
    shop.captures(&["configmap/shop"], &[]);
    let (bundle, keyring, config) = (shop.path("lkg"), shop.path("keys/keyring"), shop.path("backstay.toml"));
    let verify = || {
        let live = ["--endpoint", "kubernetes", "--config", &config];
        shop.backstay(
            &[&["lkg", "verify", "--bundle", &bundle, "--keyring", &keyring][..], &live[..]].concat(),
        )
    };
    verify().unwrap();
    shop.api()
        .merge(
            &shop.at("configmaps"),
            &json!({ "data": { "mode": "fast", "empty": null, "new": "x", "db-password": "hunter9" } }),
        )
        .unwrap();
    let (code, told) = verify().unwrap_err();
    assert_eq!(code, Some(8), "{told}");
    let line = |key: &str| {
        told.lines().find(|line| line.contains(&format!("  {key} "))).unwrap_or_default().to_owned()
    };
    assert!(line("mode").ends_with("changed") && line("empty").ends_with("gone"), "{told}");
    assert!(line("new").contains("taken away") && line("db-password").contains("left alone"), "{told}");
    assert!(!told.contains(SECRET), "{told}");
    // What kubectl prints does as well as the API server.
    let mut kubectl = shop.cluster.kubectl();
    let printed =
        kubectl.args(["get", "configmap", "shop", "-o", "json", "-n", shop.space.name()]).output().unwrap();
    assert!(printed.status.success());
    fs::write(shop.path("live.json"), printed.stdout).unwrap();
    let from =
        ["lkg", "verify", "--bundle", &bundle, "--keyring", &keyring, "--from", &shop.path("live.json")];
    let (code, also) = shop.backstay(&from).unwrap_err();
    assert_eq!((code, also), (Some(8), told));
}

/// Their own objects, as their own definitions have them; what their controllers make of it is played here, by another account.
#[test]
fn argo_cd_and_flux_are_asked_in_a_way_that_their_definitions_take() {
    let Some(shop) = Shop::opens() else { return };
    let (gitops, space) = (shop.cluster.gitops(), shop.space.name().to_owned());
    let application = shop.space.path("argoproj.io/v1alpha1", "applications/shop");
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": { "name": "shop" },
        "spec": { "project": "default", "destination": { "namespace": space, "server": "https://kubernetes.default.svc" },
            "source": { "repoURL": "https://git.test/shop", "path": "." } },
    });
    shop.api().create(&shop.space.path("argoproj.io/v1alpha1", "applications"), &object).unwrap();
    let kustomization = shop.space.path("kustomize.toolkit.fluxcd.io/v1", "kustomizations/shop");
    let object = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": { "name": "shop" },
        "spec": { "interval": "10m", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "shop" } },
    });
    shop.api().create(&shop.space.path("kustomize.toolkit.fluxcd.io/v1", "kustomizations"), &object).unwrap();
    let tracked = format!("{space}_shop:/ConfigMap:{space}/shop");
    let argo = json!({ "annotations": { "argocd.argoproj.io/tracking-id": tracked } });
    let flux = json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": space } });
    let admin = || shop.api().token("kube-system", "lkg-admin").unwrap();
    for (metadata, is_argo) in [(argo, true), (flux, false)] {
        shop.has("configmaps", json!({ "metadata": metadata, "data": { "mode": "safe" } }));
        shop.captures(&["configmap/shop"], &[]);
        shop.api().merge(&shop.at("configmaps"), &json!({ "data": { "mode": "fast", "new": "x" } })).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let controller = thread::spawn({
            let (ended, gitops, config) = (Arc::clone(&ended), gitops.clone(), shop.at("configmaps"));
            let (application, kustomization) = (application.clone(), kustomization.clone());
            move || {
                let mut asked = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                    if is_argo {
                        let seen = gitops.get(&application).unwrap();
                        if let Some(operation) = seen.get("operation") {
                            asked.push(operation.clone());
                            gitops
                                .merge(&config, &json!({ "data": { "mode": "safe", "new": null } }))
                                .unwrap();
                            let state = json!({ "phase": "Succeeded", "operation": operation, "startedAt": "2026-11-28T00:00:00Z" });
                            gitops
                                .merge(
                                    &application,
                                    &json!({ "operation": null, "status": { "operationState": state } }),
                                )
                                .unwrap();
                        }
                    } else {
                        let seen = gitops.get(&kustomization).unwrap();
                        let word = seen["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"].clone();
                        if !word.is_null() && seen["status"]["lastHandledReconcileAt"] != word {
                            gitops
                                .merge(&config, &json!({ "data": { "mode": "safe", "new": null } }))
                                .unwrap();
                            let status = json!({ "status": { "lastHandledReconcileAt": word } });
                            gitops.merge(&format!("{kustomization}/status"), &status).unwrap();
                            asked.push(word);
                        }
                    }
                }
                asked
            }
        });
        let host = shop.host(&admin());
        let ran = heals(&host, &shop.settings(&["configmap/shop"]));
        ended.store(true, Ordering::Relaxed);
        let asked = controller.join().unwrap();
        assert_eq!(ran.outcome, Outcome::Done, "{:#?}", ran.told());
        assert_eq!(asked.len(), 1, "{asked:?}");
        if is_argo {
            let sync = &asked[0]["sync"];
            assert_eq!(
                sync["resources"],
                json!([{ "group": "", "kind": "ConfigMap", "name": "shop", "namespace": space }])
            );
            assert_eq!(sync["syncOptions"], json!(["Replace=true"]));
        }
        let now = shop.api().get(&shop.at("configmaps")).unwrap();
        assert_eq!(now["data"], json!({ "mode": "safe" }));
        let managers = now["metadata"]["managedFields"].as_array().unwrap().iter();
        assert!(
            managers.clone().all(|it| it["manager"] != "backstay"),
            "we don't write to what isn't ours: {now}"
        );
        assert!(ran.attached.iter().any(|told| told.contains("asked")), "{:?}", ran.attached);
    }
    until("nothing is under way", || {
        shop.api().get(&application).ok()?.get("operation").is_none().then_some(())
    });
}

/// As a pipeline would have it: until the server has seen that the release is good, there is nothing to capture; then it is, and signed; and
/// when it has drifted, a person has the server restore it, in its sandbox and by its rails.
#[test]
fn a_release_is_captured_when_the_server_has_confirmed_it_and_restored_by_the_server() {
    let Some(shop) = Shop::opens() else { return };
    shop.has("configmaps", good_config());
    let (program, bundle, keyring) =
        (program().display().to_string(), shop.path("lkg"), shop.path("keys/keyring"));
    let tables = format!(
        "[commands.lkg-show]\nargv = [\"{program}\", \"lkg\", \"show\", \"--quiet\", \"--bundle\", \"{bundle}\", \"--keyring\", \"{keyring}\"]\n\
         extra_args = true\n",
    );
    let target = format!(
        "mode = \"enforce\"\nwindow = \"1h\"\npolicy = \"tree\"\nexecutor = \"deployment\"\nplaybooks = [{{ name = \"lkg\" }}]\n\
         settings = {{ namespace = \"{}\", name = \"shop\", lkg-objects = [\"configmap/shop\"] }}\n\
         [[objective]]\nname = \"errors\"\nmetric = \"errors\"\nabove = 0.5\n[rails]\nconfirm_windows = 1\n",
        shop.space.name()
    );
    let watch = Watch { tables, targets: vec![("shop".into(), target)], ..Watch::default() };
    let gate = Gate::open(shop.api(), &shop.cluster.ca());
    let keys = Keys::make();
    let mut plant = Plant::opens(&keys, shop.api(), &gate, &watch);
    let capture = |plant: &Plant| {
        let (config, object) = (plant.path("backstay.toml"), format!("{}/configmap/shop", shop.space.name()));
        let config = config.display().to_string();
        let from = ["--endpoint", "kubernetes", "--config", &config, "--object", &object];
        let what = ["lkg", "capture", "--service", "shop", "--bundle", &bundle];
        plant.cli().exit(&[&what[..], &from[..]].concat()).unwrap()
    };
    let (code, _, told) = capture(&plant);
    assert!(code == Some(3) && told.contains("nothing is known to run at shop"), "{told}");
    plant.says("shop", "deployments", &json!({ "version": "2.1.0" }));
    let (code, _, told) = capture(&plant);
    assert_eq!(code, Some(20), "{told}");
    assert!(told.contains("release 2.1.0 isn't confirmed") && !fs::exists(&bundle).unwrap(), "{told}");
    plant.has_good("shop", "2.1.0");
    let (code, said, told) = capture(&plant);
    assert_eq!(code, Some(0), "{told}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["release"]["version"], &said["captured"]), (&json!("2.1.0"), &json!(true)));
    let key = shop.path("keys/release.pem");
    shop.backstay(&["lkg", "sign", "--bundle", &bundle, "--key", &key, "--keyring", &keyring]).unwrap();

    let drift = json!({ "data": { "mode": "fast", "empty": null, "new": "x", "db-password": "hunter9" } });
    shop.api().merge(&shop.at("configmaps"), &drift).unwrap();
    // What has drifted is not captured in the place of what was good.
    let signed = fs::read(shop.path("lkg/lkg.signature")).unwrap();
    assert_eq!(capture(&plant).0, Some(0));
    assert_eq!(fs::read(shop.path("lkg/lkg.signature")).unwrap(), signed);
    plant.says("shop", "heal", &json!({ "playbook": "lkg", "reason": "it is too fast" }));
    plant.until_it_ended("shop");
    let now = shop.api().get(&shop.at("configmaps")).unwrap();
    let mut wanted = section(&good_config(), "data");
    wanted.insert("db-password".into(), "hunter9".into());
    assert_eq!(section(&now, "data"), wanted, "{}", plant.log());
    let story = plant.incidents("shop").first().map(Value::to_string).unwrap_or_default();
    assert!(!story.contains(SECRET), "{story}");
    assert_eq!(story.matches(": PATCH ").count(), 1, "{story}");
    assert!(story.contains("attach lkg") && story.contains("ended: done"), "{story}");
}
