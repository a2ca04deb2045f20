//! What is demanded once nothing goes wrong any more.

use backstay_core::Stage;
use backstay_model::{Cause, Direction, Reach, Reading, Standing};

use crate::{
    fleet::Fleet,
    invariants::{self as rule, Broken, holds},
    shore::{self, Shore},
    unit::Power,
};

/// Everything has come to rest, and in the right place; or what has not.
pub(crate) fn unsettled(fleet: &mut Fleet) -> Result<(), Broken> {
    for n in 0..fleet.units.len() {
        if let Err(broken) = unit(fleet, n) {
            fleet.blames(n);
            return Err(broken);
        }
    }
    for n in 0..fleet.shores.len() {
        if let Err(broken) = view(fleet, n).and_then(|()| ends(fleet, n)) {
            fleet.blames_shore(n);
            return Err(broken);
        }
    }
    Ok(())
}

fn unit(fleet: &Fleet, n: usize) -> Result<(), Broken> {
    let (unit, sky) = (&fleet.units[n], &fleet.sky);
    let shore = &fleet.shores[unit.cohort];
    let (runs, standing) = (&unit.slots.booted, unit.device.standing());
    let says = |why: &str| format!("{} is {standing:?} on {runs}: {why}", unit.id());
    let demands = |is: bool, why: &str| holds(rule::PROGRESS, is, || says(why));
    demands(unit.power == Power::On && unit.link.session.is_some(), "it isn't there")?;
    let newest = shore.cohort.helm().steer();
    if let Some(steer) = &newest {
        let known = unit.device.steering();
        demands(known == Some(steer), "it has not heard the newest message")?;
    }
    let reachable = unit
        .slots
        .other
        .iter()
        .chain([&unit.slots.confirmed])
        .any(|to| to != runs && may_go(fleet, n, to) && unit.would_be_well_on(to, sky));
    match standing {
        Standing::Settled | Standing::Excluded => {
            demands(unit.local(sky) != Reading::Failed, "it is not well and does nothing about it")?;
        }
        Standing::OnTrial => {
            demands(unit.local(sky) == Reading::NotRun, "its trial does not end, and there is data")?;
        }
        Standing::Frozen => {
            let why = unit.witness.frozen.as_ref();
            demands(why.is_some(), "it did not say why")?;
            // The executor's last word stands, whatever is in reach.
            let given_up = matches!(why, Some(Cause::RunFailed { .. }));
            demands(given_up || !reachable, "a healthy release is in reach")?;
        }
        Standing::Stranded => {
            let why = unit.witness.stranded.as_ref().map(|(why, _)| why);
            demands(why.is_some(), "it did not say why")?;
            // A spent budget stands, whatever is in reach, until it is free.
            let waits = matches!(why, Some(Cause::BudgetSpent { .. }));
            demands(waits || unit.local(sky) != Reading::Passed, "it is well")?;
            demands(waits || !reachable, "a healthy release is in reach")?;
        }
        Standing::Installing | Standing::GoingHome => demands(false, "it doesn't come to an end")?,
    }
    let Some(steer) = newest else { return Ok(()) };
    let on = *runs == steer.release;
    match steer.direction {
        Direction::Forward => {
            let meant = steer.selector.means(unit.labels())
                && Reach::to_hold(&steer.rollout, unit.id()) <= steer.reach
                && !steer.frozen;
            let may_follow = standing == Standing::Settled
                && !unit.witness.has_condemned(&steer.release.digest)
                && !unit.witness.was_turned_from(&steer.rollout)
                && !unit.witness.left.contains(&steer.rollout)
                && !unit.witness.held;
            demands(on || !meant || !may_follow, "it is meant and doesn't follow")
        }
        Direction::Home => {
            demands(!on || matches!(standing, Standing::Frozen | Standing::Stranded), "it was steered home")
        }
        Direction::Hold => Ok(()),
    }
}

fn may_go(fleet: &Fleet, n: usize, to: &backstay_model::Release) -> bool {
    let unit = &fleet.units[n];
    let here = fleet.sky.products.iter().find(|product| product.release == unit.slots.booted);
    here.is_some_and(|product| product.way.allows(&to.digest))
        && !unit.witness.has_condemned(&to.digest)
        && to.security_epoch >= unit.witness.floor
}

