//! One call: a fresh store, its limits, and what it means if it doesn't come back well.

use backstay_trust::Limits;
use wasmtime::{ResourceLimiter, Store, Trap};

use crate::{
    error::{CallError, StrikeKind},
    hosted::Loaded,
    ticker::TICK_MS,
};

/// Tables and memories of one component: more than any plugin has, less than would be felt.
const PARTS_MAX: usize = 16;
/// Instances of modules in one component: Python's libraries are twelve.
const INSTANCES_MAX: usize = 32;

/// What one call may take, and whether it wanted more.
pub struct Sandbox {
    memory_left: usize,
    table_left: usize,
    denied: bool,
}

impl Sandbox {
    fn new(limits: &Limits) -> Self {
        Self {
            memory_left: limits.memory_bytes as usize,
            table_left: limits.table_elements as usize,
            denied: false,
        }
    }
}

/// Takes `wanted - current` from `left`, if there is as much.
fn take(left: &mut usize, denied: &mut bool, current: usize, wanted: usize) -> bool {
    let rest = left.checked_sub(wanted.saturating_sub(current));
    *left = rest.unwrap_or(*left);
    *denied |= rest.is_none();
    rest.is_some()
}

impl ResourceLimiter for Sandbox {
    // All memories of a component together: else each further one would be a limit of its own.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(take(&mut self.memory_left, &mut self.denied, current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(take(&mut self.table_left, &mut self.denied, current, desired))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }
}

/// Makes an instance, calls it, and throws it away.
pub(crate) fn call<I, R>(
    loaded: &Loaded,
    instantiate: impl FnOnce(&mut Store<Sandbox>) -> wasmtime::Result<I>,
    run: impl FnOnce(&mut Store<Sandbox>, &I) -> wasmtime::Result<R>,
) -> Result<R, CallError> {
    let limits = &loaded.limits;
    let mut store = Store::new(loaded.engine.wasm(), Sandbox::new(limits));
    store.limiter(|sandbox| sandbox);
    store.set_epoch_deadline(ticks(loaded.engine.allowed(limits.call.0)) + loaded.engine.owed());
    // What the host takes out of the instance, in bytes. A plugin may return the same bytes a thousand times.
    store.set_hostcall_fuel(limits.output_bytes as usize);
    let _running = loaded.engine.running();
    let instance = match instantiate(&mut store) {
        Ok(instance) => instance,
        Err(error) => {
            return Err(match strike(&error, store.data()) {
                Some(kind) => CallError::strike(loaded, kind, error.root_cause().to_string()),
                None => CallError::Host { plugin: loaded.id.clone(), source: error.into() },
            });
        }
    };
    run(&mut store, &instance).map_err(|error| {
        // Arguments were checked before, so what is neither a trap nor a limit is an answer that isn't one.
        let kind = strike(&error, store.data()).unwrap_or(StrikeKind::BadOutput);
        CallError::strike(loaded, kind, error.root_cause().to_string())
    })
}

/// The tick at which a call is over. One more than asked for: the tick that is under way is already partly over.
fn ticks(call_ms: u64) -> u64 {
    call_ms.div_ceil(TICK_MS) + 1
}

fn strike(error: &wasmtime::Error, sandbox: &Sandbox) -> Option<StrikeKind> {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        return Some(StrikeKind::OutOfTime);
    }
    // Guests end in `unreachable` when memory is refused to them: the refusal is what happened.
    if sandbox.denied {
        return Some(StrikeKind::OutOfMemory);
    }
    trap.map(|trap| if *trap == Trap::StackOverflow { StrikeKind::OutOfStack } else { StrikeKind::Trapped })
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use backstay_model::{Digest, Millis, PluginId, Version};
    use backstay_trust::Permissions;
    use wasmtime::component::{Component, Linker};

    use super::*;
    use crate::{Engine, engine::settings};

    #[expect(unsafe_code, reason = "code that this test has compiled itself")]
    fn component(engine: &Engine, text: &str) -> Component {
        let compiler = wasmtime::Engine::new(&settings().unwrap()).unwrap();
        let code = compiler.precompile_component(&wat::parse_str(text).unwrap()).unwrap();
        // SAFETY: the bytes come straight from the compiler.
        unsafe { Component::deserialize(engine.wasm(), &code) }.unwrap()
    }

    /// The clock is moved by hand, one tick at a time: the guest is stopped at the very tick at which its time is
    /// over, not before it and not after it. How long a tick takes is the clock's affair (`ticker`).
    #[test]
    fn a_run_away_guest_is_stopped_at_its_tick() {
        const ENDLESS: &str = r#"(component
            (core module $m (func (export "run") (loop $l (br $l))))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#;
        for call in [Millis(1), Millis(10), Millis(50), Millis(250)] {
            let engine = Engine::by_hand().unwrap();
            let pre = Linker::new(engine.wasm()).instantiate_pre(&component(&engine, ENDLESS)).unwrap();
            let limits = Limits { call, ..Limits::DEFAULT };
            let loaded = Loaded {
                engine: engine.clone(),
                id: PluginId::parse("acme/endless").unwrap(),
                version: Version::parse("1").unwrap(),
                grant: Digest([1; 32]),
                limits,
                permissions: Permissions::default(),
            };
            let (ended, end) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let called = super::call(
                        &loaded,
                        |store| pre.instantiate(store),
                        |store, instance| {
                            let run = instance.get_typed_func::<(), ()>(&mut *store, "run")?;
                            run.call(store, ())
                        },
                    );
                    ended.send((called.unwrap_err(), engine.ticks())).unwrap();
                });
                // The call says that it runs after it has said when it is to end.
                while engine.calls() == 0 {
                    thread::yield_now();
                }
                for _ in 0..ticks(call.0) {
                    assert!(end.try_recv().is_err(), "it ended too soon");
                    engine.tick();
                }
                // Not a measure of anything: a clock that doesn't end the call would hang the test.
                let (error, at) = end.recv_timeout(Duration::from_secs(60)).unwrap();
                assert_eq!(error.as_strike().unwrap().kind, StrikeKind::OutOfTime);
                assert_eq!(at, ticks(call.0), "a call of {call}");
                assert_eq!(at, call.0.div_ceil(10) + 1);
            });
        }
    }
}
