//! A data base and a service that shares its data, told as a person would.
//!
//! Not here: every order of events (the gate's model check), and real steps (`tests/real`).

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use backstay_model::{Action, Millis, Name, Outcome, Schema, SchemaRange, Task, Transience, Version};

use super::super::{
    Hold, SharedData, Signals, TargetEffect, TargetInput, TargetSettings, Wish, Work,
    world::{ROLL_BACK, World, release, settings, target},
};
use crate::{
    Allowance, Allowances, Columns, DualWriter, Estate, FlagState, GateMove, GateWish, Migration, Phase,
    Query, SchemaLook, Step,
};

const OLD: SchemaRange = SchemaRange { from: 6, to: 7 };
const NEW: SchemaRange = SchemaRange { from: 7, to: 8 };
const SOAK: Millis = Millis::from_secs(86_400);

/// What there is to be seen.
struct Data {
    world: World,
    look: SchemaLook,
}

fn plan() -> Migration {
    Migration {
        from: 7,
        to: 8,
        release: Version::parse("2.2").unwrap(),
        flag: Name::parse("dual-write").unwrap(),
        writer: DualWriter::Database,
        soak: SOAK,
    }
}

impl Data {
    /// A data base before its migration, and a shop on it whose release 2.1 is good.
    fn base() -> Self {
        let mut world = World::new();
        world.watches("data", TargetSettings { migration: Some(plan()), looks: true, ..settings() });
        let of = SharedData::Of(target("data"));
        world.watches("shop", TargetSettings { schema: Some(of), ..settings() });
        let look = SchemaLook {
            columns: Some(Columns::Before),
            old_code: Some(true),
            new_code: Some(false),
            dual_write: FlagState::Off,
            read_new: FlagState::Off,
        };
        let mut data = Self { world, look };
        data.looks();
        data.world.windows("data", 1);
        data.releases("2.1", OLD);
        data.looks();
        data
    }

    fn releases(&mut self, version: &str, range: SchemaRange) {
        self.world.deploys_for("shop", version, 1000, Some(range));
        self.world.windows("shop", 3);
        assert!(self.world.state("shop").out().is_some_and(|out| out.confirmed), "{:#?}", self.world.told);
    }

    /// The look that was asked for comes.
    fn looks(&mut self) {
        assert!(self.world.looks.iter().any(|of| of == "data"), "{:#?}", self.world.told);
        self.sees();
    }

    /// A look comes, as one does at the end of each window.
    fn sees(&mut self) {
        self.world.looks.clear();
        self.world.step("data", TargetInput::Looked(self.look));
    }

    fn orders(&mut self, wish: GateWish) {
        self.world.wishes("data", Wish::Migrate(wish));
    }

    /// The step that was ordered ends well, and shows.
    fn does(&mut self, step: Step) {
        let task = self.world.run_ends();
        assert_eq!(task, Task::Heal { playbook: Name::parse(step.playbook()).unwrap() });
        self.shows(step);
        self.looks();
    }

    fn shows(&mut self, step: Step) {
        match step {
            Step::Expand => self.look.columns = Some(Columns::Expanded),
            Step::ExpandUndo => self.look.columns = Some(Columns::Before),
            Step::DualWriteOn => self.look.dual_write = FlagState::On,
            Step::DualWriteOff => self.look.dual_write = FlagState::Off,
            Step::Backfill => self.look.columns = Some(Columns::InStep),
            Step::ReadNew => self.look.read_new = FlagState::On,
            Step::ReadOld => self.look.read_new = FlagState::Off,
            Step::Contract => self.look.columns = Some(Columns::Contracted),
        }
    }

    /// The server starts again with what it knew of the migration, and without what it knew of the data base.
    fn loses_the_targets_state(&mut self) {
        let (estate, span) = (&self.world.estate, Millis::from_secs(3600));
        let allowed = |switches| Allowance { switches, span };
        let allowances = Allowances { estate: allowed(20), domain: allowed(5) };
        let states = estate.states().filter(|(id, _)| **id != target("data"));
        let states = states.map(|(id, state)| (id.clone(), state.clone())).collect();
        self.world.estate = Estate::restore(estate.shared(), states, estate.migrations().clone(), allowances);
        self.world.restarts();
    }

    fn goes(&mut self, step: Step) {
        self.orders(GateWish::Next);
        self.does(step);
    }

    fn phase(&self) -> Phase {
        self.world.estate.gate(&target("data")).unwrap().phase()
    }

    /// Up to the soak, with 2.2 alone.
    fn soaks() -> Self {
        let mut data = Self::base();
        for step in [Step::Expand, Step::DualWriteOn, Step::Backfill] {
            data.goes(step);
        }
        data.releases("2.2", NEW);
        (data.look.old_code, data.look.new_code) = (Some(false), Some(true));
        data.looks();
        data.goes(Step::ReadNew);
        data.orders(GateWish::Next);
        assert!(matches!(data.phase(), Phase::Soaking { .. }), "{:#?}", data.world.told);
        data
    }

