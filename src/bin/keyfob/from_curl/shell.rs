//! Splits a command line into words, with the quoting rules of a POSIX shell and bash, or of Windows' cmd.

/// Marks the beginning and the end of a shell variable's name in a word. Both are private characters, which no command
/// line contains.
pub(super) const VARIABLE: char = '\u{F0000}';
pub(super) const VARIABLE_END: char = '\u{F0001}';

/// Returns the words up to the end of the first command, and whether more text follows.
pub(super) fn words(text: &str) -> Result<(Vec<String>, bool), &'static str> {
    let text = text.replace("\r\n", "\n");
    if text.contains([VARIABLE, VARIABLE_END]) {
        return Err("it contains private characters");
    }
    // Only cmd continues a line with a circumflex.
    let is_cmd = text.lines().any(|line| line.trim_end().ends_with('^'));
    let mut words = Words { words: Vec::new(), word: None };
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '^' if is_cmd => match chars.next() {
                Some('\n') | None => words.end(),
                Some(c) => words.push(c),
            },
            // cmd has only double quotes; curl's C runtime reads `\"` as a quote, inside and outside of them.
            '\\' if is_cmd && chars.peek() == Some(&'"') => words.push_some(chars.next()),
            '"' if is_cmd => {
                words.begin();
                loop {
                    match chars.next().ok_or("a double quote is not closed")? {
                        '"' => break,
                        '\\' if matches!(chars.peek(), Some('"' | '\\')) => words.push_some(chars.next()),
                        c => words.push(c),
                    }
                }
            }
            '\'' | '\\' | '$' if is_cmd => words.push(c),
            // PowerShell continues a line with a backtick.
            '\\' | '`' if chars.peek() == Some(&'\n') => {
                chars.next();
            }
            '\\' => words.push_some(chars.next()),
            '\'' => {
                words.begin();
                loop {
                    match chars.next().ok_or("a single quote is not closed")? {
                        '\'' => break,
                        c => words.push(c),
                    }
                }
            }
            '"' => {
                words.begin();
                loop {
                    match chars.next().ok_or("a double quote is not closed")? {
                        '"' => break,
                        '\\' => match chars.next() {
                            Some('\n') => {}
                            Some(c @ ('"' | '\\' | '$' | '`')) => words.push(c),
                            c => {
                                words.push('\\');
                                words.push_some(c);
                            }
                        },
                        '$' => variable(&mut words, &mut chars)?,
                        '`' => return Err("a command substitution cannot be followed"),
                        c => words.push(c),
                    }
                }
            }
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                words.begin();
                loop {
                    match chars.next().ok_or("a single quote is not closed")? {
                        '\'' => break,
                        '\\' => words.push(escaped(&mut chars)?),
                        c => words.push(c),
                    }
                }
            }
            '$' => variable(&mut words, &mut chars)?,
            '`' => return Err("a command substitution cannot be followed"),
            // A new line ends the command once it has begun.
            '\n' if is_cmd || !words.has_command() => words.end(),
            '|' | ';' | '&' | '>' | '<' | '\n' => {
                words.end();
                return Ok((words.words, chars.any(|c| !c.is_whitespace())));
            }
            '#' if words.word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            c if c.is_whitespace() => words.end(),
            c => words.push(c),
        }
    }
    words.end();
    Ok((words.words, false))
}

struct Words {
    words: Vec<String>,
    word: Option<String>,
}

impl Words {
    fn begin(&mut self) {
        self.word.get_or_insert_default();
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn push_some(&mut self, c: Option<char>) {
        if let Some(c) = c {
            self.push(c);
        }
    }

    fn end(&mut self) {
        self.words.extend(self.word.take());
    }

    fn has_command(&self) -> bool {
        self.word.is_some() || !self.words.is_empty()
    }
}

type Chars<'t> = std::iter::Peekable<std::str::Chars<'t>>;

/// Reads the text after a `$`: the name of a variable, or ordinary text.
fn variable(words: &mut Words, chars: &mut Chars<'_>) -> Result<(), &'static str> {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let has_braces = chars.next_if_eq(&'{').is_some();
    if !has_braces && chars.peek() == Some(&'(') {
        return Err("a command substitution cannot be followed");
    }
    let mut name = String::new();
    while let Some(c) = chars.next_if(is_part) {
        name.push(c);
    }
    if has_braces && (name.is_empty() || chars.next() != Some('}')) {
        return Err("a shell expansion cannot be followed");
    }
    if name.is_empty() {
        words.push('$');
        return Ok(());
    }
    for c in [VARIABLE].into_iter().chain(name.chars()).chain([VARIABLE_END]) {
        words.push(c);
    }
    Ok(())
}

/// Reads an escape of bash's `$'…'`.
fn escaped(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    let unknown = "an escape in $'…' cannot be read";
    Ok(match chars.next().ok_or(unknown)? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        c @ ('\\' | '\'' | '"' | '?') => c,
        kind @ ('x' | 'u') => {
            let most = if kind == 'x' { 2 } else { 4 };
            let mut code = None;
            for _ in 0..most {
                let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
                code = Some(code.unwrap_or(0) * 16 + digit);
                chars.next();
            }
            // A byte above 0x7F would be a part of a character.
            let code = code.filter(|code| kind == 'u' || *code < 0x80).ok_or(unknown)?;
            char::from_u32(code).ok_or(unknown)?
        }
        _ => return Err(unknown),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_in_a_shell_or_in_cmd() {
        for (text, expected) in [
            ("curl -d 'a b' \"c d\" e\\ f", &["curl", "-d", "a b", "c d", "e f"][..]),
            ("curl 'it'\\''s' \"say \\\"x\\\" \\$5 \\n\"", &["curl", "it's", "say \"x\" $5 \\n"]),
            ("curl \\\n  -X POST \\\n  u", &["curl", "-X", "POST", "u"]),
            ("curl `\n  -X POST `\r\n  u", &["curl", "-X", "POST", "u"]),
            ("curl a\ncurl b", &["curl", "a"]),
            ("\n# a comment\ncurl a | jq .", &["curl", "a"]),
            ("curl '' \"\"", &["curl", "", ""]),
            ("curl a#b # c", &["curl", "a#b"]),
            ("curl $'a\\'b\\n\\x41\\u00e9'", &["curl", "a'b\nAé"]),
            ("curl \"$A\" ${B_1}c '$D' $", &["curl", "\u{F0000}A\u{F0001}", "\u{F0000}B_1\u{F0001}c", "$D", "$"]),
            (
                "curl ^\n -d \"{\\\"a\\\": \\\"b c\\\"}\" ^\n -H \"X: it's 5$\" u^&v",
                &["curl", "-d", "{\"a\": \"b c\"}", "-H", "X: it's 5$", "u&v"],
            ),
        ] {
            let words = words(text).unwrap_or_else(|why| unreachable!("{text}: {why}")).0;
            assert_eq!(words, expected, "{text}");
        }
        for text in ["curl 'a", "curl \"a", "curl $(cat x)", "curl `cat x`", "curl \"${A:-b}\"", "curl $'\\xFF'"] {
            assert!(words(text).is_err(), "{text}");
        }
        assert_eq!(words("curl a | jq").map(|(_, more)| more), Ok(true));
    }
}
