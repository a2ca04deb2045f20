//! `cargo xtask deb`: the agent as a Debian package, for amd64 and arm64.
//!
//! Here: what is Debian's alone in the package, its control file, and building it from the programs in `target/dist`. Not here: building them (`dist`), what every device has and where
//! (`device`), what the maintainer scripts say (`firmware-integration/debian`), and that it installs (`install`). Why by `dpkg-deb` and not by
//! cargo-deb: `runtime/decisions/0034`.
//!
//! Two of the same agent are the same bytes: modes are given, owners are root, and no time is later than `SOURCE_DATE_EPOCH`, or 1970.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::device;
use crate::dist::{self, SHIPPED};
use crate::package::copy;
use crate::programs::AGENT;
use crate::setup::on_path;
use crate::signature;
use crate::toolchain::{ARM_GNU, ARM_MUSL, INTEL_MUSL};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// Where the files are that are Debian's alone.
const DEBIAN: &str = "firmware-integration/debian";

/// What dpkg runs, from [`DEBIAN`].
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// What dpkg asks about before it replaces a file that was changed on the device.
const CONFFILES: &str = "/etc/backstay/agent.toml\n";

/// What it has beside what every device has: from the root of the tree, and where it lies on a device.
const BESIDE: &[(&str, &str)] = &[
    ("firmware-integration/debian/agent.toml", "etc/backstay/agent.toml"),
    ("firmware-integration/debian/README.Debian", "usr/share/doc/backstay-agent/README.Debian"),
    ("firmware-integration/debian/copyright", "usr/share/doc/backstay-agent/copyright"),
];

/// Debian's word for a CPU, and the targets that its package is made of: of two agents, the static one, which needs no
/// library of the device.
const ARCHITECTURES: &[(&str, [&str; 2])] =
    &[("amd64", [INTEL_MUSL, "x86_64-unknown-linux-gnu"]), ("arm64", [ARM_MUSL, ARM_GNU])];

/// What is to be packed for one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    /// In the order of [`SHIPPED`].
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) architecture: &'static str,
}

/// Packs the agents in `target/dist`, sums up, signs, and tells; with `try_out`, each package is then installed, upgraded, removed and purged.
pub(crate) fn run(workspace: &Workspace, key: Option<&Path>, try_out: bool) -> Result<(), Trouble> {
    signature::ready(key)?;
    let agents = agents(workspace);
    if agents.is_empty() {
        return Err(
            Trouble::new("there is no agent in target/dist to be packed").help("run `cargo xtask dist`")
        );
    }
    let packages = pack_all(workspace)?;
    signature::seal(&workspace.target.join("dist"), key)?;
    println!("{}", table(&packages));
    if try_out {
        for agent in &agents {
            crate::install::try_out(workspace, agent)?;
        }
    }
    Ok(())
}

/// Packs each agent in `target/dist`; where `dpkg-deb` is missing, says so and packs none.
pub(crate) fn pack_all(workspace: &Workspace) -> Result<Vec<PathBuf>, Trouble> {
    if on_path("dpkg-deb").is_none() {
        eprintln!("no Debian package is made: there is no dpkg-deb here (its package is called dpkg)");
        return Ok(Vec::new());
    }
    let folder = workspace.target.join("dist");
    agents(workspace).iter().map(|agent| pack(workspace, agent, version(workspace), &folder)).collect()
}

/// One agent of this version for each architecture, if it was built with all that ships beside it.
fn agents(workspace: &Workspace) -> Vec<Agent> {
    let programs = |target: &&str| {
        let files: Vec<_> = SHIPPED.iter().map(|one| dist::place(workspace, target, *one)).collect();
        files.iter().all(|file| file.is_file()).then_some(files)
    };
    let one = |(architecture, targets): &(&'static str, [&str; 2])| {
        Some(Agent { programs: targets.iter().find_map(programs)?, architecture })
    };
    ARCHITECTURES.iter().filter_map(one).collect()
}

/// The agent's version, which is the package's too.
pub(crate) fn version(workspace: &Workspace) -> &str {
    workspace.package(AGENT).map_or("0", |package| &package.version)
}

