//! `backstay gate`: whether a build goes on, answered by the exit code.
//!
//! Here: bringing a verdict, the keyring and the question before `core`'s gate, and waiting as it says. Not here: any
//! rule about when to go on (`core`), and what makes a document a verdict (`api`).

use std::{path::PathBuf, thread, time::Duration};

use backstay_api::{SignedVerdict, VerdictError};
use backstay_config::Span;
use backstay_core::{Asked, Gate as Opens, Heard, Patience, Stop, Unheard};
use backstay_trust::Keyring;
use clap::Args;
use serde::Serialize;

use crate::{
    Desk, Exit, Failure,
    ci::{nonce_path, pretty, read_nonce, remove, told},
    file,
    question::{Question, nonce},
};

/// Whether a build goes on: 0 says deploy, and nothing else does
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  backstay gate --service checkout --build 1812 --keyring /etc/backstay/keyring --verdict verdict.json\n  \
    backstay gate --wait --service checkout --build 1812 --keyring /etc/backstay/keyring && ./deploy.sh\n\n\
    Exit codes: 0 deploy; 20 wait, then ask again (after --wait: waited long enough); 21 heal; 22 roll back; 23 freeze; 25 \
    pause; 24 there is no verdict, or it is late; 5 it is signed wrongly, or for something else. Whatever isn't 0 is no \
    permission.\n\
    Everything is taken from what is signed. Without --verdict the server is asked, each time with a new nonce."
)]
pub(crate) struct Gate {
    #[command(flatten)]
    question: Question,
    /// Whom to believe: the fleet's keyring, whose verdict role has to have signed
    #[arg(long, value_name = "FILE", env = "BACKSTAY_KEYRING")]
    keyring: PathBuf,
    /// A verdict that "backstay verdict" wrote; without it the server is asked
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wait", "metrics", "out"])]
    verdict: Option<PathBuf>,
    /// Where the nonce of that verdict is: beside it if this is left out
    #[arg(long, value_name = "FILE", requires = "verdict")]
    nonce_file: Option<PathBuf>,
    /// When told to wait: do, and ask again
    #[arg(long)]
    wait: bool,
    /// With --wait: the most questions, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 10, requires = "wait",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(Patience::ASKS_MAX)))]
    asks: u32,
    /// With --wait: the longest time to wait in all, at most 6h
    #[arg(long, value_name = "SPAN", default_value = "30m", requires = "wait", value_parser = Span::parse)]
    patience: Span,
    /// Where the last verdict that is to be believed goes, for people and other programs; an older file is removed first
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the gate says, for machines.
#[derive(Serialize)]
struct Answer<'a> {
    deploy: bool,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    verdict: &'a SignedVerdict,
}

impl Gate {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let keyring = file::read_keyring(&self.keyring)?;
        // However this ends: what is there afterwards is an answer to this build's question.
        self.out.as_deref().map_or(Ok(()), remove)?;
        let mut patience = match self.wait {
            true => Patience::new(self.asks, self.patience.millis()),
            // It asks once; whether there is a next time, whoever called decides.
            false => Patience::new(2, Patience::TOTAL_MAX),
        };
        loop {
            let (asked, document) = self.hear(desk)?;
            let (gate, doubt) = decide(&asked, &document, &keyring, &mut patience);
            let exit = exit(&gate);
            if let Opens::Stop { why } = &gate
                && !why.is_told()
            {
                return Err(refused(exit, why, doubt));
            }
            // What isn't to be believed isn't kept: somebody would read it.
            if let Some(out) = &self.out {
                file::write(out, pretty(&document)?.as_bytes())?;
            }
            let wait = match &gate {
                Opens::Wait { ms } if self.wait => {
                    let reason = told(&document);
                    desk.printer.say(format_args!("waiting {ms}: {}", reason.trim_end()));
                    thread::sleep(Duration::from_millis(ms.0));
                    continue;
                }
                Opens::Wait { ms } => Some(ms.0),
                Opens::Deploy | Opens::Stop { .. } => None,
            };
            let why = match &gate {
                Opens::Stop { why } => Some(why.to_string()),
                Opens::Deploy | Opens::Wait { .. } => None,
            };
            let deploy = gate == Opens::Deploy;
            let answer = Answer { deploy, exit: exit.code(), wait_ms: wait, why, verdict: &document };
            desk.printer.show("gate", &answer, || told(&document))?;
            return Ok(exit);
        }
    }

    /// A verdict, not believed yet, and what it has to be an answer to.
    fn hear(&self, desk: &Desk) -> Result<(Asked, SignedVerdict), Failure> {
        let none = |failure: Failure| {
            // Nothing came: for a build that is one thing, whoever's fault it was. What the build itself got wrong stays so.
            let ours = matches!(failure.exit(), Exit::Usage | Exit::Configuration | Exit::NoVerdict);
            if ours { failure } else { failure.ending(Exit::NoVerdict) }
        };
        let Some(path) = &self.verdict else {
            let nonce = nonce()?;
            let client = self.question.client(desk)?;
            return Ok((self.question.asked(nonce), self.question.ask(&client, nonce).map_err(none)?));
        };
        let nonce = read_nonce(&nonce_path(path, self.nonce_file.as_deref())).map_err(none)?;
        let document = file::read(path, SignedVerdict::BYTES_MAX).map_err(none)?;
        let document = SignedVerdict::read(&document).map_err(|why| {
            let stop = Stop::Unheard(unheard(&why));
            refused(exit(&Opens::Stop { why: stop.clone() }), &stop, Some(why))
        })?;
        Ok((self.question.asked(nonce), document))
    }
}

