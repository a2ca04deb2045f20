//! Stories of a device whose plugins are steered: step by step, and what it says of itself after each.

use alloc::{boxed::Box, format, vec};

use backstay_model::{
    CohortId, DeviceId, Direction, HandoverStep, Label, Millis, PluginId, Reach, Selector, Transience,
    Version,
};

use super::*;
use crate::{Backoff, Second, Steered, succession};

const RETRIES: Retries = Retries { attempts: 3, backoff: Backoff { base: Millis(1000), cap: Millis(8000) } };

/// The director's key.
const DIRECTOR: Digest = Digest([3; 32]);

fn release(byte: u8) -> Release {
    let version = Version::parse(&format!("{byte}.0")).unwrap();
    Release { version, digest: Digest([byte; 32]), length: 1000, security_epoch: 0 }
}

/// The grant of bundle 2 is 102.
fn bundle(byte: u8) -> Bundle {
    Bundle { release: release(byte), grant: grant(byte) }
}

fn grant(byte: u8) -> Digest {
    Digest([byte + 100; 32])
}

fn ready(role: PluginRole, byte: u8, rival: bool) -> Fetched {
    let plugin = PluginId::parse("acme/pump").unwrap();
    Fetched::Ready { plugin, role, grant: grant(byte), rival }
}

/// A device with a policy of its own, which is bundle 1, and whatever happened to it.
struct Pump {
    upgrade: Upgrade,
    now: Mono,
    generation: u64,
    told: Vec<UpgradeEffect>,
}

impl Pump {
    fn new() -> Self {
        let mut pump = Self { upgrade: Upgrade::new(7), now: Mono(1000), generation: 0, told: Vec::new() };
        pump.starts(&[(PluginRole::Policy, 1)]);
        pump.gives(UpgradeInput::Enrolled(Identity {
            device: DeviceId::parse("pump-1").unwrap(),
            cohort: CohortId::parse("canary").unwrap(),
            labels: vec![Label::parse("site=basel").unwrap()],
        }));
        pump
    }

    fn starts(&mut self, configured: &[(PluginRole, u8)]) {
        let configured = [PluginRole::Policy, PluginRole::Executor].map(|role| {
            let byte = configured.iter().find(|(of, _)| *of == role).map(|(_, byte)| *byte);
            Configured { role, named: byte.map(|byte| release(byte).digest), usable: byte.map(bundle) }
        });
        self.gives(UpgradeInput::Up { boot: BootId(1), configured: configured.into(), held: false });
    }

    fn gives(&mut self, input: UpgradeInput) -> &[UpgradeEffect] {
        self.told = self.upgrade.step(self.now, &RETRIES, input);
        &self.told
    }

    fn steer(&mut self, direction: Direction, rollout: &str, to: u8) -> Steer {
        self.generation += 1;
        Steer {
            rollout: RolloutId::parse(rollout).unwrap(),
            generation: Generation(self.generation),
            cohort: CohortId::parse("canary").unwrap(),
            selector: Selector::All,
            release: release(to),
            back: None,
            reach: Reach::ALL,
            direction,
            frozen: false,
            policies: Vec::new(),
            reconnect_window: Millis(0),
        }
    }

    fn hears(&mut self, steer: Steer) -> &[UpgradeEffect] {
        self.hears_from(DIRECTOR, steer)
    }

    fn hears_from(&mut self, by: Digest, steer: Steer) -> &[UpgradeEffect] {
        let (digest, freshness, second) = (Digest([9; 32]), Freshness::Fresh, Second::Missing);
        self.gives(UpgradeInput::Steered(Box::new(Steered { steer, digest, freshness, second, by })))
    }

    fn is_steered(&mut self, direction: Direction, rollout: &str, to: u8) -> &[UpgradeEffect] {
        let steer = self.steer(direction, rollout, to);
        self.hears(steer)
    }

