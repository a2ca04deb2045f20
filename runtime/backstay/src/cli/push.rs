//! `otactl push`: a cohort is to run a version; which way leads there is worked out.
//!
//! Where the cohort's rollout went forward to a release that has the wanted version among its ways home, the way is
//! back: the rollout is turned round. Otherwise the way is forward: a rollout begins. The server and every device
//! check what comes of it; this only picks.

use backstay_api::{CohortView, FleetView, Operation, PlanView, ReleaseView, StartRollout};
use backstay_model::{Channel, CohortId, Direction, FleetId, Version};
use clap::Args;

use crate::{Desk, Exit, Failure, rollout};

/// Bring a cohort to a version, forwards or back
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  otactl push --fleet acme --cohort canary --version 1.4.0")]
pub(crate) struct Push {
    /// The fleet; anything else than the server's own is refused
    #[arg(long)]
    fleet: FleetId,
    /// Which cohort
    #[arg(long)]
    cohort: CohortId,
    /// What it is to run
    #[arg(long)]
    version: Version,
}

/// Which way leads to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A rollout to it is under way, or arrived.
    There,
    /// The cohort is on its way home to it.
    GoingHome,
    /// The cohort is to be turned round.
    Back,
    /// A rollout to it is to begin.
    Forward,
}

fn way(cohort: Option<&CohortView>, releases: &[ReleaseView], version: &Version) -> Way {
    let Some((now, direction)) = cohort.and_then(|view| view.release.as_ref().zip(view.direction)) else {
        return Way::Forward;
    };
    let known = releases.iter().find(|view| view.release.digest == now.digest);
    let home = |view: &ReleaseView| {
        let named = releases.iter().filter(|other| other.release.version == *version);
        named.map(|other| other.release.digest).any(|digest| view.home.contains(&digest))
    };
    let leads_home = now.version != *version && known.is_some_and(home);
    match direction {
        Direction::Forward if now.version == *version => Way::There,
        Direction::Forward | Direction::Hold if leads_home => Way::Back,
        Direction::Home if leads_home => Way::GoingHome,
        Direction::Forward | Direction::Hold | Direction::Home => Way::Forward,
    }
}

impl Push {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        let Self { fleet, cohort, version } = self;
        let view: FleetView = client.get("/v1/fleet")?;
        if view.fleet != fleet.as_str() {
            let what = format!("the server steers fleet {}, not {fleet}", view.fleet);
            return Err(Failure::new(Exit::NotFound, what).help("name its fleet, or another --server"));
        }
        let releases: Vec<ReleaseView> = client.get("/v1/releases")?;
        let of = |view: &&CohortView| view.cohort == *cohort && view.channel == Channel::Product;
        let known = view.cohorts.iter().find(of);
        match way(known, &releases, version) {
            Way::There => {
                desk.printer
                    .say(format_args!("{cohort} is already steered to {version}: nothing was changed"));
                Ok(Exit::Done)
            }
            Way::GoingHome => {
                desk.printer.say(format_args!("{cohort} is already on its way home: nothing was changed"));
                Ok(Exit::Done)
            }
            Way::Back => {
                desk.printer
                    .say(format_args!("{version} is the way home: everybody on the release goes back"));
                rollout::operate(desk, &client, &rollout::Cohort::product(cohort), Operation::Rollback)
            }
            Way::Forward => {
                let (cohort, version) = (cohort.clone(), version.clone());
                let plan = PlanView::default();
                let (plugin, rollout, back, labels) = (None, None, None, None);
                let request = StartRollout { cohort, plugin, version, rollout, back, labels, plan };
                rollout::start(desk, &client, &request)?;
                Ok(Exit::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::{Digest, Release};

    use super::*;
    use crate::verdict::tests::underway;

    fn release(version: &str, byte: u8, home: &[u8]) -> ReleaseView {
        let (version, digest) = (Version::parse(version).unwrap(), Digest([byte; 32]));
        let home = home.iter().map(|byte| Digest([*byte; 32])).collect();
        let release = Release { version, digest, length: 1, security_epoch: 0 };
        ReleaseView { release, hardware: Vec::new(), home, artifact: true }
    }

    #[test]
    fn the_way_is_back_only_where_the_release_keys_allow_it() {
        // The cohort's rollout is to 2.0.0, which is 0xab.
        let releases =
            [release("1.4.0", 0xcd, &[]), release("1.3.0", 0xee, &[]), release("2.0.0", 0xab, &[0xcd])];
        let to = |direction, version: &str| {
            let view = CohortView { direction: Some(direction), ..underway() };
            way(Some(&view), &releases, &Version::parse(version).unwrap())
        };
        assert_eq!(to(Direction::Forward, "1.4.0"), Way::Back);
        assert_eq!(to(Direction::Hold, "1.4.0"), Way::Back);
        assert_eq!(to(Direction::Home, "1.4.0"), Way::GoingHome);
        assert_eq!(to(Direction::Forward, "1.3.0"), Way::Forward, "no way home leads there");
        assert_eq!(to(Direction::Forward, "2.0.0"), Way::There);
        assert_eq!(to(Direction::Home, "2.0.0"), Way::Forward, "the server has the last word on that");
        assert_eq!(to(Direction::Hold, "2.0.0"), Way::Forward);
        assert_eq!(way(None, &releases, &Version::parse("1.4.0").unwrap()), Way::Forward);
    }
}
