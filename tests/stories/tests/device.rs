//! Stories about one device.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{Device, DeviceSettings, Freshness, Input, Watched, Watermarks};
use backstay_model::{
    Cause, CohortId, Direction, Event, Generation, Health, InfraKind, Millis, Mono, Name, Reach, Refused,
    Scope, Standing, Task, Word,
};
use backstay_test_stories::{Behaviour, Policy, Recorded, World, is_told_as, release, settings};

/// A release is good, and nobody is there to say so: the device finds out by itself.
#[test]
fn a_good_release_is_confirmed_without_a_network() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).waits(60).steers("r-1", "1.5.0", Direction::Forward);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
    world.waits(55);
    assert_eq!(world.confirmed(), "1.4.0", "a trial is not passed before its time");
    assert_eq!(world.report.as_ref().unwrap().standing, Standing::OnTrial);
    world.waits(30);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.5.0"));
    assert_eq!(world.report.as_ref().unwrap().standing, Standing::Settled);
}

/// A release goes bad while the broker is out of reach. Nobody is there to ask, so the device has to find the
/// way home alone, and to tell the story later in the order in which it happened.
#[test]
fn a_cut_off_device_goes_home_alone() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis::from_secs(20)));
    world.waits(60).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.device().condemned(), [release("1.5.0").digest]);
    let report = world.report.as_ref().unwrap();
    assert_eq!((report.standing, report.condemned.len()), (Standing::Settled, 1));
    is_told_as(&world.told(), "a_cut_off_device_goes_home_alone");
}

/// What failed here is never fetched again by itself, whatever the server says; a signed word lifts it.
#[test]
fn a_condemned_release_stays_out_until_a_signed_word_lifts_it() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    world.steers("r-1", "1.5.0", Direction::Forward);
    assert_eq!(
        (world.runs(), world.device().last_resort()),
        ("1.5.0", None),
        "what runs is in no other slot"
    );
    world.waits(120);
    assert_eq!(world.runs(), "1.4.0");
    world.steers("r-2", "1.5.0", Direction::Forward).waits(600);
    assert_eq!(world.device().last_resort(), Some(&release("1.5.0")), "no boot loader starts it either");
    assert_eq!(world.count(|event| matches!(event, Event::TrialBegan { .. })), 1);
    assert_eq!(world.report.as_ref().unwrap().standing, Standing::Excluded);
    world.behaves("1.5.0", Behaviour::Healthy).tells(Word::Lift(release("1.5.0").digest)).tells(Word::Thaw);
    assert_eq!(world.device().last_resort(), None);
    world.waits(120);
    assert_eq!(
        (world.confirmed(), world.device().last_resort()),
        ("1.5.0", None),
        "the way back is nobody's last resort"
    );
}

/// The probe itself is broken. That is no sign of a bad release, and none of a good one.
#[test]
fn missing_data_freezes_a_trial_and_never_ends_it_badly() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Silent);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(1000);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::Froze { cause: Cause::NoData })), 1);
    world.behaves("1.5.0", Behaviour::Healthy).waits(90);
    assert_eq!(world.confirmed(), "1.5.0", "with data the trial goes on");
}

/// The same where the policy wants to look for longer. However long it looks, there is nothing to see, and that is said at once.
#[test]
fn missing_data_freezes_a_trial_whatever_the_policy_wants() {
    let mut world = World::new("1.4.0");
    world.policy(Policy::Slows).signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::Silent);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(30);
    assert_eq!(world.count(|event| matches!(event, Event::Froze { cause: Cause::NoData })), 1);
}

/// What is on trial fails and takes its own probe with it. That nothing is heard any more is no excuse for what was: it is mended as
/// long as the policy wants that.
#[test]
fn what_failed_before_it_fell_silent_is_mended_all_the_same() {
    let mut world = World::new("1.4.0");
    world.policy(Policy::Heals).signs("1.5.0", &["1.4.0"]);
    world.behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    world.steers("r-1", "1.5.0", Direction::Forward);
    let heals = |world: &World| {
        world.count(
            |event| matches!(event, Event::Ordered { order, .. } if matches!(order.task, Task::Heal { .. })),
        )
    };
    while heals(&world) == 0 {
        world.waits(1);
    }
    world.behaves("1.5.0", Behaviour::Silent).waits(120);
    assert!(heals(&world) >= 2, "{:#?}", world.events);
}

