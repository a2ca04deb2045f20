//! A migration in the hands of a test: gate, executor, and hands on a real data base.
//!
//! Here: what a server does around a run, in its smallest form: order, step, perform, say how it ended. The state of a run is
//! bytes, so being killed is to be left with those. Not here: a journal, and wasm: the executor runs natively.

use std::{collections::BTreeMap, time::Duration};

use backstay_core::{
    Code, Columns, DualWriter, FlagState, GateMove, GateRefusal, GateWish, Migration, SchemaGate, SchemaLook,
    Step, StepEnd,
};
use backstay_hands::{Command, Commands, Endpoint, Endpoints, ExtraArgs, Hands, Roots};
use backstay_model::{Answer, Deed, Millis, Mono, Name, Outcome, SchemaRange, Ticket, Version};
use backstay_sdk::{
    executor as sdk,
    settings::{Setting, Value},
};
use backstay_test_real::{FlagsDouble, Postgres, pump_commands};
use executor_db::Db;
use tokio::runtime::Runtime;

/// The run that brings releases in.
const DEPLOYMENT: Ticket = Ticket(u64::MAX);
/// How long new code has to be alone.
pub const SOAK: Millis = Millis::from_secs(86_400);

/// When a run is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The command was begun. Whether PostgreSQL has done it nobody knows.
    AtItsStart,
    /// The command has ended, and its answer isn't written down.
    BeforeItsAnswer,
}

/// A run as it is kept: what the executor's state is, and what it asked for last.
pub struct Run {
    state: Vec<u8>,
    asked: sdk::Effect,
}

/// A migration with all that it needs.
pub struct MigrationUnderTest<'a> {
    pub gate: SchemaGate,
    pub now: Mono,
    postgres: &'a Postgres,
    flags: FlagsDouble,
    hands: Hands,
    config: Vec<Setting>,
    runtime: Runtime,
    code: Code,
    ticket: u64,
}

