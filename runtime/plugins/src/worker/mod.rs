//! A plugin in a process of its own: without network, files or privileges, and with one line to whoever started it.
//!
//! Here: starting it, asking it, and what it means if it dies or doesn't come back. In `child`: what it does. In
//! `confine`: what it can't. In `protocol`: what goes over the line. Not here: how many failures are too many (`core`).
//!
//! A plugin can do no harm to the process that it runs in, as long as compiler and host have no hole. This is for when they
//! have one. Each plugin has its own worker, so one that is taken over has nobody else's answers to change.

mod child;
mod confine;
mod protocol;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    error,
    ffi::OsString,
    fmt, io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use backstay_config::{Plugin as PluginConfig, Setting};
use backstay_core::{Backoff, Rng};
use backstay_host::{
    CallError, Decided, Event, Stepped, Strike, StrikeKind, Value, world_executor, world_policy,
};
use backstay_model::{Digest, Equipped, Facts, Millis, Mono, Name, PluginId, PluginRole, Version};
use backstay_trust::GrantedPlugin;

pub use self::child::run;
use self::protocol::{Ask, BYTES_MAX, Broken, LOAD_BYTES_MAX, Line, Load, Reply, Unfit, frame};
use crate::{
    Adviser, LoadError, Loader, configured,
    load::{read, values},
};

/// What a program is started with to be a worker.
pub const ARGUMENT: &str = "plugin-worker";

/// What a call may take beyond the time of the plugin: the way there and back on a machine that is busy.
const GRACE: Duration = Duration::from_secs(2);

/// How long a worker may take to verify and load its plugin.
const START: Duration = Duration::from_secs(20);

/// A worker is replaced once its calls took this long together. The kernel would end it at twice that.
const BUSY_MAX: Duration = Duration::from_secs(confine::CPU_SECS / 2);

/// Between two tries to start a worker that died.
const BACKOFF: Backoff = Backoff { base: Millis(500), cap: Millis::from_secs(60) };

/// Looks for the end of a process whose line is closed, and between two of them.
const END_LOOKS: u32 = 50;
const END_LOOK: Duration = Duration::from_millis(2);

/// How a worker is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What it is told, [`ARGUMENT`] first.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// This very program, even if the file that it was started from has been replaced by now.
    #[must_use]
    pub fn this() -> Self {
        Self { path: "/proc/self/exe".into(), arguments: vec![ARGUMENT.into()] }
    }
}

/// A plugin that runs in a process of its own.
pub struct Worker {
    id: PluginId,
    version: Version,
    grant: Digest,
    granted: GrantedPlugin,
    /// How it is configured in each setup, as it said when it was ready.
    equipped: Vec<Equipped>,
    /// What one call may take, of the plugin's time.
    call: Duration,
    program: Program,
    /// The first message.
    load: Vec<u8>,
    state: State,
    failures: u32,
    rng: Rng,
}

enum State {
    Up(Up),
    /// It died. It is started again with the next question, but not before this.
    Down(Mono),
}

