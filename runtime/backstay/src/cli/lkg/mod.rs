//! `backstay lkg`: the last configuration of a service that was known to be good, kept in Git, signed, and shown to an executor that puts
//! it back.
//!
//! A bundle is a folder of a checkout with two files: what ConfigMaps and Secrets were (`document`), and the statement of the release keys
//! about it (`trust`). *capture* reads it, *sign* vouches for it, *verify* holds it against what is live, *commit* hands it on, *show* tells
//! an executor what one object has to be. Not here: changing anything in a cluster.
//!
//! Configuration is restored, credentials never (`class`).

mod bundle;
mod capture;
mod class;
mod commit;
mod difference;
mod document;
mod git;
mod live;
mod object;
mod show;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

use clap::Subcommand;

use crate::{Desk, Exit, Failure, Serve};

/// The last known good configuration of a service: capture, sign, verify, commit, show
#[derive(Debug, Subcommand)]
pub(crate) enum Lkg {
    /// Read the ConfigMaps and Secrets of a service into a bundle, once its release is confirmed
    #[command(
        after_help = "Examples:\n  backstay lkg capture --service checkout --object prod/configmap/checkout --endpoint kubernetes --bundle lkg/checkout\n  \
        kubectl get configmap checkout -n prod -o json | backstay lkg capture --service checkout --version 2.1.0 --from - --bundle lkg/checkout\n\n\
        Without --version the server is asked: there is a bundle only of a release that is confirmed and has all of the traffic.\n\
        Each key is configuration, which is restored exactly, or a credential, which is never written down or restored. All keys of a Secret are \
        credentials, and those of a ConfigMap that look like one. A rule of yours goes before that, the first that fits counts:\n  \
        --class 'configuration:secret/checkout/app.yaml' --class 'credential:configmap/*/*.license'\n\n\
        Exit codes: 0 captured, or captured before; 20 the release isn't confirmed yet: ask again later; 4 the target is frozen or broken."
    )]
    Capture(capture::Capture),
    /// Vouch for a bundle with a release key, after looking at what is in it
    #[command(
        after_help = "Example:\n  backstay lkg sign --bundle lkg/checkout --key keys/release.pem --keyring keys/keyring\n\n\
        Where the keyring asks for several signatures: backstay keys cosign lkg/checkout/lkg.signature, by another holder."
    )]
    Sign(sign::Sign),
    /// Check the signatures of a bundle, and how what is live differs from it
    #[command(
        after_help = "Examples:\n  backstay lkg verify --bundle lkg/checkout --keyring keys/keyring\n  \
        backstay lkg verify --bundle lkg/checkout --keyring keys/keyring --endpoint kubernetes --output json\n\n\
        Exit codes: 0 it is to be believed, and nothing differs where that was asked for; 5 it isn't; 4 it is too old; 8 what is live differs."
    )]
    Verify(verify::Verify),
    /// Commit a bundle to the Git checkout that it is in: its files and nothing else
    #[command(
        after_help = "Example:\n  backstay lkg commit --bundle lkg/checkout --keyring keys/keyring --branch main --push\n\n\
        Nothing is committed that isn't signed, that isn't on the branch that was named, or beside what somebody else has staged. \
        Nothing is pushed without --push."
    )]
    Commit(commit::Commit),
    /// Print what one object has to be, for an executor: checked first, as one line of JSON
    #[command(
        after_help = "Examples:\n  backstay lkg show prod/configmap/checkout --bundle lkg/checkout --keyring /etc/backstay/keyring\n  \
        backstay lkg show prod/configmap/checkout 1 --bundle lkg/checkout --keyring /etc/backstay/keyring\n\n\
        With a number it prints that part: a line that says which of how many and the digest of the whole, then at most 3900 bytes of it.\n\
        Exit codes: 0 it is to be believed; 3 there is no such object in it; 5 it isn't to be believed; 4 it is too old."
    )]
    Show(show::Show),
}

impl Lkg {
    pub(crate) fn run(&self, desk: &Desk, serve: Serve) -> Result<Exit, Failure> {
        match self {
            Self::Capture(capture) => capture.run(desk, serve),
            Self::Sign(sign) => sign.run(desk),
            Self::Verify(verify) => verify.run(desk, serve),
            Self::Commit(commit) => commit.run(desk),
            Self::Show(show) => show.run(desk),
        }
    }
}
