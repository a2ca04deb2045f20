//! `cargo xtask image`: the server's images for a cluster, from what this tree builds and nothing that is pulled.
//!
//! Here: what goes into them, laid out in `target/image` as the Containerfile takes it, and the builders that can put it together. Not here: what is
//! in which image and why (kubernetes-integration/image/Containerfile), and bringing one to a registry.
//!
//! Where there is no builder all is laid out the same, and said to be skipped: the folder can be taken to a machine that has one.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::k8s;
use crate::package::{self, SERVER, copy};
use crate::setup::on_path;
use crate::steps::run_loudly;
use crate::toolchain::{self, INTEL_MUSL};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// Says what is in which image.
const CONTAINERFILE: &str = "kubernetes-integration/image/Containerfile";
/// The commands of the executor that runs Helm.
const HELM_COMMANDS: &str = "plugins/executor-helm/commands";
/// What these call, all of it busybox.
const APPLETS: &[&str] = &["sh", "awk", "cut", "dirname", "mktemp", "rm", "tail"];
/// Debian's packages of what is static in the second image, and what is taken of each.
const FROM_DEBIAN: &[(&str, &[(&str, &str)])] = &[
    (
        "busybox-static",
        &[
            ("bin/busybox", "bin/busybox"),
            ("usr/share/doc/busybox-static/copyright", "usr/share/doc/busybox-static/copyright"),
        ],
    ),
    (
        "tini",
        &[
            ("usr/bin/tini-static", "usr/bin/tini"),
            ("usr/share/doc/tini/copyright", "usr/share/doc/tini/copyright"),
        ],
    ),
];

/// What a person says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// A folder of bundles, as the operators granted them. Without it there are none in the image.
    pub(crate) bundles: Option<OsString>,
    /// Which Helm is in the second one, as a static program. Without it: Helm 4, as tests/k8s builds it.
    pub(crate) helm: Option<OsString>,
}

/// One that is made: the stage of the Containerfile, and what stands behind the version in its tag.
struct Image {
    stage: &'static str,
    suffix: String,
}

/// Lays everything out, and makes the images if there is something that can.
pub(crate) fn run(workspace: &Workspace, wish: &Wish) -> Result<(), Trouble> {
    let bundles = wish.bundles.as_ref().map(from_where_called).transpose()?;
    let helm = wish.helm.as_ref().map(from_where_called).transpose()?;
    let folder = workspace.target.join("image");
    let major = lay_out(workspace, &folder, bundles.as_deref(), helm.as_deref())?;
    let version = workspace.package(SERVER).map_or("0", |package| &package.version);
    // The one that the other is made of comes last: buildah takes away what a stage was made of, also where it has a name.
    let images = [
        Image { stage: "helm", suffix: format!("-helm{major}") },
        Image { stage: "plain", suffix: String::new() },
    ];
    let file = workspace.root.join(CONTAINERFILE);
    let Some(builder) = Builder::find() else {
        println!(
            "skipped, because there is no buildah here, no podman, and no docker that answers. All that goes in is in {}:",
            folder.display()
        );
        for image in &images {
            let tag = format!("{SERVER}:{version}{}", image.suffix);
            println!(
                "  buildah build --file {CONTAINERFILE} --target {} --tag {tag} {}",
                image.stage,
                folder.display()
            );
        }
        return Ok(());
    };
    for image in images {
        let tag = format!("{SERVER}:{version}{}", image.suffix);
        let archive = workspace.target.join("dist").join(format!(
            "{SERVER}-image-{version}{}-{}.tar",
            image.suffix,
            env::consts::ARCH
        ));
        builder.make(&file, image.stage, &tag, &folder)?;
        builder.save(&tag, &archive)?;
        let bytes = fs::metadata(&archive).map_or(0, |data| data.len());
        println!("{tag:<24} {bytes:>10} bytes  {}", archive.display());
    }
    package::sum(&workspace.target.join("dist"))
}

/// A path that a person wrote, who may stand in any folder of the tree.
fn from_where_called(path: impl AsRef<Path>) -> Result<PathBuf, Trouble> {
    // Commands go to the root of the tree; the shell told where they were called.
    let called = env::var_os("PWD").map(PathBuf::from).unwrap_or_default();
    let path = called.join(path);
    fs::canonicalize(&path).map_err(|why| Trouble::new(format!("cannot find {}", path.display())).why(why))
}

