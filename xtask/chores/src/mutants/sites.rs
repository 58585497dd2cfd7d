//! Where a mutant may stand: the places of one source file, and what may be written there instead.
//!
//! Operators are replaced by their neighbours, `!` is dropped, the guard of a match arm becomes `true` or `false`, and
//! the body of a function becomes a plain value of its type. Constants, patterns, types and macros are left alone: a
//! switch that is read at run time can't stand there.

use std::ops::Range;

use anyhow::Context as _;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, ReturnType, Type, UnOp};

/// A place in a file, and what may stand there.
#[derive(Debug)]
pub(super) struct Site {
    /// The bytes that are replaced; empty for what is only inserted.
    pub(super) range: Range<usize>,
    /// The line, from 1.
    pub(super) line: usize,
    /// The function around it.
    pub(super) function: String,
    /// Each text that may stand there, with what that changes.
    pub(super) alternatives: Vec<Alternative>,
}

/// One text that may stand in a place.
#[derive(Debug)]
pub(super) struct Alternative {
    /// The expression, or the value that a body returns.
    pub(super) text: String,
    /// What it changes, in words.
    pub(super) what: String,
}

/// Finds the places of a file.
pub(super) fn of(text: &str) -> anyhow::Result<Vec<Site>> {
    let file = syn::parse_file(text).context("parsing the file")?;
    let mut finder = Finder { text, sites: vec![], path: vec![] };
    finder.visit_file(&file);
    Ok(finder.sites)
}

/// What an expression ends with that tells the time.
const CLOCKS: [&str; 2] = [".elapsed()", "Instant::now()"];

struct Finder<'a> {
    text: &'a str,
    sites: Vec<Site>,
    /// The types and functions around.
    path: Vec<String>,
}

impl Finder<'_> {
    fn source(&self, of: &impl syn::spanned::Spanned) -> &str {
        &self.text[of.span().byte_range()]
    }

    fn add(&mut self, range: Range<usize>, line: usize, alternatives: Vec<Alternative>) {
        if alternatives.is_empty() {
            return;
        }
        let function = self.path.join("::");
        self.sites.push(Site { range, line, function, alternatives });
    }

    /// A function: its body's value, then what is inside.
    fn function(&mut self, attributes: &[syn::Attribute], sig: &syn::Signature, body: &syn::Block) {
        if sig.constness.is_some() || is_test(attributes) {
            return;
        }
        self.path.push(sig.ident.to_string());
        let open = body.brace_token.span.open().byte_range().end;
        let line = sig.ident.span().start().line;
        let values = match &sig.output {
            _ if body.stmts.is_empty() => vec![],
            ReturnType::Default => vec!["()".to_owned()],
            ReturnType::Type(_, kind) => values(kind),
        };
        let alternative = |value: String| Alternative {
            what: format!("replace the body by {value}"),
            text: value,
        };
        let inside = self.text[open..body.brace_token.span.close().byte_range().start].trim();
        let values: Vec<_> = values.into_iter().filter(|value| value != inside).collect();
        self.add(open..open, line, values.into_iter().map(alternative).collect());
        visit::visit_block(self, body);
        self.path.pop();
    }

    fn binary(&mut self, whole: &syn::ExprBinary) {
        // A chain of `if let … && …` can't be put into parentheses.
        if has_let(&whole.left) || has_let(&whole.right) {
            return;
        }
        let (left, right) = (self.source(&whole.left), self.source(&whole.right));
        let found = self.source(&whole.op).to_owned();
        // No clock stands at just that instant.
        let is_of_clock =
            [left, right].iter().any(|side| CLOCKS.iter().any(|clock| side.ends_with(clock)));
        let is_same = |operator: &str| {
            is_of_clock && operator.trim_end_matches('=') == found.trim_end_matches('=')
        };
        let alternatives = instead(&whole.op)
            .iter()
            .filter(|operator| !is_same(operator))
            .map(|operator| Alternative {
                text: format!("{left} {operator} {right}"),
                what: format!("replace {found} by {operator}"),
            })
            .collect();
        self.add(whole.span().byte_range(), whole.op.span().start().line, alternatives);
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.function(&node.attrs, &node.sig, &node.block);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.function(&node.attrs, &node.sig, &node.block);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(body) = &node.default {
            self.function(&node.attrs, &node.sig, body);
        }
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        let is_debug = node.trait_.as_ref().is_some_and(|(_, path, _)| {
            path.segments.last().is_some_and(|segment| segment.ident == "Debug")
        });
        if is_test(&node.attrs) || is_debug {
            return;
        }
        self.path.push(name_of(&node.self_ty));
        visit::visit_item_impl(self, node);
        self.path.pop();
    }

    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        if !is_test(&node.attrs) {
            visit::visit_item_mod(self, node);
        }
    }

    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        self.binary(node);
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        if matches!(node.op, UnOp::Not(_) | UnOp::Neg(_)) && !matches!(*node.expr, Expr::Lit(_)) {
            let operator = self.source(&node.op).to_owned();
            let text = self.source(&node.expr).to_owned();
            let alternative = Alternative { text, what: format!("drop {operator}") };
            self.add(node.span().byte_range(), node.span().start().line, vec![alternative]);
        }
        visit::visit_expr_unary(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        if let Some((_, guard)) = &node.guard
            && !has_let(guard)
        {
            let alternative = |value: &str| Alternative {
                text: value.to_owned(),
                what: format!("replace the guard by {value}"),
            };
            let both = ["true", "false"].map(alternative).into();
            self.add(guard.span().byte_range(), guard.span().start().line, both);
        }
        visit::visit_arm(self, node);
    }

    // What must be known at compile time.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
    }
}