    /// The bundle that it wants to have now, if it wants one.
    fn fetches(&self) -> Option<(Ticket, u8)> {
        self.told.iter().find_map(|effect| {
            let UpgradeEffect::Fetch { ticket, bundle } = effect else { return None };
            Some((*ticket, bundle.digest.0[0]))
        })
    }

    fn came(&mut self, role: PluginRole) -> &[UpgradeEffect] {
        let (ticket, byte) = self.fetches().expect("something was wanted");
        let rival = role == PluginRole::Policy && self.upgrade.seats.trusted(role).is_some();
        self.fetched(ticket, ready(role, byte, rival))
    }

    fn fetched(&mut self, ticket: Ticket, fetched: Fetched) -> &[UpgradeEffect] {
        self.gives(UpgradeInput::Fetched { ticket, fetched })
    }

    fn moves(&mut self, byte: u8, step: HandoverStep, goes_on: bool) -> &[UpgradeEffect] {
        self.gives(UpgradeInput::Handover { grant: grant(byte), step, goes_on })
    }

    fn settles(&mut self, byte: u8) {
        self.moves(byte, HandoverStep::TakesOver { from: grant(1), differed: 0, windows: 4 }, true);
        let (runs, _, standing) = self.says();
        assert_eq!((runs, standing), (byte, Standing::OnTrial), "it decides, and may still be sent back");
        self.moves(byte, HandoverStep::Settles { differed: 0, windows: 3 }, false);
    }

    fn refused(&mut self, byte: u8) {
        let why = "it differed in 2 of 3 windows".into();
        self.moves(byte, HandoverStep::Refused { back_to: grant(1), was_deciding: false, why }, false);
    }

    /// What runs, what is trusted, and where it stands.
    fn says(&mut self) -> (u8, u8, Standing) {
        let report = self.upgrade.report_at(self.now, 0, None).unwrap();
        let byte = |bundle: Option<Release>| bundle.map_or(0, |bundle| bundle.digest.0[0]);
        (byte(report.runs), byte(report.trusted), report.standing)
    }

    fn does(&self, effect: &UpgradeEffect) -> bool {
        self.told.contains(effect)
    }
}

#[test]
fn a_policy_is_tried_beside_the_one_that_decides_and_then_takes_over() {
    let mut pump = Pump::new();
    assert_eq!(pump.says(), (1, 1, Standing::Settled));
    pump.is_steered(Direction::Forward, "p-1", 2);
    assert_eq!(pump.says(), (1, 1, Standing::Installing));
    pump.came(PluginRole::Policy);
    assert!(pump.does(&UpgradeEffect::Try(bundle(2))));
    assert_eq!(pump.says(), (2, 1, Standing::OnTrial));
    pump.settles(2);
    assert!(pump.does(&UpgradeEffect::Promote(bundle(2))));
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    // The same message again is nothing new.
    let again = pump.upgrade.steering.clone().unwrap();
    assert_eq!(pump.hears(again), []);
}

#[test]
fn one_that_is_refused_is_condemned_first_and_not_taken_again_until_somebody_says_so() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    pump.came(PluginRole::Policy);
    pump.refused(2);
    let steps: Vec<&UpgradeStep> = pump
        .told
        .iter()
        .filter_map(|effect| {
            let UpgradeEffect::Record(Event::Upgrade(upgrade)) = effect else { return None };
            Some(&upgrade.step)
        })
        .collect();
    assert!(
        matches!(
            steps.as_slice(),
            [UpgradeStep::Condemned { .. }, UpgradeStep::Left { to: Some(to), cause: Cause::IsCondemned }]
                if *to == release(1)
        ),
        "{steps:?}"
    );
    assert!(pump.does(&UpgradeEffect::Dismiss(bundle(2))));
    assert_eq!(pump.says(), (1, 1, Standing::Settled));
    assert_eq!(pump.upgrade.report_at(pump.now, 0, None).unwrap().condemned, [Digest([2; 32])]);
    pump.is_steered(Direction::Forward, "p-2", 2);
    assert_eq!(pump.fetches(), None, "whatever the rollout is called");
    // Who lifts the bundle lifts what else is held against it, by its grant.
    assert_eq!(pump.upgrade.grant_of(&release(2).digest), Some(grant(2)));
    // Its grant or its bundle, either name will do.
    pump.gives(UpgradeInput::Told(Word::Lift(grant(2))));
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(2));
}

