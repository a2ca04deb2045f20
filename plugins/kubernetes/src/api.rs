//! The API server, asked through an endpoint of the host.
//!
//! Here: reading objects and lists by fields, changing them and waiting for them; what the server's refusals mean is in `answer`. Not
//! here: where things are (`resource`), and what is asked for.
//!
//! Everything that is read stays in the run's state, which has 64 KiB: ask for few fields. Nothing that is changed is asked for twice by
//! itself: where nobody knows whether a change was made ([`Written::Unknown`]), whoever asked looks.

mod answer;

use alloc::{
    format,
    rc::Rc,
    string::{String, ToString as _},
    vec::Vec,
};
use core::cell::Cell;

use backstay_sdk::{
    deed,
    executor::{Ctx, Failed, Reply, Response, Transience, Trouble, permanent, transient},
    quote,
    settings::Setting,
};
use serde_json::{Value, json};

use self::answer::refused;
pub use self::answer::{Refused, Sent, Written};
use crate::{patience::Patience, resource::Resource, settings::ENDPOINT};

/// How many objects are asked for at once.
const PAGE: usize = 100;
/// What is kept of the answer to a change. Without a mask it would be 4 KiB of the end of the object.
const KEPT_OF_CHANGES: &str = "#/metadata/resourceVersion";

/// How long is waited before a look that didn't work is asked again, in ms.
const LOOKS_PAUSE_MS: [u64; 2] = [200, 1000];

/// How much of its state a run may fill with answers, in bytes. The rest is for what it attaches and how it ends.
const ROOM: usize = 60 * 1024;
/// What an effect takes of the state beside its answer.
const FRAME: usize = 64;

/// The API server as one run sees it.
#[derive(Clone)]
pub struct Cluster<'a> {
    ctx: &'a Ctx,
    endpoint: &'a str,
    heard: Rc<Cell<usize>>,
}

impl<'a> Cluster<'a> {
    /// The one that the settings of this run name.
    #[must_use]
    pub fn new(ctx: &'a Ctx) -> Self {
        Self { ctx, endpoint: ENDPOINT.of(ctx.config()), heard: Rc::new(Cell::new(0)) }
    }

    /// Another API server, by the endpoint that leads to it. What it answers stays in the same state.
    #[must_use]
    pub fn through(&self, endpoint: &'a str) -> Self {
        Self { endpoint, ..self.clone() }
    }

    /// How much this run may still hear, in bytes: what the server answers stays in the run's state.
    #[must_use]
    pub fn room(&self) -> usize {
        ROOM.saturating_sub(self.heard.get())
    }

