//! From a cluster to a commit, with real files, keys and Git; and what must not get there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_model::{Answer, Digest, FleetId, Output, TargetId, Version};
use backstay_trust::{Keyring, KeyringParts, Revocation, Role, SecretKey, Stamp, Statement};
use serde_json::json;
use tempfile::TempDir;

use super::{
    bundle::{Believed, Folder},
    capture::Capture,
    commit::Commit,
    document::Document,
    live::Source,
    show::Show,
    sign::Sign,
    verify::Verify,
};
use crate::{Desk, Exit, Failure, Serve, file, signer::Signing};

const SERVE: Serve = Serve {
    run: |_| Ok(()),
    check: |_| Ok(()),
    inspect: |_, _| backstay_targets::Reading::default(),
    schema: || serde_json::Value::Null,
    get: |_, _, _| Ok(Vec::new()),
};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

/// A checkout with a bundle's folder in it, the keys of a fleet, and what kubectl printed.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        let role = |seed: u8, name: &str| {
            fs::write(bench.path(name), key(seed).to_pem().as_bytes()).unwrap();
            Role::of(key(seed).public())
        };
        let fleet = FleetId::parse("shop").unwrap();
        let first = KeyringParts::first(
            fleet,
            role(1, "operator.pem"),
            role(2, "release.pem"),
            role(3, "director.pem"),
        );
        let parts = KeyringParts { revoker: role(4, "revoker.pem"), ..first };
        fs::write(bench.path("keyring"), Keyring::new(parts).unwrap().encode()).unwrap();
        bench.prints("safe");
        git(bench.dir.path(), &["init", "--quiet", "--initial-branch=main", "checkout"]);
        for (name, value) in
            [("user.name", "Ann"), ("user.email", "ann@shop.example"), ("core.hooksPath", "/dev/null")]
        {
            bench.git(&["config", name, value]);
        }
        fs::write(bench.path("checkout/README"), "A checkout.\n").unwrap();
        bench.git(&["add", "README"]);
        bench.git(&["commit", "--quiet", "-m", "Begin"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path("checkout/lkg/shop")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.path("checkout"), arguments)
    }

    /// What kubectl prints, with this for the mode.
    fn prints(&self, mode: &str) {
        let metadata = json!({ "name": "shop", "namespace": "prod", "resourceVersion": "812" });
        let config = json!({ "kind": "ConfigMap", "metadata": metadata, "data": {
            "mode": mode, "app.properties": "a=1\nb=2\n", "db-password": "hunter2", "url": "amqp://u:hunter3@mq",
        } });
        let secret = json!({ "kind": "Secret", "metadata": metadata, "data": { "token": "aHVudGVyNA==", "app.yaml": "YTogMQ==" } });
        let list = json!({ "kind": "List", "items": [config, secret] });
        fs::write(self.path("objects.json"), list.to_string()).unwrap();
    }

    fn capture(&self, version: &str) -> Capture {
        Capture {
            service: TargetId::parse("shop").unwrap(),
            objects: vec![],
            source: Source::files(&[self.path("objects.json")]),
            version: Some(Version::parse(version).unwrap()),
            digest: None,
            rules: vec!["configuration:secret/shop/app.yaml".parse().unwrap()],
            classes: None,
            folder: Folder::of(self.folder()),
            again: false,
        }
    }

    fn sign(&self, key: &str) -> Sign {
        let (signing, keyring) = (Signing::of(self.path(key)), self.path("keyring"));
        Sign { folder: Folder::of(self.folder()), signing, keyring, sequence: None }
    }

    fn believed(&self) -> Believed {
        Believed::of(self.folder(), self.path("keyring"))
    }

    fn captures(&self, version: &str) -> Result<Exit, Failure> {
        self.capture(version).run(&Desk::quiet(), SERVE)
    }

    fn signs(&self, key: &str) -> Result<Exit, Failure> {
        self.sign(key).run(&Desk::quiet())
    }

    /// How what kubectl prints differs.
    fn verifies(&self) -> Result<Exit, Failure> {
        let source = Source::files(&[self.path("objects.json")]);
        Verify { believed: self.believed(), source }.run(&Desk::quiet(), SERVE)
    }

    fn shows(&self, believed: Believed, object: &str, part: Option<usize>) -> Result<String, Failure> {
        Show { object: object.parse().unwrap(), part, believed }.text()
    }

    fn commits(&self, branch: &str, push: bool) -> Result<Exit, Failure> {
        Commit { believed: self.believed(), branch: branch.into(), push }.run(&Desk::quiet())
    }

    fn with_bundle() -> Self {
        let bench = Self::new();
        bench.captures("2.1.0").unwrap();
        bench.signs("release.pem").unwrap();
        bench
    }

    fn document(&self) -> Document {
        Document::read(&fs::read(self.folder().join("lkg.json")).unwrap()).unwrap()
    }
}