    fn contracted() -> Self {
        let mut data = Self::soaks();
        data.world.waits(SOAK);
        data.orders(GateWish::Contract);
        data.does(Step::Contract);
        assert_eq!(data.phase(), Phase::Contracted);
        data
    }

    fn told(&self, what: &str) -> Vec<&String> {
        self.world.told.iter().filter(|told| told.contains(what)).collect()
    }
}

#[test]
fn a_data_base_goes_all_the_way_by_orders_of_people_and_each_of_them_is_in_writing() {
    let data = Data::contracted();
    let heeds = |id| data.world.estate.target(&target(id)).unwrap().heeds(&Wish::Migrate(GateWish::Next));
    assert_eq!(heeds("data"), None, "nobody is told that there is none");
    assert_eq!(heeds("shop"), Some("no migration is configured for it"));
    let done = data.told("is done: is ");
    assert_eq!(done.len(), 5, "{:#?}", data.world.told);
    assert!(done[4].contains("contract is done: is contracted"));
    assert_eq!(data.told("ann did by hand: take the migration a step further: looked").len(), 5);
    // Evidence says who wanted it, and not that a policy did.
    assert_eq!(data.told("heal by expand; ann said so").len(), 1, "{:#?}", data.world.told);
}

#[test]
fn the_release_before_can_be_brought_back_until_the_contract_and_then_the_way_out_is_told() {
    let mut data = Data::soaks();
    data.world.wishes("shop", Wish::RollBack);
    assert_eq!(data.world.run_ends(), Task::GoHome { release: release("2.1") });
    assert_eq!(data.world.runs_version("shop"), "2.1");
    // Old code is back, so the soak has ended.
    assert_eq!(data.phase(), Phase::ReadNew);
    data.looks();

    let mut data = Data::contracted();
    data.world.says("shop", Some(ROLL_BACK));
    data.world.windows("shop", 1);
    let expected =
        "release 2.1 can't live with schema 8; the way out: keep 2.2 and switch off the flag of the feature";
    assert!(data.world.runs.is_empty());
    assert!(data.world.pages.iter().any(|page| page.starts_with(expected)), "{:#?}", data.world.pages);
}

/// A policy that would have the shop brought back is shown what that would meet: before the contract a schema that the release before
/// lives with, after it one that nothing leads back from.
#[test]
fn a_policy_is_shown_whether_a_way_leads_back() {
    let shown = |mut data: Data| {
        data.world.waits(Millis::from_secs(60));
        let (now, input) = (data.world.now, TargetInput::Window(Signals::default()));
        let effects = data.world.estate.step(now, &target("shop"), input);
        effects.into_iter().find_map(|effect| {
            if let TargetEffect::Ask { facts, .. } = effect { Some(facts.schema) } else { None }
        })
    };
    assert_eq!(shown(Data::soaks()), Some(Schema::Compatible(7)));
    assert_eq!(shown(Data::contracted()), Some(Schema::OneWay(8)));
}

#[test]
fn a_pipeline_is_told_before_it_lets_out_what_the_data_is_nothing_for() {
    let mut data = Data::contracted();
    data.world.windows("shop", 1);
    let asks = |data: &Data, version: &str, schema| {
        let query = Query {
            release: Some(release(version).digest),
            version: Some(Version::parse(version).unwrap()),
            schema,
            stage: None,
        };
        data.world.estate.advise(data.world.now, &target("shop"), &query).unwrap()
    };
    let old = asks(&data, "2.1.1", Some(OLD));
    assert_eq!(old.action, Action::Pause);
    assert!(old.reasons[0].starts_with("release 2.1.1 can't live with schema 8; the way out: "), "{old:?}");
    let unsaid = asks(&data, "2.3", None);
    assert_eq!(unsaid.action, Action::Pause);
    assert_eq!(
        unsaid.reasons[0],
        "nobody said which schemas release 2.3 can live with; the way out: say so with --schema: the data of data is being migrated"
    );
    assert_eq!(asks(&data, "2.3", Some(NEW)).action, Action::Proceed);
    // What is out said so when it went out.
    assert_eq!(asks(&data, "2.2", None).action, Action::Proceed);
}

#[test]
fn who_lets_out_a_release_past_the_gate_is_told_and_what_runs_is_looked_at() {
    let mut data = Data::contracted();
    data.world.pages.clear();
    data.world.deploys_for("shop", "2.0", 100, Some(OLD));
    assert_eq!(data.world.pages.len(), 1, "{:#?}", data.world.pages);
    assert!(data.world.pages[0].starts_with("release 2.0 can't live with schema 8"));
    assert!(matches!(data.world.state("shop").hold(), Hold::Held { .. }), "it can still be brought back");
    data.looks();
}

