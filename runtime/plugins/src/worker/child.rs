//! The inside of a worker: one plugin, one line to whoever started it, and nothing else.
//!
//! The order matters. Limits first, before anything is read. Then the plugin is verified and its code loaded, which takes
//! memory that can be run. Then the system calls are taken away; only then code of the plugin runs for the first time.
#![expect(clippy::wildcard_enum_match_arm, reason = "what can't be named over the line is told in words")]

use std::{
    error::Error,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
};

use backstay_host::{CallError, Config, Engine, Executor, Plugin, Policy, world_executor, world_policy};
use backstay_model::{Equipped, PluginRole, causes};
use backstay_trust::Keyring;

use super::{
    confine::{confine, limit},
    protocol::{Ask, BYTES_MAX, Broken, Fault, LOAD_BYTES_MAX, Line, Load, Reply, Unfit},
};
use crate::{LoadError, Loader, Tier, load, trace};

/// Answers questions until nobody asks any more. To be called first of all in a process that was started for it, with
/// a socket as its standard input. `before` is called before each question is answered; in a shipped program it does nothing.
#[must_use]
pub fn run(mut before: impl FnMut()) -> ExitCode {
    let mut line = Line::new(Socket);
    // Said on the line: there is nowhere else that it could be said.
    let served = limit().map_err(|error| unfit(&error)).and_then(|()| {
        let load: Load<'_> = line.receive(LOAD_BYTES_MAX, || true).map_err(|error| unfit(&error))?;
        Serving::begin(&load)
    });
    let serving = match served {
        Ok(serving) => serving,
        Err(unfit) => {
            let _ = line.send(&Reply::Unfit(unfit), BYTES_MAX);
            return ExitCode::FAILURE;
        }
    };
    match serving.serve(&mut line, &mut before) {
        Broken::Ended => ExitCode::SUCCESS,
        Broken::Silent | Broken::Io(_) | Broken::TooLong { .. } | Broken::Malformed => ExitCode::FAILURE,
    }
}

fn unfit(error: &(dyn Error + 'static)) -> Unfit {
    Unfit::Other(causes::in_one_line(error))
}

/// A plugin, and what it is told with a call.
struct Serving {
    plugin: Plugin,
    setups: Vec<Config>,
    /// How it is configured in each, without what is secret.
    equipped: Vec<Equipped>,
}

impl Serving {
    fn begin(load: &Load<'_>) -> Result<Self, Unfit> {
        let keyring = Keyring::decode(&load.keyring).map_err(|error| unfit(&error))?;
        let engine = Engine::new().map_err(|error| unfit(&error))?;
        let here = Path::new("the message");
        let loader = Loader::new(Tier::Server, &engine, &keyring);
        let world = match load.role {
            PluginRole::Policy => world_policy(),
            PluginRole::Executor => world_executor(),
        };
        let told = |error: LoadError| match error {
            LoadError::Settings { setup, problems, .. } => Unfit::Settings { setup, problems },
            error => unfit(&error),
        };
        let verified = loader.verify(here, &load.bundle, engine.target(), &world).map_err(told)?;
        let plugin = Plugin::load(&engine, &verified).map_err(|error| unfit(&error))?;
        let setups = load.setups.iter().enumerate();
        let setups = setups.map(|(at, settings)| load::config(here, at, settings.clone()));
        let setups = setups.collect::<Result<Vec<_>, _>>().map_err(told)?;
        // Starting a thread takes more than may be done from here on.
        engine.settle();
        confine().map_err(|error| unfit(&error))?;
        for (at, config) in setups.iter().enumerate() {
            let problems = load::patiently(|| match &plugin {
                Plugin::Policy(policy) => Policy::validate(policy, config),
                Plugin::Executor(executor) => Executor::validate(executor, config),
            });
            load::agreed(here, at, problems).map_err(told)?;
        }
        let said = load::patiently(|| match &plugin {
            Plugin::Policy(policy) => Policy::describe(policy),
            Plugin::Executor(executor) => Executor::describe(executor),
        });
        let said = said.map_err(|error| unfit(&error))?;
        let which = (plugin.id(), verified.version(), verified.grant());
        let equipped = setups.iter().map(|config| trace::equipped(load.role, which, config, &said)).collect();
        Ok(Self { plugin, setups, equipped })
    }

    fn serve(&self, line: &mut Line<Socket>, before: &mut impl FnMut()) -> Broken {
        if let Err(broken) = line.send(&Reply::Ready(self.equipped.clone()), LOAD_BYTES_MAX) {
            return broken;
        }
        loop {
            let ask: Ask<'_> = match line.receive(BYTES_MAX, || true) {
                Ok(ask) => ask,
                Err(broken) => return broken,
            };
            before();
            let reply = self.answer(ask).unwrap_or_else(|error| Reply::Fault(Fault::from(error)));
            if let Err(broken) = line.send(&reply, BYTES_MAX) {
                return broken;
            }
        }
    }

    fn answer(&self, ask: Ask<'_>) -> Result<Reply, CallError> {
        let unfit = |why: &str| CallError::Host { plugin: self.plugin.id().clone(), source: why.into() };
        let config = |setup: usize| self.setups.get(setup).ok_or_else(|| unfit("it is not set up like that"));
        match (ask, &self.plugin) {
            (Ask::Decide { facts, prior }, Plugin::Policy(policy)) => {
                policy.decide(config(0)?, &facts, &prior).map(Reply::Decided)
            }
            (Ask::Step { setup, state, event }, Plugin::Executor(executor)) => {
                executor.step(config(setup)?, &state, &event).map(Reply::Stepped)
            }
            (Ask::Decide { .. }, Plugin::Executor(_)) | (Ask::Step { .. }, Plugin::Policy(_)) => {
                Err(unfit("it was asked what only plugins of the other kind are asked"))
            }
        }
    }
}

/// The standard input, which is a socket. Read and written by plain system calls, which is what is left.
#[derive(Debug)]
struct Socket;

impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), room)?)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdin(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