    /// The run.
    #[must_use]
    pub fn ctx(&self) -> &'a Ctx {
        self.ctx
    }

    /// The run's settings.
    #[must_use]
    pub fn config(&self) -> &'a [Setting] {
        self.ctx.config()
    }

    /// The fields of one object: each a path like `/metadata/uid`, where `*` stands for every element. `None`: it isn't there.
    ///
    /// # Errors
    /// Why it can't be read.
    pub async fn get(&self, of: &Resource, fields: &[&str]) -> Result<Option<Value>, Failed> {
        match self.look(of, fields).await? {
            Read::Here(value) => Ok(Some(value)),
            Read::Missing(_) => Ok(None),
        }
    }

    /// The same of an object that has to be there; `what` is "the Deployment shop", say.
    ///
    /// # Errors
    /// Why it can't be read, or that it isn't there.
    pub async fn need(&self, of: &Resource, fields: &[&str], what: &str) -> Result<Value, Failed> {
        match self.look(of, fields).await? {
            Read::Here(value) => Ok(value),
            Read::Missing(message) => Err(permanent(format!("{what} isn't there: {message}"))),
        }
    }

    /// The fields of each object of a list, in pages. `fields` are those of one object.
    ///
    /// # Errors
    /// Why it can't be read, or that there are more than `most`.
    pub async fn list(&self, of: &Resource, fields: &[&str], most: usize) -> Result<Vec<Value>, Failed> {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_string()).collect();
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let mut page = of.clone().with("limit", &PAGE.min(most + 1).to_string());
            if !next.is_empty() {
                page = page.with("continue", &next);
            }
            let (items, follows) = self.page(&page, &fields).await?;
            found.extend(items);
            next = follows;
            if found.len() > most || (!next.is_empty() && found.len() == most) {
                let why = format!("there are more than {most} objects at {}", quote::text(of.path()));
                return Err(permanent(why));
            }
            if next.is_empty() {
                return Ok(found);
            }
        }
    }

    /// One page of a list, and what the next one is asked for by; empty where there is none. `of` says how long a page is.
    ///
    /// # Errors
    /// Why it can't be read.
    pub async fn page(&self, of: &Resource, fields: &[String]) -> Result<(Vec<Value>, String), Failed> {
        let mut wanted: Vec<String> = fields.iter().map(|field| format!("/items/*{field}")).collect();
        wanted.push("/metadata/continue".into());
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let Read::Here(mut value) = self.look(of, &wanted).await? else {
            return Ok((Vec::new(), String::new()));
        };
        let next = text(&value, "/metadata/continue").into();
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok((items, next)),
            Some(_) | None => Ok((Vec::new(), next)),
        }
    }

    /// Changes an object by a JSON patch (RFC 6902). A `test` in it that fails is [`Written::Refused`] with 422.
    ///
    /// # Errors
    /// Why it can't be asked for at all.
    pub async fn patch(&self, of: &Resource, operations: &[Value]) -> Result<Written, Failed> {
        self.change("PATCH", of, &json!(operations)).await
    }

    /// Changes an object by a merge patch (RFC 7396): `null` takes away.
    ///
    /// # Errors
    /// Why it can't be asked for at all.
    pub async fn merge(&self, of: &Resource, patch: &Value) -> Result<Written, Failed> {
        self.change("PATCH", of, patch).await
    }

    /// Makes an object, or asks for a part like `eviction`. One that is there already is [`Written::Refused`] with 409.
    ///
    /// # Errors
    /// Why it can't be asked for at all.
    pub async fn create(&self, of: &Resource, object: &Value) -> Result<Written, Failed> {
        self.change("POST", of, object).await
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// Why it can't be asked for at all.
    pub async fn replace(&self, of: &Resource, object: &Value) -> Result<Written, Failed> {
        self.change("PUT", of, object).await
    }

    /// Asks a question that takes a body and stores nothing, like a `SelfSubjectReview`. The host takes no POST for a look, so it is asked as a
    /// change is; where its path is one of the endpoint's `asks`, looks and dry runs do it, too. It may be asked twice.
    ///
    /// # Errors
    /// Why it isn't answered.
    pub async fn ask(&self, of: &Resource, question: &Value, fields: &[&str]) -> Result<Value, Failed> {
        let body = serde_json::to_vec(question).map_err(|_| permanent("what is to be asked is no JSON"))?;
        for ms in LOOKS_PAUSE_MS {
            match self.ask_once(of, &body, fields).await {
                Err(Failed { transience: Transience::Transient, .. }) => self.ctx.pause(ms).await?,
                said => return said,
            }
        }
        self.ask_once(of, &body, fields).await
    }

    /// Looks until `is_so` says something, at most as long as the setting `wait-ms` says. `None`: it never did.
    ///
    /// # Errors
    /// Why it can't be read.
    pub async fn until<T>(
        &self,
        of: &Resource,
        fields: &[&str],
        is_so: impl Fn(Option<&Value>) -> Option<T>,
    ) -> Result<Option<T>, Failed> {
        let mut patience = Patience::new(self.config());
        loop {
            let seen = self.get(of, fields).await?;
            if let Some(found) = is_so(seen.as_ref()) {
                return Ok(Some(found));
            }
            if !patience.wait(self.ctx).await? {
                return Ok(None);
            }
        }
    }

    /// Asks for a change by any method, and says what was answered as it was.
    ///
    /// # Errors
    /// Why it can't be asked for at all.
    pub async fn send(&self, method: &str, of: &Resource, body: &Value) -> Result<Sent, Failed> {
        let body = serde_json::to_vec(body).map_err(|_| permanent("what is to be written is no JSON"))?;
        let path = format!("{}{KEPT_OF_CHANGES}", of.path());
        let asked = match self.ctx.change(deed::http(self.endpoint, method, &path, body)).await {
            Err(trouble) if trouble.may_be_done() => return Ok(Sent::Unknown),
            // The connection broke: it may have been done all the same.
            Err(Trouble::Failed(Failed { transience: Transience::Transient, .. })) => {
                return Ok(Sent::Unknown);
            }
            asked => asked,
        };
        let Response { status, body } = self.answered(asked, method, of)?;
        Ok(match status {
            200..300 => Sent::Done,
            _ => Sent::Answered(refused(status, &body.bytes)),
        })
    }

    /// A look that didn't work for a passing reason is asked again: nobody gives up a wait of minutes because of one answer.
    async fn look(&self, of: &Resource, fields: &[&str]) -> Result<Read, Failed> {
        if self.room() == 0 {
            return Err(transient("the run has heard as much as it can keep: the next one goes on"));
        }
        for ms in LOOKS_PAUSE_MS {
            match self.look_once(of, fields).await {
                Err(Failed { transience: Transience::Transient, .. }) => self.ctx.pause(ms).await?,
                read => return read,
            }
        }
        self.look_once(of, fields).await
    }

    async fn look_once(&self, of: &Resource, fields: &[&str]) -> Result<Read, Failed> {
        let path = format!("{}#{}", of.path(), fields.join(","));
        let asked = self.ctx.look(deed::get(self.endpoint, &path)).await;
        let Response { status, body } = self.answered(asked, "GET", of)?;
        match status {
            200..300 => read(&body.bytes, of).map(Read::Here),
            404 => Ok(Read::Missing(refused(status, &body.bytes).message)),
            _ => Err(refused(status, &body.bytes).about("GET", of)),
        }
    }

    async fn ask_once(&self, of: &Resource, body: &[u8], fields: &[&str]) -> Result<Value, Failed> {
        let path = format!("{}#{}", of.path(), fields.join(","));
        let asked = self.ctx.change(deed::http(self.endpoint, "POST", &path, body.into())).await;
        let Response { status, body } = self.answered(asked, "POST", of)?;
        match status {
            200..300 => read(&body.bytes, of),
            _ => Err(refused(status, &body.bytes).about("POST", of)),
        }
    }

    async fn change(&self, method: &str, of: &Resource, body: &Value) -> Result<Written, Failed> {
        match self.send(method, of, body).await? {
            Sent::Done => Ok(Written::Done),
            // A server that fails may have done it before.
            Sent::Unknown | Sent::Answered(Refused { status: 500..600, .. }) => Ok(Written::Unknown),
            Sent::Answered(refused @ Refused { status: 404 | 409 | 422 | 429, .. }) => {
                Ok(Written::Refused(refused))
            }
            Sent::Answered(refused) => Err(refused.about(method, of)),
        }
    }

    fn answered(
        &self,
        asked: Result<Reply, Trouble>,
        method: &str,
        of: &Resource,
    ) -> Result<Response, Failed> {
        match asked {
            Ok(Reply::Response(response)) => {
                self.heard.set(self.heard.get() + FRAME + response.body.bytes.len());
                Ok(response)
            }
            Ok(Reply::Done | Reply::Exited(_) | Reply::Content(_) | Reply::Slots(_)) => {
                Err(permanent("the answer says nothing of a request"))
            }
            Err(trouble) => Err(trouble.about(&format!("{method} {}", of.path()))),
        }
    }
}

enum Read {
    Here(Value),
    Missing(String),
}

fn read(bytes: &[u8], of: &Resource) -> Result<Value, Failed> {
    serde_json::from_slice(bytes)
        .map_err(|_| permanent(format!("{} answered with no JSON", quote::text(of.path()))))
}

/// The text at `pointer` (RFC 6901); empty where there is none.
#[must_use]
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at `pointer`; `None` where there is none.
#[must_use]
pub fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// Whether `true` stands at `pointer`.
#[must_use]
pub fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// A key as a part of a path of fields or of a patch: `deployment.kubernetes.io~1revision` (RFC 6901).
#[must_use]
pub fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
