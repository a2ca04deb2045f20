//! The migrations of all data bases that are targets, and what each means for services whose releases share the data.
//!
//! Here: which gate belongs to which target, and what is wanted of it until it is done. Not here: what a gate lets through
//! (`schema_gate`), and when a step is ordered (`target`).

use alloc::{collections::BTreeMap, string::ToString};

use backstay_model::{Name, Rail, Schema, SchemaRange, TargetId, Version};
use serde::{Deserialize, Serialize};

use crate::{GateRefusal, GateWish, Migration, Phase, SchemaGate};

/// All of them, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrations(BTreeMap<TargetId, Migrating>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrating {
    /// What may be done.
    pub gate: SchemaGate,
    /// What a person ordered that isn't done, and who: a good window has it go on.
    pub wanted: Option<(GateWish, Name)>,
}

impl Migrations {
    /// The gate of a data base.
    #[must_use]
    pub fn gate(&self, of: &TargetId) -> Option<&SchemaGate> {
        self.0.get(of).map(|migrating| &migrating.gate)
    }

    /// What a person ordered of it that isn't done, and who.
    #[must_use]
    pub fn wanted(&self, of: &TargetId) -> Option<&(GateWish, Name)> {
        self.0.get(of)?.wanted.as_ref()
    }

    pub(crate) fn get_mut(&mut self, of: &TargetId) -> Option<&mut Migrating> {
        self.0.get_mut(of)
    }

    /// From now on this is what is planned, if nothing else is under way. Gives whether it is: what is under way doesn't change.
    pub(crate) fn plan(&mut self, of: &TargetId, migration: &Migration) -> bool {
        let gate = || Migrating { gate: SchemaGate::new(migration.clone()), wanted: None };
        let known = self.0.entry(of.clone()).or_insert_with(gate);
        let at_an_end = matches!(known.gate.phase(), Phase::Before | Phase::Contracted);
        if known.gate.migration() == migration {
            return true;
        }
        let is_free = at_an_end && known.gate.step().is_none();
        if is_free {
            *known = gate();
        }
        is_free
    }

    /// Whether a release with this range may run on the data of `of`. Where nobody said what it can live with, it may until
    /// a migration begins.
    pub(crate) fn admits(&self, of: &TargetId, range: Option<&SchemaRange>) -> bool {
        let Some(gate) = self.gate(of) else { return true };
        match range {
            Some(range) => gate.admits(range),
            None => gate.is_seen() && gate.phase() == Phase::Before && gate.step().is_none(),
        }
    }

    /// What policies are told.
    pub(crate) fn facts(&self, of: &TargetId, home: Option<&SchemaRange>) -> Schema {
        self.gate(of).map_or(Schema::Unknown, |gate| gate.facts(home))
    }

    /// Why a release may not run on the data of `of`, and the way out.
    pub(crate) fn refusal(
        &self,
        of: &TargetId,
        release: &Version,
        range: Option<&SchemaRange>,
    ) -> Option<Rail> {
        if self.admits(of, range) {
            return None;
        }
        match range {
            Some(range) => self.gate(of)?.fits(release, range).err().map(|refusal| told(&refusal)),
            None => Some(Rail::Migration {
                why: alloc::format!("nobody said which schemas release {release} can live with"),
                way_out: alloc::format!("say so with --schema: the data of {of} is being migrated"),
            }),
        }
    }

    /// A release is about to be brought in here, by us.
    ///
    /// # Errors
    /// It can't live with the data.
    pub(crate) fn deploys(
        &mut self,
        of: &TargetId,
        release: &Version,
        range: Option<&SchemaRange>,
    ) -> Result<(), Rail> {
        if let Some(rail) = self.refusal(of, release, range) {
            return Err(rail);
        }
        match (self.get_mut(of), range) {
            (Some(migrating), Some(range)) => {
                migrating.gate.deploys(release, range).map_err(|refusal| told(&refusal))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Something was brought in, by us or by somebody else: what runs has to be looked at. Gives whether there is a gate.
    pub(crate) fn deployed(&mut self, of: &TargetId) -> bool {
        let migrating = self.get_mut(of);
        migrating.map(|migrating| migrating.gate.deployed()).is_some()
    }
}

/// A refusal as a rail.
pub(crate) fn told(refusal: &GateRefusal) -> Rail {
    Rail::Migration { why: refusal.to_string(), way_out: refusal.way_out().into_owned() }
}
