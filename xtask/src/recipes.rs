//! The recipes for Yocto and Buildroot, as the tools that they are written for read them.
//!
//! Here: that BitBake's parser, Kconfig and make understand every line, and that what is installed is what the archive has. Not here: OpenEmbedded-Core and Buildroot themselves, which no package
//! registry has: what the recipes inherit is a stand-in, and what was tried with the real ones is in `docs/packages.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::device;
use crate::dist::SHIPPED;
use crate::package::copy;
use crate::setup::{Need, on_path};
use crate::toolchain;
use crate::workspace::Workspace;

const LAYER: &str = "firmware-integration/yocto/meta-backstay";
const EXTERNAL: &str = "firmware-integration/buildroot";

/// What a recipe says of a CPU in OpenEmbedded's words, and the target that its archive is for.
const CPUS: [(&str, &str); 2] =
    [("aarch64", "aarch64-unknown-linux-musl"), ("x86-64", "x86_64-unknown-linux-musl")];

/// What OpenEmbedded-Core's `bitbake.conf` says of what our recipes use, by the names that it has for it.
const CONFIGURATION: &str = "\
PN = \"${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[0] or 'unknown'}\"
PV = \"${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[1] or '1.0'}\"
BP = \"${PN}-${PV}\"
BBFILES = \"\"
LAYERSERIES_CORENAMES = \"wrynose\"
COMMON_LICENSE_DIR = \"/common-licenses\"
bindir = \"/usr/bin\"
sysconfdir = \"/etc\"
localstatedir = \"/var\"
systemd_system_unitdir = \"/usr/lib/systemd/system\"
";

/// What our recipes inherit: empty here.
const CLASSES: [&str; 3] = ["systemd", "deploy", "core-image"];

/// A Python that has what `need` brings, or a word on why not.
fn python(need: Need) -> Option<PathBuf> {
    if need.found().is_none() {
        eprintln!("skipped, because {need:?} is not here: `cargo xtask test` gets it");
        return None;
    }
    Some(toolchain::languages().join("python/bin/python"))
}

