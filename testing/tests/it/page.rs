//! What the pages of `docs` tell an operator to use, as they tell it: blocks of settings and commands, for tests that
//! run them.

use std::fs;
use std::path::Path;

/// The only block of a language under a heading of the second level.
pub(crate) fn block(page: &str, heading: &str, language: &str) -> String {
    let mut blocks = blocks(page, heading, language);
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    blocks.remove(0)
}

/// Every block of a language, or of none, under a heading of the second level.
pub(crate) fn blocks(page: &str, heading: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .join(page);
    let text = fs::read_to_string(path).unwrap();
    let section = text
        .split("\n## ")
        .find_map(|section| section.strip_prefix(&format!("{heading}\n")))
        .unwrap_or_else(|| panic!("{page} has no section {heading}"));
    // Outside of blocks and inside of them in turn.
    let blocks = section.split("\n```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix(&format!("{language}\n")))
        .map(str::to_owned)
        .collect()
}

/// The same text with something else in place of what must be in it.
pub(crate) fn replaced(text: &str, part: &str, by: &str) -> String {
    assert!(text.contains(part), "{part:?} is not in:\n{text}");
    text.replace(part, by)
}