/// A device has decided to leave what it runs, and waits a moment, so that not all of a fleet leave at once. Power goes in that moment,
/// and what was decided still holds.
#[test]
fn a_device_that_is_about_to_leave_leaves_after_a_power_cut() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    world.behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    let standing = |world: &World| world.report.as_ref().unwrap().standing;
    while standing(&world) != Standing::GoingHome {
        world.waits(1);
    }
    assert_eq!(world.runs(), "1.5.0", "it waits");
    world.loses_power();
    assert_eq!(standing(&world), Standing::GoingHome);
    world.waits(40);
    assert_eq!(world.runs(), "1.4.0");
}

/// A backend is down for everybody. Going home would cure nothing, so nobody moves.
#[test]
fn a_failing_dependency_moves_nobody() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::DependencyFails);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(1000);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::Condemned { .. })), 0);
}

/// On a new release something fails that the configuration calls not critical, and the policy wants to go back for it. That is restrained:
/// nobody leaves a release for what isn't critical.
#[test]
fn what_is_not_critical_is_no_reason_to_leave() {
    let watched =
        |name: &str, critical| Watched { name: Name::parse(name).unwrap(), critical, scope: Scope::Local };
    let settings =
        DeviceSettings { watched: vec![watched("http", false), watched("uplink", true)], ..settings() };
    let mut world = World::with(settings, "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    world.steers("r-1", "1.5.0", Direction::Forward).waits(1000);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
    assert!(world.count(|event| matches!(event, Event::Restrained { .. })) > 0);
}

/// The policy plugin is broken. A trial still ends: it may not stay on a failing release for ever.
#[test]
fn a_failing_trial_ends_also_without_a_policy() {
    let mut world = World::new("1.4.0");
    world.policy(Policy::Traps).signs("1.5.0", &["1.4.0"]);
    world.behaves("1.5.0", Behaviour::FailsAfter(Millis::from_secs(5)));
    world.steers("r-1", "1.5.0", Direction::Forward).waits(290);
    assert_eq!(world.runs(), "1.5.0");
    world.waits(20);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(
        world.count(|event| matches!(event, Event::CameHome { cause: Cause::TrialFailed { .. }, .. })),
        1
    );
}

/// The boot loader is the first to notice. The device believes it and condemns what did not come up.
#[test]
fn a_release_that_does_not_boot_is_condemned() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::DoesNotBoot);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(600);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(world.device().condemned(), [release("1.5.0").digest]);
    assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 1, "and not tried again");
}

/// Home doesn't start any more, and what was condemned is all that does. The device mends it, turns home once more, and where that
/// leads nowhere it stays where somebody can reach it, and moves nothing.
#[test]
fn on_its_last_resort_a_device_turns_home_once_and_then_waits_for_somebody() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis::from_secs(20)));
    world.waits(60).steers("r-1", "1.5.0", Direction::Forward).waits(300);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    world.is_rescued().waits(24 * 3600);
    assert_eq!((world.runs(), world.report.as_ref().unwrap().standing), ("1.5.0", Standing::Frozen));
    let home = |event: &Event| matches!(event, Event::Ordered { order, .. } if matches!(order.task, Task::GoHome { .. }));
    assert_eq!(world.count(home), 2, "from its trial, and from its last resort");
    assert_eq!(world.count(|event| matches!(event, Event::Froze { cause: Cause::FellBack })), 1);
    // What does well there is left alone, too.
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis::from_secs(20)));
    world.waits(60).steers("r-1", "1.5.0", Direction::Forward).waits(300);
    world.behaves("1.5.0", Behaviour::Healthy).is_rescued().waits(24 * 3600);
    assert_eq!((world.runs(), world.report.as_ref().unwrap().standing), ("1.5.0", Standing::Settled));
    assert_eq!(world.count(home), 1);
}

