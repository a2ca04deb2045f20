//! One search through all states of a model, and what is told of it.
//!
//! Here: the bounds that every search keeps to, what it prints, and what it fails by. Not here: any model, and the search
//! itself (the package stateright).

use std::{
    collections::BTreeSet,
    fmt::Debug,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
    time::Instant,
};

use serde::Serialize;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// A real value in a model's state. Two are the same state if their bytes, as they would be kept, are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Real<T>(pub(crate) T);

impl<T: Serialize> Hash for Real<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        postcard::to_allocvec(&self.0).unwrap().hash(hasher);
    }
}

impl<T> Deref for Real<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Real<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Whether the long form was asked for.
pub(crate) fn is_long() -> bool {
    std::env::var_os("BACKSTAY_LONG").is_some_and(|long| long == "1")
}

/// Goes through every state of `model`, and fails if a property that always holds doesn't, or one that sometimes holds
/// never does: then the search has not been where it had to be.
pub(crate) fn exhausts<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let begun = Instant::now();
    let properties = model.properties();
    assert!(properties.iter().any(|property| property.expectation == Expectation::Always));
    // With one thread the counts are the same each time.
    let checker = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries();
    // The first state counts as one.
    let depth = checker.max_depth().saturating_sub(1);
    let states = checker.unique_state_count();
    println!(
        "summary: {name}: {states} states, {depth} deep, {} moves, {} properties, {:.1} s",
        checker.state_count(),
        properties.len(),
        begun.elapsed().as_secs_f64()
    );
    for property in &properties {
        let way = found.get(property.name).cloned().map(|path| path.into_actions());
        match property.expectation {
            Expectation::Always | Expectation::Eventually => {
                assert!(way.is_none(), "{name}: not so: {}\nafter {way:?}", property.name);
                println!("  always: {}", property.name);
            }
            Expectation::Sometimes => {
                let way = way.unwrap_or_else(|| panic!("{name}: never reached: {}", property.name));
                println!("  reached in {}: {}", way.len(), property.name);
            }
        }
    }
    assert!(checker.is_done());
}

/// Searches a model in which something is broken, and fails unless that breaks `property`.
pub(crate) fn breaks<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    assert_eq!(model.property(property).expectation, Expectation::Always);
    let only = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().threads(1).finish_when(only).spawn_bfs().join();
    let way = checker.discoveries().remove(property).map(|path| path.into_actions());
    let way =
        way.unwrap_or_else(|| panic!("{name}: not found out, in {} states", checker.unique_state_count()));
    println!("{name}: found out in {} moves, by: {property}", way.len());
    println!("  {way:?}");
}