#[test]
fn one_that_fails_later_is_left_for_the_one_before_it() {
    let mut pump = Pump::new();
    for byte in [2, 3] {
        pump.is_steered(Direction::Forward, &format!("p-{byte}"), byte);
        pump.came(PluginRole::Policy);
        pump.moves(byte, HandoverStep::TakesOver { from: grant(1), differed: 0, windows: 0 }, false);
        assert_eq!(pump.says(), (byte, byte, Standing::Settled), "terms without a soak");
    }
    pump.gives(UpgradeInput::Quarantined { grant: grant(3), why: "it trapped".into() });
    assert_eq!(pump.says(), (2, 2, Standing::Settled), "not the one of the configuration");
    // Of two that came by steering the older one is kept, of three the oldest goes.
    pump.gives(UpgradeInput::Quarantined { grant: grant(2), why: "it trapped".into() });
    assert_eq!(pump.says(), (1, 1, Standing::Settled));
    let own = UpgradeInput::Quarantined { grant: grant(1), why: "it trapped".into() };
    assert_eq!(pump.gives(own), [], "what the configuration names is not steering's to take");
}

#[test]
fn home_leads_to_the_one_before_and_that_rollout_never_goes_forward_again() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    pump.came(PluginRole::Policy);
    pump.settles(2);
    pump.is_steered(Direction::Home, "p-1", 2);
    assert!(pump.does(&UpgradeEffect::Dismiss(bundle(2))));
    assert_eq!(pump.says(), (1, 1, Standing::Settled));
    pump.is_steered(Direction::Forward, "p-1", 2);
    assert_eq!(pump.fetches(), None);
    pump.is_steered(Direction::Forward, "p-2", 2);
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(2), "going on is a new rollout");
    // Turned round while it is on its way, it is not tried when it comes.
    let (ticket, _) = pump.fetches().unwrap();
    pump.is_steered(Direction::Home, "p-2", 2);
    assert!(!pump.upgrade.awaits(ticket), "it is not even looked into");
    assert_eq!(pump.fetched(ticket, ready(PluginRole::Policy, 2, true)), []);
    assert_eq!(pump.says(), (1, 1, Standing::Settled));
}

#[test]
fn an_executor_has_the_job_as_soon_as_it_is_here_and_gives_it_back_when_it_fails() {
    let mut pump = Pump::new();
    pump.starts(&[(PluginRole::Policy, 1), (PluginRole::Executor, 5)]);
    pump.is_steered(Direction::Forward, "p-1", 6);
    pump.came(PluginRole::Executor);
    assert!(pump.does(&UpgradeEffect::Promote(bundle(6))));
    assert_eq!(pump.says(), (6, 6, Standing::Settled));
    pump.gives(UpgradeInput::Quarantined { grant: grant(6), why: "3 strikes".into() });
    let report = pump.upgrade.report_at(pump.now, 0, None).unwrap();
    assert_eq!((report.condemned, report.standing), (vec![Digest([6; 32])], Standing::Settled));
    assert_eq!(pump.upgrade.seats.trusted(PluginRole::Executor), Some(&bundle(5)));
}

#[test]
fn a_device_without_a_policy_takes_one_at_once() {
    let mut pump = Pump::new();
    pump.starts(&[]);
    assert_eq!(pump.says(), (0, 0, Standing::Settled), "there is nothing, and that is told");
    pump.is_steered(Direction::Forward, "p-1", 2);
    pump.came(PluginRole::Policy);
    assert!(pump.does(&UpgradeEffect::Promote(bundle(2))));
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    // Called home there is nowhere to go: it stays, and that is said.
    assert!(matches!(
        pump.is_steered(Direction::Home, "p-1", 2)[1..],
        [UpgradeEffect::Refuse(_), UpgradeEffect::Report]
    ));
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    // Failing is another matter: then there is none, and the server hears of it.
    pump.gives(UpgradeInput::Quarantined { grant: grant(2), why: "it trapped".into() });
    assert_eq!(pump.says(), (0, 0, Standing::Settled));
}

