//! A language model that is ready to compile: its source elaborated for a configuration, and the functions that
//! training, evaluation and generation need.

use std::collections::BTreeMap;

use carousel_core::backend::{DataMut, RunError};
use carousel_core::program::Stored;
use carousel_ir::text::ast::{ConfigDeclaration, Expr, ExprKind};
use carousel_ir::text::{ConfigValue, Failed, Options, Program, elaborate, print};
use carousel_ir::{Axes, Axis, Diagnostic, FunctionId, FunctionKind, Module, Name, Residuals, Span};
use carousel_passes::carry::{NEXT, NOT_IN_PIECES, Summaries};
use carousel_passes::documents::documents;

use crate::batch::Batch;
use crate::compile::{CompiledFunction, Engine, loss_gradient};
use crate::config::ParameterValue;
use crate::hash::fnv1a;
use crate::library::ModelSource;
use crate::parameters::Layout;
use crate::piece::{Memory, Reader};
use crate::weights::Weights;

pub use crate::function::{LanguageFunction, Reading};

/// The function that gives logits\[b, s, vocab\] for tokens\[b, s\].
pub const LOGITS: &str = "lm";
/// The function that gives the mean loss for tokens and labels.
pub const LOSS: &str = "lm_loss";

/// An elaborated language model.
#[derive(Debug)]
pub struct Model {
    program: Program,
    config: BTreeMap<String, ConfigValue>,
    module: Module,
    /// As it is used, if it is trained in another way.
    in_use: Option<Module>,
    layout: Layout,
    /// Whether sequences are documents one behind the other when losses are taken.
    has_documents: bool,
    /// Whether what is remembered goes on from one window to the next in training.
    carries_state: bool,
    /// Whether blocks are computed again in the backward pass.
    is_rematerialised: bool,
}

/// The compile-time parameter that is 0 wherever a model is not trained.
const DROPOUT: &str = "dropout";

impl Model {
    /// Elaborates the source with these compile-time parameters.
    pub fn new(source: &ModelSource, parameters: &BTreeMap<String, ParameterValue>) -> Result<Model, Failed> {
        let program = source.parse()?;
        let config = parameters.iter().map(|(name, value)| Ok((name.clone(), config_value(name, value)?)));
        let made = config.collect::<Result<_, Diagnostic>>().map_err(|d| vec![d]).and_then(
            |config: BTreeMap<String, ConfigValue>| {
                let options = Options { config: config.clone(), ..Options::default() };
                let module = elaborate(&program, &[LOGITS, LOSS], &options)?;
                let loss = module.find(LOSS).expect("elaborated functions are there");
                let layout = Layout::new(&module[loss].graph).map_err(|problem| vec![problem])?;
                let mut config = config;
                let is_trained_otherwise = config.insert(DROPOUT.to_string(), ConfigValue::Float(0.0));
                let in_use = match is_trained_otherwise {
                    None => {
                        config.remove(DROPOUT);
                        None
                    }
                    Some(_) => {
                        let options = Options { config: config.clone(), ..Options::default() };
                        Some(elaborate(&program, &[LOGITS, LOSS], &options)?)
                    }
                };
                Ok((config, module, in_use, layout))
            },
        );
        match made {
            Ok((config, module, in_use, layout)) => Ok(Model {
                program,
                config,
                module,
                in_use,
                layout,
                has_documents: false,
                carries_state: false,
                is_rematerialised: false,
            }),
            Err(diagnostics) => Err(Failed { sources: program.sources, diagnostics }),
        }
    }

    /// The model whose losses are those of documents, of which several lie in a sequence.
    pub fn in_documents(self, has_documents: bool) -> Model {
        Model { has_documents, ..self }
    }

    /// The model that is trained on windows one behind the other, with what it remembers carried on. Gradients end at the
    /// borders of windows: truncated back-propagation through time.
    pub fn carrying_state(self, carries_state: bool) -> Model {
        Model { carries_state, ..self }
    }

    /// The model whose blocks are computed again in the backward pass, so that only what lies between them is kept.
    pub fn rematerialised(self, is_rematerialised: bool) -> Model {
        Model { is_rematerialised, ..self }
    }

