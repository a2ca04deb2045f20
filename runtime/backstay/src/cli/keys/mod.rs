//! `backstay keys`: the keys of a fleet, who is trusted with what, and how that changes.
//!
//! Each role has keys of its own, so one theft is one role. All but the director's belong offline, where this runs: only
//! `publish` talks to a server, and it needs no key. What several have to sign goes from one to the next as a file.
//!
//! A keyring goes into the image of every device. Each that follows is a link, signed by the roots of the one before and
//! by its own; a revocation is signed by the revokers.

mod cosign;
mod init;
mod publish;
mod revoke;
mod role;
mod rotate;
mod show;
#[cfg(test)]
mod tests;

use clap::Subcommand;

use crate::{Desk, Exit, Failure};

/// Keys, keyrings and revocations.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make the keys of a new fleet, and keyring number 1
    #[command(after_help = "Example:\n  backstay keys init --fleet acme --dir keys\n\n\
        Roles whose keys others hold are given by the public halves: two of three operators, say:\n  \
        backstay keys init --fleet acme --dir keys --role operator=2:ann.pub,ben.pub,cy.pub")]
    Init(init::Init),
    /// Make one key
    #[command(
        after_help = "Example:\n  backstay keys new --out ann.pem --encrypt\n\nThe public half goes to ann.pub beside it."
    )]
    New(init::New),
    /// Show what a keyring, a key or any signed statement says; never a secret
    #[command(after_help = "Example:\n  backstay keys show keys/keyring")]
    Show(show::Show),
    /// Make the keyring that follows: replace, add or leave out keys
    #[command(
        after_help = "Example:\n  backstay keys rotate --keyring keys/keyring --role director=1:new-director.pub \\\n      \
        --key keys/root.pem --out keyring-2.link\n\n\
        The link needs the signatures of the roots of both keyrings: hand it on with \"backstay keys sign-keyring\".\n\
        What keys signed that are left out is not believed any more: grant plugins anew before operators or vendors go."
    )]
    Rotate(rotate::Rotate),
    /// As another root: sign the link to the next keyring, after looking at what it changes
    #[command(
        after_help = "Example:\n  backstay keys sign-keyring keyring-2.link --keyring keys/keyring --key root-b.pem"
    )]
    SignKeyring(rotate::SignKeyring),
    /// Check the links from a keyring, one by one, and write down where they lead
    #[command(
        after_help = "Example:\n  backstay keys follow --keyring keys/keyring keyring-2.link --out keys/keyring-2"
    )]
    Follow(rotate::Follow),
    /// Take trust back: from keys, releases, grants, code, older releases of a plugin, or older compilers
    #[command(
        after_help = "Example:\n  backstay keys revoke --keyring keys/keyring --stolen keys/vendor.pem \\\n      \
        --key keys/revoker.pem --out stolen.revocation\n\n\
        A revocation is never taken back. Each says all of it: begin from the last one with --after."
    )]
    Revoke(revoke::Revoke),
    /// Add a signature to what others have signed: a grant, a release, a keyring, a revocation, an order
    #[command(
        after_help = "Example:\n  backstay keys cosign app-2.0.0.release --keyring keys/keyring --key ben.pem"
    )]
    Cosign(cosign::Cosign),
    /// Hand links, a revocation or a seconded order to the server, and show whom it trusts by now
    #[command(after_help = "Example:\n  backstay keys publish keyring-2.link stolen.revocation\n\n\
        The server checks each as every device does, keeps it, hands it out, and tells the fleet where to look. Without a \
        file it only shows.")]
    Publish(publish::Publish),
}

impl Keys {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        match self {
            Self::Init(init) => init.run(desk),
            Self::New(new) => new.run(desk),
            Self::Show(show) => show.run(desk),
            Self::Rotate(rotate) => rotate.run(desk),
            Self::SignKeyring(sign) => sign.run(desk),
            Self::Follow(follow) => follow.run(desk),
            Self::Revoke(revoke) => revoke.run(desk),
            Self::Cosign(cosign) => cosign.run(desk),
            Self::Publish(publish) => publish.run(desk),
        }
    }
}
