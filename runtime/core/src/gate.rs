//! The gate of a pipeline: whether a build is deployed, now, later or not at all.
//!
//! Here: what a verdict has to be for a build to go on because of it, and for how long a build lets itself be put off. Not
//! here: how a verdict is fetched, and whether its signatures hold (`trust`): what comes in was verified, or it comes
//! with the reason why it wasn't.
//!
//! It fails closed. One answer in time, to this question, about this build of this service, that says `proceed`, deploys.
//! Whatever else there is, or is missing, stops; `slow` waits first, a bounded number of times.

use core::fmt;

use backstay_model::{BuildId, Digest, Millis, Nonce, TargetId, UnixMs, Verdict, VerdictAction, Version};

/// How far ahead of ours the server's clock may be.
const SKEW_MAX: Millis = Millis::from_secs(120);
/// The longest that a verdict may be good for. Whoever signs for longer wants one answer to count for two questions.
const LIFE_MAX: Millis = Millis::from_secs(3600);
/// The shortest wait, whatever the verdict says: nobody asks in a busy loop.
const WAIT_MIN: Millis = Millis::from_secs(5);

/// What a pipeline asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The service that it is about to change.
    pub service: TargetId,
    /// What it calls this run of itself.
    pub build: BuildId,
    /// The release that it is about to deploy, if it said so.
    pub digest: Option<Digest>,
    /// The release's name, if it asked by name.
    pub version: Option<Version>,
    /// What it asked with.
    pub nonce: Nonce,
}

/// A verdict whose signatures hold, and when it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    /// What it says.
    pub verdict: &'a Verdict,
    /// By the signer's clock.
    pub issued: UnixMs,
    /// From then on it is late.
    pub expires: UnixMs,
}

/// Why there is no verdict to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// None came.
    Missing,
    /// What came isn't one that is known here: truncated, of another schema, with another action.
    Unreadable,
    /// Its signatures don't hold, or it says beside them what it doesn't say under them.
    Untrusted,
}

/// What a pipeline does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Deploys.
    Deploy,
    /// Waits so long, and asks anew with another nonce.
    Wait {
        /// How long.
        ms: Millis,
    },
    /// Ends here.
    Stop {
        /// Because of this.
        why: Stop,
    },
}

/// Why a pipeline ends at its gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There is nothing to go by.
    Unheard(Unheard),
    /// The verdict is about another service.
    OtherService(TargetId),
    /// It is for another build.
    OtherBuild(BuildId),
    /// It answers another question.
    OtherNonce,
    /// It judges another release, or none.
    OtherRelease,
    /// It is over.
    Late {
        /// For so long.
        by: Millis,
    },
    /// It was issued so far in the future that one of the two clocks is wrong.
    Early {
        /// Before it was issued.
        by: Millis,
    },
    /// It claims to be good for longer than any verdict may.
    TooLong {
        /// For so long.
        life: Millis,
    },
    /// It still says slow, and the patience of the pipeline is used up.
    StillSlow,
    /// What runs is being mended.
    Heal,
    /// The release before is to be brought back.
    Rollback,
    /// Nothing moves.
    Freeze,
    /// The data base is between two schemas.
    Pause,
}

impl Stop {
    /// Whether a verdict to go by says so. Else there is none to go by, and that is why.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        match self {
            Self::StillSlow | Self::Heal | Self::Rollback | Self::Freeze | Self::Pause => true,
            Self::Unheard(_)
            | Self::OtherService(_)
            | Self::OtherBuild(_)
            | Self::OtherNonce
            | Self::OtherRelease
            | Self::Late { .. }
            | Self::Early { .. }
            | Self::TooLong { .. } => false,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unheard(Unheard::Missing) => f.write_str("there is no verdict"),
            Self::Unheard(Unheard::Unreadable) => f.write_str("the verdict can't be read"),
            Self::Unheard(Unheard::Untrusted) => f.write_str("the verdict is not to be trusted"),
            Self::OtherService(service) => write!(f, "the verdict is about {service}"),
            Self::OtherBuild(build) => write!(f, "the verdict is for build {build}"),
            Self::OtherNonce => f.write_str("the verdict answers another question than was asked"),
            Self::OtherRelease => f.write_str("the verdict does not judge the release that was asked about"),
            Self::Late { by } => write!(f, "the verdict expired {by} ago"),
            Self::Early { by } => write!(f, "the verdict was issued {by} in the future"),
            Self::TooLong { life } => {
                write!(f, "the verdict claims to be good for {life}, {LIFE_MAX} is the most")
            }
            Self::StillSlow => {
                f.write_str("the verdict still is to wait, and the build has waited long enough")
            }
            Self::Heal => f.write_str("the verdict is to heal what runs first"),
            Self::Rollback => f.write_str("the verdict is to roll back"),
            Self::Freeze => f.write_str("the verdict is to freeze"),
            Self::Pause => f.write_str("the verdict is to pause: the data base is between two schemas"),
        }
    }
}

