//! A Helm release as Helm 3 and 4 keep it, and what `helm rollback` makes of it.
//!
//! Helm knows what it wrote, and of pods only what it waited for. Each way back is a new revision. Not here: the revisions of the Deployment,
//! which Helm never looks at.

use super::{Act, Answer, HelmVersion, Product, Setup, Shipping, Template, Tool};

/// What Helm says of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// The present one, as far as Helm knows.
    Deployed,
    /// It was.
    Superseded,
    /// It didn't come up while Helm waited.
    Failed,
    /// Its `helm upgrade` is under way, or was killed.
    PendingUpgrade,
}

/// A revision that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Its number.
    pub number: u64,
    /// What is said of it.
    pub status: Status,
    /// What its manifest has.
    pub template: Template,
    /// The revision that it brought back.
    pub back_to: Option<u64>,
    /// Whether Helm saw it fail. That stays in its description, whatever its status becomes.
    pub seen_failing: bool,
}

/// A Helm release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helm {
    setup: Setup,
    records: Vec<Record>,
    live: Template,
}

impl Status {
    /// As Helm writes it.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::PendingUpgrade => "pending-upgrade",
        }
    }
}

impl Record {
    /// What Helm writes about it.
    #[must_use]
    pub fn description(&self) -> String {
        match (self.status, self.back_to) {
            (Status::PendingUpgrade, _) => "Preparing upgrade".into(),
            (Status::Deployed | Status::Superseded | Status::Failed, back_to) => match back_to {
                // What waits for pods calls a roll-back that didn't bring them up by its release.
                Some(_) if self.seen_failing => "Release \"shop\" failed: context deadline exceeded".into(),
                Some(number) => format!("Rollback to {number}"),
                None if self.number == 1 && self.seen_failing => {
                    "Release \"shop\" failed: context deadline exceeded".into()
                }
                None if self.number == 1 => "Install complete".into(),
                None if self.seen_failing => "Upgrade \"shop\" failed: context deadline exceeded".into(),
                None => "Upgrade complete".into(),
            },
        }
    }
}

impl Helm {
    /// The first release, by `helm install`.
    #[must_use]
    pub fn new(product: &Product, setup: Setup, first: Template) -> Self {
        let seen_failing = setup.first == Shipping::Waits && !product.comes_up(&first);
        let status = if seen_failing { Status::Failed } else { Status::Deployed };
        let first_record = Record { number: 1, status, template: first, back_to: None, seen_failing };
        Self { setup, records: vec![first_record], live: first }
    }

    /// What was written last.
    #[must_use]
    pub fn current(&self) -> Template {
        self.live
    }

    /// The revisions that are kept, oldest first.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Which Helm keeps them.
    #[must_use]
    pub fn version(&self) -> HelmVersion {
        self.setup.helm
    }