#[test]
fn a_step_that_is_cut_short_goes_on_with_the_next_good_window_and_not_before() {
    let mut data = Data::base();
    data.goes(Step::Expand);
    data.goes(Step::DualWriteOn);
    data.orders(GateWish::Next);
    data.world.fails_for_now();
    data.looks();
    assert_eq!(data.told("backfill was not done: is dual write").len(), 1, "{:#?}", data.world.told);
    // The data base isn't well: it is left in peace.
    data.world.says("data", Some(Action::Freeze));
    data.world.windows("data", 3);
    assert!(data.world.runs.is_empty());
    data.world.says("data", Some(Action::Proceed));
    data.world.windows("data", 1);
    data.does(Step::Backfill);
    assert_eq!(data.phase(), Phase::Backfilled);
    data.world.windows("data", 3);
    assert!(data.world.runs.is_empty(), "it was one step that was ordered");
}

#[test]
fn a_step_that_failed_for_good_is_a_persons() {
    let mut data = Data::base();
    data.orders(GateWish::Next);
    let why = String::from("command expand says no");
    data.world.run_ends_with(Outcome::Failed { transience: Transience::Permanent, why });
    assert!(data.world.pages[0].contains("command expand says no"), "{:#?}", data.world.pages);
    data.looks();
    data.world.windows("data", 3);
    assert!(data.world.runs.is_empty());
    assert_eq!(data.phase(), Phase::Before);
}

#[test]
fn a_step_back_is_open_when_windows_are_bad_and_a_step_forward_is_not() {
    let mut data = Data::base();
    data.goes(Step::Expand);
    data.world.says("data", Some(Action::Freeze));
    data.world.windows("data", 1);
    data.orders(GateWish::Next);
    assert!(data.world.runs.is_empty());
    assert_eq!(data.told("migration: is kept where it is: the policy said so").len(), 1);
    data.orders(GateWish::Back);
    data.does(Step::ExpandUndo);
    assert_eq!(data.phase(), Phase::Before);
}

#[test]
fn one_step_at_a_time() {
    let mut data = Data::base();
    data.orders(GateWish::Next);
    let again = data.world.estate.preview_step(data.world.now, &target("data"), GateWish::Next).unwrap();
    assert!(again.unwrap_err().to_string().starts_with("step expand is under way"));
    data.orders(GateWish::Back);
    assert_eq!(data.world.runs.len(), 1);
}

#[test]
fn a_killed_server_goes_on_with_the_step_and_what_nobody_knows_of_is_in_doubt() {
    let mut data = Data::base();
    data.orders(GateWish::Next);
    data.world.restarts();
    data.does(Step::Expand);
    assert_eq!(data.phase(), Phase::Expanded);

    // Taken out of the configuration in the middle of a step, it comes back with a step in doubt, and a look settles it.
    data.orders(GateWish::Next);
    data.world.forgets("data");
    let settings = TargetSettings { migration: Some(plan()), looks: true, ..settings() };
    data.world.watches("data", settings);
    assert!(data.world.estate.gate(&target("data")).unwrap().is_in_doubt());
    data.shows(Step::DualWriteOn);
    data.looks();
    assert_eq!(data.phase(), Phase::DualWrite);
    assert!(matches!(data.world.state("data").work(), Work::Idle));
}

/// What a server knew of the data base is lost in the middle of a step, and what it knew of the migration is not. It doesn't
/// take the step for done, nor for not done: it looks.
#[test]
fn a_step_whose_run_was_forgotten_is_in_doubt_until_a_look_shows() {
    let mut data = Data::base();
    data.orders(GateWish::Next);
    data.loses_the_targets_state();
    assert!(data.world.runs.is_empty(), "nobody knows of it any more");
    assert!(data.world.estate.gate(&target("data")).unwrap().is_in_doubt());
    data.shows(Step::Expand);
    data.looks();
    assert_eq!(data.phase(), Phase::Expanded);
    data.goes(Step::DualWriteOn);
}

#[test]
fn a_plan_does_not_change_on_the_way() {
    let mut data = Data::base();
    data.goes(Step::Expand);
    let other = Migration { soak: Millis(1), ..plan() };
    let changed = TargetSettings { migration: Some(other), looks: true, ..settings() };
    data.world.watches("data", changed.clone());
    assert_eq!(data.told("another plan was read").len(), 1);
    let next = data.world.estate.preview_step(data.world.now, &target("data"), GateWish::Next).unwrap();
    assert_eq!(next, Ok(GateMove::Run(Step::DualWriteOn)));
    data.orders(GateWish::Back);
    data.does(Step::ExpandUndo);
    data.world.watches("data", changed);
    assert_eq!(data.world.estate.gate(&target("data")).unwrap().migration().soak, Millis(1));
}

