//! How long it takes from a verdict until a bad canary has no traffic, its template is the good one again, and whoever would put it back
//! is stopped; beside what people use by hand, in the same run and on the same control plane.
//!
//! Ours: a server of `backstay serve` as it ships, told by a pipeline what it measured. The clock runs from the request that brings the
//! deciding measurement until the watch of the API server has told of all three changes: that is the policy in its sandbox, the rails, a
//! journal that is durable before each step, and the requests. Theirs: the process from its start to its end, which is what it takes by
//! hand: `helm rollback` (no waiting for pods) and `kubectl-argo-rollouts abort`, which restores no template and stops nobody.
//!
//! No container runs, so nothing here waits for pods either. `rollback [TIMES] [TIMES OF EACH PEER]`.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use backstay_test_k8s::{Api, ControlPlane, Gate, Keys, Namespace, Plant, Watch, objects, until};
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

/// How often ours is measured, if nobody says.
const TIMES: u32 = 1000;
/// How often each of the others is.
const PEER_TIMES: u32 = 100;
/// Rollouts, each with a target: what one still settles, the next one is done with.
const SHOPS: u32 = 20;
/// A server changes something 64 times an hour at most. After so many a new one begins, which remembers nothing.
const PER_SERVER: u32 = 60;
/// What is to be reached, in ms.
const MEDIAN_MS: f64 = 60.0;
const P99_MS: f64 = 250.0;
/// How long one roll-back may take at all.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("rollback: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<bool, Failure> {
    let mut words = env::args().skip(1);
    let times = words.next().map_or(Ok(TIMES), |word| word.parse())?;
    let peers = words.next().map_or(Ok(PEER_TIMES), |word| word.parse())?;
    let cluster = ControlPlane::start().ok_or("there is no control plane: cargo xtask k8s up builds one")?;
    println!("{} processors; profile {}", thread::available_parallelism()?, profile());
    let (helm, argo) = (by_helm(&cluster, peers)?, by_abort(&cluster, peers)?);
    let ours = by_backstay(&cluster, times)?;
    println!("\n{:<58} {:>6} {:>9} {:>9} {:>9}", "", "TIMES", "P50 MS", "P99 MS", "MOST MS");
    for (name, took) in [
        ("backstay: abort + template restored + owner stopped", &ours),
        ("helm rollback (4): process start to end, no wait", &helm),
        ("kubectl-argo-rollouts abort: process start to end", &argo),
    ] {
        let (p50, p99, most) = (rank(took, 50), rank(took, 99), rank(took, 100));
        println!("{name:<58} {:>6} {p50:>9.1} {p99:>9.1} {most:>9.1}", took.len());
    }
    let kept = rank(&ours, 50) <= MEDIAN_MS && rank(&ours, 99) <= P99_MS;
    let told = if kept { "kept" } else { "MISSED" };
    println!("\ngoal p50 <= {MEDIAN_MS} ms and p99 <= {P99_MS} ms: {told}");
    Ok(kept)
}

/// Rolls back `times` canaries by a server.
fn by_backstay(cluster: &ControlPlane, times: u32) -> Result<Vec<f64>, Failure> {
    let (space, keys) = (cluster.namespace("shops"), Keys::make());
    let (steps, shops) = (json!([{"setWeight": 20}, {"pause": {}}]), (0..SHOPS).map(|n| format!("shop-{n}")));
    let shops: Vec<String> = shops.collect();
    for shop in &shops {
        cluster.api().create(&rollouts(&space), &objects::rollout(shop, 1, &image("1.0"), &steps))?;
        cluster.api().create(&applications(&space), &application(&space, shop))?;
    }
    for shop in &shops {
        is_healthy(cluster.api(), &space, shop, "1.0");
    }
    let (seen, mut took, mut server) = (follow(cluster.api(), &space), Vec::new(), None);
    for time in 0..times {
        if time % PER_SERVER == 0 {
            drop(server.take());
            server = Some(open(cluster, &keys, &space, &shops)?);
        }
        let Some(plant) = server.as_mut() else { continue };
        let shop = &shops[time as usize % shops.len()];
        took.push(roll_back(cluster.api(), &space, plant, shop, &format!("2.0-{time}"), &seen)?);
    }
    Ok(took)
}

