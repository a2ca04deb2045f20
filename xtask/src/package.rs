//! `cargo xtask dist --server`: the server as it ships, in one archive for each CPU, and the checksums of all that ships.
//!
//! Here: what is in the archive and where it lies there, its build, and that what is packed answers. Not here: the agent (`dist`), an image
//! for a cluster (`image`), and signing the sums (`signature`): plugins are packed as components, because who runs a fleet signs and grants them.
//!
//! The archive lies as a machine has it, so that `tar -C /` installs it. Two of the same commit are the same bytes where the compiler is: names
//! are sorted, and times are `SOURCE_DATE_EPOCH`'s, or none.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::dist::{self, Output, Start};
use crate::plugins;
use crate::programs::put;
use crate::sbom::{self, Part};
use crate::setup::{self, Need};
use crate::signature;
use crate::steps::{run_long, run_loudly};
use crate::toolchain::{self, ARM_MUSL, INTEL_MUSL, WASM, cargo_for};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// The package and its program.
pub(crate) const SERVER: &str = "backstay";
/// What the archive is called, before version and target.
const NAME: &str = "backstay-server";
/// The profile that it ships in.
const PROFILE: &str = "release";

/// The checksums of all that ships, and their signature.
pub(crate) const SUMS: &str = "SHA256SUMS";
pub(crate) const SIGNATURE: &str = "SHA256SUMS.sig";

/// The plugin that devices alone have.
const OF_DEVICES: &str = "executor-ota";

/// What is packed beside the program and the plugins: from the root of the tree, and where it lies on a machine.
const BESIDE: &[(&str, &str)] = &[
    ("plugins/executor-helm/commands", "usr/share/backstay/helm"),
    ("plugins/executor-http-lb/commands", "usr/share/backstay/http-lb"),
    ("plugins/executor-commands/playbooks", "usr/share/backstay/playbooks"),
    ("kubernetes-integration/chart", "usr/share/backstay/chart"),
    ("kubernetes-integration/manifests", "usr/share/backstay/manifests"),
    ("kubernetes-integration/package/examples", "usr/share/doc/backstay/examples"),
    (
        "firmware-integration/systemd/backstay-server.service",
        "usr/lib/systemd/system/backstay-server.service",
    ),
    ("LICENSE", "usr/share/doc/backstay/LICENSE"),
    ("LICENSE", "LICENSE"),
    ("kubernetes-integration/package/INSTALL.md", "INSTALL.md"),
];

/// One archive.
#[derive(Debug)]
struct Packed {
    target: String,
    /// In `target/dist`.
    file: PathBuf,
    bytes: u64,
    program_bytes: u64,
    answers: Start,
}

/// Builds and packs the server for each of `targets`: static for both CPUs, if none is named.
pub(crate) fn run(
    workspace: &Workspace,
    targets: &[String],
    key: Option<&Path>,
    output: Output,
) -> Result<(), Trouble> {
    signature::ready(key)?;
    let both = [INTEL_MUSL.to_owned(), ARM_MUSL.to_owned()];
    let targets = if targets.is_empty() { &both[..] } else { targets };
    let mut packed = Vec::new();
    plugins::build(workspace)?;
    for target in targets {
        packed.push(pack(workspace, target)?);
    }
    signature::seal(&workspace.target.join("dist"), key)?;
    match output {
        Output::Table => println!("{}", table(&packed)),
        Output::Json => println!("{:#}", told(&packed)),
    }
    let broken = packed.iter().filter(|one| one.answers == Start::No);
    let broken: Vec<_> = broken.map(|one| one.file.display().to_string()).collect();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Trouble::new("what was packed does not answer, or not of its own example")
        .why(broken.join("\n"))
        .help("unpack it, and run `usr/bin/backstay check --config usr/share/doc/backstay/examples/backstay.toml`"))
}

/// Builds the server for one target as it ships, and gives its program.
pub(crate) fn build(workspace: &Workspace, target: &str) -> Result<PathBuf, Trouble> {
    let needs: &[Need] = match target {
        ARM_MUSL => &[Need::Arm, Need::ArmCompiler],
        INTEL_MUSL => &[Need::IntelMusl],
        _ if target == toolchain::host()? => &[],
        _ => {
            return Err(Trouble::new(format!("the server is not built for {target}"))
                .help(format!("there are {INTEL_MUSL}, {ARM_MUSL}, {}", toolchain::host()?)));
        }
    };
    setup::ensure_all(needs)?;
    let mut command = cargo_for(target, "build")?;
    command.env("CARGO_ENCODED_RUSTFLAGS", toolchain::without_paths(workspace)).args([
        "--release",
        "-p",
        SERVER,
        "--bin",
        SERVER,
    ]);
    run_long(&mut command, &format!("build {SERVER} for {target}"))?;
    let program = workspace.target.join(target).join(PROFILE).join(SERVER);
    let bytes = fs::read(&program)
        .map_err(|why| Trouble::new(format!("cannot look at {}", program.display())).why(why))?;
    dist::names_no_place(workspace, &program, &bytes)?;
    Ok(program)
}

