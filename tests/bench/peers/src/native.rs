//! The tree as an ordinary function of this program: what any sandbox costs is the distance from here.

use std::any::Any;

use backstay_sdk::policy::Policy;
use backstay_test_bench::Failure;
use policy_tree::Tree;

use crate::{asked::word, facts::Case, peer::Peer};

/// The native tree. It has nothing to load, and no sandbox.
pub struct Native;

impl Peer for Native {
    fn name(&self) -> &'static str {
        "native function"
    }

    fn cold(&self, case: &Case) -> Result<String, Failure> {
        let decided =
            Tree::decide(&[], &case.asked.facts(), &[]).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(word(&decided.decision.action))
    }

    fn kept(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        self.cold(case).map(Some)
    }

    fn fresh(&mut self, _: &Case) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure> {
        Ok(Box::new(self.cold(case)?))
    }

    fn bytes(&self) -> Option<usize> {
        None
    }
}