/// The policy that has the job is in quarantine, and the cure comes by steering; or it goes out in the middle of a trial.
#[test]
fn where_nobody_may_be_asked_there_is_nothing_to_wait_for() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    let (ticket, _) = pump.fetches().unwrap();
    pump.fetched(ticket, ready(PluginRole::Policy, 2, false));
    assert!(pump.does(&UpgradeEffect::Promote(bundle(2))));
    pump.is_steered(Direction::Forward, "p-2", 3);
    pump.came(PluginRole::Policy);
    assert_eq!(pump.says(), (3, 2, Standing::OnTrial));
    pump.gives(UpgradeInput::Alone);
    assert_eq!(pump.says(), (3, 3, Standing::Settled));
    assert_eq!(pump.gives(UpgradeInput::Alone), []);
}

#[test]
fn steering_leads_one_step_back_and_no_further() {
    let mut pump = Pump::new();
    for byte in [2, 3] {
        pump.is_steered(Direction::Forward, &format!("p-{byte}"), byte);
        pump.came(PluginRole::Policy);
        pump.settles(byte);
    }
    pump.is_steered(Direction::Home, "x", 3);
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    let refuses =
        |told: &[UpgradeEffect]| matches!(told[1..], [UpgradeEffect::Refuse(_), UpgradeEffect::Report]);
    assert!(refuses(pump.is_steered(Direction::Home, "y", 2)));
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    // Nor away from what the configuration names.
    let mut other = Pump::new();
    assert!(refuses(other.is_steered(Direction::Home, "y", 1)));
    // What was not its own any more when it was called home is left alone.
    pump.is_steered(Direction::Home, "z", 3);
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
}

#[test]
fn another_cohort_counts_anew() {
    let mut pump = Pump::new();
    pump.generation = 56;
    pump.is_steered(Direction::Forward, "p-1", 2);
    pump.gives(UpgradeInput::Enrolled(Identity {
        device: DeviceId::parse("pump-1").unwrap(),
        cohort: CohortId::parse("field").unwrap(),
        labels: vec![],
    }));
    pump.generation = 2;
    let steer =
        Steer { cohort: CohortId::parse("field").unwrap(), ..pump.steer(Direction::Forward, "p-9", 3) };
    pump.hears(steer);
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(3));
}

#[test]
fn who_steers_without_end_wears_out_nobody() {
    let mut pump = Pump::new();
    for n in 0..100_u32 {
        pump.now = pump.now.after(Millis(1000));
        pump.is_steered(Direction::Forward, &format!("p-{n}"), if n % 2 == 0 { 2 } else { 3 });
        assert_eq!(pump.fetches().is_some(), n < ALLOWANCE.switches, "{n}");
    }
    let free = pump.upgrade.deadline(pump.now).unwrap();
    pump.now = free;
    pump.gives(UpgradeInput::Tick);
    assert!(pump.fetches().is_some(), "a day later");
}

/// There is no more to fetch for a day. Who wants nothing any more meanwhile isn't woken for it.
#[test]
fn who_wants_nothing_is_not_woken() {
    let mut pump = Pump::new();
    for n in 0..=ALLOWANCE.switches {
        pump.now = pump.now.after(Millis(1000));
        pump.is_steered(Direction::Forward, &format!("p-{n}"), if n % 2 == 0 { 2 } else { 3 });
    }
    assert!(pump.upgrade.deadline(pump.now).is_some());
    let mut steer = pump.steer(Direction::Forward, "p-last", 4);
    steer.frozen = true;
    pump.hears(steer);
    assert_eq!(pump.upgrade.deadline(pump.now), None);
}

