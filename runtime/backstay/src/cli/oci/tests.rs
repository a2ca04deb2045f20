//! A bundle goes into an image layout and comes out of it, and what happens where somebody has been at the files.

use std::{fs, path::PathBuf};

use backstay_model::{FleetId, PluginId, UnixMs, Version};
use backstay_trust::{
    Artifact as Code, Bundle, EngineProfile, Grant, Limits, Permissions, PluginRelease, SecretKey, Stamp,
    Statement, Target, World,
};
use oci_spec::image::ANNOTATION_REF_NAME;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{artifact::BUNDLE, *};

/// A bundle whose code is these bytes. Its signatures are right, and nobody is known to trust their keys.
pub(super) fn bundle(code: &[u8]) -> Vec<u8> {
    let stamp = |sequence| Stamp { sequence, issued: UnixMs(1_700_000_000_000), expires: None };
    let release = PluginRelease {
        id: PluginId::parse("acme/executor-pump").unwrap(),
        version: Version::parse("1.2.0").unwrap(),
        component: file::digest_of(b"component"),
        component_bytes: 9,
        world: World::parse("backstay:plugin/executor@0.1.0").unwrap(),
        wants: Vec::new(),
        limits: Limits::DEFAULT,
    };
    let release = release.sign(&SecretKey::from_random(&[1; 32]), stamp(7)).unwrap();
    let grant = Grant {
        release: Statement::read(&release).unwrap().digest(),
        permissions: Permissions::default(),
        limits: Limits::DEFAULT,
        artifacts: vec![Code {
            target: Target::parse("pulley64").unwrap(),
            engine: EngineProfile::parse("test").unwrap(),
            compiler: Version::parse("1.0.0").unwrap(),
            digest: file::digest_of(code),
            length: code.len() as u64,
        }],
    };
    let fleet = FleetId::parse("acme").unwrap();
    let grant = grant.sign(&SecretKey::from_random(&[2; 32]), fleet, stamp(3)).unwrap();
    Bundle::new(&release, &grant, &[code]).encode().unwrap()
}

pub(super) fn claim(bundle: &[u8]) -> Claim {
    Claim::of(&Bundle::decode(bundle).unwrap()).unwrap()
}

/// A folder for layouts.
struct Shelf {
    dir: TempDir,
}

impl Shelf {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("shelf")
    }

    fn place(&self, at: &str) -> Place {
        format!("oci:{}{at}", self.folder().display()).parse().unwrap()
    }

    fn push(&self, bundle: &[u8], tag: &str) -> Result<Pushed, Failure> {
        push(bundle, &claim(bundle), &self.place(&format!(":{tag}")), &Access::default())
    }

    fn pull(&self, at: &str) -> Result<Pulled, Failure> {
        pull(&self.place(at), &Access::default())
    }

    fn refused(&self, at: &str) -> Failure {
        self.pull(at).unwrap_err()
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder().join("blobs/sha256").join(digest.to_string())
    }

    fn index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder().join("index.json")).unwrap()).unwrap()
    }

    /// Gives what is pushed as `tag` another manifest, and all that points to it: nothing but what it says is wrong.
    fn forge(&self, tag: &str, change: impl FnOnce(&mut Value)) {
        let mut index = self.index();
        let entries = index["manifests"].as_array_mut().unwrap();
        let entry =
            entries.iter_mut().find(|entry| entry["annotations"][ANNOTATION_REF_NAME] == tag).unwrap();
        let old = entry["digest"].as_str().unwrap().strip_prefix(SHA256).unwrap().parse().unwrap();
        let mut manifest = serde_json::from_slice(&fs::read(self.blob(&old)).unwrap()).unwrap();
        change(&mut manifest);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = file::digest_of(&bytes);
        fs::write(self.blob(&digest), &bytes).unwrap();
        entry["digest"] = format!("{SHA256}{digest}").into();
        entry["size"] = bytes.len().into();
        fs::write(self.folder().join("index.json"), index.to_string()).unwrap();
    }
}

#[test]
fn a_bundle_comes_out_as_it_went_in() {
    let (shelf, bundle) = (Shelf::new(), bundle(b"code"));
    let pushed = shelf.push(&bundle, "1.2.0").unwrap();
    assert!(pushed.changed && pushed.replaced.is_none() && pushed.sent > bundle.len() as u64);
    let pulled = shelf.pull(":1.2.0").unwrap();
    assert_eq!((pulled.digest, &pulled.bytes), (pushed.digest, &bundle));
    assert_eq!(shelf.pull(&format!("@{SHA256}{}", pushed.digest)).unwrap().bytes, bundle);
    let again = shelf.push(&bundle, "1.2.0").unwrap();
    assert_eq!((again.sent, again.changed, again.digest), (0, false, pushed.digest));
    assert_eq!(Layout::open(&shelf.folder()).unwrap().bundles().unwrap(), ["1.2.0"]);
}

