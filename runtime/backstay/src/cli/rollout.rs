//! `backstay rollout`: one way of a cohort to a release, or home from it.

use std::path::{Path, PathBuf};

use backstay_api::{CohortView, Operation, PlanView, StartRollout, Started};
use backstay_config::Span;
use backstay_model::{Channel, CohortId, Label, PluginId, RolloutId, Version};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    Desk, Exit, Failure,
    client::Client,
    file,
    printer::Output,
    screen::{Pace, Screen, fit},
    table::Table,
    text, tree,
    verdict::Verdict,
};

/// Rollouts.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Start a rollout of a release, or of a plugin, in a cohort
    #[command(
        after_help = "Examples:\n  backstay rollout start --cohort canary --version 2.0.0 --wave 10% --wave 50% --wave 100%\n  \
        backstay rollout start --cohort canary --plugin acme/policy-pump --version 1.1.0"
    )]
    Start(Start),
    /// How a cohort's rollout stands; the exit code says the same
    #[command(
        after_help = "Example:\n  backstay rollout status --cohort canary || echo \"not clear to go on: $?\""
    )]
    Status(Cohort),
    /// Follow a rollout to its end; the exit code says how it ended
    #[command(after_help = "Example:\n  backstay rollout watch --cohort canary --timeout 2h")]
    Watch {
        #[command(flatten)]
        cohort: Cohort,
        #[command(flatten)]
        pace: Pace,
    },
    /// Nobody starts anything until it is resumed
    #[command(after_help = "Example:\n  backstay rollout pause --cohort canary")]
    Pause(Cohort),
    /// Go on with a paused rollout
    #[command(after_help = "Example:\n  backstay rollout resume --cohort canary")]
    Resume(Cohort),
    /// End a rollout where it is; who is on the release stays
    #[command(after_help = "Example:\n  backstay rollout abort --cohort canary")]
    Abort(Cohort),
    /// Everybody on the release goes home; this rollout never goes forward again
    #[command(after_help = "Example:\n  backstay rollout rollback --cohort canary")]
    Rollback(Cohort),
    /// Write down the order that sends a cohort home, for operators to sign, too
    #[command(after_help = "Example:\n  backstay rollout order --cohort canary --out home.order\n  \
        backstay keys cosign home.order --keyring keys/keyring --key ann.pem\n  backstay keys publish home.order\n\n\
        A device whose trust.second_after is set leaves what has long been good only with that signature.")]
    Order {
        /// Whose
        #[arg(long)]
        cohort: CohortId,
        /// Where the order goes
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Lift a freeze, so that another rollout can start
    #[command(after_help = "Example:\n  backstay rollout thaw --cohort canary")]
    Thaw(Cohort),
}

impl Cohort {
    /// A cohort's product.
    pub(crate) fn product(cohort: &CohortId) -> Self {
        Self { cohort: cohort.clone(), channel: Channel::Product }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Cohort {
    /// Whose
    #[arg(long)]
    cohort: CohortId,
    /// Of its product, or of its plugins
    #[arg(long, value_name = "product|plugins", default_value = "product")]
    channel: Channel,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Whose
    #[arg(long)]
    cohort: CohortId,
    /// Of this plugin, in place of the product
    #[arg(long, value_name = "VENDOR/NAME")]
    plugin: Option<PluginId>,
    /// To which release, or version of the plugin; it has to be published
    #[arg(long)]
    version: Version,
    /// What to call it; made up if it is left out
    #[arg(long)]
    rollout: Option<RolloutId>,
    /// Where home is; what the cohort was brought to last if it is left out
    #[arg(long, value_name = "VERSION", conflicts_with = "plugin")]
    back: Option<Version>,
    /// Only the devices with all these labels
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// How much of the cohort each wave holds, growing to 100%; the server's plan if it is left out
    #[arg(long = "wave", value_name = "PERCENT", value_parser = text::permille)]
    waves: Vec<u16>,
    /// The fewest devices in a wave
    #[arg(long, value_name = "N")]
    devices_min: Option<u32>,
    /// Good windows that open the next wave
    #[arg(long, value_name = "N")]
    good_windows: Option<u32>,
    /// How long a window is
    #[arg(long, value_name = "SPAN", value_parser = Span::parse)]
    window: Option<Span>,
}

#[derive(Serialize)]
struct Status<'a> {
    verdict: &'static str,
    exit_code: u8,
    #[serde(flatten)]
    cohort: &'a CohortView,
}

#[derive(Serialize)]
struct Order<'a> {
    cohort: &'a CohortId,
    file: &'a Path,
}

