//! Plugins on their way to a cohort: published, led in waves, turned round, apart from the product.

use backstay_api::{ApiError, Call, Kind, Operation, PluginView, Shelf, StartRollout, Started};
use backstay_host::{Machine, engine_profile};
use backstay_model::{
    BootId, Channel, Compared, Digest, Direction, Mono, PluginId, PluginReport, Release, Standing, Steer,
    UnixMs, Version,
};
use backstay_trust::{
    Artifact, Bundle, DeviceKind, Grant, Limits, Listener, OrderKind, Permissions, PluginRelease, Stamp,
};
use backstay_wire::{Leaf, decode};

use super::super::world::{NEW, World, ann, cohort, fleet, key, keyring};
use super::{fleet_of_three, reached};

const PLUGIN: &str = "acme/policy-pump";

/// The bundle of a version, granted under this sequence.
pub(super) fn bundle(version: &str, sequence: u64) -> Vec<u8> {
    let (code, stamp) = (version.as_bytes(), Stamp { sequence, issued: UnixMs(1), expires: None });
    let digest = Bundle::digest(code);
    let release = PluginRelease {
        id: PluginId::parse(PLUGIN).unwrap(),
        version: Version::parse(version).unwrap(),
        component: digest,
        component_bytes: 1,
        world: backstay_host::world_policy(),
        wants: vec![],
        limits: Limits::DEFAULT,
    };
    let release = release.sign(&key(16), stamp).unwrap();
    let artifact = Artifact {
        target: Machine::Aarch64Linux.target(),
        engine: engine_profile(),
        compiler: Version::parse("48.0.8").unwrap(),
        digest,
        length: code.len() as u64,
    };
    let grant = Grant {
        release: *keyring().verify_plugin_release(&release).unwrap().digest(),
        permissions: Permissions::default(),
        limits: Limits::DEFAULT,
        artifacts: vec![artifact],
    };
    let grant = grant.sign(&key(1), fleet(), stamp).unwrap();
    Bundle::new(&release, &grant, &[code]).encode().unwrap()
}

fn release(version: &str, sequence: u64) -> Release {
    let bytes = bundle(version, sequence);
    let (version, digest) = (Version::parse(version).unwrap(), Bundle::digest(&bytes));
    Release { version, digest, length: bytes.len() as u64, security_epoch: 0 }
}

impl World {
    fn uploads(&mut self, bytes: &[u8]) -> Digest {
        let digest = Bundle::digest(bytes);
        Shelf::open(self.state().join("artifacts")).unwrap().put(&digest, bytes).unwrap();
        digest
    }

    fn publishes_plugin(&mut self, bytes: &[u8]) -> Result<PluginView, ApiError> {
        let digest = self.uploads(bytes);
        self.calls(|reply| Call::PublishPlugin(ann(), digest, reply))
    }

    fn pushes_plugin(&mut self, version: &str) -> Result<Started, ApiError> {
        let request = StartRollout {
            cohort: cohort("canary"),
            plugin: PluginId::parse(PLUGIN).ok(),
            version: Version::parse(version).unwrap(),
            rollout: None,
            back: None,
            labels: None,
            plan: Default::default(),
        };
        self.calls(|reply| Call::Start(ann(), request, reply))
    }

    fn plugin_steer(&self) -> Option<Steer> {
        let bytes = self.broker.get("backstay/1/pumps/steer/canary/plugins")?;
        let cohort = cohort("canary");
        let listener = Listener { cohort: Some(&cohort), device: None };
        let order = keyring().verify_order(bytes, OrderKind::SteerPlugins, listener, None).unwrap();
        Some(decode(order.payload(), usize::MAX).unwrap())
    }

    /// A device says which plugin it has. 1.0 is the one of its configuration.
    fn reports_plugin(&mut self, name: &str, sequence: u64, runs: &str, trusted: &str, standing: Standing) {
        let steered = self.plugin_steer().map(|steer| (steer.rollout, steer.generation));
        let condemned = match (&self.plugin_steer(), runs) {
            (Some(steer), "1.0") if standing == Standing::Settled && sequence > 2 => {
                vec![steer.release.digest]
            }
            _ => vec![],
        };
        let report = PluginReport {
            sequence,
            at: Mono(sequence),
            boot: BootId(1),
            cohort: cohort("canary"),
            steered,
            runs: Some(release(runs, 1)),
            trusted: Some(release(trusted, 1)),
            standing,
            condemned,
            compared: Some(Compared { deciding: false, windows: 4, differed: 0 }),
            journal: 0,
        };
        let (topic, payload) = self.pumps[name].signs(Leaf::Plugins, DeviceKind::Plugins, sequence, &report);
        self.broker.insert(topic.clone(), payload.clone());
        self.brings(&topic, payload);
    }

    fn plugin_view(&mut self) -> backstay_api::CohortView {
        self.calls(|reply| Call::Cohort(cohort("canary"), Channel::Plugins, reply)).unwrap()
    }
}

fn fleet_with_plugins() -> World {
    let mut world = fleet_of_three();
    for name in ["pump-1", "pump-2", "pump-3"] {
        world.reports_plugin(name, 1, "1.0", "1.0", Standing::Settled);
    }
    let view = world.publishes_plugin(&bundle("1.1", 1)).unwrap();
    assert_eq!((view.plugin.as_str(), view.sequence, view.bundle), (PLUGIN, 1, release("1.1", 1)));
    world
}

