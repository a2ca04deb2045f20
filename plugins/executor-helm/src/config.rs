//! What can be set for a Helm release, beside what every executor for Kubernetes has.
//!
//! Not here: what a command is. A setting holds its name; program, environment and time-out are the host's configuration.

use alloc::{format, string::String, vec::Vec};

use backstay_kubernetes::{
    resource::{DEPLOYMENTS, Kind, ROLLOUTS, STATEFUL_SETS, is_dns_name},
    settings,
    workload::Workload,
};
use backstay_sdk::settings::{
    Description, Flag, Number, Problem, Setting, SettingInfo, Text, Texts, is_name, problem,
};

pub(crate) const LOOK: Text = Text {
    name: "helm-look",
    default: "helm-look",
    help: "The command that looks at Helm releases: helm-look.sh, which comes with this executor.",
};
pub(crate) const ROLLBACK: Text = Text {
    name: "helm-rollback",
    default: "helm-rollback",
    help: "The command that goes back: argv is helm's path and \"rollback\", with extra_args. Its time is longer than hooks and \
           wait-ms together, or Helm is killed in the middle.",
};
pub(crate) const WORKLOAD: Text = Text {
    name: "workload",
    default: "",
    help: "What of the Helm release is the product, as kind/name: deployment/shop. It is what is looked at and mended. Empty: the \
           manifest's only one, and nothing is looked at beyond what Helm says.",
};
pub(crate) const VERSION_FROM: Text = Text {
    name: "version-from",
    default: "image",
    help: "What of a revision says which release it is: image (of the workload, as its manifest has it), app-version, chart-version, or \
           value:PATH with a value's path, like value:image.tag.",
};
pub(crate) const DIGEST_FROM: Text = Text {
    name: "digest-from",
    default: "",
    help: "With version-from = \"value:...\": the path of the value that holds the image's digest. Empty: no value does.",
};
pub(crate) const WAITS: Flag = Flag {
    name: "helm-waits",
    default: true,
    help: "Whether Helm waits until what it brought back is ready (--wait). If not, this executor does, for the workload alone.",
};
pub(crate) const FORCE: Flag = Flag {
    name: "force-conflicts",
    default: true,
    help: "Whether fields that others have written meanwhile are written over where Helm 4 is refused for them. Helm 3 always does.",
};
pub(crate) const SKIP_HOOKS: Flag = Flag {
    name: "skip-failing-hooks",
    default: false,
    help: "Whether a roll-back whose hooks failed twice is tried once more without any. If not, the run fails.",
};
pub(crate) const PENDING: Number = Number {
    name: "pending-after-ms",
    default: 600_000,
    least: 0,
    most: 86_400_000,
    help: "A revision that has been pending for so long is nobody's: its helm was killed. More than the longest helm of anybody takes, \
           in ms.",
};
pub(crate) const LOCK: Number = Number {
    name: "lock-ms",
    default: 900_000,
    least: 10_000,
    most: 86_400_000,
    help: "So long the lock is held without a word from its holder, in ms. More than wait-ms, and than the command helm-rollback may take.",
};
pub(crate) const INSTANCE: Text = Text {
    name: "instance",
    default: "backstay",
    help: "What this server is called in the lock. Servers that share a cluster have different ones.",
};
pub(crate) const ALLOWED: Texts = Texts {
    name: "deletes-allowed",
    help: "What may be deleted on the way back, with all that it holds, each as Kind/name: PersistentVolumeClaim/cache.",
};
pub(crate) const REFUSED: Texts = Texts {
    name: "deletes-refused",
    help: "Further kinds that are not deleted on the way back, each as Kind.group, Kind for the core group. Always: \
           CustomResourceDefinition, Namespace, PersistentVolume, PersistentVolumeClaim, and the claims of a StatefulSet.",
};

/// Kinds that a workload can be, as settings and the commands call them.
const WORKLOADS: [(&str, Kind); 4] = [
    ("deployment", DEPLOYMENTS),
    ("statefulset", STATEFUL_SETS),
    ("daemonset", DAEMON_SETS),
    ("rollout", ROLLOUTS),
];
/// `DaemonSet`.
pub(crate) const DAEMON_SETS: Kind =
    Kind { group: "apps", version: "v1", plural: "daemonsets", kind: "DaemonSet" };
/// The most further kinds: each is an argument of a command, which has 32.
const REFUSED_MAX: usize = 16;

pub(crate) fn describe() -> Description {
    let texts = [LOOK, ROLLBACK, WORKLOAD, VERSION_FROM, DIGEST_FROM, INSTANCE];
    let mut own: Vec<SettingInfo> = texts.iter().map(Text::info).collect();
    own.extend([WAITS, FORCE, SKIP_HOOKS].iter().map(Flag::info));
    own.extend([PENDING, LOCK].iter().map(Number::info));
    own.extend([ALLOWED, REFUSED].iter().map(Texts::info));
    let about =
        "Takes a Helm release back to a good revision, repairs what was cut off, and mends what runs.";
    Description { about: about.into(), settings: settings::infos(own) }
}

