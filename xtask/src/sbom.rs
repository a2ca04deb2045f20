//! What a program that ships is made of: a bill of materials in the form of CycloneDX 1.5.
//!
//! Here: asking cargo, what is kept of its answer, and the JSON. Not here: what ships (`dist`, `package`), and whether a licence is one that we take
//! (`cargo xtask check --supply-chain`).
//!
//! Asked is `cargo tree` for the one package and target, and not `cargo metadata`: that one unites the features of the whole workspace, and
//! would put the server's compiler and its HTTP server into the agent. What cargo doesn't know is added: the standard library, and the C library of a static program.
//! Two of the same commit are the same bytes: everything is sorted, and there is neither a time nor a random number in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::toolchain;
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// What the file is called: as that which it is about, and this.
const ENDING: &str = "cdx.json";

/// One of our packages in what ships, built for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) package: String,
    pub(crate) target: String,
}

/// One version of one package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    name: String,
    version: String,
}

/// What is known of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ingredient {
    licence: String,
    /// In what ships; the others only help to build it: macros, build scripts, and what those use.
    ships: bool,
    uses: BTreeSet<Name>,
}

/// All ingredients of what ships.
#[derive(Debug, Default)]
struct Recipe {
    roots: BTreeSet<Name>,
    ingredients: BTreeMap<Name, Ingredient>,
    /// What cargo has no package for.
    libraries: BTreeSet<&'static str>,
}

/// What `cargo tree` is asked for: everything that is compiled, and of this what ships.
#[derive(Clone, Copy)]
enum Edges {
    Compiled,
    Shipped,
}

/// Writes the bill of `shipped`, a file, beside it.
pub(crate) fn write(
    workspace: &Workspace,
    shipped: &Path,
    version: &str,
    parts: &[Part],
) -> Result<PathBuf, Trouble> {
    let name = shipped.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = shipped.with_file_name(format!("{name}.{ENDING}"));
    let failed = || Trouble::new(format!("cannot write {}", file.display()));
    let mut recipe = Recipe::default();
    for part in parts {
        for edges in [Edges::Compiled, Edges::Shipped] {
            let tree = tree(workspace, part, edges)?;
            recipe.add(&tree, edges).ok_or_else(|| {
                failed()
                    .why(format!("`cargo tree -p {}` has a form that this xtask doesn't know", part.package))
            })?;
        }
        recipe.libraries.insert("std");
        if part.target.ends_with("-musl") {
            recipe.libraries.insert("musl");
        }
    }
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))
        .map_err(|why| failed().why(format!("Cargo.lock can't be read: {why}")))?;
    let about = About { file: &name, version, digest: &digest(shipped)?, parts, compiler: &compiler()? };
    let bill = bill(&about, &recipe, &checksums(&lock));
    fs::write(&file, format!("{bill:#}\n")).map_err(|why| failed().why(why))?;
    Ok(file)
}

/// What cargo builds for a part, each line `DEPTH NAME vVERSION ...|LICENCE`.
fn tree(workspace: &Workspace, part: &Part, edges: Edges) -> Result<String, Trouble> {
    let Part { package, target } = part;
    let edges = match edges {
        Edges::Compiled => "normal,build",
        Edges::Shipped => "normal,no-proc-macro",
    };
    let form = ["--prefix", "depth", "--format", " {p}|{l}"];
    workspace.cargo_tree(&[&["--locked", "-p", package, "--target", target, "-e", edges], &form[..]].concat())
}

impl Recipe {
    /// `None` where a line is not of the form that [`tree`] asks for.
    fn add(&mut self, tree: &str, edges: Edges) -> Option<()> {
        let mut above: Vec<Name> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let (depth, rest) = line.split_once(' ')?;
            let (package, licence) = rest.rsplit_once('|')?;
            // What was told before is told without what it uses.
            let licence = licence.strip_suffix(" (*)").unwrap_or(licence);
            let mut words = package.split(' ');
            let name =
                Name { name: words.next()?.to_owned(), version: words.next()?.strip_prefix('v')?.to_owned() };
            above.truncate(depth.parse().ok()?);
            match above.last() {
                Some(user) => {
                    self.ingredients.entry(user.clone()).or_default().uses.insert(name.clone());
                }
                None => {
                    self.roots.insert(name.clone());
                }
            }
            let ingredient = self.ingredients.entry(name.clone()).or_default();
            ingredient.licence = expression(licence);
            ingredient.ships |= matches!(edges, Edges::Shipped);
            above.push(name);
        }
        Some(())
    }
}

