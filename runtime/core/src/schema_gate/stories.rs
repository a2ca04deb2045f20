//! A migration, told as a person would.
//!
//! Not here: all the other ways that it can go (`tests/model`: `schema`).

use alloc::string::ToString;

use super::*;

const OLD: SchemaRange = SchemaRange { from: 6, to: 7 };
const NEW: SchemaRange = SchemaRange { from: 7, to: 8 };
const RUN: Ticket = Ticket(9);
const DAY: Millis = Millis::from_secs(86_400);

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn gate(writer: DualWriter) -> SchemaGate {
    let migration = Migration {
        from: 7,
        to: 8,
        release: version("2.2"),
        flag: Name::parse("dual-write").unwrap(),
        writer,
        soak: DAY,
    };
    let mut gate = SchemaGate::new(migration);
    assert_eq!(gate.sees(&BEFORE, true), Sight { settled: None, found: Some(Phase::Before) });
    gate
}

const BEFORE: SchemaLook = SchemaLook {
    columns: Some(Columns::Before),
    old_code: Some(true),
    new_code: Some(false),
    dual_write: FlagState::Off,
    read_new: FlagState::Off,
};

/// Orders the step that has to come next, and lets it end well.
fn does(gate: &mut SchemaGate, wish: GateWish, step: Step) {
    assert_eq!(gate.wish(Mono(0), Ticket(1), wish), Ok(GateMove::Run(step)));
    assert!(gate.ended(Ticket(1), StepEnd::Done));
}

fn new_code_alone(gate: &mut SchemaGate) {
    gate.deploys(RUN, &version("2.2"), &NEW).unwrap();
    gate.deployed(RUN);
    gate.sees_code(Code::New);
}

fn soaking() -> SchemaGate {
    let mut gate = gate(DualWriter::Database);
    for step in [Step::Expand, Step::DualWriteOn, Step::Backfill] {
        does(&mut gate, GateWish::Next, step);
    }
    new_code_alone(&mut gate);
    does(&mut gate, GateWish::Next, Step::ReadNew);
    let soaks = Phase::Soaking { since: Mono(0) };
    assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Next), Ok(GateMove::Stands(soaks)));
    gate
}

#[test]
fn a_migration_goes_all_the_way_and_its_old_release_stays_possible_until_the_contract() {
    let mut gate = soaking();
    assert!(gate.admits(&OLD));
    assert_eq!(gate.facts(Some(&OLD)), Schema::Compatible(7));
    let early = gate.wish(Mono(DAY.0 - 1), Ticket(1), GateWish::Next).unwrap_err();
    assert_eq!(early.to_string(), "the soak lasts 1 ms more");
    let unsaid = gate.wish(Mono(DAY.0), Ticket(2), GateWish::Next).unwrap_err();
    assert_eq!(unsaid.to_string(), "the contract is next, and nothing leads back from it");
    assert_eq!(gate.wish(Mono(DAY.0), Ticket(2), GateWish::Contract), Ok(GateMove::Run(Step::Contract)));
    assert!(!gate.ended(Ticket(1), StepEnd::Failed), "a late word of another run");
    assert!(gate.ended(Ticket(2), StepEnd::Done));
    assert_eq!(gate.phase(), Phase::Contracted);
    assert_eq!(gate.facts(Some(&OLD)), Schema::OneWay(8));
    assert_eq!(gate.facts(None), Schema::Unknown);
}

#[test]
fn a_roll_back_past_the_contract_is_refused_with_the_way_out() {
    let mut gate = soaking();
    gate.wish(Mono(DAY.0), Ticket(1), GateWish::Contract).unwrap();
    // Begun is as good as done: nobody knows at which moment the columns go.
    assert!(!gate.admits(&OLD));
    gate.ended(Ticket(1), StepEnd::Done);
    let refused = gate.deploys(RUN, &version("2.1"), &OLD).unwrap_err();
    assert_eq!(refused.to_string(), "release 2.1 can't live with schema 8");
    assert_eq!(
        refused.way_out(),
        "keep 2.2 and switch off the flag of the feature at fault, or roll forward with a release that lives with schema 8, \
         or restore the data base from the copy that was taken before the contract"
    );
    assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Back).unwrap_err().why(), &Hindrance::PastContract);
    assert!(gate.admits(&NEW));
}

