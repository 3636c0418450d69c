//! Writes a module again: its functions with their work counted, all else as it was.

use std::convert::Infallible;

use wasm_encoder::BranchHints;
use wasm_encoder::CodeSection;
use wasm_encoder::ConstExpr;
use wasm_encoder::EntityType;
use wasm_encoder::Function;
use wasm_encoder::FunctionSection;
use wasm_encoder::GlobalSection;
use wasm_encoder::GlobalType;
use wasm_encoder::ImportSection;
use wasm_encoder::Instruction;
use wasm_encoder::Module;
use wasm_encoder::NameMap;
use wasm_encoder::NameSection;
use wasm_encoder::SectionId;
use wasm_encoder::TypeSection;
use wasm_encoder::ValType;
use wasm_encoder::reencode::Error;
use wasm_encoder::reencode::Reencode;
use wasm_encoder::reencode::utils;
use wasmparser::KnownCustom;
use wasmparser::Name;

use super::DUE;
use super::MODULE;
use super::REST;
use super::SHIFT;
use super::Uncountable;
use super::census::Census;
use super::census::count;
use super::cost::INTERVAL;
use super::rewrite::Rewriter;
use super::slots::Slots;

/// The new numbers of functions. All else is added behind what is there, and keeps its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift {
    imported: u32,
}

impl Shift {
    /// The function that asks the host, and begins the next interval.
    pub(super) fn helper(self) -> u32 {
        self.rest() + 1
    }

    fn due(self) -> u32 {
        self.imported
    }

    fn rest(self) -> u32 {
        self.imported + 1
    }
}

impl Reencode for Shift {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(if function < self.imported { function } else { function + SHIFT })
    }
}

/// The module that is being written again.
pub(super) struct Writer<'a> {
    census: &'a Census<'a>,
    shift: Shift,
    code: CodeSection,
    hints: BranchHints,
    slots: Slots,
    imported: bool,
    counted: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(census: &'a Census<'a>) -> Result<Self, Uncountable> {
        let shift = Shift { imported: census.imported_functions };
        let mut code = CodeSection::new();
        code.function(&helper(shift, census.globals));
        let mut hints = BranchHints::new();
        let mut slots = Slots::new(census.globals.checked_add(1).ok_or(Uncountable::TooLarge)?);
        for defined in 0..census.bodies.len() {
            let rewriter = Rewriter::new(census, defined, shift, &mut slots)?;
            let (function, unlikely) = rewriter.write(defined)?;
            code.function(&function);
            if !unlikely.is_empty() {
                hints.function_hints(shift.helper() + 1 + count(defined)?, unlikely);
            }
        }
        Ok(Self { census, shift, code, hints, slots, imported: false, counted: false })
    }

    pub(super) fn write(mut self, wasm: &[u8]) -> Result<Vec<u8>, Uncountable> {
        let mut parser = wasmparser::Parser::new(0);
        parser.set_features(wasmparser::WasmFeatures::all());
        let mut module = Module::new();
        self.parse_core_module(&mut module, parser, wasm)?;
        Ok(module.finish())
    }

    fn types(&self) -> Result<[u32; 2], Error> {
        let first = u32::try_from(self.census.types.len());
        first.map(|first| [first, first + 1]).map_err(|_| Error::InvalidCodeSectionSize)
    }

    fn import(&mut self, imports: &mut ImportSection) -> Result<(), Error> {
        let [nothing, answer] = self.types()?;
        imports.import(MODULE, DUE, EntityType::Function(answer));
        imports.import(MODULE, REST, EntityType::Function(nothing));
        self.imported = true;
        Ok(())
    }

    fn count(&mut self, globals: &mut GlobalSection) {
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(ty, &ConstExpr::i32_const(INTERVAL));
        for val_type in self.slots.types() {
            let zero = match val_type {
                ValType::I32 => ConstExpr::i32_const(0),
                ValType::I64 => ConstExpr::i64_const(0),
                ValType::F32 => ConstExpr::f32_const(0.0.into()),
                ValType::F64 => ConstExpr::f64_const(0.0.into()),
                ValType::V128 => ConstExpr::v128_const(0),
                ValType::Ref(ty) => ConstExpr::ref_null(ty.heap_type),
            };
            globals.global(GlobalType { val_type: *val_type, ..ty }, &zero);
        }
        self.counted = true;
    }
}

/// The function that asks the host whether the guest must give way, has it wait if so, and begins
/// the next interval.
fn helper(shift: Shift, global: u32) -> Function {
    let mut function = Function::new([]);
    for instruction in [
        Instruction::Call(shift.due()),
        Instruction::If(wasm_encoder::BlockType::Empty),
        Instruction::Call(shift.rest()),
        Instruction::End,
        Instruction::I32Const(INTERVAL),
        Instruction::GlobalSet(global),
        Instruction::End,
    ] {
        function.instruction(&instruction);
    }
    function
}

impl Reencode for Writer<'_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        self.shift.function_index(function)
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([], []);
        types.ty().function([], [ValType::I32]);
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_import_section(self, imports, section)?;
        self.import(imports)
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        let [nothing, _] = self.types()?;
        functions.function(nothing);
        utils::parse_function_section(self, functions, section)
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_global_section(self, globals, section)?;
        self.count(globals);
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        _section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        std::mem::swap(code, &mut self.code);
        Ok(())
    }

    /// Sections that the module does not have are put where they belong.
    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<(), Error> {
        let Some(before) = before else { return Ok(()) };
        if !self.imported && !matches!(before, SectionId::Type | SectionId::Import) {
            let mut imports = ImportSection::new();
            self.import(&mut imports)?;
            module.section(&imports);
        }
        let behind_globals = matches!(
            before,
            SectionId::Export
                | SectionId::Start
                | SectionId::Element
                | SectionId::DataCount
                | SectionId::Code
                | SectionId::Data
        );
        if !self.counted && behind_globals {
            let mut globals = GlobalSection::new();
            self.count(&mut globals);
            module.section(&globals);
        }
        if before == SectionId::Code && !self.hints.is_empty() {
            module.section(&self.hints);
        }
        Ok(())
    }

    /// Names of functions are for backtraces. Nobody reads the rest, and much of it would be wrong.
    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Result<(), Error> {
        let KnownCustom::Name(subsections) = section.as_known() else { return Ok(()) };
        let mut names = NameSection::new();
        // What is broken in it is no reason to refuse the module, nor are there names behind that.
        for subsection in subsections.into_iter().map_while(Result::ok) {
            match subsection {
                Name::Module { name, .. } => names.module(name),
                Name::Function(map) => {
                    let mut functions = NameMap::new();
                    for naming in map.into_iter().map_while(Result::ok) {
                        if naming.index < u32::MAX - SHIFT {
                            functions.append(self.function_index(naming.index)?, naming.name);
                        }
                    }
                    names.functions(&functions);
                }
                _ => {}
            }
        }
        module.section(&names);
        Ok(())
    }
}