/// What `core`'s gate makes of a document; and why it isn't believed, if it isn't.
fn decide(
    asked: &Asked,
    document: &SignedVerdict,
    keyring: &Keyring,
    patience: &mut Patience,
) -> (Opens, Option<VerdictError>) {
    let now = file::now();
    match document.verify(keyring) {
        Ok(verified) => {
            let (issued, expires) = (verified.issued(), verified.expires());
            let heard = Heard { verdict: verified.verdict(), issued, expires };
            (asked.gate(Ok(heard), now, patience), None)
        }
        Err(why) => (asked.gate(Err(unheard(&why)), now, patience), Some(why)),
    }
}

fn unheard(why: &VerdictError) -> Unheard {
    match why {
        VerdictError::TooLarge { .. }
        | VerdictError::Malformed(_)
        | VerdictError::Schema { .. }
        | VerdictError::NotBase64 => Unheard::Unreadable,
        VerdictError::Untrusted(_) | VerdictError::Differs { .. } => Unheard::Untrusted,
    }
}

fn exit(gate: &Opens) -> Exit {
    match gate {
        Opens::Deploy => Exit::Done,
        Opens::Wait { .. } => Exit::Slow,
        Opens::Stop { why } => match why {
            Stop::Unheard(Unheard::Missing | Unheard::Unreadable) => Exit::NoVerdict,
            Stop::Late { .. } | Stop::Early { .. } | Stop::TooLong { .. } => Exit::NoVerdict,
            Stop::Unheard(Unheard::Untrusted) => Exit::Untrusted,
            Stop::OtherService(_) | Stop::OtherBuild(_) | Stop::OtherNonce | Stop::OtherRelease => {
                Exit::Untrusted
            }
            Stop::StillSlow => Exit::Slow,
            Stop::Heal => Exit::Heal,
            Stop::Rollback => Exit::RollBack,
            Stop::Freeze => Exit::Freeze,
            Stop::Pause => Exit::Pause,
        },
    }
}

fn refused(exit: Exit, why: &Stop, doubt: Option<VerdictError>) -> Failure {
    let failure = Failure::new(exit, format!("this build doesn't go on: {why}"));
    let help = match why {
        Stop::Early { .. } => Some("set the clock of this machine, or the server's"),
        Stop::Late { .. } => Some("ask anew: a verdict is for the build that asks now"),
        Stop::OtherRelease => Some("ask about the release that is deployed, with --digest or --version"),
        Stop::OtherService(_) | Stop::OtherBuild(_) | Stop::OtherNonce => {
            Some("it is another question's answer: see what else writes to that file")
        }
        Stop::Unheard(_)
        | Stop::TooLong { .. }
        | Stop::StillSlow
        | Stop::Heal
        | Stop::Rollback
        | Stop::Freeze
        | Stop::Pause => None,
    };
    match doubt {
        Some(doubt) => {
            let help = doubt.help();
            failure.why(doubt).maybe_help(help)
        }
        None => failure.maybe_help(help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only one of all the ways through is zero.
    #[test]
    fn nothing_but_deploy_ends_with_zero() {
        use backstay_model::{BuildId, Millis, TargetId};
        let by = Millis(1);
        let stops = [
            (Stop::Unheard(Unheard::Missing), 24),
            (Stop::Unheard(Unheard::Unreadable), 24),
            (Stop::Unheard(Unheard::Untrusted), 5),
            (Stop::OtherService(TargetId::parse("cart").unwrap()), 5),
            (Stop::OtherBuild(BuildId::parse("1").unwrap()), 5),
            (Stop::OtherNonce, 5),
            (Stop::OtherRelease, 5),
            (Stop::Late { by }, 24),
            (Stop::Early { by }, 24),
            (Stop::TooLong { life: by }, 24),
            (Stop::StillSlow, 20),
            (Stop::Heal, 21),
            (Stop::Rollback, 22),
            (Stop::Freeze, 23),
            (Stop::Pause, 25),
        ];
        for (why, code) in stops {
            assert_eq!(exit(&Opens::Stop { why: why.clone() }).code(), code, "{why}");
        }
        assert_eq!(exit(&Opens::Wait { ms: by }).code(), 20);
        assert_eq!(exit(&Opens::Deploy).code(), 0);
    }
}
