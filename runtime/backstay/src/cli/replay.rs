//! `backstay replay`: every recorded call made again, and the first that comes to something else.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backstay_kit::{Done, Job, Kind, Replayed, Verdict, Work};
use backstay_model::{Name, PluginId, Told};
use backstay_trust::{Bundle, PublicKey};
use clap::Args;
use serde::Serialize;

use crate::{
    Desk, Exit, Failure,
    elsewhere::{self, Elsewhere, Place},
    evidence::Source,
    file,
    table::Table,
    text,
};

/// Make recorded calls of plugins again, and name the first that comes to something else
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Whose records: devices, files that `evidence fetch` wrote, or the state folder of a device or a server
    #[arg(required = true, value_name = "DEVICE|FILE|FOLDER")]
    of: Vec<String>,
    /// Bundles of the plugins that ran, or folders with them
    #[arg(long, required = true, value_name = "BUNDLE|FOLDER", num_args = 1..)]
    plugins: Vec<PathBuf>,
    /// The fleet's keyring
    #[arg(long, value_name = "FILE")]
    keyring: PathBuf,
    /// Whose journal it is: the device's public key. Asked of the server, or read in the folder, if it is left out
    #[arg(long)]
    key: Option<PublicKey>,
    /// Where the calls are made
    #[arg(long, value_enum, default_value_t = Place::Native)]
    engine: Place,
    /// A setting that was withheld from the records
    #[arg(long, value_name = "PLUGIN:NAME=VALUE", value_parser = setting)]
    setting: Vec<Set>,
}

#[derive(Clone, Debug)]
struct Set {
    plugin: PluginId,
    name: Name,
    value: Told,
}

/// A flag or a number is written as one; all else is a text.
fn setting(text: &str) -> Result<Set, String> {
    let shape = "expected vendor/plugin:name=value";
    let (plugin, rest) = text.split_once(':').ok_or(shape)?;
    let (name, value) = rest.split_once('=').ok_or(shape)?;
    let value = match (value.parse(), value.parse()) {
        (Ok(flag), _) => Told::Flag(flag),
        (_, Ok(number)) => Told::Number(number),
        (Err(_), Err(_)) => Told::Text(value.into()),
    };
    Ok(Set {
        plugin: plugin.parse().map_err(|why| format!("{why}"))?,
        name: name.parse().map_err(|why| format!("{why}"))?,
        value,
    })
}

#[derive(Serialize)]
struct Shown<'a> {
    engine: String,
    verdict: Verdict,
    journals: &'a [Journal],
}

#[derive(Serialize)]
struct Journal {
    of: String,
    /// Whether the chain was followed from record to record.
    chain: &'static str,
    verdict: Verdict,
    #[serde(flatten)]
    replayed: Replayed,
}

impl Replay {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let keyring = file::read_keyring(&self.keyring)?.encode();
        let bundles = bundles(&self.plugins)?;
        let mut settings: BTreeMap<PluginId, Vec<(Name, Told)>> = BTreeMap::new();
        for Set { plugin, name, value } in &self.setting {
            settings.entry(plugin.clone()).or_default().push((name.clone(), value.clone()));
        }
        let mut journals = Vec::new();
        for of in &self.of {
            let records = Source { from: of.clone() }.read(desk)?;
            let chain = match self.key.as_ref().or(records.key.as_ref()) {
                Some(key) => {
                    crate::story::check(&records.bytes, key).map_err(|why| {
                        Failure::new(Exit::Untrusted, format!("the journal of {of} does not hold together"))
                            .why(why)
                            .help("what was changed afterwards proves nothing about then")
                    })?;
                    "holds"
                }
                None => "not checked",
            };
            let work = Work::Replay { records: records.bytes, settings: settings.clone() };
            let mut job =
                Job { kind: Kind::Native, keyring: keyring.clone(), bundles: bundles.clone(), work };
            let done = elsewhere::run(&mut job, self.engine).map_err(|why| match why {
                Elsewhere::Failed(failure) => failure,
                Elsewhere::Missing(why) => Failure::new(Exit::NotFound, "cannot replay on aarch64").why(why),
            })?;
            let Done::Replayed(replayed) = done else {
                return Err(Failure::new(Exit::Trouble, "the job was another than was asked for"));
            };
            journals.push(Journal {
                of: of.clone(),
                chain,
                verdict: replayed.verdict(),
                replayed: *replayed,
            });
        }
        let worst = |wanted| journals.iter().any(|journal| journal.verdict == wanted);
        let verdict = if worst(Verdict::Different) {
            Verdict::Different
        } else if worst(Verdict::Incomplete) {
            Verdict::Incomplete
        } else {
            Verdict::Same
        };
        let shown = Shown { engine: self.engine.to_string(), verdict, journals: &journals };
        desk.printer.show("replay", &shown, || shown.table())?;
        if journals.iter().any(|journal| journal.chain == "not checked") {
            desk.printer
                .say("whose records these are is not known, so their chain was not checked; --key checks it");
        }
        Ok(match verdict {
            Verdict::Same => Exit::Done,
            Verdict::Different => Exit::Differs,
            Verdict::Incomplete => Exit::NotFound,
        })
    }
}