pub(crate) fn validate(config: &[Setting]) -> Vec<Problem> {
    let mut problems = settings::problems(config);
    let mut hold = |good: bool, name: &str, why: String| {
        if !good {
            problems.push(problem(name, why));
        }
    };
    for command in [LOOK, ROLLBACK] {
        let why = "a command is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -";
        hold(is_name(command.of(config)), command.name, why.into());
    }
    let same = LOOK.of(config) == ROLLBACK.of(config);
    hold(
        !same,
        LOOK.name,
        "the same command as helm-rollback: one that only looks must change nothing".into(),
    );
    let set = WORKLOAD.of(config);
    let kinds = WORKLOADS.map(|(word, _)| word).join(", ");
    hold(
        set.is_empty() || workload(config).is_some(),
        WORKLOAD.name,
        format!("it is a kind, / and a name; kinds are {kinds}"),
    );
    let from = VERSION_FROM.of(config);
    let path = from.strip_prefix("value:");
    let known = matches!(from, "image" | "app-version" | "chart-version") || path.is_some_and(is_path);
    hold(known, VERSION_FROM.name, "it is image, app-version, chart-version or value:PATH".into());
    let digest = DIGEST_FROM.of(config);
    let fits = digest.is_empty() || (path.is_some() && is_path(digest));
    hold(
        fits,
        DIGEST_FROM.name,
        "it is a path like image.digest, beside version-from = \"value:...\"".into(),
    );
    let instance = INSTANCE.of(config);
    hold(is_name(instance), INSTANCE.name, "a server is called by 1 to 64 of a-z, 0-9 and -".into());
    let longer = LOCK.count(config) > settings::WAIT.count(config);
    hold(longer, LOCK.name, "it is not more than wait-ms: the lock would be over before the wait is".into());
    let allowed = ALLOWED
        .of(config)
        .iter()
        .all(|it| it.split_once('/').is_some_and(|(kind, name)| is_kind(kind) && !name.is_empty()));
    hold(allowed, ALLOWED.name, "each is written as Kind/name".into());
    let refused = REFUSED.of(config);
    let kinds = refused.len() <= REFUSED_MAX && refused.iter().all(|kind| is_kind(kind));
    hold(
        kinds,
        REFUSED.name,
        format!("at most {REFUSED_MAX}, each as Kind.group, or Kind for the core group"),
    );
    problems
}

/// The workload that is the product, where one is set.
pub(crate) fn workload(config: &[Setting]) -> Option<Workload> {
    let (word, name) = WORKLOAD.of(config).split_once('/')?;
    let kind = WORKLOADS.into_iter().find(|(known, _)| *known == word)?.1;
    let namespace = settings::NAMESPACE.of(config).into();
    is_dns_name(name).then(|| Workload { kind, namespace, name: name.into() })
}

fn is_kind(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.len() <= 253
        && text.bytes().all(allowed)
}

/// A path of values, with dots between the keys.
fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    path.len() <= 253 && path.split('.').all(|key| !key.is_empty() && key.bytes().all(allowed))
}

#[cfg(test)]
mod tests {
    use backstay_sdk::settings::Value;

    use super::*;

    fn wrong(settings: &[(&str, &str)]) -> Vec<String> {
        let base = [("namespace", "prod"), ("name", "shop")];
        let text =
            |&(name, text): &(&str, &str)| Setting { name: name.into(), value: Value::Text(text.into()) };
        let config: Vec<Setting> = base.iter().chain(settings).map(text).collect();
        validate(&config).into_iter().filter_map(|problem| problem.setting).collect()
    }

    #[test]
    fn what_nobody_set_fits_together() {
        assert_eq!(wrong(&[]), [] as [&str; 0]);
        let described = describe();
        assert!(described.settings.len() <= 64 && described.about.len() <= 512);
        assert!(described.settings.iter().all(|setting| setting.help.len() <= 512));
        for (at, one) in described.settings.iter().enumerate() {
            assert!(
                described.settings.iter().skip(at + 1).all(|other| other.name != one.name),
                "{}",
                one.name
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for good in ["deployment/shop", "rollout/a.b", "statefulset/db", "daemonset/x", ""] {
            assert_eq!(wrong(&[("workload", good)]), [] as [&str; 0]);
        }
        for bad in ["shop", "Deployment/shop", "pod/shop", "deployment/", "deployment/A"] {
            assert_eq!(wrong(&[("workload", bad)]), ["workload"]);
        }
        for good in ["image", "app-version", "chart-version", "value:image.tag", "value:a_b.c-d.0"] {
            assert_eq!(wrong(&[("version-from", good)]), [] as [&str; 0]);
        }
        for bad in ["", "tag", "value:", "value:a..b", "value:a/b", "value:a b"] {
            assert_eq!(wrong(&[("version-from", bad)]), ["version-from"]);
        }
        assert_eq!(wrong(&[("digest-from", "image.digest")]), ["digest-from"]);
        assert_eq!(wrong(&[("digest-from", "a.b"), ("version-from", "value:a.c")]), [] as [&str; 0]);
        assert_eq!(wrong(&[("helm-look", "helm-rollback")]), ["helm-look"]);
        assert_eq!(wrong(&[("helm-rollback", "/usr/bin/helm")]), ["helm-rollback"]);
        assert_eq!(wrong(&[("instance", "")]), ["instance"]);
    }

    #[test]
    fn what_is_deleted_or_not_is_named_by_kind() {
        let config = |name: &str, text: &str| {
            [Setting { name: name.into(), value: Value::Texts([text.into()].into()) }]
        };
        for (name, text, is_good) in [
            ("deletes-allowed", "PersistentVolumeClaim/data", true),
            ("deletes-allowed", "data", false),
            ("deletes-refused", "Cluster.postgresql.cnpg.io", true),
            ("deletes-refused", "Secret", true),
            ("deletes-refused", "secrets", false),
            ("deletes-refused", "A b", false),
        ] {
            let told = validate(&config(name, text)).iter().any(|it| it.setting.as_deref() == Some(name));
            assert_eq!(told, !is_good, "{text}");
        }
    }
}