fn git(at: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(at).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn fails(result: Result<impl std::fmt::Debug, Failure>, exit: Exit, said: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.exit(), exit, "{failure}");
    assert!(failure.to_string().contains(said), "{failure}");
}

/// A release is confirmed; its configuration is read, signed, committed, and shown to an executor. No credential gets anywhere.
#[test]
fn a_configuration_goes_from_a_cluster_to_a_commit() {
    let bench = Bench::with_bundle();
    assert_eq!(bench.verifies().unwrap(), Exit::Done);
    assert_eq!(bench.commits("main", false).unwrap(), Exit::Done);
    assert_eq!(bench.git(&["status", "--porcelain"]), "");
    let listed = bench.git(&["show", "--stat", "--format=%s%n%b", "--name-only"]);
    let digest = file::digest_of(b"2.1.0");
    assert_eq!(
        listed,
        format!(
            "Keep the configuration of shop 2.1.0 as known to be good\nRelease {digest}\n\n\n\
             lkg/shop/.gitattributes\nlkg/shop/lkg.json\nlkg/shop/lkg.signature"
        )
    );
    let whole = bench.shows(bench.believed(), "prod/configmap/shop", None).unwrap();
    let config: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(config["data"], json!({ "mode": "safe", "app.properties": "a=1\nb=2\n" }));
    assert_eq!(config["credentials"], json!(["db-password", "url"]));
    let secret = bench.shows(bench.believed(), "prod/secret/shop", None).unwrap();
    let secret: serde_json::Value = serde_json::from_str(&secret).unwrap();
    assert_eq!(
        (&secret["data"], &secret["credentials"]),
        (&json!({ "app.yaml": "YTogMQ==" }), &json!(["token"]))
    );
    for file in ["lkg.json", "lkg.signature"] {
        let bytes = fs::read(bench.folder().join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter"), "{file}");
        assert!(!String::from_utf8_lossy(&bytes).contains("aHVudGVyNA"), "{file}");
    }
    // A second time there is nothing to do.
    let head = bench.git(&["rev-parse", "HEAD"]);
    assert_eq!(bench.commits("main", false).unwrap(), Exit::Done);
    assert_eq!(bench.git(&["rev-parse", "HEAD"]), head);
}

#[test]
fn what_drifted_is_told_and_never_taken_for_good() {
    let bench = Bench::with_bundle();
    bench.prints("fast");
    assert_eq!(bench.verifies().unwrap(), Exit::Differs);
    assert_eq!(bench.captures("2.1.0").unwrap(), Exit::Done);
    assert_eq!(bench.verifies().unwrap(), Exit::Differs, "the same release is not captured again");
    assert_eq!(bench.captures("2.2.0").unwrap(), Exit::Done);
    fails(bench.verifies(), Exit::Untrusted, "is not signed");
    let again = Capture { again: true, ..bench.capture("2.2.0") };
    assert_eq!(again.run(&Desk::quiet(), SERVE).unwrap(), Exit::Done);
    let other = Capture { service: TargetId::parse("cart").unwrap(), ..bench.capture("2.2.0") };
    fails(other.run(&Desk::quiet(), SERVE), Exit::Refused, "is of service shop");
}

#[test]
fn an_object_that_is_gone_differs() {
    let bench = Bench::with_bundle();
    fs::write(bench.path("objects.json"), json!({ "kind": "List", "items": [] }).to_string()).unwrap();
    assert_eq!(bench.verifies().unwrap(), Exit::Differs);
    let named = Capture { objects: vec!["prod/configmap/shop".parse().unwrap()], ..bench.capture("2.2.0") };
    fails(named.run(&Desk::quiet(), SERVE), Exit::NotFound, "prod/configmap/shop isn't there");
    fails(bench.captures("2.2.0"), Exit::Usage, "it has 0 objects");
}

#[test]
fn only_what_the_release_keys_signed_is_believed() {
    let bench = Bench::with_bundle();
    for other in ["operator.pem", "director.pem", "revoker.pem"] {
        fails(bench.signs(other), Exit::Untrusted, "nobody would believe this bundle");
    }
    let path = bench.folder().join("lkg.json");
    let (signed, signature) =
        (fs::read_to_string(&path).unwrap(), fs::read(bench.folder().join("lkg.signature")).unwrap());
    fs::write(&path, signed.replace("\"safe\"", "\"fast\"")).unwrap();
    fails(bench.verifies(), Exit::Untrusted, "the file is not the one that was signed");
    fails(
        bench.shows(bench.believed(), "prod/configmap/shop", None),
        Exit::Untrusted,
        "is not to be believed",
    );
    fails(bench.commits("main", false), Exit::Untrusted, "is not to be believed");
    // What nobody can read nobody can vouch for.
    fs::write(&path, signed.replace("    ", "\t")).unwrap();
    fails(bench.signs("release.pem"), Exit::Untrusted, "not set out as it is written here");
    fs::write(&path, &signed).unwrap();
    // A right signature for the same file that names another release.
    let mut document = bench.document();
    document.release.digest = Digest([9; 32]);
    let release = backstay_model::Release {
        version: document.release.version.clone(),
        digest: document.release.digest,
        length: 0,
        security_epoch: 0,
    };
    let good = backstay_trust::KnownGood::of(document.service, &release, signed.as_bytes());
    let stamp = Statement::read(&signature).unwrap().stamp();
    let bytes = good.sign(&key(2), FleetId::parse("shop").unwrap(), stamp).unwrap();
    fs::write(bench.folder().join("lkg.signature"), bytes).unwrap();
    fails(bench.verifies(), Exit::Untrusted, "are of different releases");
    fs::write(bench.folder().join("lkg.signature"), signature).unwrap();
    assert_eq!(bench.verifies().unwrap(), Exit::Done);
}

#[test]
fn an_old_bundle_and_a_revoked_one_are_refused() {
    let bench = Bench::with_bundle();
    let object = "prod/configmap/shop";
    assert!(bench.shows(bench.believed().within("1h"), object, None).is_ok());
    let mut sign = Statement::read(&fs::read(bench.folder().join("lkg.signature")).unwrap()).unwrap();
    let stamp = Stamp { issued: backstay_model::UnixMs(1), ..sign.stamp() };
    let document = bench.document();
    let (version, digest) = (document.release.version.clone(), document.release.digest);
    let release = backstay_model::Release { version, digest, length: 0, security_epoch: 0 };
    let good = backstay_trust::KnownGood::of(document.service.clone(), &release, document.write().as_bytes());
    sign = good.draft(FleetId::parse("shop").unwrap(), stamp).unwrap();
    sign.sign(&key(2)).unwrap();
    fs::write(bench.folder().join("lkg.signature"), sign.encode().unwrap()).unwrap();
    fails(bench.shows(bench.believed().within("90d"), object, None), Exit::Refused, "90d are allowed");
    assert!(bench.shows(bench.believed(), object, None).is_ok(), "nobody said how old it may be");

    let revocation = Revocation { digests: vec![digest], ..Revocation::default() };
    let stamp = Stamp { sequence: 1, issued: file::now(), expires: None };
    let bytes = revocation.sign(&key(4), FleetId::parse("shop").unwrap(), stamp).unwrap();
    fs::write(bench.path("1.revocation"), bytes).unwrap();
    let heeding = bench.believed().heeding(bench.path("1.revocation"));
    fails(bench.shows(heeding, object, None), Exit::Untrusted, "revoked");
}

#[test]
fn a_long_object_is_shown_in_parts_of_one_whole() {
    let bench = Bench::new();
    let metadata = json!({ "name": "shop", "namespace": "prod" });
    let data = json!({ "a": "x".repeat(6000), "b": "ü\n".repeat(1000) });
    let config = json!({ "kind": "ConfigMap", "metadata": metadata, "data": data });
    fs::write(bench.path("objects.json"), config.to_string()).unwrap();
    bench.captures("2.1.0").unwrap();
    bench.signs("release.pem").unwrap();
    let shows = |part| bench.shows(bench.believed(), "prod/configmap/shop", part);
    let whole = shows(None).unwrap();
    let whole = whole.trim_end();
    let mut together = String::new();
    for part in 1..=3 {
        let text = shows(Some(part)).unwrap();
        assert!(text.len() <= 4096);
        let (head, text) = text.split_once('\n').unwrap();
        assert_eq!(head, format!("part {part} of 3 of {}", file::digest_of(whole.as_bytes())));
        together.push_str(text);
    }
    assert_eq!(together, whole);
    fails(shows(Some(4)), Exit::Usage, "they are 1 to 3");
    fails(shows(Some(0)), Exit::Usage, "they are 1 to 3");
    fails(
        bench.shows(bench.believed(), "prod/configmap/cart", None),
        Exit::NotFound,
        "there are prod/configmap/shop",
    );
}

#[test]
fn a_commit_is_of_the_bundle_alone() {
    let bench = Bench::with_bundle();
    let head = || bench.git(&["rev-parse", "HEAD"]);
    let before = head();
    fails(bench.commits("production", false), Exit::Refused, "is on branch main, and production was named");
    fs::write(bench.path("checkout/README"), "Changed.\n").unwrap();
    fs::write(bench.path("checkout/new"), "Not ours.\n").unwrap();
    bench.git(&["add", "README"]);
    fails(bench.commits("main", false), Exit::Refused, "something else is staged");
    bench.git(&["reset", "--quiet"]);
    bench.git(&["update-ref", "MERGE_HEAD", "HEAD"]);
    fails(bench.commits("main", false), Exit::Refused, "in the middle of something");
    bench.git(&["update-ref", "-d", "MERGE_HEAD"]);
    bench.git(&["checkout", "--quiet", "--detach"]);
    fails(bench.commits("main", false), Exit::Refused, "is on no branch");
    bench.git(&["checkout", "--quiet", "main"]);
    assert_eq!(head(), before);
    assert_eq!(bench.commits("main", false).unwrap(), Exit::Done);
    // What others have changed and not staged stays as it is.
    assert_eq!(bench.git(&["status", "--porcelain"]), "M README\n?? new");
    let names = bench.git(&["diff", "--name-only", &before, "HEAD"]);
    assert_eq!(names, "lkg/shop/.gitattributes\nlkg/shop/lkg.json\nlkg/shop/lkg.signature");
}

/// A filter that changes bytes would have everybody else read another file than was signed.
#[test]
fn a_checkout_that_changes_bytes_is_refused() {
    let bench = Bench::with_bundle();
    bench.git(&["config", "filter.upper.clean", "tr a-z A-Z"]);
    fs::create_dir_all(bench.path("checkout/.git/info")).unwrap();
    fs::write(bench.path("checkout/.git/info/attributes"), "*.json filter=upper\n").unwrap();
    fails(bench.commits("main", false), Exit::Refused, "git would store other bytes for lkg.json");
    assert_eq!(bench.git(&["status", "--porcelain"]), "?? lkg/", "nothing is left staged");
    fs::remove_file(bench.path("checkout/.git/info/attributes")).unwrap();
    bench.git(&["config", "core.autocrlf", "true"]);
    assert_eq!(bench.commits("main", false).unwrap(), Exit::Done);
}

#[test]
fn it_is_pushed_where_that_was_asked_for() {
    let bench = Bench::with_bundle();
    git(bench.dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "origin"]);
    let origin = bench.path("origin");
    bench.git(&["remote", "add", "origin", origin.to_str().unwrap()]);
    bench.git(&["push", "--quiet", "--set-upstream", "origin", "main"]);
    let there = || git(&origin, &["rev-parse", "main"]);
    let before = there();
    bench.commits("main", false).unwrap();
    assert_eq!(there(), before);
    bench.commits("main", true).unwrap();
    assert_eq!(there(), bench.git(&["rev-parse", "HEAD"]));
    // Somebody else was there before.
    git(bench.dir.path(), &["clone", "--quiet", origin.to_str().unwrap(), "other"]);
    let author = ["-c", "user.name=Ben", "-c", "user.email=ben@shop.example"];
    let commit = ["commit", "--quiet", "--allow-empty", "-m", "Other"];
    git(&bench.path("other"), &[&author[..], &commit[..]].concat());
    git(&bench.path("other"), &["push", "--quiet"]);
    bench.prints("fast");
    bench.captures("2.2.0").unwrap();
    bench.signs("release.pem").unwrap();
    fails(bench.commits("main", true), Exit::Unreachable, "git push failed");
}

