//! Rust source, read just well enough: without comments and texts, without or with its tests, and the names it begins
//! paths with.

use std::collections::BTreeSet;

/// The code alone: comments are left out, and of texts and characters only the quotes stay.
pub(crate) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_text(rest, code.chars().last()) {
            code.push_str("\"\"");
            length
        } else if first == '"' {
            code.push_str("\"\"");
            quoted(rest)
        } else if let Some(length) = character(rest) {
            code.push_str("''");
            length
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// Code without what is compiled for tests only; to be given the result of [`code`].
pub(crate) fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = match item.find(['{', ';']) {
            Some(at) if item[at..].starts_with('{') => at + matching_brace(&item[at..]),
            Some(at) => at + 1,
            None => item.len(),
        };
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// The first names of all paths, whether imported or written out, as in `diesel` of `diesel::sql_query`.
pub(crate) fn roots(code: &str) -> BTreeSet<&str> {
    let mut roots: BTreeSet<&str> = imports(code).into_iter().map(first_name).collect();
    let words = words(code);
    for (at, word) in words {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        let inside = before.ends_with('.')
            || before
                .strip_suffix("::")
                .is_some_and(|before| before.ends_with(|last: char| last.is_alphanumeric() || "_>".contains(last)));
        if after.starts_with("::") && !inside {
            roots.insert(word);
        }
    }
    roots.remove("");
    roots
}

/// What follows `use` and `extern crate` in each declaration.
pub(crate) fn imports(code: &str) -> Vec<&str> {
    let mut imports = Vec::new();
    for (at, word) in words(code) {
        if word == "use" || word == "crate" && code[..at].trim_end().ends_with("extern") {
            let declaration = &code[at + word.len()..];
            // `use<…>` is something else.
            if declaration.starts_with(char::is_whitespace) {
                imports.push(declaration[..declaration.find(';').unwrap_or(declaration.len())].trim());
            }
        }
    }
    imports
}

/// Every name and keyword, with its place.
pub(crate) fn words(code: &str) -> Vec<(usize, &str)> {
    let part_of_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut words = Vec::new();
    let mut at = 0;
    for piece in code.split_inclusive(|character| !part_of_word(character)) {
        let word = piece.trim_end_matches(|character| !part_of_word(character));
        if !word.is_empty() {
            words.push((at, word));
        }
        at += piece.len();
    }
    words
}

pub(crate) fn first_name(path: &str) -> &str {
    let path = path.trim_start_matches("::");
    path.split(|character: char| !character.is_alphanumeric() && character != '_')
        .next()
        .unwrap_or_default()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of `r"…"`, `r#"…"#` and so on at the beginning, unless the `r` ends a longer name.
fn raw_text(rest: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|before| (before.is_alphanumeric() || before == '_') && before != 'b') {
        return None;
    }
    let hashes = rest.strip_prefix('r')?;
    let text = hashes.trim_start_matches('#');
    let fence = "#".repeat(hashes.len() - text.len());
    let end = format!("\"{fence}");
    let body = text.strip_prefix('"')?;
    Some(rest.len() - body.len() + body.find(&end)? + end.len())
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character at the beginning; nothing for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escape) = inner.strip_prefix('\\') {
        let code = escape.chars().next()?.len_utf8();
        return Some(2 + code + escape[code..].find('\'')? + 1);
    }
    let length = inner.chars().next()?.len_utf8();
    inner[length..].starts_with('\'').then_some(length + 2)
}

fn matching_brace(block: &str) -> usize {
    let mut depth = 0;
    for (at, character) in block.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    block.len()
}

#[test]
fn comments_and_texts_are_no_code() {
    let text = r##"
        //! use diesel::a;
        use std::fmt; /* use /* nested */ lapin */
        const A: &str = "redis::get \" // no comment"; const B: &str = r#"actix_web::"x" "#;
        fn f<'a>(c: &'a str) -> char { if c == "" { '"' } else { '\'' } } // diesel::b
    "##;
    let code = code(text);
    for gone in ["diesel", "lapin", "redis", "actix_web", "no comment", "nested"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    assert!(code.contains("use std::fmt;") && code.contains("fn f<'a>(c: &'a str) -> char"));
}

#[test]
fn tests_are_told_from_the_rest() {
    let text =
        "fn a() { x::y() } #[cfg(test)] mod tests { fn b() { { z::z() } } } fn c() {} #[cfg(test)] mod more; fn d() {}";
    let kept = without_tests(text);
    assert!(!kept.contains('z') && !kept.contains("more") && kept.contains("fn c") && kept.contains("fn d"));
}

#[test]
fn paths_are_known_by_their_first_name() {
    let code = "use diesel::{pg::Pg, r2d2}; use ::lapin as other; extern crate redis; fn f() -> impl Sized + use<> \
                { a::b::c(); ::d::e(); x.f::<u8>(); <T as g::H>::i(); Vec::<u8>::new() }";
    let roots = roots(code);
    for root in ["diesel", "lapin", "redis", "a", "d", "g", "Vec"] {
        assert!(roots.contains(root), "{root} in {roots:?}");
    }
    for inner in ["b", "e", "f", "i", "r2d2", "other"] {
        assert!(!roots.contains(inner), "{inner} in {roots:?}");
    }
}