/// After a start nothing is known yet of how a device does. Once it is, that is said, though it stands where it stood.
#[test]
fn how_a_device_does_is_said_once_it_is_known_again() {
    let mut world = World::new("1.4.0");
    let health = |world: &World| world.report.as_ref().unwrap().health;
    world.waits(60);
    assert_eq!(health(&world), Health::Good);
    world.loses_power();
    assert_eq!(health(&world), Health::Unknown);
    world.waits(30);
    assert_eq!(health(&world), Health::Good);
}

/// It is told to go on, and yet it is steered to where there is no way: in one step it is thawed and freezes again. What it says
/// last is what is so.
#[test]
fn a_device_that_freezes_again_at_once_says_so() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(200);
    assert_eq!(world.confirmed(), "1.5.0");
    let mut home = world.steer("r-1", "1.5.0", Direction::Home);
    home.back = Some(release("1.3.0"));
    world.hears(home, Freshness::Fresh).waits(3600);
    let standing = |world: &World| (world.report.as_ref().unwrap().standing, world.device().standing());
    let (told, is) = standing(&world);
    assert_eq!(told, is);
    world.tells(Word::Thaw);
    let (told, is) = standing(&world);
    assert_eq!(told, is);
}

/// Half-way through the trial the boot falls back while the agent is off.
#[test]
fn a_fall_back_during_the_trial_is_a_failed_trial() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(20);
    world.falls_back().loses_power().waits(300);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::CameHome { cause: Cause::FellBack, .. })), 1);
}

/// It looks well until it hangs, again and again: that never adds up to a trial that was passed. Once it has no tries left
/// the boot falls back.
#[test]
fn what_hangs_late_is_not_confirmed_a_piece_at_a_time() {
    let hangs_often = || {
        let mut world = World::new("1.4.0");
        world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward);
        for _ in 0..4 {
            world.waits(45).hangs();
            assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
        }
        world
    };
    let mut again = hangs_often();
    again.falls_back().loses_power().waits(1);
    assert_eq!((again.runs(), again.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(again.device().condemned(), [release("1.5.0").digest]);
    let mut no_more = hangs_often();
    no_more.waits(80);
    assert_eq!(no_more.confirmed(), "1.5.0", "what hangs no more can still pass");
}

/// Power goes at every second of a trial: the trial is finished, once.
#[test]
fn a_trial_survives_power_cuts() {
    for second in 1..70 {
        let mut world = World::new("1.4.0");
        world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward);
        world.waits(second).loses_power().waits(130);
        assert_eq!(world.confirmed(), "1.5.0", "power cut after {second} s");
        assert_eq!(world.count(|event| matches!(event, Event::Confirmed { .. })), 1);
    }
}

/// One message turns a device that is on the release, wherever it stands.
#[test]
fn home_turns_a_device_on_trial_and_one_that_has_settled() {
    for wait in [5, 200] {
        let mut world = World::new("1.4.0");
        world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(wait);
        let mut home = world.steer("r-1", "1.5.0", Direction::Home);
        home.reach = Reach::NONE;
        world.hears(home, Freshness::Expired).waits(1);
        assert_eq!(
            (world.runs(), world.confirmed()),
            ("1.4.0", "1.4.0"),
            "after {wait} s, whatever the reach"
        );
        assert!(world.device().condemned().is_empty(), "unwanted is not condemned");
        world.steers("r-1", "1.5.0", Direction::Forward).waits(600);
        assert_eq!(world.runs(), "1.4.0", "after home a rollout never goes forward again");
    }
}

/// A device that was off for a week reads the same message when it is back.
#[test]
fn home_means_nothing_to_a_device_that_never_went() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Home).waits(600);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 0);
}

/// Reach gates starting only.
#[test]
fn out_of_reach_nothing_starts_and_shrinking_it_moves_nobody() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]);
    let mut steer = world.steer("r-1", "1.5.0", Direction::Forward);
    steer.reach = Reach::NONE;
    world.hears(steer, Freshness::Fresh).waits(100);
    assert_eq!(world.runs(), "1.4.0");
    world.steers("r-1", "1.5.0", Direction::Forward).waits(100);
    let mut shrunk = world.steer("r-1", "1.5.0", Direction::Forward);
    shrunk.reach = Reach::NONE;
    world.hears(shrunk, Freshness::Fresh).waits(100);
    assert_eq!(world.confirmed(), "1.5.0");
}