#[test]
fn who_is_not_meant_not_reached_held_or_frozen_begins_nothing() {
    let mut pump = Pump::new();
    let none = Selector::Labelled(vec![Label::parse("site=bern").unwrap()]);
    let kept_from: [fn(&mut Steer); 4] = [
        |steer| steer.reach = Reach::NONE,
        |steer| steer.frozen = true,
        |steer| steer.direction = Direction::Hold,
        |steer| steer.selector = Selector::Nobody,
    ];
    for change in kept_from {
        let mut steer = pump.steer(Direction::Forward, "p-1", 2);
        change(&mut steer);
        pump.hears(steer);
        assert_eq!(pump.fetches(), None);
    }
    let steer = Steer { selector: none, ..pump.steer(Direction::Forward, "p-1", 2) };
    pump.hears(steer);
    assert_eq!(pump.fetches(), None);
    pump.gives(UpgradeInput::Told(Word::Hold));
    pump.is_steered(Direction::Forward, "p-1", 2);
    assert_eq!(pump.fetches(), None);
    pump.gives(UpgradeInput::Told(Word::Thaw));
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(2));
}

#[test]
fn what_can_not_be_had_is_tried_again_and_then_sat_out() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    for _ in 1..RETRIES.attempts {
        let (ticket, _) = pump.fetches().unwrap();
        let why = "no route".into();
        pump.fetched(ticket, Fetched::Not { transience: Transience::Transient, why });
        assert_eq!(pump.says().2, Standing::Excluded);
        pump.now = pump.upgrade.deadline(pump.now).unwrap();
        pump.gives(UpgradeInput::Tick);
    }
    let (ticket, _) = pump.fetches().unwrap();
    pump.fetched(ticket, Fetched::Not { transience: Transience::Transient, why: "no route".into() });
    assert_eq!((pump.says().2, pump.upgrade.deadline(pump.now)), (Standing::Excluded, None), "for good");
    pump.is_steered(Direction::Forward, "p-2", 2);
    let (ticket, _) = pump.fetches().expect("another rollout is another try");
    // What may not run here is no fault of the plugin: nothing is condemned.
    pump.fetched(ticket, Fetched::Not { transience: Transience::Permanent, why: "not granted".into() });
    let report = pump.upgrade.report_at(pump.now, 0, None).unwrap();
    assert_eq!((report.standing, report.condemned), (Standing::Excluded, vec![]));
    // It may be signed by keys that are heard of later.
    pump.gives(UpgradeInput::TrustChanged { directors: vec![DIRECTOR] });
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(2));
}

/// A server that was brought back from an old copy goes on with a rollout that failed here before another one.
#[test]
fn what_is_sat_out_for_good_is_sat_out_after_another_rollout() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    let (ticket, _) = pump.fetches().unwrap();
    pump.fetched(ticket, Fetched::Not { transience: Transience::Permanent, why: "not granted".into() });
    pump.is_steered(Direction::Hold, "p-2", 3);
    pump.is_steered(Direction::Forward, "p-1", 2);
    assert_eq!((pump.fetches(), pump.says().2), (None, Standing::Excluded));
}

/// What failed in one rollout came with the next one. Whoever goes on with the first asks for what it has.
#[test]
fn what_has_the_job_is_nothing_to_sit_out() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    let (ticket, _) = pump.fetches().unwrap();
    pump.fetched(ticket, Fetched::Not { transience: Transience::Permanent, why: "not granted".into() });
    pump.is_steered(Direction::Forward, "p-2", 2);
    pump.came(PluginRole::Executor);
    pump.is_steered(Direction::Forward, "p-1", 2);
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    // Of another bundle the rollout is sat out as before.
    pump.is_steered(Direction::Forward, "p-1", 3);
    assert_eq!((pump.fetches(), pump.says().2), (None, Standing::Excluded));
}