struct Up {
    child: Child,
    line: Line<UnixStream>,
    busy: Duration,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = match &self.state {
            State::Up(up) => Some(up.child.id()),
            State::Down(_) => None,
        };
        f.debug_struct("Worker").field("id", &self.id).field("process", &process).finish_non_exhaustive()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended already, or about to be: either is the end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Loader<'_> {
    /// The policies of a configuration, newest first, each in a process of its own.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn policy_workers(&self, config: &PluginConfig, program: &Program) -> Result<Vec<Worker>, LoadError> {
        configured(config).map(|path| self.policy_worker(path, config, program)).collect()
    }

    /// The policy that is to take over, in a process of its own, if there is to be one.
    pub fn candidate_worker(
        &self,
        config: &PluginConfig,
        program: &Program,
    ) -> Option<Result<Worker, LoadError>> {
        config.candidate.as_ref().map(|path| self.policy_worker(path, config, program))
    }

    fn policy_worker(
        &self,
        path: &Path,
        config: &PluginConfig,
        program: &Program,
    ) -> Result<Worker, LoadError> {
        self.worker(path, &[values(&config.settings)], PluginRole::Policy, program)
    }

    /// The executors of a configuration, newest first, each in a process of its own. There is one setup for each of `own`: the
    /// settings of the configuration with these laid over them.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn executor_workers(
        &self,
        config: &PluginConfig,
        own: &[BTreeMap<Name, Setting>],
        program: &Program,
    ) -> Result<Vec<Worker>, LoadError> {
        if config.candidate.is_some() {
            return Err(LoadError::NoShadow);
        }
        let setup = |own: &BTreeMap<Name, Setting>| {
            let mut settings = config.settings.clone();
            settings.extend(own.clone());
            values(&settings)
        };
        let setups: Vec<_> = own.iter().map(setup).collect();
        configured(config).map(|path| self.worker(path, &setups, PluginRole::Executor, program)).collect()
    }

    fn worker(
        &self,
        path: &Path,
        setups: &[Vec<(Name, Value)>],
        role: PluginRole,
        program: &Program,
    ) -> Result<Worker, LoadError> {
        let bundle = read(path, self.tier)?;
        let world = match role {
            PluginRole::Policy => world_policy(),
            PluginRole::Executor => world_executor(),
        };
        let apart = |source| LoadError::Apart { path: path.into(), source };
        // What may run is decided here, where floors and the time are known; no process is started for what may not.
        let verified = self.verify(path, &bundle, self.engine.target(), &world)?;
        let keyring = self.keyring.encode();
        let load = Load {
            keyring: Cow::Owned(keyring),
            bundle: Cow::Borrowed(&bundle),
            role,
            setups: Cow::Borrowed(setups),
        };
        let mut worker = Worker {
            equipped: Vec::new(),
            id: verified.id().clone(),
            version: verified.version().clone(),
            grant: *verified.grant(),
            granted: verified.granted().clone(),
            call: Duration::from_millis(verified.limits().call.0),
            program: program.clone(),
            load: frame(&load, LOAD_BYTES_MAX).map_err(|error| apart(error.into()))?,
            state: State::Down(Mono(0)),
            failures: 0,
            rng: Rng::new(u64::from(std::process::id())),
        };
        match worker.start() {
            Ok((up, equipped)) => (worker.state, worker.equipped) = (State::Up(up), equipped),
            Err(NotUp::Unfit(Unfit::Settings { setup, problems })) => {
                return Err(LoadError::Settings { path: path.into(), setup, problems });
            }
            Err(NotUp::Unfit(Unfit::Other(why))) => return Err(apart(why.into())),
            Err(NotUp::Process(source)) => return Err(apart(source)),
        }
        Ok(worker)
    }
}

/// Why there is no worker.
enum NotUp {
    Unfit(Unfit),
    Process(Box<dyn error::Error + Send + Sync>),
}

impl Worker {
    /// Takes one event of one run, under the setup that has this number.
    ///
    /// # Errors
    /// It did not answer, or has no such setup.
    pub fn step(
        &mut self,
        now: Mono,
        setup: usize,
        state: &[u8],
        event: &Event,
    ) -> Result<Stepped, CallError> {
        let ask = Ask::Step { setup, state: Cow::Borrowed(state), event: Cow::Borrowed(event) };
        match self.call(now, &ask)? {
            Reply::Stepped(stepped) => Ok(stepped),
            reply @ (Reply::Ready(_) | Reply::Unfit(_) | Reply::Decided(_) | Reply::Fault(_)) => {
                Err(self.out_of_turn(now, &reply))
            }
        }
    }

    /// How it is configured in each of its setups.
    #[must_use]
    pub fn setups(&self) -> &[Equipped] {
        &self.equipped
    }