fn view(fleet: &Fleet, n: usize) -> Result<(), Broken> {
    let shore = &fleet.shores[n];
    let seen = shore.cohort.overview(shore.mono(fleet.sky.now));
    let mine: Vec<_> = fleet.units.iter().filter(|unit| unit.cohort == n).collect();
    for unit in &mine {
        let said = fleet.last_word(unit.number).map(|report| (report.standing, report.health));
        let is = (unit.device.standing(), unit.device.health());
        holds(rule::TRUE_VIEW, said == Some(is), || {
            format!("{} said last {said:?}, and is {is:?}", unit.id())
        })?;
    }
    let sees = |what: &str, seen: u32, is: usize| {
        holds(rule::TRUE_VIEW, seen as usize == is, || format!("it sees {seen} {what}, and {is} are so"))
    };
    sees("devices", seen.devices, mine.len())?;
    sees("unheard", seen.unheard, 0)?;
    let on = |unit: &&&crate::unit::Unit| seen.release.as_ref().is_some_and(|to| unit.slots.booted == *to);
    for (what, standing, on_release, off_release) in [
        ("settled", Standing::Settled, seen.on_release.settled, seen.off_release.settled),
        ("on trial", Standing::OnTrial, seen.on_release.on_trial, seen.off_release.on_trial),
        ("frozen", Standing::Frozen, seen.on_release.frozen, seen.off_release.frozen),
        ("stranded", Standing::Stranded, seen.on_release.stranded, seen.off_release.stranded),
        ("excluded", Standing::Excluded, seen.on_release.excluded, seen.off_release.excluded),
    ] {
        let stand = |unit: &&&crate::unit::Unit| unit.device.standing() == standing;
        sees(what, on_release, mine.iter().filter(stand).filter(on).count())?;
        sees(what, off_release, mine.iter().filter(stand).filter(|unit| !on(unit)).count())?;
    }
    if seen.stage == Stage::Idle {
        return Ok(());
    }
    sees("there", seen.live, mine.len())?;
    sees("silent", seen.silent, 0)
}

fn ends(fleet: &Fleet, n: usize) -> Result<(), Broken> {
    let shore = &fleet.shores[n];
    let seen = shore.cohort.overview(shore.mono(fleet.sky.now));
    let says = || format!("{} is {:?} for {:?}", shore.id, seen.stage, seen.frozen);
    match seen.stage {
        Stage::Idle | Stage::Arrived | Stage::Ended => Ok(()),
        // Whoever can't end a trial can't be judged, and neither can a wave in which nobody could begin. A server that was put
        // back to an old copy may go on with what it had turned: whoever it was turned on doesn't follow.
        Stage::Forward | Stage::Held => {
            let rollout = shore.cohort.helm().steer().map(|steer| steer.rollout);
            let open = fleet.units.iter().filter(|unit| unit.cohort == n).any(|unit| {
                matches!(
                    unit.device.standing(),
                    Standing::OnTrial | Standing::Excluded | Standing::Frozen | Standing::Stranded
                ) || rollout.as_ref().is_some_and(|rollout| unit.witness.was_turned_from(rollout))
            });
            // A verdict that is neither good nor bad enough waits for a person.
            let tried = seen.confirmed + seen.failed;
            let undecided = matches!(seen.frozen, Some(Cause::CohortFailed { .. } | Cause::Policy { .. }))
                || u64::from(seen.confirmed) * 1000
                    < u64::from(shore::plan(fleet.sky.size.beat).success_min.get()) * u64::from(tried);
            // Where nobody in reach has tried, there is nothing to judge by.
            let nothing = tried == 0;
            holds(rule::COHORT_ENDS, open || undecided || nothing, says)
        }
        Stage::Home => {
            let stuck = fleet.units.iter().filter(|unit| unit.cohort == n).any(|unit| {
                matches!(unit.device.standing(), Standing::OnTrial | Standing::Frozen | Standing::Stranded)
            });
            let by_person = matches!(seen.frozen, Some(Cause::Operator { .. } | Cause::Steering { .. }));
            let rests = seen.frozen.is_none() || stuck || by_person;
            holds(rule::COHORT_ENDS, rests, says)
        }
    }
}

/// Whether a person held the cohort, and nobody else lets it go on.
pub(crate) fn waits_for_a_person(shore: &Shore, now: u64) -> bool {
    let seen = shore.cohort.overview(shore.mono(now));
    matches!(seen.frozen, Some(Cause::Operator { .. } | Cause::Steering { .. }))
}
