//! What must be written down: what each file is about, every variable, every target of make, both directions of every
//! migration on both databases.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{File, files, none};

#[test]
fn every_file_says_what_lives_there() {
    none(&silent(&files()));
}

#[test]
fn a_file_that_says_nothing_is_found() {
    let found = |text: &str| silent(&[File::new("pp_lib/src/x.rs", text)]).len();
    assert_eq!(found("//! What lives here.\n\nfn f() {}"), 0);
    for bad in [
        "fn f() {}",
        "// A comment.\nfn f() {}",
        "//!\nfn f() {}",
        "\n//! Late.\n",
    ] {
        assert_eq!(found(bad), 1, "{bad}");
    }
}

#[test]
fn migrations_are_the_same_on_both_databases_and_lead_both_ways() {
    none(&lopsided(&files()));
}

#[test]
fn a_lopsided_migration_is_found() {
    let tree = |paths: &[&str]| {
        let file = |path: &&str| File::new(&format!("pp_storage/migrations/{path}"), "SELECT 1;");
        lopsided(&paths.iter().map(file).collect::<Vec<_>>()).len()
    };
    let whole = [
        "postgres/0001_a/up.sql",
        "postgres/0001_a/down.sql",
        "sqlite/0001_a/up.sql",
        "sqlite/0001_a/down.sql",
    ];
    assert_eq!(tree(&whole), 0);
    assert_eq!(tree(&whole[..3]), 1, "no way back");
    assert_eq!(tree(&whole[..2]), 2, "PostgreSQL alone");
    assert_eq!(
        tree(&[&whole[..], &["postgres/0001_a/notes.sql"]].concat()),
        1,
        "what is never run"
    );
    assert_eq!(tree(&[]), 1, "none at all");
}

#[test]
fn the_readme_has_every_variable_and_no_other() {
    let files = files();
    // Until there is one, there is nothing to compare.
    if files.iter().any(|file| file.path == "README.md") {
        none(&undocumented(&files));
    }
}

#[test]
fn a_variable_without_a_row_and_a_row_without_a_variable_are_found() {
    let code = "#[arg(long, env = \"PP_ONE\")] #[arg(id = \"x\",\n env = \"PP_TWO\",\n)]";
    let tree = |readme: &str| {
        undocumented(&[
            File::new("README.md", readme),
            File::new("a/src/args.rs", code),
            File::new("Makefile", "PP_MAKE ?= auto\n"),
        ])
    };
    assert_eq!(tree("| `PP_ONE`, `PP_TWO` | 1, 2 |\n| `PP_MAKE` | auto |\n"), [""; 0]);
    assert_eq!(
        tree("| `PP_ONE` | see `PP_TWO` |\n| `PP_MAKE` | auto |\n"),
        ["PP_TWO has no row in the README's table"]
    );
    let rows = "| `PP_ONE`, `PP_TWO`, `PP_THREE` | |\n| `PP_MAKE` | |\n";
    assert_eq!(tree(rows), ["PP_THREE is in the README's table and nowhere else"]);
}