/// A wait for one rollout keeps nobody from waking for another one.
#[test]
fn who_waits_for_another_rollout_is_woken_in_time_for_this_one() {
    let mut pump = Pump::new();
    for n in 1..ALLOWANCE.switches {
        pump.is_steered(Direction::Forward, &format!("p-{n}"), if n % 2 == 0 { 2 } else { 3 });
    }
    pump.now = pump.now.after(Millis(ALLOWANCE.span.0 - 1));
    pump.is_steered(Direction::Forward, "p-late", 4);
    let (ticket, _) = pump.fetches().unwrap();
    pump.fetched(ticket, Fetched::Not { transience: Transience::Transient, why: "no route".into() });
    let waits = pump.upgrade.deadline(pump.now).unwrap();
    pump.is_steered(Direction::Forward, "p-next", 5);
    assert_eq!(pump.fetches(), None, "there is no more to fetch yet");
    let free = pump.upgrade.deadline(pump.now).unwrap();
    assert_eq!((free, free < waits), (pump.now.after(Millis(1)), true));
    pump.now = free;
    pump.gives(UpgradeInput::Tick);
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(5));
}

/// What came at the last try is here. Where it is lost later, it has all its tries again.
#[test]
fn tries_that_failed_before_it_came_are_not_counted_after() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    for _ in 1..RETRIES.attempts {
        let (ticket, _) = pump.fetches().unwrap();
        pump.fetched(ticket, Fetched::Not { transience: Transience::Transient, why: "no route".into() });
        pump.now = pump.upgrade.deadline(pump.now).unwrap();
        pump.gives(UpgradeInput::Tick);
    }
    pump.came(PluginRole::Executor);
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    pump.gives(UpgradeInput::Lost(release(2).digest));
    let (ticket, _) = pump.fetches().unwrap();
    pump.fetched(ticket, Fetched::Not { transience: Transience::Transient, why: "no route".into() });
    pump.now = pump.upgrade.deadline(pump.now).expect("it is tried again");
    pump.gives(UpgradeInput::Tick);
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(2));
}

#[test]
fn one_that_refuses_the_settings_is_condemned() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    let (ticket, _) = pump.fetches().unwrap();
    pump.fetched(ticket, Fetched::Unfit { grant: None, why: "unknown setting \"floor\"".into() });
    let report = pump.upgrade.report_at(pump.now, 0, None).unwrap();
    assert_eq!((report.standing, report.condemned), (Standing::Settled, vec![Digest([2; 32])]));
}

#[test]
fn old_and_contradicting_messages_change_nothing() {
    let mut pump = Pump::new();
    let old = pump.steer(Direction::Forward, "p-0", 9);
    pump.is_steered(Direction::Forward, "p-1", 2);
    let generation = Generation(pump.generation);
    let other = Steer { generation, ..old.clone() };
    let foreign =
        Steer { cohort: CohortId::parse("field").unwrap(), generation: Generation(99), ..old.clone() };
    for (steer, why) in [
        (old, "generation 1 is older than 2"),
        (other, "another message already came as generation 2"),
        (foreign, "this device belongs to canary"),
    ] {
        let [UpgradeEffect::Refuse(refused)] = pump.hears(steer) else { panic!("{:?}", pump.told) };
        assert_eq!(refused.why, why);
    }
    // Also where all is lost but the mark beside the journal.
    pump.upgrade.remember(Generation(50));
    assert_eq!((pump.upgrade.steering.clone(), pump.upgrade.generation()), (None, Generation(50)));
}