/// What others read: the same bundle makes the same manifest for ever, or a pinned digest would be worth nothing.
#[test]
fn the_manifest_is_the_same_each_time() {
    let bundle = bundle(b"code");
    let shown = |_| {
        let artifact = Artifact::of(&bundle, &claim(&bundle)).unwrap();
        let bytes = artifact.manifest().bytes.to_vec();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        (bytes, serde_json::to_string_pretty(&value).unwrap() + "\n")
    };
    let all: Vec<_> = (0..20).map(shown).collect();
    assert!(all.iter().all(|one| one == &all[0]), "the order of its fields changes");
    assert_eq!(all[0].1, include_str!("manifest.json"));
}

#[test]
fn a_second_name_leaves_the_first_alone_and_a_name_that_moves_leaves_the_bundle() {
    let (shelf, old, new) = (Shelf::new(), bundle(b"old"), bundle(b"new"));
    let first = shelf.push(&old, "1.2.0").unwrap();
    shelf.push(&old, "stable").unwrap();
    let moved = shelf.push(&new, "stable").unwrap();
    assert_eq!(moved.replaced, Some(first.digest));
    assert_eq!(shelf.pull(":1.2.0").unwrap().bytes, old);
    assert_eq!(shelf.pull(":stable").unwrap().bytes, new);
    assert_eq!(shelf.pull(&format!("@{SHA256}{}", first.digest)).unwrap().bytes, old);
    assert_eq!(shelf.index()["manifests"].as_array().unwrap().len(), 2);
    let left: Vec<_> =
        fs::read_dir(shelf.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing is left beside: {left:?}");
}

/// Another tool has put an image on the same shelf. It stays there, and isn't taken for a bundle.
#[test]
fn what_others_keep_there_stays() {
    let (shelf, bundle) = (Shelf::new(), bundle(b"code"));
    shelf.push(&bundle, "image").unwrap();
    shelf.forge("image", |manifest| {
        manifest.as_object_mut().unwrap().remove("artifactType");
        manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    });
    shelf.push(&bundle, "1.2.0").unwrap();
    let failure = shelf.refused(":image");
    assert_eq!(failure.exit(), Exit::Untrusted);
    let why = "it is of type application/vnd.oci.image.config.v1+json, and a bundle is of type";
    assert!(failure.to_string().contains(why), "{failure}");
    assert_eq!(shelf.pull(":1.2.0").unwrap().bytes, bundle);
}

#[test]
fn a_damaged_part_is_found_and_to_push_again_mends_it() {
    let (shelf, bundle) = (Shelf::new(), bundle(b"code"));
    let pushed = shelf.push(&bundle, "1.2.0").unwrap();
    for digest in [file::digest_of(&bundle), pushed.digest] {
        let path = shelf.blob(&digest);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        let longer: Vec<u8> = good.iter().chain(b" ").copied().collect();
        for bad in [&flipped[..], &longer, &good[..good.len() - 1], b""] {
            fs::write(&path, bad).unwrap();
            assert_eq!(shelf.refused(":1.2.0").exit(), Exit::Untrusted);
        }
        assert!(shelf.push(&bundle, "1.2.0").unwrap().changed);
        assert_eq!(shelf.pull(":1.2.0").unwrap().bytes, bundle);
        fs::remove_file(&path).unwrap();
        assert_eq!(shelf.refused(":1.2.0").exit(), Exit::NotFound);
        shelf.push(&bundle, "1.2.0").unwrap();
    }
}

#[test]
fn a_length_that_lies_is_found_and_a_huge_one_is_not_read() {
    let (shelf, bundle) = (Shelf::new(), bundle(b"code"));
    let has = bundle.len() as u64;
    for says in [0, has - 1, has + 1, Bundle::BYTES_MAX as u64 + 1, u64::MAX] {
        shelf.push(&bundle, "1.2.0").unwrap();
        shelf.forge("1.2.0", |manifest| manifest["layers"][0]["size"] = says.into());
        assert_eq!(shelf.refused(":1.2.0").exit(), Exit::Untrusted, "{says}");
    }
    let pushed = shelf.push(&bundle, "1.2.0").unwrap();
    fs::write(shelf.blob(&pushed.digest), vec![b' '; MANIFEST_BYTES_MAX as usize + 1]).unwrap();
    let failure = shelf.refused(":1.2.0");
    assert!(failure.to_string().contains("goes on behind its 1048576 bytes"), "{failure}");
}

#[test]
fn what_is_no_bundle_is_not_taken_for_one() {
    let (shelf, bundle) = (Shelf::new(), bundle(b"code"));
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 6] = [
        ("no plugin bundle", |manifest| manifest["artifactType"] = "application/vnd.example".into()),
        ("no plugin bundle", |manifest| {
            manifest["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
        }),
        ("its layer is of type", |manifest| manifest["layers"][0]["mediaType"] = "text/plain".into()),
        ("it has 0 layers", |manifest| manifest["layers"] = json!([])),
        ("it has 2 layers", |manifest| {
            let layer = manifest["layers"][0].clone();
            manifest["layers"].as_array_mut().unwrap().push(layer);
        }),
        ("no manifest that can be read", |manifest| {
            manifest["layers"][0]["digest"] = "../../etc/passwd:x".into();
        }),
    ];
    for (what, change) in changes {
        shelf.push(&bundle, "1.2.0").unwrap();
        shelf.forge("1.2.0", change);
        let failure = shelf.refused(":1.2.0");
        assert_eq!(failure.exit(), Exit::Untrusted);
        assert!(failure.to_string().contains(what), "{failure}");
    }
    // The type is said by the configuration where the manifest has none for it: so some tools write it.
    shelf.push(&bundle, "1.2.0").unwrap();
    shelf.forge("1.2.0", |manifest| {
        manifest.as_object_mut().unwrap().remove("artifactType");
        manifest["config"]["mediaType"] = BUNDLE.into();
    });
    assert_eq!(shelf.pull(":1.2.0").unwrap().bytes, bundle);
}

#[test]
fn a_layout_that_is_damaged_or_none_is_told_apart_from_a_name_that_is_not_there() {
    let (shelf, bundle) = (Shelf::new(), bundle(b"code"));
    assert_eq!(shelf.refused(":1.2.0").exit(), Exit::NotFound, "there is no folder");
    shelf.push(&bundle, "1.2.0").unwrap();
    let failure = shelf.refused(":1.3.0");
    assert_eq!(failure.exit(), Exit::NotFound);
    assert!(failure.to_string().contains("it has 1.2.0"), "{failure}");
    let nothing = format!("@{SHA256}{}", file::digest_of(b"nothing"));
    assert_eq!(shelf.refused(&nothing).exit(), Exit::NotFound);

    let index = shelf.folder().join("index.json");
    let good = fs::read(&index).unwrap();
    fs::write(&index, &good[..good.len() / 2]).unwrap();
    assert_eq!(shelf.refused(":1.2.0").exit(), Exit::Untrusted);
    assert_eq!(shelf.push(&bundle, "1.2.0").unwrap_err().exit(), Exit::Untrusted, "it is not written over");
    fs::write(&index, &good).unwrap();

    let mut twice = shelf.index();
    let mut other = twice["manifests"][0].clone();
    other["digest"] = nothing.trim_start_matches('@').into();
    twice["manifests"].as_array_mut().unwrap().push(other);
    fs::write(&index, twice.to_string()).unwrap();
    assert_eq!(shelf.refused(":1.2.0").exit(), Exit::Refused, "nobody can tell which is meant");

    fs::write(shelf.folder().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert_eq!(shelf.refused(":1.2.0").exit(), Exit::Untrusted);
}

#[test]
fn nothing_is_made_among_other_files_and_nothing_under_a_digest() {
    let (shelf, bundle) = (Shelf::new(), bundle(b"code"));
    fs::create_dir(shelf.folder()).unwrap();
    fs::write(shelf.folder().join("letters.txt"), "x").unwrap();
    assert_eq!(shelf.push(&bundle, "1.2.0").unwrap_err().exit(), Exit::Refused);
    fs::remove_file(shelf.folder().join("letters.txt")).unwrap();
    let digest = format!("@{SHA256}{}", file::digest_of(&bundle));
    let failure = push(&bundle, &claim(&bundle), &shelf.place(&digest), &Access::default()).unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
    shelf.push(&bundle, "1.2.0").unwrap();
}

/// Pipelines push to one folder at once, that isn't there yet. Nobody's name is lost.
#[test]
fn many_who_push_at_once_all_find_their_name() {
    let shelf = Shelf::new();
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let shelf = &shelf;
            scope.spawn(move || shelf.push(&bundle(&[number]), &format!("v{number}")).unwrap());
        }
    });
    for number in 0..8_u8 {
        assert_eq!(shelf.pull(&format!(":v{number}")).unwrap().bytes, bundle(&[number]));
    }
    assert_eq!(Layout::open(&shelf.folder()).unwrap().bundles().unwrap().len(), 8);
}
