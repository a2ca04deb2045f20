//! `lkg verify`: whether a bundle is to be believed, how old it is, and how what is live differs from it.

use std::collections::BTreeMap;

use backstay_model::TargetId;
use clap::Args;
use serde::Serialize;

use super::{
    bundle::{Believed, Checked},
    difference::Difference,
    document::{Document, Known},
    live::Source,
    object::ObjectId,
};
use crate::{Desk, Exit, Failure, Serve, file, table::Table, text};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(super) believed: Believed,
    #[command(flatten)]
    pub(super) source: Source,
}

/// What a bundle says, for people and for machines. Never a value.
#[derive(Serialize)]
pub(super) struct Said<'a> {
    service: &'a TargetId,
    release: &'a Known,
    captured_at_ms: u64,
    /// How long ago it was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_ms_ago: Option<u64>,
    objects: BTreeMap<String, SaidObject<'a>>,
}

#[derive(Serialize)]
struct SaidObject<'a> {
    configuration: Vec<&'a str>,
    credentials: &'a [String],
    immutable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<State>,
}

/// What has become of an object.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum State {
    AsItWas(Difference),
    Differs(Difference),
    Gone,
}

impl<'a> Said<'a> {
    pub(super) fn of(document: &'a Document, signed_ms_ago: Option<u64>) -> Self {
        let said = document.objects.iter().map(|object| {
            let configuration = object.configuration.keys().map(String::as_str).collect();
            let (credentials, immutable) = (object.credentials.as_slice(), object.immutable);
            (object.id.to_string(), SaidObject { configuration, credentials, immutable, live: None })
        });
        let Document { service, release, captured_at_ms, .. } = document;
        Self { service, release, captured_at_ms: *captured_at_ms, signed_ms_ago, objects: said.collect() }
    }

    fn differs(&self) -> bool {
        self.objects.values().any(|object| matches!(object.live, Some(State::Differs(_) | State::Gone)))
    }

    pub(super) fn table(&self) -> String {
        let mut list = Table::list();
        list.say("service", self.service);
        list.say("release", format_args!("{} {}", self.release.version, self.release.digest.short()));
        list.say(
            "captured",
            format_args!("{} ago", text::age(file::now().0.saturating_sub(self.captured_at_ms))),
        );
        if let Some(ms) = self.signed_ms_ago {
            list.say("signed", format_args!("{} ago", text::age(ms)));
        }
        let mut table = Table::new(["OBJECT", "KEY", "", "LIVE"]);
        for (id, object) in &self.objects {
            let live = object.live.as_ref();
            for key in &object.configuration {
                table.row([
                    id.clone(),
                    (*key).into(),
                    "restored".into(),
                    live.map_or("", |live| live.of(key)).into(),
                ]);
            }
            for key in object.credentials {
                table.row([id.clone(), key.clone(), "left alone".into(), String::new()]);
            }
            if let Some(State::Differs(difference) | State::AsItWas(difference)) = live {
                for key in &difference.surplus {
                    table.row([id.clone(), key.clone(), "taken away".into(), "wasn't there".into()]);
                }
                for key in &difference.left_alone {
                    table.row([id.clone(), key.clone(), "left alone".into(), "wasn't there".into()]);
                }
            }
        }
        format!("{list}{table}")
    }
}

impl State {
    /// What has become of a key that is restored.
    fn of(&self, key: &str) -> &'static str {
        let has = |keys: &[String]| keys.iter().any(|other| other == key);
        match self {
            Self::Gone => "gone, with its object",
            Self::AsItWas(difference) | Self::Differs(difference) => match difference {
                Difference { changed, .. } if has(changed) => "changed",
                Difference { missing, .. } if has(missing) => "gone",
                Difference { .. } => "as it was",
            },
        }
    }
}

impl Verify {
    pub(super) fn run(&self, desk: &Desk, serve: Serve) -> Result<Exit, Failure> {
        let Checked { document, age_ms } = self.believed.check()?;
        let mut said = Said::of(&document, Some(age_ms));
        if self.source.is_named() {
            let ids: Vec<ObjectId> = document.objects.iter().map(|object| object.id.clone()).collect();
            let live = self.source.read(&ids, serve)?;
            for object in &document.objects {
                let state = match live.iter().find(|live| live.id == object.id) {
                    None => State::Gone,
                    Some(live) => {
                        let difference = Difference::of(object, &document.classes, live);
                        if difference.is_none() {
                            State::AsItWas(difference)
                        } else {
                            State::Differs(difference)
                        }
                    }
                };
                if let Some(said) = said.objects.get_mut(&object.id.to_string()) {
                    said.live = Some(state);
                }
            }
        }
        desk.printer.show("lkg", &said, || said.table())?;
        Ok(if said.differs() { Exit::Differs } else { Exit::Done })
    }
}
