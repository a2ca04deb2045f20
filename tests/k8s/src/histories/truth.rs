//! What a way back is worth: what everybody would have liked to know.

use std::{collections::BTreeSet, ops::AddAssign};

use super::{Answer, Nature, Product, Template};

/// What is true at the end of a history, before anybody goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// What is to be left.
    pub left: Template,
    /// Releases that were judged good for long enough, in the order in which they first were.
    pub confirmed: Vec<usize>,
    /// Releases that were sent back.
    pub quarantined: BTreeSet<usize>,
    /// Releases that were good and aren't any more.
    pub faded: BTreeSet<usize>,
}

/// What a choice is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The newest release that was confirmed and is not in quarantine, in a revision whose pods come up.
    Right,
    /// Nothing is wrong with it, but there is a newer one that is known to be good, or nobody knows of this one that it is.
    Other,
    /// A release that never was good or isn't any more, one in quarantine, or what was to be left.
    Wrong,
    /// A release that may be fine, in a revision whose pods don't come up, by its configuration.
    Unsound,
    /// Nothing was changed, and the tool says that all is well.
    Stayed,
    /// Nothing was changed, and the tool says so.
    Refused,
}

/// How often a tool was what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// In so many histories it was asked.
    pub histories: u32,
    /// [`Verdict::Right`].
    pub right: u32,
    /// [`Verdict::Other`].
    pub other: u32,
    /// [`Verdict::Wrong`].
    pub wrong: u32,
    /// [`Verdict::Unsound`].
    pub unsound: u32,
    /// [`Verdict::Stayed`].
    pub stayed: u32,
    /// [`Verdict::Refused`].
    pub refused: u32,
}

impl Truth {
    /// Whether the release is bad, whatever it is configured by.
    fn is_bad(&self, product: &Product, release: usize) -> bool {
        let is_good = product.releases.get(release) == Some(&Nature::Good);
        !is_good || self.faded.contains(&release) || self.quarantined.contains(&release)
    }

    /// The newest release that is known to be good. Where a configuration is at fault, that is the one it was given to.
    #[must_use]
    pub fn newest_good(&self, product: &Product) -> Option<usize> {
        let is_fault_of_config = !product.is_sound(self.left.config);
        let is_left = |release: usize| release == self.left.release && !is_fault_of_config;
        let good = |release: &&usize| !self.is_bad(product, **release) && !is_left(**release);
        self.confirmed.iter().rev().find(good).copied()
    }

    /// What a template is worth as a way back.
    #[must_use]
    pub fn judges(&self, product: &Product, template: &Template) -> Verdict {
        let is_bad = template.is_like(&self.left) || self.is_bad(product, template.release);
        match self.newest_good(product) {
            _ if is_bad => Verdict::Wrong,
            _ if !product.is_sound(template.config) => Verdict::Unsound,
            Some(newest) if newest == template.release => Verdict::Right,
            Some(_) | None => Verdict::Other,
        }
    }

    /// What some answers come to that were given one after the other.
    #[must_use]
    pub fn weighs(&self, product: &Product, answers: &[Answer]) -> Verdict {
        let moved = answers.iter().rev().find_map(|answer| match answer {
            Answer::Moved(template) => Some(template),
            Answer::Stayed | Answer::Refused => None,
        });
        match (moved, answers.last()) {
            (Some(template), _) => self.judges(product, template),
            (None, Some(Answer::Refused)) => Verdict::Refused,
            (None, _) => Verdict::Stayed,
        }
    }
}

impl AddAssign<Verdict> for Count {
    fn add_assign(&mut self, verdict: Verdict) {
        self.histories += 1;
        *match verdict {
            Verdict::Right => &mut self.right,
            Verdict::Other => &mut self.other,
            Verdict::Wrong => &mut self.wrong,
            Verdict::Unsound => &mut self.unsound,
            Verdict::Stayed => &mut self.stayed,
            Verdict::Refused => &mut self.refused,
        } += 1;
    }
}