/// Lower, equal and other messages of the same generation change nothing; an expired one starts nothing.
#[test]
fn old_repeated_and_expired_messages_change_nothing() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).signs("1.6.0", &["1.4.0", "1.5.0"]);
    let first = world.steer("r-1", "1.5.0", Direction::Forward);
    let second = world.steer("r-2", "1.4.0", Direction::Hold);
    world.hears(second.clone(), Freshness::Fresh).hears(first, Freshness::Fresh).waits(60);
    assert_eq!(world.runs(), "1.4.0", "a lower generation is ignored");
    let mut other = second.clone();
    other.direction = Direction::Forward;
    other.release = release("1.6.0");
    world.hears(other, Freshness::Fresh).hears(second, Freshness::Fresh).waits(60);
    assert_eq!(world.runs(), "1.4.0", "the same generation with another text is refused");
    assert_eq!(world.count(|event| matches!(event, Event::Refused(_))), 2);
    let third = world.steer("r-3", "1.5.0", Direction::Forward);
    world.hears(third, Freshness::Expired).waits(60);
    assert_eq!(world.runs(), "1.4.0", "what has expired starts nothing");
}

/// The release keys know nothing of it, or it is for another machine, or a door that only opens one way.
#[test]
fn what_the_release_keys_do_not_allow_is_not_started() {
    let mut world = World::new("1.4.0");
    world.signs_as(release("1.5.0"), vec![release("1.4.0").digest], "valve-x86");
    world.signs_as(release("1.6.0"), vec![], "pump-arm64");
    let mut weak = release("1.7.0");
    weak.security_epoch = 0;
    world.signs_as(weak.clone(), vec![release("1.4.0").digest], "pump-arm64");
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    world.steers("r-2", "1.6.0", Direction::Forward).waits(60);
    let mut steer = world.steer("r-3", "1.7.0", Direction::Forward);
    steer.release = weak;
    world.hears(steer, Freshness::Fresh).waits(60);
    world.steers("r-4", "1.8.0", Direction::Forward).waits(2000);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 0);
    is_told_as(&world.told(), "what_the_release_keys_do_not_allow_is_not_started");
}

/// A rollout failed here for good, and another one worked out since. A server that was brought back from an old copy goes on with the first: it is
/// sat out as before, until somebody says that it may be tried again.
#[test]
fn what_failed_for_good_is_not_tried_again_after_another_rollout() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &[]).signs("1.6.0", &["1.4.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    world.steers("r-2", "1.6.0", Direction::Forward).waits(120);
    assert_eq!((world.confirmed(), world.device().standing()), ("1.6.0", Standing::Settled));
    world.signs("1.5.0", &["1.6.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!((world.runs(), world.device().standing()), ("1.6.0", Standing::Excluded));
    world.tells(Word::Thaw).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
}

/// The same release came with another rollout. Whoever goes on with the first one asks for what runs, and nobody sits that out.
#[test]
fn what_runs_is_nothing_to_sit_out() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &[]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(60);
    assert_eq!(world.device().standing(), Standing::Excluded);
    world.signs("1.5.0", &["1.4.0"]);
    world.steers("r-2", "1.5.0", Direction::Forward).waits(120);
    assert_eq!((world.confirmed(), world.device().standing()), ("1.5.0", Standing::Settled));
    world.steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.report.as_ref().unwrap().standing, Standing::Settled);
}

/// The wait is over, and somebody holds the device: it follows when it is let go of, and there is nothing to sit out meanwhile.
#[test]
fn a_wait_that_is_over_excludes_nobody() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsToStage(1));
    world.steers("r-1", "1.5.0", Direction::Forward);
    assert_eq!(world.device().standing(), Standing::Excluded);
    world.tells(Word::Hold).waits(60);
    assert_eq!((world.runs(), world.report.as_ref().unwrap().standing), ("1.4.0", Standing::Settled));
    world.tells(Word::Thaw).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
}

/// A download fails for a passing reason: the device sits out for a while and comes back by itself.
#[test]
fn a_passing_failure_is_tried_again_later() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsToStage(2));
    world.steers("r-1", "1.5.0", Direction::Forward);
    assert_eq!(world.report.as_ref().unwrap().standing, Standing::Excluded);
    world.waits(600);
    assert_eq!(world.confirmed(), "1.5.0");
    assert_eq!(world.count(|event| matches!(event, Event::Excluded(_))), 2);
}

