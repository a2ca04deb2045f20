//! `backstay plugin why`: the chain from the vendor by the operator to the keyring, each link in a sentence.

use std::{collections::BTreeMap, path::PathBuf};

use backstay_host::{Machine, engine_profile};
use backstay_model::Digest;
use backstay_trust::{Bundle, Keyring, PluginError, Want};
use clap::Args;
use serde::Serialize;

use crate::{Desk, Exit, Failure, file};

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// What `plugin grant` wrote
    pub(super) bundle: PathBuf,
    /// The fleet's keyring
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: PathBuf,
}

#[derive(Debug, Serialize)]
struct Chain {
    runs: bool,
    links: Vec<Link>,
}

/// One link: what holds, in a sentence, and the digest that the next one is tied to.
#[derive(Debug, Serialize)]
struct Link {
    link: &'static str,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    holds: bool,
}

impl Why {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let keyring = file::read_keyring(&self.keyring)?;
        let bytes = file::read(&self.bundle, Bundle::BYTES_MAX)?;
        let bundle = Bundle::decode(&bytes).map_err(|why| {
            let help = why.help();
            let what = format!("cannot read {}", self.bundle.display());
            Failure::new(Exit::Untrusted, what).why(why).maybe_help(help)
        })?;
        let mut chain = Chain { runs: false, links: Vec::new() };
        let broken = chain.follow(&keyring, &bundle).err();
        desk.printer.show("plugin-why", &chain, || chain.text())?;
        match broken {
            Some(why) => Err(Failure::untrusted_plugin("the chain ends here: no device runs it", why)),
            None if chain.runs => Ok(Exit::Done),
            None => Err(Failure::new(Exit::Untrusted, "no code in the bundle is vouched for")
                .help("make the bundle anew: backstay plugin grant")),
        }
    }
}

impl Chain {
    fn link(&mut self, link: &'static str, holds: bool, digest: Option<Digest>, says: String) {
        self.links.push(Link { link, says, digest, holds });
    }

    fn follow(&mut self, keyring: &Keyring, bundle: &Bundle<'_>) -> Result<(), PluginError> {
        let parts = keyring.parts();
        let says = format!(
            "keyring {} of fleet {} is what you trust; compare its digest with the one that devices show",
            parts.number, parts.fleet
        );
        self.link("keyring", true, Some(*keyring.digest()), says);
        let release = keyring.verify_plugin_release(bundle.release)?;
        let said = release.release();
        let vendor = said.id.as_str().split('/').next().unwrap_or_default();
        let says = format!(
            "a key that the keyring gives to vendor {vendor} signed: component {} ({} bytes) is {} {}, release number {}",
            said.component.short(),
            said.component_bytes,
            said.id,
            said.version,
            release.stamp().sequence
        );
        self.link("vendor", true, Some(*release.digest()), says);
        let (engine, floors) = (engine_profile(), BTreeMap::new());
        let mut granted_by = None;
        for machine in Machine::ALL {
            let target = machine.target();
            let want = Want {
                target: &target,
                engine: &engine,
                world: &said.world,
                floors: &floors,
                attested: None,
            };
            let granted = match keyring.verify_grant(bundle.release, bundle.grant, &want) {
                Ok(granted) => granted,
                Err(PluginError::NoArtifact { .. }) => continue,
                Err(why) => return Err(why),
            };
            let artifact = granted.artifact();
            let Some(code) = bundle.artifact(&artifact.digest) else {
                let says = format!("code for {target} is granted, and not in this file");
                self.link("code", true, Some(artifact.digest), says);
                continue;
            };
            let verified = granted.with_artifact(code.to_vec())?;
            if granted_by.is_none() {
                let says = format!(
                    "an operator's key of the keyring signed: release {} may run in fleet {}, grant number {}, with {}",
                    release.digest().short(),
                    keyring.fleet(),
                    verified.stamp().sequence,
                    kinds(&verified),
                );
                self.link("operator", true, Some(*verified.grant()), says);
                granted_by = Some(*verified.grant());
            }
            let says = format!(
                "the grant names these {} bytes for {target}, made by compiler {}, and they are what the digest says",
                artifact.length, artifact.compiler
            );
            self.link("code", true, Some(artifact.digest), says);
            self.runs = true;
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Link { link, says, digest, .. } in &self.links {
            text.push_str(&format!("{link:<9} {}\n", crate::text::plain(says)));
            if let Some(digest) = digest {
                text.push_str(&format!("          {digest}\n"));
            }
        }
        text
    }
}

fn kinds(verified: &backstay_trust::VerifiedPlugin) -> String {
    let kinds: Vec<_> = verified.permissions().kinds().iter().map(ToString::to_string).collect();
    if kinds.is_empty() { "no effects".into() } else { format!("effects of the kinds {}", kinds.join(", ")) }
}
