//! Everything that a program can say, in one file: target/docs/messages.txt, for whoever reads it whole.
//!
//! That is every string of more than one word in our crates, outside of tests, with its file and line. What options mean
//! stands in docs/cli.md.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use xtask::run::{output, root};

/// The list, file by file.
pub(crate) fn list() -> anyhow::Result<String> {
    let mut list = String::new();
    for file in output(&["git", "ls-files", "crates/*/src/*.rs"])?.lines() {
        let text = fs::read_to_string(root().join(file)).with_context(|| file.to_owned())?;
        let messages = if is_of_tests(file) { vec![] } else { of(&text)? };
        if !messages.is_empty() {
            writeln!(list, "\n{file}").expect("writing to a String can't fail");
        }
        for (line, message) in messages {
            writeln!(list, "{line:>5}  {message}").expect("writing to a String can't fail");
        }
    }
    Ok(list)
}

fn is_of_tests(file: &str) -> bool {
    Path::new(file).components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        matches!(name.as_ref(), "tests.rs" | "tests")
    })
}

/// The messages of a file, with their lines.
fn of(text: &str) -> anyhow::Result<Vec<(usize, String)>> {
    let file = syn::parse_file(text).context("parsing the file")?;
    let mut finder = Finder::default();
    finder.visit_file(&file);
    Ok(finder.messages)
}

#[derive(Default)]
struct Finder {
    messages: Vec<(usize, String)>,
}

impl Finder {
    fn add(&mut self, line: usize, text: &str) {
        let text = text.trim();
        let has_words = text.split_whitespace().filter(|word| is_word(word)).count() > 1;
        if has_words {
            self.messages.push((line, text.replace('\n', "\\n")));
        }
    }

    /// The strings within a macro's arguments.
    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                        self.add(line, &text.value());
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| attribute.path().is_ident("cfg");
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        // Other attributes are for compilers and for --help.
        if let (true, syn::Meta::List(list)) = (attribute.path().is_ident("error"), &attribute.meta)
        {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, each: &'ast syn::Macro) {
        self.tokens(each.tokens.clone());
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.add(text.span().start().line, &text.value());
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // What can't happen is said by a panic.
        if call.method == "expect" {
            self.visit_expr(&call.receiver);
        } else {
            visit::visit_expr_method_call(self, call);
        }
    }
}

fn is_word(word: &str) -> bool {
    word.chars().filter(|c| c.is_alphabetic()).count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_listed_and_nothing_else() {
        let text = r#"
            //! No comment is.
            #[derive(Error)]
            enum Error { #[error("{what}: not found{}", after(said))] A }
            #[arg(help = "no attribute")]
            fn f() {
                usage("which program is it?").hint(format!("give a {name}"));
                x.expect("it is there");
                let unit = "kB";
            }
            #[cfg(test)]
            mod tests { const A: &str = "no test is"; }
        "#;
        let messages: Vec<_> = of(text).unwrap().into_iter().map(|(_, message)| message).collect();
        assert_eq!(messages, ["{what}: not found{}", "which program is it?", "give a {name}"]);
    }
}