/// Makes the package of one agent in `folder`.
pub(crate) fn pack(
    workspace: &Workspace,
    agent: &Agent,
    version: &str,
    folder: &Path,
) -> Result<PathBuf, Trouble> {
    let name = format!("{AGENT}_{version}_{}", agent.architecture);
    let staged = workspace.target.join("xtask/deb").join(&name);
    lay_out(workspace, agent, version, &staged)?;
    let file = folder.join(format!("{name}.deb"));
    let failed = || Trouble::new(format!("cannot make {}", file.display()));
    let epoch = env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".into());
    let output = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&staged, &file])
        .env("SOURCE_DATE_EPOCH", epoch)
        .stdin(Stdio::null())
        .output()
        .map_err(|why| failed().why(why))?;
    if output.status.success() {
        Ok(file)
    } else {
        Err(failed().why(String::from_utf8_lossy(&output.stderr)))
    }
}

/// Everything at its place in a folder that has nothing else, with the modes that it has on a device.
fn lay_out(workspace: &Workspace, agent: &Agent, version: &str, folder: &Path) -> Result<(), Trouble> {
    let failed = |why| Trouble::new(format!("cannot lay out {}", folder.display())).why(why);
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    device::lay_out(workspace, &agent.programs, folder)?;
    for (from, to) in BESIDE {
        copy(&workspace.root.join(from), &folder.join(to))?;
    }
    let (files, kib) = files_below(folder, "").map_err(failed)?;
    let sums = Command::new("md5sum").current_dir(folder).arg("--").args(&files).output().map_err(failed)?;
    let debian = folder.join("DEBIAN");
    for name in SCRIPTS {
        copy(&workspace.root.join(DEBIAN).join(name), &debian.join(name))?;
    }
    let programs = SHIPPED.iter().map(|one| folder.join("usr/bin").join(one.program));
    let bytes = programs.clone().map(fs::read).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let control = control(agent.architecture, version, kib, &bytes.concat());
    fs::write(debian.join("control"), control).map_err(failed)?;
    fs::write(debian.join("conffiles"), CONFFILES).map_err(failed)?;
    fs::write(debian.join("md5sums"), sums.stdout).map_err(failed)?;
    let runs: Vec<_> = SCRIPTS.iter().map(|name| debian.join(name)).chain(programs).collect();
    set_modes(folder, &runs).map_err(failed)
}

/// All files below a folder, relative and sorted, and the KiB that dpkg counts for them.
fn files_below(folder: &Path, inside: &str) -> std::io::Result<(Vec<String>, u64)> {
    let (mut files, mut kib) = (Vec::new(), 1);
    for entry in fs::read_dir(folder.join(inside))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        if entry.file_type()?.is_dir() {
            let (more, size) = files_below(folder, &name)?;
            files.extend(more);
            kib += size;
        } else {
            kib += entry.metadata()?.len().div_ceil(1024);
            files.push(name);
        }
    }
    files.sort();
    Ok((files, kib))
}