impl Rollout {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        match self {
            Self::Start(begin) => {
                let Started { .. } = start(desk, &client, &begin.request()?)?;
                Ok(Exit::Done)
            }
            Self::Status(of) => {
                let view = ask(&client, of)?;
                status(desk, &view)?;
                Ok(Verdict::of(&view).exit())
            }
            Self::Watch { cohort, pace } => watch(desk, &client, cohort, pace),
            Self::Pause(of) => operate(desk, &client, of, Operation::Pause),
            Self::Resume(of) => operate(desk, &client, of, Operation::Resume),
            Self::Abort(of) => operate(desk, &client, of, Operation::Abort),
            Self::Rollback(of) => operate(desk, &client, of, Operation::Rollback),
            Self::Thaw(of) => operate(desk, &client, of, Operation::Thaw),
            Self::Order { cohort, out } => order(desk, &client, cohort, out),
        }
    }
}

impl Start {
    fn request(&self) -> Result<StartRollout, Failure> {
        let grows = self.waves.iter().zip(self.waves.iter().skip(1)).all(|(one, next)| one < next);
        if !grows || self.waves.last().is_some_and(|last| *last != 1000) {
            return Err(Failure::new(Exit::Usage, "waves have to grow, and the last one to hold 100%")
                .help("for example: --wave 10% --wave 50% --wave 100%"));
        }
        let some = |list: &[u16]| (!list.is_empty()).then(|| list.to_vec());
        Ok(StartRollout {
            cohort: self.cohort.clone(),
            plugin: self.plugin.clone(),
            version: self.version.clone(),
            rollout: self.rollout.clone(),
            back: self.back.clone(),
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            plan: PlanView {
                waves: some(&self.waves),
                devices_min: self.devices_min,
                good_windows: self.good_windows,
                window_ms: self.window.map(|window| window.millis().0),
            },
        })
    }
}

/// Starts a rollout, and says so.
pub(crate) fn start(desk: &Desk, client: &Client, request: &StartRollout) -> Result<Started, Failure> {
    let started: Started = client.post("/v1/rollouts", request)?;
    let cohort = &request.cohort;
    desk.printer.show("rollout-started", &started, || {
        format!("rollout {} of {} is under way in {cohort}\n", started.rollout, started.release)
    })?;
    let of = if request.plugin.is_some() { " --channel plugins" } else { "" };
    desk.printer.say(format_args!("next: backstay rollout watch --cohort {cohort}{of}"));
    Ok(started)
}

/// Does something with a cohort's rollout, and says how it stands then.
pub(crate) fn operate(
    desk: &Desk,
    client: &Client,
    Cohort { cohort, channel }: &Cohort,
    operation: Operation,
) -> Result<Exit, Failure> {
    let path = format!("/v1/cohorts/{cohort}/{}?channel={channel}", operation.as_str());
    let view: CohortView = client.post(&path, &serde_json::json!({}))?;
    status(desk, &view)?;
    Ok(Exit::Done)
}

fn order(desk: &Desk, client: &Client, cohort: &CohortId, out: &Path) -> Result<Exit, Failure> {
    let signed = client.get_bytes(&format!("/v1/cohorts/{cohort}/order"))?;
    file::write(out, &signed)?;
    let order = Order { cohort, file: out };
    desk.printer.show("order", &order, || format!("the order to {cohort} is in {}\n", out.display()))?;
    desk.printer.say(format_args!("next, as an operator: backstay keys cosign {}", out.display()));
    Ok(Exit::Done)
}

fn ask(client: &Client, Cohort { cohort, channel }: &Cohort) -> Result<CohortView, Failure> {
    client.get(&format!("/v1/cohorts/{cohort}?channel={channel}"))
}

fn status(desk: &Desk, view: &CohortView) -> Result<(), Failure> {
    let verdict = Verdict::of(view);
    let status = Status { verdict: verdict.word(), exit_code: verdict.exit().code(), cohort: view };
    desk.printer.show("rollout", &status, || table(view))
}