/// A licence as SPDX writes it: older packages say `MIT/Apache-2.0`.
fn expression(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// The digests of what came from a registry, by `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<Name, String> {
    lock.split("[[package]]")
        .filter_map(|entry| {
            let field = |name: &str| {
                let lines = entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
                lines.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
            };
            Some((Name { name: field("name")?, version: field("version")? }, field("checksum")?))
        })
        .collect()
}

/// What a bill says of that which it is about.
struct About<'a> {
    file: &'a str,
    version: &'a str,
    /// SHA-256 in hexadecimal.
    digest: &'a str,
    parts: &'a [Part],
    compiler: &'a str,
}

fn bill(about: &About<'_>, recipe: &Recipe, checksums: &BTreeMap<Name, String>) -> Value {
    let reference = |name: &Name| format!("{}@{}", name.name, name.version);
    let mut components = Vec::new();
    let roots = recipe.roots.iter().map(reference);
    let uses: Vec<_> = roots.chain(recipe.libraries.iter().map(|&name| name.to_owned())).collect();
    let mut dependencies = vec![json!({ "ref": about.file, "dependsOn": uses })];
    for (name, ingredient) in &recipe.ingredients {
        let mut component = json!({
            "type": "library",
            "bom-ref": reference(name),
            "name": name.name,
            "version": name.version,
            "scope": if ingredient.ships { "required" } else { "excluded" },
        });
        if !ingredient.licence.is_empty() {
            component["licenses"] = json!([{ "expression": ingredient.licence }]);
        }
        // What has no checksum in the lock file is ours and was never published.
        if let Some(checksum) = checksums.get(name) {
            component["purl"] =
                json!(format!("pkg:cargo/{}@{}", name.name, name.version.replace('+', "%2B")));
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        components.push(component);
        let uses: Vec<_> = ingredient.uses.iter().map(reference).collect();
        dependencies.push(json!({ "ref": reference(name), "dependsOn": uses }));
    }
    for &name in &recipe.libraries {
        components.push(library(name, about.compiler));
        dependencies.push(json!({ "ref": name, "dependsOn": [] }));
    }
    let parts: Vec<_> = about
        .parts
        .iter()
        .map(|part| json!({ "name": "backstay:part", "value": format!("{} for {}", part.package, part.target) }))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": about.file,
                "name": about.file,
                "version": about.version,
                "licenses": [{ "expression": "Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": about.digest }],
            },
            "properties": parts,
        },
        "components": components,
        "dependencies": dependencies,
    })
}

/// What the toolchain links in without a package.
fn library(name: &str, compiler: &str) -> Value {
    if name == "musl" {
        // The toolchain doesn't say which version it brings.
        return json!({
            "type": "library", "bom-ref": name, "name": name, "scope": "required",
            "description": format!("the C library, linked in, as Rust {compiler} brings it for this target"),
            "licenses": [{ "expression": "MIT" }],
        });
    }
    json!({
        "type": "library", "bom-ref": name, "name": name, "version": compiler, "scope": "required",
        "description": "Rust's standard library, as the toolchain brings it",
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    })
}

/// The version of the compiler in use.
fn compiler() -> Result<String, Trouble> {
    let told = toolchain::say("rustc", &["-vV"]);
    told.and_then(|told| told.lines().find_map(|line| line.strip_prefix("release: ").map(str::to_owned)))
        .ok_or_else(|| Trouble::new("cannot ask rustc for its version").help("is rustc on the PATH?"))
}