/// A server that knows one good release of each.
fn open(cluster: &ControlPlane, keys: &Keys, space: &Namespace, shops: &[String]) -> Result<Plant, Failure> {
    let gate = Gate::open(cluster.api(), &cluster.ca());
    let target = |shop: &String| {
        let text = format!(
            "policy = \"tree\"\nexecutor = \"rollouts\"\nmode = \"enforce\"\nwindow = \"5s\"\n\
             settings = {{ namespace = \"{space}\", name = \"{shop}\", argocd-applications = [\"{space}/{shop}\"] }}\n\
             [[objective]]\nname = \"errors\"\nmetric = \"errors\"\nabove = 0.5\n\
             [rails]\nconfirm_windows = 1\nrollbacks_per_hour = 64\n",
            space = space.name(),
        );
        (shop.clone(), text)
    };
    let watch = Watch { targets: shops.iter().map(target).collect(), ..Watch::default() };
    let mut plant = Plant::opens(keys, cluster.api(), &gate, &watch);
    // The gate is for tests that stop requests. What is measured asks the API server itself, by TLS.
    let direct = format!("base = \"{}\"\nca = \"{}\"", cluster.api().server(), cluster.ca().display());
    let config = fs::read_to_string(plant.path("backstay.toml"))?;
    let config = config.replace(&format!("base = \"{}\"", gate.base()), &direct);
    plant.is_killed();
    plant.writes("backstay.toml", &config);
    plant.starts();
    for shop in shops {
        plant.has_good(shop, "1.0");
    }
    Ok(plant)
}

/// Lets a bad release out to a fifth, and measures how long it takes until it is gone.
fn roll_back(
    api: &Api,
    space: &Namespace,
    plant: &mut Plant,
    shop: &str,
    version: &str,
    seen: &Receiver<(Instant, Value)>,
) -> Result<f64, Failure> {
    is_healthy(api, space, shop, "1.0");
    plant.until_it_ended(shop);
    api.merge(&format!("{}/{shop}", applications(space)), &application(space, shop))?;
    let change = json!({"spec": {"template": {"spec": {"containers": [container(shop, version)]}}}});
    let rollout = format!("{}/{shop}", rollouts(space));
    api.merge(&rollout, &change)?;
    until("the canary has its pod, and stands", || {
        let now = api.get(&rollout).ok()?;
        let status = &now["status"];
        let stands = status["currentStepIndex"] == 1
            && status["phase"] == "Paused"
            && status["currentPodHash"] != status["stableRS"]
            && status["updatedReplicas"] == 1
            && status["observedGeneration"].as_str() == Some(&now["metadata"]["generation"].to_string());
        stands.then_some(())
    });
    let (code, answer) =
        plant.asks("POST", &format!("/v1/targets/{shop}/close-breaker"), &json!({"reason": "measuring"}));
    let _ = (code, answer);
    plant.says(shop, "deployments", &json!({"version": version, "stage": 200}));
    plant.says(shop, "metrics", &json!({"errors": 1}));
    while seen.try_recv().is_ok() {}
    let began = Instant::now();
    plant.says(shop, "metrics", &json!({"errors": 1}));
    let mut left = BTreeMap::from([("aborted", true), ("restored", true), ("stopped", true)]);
    let good = image("1.0");
    while !left.is_empty() {
        let waited = seen.recv_timeout(PATIENCE);
        let (at, object) =
            waited.map_err(|_| format!("{shop}: not {left:?} within {PATIENCE:?}\n{}", plant.log()))?;
        if object["metadata"]["name"] != shop {
            continue;
        }
        let became = match object["kind"].as_str() {
            Some("Application") if object["spec"]["syncPolicy"]["automated"].is_null() => vec!["stopped"],
            Some("Rollout") => {
                let aborted = object["status"]["abort"] == true;
                let restored = object["spec"]["template"]["spec"]["containers"][0]["image"] == *good;
                // With the good template back the controller takes the abort back by itself.
                let both = [("aborted", aborted || restored), ("restored", restored)];
                both.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect()
            }
            _ => Vec::new(),
        };
        for what in became {
            left.remove(what);
        }
        if left.is_empty() {
            return Ok(millis(at.duration_since(began)));
        }
    }
    Ok(0.0)
}

