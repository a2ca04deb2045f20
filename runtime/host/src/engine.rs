//! The engine: how code is run here, and for what code has to be compiled.
//!
//! Every setting that changes compiled code is part of the profile: whoever changes one here has to change
//! [`engine_profile`], too, so that an artifact of before is refused by name and not by a riddle.

use std::{error, fmt, io, sync::Arc, thread};

use backstay_trust::{EngineProfile, Limits, Target, World};
use wasmtime::ModuleVersionStrategy;

use crate::ticker::{Running, Tick, Ticker};

/// Address space for one linear memory. As much as can be granted, so that a memory never moves.
const MEMORY_RESERVATION: u64 = Limits::MAX.memory_bytes as u64;

/// A plugin's own stack, in bytes. It runs on the stack of the calling thread.
const STACK_BYTES: usize = 256 << 10;

/// The settings of this engine, as grants name them. The number is ours; it goes up with every change of a
/// setting that changes compiled code.
#[must_use]
pub fn engine_profile() -> EngineProfile {
    EngineProfile::parse(PROFILE).expect("the profile is written down in the form that it has to have")
}

pub(crate) const PROFILE: &str = "backstay-1/wasmtime-48";

/// The contract for policies that this host speaks.
#[must_use]
pub fn world_policy() -> World {
    World::parse("backstay:plugin/policy@0.1.0")
        .expect("the world is written down in the form that it has to have")
}

/// The contract for executors that this host speaks.
#[must_use]
pub fn world_executor() -> World {
    World::parse("backstay:plugin/executor@0.1.0")
        .expect("the world is written down in the form that it has to have")
}

/// What artifacts have to be compiled for to run here natively.
#[must_use]
pub fn machine() -> Target {
    const MACHINE: &str = if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        "x86_64-linux"
    } else if cfg!(all(target_arch = "aarch64", target_os = "linux")) {
        "aarch64-linux"
    } else {
        "none"
    };
    target(MACHINE)
}

/// What artifacts have to be compiled for to run in an [`Engine::portable`], on any machine.
#[cfg(feature = "pulley")]
#[must_use]
pub fn portable_machine() -> Target {
    target(PORTABLE)
}

#[cfg(feature = "pulley")]
const PORTABLE: &str = "pulley64";

fn target(name: &str) -> Target {
    Target::parse(name).expect("the machine is written down in the form that it has to have")
}

/// Runs plugins. One for a process is enough; copies are the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// How many times the granted time a call may take.
    patience: u64,
}

struct Inner {
    wasm: wasmtime::Engine,
    target: Target,
    ticker: Ticker,
}

impl Engine {
    /// An engine that loads what was compiled before, with the thread that ends calls in time.
    ///
    /// # Errors
    /// The machine can't run plugins, or there is no thread to be had.
    pub fn new() -> Result<Self, EngineError> {
        Self::with(settings().map_err(EngineError::Machine)?, machine(), Ticker::start)
    }

    /// An engine that interprets the portable artifact, on any machine, with the same limits and the same answers.
    /// Some ten times slower than native code.
    ///
    /// # Errors
    /// As [`Engine::new`].
    #[cfg(feature = "pulley")]
    pub fn portable() -> Result<Self, EngineError> {
        let mut config = settings().map_err(EngineError::Machine)?;
        config.target(PORTABLE).map_err(EngineError::Machine)?;
        Self::with(config, portable_machine(), Ticker::start)
    }

    /// An engine whose clock is moved by [`Engine::tick`].
    #[cfg(all(test, feature = "compile"))]
    pub(crate) fn by_hand() -> Result<Self, EngineError> {
        Self::with(settings().map_err(EngineError::Machine)?, machine(), |tick| Ok(Ticker::by_hand(tick)))
    }

    fn with(
        mut config: wasmtime::Config,
        target: Target,
        start: impl FnOnce(Tick) -> io::Result<Ticker>,
    ) -> Result<Self, EngineError> {
        without_compiler(&mut config);
        let wasm = wasmtime::Engine::new(&config).map_err(EngineError::Machine)?;
        let clock = wasm.clone();
        let ticker = start(Box::new(move || clock.increment_epoch())).map_err(EngineError::Thread)?;
        Ok(Self { inner: Arc::new(Inner { wasm, target, ticker }), patience: 1 })
    }

