//! The moments at which a server is killed: which there are, which of them are tried, and who takes the next.
//!
//! Not here: a kill and what is looked at after it (`trial`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    thread,
};

use backstay_test_k8s::{Moment, Namespace, Passed};

/// A request by which a run can be cut off: what is asked, and for how many times so far, 0 for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) asked: String,
    pub(crate) times: usize,
    /// Something was changed, or it was the last one: that it was answered may be known, and what follows from it not yet.
    ends: bool,
}

impl Point {
    /// Says of requests, one after the other, whether it is this one.
    pub(crate) fn comes(&self, space: &Namespace) -> impl FnMut(&Passed) -> bool + Send + 'static {
        let (point, space, mut times) = (self.clone(), space.clone(), 0);
        move |passed| {
            let is_asked = name(&anywhere(passed.clone(), &space)) == point.asked;
            let is_it = is_asked && times == point.times;
            times += usize::from(is_asked);
            is_it
        }
    }
}

/// The moments of a run, in their order: on either side of each request, and those when an answer has just arrived that may be known.
pub(crate) fn moments(asked: &[Passed]) -> Vec<(Point, Moment)> {
    let of = |point: Point| {
        let moments = [Some(Moment::Before), Some(Moment::After), point.ends.then_some(Moment::Answered)];
        moments.into_iter().flatten().map(move |moment| (point.clone(), moment))
    };
    points(asked).into_iter().flat_map(of).collect()
}

/// The points of a run, in their order.
fn points(asked: &[Passed]) -> Vec<Point> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let point = |(number, passed): (usize, &Passed)| {
        let name = name(passed);
        let times = times.entry(name.clone()).or_default();
        let point = Point { asked: name, times: *times, ends: passed.changes() || number + 1 == asked.len() };
        *times += 1;
        point
    };
    asked.iter().enumerate().map(point).collect()
}

/// Keeps so many at most, the first and the last among them.
pub(crate) fn spread<T>(all: &mut Vec<T>, most: usize) {
    let many = all.len();
    if many <= most || most < 2 {
        return all.truncate(most);
    }
    let kept: Vec<usize> = (0..most).map(|nth| nth * (many - 1) / (most - 1)).collect();
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        kept.contains(&(at - 1))
    });
}

/// What is still to be tried. Whoever works takes the next; where one fails, none is left.
pub(crate) struct Todo(Mutex<VecDeque<(Point, Moment)>>);

impl Todo {
    pub(crate) fn new(moments: Vec<(Point, Moment)>) -> Self {
        Self(Mutex::new(moments.into()))
    }

    /// The next, and how many there are with it.
    pub(crate) fn next(&self) -> Option<(usize, (Point, Moment))> {
        let mut todo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let many = todo.len();
        todo.pop_front().map(|next| (many, next))
    }
}

/// Who holds this and fails leaves nothing to do for the others.
pub(crate) struct Ends<'a>(pub(crate) &'a Todo);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// What is asked for. Names that Kubernetes makes up are all the same.
fn name(Passed { method, path, .. }: &Passed) -> String {
    let mut is_pod = false;
    let levels = path.split('/').map(|level| {
        let made_up = std::mem::replace(&mut is_pod, level == "pods");
        if made_up { "POD" } else { level }
    });
    let path: Vec<&str> = levels.collect();
    format!("{method} {}", path.join("/"))
}

pub(crate) fn anywhere(passed: Passed, space: &Namespace) -> Passed {
    Passed { path: passed.path.replace(space.name(), "SPACE"), ..passed }
}
