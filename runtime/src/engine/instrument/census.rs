//! What must be known of a module before it is rewritten.

use wasmparser::CompositeInnerType;
use wasmparser::ConstExpr;
use wasmparser::ElementItems;
use wasmparser::FunctionBody;
use wasmparser::Operator;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::TableInit;
use wasmparser::TypeRef;
use wasmparser::ValType;

use super::MODULE;
use super::Uncountable;
use super::cost::LEAF_MAX;
use super::survey::Survey;
use super::survey::survey;

/// What is known of a module.
#[derive(Debug, Default)]
pub(super) struct Census<'a> {
    /// The parameters of all types: of those that are no functions', there are none.
    pub(super) types: Vec<Vec<ValType>>,
    pub(super) imported_functions: u32,
    pub(super) globals: u32,
    /// The types of the functions that are defined here.
    pub(super) functions: Vec<u32>,
    pub(super) bodies: Vec<FunctionBody<'a>>,
    pub(super) surveys: Vec<Survey>,
    /// Whether there is a memory of 64 bits.
    pub(super) wide: bool,
    /// Whether a function of the host can be called through a reference.
    pub(super) host_by_reference: bool,
}

/// How deep the calls of a leaf can be, itself among them. A function that calls itself is none.
const LEAF_DEPTH_MAX: u32 = 8;

/// Who is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callee<'a> {
    Host,
    Guest(&'a Survey),
}

impl<'a> Census<'a> {
    /// Takes it of a valid module.
    pub(super) fn take(wasm: &'a [u8]) -> Result<Self, Uncountable> {
        let mut census = Self::default();
        let mut parser = Parser::new(0);
        // It is valid, and what is read here must not depend on what features are on.
        parser.set_features(wasmparser::WasmFeatures::all());
        for payload in parser.parse_all(wasm) {
            census.note(payload?)?;
        }
        let imported = census.imported_functions;
        let surveys = census.bodies.iter().map(|body| survey(body, imported, census.wide));
        census.surveys = surveys.collect::<Result<_, _>>()?;
        census.find_leaves();
        for body in &census.bodies {
            if census.host_by_reference || census.imported_functions == 0 {
                break;
            }
            census.host_by_reference = takes_reference(body, census.imported_functions)?;
        }
        Ok(census)
    }

    fn note(&mut self, payload: Payload<'a>) -> Result<(), Uncountable> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group?.types() {
                        self.types.push(match &ty.composite_type.inner {
                            CompositeInnerType::Func(function) => function.params().to_vec(),
                            _ => Vec::new(),
                        });
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    if import.module == MODULE {
                        return Err(Uncountable::Reserved);
                    }
                    match import.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.imported_functions += 1,
                        TypeRef::Global(_) => self.globals += 1,
                        TypeRef::Memory(memory) => self.wide |= memory.memory64,
                        TypeRef::Table(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            Payload::FunctionSection(section) => {
                self.functions = section.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::TableSection(section) => {
                for table in section {
                    if let TableInit::Expr(expression) = table?.init {
                        self.note_constant(&expression)?;
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.wide |= memory?.memory64;
                }
            }
            Payload::GlobalSection(section) => {
                self.globals += section.count();
                for global in section {
                    self.note_constant(&global?.init_expr)?;
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    match element?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.host_by_reference |= function? < self.imported_functions;
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                self.note_constant(&expression?)?;
                            }
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            _ => {}
        }
        Ok(())
    }

    fn note_constant(&mut self, expression: &ConstExpr<'_>) -> Result<(), Uncountable> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.host_by_reference |= function_index < self.imported_functions;
            }
        }
        Ok(())
    }

    /// Finds the functions whose work is counted by those who call them: what they do is bounded,
    /// with all that they call.
    fn find_leaves(&mut self) {
        for _ in 0..LEAF_DEPTH_MAX {
            let mut found = false;
            for defined in 0..self.surveys.len() {
                if let Some(weight) = self.leaf_weight(defined) {
                    self.surveys[defined].leaf_weight = Some(weight);
                    found = true;
                }
            }
            if !found {
                break;
            }
        }
    }

    /// What a function weighs with all that it calls, where it is newly known to be a leaf.
    fn leaf_weight(&self, defined: usize) -> Option<i64> {
        let survey = self.surveys.get(defined)?;
        if survey.is_leaf() || !survey.may_be_leaf() {
            return None;
        }
        let mut weight = survey.weight;
        for callee in &survey.callees {
            let Callee::Guest(callee) = self.callee(*callee)? else { return None };
            weight = weight.saturating_add(callee.leaf_weight?);
            if LEAF_MAX < weight {
                return None;
            }
        }
        (weight <= LEAF_MAX).then_some(weight)
    }

    pub(super) fn callee(&self, function: u32) -> Option<Callee<'_>> {
        match function.checked_sub(self.imported_functions) {
            None => Some(Callee::Host),
            Some(defined) => self.surveys.get(index(defined)).map(Callee::Guest),
        }
    }

    pub(super) fn params(&self, defined: usize) -> Option<&[ValType]> {
        let ty = self.functions.get(defined)?;
        self.types.get(index(*ty)).map(Vec::as_slice)
    }
}

/// Whether a body takes a reference to a function of the host.
fn takes_reference(body: &FunctionBody<'_>, imported: u32) -> Result<bool, Uncountable> {
    for operator in body.get_operators_reader()? {
        if let Operator::RefFunc { function_index } = operator?
            && function_index < imported
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An index of the module's, as one of a list.
pub(super) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) fn count(number: usize) -> Result<u32, Uncountable> {
    u32::try_from(number).map_err(|_| Uncountable::TooLarge)
}