#[test]
fn old_code_that_comes_back_ends_the_soak() {
    let mut gate = soaking();
    gate.deploys(RUN, &version("2.1"), &OLD).unwrap();
    assert_eq!(gate.phase(), Phase::ReadNew);
    gate.deployed(RUN);
    let unknown = gate.wish(Mono(DAY.0), Ticket(1), GateWish::Next).unwrap_err();
    assert_eq!(unknown.why(), &Hindrance::CodeUnknown);
    gate.sees_code(Code::Both);
    assert_eq!(gate.wish(Mono(DAY.0), Ticket(1), GateWish::Next).unwrap_err().why(), &Hindrance::OldCode);
}

#[test]
fn a_contract_in_doubt_can_only_be_finished_or_looked_at() {
    let mut gate = soaking();
    gate.wish(Mono(DAY.0), Ticket(1), GateWish::Contract).unwrap();
    gate.ended(Ticket(1), StepEnd::InDoubt);
    assert_eq!(
        gate.wish(Mono(DAY.0), Ticket(2), GateWish::Back).unwrap_err().why(),
        &Hindrance::PastContract
    );
    let unsaid = gate.wish(Mono(DAY.0), Ticket(2), GateWish::Next).unwrap_err();
    assert_eq!(unsaid.why(), &Hindrance::Irrevocable, "not by any other name, either");
    assert_eq!(gate.wish(Mono(DAY.0), Ticket(2), GateWish::Contract), Ok(GateMove::Run(Step::Contract)));
    gate.ended(Ticket(2), StepEnd::InDoubt);
    // The columns are there: the way back is open again.
    assert!(gate.looked(false));
    assert!(gate.admits(&OLD));
    does(&mut gate, GateWish::Back, Step::ReadOld);
    does(&mut gate, GateWish::Back, Step::DualWriteOff);
    does(&mut gate, GateWish::Back, Step::ExpandUndo);
    assert_eq!(gate.phase(), Phase::Before);
}

#[test]
fn a_flag_that_was_turned_off_is_turned_on_again_before_anything_else() {
    let mut gate = soaking();
    gate.sees_flag(FlagState::Off);
    assert_eq!(gate.phase(), Phase::ReadNew);
    let refused = gate.deploys(RUN, &version("2.1"), &OLD).unwrap_err();
    assert_eq!(refused.way_out(), "run dual-write-on first: it brings the old columns back into step");
    does(&mut gate, GateWish::Back, Step::DualWriteOn);
    assert_eq!(gate.phase(), Phase::ReadNew);
    gate.sees_flag(FlagState::Unknown);
    assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Back).unwrap_err().why(), &Hindrance::FlagUnknown);
}

/// Code is about to read the new columns when somebody turns the flag off, and on again, and then the step fails. What was written
/// in between is in the old columns alone: nobody reads the new ones before they were filled again.
#[test]
fn what_was_written_past_a_step_that_failed_is_filled_in_again() {
    let mut gate = gate(DualWriter::Database);
    for step in [Step::Expand, Step::DualWriteOn, Step::Backfill] {
        does(&mut gate, GateWish::Next, step);
    }
    new_code_alone(&mut gate);
    assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Next), Ok(GateMove::Run(Step::ReadNew)));
    gate.sees_flag(FlagState::Off);
    gate.sees_flag(FlagState::On);
    assert!(gate.ended(Ticket(1), StepEnd::Failed));
    assert_eq!(gate.phase(), Phase::DualWrite);
    does(&mut gate, GateWish::Next, Step::Backfill);
    does(&mut gate, GateWish::Next, Step::ReadNew);
}