/// Whether code is there for tests alone.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| {
                    list.tokens.clone().into_iter().any(|token| token.to_string() == "test")
                })
    })
}

/// Whether a condition binds names.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

fn name_of(kind: &Type) -> String {
    match kind {
        Type::Path(path) => {
            path.path.segments.last().map_or_else(String::new, |last| last.ident.to_string())
        }
        Type::Reference(inner) => name_of(&inner.elem),
        _ => "impl".to_owned(),
    }
}

/// The neighbours of an operator.
fn instead(operator: &BinOp) -> &'static [&'static str] {
    match operator {
        BinOp::Eq(_) => &["!="],
        BinOp::Ne(_) => &["=="],
        BinOp::Lt(_) => &["<=", ">"],
        BinOp::Le(_) => &["<", ">"],
        BinOp::Gt(_) => &[">=", "<"],
        BinOp::Ge(_) => &[">", "<"],
        BinOp::And(_) => &["||"],
        BinOp::Or(_) => &["&&"],
        BinOp::Add(_) => &["-", "*"],
        BinOp::Sub(_) | BinOp::Mul(_) => &["+", "/"],
        BinOp::Div(_) => &["*", "%"],
        BinOp::Rem(_) => &["/", "+"],
        BinOp::BitAnd(_) => &["|", "^"],
        // Nearly all join flags, none of which is on both sides: `^` does the same.
        BinOp::BitOr(_) => &["&"],
        BinOp::BitXor(_) => &["|", "&"],
        BinOp::Shl(_) => &[">>"],
        BinOp::Shr(_) => &["<<"],
        BinOp::AddAssign(_) => &["-=", "*="],
        BinOp::SubAssign(_) | BinOp::MulAssign(_) => &["+=", "/="],
        BinOp::DivAssign(_) => &["*=", "%="],
        BinOp::BitAndAssign(_) => &["|=", "^="],
        BinOp::BitOrAssign(_) => &["&="],
        BinOp::BitXorAssign(_) => &["|=", "&="],
        BinOp::ShlAssign(_) => &[">>="],
        BinOp::ShrAssign(_) => &["<<="],
        _ => &[],
    }
}

