//! Our executors, run on a history that was played: natively, with the server's own hands.

use std::{collections::BTreeMap, env, path::Path, time::Duration};

use backstay_sdk::{
    executor::{Outcome, Task},
    settings::{Setting, Value as Set},
};
use backstay_test_k8s::{
    ControlPlane, Host, Namespace, Ran,
    histories::{Answer, HelmVersion, History, Kind, live::Stage},
};
use executor_deployment::Deployment;
use executor_helm::Helm;
use executor_rollouts::Rollouts;
use serde_json::json;

const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// How long a command may take.
const LONG: Duration = Duration::from_secs(60);

/// Plays a history, and has ours go home: to what it says, and no further when it is asked once more.
pub fn goes_home(cluster: &ControlPlane, history: &History) -> Result<(), String> {
    let Some(release) = history.order() else { return Ok(()) };
    let mut stage = Stage::plays(cluster, history)?;
    let before = stage.current()?;
    let (host, config) = (host(cluster, stage.space(), history), config(stage.space()));
    let run = || -> Ran {
        let home = Task::GoHome(release.clone());
        match history.kind {
            Kind::Helm => host.run::<Helm>(&config, home),
            Kind::Deployment => host.run::<Deployment>(&config, home),
            Kind::Rollout => host.run::<Rollouts>(&config, home),
        }
    };
    let ran = run();
    let told = |what: &str| Err(format!("ours {what}: {:?} {:#?}", ran.outcome, ran.told()));
    match (history.answer(), &ran.outcome) {
        (Answer::Refused, Outcome::Failed(_)) if stage.current()? == before => return Ok(()),
        (Answer::Moved(_) | Answer::Stayed, Outcome::Done) => {}
        (answer, _) => return told(&format!("was to be {answer:?}")),
    }
    if stage.current()? != history.after.current() {
        return told(&format!("went to {:?}, not {:?}", stage.current()?, history.after.current()));
    }
    stage.is_home()?;
    let again = run();
    if again.outcome == Outcome::Done && again.changes().is_empty() {
        Ok(())
    } else {
        Err(format!("asked once more: {:?} {:#?}", again.outcome, again.told()))
    }
}

/// With an account that may do all: who may do what is another test's.
fn host(cluster: &ControlPlane, space: &Namespace, history: &History) -> Host {
    let (api, name) = (cluster.api(), space.name());
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "backstay"}});
    api.create(&space.path("v1", "serviceaccounts"), &account).unwrap();
    let binding = json!({
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("backstay-{name}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "backstay", "namespace": name}],
    });
    api.create(&format!("/apis/{RBAC}/clusterrolebindings"), &binding).unwrap();
    let host = Host::of(cluster, &api.token(name, "backstay").unwrap());
    let helm = match history.setup.helm {
        HelmVersion::Three => cluster.helm3(),
        HelmVersion::Four => cluster.helm4(),
    };
    let helm = helm.get_program().to_str().unwrap().to_owned();
    let look =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/executor-helm/commands/helm-look.sh");
    let look = look.canonicalize().unwrap().display().to_string();
    let environment = BTreeMap::from([
        ("HOME".into(), env::temp_dir().join(name).display().to_string()),
        ("KUBECONFIG".into(), cluster.kubeconfig().display().to_string()),
        ("PATH".into(), env::var("PATH").unwrap_or_default()),
    ]);
    let back = vec![helm.clone(), "rollback".into()];
    let commands = [("helm-look", vec![look, helm], LONG), ("helm-rollback", back, LONG)];
    host.with_commands(&environment, &commands)
}

fn config(space: &Namespace) -> Vec<Setting> {
    let text = |name: &str, value: &str| Setting { name: name.into(), value: Set::Text(value.into()) };
    let number = |name: &str, value| Setting { name: name.into(), value: Set::Number(value) };
    vec![
        text("namespace", space.name()),
        text("name", "shop"),
        text("workload", "deployment/shop"),
        number("wait-ms", 30_000),
        number("poll-ms", 200),
        number("lock-ms", 60_000),
        // Whose helm was killed in a history is long dead.
        number("pending-after-ms", 0),
    ]
}