/// The soak is over and the old columns are about to go when old code is brought in by hand, and taken out again; then the step fails.
/// The old code had a day to show itself: that day begins anew.
#[test]
fn old_code_beside_a_contract_that_failed_begins_the_soak_anew() {
    let mut gate = soaking();
    assert_eq!(gate.wish(Mono(DAY.0), Ticket(2), GateWish::Contract), Ok(GateMove::Run(Step::Contract)));
    gate.sees_code(Code::Both);
    gate.sees_code(Code::New);
    assert!(gate.ended(Ticket(2), StepEnd::Failed));
    assert_eq!(gate.phase(), Phase::ReadNew);
    let soaks = Phase::Soaking { since: Mono(DAY.0) };
    assert_eq!(gate.wish(Mono(DAY.0), Ticket(3), GateWish::Next), Ok(GateMove::Stands(soaks)));
}

#[test]
fn where_only_new_code_writes_to_both_a_backfill_beside_old_code_proves_nothing() {
    let mut gate = gate(DualWriter::Application);
    does(&mut gate, GateWish::Next, Step::Expand);
    does(&mut gate, GateWish::Next, Step::DualWriteOn);
    assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Next).unwrap_err().why(), &Hindrance::OldCode);
    new_code_alone(&mut gate);
    assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Next), Ok(GateMove::Run(Step::Backfill)));
    // Nobody has to wait for a backfill with a roll-back. It is the backfill that has to be done again.
    gate.deploys(RUN, &version("2.1"), &OLD).unwrap();
    gate.ended(Ticket(1), StepEnd::Done);
    assert_eq!(gate.phase(), Phase::DualWrite);
    gate.deployed(RUN);
    gate.sees_code(Code::New);
    does(&mut gate, GateWish::Next, Step::Backfill);
    does(&mut gate, GateWish::Next, Step::ReadNew);
    let refused = gate.deploys(RUN, &version("2.1"), &OLD).unwrap_err();
    assert_eq!(refused.way_out(), "go back with read-old first");
}

#[test]
fn a_release_that_fits_neither_schema_or_comes_too_early_is_told_so() {
    let mut gate = gate(DualWriter::Database);
    let early = gate.deploys(RUN, &version("3.0"), &SchemaRange { from: 8, to: 9 }).unwrap_err();
    assert_eq!(early.to_string(), "release 3.0 can't live with schema 7");
    let stranger = gate.deploys(RUN, &version("0.1"), &SchemaRange { from: 1, to: 2 }).unwrap_err();
    assert_eq!(stranger.way_out(), "take a release that lives with schema 7 or 8");
}

#[test]
fn what_nobody_has_seen_may_be_anywhere() {
    let mut gate = SchemaGate::new(gate(DualWriter::Database).migration().clone());
    assert!(!gate.admits(&OLD) && gate.admits(&NEW));
    assert_eq!(gate.facts(Some(&NEW)), Schema::Unknown);
    let refused = gate.wish(Mono(0), Ticket(1), GateWish::Next).unwrap_err();
    assert_eq!(refused.to_string(), "nobody has seen yet how far the data base is");
    // Half a look is none: whether new columns are read decides.
    let half =
        SchemaLook { columns: Some(Columns::InStep), read_new: FlagState::Unknown, ..SchemaLook::NOTHING };
    assert_eq!(gate.sees(&half, true), Sight::default());
    assert!(!gate.is_seen());
}

#[test]
fn a_gate_that_forgot_everything_takes_it_from_a_look_and_from_no_further() {
    let plan = gate(DualWriter::Database).migration().clone();
    let seen =
        |columns, dual_write, read_new| SchemaLook { columns: Some(columns), dual_write, read_new, ..BEFORE };
    for (look, phase) in [
        (BEFORE, Phase::Before),
        (seen(Columns::Expanded, FlagState::Off, FlagState::Off), Phase::Expanded),
        (seen(Columns::Expanded, FlagState::On, FlagState::Off), Phase::DualWrite),
        // That it is in step says nothing of what old code writes this very moment.
        (seen(Columns::InStep, FlagState::On, FlagState::Off), Phase::DualWrite),
        (seen(Columns::InStep, FlagState::On, FlagState::On), Phase::ReadNew),
        (seen(Columns::Expanded, FlagState::Off, FlagState::On), Phase::ReadNew),
        (seen(Columns::Contracted, FlagState::Unknown, FlagState::Unknown), Phase::Contracted),
    ] {
        let mut gate = SchemaGate::new(plan.clone());
        assert_eq!(gate.sees(&look, true).found, Some(phase), "{look:?}");
    }
}