/// For how long a pipeline lets itself be put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    asks: u32,
    left: Millis,
}

impl Patience {
    /// The most asks.
    pub const ASKS_MAX: u32 = 100;
    /// The longest that it may wait in all.
    pub const TOTAL_MAX: Millis = Millis::from_secs(6 * 3600);

    /// For at most `asks` questions, the first among them, with at most `total` between the first and the last. Beyond
    /// [`Patience::ASKS_MAX`] and [`Patience::TOTAL_MAX`] these hold.
    #[must_use]
    pub fn new(asks: u32, total: Millis) -> Self {
        Self { asks: asks.min(Self::ASKS_MAX), left: total.min(Self::TOTAL_MAX) }
    }

    /// Takes a wait out of what is left, if there is enough for it and for another question.
    fn spend(&mut self, wait: Millis) -> Option<Millis> {
        let wait = wait.max(WAIT_MIN);
        let asks = self.asks.checked_sub(1).filter(|asks| *asks > 0);
        let left = self.left.0.checked_sub(wait.0);
        let (Some(asks), Some(left)) = (asks, left) else {
            *self = Self { asks: 0, left: Millis(0) };
            return None;
        };
        *self = Self { asks, left: Millis(left) };
        Some(wait)
    }
}

impl Asked {
    /// What the pipeline does about what it was told, at `now` by its own clock.
    pub fn gate(&self, heard: Result<Heard<'_>, Unheard>, now: UnixMs, patience: &mut Patience) -> Gate {
        match self.fitting(heard, now) {
            Err(why) => Gate::Stop { why },
            Ok(verdict) => match verdict.action {
                VerdictAction::Proceed => Gate::Deploy,
                VerdictAction::Slow => match patience.spend(Millis::from_secs(verdict.wait_secs.into())) {
                    Some(ms) => Gate::Wait { ms },
                    None => Gate::Stop { why: Stop::StillSlow },
                },
                VerdictAction::Heal => Gate::Stop { why: Stop::Heal },
                VerdictAction::Rollback => Gate::Stop { why: Stop::Rollback },
                VerdictAction::Freeze => Gate::Stop { why: Stop::Freeze },
                VerdictAction::Pause => Gate::Stop { why: Stop::Pause },
            },
        }
    }

