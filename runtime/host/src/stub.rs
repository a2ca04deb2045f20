//! A system that has nothing, put into a component in the place of the one that it imports.
//!
//! Toolchains of other languages bring a run-time library, and that imports WASI: a clock, files, an environment. Here
//! each such import is replaced by code of ours that answers as a machine would that has none of it ([`denial`] says
//! what), so that what is compiled imports nothing but the contract's types. Not here: which toolchain is used.
//!
//! The code goes where the import was lowered to a core function, into the memory that the caller has anyway. Two
//! components linked with each other would be the textbook's way; the reason against it is in
//! `runtime/decisions/0017-a-system-that-has-nothing.md`.
//!
//! ```text
//!   (import "wasi:random/random" ..) -> gone
//!   (alias export $random "get-random-u64") -> gone
//!   (canon lower $get-random-u64) -> (core alias export $stub "0"), the index that it defines stays the same
//! ```
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "few of the many parts of a component are about the system"
)]

mod denial;
mod wrapping;
mod writer;

use std::{borrow::Cow, collections::BTreeMap, error};

use wasmparser::{
    CanonicalFunction, CanonicalOption, Chunk, ComponentAlias, ComponentExternalKind as Kind,
    ComponentOuterAliasKind, ComponentTypeRef, Parser, Payload,
};
use wit_parser::{InterfaceId, Resolve, TypeDefKind, WorldId, WorldItem};

use crate::compile::CompileError;
use writer::Writer;

pub(crate) use wrapping::unwrapped;

type Problem = Box<dyn error::Error + Send + Sync>;

/// A component that imports types alone.
pub(crate) struct Stubbed<'a> {
    /// It.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// The interfaces that it imported before, sorted.
    pub(crate) interfaces: Vec<String>,
}

/// Takes the system out of a component that was decoded to `world`.
pub(crate) fn stub<'a>(
    bytes: &'a [u8],
    resolve: &Resolve,
    world: WorldId,
) -> Result<Stubbed<'a>, CompileError> {
    let system = system(resolve, world)?;
    if system.is_empty() {
        return Ok(Stubbed { bytes: bytes.into(), interfaces: Vec::new() });
    }
    let survey = Survey::of(bytes, resolve, &system)?;
    let written = Writer::write(bytes, &system, &survey).map_err(CompileError::Stub)?;
    Ok(Stubbed { bytes: written.into(), interfaces: system.into_keys().collect() })
}

/// The interfaces of the system among a component's imports, by name.
type System = BTreeMap<String, InterfaceId>;

fn system(resolve: &Resolve, world: WorldId) -> Result<System, CompileError> {
    let mut system = System::new();
    for (key, item) in &resolve.worlds[world].imports {
        let name = resolve.name_world_key(key);
        match item {
            WorldItem::Interface { id, .. } if denial::knows(&name) => {
                system.insert(name, *id);
            }
            WorldItem::Interface { id, .. } if resolve.interfaces[*id].functions.is_empty() => {}
            WorldItem::Type { .. } => {}
            WorldItem::Interface { .. } | WorldItem::Function(_) => {
                return Err(CompileError::Imports { import: name });
            }
        }
    }
    Ok(system)
}

/// Which memory a stub answers into, and with what it gets room there. Neither: it answers in numbers.
type Room = (Option<u32>, Option<u32>);

/// What takes the place of a lowered function: an export of the stub for that room.
struct Swap {
    room: Room,
    export: String,
}

/// What a type that came from the system was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    Resource,
    Value,
}

/// What goes and what comes in its place, by the indices of the component as it was.
#[derive(Default)]
struct Survey<'a> {
    instances: Vec<Option<InterfaceId>>,
    functions: Vec<Option<(InterfaceId, &'a str)>>,
    types: Vec<Option<Gone>>,
    /// The types that go, in the order in which they are named.
    gone: Vec<Gone>,
    /// For each canonical function in the order in which they are defined.
    swaps: Vec<Option<Swap>>,
    /// The functions of each stub, as text.
    stubs: BTreeMap<Room, Vec<String>>,
}

