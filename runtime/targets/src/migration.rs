//! The migration of a data base, and who says which version shared data has.
//!
//! Here: from the tables of a file to what `core` decides with, and which playbooks are taken. Not here: the phases of a migration
//! and what they allow (`core`), its steps (an executor), and whether a data base that is named is there (`reading`).

use backstay_core::{DualWriter, GO_ON, HOLD, LOOK, Migration, SharedData, Step};
use backstay_model::Name;

use crate::{
    file::{MigrationTable, SchemaTable, WriterWord},
    objective::Wrong,
};

/// The migration that a table stands for.
pub(crate) fn migration(table: &MigrationTable) -> Result<Migration, Wrong> {
    let (from, to) = (table.from.get(), table.to.get());
    if to <= from {
        return Err(("to", format!("expected more than migration.from, {from}, found {to}")));
    }
    Ok(Migration {
        from,
        to,
        release: table.release.clone(),
        flag: table.flag.clone(),
        writer: table.writer.into(),
        soak: table.soak.millis(),
    })
}

/// Who says which version the data has.
pub(crate) fn shared_data(table: &SchemaTable) -> Result<SharedData, Wrong> {
    match (&table.version, &table.of) {
        (Some(version), None) => Ok(SharedData::Version(version.get())),
        (None, Some(of)) => Ok(SharedData::Of(of.clone())),
        (Some(_), Some(_)) => Err(("", "expected exactly one of version and of, found both".into())),
        (None, None) => Err(("", "expected exactly one of version and of, found none".into())),
    }
}

/// Why a playbook can't be a rung of the heal ladder: its name means something else already.
pub(crate) fn taken(playbook: &Name, migrates: bool) -> Option<String> {
    let name = playbook.as_str();
    let is = if name == LOOK {
        "is how an executor is asked what it sees"
    } else if matches!(name, HOLD | GO_ON) {
        "is how an executor is asked to hold a release, or to let it go on"
    } else if migrates && Step::ALL.iter().any(|step| step.playbook() == name) {
        "is a step of the migration"
    } else {
        return None;
    };
    Some(format!("\"{name}\" {is}: expected a playbook that mends"))
}

impl From<WriterWord> for DualWriter {
    fn from(word: WriterWord) -> Self {
        match word {
            WriterWord::Database => Self::Database,
            WriterWord::Application => Self::Application,
        }
    }
}
