//! What a guest imports and nobody provides: how that is told, and what stands in for it.

use wasmtime::Engine;
use wasmtime::ExternType;
use wasmtime::UnknownImportError;
use wasmtime::component::Component;
use wasmtime::component::Linker;
use wasmtime::component::LinkerInstance;
use wasmtime::component::ResourceType;
use wasmtime::component::types::ComponentItem;

use super::end::bounded;
use super::end::printable;
use super::guest::LaunchError;
use super::state::State;

/// What is named of a long list.
const NAMED_MAX: usize = 5;

/// What a module imports and nobody provides.
pub(super) fn in_module(error: &wasmtime::Error) -> LaunchError {
    let reason = match error.downcast_ref::<UnknownImportError>() {
        Some(unknown) => {
            let (what, advice) = match unknown.ty() {
                ExternType::Func(_) => ("", "lets it start"),
                ExternType::Memory(_) => ("the memory ", FUNCTIONS_ALONE),
                ExternType::Table(_) => ("the table ", FUNCTIONS_ALONE),
                ExternType::Global(_) => ("the global ", FUNCTIONS_ALONE),
                ExternType::Tag(_) => ("the tag ", FUNCTIONS_ALONE),
            };
            format!(
                "it imports {what}`{}` from `{}`, which nobody provides; `--trap-unknown-imports` \
                 {advice}",
                shown(unknown.name()),
                shown(unknown.module())
            )
        }
        None => printable(&bounded(format!("{error:#}"))),
    };
    LaunchError::NotRunnable { reason }
}

/// A name, as it can be shown: a stranger's may be as long as its file.
fn shown(name: &str) -> String {
    printable(&bounded(name.to_owned()))
}

/// Why the flag does not help with memories, tables and the like: there is no use that could trap.
const FUNCTIONS_ALONE: &str = "stands in for functions alone";

/// A component, and the world that it is to live in.
#[derive(Clone, Copy)]
pub(super) struct Imports<'a> {
    pub(super) engine: &'a Engine,
    pub(super) component: &'a Component,
    pub(super) concurrent: bool,
}

