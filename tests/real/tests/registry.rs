//! A plugin bundle by way of a registry that others wrote: the CNCF's, as a process of its own.
//!
//! Here: that it understands what `plugin push` and `plugin pull` say, and what they make of it when it doesn't keep what
//! it was given. Not here: answers that no honest registry gives (`runtime/backstay/src/cli/oci/conversation.rs`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use backstay_test_real::{Built, Certificates, Guests, Registry, built};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// How long a registry may take to tell of what it did.
const PATIENCE: Duration = Duration::from_secs(60);
/// What two pushes and two pulls read, manifests and bundles.
const READS: usize = 6;
/// What one push sends: twice where the bytes go and the bytes, and the manifest.
const SENDS: usize = 5;

/// A folder with keys and a bundle that a fleet would run.
struct Desk {
    dir: TempDir,
    program: PathBuf,
    /// Who is asked for by a registry: a name and a password, as the environment has them.
    known_as: Option<(&'static str, &'static str)>,
}

impl Desk {
    fn new() -> Self {
        let Built { programs, plugins } = built();
        let dir = tempfile::tempdir().unwrap();
        let desk = Self { dir, program: programs.join("backstay"), known_as: None };
        let component = plugins.join("policy-tree.wasm").display().to_string();
        let manifest = plugins.join("policy-tree.toml").display().to_string();
        desk.does("keys init --fleet acme --dir keys");
        desk.does(&format!(
            "plugin sign --manifest {manifest} --component {component} --key keys/vendor.pem --sequence 4 --out tree.release"
        ));
        desk.does(&format!(
            "plugin grant --release tree.release --component {component} --key keys/operator.pem --keyring keys/keyring \
             --targets pulley64 --sequence 2 --out tree.bundle"
        ));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The number that it ends with, and what it says.
    fn runs(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::new(&self.program);
        command.args(arguments.split_whitespace()).current_dir(self.dir.path());
        // Nobody's own passwords are for a test.
        command.env("DOCKER_CONFIG", self.path("docker"));
        for (name, value) in ["BACKSTAY_REGISTRY_USER", "BACKSTAY_REGISTRY_PASSWORD"].iter().zip(self.words())
        {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let done = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code().unwrap(), text(&done.stdout), text(&done.stderr))
    }

    fn words(&self) -> [Option<&'static str>; 2] {
        [self.known_as.map(|(user, _)| user), self.known_as.map(|(_, password)| password)]
    }

    fn does(&self, arguments: &str) -> String {
        let (code, out, err) = self.runs(arguments);
        assert_eq!(code, 0, "backstay {arguments}:\n{out}{err}");
        out
    }

    fn says(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.does(&format!("{arguments} --output json"))).unwrap()
    }

    /// Fails with this number, and says these words.
    fn fails(&self, arguments: &str, number: i32, words: &str) {
        let (code, out, err) = self.runs(arguments);
        assert_eq!(code, number, "backstay {arguments}:\n{out}{err}");
        assert!(err.contains(words), "{err}");
        assert!(!self.path("none.bundle").exists(), "something is left of it");
    }

    fn bundle(&self) -> Vec<u8> {
        fs::read(self.path("tree.bundle")).unwrap()
    }
}

/// How many requests of these kinds a registry has had.
fn had(registry: &Registry, kinds: &[&str]) -> usize {
    let is_one = |line: &str| kinds.iter().any(|kind| line.contains(&format!("\"{kind} /v2/")));
    registry.log().lines().filter(|line| is_one(line)).count()
}

