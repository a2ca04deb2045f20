//! A cluster with the server's account in it, the targets that its chart was given, and what was asked: held against what was granted.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    thread,
    time::Duration,
};

use backstay_sdk::executor::Access;
use backstay_test_k8s::{Api, ControlPlane, Host, Namespace, objects};
use serde_json::{Value, json};

use super::{
    installed::{
        Installed, Major,
        granted::{lines, refused, spare},
    },
    target::{APPS, ARGO, Target, image},
};

/// What makes runs short here, and changes nothing of what they ask for.
const QUICK: [(&str, i64); 9] = [
    ("wait-ms", 30_000),
    ("poll-ms", 200),
    ("pod-start-ms", 0),
    ("restart-after-ms", 0),
    ("memory-prove-ms", 100),
    ("scale-ceiling", 5),
    ("nodes-at-once", 5),
    ("look-back-ms", 3_600_000),
    ("restart-at-once-permille", 1000),
];

/// A cluster with the server's account in it, and what it watches.
pub(crate) struct World {
    pub(crate) it: Installed,
    pub(crate) host: Host,
    pub(crate) spaces: BTreeMap<&'static str, Namespace>,
    pub(crate) asked: RefCell<BTreeSet<(Access, String, String)>>,
}

impl World {
    /// The chart with these targets, each in a namespace of its own.
    pub(crate) fn with(major: Major, targets: &[(&'static str, Value)]) -> Option<Self> {
        let cluster = ControlPlane::start()?;
        let (mut spaces, mut values) = (BTreeMap::new(), json!({}));
        for (name, target) in targets {
            let (space, mut target) = (cluster.namespace(name), target.clone());
            let settings = QUICK.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
            let mut settings: serde_json::Map<String, Value> = settings.collect();
            settings.insert("memory-ceiling".into(), json!("1Gi"));
            if let Some(more) = target["settings"].as_object() {
                settings.extend(more.clone());
            }
            target["settings"] = settings.into();
            target["namespace"] = space.name().into();
            target["file"] =
                "policy = \"tree\"\n[[objective]]\nname = \"errors\"\nmetric = \"errors\"\nabove = 0.01\n"
                    .into();
            let owners = target.get_mut("owners").and_then(Value::as_object_mut);
            for owners in owners.into_iter().flat_map(serde_json::Map::values_mut) {
                *owners = json!([format!("{}/{name}", space.name())]);
            }
            values[*name] = target;
            spaces.insert(*name, space);
        }
        let helm = if major == Major::Three { 3 } else { 4 };
        let it = Installed::with(&cluster, major, &json!({ "image": { "helm": helm }, "targets": values }));
        Some(Self { host: it.host(), it, spaces, asked: RefCell::default() })
    }

    pub(crate) fn api(&self) -> &Api {
        self.it.api()
    }

    pub(crate) fn target(&self, name: &'static str, what: (&'static str, &'static str)) -> Target<'_> {
        Target { world: self, name, what }
    }

    pub(crate) fn deployment(&self, name: &'static str) -> Target<'_> {
        let target = self.target(name, (APPS, "deployments"));
        target.has(&objects::deployment(name, 2, &image("1.0.0")));
        target.is_whole();
        target
    }

    pub(crate) fn rollout(&self, name: &'static str) -> Target<'_> {
        let target = self.target(name, (ARGO, "rollouts"));
        let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
        target.has(&objects::rollout(name, 2, &image("1.0.0"), &steps));
        target.is_whole();
        target
    }

    /// That nothing was refused, and nothing is granted that wasn't needed; by the API server's own log.
    #[track_caller]
    pub(crate) fn is_least(&self) {
        let rights = self.it.rights();
        assert!(!rights.is_empty());
        let mut asked = self.it.asked();
        // The log is written when a request has ended: of the last ones that is now.
        for _ in 0..20 {
            if spare(&rights, &asked).is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
            asked = self.it.asked();
        }
        let (refused, spare) = (refused(&asked), spare(&rights, &asked));
        let about = format!("{} rights, {} requests that differ", rights.len(), asked.len());
        let wrong = format!("refused were:\n{}nobody needs:\n{}", lines(&refused), lines(&spare));
        assert!(refused.is_empty() && spare.is_empty(), "{about}; {wrong}");
        self.is_within_the_endpoint();
        // Past the test's own output, which nobody sees where it went well.
        let major = self.it.major;
        writeln!(io::stdout().lock(), "\nsummary: {major:?}: {about}: none missing, none to spare").unwrap();
    }

    /// That the endpoint of the configuration allows what was asked, and each of its methods was.
    #[track_caller]
    pub(crate) fn is_within_the_endpoint(&self) {
        let endpoint = self.it.configuration()["endpoints"]["kubernetes"].clone();
        let texts = |key: &str| -> Vec<String> {
            endpoint[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().into()).collect()
        };
        let (methods, asks, asked) = (texts("methods"), texts("asks"), self.asked.borrow());
        for (access, method, path) in asked.iter() {
            assert!(methods.contains(method), "{method} {path}");
            let only_looks = method == "GET" || asks.contains(path);
            assert!(*access == Access::Changes || only_looks, "a look by {method} {path}");
        }
        let used: BTreeSet<&String> = asked.iter().map(|(_, method, _)| method).collect();
        assert_eq!(used.len(), methods.len(), "of {methods:?} only {used:?} are used");
    }
}
