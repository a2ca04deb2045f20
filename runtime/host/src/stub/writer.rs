//! The component written anew, without its system.
//!
//! Here: copying what stays, leaving out what goes, and the stubs. Not here: which is which ([`Survey`]).

use std::collections::{BTreeMap, btree_map::Entry};

use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentImportSection,
    ComponentSectionId, ComponentTypeSection, ExportKind, InstanceSection, ModuleArg, PrimitiveValType,
    RawSection, ValType,
    reencode::{Reencode, ReencodeComponent},
};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind as Kind, ComponentTypeRef, KnownCustom, Payload,
};

use super::{Gone, Problem, Room, Survey, Swap, System, denial, top_level};

/// Writes it. The kinds of things whose number changes are numbered anew: imported instances and their functions go,
/// modules and core instances come.
pub(super) struct Writer<'a> {
    system: &'a System,
    survey: &'a Survey<'a>,
    out: Component,
    /// How many components inside the one that is written the reader is.
    depth: u32,
    modules: Vec<u32>,
    modules_written: u32,
    core_instances: Vec<u32>,
    core_instances_written: u32,
    /// Where each stub is, once it is written.
    stubs: BTreeMap<Room, u32>,
    /// How many canonical functions, and types that go, were met.
    canonical_seen: usize,
    gone_seen: usize,
    /// Something refers to the system in another way than by calling it.
    entangled: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn write(
        bytes: &[u8],
        system: &'a System,
        survey: &'a Survey<'a>,
    ) -> Result<Vec<u8>, Problem> {
        let mut writer = Self {
            system,
            survey,
            out: Component::new(),
            depth: 0,
            modules: Vec::new(),
            modules_written: 0,
            core_instances: Vec::new(),
            core_instances_written: 0,
            stubs: BTreeMap::new(),
            canonical_seen: 0,
            gone_seen: 0,
            entangled: false,
        };
        for payload in top_level(bytes) {
            writer.payload(payload?, bytes)?;
        }
        if writer.entangled {
            return Err("it hands the system on instead of calling it".into());
        }
        Ok(writer.out.finish())
    }

    fn payload(&mut self, payload: Payload<'_>, whole: &[u8]) -> Result<(), Problem> {
        match payload {
            Payload::ComponentImportSection(section) => {
                let mut imports = ComponentImportSection::new();
                for import in section {
                    let import = import?;
                    if self.system.contains_key(import.name.full_name().as_ref()) {
                        continue;
                    }
                    if matches!(import.ty, ComponentTypeRef::Module(_)) {
                        self.module();
                    }
                    imports.import(import.name, self.component_type_ref(import.ty)?);
                }
                if !imports.is_empty() {
                    self.out.section(&imports);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.canonical(function?)?;
                }
            }
            Payload::InstanceSection(section) => {
                let mut instances = InstanceSection::new();
                for instance in section {
                    // One of a section may be made of those before it.
                    self.parse_instance(&mut instances, instance?)?;
                    self.core_instances.push(self.core_instances_written);
                    self.core_instances_written += 1;
                }
                self.out.section(&instances);
            }
            Payload::ModuleSection { unchecked_range, .. } => {
                let data = whole
                    .get(unchecked_range.start as usize..unchecked_range.end as usize)
                    .unwrap_or_default();
                self.out.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data });
                self.module();
            }
            // The names are for people, and go by numbers that are others now.
            Payload::CustomSection(section)
                if matches!(section.as_known(), KnownCustom::ComponentName(_)) => {}
            other => {
                let mut out = std::mem::take(&mut self.out);
                self.parse_component_payload(&mut out, other, whole)?;
                self.out = out;
            }
        }
        Ok(())
    }

    /// A module of the component as it was is written.
    fn module(&mut self) {
        self.modules.push(self.modules_written);
        self.modules_written += 1;
    }

    fn alias(&mut self, alias: ComponentAlias<'_>) -> Result<(), Problem> {
        if let ComponentAlias::InstanceExport { kind, instance_index, .. } = &alias
            && self.survey.interface(*instance_index).is_some()
        {
            // What refers to the type is left over and used by nobody: any type of the same sort will do.
            if *kind == Kind::Type {
                let mut types = ComponentTypeSection::new();
                let gone = self.survey.gone.get(self.gone_seen);
                self.gone_seen += 1;
                match gone {
                    Some(Gone::Resource) => {
                        types.resource(ValType::I32, None);
                    }
                    Some(Gone::Value) | None => types.defined_type().primitive(PrimitiveValType::Bool),
                }
                self.out.section(&types);
            }
            return Ok(());
        }
        if let ComponentAlias::InstanceExport { kind: Kind::Module, .. } = &alias {
            self.module();
        }
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(self.component_alias(alias)?);
        self.out.section(&aliases);
        Ok(())
    }

    fn canonical(&mut self, function: CanonicalFunction) -> Result<(), Problem> {
        let swap = self.survey.swaps.get(self.canonical_seen).and_then(Option::as_ref);
        self.canonical_seen += 1;
        let Some(Swap { room, export }) = swap else {
            let mut functions = CanonicalFunctionSection::new();
            self.parse_component_canonical(&mut functions, function)?;
            self.out.section(&functions);
            return Ok(());
        };
        let stub = self.stub(*room)?;
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::CoreInstanceExport { instance: stub, kind: ExportKind::Func, name: export });
        self.out.section(&aliases);
        Ok(())
    }

    /// The instance of a stub; written when it is first wanted, for then its memory is there.
    fn stub(&mut self, room: Room) -> Result<u32, Problem> {
        let vacant = match self.stubs.entry(room) {
            Entry::Occupied(there) => return Ok(*there.get()),
            Entry::Vacant(vacant) => vacant,
        };
        let functions = self.survey.stubs.get(&room).map(Vec::as_slice).unwrap_or_default();
        let (memory, realloc) = room;
        let module = denial::module(functions, memory.is_some(), realloc.is_some())?;
        self.out.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: &module });
        let mut instances = InstanceSection::new();
        let memory = memory.map(|index| ("memory", ExportKind::Memory, index));
        let realloc = realloc.map(|index| ("realloc", ExportKind::Func, index));
        instances.export_items(memory.into_iter().chain(realloc).collect::<Vec<_>>());
        let of_caller = ModuleArg::Instance(self.core_instances_written);
        instances.instantiate(self.modules_written, [("caller", of_caller)]);
        self.out.section(&instances);
        self.modules_written += 1;
        self.core_instances_written += 2;
        Ok(*vacant.insert(self.core_instances_written - 1))
    }
}