#[test]
fn a_schema_that_somebody_changed_by_hand_freezes_the_migration() {
    let mut data = Data::base();
    data.look.columns = Some(Columns::Contracted);
    data.sees();
    data.world.windows("data", 1);
    assert_eq!(data.world.pages.len(), 1, "{:#?}", data.world.pages);
    assert!(data.world.pages[0].contains("it was before, and is contracted"));
    assert!(matches!(data.world.state("data").hold(), Hold::Frozen { .. }));
}

#[test]
fn who_freezes_has_called_off_what_was_ordered() {
    for called_off in [Wish::Freeze, Wish::Thaw] {
        let mut data = Data::base();
        data.orders(GateWish::Next);
        data.world.fails_for_now();
        data.looks();
        data.world.wishes("data", called_off);
        data.world.wishes("data", Wish::Thaw);
        data.world.windows("data", 3);
        assert!(data.world.runs.is_empty(), "{:#?}", data.world.told);
    }
}

#[test]
fn a_contract_is_ordered_anew_each_time() {
    let mut data = Data::soaks();
    data.world.waits(SOAK);
    data.orders(GateWish::Contract);
    data.world.fails_for_now();
    assert_eq!(data.world.pages.len(), 1, "a person is told: {:#?}", data.world.pages);
    data.looks();
    assert!(data.world.estate.gate(&target("data")).unwrap().is_in_doubt(), "it may still come about");
    data.world.windows("data", 3);
    assert!(data.world.runs.is_empty());
    data.sees();
    assert!(matches!(data.phase(), Phase::Soaking { .. }));
}

#[test]
fn what_was_ordered_is_one_step_and_not_whatever_comes_next() {
    let mut data = Data::base();
    data.orders(GateWish::Next);
    data.world.fails_for_now();
    data.looks();
    // Somebody does it by hand. A person is told, and looks.
    data.shows(Step::Expand);
    data.world.windows("data", 1);
    let _ = data.world.run_ends();
    assert_eq!(data.phase(), Phase::Expanded);
    data.looks();
    data.orders(GateWish::Next);
    data.world.fails_for_now();
    data.looks();
    data.look.columns = Some(Columns::Before);
    data.world.step("data", TargetInput::Looked(data.look));
    assert_eq!(data.phase(), Phase::Before);
    data.world.wishes("data", Wish::Thaw);
    data.world.windows("data", 3);
    assert!(data.world.runs.is_empty(), "{:#?}", data.world.told);
}

#[test]
fn a_step_that_gets_nowhere_is_tried_five_times_and_then_a_persons() {
    let mut data = Data::base();
    data.orders(GateWish::Next);
    for _ in 0..5 {
        data.world.fails_for_now();
        data.looks();
        data.world.windows("data", 1);
    }
    assert!(data.world.runs.is_empty(), "{:#?}", data.world.told);
    assert_eq!(data.world.pages.len(), 1);
    // One that worked for long is on its way, however often it is cut short.
    let mut data = Data::base();
    data.orders(GateWish::Next);
    for _ in 0..9 {
        data.world.waits(Millis::from_secs(90));
        data.world.fails_for_now();
        data.looks();
        data.world.windows("data", 1);
    }
    assert_eq!((data.world.runs.len(), data.world.pages.len()), (1, 0));
}

#[test]
fn a_restart_knows_nothing_of_code_and_flags() {
    let mut data = Data::base();
    data.goes(Step::Expand);
    data.world.restarts();
    data.orders(GateWish::Next);
    assert!(data.world.runs.is_empty());
    assert_eq!(data.told("it is not known whether flag dual-write is on").len(), 1, "{:#?}", data.world.told);
    data.looks();
    data.goes(Step::DualWriteOn);
}

#[test]
fn a_migration_that_is_configured_no_more_goes_no_further() {
    let mut data = Data::base();
    data.orders(GateWish::Next);
    data.world.fails_for_now();
    data.world.watches("data", settings());
    data.world.windows("data", 3);
    assert!(data.world.runs.is_empty());
    assert!(data.world.estate.gate(&target("data")).is_none());
}

#[test]
fn which_schemas_a_release_can_live_with_can_be_told_later() {
    let mut data = Data::base();
    data.goes(Step::Expand);
    data.world.deploys("shop", "2.2", 1000);
    assert!(data.world.pages[0].starts_with("nobody said which schemas release 2.2 can live with"));
    data.world.deploys_for("shop", "2.2", 1000, Some(NEW));
    assert_eq!(data.world.state("shop").out().and_then(|out| out.schema), Some(NEW));
}
