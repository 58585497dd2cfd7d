//! Words of a Dockerfile: quotes, escapes and variables.
//!
//! ```text
//! word     = *( text | '…' | "…" | \c | variable )       no variables in '…', and in "…" only \" \$ \\ are escapes
//! variable = $NAME | ${NAME} | ${NAME[:]-word} | ${NAME[:]+word} | ${NAME[:]?word}
//! ```

use std::iter::Peekable;
use std::str::Chars;

/// How deep variables may be nested in each other.
const DEPTH_LIMIT: usize = 100;

/// Why a word or an instruction is wrong: the text for the user.
pub(crate) type Reason = String;

/// A word whose variables have not been replaced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShellWord(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    otherwise: Option<Otherwise>,
}

/// The part of a variable that says what it stands for if it is set, or if it isn't.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Otherwise {
    /// `-`, `+` or `?`, as in a shell.
    operator: char,
    /// Whether an empty value counts as none, because there was a colon.
    wants_text: bool,
    word: ShellWord,
}

impl ShellWord {
    /// Reads a word. Blanks are part of it.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        Parser { rest: text.chars().peekable(), depth: 0 }.word(None)
    }

    /// The word as plain text, without quotes and variables.
    pub(crate) fn plain(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// Replaces the variables by their values; `value` gives those, and a variable that isn't set is empty.
    ///
    /// # Errors
    /// The text of `${NAME?text}`, if the variable isn't set.
    pub(crate) fn expand(&self, value: &dyn Fn(&str) -> Option<String>) -> Result<String, Reason> {
        let expand = |piece: &Piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Variable(variable) => variable.expand(value),
        };
        self.0.iter().map(expand).collect()
    }
}

impl Variable {
    fn expand(&self, value: &dyn Fn(&str) -> Option<String>) -> Result<String, Reason> {
        let found = value(&self.name);
        let Some(Otherwise { operator, wants_text, word }) = &self.otherwise else {
            return Ok(found.unwrap_or_default());
        };
        let set = found.filter(|text| !(*wants_text && text.is_empty()));
        match (operator, set) {
            ('+', Some(_)) | ('-', None) => word.expand(value),
            ('+', None) => Ok(String::new()),
            (_, Some(text)) => Ok(text),
            (_, None) => Err(format!("{}: {}", self.name, word.expand(value)?)),
        }
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    /// Reads up to the end, or past the brace that ends a variable.
    fn word(&mut self, end: Option<char>) -> Result<ShellWord, Reason> {
        let (mut pieces, mut text) = (vec![], String::new());
        loop {
            match self.rest.next() {
                None if end.is_some() => return Err("missing }".to_owned()),
                None => break,
                next if next == end => break,
                Some('\'') => text.push_str(&self.single_quoted()?),
                Some('"') => self.double_quoted(&mut text, &mut pieces)?,
                Some('$') => self.variable(&mut text, &mut pieces)?,
                Some('\\') => text.extend(self.rest.next()),
                Some(other) => text.push(other),
            }
        }
        pieces.push(Piece::Text(text));
        Ok(ShellWord(pieces))
    }

    fn single_quoted(&mut self) -> Result<String, Reason> {
        let mut text = String::new();
        loop {
            match self.rest.next().ok_or("a single quote is not closed")? {
                '\'' => return Ok(text),
                other => text.push(other),
            }
        }
    }

    fn double_quoted(&mut self, text: &mut String, pieces: &mut Vec<Piece>) -> Result<(), Reason> {
        loop {
            match self.rest.next().ok_or("a double quote is not closed")? {
                '"' => return Ok(()),
                '$' => self.variable(text, pieces)?,
                '\\' => match self.rest.next_if(|next| matches!(next, '"' | '$' | '\\')) {
                    Some(escaped) => text.push(escaped),
                    None => text.push('\\'),
                },
                other => text.push(other),
            }
        }
    }

    /// Reads what follows a dollar sign; a dollar sign that nothing fitting follows is one.
    fn variable(&mut self, text: &mut String, pieces: &mut Vec<Piece>) -> Result<(), Reason> {
        let variable = if self.rest.next_if_eq(&'{').is_some() {
            self.braced()?
        } else {
            Variable { name: self.name(), otherwise: None }
        };
        if variable.name.is_empty() {
            text.push('$');
        } else {
            pieces.push(Piece::Text(std::mem::take(text)));
            pieces.push(Piece::Variable(variable));
        }
        Ok(())
    }

    fn braced(&mut self) -> Result<Variable, Reason> {
        let name = self.name();
        if name.is_empty() {
            return Err("${…} without a name".to_owned());
        }
        let wants_text = self.rest.next_if_eq(&':').is_some();
        let operator = match self.rest.next().ok_or("missing }")? {
            '}' if !wants_text => return Ok(Variable { name, otherwise: None }),
            operator @ ('-' | '+' | '?') => operator,
            other => return Err(format!("${{{name}}}: unknown modifier {other}")),
        };
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err("variables nested too deep".to_owned());
        }
        let word = self.word(Some('}'))?;
        self.depth -= 1;
        Ok(Variable { name, otherwise: Some(Otherwise { operator, wants_text, word }) })
    }

