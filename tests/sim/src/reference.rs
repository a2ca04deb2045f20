//! A second, simpler model of what should become of one release: worked out from the release and the machines alone, with no
//! time, no messages, no phases and no windows. What the fleet of real cores came to is compared with it.
//!
//! Of a device it knows that it never starts the release, comes to run it, comes back from it, does one of the two, or can't
//! be judged.
//! Whatever weather there was, a device ends where the model says, and so does its cohort.

use backstay_model::{Millis, Standing, Steer};

use crate::{
    Behaviour,
    fleet::Fleet,
    invariants::{self as rule, Broken, holds},
    product::{Product, hardware},
    weather::Mark,
};

/// What should become of a device that is asked to run a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It refuses: no way back, another machine, an older epoch.
    Refuses,
    /// It runs it, perhaps mended.
    Runs,
    /// It tries, and is home again.
    Returns,
    /// The same, after its trial: others may have begun by then.
    ReturnsLate,
    /// It runs it, or is home again.
    Either,
    /// It can't be judged while it runs it: it may stand there, or be home.
    Unknown,
}

/// The kinds of faults that change when things happen, and never what.
pub(crate) const BEARABLE: &[Mark] = &[
    Mark::Partition,
    Mark::ServerCut,
    Mark::Loss,
    Mark::Duplicate,
    Mark::Reorder,
    Mark::Poison,
    Mark::BrokerRestart,
    Mark::ServerCrash,
    Mark::Reboot,
    Mark::CutInStep,
    Mark::PowerCut,
    Mark::Slow,
    Mark::Outage,
    Mark::ClockJump,
];

/// What fails sooner than this fails within its trial, whenever windows close.
const SOON: Millis = Millis::from_secs(1200);

fn fate(product: &Product, before: &Product, device: usize) -> Fate {
    let may = product.way.allows(&before.release.digest)
        && product.hardware.contains(&hardware())
        && product.release.security_epoch >= before.release.security_epoch;
    if !may {
        return Fate::Refuses;
    }
    match product.on(device) {
        None => Fate::Runs,
        // Whether it is mended or left hangs on what the machine says while it fails.
        Some(Behaviour::NeedsRestarts(_)) => Fate::Either,
        Some(Behaviour::DoesNotBoot) => Fate::Returns,
        Some(Behaviour::FailsAfter(span)) if span < SOON => Fate::Returns,
        Some(Behaviour::FailsAfter(_)) => Fate::ReturnsLate,
        Some(Behaviour::IsSilent) => Fate::Unknown,
    }
}

/// Holds what became of release 1 against what should have.
pub(crate) fn compare(fleet: &Fleet) -> Result<(), Broken> {
    let [before, product, ..] = fleet.sky.products.as_slice() else { return Ok(()) };
    for shore in &fleet.shores {
        let steer = shore.cohort.helm().steer();
        let turned = shore.turns() > 0;
        let mine: Vec<_> = fleet.units.iter().filter(|unit| unit.cohort == shore.number).collect();
        let fates: Vec<_> = mine.iter().map(|unit| fate(product, before, unit.number)).collect();
        let says = |what: &str| format!("{} {what}: {:?}, {fates:?}", shore.id, product.fault);
        let all = |fate| fates.iter().all(|&other| other == fate);
        let is = |is: bool, what: &str| holds(rule::REFERENCE, is, || says(what));
        for (unit, fate) in mine.iter().zip(&fates) {
            let runs = unit.slots.booted == product.release;
            let reached = steer.as_ref().is_some_and(|steer| is_reached(steer, unit.id()));
            let of = |what: &str| format!("has {} {what}", unit.id());
            match fate {
                Fate::Refuses => is(!runs && unit.witness.moved == 0, &of("on what it must refuse"))?,
                Fate::Returns | Fate::ReturnsLate => {
                    // Who says why no way is left stands where it is, and a person has to look.
                    let standing = unit.device.standing();
                    let gave_up = matches!(standing, Standing::Frozen | Standing::Stranded);
                    is(!runs || gave_up, &of(&format!("{standing:?} on what fails there")))?;
                }
                Fate::Runs => {
                    is(runs || turned || !arrived(shore, steer.as_ref()) || !reached, &of("left behind"))?;
                }
                Fate::Either | Fate::Unknown => {}
            }
            is(!runs || reached || turned, &of("on it, and not asked to"))?;
        }
        is(!(turned && all(Fate::Runs)), "turned from what is good everywhere")?;
        is(!(turned && all(Fate::Refuses)), "turned from what nobody started")?;
        let bad = all(Fate::Returns) || all(Fate::Unknown);
        let moved = mine.iter().filter(|unit| unit.witness.moved > 0).count();
        let first = fleet.smallest_wave();
        is(!bad || moved <= first, "had more than its first wave try what is bad everywhere")?;
        let ends = arrived(shore, steer.as_ref());
        is(!(bad && ends), "arrived with what is bad everywhere")?;
        is(ends || !(all(Fate::Runs) && fleet.was_calm()), "did not arrive with what is good everywhere")?;
    }
    Ok(())
}

fn is_reached(steer: &Steer, device: &backstay_model::DeviceId) -> bool {
    backstay_model::Reach::to_hold(&steer.rollout, device) <= steer.reach
}

fn arrived(shore: &crate::shore::Shore, steer: Option<&Steer>) -> bool {
    let all = steer.is_some_and(|steer| {
        steer.direction == backstay_model::Direction::Forward && steer.reach == backstay_model::Reach::ALL
    });
    all && shore.turns() == 0
}