impl<'a> Survey<'a> {
    fn of(bytes: &'a [u8], resolve: &Resolve, system: &System) -> Result<Self, CompileError> {
        let mut survey = Self::default();
        for payload in top_level(bytes) {
            survey.see(payload.map_err(CompileError::Stub)?, resolve, system)?;
        }
        Ok(survey)
    }

    fn see(&mut self, payload: Payload<'a>, resolve: &Resolve, system: &System) -> Result<(), CompileError> {
        let broken = |why: wasmparser::BinaryReaderError| CompileError::Stub(why.into());
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import.map_err(broken)?;
                    match import.ty {
                        ComponentTypeRef::Instance(_) => {
                            let name = import.name.full_name();
                            self.instances.push(system.get(name.as_ref()).copied());
                        }
                        ComponentTypeRef::Func(_) => self.functions.push(None),
                        ComponentTypeRef::Type(_) => self.types.push(None),
                        ComponentTypeRef::Module(_)
                        | ComponentTypeRef::Value(_)
                        | ComponentTypeRef::Component(_) => {}
                    }
                }
            }
            Payload::ComponentTypeSection(section) => {
                self.types.extend((0..section.count()).map(|_| None));
            }
            Payload::ComponentInstanceSection(section) => {
                self.instances.extend((0..section.count()).map(|_| None));
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.see_alias(&alias.map_err(broken)?, resolve);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.define(export.map_err(broken)?.kind);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    let function = function.map_err(broken)?;
                    let swap = self.swap(&function, resolve)?;
                    self.swaps.push(swap);
                    if matches!(function, CanonicalFunction::Lift { .. }) {
                        self.functions.push(None);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Something of this kind gets the next index.
    fn define(&mut self, kind: Kind) {
        match kind {
            Kind::Func => self.functions.push(None),
            Kind::Type => self.types.push(None),
            Kind::Instance => self.instances.push(None),
            Kind::Module | Kind::Value | Kind::Component => {}
        }
    }

    fn see_alias(&mut self, alias: &ComponentAlias<'a>, resolve: &Resolve) {
        match alias {
            ComponentAlias::InstanceExport { kind, instance_index, name } => {
                match (kind, self.interface(*instance_index)) {
                    (Kind::Func, Some(id)) => self.functions.push(Some((id, name))),
                    (Kind::Type, Some(id)) => {
                        let gone = gone(resolve, id, name);
                        self.types.push(Some(gone));
                        self.gone.push(gone);
                    }
                    _ => self.define(*kind),
                }
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } => self.types.push(None),
            ComponentAlias::Outer { .. } | ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }

    fn interface(&self, instance: u32) -> Option<InterfaceId> {
        self.instances.get(instance as usize).copied().flatten()
    }

    fn type_gone(&self, index: u32) -> Option<Gone> {
        self.types.get(index as usize).copied().flatten()
    }

    /// What takes the place of a canonical function, if it is one of the system.
    fn swap(
        &mut self,
        function: &CanonicalFunction,
        resolve: &Resolve,
    ) -> Result<Option<Swap>, CompileError> {
        let (room, text) = match function {
            CanonicalFunction::Lower { func_index, options } => {
                let Some((id, name)) = self.functions.get(*func_index as usize).copied().flatten() else {
                    return Ok(None);
                };
                let interface = resolve.id_of(id).unwrap_or_default();
                let lacks = || CompileError::Imports { import: format!("{interface}#{name}") };
                let declared = resolve.interfaces[id].functions.get(name).ok_or_else(lacks)?;
                let room = room(options).ok_or_else(lacks)?;
                (room, denial::function(resolve, &interface, declared).ok_or_else(lacks)?)
            }
            CanonicalFunction::ResourceDrop { resource } if self.type_gone(*resource).is_some() => {
                ((None, None), denial::DROP.to_owned())
            }
            _ => return Ok(None),
        };
        let functions = self.stubs.entry(room).or_default();
        functions.push(text);
        Ok(Some(Swap { room, export: (functions.len() - 1).to_string() }))
    }
}

/// The memory and the allocator that a function is lowered with; `None` if it is lowered in a way that no stub knows.
fn room(options: &[CanonicalOption]) -> Option<Room> {
    let mut room = (None, None);
    for option in options {
        match option {
            CanonicalOption::UTF8 => {}
            CanonicalOption::Memory(memory) => room.0 = Some(*memory),
            CanonicalOption::Realloc(function) => room.1 = Some(*function),
            CanonicalOption::UTF16
            | CanonicalOption::CompactUTF16
            | CanonicalOption::PostReturn(_)
            | CanonicalOption::Async
            | CanonicalOption::Callback(_)
            | CanonicalOption::CoreType(_)
            | CanonicalOption::Gc => return None,
        }
    }
    Some(room)
}

fn gone(resolve: &Resolve, interface: InterfaceId, name: &str) -> Gone {
    let mut found = resolve.interfaces[interface].types.get(name).copied();
    while let Some(id) = found {
        match &resolve.types[id].kind {
            TypeDefKind::Resource => return Gone::Resource,
            TypeDefKind::Type(wit_parser::Type::Id(of)) => found = Some(*of),
            _ => return Gone::Value,
        }
    }
    Gone::Value
}

/// The sections of a component, without those of what is inside of it.
fn top_level(bytes: &[u8]) -> impl Iterator<Item = Result<Payload<'_>, Problem>> {
    let (mut parser, mut rest) = (Parser::new(0), bytes);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let payload = match parser.parse(rest, true) {
            Ok(Chunk::Parsed { consumed, payload }) => {
                rest = rest.get(consumed..).unwrap_or_default();
                payload
            }
            Ok(Chunk::NeedMoreData(_)) => {
                rest = &[];
                return Some(Err("it is cut short".into()));
            }
            Err(why) => {
                rest = &[];
                return Some(Err(why.into()));
            }
        };
        if let Payload::ModuleSection { unchecked_range, .. }
        | Payload::ComponentSection { unchecked_range, .. } = &payload
        {
            let inside = (unchecked_range.end - unchecked_range.start) as usize;
            rest = rest.get(inside..).unwrap_or_default();
        }
        Some(Ok(payload))
    })
}