#[test]
fn a_bundle_goes_by_a_registry_and_what_was_changed_there_is_refused() {
    let Some(registry) = Registry::start(Guests::All, None) else { return };
    let desk = Desk::new();
    let host = registry.host();
    let push = format!("plugin push tree.bundle {host}/acme/tree:0.1.0 --keyring keys/keyring");
    let pushed = desk.says(&push);
    assert_eq!((&pushed["schema"], &pushed["changed"]), (&"backstay.io/plugin-push/v1".into(), &true.into()));
    assert_eq!(pushed["plugin"]["id"], "backstay/policy-tree");
    let again = desk.says(&push);
    assert_eq!((&again["changed"], &again["sent_bytes"]), (&false.into(), &0.into()));

    let pulled =
        desk.says(&format!("plugin pull {host}/acme/tree:0.1.0 --keyring keys/keyring --out by-tag.bundle"));
    assert_eq!((&pulled["digest"], &pulled["verified"]), (&pushed["digest"], &true.into()));
    let pinned = pushed["pinned"].as_str().unwrap();
    assert_eq!(pinned, format!("{host}/acme/tree@sha256:{}", pushed["digest"].as_str().unwrap()));
    desk.does(&format!("plugin pull {pinned} --out by-digest.bundle"));
    for name in ["by-tag.bundle", "by-digest.bundle"] {
        assert!(fs::read(desk.path(name)).unwrap() == desk.bundle(), "{name} is another");
    }
    // A registry tells of a request after it has answered; once it has told of all that was read, it has of what was sent.
    let until = Instant::now() + PATIENCE;
    while had(&registry, &["GET"]) < READS && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(had(&registry, &["POST", "PUT"]), SENDS, "nothing goes there twice:\n{}", registry.log());
    // A second name costs no second copy.
    let second = desk.says(&format!("plugin push tree.bundle {host}/acme/tree:stable"));
    assert_eq!(second["digest"], pushed["digest"]);
    assert!(second["sent_bytes"].as_u64().unwrap() < 4096, "{second}");

    let out = "--out none.bundle";
    desk.fails(&format!("plugin pull {host}/acme/tree:9.9.9 {out}"), 3, "404 Not Found: MANIFEST_UNKNOWN");
    desk.fails(&format!("plugin pull {host}/acme/other:0.1.0 {out}"), 3, "is the reference right?");

    let pull = format!("plugin pull {host}/acme/tree:0.1.0 {out}");
    let layer = registry.blob(&format!("{:x}", Sha256::digest(desk.bundle())));
    for_each_damage(&layer, || desk.fails(&pull, 5, "the bundle"));
    // It looks at manifests by itself, and would rather give none. What it gives is refused here.
    let manifest = registry.blob(pushed["digest"].as_str().unwrap());
    for_each_damage(&manifest, || {
        let (code, _, err) = desk.runs(&pull);
        assert!([1, 5].contains(&code) && !desk.path("none.bundle").exists(), "it ended with {code}: {err}");
    });
    desk.does(&pull);
}

/// A file with a flipped bit, with half of it gone, and with a byte too many; then as it was.
fn for_each_damage(file: &Path, is_refused: impl Fn()) {
    let good = fs::read(file).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&flipped[..], &good[..good.len() / 2], &[&good[..], b" "].concat()] {
        fs::write(file, bad).unwrap();
        is_refused();
    }
    fs::write(file, good).unwrap();
}

#[test]
fn a_registry_that_asks_for_a_password_is_told_one_and_nobody_else_is() {
    let Some(registry) = Registry::start(Guests::Ann, None) else { return };
    let mut desk = Desk::new();
    let host = registry.host();
    let push = format!("plugin push tree.bundle {host}/acme/tree:0.1.0");
    desk.fails(&push, 4, "set BACKSTAY_REGISTRY_USER and BACKSTAY_REGISTRY_PASSWORD");
    desk.known_as = Some(("ann", "guessed"));
    desk.fails(&push, 4, "401 Unauthorized");
    desk.known_as = Some(("ann", "secret"));
    let (_, out, err) = desk.runs(&push);
    assert!(!out.contains("secret") && !err.contains("secret"), "{out}{err}");
    desk.does(&format!("plugin pull {host}/acme/tree:0.1.0 --keyring keys/keyring --out with.bundle"));

    // As `docker login` leaves it: "ann:secret", for this registry and for no other.
    desk.known_as = None;
    fs::create_dir(desk.path("docker")).unwrap();
    let write = |for_host: &str| {
        let auths = serde_json::json!({ "auths": { for_host: { "auth": "YW5uOnNlY3JldA==" } } });
        fs::write(desk.path("docker/config.json"), auths.to_string()).unwrap();
    };
    let pull = |out: &str| format!("plugin pull {host}/acme/tree:0.1.0 --out {out}");
    write("registry.example");
    desk.fails(&pull("none.bundle"), 4, "asks for a name and a password");
    write(&host);
    desk.does(&pull("again.bundle"));
    assert!(fs::read(desk.path("again.bundle")).unwrap() == desk.bundle());
}

#[test]
fn a_registry_with_a_certificate_is_believed_if_it_goes_back_to_one_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let Certificates { ca, certificate, key } = Certificates::make(dir.path(), "registry", "127.0.0.1");
    let Some(registry) = Registry::start(Guests::Ann, Some((&certificate, &key))) else { return };
    let desk = Desk { known_as: Some(("ann", "secret")), ..Desk::new() };
    let (place, ca) = (format!("{}/acme/tree:0.1.0", registry.host()), ca.display().to_string());
    desk.does(&format!("plugin push tree.bundle {place} --registry-ca {ca}"));
    desk.does(&format!("plugin pull {place} --registry-ca {ca} --out safe.bundle"));
    assert!(fs::read(desk.path("safe.bundle")).unwrap() == desk.bundle());

    let other = tempfile::tempdir().unwrap();
    let stranger = Certificates::make(other.path(), "registry", "127.0.0.1").ca;
    let stranger = stranger.display();
    desk.fails(
        &format!("plugin pull {place} --registry-ca {stranger} --out none.bundle"),
        7,
        "cannot reach 127.0.0.1",
    );
}
