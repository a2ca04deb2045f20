//! From a core module to a component, and from a component to native code. For the server and the build.
//!
//! The code is for the baseline of a kind of machine, never for the one that compiles: it has to run on the
//! oldest device. What is signed for is compiled twice and has to come out the same, byte for byte: a grant names it by
//! its digest, and somebody else has to be able to check that.

use std::{
    any::Any,
    error, fmt,
    panic::{self, AssertUnwindSafe},
};

use backstay_model::Version;
use backstay_trust::{Artifact, EngineProfile, Target, World};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{Resolve, WorldId, WorldItem};

use crate::{
    engine, engine_profile,
    stub::{self, Stubbed},
    world_executor, world_policy,
};

/// The largest component that is looked at, in bytes. One from JavaScript or Python is the largest kind.
const COMPONENT_BYTES_MAX: usize = 32 << 20;
/// How a core module begins: its magic, and a version that no component has.
const CORE_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// The exact version of the compiler, as grants name it. A test holds it against the lock file.
const COMPILER: &str = "48.0.8";

/// A kind of machine that code can be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    /// Linux on x86_64.
    X86_64Linux,
    /// Linux on aarch64.
    Aarch64Linux,
    /// The portable engine: bytecode for where no native code may be trusted.
    Pulley64,
}

impl Machine {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::X86_64Linux, Self::Aarch64Linux, Self::Pulley64];

    /// As grants name it.
    #[must_use]
    pub fn target(self) -> Target {
        let name = match self {
            Self::X86_64Linux => "x86_64-linux",
            Self::Aarch64Linux => "aarch64-linux",
            Self::Pulley64 => "pulley64",
        };
        Target::parse(name).expect("the machine is written down in the form that it has to have")
    }

    fn triple(self) -> &'static str {
        match self {
            Self::X86_64Linux => "x86_64-unknown-linux-gnu",
            Self::Aarch64Linux => "aarch64-unknown-linux-gnu",
            Self::Pulley64 => "pulley64",
        }
    }
}

/// Native code, with all that a grant says of it but its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What it is for.
    pub target: Target,
    /// For which engine.
    pub engine: EngineProfile,
    /// The exact version of the compiler.
    pub compiler: Version,
    /// The code.
    pub bytes: Vec<u8>,
}

/// Wraps a core module, built for wasm32-unknown-unknown against `wit/`, into a component.
///
/// # Errors
/// It isn't such a module.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    bound(module)?;
    let encode = || ComponentEncoder::default().module(module)?.validate(true).encode();
    encode().map_err(|source| CompileError::Module(source.into()))
}

/// The contract that a component is built for.
///
/// # Errors
/// It isn't a component, it is built for another contract, or it wants to import a function that there is no stub for.
pub fn world_of(component: &[u8]) -> Result<World, CompileError> {
    closed(component).map(|(world, _)| world)
}

/// The interfaces of the system that a component imports, sorted. When it is compiled, code of ours that has nothing
/// takes their place: no files, no network, a clock that stands still, the same random numbers in every call.
///
/// # Errors
/// As [`world_of`].
pub fn system_of(component: &[u8]) -> Result<Vec<String>, CompileError> {
    closed(component).map(|(_, stubbed)| stubbed.interfaces)
}

/// A component without a system, and its contract.
fn closed(component: &[u8]) -> Result<(World, Stubbed<'_>), CompileError> {
    bound(component)?;
    // What a compiler leaves is a module, and an easy mistake. A decoder takes it for a component that exports nothing.
    if component.starts_with(&CORE_MODULE) {
        return Err(CompileError::Component("it is a core module".into()));
    }
    let component = stub::unwrapped(component);
    let (resolve, world) = decode(component)?;
    let stubbed = stub::stub(component, &resolve, world)?;
    if !stubbed.interfaces.is_empty() {
        // It was taken apart: that it is whole again, and without the system, is for somebody else to say.
        let (resolve, world) = decode(&stubbed.bytes).map_err(|why| CompileError::Stub(why.into()))?;
        if let Some(import) = function_import(&resolve, world) {
            return Err(CompileError::Imports { import });
        }
    }
    // Every world of a component is called "root:component/root"; which one it is shows in what it exports.
    let exports = |name: &str| {
        let has = |item: &WorldItem| matches!(item, WorldItem::Function(function) if function.name == name);
        resolve.worlds.get(world).is_some_and(|world| world.exports.values().any(has))
    };
    match (exports("decide"), exports("step")) {
        (true, false) => Ok((world_policy(), stubbed)),
        (false, true) => Ok((world_executor(), stubbed)),
        (true, true) | (false, false) => Err(CompileError::NoWorld),
    }
}

