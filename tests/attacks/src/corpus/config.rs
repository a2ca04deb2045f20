//! Configuration files that somebody could have a hand in.

use std::{fs, path::Path};

use backstay_config::{Broker, Document, Plugin, Span};
use serde::Deserialize;

use super::Verdict;

/// A file with the parts that every configuration has.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What it says.
    text: Option<String>,
    /// Bytes of comment before that.
    comment: usize,
    /// It has a byte that is no text.
    no_text: bool,
    /// It is so deep a table.
    deep: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read matters here")]
struct Whole {
    policy: Plugin,
    broker: Broker,
    trial: Option<Span>,
}

const HONEST: &str =
    "trial = \"10m\"\n[policy]\nbundle = \"/usr/share/p\"\n[broker]\nurl = \"mqtt://b:1883\"\n";

impl Config {
    pub(super) fn honest(&self) -> Self {
        Self::default()
    }

    pub(super) fn tried(&self) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let mut bytes = vec![b'#'; self.comment];
        bytes.extend_from_slice(b"\n");
        bytes.extend_from_slice(self.text.as_deref().unwrap_or(HONEST).as_bytes());
        if self.no_text {
            bytes.extend_from_slice(b"# \xff\n");
        }
        if self.deep > 0 {
            let deep = format!("x = {}1{}", "[".repeat(self.deep), "]".repeat(self.deep));
            bytes.extend_from_slice(deep.as_bytes());
        }
        fs::write(&path, bytes).unwrap();
        read(&path)
    }
}

fn read(path: &Path) -> Verdict {
    // Whoever reads a configuration says at the end how to look at it: the file, line and key are the help.
    let where_it_is = Some("change the line that is named");
    match Document::read(path) {
        Err(error) => Verdict::of(&error, Some("name a file of at most 1 MiB of text")),
        Ok(document) => match document.parse::<Whole>() {
            Ok(_) => Verdict::Accepted("it was taken".into()),
            Err(problem) => Verdict::of(&problem, where_it_is),
        },
    }
}
