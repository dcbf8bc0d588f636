//! Findings as lines, each with what to do below it.

use std::fmt::Write as _;

use super::paint;
use crate::commands::Checked;
use crate::failure::one_line;

/// The findings for people.
pub(super) fn text(checked: &Checked) -> String {
    let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let level = longest(&mut checked.0.iter().map(|finding| finding.level.as_str().len()));
    let check = longest(&mut checked.0.iter().map(|finding| finding.check.chars().count()));
    let mut text = String::new();
    for finding in &checked.0 {
        let status = paint::status(finding.level.as_str(), level);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{status}  {:<check$}  {}",
            finding.check,
            one_line(&finding.found)
        );
        if !finding.advice.is_empty() {
            let _ = writeln!(text, "{:level$}  {:check$}  -> {}", "", "", finding.advice);
        }
    }
    text
}