    /// The verdict, if it answers this question and is good now.
    fn fitting<'a>(&self, heard: Result<Heard<'a>, Unheard>, now: UnixMs) -> Result<&'a Verdict, Stop> {
        let Heard { verdict, issued, expires } = heard.map_err(Stop::Unheard)?;
        if verdict.service != self.service {
            return Err(Stop::OtherService(verdict.service.clone()));
        }
        if verdict.build != self.build {
            return Err(Stop::OtherBuild(verdict.build.clone()));
        }
        if verdict.nonce != self.nonce {
            return Err(Stop::OtherNonce);
        }
        let other = self.digest.is_some() && self.digest != verdict.digest;
        if other || (self.version.is_some() && self.version != verdict.version) {
            return Err(Stop::OtherRelease);
        }
        let life = Millis(expires.0.saturating_sub(issued.0));
        if life > LIFE_MAX {
            return Err(Stop::TooLong { life });
        }
        if now >= expires {
            return Err(Stop::Late { by: Millis(now.0.saturating_sub(expires.0)) });
        }
        let by = Millis(issued.0.saturating_sub(now.0));
        if by > SKEW_MAX { Err(Stop::Early { by }) } else { Ok(verdict) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec, vec::Vec};

    use backstay_model::Reason;

    use super::*;

    const ISSUED: UnixMs = UnixMs(1_800_000_000_000);
    const EXPIRES: UnixMs = UnixMs(ISSUED.0 + 600_000);

    fn asked() -> Asked {
        Asked {
            service: TargetId::parse("checkout").unwrap(),
            build: BuildId::parse("1812").unwrap(),
            digest: None,
            version: None,
            nonce: Nonce([7; 16]),
        }
    }

    fn verdict(action: VerdictAction) -> Verdict {
        let Asked { service, build, nonce, .. } = asked();
        let wait_secs = if action == VerdictAction::Slow { 180 } else { 0 };
        let reasons = vec![Reason::new("for the test".into())];
        Verdict {
            service,
            build,
            nonce,
            action,
            wait_secs,
            digest: None,
            version: None,
            reasons,
            evidence: None,
        }
    }

    fn at(verdict: &Verdict, now: UnixMs) -> Gate {
        let heard = Heard { verdict, issued: ISSUED, expires: EXPIRES };
        asked().gate(Ok(heard), now, &mut Patience::new(5, Millis::from_secs(1800)))
    }

    /// The whole table: one row in six deploys, and one waits.
    #[test]
    fn only_proceed_deploys_and_only_slow_waits() {
        let gates: Vec<Gate> =
            VerdictAction::ALL.iter().map(|action| at(&verdict(*action), UnixMs(ISSUED.0 + 1000))).collect();
        let stop = |why| Gate::Stop { why };
        let expected = [
            Gate::Deploy,
            Gate::Wait { ms: Millis::from_secs(180) },
            stop(Stop::Heal),
            stop(Stop::Rollback),
            stop(Stop::Freeze),
            stop(Stop::Pause),
        ];
        assert_eq!(gates, expected);
    }

    /// Whatever the action is: a verdict for somebody else, of another time, or that nobody vouches for, stops.
    #[test]
    fn what_is_not_the_answer_to_this_question_stops_whatever_it_says() {
        type Change = fn(&mut Verdict);
        let others: [(Change, &str); 3] = [
            (|v| v.service = TargetId::parse("cart").unwrap(), "the verdict is about cart"),
            (|v| v.build = BuildId::parse("1811").unwrap(), "the verdict is for build 1811"),
            (|v| v.nonce = Nonce([8; 16]), "the verdict answers another question than was asked"),
        ];
        let times = [
            (EXPIRES, "the verdict expired 0 ms ago"),
            (UnixMs(EXPIRES.0 + 60_000), "the verdict expired 60 s ago"),
            (UnixMs(ISSUED.0 - 120_001), "the verdict was issued 120 s in the future"),
            (UnixMs(0), "the verdict was issued 1800000000 s in the future"),
            (UnixMs(u64::MAX), "the verdict expired 18446742273708951 s ago"),
        ];
        for action in VerdictAction::ALL {
            for (change, words) in others {
                let mut other = verdict(action);
                change(&mut other);
                let Gate::Stop { why } = at(&other, ISSUED) else { panic!("{action}: {words}") };
                assert_eq!(why.to_string(), words);
            }
            for (now, words) in times {
                let Gate::Stop { why } = at(&verdict(action), now) else { panic!("{action}: {words}") };
                assert_eq!(why.to_string(), words);
            }
        }
        for unheard in [Unheard::Missing, Unheard::Unreadable, Unheard::Untrusted] {
            let gate = asked().gate(Err(unheard), ISSUED, &mut Patience::new(5, Patience::TOTAL_MAX));
            assert_eq!(gate, Gate::Stop { why: Stop::Unheard(unheard) });
        }
    }

    #[test]
    fn a_clock_may_be_a_little_behind_and_a_verdict_not_good_for_ever() {
        assert_eq!(at(&verdict(VerdictAction::Proceed), UnixMs(ISSUED.0 - 120_000)), Gate::Deploy);
        assert_eq!(at(&verdict(VerdictAction::Proceed), UnixMs(EXPIRES.0 - 1)), Gate::Deploy);
        let verdict = verdict(VerdictAction::Proceed);
        let heard = Heard { verdict: &verdict, issued: ISSUED, expires: UnixMs(ISSUED.0 + 3_600_001) };
        let gate = asked().gate(Ok(heard), ISSUED, &mut Patience::new(5, Patience::TOTAL_MAX));
        assert_eq!(gate, Gate::Stop { why: Stop::TooLong { life: Millis(3_600_001) } });
    }

    /// Who names a release gets an answer about that one, or none.
    #[test]
    fn a_release_that_was_named_is_the_one_that_was_judged() {
        let (ours, theirs) = (Digest([1; 32]), Digest([2; 32]));
        let version = |text| Some(Version::parse(text).unwrap());
        let gate = |asked: &Asked, digest, version| {
            let verdict = Verdict { digest, version, ..verdict(VerdictAction::Proceed) };
            let heard = Heard { verdict: &verdict, issued: ISSUED, expires: EXPIRES };
            asked.gate(Ok(heard), ISSUED, &mut Patience::new(1, Millis(0)))
        };
        let other = Gate::Stop { why: Stop::OtherRelease };
        let by_digest = Asked { digest: Some(ours), ..asked() };
        assert_eq!(gate(&by_digest, Some(ours), None), Gate::Deploy);
        assert_eq!(gate(&by_digest, Some(theirs), None), other);
        assert_eq!(gate(&by_digest, None, None), other);
        let by_name = Asked { version: version("2.0.0"), ..asked() };
        assert_eq!(gate(&by_name, Some(ours), version("2.0.0")), Gate::Deploy);
        assert_eq!(gate(&by_name, Some(ours), version("1.0.0")), other);
        assert_eq!(gate(&by_name, Some(ours), None), other);
        assert_eq!(gate(&asked(), Some(theirs), None), Gate::Deploy, "none was named");
    }

    /// A service that is too quiet to be judged keeps a build waiting, and not for ever.
    #[test]
    fn slow_waits_a_bounded_time() {
        let slow = verdict(VerdictAction::Slow);
        let waits = |verdict: &Verdict, mut patience: Patience| {
            let mut waits = Vec::new();
            loop {
                let heard = Heard { verdict, issued: ISSUED, expires: EXPIRES };
                match asked().gate(Ok(heard), ISSUED, &mut patience) {
                    Gate::Wait { ms } => waits.push(ms.0 / 1000),
                    Gate::Stop { why } => {
                        assert_eq!(why, Stop::StillSlow);
                        return waits;
                    }
                    Gate::Deploy => panic!("slow never deploys"),
                }
            }
        };
        assert_eq!(
            waits(&slow, Patience::new(3, Millis::from_secs(3600))),
            [180, 180],
            "three asks, two waits"
        );
        assert_eq!(
            waits(&slow, Patience::new(100, Millis::from_secs(400))),
            [180, 180],
            "the time is used up"
        );
        assert_eq!(waits(&slow, Patience::new(1, Millis::from_secs(400))), [0; 0]);
        assert_eq!(waits(&slow, Patience::new(0, Patience::TOTAL_MAX)), [0; 0]);
        assert_eq!(waits(&slow, Patience::new(u32::MAX, Millis(u64::MAX))).len(), 99);
        let hasty = Verdict { wait_secs: 1, ..slow };
        assert_eq!(waits(&hasty, Patience::new(3, Patience::TOTAL_MAX)), [5, 5], "not in a busy loop");
    }

    /// The wait is over, the build asks again, and what it is told then counts.
    #[test]
    fn after_a_wait_the_next_answer_counts() {
        let mut patience = Patience::new(3, Millis::from_secs(600));
        let mut hears = |action| {
            let verdict = verdict(action);
            asked().gate(
                Ok(Heard { verdict: &verdict, issued: ISSUED, expires: EXPIRES }),
                ISSUED,
                &mut patience,
            )
        };
        assert_eq!(hears(VerdictAction::Slow), Gate::Wait { ms: Millis::from_secs(180) });
        assert_eq!(hears(VerdictAction::Proceed), Gate::Deploy);
        assert_eq!(hears(VerdictAction::Rollback), Gate::Stop { why: Stop::Rollback });
    }
}
