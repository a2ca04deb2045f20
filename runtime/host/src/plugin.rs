//! From a proof to something that can be called.

use std::{error, fmt};

use backstay_model::PluginId;
use backstay_trust::{EngineProfile, Target, VerifiedPlugin, World};
use wasmtime::component::{Component, InstancePre, Linker, types::ComponentItem};

use crate::{
    Engine, Executor, Policy, bindings, engine_profile, hosted::Loaded, sandbox::Sandbox, world_executor,
    world_policy,
};

/// The most that is looked into nested instances among a component's imports.
const DEPTH_MAX: u32 = 4;

/// A plugin that can be called.
#[derive(Debug)]
pub enum Plugin {
    /// Facts in, one decision out.
    Policy(Policy),
    /// A state and an event in, the next state and effects out.
    Executor(Executor),
}

impl Plugin {
    /// Loads the very bytes that were verified.
    ///
    /// # Errors
    /// The artifact is for another machine, engine or contract, or wants to import something.
    pub fn load(engine: &Engine, verified: &VerifiedPlugin) -> Result<Self, LoadError> {
        let plugin = || verified.id().clone();
        let artifact = verified.artifact();
        if artifact.engine != engine_profile() {
            let (has, wanted) = (artifact.engine.clone(), engine_profile());
            return Err(LoadError::OtherEngine { plugin: plugin(), has, wanted });
        }
        if artifact.target != *engine.target() {
            let (has, wanted) = (artifact.target.clone(), engine.target().clone());
            return Err(LoadError::OtherMachine { plugin: plugin(), has, wanted });
        }
        let broken = |source| LoadError::Broken { plugin: plugin(), source };
        let pre = prepare(engine, verified)?;
        let loaded = Loaded {
            engine: engine.clone(),
            id: plugin(),
            version: verified.version().clone(),
            grant: *verified.grant(),
            limits: verified.limits(),
            permissions: verified.permissions().clone(),
        };
        if *verified.world() == world_policy() {
            let pre = bindings::policy::PolicyPre::new(pre).map_err(broken)?;
            return Ok(Self::Policy(Policy { loaded, pre }));
        }
        if *verified.world() == world_executor() {
            let pre = bindings::executor::ExecutorPre::new(pre).map_err(broken)?;
            return Ok(Self::Executor(Executor { loaded, pre }));
        }
        Err(LoadError::OtherWorld { plugin: plugin(), has: verified.world().clone() })
    }

    /// Which plugin.
    #[must_use]
    pub fn id(&self) -> &PluginId {
        match self {
            Self::Policy(policy) => policy.id(),
            Self::Executor(executor) => executor.id(),
        }
    }

    /// The policy, if it is one.
    #[must_use]
    pub fn into_policy(self) -> Option<Policy> {
        match self {
            Self::Policy(policy) => Some(policy),
            Self::Executor(_) => None,
        }
    }

    /// The executor, if it is one.
    #[must_use]
    pub fn into_executor(self) -> Option<Executor> {
        match self {
            Self::Executor(executor) => Some(executor),
            Self::Policy(_) => None,
        }
    }
}

#[expect(unsafe_code, reason = "native code is taken on trust, and VerifiedPlugin is the proof of it")]
fn prepare(engine: &Engine, verified: &VerifiedPlugin) -> Result<InstancePre<Sandbox>, LoadError> {
    let broken = |source| LoadError::Broken { plugin: verified.id().clone(), source };
    // SAFETY: the engine does not check code, so whoever loads some has to know where it is from. These bytes are
    // the artifact that a grant names by its digest: an operator compiled them with our compiler and signed for
    // them, and `VerifiedPlugin` can be had only by checking that over these very bytes, which it owns.
    let component = unsafe { Component::deserialize(engine.wasm(), verified.bytes()) }.map_err(broken)?;
    if let Some(import) = first_import(engine, &component) {
        return Err(LoadError::Imports { plugin: verified.id().clone(), import });
    }
    // With nothing in it: what a component gets, it gets as an argument.
    Linker::new(engine.wasm()).instantiate_pre(&component).map_err(broken)
}

/// The first import that brings more than names for types.
fn first_import(engine: &Engine, component: &Component) -> Option<String> {
    let ty = component.component_type();
    let mut imports = ty.imports(engine.wasm());
    imports.find(|(_, item)| !only_types(engine, &item.ty, DEPTH_MAX)).map(|(name, _)| name.into())
}

