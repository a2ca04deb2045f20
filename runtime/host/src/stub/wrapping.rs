//! A component around another that only hands it on.
//!
//! Some toolchains put the component that they have made into a second one, together with what they made it with: a
//! loader of sources, or a system of their own that has nothing. Both are linked at run time, which takes a module that
//! sees two memories. What is inside imports what it needs by name, and what it needs is put in its place here anyway.

use wasmparser::{
    ComponentAlias, ComponentExternalKind as Kind, ComponentInstance, ComponentTypeRef, Payload,
};

use super::top_level;

/// How deep one may be in the other.
const DEPTH_MAX: usize = 4;

/// The innermost component of those that add nothing but an instance of another, and its exports as they are.
pub(crate) fn unwrapped(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    for _ in 0..DEPTH_MAX {
        match inside(bytes) {
            Some(inner) => bytes = inner,
            None => break,
        }
    }
    bytes
}

/// The component in another that all exports of that come from.
fn inside(bytes: &[u8]) -> Option<&[u8]> {
    let mut components: Vec<&[u8]> = Vec::new();
    // By index: which component an instance is of, and of which instance a function is the export by which name.
    let mut instances: Vec<Option<usize>> = Vec::new();
    let mut functions: Vec<Option<(usize, &str)>> = Vec::new();
    let mut found = None;
    for payload in top_level(bytes) {
        match payload.ok()? {
            // It has code of its own.
            Payload::ModuleSection { .. } | Payload::ComponentCanonicalSection(_) => return None,
            Payload::ComponentSection { unchecked_range, .. } => {
                components.push(bytes.get(unchecked_range.start as usize..unchecked_range.end as usize)?);
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    match import.ok()?.ty {
                        ComponentTypeRef::Func(_) => functions.push(None),
                        ComponentTypeRef::Instance(_) => instances.push(None),
                        ComponentTypeRef::Component(_) => return None,
                        ComponentTypeRef::Type(_)
                        | ComponentTypeRef::Module(_)
                        | ComponentTypeRef::Value(_) => {}
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    instances.push(match instance.ok()? {
                        ComponentInstance::Instantiate { component_index, .. } => {
                            Some(component_index as usize)
                        }
                        ComponentInstance::FromExports(_) => None,
                    });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias.ok()? {
                        ComponentAlias::InstanceExport { kind: Kind::Func, instance_index, name } => {
                            functions.push(Some((instance_index as usize, name)));
                        }
                        ComponentAlias::InstanceExport { kind: Kind::Instance, .. } => instances.push(None),
                        ComponentAlias::InstanceExport { kind: Kind::Component, .. } => return None,
                        ComponentAlias::InstanceExport { .. }
                        | ComponentAlias::CoreInstanceExport { .. }
                        | ComponentAlias::Outer { .. } => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    match export.kind {
                        Kind::Func => {
                            let (instance, name) = functions.get(export.index as usize).copied().flatten()?;
                            let same = found.get_or_insert(instance);
                            if *same != instance || name != export.name.name {
                                return None;
                            }
                            functions.push(None);
                        }
                        Kind::Type => {}
                        Kind::Instance | Kind::Module | Kind::Component | Kind::Value => return None,
                    }
                }
            }
            _ => {}
        }
    }
    components.get(instances.get(found?).copied().flatten()?).copied()
}
