//! Executors of the SDK, called as the functions that they are: quick, and easy to make worse on purpose.
//!
//! What the host checks of an answer (bounds, grants) is not checked here; tests/shipped.rs goes the whole way.
#![allow(dead_code, reason = "each test file uses what it needs of it")]

use std::marker::PhantomData;

use backstay_host::{
    CallError, Description, Event, Kind, Problem, SettingInfo, Stepped, Strike, StrikeKind, Value,
};
use backstay_kit::{Settings, calls::Steps};
use backstay_model::{
    Access, Answer, Deed, Effect, Millis, Name, Outcome, Output, PluginId, Release, SlotDeed, SlotStatus,
    Task, Told, Transience,
};
use backstay_sdk::{
    executor as sdk,
    settings::{self as said, Setting},
};

/// An executor of the SDK.
pub(crate) struct Native<E>(PhantomData<E>);

impl<E> Native<E> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

fn plugin() -> PluginId {
    PluginId::parse("test/native").unwrap()
}

pub(crate) fn strike(kind: StrikeKind, why: &str) -> CallError {
    CallError::Strike(Strike { plugin: plugin(), kind, why: why.into() })
}

fn settings(settings: &Settings) -> Vec<Setting> {
    let value = |told: &Told| match told {
        Told::Text(text) => said::Value::Text(text.clone()),
        Told::Number(number) => said::Value::Number(*number),
        Told::Flag(flag) => said::Value::Flag(*flag),
        Told::Texts(texts) => said::Value::Texts(texts.clone()),
    };
    settings.iter().map(|(name, told)| Setting { name: name.to_string(), value: value(told) }).collect()
}

fn value(value: said::Value) -> Value {
    match value {
        said::Value::Text(text) => Value::Text(text),
        said::Value::Number(number) => Value::Number(number),
        said::Value::Flag(flag) => Value::Flag(flag),
        said::Value::Texts(texts) => Value::Texts(texts),
    }
}

fn release_in(release: &Release) -> sdk::Release {
    sdk::Release {
        version: release.version.to_string(),
        digest: release.digest.to_string(),
        length: release.length,
        security_epoch: release.security_epoch,
    }
}

fn release_out(release: &sdk::Release) -> Option<Release> {
    Some(Release {
        version: release.version.parse().ok()?,
        digest: release.digest.parse().ok()?,
        length: release.length,
        security_epoch: release.security_epoch,
    })
}

fn failed_in(outcome: &Outcome) -> sdk::Failed {
    match outcome {
        Outcome::Done => sdk::permanent(""),
        Outcome::Failed { transience: Transience::Transient, why } => sdk::transient(why.as_str()),
        Outcome::Failed { transience: Transience::Permanent, why } => sdk::permanent(why.as_str()),
    }
}

fn output(output: &Output) -> sdk::Output {
    sdk::Output { bytes: output.bytes.clone(), whole: output.whole.map(|digest| digest.to_string()) }
}

fn answer(answer: &Answer) -> sdk::Answer {
    match answer {
        Answer::Done | Answer::Failed(Outcome::Done) => sdk::Answer::Done,
        Answer::Exited { code, output: said } => {
            sdk::Answer::Exited(sdk::Exited { code: *code, output: output(said) })
        }
        Answer::Response { status, body } => {
            sdk::Answer::Response(sdk::Response { status: *status, body: output(body) })
        }
        Answer::Content(said) => sdk::Answer::Content(output(said)),
        Answer::Slots(SlotStatus { booted, confirmed, other, trying }) => {
            sdk::Answer::Slots(sdk::SlotStatus {
                booted: release_in(booted),
                confirmed: release_in(confirmed),
                other: other.as_ref().map(release_in),
                trying: trying.as_ref().map(release_in),
            })
        }
        Answer::Failed(outcome) => sdk::Answer::Failed(failed_in(outcome)),
        Answer::TimedOut => sdk::Answer::TimedOut,
        Answer::Refused(why) => sdk::Answer::Refused(why.clone()),
        Answer::InDoubt => sdk::Answer::InDoubt,
    }
}

fn event(event: &Event) -> sdk::Event {
    match event {
        Event::Begin(order) => sdk::Event::Begin(sdk::Order {
            ticket: order.ticket.0,
            fence: order.fence.0,
            task: match &order.task {
                Task::Install { release } => sdk::Task::Install(release_in(release)),
                Task::Confirm { release } => sdk::Task::Confirm(release_in(release)),
                Task::GoHome { release } => sdk::Task::GoHome(release_in(release)),
                Task::Heal { playbook } => sdk::Task::Heal(playbook.to_string()),
            },
        }),
        Event::Answered { ordinal, answer: given } => {
            sdk::Event::Answered(sdk::Answered { ordinal: *ordinal, answer: answer(given) })
        }
    }
}