#[test]
fn a_step_in_doubt_is_settled_by_what_a_look_shows() {
    let mut gate = gate(DualWriter::Database);
    gate.wish(Mono(0), Ticket(1), GateWish::Next).unwrap();
    gate.ended(Ticket(1), StepEnd::InDoubt);
    assert_eq!(gate.sees(&SchemaLook { columns: None, ..BEFORE }, true), Sight::default());
    assert!(gate.is_in_doubt(), "nobody answered");
    assert_eq!(gate.sees(&BEFORE, true).settled, Some((Step::Expand, false)));
    gate.wish(Mono(0), Ticket(2), GateWish::Next).unwrap();
    gate.ended(Ticket(2), StepEnd::InDoubt);
    let expanded = SchemaLook { columns: Some(Columns::Expanded), ..BEFORE };
    assert_eq!(gate.sees(&expanded, true), Sight { settled: Some((Step::Expand, true)), found: None });
    assert_eq!(gate.phase(), Phase::Expanded);
}

/// On the way back the server that had code read the old columns again is killed, and nobody knows if it did. A look shows it.
#[test]
fn a_step_back_in_doubt_is_settled_by_what_code_reads() {
    let reads = |read_new| SchemaLook {
        columns: Some(Columns::InStep),
        dual_write: FlagState::On,
        read_new,
        old_code: Some(false),
        new_code: Some(true),
    };
    for (flag, done, phase) in
        [(FlagState::Off, true, Phase::Backfilled), (FlagState::On, false, Phase::ReadNew)]
    {
        let mut gate = soaking();
        assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Back), Ok(GateMove::Run(Step::ReadOld)));
        gate.ended(Ticket(1), StepEnd::InDoubt);
        assert_eq!(gate.sees(&reads(flag), true).settled, Some((Step::ReadOld, done)));
        assert!(!gate.is_in_doubt() && (gate.phase() == phase || !done), "{:?}", gate.phase());
    }
}

/// The same a phase earlier: dual-write is turned off, and nobody knows if it was.
#[test]
fn dual_write_off_in_doubt_is_settled_by_the_flag() {
    for (flag, done) in [(FlagState::Off, true), (FlagState::On, false)] {
        let mut gate = gate(DualWriter::Database);
        does(&mut gate, GateWish::Next, Step::Expand);
        does(&mut gate, GateWish::Next, Step::DualWriteOn);
        assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Back), Ok(GateMove::Run(Step::DualWriteOff)));
        gate.ended(Ticket(1), StepEnd::InDoubt);
        let look = SchemaLook { columns: Some(Columns::Expanded), dual_write: flag, ..BEFORE };
        assert_eq!(gate.sees(&look, true).settled, Some((Step::DualWriteOff, done)));
        assert_eq!(gate.phase(), if done { Phase::Expanded } else { Phase::DualWrite });
    }
}

/// New columns are read already when somebody turned the flag off, and the server is killed while it is turned on again. On is not enough
/// then: the old columns have to be in step, or the way back leads into a gap.
#[test]
fn dual_write_in_doubt_is_on_where_new_columns_are_read_once_the_old_ones_are_in_step() {
    for (columns, done) in [(Columns::InStep, true), (Columns::Expanded, false)] {
        let mut gate = soaking();
        gate.sees_flag(FlagState::Off);
        assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Next), Ok(GateMove::Run(Step::DualWriteOn)));
        gate.ended(Ticket(1), StepEnd::InDoubt);
        let (on, columns) = (FlagState::On, Some(columns));
        let look =
            SchemaLook { columns, dual_write: on, read_new: on, old_code: Some(false), new_code: Some(true) };
        assert_eq!(gate.sees(&look, true).settled, Some((Step::DualWriteOn, done)));
    }
}

