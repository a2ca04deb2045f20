//! Events of targets told to people: one line each, the same in logs, in evidence and on the screen.

use core::fmt;

use super::{Brake, IncidentEnd, IncidentId, IncidentLabel, Mode, Rail, TargetEvent, TargetStep};

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        })
    }
}

impl fmt::Display for IncidentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Healed => "healed",
            Self::RolledBack => "rolled back",
            Self::ByHand => "closed by hand",
            Self::Superseded => "superseded",
        })
    }
}

impl fmt::Display for IncidentLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TruePositive => "true-positive",
            Self::BaselineFailedToo => "baseline-failed-too",
            Self::FineElsewhere => "fine-elsewhere",
            Self::FalsePositive => "false-positive",
        })
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "this target",
            Self::Domain => "its failure domain",
            Self::Estate => "all targets",
        })
    }
}

impl fmt::Display for Rail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observed => f.write_str("the target is only observed"),
            Self::Locked { ticket } => write!(f, "run {ticket} holds the target"),
            Self::Frozen => f.write_str("the target is frozen"),
            Self::Policy { why } => write!(f, "the policy said so: {why}"),
            Self::NoAnswer { why } => write!(f, "the policy did not answer: {why}"),
            Self::Operator { who } => write!(f, "{who} said so"),
            Self::NoWayHome { known, quarantined, one_way } => write!(
                f,
                "there is no release to go back to: {known} others were confirmed here, {quarantined} of them are in quarantine \
                 and {one_way} can't live with the schema"
            ),
            Self::BaselineBad { objective } => {
                write!(f, "the side to go back to is not better: {objective} is broken there, too")
            }
            Self::Brake { of, changes, span } => write!(f, "{changes} changes in {span} of {of} are enough"),
            Self::Switched => {
                f.write_str("all traffic was switched back: a person decides what goes out next")
            }
            Self::Fight { undone } => {
                write!(f, "what was done here was undone {undone} times by somebody else")
            }
            Self::Relapses { times, span } => {
                write!(f, "it was mended {times} times in {span} and fell ill again")
            }
            Self::LadderSpent { attempts } => write!(f, "{attempts} tries to mend it did not help"),
            Self::Backoff { until } => write!(f, "the next try waits until {} ms of up-time", until.0),
            Self::RunFailed { outcome } => write!(f, "the run {outcome}"),
            Self::NoData => f.write_str("there is no data"),
            Self::NoPlaybook => f.write_str("no playbook is configured for it"),
            Self::BreakerOpen { left } => write!(f, "the promotion breaker is open for {left}"),
            Self::HalfOpen { stage_max } => write!(
                f,
                "after a roll-back only a small stage is let through: {} permille at most",
                stage_max.get()
            ),
            Self::InQuarantine => f.write_str("the release is in quarantine here"),
            Self::Migration { why, way_out } => write!(f, "{why}; the way out: {way_out}"),
            Self::StillHeld => f.write_str(
                "what was held here may still stand, and nobody lets it go on any more: configure it as it was and thaw it, \
                 or let it go on by its controller's own means",
            ),
        }
    }
}

impl fmt::Display for TargetEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target)?;
        if let Some(incident) = self.incident {
            write!(f, ", incident {incident}")?;
        }
        write!(f, ": {}", self.step)
    }
}

impl fmt::Display for TargetStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watched { mode } => write!(f, "is watched ({mode})"),
            Self::Unwatched => f.write_str("is not watched any more"),
            Self::Deployed { release, stage, build } => {
                write!(f, "{release} is out to {} permille", stage.get())?;
                match build {
                    Some(build) => write!(f, " by build {build}"),
                    None => Ok(()),
                }
            }
            Self::Asked { ticket } => write!(f, "its policy is asked ({ticket})"),
            Self::Confirmed { release } => write!(f, "{release} is confirmed"),
            Self::Quarantined { release } => write!(f, "{release} is in quarantine"),
            Self::Lifted { release, who, reason } => {
                write!(f, "{who} lifted the quarantine of {release}: {reason}")
            }
            Self::Opened { why } => write!(f, "begins: {why}"),
            Self::Closed { end, took } => write!(f, "is over after {took}: {end}"),
            Self::Ordered { ticket, fence } => write!(f, "run {ticket} holds it (fence {})", fence.0),
            Self::CameHome { from, to, took, .. } => write!(f, "came home from {from} to {to} in {took}"),
            Self::RunFailed { ticket, outcome, again: Some(again) } => {
                write!(f, "run {ticket} {outcome}; it is tried again at {} ms of up-time", again.0)
            }
            Self::RunFailed { ticket, outcome, again: None } => write!(f, "run {ticket} {outcome}"),
            Self::Restrained { wanted, rail } => write!(f, "kept from {wanted}: {rail}"),
            Self::Froze { rail } => write!(f, "froze: {rail}"),
            Self::Thawed { who: Some(who) } => write!(f, "{who} thawed it"),
            Self::Thawed { who: None } => f.write_str("thawed: it looks good again"),
            Self::BreakerOpened { until } => {
                write!(f, "the promotion breaker is open until {} ms of up-time", until.0)
            }
            Self::BreakerClosed { who: Some(who) } => write!(f, "{who} closed the promotion breaker"),
            Self::BreakerClosed { who: None } => f.write_str("the promotion breaker closed"),
            Self::Cured { attempts, held } => write!(f, "cured after {attempts} tries: healthy for {held}"),
            Self::Waits { attempts, until } => {
                write!(f, "try {attempts} was made; waits until {} ms of up-time", until.0)
            }
            Self::Paged { rail } => write!(f, "a person is needed: {rail}"),
            Self::Labelled { label, who: Some(who) } => write!(f, "{who} says: {label}"),
            Self::Labelled { label, who: None } => write!(f, "looks like {label}"),
            Self::Override { who, what } => write!(f, "{who} did by hand: {what}"),
            Self::Migration { what } => write!(f, "migration: {what}"),
            Self::SetUp { ticket, setup } => {
                write!(f, "run {ticket} is done by an executor that is set up as {}", setup.short())
            }
            Self::Distrusted { release } => {
                write!(f, "{release} was to be left: it is no way home any more")
            }
        }
    }
}
