//! ReplicaSets of a workload: what Deployments and Rollouts have in common.

use super::Template;

/// A ReplicaSet, with one pod or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Set {
    /// The revision's number, which is given anew when its template is taken again.
    pub number: u64,
    /// Its template.
    pub template: Template,
    /// Whether it is to have a pod.
    pub wanted: bool,
    /// Whether it has one that is available.
    pub available: bool,
    /// Its place among all that were made.
    pub born: u64,
}

/// All that a workload keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    all: Vec<Set>,
    born: u64,
}

impl Sets {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Set> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Set> {
        self.all.iter_mut()
    }

    pub(super) fn numbered(&self, number: u64) -> Option<&Set> {
        self.all.iter().find(|set| set.number == number)
    }

    /// The template becomes the newest revision: its own ReplicaSet if there is one.
    pub(super) fn takes(&mut self, template: Template) {
        let others = self.all.iter().filter(|set| set.template != template);
        let number = others.map(|set| set.number).max().unwrap_or(0) + 1;
        match self.all.iter_mut().find(|set| set.template == template) {
            Some(known) => known.number = known.number.max(number),
            None => {
                self.born += 1;
                self.all.push(Set { number, template, wanted: false, available: false, born: self.born });
            }
        }
    }

    /// Of those that `old` says, in the order that `age` says, the first are deleted until `limit` are left; one that has pods is not, and
    /// its place counts.
    pub(super) fn keeps<K: Ord>(
        &mut self,
        limit: usize,
        old: impl Fn(&Set) -> bool,
        age: impl Fn(&Set) -> K,
    ) {
        let mut olds: Vec<Set> = self.all.iter().filter(|set| old(set)).copied().collect();
        olds.sort_by_key(|set| age(set));
        let gone = olds.len().saturating_sub(limit);
        olds.truncate(gone);
        self.all.retain(|set| set.wanted || !olds.contains(set));
    }

    /// Somebody deletes it.
    pub(super) fn forgets(&mut self, number: u64) {
        self.all.retain(|set| set.number != number);
    }

    /// What `undo` takes for the revision before: the one with the highest number but one. Both tools have it so.
    pub(super) fn before(&self) -> Option<&Set> {
        let mut all: Vec<&Set> = self.all.iter().collect();
        all.sort_by_key(|set| set.number);
        all.into_iter().rev().nth(1)
    }
}
