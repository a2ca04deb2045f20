//! The corpus: one folder per attack, and what has to refuse it.
//!
//! `corpus/NAME/attack.toml` says in one sentence what is attacked and how, holds the recipe by which the attack is made,
//! and the refusal word for word. A recipe in which nothing is said is an honest one, and has to be accepted: else a
//! refusal could be about something else. Here: folders, recipes as a whole, comparing. The kinds of recipe have a file
//! each. Not here: running all of them and counting (`tests/corpus.rs`).

pub mod asked;
mod bytes;
mod component;
mod config;
mod files;
mod guest;
mod image;
mod message;
mod plugin;
mod records;
mod run;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// What became of something that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken for good; what came of it.
    Accepted(String),
    /// It was refused.
    Refused {
        /// With these words: what and why.
        told: String,
        /// And this is to be done about it. `None`: it is a word to a plugin or a reading of a probe, and no error.
        help: Option<String>,
    },
}

impl Verdict {
    /// An error, as a person gets to see it.
    fn of(error: &(dyn std::error::Error + 'static), help: Option<&str>) -> Self {
        // An error without help is a defect, and shows as one.
        let help = help.map_or_else(String::new, String::from);
        Self::Refused { told: crate::chain(error), help: Some(help) }
    }

    /// A word that isn't for people in the first place.
    fn word(told: impl Into<String>) -> Self {
        Self::Refused { told: told.into(), help: None }
    }
}

/// One attack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// What is done, in one sentence.
    pub attack: String,
    /// What it is done to.
    pub against: String,
    /// The expected refusal. `{...}` stands for anything that differs from run to run: a path, a key, a digest.
    pub refusal: String,
    /// How it is made.
    pub recipe: Recipe,
    /// The folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// The kinds of attack, by what is held against them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// A policy that means ill.
    Policy(guest::Policy),
    /// An executor that means ill.
    Executor(guest::Executor),
    /// Something that is to become a plugin.
    Component(component::Component),
    /// A run of an executor that was written with the SDK.
    Run(run::Run),
    /// What was signed by vendor and operator, and the code.
    Plugin(plugin::Plugin),
    /// A message on the topic that steers the cohort.
    Steering(message::Steering),
    /// Something else that is signed.
    Word(message::Word),
    /// Bytes in a frame.
    Item(bytes::Item),
    /// A bundle as a file.
    Bundle(bytes::Bundle),
    /// A keyring as a file.
    Keyring(bytes::Keyring),
    /// The records of a device as evidence.
    Evidence(records::Evidence),
    /// A journal on disk.
    Journal(records::Journal),
    /// A configuration file.
    Config(config::Config),
    /// A file that a run asks for.
    File(files::File),
    /// A command that a run asks for.
    Command(world::Command),
    /// A server that an artifact is fetched from.
    Fetch(world::Fetch),
    /// A server that a run asks.
    Endpoint(world::Endpoint),
    /// What a probe looks at.
    Probe(world::Probe),
}

impl Recipe {
    /// Its name in `attack.toml`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy",
            Self::Executor(_) => "executor",
            Self::Component(_) => "component",
            Self::Run(_) => "run",
            Self::Plugin(_) => "plugin",
            Self::Steering(_) => "steering",
            Self::Word(_) => "word",
            Self::Item(_) => "item",
            Self::Bundle(_) => "bundle",
            Self::Keyring(_) => "keyring",
            Self::Evidence(_) => "evidence",
            Self::Journal(_) => "journal",
            Self::Config(_) => "config",
            Self::File(_) => "file",
            Self::Command(_) => "command",
            Self::Fetch(_) => "fetch",
            Self::Endpoint(_) => "endpoint",
            Self::Probe(_) => "probe",
        }
    }

    /// The guest, where the recipe makes one: it can be asked elsewhere, too.
    #[must_use]
    pub fn guest(&self) -> Option<asked::Guest> {
        match self {
            Self::Policy(it) => Some(it.guest()),
            Self::Executor(it) => Some(it.guest()),
            Self::Component(_)
            | Self::Run(_)
            | Self::Plugin(_)
            | Self::Steering(_)
            | Self::Word(_)
            | Self::Item(_)
            | Self::Bundle(_)
            | Self::Keyring(_)
            | Self::Evidence(_)
            | Self::Journal(_)
            | Self::Config(_)
            | Self::File(_)
            | Self::Command(_)
            | Self::Fetch(_)
            | Self::Endpoint(_)
            | Self::Probe(_) => None,
        }
    }

    /// Tries what the recipe makes.
    #[must_use]
    pub fn tried(&self) -> Verdict {
        match self {
            Self::Policy(it) => it.guest().tried(),
            Self::Executor(it) => it.guest().tried(),
            Self::Component(it) => it.tried(),
            Self::Run(it) => it.tried(),
            Self::Plugin(it) => it.tried(),
            Self::Steering(it) => it.tried(),
            Self::Word(it) => it.tried(),
            Self::Item(it) => it.tried(),
            Self::Bundle(it) => it.tried(),
            Self::Keyring(it) => it.tried(),
            Self::Evidence(it) => it.tried(),
            Self::Journal(it) => it.tried(),
            Self::Config(it) => it.tried(),
            Self::File(it) => it.tried(),
            Self::Command(it) => it.tried(),
            Self::Fetch(it) => it.tried(),
            Self::Endpoint(it) => it.tried(),
            Self::Probe(it) => it.tried(),
        }
    }

    /// The same without the attack: what has to be accepted.
    #[must_use]
    pub fn honest(&self) -> Self {
        match self {
            Self::Policy(_) => Self::Policy(guest::Policy::default()),
            Self::Executor(_) => Self::Executor(guest::Executor::default()),
            Self::Component(_) => Self::Component(component::Component::default()),
            Self::Run(_) => Self::Run(run::Run::default()),
            Self::Plugin(_) => Self::Plugin(plugin::Plugin::default()),
            Self::Steering(_) => Self::Steering(message::Steering::default()),
            Self::Word(it) => Self::Word(it.honest()),
            Self::Item(_) => Self::Item(bytes::Item::default()),
            Self::Bundle(_) => Self::Bundle(bytes::Bundle::default()),
            Self::Keyring(_) => Self::Keyring(bytes::Keyring::default()),
            Self::Evidence(_) => Self::Evidence(records::Evidence::default()),
            Self::Journal(_) => Self::Journal(records::Journal::default()),
            Self::Config(it) => Self::Config(it.honest()),
            Self::File(_) => Self::File(files::File::default()),
            Self::Command(_) => Self::Command(world::Command::default()),
            Self::Fetch(_) => Self::Fetch(world::Fetch::default()),
            Self::Endpoint(_) => Self::Endpoint(world::Endpoint::default()),
            Self::Probe(_) => Self::Probe(world::Probe::default()),
        }
    }
}

