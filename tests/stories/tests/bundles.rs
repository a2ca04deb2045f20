//! Stories about a bundle that a device is steered to: that its policy is not left on trial with nobody to judge it, and that a hold
//! holds for what is on its way.
//!
//! Here: the core of upgrades between a server, a shelf of bundles and two policies, with what an agent does for it. Not here: how two
//! policies are compared (the core's own stories of it), the real policies, and files.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{
    Backoff, Bench, Bundle, Confidence, Configured, Fetched, Freshness, Identity, Retries, Second, Steered,
    Terms, Upgrade, UpgradeEffect, UpgradeInput,
};
use backstay_model::{
    BootId, CohortId, DeviceId, Digest, Direction, Generation, Millis, Mono, PluginId, PluginRole, Reach,
    Release, RolloutId, Selector, Standing, Steer, Ticket, Word,
};
use backstay_test_stories::release;

const OLD: &str = "1.0.0";
const NEW: &str = "2.0.0";
const RETRIES: Retries = Retries { attempts: 3, backoff: Backoff { base: Millis(1000), cap: Millis(8000) } };

/// A bundle of a policy. Its grant has the digest of the bundle turned round.
fn bundle(version: &str) -> Bundle {
    let release = release(version);
    let grant = Digest(release.digest.0.map(|byte| !byte));
    Bundle { release, grant }
}

/// A device with a policy of its own, the old one, and an agent that does what the core wants done.
struct Pump {
    now: Mono,
    upgrade: Upgrade,
    plugins: Confidence,
    proven: Vec<Digest>,
    candidate: Option<Digest>,
    /// Policies that trap when they are asked.
    failing: Vec<Digest>,
    on_its_way: Option<(Ticket, Release)>,
    fetched: u32,
    looked_into: u32,
    generation: u64,
}

impl Pump {
    fn new() -> Self {
        let mut pump = Self {
            now: Mono(0),
            upgrade: Upgrade::new(7),
            plugins: Confidence::default(),
            proven: vec![bundle(OLD).grant],
            candidate: None,
            failing: Vec::new(),
            on_its_way: None,
            fetched: 0,
            looked_into: 0,
            generation: 0,
        };
        let own = Configured {
            role: PluginRole::Policy,
            named: Some(release(OLD).digest),
            usable: Some(bundle(OLD)),
        };
        pump.gives(UpgradeInput::Up { boot: BootId(1), configured: vec![own], held: false });
        pump.gives(UpgradeInput::Enrolled(Identity {
            device: DeviceId::parse("pump-7").unwrap(),
            cohort: CohortId::parse("canary").unwrap(),
            labels: Vec::new(),
        }));
        pump
    }

    fn gives(&mut self, input: UpgradeInput) {
        for effect in self.upgrade.step(self.now, &RETRIES, input) {
            match effect {
                UpgradeEffect::Fetch { ticket, bundle } => {
                    self.fetched += 1;
                    self.on_its_way = Some((ticket, bundle));
                }
                UpgradeEffect::Try(bundle) => self.candidate = Some(bundle.grant),
                UpgradeEffect::Promote(bundle) => {
                    self.candidate.take_if(|candidate| *candidate == bundle.grant);
                    self.proven.insert(0, bundle.grant);
                }
                UpgradeEffect::Dismiss(bundle) => {
                    if self.candidate.take_if(|candidate| *candidate == bundle.grant).is_none() {
                        self.proven.retain(|grant| *grant != bundle.grant);
                    }
                }
                UpgradeEffect::Record(_) | UpgradeEffect::Refuse(_) | UpgradeEffect::Report => {}
            }
        }
        let bench = Bench { candidate: self.candidate.as_ref(), proven: &self.proven };
        let Confidence { quarantine, succession } = &mut self.plugins;
        succession.seat(bench, &Terms::default(), quarantine);
        // As the agent does: a trial that has nobody to be compared with any more would never end.
        if self.upgrade.is_trying() && !self.decides() {
            self.gives(UpgradeInput::Alone);
        }
    }

    /// Whether there is one that may be asked, apart from the one on trial.
    fn decides(&self) -> bool {
        self.plugins.quarantine.choose(&self.proven).is_some()
    }

    /// The server's next message, to be changed before it is heard.
    fn steer(&mut self) -> Steer {
        self.generation += 1;
        Steer {
            rollout: RolloutId::parse("p-1").unwrap(),
            generation: Generation(self.generation),
            cohort: CohortId::parse("canary").unwrap(),
            selector: Selector::All,
            release: release(NEW),
            back: None,
            reach: Reach::ALL,
            direction: Direction::Forward,
            frozen: false,
            policies: Vec::new(),
            reconnect_window: Millis::from_secs(10),
        }
    }

    fn hears(&mut self, steer: Steer) {
        let (digest, by) = (Digest([steer.generation.0 as u8; 32]), Digest([3; 32]));
        let steered = Steered { steer, digest, freshness: Freshness::Fresh, second: Second::Missing, by };
        self.gives(UpgradeInput::Steered(Box::new(steered)));
    }