    /// The functions.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The functions with the loss that is trained on.
    pub fn training_module(&self) -> Result<Module, Failed> {
        self.with_loss(&self.module).map_err(|diagnostics| self.failed(diagnostics))
    }

    /// The module with the loss as it is taken.
    fn with_loss(&self, module: &Module) -> Result<Module, Vec<Diagnostic>> {
        let mut module = module.clone();
        if self.is_rematerialised {
            let blocks = module.functions.iter_mut().filter(|f| f.kind == FunctionKind::Block);
            blocks.for_each(|block| block.residuals = Residuals::Recompute);
        }
        if !self.has_documents {
            return Ok(module);
        }
        documents(&module, self.find(LOSS), Axis::new("s"), &Axes::new([Axis::new("b")]))
            .map(|(module, _)| module)
    }

    fn failed(&self, diagnostics: Vec<Diagnostic>) -> Failed {
        Failed { sources: self.program.sources.clone(), diagnostics }
    }

    /// Where the parameters lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A place in the source, `file:line:column`.
    pub fn place(&self, span: Span) -> Option<String> {
        let sources = &self.program.sources;
        let (line, column) = sources.line_column(span)?;
        Some(format!("{}:{line}:{column}", sources.get(span.file)?.name))
    }

    /// Compiles the function that gives logits, for parameters of which these are not row-major f32.
    pub fn logits(&self, engine: &Engine, stored: &[(Name, Stored)]) -> Result<LanguageFunction, Failed> {
        self.function(|| engine.compile_stored(&engine.prepared(self.in_use()), self.find(LOGITS), stored))
    }

    /// Compiles the function that gives the loss, for parameters of which these are not row-major f32.
    pub fn loss(&self, engine: &Engine, stored: &[(Name, Stored)]) -> Result<LanguageFunction, Failed> {
        self.function(|| {
            let module = engine.prepared(&self.with_loss(self.in_use())?);
            engine.compile_stored(&module, found(&module, LOSS), stored)
        })
    }

    /// Compiles the function that gives the loss and its gradients.
    pub fn loss_gradient(&self, engine: &Engine) -> Result<LanguageFunction, Failed> {
        self.function(|| {
            let module = self.with_loss(&self.module)?;
            let root = found(&module, LOSS);
            if !self.carries_state {
                return engine.compile_loss_gradient(&module, root, "loss");
            }
            let (module, root) = engine.prepared_piece(&module, root, Axis::new("s"), Summaries::OfPieces)?;
            let (module, root) = loss_gradient(&module, root, "loss")?;
            engine.compile_with_report(&module, root)
        })
    }

    /// Compiles the functions that read a text piece by piece, for parameters that are stored as these are.
    pub fn reader(&self, engine: &Engine, parameters: &Weights<'_>) -> Result<Reader, Failed> {
        let stored = parameters.stored(&self.layout);
        let prepare = |module: &Module| {
            let root = module.find(LOGITS).expect("elaborated functions are there");
            engine.prepared_piece(module, root, Axis::new("s"), Summaries::Refused)
        };
        let compile = |module: &Module, root| engine.compile_stored(module, root, &stored);
        let compiled = || -> Result<Reader, Vec<Diagnostic>> {
            let (mut module, root) = prepare(self.in_use())?;
            let signature = fnv1a(print(&module).as_bytes());
            let any = compile(&module, root)?;
            // What is remembered, without logits.
            module[root].graph.outputs.retain(|output| output.name.as_str().starts_with(NEXT));
            let remembers = !module[root].graph.outputs.is_empty();
            let skim = remembers.then(|| compile(&module, root)).transpose()?;
            let sizes = BTreeMap::from([("s".to_string(), 1)]);
            let options = Options { config: self.config.clone(), sizes, ..Options::default() };
            let (module, root) = prepare(&elaborate(&self.program, &[LOGITS], &options)?)?;
            Ok(Reader::new(any, skim, compile(&module, root)?, &self.layout, signature))
        };
        compiled().map_err(|diagnostics| self.failed(diagnostics))
    }