/// A service hangs, is restarted twice, and holds: no release is to blame.
#[test]
fn a_confirmed_release_is_mended_where_it_stands() {
    let mut world = World::new("1.4.0");
    world.behaves("1.4.0", Behaviour::NeedsRestarts(2)).waits(600);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(world.count(|event| matches!(event, Event::Cured { attempts: 2 })), 1);
}

/// A confirmed release fails for good. The ladder is climbed to its end, then the device leaves.
#[test]
fn a_confirmed_release_that_fails_for_good_is_left_after_the_ladder() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    world.behaves("1.5.0", Behaviour::FailsAfter(Millis(0))).waits(600);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::Waits { .. })), 3, "three rungs first");
    assert_eq!(world.device().condemned(), [release("1.5.0").digest]);
}

/// Whoever steers, a device doesn't swing to and fro all day.
#[test]
fn a_server_gone_mad_is_stopped_by_the_budget() {
    let mut world = World::new("1.0.0");
    for n in 1..20 {
        let ways: Vec<String> = (0..n).map(|way| format!("1.{way}.0")).collect();
        world.signs(&format!("1.{n}.0"), &ways.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for n in 1..20 {
        world.steers(&format!("r-{n}"), &format!("1.{n}.0"), Direction::Forward).waits(120);
    }
    assert_eq!(world.count(|event| matches!(event, Event::TrialBegan { .. })), 4);
    assert!(world.now < Mono(24 * 3600 * 1000));
    assert!(settings().allowance.switches == 4);
    world.waits(24 * 3600);
    assert_eq!(world.confirmed(), "1.19.0", "a day later it follows again");
}

/// An update takes the machine down with it: it comes up on the new release in the middle of its own installation. The
/// way home is the release that ran before, not the one that runs now.
#[test]
fn a_restart_in_the_middle_of_an_installation_leaves_the_way_home_open() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis::from_secs(20)));
    world.loses_power_in_the_next_run().steers("r-1", "1.5.0", Direction::Forward).waits(5);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
    world.waits(200);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.device().condemned(), [release("1.5.0").digest]);
}

/// The same, and the release fails only after it was confirmed: what it may be left for is still known.
#[test]
fn a_restart_in_the_middle_of_an_installation_forgets_no_way() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]);
    world.loses_power_in_the_next_run().steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    world.behaves("1.5.0", Behaviour::FailsAfter(Millis(0))).waits(600);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
}

/// A hold, or home, comes while the release keys are still asked about a release: nothing starts any more.
#[test]
fn what_was_called_off_while_it_was_looked_into_is_not_started() {
    for direction in [Direction::Hold, Direction::Home] {
        let mut world = World::new("1.4.0");
        world.signs("1.5.0", &["1.4.0"]).looks_into_releases_slowly();
        world.steers("r-1", "1.5.0", Direction::Forward).steers("r-1", "1.5.0", direction);
        world.hears_of_the_release().waits(60);
        assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 0, "{direction}");
    }
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).looks_into_releases_slowly();
    world.steers("r-1", "1.5.0", Direction::Forward).tells(Word::Hold).hears_of_the_release().waits(60);
    assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 0, "held");
}

/// The boot falls back in the middle of confirming: the trial has failed, and nothing is confirmed.
#[test]
fn a_fall_back_while_it_is_confirmed_is_a_failed_trial() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(55);
    world.behaves("1.5.0", Behaviour::DoesNotBoot).loses_power_before_the_next_run().waits(60);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::Confirmed { .. })), 0);
    assert_eq!(world.count(|event| matches!(event, Event::CameHome { cause: Cause::FellBack, .. })), 1);
}

