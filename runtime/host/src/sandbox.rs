//! One call: a fresh store, its limits, and what it means if it doesn't come back well.

use backstay_trust::Limits;
use wasmtime::{ResourceLimiter, Store, Trap};

use crate::{
    error::{CallError, StrikeKind},
    plugin::Loaded,
    ticker::TICK_MS,
};

/// Instances, tables and memories of one component: more than any plugin has, less than would be felt.
const PARTS_MAX: usize = 16;

/// What one call may take, and whether it wanted more.
pub(crate) struct Sandbox {
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
        PARTS_MAX
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
    // One more than asked for: the tick that is under way is already partly over.
    store.set_epoch_deadline(loaded.engine.allowed(limits.call.0).div_ceil(TICK_MS) + 1);
    // What the host takes out of the instance, in bytes. A plugin may return the same bytes a thousand times.
    store.set_hostcall_fuel(limits.output_bytes as usize);
    let _running = loaded.engine.running();
    let instance = match instantiate(&mut store) {
        Ok(instance) => instance,
        Err(error) => {
            return Err(match strike(&error, store.data()) {
                Some(kind) => CallError::strike(loaded, kind, error.root_cause().to_string()),
                None => CallError::Host { plugin: loaded.id.clone(), source: error },
            });
        }
    };
    run(&mut store, &instance).map_err(|error| {
        // Arguments were checked before, so what is neither a trap nor a limit is an answer that isn't one.
        let kind = strike(&error, store.data()).unwrap_or(StrikeKind::BadOutput);
        CallError::strike(loaded, kind, error.root_cause().to_string())
    })
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
