//! What the engine holds for the instances of a guest, beside their memories and tables.
//!
//! An instance has a place for each global, a record for each function that can be referred to, and
//! a copy of each element segment that is kept. A few bytes of wasm declare millions of them, and
//! one component makes a thousand instances; so it is weighed before it runs, and charged to the
//! guest's memory. What is said here is never less than what the engine takes.

use wasmparser::ElementItems;
use wasmparser::ElementKind;
use wasmparser::Encoding;
use wasmparser::Instance;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::TypeRef;

/// An instance of nothing: its own record, and the beginning of its context.
const INSTANCE: u64 = 1024;

/// A global: 16 bytes whatever its type, and a pointer where it is imported.
const GLOBAL: u64 = 24;

/// A function: what a reference to it points to (32 bytes), or an import (40).
const FUNCTION: u64 = 40;

/// A table or a memory: its record and its definition.
const TABLE_OR_MEMORY: u64 = 256;

/// A tag or a segment.
const SMALL: u64 = 48;

/// An element of a segment that is kept: a value of any type.
const ELEMENT: u64 = 16;

/// A component's own: its record, and a place for each of what it lowers, lifts and hands on.
const COMPONENT_ITEM: u64 = 64;

/// What all instances of the wasm take together, in bytes: of a module one instance, of a component
/// all that it makes. The wasm must be valid.
pub(super) fn held_by_instances(wasm: &[u8]) -> u64 {
    weigh(wasm).unwrap_or(u64::MAX)
}

/// One module or component that is being read.
#[derive(Debug, Default)]
struct Level {
    component: bool,
    /// What its instances take, so far.
    own: u64,
    /// What an instance takes of each module that is defined here, by number; nothing where it
    /// comes from elsewhere.
    modules: Vec<Option<u64>>,
    /// The same of components.
    components: Vec<Option<u64>>,
}

/// The largest of what was read so far: what something from elsewhere may be.
#[derive(Debug, Default)]
struct Largest {
    module: u64,
    component: u64,
}

fn weigh(wasm: &[u8]) -> Result<u64, wasmparser::Error> {
    let mut parser = Parser::new(0);
    parser.set_features(wasmparser::WasmFeatures::all());
    let mut open: Vec<Level> = Vec::new();
    let mut largest = Largest::default();
    for payload in parser.parse_all(wasm) {
        let payload = payload?;
        match payload {
            Payload::Version { encoding, .. } => {
                let component = encoding == Encoding::Component;
                open.push(Level { component, own: INSTANCE, ..Level::default() });
            }
            Payload::End(_) => {
                let Some(level) = open.pop() else { continue };
                let weight = level.own;
                let kind =
                    if level.component { &mut largest.component } else { &mut largest.module };
                *kind = (*kind).max(weight);
                match open.last_mut() {
                    None => return Ok(weight),
                    Some(outer) if level.component => outer.components.push(Some(weight)),
                    Some(outer) => outer.modules.push(Some(weight)),
                }
            }
            payload => {
                if let Some(level) = open.last_mut() {
                    level.note(payload, &largest)?;
                }
            }
        }
    }
    // What is valid has an end.
    Ok(u64::MAX)
}

impl Level {
    fn add(&mut self, count: u64, each: u64) {
        self.own = self.own.saturating_add(count.saturating_mul(each));
    }