#[cfg(test)]
mod tests {
    use wasmtime::{
        Engine, Store,
        component::{Component, Linker},
    };
    use wit_component::DecodedWasm;

    use super::*;
    use crate::{compile_component, engine::settings, system_of, world_of};

    /// A plugin as far as its exports go, that asks the system for all sorts of things.
    const CURIOUS: &str = include_str!("stub/curious.wat");

    fn decoded(bytes: &[u8]) -> (Resolve, WorldId) {
        match wit_component::decode(bytes).unwrap() {
            DecodedWasm::Component(resolve, world) => (resolve, world),
            DecodedWasm::WitPackage(..) => panic!("no component"),
        }
    }

    fn closed(text: &str) -> Vec<u8> {
        let bytes = wat::parse_str(text).unwrap();
        let (resolve, world) = decoded(&bytes);
        stub(&bytes, &resolve, world).unwrap().bytes.into_owned()
    }

    /// Calls an export without parameters, in an instance of its own.
    fn call(bytes: &[u8], name: &str) -> wasmtime::Result<u64> {
        let engine = Engine::new(&settings()?)?;
        let component = Component::new(&engine, bytes)?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        // Nothing is there to be imported.
        let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
        let function = instance.get_typed_func::<(), (u64,)>(&mut store, name)?;
        function.call(&mut store, ()).map(|(number,)| number)
    }

