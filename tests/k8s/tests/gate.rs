//! The gate before the API server passes on what comes, and stops whom a test wants stopped: what is asked for is not done before
//! the one moment, and done before the other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{io::Write as _, net::TcpStream, process::Command, thread};

use backstay_test_k8s::{Api, ControlPlane, Gate, Moment, Namespace, Passed, until};
use serde_json::{Value, json};

fn opens(cluster: &ControlPlane) -> (Gate, Namespace) {
    (Gate::open(cluster.api(), &cluster.ca()), cluster.namespace("gate"))
}

/// Somebody who asks through the gate.
fn through(gate: &Gate, cluster: &ControlPlane) -> Api {
    let ca = std::fs::read_to_string(cluster.ca()).unwrap();
    let token = cluster.api().token("default", "default").unwrap();
    // Whoever has no credential of its own is let in as an administrator, and this one has.
    let api = Api::new(&gate.base(), &ca, &token);
    assert_eq!(api.get("/api/v1/nodes").unwrap_err().code, 403);
    gate.counts_anew();
    api
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// Asks for a map without a credential, and goes away without waiting for an answer when this is dropped.
fn asks_for(gate: &Gate, space: &Namespace, name: &str) -> TcpStream {
    let body = map(name).to_string();
    let mut stream = TcpStream::connect(gate.base().trim_start_matches("http://")).unwrap();
    write!(
        stream,
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        space.path("v1", "configmaps"),
        body.len()
    )
    .unwrap();
    stream
}

fn is_there(cluster: &ControlPlane, space: &Namespace, name: &str) -> bool {
    cluster.api().get(&space.path("v1", &format!("configmaps/{name}"))).is_ok()
}

#[test]
fn who_is_killed_before_the_server_has_heard_has_changed_nothing() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (gate, space) = opens(&cluster);
    for (moment, done) in [(Moment::Before, false), (Moment::After, true)] {
        let name = format!("map-{done}");
        gate.counts_anew();
        let stop = gate.stops(|_| true, moment);
        let stream = asks_for(&gate, &space, &name);
        assert!(stop.is_reached(|| false));
        assert_eq!(is_there(&cluster, &space, &name), done);
        drop(stream);
        drop(stop);
        // Whoever comes later passes, and by then it is known what became of the first.
        asks_for(&gate, &space, &format!("later-{done}"));
        until("the one after it has passed", || {
            is_there(&cluster, &space, &format!("later-{done}")).then_some(())
        });
        assert_eq!(is_there(&cluster, &space, &name), done);
        assert_eq!(gate.passed()[0].code, if done { 201 } else { 0 });
    }
}

#[test]
fn who_still_is_there_goes_on() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (gate, space) = opens(&cluster);
    let api = through(&gate, &cluster);
    let rest = format!("/api/v1/namespaces/{}/configmaps", space.name());
    for moment in [Moment::Before, Moment::After] {
        gate.counts_anew();
        let mut came = 0;
        let second = move |_: &Passed| {
            came += 1;
            came == 2
        };
        let stop = gate.stops(second, moment);
        thread::scope(|scope| {
            let asked =
                scope.spawn(|| [api.get(&rest), api.get(&rest)].map(|answer| answer.unwrap_err().code));
            assert!(stop.is_reached(|| false));
            drop(stop);
            assert_eq!(asked.join().unwrap(), [403, 403]);
        });
    }
    let stop = gate.stops(Passed::changes, Moment::Before);
    assert!(!stop.is_reached(|| true), "nobody comes");
}

/// What a command line tool asks passes too: lists in pieces, what is followed, and what has no body.
#[test]
fn tools_pass() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (gate, space) = opens(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, gate.kubeconfig()).unwrap();
    cluster.api().create(&space.path("v1", "configmaps"), &map("one")).unwrap();
    let says = |arguments: &[&str]| {
        let program = cluster.kubectl().get_program().to_owned();
        let mut kubectl = Command::new(program);
        kubectl
            .args(arguments)
            .args(["-n", space.name()])
            .env("KUBECONFIG", &config)
            .env("HOME", folder.path());
        let done = kubectl.output().unwrap();
        assert!(done.status.success(), "{done:?}\n{:#?}", gate.passed());
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(says(&["get", "configmaps", "-o", "name"]).contains("configmap/one"));
    assert!(says(&["wait", "--for=jsonpath={.data.a}=1", "configmap/one", "--timeout=20s"]).contains("met"));
    assert!(says(&["delete", "configmap", "one", "--wait=true", "--timeout=20s"]).contains("deleted"));
    assert!(gate.passed().iter().any(|passed| passed.changes() && passed.code == 200));
}
