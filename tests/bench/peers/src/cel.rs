//! CEL. An expression holds no state; what is fresh is the context with all its functions, kept is the one with only the facts.

use std::any::Any;

use backstay_test_bench::Failure;
use cel::{Context, Program, Value};

use crate::{asked::Asked, facts::Case, peer::Peer};

const SOURCE: &str = include_str!("policies/tree.cel");

/// CEL.
pub struct Cel {
    program: Program,
    kept: Context<'static, 'static>,
}

impl Cel {
    pub fn new() -> Result<Self, Failure> {
        Ok(Self { program: compile()?, kept: Context::default() })
    }
}

fn compile() -> Result<Program, Failure> {
    Program::compile(SOURCE).map_err(|errors| errors.to_string().into())
}

fn ask(program: &Program, mut context: Context<'_, '_>, asked: &Asked) -> Result<String, Failure> {
    context.add_variable("facts", asked).map_err(|why| why.to_string())?;
    match program.execute(&context) {
        Ok(Value::String(word)) => Ok(word.to_string()),
        other => Err(format!("CEL answers {other:?}").into()),
    }
}

impl Peer for Cel {
    fn name(&self) -> &'static str {
        "CEL (cel)"
    }

    fn cold(&self, case: &Case) -> Result<String, Failure> {
        ask(&compile()?, Context::default(), &case.asked)
    }

    fn kept(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        ask(&self.program, self.kept.new_inner_scope(), &case.asked).map(Some)
    }

    fn fresh(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        ask(&self.program, Context::default(), &case.asked).map(Some)
    }

    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure> {
        let program = compile()?;
        ask(&program, Context::default(), &case.asked)?;
        Ok(Box::new(program))
    }

    fn bytes(&self) -> Option<usize> {
        Some(SOURCE.len())
    }
}