#[test]
fn every_variable_of_the_readme_is_known_to_the_programs() {
    let files = files();
    let readme = files.iter().find(|file| file.path == "README.md").unwrap();
    let known: BTreeSet<&str> = pp_cli::config::KNOWN.iter().copied().collect();
    let unknown = rows(&readme.text).filter(|name| !known.contains(name));
    none(
        &unknown
            .map(|name| format!("{name} is not in pp_cli/src/config/known.rs"))
            .collect::<Vec<_>>(),
    );
    let named: BTreeSet<&str> = files
        .iter()
        .filter(|file| !file.path.ends_with("/known.rs"))
        .flat_map(|file| variables(&file.text))
        .collect();
    let gone = known.difference(&named);
    none(
        &gone
            .map(|name| format!("{name} is in pp_cli/src/config/known.rs and nowhere else"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_tests_that_the_security_page_names_exist() {
    none(&unknown_tests(&files()));
}

#[test]
fn a_test_that_does_not_exist_is_found() {
    let page = "| risk | answer | test |\n| API1 | a `setting` | `one_is_there`, `none_is_there` |\n";
    let files = [
        File::new("docs/security.md", page),
        File::new("a/tests/it.rs", "#[test]\nfn one_is_there() {}\n"),
    ];
    assert_eq!(
        unknown_tests(&files),
        ["docs/security.md: there is no test `none_is_there`"]
    );
}

#[test]
fn every_target_of_make_says_what_it_does() {
    let files = files();
    let makefile = files.iter().find(|file| file.path == "Makefile").unwrap();
    none(&mute_targets(&makefile.text));
}

#[test]
fn a_target_that_says_nothing_is_found() {
    assert_eq!(
        mute_targets("a: b ## does a\n\techo c: d\nX ?= y: z\n.PHONY: a\n"),
        [""; 0]
    );
    assert_eq!(
        mute_targets("a:\n\techo\nb: ##\n"),
        ["make a has no line", "make b has no line"]
    );
}

#[test]
fn nothing_leads_out_of_the_repository() {
    none(&leading_out(&files()));
}

#[test]
fn what_leads_out_is_found() {
    let outside = format!("see {}/notes.md", OUTSIDE.concat());
    assert_eq!(leading_out(&[File::new("docs/a.md", &outside)]).len(), 1);
    assert_eq!(
        leading_out(&[File::new("docs/a.md", "[the map](../ARCHITECTURE.md)")]).len(),
        0
    );
}

/// A folder beside the repository, in two parts so that this file does not name it.
const OUTSIDE: [&str; 2] = ["../", "shared"];

fn silent(files: &[File]) -> Vec<String> {
    let says = |text: &str| {
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("//! ").is_some_and(|words| !words.trim().is_empty())
    };
    let silent = files.iter().filter(|file| file.is_rust() && !says(&file.text));
    silent
        .map(|file| format!("{}: does not begin with `//! `", file.path))
        .collect()
}

fn lopsided(files: &[File]) -> Vec<String> {
    let mut migrations: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut complaints = Vec::new();
    for file in files {
        let Some(path) = file.path.strip_prefix("pp_storage/migrations/") else {
            continue;
        };
        match path.split('/').collect::<Vec<_>>()[..] {
            [database @ ("postgres" | "sqlite"), name, way @ ("up.sql" | "down.sql")]
                if !file.text.trim().is_empty() =>
            {
                migrations.entry(name).or_default().insert(format!("{database}/{way}"));
            }
            _ => complaints.push(format!("{}: is no migration", file.path)),
        }
    }
    if migrations.is_empty() {
        complaints.push("there are no migrations".to_owned());
    }
    for (name, there) in migrations {
        let all = [
            "postgres/up.sql",
            "postgres/down.sql",
            "sqlite/up.sql",
            "sqlite/down.sql",
        ];
        let missing = all.into_iter().filter(|file| !there.contains(*file));
        complaints.extend(missing.map(|file| format!("migration {name} has no {file}")));
    }
    complaints
}

/// Variables that clap or make reads need a row; what has a row must be in some file that does something.
fn undocumented(files: &[File]) -> Vec<String> {
    let (mut read, mut named) = (BTreeSet::new(), BTreeSet::new());
    let mut rows = BTreeSet::new();
    for File { path, text } in files {
        if path == "README.md" {
            rows.extend(self::rows(text));
        } else if path == "Makefile" {
            read.extend(
                text.lines()
                    .filter_map(|line| line.split_once(" ?= "))
                    .flat_map(|(name, _)| variables(name)),
            );
        } else if path.ends_with(".rs") {
            read.extend(
                text.split("env = \"")
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
                    .flat_map(variables),
            );
        }
        if !path.ends_with(".md") {
            named.extend(variables(text));
        }
    }
    named.extend(read.iter().copied());
    let without_row = read
        .difference(&rows)
        .map(|name| format!("{name} has no row in the README's table"));
    let without_code = rows
        .difference(&named)
        .map(|name| format!("{name} is in the README's table and nowhere else"));
    without_row.chain(without_code).collect()
}

/// The tests in the last column of the security page's table of risks that no file has.
fn unknown_tests(files: &[File]) -> Vec<String> {
    let page = files.iter().find(|file| file.path == "docs/security.md");
    let rows = page.iter().flat_map(|page| page.text.lines());
    let named = rows
        .filter(|row| row.starts_with("| API"))
        .filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next())
        .flat_map(|column| column.split('`').skip(1).step_by(2));
    let exists = |name: &str| {
        let (start, in_macro) = (format!("fn {name}("), format!("    {name}\n"));
        files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .any(|file| file.text.contains(&start) || file.text.contains(&in_macro))
    };
    named
        .filter(|name| !exists(name))
        .map(|name| format!("docs/security.md: there is no test `{name}`"))
        .collect()
}

/// The variables that have a row in the README.
fn rows(readme: &str) -> impl Iterator<Item = &str> {
    let rows = readme.lines().filter(|line| line.starts_with("| `PP_"));
    rows.filter_map(|row| row.split('|').nth(1)).flat_map(variables)
}

fn variables(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let upper = |name: &&str| !name.contains(|character: char| character.is_ascii_lowercase());
    names
        .filter(|name| name.starts_with("PP_") && name.len() > 3)
        .filter(upper)
}

fn mute_targets(makefile: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for line in makefile.lines() {
        let Some((name, rest)) = line.split_once(':') else {
            continue;
        };
        let target = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let said = rest
            .split_once("## ")
            .is_some_and(|(_, words)| !words.trim().is_empty());
        if target && !rest.starts_with('=') && !said {
            complaints.push(format!("make {name} has no line"));
        }
    }
    complaints
}

fn leading_out(files: &[File]) -> Vec<String> {
    let outside = OUTSIDE.concat();
    let leading = files.iter().filter(|file| file.text.contains(&outside));
    leading.map(|file| format!("{}: names {outside}", file.path)).collect()
}