/// The whole way, and the product's steering isn't touched by it.
#[test]
fn a_plugin_goes_out_wave_by_wave_beside_the_product() {
    let mut world = fleet_with_plugins();
    world.pushes("canary", NEW).unwrap();
    let started = world.pushes_plugin("1.1").unwrap();
    assert_eq!(world.pushes_plugin("1.1").unwrap_err().kind, Kind::Refused, "one is under way");
    let (product, first) = (world.steer("canary").unwrap(), world.plugin_steer().unwrap());
    assert_eq!(
        (first.rollout.clone(), first.release.clone(), first.back.clone()),
        (started.rollout, release("1.1", 1), None)
    );
    assert_ne!(first.rollout, product.rollout);
    assert_eq!(world.plugin_view().reached, 2, "half of three, rounded up");
    for name in ["pump-1", "pump-2", "pump-3"] {
        world.reports_plugin(name, 2, "1.1", "1.0", Standing::OnTrial);
    }
    let shown = world.calls(Call::Fleet).unwrap();
    let plugins = shown.devices[0].plugins.clone().unwrap();
    assert_eq!((plugins.standing, plugins.compared.unwrap().windows), (Standing::OnTrial, 4));
    assert_eq!(shown.cohorts.iter().filter(|view| view.channel == Channel::Plugins).count(), 1);
    for sequence in [3, 4] {
        for name in ["pump-1", "pump-2", "pump-3"] {
            world.reports_plugin(name, sequence, "1.1", "1.1", Standing::Settled);
        }
        world.waits_secs(25);
    }
    let view = world.plugin_view();
    assert_eq!((view.phase.as_str(), view.confirmed), ("complete", 3));
    assert_eq!(world.steer("canary").unwrap().direction, Direction::Forward);
    assert_eq!(world.refused(), []);
    // It is all there after a restart, and goes on from there.
    world.kills();
    world.starts();
    world.connects();
    assert_eq!(world.plugin_view().phase, "complete");
    assert_eq!(world.calls(Call::Plugins).unwrap().len(), 1);
}

/// A plugin that one device condemns turns the cohort's plugins, and nothing else.
#[test]
fn a_plugin_that_fails_turns_its_own_channel_only() {
    let mut world = fleet_with_plugins();
    world.pushes("canary", NEW).unwrap();
    world.pushes_plugin("1.1").unwrap();
    let reached = reached(&mut world);
    assert!(!reached.is_empty());
    let steer = world.plugin_steer().unwrap();
    let first = ["pump-1", "pump-2", "pump-3"]
        .into_iter()
        .find(|name| backstay_model::Reach::to_hold(&steer.rollout, &name.parse().unwrap()) <= steer.reach);
    let first = first.unwrap();
    world.reports_plugin(first, 2, "1.1", "1.0", Standing::OnTrial);
    world.reports_plugin(first, 3, "1.0", "1.0", Standing::Settled);
    let turned = world.plugin_steer().unwrap();
    assert_eq!((turned.direction, turned.frozen), (Direction::Home, true));
    assert_eq!(world.steer("canary").unwrap().direction, Direction::Forward, "the product goes on");
    let out = world.calls(Call::Quarantine).unwrap();
    assert_eq!((out.len(), out[0].release.clone()), (1, Some(release("1.1", 1))));
    assert_eq!(world.pushes_plugin("1.1").unwrap_err().kind, Kind::Refused);
    world
        .calls(|reply| Call::Operate(ann(), cohort("canary"), Channel::Plugins, Operation::Thaw, reply))
        .unwrap();
    assert!(!world.plugin_view().frozen);
}

/// What comes late, twice, or is of another device changes nothing.
#[test]
fn a_late_report_of_plugins_changes_nothing() {
    let mut world = fleet_with_plugins();
    world.reports_plugin("pump-1", 5, "1.0", "1.0", Standing::Settled);
    world.reports_plugin("pump-1", 4, "1.1", "1.1", Standing::Settled);
    let (_, why, _) = world.refused().pop().unwrap();
    assert!(why.contains("report 4 comes after report 5"), "{why}");
    let (topic, payload) = {
        let report = world.broker[&super::topic("pump-2", Leaf::Plugins)].clone();
        (super::topic("pump-3", Leaf::Plugins), report)
    };
    let before = world.refused().len();
    world.brings(&topic, payload);
    assert_eq!(world.refused().len(), before + 1, "it is not its key");
    // Over a restart the floor holds.
    world.stops();
    world.starts();
    world.connects();
    world.reports_plugin("pump-1", 4, "1.1", "1.1", Standing::Settled);
    assert!(world.refused().iter().any(|(_, why, _)| why.contains("report 4 comes after")));
}

/// What may not run in the fleet, is older, or isn't here, is not handed out.
#[test]
fn only_a_granted_bundle_is_published_and_the_newest_grant_counts() {
    let mut world = fleet_with_plugins();
    let regranted = world.publishes_plugin(&bundle("1.1", 2)).unwrap();
    assert_eq!(regranted.sequence, 2);
    assert_eq!(world.publishes_plugin(&bundle("1.1", 1)).unwrap_err().kind, Kind::Refused);
    world.pushes_plugin("1.1").unwrap();
    assert_eq!(world.plugin_steer().unwrap().release, release("1.1", 2));
    let mut forged = bundle("1.2", 3);
    let at = forged.len() / 2;
    forged[at] ^= 1;
    let error = world.publishes_plugin(&forged).unwrap_err();
    assert_eq!(error.kind, Kind::Untrusted, "{error:?}");
    let absent = world.calls(|reply| Call::PublishPlugin(ann(), Digest([9; 32]), reply)).unwrap_err();
    assert_eq!(absent.kind, Kind::NotFound);
    assert_eq!(world.pushes_plugin("7.7").unwrap_err().kind, Kind::NotFound);
}