impl<'a> MigrationUnderTest<'a> {
    pub fn new(postgres: &'a Postgres, flags: &FlagsDouble, writer: DualWriter) -> Self {
        let text = |name: &str, value: &str| Setting { name: name.into(), value: Value::Text(value.into()) };
        let mut config = vec![text("read-new-flag", "read-new"), text("flag-change-path", "/flags/{flag}")];
        if writer == DualWriter::Application {
            config.push(text("dual-write-flag", "dual-write"));
        }
        let plan = Migration {
            from: 7,
            to: 8,
            release: Version::parse("2.2").unwrap(),
            flag: Name::parse("dual-write").unwrap(),
            writer,
            soak: SOAK,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (hands, flags) = (hands(postgres, flags), flags.clone());
        let (gate, now, code) = (SchemaGate::new(plan), Mono(0), Code::Unknown);
        Self { gate, now, postgres, flags, hands, config, runtime, code, ticket: 0 }
    }

    /// Tells the gate what there is to be seen.
    pub fn looks(&mut self) {
        let of = |release: &str| {
            let sql =
                format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pumps-{release}'");
            self.postgres.asks(&sql) != "0"
        };
        let (old, new) = (of("2.1"), of("2.2"));
        self.code = match (old, new) {
            (true, true) => Code::Both,
            (true, false) => Code::Old,
            (false, true) => Code::New,
            (false, false) => Code::Unknown,
        };
        let columns = match self.status().as_str() {
            "before" => Columns::Before,
            "expanded" => Columns::Expanded,
            "in-step" => Columns::InStep,
            "contracted" => Columns::Contracted,
            other => panic!("schema-status says {other}"),
        };
        let by_flag = self.config.iter().any(|setting| setting.name == "dual-write-flag");
        let on =
            if by_flag { self.flags.is_on("dual-write") } else { self.prints("dual-write-status") == "on" };
        let flag = |on: bool| if on { FlagState::On } else { FlagState::Off };
        self.gate.sees(
            &SchemaLook {
                columns: Some(columns),
                old_code: Some(old),
                new_code: Some(new),
                dual_write: flag(on),
                read_new: flag(self.flags.is_on("read-new")),
            },
            true,
        );
    }

    /// A release is brought in.
    pub fn brings_in(&mut self, version: &str, range: &SchemaRange, starts: impl FnOnce()) {
        self.gate.deploys(DEPLOYMENT, &Version::parse(version).unwrap(), range).unwrap();
        starts();
        assert!(self.gate.deployed(DEPLOYMENT));
        self.looks();
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn status(&self) -> String {
        self.prints("schema-status")
    }

    fn prints(&self, command: &str) -> String {
        let answer = self.runtime.block_on(self.hands.commands.run(&Name::parse(command).unwrap(), &[]));
        let Answer::Exited { code: Some(0), output } = answer else { panic!("{command}: {answer:?}") };
        String::from_utf8(output.bytes).unwrap().trim().into()
    }

    /// Asks the gate, without a look before.
    pub fn wishes(&mut self, wish: GateWish) -> Result<GateMove, GateRefusal> {
        self.ticket += 1;
        self.gate.wish(self.now, Ticket(self.ticket), wish)
    }

    /// Looks, and asks the gate.
    pub fn granted(&mut self, wish: GateWish) -> Result<GateMove, GateRefusal> {
        self.looks();
        self.wishes(wish)
    }

    /// Goes one step, which has to be this one.
    pub fn goes(&mut self, wish: GateWish, step: Step) {
        assert_eq!(self.granted(wish), Ok(GateMove::Run(step)));
        self.does(step);
    }

    /// Does a step that was granted, to its end.
    pub fn does(&mut self, step: Step) {
        let run = self.orders(step.playbook());
        self.finishes(run).unwrap_or_else(|why| panic!("{step:?}: {why}"));
        assert!(self.gate.ended(Ticket(self.ticket), StepEnd::Done));
    }

    /// Begins a step that the gate has to grant.
    pub fn begins(&mut self, wish: GateWish, step: Step) -> Run {
        assert_eq!(self.granted(wish), Ok(GateMove::Run(step)));
        self.orders(step.playbook())
    }

    /// Brings a run to its good end.
    pub fn ends(&mut self, run: Run) {
        self.finishes(run).unwrap();
        assert!(self.gate.ended(Ticket(self.ticket), StepEnd::Done));
    }

    /// Runs a playbook past the gate.
    pub fn tries(&self, playbook: &str) -> Result<(), String> {
        self.finishes(self.orders(playbook))
    }

    /// Goes on until `count` batches have been done and the next is asked for.
    pub fn until_batch(&self, run: &mut Run, count: u32) {
        let mut done = 0;
        loop {
            let is_batch = matches!(&run.asked.deed, sdk::Deed::Run(run) if run.command.ends_with("-batch"));
            if is_batch && done == count {
                return;
            }
            done += u32::from(is_batch);
            let answer = self.perform(&run.asked.deed);
            *run = self.answered(run, answer).expect("the run ended before it was killed");
        }
    }

    /// Kills everything in the middle of what is asked for, and takes the run up again from its bytes.
    pub fn killed(&self, run: Run, cut: Cut) -> Run {
        match cut {
            Cut::BeforeItsAnswer => {
                let _ = self.perform(&run.asked.deed);
            }
            Cut::AtItsStart => self.runtime.block_on(async {
                let deed = translated(&run.asked.deed).unwrap();
                // Dropped in the middle, it kills the client. The server may go on for a while.
                let _ = tokio::time::timeout(Duration::from_millis(40), self.hands.perform(&deed)).await;
            }),
        }
        self.answered(&run, sdk::Answer::InDoubt).expect("a run whose last effect is in doubt looks first")
    }

    fn orders(&self, playbook: &str) -> Run {
        let order = sdk::Order { ticket: self.ticket, fence: 1, task: sdk::Task::Heal(playbook.into()) };
        let stepped = sdk::step::<Db>(&self.config, &[], sdk::Event::Begin(order)).unwrap();
        let [asked] = &stepped.effects[..] else { panic!("{stepped:?}") };
        Run { state: stepped.state, asked: asked.clone() }
    }

    fn finishes(&self, mut run: Run) -> Result<(), String> {
        loop {
            let answer = self.perform(&run.asked.deed);
            match self.answered(&run, answer) {
                Ok(next) => run = next,
                Err(sdk::Outcome::Done) => return Ok(()),
                Err(sdk::Outcome::Failed(failed)) => return Err(failed.why),
            }
        }
    }

    /// The next thing that a run asks for, or how it ended.
    fn answered(&self, run: &Run, answer: sdk::Answer) -> Result<Run, sdk::Outcome> {
        let answered = sdk::Answered { ordinal: run.asked.ordinal, answer };
        let stepped = sdk::step::<Db>(&self.config, &run.state, sdk::Event::Answered(answered)).unwrap();
        match (stepped.end, &stepped.effects[..]) {
            (Some(end), []) => Err(end),
            (None, [asked]) => Ok(Run { state: stepped.state, asked: asked.clone() }),
            (end, effects) => panic!("{end:?} {effects:?}"),
        }
    }

    fn perform(&self, deed: &sdk::Deed) -> sdk::Answer {
        let Some(deed) = translated(deed) else {
            // What is waited for is that all code notices a flag.
            self.flags.settle();
            return sdk::Answer::Done;
        };
        told(self.runtime.block_on(self.hands.perform(&deed)).unwrap())
    }
}

/// The commands as an operator would configure them, each with its file.
fn hands(postgres: &Postgres, flags: &FlagsDouble) -> Hands {
    let command = |(name, argv): (&str, Vec<String>)| (Name::parse(name).unwrap(), psql(argv));
    let commands = Commands::new(pump_commands(postgres).into_iter().map(command).collect()).unwrap();
    let headers = BTreeMap::from([("content-type".into(), "application/json".into())]);
    let endpoint = Endpoint { base: flags.base(), headers, timeout: Millis::from_secs(30) };
    let endpoints = BTreeMap::from([(Name::parse("flags").unwrap(), endpoint)]);
    let endpoints = Endpoints::new(endpoints, &Roots::none()).unwrap();
    Hands { commands, endpoints, ..Hands::default() }
}

fn psql(argv: Vec<String>) -> Command {
    Command {
        argv,
        // What it says besides the answer, it says into the same pipe.
        environment: BTreeMap::from([("PGOPTIONS".into(), "-c client_min_messages=warning".into())]),
        dir: None,
        timeout: Millis::from_secs(300),
        extra_args: ExtraArgs::Refused,
    }
}

/// What is asked, in the words of the runtime; `None` for a wait.
fn translated(deed: &sdk::Deed) -> Option<Deed> {
    match deed {
        sdk::Deed::Run(sdk::Run { command, args }) => {
            Some(Deed::Run { command: Name::parse(command).unwrap(), args: args.clone() })
        }
        sdk::Deed::Http(sdk::Http { endpoint, method, path, body }) => Some(Deed::Http {
            endpoint: Name::parse(endpoint).unwrap(),
            method: method.clone(),
            path: path.clone(),
            body: body.clone(),
        }),
        sdk::Deed::Sleep(_) => None,
        sdk::Deed::Slot(_) | sdk::Deed::File(_) | sdk::Deed::Publish(_) | sdk::Deed::Attach(_) => {
            panic!("the executor asks for {deed:?}")
        }
    }
}

fn told(answer: Answer) -> sdk::Answer {
    let output = |output: backstay_model::Output| sdk::Output {
        bytes: output.bytes,
        whole: output.whole.map(|digest| digest.to_string()),
    };
    match answer {
        Answer::Exited { code, output: said } => {
            sdk::Answer::Exited(sdk::Exited { code, output: output(said) })
        }
        Answer::Response { status, body } => {
            sdk::Answer::Response(sdk::Response { status, body: output(body) })
        }
        Answer::TimedOut => sdk::Answer::TimedOut,
        Answer::Refused(why) => sdk::Answer::Refused(why),
        Answer::Failed(Outcome::Failed { why, .. }) => sdk::Answer::Failed(sdk::transient(why)),
        Answer::Done | Answer::Content(_) | Answer::Slots(_) | Answer::Failed(_) | Answer::InDoubt => {
            panic!("hands answer {answer:?}")
        }
    }
}