impl Imports<'_> {
    /// The imports that nobody provides: their names, and whether something can stand in for them.
    fn unknown(self) -> Vec<(String, bool)> {
        let types = self.component.component_type();
        let imports = types.imports(self.engine);
        let unknown = imports.filter(|(name, _)| !is_provided(name, self.concurrent));
        unknown.map(|(name, item)| (name.to_owned(), can_be_stood_in_for(&item.ty))).collect()
    }

    /// What a component imports that keeps it from starting. With `trap_unknown`, others already
    /// stood in for what they can.
    pub(super) fn missing(self, trap_unknown: bool, error: &wasmtime::Error) -> LaunchError {
        let mut unknown = self.unknown();
        unknown.retain(|(_, stood_in_for)| !(trap_unknown && *stood_in_for));
        if unknown.is_empty() {
            // One of our interfaces, of which it wants more than there is.
            return LaunchError::NotRunnable { reason: printable(&bounded(format!("{error:#}"))) };
        }
        let helps = unknown.iter().all(|(_, stood_in_for)| *stood_in_for);
        let (http, others): (Vec<_>, Vec<_>) =
            unknown.iter().map(|(name, _)| name).partition(|name| name.starts_with("wasi:http/"));
        let mut parts = Vec::new();
        if !others.is_empty() {
            let more = others.len().saturating_sub(NAMED_MAX);
            let names = others.iter().take(NAMED_MAX).map(|name| format!("`{}`", shown(name)));
            let names = names.collect::<Vec<_>>().join(", ");
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            parts.push(format!("{names}{more}, which nobody provides"));
        }
        if !http.is_empty() {
            parts.push(
                "`wasi:http`, which comes with `-p`: serving and sending HTTP is not built yet"
                    .to_owned(),
            );
        }
        let mut reason = format!("it imports {}", parts.join(", and "));
        if others.iter().any(|name| is_of_wasi(name) && !is_provided(name, true)) {
            reason.push_str("; of WASI there are the versions 0.2 and 0.3");
        }
        if helps {
            reason.push_str("; `--trap-unknown-imports` lets it start");
        }
        LaunchError::NotRunnable { reason }
    }

    /// Lets what traps when it is used stand in for what nobody provides.
    ///
    /// The engine's own way takes an interface of another patch version for an unknown one, and
    /// would stand in for most of what a guest uses.
    pub(super) fn stand_in(self, linker: &mut Linker<State>) -> wasmtime::Result<()> {
        let types = self.component.component_type();
        let imports = types.imports(self.engine);
        for (name, item) in imports.filter(|(name, _)| !is_provided(name, self.concurrent)) {
            self.stand_in_for(&mut linker.root(), name, None, &item.ty)?;
        }
        Ok(())
    }

    fn stand_in_for(
        self,
        linker: &mut LinkerInstance<'_, State>,
        name: &str,
        interface: Option<&str>,
        item: &ComponentItem,
    ) -> wasmtime::Result<()> {
        let full = interface.map_or_else(|| name.to_owned(), |outer| format!("{outer}#{name}"));
        let used =
            move || wasmtime::Error::msg(format!("unknown import: `{full}` has not been defined"));
        match item {
            ComponentItem::ComponentFunc(function) if function.async_() && self.concurrent => {
                linker.func_new_concurrent(name, move |_, _, _, _| {
                    let error = used();
                    Box::pin(async move { Err(error) })
                })
            }
            ComponentItem::ComponentFunc(_) => linker.func_new(name, move |_, _, _, _| Err(used())),
            ComponentItem::Resource(_) => {
                linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))
            }
            ComponentItem::ComponentInstance(instance) => {
                let mut inner = linker.instance(name)?;
                for (part, item) in instance.exports(self.engine) {
                    self.stand_in_for(&mut inner, part, Some(name), &item.ty)?;
                }
                Ok(())
            }
            // Found missing when it is linked.
            _ => Ok(()),
        }
    }
}

fn can_be_stood_in_for(item: &ComponentItem) -> bool {
    !matches!(
        item,
        ComponentItem::Module(_) | ComponentItem::Component(_) | ComponentItem::CoreFunc(_)
    )
}

/// The packages of WASI of which we provide interfaces.
const PACKAGES: &[&str] = &["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Package and version, where this is the name of an interface of WASI.
fn wasi_package(name: &str) -> Option<(&str, &str)> {
    let (package, rest) = name.strip_prefix("wasi:")?.split_once('/')?;
    Some((package, rest.split_once('@')?.1))
}

/// Whether this names a package of WASI that we know, in whatever version.
fn is_of_wasi(name: &str) -> bool {
    wasi_package(name).is_some_and(|(package, _)| PACKAGES.contains(&package))
}

/// Whether this is the name of an interface that we provide. Versions that differ in the last of
/// their numbers fit each other; what comes before a release fits nothing.
pub(super) fn is_provided(name: &str, concurrent: bool) -> bool {
    let Some((_, version)) = wasi_package(name).filter(|(package, _)| PACKAGES.contains(package))
    else {
        return false;
    };
    let of = |series| version.strip_prefix(series).is_some_and(|n: &str| n.parse::<u32>().is_ok());
    of("0.2.") || concurrent && of("0.3.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_provided_in_every_release_of_its_series() {
        for name in ["wasi:cli/run@0.2.0", "wasi:io/streams@0.2.12", "wasi:random/random@0.2.99"] {
            assert!(is_provided(name, false), "{name}");
        }
        assert!(is_provided("wasi:cli/run@0.3.0", true));
        for name in [
            "wasi:cli/run@0.3.0",
            "wasi:cli/run@0.9.0",
            "wasi:cli/run@0.2.0-rc-2023-11-10",
            "wasi:cli/run",
            "wasi:http/types@0.2.0",
            "acme:cli/run@0.2.0",
            "run",
        ] {
            assert!(!is_provided(name, false), "{name}");
        }
    }
}
