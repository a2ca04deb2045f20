//! `backstay plugin ls`: the bundles in a folder, or in an image layout.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use backstay_host::{Machine, engine_profile};
use backstay_trust::{Bundle, Keyring, PluginError, Want};
use clap::Args;
use serde::Serialize;

use crate::{
    Desk, Exit, Failure, file,
    oci::{self, Access, At, Layout, Place, layout_folder},
    replay::bundles_in,
    table::Table,
};

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The folder; an image layout is written as oci:FOLDER
    pub(super) folder: PathBuf,
    /// The fleet's keyring: what it does not vouch for is marked
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
}

#[derive(Debug, Serialize)]
struct Line {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    world: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<u64>,
    targets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    bundles: &'a [Line],
}

impl Ls {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let keyring = file::read_keyring(&self.keyring)?;
        let layout = self.folder.to_str().and_then(layout_folder);
        let lines = match &layout {
            Some(folder) => in_layout(folder, &keyring)?,
            None => in_folder(&self.folder, &keyring)?,
        };
        desk.printer.show("plugin-list", &Shown { bundles: &lines }, || table(&lines))?;
        if lines.is_empty() {
            let folder = self.folder.display();
            match layout {
                Some(_) => desk.printer.say(format_args!("{folder} holds no bundle that has a name")),
                None => {
                    desk.printer.say(format_args!("{folder} holds no bundle: their names end in .bundle"));
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn in_folder(folder: &Path, keyring: &Keyring) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for path in bundles_in(folder)? {
        let bytes = file::read(&path, Bundle::BYTES_MAX)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(Line::of(name, keyring, &bytes));
    }
    Ok(lines)
}

/// One that is damaged is a line like the others, and says so.
fn in_layout(folder: &Path, keyring: &Keyring) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for name in Layout::open(folder)?.bundles()? {
        let place = Place::Layout(folder.into(), At::Tag(name.clone()));
        lines.push(match oci::pull(&place, &Access::default()) {
            Ok(pulled) => Line::of(name, keyring, &pulled.bytes),
            Err(why) => Line { refused: Some(why.what().into()), ..Line::bare(name) },
        });
    }
    Ok(lines)
}

impl Line {
    fn bare(file: String) -> Self {
        Self { file, plugin: None, version: None, world: None, grant: None, targets: vec![], refused: None }
    }

    fn of(file: String, keyring: &Keyring, bytes: &[u8]) -> Self {
        let bare = Self::bare(file);
        let bundle = match Bundle::decode(bytes) {
            Ok(bundle) => bundle,
            Err(why) => return Self { refused: Some(why.to_string()), ..bare },
        };
        let release = match keyring.verify_plugin_release(bundle.release) {
            Ok(release) => release,
            Err(why) => return Self { refused: Some(why.to_string()), ..bare },
        };
        let said = release.release();
        let mut line = Self {
            plugin: Some(said.id.to_string()),
            version: Some(said.version.to_string()),
            world: Some(said.world.to_string()),
            ..bare
        };
        let (engine, floors) = (engine_profile(), BTreeMap::new());
        for machine in Machine::ALL {
            let target = machine.target();
            let want = Want {
                target: &target,
                engine: &engine,
                world: &said.world,
                floors: &floors,
                attested: None,
            };
            let granted = keyring.verify_grant(bundle.release, bundle.grant, &want);
            let verified = granted.and_then(|granted| {
                let code = bundle.artifact(&granted.artifact().digest).map(<[u8]>::to_vec);
                code.map(|code| granted.with_artifact(code)).transpose()
            });
            match verified {
                Ok(Some(verified)) => {
                    line.grant = Some(verified.stamp().sequence);
                    line.targets.push(target.to_string());
                }
                Ok(None) | Err(PluginError::NoArtifact { .. }) => {}
                Err(why) => line.refused = Some(why.to_string()),
            }
        }
        line
    }
}

fn table(lines: &[Line]) -> String {
    let mut table = Table::new(["FILE", "PLUGIN", "VERSION", "GRANT", "TARGETS", "STATE"]);
    for Line { file, plugin, version, grant, targets, refused, .. } in lines {
        table.row([
            file.clone(),
            plugin.clone().unwrap_or_else(|| "-".into()),
            version.clone().unwrap_or_else(|| "-".into()),
            grant.map_or_else(|| "-".into(), |grant| grant.to_string()),
            targets.join(","),
            refused.clone().unwrap_or_else(|| "verified".into()),
        ]);
    }
    table.to_string()
}
