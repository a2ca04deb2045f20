//! rhai. Its compiled script holds no state, so what is fresh is the scope; the engine is shared.

use std::any::Any;

use backstay_test_bench::Failure;
use rhai::{AST, Engine, Scope, serde::to_dynamic};

use crate::{
    asked::Asked,
    facts::Case,
    peer::{Peer, told},
};

const SOURCE: &str = include_str!("policies/tree.rhai");

/// rhai.
pub struct Rhai {
    engine: Engine,
    script: AST,
    kept: Scope<'static>,
}

impl Rhai {
    pub fn new() -> Result<Self, Failure> {
        let engine = Engine::new();
        let script = engine.compile(SOURCE)?;
        Ok(Self { engine, script, kept: Scope::new() })
    }
}

fn ask(engine: &Engine, script: &AST, scope: &mut Scope<'_>, asked: &Asked) -> Result<String, Failure> {
    engine.call_fn(scope, script, "decide", (to_dynamic(asked).map_err(told)?,)).map_err(told)
}

impl Peer for Rhai {
    fn name(&self) -> &'static str {
        "rhai"
    }

    fn cold(&self, case: &Case) -> Result<String, Failure> {
        let engine = Engine::new();
        let script = engine.compile(SOURCE)?;
        ask(&engine, &script, &mut Scope::new(), &case.asked)
    }

    fn kept(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        ask(&self.engine, &self.script, &mut self.kept, &case.asked).map(Some)
    }

    fn fresh(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        ask(&self.engine, &self.script, &mut Scope::new(), &case.asked).map(Some)
    }

    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure> {
        let engine = Engine::new();
        let script = engine.compile(SOURCE)?;
        ask(&engine, &script, &mut Scope::new(), &case.asked)?;
        Ok(Box::new((engine, script)))
    }

    fn bytes(&self) -> Option<usize> {
        Some(SOURCE.len())
    }
}
