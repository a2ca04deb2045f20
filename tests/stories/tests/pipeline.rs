//! Stories about a build at its gate: the server's verdict in one hand, its own clock in the other.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_core::{Asked, Gate, Heard, Patience, Stop, Unheard};
use backstay_model::{
    BuildId, Digest, Millis, Nonce, Reason, TargetId, UnixMs, Verdict, VerdictAction, Version,
};

const NOON: UnixMs = UnixMs(1_800_000_000_000);

/// A build of the shop, as it asks.
fn asks() -> Asked {
    Asked {
        service: TargetId::parse("shop").unwrap(),
        build: BuildId::parse("77").unwrap(),
        digest: None,
        version: None,
        nonce: Nonce([7; 16]),
    }
}

/// What the server says to whoever asked like that.
fn says(asked: &Asked, action: VerdictAction) -> Verdict {
    Verdict {
        service: asked.service.clone(),
        build: asked.build.clone(),
        nonce: asked.nonce,
        action,
        wait_secs: 60,
        digest: asked.digest,
        version: asked.version.clone(),
        reasons: vec![Reason::new("the story says so".into())],
        evidence: None,
    }
}

/// The gate of a build, `late` after the verdict was given, which is good for `life`.
fn gate(verdict: &Verdict, life: Millis, late: Millis) -> Gate {
    let heard = Heard { verdict, issued: NOON, expires: UnixMs(NOON.0 + life.0) };
    asks().gate(Ok(heard), UnixMs(NOON.0 + late.0), &mut Patience::new(3, Patience::TOTAL_MAX))
}

/// A service with a slow pipeline has its verdicts signed for the hour that is the most. They are as good as any, to the last
/// moment and no longer.
#[test]
fn a_verdict_for_an_hour_is_good_for_an_hour() {
    let (hour, verdict) = (Millis::from_secs(3600), says(&asks(), VerdictAction::Proceed));
    assert_eq!(gate(&verdict, hour, Millis(hour.0 - 1)), Gate::Deploy);
    assert_eq!(gate(&verdict, hour, hour), Gate::Stop { why: Stop::Late { by: Millis(0) } });
    let life = Millis(hour.0 + 1);
    assert_eq!(gate(&verdict, life, Millis(0)), Gate::Stop { why: Stop::TooLong { life } });
}

/// The server puts a build off for an hour, again and again. It waits as long as six hours, however patient it says that it is, and then
/// stops: somebody may want the machine that it runs on.
#[test]
fn a_build_that_is_put_off_waits_for_six_hours_and_no_longer() {
    let verdict = Verdict { wait_secs: 3600, ..says(&asks(), VerdictAction::Slow) };
    let heard = Heard { verdict: &verdict, issued: NOON, expires: UnixMs(NOON.0 + 60_000) };
    let mut patience = Patience::new(u32::MAX, Millis::from_secs(7 * 86_400));
    for hour in 0..6 {
        let waits = asks().gate(Ok(heard), NOON, &mut patience);
        assert_eq!(waits, Gate::Wait { ms: Millis::from_secs(3600) }, "{hour}");
    }
    assert_eq!(asks().gate(Ok(heard), NOON, &mut patience), Gate::Stop { why: Stop::StillSlow });
}

/// A build machine's clock is wrong by two minutes, and its builds go on. One that is wrong by more would hold an old verdict for a new
/// one: it stops, and is told by how much.
#[test]
fn a_clock_that_is_slow_by_more_than_two_minutes_stops_the_build() {
    let verdict = says(&asks(), VerdictAction::Proceed);
    for (secs, goes_on) in [(0, true), (120, true), (121, false), (86_400, false)] {
        let by = Millis::from_secs(secs);
        let heard = Heard { verdict: &verdict, issued: NOON, expires: UnixMs(NOON.0 + 60_000) };
        let gate = asks().gate(Ok(heard), UnixMs(NOON.0 - by.0), &mut Patience::new(3, by));
        let stops = Gate::Stop { why: Stop::Early { by } };
        assert_eq!(gate, if goes_on { Gate::Deploy } else { stops }, "{secs}");
    }
}

/// Whoever looks into a build that ended wants to know first whether the service is ill or the way to the verdict is: the one is
/// for who runs the service, the other for who runs the pipeline.
#[test]
fn who_is_called_after_a_stop_depends_on_whether_there_was_a_verdict() {
    let stop = |gate| if let Gate::Stop { why } = gate { Some(why) } else { None };
    let minute = Millis::from_secs(60);
    for action in [VerdictAction::Heal, VerdictAction::Rollback, VerdictAction::Freeze, VerdictAction::Pause]
    {
        let why = stop(gate(&says(&asks(), action), minute, Millis(0))).unwrap();
        assert!(why.is_told(), "the service: {why}");
    }
    let other = Asked { service: TargetId::parse("cart").unwrap(), ..asks() };
    let crossed = stop(gate(&says(&other, VerdictAction::Proceed), minute, Millis(0))).unwrap();
    let late = stop(gate(&says(&asks(), VerdictAction::Proceed), minute, minute)).unwrap();
    let none = asks().gate(Err(Unheard::Missing), NOON, &mut Patience::new(3, minute));
    for why in [crossed, late, stop(none).unwrap()] {
        assert!(!why.is_told(), "the pipeline: {why}");
    }
}

/// The server judges one release, and the build is about to deploy another one. A build that names none takes what was judged as the
/// answer: it has no other.
#[test]
fn a_build_that_names_its_release_hears_of_that_one_or_stops() {
    let judged = says(&asks(), VerdictAction::Proceed);
    let judged =
        Verdict { digest: Some(Digest([5; 32])), version: Some(Version::parse("2.0.0").unwrap()), ..judged };
    let other = Gate::Stop { why: Stop::OtherRelease };
    for (digest, goes_on) in [(None, true), (Some(Digest([5; 32])), true), (Some(Digest([6; 32])), false)] {
        let heard = Heard { verdict: &judged, issued: NOON, expires: UnixMs(NOON.0 + 60_000) };
        let gate = Asked { digest, ..asks() }.gate(Ok(heard), NOON, &mut Patience::new(1, Millis(0)));
        assert_eq!(gate, if goes_on { Gate::Deploy } else { other.clone() }, "{digest:?}");
    }
}
