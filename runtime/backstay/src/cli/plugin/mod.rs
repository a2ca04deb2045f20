//! `backstay plugin`: from source to a bundle that a device runs, in the steps of those who answer for them.
//!
//! A vendor builds and signs. An operator looks, compiles and grants. Neither is enough alone.

mod build;
mod check;
mod foreign;
mod grant;
mod inspect;
mod ls;
mod manifest;
mod new;
mod publish;
mod pull;
mod push;
mod run;
mod sign;
mod test;
mod why;

use clap::Subcommand;

use crate::{Desk, Exit, Failure};

/// The largest component, in bytes. The compiler takes no larger one.
const COMPONENT_BYTES_MAX: usize = 32 << 20;

/// Plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Write a small project that builds at once, with all that it builds against
    #[command(after_help = "Examples:\n  backstay plugin new --executor executor-pump --vendor acme\n  \
        backstay plugin new --policy policy-pump --vendor acme\n  \
        backstay plugin new --executor executor-pump --vendor acme --lang c")]
    New(new::New),
    /// Build a project into a portable component
    #[command(after_help = "Example:\n  backstay plugin build plugins/policy-tree --out policy-tree.wasm")]
    Build(build::Build),
    /// As a vendor: say that a component is your plugin
    #[command(
        after_help = "Example:\n  backstay plugin sign --manifest manifest.toml --component policy-tree.wasm \\\n      \
        --key keys/vendor.pem --sequence 1 --out policy-tree.release"
    )]
    Sign(sign::Sign),
    /// As an operator: let a plugin run in the fleet, and compile it for its machines
    #[command(
        after_help = "Example:\n  backstay plugin grant --release executor-ota.release --component executor-ota.wasm \\\n      \
        --permissions grant.toml --key keys/operator.pem --keyring keys/keyring \\\n      \
        --sequence 1 --out executor-ota.bundle\n\n\
        grant.toml:\n  [permissions]\n  commands = [\"restart\"]   # also: endpoints, topics, paths\n  slots = true"
    )]
    Grant(grant::Grant),
    /// What a bundle holds, who signed it, and whether a device would run it
    #[command(after_help = "Example:\n  backstay plugin inspect policy-tree.bundle --keyring keys/keyring")]
    Inspect(inspect::Inspect),
    /// What a component is, before anybody signs for it: imports, exports, size, limits, effects
    #[command(
        after_help = "Example:\n  backstay plugin check executor-ota.wasm --manifest manifest.toml\n\n\
        Exit code 8: something is not as it has to be."
    )]
    Check(check::Check),
    /// Try a plugin: its vendor's vectors, what any plugin has to stand, the same bytes on every machine
    #[command(
        after_help = "Example:\n  backstay plugin test executor-ota.wasm --manifest manifest.toml --report report.json\n\n\
        Exit code 8: something failed."
    )]
    Test(test::Test),
    /// Call a plugin once, with a fixture or with the facts of a record
    #[command(
        after_help = "Examples:\n  backstay plugin run policy-tree.wasm --fixture tests/goes-home.toml\n  \
        backstay plugin run policy-tree.wasm --record ./pump-7.log:412\n  \
        backstay plugin run executor-pump.bundle --keyring keys/keyring --fixture tests/restarts.toml"
    )]
    Run(run::Run),
    /// Why a device would run a bundle: each link from the keyring to the code, in a sentence
    #[command(after_help = "Example:\n  backstay plugin why policy-tree.bundle --keyring keys/keyring")]
    Why(why::Why),
    /// Hand a bundle to the server, for its devices; without one, see what it can hand out
    #[command(
        after_help = "Examples:\n  backstay plugin publish policy-pump.bundle\n  backstay plugin publish --output json"
    )]
    Publish(publish::Publish),
    /// The bundles in a folder, or in an OCI image layout
    #[command(after_help = "Examples:\n  backstay plugin ls plugins --keyring keys/keyring\n  \
        backstay plugin ls oci:shelf --keyring keys/keyring")]
    Ls(ls::Ls),
    /// Bring a bundle to a registry, or into an OCI image layout on disk
    #[command(
        after_help = "Examples:\n  backstay plugin push policy-tree.bundle registry.example/acme/policy-tree:1.0.0 --keyring keys/keyring\n  \
        backstay plugin push policy-tree.bundle oci:shelf:1.0.0\n\n\
        Name and password for a registry: BACKSTAY_REGISTRY_USER and BACKSTAY_REGISTRY_PASSWORD, or else what\n\
        docker login left in ~/.docker/config.json (or below DOCKER_CONFIG). What is there already is not sent again."
    )]
    Push(push::Push),
    /// Fetch a bundle from a registry, or out of an OCI image layout on disk
    #[command(
        after_help = "Examples:\n  backstay plugin pull registry.example/acme/policy-tree:1.0.0 --keyring keys/keyring --out policy-tree.bundle\n  \
        backstay plugin pull oci:shelf@sha256:... --out policy-tree.bundle\n\n\
        With --keyring, a bundle that no device of the fleet would run is not written. Exit code 5: it is none of that, or its\n\
        bytes are not what their digest says."
    )]
    Pull(pull::Pull),
}

impl Plugin {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        match self {
            Self::New(new) => new.run(desk),
            Self::Build(build) => build.run(desk),
            Self::Sign(sign) => sign.run(desk),
            Self::Grant(grant) => grant.run(desk),
            Self::Inspect(inspect) => inspect.run(desk),
            Self::Check(check) => check.run(desk),
            Self::Test(test) => test.run(desk),
            Self::Run(run) => run.run(desk),
            Self::Why(why) => why.run(desk),
            Self::Publish(publish) => publish.run(desk),
            Self::Ls(ls) => ls.run(desk),
            Self::Push(push) => push.run(desk),
            Self::Pull(pull) => pull.run(desk),
        }
    }
}

#[cfg(test)]
mod tests;
