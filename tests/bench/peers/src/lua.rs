//! Lua 5.4 in mlua. Fresh is a state of its own that loads the compiled chunk; it has tables and `ipairs`, and no way out.

use std::any::Any;

use backstay_test_bench::Failure;
use mlua::{Function, LuaSerdeExt, StdLib, chunk::ChunkMode};

use crate::{
    asked::Asked,
    facts::Case,
    peer::{Peer, told},
};

const SOURCE: &str = include_str!("policies/tree.lua");

/// Lua.
pub struct Lua {
    chunk: Vec<u8>,
    kept: State,
}

struct State {
    lua: mlua::Lua,
    decide: Function,
}

impl State {
    fn from_source() -> Result<Self, Failure> {
        let lua = mlua::Lua::new_with(StdLib::TABLE, mlua::LuaOptions::new()).map_err(told)?;
        let decide = lua.load(SOURCE).eval().map_err(told)?;
        Ok(Self { lua, decide })
    }

    fn from_chunk(chunk: &[u8]) -> Result<Self, Failure> {
        let lua = mlua::Lua::new_with(StdLib::TABLE, mlua::LuaOptions::new()).map_err(told)?;
        let decide = lua.load(chunk).set_mode(ChunkMode::Binary).eval().map_err(told)?;
        Ok(Self { lua, decide })
    }

    fn ask(&self, asked: &Asked) -> Result<String, Failure> {
        self.decide.call(self.lua.to_value(asked).map_err(told)?).map_err(told)
    }
}

impl Lua {
    pub fn new() -> Result<Self, Failure> {
        let chunk = mlua::Lua::new().load(SOURCE).into_function().map_err(told)?.dump(true);
        Ok(Self { chunk, kept: State::from_source()? })
    }
}

impl Peer for Lua {
    fn name(&self) -> &'static str {
        "Lua (mlua)"
    }

    fn cold(&self, case: &Case) -> Result<String, Failure> {
        State::from_source()?.ask(&case.asked)
    }

    fn kept(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        self.kept.ask(&case.asked).map(Some)
    }

    fn fresh(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        State::from_chunk(&self.chunk)?.ask(&case.asked).map(Some)
    }

    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure> {
        let state = State::from_source()?;
        state.ask(&case.asked)?;
        Ok(Box::new(state))
    }

    fn bytes(&self) -> Option<usize> {
        Some(SOURCE.len())
    }
}
