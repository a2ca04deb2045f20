//! What `helm-look.sh preview` tells of manifests: each trap among 200, and none of 500 that only look like one. The same scripts run
//! against what the real Helm keeps, and what it then deletes, in tests/k8s.
//!
//! Here: all kinds that hold data, in all styles that templates are written in. Helm itself is a script that prints files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// What holds data: kind, apiVersion, and how it is told.
const KINDS: [(&str, &str, &str); 5] = [
    ("PersistentVolumeClaim", "v1", "PersistentVolumeClaim. prod"),
    ("Namespace", "v1", "Namespace. -"),
    ("PersistentVolume", "v1", "PersistentVolume. -"),
    (
        "CustomResourceDefinition",
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition.apiextensions.k8s.io -",
    ),
    ("StatefulSet", "apps/v1", "StatefulSet.apps prod"),
];
const RETENTION: &str = "persistentVolumeClaimRetentionPolicy";
const STYLES: usize = 10;

/// Two manifests, the hooks of the second one, and a helm that prints them.
struct Helm {
    dir: TempDir,
}

impl Helm {
    fn new() -> Self {
        let helm = Self { dir: tempfile::tempdir().unwrap() };
        let at = helm.dir.path().display();
        // `helm get manifest|hooks NAME --namespace NS --revision N`
        let program = format!("#!/bin/sh\nexec cat \"{at}/$2-$7\"\n");
        helm.writes("helm", &program);
        fs::set_permissions(helm.dir.path().join("helm"), fs::Permissions::from_mode(0o755)).unwrap();
        helm.writes("hooks-1", "");
        helm
    }

