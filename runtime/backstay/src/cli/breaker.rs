//! `backstay breaker`: cohorts' promotion breakers. After a turn nothing is promoted for a while, and then only a little.

use backstay_api::{Because, BreakerState, BreakerView, CloseRequest, Closed};
use backstay_model::{Channel, CohortId};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{Desk, Exit, Failure, table::Table, text};

/// Promotion breakers.
#[derive(Debug, Subcommand)]
pub(crate) enum Breaker {
    /// All cohorts'
    #[command(after_help = "Example:\n  backstay breaker ls")]
    Ls,
    /// Let everything be promoted again; done twice it is done once
    #[command(after_help = "Example:\n  backstay breaker close canary --reason cause-found-and-mended")]
    Close(Close),
}

#[derive(Serialize)]
struct Breakers<'a> {
    breakers: &'a [BreakerView],
}

#[derive(Debug, Args)]
pub(crate) struct Close {
    /// Whose
    cohort: CohortId,
    /// For its product, or for its plugins
    #[arg(long, value_name = "product|plugins", default_value = "product")]
    channel: Channel,
    /// What for: it is written into the server's journal
    #[arg(long)]
    reason: Because,
}

impl Breaker {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let client = desk.client()?;
        match self {
            Self::Ls => {
                let all: Vec<BreakerView> = client.get("/v1/breakers")?;
                desk.printer.show("breakers", &Breakers { breakers: &all }, || table(&all))?;
                Ok(Exit::Done)
            }
            Self::Close(Close { cohort, channel, reason }) => {
                let request = CloseRequest { reason: reason.clone() };
                let done: Closed =
                    client.post(&format!("/v1/breakers/{cohort}/close?channel={channel}"), &request)?;
                let of = text::lane(cohort, *channel);
                desk.printer.show("breaker-closed", &done, || {
                    if done.changed { format!("the breaker of {of} is closed\n") } else { String::new() }
                })?;
                if !done.changed {
                    desk.printer.say(format_args!("the breaker of {of} was closed: nothing was changed"));
                }
                Ok(Exit::Done)
            }
        }
    }
}

fn table(all: &[BreakerView]) -> String {
    let mut table = Table::new(["COHORT", "BREAKER", "LETS A SMALL STAGE THROUGH"]);
    for view in all {
        let (state, when) = match view.state {
            BreakerState::Closed => ("closed", "-".into()),
            BreakerState::HalfOpen => ("half-open", "now".into()),
            BreakerState::Open => ("open", format!("in {}", text::age(view.left_ms.unwrap_or(0)))),
        };
        table.row([text::lane(&view.cohort, view.channel), state.into(), when]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_says_when_it_lets_go() {
        let cohort = CohortId::parse("canary").unwrap();
        let open = BreakerView {
            cohort,
            channel: Channel::Product,
            state: BreakerState::Open,
            left_ms: Some(1_500_000),
        };
        let half = BreakerView { state: BreakerState::HalfOpen, left_ms: None, ..open.clone() };
        assert_eq!(
            table(&[open, half]),
            "COHORT  BREAKER    LETS A SMALL STAGE THROUGH\n\
             canary  open       in 25m\n\
             canary  half-open  now\n"
        );
    }
}
