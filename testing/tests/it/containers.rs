//! docker-compose.yml, the Dockerfile and the programs agree: in names, variables, ports, health pages and data folders.
//!
//! No engine is needed: the two files are read, and the programs of this build are asked. What the files say is in the
//! modules named after them; that containers really run so is `make containers-test`, on an engine.

mod compose;
mod dockerfile;
mod health;
mod images;
mod services;
mod up;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// For those who work on PP: no image has them.
const FOR_DEVELOPERS: [&str; 7] = [
    "pp_testkit",
    "pp_chaos",
    "pp_chaos_worker",
    "pp_chaos_standalone",
    "pp_bench",
    "pp_bench_worker",
    "pp_bare_handler",
];

/// The programs of the workspace that are for its users.
fn programs() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let targets = packages
        .iter()
        // Examples are programs of users.
        .filter(|package| !package["manifest_path"].as_str().unwrap().contains("/examples/"))
        .flat_map(|package| package["targets"].as_array().unwrap());
    let programs = targets.filter(|target| target["kind"][0] == "bin");
    programs
        .map(|target| target["name"].as_str().unwrap().to_owned())
        .filter(|name| !FOR_DEVELOPERS.contains(&name.as_str()))
        .collect()
}

/// What a program says of its settings.
fn help(name: &str) -> String {
    let arguments: &[&str] = if name == "pp_storage" {
        &["migrate", "--help"]
    } else {
        &["--help"]
    };
    let output = Command::new(program::path(name)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The variables that a program reads.
fn variables(name: &str) -> BTreeSet<String> {
    let help = help(name);
    // A long line is wrapped behind the colon.
    let mentions = help.split("[env:").skip(1);
    mentions
        .map(|rest| rest.trim_start().split(['=', ']']).next().unwrap().to_owned())
        .collect()
}

/// The programs' folder in the images.
const IMAGE_FOLDER: &str = "/usr/local/bin/";

/// The program of this build that a path in an image stands for.
fn built(path: &str) -> PathBuf {
    program::path(
        path.strip_prefix(IMAGE_FOLDER)
            .unwrap_or_else(|| panic!("{path} is elsewhere")),
    )
}