    /// The process that it runs in, while there is one.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        match &self.state {
            State::Up(up) => Some(up.child.id()),
            State::Down(_) => None,
        }
    }

    fn start(&self) -> Result<(Up, Vec<Equipped>), NotUp> {
        let process = |error: io::Error| NotUp::Process(error.into());
        let (ours, theirs) = UnixStream::pair().map_err(process)?;
        ours.set_read_timeout(Some(START)).map_err(process)?;
        ours.set_write_timeout(Some(START)).map_err(process)?;
        let child = Command::new(&self.program.path)
            .args(&self.program.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(process)?;
        let mut up = Up { child, line: Line::new(ours), busy: Duration::ZERO };
        let begun = Instant::now();
        let ready = up
            .line
            .send_frame(&self.load)
            .and_then(|()| up.line.receive(LOAD_BYTES_MAX, || begun.elapsed() < START));
        match ready {
            Ok(Reply::Ready(equipped)) => {
                up.line.stream.set_read_timeout(Some(self.call + GRACE)).map_err(process)?;
                up.line.stream.set_write_timeout(Some(GRACE)).map_err(process)?;
                Ok((up, equipped))
            }
            Ok(Reply::Unfit(unfit)) => Err(NotUp::Unfit(unfit)),
            Ok(Reply::Decided(_) | Reply::Stepped(_) | Reply::Fault(_)) => {
                Err(NotUp::Process("it answered before it was asked".into()))
            }
            Err(Broken::Ended) => Err(NotUp::Process(up.end().into())),
            Err(broken) => Err(NotUp::Process(broken.into())),
        }
    }

    /// Asks it, after starting it again where it died.
    fn call(&mut self, now: Mono, ask: &Ask<'_>) -> Result<Reply, CallError> {
        let host = |source| CallError::Host { plugin: self.id.clone(), source };
        let asked = frame(ask, BYTES_MAX).map_err(|error| host(error.into()))?;
        if let State::Down(until) = &self.state {
            if now < *until {
                let left = until.since(now);
                return Err(host(format!("its process died and is started again in {left}").into()));
            }
            match self.start() {
                Ok((up, _)) => self.state = State::Up(up),
                Err(not) => {
                    let source = match not {
                        NotUp::Unfit(Unfit::Other(why)) => why.into(),
                        NotUp::Unfit(Unfit::Settings { .. }) => {
                            "it does not take its settings any more".into()
                        }
                        NotUp::Process(source) => source,
                    };
                    let error = host(source);
                    self.down(now);
                    return Err(error);
                }
            }
        }
        let State::Up(up) = &mut self.state else { return Err(host("its process is not there".into())) };
        let (begun, most) = (Instant::now(), self.call + GRACE);
        let reply =
            up.line.send_frame(&asked).and_then(|()| up.line.receive(BYTES_MAX, || begun.elapsed() < most));
        up.busy += begun.elapsed();
        let (kind, why) = match reply {
            Ok(reply) => {
                self.failures = 0;
                // Nothing is wrong with it: a new one is started with the next question.
                if up.busy > BUSY_MAX {
                    self.state = State::Down(now);
                }
                return match reply {
                    Reply::Fault(fault) => Err(fault.of(&self.id)),
                    reply @ (Reply::Ready(_) | Reply::Unfit(_) | Reply::Decided(_) | Reply::Stepped(_)) => {
                        Ok(reply)
                    }
                };
            }
            Err(Broken::Ended) => (StrikeKind::BroughtDown, up.end()),
            Err(Broken::Silent) => (StrikeKind::Hung, format!("within {} ms", most.as_millis())),
            Err(broken @ (Broken::TooLong { .. } | Broken::Malformed)) => {
                (StrikeKind::BadOutput, broken.to_string())
            }
            Err(Broken::Io(error)) => {
                let error = host(error.into());
                self.down(now);
                return Err(error);
            }
        };
        self.down(now);
        Err(CallError::Strike(Strike { plugin: self.id.clone(), kind, why }))
    }

    fn out_of_turn(&mut self, now: Mono, reply: &Reply) -> CallError {
        let why = match reply {
            Reply::Ready(_) => "ready",
            Reply::Unfit(_) => "unfit",
            Reply::Decided(_) => "a decision",
            Reply::Stepped(_) => "a step",
            Reply::Fault(_) => "a fault",
        };
        self.down(now);
        let why = format!("its process said {why} to a question of another kind");
        CallError::Strike(Strike { plugin: self.id.clone(), kind: StrikeKind::BadOutput, why })
    }

    /// Ends what is left of the process.
    fn down(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        let wait = BACKOFF.wait(self.failures, &mut self.rng);
        self.state = State::Down(now.after(wait));
    }
}

impl Up {
    /// How the process ended whose line is closed.
    fn end(&mut self) -> String {
        // The line is closed a little before the end can be seen. Who closed it and lives on is not waited for.
        for _ in 0..END_LOOKS {
            match self.child.try_wait() {
                Ok(Some(status)) => return ended(status),
                Ok(None) => thread::sleep(END_LOOK),
                Err(error) => return error.to_string(),
            }
        }
        "it closed the line and went on".into()
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGSYS), _) => "it was ended for a system call that no plugin needs".into(),
        (Some(libc::SIGSEGV), _) => "it was ended for reaching outside its memory".into(),
        (Some(signal), _) => format!("it was ended by signal {signal}"),
        (None, Some(code)) => format!("it ended with code {code}"),
        (None, None) => "it ended".into(),
    }
}

impl Adviser for Worker {
    fn id(&self) -> &PluginId {
        &self.id
    }

    fn version(&self) -> &Version {
        &self.version
    }

    fn grant(&self) -> &Digest {
        &self.grant
    }

    fn granted(&self) -> &GrantedPlugin {
        &self.granted
    }

    fn equipped(&self) -> Option<&Equipped> {
        self.equipped.first()
    }

    fn decide(&mut self, now: Mono, facts: &Facts, prior: &[u8]) -> Result<Decided, CallError> {
        let ask = Ask::Decide { facts: Cow::Borrowed(facts), prior: Cow::Borrowed(prior) };
        match self.call(now, &ask)? {
            Reply::Decided(decided) => Ok(decided),
            reply @ (Reply::Ready(_) | Reply::Unfit(_) | Reply::Stepped(_) | Reply::Fault(_)) => {
                Err(self.out_of_turn(now, &reply))
            }
        }
    }
}
