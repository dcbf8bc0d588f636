//! The Dockerfile as far as the tests look at it: its stages, and the instructions of each with those of its base before.

use std::collections::BTreeMap;

use super::text_of;

/// One image.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) name: String,
    /// The image of somebody else that it goes back to.
    pub(super) origin: String,
    instructions: Vec<(String, String)>,
}

/// All stages in their order.
pub(super) fn stages() -> Vec<Stage> {
    let text = text_of("Dockerfile");
    let without_comments: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut stages: Vec<Stage> = Vec::new();
    for line in without_comments
        .replace("\\\n", " ")
        .lines()
        .filter(|line| !line.is_empty())
    {
        let (word, rest) = line.split_once(' ').unwrap();
        if word != "FROM" {
            let stage = stages.last_mut().unwrap();
            stage.instructions.push((word.to_owned(), rest.trim().to_owned()));
            continue;
        }
        let (base, name) = rest
            .split_once(" AS ")
            .unwrap_or_else(|| panic!("{line}: without a name"));
        let inherited = stages.iter().find(|stage| stage.name == base).cloned();
        let (origin, instructions) = match inherited {
            Some(base) => (base.origin, base.instructions),
            None => (base.to_owned(), Vec::new()),
        };
        stages.push(Stage {
            name: name.to_owned(),
            origin,
            instructions,
        });
    }
    stages
}

/// The stage of this name.
pub(super) fn stage(name: &str) -> Stage {
    let found = stages().into_iter().find(|stage| stage.name == name);
    found.unwrap_or_else(|| panic!("the Dockerfile has no stage {name}"))
}

impl Stage {
    /// What stands after this word, once for each such instruction.
    pub(super) fn all(&self, word: &str) -> Vec<&str> {
        let found = self.instructions.iter().filter(|(known, _)| known == word);
        found.map(|(_, rest)| rest.as_str()).collect()
    }

    /// What stands after this word where it was said last.
    pub(super) fn last(&self, word: &str) -> Option<&str> {
        self.all(word).pop()
    }

    /// The words of an instruction in the form that needs no shell.
    pub(super) fn command(&self, word: &str) -> Option<Vec<String>> {
        let said = self.last(word)?;
        let list = said.find('[').map(|at| &said[at..]);
        let words = list.and_then(|list| serde_json::from_str(list).ok());
        Some(words.unwrap_or_else(|| panic!("{}: {word} {said} needs a shell", self.name)))
    }

    /// Its variables.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let assignments = self.all("ENV");
        let assignments = assignments.iter().flat_map(|said| said.split_whitespace());
        let pairs = assignments.map(|assignment| assignment.split_once('=').unwrap());
        pairs
            .map(|(variable, value)| (variable.to_owned(), value.to_owned()))
            .collect()
    }

    /// The port it says it listens on.
    pub(super) fn port(&self) -> Option<u16> {
        self.last("EXPOSE").map(|port| port.parse().unwrap())
    }
}