    fn writes(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// What going back from revision 2 to revision 1 is told to delete.
    fn preview(&self, from: &str, to: &str, hooks: &str) -> String {
        self.writes("manifest-2", from);
        self.writes("manifest-1", to);
        self.writes("hooks-1", hooks);
        let helm = self.dir.path().join("helm");
        let run = look().arg(helm).args(["preview", "prod", "shop", "2", "1"]).output().unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        assert!(run.status.success(), "{said}");
        assert!(said.lines().last().unwrap().starts_with("end "), "{said}");
        said
    }
}

fn look() -> Command {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("commands/helm-look.sh");
    let mut command = Command::new("sh");
    command.arg(script).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// An object in one of the styles that people write templates in. `keep` gives it the policy by which Helm keeps it.
fn written(style: usize, kind: &str, api: &str, name: &str, keep: bool) -> String {
    let policy = "helm.sh/resource-policy";
    let set = kind == "StatefulSet";
    let annotations = |text: &str| if keep { text.to_string() } else { String::new() };
    let spec = |text: &str| if set { text.to_string() } else { String::new() };
    match style {
        0 => {
            let meta = annotations(&format!("  annotations:\n    {policy}: keep\n"));
            let spec = spec(&format!("spec:\n  {RETENTION}:\n    whenDeleted: Delete\n"));
            format!("apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\n{meta}{spec}")
        }
        1 => {
            let meta = annotations(&format!(",\"annotations\":{{\"{policy}\":\"keep\"}}"));
            let spec = spec(&format!(",\"spec\":{{\"{RETENTION}\":{{\"whenDeleted\":\"Delete\"}}}}"));
            format!(
                "{{\"apiVersion\":\"{api}\",\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"{name}\"{meta}}}{spec}}}\n"
            )
        }
        2 => {
            let meta = annotations(&format!("  \"annotations\" : {{ '{policy}' : \"keep\" }} # kept\n"));
            let spec =
                spec(&format!("'spec':\n  '{RETENTION}': {{whenDeleted: 'Delete', whenScaled: Retain}}\n"));
            format!(
                "\"kind\": '{kind}'   # which\n'apiVersion': \"{api}\"\n\"metadata\":\n  'name': \"{name}\"\n{meta}{spec}"
            )
        }
        3 => {
            let meta = annotations(&format!(", annotations: {{{policy}: keep}}"));
            let spec = spec(&format!("spec: {{{RETENTION}: {{whenDeleted: Delete}}}}\n"));
            format!(
                "metadata: {{name: {name}, labels: {{a: b,\n  c: [d, e]}}{meta}}}\n{spec}kind: {kind}\napiVersion: {api}\n"
            )
        }
        4 => {
            let meta = annotations(&format!(", \"annotations\": {{\"{policy}\": \"keep\"}}"));
            let spec =
                spec(&format!(",\n      \"spec\": {{\"{RETENTION}\": {{\"whenDeleted\": \"Delete\"}}}}"));
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {{name: other}}\n\
                 - {{\"apiVersion\": \"{api}\", \"kind\": \"{kind}\",\n      \"metadata\": {{\"name\": \"{name}\"{meta}}}{spec}}}\n"
            )
        }
        5 => {
            let meta = annotations(&format!("      annotations:\n          {policy}: &how \"keep\"\n"));
            let spec = spec(&format!("    spec:\n      {RETENTION}:\n        whenDeleted: \"Delete\"\n"));
            format!(
                "    apiVersion: {api}\r\n    kind: {kind}\r\n\r\n    metadata:\n{meta}      name: {name}\n{spec}"
            )
        }
        6 => {
            let meta = annotations(&format!("x-kept: &kept\n  {policy}: keep\n"));
            let on = annotations("  annotations:\n    <<: *kept\n    other: too\n");
            let spec = spec(&format!("spec:\n  {RETENTION}: &gone\n    whenDeleted: Delete\n"));
            format!(
                "x-kind: &kind {kind}\n{meta}apiVersion: {api}\nkind: *kind\nmetadata:\n  labels: &labels {{a: b}}\n{on}  name: !!str {name}\n{spec}"
            )
        }
        7 => {
            let meta = annotations(&format!(
                "  annotations:\n    note: |\n      {policy}: delete\n    {policy}: >-\n      keep\n"
            ));
            let spec =
                spec(&format!("spec:\n  {RETENTION}:\n    # gone\n    whenDeleted: |-\n      Delete\n"));
            format!(
                "# Source: shop/templates/x.yaml\nkind: >-\n  {kind}\napiVersion: {api}\nmetadata:\n{meta}  name:\n    {name}\n{spec}"
            )
        }
        8 => {
            let meta = annotations(&format!("  annotations:\n    {policy}: delete\n    {policy}: keep\n"));
            let spec = spec(&format!(
                "spec:\n  volumeClaimTemplates:\n  - metadata: {{name: data}}\n  {RETENTION}: {{\"whenDeleted\" : \"Delete\"}}\n"
            ));
            format!(
                "kind: ConfigMap\nkind: {kind}\napiVersion: {api}\nmetadata:\n  name: nobody\n  name: {name}\n{meta}{spec}"
            )
        }
        _ => {
            let meta = annotations(&format!("    annotations: {{\"{policy}\": \"ke\\u0065p\"}}\n"));
            let spec = spec(&format!("  spec:\n    {RETENTION}:\n      whenDeleted: \"\\x44elete\"\n"));
            let escaped = name.replacen('-', "\\u002d", 1);
            format!(
                "apiVersion: v1\nkind: List\nmetadata: {{}}\nitems:\n-\n  kind: {kind}\n  apiVersion: {api}\n  metadata:\n    name: \"{escaped}\"\n{meta}{spec}"
            )
        }
    }
}

/// What stands around it, and must not be taken for it, nor hide it.
fn among(surroundings: usize, text: &str) -> String {
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: shop\n";
    const DECOY: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: script\ndata:\n  run.sh: |\n    #!/bin/sh\n    cat <<END\n    ---\n    kind: PersistentVolumeClaim\n    metadata:\n      name: not-real\n    END\n";
    match surroundings {
        0 => format!("---\n# Source: shop/templates/one.yaml\n{text}"),
        1 => format!("---\n{SERVICE}---\n{text}\n---\n{DECOY}"),
        2 => format!("---\n{DECOY}\n\n---\n# nothing here\n---\n{text}...\n---\n{SERVICE}"),
        _ => format!("{SERVICE}---\r\n{text}---\n---\n"),
    }
}

#[test]
fn each_of_two_hundred_traps_is_told() {
    let helm = Helm::new();
    let mut traps = 0;
    for (kind, api, told) in KINDS {
        for style in 0..STYLES {
            for surroundings in 0..4 {
                let from = among(surroundings, &written(style, kind, api, "shop-data", false));
                let to = among((surroundings + 1) % 4, "");
                let said = helm.preview(&from, &to, "");
                let how = if kind == "StatefulSet" { "claims" } else { "removed" };
                let line = format!("loses {told} shop-data {how}\n");
                assert!(said.contains(&line), "{said} of\n{from}");
                assert!(!said.contains("not-real") && !said.contains("unreadable"), "{said} of\n{from}");
                traps += 1;
            }
        }
    }
    assert_eq!(traps, 200);
}

#[test]
fn none_of_five_hundred_that_lose_nothing_is_refused() {
    let helm = Helm::new();
    let mut safe = 0;
    for (kind, api, _) in KINDS {
        for style in 0..STYLES {
            let other = (style + 3) % STYLES;
            let here = written(style, kind, api, "shop-data", false);
            let there = written(other, kind, api, "shop-data", false);
            let kept = written(style, kind, api, "shop-data", true);
            // Of another group, it is another thing.
            let foreign = written(style, kind, "storage.example/v1", "shop-data", false);
            let newer = written(other, kind, &api.replace("v1", "v1beta1"), "shop-data", false);
            let indented: String =
                here.lines().map(|line| format!("    {}\n", line.trim_end_matches('\r'))).collect();
            let in_text = format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: texts}}\ndata:\n  x.yaml: |\n{indented}"
            );
            let commented: String = here.lines().map(|line| format!("# {line}\n")).collect();
            let commented =
                format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: texts}}\n{commented}");
            let harmless = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: worker\n";
            let more = format!("{harmless}---\n{here}");
            let fewer = format!("{there}\n---\n# and that is all\n");
            for (at, (from, to, hooks)) in [
                (here.as_str(), there.as_str(), ""),
                (here.as_str(), here.as_str(), ""),
                ("", here.as_str(), ""),
                (kept.as_str(), "", ""),
                (foreign.as_str(), "", ""),
                (newer.as_str(), here.as_str(), ""),
                (in_text.as_str(), "", ""),
                (commented.as_str(), harmless, ""),
                (harmless, "", here.as_str()),
                (more.as_str(), fewer.as_str(), ""),
            ]
            .into_iter()
            .enumerate()
            {
                let said = helm.preview(&among(at % 4, from), &among((at + 1) % 4, to), hooks);
                let refused =
                    said.lines().any(|line| line.starts_with("loses") || line.starts_with("unreadable"));
                assert!(!refused, "{said} of case {at}, style {style}:\n{from}");
                assert_eq!(said.contains("keeps"), at == 3, "{said} of case {at}, style {style}:\n{from}");
                safe += 1;
            }
        }
    }
    assert_eq!(safe, 500);
}