fn said(output: Output) -> Result<Value, String> {
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A folder with all that a recipe is read with.
struct Desk {
    folder: tempfile::TempDir,
    workspace: Workspace,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for class in CLASSES {
            let file = folder.path().join(format!("classes/{class}.bbclass"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        Self { folder, workspace: Workspace::read().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn version(&self) -> &str {
        crate::deb::version(&self.workspace)
    }

    /// What BitBake makes of a layer for a CPU.
    fn bitbake(&self, python: &Path, layer: &Path, cpu: &str) -> Result<Value, String> {
        let here = self.folder.path().display();
        let more = format!(
            "BBPATH = \"{here}\"\nOVERRIDES = \"{cpu}:qemuall\"\nUNPACKDIR = \"{here}/unpacked\"\nS = \"${{UNPACKDIR}}/${{BP}}\"\nB = \"{here}/built\"\n\
             D = \"{here}/image\"\nDEPLOYDIR = \"{here}/deployed\"\nIMAGE_ROOTFS = \"{here}/rootfs\"\nBACKSTAY_DIST = \"file://{here}\"\n"
        );
        fs::write(self.at("stand-in.conf"), format!("{CONFIGURATION}{more}")).unwrap();
        let script = self.workspace.root.join("xtask/recipes/bitbake.py");
        let mut command = Command::new(python);
        command.arg(script).arg(layer).arg(self.at("stand-in.conf")).current_dir(self.folder.path());
        said(command.output().unwrap())
    }

    /// An archive as `cargo xtask dist` lays it out, its programs being words.
    fn unpack(&self, folder: &Path) {
        let programs: Vec<_> = SHIPPED.iter().map(|one| self.at(one.program)).collect();
        for program in &programs {
            fs::write(program, "a program").unwrap();
        }
        device::fill(&self.workspace, &programs, folder).unwrap();
    }
}

fn shell(script: &str) {
    let done = Command::new("sh").args(["-e", "-c", script]).status().unwrap();
    assert!(done.success(), "{script}");
}

/// All files and empty folders below a folder.
fn below(folder: &Path) -> Vec<String> {
    let output = Command::new("find")
        .current_dir(folder)
        .args([".", "!", "-type", "d", "-o", "-empty"])
        .output()
        .unwrap();
    let mut names: Vec<_> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line[2..].to_owned()).collect();
    names.sort();
    names
}

const AGENT_FILES: [&str; 4] = [
    "etc/backstay/agent.toml",
    "usr/bin/backstay-agent",
    "usr/lib/systemd/system/backstay-agent.service",
    "var/lib/backstay",
];

const SLOTS_FILES: [&str; 3] = [
    "usr/bin/backstay-slots",
    "usr/lib/systemd/system/backstay-agent.service.d/slots.conf",
    "usr/lib/systemd/system/backstay-confirm.service",
];

#[test]
fn bitbake_reads_every_recipe_and_what_they_install_is_in_the_archive() {
    let Some(python) = python(Need::BitBake) else { return };
    let desk = Desk::new();
    let layer = desk.workspace.root.join(LAYER);
    for (cpu, target) in CPUS {
        let archive = format!("backstay-device-{}-{target}.tar.gz", desk.version());
        fs::write(desk.at(&archive), "").unwrap();
        let told = desk.bitbake(&python, &layer, cpu).unwrap();
        assert_eq!(told["LAYERSERIES_COMPAT_backstay"], "scarthgap wrynose blacksail");
        assert_eq!(told["BACKSTAY_TREE"], desk.workspace.root.display().to_string());
        let recipes: BTreeMap<String, Value> = serde_json::from_value(told["recipes"].clone()).unwrap();
        assert_eq!(recipes.len(), 4);
        for recipe in recipes.values().filter(|recipe| recipe["PN"] != "backstay-ab-image") {
            assert_eq!(recipe["PV"], desk.version(), "{}", recipe["PN"]);
        }
        for (name, files) in [("backstay-agent", &AGENT_FILES[..]), ("backstay-slots", &SLOTS_FILES[..])] {
            let recipe = &recipes[&format!("recipes-backstay/backstay/{name}_{}.bb", desk.version())];
            assert_eq!(recipe["skipped"], Value::Null);
            let folder = format!("{name}-{}", desk.version());
            let uri =
                format!("file://{}/{archive};subdir={folder};striplevel=1", desk.folder.path().display());
            assert_eq!(recipe["SRC_URI"], uri);
            let unpacked = desk.at("unpacked").join(folder);
            desk.unpack(&unpacked);
            let license = Command::new("md5sum").arg(unpacked.join("LICENSE")).output().unwrap();
            let sum = String::from_utf8_lossy(&license.stdout)[..32].to_owned();
            assert_eq!(recipe["LIC_FILES_CHKSUM"], format!("file://LICENSE;md5={sum}"));
            shell(recipe["do_install"].as_str().unwrap());
            assert_eq!(below(&desk.at("image")), files);
            fs::remove_dir_all(desk.at("image")).unwrap();
        }

        let script =
            &recipes[&format!("recipes-bsp/backstay-boot-script/backstay-boot-script_{}.bb", desk.version())];
        let paths = script["FILESEXTRAPATHS"].as_str().unwrap();
        assert_eq!(script["SRC_URI"], "file://boot.cmd");
        assert!(paths.split(':').any(|path| Path::new(path).join("boot.cmd").is_file()), "{paths}");

        let image = &recipes["recipes-core/images/backstay-ab-image.bb"];
        assert!(image["IMAGE_INSTALL"].as_str().unwrap().ends_with(" backstay-agent backstay-slots"));
        assert!(Path::new(image["WKS_FILE"].as_str().unwrap()).is_file());
        assert_eq!(image["BACKSTAY_BOOT_SOURCE"], "bootimg_partition");
        assert!(image["ROOTFS_POSTPROCESS_COMMAND"].as_str().unwrap().contains("backstay_data_partition"));
        fs::create_dir_all(desk.at("rootfs/etc")).unwrap();
        shell(image["backstay_data_partition"].as_str().unwrap());
        let fstab = fs::read_to_string(desk.at("rootfs/etc/fstab")).unwrap();
        assert!(fstab.starts_with("LABEL=backstay-data /var/lib/backstay ext4 nofail,"), "{fstab}");
        fs::remove_dir_all(desk.at("rootfs")).unwrap();
    }
}

/// Another build has other recipes, too: they are not held up by an archive that nobody made.
#[test]
fn without_an_archive_a_recipe_is_left_out_and_says_what_to_do() {
    let Some(python) = python(Need::BitBake) else { return };
    let desk = Desk::new();
    let told = desk.bitbake(&python, &desk.workspace.root.join(LAYER), "aarch64").unwrap();
    let recipe = |name: &str| &told["recipes"][format!("recipes-{name}_{}.bb", desk.version())]["skipped"];
    for name in ["backstay/backstay/backstay-agent", "backstay/backstay/backstay-slots"] {
        let why = recipe(name).as_str().unwrap();
        assert!(why.contains("run `cargo xtask dist aarch64-unknown-linux-musl`"), "{why}");
    }
    assert_eq!(*recipe("bsp/backstay-boot-script/backstay-boot-script"), Value::Null);
}

/// That the parser is one.
#[test]
fn a_mistake_in_a_recipe_is_found() {
    let Some(python) = python(Need::BitBake) else { return };
    let desk = Desk::new();
    let layer = desk.at("layer");
    copy(&desk.workspace.root.join(LAYER), &layer).unwrap();
    let file = layer.join(format!("recipes-backstay/backstay/backstay-slots_{}.bb", desk.version()));
    let good = fs::read_to_string(&file).unwrap();
    for (bad, told) in [
        (good.replace("}\n", "\n"), "unclosed function"),
        (good.replace("require ", "requires "), "unparsed line"),
        (format!("{good}\ninherit nothing-of-that-name\n"), "nothing-of-that-name"),
    ] {
        fs::write(&file, bad).unwrap();
        let why = desk.bitbake(&python, &layer, "aarch64").unwrap_err();
        assert!(why.contains(told), "{why}");
    }
}

/// What Buildroot's own files say before ours are read.
const BUILDROOT: &str = "\
config BR2_aarch64
\tbool \"aarch64\"
config BR2_x86_64
\tbool \"x86_64\"
config BR2_arm
\tbool \"arm\"
config BR2_INIT_SYSTEMD
\tbool \"systemd\"
source \"$BR2_EXTERNAL_BACKSTAY_PATH/Config.in\"
";

#[test]
fn kconfig_offers_the_agent_where_it_can_run_and_nowhere_else() {
    let Some(python) = python(Need::Kconfig) else { return };
    let desk = Desk::new();
    fs::write(desk.at("Config.in"), BUILDROOT).unwrap();
    let external = desk.workspace.root.join(EXTERNAL);
    let values = |symbols: &[&str]| {
        let script = desk.workspace.root.join("xtask/recipes/kconfig.py");
        let mut command = Command::new(&python);
        command
            .arg(script)
            .arg(desk.at("Config.in"))
            .args(symbols)
            .env("BR2_EXTERNAL_BACKSTAY_PATH", &external);
        let told = said(command.output().unwrap()).unwrap();
        assert_eq!(told["warnings"], Value::Array(Vec::new()));
        ["BR2_PACKAGE_BACKSTAY_AGENT", "BR2_PACKAGE_BACKSTAY_AGENT_SLOTS"]
            .map(|name| told["values"][name] == "y")
    };
    let wish = "BR2_PACKAGE_BACKSTAY_AGENT";
    for cpu in ["BR2_aarch64", "BR2_x86_64"] {
        assert_eq!(values(&[cpu, "BR2_INIT_SYSTEMD", wish]), [true, true]);
        assert_eq!(values(&[cpu, "BR2_INIT_SYSTEMD"]), [false, false], "it is asked for");
        assert_eq!(values(&[cpu, wish]), [false, false], "there is no unit without systemd");
    }
    assert_eq!(values(&["BR2_arm", "BR2_INIT_SYSTEMD", wish]), [false, false]);
}

/// What Buildroot's infrastructure does with a package's words, as far as ours go.
const INFRASTRUCTURE: &str = "\
INSTALL = install
qstrip = $(strip $(subst \",,$(1)))
include $(BR2_EXTERNAL_BACKSTAY_PATH)/external.mk
$(BUILD)/.stamp_target_installed:
\t$(BACKSTAY_AGENT_INSTALL_TARGET_CMDS)
\t$(BACKSTAY_AGENT_INSTALL_INIT_SYSTEMD)
say:
\t@echo '$(BACKSTAY_AGENT_VERSION) $(BACKSTAY_AGENT_SITE_METHOD) $(BACKSTAY_AGENT_SITE)/$(BACKSTAY_AGENT_SOURCE) $(BR_NO_CHECK_HASH_FOR)'
";

#[test]
fn make_installs_what_the_archive_has() {
    if on_path("make").is_none() {
        eprintln!("skipped, because there is no make here");
        return;
    }
    let desk = Desk::new();
    fs::write(desk.at("Makefile"), INFRASTRUCTURE).unwrap();
    desk.unpack(&desk.at("build"));
    let external = desk.workspace.root.join(EXTERNAL);
    let make = |words: &[&str]| {
        let mut command = Command::new("make");
        command.arg("--warn-undefined-variables").arg("--directory").arg(desk.folder.path());
        let variables = [
            ("BR2_EXTERNAL_BACKSTAY_PATH", &external),
            ("BUILD", &desk.at("build")),
            ("TARGET_DIR", &desk.at("target")),
        ];
        command.args(variables.map(|(name, path)| format!("{name}={}", path.display()))).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (cpu, target) in [("BR2_aarch64=y", CPUS[0].1), ("BR2_x86_64=y", CPUS[1].1)] {
        let archive = format!("backstay-device-{}-{target}.tar.gz", desk.version());
        for (place, how) in [("/srv/dist", "file"), ("https://dist.example", "wget")] {
            let dist = format!("BR2_PACKAGE_BACKSTAY_AGENT_DIST=\"{place}\"");
            let told = make(&["--silent", cpu, &dist, "say"]);
            assert!(
                told.contains(&format!("{} {how} {place}/{archive} {archive}", desk.version())),
                "{told}"
            );
        }
    }
    let stamp = desk.at("build/.stamp_target_installed").display().to_string();
    make(&["BR2_PACKAGE_BACKSTAY_AGENT_SLOTS=", &stamp]);
    assert_eq!(below(&desk.at("target")), AGENT_FILES);
    make(&["BR2_PACKAGE_BACKSTAY_AGENT_SLOTS=y", &stamp]);
    let mut files = [&AGENT_FILES[..], &SLOTS_FILES[..2]].concat();
    files.sort_unstable();
    assert_eq!(below(&desk.at("target")), files);

    let hash = fs::read_to_string(external.join("package/backstay-agent/backstay-agent.hash")).unwrap();
    let license = Command::new("sha256sum").arg(desk.workspace.root.join("LICENSE")).output().unwrap();
    let sum = String::from_utf8_lossy(&license.stdout)[..64].to_owned();
    assert!(hash.contains(&format!("sha256  {sum}  LICENSE\n")), "{hash}");
}