/// Follows a rollout until there is nothing more to see of it.
fn watch(desk: &Desk, client: &Client, of: &Cohort, pace: &Pace) -> Result<Exit, Failure> {
    let mut screen = Screen::new(&desk.printer);
    let deadline = pace.deadline();
    loop {
        let view = ask(client, of)?;
        let verdict = Verdict::of(&view);
        if desk.printer.output() == Output::Json {
            let status = Status { verdict: verdict.word(), exit_code: verdict.exit().code(), cohort: &view };
            desk.printer.stream("rollout", &status, String::new)?;
        } else if let Some((rows, _)) = screen.window() {
            let lines: Vec<String> = table(&view).lines().map(Into::into).collect();
            screen.frame(&fit(&lines, rows))?;
        } else {
            screen.line("rollout", &format!("{}; {}", tree::cohort(&view), tree::counts(&view)))?;
        }
        if verdict.is_final() {
            return Ok(verdict.exit());
        }
        if desk.printer.gone() {
            return Ok(Exit::NoVerdict);
        }
        if !pace.wait(deadline) {
            // That it was turned round is known, whoever is still on the way.
            return match verdict {
                Verdict::Home { left } => {
                    desk.printer.say(format_args!("{left} devices are still on the release"));
                    Ok(verdict.exit())
                }
                Verdict::Nothing
                | Verdict::Underway
                | Verdict::Complete
                | Verdict::Held
                | Verdict::Ended
                | Verdict::Frozen => Err(Failure::new(
                    Exit::TimedOut,
                    format!("the rollout in {} has not come to its end", of.cohort),
                )
                .help("it goes on without being watched: backstay rollout status")),
            };
        }
    }
}

fn table(view: &CohortView) -> String {
    let mut list = Table::list();
    list.say("cohort", text::lane(&view.cohort, view.channel));
    list.say("verdict", Verdict::of(view).word());
    list.say("phase", &view.phase);
    if let (Some(rollout), Some(release)) = (&view.rollout, &view.release) {
        list.say("rollout", rollout);
        list.say("release", release);
        match &view.back {
            Some(back) => list.say("back", back),
            None => list.say("back", "to each device's own last known good release"),
        }
    }
    if let Some(direction) = view.direction {
        list.say("direction", direction);
    }
    list.say("devices", tree::counts(view));
    list.say("frozen", if view.frozen { "yes: backstay rollout thaw lifts it" } else { "no" });
    if let Some(ms) = view.breaker_ms {
        list.say("breaker", format_args!("open for {}: backstay breaker close lets go", text::age(ms)));
    }
    list.say("generation", view.generation);
    list.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::underway;

    #[test]
    fn waves_grow_to_all() {
        let start = |waves: &[u16]| Start {
            cohort: CohortId::parse("canary").unwrap(),
            plugin: None,
            version: Version::parse("2.0.0").unwrap(),
            rollout: None,
            back: None,
            labels: Vec::new(),
            waves: waves.to_vec(),
            devices_min: None,
            good_windows: None,
            window: None,
        };
        assert!(start(&[]).request().unwrap().plan.waves.is_none());
        assert!(start(&[100, 1000]).request().is_ok());
        for waves in [&[100][..], &[500, 100, 1000], &[1000, 1000]] {
            assert_eq!(start(waves).request().unwrap_err().exit(), Exit::Usage, "{waves:?}");
        }
    }

    #[test]
    fn a_status_is_a_list_for_people_and_a_document_for_machines() {
        assert_eq!(
            table(&underway()),
            "cohort      canary\n\
             verdict     proceed\n\
             phase       wave 2 of 4\n\
             rollout     r-7\n\
             release     2.0.0 (abababab)\n\
             back        to each device's own last known good release\n\
             direction   forward\n\
             devices     reached 12 of 24: 8 confirmed, 3 on trial, 1 failed, 0 sit out\n\
             frozen      no\n\
             generation  9\n"
        );
        let view = underway();
        let json = serde_json::to_value(Status { verdict: "proceed", exit_code: 0, cohort: &view }).unwrap();
        assert_eq!((&json["verdict"], &json["cohort"]), (&"proceed".into(), &"canary".into()));
    }
}