/// Helm deletes what a hook is called like before it makes it, unless the hook says otherwise.
#[test]
fn a_hook_of_the_way_back_takes_away_what_is_there() {
    let helm = Helm::new();
    let hook = |kind: &str, events: &str, policy: &str| {
        let policy = if policy.is_empty() {
            String::new()
        } else {
            format!(", helm.sh/hook-delete-policy: \"{policy}\"")
        };
        format!(
            "---\n# Source: x\napiVersion: v1\nkind: {kind}\nmetadata: {{name: data, annotations: {{helm.sh/hook: \"{events}\", helm.sh/resource-policy: keep{policy}}}}}\n"
        )
    };
    for (events, policy, is_lost) in [
        ("pre-rollback", "", true),
        ("post-install,pre-rollback", "", true),
        ("post-rollback, post-upgrade", "before-hook-creation,hook-succeeded", true),
        ("post-rollback", "hook-succeeded", false),
        ("pre-upgrade", "", false),
        ("pre-rollbacks", "", false),
    ] {
        let said = helm.preview("", "", &hook("PersistentVolumeClaim", events, policy));
        assert_eq!(
            said.contains("loses PersistentVolumeClaim. prod data hook"),
            is_lost,
            "{events} {policy}: {said}"
        );
        assert_eq!(said.contains("loses"), is_lost, "{said}");
        assert!(!helm.preview("", "", &hook("Job", events, policy)).contains("loses"));
    }
}

#[test]
fn claims_go_where_a_stateful_set_gets_smaller() {
    let helm = Helm::new();
    let set = |replicas: &str, policy: &str| {
        format!(
            "kind: StatefulSet\napiVersion: apps/v1\nmetadata: {{name: db}}\nspec: {{{replicas}{RETENTION}: {{whenScaled: {policy}}}}}\n"
        )
    };
    for (from, to, policy, expected) in [
        ("replicas: 3, ", "replicas: 2, ", "Delete", Some("2")),
        ("replicas: 3, ", "", "Delete", Some("1")),
        ("", "", "Delete", None),
        ("replicas: 3, ", "replicas: 1, ", "Retain", None),
    ] {
        let said = helm.preview(&set(from, "Retain"), &set(to, policy), "");
        let line = said.lines().find_map(|line| line.strip_prefix("scales StatefulSet.apps prod db "));
        assert_eq!(line, expected, "{said}");
    }
}