/// The network is gone for everybody on it. What can be mended is mended, and nobody leaves a good release for it.
#[test]
fn network_trouble_sends_nobody_home() {
    let patient = DeviceSettings { cured_after: 1000, ..settings() };
    let mut world = World::with(patient, "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).steers("r-1", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
    world.policy(Policy::Heals);
    for _ in 0..120 {
        world.give(Input::Trouble(InfraKind::Network));
        world.waits(10);
    }
    assert_eq!(world.count(|event| matches!(event, Event::Waits { .. })), 3, "each rung was tried");
    assert_eq!((world.runs(), world.device().condemned().len()), ("1.5.0", 0));
}

/// Mending a release on trial restarts it, and that uses up its last try: the trial has failed, and what runs now
/// is not on trial. Nor is it where power goes before anybody heard of it.
#[test]
fn a_fall_back_while_a_trial_is_mended_is_a_failed_trial() {
    for power in ["stays", "goes"] {
        let mut world = World::new("1.4.0");
        world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::DiesAtRestart);
        world.steers("r-1", "1.5.0", Direction::Forward).policy(Policy::Heals);
        if power == "goes" {
            world.loses_power_in_the_next_run();
        }
        world.waits(300);
        assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"), "power {power}");
        assert_eq!(world.device().condemned(), [release("1.5.0").digest], "power {power}");
        assert_eq!(world.count(|event| matches!(event, Event::TrialBegan { .. })), 1, "power {power}");
    }
}

/// A service takes a while until it listens. Until then nobody can answer, and that is no sign of anything.
#[test]
fn a_service_may_take_its_time_to_come_up() {
    let mut slow = settings();
    slow.startup = Millis::from_secs(8);
    let mut world = World::with(slow, "1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::ComesUpAfter(Millis::from_secs(7)));
    world.steers("r-1", "1.5.0", Direction::Forward);
    for _ in 0..90 {
        world.waits(1);
        assert_ne!(world.report.as_ref().unwrap().health, Health::Bad, "what comes up is not ill");
    }
    assert_eq!(world.confirmed(), "1.5.0");
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::ComesUpAfter(Millis::from_secs(70)));
    world.steers("r-1", "1.5.0", Direction::Forward).waits(90);
    assert_eq!(world.runs(), "1.4.0", "but not for ever");
}

/// A policy has doubts for so long that the trial starts over. Once they are gone, the release is confirmed.
#[test]
fn a_trial_that_was_slowed_down_to_its_limit_can_still_be_passed() {
    let mut world = World::new("1.4.0");
    world.policy(Policy::Slows).signs("1.5.0", &["1.4.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(400);
    assert_eq!((world.runs(), world.confirmed()), ("1.5.0", "1.4.0"));
    world.policy(Policy::Answers).waits(600);
    assert_eq!(world.confirmed(), "1.5.0");
}

/// No policy can be asked for an hour. That is written down once: flash is worn by writing.
#[test]
fn what_leads_nowhere_is_written_down_once() {
    let mut world = World::new("1.4.0");
    world.policy(Policy::Traps).waits(3600);
    assert_eq!(world.count(|event| matches!(event, Event::Unanswered { .. })), 1);
    world.policy(Policy::Answers).waits(60);
    assert_eq!(world.count(|event| matches!(event, Event::Decided { .. })), 1);
    world.policy(Policy::Traps).waits(60);
    assert_eq!(world.count(|event| matches!(event, Event::Unanswered { .. })), 2, "that is news again");
}

/// Somebody who owns the broker sends nonsense under ever new names. It fills neither journal nor memory.
#[test]
fn a_flood_of_nonsense_is_counted_and_not_written_down() {
    let mut world = World::new("1.4.0");
    for n in 0..10_000 {
        let (what, why) = (format!("topic {n}"), "it is no topic of ours".into());
        world.give(Input::Refused(Refused { what, why, count: 1 }));
    }
    assert!(world.count(|event| matches!(event, Event::Refused(_))) < 50);
}

/// The same nonsense comes again and again. It is written down ever more seldom, and each time how often it has come by then.
#[test]
fn how_often_the_same_nonsense_came_is_told() {
    let mut world = World::new("1.4.0");
    for _ in 0..100 {
        let (what, why) = ("an order".into(), "nobody signed it".into());
        world.give(Input::Refused(Refused { what, why, count: 1 }));
    }
    for (count, told) in [(1, 1), (64, 1), (100, 0)] {
        let is = |event: &Event| matches!(event, Event::Refused(refused) if refused.count == count);
        assert_eq!(world.count(is), told, "{count}");
    }
    assert_eq!(world.count(|event| matches!(event, Event::Refused(_))), 7);
}

/// A device is moved to another cohort, and all that it has of the first is the highest generation that it followed.
/// In the other one generations are counted anew.
#[test]
fn in_another_cohort_generations_are_counted_anew() {
    let mut device = World::new("1.4.0").device().clone();
    device.remember(&Watermarks { generation: Generation(7), ..Watermarks::default() });
    let mut moved = device.identity().unwrap().clone();
    moved.cohort = CohortId::parse("broad").unwrap();
    device.step(Mono(1), Input::Enrolled(moved));
    assert_eq!(device.watermarks().generation, Generation(0));
}

/// The journal lost its end, the anchor did not. What was called off since is not begun again from an old state.
#[test]
fn a_device_that_forgot_does_not_follow_what_it_left_behind() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).tells(Word::Hold).steers("r-1", "1.5.0", Direction::Forward);
    let old = world.steps.last().unwrap().clone();
    world.steers("r-1", "1.5.0", Direction::Home);
    let kept = world.device().watermarks();

    let mut device = Device::restore(settings(), old.state);
    device.remember(&kept);
    let mut world = World::woken(settings(), device, old.at, old.slots);
    world.signs("1.5.0", &["1.4.0"]).tells(Word::Thaw).waits(60);
    assert_eq!(world.runs(), "1.4.0");
    assert_eq!(world.count(|event| matches!(event, Event::Ordered { .. })), 0);
    // The message that holds is retained, and leads on.
    world.steers("r-2", "1.5.0", Direction::Forward).waits(120);
    assert_eq!(world.confirmed(), "1.5.0");
}

