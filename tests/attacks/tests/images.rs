//! Two images of a machine that bring an executor each, with one memory between them: an update brings the newer one, and
//! going home brings the older one back. What neither has brought stays of the past.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backstay_config::Plugin as PluginConfig;
use backstay_host::{Engine, Executor};
use backstay_model::{Digest, PluginId};
use backstay_plugins::{LoadError, Loader, Ready, Tier, floors_after, pin};
use backstay_test_attacks::{Keys, guests};
use backstay_trust::{Accepted, Floor, Limits, Permissions};

/// What both images remember of plugins.
struct Machine {
    keys: Keys,
    engine: Engine,
    dir: tempfile::TempDir,
    floors: BTreeMap<PluginId, Floor>,
    pinned: Vec<(PluginId, Accepted)>,
}

impl Machine {
    fn new() -> Self {
        let (floors, pinned) = (BTreeMap::new(), Vec::new());
        let (engine, dir) = (Engine::new().unwrap(), tempfile::tempdir().unwrap());
        Self { keys: Keys::new(), engine, dir, floors, pinned }
    }

    /// An image's bundle: the grant of this sequence.
    fn image(&self, sequence: u64) -> PathBuf {
        let component = guests::executor(guests::MEMORY, "", "");
        let limits = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };
        let shipped = guests::shipped(&self.keys, &component, Permissions::default(), limits, sequence);
        let path = self.dir.path().join(format!("{sequence}.bundle"));
        fs::write(&path, shipped.bundle()).unwrap();
        path
    }

    fn load(&self, bundle: &Path) -> Result<Ready<Executor>, LoadError> {
        let keyring = &self.keys.keyring;
        let loader = Loader { floors: &self.floors, ..Loader::new(Tier::Device, &self.engine, keyring) };
        loader.beside(&self.pinned, |loader| loader.executor(bundle, &PluginConfig::default()))
    }

    /// A start of the image that has this bundle, in the middle of a run of the executor in `run`.
    fn starts(&mut self, bundle: &Path, run: Option<&Path>) -> Digest {
        let own = self.load(bundle).unwrap();
        pin(&mut self.pinned, &own.granted);
        let run = run.map(|run| self.load(run).unwrap());
        let loaded = std::iter::once(&own).chain(&run).map(|ready| &ready.granted);
        self.floors = floors_after(std::mem::take(&mut self.floors), loaded);
        *own.granted.grant()
    }

    fn refuses(&self, bundle: &Path) {
        assert!(matches!(self.load(bundle), Err(LoadError::Untrusted { .. })));
    }
}

#[test]
fn an_update_and_the_way_home_each_find_the_executor_of_their_image() {
    let mut machine = Machine::new();
    let [older, a, b] = [1, 2, 3].map(|sequence| machine.image(sequence));
    let of_a = machine.starts(&a, None);
    // The update: its own executor, and the one that began the install, as often as it starts before that is done.
    for _ in 0..3 {
        assert_ne!(machine.starts(&b, Some(a.as_path())), of_a);
    }
    machine.starts(&b, None);
    machine.refuses(&older);
    // Home, and again, and forward once more.
    for _ in 0..3 {
        assert_eq!(machine.starts(&a, Some(b.as_path())), of_a);
        machine.starts(&b, None);
    }
    machine.refuses(&older);
}

/// Two more images come: the first one's executor has no slot any more.
#[test]
fn the_executor_of_an_image_that_is_gone_stays_gone() {
    let mut machine = Machine::new();
    let [a, b, c] = [1, 2, 3].map(|sequence| machine.image(sequence));
    for image in [&a, &b, &c] {
        machine.starts(image, None);
    }
    machine.refuses(&a);
    machine.starts(&b, None);
}

/// What was accepted is no way past the revokers.
#[test]
fn what_was_taken_back_stays_so_in_both_images() {
    let mut machine = Machine::new();
    let [a, b] = [1, 2].map(|sequence| machine.image(sequence));
    machine.starts(&a, None);
    machine.starts(&b, Some(a.as_path()));
    machine.keys.keyring = machine.keys.revoking(&[&machine.keys.vendor]);
    machine.refuses(&a);
    machine.refuses(&b);
}
