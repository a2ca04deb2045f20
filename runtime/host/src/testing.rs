//! What a plugin could say, without a plugin: the contract's values as bytes, and what comes of believing nothing of them.
//!
//! Here: the way out of the sandbox from the moment on at which wasmtime has made values of a plugin's memory. Not here: that
//! step, which is wasmtime's own, and what the values are held against (`convert`, the grant).

use backstay_trust::{Limits, Permissions};

use crate::{
    Decided, Description, Problem, Stepped,
    bindings::{common, decisions, effects, orders},
    convert,
};

/// What came of what a plugin said: what it said in words of ours, or why it isn't believed.
pub type Believed<T> = Result<T, String>;

/// What an executor could say to an event. `None`: `bytes` are nothing that it could say.
#[must_use]
pub fn stepped(bytes: &[u8], limits: &Limits, granted: &Permissions) -> Option<Believed<Stepped>> {
    let said = read::<effects::Stepped>(bytes)?;
    Some(convert::stepped(said, limits).map_err(|bad| bad.0).and_then(|stepped| {
        let refused = stepped.effects.iter().find_map(|effect| granted.check(&effect.deed).err());
        refused.map_or(Ok(stepped), |refused| Err(refused.to_string()))
    }))
}

/// What a policy could say to facts. `None`: `bytes` are nothing that it could say.
#[must_use]
pub fn decided(bytes: &[u8], memo_bytes_max: usize) -> Option<Believed<Decided>> {
    Some(convert::decided(read::<decisions::Decided>(bytes)?, memo_bytes_max).map_err(|bad| bad.0))
}

/// What a plugin could say of itself. `None`: `bytes` are nothing that it could say.
#[must_use]
pub fn described(bytes: &[u8]) -> Option<Believed<Description>> {
    Some(convert::description(read::<common::Description>(bytes)?).map_err(|bad| bad.0))
}

/// What a plugin could say of its settings. `None`: `bytes` are nothing that it could say.
#[must_use]
pub fn problems(bytes: &[u8]) -> Option<Believed<Vec<Problem>>> {
    Some(convert::problems(read::<Vec<common::Problem>>(bytes)?).map_err(|bad| bad.0))
}

/// One step with this path asked for at an endpoint called `it`.
#[must_use]
pub fn step_to(path: &str) -> Vec<u8> {
    let (endpoint, method, body) = ("it".into(), "GET".into(), Vec::new());
    step(
        effects::Access::Looks,
        effects::Deed::Http(effects::Http { endpoint, method, path: path.into(), body }),
    )
}

/// One step for each thing that an executor can ask for, and one that ends a run.
#[must_use]
pub fn steps() -> Vec<Vec<u8>> {
    use effects::{Access, Attach, Deed, File, Publish, Run, Slot};
    let release = || common::Release {
        version: "1.5.0".into(),
        digest: "05".repeat(32),
        length: 8_000_000,
        security_epoch: 2,
    };
    let file = |content| Deed::File(File { path: "/it/x".into(), content });
    let deeds = [
        Deed::Run(Run { command: "it".into(), args: vec!["--now".into()] }),
        Deed::Slot(Slot::Status),
        Deed::Slot(Slot::Stage(release())),
        Deed::Slot(Slot::TryNext(release())),
        Deed::Slot(Slot::Confirm(release())),
        Deed::Slot(Slot::GoHome(release())),
        file(None),
        file(Some(vec![1, 2, 3])),
        Deed::Publish(Publish { topic: "it".into(), payload: vec![1] }),
        Deed::Sleep(1000),
        Deed::Attach(Attach { name: "it".into(), content: vec![1] }),
    ];
    let failed = orders::Failed { transience: orders::Transience::Transient, why: "no answer".into() };
    let end =
        effects::Stepped { state: vec![1], effects: vec![], end: Some(orders::Outcome::Failed(failed)) };
    let asked = deeds.into_iter().map(|deed| step(Access::Changes, deed));
    asked.chain([step_to("/v1/it?all#/data/*"), written(&end)]).collect()
}

/// One answer for each thing that a policy can say.
#[must_use]
pub fn decisions() -> Vec<Vec<u8>> {
    use decisions::{Action, Decided, Decision, How};
    let actions = [
        Action::Proceed,
        Action::Slow(3),
        Action::Heal(None),
        Action::Heal(Some("restart".into())),
        Action::RollBack(How::AbortCanary),
        Action::RollBack(How::SwitchAndFreeze),
        Action::Freeze,
        Action::Pause,
    ];
    let answer = |action| Decided {
        decision: Decision { action, reasons: vec!["errors 9 of 1000 permille".into()] },
        memo: vec![1],
    };
    actions.into_iter().map(|action| written(&answer(action))).collect()
}

/// What plugins say of themselves and of settings.
#[must_use]
pub fn descriptions() -> Vec<Vec<u8>> {
    use common::{Description, Kind, SettingInfo, Span, Value};
    let settings = vec![SettingInfo {
        name: "tries".into(),
        kind: Kind::Number,
        default: Some(Value::Number(3)),
        range: Some(Span { least: 1, most: 9 }),
        secret: false,
        help: "how often".into(),
    }];
    vec![written(&Description { about: "tries things".into(), settings })]
}

fn step(access: effects::Access, deed: effects::Deed) -> Vec<u8> {
    let effect = effects::Effect { ordinal: 3, access, deed };
    written(&effects::Stepped { state: vec![1], effects: vec![effect], end: None })
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

fn written(said: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_allocvec(said).expect("writing to memory can't fail")
}
