//! What targets share, as `backstay.toml` has it: plugins, metrics, endpoints, commands, the pager and the storm brake.
//!
//! Here: the keys, their defaults and bounds, and their rules. Not here: targets (a folder of files), and the server's other keys.

use std::collections::BTreeMap;

use backstay_config::{Document, Plugin, Problem, Whole};
use backstay_model::{Millis, Name};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Credential, NumberIn, SpanIn,
    credential::checked,
    schema::NameText,
    text::{AbsolutePath, Argument, HeaderName, HeaderValue, Host, HttpUrl, PathPrefix, User, Variable},
};

/// The most entries of each table.
const ENTRIES_MAX: usize = 64;

/// The top-level keys of `backstay.toml` that targets share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// The folder of targets: each file in it that ends in .toml is one. Without it there are none.
    pub targets: Option<AbsolutePath>,
    /// Policies by name. Each runs in a process of its own, shared by all targets that use it.
    #[schemars(with = "BTreeMap<NameText, Plugin>")]
    pub policies: BTreeMap<Name, Plugin>,
    /// Executors by name.
    #[schemars(with = "BTreeMap<NameText, Plugin>")]
    pub executors: BTreeMap<Name, Plugin>,
    /// Where metrics come from, by name.
    #[schemars(with = "BTreeMap<NameText, Prometheus>")]
    pub prometheus: BTreeMap<Name, Prometheus>,
    /// What effects over HTTP may reach, by name.
    #[schemars(with = "BTreeMap<NameText, Endpoint>")]
    pub endpoints: BTreeMap<Name, Endpoint>,
    /// What effects may run, by name.
    #[schemars(with = "BTreeMap<NameText, Command>")]
    pub commands: BTreeMap<Name, Command>,
    /// Where a page goes. Without it pages are only in the log and in the journal.
    pub page: Option<Page>,
    /// How much may be done to all targets together.
    pub brakes: Brakes,
}

/// One Prometheus, or whatever speaks its API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Prometheus {
    /// What `/api/v1/query` is put behind.
    pub url: HttpUrl,
    /// For one query, 100ms to 60s. One that takes longer is no data.
    #[serde(default = "five_seconds")]
    timeout: SpanIn<100, 60_000>,
    /// Sent with each query: a tenant, for example. At most 16, and no secrets.
    #[serde(default)]
    pub headers: BTreeMap<HeaderName, HeaderValue>,
    /// Who we are.
    pub credential: Option<Credential>,
    /// The authorities that its certificate is checked against, as PEM. It takes them for https: there is no built-in list.
    pub ca: Option<AbsolutePath>,
}

/// A service that effects over HTTP may reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Endpoint {
    /// What an effect's path is put behind.
    pub base: HttpUrl,
    /// For one request, 100ms to 10m.
    #[serde(default = "ten_seconds")]
    timeout: SpanIn<100, 600_000>,
    /// What may be asked of it. GET and HEAD, which change nothing, if that isn't said.
    #[serde(default = "looking")]
    pub methods: Vec<Method>,
    /// What may be asked for, with what is below it: 1 to 64 paths. What is not listed is refused.
    pub paths: Vec<PathPrefix>,
    /// At which of them, with what is below, a POST only asks and changes nothing: then looks and dry runs do it, too. At most 64.
    #[serde(default)]
    pub asks: Vec<PathPrefix>,
    /// Sent with each request: what its body is, for example. At most 16, and no secrets.
    #[serde(default)]
    pub headers: BTreeMap<HeaderName, HeaderValue>,
    /// Who we are. Effects and plugins never see it.
    pub credential: Option<Credential>,
    /// The authorities that its certificate is checked against, as PEM. It takes them for https: there is no built-in list.
    pub ca: Option<AbsolutePath>,
    /// The longest answer that is read, in bytes. 65536 if that isn't said, and 1048576 of an endpoint that speaks JSON.
    response_bytes_max: Option<NumberIn<1, 1_048_576>>,
    /// Whether it speaks JSON, as Kubernetes does: requests say so, and an effect may ask for single fields of an answer.
    #[serde(default)]
    pub json: bool,
}