/// Whoever stole the director's key has counted to the end. Once the key is replaced, the next one is heard, and what was
/// said before with a key that stayed is as old as it was.
#[test]
fn what_a_key_that_is_gone_has_counted_binds_nobody() {
    let mut pump = Pump::new();
    let (thief, honest) = (DIRECTOR, Digest([4; 32]));
    let old = pump.steer(Direction::Forward, "p-1", 2);
    let newest = pump.steer(Direction::Hold, "p-1", 2);
    pump.hears_from(honest, newest.clone());
    let last = Steer { generation: Generation(u64::MAX), ..pump.steer(Direction::Home, "p-9", 1) };
    pump.hears_from(thief, last);
    let next = pump.steer(Direction::Forward, "p-2", 2);
    pump.hears_from(honest, next.clone());
    assert_eq!(pump.upgrade.generation(), Generation(u64::MAX));
    pump.gives(UpgradeInput::TrustChanged { directors: vec![thief, honest] });
    assert_eq!(pump.upgrade.generation(), Generation(u64::MAX), "a keyring that keeps the key");
    let [UpgradeEffect::Refuse(refused)] = pump.gives(UpgradeInput::TrustChanged { directors: vec![honest] })
    else {
        panic!("{:?}", pump.told)
    };
    assert!(refused.why.contains("not trusted any more"), "{}", refused.why);
    assert_eq!(pump.upgrade.generation(), newest.generation);
    assert!(matches!(pump.hears_from(honest, old), [UpgradeEffect::Refuse(_)]), "no way back to what is old");
    pump.hears_from(honest, next.clone());
    assert_eq!((pump.upgrade.generation(), pump.fetches().map(|(_, byte)| byte)), (next.generation, Some(2)));
}

#[test]
fn a_trial_goes_on_after_a_restart_and_a_file_that_is_gone_is_fetched_anew() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    pump.came(PluginRole::Policy);
    pump.starts(&[(PluginRole::Policy, 1)]);
    assert_eq!(pump.upgrade.wanted().on_trial, Some(bundle(2)));
    pump.settles(2);
    assert_eq!(pump.upgrade.wanted().trusted, [(PluginRole::Policy, bundle(2))]);
    pump.starts(&[(PluginRole::Policy, 1)]);
    assert_eq!(pump.says(), (2, 2, Standing::Settled));
    pump.gives(UpgradeInput::Lost(Digest([2; 32])));
    let left = UpgradeStep::Left { to: Some(release(1)), cause: Cause::Lost };
    assert!(pump.does(&record(release(2), left)));
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(2));
}

#[test]
fn who_changes_the_configuration_wants_that_one() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    pump.came(PluginRole::Policy);
    pump.settles(2);
    pump.starts(&[(PluginRole::Policy, 4)]);
    assert_eq!(pump.fetches(), None, "also where steering still asks for what it had");
    assert!(pump.upgrade.wanted().trusted.is_empty());
    assert_eq!(pump.says(), (4, 4, Standing::Excluded), "it sits that rollout out");
    pump.is_steered(Direction::Forward, "p-2", 5);
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(5), "a later wish counts again");
    // One that can't be read is no other wish, and one that is on trial and named has the job.
    pump.came(PluginRole::Policy);
    pump.starts(&[]);
    assert_eq!(pump.upgrade.wanted().on_trial, Some(bundle(5)));
    pump.starts(&[(PluginRole::Policy, 5)]);
    assert_eq!(pump.says(), (5, 5, Standing::Settled));
}

#[test]
fn a_newer_wish_takes_the_place_of_a_trial_and_a_report_tells_how_a_trial_goes() {
    let mut pump = Pump::new();
    pump.is_steered(Direction::Forward, "p-1", 2);
    pump.came(PluginRole::Policy);
    let standing = succession::Standing {
        candidate: grant(2),
        before: grant(1),
        deciding: false,
        windows: 5,
        differed: 1,
    };
    let report = pump.upgrade.report_at(pump.now, 40, Some(standing)).unwrap();
    assert_eq!(report.compared, Some(Compared { deciding: false, windows: 5, differed: 1 }));
    assert_eq!((report.journal, report.as_report().booted), (40, release(2)));
    pump.is_steered(Direction::Forward, "p-2", 3);
    assert!(pump.does(&UpgradeEffect::Dismiss(bundle(2))));
    assert_eq!(pump.fetches().map(|(_, byte)| byte), Some(3));
}
