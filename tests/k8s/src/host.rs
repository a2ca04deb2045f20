//! A run of an executor without a server around it: compiled natively, and what it asks for done by the server's own hands.
//!
//! Here: an endpoint with its credential, grant and field masks, as a configuration would have them; effects that are asked for at once are done
//! at once, and each answer is taken as it comes, as the server does; and a power cut at any effect. Not here: the journal, the rails and
//! the sandbox, which other tests have.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use backstay_hands::{
    Command, Content, Credential, CredentialSource, Endpoint, ExtraArgs, GuardedEndpoint, GuardedEndpoints,
    HttpGrant, Place, Roots, ServerCommand, ServerCommands,
};
use backstay_model::{self as model, Millis, Name};
use backstay_sdk::{
    executor::{
        Access, Answer, Answered, Deed, Effect, Event, Exited, Failed, Http, Order, Outcome, Output,
        Response, Run, Steps, Task, Transience,
    },
    settings::Setting,
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::sleep};

use crate::ControlPlane;

/// A run that takes more steps than this doesn't end.
const STEPS_MAX: usize = 2000;
/// How long the host waits for an effect.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the effect is done.
    Before,
    /// When it is done, and nobody has heard of it.
    After,
}

/// What executors ask and are answered.
pub struct Host {
    endpoints: Arc<GuardedEndpoints>,
    commands: Arc<ServerCommands>,
    runtime: Runtime,
    _folder: TempDir,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// What it asked for, in order, and when each was answered, counted from its beginning.
    pub effects: Vec<(Effect, Duration)>,
    /// What was attached, in order.
    pub attached: Vec<String>,
    /// What it was answered, as it came.
    pub answers: Vec<Answer>,
    /// How large its state was at the end.
    pub state_bytes: usize,
}

impl Ran {
    /// That it ended as done.
    ///
    /// # Panics
    /// Where it didn't.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.outcome, Outcome::Done, "{:#?}", self.told());
        self
    }

    /// Why it failed.
    ///
    /// # Panics
    /// Where it didn't.
    #[must_use]
    #[track_caller]
    pub fn failed(self) -> Failed {
        match self.outcome {
            Outcome::Failed(failed) => failed,
            Outcome::Done => panic!("it ended as done"),
        }
    }

    /// What it changed: method and path, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        self.requests(|effect| effect.access == Access::Changes).map(|(told, _)| told).collect()
    }

    /// How long it took until the last change of `path` was answered.
    #[must_use]
    pub fn changed_after(&self, path: &str) -> Option<Duration> {
        let changes = self.requests(|effect| effect.access == Access::Changes);
        changes.filter(|(told, _)| told.ends_with(path)).map(|(_, after)| after).last()
    }

    /// All that it asked for, in words.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.requests(|_| true).map(|(told, after)| format!("{:>6} ms {told}", after.as_millis())).collect()
    }

    fn requests(&self, wanted: impl Fn(&Effect) -> bool) -> impl Iterator<Item = (String, Duration)> {
        self.effects.iter().filter(move |(effect, _)| wanted(effect)).filter_map(|(effect, after)| {
            match &effect.deed {
                Deed::Http(Http { method, path, .. }) => {
                    let path = path.split(['?', '#']).next().unwrap_or_default();
                    Some((format!("{method} {path}"), *after))
                }
                Deed::Run(Run { command, args }) => Some((format!("{command} {}", args.join(" ")), *after)),
                Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) | Deed::Sleep(_) | Deed::Attach(_) => None,
            }
        })
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

