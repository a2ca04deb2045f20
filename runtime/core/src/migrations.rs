//! The migrations of all data bases that are targets, and what each means for services whose releases share the data.
//!
//! Here: which gate belongs to which target, and what is wanted of it until it is done. Not here: what a gate lets through
//! (`schema_gate`), and when a step is ordered (`target`).

use alloc::{collections::BTreeMap, string::ToString, vec::Vec};

use backstay_model::{Mono, Name, Rail, Schema, SchemaRange, TargetId, Ticket, Version};
use serde::{Deserialize, Serialize};

use crate::{GateRefusal, GateWish, Migration, Phase, SchemaGate, Step};

/// All of them, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrations(BTreeMap<TargetId, Migrating>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrating {
    /// What may be done.
    pub gate: SchemaGate,
    /// What a person ordered that was cut short: a good window has it go on.
    pub wanted: Option<Ordered>,
    /// The last step of which it is known how it ended, and whether it was done.
    pub last: Option<(Step, bool)>,
    /// When the run of the step that is in doubt ended.
    pub(crate) doubted: Option<Mono>,
}

/// A step that a person ordered and that isn't done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// What was ordered.
    pub wish: GateWish,
    /// The step that it came to. Where it would come to another by now, nobody ordered that.
    pub step: Step,
    /// By whom.
    pub who: Name,
    /// Runs in a row that ended without having worked for long.
    pub(crate) tries: u32,
}

impl Migrations {
    /// The gate of a data base.
    #[must_use]
    pub fn gate(&self, of: &TargetId) -> Option<&SchemaGate> {
        self.0.get(of).map(|migrating| &migrating.gate)
    }

    /// A migration as it stands.
    #[must_use]
    pub fn get(&self, of: &TargetId) -> Option<&Migrating> {
        self.0.get(of)
    }

    pub(crate) fn get_mut(&mut self, of: &TargetId) -> Option<&mut Migrating> {
        self.0.get_mut(of)
    }

    /// From now on this is what is planned, if nothing else is under way. Gives whether it is: what is under way doesn't change.
    pub(crate) fn plan(&mut self, of: &TargetId, migration: &Migration) -> bool {
        let gate = || Migrating {
            gate: SchemaGate::new(migration.clone()),
            wanted: None,
            last: None,
            doubted: None,
        };
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
        run: Ticket,
        of: &TargetId,
        release: &Version,
        range: Option<&SchemaRange>,
    ) -> Result<(), Rail> {
        if let Some(rail) = self.refusal(of, release, range) {
            return Err(rail);
        }
        match (self.get_mut(of), range) {
            (Some(migrating), Some(range)) => {
                migrating.gate.deploys(run, release, range).map_err(|refusal| told(&refusal))
            }
            (Some(migrating), None) => {
                migrating.gate.deploys_unsaid(run);
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    /// A run that brought something in has ended, wherever it was. Gives whose data what runs has to be looked at for.
    pub(crate) fn deployed(&mut self, run: Ticket) -> Vec<TargetId> {
        let ended =
            self.0.iter_mut().filter_map(|(of, migrating)| migrating.gate.deployed(run).then(|| of.clone()));
        ended.collect()
    }
}

/// A refusal as a rail.
pub(crate) fn told(refusal: &GateRefusal) -> Rail {
    Rail::Migration { why: refusal.to_string(), way_out: refusal.way_out().into_owned() }
}