fn decode(component: &[u8]) -> Result<(Resolve, WorldId), CompileError> {
    match wit_component::decode(component) {
        Ok(DecodedWasm::Component(resolve, world)) => Ok((resolve, world)),
        Ok(DecodedWasm::WitPackage(..)) => Err(CompileError::NoWorld),
        Err(source) => Err(CompileError::Component(source.into())),
    }
}

/// The first import that brings more than types.
fn function_import(resolve: &Resolve, world: WorldId) -> Option<String> {
    let world = resolve.worlds.get(world)?;
    let brings = |item: &WorldItem| match item {
        WorldItem::Interface { id, .. } => {
            resolve.interfaces.get(*id).is_none_or(|interface| !interface.functions.is_empty())
        }
        WorldItem::Function(_) => true,
        WorldItem::Type { .. } => false,
    };
    let (key, _) = world.imports.iter().find(|(_, item)| brings(item))?;
    Some(resolve.name_world_key(key))
}

/// Compiles a component for a kind of machine, without the system that it may import; twice, and compares: for whoever signs
/// for the code, or says that somebody can.
///
/// # Errors
/// As [`compile_once`], or two compilations differ.
pub fn compile_component(component: &[u8], machine: Machine) -> Result<Compiled, CompileError> {
    let (_, stubbed) = closed(component)?;
    let compiled = compile(&stubbed, machine)?;
    if compile(&stubbed, machine)? != compiled {
        return Err(CompileError::Unstable { target: compiled.target });
    }
    Ok(compiled)
}

/// Compiles a component for a kind of machine, without the system that it may import: for whoever tries it out at once.
///
/// # Errors
/// It isn't a component of a contract that is known here, or it can't be compiled.
pub fn compile_once(component: &[u8], machine: Machine) -> Result<Compiled, CompileError> {
    let (_, stubbed) = closed(component)?;
    compile(&stubbed, machine)
}

fn compile(stubbed: &Stubbed<'_>, machine: Machine) -> Result<Compiled, CompileError> {
    if is_composed(&stubbed.bytes) {
        return Err(CompileError::Composed);
    }
    let target = machine.target();
    let once = || -> wasmtime::Result<Vec<u8>> {
        let mut config = engine::settings()?;
        config.target(machine.triple())?;
        config.cranelift_nan_canonicalization(true);
        wasmtime::Engine::new(&config)?.precompile_component(&stubbed.bytes)
    };
    // A compiler that gives up in the middle is not worth the server that it runs in.
    let came = panic::catch_unwind(AssertUnwindSafe(once));
    let came = came.unwrap_or_else(|panic| Err(wasmtime::Error::msg(words(panic.as_ref()))));
    let bytes = came.map_err(|source| CompileError::Compile { target: target.clone(), source })?;
    if bytes.len() as u64 > Artifact::BYTES_MAX {
        return Err(CompileError::TooLarge { bytes: bytes.len() });
    }
    let compiler =
        Version::parse(COMPILER).expect("the version is written down in the form that it has to have");
    Ok(Compiled { target, engine: engine_profile(), compiler, bytes })
}

/// If components with code of their own are linked inside of it. What is handed from one to the other is copied by code
/// that sees both memories, and that is more than one memory in a module: the compiler panics where it is switched off.
#[expect(clippy::wildcard_enum_match_arm, reason = "nothing else begins or ends a part")]
fn is_composed(component: &[u8]) -> bool {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
        match payload {
            Payload::ComponentSection { .. } => depth += 1,
            // A module in it has an end as well, and modules are counted as they begin.
            Payload::ModuleSection { .. } if depth > 0 => return true,
            Payload::ModuleSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the compiler gave up: {}", said.as_deref().unwrap_or("it did not say why"))
}

fn bound(bytes: &[u8]) -> Result<(), CompileError> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(CompileError::TooLarge { bytes: bytes.len() });
    }
    Ok(())
}