    #[test]
    fn what_is_left_imports_nothing_and_is_the_same_every_time() {
        let once = closed(CURIOUS);
        assert_eq!(once, closed(CURIOUS));
        let (resolve, world) = decoded(&once);
        assert!(resolve.worlds[world].imports.is_empty());
        let bytes = wat::parse_str(CURIOUS).unwrap();
        let names = system_of(&bytes).unwrap();
        assert_eq!(names.first().map(String::as_str), Some("wasi:cli/environment@0.2.3"));
        assert_eq!(names.len(), 6);
        assert_eq!(world_of(&bytes).unwrap(), crate::world_policy());
    }

    #[test]
    fn the_system_has_nothing() {
        let bytes = closed(CURIOUS);
        assert_eq!(call(&bytes, "now").unwrap(), 0, "the clock stands at its beginning");
        assert_eq!(call(&bytes, "variables").unwrap(), 0, "there is no environment");
        assert_eq!(call(&bytes, "written").unwrap(), 0, "what is written is taken, and goes nowhere");
        let random = call(&bytes, "decide").unwrap();
        assert_ne!(random, 0);
        assert_eq!(call(&bytes, "decide").unwrap(), random, "random numbers are the same in every call");
        let bytes_of = call(&bytes, "bytes").unwrap();
        assert_ne!(bytes_of, 0);
        assert_eq!(call(&bytes, "bytes").unwrap(), bytes_of);
        let trap = call(&bytes, "leave").unwrap_err();
        assert_eq!(trap.downcast_ref(), Some(&wasmtime::Trap::UnreachableCodeReached), "{trap:?}");
    }

    #[test]
    fn what_nobody_answers_for_is_named() {
        let newer = CURIOUS.replace("get-random-u64", "get-random-u128");
        let error = world_of(&wat::parse_str(newer).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this component wants to import wasi:random/random@0.2.3#get-random-u128"
        );
        for other in ["wasi:random/random@0.3.0", "wasi:keyvalue/random@0.2.3", "acme:random/random@0.2.3"] {
            let foreign = CURIOUS.replace("wasi:random/random@0.2.3", other);
            let error = world_of(&wat::parse_str(foreign).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), format!("this component wants to import {other}"));
        }
    }

    #[test]
    fn a_system_that_is_handed_on_stays_nobodys() {
        let handed =
            CURIOUS.replace("(;hands on;)", r#"(instance $handed (export "now" (func $clock "now")))"#);
        let error = world_of(&wat::parse_str(handed).unwrap()).unwrap_err();
        assert!(matches!(error, CompileError::Stub(_)), "{error}");
        assert!(error.help().is_some());
    }

    /// A component around it, as some toolchains make one, is taken off; one that adds code of its own is not.
    #[test]
    fn what_only_hands_on_is_taken_off() {
        let outer = |more: &str| {
            format!(
                r#"(component
                    (import "wasi:cli/environment@0.2.3" (instance $e
                        (export "get-environment" (func (result (list (tuple string string)))))))
                    {more}
                    (component $inner
                        (core module $m (func (export "decide") (result i64) (i64.const 7)))
                        (core instance $i (instantiate $m))
                        (func (export "decide") (result u64) (canon lift (core func $i "decide"))))
                    (instance $it (instantiate $inner))
                    (alias export $it "decide" (func $decide))
                    (export "decide" (func $decide)))"#
            )
        };
        let bytes = wat::parse_str(outer("")).unwrap();
        assert!(unwrapped(&bytes).len() < bytes.len());
        assert_eq!(call(unwrapped(&bytes), "decide").unwrap(), 7);
        let with_code = wat::parse_str(outer("(core module (func))")).unwrap();
        assert_eq!(unwrapped(&with_code).len(), with_code.len());
        // It has code inside, and stays what it is: that isn't compiled.
        let error = compile_component(&with_code, crate::Machine::X86_64Linux).unwrap_err();
        assert!(matches!(error, CompileError::Composed), "{error}");
    }
}
