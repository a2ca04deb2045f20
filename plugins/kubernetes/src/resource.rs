//! Where things are on the API server: kinds, and paths that only checked names go into.
//!
//! Not here: asking for them (`api`).

use alloc::{format, string::String};

/// A kind of object, by the group and version that it is asked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// Its version in the group.
    pub version: &'static str,
    /// What it is called in paths.
    pub plural: &'static str,
    /// What it is called in objects.
    pub kind: &'static str,
}

/// Kinds by the names that Kubernetes and the others give them.
macro_rules! kinds {
    ($($name:ident = $group:literal, $version:literal, $plural:literal, $kind:literal;)*) => {
        $(
            #[doc = concat!("`", $kind, "`.")]
            pub const $name: Kind = Kind { group: $group, version: $version, plural: $plural, kind: $kind };
        )*
    };
}

kinds! {
    PODS = "", "v1", "pods", "Pod";
    NODES = "", "v1", "nodes", "Node";
    EVENTS = "", "v1", "events", "Event";
    CONFIG_MAPS = "", "v1", "configmaps", "ConfigMap";
    SECRETS = "", "v1", "secrets", "Secret";
    DEPLOYMENTS = "apps", "v1", "deployments", "Deployment";
    REPLICA_SETS = "apps", "v1", "replicasets", "ReplicaSet";
    CONTROLLER_REVISIONS = "apps", "v1", "controllerrevisions", "ControllerRevision";
    STATEFUL_SETS = "apps", "v1", "statefulsets", "StatefulSet";
    AUTOSCALERS = "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler";
    BUDGETS = "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget";
    SELF_SUBJECT_REVIEWS = "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview";
    LEASES = "coordination.k8s.io", "v1", "leases", "Lease";
    ROLLOUTS = "argoproj.io", "v1alpha1", "rollouts", "Rollout";
    APPLICATIONS = "argoproj.io", "v1alpha1", "applications", "Application";
    KUSTOMIZATIONS = "kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization";
    HELM_RELEASES = "helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease";
    DESTINATION_RULES = "networking.istio.io", "v1", "destinationrules", "DestinationRule";
}

impl Kind {
    /// One object of a namespace.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Resource {
        let mut resource = self.of(namespace);
        resource.path.push('/');
        push_encoded(&mut resource.path, name);
        resource
    }

    /// All objects of a namespace.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Resource {
        let mut path = self.root();
        path.push_str("/namespaces/");
        push_encoded(&mut path, namespace);
        path.push('/');
        path.push_str(self.plural);
        Resource { path, asked: false }
    }

    /// One object that is in no namespace.
    #[must_use]
    pub fn of_cluster(&self, name: &str) -> Resource {
        let mut resource = self.all();
        resource.path.push('/');
        push_encoded(&mut resource.path, name);
        resource
    }

    /// All objects of all namespaces.
    #[must_use]
    pub fn all(&self) -> Resource {
        Resource { path: format!("{}/{}", self.root(), self.plural), asked: false }
    }

    /// `apps/v1`, as objects say it of themselves.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

/// Where something is on the API server: a path, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    path: String,
    asked: bool,
}

impl Resource {
    /// A part of an object with rules of its own: `status`, `scale`, `eviction`, `resize`.
    #[must_use]
    pub fn part(mut self, name: &'static str) -> Self {
        self.path.push('/');
        self.path.push_str(name);
        self
    }

    /// One more key of the query, in any text.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        self.path.push(if self.asked { '&' } else { '?' });
        self.asked = true;
        self.path.push_str(key);
        self.path.push('=');
        push_encoded(&mut self.path, value);
        self
    }

    /// The path with its query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Appends `text` with everything as `%XX` that isn't the same in every part of an address (RFC 3986, unreserved).
fn push_encoded(path: &mut String, text: &str) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.extend(
                [usize::from(byte >> 4), usize::from(byte & 15)].iter().filter_map(|&at| HEX.get(at)),
            );
        }
    }
}

/// Whether `text` can name an object: a DNS subdomain as RFC 1123 has it, 1 to 253 of `a-z`, `0-9`, `-` and `.`, an
/// alphanumeric at both ends of each label.
#[must_use]
pub fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_where_kubernetes_has_them() {
        let rollout = ROLLOUTS.named("prod", "shop").part("status");
        assert_eq!(rollout.path(), "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop/status");
        let pods = PODS.of("prod").with("labelSelector", "app in (a,b)").with("limit", "100");
        assert_eq!(
            pods.path(),
            "/api/v1/namespaces/prod/pods?labelSelector=app%20in%20%28a%2Cb%29&limit=100"
        );
        assert_eq!(NODES.of_cluster("n1").path(), "/api/v1/nodes/n1");
        assert_eq!((PODS.api_version().as_str(), DEPLOYMENTS.api_version().as_str()), ("v1", "apps/v1"));
    }

    #[test]
    fn no_name_leads_elsewhere() {
        assert_eq!(PODS.named("a/b", "../x?y#z").path(), "/api/v1/namespaces/a%2Fb/pods/..%2Fx%3Fy%23z");
        let long = "a".repeat(254);
        assert!(["a", "shop", "a-1.b", "0"].into_iter().all(is_dns_name));
        assert!(!["", "A", "-a", "a-", "a..b", "a/b", "..", "ä", &long].into_iter().any(is_dns_name));
    }
}
