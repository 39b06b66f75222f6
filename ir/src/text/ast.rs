//! The syntax tree of a source file: what the parser gives and elaboration reads. It says nothing about meaning.

use crate::{DType, Decay, Direction, FunctionKind, Name, Residuals, Span};

/// A name where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ident {
    /// The name.
    pub name: Name,
    /// Where.
    pub span: Span,
}

/// A `fn`, `block` or `model`.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Which of the three.
    pub kind: FunctionKind,
    /// Whether `remat` stands before it.
    pub residuals: Residuals,
    /// Its name.
    pub name: Ident,
    /// Compile-time parameters.
    pub config: Vec<ConfigDeclaration>,
    /// Arguments.
    pub inputs: Vec<Typed>,
    /// Outputs.
    pub outputs: Vec<Typed>,
    /// What it does.
    pub body: Vec<Statement>,
}

/// A compile-time parameter.
#[derive(Clone, Debug)]
pub struct ConfigDeclaration {
    /// Its name.
    pub name: Ident,
    /// What it may be.
    pub kind: ConfigKind,
    /// What it is if nobody says.
    pub default: Option<Expr>,
}

/// What a compile-time parameter may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigKind {
    /// An integer.
    Int,
    /// A number.
    Float,
    /// A truth value.
    Bool,
    /// A set of integers.
    Set,
    /// One of these words.
    Enum(Vec<Ident>),
}

/// `name: type`.
#[derive(Clone, Debug)]
pub struct Typed {
    /// The name.
    pub name: Ident,
    /// The type.
    pub ty: TypeExpr,
}

/// A type: `f32[s, e = d]`.
#[derive(Clone, Debug)]
pub struct TypeExpr {
    /// The element type; the working dtype if there is none.
    pub dtype: Option<DType>,
    /// The axes, in order.
    pub axes: Vec<AxisDeclaration>,
    /// Where.
    pub span: Span,
}