/// The new number of the `index`-th of a kind of which some go; `None` if it is one of those.
fn numbered<T>(all: &[Option<T>], index: u32) -> Option<u32> {
    let before = all.get(..index as usize)?;
    all.get(index as usize)?.is_none().then(|| before.iter().filter(|gone| gone.is_none()).count() as u32)
}

impl Reencode for Writer<'_> {
    type Error = std::convert::Infallible;
}

impl ReencodeComponent for Writer<'_> {
    // What is inside of another component has numbers of its own, and they stay.
    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth -= 1;
    }

    fn component_instance_index(&mut self, index: u32) -> u32 {
        if self.depth > 0 {
            return index;
        }
        let new = numbered(&self.survey.instances, index);
        self.entangled |= new.is_none();
        new.unwrap_or(index)
    }

    fn component_func_index(&mut self, index: u32) -> u32 {
        if self.depth > 0 {
            return index;
        }
        let new = numbered(&self.survey.functions, index);
        self.entangled |= new.is_none();
        new.unwrap_or(index)
    }

    fn module_index(&mut self, index: u32) -> u32 {
        if self.depth > 0 {
            return index;
        }
        self.modules.get(index as usize).copied().unwrap_or(index)
    }

    fn outer_module_index(&mut self, count: u32, index: u32) -> u32 {
        if count < self.depth {
            return index;
        }
        self.modules.get(index as usize).copied().unwrap_or(index)
    }

    fn instance_index(&mut self, index: u32) -> u32 {
        if self.depth > 0 {
            return index;
        }
        self.core_instances.get(index as usize).copied().unwrap_or(index)
    }
}
