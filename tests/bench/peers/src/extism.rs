//! extism: the same code of the tree, behind extism's interface. Its cache is off: cold is what a first start takes.

use std::{any::Any, env, fs};

use backstay_test_bench::Failure;
use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};

use crate::{asked::Asked, facts::Case, peer::Peer};

/// An instance of extism is made to be called again; but the guest's allocator never takes back, so after so many calls
/// there is a new one. One in a thousand changes no median.
const CALLS_MAX: u32 = 1000;

/// extism.
pub struct Extism {
    wasm: Vec<u8>,
    compiled: CompiledPlugin,
    kept: Plugin,
    calls: u32,
}

impl Extism {
    pub fn new() -> Result<Self, Failure> {
        let file = env::var_os("BACKSTAY_GUEST")
            .ok_or("BACKSTAY_GUEST is not set: `cargo xtask bench plugins` sets it")?;
        let wasm = fs::read(file)?;
        let compiled = compile(&wasm)?;
        let kept = Plugin::new_from_compiled(&compiled)?;
        Ok(Self { wasm, compiled, kept, calls: 0 })
    }
}

fn compile(wasm: &[u8]) -> Result<CompiledPlugin, Failure> {
    let manifest = Manifest::new([Wasm::data(wasm)]);
    Ok(PluginBuilder::new(manifest).with_wasi(false).with_cache_disabled().compile()?)
}

fn ask(plugin: &mut Plugin, asked: &Asked) -> Result<String, Failure> {
    Ok(plugin.call::<_, String>("judge", postcard::to_allocvec(asked)?)?)
}

impl Peer for Extism {
    fn name(&self) -> &'static str {
        "extism"
    }

    fn cold(&self, case: &Case) -> Result<String, Failure> {
        ask(&mut Plugin::new_from_compiled(&compile(&self.wasm)?)?, &case.asked)
    }

    fn kept(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        self.calls += 1;
        if self.calls % CALLS_MAX == 0 {
            self.kept = Plugin::new_from_compiled(&self.compiled)?;
        }
        ask(&mut self.kept, &case.asked).map(Some)
    }

    fn fresh(&mut self, case: &Case) -> Result<Option<String>, Failure> {
        ask(&mut Plugin::new_from_compiled(&self.compiled)?, &case.asked).map(Some)
    }

    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure> {
        let compiled = compile(&self.wasm)?;
        let mut plugin = Plugin::new_from_compiled(&compiled)?;
        ask(&mut plugin, &case.asked)?;
        Ok(Box::new((compiled, plugin)))
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.wasm.len())
    }
}