#[test]
fn whoever_changes_the_schema_by_hand_is_noticed() {
    let mut gate = soaking();
    let gone = SchemaLook { columns: Some(Columns::Contracted), ..BEFORE };
    assert_eq!(gate.sees(&gone, true).found, Some(Phase::Contracted));
    assert!(!gate.admits(&OLD));
}

#[test]
fn a_step_in_doubt_is_not_done_by_whoever_wants_to_go_the_other_way() {
    let mut gate = gate(DualWriter::Database);
    gate.wish(Mono(0), Ticket(1), GateWish::Next).unwrap();
    gate.ended(Ticket(1), StepEnd::InDoubt);
    let refused = gate.wish(Mono(0), Ticket(2), GateWish::Back).unwrap_err();
    assert_eq!(refused.to_string(), "it is not known how step expand ended");
    assert_eq!(gate.wish(Mono(0), Ticket(2), GateWish::Next), Ok(GateMove::Run(Step::Expand)));
}

#[test]
fn a_contract_that_is_not_seen_may_still_come_about_until_nothing_of_it_is_at_work() {
    let mut gate = soaking();
    gate.wish(Mono(DAY.0), Ticket(1), GateWish::Contract).unwrap();
    gate.ended(Ticket(1), StepEnd::InDoubt);
    let both = SchemaLook {
        columns: Some(Columns::InStep),
        dual_write: FlagState::On,
        read_new: FlagState::On,
        old_code: Some(false),
        new_code: Some(true),
    };
    assert_eq!(gate.sees(&both, false), Sight::default());
    assert!(!gate.admits(&OLD));
    assert_eq!(gate.sees(&both, true).settled, Some((Step::Contract, false)));
    assert!(gate.admits(&OLD));
}

#[test]
fn two_services_that_bring_code_in_at_once_do_not_end_each_others_deployment() {
    let mut gate = gate(DualWriter::Application);
    does(&mut gate, GateWish::Next, Step::Expand);
    does(&mut gate, GateWish::Next, Step::DualWriteOn);
    gate.deploys(RUN, &version("2.1"), &OLD).unwrap();
    // Another service reports new code, and a look sees no old code yet.
    gate.found_deployed(Some(&NEW));
    gate.sees_code(Code::New);
    assert_eq!(gate.wish(Mono(0), Ticket(1), GateWish::Next).unwrap_err().why(), &Hindrance::OldCode);
    assert!(!gate.deployed(Ticket(77)), "whose run brought nothing in");
    assert!(gate.deployed(RUN));
    gate.sees_code(Code::New);
    does(&mut gate, GateWish::Next, Step::Backfill);
}

#[test]
fn old_code_that_somebody_let_out_ends_the_soak_before_anybody_looks() {
    let mut gate = soaking();
    gate.found_deployed(Some(&OLD));
    assert_eq!((gate.phase(), gate.code()), (Phase::ReadNew, Code::Unknown));
}

#[test]
fn old_code_that_was_seen_counts_whatever_else_was_not() {
    let mut gate = soaking();
    gate.sees(&SchemaLook { old_code: Some(true), ..SchemaLook::NOTHING }, true);
    assert_eq!(gate.phase(), Phase::ReadNew);
}

#[test]
fn whoever_lets_code_read_other_columns_by_hand_is_noticed() {
    let mut gate = gate(DualWriter::Database);
    does(&mut gate, GateWish::Next, Step::Expand);
    let look = SchemaLook { columns: Some(Columns::Expanded), read_new: FlagState::On, ..BEFORE };
    assert_eq!(gate.sees(&look, true).found, Some(Phase::ReadNew));
    // Old columns may lack what was written since.
    assert!(!gate.admits(&OLD));
}

#[test]
fn while_nobody_said_what_is_being_brought_in_nobody_knows_which_code_runs() {
    let mut gate = gate(DualWriter::Application);
    gate.deploys_unsaid(RUN);
    gate.sees_code(Code::New);
    assert_eq!(gate.code(), Code::Unknown);
    assert!(gate.deployed(RUN));
    gate.sees_code(Code::New);
    assert_eq!(gate.code(), Code::New);
}
