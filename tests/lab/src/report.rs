//! What stories came to: a table for a person, or JSON for a program.
//!
//! Here: both forms, and the exit code. Not here: telling the stories.

use std::time::Duration;

use serde_json::{Value, json};

/// How one story ended.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The end that it has to come to.
    pub(crate) end: &'static str,
    pub(crate) took: Duration,
    /// What was seen, or what went wrong.
    pub(crate) came: Result<Vec<String>, String>,
}

/// For a person.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut lines = vec![format!("{:<12} {:<56} {:>7}  END", "STORY", "WHAT HAPPENS", "TIME")];
    for outcome in outcomes {
        let end = match &outcome.came {
            Ok(_) => outcome.end.to_owned(),
            Err(why) => format!("FAILED: {}", why.lines().next().unwrap_or_default()),
        };
        let (name, about, took) = (outcome.name, outcome.about, outcome.took.as_secs());
        lines.push(format!("{name:<12} {about:<56} {took:>5} s  {end}"));
    }
    let failed = outcomes.iter().filter(|outcome| outcome.came.is_err()).count();
    let took: u64 = outcomes.iter().map(|outcome| outcome.took.as_secs()).sum();
    lines.push(format!("{} stories came to their end, {failed} did not; {took} s", outcomes.len() - failed));
    lines.join("\n")
}

/// For a program.
pub(crate) fn told(outcomes: &[Outcome]) -> Value {
    let stories = outcomes.iter().map(|outcome| {
        let (seen, why) = match &outcome.came {
            Ok(seen) => (Some(seen), None),
            Err(why) => (None, Some(why)),
        };
        json!({
            "story": outcome.name, "about": outcome.about, "end": outcome.end, "seconds": outcome.took.as_secs_f64(),
            "passed": outcome.came.is_ok(), "seen": seen, "why": why,
        })
    });
    json!({ "version": 1, "stories": stories.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(came: Result<Vec<String>, String>) -> Outcome {
        Outcome {
            name: "good",
            about: "a good release",
            end: "confirmed",
            took: Duration::from_secs(61),
            came,
        }
    }

    #[test]
    fn what_failed_is_not_told_as_its_end() {
        let all = [outcome(Ok(vec!["seen".into()])), outcome(Err("waited in vain\nfor it".into()))];
        let shown = table(&all);
        assert!(
            shown.contains("61 s  confirmed") && shown.contains("61 s  FAILED: waited in vain"),
            "{shown}"
        );
        assert!(shown.ends_with("1 stories came to their end, 1 did not; 122 s"), "{shown}");
        let told = told(&all);
        assert_eq!(
            (&told["stories"][0]["passed"], &told["stories"][1]["passed"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(told["stories"][1]["why"], "waited in vain\nfor it");
    }
}