    fn note(&mut self, payload: Payload<'_>, largest: &Largest) -> Result<(), wasmparser::Error> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.add(
                        1,
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => FUNCTION,
                            TypeRef::Global(_) => GLOBAL,
                            TypeRef::Table(_) | TypeRef::Memory(_) => TABLE_OR_MEMORY,
                            TypeRef::Tag(_) => SMALL,
                        },
                    );
                }
            }
            Payload::FunctionSection(section) => self.add(section.count().into(), FUNCTION),
            Payload::GlobalSection(section) => self.add(section.count().into(), GLOBAL),
            Payload::TableSection(section) => self.add(section.count().into(), TABLE_OR_MEMORY),
            Payload::MemorySection(section) => self.add(section.count().into(), TABLE_OR_MEMORY),
            Payload::TagSection(section) => self.add(section.count().into(), SMALL),
            Payload::DataSection(section) => self.add(section.count().into(), SMALL),
            Payload::ElementSection(section) => {
                self.add(section.count().into(), SMALL);
                for element in section {
                    let element = element?;
                    if matches!(element.kind, ElementKind::Passive) {
                        let count = match element.items {
                            ElementItems::Functions(items) => items.count(),
                            ElementItems::Expressions(_, items) => items.count(),
                        };
                        self.add(count.into(), ELEMENT);
                    }
                }
            }
            payload if self.component => self.note_of_component(payload, largest)?,
            _ => {}
        }
        Ok(())
    }

    fn note_of_component(
        &mut self,
        payload: Payload<'_>,
        largest: &Largest,
    ) -> Result<(), wasmparser::Error> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    let each = match instance? {
                        Instance::Instantiate { module_index, .. } => {
                            known(&self.modules, module_index).unwrap_or(largest.module)
                        }
                        Instance::FromExports(_) => 0,
                    };
                    self.add(1, each.saturating_add(COMPONENT_ITEM));
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    let each = match instance? {
                        wasmparser::ComponentInstance::Instantiate { component_index, .. } => {
                            known(&self.components, component_index).unwrap_or(largest.component)
                        }
                        wasmparser::ComponentInstance::FromExports(_) => 0,
                    };
                    self.add(1, each.saturating_add(COMPONENT_ITEM));
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.note_alias(&alias?);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    match import?.ty {
                        wasmparser::ComponentTypeRef::Module(_) => self.modules.push(None),
                        wasmparser::ComponentTypeRef::Component(_) => self.components.push(None),
                        _ => {}
                    }
                    self.add(1, COMPONENT_ITEM);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    // What is exported has a second number from then on.
                    let export = export?;
                    match export.kind {
                        wasmparser::ComponentExternalKind::Module => {
                            self.modules.push(known(&self.modules, export.index));
                        }
                        wasmparser::ComponentExternalKind::Component => {
                            self.components.push(known(&self.components, export.index));
                        }
                        _ => {}
                    }
                    self.add(1, COMPONENT_ITEM);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                self.add(section.count().into(), COMPONENT_ITEM);
            }
            _ => {}
        }
        Ok(())
    }

    fn note_alias(&mut self, alias: &wasmparser::ComponentAlias<'_>) {
        use wasmparser::ComponentAlias;
        use wasmparser::ComponentExternalKind;
        use wasmparser::ComponentOuterAliasKind;

        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. }
            | ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. } => {
                self.modules.push(None);
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. }
            | ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, .. } => {
                self.components.push(None);
            }
            _ => {}
        }
        self.add(1, COMPONENT_ITEM);
    }
}

fn known(weights: &[Option<u64>], number: u32) -> Option<u64> {
    weights.get(usize::try_from(number).ok()?).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> u64 {
        held_by_instances(&wat::parse_str(text).expect("valid text"))
    }

    fn globals(count: usize) -> String {
        "(global i32 (i32.const 0))".repeat(count)
    }

    #[test]
    fn a_small_module_weighs_next_to_nothing() {
        let weight = held("(module (memory 1) (func (export \"_start\")))");
        assert!((INSTANCE..4096).contains(&weight), "{weight}");
    }

    #[test]
    fn each_global_function_and_kept_element_is_weighed() {
        let many = globals(1000);
        assert!(16_000 < held(&format!("(module {many})")));
        assert!(32_000 < held(&format!("(module {})", "(func)".repeat(1000))));
        let kept = format!("(module (func $f) (elem func {}))", "$f ".repeat(1000));
        assert!(16_000 < held(&kept), "{}", held(&kept));
    }

    #[test]
    fn a_component_weighs_what_all_its_instances_do() {
        let module = format!("(core module $m {})", globals(1000));
        let instances = "(core instance (instantiate $m))".repeat(50);
        let flat = held(&format!("(component {module} {instances})"));
        assert!(50 * 16_000 < flat, "{flat}");
        // The same by components in components, where each makes two of the next.
        let nested = held(&format!(
            "(component (component $c {module} {instances})
                (component $d (alias outer 1 $c (component $c))
                    (instance (instantiate $c)) (instance (instantiate $c)))
                (instance (instantiate $d)) (instance (instantiate $d)))"
        ));
        assert!(4 * 50 * 16_000 < nested, "{nested}");
    }
}