    /// Compiles what predicts the next token: piece by piece if the model allows it, else from the whole text each time.
    pub fn predictor(&self, engine: &Engine, parameters: &Weights<'_>) -> Result<Predictor, Failed> {
        match self.reader(engine, parameters) {
            Ok(reader) => Ok(Predictor::Reader(Box::new(reader))),
            Err(failed) if failed.diagnostics.iter().all(|d| d.code == NOT_IN_PIECES) => {
                Ok(Predictor::Whole(self.logits(engine, &parameters.stored(&self.layout))?))
            }
            Err(failed) => Err(failed),
        }
    }

    /// Every compile-time parameter of the function that gives logits, whether it was set or is as the model's text says.
    pub fn settled(&self) -> BTreeMap<String, ConfigValue> {
        let declared =
            self.program.find(LOGITS).map(|definition| definition.config.as_slice()).unwrap_or_default();
        let value = |declaration: &ConfigDeclaration| {
            let name = declaration.name.name.as_str();
            let given = self.config.get(name).cloned();
            Some((name.to_string(), given.or_else(|| literal(&declaration.default.as_ref()?.kind))?))
        };
        declared.iter().filter_map(value).collect()
    }

    /// How many tokens it knows.
    pub fn vocabulary(&self) -> u64 {
        let (module, function) = self.inference();
        let graph = &module[function].graph;
        let last = graph.outputs.first().and_then(|output| output.axes.iter().next_back());
        last.and_then(|axis| graph.axes.size(axis).known()).unwrap_or_default()
    }

    /// The function of the logits as it is used, not trained, with its module.
    pub fn inference(&self) -> (&Module, FunctionId) {
        (self.in_use(), self.find(LOGITS))
    }

    fn in_use(&self) -> &Module {
        self.in_use.as_ref().unwrap_or(&self.module)
    }

    fn find(&self, name: &str) -> FunctionId {
        found(&self.module, name)
    }

    fn function(
        &self,
        compile: impl FnOnce() -> Result<CompiledFunction, Vec<Diagnostic>>,
    ) -> Result<LanguageFunction, Failed> {
        let CompiledFunction { executable, forms } =
            compile().map_err(|diagnostics| self.failed(diagnostics))?;
        Ok(LanguageFunction::new(executable, forms, self.layout.clone()))
    }
}

fn found(module: &Module, name: &str) -> FunctionId {
    module.find(name).expect("elaborated functions are there")
}

/// What predicts the next token of a text.
pub enum Predictor {
    /// Reads each token once.
    Reader(Box<Reader>),
    /// Reads all of the text for each token.
    Whole(LanguageFunction),
}

/// A text that is being read.
#[derive(Clone)]
pub struct Text<'a> {
    predictor: &'a Predictor,
    memory: Memory,
    tokens: Vec<i32>,
}

impl Predictor {
    /// A new text.
    pub fn start(&self) -> Text<'_> {
        self.resume(Memory::empty(1))
    }

    /// A text of which this is remembered.
    pub fn resume(&self, memory: Memory) -> Text<'_> {
        Text { predictor: self, memory, tokens: Vec::new() }
    }

    /// What reads piece by piece, if the model allows it.
    pub fn reader(&self) -> Option<&Reader> {
        match self {
            Predictor::Reader(reader) => Some(reader),
            Predictor::Whole(_) => None,
        }
    }

    /// Reads one more token of each text, and gives the logits after it: side by side where that is possible, so that the
    /// parameters are read once.
    pub fn read_token_of_each(
        &self,
        parameters: &Weights<'_>,
        texts: &mut [&mut Text<'_>],
        tokens: &[i32],
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let memories: Vec<&Memory> = texts.iter().map(|text| &text.memory).collect();
        let can_join = memories.len() > 1 && memories.iter().all(|memory| !memory.is_empty());
        let joined =
            self.reader().filter(|_| can_join).and_then(|reader| Some((reader, reader.join(&memories)?)));
        let Some((reader, mut memory)) = joined else {
            let each = texts.iter_mut().zip(tokens);
            return each.map(|(text, token)| text.last_logits(parameters, &[*token])).collect();
        };
        let logits = reader.read(parameters, &mut memory, tokens)?;
        for (row, text) in texts.iter_mut().enumerate() {
            text.memory = reader.row(&memory, row).expect("what was joined can be cut");
        }
        Ok(logits.chunks_exact(reader.vocabulary()).map(<[f32]>::to_vec).collect())
    }
}

