//! What was measured, as a table for people and as JSON for machines.
//!
//! Both tell the same: where, with what, the rows, and last whether the budgets were kept.

use serde_json::{Map, Value, json};

use crate::{
    figures::Spread,
    machine::{Machine, Versions},
};

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// As a JSON key, with its unit: `p50_us`.
    pub key: &'static str,
    /// Above the column.
    pub title: &'static str,
}

/// A value of the table.
#[derive(Clone, Debug)]
pub enum Cell {
    /// One figure, with so many decimals.
    Figure(f64, usize),
    /// The rounds of a figure, with so many decimals.
    Rounds(Spread, usize),
    /// There is no such figure.
    None,
}

/// What was to be reached.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Budget {
    fn is_kept_by(self, reached: f64) -> bool {
        match self {
            Self::AtLeast(least) => reached >= least,
            Self::AtMost(most) => reached <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {least}"),
            Self::AtMost(most) => format!("at most {most}"),
        }
    }
}

struct Held {
    what: String,
    budget: Budget,
    reached: f64,
}

/// A measurement that is told.
pub struct Report {
    name: &'static str,
    /// What was measured, in a sentence.
    about: String,
    machine: Machine,
    versions: Versions,
    columns: Vec<Column>,
    rows: Vec<(String, Vec<Cell>)>,
    held: Vec<Held>,
}

impl Report {
    /// Begins one. The machine is looked at before anything is measured.
    #[must_use]
    pub fn new(name: &'static str, versions: Versions) -> Self {
        Self {
            name,
            about: String::new(),
            machine: Machine::now(),
            versions,
            columns: Vec::new(),
            rows: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Says what was measured, and what the columns are.
    pub fn describe(&mut self, about: impl Into<String>, columns: &[Column]) {
        self.about = about.into();
        self.columns = columns.to_vec();
    }

    /// Adds a row; what is left out at its end is empty.
    pub fn row(&mut self, name: impl Into<String>, cells: Vec<Cell>) {
        self.rows.push((name.into(), cells));
    }

    /// Holds a figure against its budget.
    pub fn hold(&mut self, what: impl Into<String>, reached: f64, budget: Budget) {
        self.held.push(Held { what: what.into(), budget, reached });
    }

    /// Prints it.
    pub fn print(&self, output: Output) {
        match output {
            Output::Table => print!("{}", self.table()),
            Output::Json => println!("{:#}", self.json()),
        }
    }

    fn table(&self) -> String {
        let mut text = format!("{}: {}\n\n", self.name, self.about);
        for (what, value) in &self.machine.facts {
            text.push_str(&format!("{what:<12} {value}\n"));
        }
        let versions: Vec<_> =
            self.versions.all().iter().map(|(name, version)| format!("{name} {version}")).collect();
        text.push_str(&format!("{:<12} {}\n\n", "versions", versions.join(", ")));

        let head =
            std::iter::once(String::new()).chain(self.columns.iter().map(|column| column.title.into()));
        let mut lines: Vec<Vec<String>> = vec![head.collect()];
        for (name, cells) in &self.rows {
            let mut line = vec![name.clone()];
            line.extend(cells.iter().map(Cell::text));
            line.resize(self.columns.len() + 1, String::new());
            lines.push(line);
        }
        let widths: Vec<usize> = (0..=self.columns.len())
            .map(|at| lines.iter().filter_map(|line| line.get(at)).map(|text| text.chars().count()).max())
            .map(|width| width.unwrap_or(0))
            .collect();
        for line in lines {
            let mut shown = String::new();
            for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                match at {
                    0 => shown.push_str(&format!("{cell:<width$}")),
                    _ => shown.push_str(&format!("  {cell:>width$}")),
                }
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        if !self.held.is_empty() {
            text.push('\n');
        }
        for Held { what, budget, reached } in &self.held {
            let word = if budget.is_kept_by(*reached) { "kept" } else { "MISSED" };
            text.push_str(&format!("budget {word}: {what}: {reached:.2}, {}\n", budget.text()));
        }
        text
    }

    fn json(&self) -> Value {
        let facts = |facts: &mut dyn Iterator<Item = (String, String)>| {
            facts.map(|(name, value)| (name.replace(' ', "_"), Value::from(value))).collect::<Map<_, _>>()
        };
        let rows = self.rows.iter().map(|(name, cells)| {
            let named = self.columns.iter().zip(cells).map(|(column, cell)| (column.key.into(), cell.json()));
            std::iter::once(("name".into(), name.clone().into())).chain(named).collect::<Map<_, _>>()
        });
        let held = self.held.iter().map(|Held { what, budget, reached }| {
            json!({ "what": what, "budget": budget.text(), "reached": reached, "kept": budget.is_kept_by(*reached) })
        });
        json!({
            "measurement": self.name,
            "about": self.about,
            "machine": facts(&mut self.machine.facts.iter().map(|(name, value)| ((*name).into(), value.clone()))),
            "versions": facts(&mut self.versions.all().iter().cloned()),
            "rows": rows.collect::<Vec<_>>(),
            "budgets": held.collect::<Vec<_>>(),
        })
    }
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Figure(value, decimals) => format!("{value:.decimals$}"),
            Self::Rounds(Spread { median, least, most }, decimals) => {
                format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
            }
            Self::None => "-".into(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Figure(value, _) => json!(value),
            Self::Rounds(Spread { median, least, most }, _) => {
                json!({ "median": median, "least": least, "most": most })
            }
            Self::None => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("sample", Versions::of(&["rumqttc"]));
        report.describe("a sample", &[Column { key: "rate", title: "a second" }]);
        report.row("ours", vec![Cell::Rounds(Spread::of(&[1.0, 3.0, 2.0]), 1)]);
        report.row("none", vec![Cell::None]);
        report.hold("ours against none", 0.5, Budget::AtLeast(0.8));
        report.hold("ours alone", 0.5, Budget::AtMost(0.8));
        report
    }

    #[test]
    fn a_table_says_all_of_it_and_last_the_budgets() {
        let text = report().table();
        assert!(text.contains("sample: a sample\n"), "{text}");
        assert!(text.contains("ours  2.0 (1.0 to 3.0)\n"), "{text}");
        let last = "\nbudget MISSED: ours against none: 0.50, at least 0.8\nbudget kept: ours alone: 0.50, at most 0.8\n";
        assert!(text.ends_with(last), "{text}");
    }

    #[test]
    fn json_says_the_same() {
        let json = report().json();
        assert_eq!(
            json["rows"][0],
            json!({ "name": "ours", "rate": { "median": 2.0, "least": 1.0, "most": 3.0 } })
        );
        assert_eq!(json["rows"][1]["rate"], Value::Null);
        assert_eq!(json["budgets"][0]["kept"], json!(false));
    }
}