/// Builds it, lays everything out in a folder of its own, tries it there if this machine can, and makes the archive.
fn pack(workspace: &Workspace, target: &str) -> Result<Packed, Trouble> {
    let program = build(workspace, target)?;
    let version = workspace.package(SERVER).map_or("0", |package| &package.version);
    let name = format!("{NAME}-{version}-{target}");
    let folder = workspace.target.join("dist/unpacked").join(&name);
    lay_out(workspace, &program, &folder)?;
    let answers = dist::tried(target, &folder.join("usr/bin").join(SERVER), &example(&folder));
    let file = archive(workspace, &name)?;
    sbom::write(workspace, &file, version, &parts(target, &folder)?)?;
    let length = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    Ok(Packed {
        target: target.to_owned(),
        bytes: length(&file),
        program_bytes: length(&program),
        file,
        answers,
    })
}

/// Makes `target/dist/NAME.tar.gz` of the folder `target/dist/unpacked/NAME`.
pub(crate) fn archive(workspace: &Workspace, name: &str) -> Result<PathBuf, Trouble> {
    let dist = workspace.target.join("dist");
    let file = dist.join(format!("{name}.tar.gz"));
    let epoch = env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".into());
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"]);
    // Who unpacks it as root has what everybody may read, whatever the umask was here.
    tar.arg("--mode=u=rwX,go=rX")
        .arg(format!("--mtime=@{epoch}"))
        .arg("--use-compress-program=gzip --best --no-name");
    tar.arg("--file").arg(&file).arg("--directory").arg(dist.join("unpacked")).arg(name);
    run_loudly(&mut tar, &format!("pack {name}"))?;
    Ok(file)
}

/// What is compiled of what is packed: the program, and each plugin.
fn parts(target: &str, folder: &Path) -> Result<Vec<Part>, Trouble> {
    let plugins = folder.join("usr/share/backstay/plugins");
    let entries = fs::read_dir(&plugins)
        .map_err(|why| Trouble::new(format!("cannot read {}", plugins.display())).why(why))?;
    let files = entries.flatten().map(|entry| entry.path());
    let components = files.filter(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    let mut parts: Vec<_> = components
        .filter_map(|file| {
            Some(Part { package: file.file_stem()?.to_str()?.to_owned(), target: WASM.into() })
        })
        .collect();
    parts.push(Part { package: SERVER.into(), target: target.to_owned() });
    parts.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(parts)
}

/// What the packed server is asked: whether it would take the example that is packed with it.
fn example(folder: &Path) -> Vec<String> {
    let examples = folder.join("usr/share/doc/backstay/examples");
    let path = |name: &str| examples.join(name).display().to_string();
    ["check", "--quiet", "--config", &path("backstay.toml"), "--targets", &path("targets.d")]
        .map(Into::into)
        .into()
}

/// Everything at its place, in a folder that has nothing else.
fn lay_out(workspace: &Workspace, program: &Path, folder: &Path) -> Result<(), Trouble> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .map_err(|why| Trouble::new(format!("cannot empty {}", folder.display())).why(why))?;
    }
    copy(program, &folder.join("usr/bin").join(SERVER))?;
    for (from, to) in BESIDE {
        copy(&workspace.root.join(from), &folder.join(to))?;
    }
    let components = fs::read_dir(workspace.plugins())
        .map_err(|why| Trouble::new(format!("cannot read {}", workspace.plugins().display())).why(why))?;
    for file in components.flatten().map(|entry| entry.path()).filter(|file| is_of_server(file)) {
        let name = file.file_name().unwrap_or_default();
        copy(&file, &folder.join("usr/share/backstay/plugins").join(name))?;
    }
    Ok(())
}

/// Whether it is a component of a plugin that the server runs, or what its vendor says of it.
fn is_of_server(file: &Path) -> bool {
    let ends = |end: &str| file.extension().is_some_and(|extension| extension == end);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    (ends("wasm") || (ends("toml") && file.with_extension("wasm").is_file())) && stem != OF_DEVICES
}