    /// Whether the newest was cut off.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.records.last().is_some_and(|record| record.status == Status::PendingUpgrade)
    }

    /// Something happens to it.
    pub fn acts(&mut self, product: &Product, act: &Act) -> Answer {
        match *act {
            Act::Ships { release, config, how } => {
                self.ships(product, Template { release, config, restart: 0 }, how)
            }
            Act::Undoes => self.back(product, Tool::HelmPrevious),
            // Ours forgets nothing on its way.
            Act::GoesHome { revision } => self.rolls_back(product, revision, Wait::ForPods, 0),
            // None of it is Helm's.
            Act::Restarts | Act::Promotes | Act::Aborts | Act::Forgets { .. } | Act::Pauses => Answer::Stayed,
        }
    }

    /// `helm rollback`, as a person types it.
    pub fn back(&mut self, product: &Product, tool: Tool) -> Answer {
        let to = match tool {
            // The one before, whatever is said of it.
            Tool::HelmPrevious => self.records.last().map(|record| record.number.saturating_sub(1)),
            Tool::HelmFirst => Some(1),
            Tool::HelmSuperseded => self.superseded(),
            Tool::Kubectl | Tool::Argo => None,
        };
        to.map_or(Answer::Refused, |to| self.rolls_back(product, to, Wait::No, self.setup.limit))
    }

    /// The newest revision that `helm history` calls superseded.
    #[must_use]
    pub fn superseded(&self) -> Option<u64> {
        let superseded = self.records.iter().rev().find(|record| record.status == Status::Superseded);
        superseded.map(|record| record.number)
    }

    fn ships(&mut self, product: &Product, template: Template, how: Shipping) -> Answer {
        if self.is_pending() {
            // "another operation (install/upgrade/rollback) is in progress"
            return Answer::Refused;
        }
        let (before, comes_up) = (self.live, product.comes_up(&template));
        let deployed = self.records.iter().rev().find(|record| record.status == Status::Deployed);
        let from = deployed.or(self.records.last()).map(|record| record.number);
        let number = self.makes(Status::PendingUpgrade, template, None, self.setup.limit);
        self.live = template;
        match how {
            Shipping::Killed if !comes_up => {}
            Shipping::Waits | Shipping::Atomic if !comes_up => {
                self.fails(number);
                if how == Shipping::Atomic {
                    self.undoes_by_itself(product);
                }
            }
            Shipping::Plain | Shipping::Waits | Shipping::Atomic | Shipping::Killed => {
                // What it goes on from is superseded now, also if it had failed.
                self.is(from, Status::Superseded);
                self.is(Some(number), Status::Deployed);
            }
        }
        if self.live == before { Answer::Stayed } else { Answer::Moved(self.live) }
    }

    /// What `--atomic` does: the newest that is called deployed or superseded. It knows of no limit then.
    fn undoes_by_itself(&mut self, product: &Product) {
        let whole = |record: &&Record| matches!(record.status, Status::Deployed | Status::Superseded);
        if let Some(to) = self.records.iter().rev().find(whole).map(|record| record.number) {
            self.rolls_back(product, to, Wait::ForPods, 0);
        }
    }

    fn rolls_back(&mut self, product: &Product, to: u64, wait: Wait, limit: usize) -> Answer {
        let before = self.live;
        let Some(template) = self.records.iter().find(|it| it.number == to).map(|it| it.template) else {
            return Answer::Refused;
        };
        let number = self.makes(Status::PendingUpgrade, template, Some(to), limit);
        self.live = template;
        if wait == Wait::ForPods && !product.comes_up(&template) {
            self.fails(number);
        } else {
            for record in &mut self.records {
                if record.status == Status::Deployed {
                    record.status = Status::Superseded;
                }
            }
            self.is(Some(number), Status::Deployed);
        }
        if self.live == before { Answer::Stayed } else { Answer::Moved(self.live) }
    }

    /// A new revision. Room is made for it: the oldest go, but for the one that is deployed.
    fn makes(&mut self, status: Status, template: Template, back_to: Option<u64>, limit: usize) -> u64 {
        let number = self.records.last().map_or(0, |record| record.number) + 1;
        if limit > 0 {
            let deployed = self.records.iter().rev().find(|record| record.status == Status::Deployed);
            let kept = deployed.map(|record| record.number);
            let mut gone = self.records.len().saturating_sub(limit - 1);
            self.records.retain(|record| {
                let goes = gone > 0 && Some(record.number) != kept;
                gone -= usize::from(goes);
                !goes
            });
        }
        self.records.push(Record { number, status, template, back_to, seen_failing: false });
        number
    }

    fn is(&mut self, number: Option<u64>, status: Status) {
        for record in self.records.iter_mut().filter(|record| Some(record.number) == number) {
            record.status = status;
        }
    }

    fn fails(&mut self, number: u64) {
        for record in self.records.iter_mut().filter(|record| record.number == number) {
            (record.status, record.seen_failing) = (Status::Failed, true);
        }
    }
}

/// Whether Helm waits until pods are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    No,
    ForPods,
}