    fn is_steered_to_the_new_one(&mut self) {
        let steer = self.steer();
        self.hears(steer);
    }

    /// What is on its way is here. It is looked into if anybody still waits for it, and may run.
    fn bundle_comes(&mut self) {
        let (ticket, release) = self.on_its_way.take().unwrap();
        let fetched = if self.upgrade.awaits(ticket) {
            self.looked_into += 1;
            Fetched::Ready {
                plugin: PluginId::parse("acme/pump").unwrap(),
                role: PluginRole::Policy,
                grant: bundle(release.version.as_str()).grant,
                rival: self.decides(),
            }
        } else {
            Fetched::CalledOff
        };
        self.gives(UpgradeInput::Fetched { ticket, fetched });
    }

    fn waits(&mut self, secs: u64) {
        self.now = self.now.after(Millis::from_secs(secs));
        self.gives(UpgradeInput::Tick);
    }

    /// A window ends, and a question is asked: whose answer counts. Who traps at it has a strike more.
    fn is_judged_by(&mut self) -> Option<Digest> {
        self.waits(60);
        let bench = Bench { candidate: self.candidate.as_ref(), proven: &self.proven };
        for grant in self.plugins.succession.turn(bench, &self.plugins.quarantine).ask {
            if !self.failing.contains(&grant) {
                return Some(grant);
            }
            if self.plugins.quarantine.strike(self.now, grant).is_some() {
                self.gives(UpgradeInput::Quarantined { grant, why: "it trapped".into() });
            }
        }
        None
    }

    /// What it says that runs, that a failure would leave, and where it stands.
    fn says(&mut self) -> (Option<Release>, Option<Release>, Standing) {
        let report = self.upgrade.report_at(self.now, 0, None).unwrap();
        (report.runs, report.trusted, report.standing)
    }
}

fn on_trial() -> (Option<Release>, Option<Release>, Standing) {
    (Some(release(NEW)), Some(release(OLD)), Standing::OnTrial)
}

fn settled_on(version: &str) -> (Option<Release>, Option<Release>, Standing) {
    (Some(release(version)), Some(release(version)), Standing::Settled)
}

/// The new policy is compared with the old one when the old one breaks down. Nobody is left to be compared with: the device doesn't wait
/// for that for ever, with nobody who judges it. The new one has the job from then on.
#[test]
fn a_policy_on_trial_gets_the_job_when_the_one_that_has_it_breaks_down() {
    let (mut pump, old, new) = (Pump::new(), bundle(OLD).grant, bundle(NEW).grant);
    pump.is_steered_to_the_new_one();
    pump.bundle_comes();
    assert_eq!(pump.says(), on_trial());
    assert_eq!(pump.is_judged_by(), Some(old), "the new one is only asked beside");
    pump.failing = vec![old];
    for _ in 0..2 {
        assert_eq!(pump.is_judged_by(), None);
        assert_eq!(pump.says(), on_trial(), "it may have been a passing failure");
    }
    assert_eq!(pump.is_judged_by(), None, "that was the third");
    assert_eq!(pump.is_judged_by(), Some(new));
    assert_eq!(pump.says(), settled_on(NEW));
}

/// An operator tells a device to hold, or the server holds or freezes the rollout, while a bundle is on its way. It comes all the same: nobody
/// looks into it, and nothing of it is tried until the hold is over.
#[test]
fn a_bundle_that_comes_after_a_hold_is_not_tried() {
    type Change = fn(&mut Pump);
    let holds: [(Change, Change); 3] = [
        (
            |pump| pump.gives(UpgradeInput::Told(Word::Hold)),
            |pump| pump.gives(UpgradeInput::Told(Word::Thaw)),
        ),
        (
            |pump| {
                let steer = Steer { direction: Direction::Hold, ..pump.steer() };
                pump.hears(steer);
            },
            Pump::is_steered_to_the_new_one,
        ),
        (
            |pump| {
                let steer = Steer { frozen: true, ..pump.steer() };
                pump.hears(steer);
            },
            Pump::is_steered_to_the_new_one,
        ),
    ];
    for (holds, lifts) in holds {
        let mut pump = Pump::new();
        pump.is_steered_to_the_new_one();
        holds(&mut pump);
        pump.bundle_comes();
        pump.waits(24 * 3600);
        assert_eq!((pump.looked_into, pump.candidate), (0, None), "nobody looks into it");
        assert_eq!((pump.says(), pump.is_judged_by()), (settled_on(OLD), Some(bundle(OLD).grant)));
        lifts(&mut pump);
        pump.bundle_comes();
        assert_eq!((pump.looked_into, pump.fetched, pump.says()), (1, 2, on_trial()));
        // One that is over before the bundle is here costs nothing.
        let mut pump = Pump::new();
        pump.is_steered_to_the_new_one();
        holds(&mut pump);
        lifts(&mut pump);
        pump.bundle_comes();
        assert_eq!((pump.looked_into, pump.fetched, pump.says()), (1, 1, on_trial()));
    }
}
