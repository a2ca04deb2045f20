//! `backstay incident`: what went wrong with targets, what was done about it, and whether that was right.

use backstay_api::{Because, IncidentStory, IncidentView, MarkRequest};
use backstay_model::IncidentLabel;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, table::Table, text};

/// What went wrong with targets, and what was done about it.
#[derive(Debug, Subcommand)]
pub(crate) enum Incident {
    /// Those that are remembered, newest first
    #[command(after_help = "Example:\n  backstay incident ls")]
    Ls {
        /// Only those whose action should not have been
        #[arg(long)]
        false_positives: bool,
    },
    /// One of them, with each record of it
    #[command(after_help = "Example:\n  backstay incident show 7")]
    Show {
        /// Which
        id: u64,
    },
    /// Why it was acted on, with the numbers, in a few lines
    #[command(after_help = "Example:\n  backstay incident explain 7")]
    Explain {
        /// Which
        id: u64,
    },
    /// Say whether an action was right
    #[command(
        after_help = "Example:\n  backstay incident mark 7 false-positive --reason it-was-the-load-test"
    )]
    Mark(Mark),
}

#[derive(Debug, Args)]
pub(crate) struct Mark {
    /// Which
    id: u64,
    /// What it was
    #[arg(value_name = "true-positive|false-positive|baseline-failed-too|fine-elsewhere", value_parser = label)]
    label: IncidentLabel,
    /// How that is known: it is written into the server's journal
    #[arg(long)]
    reason: Because,
}

fn label(text: &str) -> Result<IncidentLabel, String> {
    let all = [
        IncidentLabel::TruePositive,
        IncidentLabel::FalsePositive,
        IncidentLabel::BaselineFailedToo,
        IncidentLabel::FineElsewhere,
    ];
    let label = all.into_iter().find(|label| label.to_string() == text);
    label.ok_or_else(|| {
        format!(
            "expected true-positive, false-positive, baseline-failed-too or fine-elsewhere, found {text:?}"
        )
    })
}

#[derive(Serialize)]
struct Incidents<'a> {
    incidents: &'a [IncidentView],
}

impl Incident {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        let story = |id: u64| client.get::<IncidentStory>(&format!("/v1/incidents/{id}"));
        match self {
            Self::Ls { false_positives } => {
                let mut all: Vec<IncidentView> = client.get("/v1/incidents")?;
                all.retain(|view| {
                    !false_positives || view.label.is_some_and(IncidentLabel::is_false_positive)
                });
                desk.printer.show("incidents", &Incidents { incidents: &all }, || table(&all))?;
            }
            Self::Show { id } => {
                let story = story(*id)?;
                desk.printer.show("incident", &story, || told(&story))?;
            }
            Self::Explain { id } => {
                let story = story(*id)?;
                desk.printer.show("incident", &story, || explained(&story))?;
            }
            Self::Mark(Mark { id, label, reason }) => {
                let request = MarkRequest { label: *label, reason: reason.clone() };
                let view: IncidentView = client.post(&format!("/v1/incidents/{id}/mark"), &request)?;
                desk.printer.show("incident", &view, || list(&view))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn end(view: &IncidentView) -> String {
    view.end.map_or_else(|| "open".into(), |end| end.to_string())
}

fn table(all: &[IncidentView]) -> String {
    let mut table = Table::new(["INCIDENT", "SERVICE", "AGO", "TOOK", "END", "LABEL", "WHY"]);
    for view in all {
        table.row([
            view.id.to_string(),
            view.service.to_string(),
            text::age(view.age_ms),
            view.took_ms.map_or_else(|| "-".into(), text::age),
            end(view),
            view.label.map_or_else(|| "-".into(), |label| label.to_string()),
            view.why.clone(),
        ]);
    }
    table.to_string()
}

fn list(view: &IncidentView) -> String {
    let mut list = Table::list();
    list.say("incident", view.id);
    list.say("service", &view.service);
    list.say("began", format_args!("{} ago", text::age(view.age_ms)));
    list.say("why", &view.why);
    list.say("end", end(view));
    if let Some(ms) = view.took_ms {
        list.say("took", text::age(ms));
    }
    if let Some(left) = &view.left {
        list.say("left", left);
    }
    if let Some(label) = view.label {
        list.say("label", label);
    }
    if let Some(runbook) = &view.runbook {
        list.say("runbook", runbook);
    }
    list.to_string()
}

fn told(story: &IncidentStory) -> String {
    let mut text = list(&story.incident);
    for event in &story.events {
        text.push_str(&format!(
            "{:>6}  {}  {}\n",
            event.seq,
            text::uptime(event.at_ms),
            text::plain(&event.what)
        ));
    }
    text
}

fn explained(story: &IncidentStory) -> String {
    let mut text = list(&story.incident);
    let said = story.events.iter().filter(|event| event.what.starts_with("policy ("));
    for event in said {
        text.push_str(&format!("  {}  {}\n", text::uptime(event.at_ms), text::plain(&event.what)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_of_four() {
        assert_eq!(label("false-positive"), Ok(IncidentLabel::FalsePositive));
        assert!(label("maybe").unwrap_err().contains("\"maybe\""));
    }
}