/// All that goes in, in a folder that has nothing else. Gives which Helm it is.
fn lay_out(
    workspace: &Workspace,
    folder: &Path,
    bundles: Option<&Path>,
    helm: Option<&Path>,
) -> Result<u32, Trouble> {
    let failed = |why: std::io::Error| Trouble::new(format!("cannot make {}", folder.display())).why(why);
    if !cfg!(target_arch = "x86_64") {
        return Err(Trouble::new("the image is made on x86_64 alone")
            .help("take target/dist's archive for your CPU, and the Containerfile"));
    }
    let program = package::build(workspace, INTEL_MUSL)?;
    let helm = match helm {
        Some(helm) => helm.to_owned(),
        None => built_helm(workspace)?,
    };
    let major = major(&helm)?;
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder.join("bundles")).map_err(failed)?;
    copy(&program, &folder.join(SERVER))?;
    copy(&helm, &folder.join("helm"))?;
    copy(&workspace.root.join(HELM_COMMANDS), &folder.join("helm-commands"))?;
    copy(&workspace.root.join("LICENSE"), &folder.join("LICENSE"))?;
    if let Some(bundles) = bundles {
        copy(bundles, &folder.join("bundles"))?;
    }
    let shell = folder.join("shell");
    unpack(&workspace.target.join("debian"), &shell)?;
    for applet in APPLETS {
        symlink("busybox", shell.join("bin").join(applet)).map_err(failed)?;
    }
    Ok(major)
}

fn built_helm(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    k8s::build(workspace).map_err(|missing| match missing {
        k8s::Missing::Go(trouble) => trouble.help("or say --helm FILE: a static Helm 3 or 4"),
        k8s::Missing::Broken(trouble) => trouble,
    })?;
    Ok(k8s::folder(workspace).join("bin/helm4"))
}

/// Whether it is Helm 3 or 4, by its own word; and that it needs nothing beside it, where there is nothing.
fn major(helm: &Path) -> Result<u32, Trouble> {
    let program = helm.display().to_string();
    let wrong = |why: &str| Trouble::new(format!("{program} is no Helm for the image")).why(why.to_owned());
    let told =
        toolchain::say(&program, &["version", "--short"]).ok_or_else(|| wrong("`version --short` fails"))?;
    let version = told.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    let major =
        version.filter(|major| (3..=4).contains(major)).ok_or_else(|| wrong(&format!("it says {told}")))?;
    let bytes = fs::read(helm).map_err(|why| wrong(&why.to_string()))?;
    if needs_an_interpreter(&bytes) {
        return Err(wrong("it is linked dynamically, and there are no libraries in the image"));
    }
    Ok(major)
}