/// Rolls a Helm release back from its second revision to its first.
fn by_helm(cluster: &ControlPlane, times: u32) -> Result<Vec<f64>, Failure> {
    let (space, chart) = (cluster.namespace("helm"), tempfile::tempdir()?);
    fs::create_dir(chart.path().join("templates"))?;
    fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 0.1.0\n")?;
    let template = objects::deployment("shop", 1, "{{ .Values.image }}").to_string();
    fs::write(chart.path().join("templates/deployment.yaml"), template)?;
    let chart = chart.path().display().to_string();
    let helm = |words: &[&str]| {
        let mut helm = cluster.helm4();
        helm.args(words).args(["--namespace", space.name()]);
        timed(&mut helm)
    };
    let (good, bad) = (format!("image={}", image("1.0")), format!("image={}", image("2.0")));
    helm(&["install", "shop", &chart, "--set", &good])?;
    let mut took = Vec::new();
    for time in 0..times {
        helm(&["upgrade", "shop", &chart, "--set", &bad, "--history-max", "10"])?;
        // The newest good one is two before the one that is made next.
        let good = (2 * time + 1).to_string();
        took.push(helm(&["rollback", "shop", &good, "--history-max", "10"])?);
    }
    Ok(took)
}

/// Aborts a canary by the plugin of kubectl.
fn by_abort(cluster: &ControlPlane, times: u32) -> Result<Vec<f64>, Failure> {
    let space = cluster.namespace("abort");
    let steps = json!([{"setWeight": 20}, {"pause": {}}]);
    cluster.api().create(&rollouts(&space), &objects::rollout("shop", 1, &image("1.0"), &steps))?;
    is_healthy(cluster.api(), &space, "shop", "1.0");
    let rollout = format!("{}/shop", rollouts(&space));
    let mut took = Vec::new();
    for time in 0..times {
        let version = format!("2.0-{time}");
        let change = json!({"spec": {"template": {"spec": {"containers": [container("shop", &version)]}}}});
        cluster.api().merge(&rollout, &change)?;
        until("the canary stands", || {
            let status = cluster.api().get(&rollout).ok()?["status"].take();
            (status["phase"] == "Paused" && status["currentStepIndex"] == 1).then_some(())
        });
        let mut abort = cluster.argo();
        abort.args(["abort", "shop", "--namespace", space.name()]);
        took.push(timed(&mut abort)?);
        let back = json!({"spec": {"template": {"spec": {"containers": [container("shop", "1.0")]}}}});
        cluster.api().merge(&rollout, &back)?;
        is_healthy(cluster.api(), &space, "shop", "1.0");
    }
    Ok(took)
}

/// What changes of Rollouts and Applications, and when it was told here.
fn follow(api: &Api, space: &Namespace) -> Receiver<(Instant, Value)> {
    let (tell, told) = channel();
    for path in [rollouts(space), applications(space)] {
        let (api, tell) = (api.clone(), tell.clone());
        thread::spawn(move || {
            loop {
                let list = api.get(&path).unwrap_or_default();
                let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
                let mut goes_on = true;
                let _ = api.watch(&path, &version, |mut event| {
                    goes_on = tell.send((Instant::now(), event["object"].take())).is_ok();
                    goes_on
                });
                if !goes_on {
                    return;
                }
            }
        });
    }
    told
}

fn is_healthy(api: &Api, space: &Namespace, name: &str, version: &str) {
    let (path, image) = (format!("{}/{name}", rollouts(space)), image(version));
    until("the Rollout is healthy", || {
        let now = api.get(&path).ok()?;
        let status = &now["status"];
        let healthy = status["phase"] == "Healthy"
            && now["spec"]["template"]["spec"]["containers"][0]["image"] == *image
            && status["observedGeneration"].as_str() == Some(&now["metadata"]["generation"].to_string());
        healthy.then_some(())
    });
}

fn rollouts(space: &Namespace) -> String {
    space.path("argoproj.io/v1alpha1", "rollouts")
}

fn applications(space: &Namespace) -> String {
    space.path("argoproj.io/v1alpha1", "applications")
}

/// An Application of Argo CD that would put back what Git has. Its controller doesn't run here.
fn application(space: &Namespace, name: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "annotations": {"backstay.dev/frozen": null}},
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://git.example/shop.git", "path": "."},
            "destination": {"namespace": space.name()},
            "syncPolicy": {"automated": {"selfHeal": true}},
        },
    })
}

/// As it stands in the template: who leaves something out makes another template.
fn container(name: &str, version: &str) -> Value {
    objects::deployment(name, 1, &image(version))["spec"]["template"]["spec"]["containers"][0].take()
}

fn image(version: &str) -> String {
    format!("registry.test/shop:{version}")
}

/// Runs a command to its end, which has to be a good one. Gives how many ms it took.
fn timed(command: &mut Command) -> Result<f64, Failure> {
    let began = Instant::now();
    let ended = command.stdin(Stdio::null()).output()?;
    let took = millis(began.elapsed());
    if ended.status.success() {
        return Ok(took);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr)).into())
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// The value that so many percent of all are at most, by the nearest rank.
fn rank(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "optimised" }
}
