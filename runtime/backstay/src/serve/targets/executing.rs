//! An executor as the server asks it: in a process of its own.
//!
//! Not here: which executor is asked (`running`), and what it costs to fail (`core`).

use std::cell::{Cell, RefCell};

use backstay_host::{CallError, Event, Stepped};
use backstay_model::{Digest, Equipped, Mono, PluginId};
use backstay_plugins::{Adviser, Steps, worker::Worker};
use backstay_trust::GrantedPlugin;

/// Something that takes runs on.
pub(crate) trait Executes {
    /// Takes one event of one run, set up as the setup with this number has it.
    ///
    /// # Errors
    /// It did not answer.
    fn step(&self, setup: usize, state: &[u8], event: &Event) -> Result<Stepped, CallError>;
    /// Which plugin.
    fn id(&self) -> &PluginId;
    /// The digest of the grant under which it runs.
    fn grant(&self) -> &Digest;
    /// What lets it run, which may be taken back; `None`: nobody has to let it.
    fn granted(&self) -> Option<&GrantedPlugin>;
    /// How it is configured in a setup: to be recorded before its first step there.
    fn equipped(&self, setup: usize) -> Option<&Equipped>;
    /// The time of the next step: a process that died is not started again at once.
    fn at(&self, now: Mono);
}

/// An executor in a process of its own.
#[derive(Debug)]
pub(crate) struct Apart {
    id: PluginId,
    grant: Digest,
    granted: GrantedPlugin,
    setups: Vec<Equipped>,
    /// One task asks, one question after the other.
    worker: RefCell<Worker>,
    now: Cell<Mono>,
}

impl Apart {
    pub(crate) fn new(worker: Worker) -> Self {
        Self {
            id: worker.id().clone(),
            grant: *worker.grant(),
            granted: worker.granted().clone(),
            setups: worker.setups().to_vec(),
            worker: RefCell::new(worker),
            now: Cell::default(),
        }
    }
}

impl Executes for Apart {
    fn step(&self, setup: usize, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        self.worker.borrow_mut().step(self.now.get(), setup, state, event)
    }
    fn id(&self) -> &PluginId {
        &self.id
    }
    fn grant(&self) -> &Digest {
        &self.grant
    }
    fn granted(&self) -> Option<&GrantedPlugin> {
        Some(&self.granted)
    }
    fn equipped(&self, setup: usize) -> Option<&Equipped> {
        self.setups.get(setup)
    }
    fn at(&self, now: Mono) {
        self.now.set(now);
    }
}

/// One of several, set up for one target.
pub(super) struct Chosen<'a> {
    pub(super) executor: &'a dyn Executes,
    /// Which of its setups is the target's.
    pub(super) setup: usize,
}

impl Chosen<'_> {
    /// How it is configured for the target.
    pub(super) fn equipped(&self) -> Option<&Equipped> {
        self.executor.equipped(self.setup)
    }
}

impl Steps for Chosen<'_> {
    fn step(&self, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        self.executor.step(self.setup, state, event)
    }
}