/// What may be asked of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "RFC 9110, section 9.3, and RFC 5789 define them")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// A program that effects may run, here or on another machine. No shell of ours reads its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Command {
    /// The program's path and its arguments, 1 to 64.
    #[serde(deserialize_with = "argv")]
    pub argv: Vec<Argument>,
    /// How long it may take, 100ms to 1h. Then it is killed with all that it started.
    #[serde(default = "thirty_seconds")]
    timeout: SpanIn<100, 3_600_000>,
    /// All of its environment. At most 64 variables.
    #[serde(default)]
    pub environment: BTreeMap<Variable, Argument>,
    /// Where it runs.
    pub dir: Option<AbsolutePath>,
    /// Whether an effect may add arguments of its own.
    #[serde(default)]
    pub extra_args: bool,
    /// Run it on this machine, over SSH.
    pub ssh: Option<Ssh>,
}

/// A machine that is reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ssh {
    /// Its name or address.
    pub host: Host,
    /// Where its SSH server listens.
    #[serde(default = "ssh_port")]
    port: NumberIn<1, 65_535>,
    /// Who we are there.
    pub user: User,
    /// Our secret key.
    pub key: AbsolutePath,
    /// The keys of hosts that are trusted. A host that isn't in it is never connected to.
    pub known_hosts: AbsolutePath,
}

/// Where a page goes: a webhook that takes JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Page {
    /// What is posted to.
    pub url: HttpUrl,
    /// For one page, 100ms to 60s.
    #[serde(default = "five_seconds")]
    timeout: SpanIn<100, 60_000>,
    /// Who we are.
    pub credential: Option<Credential>,
    /// The authorities that its certificate is checked against, as PEM. It takes them for https: there is no built-in list.
    pub ca: Option<AbsolutePath>,
}

/// The storm brake: the most orders that change anything, over all targets. What is beyond freezes and pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Brakes {
    /// In an hour, over all targets. 20, if that isn't said.
    per_hour: Option<NumberIn<1, 64>>,
    /// In an hour, over the targets of one failure domain; at most `per_hour`. 5, or `per_hour` if that is less.
    per_domain_hour: Option<NumberIn<1, 64>>,
}

const fn five_seconds() -> SpanIn<100, 60_000> {
    SpanIn::usual(5000)
}
const fn ten_seconds() -> SpanIn<100, 600_000> {
    SpanIn::usual(10_000)
}
const fn thirty_seconds() -> SpanIn<100, 3_600_000> {
    SpanIn::usual(30_000)
}
const fn ssh_port() -> NumberIn<1, 65_535> {
    NumberIn::usual(22)
}
fn looking() -> Vec<Method> {
    vec![Method::Get, Method::Head]
}

/// What an endpoint that speaks JSON is told with each request.
fn is_said_with_json(header: &HeaderName) -> bool {
    ["accept", "content-type"].iter().any(|said| header.as_str().eq_ignore_ascii_case(said))
}

fn argv<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Argument>, D::Error> {
    checked(Vec::deserialize(from)?).map_err(serde::de::Error::custom)
}

impl Method {
    /// As it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl Prometheus {
    /// For one query.
    #[must_use]
    pub const fn timeout(&self) -> Millis {
        self.timeout.millis()
    }
}

impl Endpoint {
    /// For one request.
    #[must_use]
    pub const fn timeout(&self) -> Millis {
        self.timeout.millis()
    }

    /// The longest answer that is read, in bytes, 1 to 1 MiB.
    #[must_use]
    pub fn response_bytes_max(&self) -> u32 {
        // Of JSON hardly anything is kept, and a list is long before that.
        let usual = if self.json { 1 << 20 } else { 1 << 16 };
        self.response_bytes_max.map_or(usual, NumberIn::get)
    }
}

impl Command {
    /// How long it may take.
    #[must_use]
    pub const fn timeout(&self) -> Millis {
        self.timeout.millis()
    }
}

impl Ssh {
    /// Where its SSH server listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        u16::try_from(self.port.get()).unwrap_or(u16::MAX)
    }
}

impl Page {
    /// For one page.
    #[must_use]
    pub const fn timeout(&self) -> Millis {
        self.timeout.millis()
    }
}

impl Brakes {
    /// Orders in an hour over all targets, 1 to 64: as many as `core` counts.
    #[must_use]
    pub fn per_hour(&self) -> u32 {
        self.per_hour.map_or(20, NumberIn::get)
    }