/// Whether an import brings nothing but names for types. A contract's types come in that way; there is nothing
/// in them that could be called.
fn only_types(engine: &Engine, item: &ComponentItem, depth: u32) -> bool {
    match item {
        ComponentItem::Type(_) => true,
        ComponentItem::ComponentInstance(instance) => {
            depth > 0
                && instance.exports(engine.wasm()).all(|(_, item)| only_types(engine, &item.ty, depth - 1))
        }
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Resource(_) => false,
    }
}

/// A verified plugin that still can't be called here.
#[derive(Debug)]
pub enum LoadError {
    /// "plugin acme/pump is compiled for backstay-1/wasmtime-48, and this engine is ..."
    OtherEngine {
        /// Which plugin.
        plugin: PluginId,
        /// What it is compiled for.
        has: EngineProfile,
        /// What runs here.
        wanted: EngineProfile,
    },
    /// "plugin acme/pump is compiled for aarch64-linux, and this machine is x86_64-linux"
    OtherMachine {
        /// Which plugin.
        plugin: PluginId,
        /// What it is compiled for.
        has: Target,
        /// What runs here.
        wanted: Target,
    },
    /// "plugin acme/pump is built for acme:x/y@1.0.0, which nobody here speaks"
    OtherWorld {
        /// Which plugin.
        plugin: PluginId,
        /// What it is built for.
        has: World,
    },
    /// "plugin acme/pump wants to import wasi:cli/environment@0.2.6"
    Imports {
        /// Which plugin.
        plugin: PluginId,
        /// The first of what it wants.
        import: String,
    },
    /// "the code of plugin acme/pump can't be loaded"
    Broken {
        /// Which plugin.
        plugin: PluginId,
        /// Why.
        source: wasmtime::Error,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherEngine { plugin, has, wanted } => {
                write!(f, "plugin {plugin} is compiled for engine {has}, and this engine is {wanted}")
            }
            Self::OtherMachine { plugin, has, wanted } => {
                write!(f, "plugin {plugin} is compiled for {has}, and this machine is {wanted}")
            }
            Self::OtherWorld { plugin, has } => {
                write!(f, "plugin {plugin} is built for {has}, which nobody here speaks")
            }
            Self::Imports { plugin, import } => write!(f, "plugin {plugin} wants to import {import}"),
            Self::Broken { plugin, .. } => write!(f, "the code of plugin {plugin} can't be loaded"),
        }
    }
}

impl error::Error for LoadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Broken { source, .. } => Some(source.as_ref()),
            Self::OtherEngine { .. }
            | Self::OtherMachine { .. }
            | Self::OtherWorld { .. }
            | Self::Imports { .. } => None,
        }
    }
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::OtherEngine { .. } | Self::OtherMachine { .. } => {
                "compile it for this host, and sign a grant for it"
            }
            Self::OtherWorld { .. } => {
                "update this host, or build the plugin against the contract that it speaks"
            }
            Self::Imports { .. } => {
                "build it without a system interface (wasm32-unknown-unknown), or compose a stub in before the grant"
            }
            Self::Broken { .. } => "compile it again with this version, and sign a new grant",
        })
    }
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    use super::*;
    use crate::engine::settings;

    #[expect(unsafe_code, reason = "code that this test has compiled itself")]
    fn component(text: &str) -> (Engine, Component) {
        let mut config = settings().unwrap();
        config.cranelift_nan_canonicalization(true);
        let compiler = wasmtime::Engine::new(&config).unwrap();
        let code = compiler.precompile_component(&wat::parse_str(text).unwrap()).unwrap();
        let engine = Engine::new().unwrap();
        // SAFETY: the bytes come straight from the compiler.
        let component = unsafe { Component::deserialize(engine.wasm(), &code) }.unwrap();
        (engine, component)
    }

    #[test]
    fn only_names_for_types_may_be_imported() {
        let import = |text: &str| {
            let (engine, component) = component(text);
            first_import(&engine, &component)
        };
        assert_eq!(import("(component)"), None);
        let types = r#"(component (import "a:b/types" (instance (type $t (record (field "x" u8)))
            (export "x" (type (eq $t))))))"#;
        assert_eq!(import(types), None);
        for hostile in [
            r#"(component (import "get" (func)))"#,
            r#"(component (import "a:b/get" (instance (export "get" (func)))))"#,
            r#"(component (import "a:b/res" (instance (export "r" (type (sub resource))))))"#,
            r#"(component (import "r" (type (sub resource))))"#,
            r#"(component (import "m" (core module)))"#,
            r#"(component (import "deep" (instance (export "in" (instance (export "f" (func)))))))"#,
        ] {
            assert!(import(hostile).is_some(), "{hostile}");
        }
    }
}