    /// The same engine, in which a call may take `times` as long as its grant says. For where what counts is what a
    /// call comes to and not how long it takes: tests, and replay on a slow machine.
    #[must_use]
    pub fn patient(&self, times: u64) -> Self {
        Self { inner: Arc::clone(&self.inner), patience: times.max(1) }
    }

    /// The time that a call may take in this engine, in ms, where `granted` ms were granted.
    pub(crate) fn allowed(&self, granted: u64) -> u64 {
        granted.saturating_mul(self.patience)
    }

    /// Waits until the engine's thread needs nothing more from the system than to sleep and to wake: for whoever is about
    /// to give up everything else.
    pub fn settle(&self) {
        while !self.inner.ticker.has_started() {
            thread::yield_now();
        }
    }

    /// What artifacts have to be compiled for to run in it.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.inner.target
    }

    /// Ticks of 10 ms that its clock has made while there were calls: for those who measure how long calls took in
    /// the only time that ends them.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.inner.ticker.ticks()
    }

    #[cfg(all(test, feature = "compile"))]
    pub(crate) fn tick(&self) {
        self.inner.ticker.tick();
    }

    /// Calls that are under way.
    #[cfg(all(test, feature = "compile"))]
    pub(crate) fn calls(&self) -> usize {
        self.inner.ticker.calls()
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.inner.wasm
    }

    pub(crate) fn owed(&self) -> u64 {
        self.inner.ticker.owed()
    }

    pub(crate) fn running(&self) -> Running<'_> {
        self.inner.ticker.running()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("profile", &PROFILE).finish_non_exhaustive()
    }
}

#[cfg(feature = "compile")]
fn without_compiler(config: &mut wasmtime::Config) {
    config.enable_compiler(false);
}

#[cfg(not(feature = "compile"))]
fn without_compiler(_: &mut wasmtime::Config) {}

/// What compiled code has to agree with. The same for running and for compiling.
pub(crate) fn settings() -> wasmtime::Result<wasmtime::Config> {
    let mut config = wasmtime::Config::new();
    config.module_version(ModuleVersionStrategy::Custom(PROFILE.into()))?;
    // Time: the epoch ends a call. Fuel would cost more and count nothing that anybody wants to know.
    config.epoch_interruption(true);
    // Memory: said, because the default takes 4 GiB of addresses for each. A small device has no such thing to
    // give. Without room to grow, growing copies; without a guard, every access is checked.
    config.memory_reservation(MEMORY_RESERVATION);
    config.memory_reservation_for_growth(0);
    config.memory_guard_size(0);
    config.guard_before_linear_memory(false);
    config.memory_may_move(false);
    // An instance lives for one call. To copy a few kilobytes into it is less work than to map them.
    config.memory_init_cow(false);
    config.max_wasm_stack(STACK_BYTES);
    // Only what compilers of plugins make: each feature more is code that could be wrong.
    config.wasm_relaxed_simd(false);
    config.wasm_simd(false);
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_tail_call(false);
    config.concurrency_support(false);
    // Nobody reads back-traces of plugins on a device, and addresses are a tenth of an artifact.
    config.generate_address_map(false);
    config.wasm_backtrace_max_frames(None);
    Ok(config)
}

/// There is no engine to be had.
#[derive(Debug)]
pub enum EngineError {
    /// "this machine can't run plugins"
    Machine(wasmtime::Error),
    /// "cannot start the thread that ends calls in time"
    Thread(io::Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine(_) => "this machine can't run plugins",
            Self::Thread(_) => "cannot start the thread that ends calls in time",
        })
    }
}

impl error::Error for EngineError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Machine(source) => Some(source.as_ref()),
            Self::Thread(source) => Some(source),
        }
    }
}

impl EngineError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Machine(_) => {
                Some("plugins run on x86_64 and aarch64 with Linux; without them a device holds")
            }
            Self::Thread(_) => Some("look at the limits on threads and memory of this process"),
        }
    }
}