/// Whether a 64-bit, little-endian ELF program is started by another one: a header `PT_INTERP` (3) of `elf(5)`.
fn needs_an_interpreter(program: &[u8]) -> bool {
    let short = |at: usize| Some(u16::from_le_bytes(*program.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_le_bytes(*program.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_le_bytes(*program.get(at..)?.first_chunk()?));
    let begin = long(32).and_then(|begin| usize::try_from(begin).ok());
    let (Some(begin), Some(size), Some(count)) = (begin, short(54), short(56)) else { return false };
    let mut kinds =
        (0..usize::from(count)).map(|number| word(begin.saturating_add(number * usize::from(size))));
    kinds.any(|kind| kind == Some(3))
}

/// Downloads Debian's packages, unless they are there, and takes what is wanted of them. Nothing is installed here.
fn unpack(debian: &Path, to: &Path) -> Result<(), Trouble> {
    for (name, files) in FROM_DEBIAN {
        let failed = || Trouble::new(format!("cannot unpack Debian's {name}"));
        let (kept, unpacked) = (debian.join(name), debian.join(name).join("unpacked"));
        if !unpacked.is_dir() {
            fs::create_dir_all(&kept).map_err(|why| failed().why(why))?;
            let mut command = Command::new("apt-get");
            command.current_dir(&kept).args(["--quiet", "--quiet", "download", name]).stderr(Stdio::null());
            run_loudly(&mut command, &format!("download Debian's {name}")).map_err(|trouble| {
                trouble.help(format!(
                    "is this a Debian? Elsewhere unpack the package {name} into {}",
                    unpacked.display()
                ))
            })?;
            let entries = fs::read_dir(&kept).map_err(|why| failed().why(why))?.flatten();
            let mut files = entries.map(|entry| entry.path());
            let file = files.find(|file| file.extension().is_some_and(|extension| extension == "deb"));
            let mut command = Command::new("dpkg-deb");
            command
                .arg("--extract")
                .arg(file.ok_or_else(|| failed().why("apt-get left no file"))?)
                .arg(&unpacked);
            run_loudly(&mut command, &format!("unpack Debian's {name}"))?;
        }
        for (from, place) in *files {
            copy(&unpacked.join(from), &to.join(place))?;
        }
    }
    Ok(())
}

/// What can make an image of a Containerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Builder {
    Buildah,
    Podman,
    Docker,
}

impl Builder {
    /// The first that is here. A docker is a client alone: its engine has to answer.
    fn find() -> Option<Self> {
        let all = [Builder::Buildah, Builder::Podman, Builder::Docker];
        let answers = |builder: &Builder| {
            on_path(builder.program()).is_some()
                && (*builder != Builder::Docker || toolchain::say("docker", &["info"]).is_some())
        };
        all.into_iter().find(answers)
    }

    fn program(self) -> &'static str {
        match self {
            Builder::Buildah => "buildah",
            Builder::Podman => "podman",
            Builder::Docker => "docker",
        }
    }

    fn make(self, file: &Path, stage: &str, tag: &str, folder: &Path) -> Result<(), Trouble> {
        let mut command = Command::new(self.program());
        command.args(["build", "--quiet", "--target", stage, "--tag", tag, "--file"]).arg(file);
        // Nothing is run in it, so that it takes no container, and the same bytes come out at any time.
        match self {
            Builder::Buildah => command.args(["--isolation", "chroot", "--timestamp", "0"]),
            Builder::Podman => command.args(["--timestamp", "0"]),
            Builder::Docker => command.env("SOURCE_DATE_EPOCH", "0"),
        };
        run_loudly(command.arg(folder).stdout(Stdio::null()), &format!("make {tag} by {}", self.program()))
    }

    /// An archive as `docker load`, `podman load`, `ctr images import` and `kind load image-archive` take it.
    fn save(self, tag: &str, archive: &Path) -> Result<(), Trouble> {
        if let Some(above) = archive.parent() {
            fs::create_dir_all(above)
                .map_err(|why| Trouble::new(format!("cannot make {}", above.display())).why(why))?;
        }
        // No builder writes over one that is there.
        let _ = fs::remove_file(archive);
        let mut command = Command::new(self.program());
        match self {
            Builder::Buildah => command
                .args(["push", "--quiet", tag])
                .arg(format!("docker-archive:{}:{tag}", archive.display())),
            Builder::Podman | Builder::Docker => command.args(["save", "--output"]).arg(archive).arg(tag),
        };
        run_loudly(command.stdout(Stdio::null()), &format!("write {}", archive.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of one header, of that kind.
    fn program(kind: u8) -> Vec<u8> {
        let mut program = vec![0; 64 + 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[32], program[54], program[56], program[64]) = (64, 56, 1, kind);
        program
    }

    #[test]
    fn a_program_that_needs_libraries_is_seen() {
        assert!(needs_an_interpreter(&program(3)));
        assert!(!needs_an_interpreter(&program(1)));
        assert!(!needs_an_interpreter(b"#!/bin/sh"));
    }

    /// Each program that the scripts call has a name in the image, and a program that none calls has not.
    #[test]
    fn the_image_has_the_programs_that_the_scripts_call() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let script = fs::read_to_string(root.join(HELM_COMMANDS).join("helm-look.sh")).unwrap();
        let code: Vec<&str> = script.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let words: Vec<&str> = code
            .iter()
            .flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-'))
            .collect();
        for applet in APPLETS.iter().filter(|applet| **applet != "sh") {
            assert!(words.contains(applet), "{applet} is called by nobody");
        }
        for other in [
            "sed", "grep", "head", "tr", "sort", "cat", "date", "wc", "env", "find", "xargs", "mv", "cp",
            "id", "sleep",
        ] {
            assert!(!words.contains(&other), "{other} is called and has no name in the image");
        }
        assert!(script.starts_with("#!/bin/sh\n"));
    }

    #[test]
    fn each_stage_that_is_made_stands_in_the_containerfile() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let file = fs::read_to_string(root.join(CONTAINERFILE)).unwrap();
        for stage in ["plain", "helm"] {
            assert!(file.contains(&format!(" AS {stage}\n")), "{stage}");
        }
        assert!(
            !file.lines().any(|line| line.starts_with("RUN ")),
            "nothing is run in it: it has no shell to run it by"
        );
    }
}