    /// Reads a name: letters, digits and underlines; or digits only; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let first = self.rest.next_if(|c| c.is_alphanumeric() || "_@*#?-$!".contains(*c));
        name.extend(first);
        let goes_on = |c: &char| match first {
            Some(first) if first.is_ascii_digit() => c.is_ascii_digit(),
            Some(first) if first.is_alphanumeric() || first == '_' => {
                c.is_alphanumeric() || *c == '_'
            }
            _ => false,
        };
        while let Some(next) = self.rest.next_if(goes_on) {
            name.push(next);
        }
        name
    }
}

/// Cuts at blanks that are neither quoted nor escaped; quotes and escapes stay in the pieces.
pub(crate) fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (vec![], String::new(), None);
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match (next, quote) {
            (blank, None) if blank.is_whitespace() => {
                words.push(std::mem::take(&mut word));
                continue;
            }
            ('\'' | '"', None) => quote = Some(next),
            ('\\', None | Some('"')) => {
                let Some(escaped) = rest.next() else { break };
                word.extend(['\\', escaped]);
                continue;
            }
            _ if quote == Some(next) => quote = None,
            _ => {}
        }
        word.push(next);
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let value = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        let found = ShellWord::parse(text).and_then(|word| word.expand(&value));
        assert_eq!(found.as_deref(), expected.map_err(str::to_owned).as_deref(), "{text}");
    }

    #[test]
    fn quotes_and_escapes_are_taken_off() {
        check("plain text", Ok("plain text"));
        check(r#"a"b c"d'e "f'"#, Ok(r#"ab cde "f"#));
        check(r#"a\ b\\c\"d\"#, Ok(r#"a b\c"d"#));
        check(r#""\a\"\\\$A""#, Ok(r#"\a"\$A"#));
        check(r"'\a$A'", Ok(r"\a$A"));
        check(r#""a"#, Err("a double quote is not closed"));
        check("'a", Err("a single quote is not closed"));
    }

    #[test]
    fn variables_are_replaced() {
        check("$A-${A}x$Ax", Ok("1-1x"));
        check(r#""$A"\$A"#, Ok("1$A"));
        check("$ $", Ok("$ $"));
        check("$1x$@$", Ok("x$"));
        check("${X:-$A}${E:-y}${A:-n}", Ok("1y1"));
        check("${X-y}${E-n}", Ok("y"));
        check("${A:+y}${X:+n}${E:+n}${E+z}", Ok("yz"));
        check("${X:-a b'}'\\}}", Ok("a b}}"));
        check("${X:?is not set}", Err("X: is not set"));
        check("${A:?no}", Ok("1"));
        check("${", Err("${…} without a name"));
        check("${A", Err("missing }"));
        check("${A:-x", Err("missing }"));
        check("${A%x}", Err("${A}: unknown modifier %"));
        check(&"${X:-".repeat(10_000), Err("variables nested too deep"));
    }

    #[test]
    fn words_end_at_bare_blanks() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split(text), expected, "{text}");
        check("a  b\tc", &["a", "b", "c"]);
        check(r#"a="x y" b=x\ y c='x " y'"#, &[r#"a="x y""#, r"b=x\ y", r#"c='x " y'"#]);
        check(r#"a="x \" y" b\"#, &[r#"a="x \" y""#, "b"]);
        check("  ", &[]);
    }
}