/// Something that can't become native code.
#[derive(Debug)]
pub enum CompileError {
    /// "90000000 bytes are too many for a plugin"
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// "this can't be made a component"
    Module(Box<dyn error::Error + Send + Sync>),
    /// "this is no component"
    Component(Box<dyn error::Error + Send + Sync>),
    /// "this component is neither a policy nor an executor"
    NoWorld,
    /// "this component wants to import wasi:cli/environment@0.2.6"
    Imports {
        /// The first of what it wants.
        import: String,
    },
    /// "the system can't be taken out of this component"
    Stub(Box<dyn error::Error + Send + Sync>),
    /// "this component is composed of several"
    Composed,
    /// "it can't be compiled for aarch64-linux"
    Compile {
        /// For what.
        target: Target,
        /// Why.
        source: wasmtime::Error,
    },
    /// "compiled twice for aarch64-linux, it came out different"
    Unstable {
        /// For what.
        target: Target,
    },
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => write!(f, "{bytes} bytes are too many for a plugin"),
            Self::Module(_) => f.write_str("this can't be made a component"),
            Self::Component(_) => f.write_str("this is no component"),
            Self::NoWorld => f.write_str("this component is neither a policy nor an executor"),
            Self::Imports { import } => write!(f, "this component wants to import {import}"),
            Self::Stub(_) => f.write_str("the system can't be taken out of this component"),
            Self::Composed => f.write_str("this component is composed of several, each with code of its own"),
            Self::Compile { target, .. } => write!(f, "it can't be compiled for {target}"),
            Self::Unstable { target } => write!(f, "compiled twice for {target}, it came out different"),
        }
    }
}

impl error::Error for CompileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Module(source) | Self::Component(source) | Self::Stub(source) => Some(source.as_ref()),
            Self::Compile { source, .. } => Some(source.as_ref()),
            Self::TooLarge { .. }
            | Self::NoWorld
            | Self::Imports { .. }
            | Self::Composed
            | Self::Unstable { .. } => None,
        }
    }
}

impl CompileError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => Some(
                "a component has at most 32 MiB, and native code at most 48 MiB, of which a device takes 16",
            ),
            Self::Module(_) => Some("build it for wasm32-unknown-unknown with the contract in wit/"),
            Self::Component(_) => Some("make a component of it first"),
            Self::NoWorld => Some("export the world policy or the world executor of wit/, and not both"),
            Self::Imports { .. } => Some(
                "a plugin gets nothing but its arguments: build it without that import. \
                 WASI 0.2's cli, clocks, filesystem, io, random and sockets are replaced by what has nothing",
            ),
            Self::Stub(_) => {
                Some("build it with a toolchain that calls the system and does nothing else with it")
            }
            Self::Composed => Some(
                "link the modules before they become a component: one component, with one memory, is what is compiled",
            ),
            Self::Compile { .. } => Some(
                "build it for wasm32-unknown-unknown without SIMD, threads and other extensions, and with one memory",
            ),
            Self::Unstable { .. } => Some("do not sign it: report what was compiled, and with which version"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{COMPILER}\"\n")));
        assert!(engine::PROFILE.ends_with(COMPILER.split('.').next().unwrap()));
    }

    #[test]
    fn what_is_no_component_is_refused() {
        for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0", b"(component)", &[0; 1000]] {
            assert!(world_of(bytes).is_err());
            assert!(compile_component(bytes, Machine::X86_64Linux).is_err());
        }
        let error = world_of(&wat::parse_str("(component)").unwrap()).unwrap_err();
        assert!(matches!(error, CompileError::NoWorld), "{error}");
        let imports = r#"(component (import "wasi:http/types@0.2.6" (instance (export "get" (func)))))"#;
        let error = world_of(&wat::parse_str(imports).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "this component wants to import wasi:http/types@0.2.6");
    }
}
