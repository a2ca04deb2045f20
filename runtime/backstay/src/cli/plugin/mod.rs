//! `backstay plugin`: from source to a bundle that a device runs, in the steps of those who answer for them.
//!
//! A vendor builds and signs. An operator looks, compiles and grants. Neither is enough alone.

mod build;
mod grant;
mod inspect;
mod manifest;
mod sign;

use clap::Subcommand;

use crate::{Desk, Exit, Failure};

/// The largest component, in bytes. The compiler takes no larger one.
const COMPONENT_BYTES_MAX: usize = 32 << 20;

/// Plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Build a Rust crate into a portable component
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
}

impl Plugin {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        match self {
            Self::Build(build) => build.run(desk),
            Self::Sign(sign) => sign.run(desk),
            Self::Grant(grant) => grant.run(desk),
            Self::Inspect(inspect) => inspect.run(desk),
        }
    }
}

#[cfg(test)]
mod tests;