impl Attack {
    /// All attacks, by name.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let mut folders: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        folders.into_iter().map(Self::read).collect()
    }

    fn read(folder: PathBuf) -> Self {
        let file = folder.join("attack.toml");
        let text = fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let attack: Self = toml::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        Self { folder, ..attack }
    }

    /// Its name: that of the folder.
    #[must_use]
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Whether these are the words of the expected refusal.
    #[must_use]
    pub fn expects(&self, told: &str) -> bool {
        fits(&self.refusal, told)
    }

    /// Tries it.
    ///
    /// # Errors
    /// In words: it was accepted, it was refused otherwise, or the honest counterpart was refused too.
    pub fn hold(&self) -> Result<(), String> {
        if let Verdict::Refused { told, .. } = self.recipe.honest().tried() {
            return Err(format!("without the attack it is refused as well: {told}"));
        }
        match self.recipe.tried() {
            Verdict::Accepted(what) => Err(format!("it was accepted: {what}")),
            Verdict::Refused { help: Some(help), told } if help.is_empty() => {
                Err(format!("nobody says what to do about it: {told}"))
            }
            Verdict::Refused { told, .. } if self.expects(&told) => Ok(()),
            Verdict::Refused { told, .. } => Err(format!("expected: {}\n  refused:  {told}", self.refusal)),
        }
    }

    /// Writes the refusal as it is now into `attack.toml`, for review.
    pub fn rewrite(&self) {
        let Verdict::Refused { told, .. } = self.recipe.tried() else { return };
        if self.expects(&told) {
            return;
        }
        let file = self.folder.join("attack.toml");
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| match line.starts_with("refusal = ") {
            true => format!("refusal = {told:?}"),
            false => line.to_owned(),
        });
        fs::write(&file, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }
}

/// Whether `told` is what `expected` says. `{...}` in it fits whatever there is, if there is something.
fn fits(expected: &str, told: &str) -> bool {
    let mut parts = Vec::new();
    let mut rest = expected;
    while let Some((before, behind)) = rest.split_once('{') {
        parts.push(before);
        rest = behind.split_once('}').unwrap_or_else(|| panic!("{expected:?} has a {{ without a }}")).1;
    }
    let Some((first, between)) = parts.split_first() else { return expected == told };
    let Some(mut left) = told.strip_prefix(first) else { return false };
    for part in between {
        let Some(at) = left.get(1..).and_then(|left| left.find(part)) else { return false };
        left = &left[1 + at + part.len()..];
    }
    !left.is_empty() && (rest.is_empty() || left.len() > rest.len() && left.ends_with(rest))
}

/// Something that is done to bytes. Places are counted from the start, or from the end where they are negative.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Damage {
    /// One bit of this byte.
    Flip(i64),
    /// One bit of the first byte of this text, where it first stands.
    FlipIn(String),
    /// All from here on is taken away.
    Cut(i64),
    /// So many zeros are put behind it.
    Append(usize),
    /// From here on it says this: in hexadecimal digits.
    Set(i64, String),
}

impl Damage {
    fn all(damages: &[Self], bytes: &mut Vec<u8>) {
        for damage in damages {
            match damage {
                Self::Flip(at) => {
                    let at = place(bytes, *at);
                    bytes[at] ^= 0x10;
                }
                Self::FlipIn(text) => {
                    let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
                    bytes[found.unwrap()] ^= 0x10;
                }
                Self::Cut(at) => {
                    let at = place(bytes, *at);
                    bytes.truncate(at);
                }
                Self::Append(more) => bytes.resize(bytes.len() + more, 0),
                Self::Set(at, hex) => {
                    let at = place(bytes, *at);
                    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
                    for (n, pair) in digits.chunks(2).enumerate() {
                        let pair = str::from_utf8(pair).unwrap();
                        bytes[at + n] = u8::from_str_radix(pair, 16).unwrap();
                    }
                }
            }
        }
    }
}

fn place(bytes: &[u8], at: i64) -> usize {
    usize::try_from(if at < 0 { bytes.len() as i64 + at } else { at }).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_fits_word_for_word_but_for_what_differs() {
        assert!(fits("it is empty", "it is empty"));
        assert!(!fits("it is empty", "it is not empty"));
        assert!(fits("{path} is no bundle", "/tmp/x is no bundle"));
        assert!(!fits("{path} is no bundle", " is no bundle at all"));
        assert!(fits("key {key} of {who}", "key 17 of me"));
        assert!(!fits("key {key} of {who}", "key 17"));
        assert!(!fits("key {key} of me", "key 17 of you"));
        assert!(!fits("key {key}", "key "));
    }
}
