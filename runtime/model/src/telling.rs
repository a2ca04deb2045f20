//! Events told to people: one line each, the same in logs, in evidence and on the screen.
//!
//! Not here: colours, columns, times (whoever prints has them).

use core::fmt;

use crate::{
    Action, Came, Cause, Decision, Deed, Direction, Equipped, Event, Handover, HandoverStep, How, Outcome,
    PluginRole, PluginUpgrade, Release, SlotDeed, Task, Transience, UpgradeStep, Word,
};

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version, self.digest.short())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proceed => f.write_str("proceed"),
            Self::Slow { windows } => write!(f, "slow by {windows} windows"),
            Self::Heal { playbook: Some(playbook) } => write!(f, "heal by {playbook}"),
            Self::Heal { playbook: None } => f.write_str("heal"),
            Self::RollBack { how: How::AbortCanary } => f.write_str("roll back (abort the canary)"),
            Self::RollBack { how: How::SwitchAndFreeze } => f.write_str("roll back (switch all and freeze)"),
            Self::Freeze => f.write_str("freeze"),
            Self::Pause => f.write_str("pause"),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        match self.reasons.first() {
            Some(reason) => write!(f, ": {}", reason.0),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Hold => "hold",
            Self::Home => "home",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed { transience: Transience::Transient, why } => write!(f, "failed for now: {why}"),
            Self::Failed { transience: Transience::Permanent, why } => write!(f, "failed: {why}"),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install { release } => write!(f, "install {release}"),
            Self::Confirm { release } => write!(f, "confirm {release}"),
            Self::GoHome { release } => write!(f, "go home to {release}"),
            Self::Heal { playbook } => write!(f, "heal by {playbook}"),
        }
    }
}

impl fmt::Display for SlotDeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("slot status"),
            Self::Stage(release) => write!(f, "slot stage {release}"),
            Self::TryNext(release) => write!(f, "slot try-next {release}"),
            Self::Confirm(release) => write!(f, "slot confirm {release}"),
            Self::GoHome(release) => write!(f, "slot go-home {release}"),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(deed) => deed.fmt(f),
            Self::Run { command, args } => {
                write!(f, "run {command}")?;
                args.iter().try_for_each(|arg| write!(f, " {arg}"))
            }
            Self::Http { endpoint, method, path, .. } => write!(f, "{method} {path} of {endpoint}"),
            Self::File { path, content: None } => write!(f, "read {path}"),
            Self::File { path, content: Some(_) } => write!(f, "write {path}"),
            Self::Publish { topic, .. } => write!(f, "publish to {topic}"),
            Self::Sleep { span } => write!(f, "sleep {span}"),
            Self::Attach { name, .. } => write!(f, "attach {name}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { decision } => write!(f, "policy: {decision}"),
            Self::Steering { rollout, generation } => {
                write!(f, "steered by rollout {rollout}, generation {}", generation.0)
            }
            Self::TrialFailed { after } => write!(f, "the trial was not passed within {after}"),
            Self::FellBack => f.write_str("it did not come up, and the boot fell back"),
            Self::LadderSpent { attempts } => write!(f, "{attempts} tries to heal did not help"),
            Self::NoData => f.write_str("there is no data"),
            Self::NoPolicy => f.write_str("the policy did not answer"),
            Self::BudgetSpent { switches, span } => {
                write!(f, "{switches} switches in {span} spend the budget")
            }
            Self::BreakerOpen { left } => write!(f, "the promotion breaker is open for {left}"),
            Self::IsCondemned => f.write_str("it failed here before"),
            Self::NoWayHome => f.write_str("no allowed way leads home"),
            Self::EpochDown { floor } => write!(f, "its security epoch is below {floor}"),
            Self::Locked => f.write_str("another run holds the target"),
            Self::RunFailed { outcome } => write!(f, "the run {outcome}"),
            Self::Operator { who } => write!(f, "{who} said so"),
            Self::CohortFailed { failed, tried } => write!(f, "{failed} of {tried} devices failed"),
            Self::NotVetted { why } => write!(f, "the release was not vetted: {why}"),
            Self::Lost => f.write_str("what was kept of it can't be used any more"),
            Self::Reconfigured => f.write_str("the configuration names another one"),
            Self::Dependency { probe } => write!(f, "{probe} fails, which is not this device's own"),
        }
    }
}

impl fmt::Display for PluginRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "policy",
            Self::Executor => "executor",
        })
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(digest) => write!(f, "answered ({})", digest.short()),
            Self::Nothing => f.write_str("did not answer"),
            Self::Unlucky => f.write_str("did not answer on this machine"),
        }
    }
}