#[test]
fn a_bundle_outside_of_a_checkout_is_not_committed() {
    let bench = Bench::with_bundle();
    fs::remove_dir_all(bench.path("checkout/.git")).unwrap();
    fails(bench.commits("main", false), Exit::Usage, "a folder in a Git checkout");
}

#[test]
fn the_api_server_is_asked_as_the_server_asks_it() {
    let bench = Bench::new();
    let read = |get| {
        let source = Source::endpoint("kubernetes");
        let objects = vec!["prod/configmap/shop".parse().unwrap()];
        let capture = Capture { source, objects, ..bench.capture("2.1.0") };
        capture.run(&Desk::quiet(), Serve { get, ..SERVE })
    };
    let here: fn(&Path, &backstay_model::Name, &[String]) -> _ = |config, endpoint, paths| {
        assert_eq!((config, endpoint.as_str()), (Path::new("backstay.toml"), "kubernetes"));
        let path = "/api/v1/namespaces/prod/configmaps/shop#/kind,/metadata/name,";
        assert!(paths[0].starts_with(path) && paths.len() == 1, "{paths:?}");
        let metadata = json!({ "name": "shop", "namespace": "prod", "resourceVersion": "9" });
        let object = json!({ "kind": "ConfigMap", "metadata": metadata, "data": { "mode": "safe" } });
        let body = Output { bytes: object.to_string().into(), whole: None };
        Ok(vec![Answer::Response { status: 200, body }])
    };
    assert_eq!(read(here).unwrap(), Exit::Done);
    assert_eq!(bench.document().objects[0].resource_version, "9");
    fs::remove_dir_all(bench.folder()).unwrap();
    let missing = |_: &Path, _: &backstay_model::Name, _: &[String]| {
        Ok(vec![Answer::Response { status: 404, body: Output::default() }])
    };
    fails(read(missing), Exit::NotFound, "isn't there");
    let refused =
        |_: &Path, _: &backstay_model::Name, _: &[String]| Ok(vec![Answer::Refused("no such path".into())]);
    fails(read(refused), Exit::Refused, "no such path");
    let forbidden = |_: &Path, _: &backstay_model::Name, _: &[String]| {
        Ok(vec![Answer::Response { status: 403, body: Output::default() }])
    };
    fails(read(forbidden), Exit::Refused, "status 403");
    fails(read(|_, _, _| Err("no endpoint".into())), Exit::Configuration, "no endpoint");
    let nowhere = Capture { source: Source::files(&[]), ..bench.capture("2.1.0") };
    fails(nowhere.run(&Desk::quiet(), SERVE), Exit::Usage, "nothing says where the objects are");
}

#[test]
fn rules_come_from_a_file_too() {
    let bench = Bench::new();
    let path = bench.path("classes.toml");
    let capture = || Capture { classes: Some(path.clone()), rules: vec![], ..bench.capture("2.1.0") };
    fs::write(
        &path,
        "classes = [\"configuration:configmap/shop/url\", \"credential:configmap/shop/mode\"]\n",
    )
    .unwrap();
    capture().run(&Desk::quiet(), SERVE).unwrap();
    let document = bench.document();
    assert_eq!(document.objects[0].credentials, ["db-password", "mode"]);
    assert!(document.objects[0].configuration.contains_key("url"));
    assert_eq!(document.objects[1].credentials, ["app.yaml", "token"]);
    for text in ["classes = [\"app.*\"]", "rules = []", "classes = 1", "\u{0}"] {
        fs::write(&path, text).unwrap();
        fails(
            Capture { again: true, ..capture() }.run(&Desk::quiet(), SERVE),
            Exit::Configuration,
            "holds no rules",
        );
    }
}