/// Whatever is in a manifest that can't be read may hold data.
#[test]
fn what_can_not_be_read_is_said() {
    let helm = Helm::new();
    for odd in [
        "? [a, b]\n: c\n",
        "kind: PersistentVolumeClaim\n\tmetadata: {}\n",
        "{\"kind\": \"PersistentVolumeClaim\", \"metadata\": {\n",
        "kind: \"Persistent\nmetadata: x\n",
        "metadata:\n  name: x\n kind: y\n",
        "kind: *nobody\napiVersion: v1\nmetadata: {name: a}\n",
        "apiVersion: v1\nkind: ConfigMap\n",
        "- a\n- b\n",
    ] {
        let said = helm.preview(odd, "", "");
        assert!(said.contains("unreadable from "), "{said} of\n{odd}");
        let said = helm.preview("", odd, "");
        assert!(said.contains("unreadable to "), "{said} of\n{odd}");
    }
}

#[test]
fn kinds_that_somebody_names_are_told_as_well() {
    let helm = Helm::new();
    helm.writes("manifest-2", "kind: Cluster\napiVersion: pg.example/v1\nmetadata: {name: a}\n---\nkind: Secret\napiVersion: v1\nmetadata: {name: b}\n");
    helm.writes("manifest-1", "");
    let mut look = look();
    look.arg(helm.dir.path().join("helm")).args([
        "preview",
        "prod",
        "shop",
        "2",
        "1",
        "Cluster.pg.example",
        "Secret",
    ]);
    let said = String::from_utf8(look.output().unwrap().stdout).unwrap();
    assert_eq!(said, "loses Cluster.pg.example prod a removed\nloses Secret. prod b removed\nend 2 0\n");
}

#[test]
fn a_helm_that_fails_is_told_by_its_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let helm = dir.path().join("helm");
    fs::write(&helm, "#!/bin/sh\necho WARNING >&2\necho 'Error: release: not found' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&helm, fs::Permissions::from_mode(0o755)).unwrap();
    for args in
        [["history", "prod", "shop", "9"], ["images", "prod", "shop", "-"], ["history", "prod", "../x", "9"]]
    {
        let mut look = look();
        look.arg(&helm).args(args).args(["label", "1"]);
        let run = look.output().unwrap();
        assert_eq!(run.status.code(), Some(1));
        let said = String::from_utf8(run.stdout).unwrap();
        let why = if args[2] == "shop" {
            "Error: release: not found\n"
        } else {
            "a name is made of a-z, 0-9, - and .\n"
        };
        assert_eq!(said, why);
        assert!(run.stderr.is_empty());
    }
}

/// There are several programs called awk. Those that are here say the same, of all styles at once.
#[test]
fn every_awk_says_the_same() {
    let helm = Helm::new();
    let mut all = String::new();
    let things = KINDS.iter().flat_map(|&(kind, api, _)| (0..STYLES).map(move |style| (kind, api, style)));
    for (at, (kind, api, style)) in things.enumerate() {
        all += &among(at % 4, &written(style, kind, api, &format!("data-{at}"), at % 3 == 0));
    }
    helm.writes("manifest-2", &all);
    helm.writes("manifest-1", "");
    let mut told = Vec::new();
    for awk in ["mawk", "gawk", "busybox awk", "original-awk"] {
        let program = awk.split(' ').next().unwrap();
        if !Path::new("/usr/bin").join(program).exists() {
            println!("{program} is not installed");
            continue;
        }
        helm.writes("awk", &format!("#!/bin/sh\nexec {awk} \"$@\"\n"));
        fs::set_permissions(helm.dir.path().join("awk"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut look = look();
        look.env("PATH", format!("{}:/usr/bin:/bin", helm.dir.path().display()));
        look.arg(helm.dir.path().join("helm")).args(["preview", "prod", "shop", "2", "1"]);
        told.push((awk, String::from_utf8(look.output().unwrap().stdout).unwrap()));
    }
    let (_, first) = told.first().unwrap();
    assert_eq!(first.lines().filter(|line| line.starts_with("loses")).count(), 33, "{first}");
    assert_eq!(first.lines().filter(|line| line.starts_with("keeps")).count(), 17, "{first}");
    assert!(told.iter().all(|(_, said)| said == first), "{told:?}");
}