/// An axis in a type, with a size where one is given.
#[derive(Clone, Debug)]
pub struct AxisDeclaration {
    /// The axis.
    pub name: Ident,
    /// Its size.
    pub size: Option<Expr>,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Which.
    pub kind: StatementKind,
    /// Where.
    pub span: Span,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub enum StatementKind {
    /// `let x = e`, `let (a, b) = e`.
    Let {
        /// One name, or one per output.
        names: Vec<Ident>,
        /// A type that the value must have.
        ty: Option<TypeExpr>,
        /// The value.
        value: Expr,
    },
    /// `let mix(r) = e`.
    LocalFunction(LocalFunction),
    /// `x = e`.
    Assign {
        /// A name that exists.
        name: Ident,
        /// Its new value.
        value: Expr,
    },
    /// `C' = e`.
    Next {
        /// The state.
        name: Ident,
        /// Its next value.
        value: Expr,
    },
    /// `param w: type ~ init nodecay`.
    Parameter {
        /// Last part of its path.
        name: Ident,
        /// Its type.
        ty: TypeExpr,
        /// How it starts.
        init: Expr,
        /// Whether it decays.
        decay: Decay,
    },
    /// `repeat i in a..b { .. }`.
    Repeat {
        /// The counter.
        variable: Ident,
        /// First value.
        from: Expr,
        /// One past the last value.
        to: Expr,
        /// What is done each turn.
        body: Vec<Statement>,
    },
    /// `if c { .. } else { .. }`, settled while elaborating.
    If {
        /// A compile-time truth value.
        condition: Expr,
        /// If it holds.
        then: Vec<Statement>,
        /// If not.
        otherwise: Vec<Statement>,
    },
    /// `match c { a => { .. } }`, settled while elaborating.
    Match {
        /// A compile-time word.
        subject: Expr,
        /// The cases.
        arms: Vec<Arm<Vec<Statement>>>,
    },
    /// `scan s { .. }`.
    Scan(ScanStatement),
    /// `state C: type = e`, inside a scan.
    State {
        /// The state.
        name: Ident,
        /// Its type.
        ty: TypeExpr,
        /// Its start; 0 if there is none.
        init: Option<Expr>,
    },
    /// `yield h = e`, inside a scan.
    Yield {
        /// The name of the stacked values.
        name: Ident,
        /// The value of one step.
        value: Expr,
    },
}

/// `let mix(r) = e`.
#[derive(Clone, Debug)]
pub struct LocalFunction {
    /// Its name.
    pub name: Ident,
    /// Its arguments.
    pub parameters: Vec<Ident>,
    /// Its value.
    pub body: Expr,
}

/// `scan s reverse reset r { .. }`.
#[derive(Clone, Debug)]
pub struct ScanStatement {
    /// Along which axis.
    pub axis: Ident,
    /// From which end.
    pub direction: Direction,
    /// Where states start afresh.
    pub reset: Option<Expr>,
    /// States, equations, yields.
    pub body: Vec<Statement>,
}

/// A case of a `match`.
#[derive(Clone, Debug)]
pub struct Arm<T> {
    /// The words that it is for; `else` for the rest.
    pub patterns: Vec<Ident>,
    /// What it gives.
    pub body: T,
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Which.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
    /// Height of the tree, which is limited.
    pub depth: u16,
}

impl Expr {
    /// The name that this expression is, if it is nothing else.
    pub fn as_name(&self) -> Option<Ident> {
        if let ExprKind::Name(name) = self.kind { Some(Ident { name, span: self.span }) } else { None }
    }
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// An integer literal.
    Integer(i64),
    /// A floating-point literal.
    Float(f64),
    /// `true`, `false`.
    Truth(bool),
    /// A name.
    Name(Name),
    /// `C'`.
    Next(Name),
    /// `|dk|`.
    Size(Ident),
    /// `-x`, `!x`.
    Unary(Unary, Box<Expr>),
    /// `a + b`.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `f(x)`, `sum[e](x)`, `block<heads = 4>(x) as y`.
    Call(Call),
    /// `x[s -> u]`.
    View(Box<Expr>, Brackets),
    /// `if c { a } else { b }`, settled while elaborating.
    If(Box<[Expr; 3]>),
    /// `match act { gelu => a, swish => b }`.
    Match(Box<Expr>, Vec<Arm<Expr>>),
    /// `[b, s, d]`, `{1, 3}`.
    List(Vec<Expr>),
    /// What could not be read; the parser has reported it.
    Error,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Of what.
    pub name: Ident,
    /// Compile-time arguments.
    pub config: Vec<(Ident, Expr)>,
    /// What stands in brackets.
    pub attributes: Option<Brackets>,
    /// Arguments.
    pub arguments: Vec<Expr>,
    /// `as name`.
    pub alias: Option<Ident>,
    /// `reversed axis`.
    pub reversed: Option<Ident>,
}

/// What stands in brackets behind a value or an operation.
#[derive(Clone, Debug)]
pub struct Brackets {
    /// Everything, or what stands before `=>`.
    pub before: Vec<BracketItem>,
    /// What stands behind `=>`.
    pub after: Option<Vec<BracketItem>>,
    /// Where.
    pub span: Span,
}

/// One part of it: `e`, `s -> u`, `s -> t = 2..5`, `vocab = tokens`, `1`.
#[derive(Clone, Debug)]
pub struct BracketItem {
    /// Before `->` or `=`.
    pub subject: Expr,
    /// Behind `->`.
    pub to: Option<Ident>,
    /// Behind `=`.
    pub value: Option<Expr>,
    /// Behind `..`.
    pub end: Option<Expr>,
}

/// Operators with one operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unary {
    /// `-`.
    Negate,
    /// `!`.
    Not,
}

/// Operators with two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is the operator of its name")]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    And,
    Or,
    In,
}
