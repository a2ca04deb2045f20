//! A Deployment of one pod as kube-controller-manager keeps it, and what `kubectl rollout undo` makes of it.
//!
//! One more pod than wanted may be there, and none less may be available: what works takes over at once, and beside what doesn't the last
//! that did stays. Where nothing works, what came before the newest stays as well, until its place is needed.

use super::{Act, Answer, Product, Set, Setup, Template, sets::Sets};

/// As many pods as it is to have are to be available all the time.
const PODS_MIN: usize = 1;
/// And as many may there be while it changes.
const PODS_MAX: usize = 2;

/// A Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    limit: usize,
    sets: Sets,
    current: Template,
    paused: bool,
}

impl Deployment {
    /// The first release.
    #[must_use]
    pub fn new(product: &Product, setup: Setup, first: Template) -> Self {
        let mut it = Self { limit: setup.limit, sets: Sets::default(), current: first, paused: false };
        it.takes(product, first);
        it
    }

    /// What it is asked to be.
    #[must_use]
    pub fn current(&self) -> Template {
        self.current
    }

    /// Its ReplicaSets.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter()
    }

    /// Whether somebody paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Something happens to it.
    pub fn acts(&mut self, product: &Product, act: &Act) -> Answer {
        let before = self.current;
        match *act {
            // Whoever patches or applies a template doesn't take out what a restart wrote into it.
            Act::Ships { release, config, .. } => {
                self.takes(product, Template { release, config, restart: before.restart });
            }
            Act::Restarts => {
                let restart = self.sets().map(|set| set.template.restart).max().unwrap_or(0) + 1;
                self.takes(product, Template { restart, ..before });
            }
            Act::Undoes => return self.undo(product),
            Act::GoesHome { revision } => {
                let Some(set) = self.sets.numbered(revision) else { return Answer::Refused };
                self.takes(product, set.template);
            }
            Act::Forgets { revision } => self.sets.forgets(revision),
            Act::Pauses => self.paused = true,
            // A Deployment has neither.
            Act::Promotes | Act::Aborts => {}
        }
        if self.current == before { Answer::Stayed } else { Answer::Moved(self.current) }
    }

    /// `kubectl rollout undo`.
    pub fn undo(&mut self, product: &Product) -> Answer {
        let Some(to) = self.sets.before().map(|set| set.template).filter(|_| !self.paused) else {
            return Answer::Refused;
        };
        if to == self.current {
            return Answer::Stayed;
        }
        self.takes(product, to);
        Answer::Moved(to)
    }

    fn takes(&mut self, product: &Product, template: Template) {
        self.current = template;
        self.sets.takes(template);
        while self.rolls(product) {}
        // What hasn't come up is no reason to forget what was there before.
        if product.comes_up(&template) {
            self.sets.keeps(self.limit, |set| set.template != template, |set| set.number);
        }
    }

    /// One pod more or less, as its controller goes on. `false`: it stays as it is.
    fn rolls(&mut self, product: &Product) -> bool {
        let current = self.current;
        let pods = self.sets.iter().filter(|set| set.wanted).count();
        let available = self.sets.iter().filter(|set| set.available).count();
        let Some(new) = self.sets.iter_mut().find(|set| set.template == current) else { return false };
        if !new.wanted {
            if pods < PODS_MAX {
                (new.wanted, new.available) = (true, product.comes_up(&current));
                return true;
            }
        } else if pods - usize::from(!new.available) <= PODS_MIN {
            // What is coming up may yet be needed.
            return false;
        }
        let mut olds: Vec<&mut Set> =
            self.sets.iter_mut().filter(|set| set.template != current && set.wanted).collect();
        olds.sort_by_key(|set| set.born);
        // What isn't well goes first, and what is only if enough is left.
        let goes = match olds.iter().position(|set| !set.available) {
            None if available <= PODS_MIN => None,
            None => olds.first_mut(),
            Some(unwell) => olds.get_mut(unwell),
        };
        goes.map(|set| (set.wanted, set.available) = (false, false)).is_some()
    }
}