/// None: it is none, which the host would refuse.
fn deed(deed: &sdk::Deed) -> Option<Deed> {
    Some(match deed {
        sdk::Deed::Http(http) => Deed::Http {
            endpoint: http.endpoint.parse().ok()?,
            method: http.method.clone(),
            path: http.path.clone(),
            body: http.body.clone(),
        },
        sdk::Deed::Run(run) => Deed::Run { command: run.command.parse().ok()?, args: run.args.clone() },
        sdk::Deed::Slot(slot) => Deed::Slot(match slot {
            sdk::Slot::Status => SlotDeed::Status,
            sdk::Slot::Stage(release) => SlotDeed::Stage(release_out(release)?),
            sdk::Slot::TryNext(release) => SlotDeed::TryNext(release_out(release)?),
            sdk::Slot::Confirm(release) => SlotDeed::Confirm(release_out(release)?),
            sdk::Slot::GoHome(release) => SlotDeed::GoHome(release_out(release)?),
        }),
        sdk::Deed::File(file) => Deed::File { path: file.path.clone(), content: file.content.clone() },
        sdk::Deed::Publish(publish) => {
            Deed::Publish { topic: publish.topic.parse().ok()?, payload: publish.payload.clone() }
        }
        sdk::Deed::Sleep(ms) => Deed::Sleep { span: Millis(*ms) },
        sdk::Deed::Attach(attach) => {
            Deed::Attach { name: attach.name.parse().ok()?, content: attach.content.clone() }
        }
    })
}

fn outcome(outcome: sdk::Outcome) -> Outcome {
    match outcome {
        sdk::Outcome::Done => Outcome::Done,
        sdk::Outcome::Failed(sdk::Failed { transience, why }) => Outcome::Failed {
            transience: match transience {
                sdk::Transience::Transient => Transience::Transient,
                sdk::Transience::Permanent => Transience::Permanent,
            },
            why,
        },
    }
}

impl<E: sdk::Executor> Steps for Native<E> {
    fn describe(&self) -> Result<Description, CallError> {
        let told = E::describe();
        let info = |info: said::SettingInfo| SettingInfo {
            name: info.name.parse().unwrap(),
            kind: match info.kind {
                said::Kind::Text => Kind::Text,
                said::Kind::Number => Kind::Number,
                said::Kind::Flag => Kind::Flag,
                said::Kind::Texts => Kind::Texts,
            },
            default: info.default.map(value),
            range: info.range.map(|span| span.least..=span.most),
            secret: info.secret,
            help: info.help,
        };
        Ok(Description { about: told.about, settings: told.settings.into_iter().map(info).collect() })
    }

    fn validate(&self, given: &Settings) -> Result<Vec<Problem>, CallError> {
        let problem = |told: said::Problem| Problem {
            setting: told.setting.and_then(|name| Name::parse(&name).ok()),
            text: told.text,
        };
        Ok(E::validate(&settings(given)).into_iter().map(problem).collect())
    }

    fn step(&self, given: &Settings, state: &[u8], happens: &Event) -> Result<Stepped, CallError> {
        match sdk::step::<E>(&settings(given), state, event(happens)) {
            Ok(stepped) => {
                let effect = |effect: &sdk::Effect| {
                    let access = match effect.access {
                        sdk::Access::Looks => Access::Looks,
                        sdk::Access::Changes => Access::Changes,
                    };
                    let deed =
                        deed(&effect.deed).ok_or_else(|| strike(StrikeKind::BadOutput, "this is no deed"))?;
                    Ok(Effect { ordinal: effect.ordinal, access, deed })
                };
                let effects = stepped.effects.iter().map(effect).collect::<Result<_, CallError>>()?;
                Ok(Stepped { state: stepped.state, effects, end: stepped.end.map(outcome) })
            }
            Err(sdk::Refusal::Configuration(_)) => {
                Err(CallError::Configuration { plugin: plugin(), problems: Vec::new() })
            }
            Err(sdk::Refusal::Diverged(why)) => Err(CallError::Diverged { plugin: plugin(), why }),
            Err(sdk::Refusal::Unexpected(why)) => Err(CallError::Unexpected { plugin: plugin(), why }),
            Err(sdk::Refusal::Bug(why)) => Err(strike(StrikeKind::Refused, &why)),
        }
    }
}