/// What everybody may read and run, or read, whatever the umask is here.
fn set_modes(path: &Path, runs: &[PathBuf]) -> std::io::Result<()> {
    let is_folder = path.is_dir();
    if is_folder {
        for entry in fs::read_dir(path)? {
            set_modes(&entry?.path(), runs)?;
        }
    }
    let mode = if is_folder || runs.iter().any(|run| run == path) { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn control(architecture: &str, version: &str, kib: u64, programs: &[u8]) -> String {
    let depends = depends(programs).join(", ");
    format!(
        "Package: {AGENT}\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: Backstay <backstay@localhost>\n\
         Installed-Size: {kib}\n\
         Depends: {depends}\n\
         Section: admin\n\
         Priority: optional\n\
         Description: keeps this device on a release that works\n \
         Judges the release that runs on the device, heals it, and goes home to the\n \
         last known good one, also where there is no network and nobody to ask.\n \
         Releases, keys and plugins are the operator's.\n"
    )
}

/// What the programs need of the device, found in their bytes: the newest version of glibc that a symbol of them asks for.
fn depends(programs: &[u8]) -> Vec<String> {
    // postinst, prerm and postrm use it.
    let mut depends = vec!["init-system-helpers (>= 1.54)".to_owned()];
    const MARK: &[u8] = b"GLIBC_2.";
    let minors = programs.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK);
    let minors = minors.filter_map(|(at, _)| {
        let digits = programs[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits
            .take(4)
            .fold(None, |number: Option<u32>, digit| Some(number.unwrap_or(0) * 10 + u32::from(digit - b'0')))
    });
    if let Some(minor) = minors.max() {
        depends.push(format!("libc6 (>= 2.{minor})"));
    }
    const UNWINDER: &[u8] = b"libgcc_s.so.1\0";
    if programs.windows(UNWINDER.len()).any(|bytes| bytes == UNWINDER) {
        depends.push("libgcc-s1".to_owned());
    }
    depends
}

/// For a person.
fn table(packages: &[PathBuf]) -> String {
    let mut lines = vec![format!("{:>9}  PACKAGE", "BYTES")];
    for file in packages {
        let bytes = fs::metadata(file).map_or(0, |data| data.len());
        lines.push(format!("{bytes:>9}  {}", file.display()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_needs_no_library_and_a_dynamic_one_the_newest_it_asks_for() {
        assert_eq!(depends(b"\x7fELF musl"), ["init-system-helpers (>= 1.54)"]);
        let dynamic = b"\0libgcc_s.so.1\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.3.4\0GLIBC_PRIVATE\0GLIBC_2.";
        let expected = ["init-system-helpers (>= 1.54)", "libc6 (>= 2.34)", "libgcc-s1"];
        assert_eq!(depends(dynamic), expected);
    }

    #[test]
    fn two_packages_of_the_same_agent_are_the_same_bytes() {
        if on_path("dpkg-deb").is_none() {
            eprintln!("skipped, because there is no dpkg-deb here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let programs: Vec<_> = SHIPPED.iter().map(|one| folder.path().join(one.program)).collect();
        let write = || {
            fs::write(&programs[0], "\x7fELF GLIBC_2.31\0").unwrap();
            fs::write(&programs[1], "\x7fELF GLIBC_2.28\0").unwrap();
        };
        write();
        // What is staged lies below the target folder, and must not meet what somebody else packs.
        let mut workspace = Workspace::read().unwrap();
        workspace.target = folder.path().join("target");
        let agent = Agent { programs: programs.clone(), architecture: "arm64" };
        let package = pack(&workspace, &agent, "1.2.3", folder.path()).unwrap();
        assert_eq!(package.file_name().unwrap(), "backstay-agent_1.2.3_arm64.deb");
        let first = fs::read(&package).unwrap();
        // Files of another time, made under another mask.
        fs::set_permissions(&programs[1], fs::Permissions::from_mode(0o600)).unwrap();
        write();
        pack(&workspace, &agent, "1.2.3", folder.path()).unwrap();
        assert!(fs::read(&package).unwrap() == first);

        let ask = |words: &[&str]| {
            let output = Command::new("dpkg-deb").args(words).arg(&package).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let told = ask(&["--contents"]);
        let line = |name: &str| told.lines().find(|line| line.ends_with(name)).unwrap().to_owned();
        for one in SHIPPED {
            assert!(line(&format!(" ./usr/bin/{}", one.program)).starts_with("-rwxr-xr-x root/root"));
        }
        assert!(line("/system/backstay-agent.service").starts_with("-rw-r--r-- root/root"));
        assert!(line(" ./etc/backstay/agent.toml").starts_with("-rw-r--r-- root/root"));
        assert!(told.contains("1970-01-01") && !told.contains("var/lib"), "{told}");
        let info = ask(&["--info"]);
        assert!(info.contains("Depends: init-system-helpers (>= 1.54), libc6 (>= 2.31)"), "{info}");
        assert!(
            ["conffiles", "md5sums", "postinst", "postrm", "prerm"].iter().all(|name| info.contains(name))
        );
    }
}
