//! `cargo xtask k8s up|down`: the programs of a Kubernetes control plane, built and started.
//!
//! Here: which programs there are, building them by Go from the modules that their authors released, and keeping them until they would come
//! out otherwise. Not here: how they are started, and the nodes (tests/k8s).
//!
//! Each folder of tests/k8s/programs is a module of Go that names a program and, by its `go.sum`, every byte that goes into it. What
//! a program was built from is kept beside it, word for word: where that is still so, nothing is built.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::programs::put;
use crate::setup::on_path;
use crate::steps::{run_for_at_most, run_loudly};
use crate::toolchain::say;
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

/// Where the modules are, from the root.
const MODULES: &str = "tests/k8s/programs";
/// The package that starts what is built here.
const PACKAGE: &str = "backstay-test-k8s";
/// Its program.
const PROGRAM: &str = "k8s-cluster";
/// The longest that one program may take: kube-apiserver needs three minutes of two idle cores.
const BUILD_MAX: Duration = Duration::from_secs(60 * 60);
/// What is shown of a build that failed: the compiler's last lines.
const SHOWN_LINES: usize = 20;

/// What to do where there is no Go.
pub(crate) const GO_HELP: &str = "install Go 1.26.8 or later: https://go.dev/dl";

/// A folder of [`MODULES`].
struct Module {
    name: &'static str,
    /// The module whose version is the programs' own.
    of: &'static str,
    /// Where in it they look for their version: without being told they say that they come from nowhere, and charts that ask for a
    /// Kubernetes of some age would not install.
    version: Option<&'static str>,
    /// Packages, and what their programs are called here.
    programs: &'static [(&'static str, &'static str)],
}

const ALL: &[Module] = &[
    Module {
        name: "etcd",
        of: "go.etcd.io/etcd/server/v3",
        version: None,
        programs: &[("go.etcd.io/etcd/server/v3", "etcd")],
    },
    Module {
        name: "kubernetes",
        of: "k8s.io/kubernetes",
        version: Some("k8s.io/component-base/version.gitVersion"),
        programs: &[
            ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
            ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
            ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ],
    },
    Module {
        name: "argo-rollouts",
        of: "github.com/argoproj/argo-rollouts",
        version: Some("github.com/argoproj/argo-rollouts/utils/version.version"),
        programs: &[
            ("github.com/argoproj/argo-rollouts/cmd/rollouts-controller", "rollouts-controller"),
            ("github.com/argoproj/argo-rollouts/cmd/kubectl-argo-rollouts", "kubectl-argo-rollouts"),
        ],
    },
    Module {
        name: "helm3",
        of: "helm.sh/helm/v3",
        version: Some("helm.sh/helm/v3/internal/version.version"),
        programs: &[("helm.sh/helm/v3/cmd/helm", "helm3")],
    },
    Module {
        name: "helm4",
        of: "helm.sh/helm/v4",
        version: Some("helm.sh/helm/v4/internal/version.version"),
        programs: &[("helm.sh/helm/v4/cmd/helm", "helm4")],
    },
];

/// The module that names where definitions of objects are read from, beside the programs'.
const DEFINITIONS: &str = "crds";

/// Which definitions are taken: the module, the folder in it, and how a file's name ends.
const DEFINED_IN: &[(&str, &str, &str)] = &[
    ("github.com/argoproj/argo-rollouts", "manifests/crds", "-crd.yaml"),
    ("github.com/argoproj/argo-cd/v3", "manifests/crds", "application-crd.yaml"),
    ("github.com/fluxcd/kustomize-controller", "config/crd/bases", ".yaml"),
    ("istio.io/api", "kubernetes", "customresourcedefinitions.gen.yaml"),
];

/// What a person wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Up,
    Down,
    Help,
}

impl Wish {
    pub(crate) fn parse(word: Option<&str>) -> Result<Self, String> {
        match word {
            Some("up") => Ok(Wish::Up),
            Some("down") => Ok(Wish::Down),
            None | Some("help") => Ok(Wish::Help),
            Some(other) => Err(format!("k8s is up or down, and not {other}")),
        }
    }
}

/// Why there are no programs.
pub(crate) enum Missing {
    /// This machine can't build them.
    Go(Trouble),
    /// It could, and they don't build.
    Broken(Trouble),
}

/// Does what a person wants.
pub(crate) fn run(workspace: &Workspace, wish: Wish) -> Result<(), Trouble> {
    if wish == Wish::Up {
        build(workspace).map_err(|missing| match missing {
            Missing::Go(trouble) | Missing::Broken(trouble) => trouble,
        })?;
    }
    let mut command = cargo();
    command.args(["build", "--quiet", "-p", PACKAGE, "--bin", PROGRAM]);
    run_loudly(&mut command, &format!("build {PROGRAM}"))?;
    let mut command = Command::new(workspace.target.join("debug").join(PROGRAM));
    match wish {
        Wish::Up => command.arg("up"),
        Wish::Down => command.arg("down"),
        Wish::Help => command.arg("help"),
    };
    if wish != Wish::Help {
        command.arg(folder(workspace).join("run"));
    }
    let status = command.env("BACKSTAY_K8S", folder(workspace)).status();
    let cannot = || Trouble::new(format!("cannot start {PROGRAM}"));
    match status.map_err(|why| cannot().why(why))? {
        status if status.success() => Ok(()),
        status => Err(cannot().why(format!("it ended with {status}; what it says is above"))),
    }
}