/// Copies a file, or a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    let failed = || Trouble::new(format!("cannot copy {} to {}", from.display(), to.display()));
    if from.is_dir() {
        fs::create_dir_all(to).map_err(|why| failed().why(why))?;
        for entry in fs::read_dir(from).map_err(|why| failed().why(why))? {
            let entry = entry.map_err(|why| failed().why(why))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(above) = to.parent() {
        fs::create_dir_all(above).map_err(|why| failed().why(why))?;
    }
    put(from, to)
}

/// Writes `SHA256SUMS` of all that lies in a folder, agents and archives. A signature of those before is taken away.
pub(crate) fn sum(folder: &Path) -> Result<(), Trouble> {
    signature::withdraw(folder)?;
    let sums = folder.join(SUMS);
    let failed = || Trouble::new(format!("cannot write {}", sums.display()));
    let entries = fs::read_dir(folder).map_err(|why| failed().why(why))?.flatten();
    let mut names: Vec<_> =
        entries.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name()).collect();
    names.retain(|name| {
        name.to_str().is_some_and(|name| name.starts_with("backstay-") && !name.ends_with(".part"))
    });
    names.sort();
    let output = Command::new("sha256sum").current_dir(folder).args(names).stdin(Stdio::null()).output();
    let output = output.map_err(|why| failed().why(why).help("sha256sum is one of coreutils"))?;
    if !output.status.success() {
        return Err(failed().why(String::from_utf8_lossy(&output.stderr)));
    }
    fs::write(&sums, output.stdout).map_err(|why| failed().why(why))
}

/// For a person.
fn table(packed: &[Packed]) -> String {
    let mut lines =
        vec![format!("{:<28} {:>10} {:>10}  {:<9} ARCHIVE", "TARGET", "PROGRAM", "PACKED", "ANSWERS")];
    for one in packed {
        lines.push(format!(
            "{:<28} {:>10} {:>10}  {:<9} {}",
            one.target,
            one.program_bytes,
            one.bytes,
            one.answers.word(),
            one.file.display()
        ));
    }
    lines.join("\n")
}

/// For a program.
fn told(packed: &[Packed]) -> Value {
    let servers = packed.iter().map(|one| {
        json!({
            "target": one.target, "bytes": one.bytes, "program_bytes": one.program_bytes, "file": one.file, "answers": one.answers.told(),
        })
    });
    json!({ "servers": servers.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &Path, text: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn plugins_of_the_server_are_packed_with_their_manifests_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in
            ["policy-tree.wasm", "policy-tree.toml", "executor-ota.wasm", "executor-ota.toml", "Cargo.toml"]
        {
            write(&at(name), "");
        }
        let is = |name: &str| is_of_server(&at(name));
        assert!(is("policy-tree.wasm") && is("policy-tree.toml"));
        assert!(!is("executor-ota.wasm") && !is("executor-ota.toml") && !is("Cargo.toml") && !is("plugin"));
    }

    /// The bill of an archive is about all that was compiled for it.
    #[test]
    fn an_archive_is_made_of_the_server_and_of_each_plugin_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["policy-tree.wasm", "policy-tree.toml", "executor-db.wasm"] {
            write(&folder.path().join("usr/share/backstay/plugins").join(name), "");
        }
        let parts = parts(INTEL_MUSL, folder.path()).unwrap();
        let parts: Vec<_> = parts.iter().map(|part| (&*part.package, &*part.target)).collect();
        assert_eq!(parts, [(SERVER, INTEL_MUSL), ("executor-db", WASM), ("policy-tree", WASM)]);
    }

    #[test]
    fn a_folder_is_copied_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from.join("a/b.sh"), "b");
        write(&from.join("c"), "c");
        copy(&from, &to.join("deep")).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/a/b.sh")).unwrap(), "b");
        assert_eq!(fs::read_to_string(to.join("deep/c")).unwrap(), "c");
        assert!(copy(&folder.path().join("none"), &to).unwrap_err().to_string().starts_with("cannot copy"));
    }

    /// What whoever downloads them checks by `sha256sum --check`.
    #[test]
    fn all_that_ships_has_a_checksum_and_what_is_unfinished_has_none() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("backstay-agent-1", "abc"),
            ("backstay-server-1.tar.gz", ""),
            ("backstay-agent-2.part", ""),
            ("notes", ""),
        ] {
            write(&folder.path().join(name), text);
        }
        write(&folder.path().join("unpacked/backstay-x"), "");
        sum(folder.path()).unwrap();
        // FIPS 180-2, appendix B.1, and the digest of nothing.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  backstay-agent-1\n\
                        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  backstay-server-1.tar.gz\n";
        assert_eq!(fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap(), expected);
    }
}
