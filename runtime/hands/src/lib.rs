//! What an instance does to the machine that it runs on, and how it looks at it.
//!
//! Here: probes, named commands, named endpoints, granted files, the supervised program, and artifacts fetched by
//! digest. Each is told exactly what it may touch, has a time and a size that it never exceeds, and answers in
//! the words of the model. Not here: slots (`slots`), messages (`link`), whether something *should* be done
//! (`core`), whether a plugin may ask for it (`host`), and writing down that it was (whoever calls).
//!
//! With the feature `server` there is also what only a server needs: endpoints with credentials, grants and JSON, commands
//! by SSH, and ending what outlived a server that was killed. No byte of it is in the device's agent.
//!
//! Everything runs on one tokio thread; what can only block (HTTP, big files) runs beside it on tokio's blocking
//! threads. All children die with the thread that started them; what those had started then lives on (`process`).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

#[cfg(feature = "server")]
mod certificate;
mod command;
#[cfg(feature = "server")]
mod credential;
mod depot;
mod endpoint;
mod fetch;
mod file;
#[cfg(feature = "server")]
mod grant;
#[cfg(feature = "server")]
mod guarded;
mod http;
#[cfg(feature = "server")]
mod json;
#[cfg(feature = "server")]
mod kept;
#[cfg(feature = "server")]
mod leftovers;
#[cfg(feature = "server")]
mod mask;
mod output;
#[cfg(feature = "server")]
mod place;
mod probe;
mod process;
#[cfg(feature = "server")]
mod prune;
#[cfg(feature = "server")]
mod secret;
#[cfg(test)]
#[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only a server's endpoints keep connections"))]
mod server;
#[cfg(feature = "server")]
mod session;
#[cfg(feature = "server")]
mod ssh;
mod supervised;
mod task;
#[cfg(feature = "testing")]
pub mod testing;

use backstay_model::{Answer, Deed};

pub use command::{Command, CommandError, Commands, ExtraArgs};
pub use depot::{Answered, Depot, DepotError};
pub use endpoint::{Endpoint, EndpointError, Endpoints};
pub use fetch::{BlocksError, Carriage, Fetch, FetchError, Fetched, SourceError, Sources};
pub use file::{Granted, Paths};
pub use http::{Roots, RootsError};
pub use probe::{FileAge, HttpProbe, Probe, ProbeError, ProbeKind, Probes, Sample};
pub use supervised::{Ended, Program, ProgramError, ProgramOutput, Supervised};
pub use task::{beside, spawn};
#[cfg(feature = "server")]
pub use {
    certificate::{ClientCertificate, ClientCertificateError},
    credential::{Credential, CredentialError, CredentialReader, CredentialSource, Unread},
    grant::{HttpGrant, HttpGrantError, Method},
    guarded::{Content, GuardedEndpoint, GuardedEndpointError, GuardedEndpoints},
    leftovers::{Leftovers, Mark},
    place::{Place, ServerCommand, ServerCommandError, ServerCommands},
    secret::Secret,
    ssh::{Ssh, SshError},
};

/// What runs may ask of this machine, as the configuration names it.
#[derive(Debug, Default)]
pub struct Hands {
    /// Named commands.
    pub commands: Commands,
    /// Named endpoints.
    pub endpoints: Endpoints,
    /// Files below granted paths.
    pub paths: Paths,
}

impl Hands {
    /// Does what a run asked for. `None`: the deed is not for hands, but for slots, the link, or the caller's
    /// clock and journal. Dropped before it ends, it leaves no process behind.
    pub async fn perform(&self, deed: &Deed) -> Option<Answer> {
        match deed {
            Deed::Http { endpoint, method, path, body } => {
                Some(self.endpoints.request(endpoint, method, path, body).await)
            }
            Deed::Run { command, args } => Some(self.commands.run(command, args).await),
            Deed::File { path, content: None } => Some(self.paths.read(path)),
            Deed::File { path, content: Some(content) } => Some(self.paths.replace(path, content)),
            Deed::Slot(_) | Deed::Publish { .. } | Deed::Sleep { .. } | Deed::Attach { .. } => None,
        }
    }
}

/// What runs may ask of a server's machine, and of others by it, as the configuration names it.
#[cfg(feature = "server")]
#[derive(Debug, Default)]
pub struct ServerHands {
    /// Named commands, here and on other machines.
    pub commands: ServerCommands,
    /// Named endpoints.
    pub endpoints: GuardedEndpoints,
    /// Files below granted paths.
    pub paths: Paths,
}

#[cfg(feature = "server")]
impl ServerHands {
    /// Does what a run asked for. `None`: the deed is not for hands. Dropped before it ends, it leaves no process behind
    /// on this machine; [`ServerCommands::run`] says what it leaves on another.
    pub async fn perform(&self, deed: &Deed) -> Option<Answer> {
        match deed {
            Deed::Http { endpoint, method, path, body } => {
                Some(self.endpoints.request(endpoint, method, path, body).await)
            }
            Deed::Run { command, args } => Some(self.commands.run(command, args).await),
            Deed::File { path, content: None } => Some(self.paths.read(path)),
            Deed::File { path, content: Some(content) } => Some(self.paths.replace(path, content)),
            Deed::Slot(_) | Deed::Publish { .. } | Deed::Sleep { .. } | Deed::Attach { .. } => None,
        }
    }
}