impl fmt::Display for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, version, grant, step } = self;
        write!(f, "{plugin} {version} ({}) ", grant.short())?;
        let wanted = |f: &mut fmt::Formatter<'_>, action: &Option<Action>| match action {
            Some(action) => action.fmt(f),
            None => f.write_str("nothing, it did not answer"),
        };
        match step {
            HandoverStep::Shadows { beside } => write!(f, "is asked beside {}", beside.short()),
            HandoverStep::Differs { wanted: own, other, differed, windows } => {
                f.write_str("wanted ")?;
                wanted(f, own)?;
                f.write_str(", the other ")?;
                wanted(f, other)?;
                write!(f, " ({differed} of {windows} windows differ)")
            }
            HandoverStep::TakesOver { from, differed, windows } => {
                write!(f, "takes over from {}: {differed} of {windows} windows differed", from.short())
            }
            HandoverStep::Settles { differed, windows } => {
                write!(f, "stays: {differed} of {windows} windows of its soak differed")
            }
            HandoverStep::Refused { back_to, was_deciding: true, why } => {
                write!(f, "is sent back, {} decides again: {why}", back_to.short())
            }
            HandoverStep::Refused { was_deciding: false, why, .. } => {
                write!(f, "does not take over: {why}")
            }
        }
    }
}

