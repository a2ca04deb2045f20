//! The plugins that ship, the whole way: built, compiled, signed, verified, tried in the sandbox, and the same bytes in
//! the portable engine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod wasm;

use backstay_kit::{
    Call, Came, CaseCame, CaseReport, Conditions, Done, Job, Kind, Settings, Shelf, Trial, Tried, Work,
    conformance, judging,
};
use backstay_model::{Name, Told};
use backstay_trust::{EffectKind, Keyring, Limits, Permissions};

fn shelf(trial: &Trial) -> Shelf {
    let mut shelf = Shelf::default();
    let keyring = Keyring::decode(&trial.keyring).unwrap();
    shelf.add(&Kind::Native.engine().unwrap(), &keyring, &trial.bundle).unwrap();
    shelf
}

fn failed(reports: &[CaseReport]) -> Vec<&CaseReport> {
    reports.iter().filter(|report| matches!(report.came, CaseCame::Failed(_))).collect()
}

/// That the portable engine comes to the same.
fn same_in_the_portable_engine(trial: &Trial, calls: &[(Call, Came)]) {
    let job = Job {
        kind: Kind::Portable,
        keyring: trial.keyring.clone(),
        bundles: vec![trial.bundle.clone()],
        work: Work::Calls { grant: trial.grant, calls: calls.iter().map(|(call, _)| call.clone()).collect() },
    };
    // As it travels to another machine.
    let job = Job::decode(&job.encode()).unwrap();
    let Done::Calls(again) = job.run().unwrap() else { panic!("it did something else") };
    assert_eq!(again.len(), calls.len());
    for ((call, then), now) in calls.iter().zip(&again) {
        assert_eq!(then, now, "{call:?}");
    }
}

#[test]
fn the_policy_that_ships_stands_every_case_and_is_the_same_in_the_portable_engine() {
    let trial = wasm::trial("policy-tree", "0.1.0");
    let tried = Tried::new(shelf(&trial).into_policy(&trial.grant).unwrap());
    let (reports, answers) = judging(&tried, &Settings::new(), 1, 200);
    assert_eq!(failed(&reports), Vec::<&CaseReport>::new());
    assert_eq!(answers.actions.len(), 6, "every kind of answer came up: {answers:?}");
    let calls = tried.calls();
    same_in_the_portable_engine(&trial, &calls[..200.min(calls.len())]);
}

/// Tries an executor out with these settings and permissions, in both engines. `cannot`: the cases that take more of a world than
/// the kit's.
fn stands_every_case(
    plugin: &str,
    settings: Settings,
    wants: Vec<EffectKind>,
    permissions: Permissions,
    (playbooks, cannot): (Vec<Name>, &[&str]),
) {
    let trial = wasm::trial_with(plugin, "0.1.0", &wants, &permissions);
    let tried = Tried::new(shelf(&trial).into_executor(&trial.grant).unwrap());
    let conditions = Conditions { settings, wants, permissions, playbooks, limits: Limits::DEFAULT };
    let reports = conformance(&tried, &conditions);
    let names: Vec<&str> = failed(&reports).into_iter().map(|report| report.name).collect();
    assert_eq!(names, cannot, "{:#?}", failed(&reports));
    let calls = tried.calls();
    same_in_the_portable_engine(&trial, &calls[..200.min(calls.len())]);
}

fn names<const N: usize>(names: [&str; N]) -> Vec<Name> {
    names.map(|name| Name::parse(name).unwrap()).to_vec()
}

#[test]
fn the_executor_that_ships_stands_every_case_and_is_the_same_in_the_portable_engine() {
    let commands = names(["restart", "no-such-playbook"]);
    let permissions = Permissions { commands, slots: true, ..Permissions::default() };
    stands_every_case(
        "executor-ota",
        Settings::new(),
        vec![EffectKind::Run, EffectKind::Slot],
        permissions,
        (Vec::new(), &[]),
    );
}

#[test]
fn the_executor_of_commands_stands_every_case() {
    let looks = ["status", "drift-look"];
    let changes = ["install", "confirm", "go-home", "restart", "drift-fix", "no-such-playbook"];
    let commands = looks.into_iter().chain(changes).map(|name| Name::parse(name).unwrap()).collect();
    let permissions = Permissions { commands, ..Permissions::default() };
    let playbooks = names(["restart"]);
    stands_every_case(
        "executor-commands",
        Settings::new(),
        vec![EffectKind::Run],
        permissions,
        (playbooks, &[]),
    );
}

#[test]
fn the_executor_of_a_load_balancer_stands_every_case() {
    let permissions = Permissions {
        commands: names(["restart-web-1"]),
        endpoints: names(["lb"]),
        ..Permissions::default()
    };
    let text = |name: &str, value: Told| (Name::parse(name).unwrap(), value);
    let settings = [
        text("backend", Told::Text("web".into())),
        text("servers", Told::Texts(vec!["restart-web-1=web1".into()])),
    ];
    let wants = vec![EffectKind::Http, EffectKind::Run];
    // The kit has no page of a load balancer; tests/real lets it work with one.
    let more = (names(["restart-web-1"]), ["does-its-work"].as_slice());
    stands_every_case("executor-http-lb", settings.into_iter().collect(), wants, permissions, more);
}

/// The kit has no API server; tests/k8s lets them work with one.
fn stands_every_case_of_kubernetes(plugin: &str) {
    let permissions = Permissions {
        commands: names(["lkg-show"]),
        endpoints: names(["kubernetes"]),
        ..Permissions::default()
    };
    let text = |name: &str, value: &str| (Name::parse(name).unwrap(), Told::Text(value.into()));
    let settings = [text("namespace", "prod"), text("name", "shop")].into_iter().collect();
    let wants = vec![EffectKind::Http, EffectKind::Run];
    let more = (names(["restart", "hold", "go-on", "unfreeze"]), ["does-its-work"].as_slice());
    stands_every_case(plugin, settings, wants, permissions, more);
}

#[test]
fn the_executor_of_deployments_stands_every_case() {
    stands_every_case_of_kubernetes("executor-deployment");
}

#[test]
fn the_executor_of_rollouts_stands_every_case() {
    stands_every_case_of_kubernetes("executor-rollouts");
}