/// SHA-256 of a file, in hexadecimal.
fn digest(file: &Path) -> Result<String, Trouble> {
    let failed = || Trouble::new(format!("cannot compute the digest of {}", file.display()));
    let output = Command::new("sha256sum").arg("--").arg(file).stdin(Stdio::null()).output();
    let output = output.map_err(|why| failed().why(why).help("sha256sum is one of coreutils"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    match told.get(..64).filter(|_| output.status.success()) {
        Some(digest) => Ok(digest.to_owned()),
        None => Err(failed().why(String::from_utf8_lossy(&output.stderr))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPILED: &str = "\
0 backstay-agent v0.1.0 (/somewhere/runtime/agent)|Apache-2.0
1 serde v1.0.229|MIT/Apache-2.0
2 serde_derive v1.0.229 (proc-macro)|MIT OR Apache-2.0
3 unicode-ident v1.0.27|(MIT OR Apache-2.0) AND Unicode-3.0
1 toml v1.2.1+spec-1.1.0|MIT OR Apache-2.0
2 serde v1.0.229|MIT/Apache-2.0 (*)
";
    const SHIPPED: &str = "\
0 backstay-agent v0.1.0 (/somewhere/runtime/agent)|Apache-2.0
1 serde v1.0.229|MIT/Apache-2.0
1 toml v1.2.1+spec-1.1.0|MIT OR Apache-2.0
2 serde v1.0.229|MIT/Apache-2.0
";
    const LOCK: &str = "\
version = 4

[[package]]
name = \"backstay-agent\"
version = \"0.1.0\"

[[package]]
name = \"toml\"
version = \"1.2.1+spec-1.1.0\"
source = \"registry+somewhere\"
checksum = \"00ff\"
dependencies = [
 \"serde\",
]
";

    fn made() -> Value {
        let mut recipe = Recipe { libraries: ["std", "musl"].into(), ..Recipe::default() };
        recipe.add(COMPILED, Edges::Compiled).unwrap();
        recipe.add(SHIPPED, Edges::Shipped).unwrap();
        let parts = [Part { package: "backstay-agent".into(), target: "a-musl".into() }];
        let about =
            About { file: "agent", version: "0.1.0", digest: "abc", parts: &parts, compiler: "1.95.0" };
        bill(&about, &recipe, &checksums(LOCK))
    }

    fn component<'a>(bill: &'a Value, name: &str) -> &'a Value {
        let components = bill["components"].as_array().unwrap();
        components.iter().find(|component| component["name"] == name).unwrap()
    }

    #[test]
    fn what_only_helps_to_build_is_told_apart_from_what_ships() {
        let bill = made();
        let scope = |name: &str| component(&bill, name)["scope"].as_str().unwrap().to_owned();
        assert_eq!(["backstay-agent", "serde", "toml", "std", "musl"].map(scope), ["required"; 5]);
        assert_eq!(["serde_derive", "unicode-ident"].map(scope), ["excluded"; 2]);
    }

    #[test]
    fn licences_are_expressions_and_checksums_those_of_the_lock_file() {
        let bill = made();
        let licence = |name: &str| component(&bill, name)["licenses"][0]["expression"].clone();
        assert_eq!(licence("serde"), "MIT OR Apache-2.0");
        assert_eq!(licence("unicode-ident"), "(MIT OR Apache-2.0) AND Unicode-3.0");
        let toml = component(&bill, "toml");
        assert_eq!(toml["hashes"], json!([{ "alg": "SHA-256", "content": "00ff" }]));
        assert_eq!(toml["purl"], "pkg:cargo/toml@1.2.1%2Bspec-1.1.0");
        assert_eq!(component(&bill, "backstay-agent").get("purl"), None, "it was never published");
        assert!(!bill.to_string().contains("/somewhere"), "where it was built is nobody's business");
    }

    /// What is told only once by cargo is used by whoever is named above it, each time.
    #[test]
    fn everything_that_is_used_is_there_and_is_used_by_somebody() {
        let bill = made();
        let uses = |of: &str| {
            let all = bill["dependencies"].as_array().unwrap();
            let one = all.iter().find(|one| one["ref"] == of).unwrap();
            one["dependsOn"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(uses("agent"), ["backstay-agent@0.1.0", "musl", "std"]);
        assert_eq!(uses("backstay-agent@0.1.0"), ["serde@1.0.229", "toml@1.2.1+spec-1.1.0"]);
        assert_eq!(uses("toml@1.2.1+spec-1.1.0"), ["serde@1.0.229"]);
        assert_eq!(uses("serde_derive@1.0.229"), ["unicode-ident@1.0.27"]);
        assert_eq!(bill["components"].as_array().unwrap().len(), 7);
    }

    #[test]
    fn a_line_that_is_not_understood_is_no_shorter_list() {
        assert_eq!(Recipe::default().add("0 serde 1.0.229|MIT\n", Edges::Shipped), None);
        assert_eq!(Recipe::default().add("serde v1.0.229|MIT\n", Edges::Shipped), None);
    }

    /// The agent of this very tree: it has what it is made of, and nothing of the server's.
    #[test]
    fn the_agent_is_billed_without_what_the_server_asks_for() {
        let workspace = Workspace::read().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let shipped = folder.path().join("backstay-agent-0");
        fs::write(&shipped, "abc").unwrap();
        let target = toolchain::host().unwrap().to_owned();
        let parts = [Part { package: "backstay-agent".into(), target }];
        let file = write(&workspace, &shipped, "0", &parts).unwrap();
        assert_eq!(file.file_name().unwrap(), "backstay-agent-0.cdx.json");
        let text = fs::read_to_string(&file).unwrap();
        let bill: Value = serde_json::from_str(&text).unwrap();
        let names: BTreeSet<_> =
            bill["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert!(names.contains("wasmtime") && names.contains("backstay-core") && names.contains("ring"));
        assert!(!names.contains("cranelift-codegen") && !names.contains("axum"), "those are the server's");
        // FIPS 180-2, appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], digest);
        write(&workspace, &shipped, "0", &parts).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "told twice, it is the same");
    }
}
