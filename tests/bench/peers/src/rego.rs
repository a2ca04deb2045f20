//! Rego in regorus. Fresh is a copy of the engine with the policy in it, which shares what was parsed.

use std::any::Any;

use backstay_test_bench::Failure;
use regorus::{Engine, Value};

use crate::{asked::Asked, facts::Case, peer::Peer};

const SOURCE: &str = include_str!("policies/tree.rego");

/// regorus.
pub struct Rego {
    kept: Engine,
    loaded: Engine,
}

impl Rego {
    pub fn new() -> Result<Self, Failure> {
        let mut rego = Self { kept: load()?, loaded: load()? };
        // What is prepared at the first question is a part of loading.
        ask(&mut rego.loaded, &Case::usual().asked)?;
        Ok(rego)
    }
}

fn load() -> Result<Engine, Failure> {
    let mut engine = Engine::new();
    engine.add_policy("tree.rego".into(), SOURCE.into())?;
    Ok(engine)
}

fn ask(engine: &mut Engine, asked: &Asked) -> Result<String, Failure> {
    engine.set_input(Value::from(serde_json::to_value(asked)?));
    Ok(engine.eval_rule("data.backstay.decision".into())?.as_string()?.to_string())
}

impl Peer for Rego {
    fn name(&self) -> &'static str {
        "Rego (regorus)"
    }

    fn cold(&self, case: &Case) -> Result<String, Failure> {
        ask(&mut load()?, &case.asked)
    }

    fn kept(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        ask(&mut self.kept, &case.asked).map(Some)
    }

    fn fresh(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        ask(&mut self.loaded.clone(), &case.asked).map(Some)
    }

    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure> {
        let mut engine = load()?;
        ask(&mut engine, &case.asked)?;
        Ok(Box::new(engine))
    }

    fn bytes(&self) -> Option<usize> {
        Some(SOURCE.len())
    }
}
