//! What happens to a workload, and what a tool answers.

use super::Template;

/// What is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A Helm release with a Deployment in it.
    Helm,
    /// A Deployment alone.
    Deployment,
    /// A Rollout of Argo Rollouts: half of the pods, a pause until somebody goes on, then all of them.
    Rollout,
}

/// How a release is shipped with Helm. With the others there is one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipping {
    /// `helm upgrade`: it is deployed as soon as it is written.
    Plain,
    /// `helm upgrade --wait`: it fails if its pods don't come up in time.
    Waits,
    /// `helm upgrade --atomic`: and then Helm goes back by itself.
    Atomic,
    /// `helm upgrade --wait`, killed while it waits.
    Killed,
}

/// How a workload is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How many old revisions are kept: `revisionHistoryLimit`, or `--history-max`.
    pub limit: usize,
    /// How the first release was installed.
    pub first: Shipping,
    /// Which Helm it is managed by.
    pub helm: HelmVersion,
}

/// Which Helm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelmVersion {
    /// Helm 3.
    Three,
    /// Helm 4. Its records keep which revision they brought back, and Helm 3's only say it until something fails.
    Four,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A release is shipped, or the same one with another configuration. Restarts are in no pipeline's template.
    Ships {
        /// Which.
        release: usize,
        /// Under which configuration.
        config: usize,
        /// How.
        how: Shipping,
    },
    /// All pods are made anew, as `kubectl rollout restart` and `kubectl argo rollouts restart` do it.
    Restarts,
    /// A Rollout's canary gets all the traffic.
    Promotes,
    /// A Rollout's canary is given up: its template stays.
    Aborts,
    /// Somebody undoes by hand, as the tool does it without a number.
    Undoes,
    /// The server under test goes home: to this revision.
    GoesHome {
        /// Its number.
        revision: u64,
    },
    /// Somebody deletes the ReplicaSet of an old revision.
    Forgets {
        /// Its number.
        revision: u64,
    },
    /// Somebody pauses a Deployment.
    Pauses,
}

/// What is asked for a way back, by a person who knows nothing but the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// `helm rollback shop`.
    HelmPrevious,
    /// `helm rollback shop 1`.
    HelmFirst,
    /// `helm rollback shop N` with the newest that `helm history` calls superseded.
    HelmSuperseded,
    /// `kubectl rollout undo`.
    Kubectl,
    /// `kubectl argo rollouts undo`.
    Argo,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It says that it did, and this is what is asked for now.
    Moved(Template),
    /// It says that there is nothing to do, or what it did changes no template.
    Stayed,
    /// It wouldn't.
    Refused,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Helm, Self::Deployment, Self::Rollout];

    /// The tools that bring one of these back.
    #[must_use]
    pub const fn tools(self) -> &'static [Tool] {
        match self {
            Self::Helm => &[Tool::HelmPrevious, Tool::HelmFirst, Tool::HelmSuperseded],
            Self::Deployment => &[Tool::Kubectl],
            Self::Rollout => &[Tool::Argo],
        }
    }

    /// In words.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Helm => "Helm release",
            Self::Deployment => "Deployment",
            Self::Rollout => "Rollout",
        }
    }
}

impl Tool {
    /// As it is typed.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::HelmPrevious => "helm rollback",
            Self::HelmFirst => "helm rollback 1",
            Self::HelmSuperseded => "helm rollback <newest superseded>",
            Self::Kubectl => "kubectl rollout undo",
            Self::Argo => "kubectl argo rollouts undo",
        }
    }
}
