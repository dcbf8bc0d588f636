//! What a user gets: the crates that are published, and the drivers that each feature brings.

use std::path::Path;
use std::process::Command;

use crate::tree::{File, files, none};

/// The crates that users depend on. All others say that they are not; `publish.workspace` is false.
const PUBLISHED: [&str; 9] = [
    "pp_backend_api",
    "pp_cli",
    "pp_http",
    "pp_lib",
    "pp_standalone",
    "pp_storage",
    "pp_tls",
    "task_consumer",
    "task_producer",
];

const PRIVATE: [&str; 2] = ["publish.workspace = true", "publish = false"];

/// The features of every crate that opens adapters, and the drivers of each.
const DRIVERS: [(&str, &[&str]); 4] = [
    ("postgres", &["pq-sys", "tokio-postgres"]),
    ("rabbitmq", &["async-rs", "lapin"]),
    ("redis", &["redis"]),
    ("sqlite", &["libsqlite3-sys"]),
];

const WITH_FEATURES: [&str; 5] = [
    "pp_lib",
    "pp_backend_api",
    "task_consumer",
    "task_producer",
    "pp_standalone",
];

#[test]
fn the_crates_that_users_depend_on_are_published_with_their_licence() {
    none(&unpublished(&files(), &PUBLISHED));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    for name in PUBLISHED {
        let licence = std::fs::read(root.join(name).join("LICENSE")).unwrap();
        assert_eq!(licence, std::fs::read(root.join("LICENSE")).unwrap(), "{name}");
    }
}

#[test]
fn a_crate_that_is_published_by_mistake_or_not_at_all_is_found() {
    let private = "[package]\nname = \"a\"\npublish.workspace = true\n";
    let public = "[package]\nname = \"a\"\n";
    let found = |text: &str, published: &[&str]| unpublished(&[File::new("a/Cargo.toml", text)], published).len();
    assert_eq!(found(private, &[]), 0);
    assert_eq!(found(public, &["a"]), 0);
    assert_eq!(found(private, &["a"]), 1);
    assert_eq!(found(public, &[]), 1);
}

#[test]
fn a_feature_brings_its_own_drivers_and_no_other() {
    let of = |features: &[&str]| -> Vec<&str> {
        let chosen = DRIVERS.iter().filter(|(feature, _)| features.contains(feature));
        chosen.flat_map(|(_, own)| *own).copied().collect()
    };
    for name in WITH_FEATURES {
        for features in [&["sqlite"][..], &["postgres", "rabbitmq"]] {
            let args = ["--no-default-features", "--features", &features.join(",")];
            assert_eq!(drivers(name, &args), of(features), "{name} with {features:?} alone");
        }
        let all = DRIVERS.map(|(feature, _)| feature);
        assert_eq!(drivers(name, &[]), of(&all), "{name} by default");
    }
    assert_eq!(drivers("pp_http", &[]), [""; 0]);
}

fn unpublished(files: &[File], published: &[&str]) -> Vec<String> {
    let manifests = files
        .iter()
        .filter_map(|file| Some((file.path.strip_suffix("/Cargo.toml")?, file)));
    let wrong = manifests
        .filter(|(folder, file)| published.contains(folder) == file.text.lines().any(|line| PRIVATE.contains(&line)));
    wrong
        .map(|(folder, _)| format!("{folder}: may it be published or not?"))
        .collect()
}

/// The drivers that a crate is built with.
fn drivers(name: &str, args: &[&str]) -> Vec<&'static str> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            name,
        ])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let packages: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(packages.contains(&name), "{tree}");
    let drivers = DRIVERS.iter().flat_map(|(_, own)| *own).copied();
    drivers.filter(|driver| packages.contains(driver)).collect()
}