/// Where all of it is; the tests look there by themselves.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("k8s")
}

/// Builds what isn't there as it should be, and says how long each program took.
pub(crate) fn build(workspace: &Workspace) -> Result<(), Missing> {
    let bin = folder(workspace).join("bin");
    let broken = |trouble: Trouble| Missing::Broken(trouble);
    fs::create_dir_all(&bin)
        .map_err(|why| broken(Trouble::new(format!("cannot make {}", bin.display())).why(why)))?;
    let go = on_path("go").and_then(|_| say("go", &["version"]));
    let go = go.as_deref().map(str::trim);
    let mut stale = Vec::new();
    for module in ALL {
        let asked =
            Asked::read(workspace, module.name, module.flags(workspace).map_err(broken)?).map_err(broken)?;
        let is_there = module.programs.iter().all(|(_, name)| bin.join(name).is_file());
        if !is_there || !asked.is_built(&bin, go) {
            stale.push((module, asked));
        }
    }
    let definitions = Asked::read(workspace, DEFINITIONS, String::new()).map_err(broken)?;
    let are_stale =
        !definitions.is_built(&bin, go) || stale.iter().any(|(module, _)| module.name == "argo-rollouts");
    if stale.is_empty() && !are_stale {
        return Ok(());
    }
    let Some(go) = go else {
        let trouble = Trouble::new("the programs of a Kubernetes control plane are missing")
            .why("there is no go here, which builds them")
            .help(GO_HELP);
        return Err(Missing::Go(trouble));
    };
    let log = folder(workspace).join("build.log");
    let length: usize = stale.iter().map(|(module, _)| module.programs.len()).sum();
    let mut at = 0;
    for (module, asked) in &stale {
        for (package, name) in module.programs {
            at += 1;
            eprint!("k8s: [{at}/{length}] building {name} ... ");
            let began = Instant::now();
            go_build(&asked.folder, &asked.flags, package, &bin.join(name), &log).map_err(broken)?;
            let bytes = fs::metadata(bin.join(name)).map_or(0, |data| data.len());
            eprintln!("{} s, {} MB", began.elapsed().as_secs(), bytes / 1_000_000);
        }
        asked.is_built_now(&bin, go).map_err(broken)?;
    }
    if are_stale {
        define(workspace, &definitions).and_then(|()| definitions.is_built_now(&bin, go)).map_err(broken)?;
    }
    Ok(())
}

/// What a module asks for, and how it is built.
struct Asked {
    name: &'static str,
    folder: PathBuf,
    flags: String,
    files: String,
}

impl Asked {
    fn read(workspace: &Workspace, name: &'static str, flags: String) -> Result<Self, Trouble> {
        let folder = workspace.root.join(MODULES).join(name);
        let read = |file: &str| {
            let file = folder.join(file);
            fs::read_to_string(&file)
                .map_err(|why| Trouble::new(format!("cannot read {}", file.display())).why(why))
        };
        let files = read("go.mod")? + &read("go.sum")?;
        Ok(Asked { name, folder, flags, files })
    }

    /// The first line is Go's and ours, the rest is the module's: the tests compare that.
    fn from(&self, go: &str) -> String {
        format!("{go} {}\n{}", self.flags, self.files)
    }

    /// Without a Go nothing could be built otherwise, so what is there will do.
    fn is_built(&self, bin: &Path, go: Option<&str>) -> bool {
        let Ok(from) = fs::read_to_string(self.beside(bin)) else { return false };
        match go {
            Some(go) => from == self.from(go),
            None => from.split_once('\n').is_some_and(|(_, files)| files == self.files),
        }
    }

    fn is_built_now(&self, bin: &Path, go: &str) -> Result<(), Trouble> {
        let file = self.beside(bin);
        fs::write(&file, self.from(go))
            .map_err(|why| Trouble::new(format!("cannot write {}", file.display())).why(why))
    }

    fn beside(&self, bin: &Path) -> PathBuf {
        bin.join(format!("{}.from", self.name))
    }
}

impl Module {
    /// What the linker is told: no tables for a debugger, and the version.
    fn flags(&self, workspace: &Workspace) -> Result<String, Trouble> {
        let mut flags = "-s -w".to_owned();
        let Some(variable) = self.version else { return Ok(flags) };
        let file = workspace.root.join(MODULES).join(self.name).join("go.mod");
        let text = fs::read_to_string(&file)
            .map_err(|why| Trouble::new(format!("cannot read {}", file.display())).why(why))?;
        let version = version_of(&text, self.of)
            .ok_or_else(|| Trouble::new(format!("{} doesn't name {}", file.display(), self.of)))?;
        // Argo puts the `v` before it by itself.
        let told = if self.name == "argo-rollouts" { version.trim_start_matches('v') } else { version };
        let _ = write!(flags, " -X {variable}={told}");
        Ok(flags)
    }
}