/// The same, in the middle of bringing in what was condemned since: it is not brought in a second time.
#[test]
fn a_device_that_forgot_does_not_install_what_it_condemned() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).behaves("1.5.0", Behaviour::FailsAfter(Millis(0)));
    world.steers("r-1", "1.5.0", Direction::Forward);
    let installs = |step: &&Recorded| step.events.iter().any(|event| matches!(event, Event::Ordered { .. }));
    let old = world.steps.iter().find(installs).unwrap().clone();
    world.waits(120);
    let (kept, slots) = (world.device().watermarks(), world.steps.last().unwrap().slots.clone());
    assert_eq!(world.device().condemned(), [release("1.5.0").digest]);

    let mut device = Device::restore(settings(), old.state);
    device.remember(&kept);
    let mut world = World::woken(settings(), device, old.at, slots);
    world.waits(120);
    assert_eq!((world.runs(), world.confirmed()), ("1.4.0", "1.4.0"));
    assert_eq!(world.count(|event| matches!(event, Event::TrialBegan { .. })), 0);
    assert_eq!(world.count(|event| matches!(event, Event::Ended { .. })), 1, "the run does not stay open");
}

/// A state from an earlier trial, and by now another release is on trial and fails: it is judged as what it is, and the
/// one before it isn't blamed.
#[test]
fn a_device_that_forgot_judges_what_runs_now() {
    let mut world = World::new("1.4.0");
    world.signs("1.5.0", &["1.4.0"]).signs("1.6.0", &["1.5.0"]);
    world.steers("r-1", "1.5.0", Direction::Forward).waits(100);
    let past = world.steps.clone();
    assert!(past.len() > 6, "vetting, installing, trial, confirming");
    world.steers("r-2", "1.6.0", Direction::Forward).waits(5);
    let slots = world.steps.last().unwrap().slots.clone();
    assert_eq!((world.runs(), world.confirmed()), ("1.6.0", "1.5.0"));

    for (step, old) in past.into_iter().enumerate() {
        let device = Device::restore(settings(), old.state);
        let mut world = World::woken(settings(), device, old.at, slots.clone());
        world.signs("1.5.0", &["1.4.0"]).signs("1.6.0", &["1.5.0"]);
        world.behaves("1.6.0", Behaviour::FailsAfter(Millis(0))).waits(300);
        assert_eq!(
            (world.runs(), world.confirmed()),
            ("1.5.0", "1.5.0"),
            "from step {step}:\n{}",
            world.told()
        );
        assert!(!world.device().condemned().contains(&release("1.5.0").digest), "from step {step}");
    }
}
