//! The archive of what a device runs: what image builders (Yocto, Buildroot) unpack.
//!
//! Here: what lies where on a device, for this archive and for Debian's package alike, and the archive. Not here: building the programs (`dist`), what is Debian's alone
//! (`deb`), and the recipes that unpack it (`firmware-integration/yocto`, `firmware-integration/buildroot`).
//!
//! It lies as a device has it, so that `tar -C /` installs it, too.

use std::fs;
use std::path::{Path, PathBuf};

use crate::deb;
use crate::dist::{self, SHIPPED};
use crate::package::{archive, copy};
use crate::sbom;
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// What the archive is called, before version and target.
pub(crate) const NAME: &str = "backstay-device";

/// Where the units are in the tree.
const UNITS: &str = "firmware-integration/systemd";
/// The unit that is one on every device, and where it is one there.
const UNIT: &str = "backstay-agent.service";
const UNIT_PLACE: &str = "usr/lib/systemd/system";
/// The unit that no device has.
const OF_SERVERS: &str = "backstay-server.service";
/// Where the other units and drop-ins go: which of them a device wants, whoever builds it knows. Not below
/// `usr/share/doc`, which small images leave out.
pub(crate) const EXAMPLES: &str = "usr/share/backstay/examples";

/// What the archive has beside what every device has: from the root of the tree, and where it lies on a device.
const BESIDE: &[(&str, &str)] =
    &[("firmware-integration/debian/agent.toml", "etc/backstay/agent.toml"), ("LICENSE", "LICENSE")];

/// Packs what was built for a target into `target/dist`, with its bill of materials.
pub(crate) fn pack(workspace: &Workspace, target: &str) -> Result<PathBuf, Trouble> {
    let version = deb::version(workspace);
    let name = format!("{NAME}-{version}-{target}");
    let folder = workspace.target.join("dist/unpacked").join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|why| Trouble::new(format!("cannot empty {}", folder.display())).why(why))?;
    }
    let programs: Vec<_> = SHIPPED.iter().map(|one| dist::place(workspace, target, *one)).collect();
    fill(workspace, &programs, &folder)?;
    let file = archive(workspace, &name)?;
    let parts: Vec<_> = SHIPPED.iter().map(|one| dist::part(*one, target)).collect();
    sbom::write(workspace, &file, version, &parts)?;
    Ok(file)
}

/// All that is in the archive, at its place below `folder`.
pub(crate) fn fill(workspace: &Workspace, programs: &[PathBuf], folder: &Path) -> Result<(), Trouble> {
    lay_out(workspace, programs, folder)?;
    BESIDE.iter().try_for_each(|(from, to)| copy(&workspace.root.join(from), &folder.join(to)))
}

/// What every device has, at its place below `folder`: the programs, in the order of [`SHIPPED`], the agent's unit, and examples.
pub(crate) fn lay_out(workspace: &Workspace, programs: &[PathBuf], folder: &Path) -> Result<(), Trouble> {
    for (shipped, program) in SHIPPED.iter().zip(programs) {
        copy(program, &folder.join("usr/bin").join(shipped.program))?;
    }
    let units = workspace.root.join(UNITS);
    let failed = |why| Trouble::new(format!("cannot read {}", units.display())).why(why);
    for entry in fs::read_dir(&units).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let place = match name.to_str() {
            Some(OF_SERVERS) => continue,
            Some(UNIT) => UNIT_PLACE,
            _ => EXAMPLES,
        };
        copy(&units.join(&name), &folder.join(place).join(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_programs_and_one_unit_and_the_others_are_examples() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let mut workspace = Workspace::read().unwrap();
        for name in [UNIT, OF_SERVERS, "early.service", "backstay-agent.service.d/can.conf"] {
            let file = at("tree").join(UNITS).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, name).unwrap();
        }
        workspace.root = at("tree");
        let programs: Vec<_> = SHIPPED.iter().map(|one| at(one.program)).collect();
        for program in &programs {
            fs::write(program, program.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        lay_out(&workspace, &programs, &at("device")).unwrap();
        let read = |path: &str| fs::read_to_string(at("device").join(path)).ok();
        for one in SHIPPED {
            assert_eq!(read(&format!("usr/bin/{}", one.program)).as_deref(), Some(one.program));
        }
        assert_eq!(read(&format!("{UNIT_PLACE}/{UNIT}")).as_deref(), Some(UNIT));
        for name in ["early.service", "backstay-agent.service.d/can.conf"] {
            assert_eq!(read(&format!("{EXAMPLES}/{name}")).as_deref(), Some(name));
            assert_eq!(read(&format!("{UNIT_PLACE}/{name}")), None);
        }
        assert_eq!(read(&format!("{EXAMPLES}/{OF_SERVERS}")), None);
    }
}
