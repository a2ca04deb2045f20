//! `keys cosign`: another signature on what others have signed, and how many are still missing.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use backstay_trust::{Bundle, Domain, Keyring, Role, RoleKind, Statement};
use clap::Args;
use serde::Serialize;

use super::show::Said;
use crate::{Desk, Exit, Failure, file, signer::Signing, table::Table};

#[derive(Debug, Args)]
pub(crate) struct Cosign {
    /// A signed statement, or a plugin bundle, whose grant is meant
    pub(super) statement: PathBuf,
    /// The fleet's keyring, which says who has to sign
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// Where the result goes; over the statement if it is left out
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// A role, and how many of it have signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Share {
    pub(super) role: String,
    pub(super) has: usize,
    pub(super) needs: u8,
}

impl Share {
    /// How many of `role` have signed, and rightly.
    pub(super) fn of(name: impl Into<String>, role: &Role, statement: &Statement) -> Self {
        let has = role.keys.iter().filter(|key| statement.is_signed_by(key)).count();
        Self { role: name.into(), has, needs: role.threshold }
    }

    pub(super) fn is_enough(&self) -> bool {
        self.has > 0 && self.has >= usize::from(self.needs)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} signatures of {}", self.has, self.needs, self.role)
    }
}

/// Who has to sign a statement, by a keyring.
pub(super) fn shares(statement: &Statement, keyring: &Keyring) -> Vec<Share> {
    let role = |kind: RoleKind| {
        let roles = keyring.parts().roles().into_iter();
        roles
            .filter(|(of, _)| *of == kind)
            .map(|(of, role)| Share::of(of.to_string(), role, statement))
            .collect()
    };
    match statement.domain() {
        Domain::Grant | Domain::Consent => role(RoleKind::Operator),
        Domain::ProductRelease | Domain::KnownGood => role(RoleKind::Release),
        Domain::Revocation => role(RoleKind::Revoker),
        Domain::Keyring => {
            let old = Share::of(
                format!("the roots of keyring {}", keyring.parts().number),
                &keyring.parts().root,
                statement,
            );
            let new = Keyring::decode(statement.payload()).ok().map(|next| {
                let name = format!("the roots of keyring {}", next.parts().number);
                Share::of(name, &next.parts().root, statement)
            });
            [old].into_iter().chain(new).collect()
        }
        // Whose plugin it is, nobody knows before it is signed: those count who have signed.
        Domain::PluginRelease => {
            let vendors = keyring.parts().vendors.iter();
            vendors
                .map(|vendor| Share::of(format!("vendor {}", vendor.prefix), &vendor.role, statement))
                .filter(|share| share.has > 0)
                .collect()
        }
        Domain::SteerProduct
        | Domain::SteerPlugins
        | Domain::DeviceOrder
        | Domain::TrustFloor
        | Domain::Receipt => {
            let both: [Vec<Share>; 2] = [role(RoleKind::Director), role(RoleKind::Operator)];
            both.concat()
        }
        Domain::Enrolment => role(RoleKind::Director),
        Domain::Verdict => role(RoleKind::Verdict),
        Domain::EnrolRequest
        | Domain::DeviceState
        | Domain::DevicePlugins
        | Domain::DevicePresence
        | Domain::DeviceLog => Vec::new(),
    }
}

#[derive(Serialize)]
pub(super) struct Cosigned<'a> {
    #[serde(flatten)]
    said: Said,
    shares: Vec<Share>,
    complete: bool,
    file: &'a Path,
}

impl<'a> Cosigned<'a> {
    pub(super) fn of(statement: &Statement, keyring: &Keyring, file: &'a Path) -> Self {
        let shares = shares(statement, keyring);
        let complete = !shares.is_empty() && shares.iter().all(Share::is_enough);
        Self { said: Said::of(statement), shares, complete, file }
    }

    pub(super) fn show(&self, desk: &Desk) -> Result<(), Failure> {
        desk.printer.show("cosigned", self, || {
            let mut list = Table::list();
            self.said.tell(&mut list);
            for share in &self.shares {
                list.say("has", share);
            }
            list.say("file", self.file.display());
            list.to_string()
        })?;
        if !self.complete {
            desk.printer.say("not yet enough: hand it to the next one who is to sign");
        }
        Ok(())
    }
}

impl Cosign {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let keyring = file::read_keyring(&self.keyring)?;
        let bytes = file::read(&self.statement, Bundle::BYTES_MAX)?;
        let out = self.out.as_deref().unwrap_or(&self.statement);
        let bundle = Bundle::decode(&bytes).ok();
        let refused = |why: backstay_trust::Refusal| {
            Failure::untrusted(format!("{} can't be signed", self.statement.display()), why)
        };
        let read = bundle.as_ref().map_or(bytes.as_slice(), |bundle| bundle.grant);
        let mut statement = Statement::read(read).map_err(refused)?;
        if statement.audience().fleet().is_some_and(|fleet| fleet != keyring.fleet()) {
            let what = format!("{} is for {}", self.statement.display(), statement.audience());
            return Err(Failure::new(Exit::Untrusted, what)
                .help(format!("the keyring is that of fleet {}", keyring.fleet())));
        }
        let signer = self.signing.signer()?;
        let before = shares(&statement, &keyring);
        signer.sign(&mut statement)?;
        let changed = shares(&statement, &keyring) != before;
        let again = Statement::read(read).map_err(refused)?.is_signed_by(&signer.public());
        if !changed && !again {
            let what = format!("key {} has no say in a {}", signer.id(), statement.domain());
            return Err(Failure::new(Exit::Refused, what)
                .help("see with \"backstay keys show\" whose signatures the keyring asks for"));
        }
        let signed = statement.encode().map_err(|why| {
            let help = why.help();
            Failure::new(Exit::Trouble, "cannot write the statement").why(why).maybe_help(help)
        })?;
        let signed = match &bundle {
            None => signed,
            Some(bundle) => {
                let code: Vec<&[u8]> =
                    bundle.artifacts().filter_map(|digest| bundle.artifact(digest)).collect();
                Bundle::new(bundle.release, &signed, &code).encode().map_err(|why| {
                    let help = why.help();
                    Failure::new(Exit::Trouble, "cannot make the bundle").why(why).maybe_help(help)
                })?
            }
        };
        file::write(out, &signed)?;
        Cosigned::of(&statement, &keyring, out).show(desk)?;
        Ok(Exit::Done)
    }
}
