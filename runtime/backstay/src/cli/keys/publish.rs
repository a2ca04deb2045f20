//! `keys publish`: what was signed where the keys are goes to the server, which hands it out.

use std::path::PathBuf;

use backstay_api::TrustView;
use backstay_trust::Statement;
use clap::Args;

use crate::{Desk, Exit, Failure, file, table::Table};

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Links in their order, the last revocation, an order that operators have signed, too; none only shows
    statements: Vec<PathBuf>,
}

impl Publish {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        // All of them are read before the first is sent.
        let read = |path: &PathBuf| Ok((path.clone(), file::read(path, Statement::BYTES_MAX)?));
        let all: Vec<(PathBuf, Vec<u8>)> =
            self.statements.iter().map(read).collect::<Result<_, Failure>>()?;
        let client = desk.client()?;
        for (path, bytes) in &all {
            let _: TrustView = client.post_bytes("/v1/trust", bytes)?;
            desk.printer.say(format_args!("published {}", path.display()));
        }
        let view: TrustView = client.get("/v1/trust")?;
        desk.printer.show("trust", &view, || list(&view))?;
        Ok(Exit::Done)
    }
}

fn list(view: &TrustView) -> String {
    let mut list = Table::list();
    list.say("keyring", format_args!("number {}, {}", view.number, view.keyring));
    match &view.revocation {
        Some(heeded) => {
            list.say("revocation", format_args!("{}, {}", heeded.sequence, heeded.digest));
            list.say("lowest epoch", heeded.security_floor);
        }
        None => list.say("revocation", "none"),
    }
    let director = if view.director {
        "this server's key"
    } else {
        "another key: who has followed to this keyring does not listen to this server"
    };
    list.say("director", director);
    if !view.seconded.is_empty() {
        let cohorts: Vec<String> = view.seconded.iter().map(ToString::to_string).collect();
        list.say("seconded", format_args!("the orders to {}", cohorts.join(", ")));
    }
    list.to_string()
}

#[cfg(test)]
mod tests {
    use backstay_api::Revoked;
    use backstay_model::{CohortId, Digest};

    use super::*;

    #[test]
    fn whom_the_server_trusts_is_told() {
        let keyring = Digest([0xab; 32]);
        let view = TrustView { number: 1, keyring, revocation: None, director: true, seconded: Vec::new() };
        let digest = "ab".repeat(32);
        assert_eq!(
            list(&view),
            format!("keyring     number 1, {digest}\nrevocation  none\ndirector    this server's key\n")
        );
        let revocation = Some(Revoked { sequence: 3, digest: keyring, security_floor: 2 });
        let seconded = vec![CohortId::parse("canary").unwrap()];
        let told = list(&TrustView { revocation, director: false, seconded, ..view });
        assert!(told.contains(&format!("revocation    3, {digest}\nlowest epoch  2\n")), "{told}");
        assert!(
            told.contains("does not listen to this server") && told.contains("orders to canary"),
            "{told}"
        );
    }
}