impl Text<'_> {
    /// What is remembered of it.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Reads on, and gives the logits of each token of the piece.
    pub fn logits(&mut self, parameters: &Weights<'_>, piece: &[i32]) -> Result<Vec<f32>, RunError> {
        let function = match self.predictor {
            Predictor::Reader(reader) => return reader.read(parameters, &mut self.memory, piece),
            Predictor::Whole(function) => function,
        };
        self.tokens.extend(piece);
        let (rows, context) = (1, self.tokens.len());
        let (inputs, labels, starts) = (self.tokens.clone(), Vec::new(), Vec::new());
        let batch = Batch { rows, context, inputs, labels, starts };
        let vocabulary = function.outputs()[0].sizes.last().and_then(|s| s.known()).unwrap_or_default();
        let mut logits = vec![0.0; context * vocabulary as usize];
        let reading = Reading { batch: &batch, seed: 0, step: 0 };
        function.run(parameters, reading, &mut [DataMut::F32(&mut logits)])?;
        Ok(logits.split_off((context - piece.len()) * vocabulary as usize))
    }

    /// Reads on, and gives the logits of the last token.
    pub fn last_logits(&mut self, parameters: &Weights<'_>, piece: &[i32]) -> Result<Vec<f32>, RunError> {
        if let Predictor::Reader(reader) = self.predictor {
            let mut logits = Vec::new();
            reader.read_last(parameters, &mut self.memory, piece, &mut logits)?;
            return Ok(logits);
        }
        let mut logits = self.logits(parameters, piece)?;
        let vocabulary = logits.len() / piece.len().max(1);
        Ok(logits.split_off(logits.len() - vocabulary))
    }
}

/// A compile-time parameter as the language has it: lists are sets of whole numbers.
fn config_value(name: &str, value: &ParameterValue) -> Result<ConfigValue, Diagnostic> {
    let number = |item: &ParameterValue| match item {
        ParameterValue::Integer(n) => Ok(*n),
        ParameterValue::Boolean(_)
        | ParameterValue::Float(_)
        | ParameterValue::Text(_)
        | ParameterValue::List(_) => {
            let message = format!("compile-time parameter `{name}`: a list holds whole numbers only");
            Err(Diagnostic::error("config-value", Span::default(), message))
        }
    };
    Ok(match value {
        ParameterValue::Boolean(b) => ConfigValue::Bool(*b),
        ParameterValue::Integer(n) => ConfigValue::Int(*n),
        ParameterValue::Float(x) => ConfigValue::Float(*x),
        ParameterValue::Text(t) => ConfigValue::Text(t.clone()),
        ParameterValue::List(list) => ConfigValue::List(list.iter().map(number).collect::<Result<_, _>>()?),
    })
}

/// The value of a literal.
fn literal(kind: &ExprKind) -> Option<ConfigValue> {
    Some(match kind {
        ExprKind::Integer(n) => ConfigValue::Int(*n),
        ExprKind::Float(x) => ConfigValue::Float(*x),
        ExprKind::Truth(flag) => ConfigValue::Bool(*flag),
        ExprKind::Name(word) => ConfigValue::Text(word.to_string()),
        ExprKind::List(items) => {
            let number = |item: &Expr| if let ExprKind::Integer(n) = item.kind { Some(n) } else { None };
            ConfigValue::List(items.iter().map(number).collect::<Option<_>>()?)
        }
        ExprKind::Next(_)
        | ExprKind::Size(_)
        | ExprKind::Unary(..)
        | ExprKind::Binary(..)
        | ExprKind::Call(_)
        | ExprKind::View(..)
        | ExprKind::If(_)
        | ExprKind::Match(..)
        | ExprKind::Error => return None,
    })
}
