//! What the tests against a real Kubernetes control plane share: starting one, asking it, nodes for it, and a server of
//! ours before it.
//!
//! Real are etcd, kube-apiserver, kube-controller-manager, Argo Rollouts' controller, kubectl and both Helms, built by
//! `cargo xtask k8s up` from the modules that their authors released. Not real are the nodes: the [`Kubelet`] binds pods and
//! tells of them as kubelets do, but **no container runs, and no packet is routed**. What a test shows of a crash, of memory or of
//! an image is what Kubernetes' objects say of it, and nothing of a kernel.
//!
//! Not here: what is tested; that stands in `tests/`, one file for each subject.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed assumption fails the test"))]
#![expect(clippy::panic, reason = "a program that doesn't start fails the test that needs it")]

mod api;
mod clock;
mod control_plane;
mod credentials;
mod definitions;
mod gate;
pub mod histories;
mod host;
mod kubelet;
pub mod objects;
mod plant;
mod process;
mod programs;
mod standing;

pub use api::{Api, Refusal, until, until_within};
pub use control_plane::{ControlPlane, Namespace};
pub use gate::{Gate, Moment, Passed, Stop};
pub use host::{Cut, Host, Ran};
pub use kubelet::{Fault, Kubelet, Node, Resize};
pub use plant::{Keys, Plant, Watch};
pub use programs::Programs;
pub use standing::Standing;