    /// Orders in an hour over one failure domain, 1 to `per_hour`.
    #[must_use]
    pub fn per_domain_hour(&self) -> u32 {
        self.per_domain_hour.map_or(5, NumberIn::get).min(self.per_hour())
    }
}

impl Shared {
    /// The top-level keys that are read here. Whoever reads the others of the same file leaves these out.
    pub const KEYS: &'static [&'static str] =
        &["targets", "policies", "executors", "prometheus", "endpoints", "commands", "page", "brakes"];

    /// What is wrong with them together.
    pub(crate) fn problems(&self, document: &Document, whole: &Whole<Self>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: String| {
            if whole.is_sound(key) {
                problems.push(document.problem(key, why));
            }
        };
        for (key, entries) in [
            ("policies", self.policies.len()),
            ("executors", self.executors.len()),
            ("prometheus", self.prometheus.len()),
            ("endpoints", self.endpoints.len()),
            ("commands", self.commands.len()),
        ] {
            if entries > ENTRIES_MAX {
                wrong(key, format!("expected at most {ENTRIES_MAX}, found {entries}"));
            }
        }
        for (name, plugin) in &self.executors {
            for (key, is_there) in [
                ("candidate", plugin.candidate.is_some()),
                ("windows", plugin.windows.is_some()),
                ("soak", plugin.soak.is_some()),
                ("disagreements_max", plugin.disagreements_max.is_some()),
            ] {
                if is_there {
                    let why = "is for policies: what an executor does can't be done twice to compare";
                    wrong(&format!("executors.{name}.{key}"), why.into());
                }
            }
        }
        let queries = self.prometheus.iter().map(|(name, to)| ("prometheus", name, to.headers.len()));
        let requests = self.endpoints.iter().map(|(name, to)| ("endpoints", name, to.headers.len()));
        for (table, name, headers) in queries.chain(requests) {
            if headers > 16 {
                wrong(&format!("{table}.{name}.headers"), format!("expected at most 16, found {headers}"));
            }
        }
        for (name, endpoint) in &self.endpoints {
            let paths = endpoint.paths.len();
            if !(1..=64).contains(&paths) {
                wrong(&format!("endpoints.{name}.paths"), format!("expected 1 to 64, found {paths}"));
            }
            let mut methods = endpoint.methods.clone();
            methods.sort_unstable();
            methods.dedup();
            if methods.is_empty() || methods.len() < endpoint.methods.len() {
                wrong(&format!("endpoints.{name}.methods"), "expected at least one, and none twice".into());
            }
            if endpoint.json {
                let credential = endpoint.credential.iter().map(|to| ("credential.header", &to.header));
                let headers = endpoint.headers.keys().map(|header| ("headers", header)).chain(credential);
                for (key, header) in headers.filter(|(_, header)| is_said_with_json(header)) {
                    let why = format!("{} is said by json = true: leave it out", header.as_str());
                    wrong(&format!("endpoints.{name}.{key}"), why);
                }
            }
        }
        let prometheus =
            self.prometheus.iter().map(|(name, to)| (format!("prometheus.{name}"), &to.url, &to.ca));
        let endpoints =
            self.endpoints.iter().map(|(name, to)| (format!("endpoints.{name}"), &to.base, &to.ca));
        let page = self.page.iter().map(|to| ("page".to_owned(), &to.url, &to.ca));
        for (key, url, ca) in prometheus.chain(endpoints).chain(page) {
            if url.is_https() && ca.is_none() {
                wrong(
                    &format!("{key}.ca"),
                    "is missing: https takes the authorities that a certificate is checked against, as PEM"
                        .into(),
                );
            }
        }
        for (name, command) in &self.commands {
            let variables = command.environment.len();
            if variables > 64 {
                wrong(
                    &format!("commands.{name}.environment"),
                    format!("expected at most 64, found {variables}"),
                );
            }
        }
        let Brakes { per_hour, per_domain_hour } = self.brakes;
        let (all, one) = (per_hour.map_or(20, NumberIn::get), per_domain_hour.map_or(0, NumberIn::get));
        if one > all {
            wrong("brakes.per_domain_hour", format!("expected at most brakes.per_hour, {all}, found {one}"));
        }
        problems
    }
}
