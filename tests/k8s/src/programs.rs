//! Where the programs of the control plane are, and whether they are those that this tree asks for.
//!
//! Here: finding them. Not here: building them; `cargo xtask k8s` does, and leaves beside each what it was built from.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Where xtask says that the programs are.
const FOLDER: &str = "BACKSTAY_K8S";
/// Why there are none, if xtask knows.
const MISSING: &str = "BACKSTAY_K8S_MISSING";
/// The folders of `programs/`, each a module of Go with nothing in it but what it asks for.
const MODULES: [&str; 6] = ["etcd", "kubernetes", "argo-rollouts", "helm3", "helm4", "crds"];

/// The programs as they were built.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those that `cargo xtask k8s` built of this tree.
    ///
    /// # Errors
    /// In words, why there are none that could be used.
    pub fn find() -> Result<Self, String> {
        if let Some(why) = env::var_os(MISSING) {
            return Err(why.to_string_lossy().into_owned());
        }
        let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/k8s");
        let folder = env::var_os(FOLDER).map_or_else(usual, PathBuf::from);
        if !folder.join("bin").is_dir() {
            return Err("the control plane was not built: cargo xtask k8s up".into());
        }
        for module in MODULES {
            if built_from(&folder, module) != asked_for(module) {
                return Err(format!(
                    "what was built isn't what tests/k8s/programs/{module} asks for: cargo xtask k8s up"
                ));
            }
        }
        Ok(Self { folder })
    }

    /// One of them: `etcd`, `kube-apiserver`, `kube-controller-manager`, `kubectl`, `rollouts-controller`,
    /// `kubectl-argo-rollouts`, `helm3`, `helm4`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// The folder with other people's definitions of objects, as their modules have them.
    pub(crate) fn definitions(&self) -> PathBuf {
        self.folder.join("crds")
    }
}

/// What xtask wrote down beside a program: Go's version in the first line, then both files.
fn built_from(folder: &Path, module: &str) -> Option<String> {
    let from = fs::read_to_string(folder.join("bin").join(format!("{module}.from"))).ok()?;
    from.split_once('\n').map(|(_go, files)| files.to_owned())
}

fn asked_for(module: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(module);
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    Some(read("go.mod")? + &read("go.sum")?)
}