impl fmt::Display for PluginUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bundle, step } = self;
        match step {
            UpgradeStep::Steered { rollout, generation, direction, reach } => {
                let (generation, reach) = (generation.0, reach.get() / 1000);
                write!(
                    f,
                    "plugins steered {direction}: rollout {rollout}, generation {generation}, {bundle}, reach {reach} permille"
                )
            }
            UpgradeStep::TrialBegan { plugin, role, grant, back: Some(back) } => {
                write!(
                    f,
                    "{role} {plugin} {bundle} is on trial under grant {}; {back} is the way home",
                    grant.short()
                )
            }
            UpgradeStep::TrialBegan { plugin, role, grant, back: None } => {
                write!(
                    f,
                    "{role} {plugin} {bundle} is on trial under grant {}; there was none",
                    grant.short()
                )
            }
            UpgradeStep::Confirmed => write!(f, "plugin {bundle} is confirmed"),
            UpgradeStep::Condemned { why } => write!(f, "plugin {bundle} is condemned: {why}"),
            UpgradeStep::Left { to: Some(to), cause } => {
                write!(f, "plugin {bundle} was left for {to}: {cause}")
            }
            UpgradeStep::Left { to: None, cause } => {
                write!(f, "plugin {bundle} was left, and there is no other: {cause}")
            }
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { booted, confirmed, .. } if booted.digest == confirmed.digest => {
                write!(f, "started on {booted}")
            }
            Self::Started { booted, confirmed, .. } => {
                write!(f, "started on {booted}, which is not confirmed; {confirmed} is")
            }
            Self::Steered { rollout, generation, direction, release, reach } => {
                let (generation, reach) = (generation.0, reach.get() / 1000);
                write!(
                    f,
                    "steered {direction}: rollout {rollout}, generation {generation}, {release}, reach {reach} permille"
                )
            }
            Self::Refused(refused) if refused.count > 1 => {
                write!(f, "refused {} ({} so far): {}", refused.what, refused.count, refused.why)
            }
            Self::Refused(refused) => write!(f, "refused {}: {}", refused.what, refused.why),
            Self::Asked { ticket, .. } => write!(f, "asked the policy ({ticket})"),
            Self::Decided { ticket, decision } => write!(f, "policy ({ticket}) said {decision}"),
            Self::Unanswered { ticket, why } => write!(f, "policy ({ticket}) did not answer: {why}"),
            Self::Restrained { wanted, rail } => write!(f, "kept from {wanted}: {rail}"),
            Self::Ordered { order, cause } => {
                write!(f, "run {} begins: {}; {cause}", order.ticket, order.task)
            }
            Self::Ended { ticket, outcome, .. } => write!(f, "run {ticket} ended: {outcome}"),
            Self::TrialBegan { release, back, needs } => {
                write!(f, "{release} is on trial for {needs}; {back} is the way home")
            }
            Self::Confirmed { release, .. } => write!(f, "{release} is confirmed"),
            Self::Condemned { release, cause } => write!(f, "{release} is condemned: {cause}"),
            Self::CameHome { from, to, took, cause } => {
                write!(f, "came home from {from} to {to} in {took}: {cause}")
            }
            Self::Froze { cause } => write!(f, "froze: {cause}"),
            Self::Thawed { cause } => write!(f, "thawed; it was frozen because {cause}"),
            Self::Excluded(excluded) => {
                let (rollout, attempts, cause) = (&excluded.rollout, excluded.attempts, &excluded.cause);
                match excluded.until {
                    Some(_) => {
                        write!(f, "sits rollout {rollout} out for a while after {attempts} tries: {cause}")
                    }
                    None => write!(f, "sits rollout {rollout} out after {attempts} tries: {cause}"),
                }
            }
            Self::Waits { attempts, until } => {
                write!(f, "try {attempts} was made; waits until {} ms of up-time", until.0)
            }
            Self::Cured { attempts } => write!(f, "cured after {attempts} tries"),
            Self::WaveOpened { rollout, wave, share, .. } => {
                write!(f, "rollout {rollout} opened wave {} ({} permille)", wave + 1, share.get())
            }
            Self::Turned { cohort, rollout, on_release, cause } => {
                write!(
                    f,
                    "cohort {cohort} was turned home from rollout {rollout}, {on_release} devices on it: {cause}"
                )
            }
            Self::Completed { rollout, confirmed, excluded } => {
                write!(f, "rollout {rollout} is complete: {confirmed} confirmed, {excluded} sat it out")
            }
            Self::BreakerOpened { until } => {
                write!(f, "the promotion breaker is open until {} ms of up-time", until.0)
            }
            Self::BreakerClosed => f.write_str("the promotion breaker closed"),
            Self::Enrolled { device, cohort, key } => {
                write!(f, "{device} is enrolled in {cohort} with key {}", key.short())
            }
            Self::EffectBegan { ticket, ordinal, what, .. } => {
                write!(f, "run {ticket}, effect {ordinal}: {what}")
            }
            Self::EffectEnded { ticket, ordinal, .. } => write!(f, "run {ticket}, effect {ordinal} ended"),
            Self::Degraded { what } => write!(f, "degraded: {what}"),
            Self::Override { who, what } => write!(f, "{who} did by hand: {what}"),
            Self::Told { word: Word::Hold, .. } => f.write_str("told to hold"),
            Self::Told { word: Word::Thaw, .. } => f.write_str("told to go on"),
            Self::Told { word: Word::Lift(digest), .. } => {
                write!(f, "told that {} may be tried again", digest.short())
            }
            Self::Quarantined { plugin, grant, strikes, why } => {
                write!(f, "{plugin} ({}) is quarantined after {strikes} strikes: {why}", grant.short())
            }
            Self::Equipped(Equipped { role, plugin, version, grant, .. }) => {
                write!(f, "{role} {plugin} {version} is ready ({})", grant.short())
            }
            Self::Consulted { ticket, grant, came, .. } => {
                write!(f, "policy ({ticket}) under grant {} {came}", grant.short())
            }
            Self::Stepped { ticket, grant, came } => {
                write!(f, "run {ticket} stepped: executor under grant {} {came}", grant.short())
            }
            Self::RunTaken { ticket, grant } => {
                write!(f, "run {ticket} is taken by the executor of grant {}", grant.short())
            }
            Self::Stranded { cause, again } => {
                write!(f, "nothing is left to try until {} ms of up-time: {cause}", again.0)
            }
            Self::Handover(handover) => handover.fmt(f),
            Self::Upgrade(upgrade) => upgrade.fmt(f),
            Self::BroughtDown { plugin, grant } => {
                write!(f, "the process ended in a call of {plugin} ({})", grant.short())
            }
            Self::Trusts { number, keyring, revocation } => {
                write!(f, "trusts keyring {number} ({})", keyring.short())?;
                match revocation {
                    Some(sequence) => write!(f, " and heeds revocation {sequence}"),
                    None => Ok(()),
                }
            }
            // Whoever can read it tells it in its own words.
            Self::Target(_) => f.write_str("a target"),
            Self::Reset { cause, tries_left, .. } => {
                write!(f, "the machine started anew: {cause}")?;
                match tries_left {
                    Some(left) => write!(f, ", {left} tries left"),
                    None => Ok(()),
                }
            }
            Self::Captured { release, files, left } => {
                write!(f, "captured the configuration of {release}: {files} files")?;
                if left.is_empty() { Ok(()) } else { write!(f, "; left alone: {left}") }
            }
            Self::Gap { after, why } => write!(f, "records after {after} were lost: {why}"),
        }
    }
}
