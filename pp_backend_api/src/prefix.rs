//! The path in front of the API's own paths, which a proxy takes away.

use std::fmt;
use std::str::FromStr;

const LONGEST: usize = 200;

/// A path prefix such as `/pp`; empty where no proxy takes one away. `Display` shows it in front of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// No prefix.
    pub const NONE: Self = Self(String::new());
}

impl FromStr for PathPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
        let is_path = text
            .strip_prefix('/')
            .is_some_and(|parts| parts.split('/').all(is_segment));
        if text.is_empty() || (is_path && text.len() <= LONGEST) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "expected a path of at most {LONGEST} letters, digits and -._~ between slashes, as in /pp"
            ))
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_path_without_a_slash_at_its_end() {
        let longest = format!("/{}", "x".repeat(LONGEST - 1));
        for text in ["", "/pp", "/tools/pp-1_2.3~x", "/...", &longest] {
            assert_eq!(text.parse::<PathPrefix>().unwrap().to_string(), text);
        }
        let longer = format!("{longest}x");
        for wrong in [
            "/",
            "pp",
            "/pp/",
            "//pp",
            "/pp//x",
            "/../x",
            "/.",
            "/a b",
            "/a?b",
            "/a#b",
            "/a%20b",
            "/<x>",
            "/pp\r\nx",
            "https://pp.example.com/pp",
            &longer,
        ] {
            assert!(wrong.parse::<PathPrefix>().is_err(), "{wrong}");
        }
    }
}
