//! `cargo xtask bench judge`: false roll-backs and minutes to detect, by rule and scenario.

use std::{env, process::ExitCode, time::Instant};

use backstay_test_judge::trial::{SCENARIOS, SEED, Table, run};

const ABOUT: &str = "\
judge: how often a rule rolls back a healthy hour, and how many minutes it takes to see a regression

Two sides serve requests for an hour, in windows of 10 s; all rules judge the same hours. Beside policy-sequential (asked
after each window, with a day of the same world before the trial) and policy-tree (minutes, limit 1 %) stand the usual
rules in our own words: Argo Rollouts' failure limit, Flagger's count of failed checks, Kayenta's Mann-Whitney test.

cargo xtask bench judge -- --hours 1500

  --hours N        hours of each healthy scenario; a third of it of each regression (1500; 10 to 100000)
  --seed N         where chance begins (20261129)
  --only N         this scenario alone, by its number in trial.rs

Exit code: 0 it was measured, and the last lines say which goals were kept; 1 it could not be.";

/// Regressions need fewer hours: a median is steadier than a rare event.
const REGRESSION_SHARE: u64 = 3;

struct Arguments {
    hours: u64,
    seed: u64,
    only: Option<u64>,
}

fn read(words: impl IntoIterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments { hours: 1500, seed: SEED, only: None };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let number = |value: Option<String>| {
            value.and_then(|value| value.parse().ok()).ok_or_else(|| format!("{word} wants a number"))
        };
        match word.as_str() {
            "--hours" => arguments.hours = number(words.next())?,
            "--seed" => arguments.seed = number(words.next())?,
            "--only" => arguments.only = Some(number(words.next())?),
            _ => return Err(format!("there is no option {word}; --help shows all")),
        }
    }
    if let Some(only) = arguments.only
        && !SCENARIOS.iter().any(|(number, ..)| *number == only)
    {
        return Err(format!("there is no scenario {only}"));
    }
    if !(10..=100_000).contains(&arguments.hours) {
        return Err("--hours is a number from 10 to 100000".into());
    }
    Ok(Some(arguments))
}

fn main() -> ExitCode {
    let arguments = match read(env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{ABOUT}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    let began = Instant::now();
    let Arguments { hours, seed, only } = arguments;
    let mut table = Table::default();
    let chosen = |number: &u64| only.is_none_or(|only| only == *number);
    for (number, scenario, goal) in SCENARIOS.iter().filter(|(number, ..)| chosen(number)) {
        let hours = if scenario.is_healthy() { hours } else { hours.div_ceil(REGRESSION_SHARE) };
        table.add(scenario, *goal, run(seed, *number, scenario, hours));
    }
    println!("judge: {hours} hours of each healthy scenario, seed {seed}\n\n{}", table.text());
    println!("took {:.0} s", began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_says_what_is_wrong_with_it() {
        let read = |line: &str| read(line.split_whitespace().map(Into::into));
        assert_eq!(read("--hours 20").map(|asked| asked.map(|a| (a.hours, a.seed))), Ok(Some((20, SEED))));
        assert!(read("--help").is_ok_and(|asked| asked.is_none()));
        for (line, told) in [
            ("--hours 9", "--hours is a number from 10 to 100000"),
            ("--hours x", "--hours wants a number"),
            ("--seed", "--seed wants a number"),
            ("--only 99", "there is no scenario 99"),
            ("--laps 3", "there is no option --laps; --help shows all"),
        ] {
            assert_eq!(read(line).err().as_deref(), Some(told));
        }
    }
}