/// The version of a module that a `go.mod` asks for.
fn version_of<'a>(text: &'a str, module: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let line = line.trim().strip_prefix("require ").unwrap_or(line.trim());
        line.strip_prefix(module)?.strip_prefix(' ')?.split(' ').next()
    })
}

fn go_build(folder: &Path, flags: &str, package: &str, to: &Path, log: &Path) -> Result<(), Trouble> {
    let failed = || Trouble::new(format!("cannot build {package}"));
    let unfinished = to.with_extension("part");
    let says = File::create(log).map_err(|why| failed().why(why))?;
    let mut command = Command::new("go");
    command.current_dir(folder).env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags", flags]);
    command.arg("-o").arg(&unfinished).arg(package);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(says);
    let status = run_for_at_most(BUILD_MAX, &mut command).map_err(|why| failed().why(why))?;
    if !status.success() {
        return Err(failed().why(last_lines(log)).help(format!("all of it is in {}", log.display())));
    }
    fs::rename(&unfinished, to).map_err(|why| failed().why(why))
}

/// Puts the definitions of others' objects where the tests read them, as their modules have them.
fn define(workspace: &Workspace, asked: &Asked) -> Result<(), Trouble> {
    let folder = folder(workspace).join(DEFINITIONS);
    let failed = || Trouble::new("cannot get the definitions of others' objects");
    // Those of another version may be called otherwise.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|why| failed().why(why))?;
    }
    fs::create_dir_all(&folder).map_err(|why| failed().why(why))?;
    let mut places = downloaded(&asked.folder)?;
    // Argo Rollouts' come from the very version that runs.
    let rollouts = "github.com/argoproj/argo-rollouts";
    let argo = workspace.root.join(MODULES).join("argo-rollouts");
    let list = Command::new("go").current_dir(argo).args(["list", "-m", "-f", "{{.Dir}}", rollouts]).output();
    let list = list.map_err(|why| failed().why(why))?;
    places.push((rollouts.into(), String::from_utf8_lossy(&list.stdout).trim().into()));
    for (module, within, ends) in DEFINED_IN {
        let place = places.iter().find(|(name, _)| name == module).map(|(_, place)| place.join(within));
        let place =
            place.ok_or_else(|| failed().why(format!("{} doesn't name {module}", asked.folder.display())))?;
        let files =
            fs::read_dir(&place).map_err(|why| failed().why(format!("{}: {why}", place.display())))?;
        let files = files.flatten().map(|file| file.path());
        let mut taken = 0;
        for file in files.filter(|file| file.to_string_lossy().ends_with(ends)) {
            let name = format!(
                "{}-{}",
                module.replace('/', "-"),
                file.file_name().unwrap_or_default().to_string_lossy()
            );
            put(&file, &folder.join(name))?;
            taken += 1;
        }
        if taken == 0 {
            return Err(failed().why(format!("there are none in {}", place.display())));
        }
    }
    Ok(())
}

/// The modules that a `go.mod` names, each with its folder in Go's cache. Go holds them against `go.sum`.
fn downloaded(folder: &Path) -> Result<Vec<(String, PathBuf)>, Trouble> {
    let failed = || Trouble::new(format!("cannot download what {} names", folder.join("go.mod").display()));
    let output = Command::new("go").current_dir(folder).args(["mod", "download", "-json"]).output();
    let output = output.map_err(|why| failed().why(why))?;
    let told = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let mut places = Vec::new();
    for module in told.map_while(Result::ok) {
        let text = |field: &str| module[field].as_str().unwrap_or_default().to_owned();
        if !text("Error").is_empty() {
            return Err(failed().why(text("Error")));
        }
        places.push((text("Path"), text("Dir").into()));
    }
    if output.status.success() {
        Ok(places)
    } else {
        Err(failed().why(String::from_utf8_lossy(&output.stderr)))
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("go: downloading")).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_a_module_asks_for() {
        let text = "module x\n\nrequire (\n\texample.org/a/b v1.0.0\n\texample.org/a v1.2.3 // indirect\n)\nrequire example.org/c v4.5.6\n";
        assert_eq!(version_of(text, "example.org/a"), Some("v1.2.3"));
        assert_eq!(version_of(text, "example.org/c"), Some("v4.5.6"));
        assert_eq!(version_of(text, "example.org/d"), None);
    }

    #[test]
    fn what_was_built_from_something_else_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let asked = |files: &str| Asked {
            name: "x",
            folder: PathBuf::new(),
            flags: "-s".into(),
            files: files.into(),
        };
        asked("module x\n").is_built_now(folder.path(), "go1.26.8").unwrap();
        assert!(asked("module x\n").is_built(folder.path(), Some("go1.26.8")));
        assert!(!asked("module x\n").is_built(folder.path(), Some("go1.26.9")));
        assert!(!asked("module y\n").is_built(folder.path(), Some("go1.26.8")));
        assert!(asked("module x\n").is_built(folder.path(), None));
        assert!(!asked("module y\n").is_built(folder.path(), None));
    }
}
