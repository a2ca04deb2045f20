//! The power goes at every write that a device makes, in every course of its life: nothing that it said is lost, something
//! always boots, and the course ends as it does without a cut.
//!
//! Enumerated, not drawn. `BACKSTAY_TRIALS` says how many restarts of each course are cut again at each of their points;
//! `BACKSTAY_LONG` asks for 8, and for more ways in which a disk may keep a part.

use std::{env, path::Path};

use backstay_test_faults::power::{
    course::COURSES,
    cuts::{Effort, cut_everywhere},
    recorded::can_record,
};

const AGAIN: usize = 1;
const AGAIN_LONG: usize = 8;

#[test]
fn no_power_cut_loses_what_was_said_and_each_course_ends_as_without_it() {
    if let Err(why) = can_record() {
        println!("skipped, because {why}");
        return;
    }
    let is_long = env::var_os("BACKSTAY_LONG").is_some();
    let usual = if is_long { AGAIN_LONG } else { AGAIN };
    let again =
        env::var("BACKSTAY_TRIALS").map_or(usual, |many| many.parse().expect("BACKSTAY_TRIALS is a number"));
    let effort = Effort { seeds: if is_long || again > AGAIN { 8 } else { 1 }, again };
    // Nothing here waits for a disk: what is durable is worked out.
    let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let program = Path::new(env!("CARGO_BIN_EXE_pump-life"));
    let (mut bad, mut told, mut sums) = (0, Vec::new(), [0; 4]);
    for course in COURSES {
        let report = cut_everywhere(course, program, base.path(), effort).expect("it works without a cut");
        println!("{}: {report}", course.name);
        // A course in which nothing is written proves nothing.
        assert!(report.calls > 20 && report.states > 20, "{}: {report}", course.name);
        sums[0] += report.points + report.points_again;
        sums[1] += report.cuts;
        sums[2] += report.states;
        sums[3] += report.states_again;
        bad += report.bad;
        told.extend(report.told);
    }
    let [points, cuts, states, again] = sums;
    println!(
        "summary: {} courses, power cut at {points} points, {cuts} cuts, {states} states and {again} in restarts that were cut; \
         {bad} bad ends",
        COURSES.len()
    );
    assert!(told.is_empty(), "{bad} bad ends\n{}", told.join("\n"));
}