/// Plain values of a type. What doesn't compile is dropped later.
fn values(kind: &Type) -> Vec<String> {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    match kind {
        Type::Tuple(tuple) if tuple.elems.is_empty() => owned(&["()"]),
        Type::Tuple(tuple) => {
            let each: Option<Vec<_>> =
                tuple.elems.iter().map(|kind| values(kind).into_iter().next()).collect();
            each.map(|each| format!("({})", each.join(", "))).into_iter().collect()
        }
        Type::Reference(inner) if inner.mutability.is_none() => match name_of(&inner.elem).as_str()
        {
            "str" => owned(&["\"\"", "\"xyzzy\""]),
            _ if matches!(*inner.elem, Type::Slice(_)) => owned(&["&[]"]),
            _ => vec![],
        },
        Type::Path(path) => path.path.segments.last().map_or_else(Vec::new, of_path),
        _ => vec![],
    }
}

fn of_path(last: &syn::PathSegment) -> Vec<String> {
    let inner = || match &last.arguments {
        syn::PathArguments::AngleBracketed(found) => found.args.first(),
        _ => None,
    };
    let of_inner = || match inner() {
        Some(syn::GenericArgument::Type(kind)) => values(kind),
        _ => vec![],
    };
    let plain = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    match last.ident.to_string().as_str() {
        "bool" => plain(&["true", "false"]),
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128"
        | "isize" => plain(&["0", "1"]),
        "String" => plain(&["String::new()", "\"xyzzy\".to_owned()"]),
        "Vec" => plain(&["vec![]"]),
        "Option" => {
            let mut all = plain(&["None"]);
            all.extend(of_inner().into_iter().map(|value| format!("Some({value})")));
            all
        }
        "Result" => of_inner().into_iter().map(|value| format!("Ok({value})")).collect(),
        "Self" => vec![],
        _ => plain(&["Default::default()"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_sites(text: &str, expected: &[&str]) {
        let found = of(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .flat_map(|site| {
                site.alternatives
                    .iter()
                    .map(|each| format!("{}: {}: {}", site.function, each.what, each.text))
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn operators_guards_and_bodies_are_found() {
        check_sites(
            "fn f(a: u8) -> bool { a < 1 }",
            &[
                "f: replace the body by true: true",
                "f: replace the body by false: false",
                "f: replace < by <=: a <= 1",
                "f: replace < by >: a > 1",
            ],
        );
        check_sites(
            "impl A { fn g(&self) { match 1 { n if !n => (), _ => {} } } }",
            &[
                "A::g: replace the body by (): ()",
                "A::g: replace the guard by true: true",
                "A::g: replace the guard by false: false",
                "A::g: drop !: n",
            ],
        );
        check_sites(
            "fn h() -> io::Result<Option<u8>> { x() }",
            &[
                "h: replace the body by Ok(None): Ok(None)",
                "h: replace the body by Ok(Some(0)): Ok(Some(0))",
                "h: replace the body by Ok(Some(1)): Ok(Some(1))",
            ],
        );
    }

    #[test]
    fn a_bound_of_a_clock_is_only_turned_round() {
        check_sites(
            "fn f() { a.elapsed() > b; }",
            &["f: replace the body by (): ()", "f: replace > by <: a.elapsed() < b"],
        );
        check_sites(
            "fn f() { a <= Instant::now(); }",
            &["f: replace the body by (): ()", "f: replace <= by >: a > Instant::now()"],
        );
    }

    #[test]
    fn constants_tests_and_chains_with_names_are_left_alone() {
        check_sites("const A: u8 = 1 + 1; static B: u8 = 1 - 1; const fn c() -> u8 { 1 + 1 }", &[]);
        check_sites("#[cfg(test)] mod tests { fn f() -> u8 { 1 } }", &[]);
        check_sites("#[test] fn f() { g(1 + 1) }", &[]);
        check_sites("fn f() { if let Some(a) = b && c {} }", &["f: replace the body by (): ()"]);
    }
}
