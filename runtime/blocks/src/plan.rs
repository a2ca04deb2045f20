//! What of an artifact is fetched and what is taken from here, in the order in which it is put together.

use std::ops::Range;

use crate::{Found, Index, search::Place};

/// The most ranges that are asked for.
const REQUESTS_MAX: usize = 1024;
/// What a request costs beside what it brings, about: heads of both, and acknowledgements. What lies between two ranges
/// and is no more than that comes along.
const REQUEST_BYTES: u64 = 1024;
/// Less than this share of what is left has to be saved: the whole is the simpler way.
const WORTH: u64 = 16;

/// The way to an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the artifact. At most 2,049.
    pub steps: Vec<Step>,
    /// How many bytes are fetched.
    pub carried: u64,
    /// With how many requests, at most 1,024.
    pub requests: usize,
}

/// Blocks that lie beside each other and come from the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// They are all here.
    Here(Range<u32>),
    /// They are fetched with one request; some of them may be here, too.
    Fetch(Range<u32>),
}

impl Plan {
    /// The way from block `from` on, where these are here.
    #[must_use]
    pub fn new(index: &Index, found: &Found, from: u32) -> Self {
        let mut gap_max = REQUEST_BYTES;
        loop {
            let (fetches, carried) = fetches(index, found, from, gap_max);
            if fetches.len() <= REQUESTS_MAX {
                return Self::of(&fetches, from..index.shape().blocks(), carried);
            }
            // No gap is larger than all of it, so this ends.
            gap_max = gap_max.saturating_mul(2);
        }
    }

    fn of(fetches: &[Range<u32>], all: Range<u32>, carried: u64) -> Self {
        let (mut steps, mut at) = (Vec::new(), all.start);
        for fetch in fetches {
            if at < fetch.start {
                steps.push(Step::Here(at..fetch.start));
            }
            steps.push(Step::Fetch(fetch.clone()));
            at = fetch.end;
        }
        if at < all.end {
            steps.push(Step::Here(at..all.end));
        }
        Self { steps, carried, requests: fetches.len() }
    }

    /// Whether this is so much less than the `left` bytes of the artifact as it is that it is worth while.
    #[must_use]
    pub fn is_worth_it(&self, left: u64) -> bool {
        let cost = self.carried.saturating_add(self.requests as u64 * REQUEST_BYTES);
        cost < left.saturating_sub(left / WORTH)
    }
}

/// The ranges that are fetched where gaps of `gap_max` bytes come along, at most one more than may be; and their bytes.
fn fetches(index: &Index, found: &Found, from: u32, gap_max: u64) -> (Vec<Range<u32>>, u64) {
    let mut fetches: Vec<Range<u32>> = Vec::new();
    let (mut carried, mut gap) = (0, 0);
    for block in from..index.shape().blocks() {
        let bytes = index.stored(block) as u64;
        if found.place(block) != Place::Nowhere {
            gap += bytes;
            continue;
        }
        let many = fetches.len() > REQUESTS_MAX;
        match fetches.last_mut() {
            Some(last) if gap <= gap_max => {
                last.end = block + 1;
                carried += gap;
            }
            Some(_) if many => break,
            Some(_) | None => fetches.push(block..block + 1),
        }
        carried += bytes;
        gap = 0;
    }
    (fetches, carried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Search,
        write::testing::{artifact, made, noise},
    };

    /// An artifact of noise, and what of it is found in an image that has each block for which `has` says so.
    fn world(blocks: usize, has: impl Fn(usize) -> bool) -> (Index, Found) {
        let artifact = noise(blocks * 4096);
        let (index, _) = made(&artifact);
        let mut search = Search::new(&index);
        for (number, block) in artifact.chunks(4096).enumerate().filter(|(number, _)| has(*number)) {
            search.look(number as u32, block);
        }
        let found = search.end();
        (index, found)
    }

    /// Each block once and in order; what is said to be here is; nothing that isn't is left out.
    fn holds(index: &Index, found: &Found, from: u32, plan: &Plan) {
        let (mut at, mut carried, mut requests) = (from, 0, 0);
        for step in &plan.steps {
            let blocks = match step {
                Step::Here(blocks) => {
                    assert!(blocks.clone().all(|block| found.place(block) != Place::Nowhere));
                    blocks
                }
                Step::Fetch(blocks) => {
                    let place = index.place(blocks.clone());
                    (carried, requests) = (carried + place.end - place.start, requests + 1);
                    blocks
                }
            };
            assert!(blocks.start == at && blocks.end > at, "{plan:?}");
            at = blocks.end;
        }
        assert_eq!((at, carried, requests), (index.shape().blocks(), plan.carried, plan.requests));
        assert!(requests <= REQUESTS_MAX);
    }

    #[test]
    fn what_is_here_is_not_fetched() {
        let (index, found) = world(300, |block| !(100..110).contains(&block));
        let plan = Plan::new(&index, &found, 0);
        assert_eq!(plan.steps, [Step::Here(0..100), Step::Fetch(100..110), Step::Here(110..300)]);
        assert_eq!((plan.carried, plan.requests), (10 * 4096, 1));
        assert!(plan.is_worth_it(300 * 4096));
        // Half of it was put together already.
        assert_eq!(Plan::new(&index, &found, 105).steps, [Step::Fetch(105..110), Step::Here(110..300)]);
        assert_eq!(Plan::new(&index, &found, 200).steps, [Step::Here(200..300)]);
        assert_eq!(Plan::new(&index, &found, 300).steps, []);
    }

    #[test]
    fn nothing_that_is_new_or_compresses_is_fetched_whole() {
        let (index, found) = world(300, |_| false);
        let plan = Plan::new(&index, &found, 0);
        assert_eq!(plan.steps, [Step::Fetch(0..300)]);
        assert!(!plan.is_worth_it(300 * 4096), "noise is as large in the pack");
        assert!(!plan.is_worth_it(0));
        let (index, _) = made(&artifact());
        let nothing = Search::new(&index).end();
        let plan = Plan::new(&index, &nothing, 0);
        holds(&index, &nothing, 0, &plan);
        assert!(plan.is_worth_it(index.shape().length()), "what compresses is fetched from the pack");
    }

    /// Every other block is here: nearly as many ranges as blocks, if nothing came along.
    #[test]
    fn requests_stay_few() {
        let (index, found) = world(4200, |block| block % 2 == 0);
        let plan = Plan::new(&index, &found, 0);
        holds(&index, &found, 0, &plan);
        assert_eq!(plan.requests, 1, "all gaps are alike");
        let (index, found) = world(4200, |block| block % 2 == 0 || block % 100 > 50);
        let plan = Plan::new(&index, &found, 7);
        holds(&index, &found, 7, &plan);
        assert_eq!(plan.requests, 42);
        assert!(plan.is_worth_it(index.shape().length()));
        let (index, found) = world(2040, |block| block % 2 == 0);
        let plan = Plan::new(&index, &found, 0);
        holds(&index, &found, 0, &plan);
        assert_eq!(plan.requests, 1020, "as many as may be");
    }
}
