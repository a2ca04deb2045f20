//! A Rollout of one pod as the controller of Argo Rollouts keeps it, and what the plugin's `undo` makes of it.
//!
//! Its steps are half of the traffic, which is one pod of two, and a pause that somebody has to end. What is promoted is *stable*.

use super::{Act, Answer, Product, Set, Setup, Template, sets::Sets};

/// A Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    limit: usize,
    sets: Sets,
    current: Template,
    stable: Option<Template>,
    aborted: bool,
}

impl Rollout {
    /// The first release.
    #[must_use]
    pub fn new(product: &Product, setup: Setup, first: Template) -> Self {
        let mut it =
            Self { limit: setup.limit, sets: Sets::default(), current: first, stable: None, aborted: false };
        it.takes(product, first);
        it
    }

    /// What it is asked to be.
    #[must_use]
    pub fn current(&self) -> Template {
        self.current
    }

    /// What was promoted last.
    #[must_use]
    pub fn stable(&self) -> Option<Template> {
        self.stable
    }

    /// Whether its canary was given up.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// Whether a canary waits beside what is stable.
    #[must_use]
    pub fn has_canary(&self) -> bool {
        !self.aborted && self.stable.is_some_and(|stable| stable != self.current)
    }

    /// Its ReplicaSets.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter()
    }

    /// Something happens to it.
    pub fn acts(&mut self, product: &Product, act: &Act) -> Answer {
        let before = self.current;
        match *act {
            Act::Ships { release, config, .. } => {
                self.takes(product, Template { release, config, restart: 0 });
            }
            Act::Promotes => self.promotes(product),
            Act::Aborts => {
                self.aborted = self.has_canary();
                self.settles(product);
            }
            Act::Undoes => return self.undo(product),
            Act::GoesHome { revision } => {
                let Some(set) = self.sets.numbered(revision) else { return Answer::Refused };
                self.takes(product, set.template);
                self.promotes(product);
            }
            Act::Forgets { revision } => self.sets.forgets(revision),
            // A restart isn't in its template; and it isn't paused by whoever reads these histories.
            Act::Restarts | Act::Pauses => {}
        }
        if self.current == before { Answer::Stayed } else { Answer::Moved(self.current) }
    }

    /// `kubectl argo rollouts undo`.
    pub fn undo(&mut self, product: &Product) -> Answer {
        let Some(to) = self.sets.before().map(|set| set.template) else { return Answer::Refused };
        // It takes two templates for the same if all that is said in the present one stands in the other, too.
        let (now, is_said) = (self.current, self.current.config != 0);
        if to.release == now.release && (to.config == now.config || !is_said) {
            return Answer::Stayed;
        }
        self.takes(product, to);
        Answer::Moved(to)
    }

    fn takes(&mut self, product: &Product, template: Template) {
        if template != self.current || self.sets.iter().next().is_none() {
            self.aborted = false;
        }
        self.current = template;
        self.sets.takes(template);
        self.settles(product);
    }

    fn promotes(&mut self, product: &Product) {
        if !self.aborted && product.comes_up(&self.current) {
            self.stable = Some(self.current);
            self.settles(product);
        }
    }

    fn settles(&mut self, product: &Product) {
        let (current, comes_up) = (self.current, product.comes_up(&self.current));
        // Where nothing was promoted yet, there is nothing to be careful for.
        if self.stable.is_none() && comes_up {
            self.stable = Some(current);
        }
        let (stable, aborted) = (self.stable, self.aborted);
        for set in self.sets.iter_mut() {
            let is_stable = stable == Some(set.template);
            let is_new = set.template == current && !aborted;
            set.wanted = is_stable || is_new;
            set.available = set.wanted && product.comes_up(&set.template);
        }
        let is_old = |set: &Set| set.template != current && stable != Some(set.template);
        self.sets.keeps(self.limit, is_old, |set| set.born);
    }
}