impl Host {
    /// One that asks `cluster` as who has this token.
    ///
    /// # Panics
    /// If the machine doesn't play along.
    #[must_use]
    pub fn of(cluster: &ControlPlane, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder: {e}"));
        let file = folder.path().join("token");
        fs::write(&file, token).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let endpoint = GuardedEndpoint {
            endpoint: Endpoint {
                base: cluster.api().server().into(),
                headers: BTreeMap::new(),
                timeout: Millis::from_secs(30),
            },
            credential: Some(Credential {
                source: CredentialSource::File(file),
                header: "authorization".into(),
                prefix: "Bearer ".into(),
            }),
            certificate: None,
            grant: HttpGrant::new(&["GET", "POST", "PATCH", "DELETE"], &["/api", "/apis"])
                .unwrap_or_else(|e| panic!("{e}")),
            response_bytes_max: GuardedEndpoint::RESPONSE_BYTES,
            content: Content::Json,
        };
        let roots = Roots::from_pem(&read(&cluster.ca())).unwrap_or_else(|e| panic!("{e}"));
        let endpoints = GuardedEndpoints::new(BTreeMap::from([(name("kubernetes"), endpoint)]), &roots);
        Self {
            endpoints: Arc::new(endpoints.unwrap_or_else(|(_, e)| panic!("{e}"))),
            commands: Arc::default(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap_or_else(|e| panic!("{e}")),
            _folder: folder,
        }
    }

    /// The same, with commands: what each is called, its arguments, to which a run may add, and how long it may take. They all have
    /// this environment.
    ///
    /// # Panics
    /// If one of them is none.
    #[must_use]
    pub fn with_commands(
        mut self,
        environment: &BTreeMap<String, String>,
        commands: &[(&str, Vec<String>, Duration)],
    ) -> Self {
        let commands = commands.iter().map(|(called, argv, timeout)| {
            let command = Command {
                argv: argv.clone(),
                environment: environment.clone(),
                dir: None,
                timeout: Millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
                extra_args: ExtraArgs::Allowed,
            };
            (name(called), ServerCommand { command, place: Place::Here })
        });
        let commands = ServerCommands::new(commands.collect());
        self.commands = Arc::new(commands.unwrap_or_else(|(name, e)| panic!("{name}: {e}")));
        self
    }

    /// Runs `task` to its end.
    ///
    /// # Panics
    /// If it doesn't end, or the executor refuses a step.
    #[track_caller]
    pub fn run<E: Steps>(&self, config: &[Setting], task: Task) -> Ran {
        self.cut::<E>(config, task, None)
    }

    /// The same, with the power cut at the effect that has this ordinal.
    ///
    /// # Panics
    /// If it doesn't end, or the executor refuses a step.
    #[track_caller]
    pub fn cut<E: Steps>(&self, config: &[Setting], task: Task, cut: Option<(u32, Cut)>) -> Ran {
        let began = Instant::now();
        let step = |state: &[u8], event| {
            E::step(config, state, event).unwrap_or_else(|refusal| panic!("{refusal:?}"))
        };
        let mut stepped = step(&[], Event::Begin(Order { ticket: 1, fence: 1, task }));
        let (answers, answered) = mpsc::channel();
        let mut ran = Ran {
            outcome: Outcome::Done,
            effects: Vec::new(),
            attached: Vec::new(),
            answers: Vec::new(),
            state_bytes: 0,
        };
        for _ in 0..STEPS_MAX {
            for effect in stepped.effects {
                if let Deed::Attach(attach) = &effect.deed {
                    ran.attached.push(String::from_utf8_lossy(&attach.content).into_owned());
                }
                ran.effects.push((effect.clone(), Duration::MAX));
                let happens = cut.and_then(|(at, cut)| (at == effect.ordinal).then_some(cut));
                let answers = answers.clone();
                let (endpoints, commands) = (Arc::clone(&self.endpoints), Arc::clone(&self.commands));
                self.runtime.spawn(async move {
                    let ordinal = effect.ordinal;
                    let answer = match happens {
                        Some(Cut::Before) => Answer::InDoubt,
                        Some(Cut::After) => {
                            does(&endpoints, &commands, effect.deed).await;
                            Answer::InDoubt
                        }
                        None => does(&endpoints, &commands, effect.deed).await,
                    };
                    // Nobody listens any more where the test has failed.
                    drop(answers.send(Answered { ordinal, answer }));
                });
            }
            ran.state_bytes = stepped.state.len();
            if let Some(outcome) = stepped.end {
                return Ran { outcome, ..ran };
            }
            let answer = answered.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{e}: {:#?}", ran.told()));
            ran.answers.push(answer.answer.clone());
            if let Some((_, after)) = ran.effects.get_mut(answer.ordinal as usize) {
                *after = began.elapsed();
            }
            stepped = step(&stepped.state, Event::Answered(answer));
        }
        panic!("the run doesn't end: {:#?}", ran.told())
    }
}

async fn does(endpoints: &GuardedEndpoints, commands: &ServerCommands, deed: Deed) -> Answer {
    match deed {
        Deed::Http(Http { endpoint, method, path, body }) => {
            of(endpoints.request(&name(&endpoint), &method, &path, &body).await)
        }
        Deed::Sleep(ms) => {
            sleep(Duration::from_millis(ms)).await;
            Answer::Done
        }
        Deed::Attach(_) => Answer::Done,
        Deed::Run(Run { command, args }) => of(commands.run(&name(&command), &args).await),
        Deed::Slot(_) | Deed::File(_) | Deed::Publish(_) => panic!("{deed:?}"),
    }
}

/// The same answer in the words of the plugins' contract.
fn of(answer: model::Answer) -> Answer {
    let output =
        |output: model::Output| Output { bytes: output.bytes, whole: output.whole.map(|it| it.to_string()) };
    match answer {
        model::Answer::Done => Answer::Done,
        model::Answer::Exited { code, output: said } => Answer::Exited(Exited { code, output: output(said) }),
        model::Answer::Response { status, body } => Answer::Response(Response { status, body: output(body) }),
        model::Answer::Content(said) => Answer::Content(output(said)),
        model::Answer::Failed(model::Outcome::Failed { transience, why }) => {
            let transience = match transience {
                model::Transience::Transient => Transience::Transient,
                model::Transience::Permanent => Transience::Permanent,
            };
            Answer::Failed(Failed { transience, why })
        }
        model::Answer::TimedOut => Answer::TimedOut,
        model::Answer::Refused(why) => Answer::Refused(why),
        model::Answer::InDoubt => Answer::InDoubt,
        model::Answer::Failed(model::Outcome::Done) | model::Answer::Slots(_) => panic!("{answer:?}"),
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