impl Shown<'_> {
    fn table(&self) -> String {
        let mut table = Table::new([
            "JOURNAL",
            "RECORDS",
            "DECISIONS",
            "STEPS",
            "RUNS",
            "DIFFERENT",
            "LEFT OUT",
            "CHAIN",
        ]);
        let of = |calls: &backstay_kit::Calls| format!("{}/{}", calls.again, calls.recorded);
        for Journal { of: name, chain, replayed, .. } in self.journals {
            table.row([
                name.clone(),
                replayed.records.to_string(),
                of(&replayed.decisions),
                of(&replayed.steps),
                replayed.runs.to_string(),
                replayed.different.to_string(),
                replayed.left_out.values().sum::<u64>().to_string(),
                (*chain).into(),
            ]);
        }
        let mut told = format!("{}: {}\n{table}", self.engine, self.verdict());
        for Journal { of, replayed, .. } in self.journals {
            if let Some(first) = replayed.differences.first() {
                let lines: Vec<_> = first.to_string().lines().map(text::plain).collect();
                told.push_str(&format!(
                    "\n{}: the first difference, {}\n",
                    text::plain(of),
                    lines.join("\n")
                ));
            }
            for (grant, plugin) in &replayed.missing {
                told.push_str(&format!("{}: {plugin} is not at hand (grant {grant})\n", text::plain(of)));
            }
            for (plugin, names) in &replayed.withheld {
                let names: Vec<_> =
                    names.iter().map(|name| format!("--setting {plugin}:{name}=...")).collect();
                told.push_str(&format!(
                    "{}: withheld from the records: {}\n",
                    text::plain(of),
                    names.join(" ")
                ));
            }
        }
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for (why, count) in self.journals.iter().flat_map(|journal| &journal.replayed.left_out) {
            *reasons.entry(why).or_default() += count;
        }
        for (why, count) in reasons {
            told.push_str(&format!("left out {count}: {why}\n"));
        }
        told
    }

    fn verdict(&self) -> String {
        let sum = |count: fn(&Replayed) -> u64| -> u64 {
            self.journals.iter().map(|journal| count(&journal.replayed)).sum()
        };
        let again = sum(|replayed| replayed.decisions.again + replayed.steps.again);
        let calls = text::count(again, "call", "calls");
        match self.verdict {
            Verdict::Same => format!("{calls} made again, no difference"),
            Verdict::Different => {
                format!("{calls} made again, {} came to something else", sum(|replayed| replayed.different))
            }
            Verdict::Incomplete => format!("{calls} made again, no difference; others could not be made"),
        }
    }
}

/// The bundles in files and folders.
fn bundles(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut bundles = Vec::new();
    for path in paths {
        let files = if path.is_dir() { bundles_in(path)? } else { vec![path.clone()] };
        if files.is_empty() {
            let what = format!("{} holds no bundle", path.display());
            return Err(Failure::new(Exit::NotFound, what).help("a bundle's name ends in .bundle"));
        }
        for file in files {
            bundles.push(file::read(&file, Bundle::BYTES_MAX)?);
        }
    }
    Ok(bundles)
}

/// The files in a folder that are named like bundles, by name.
pub(crate) fn bundles_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |why| Failure::new(Exit::Trouble, format!("cannot read {}", folder.display())).why(why);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|ending| ending == "bundle") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_what_it_looks_like() {
        assert_eq!(setting("acme/pump:tries=3").unwrap().value, Told::Number(3));
        assert_eq!(setting("acme/pump:dry=true").unwrap().value, Told::Flag(true));
        assert_eq!(setting("acme/pump:site=a=b").unwrap().value, Told::Text("a=b".into()));
        for wrong in ["acme/pump", "acme/pump:x", "pump:x=1", "acme/pump:X=1"] {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }
}
