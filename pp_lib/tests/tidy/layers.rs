//! Who may know whom: the domain nobody, a driver its adapter alone, a service no other service.

use std::collections::BTreeSet;

use crate::source::{code, first_name, imports, roots, without_tests, words};
use crate::tree::{File, files, none};

/// Libraries that one part of the tree knows and no other: their names in code, and the places. The last ones of each
/// are tests that need a client of another maker than the adapter they test, and a limit that is measured without it.
const KNOWN_TO: [(&[&str], &[&str]); 6] = [
    (
        &["diesel", "diesel_migrations"],
        &["pp_lib/src/store/", "pp_storage/", "pp_lib/tests/it/clocks.rs"],
    ),
    (
        &["lapin", "async_rs"],
        &[
            "pp_lib/src/broker/rabbitmq/",
            "pp_lib/tests/it/foreign.rs",
            "pp_lib/tests/it/rabbitmq.rs",
            "pp_lib/tests/it/redrive.rs",
            "pp_lib/tests/it/unreadable.rs",
            "pp_testbed/src/chaos/queues.rs",
            "pp_testbed/src/bench/limits/rabbitmq.rs",
            "pp_testbed/tests/",
        ],
    ),
    (
        &["redis"],
        &[
            "pp_lib/src/cache/redis.rs",
            "pp_lib/src/cache/redis/",
            "pp_lib/tests/it/redis.rs",
        ],
    ),
    (&["moka"], &["pp_lib/src/cache/memory.rs"]),
    (
        &["tokio_postgres"],
        &[
            "pp_lib/src/feed/postgres.rs",
            "pp_testbed/",
            "pp_lib/tests/it/",
            "pp_backend_api/tests/",
        ],
    ),
    (
        &[
            "actix_web",
            "actix_http",
            "actix_rt",
            "actix_server",
            "actix_service",
            "actix",
        ],
        &["pp_backend_api/", "pp_probe/"],
    ),
];

/// The ports, whose signatures everybody sees.
const PORTS: [&str; 4] = [
    "pp_lib/src/broker/mod.rs",
    "pp_lib/src/cache/mod.rs",
    "pp_lib/src/feed/mod.rs",
    "pp_lib/src/store/mod.rs",
];

/// What a port must not name: the drivers, and its own adapters.
const NOT_IN_PORTS: [&str; 12] = [
    "diesel",
    "r2d2",
    "lapin",
    "moka",
    "redis",
    "tokio_postgres",
    "pq_sys",
    "libsqlite3_sys",
    "memory",
    "postgres",
    "rabbitmq",
    "sqlite",
];

/// What belongs to the process: the names that install it, and the places that may name them beside every `main.rs`.
/// `pp_testbed` is a program of its own and no service.
const PROCESS_WIDE: [(&str, &[&str]); 7] = [
    ("env_logger", &["pp_lib/src/logging/"]),
    ("set_hook", &["pp_lib/src/logging/"]),
    ("set_logger", &[]),
    ("set_boxed_logger", &["pp_lib/src/logging/"]),
    ("on_signal", &["pp_lib/src/shutdown.rs"]),
    (
        "SignalKind",
        &["pp_lib/src/shutdown.rs", "pp_testbed/src/commands/signals.rs"],
    ),
    ("ctrl_c", &[]),
];

/// Which of the other crates here each crate may depend on; of those that are not named, none may be depended on.
const MAY_DEPEND: [(&str, &[&str]); 10] = [
    ("pp_storage", &[]),
    ("pp_lib", &["pp_storage"]),
    ("pp_probe", &["pp_lib"]),
    ("pp_backend_api", &["pp_lib", "pp_probe"]),
    ("task_producer", &["pp_lib", "pp_probe"]),
    ("task_consumer", &["pp_lib", "pp_probe"]),
    ("cli_01", &["pp_lib"]),
    ("cli_02", &[]),
    (
        "pp_standalone",
        &["pp_lib", "pp_probe", "pp_backend_api", "task_producer", "task_consumer"],
    ),
    ("pp_testbed", &["pp_lib"]),
];

#[test]
fn the_domain_is_pure() {
    none(&impurities(&files()));
}

#[test]
fn an_impure_domain_is_found() {
    let found = |text: &str| impurities(&[File::new("pp_lib/src/domain/x.rs", text)]).len();
    assert_eq!(
        found("use std::fmt; use serde::de::{self}; fn f() -> fmt::Result { de::x(); i64::MAX }"),
        0
    );
    assert_eq!(
        found("mod work; pub use work::Work; #[cfg(test)] mod t { use proptest::prelude::*; }"),
        0
    );
    for impure in [
        "use tokio::time::sleep;",
        "fn f() { rand::rng(); }",
        "use serde_json::json;",
        "use crate::store::Claim;",
        "use std::time::Instant;",
        "fn f() { std::fs::read(\"x\"); }",
        "use std::{fmt, net::TcpStream};",
        "#[cfg(test)] mod t { use tokio::test; }",
    ] {
        assert_eq!(found(impure), 1, "{impure}");
    }
}

#[test]
fn a_driver_is_known_to_its_adapter_alone() {
    none(&strangers(&files()));
}

#[test]
fn a_driver_that_is_known_elsewhere_is_found() {
    let found = |path: &str, text: &str| strangers(&[File::new(path, text)]).len();
    assert_eq!(found("pp_lib/src/store/sqlite/mod.rs", "use diesel::x;"), 0);
    assert_eq!(found("pp_lib/src/flow/consume.rs", "use diesel::x;"), 1);
    assert_eq!(found("pp_lib/src/broker/memory.rs", "fn f() { lapin::x() }"), 1);
    assert_eq!(found("task_consumer/src/lib.rs", "use actix_web::x;"), 1);
    assert_eq!(found("cli_01/src/db.rs", "use redis::x;"), 1);
    for own in ["mod redis;", "use super::{postgres, redis};"] {
        assert_eq!(
            found("pp_testbed/src/x.rs", &format!("{own} fn f() {{ redis::STOP }}")),
            0
        );
    }
    assert_eq!(found("cli_01/Cargo.toml", "[dependencies]\nactix-web = \"4\"\n"), 1);
    assert_eq!(
        found("cli_01/Cargo.toml", "[dependencies.diesel]\nversion = \"2\"\n"),
        1
    );
    assert_eq!(
        found("pp_lib/Cargo.toml", "[dependencies]\nlapin = { workspace = true }\n"),
        0
    );
    assert_eq!(found("Cargo.toml", "[workspace.dependencies]\nlapin = \"4\"\n"), 0);
}

#[test]
fn ports_name_no_driver_and_no_adapter() {
    none(&leaks(&files()));
}

#[test]
fn a_port_that_leaks_is_found() {
    let found = |text: &str| leaks(&[File::new("pp_lib/src/store/mod.rs", text)]).len();
    assert_eq!(
        found("pub mod postgres; pub trait Store { fn claim(&self) -> Vec<Claim>; }"),
        0
    );
    assert_eq!(
        found("pub trait Store { fn run(&self, c: &mut diesel::pg::PgConnection); }"),
        1
    );
    assert_eq!(found("pub use postgres::PostgresStore;"), 1);
}

#[test]
fn only_mains_install_what_belongs_to_the_process() {
    none(&installers(&files()));
}

#[test]
fn a_library_that_installs_is_found() {
    let found = |path: &str, text: &str| installers(&[File::new(path, text)]).len();
    assert_eq!(
        found(
            "task_consumer/src/main.rs",
            "fn main() { logging::init(); on_signal(); }"
        ),
        0
    );
    assert_eq!(
        found("task_consumer/src/lib.rs", "fn run() { pp_lib::logging::init(&args); }"),
        1
    );
    assert_eq!(found("task_consumer/src/lib.rs", "use pp_lib::shutdown::on_signal;"), 1);
    assert_eq!(found("pp_lib/src/flow/x.rs", "fn f() { env_logger::init() }"), 1);
}

#[test]
fn no_service_depends_on_another() {
    none(&wrong_ways(&files()));
}

#[test]
fn a_dependency_that_points_the_wrong_way_is_found() {
    let found = |path: &str, name: &str| {
        let text = format!("[package]\nname = \"x\"\n[dependencies]\n{name} = {{ workspace = true }}\n");
        wrong_ways(&[File::new(path, &text)]).len()
    };
    assert_eq!(found("task_consumer/Cargo.toml", "pp_lib"), 0);
    assert_eq!(found("task_consumer/Cargo.toml", "task_producer"), 1);
    assert_eq!(found("pp_lib/Cargo.toml", "pp_probe"), 1);
    assert_eq!(found("pp_storage/Cargo.toml", "pp_lib"), 1);
    assert_eq!(found("pp_standalone/Cargo.toml", "pp_backend_api"), 0);
    assert_eq!(found("pp_new/Cargo.toml", "pp_lib"), 1);
}

fn impurities(files: &[File]) -> Vec<String> {
    /// Parts of `std` that reach out of the program, or that look at the clock.
    const OUTSIDE: [&str; 10] = [
        "env",
        "fs",
        "io",
        "net",
        "os",
        "process",
        "thread",
        "Instant",
        "SystemTime",
        "println",
    ];
    let mut complaints = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.is_rust() && file.is_in(&["pp_lib/src/domain/"]))
    {
        let all = code(&file.text);
        let product = without_tests(&all);
        for (code, more) in [(&product, [""; 3]), (&all, ["serde_json", "proptest", "prop"])] {
            let mut known: BTreeSet<&str> = ["std", "core", "serde", "super", "self", "Self"].into();
            known.extend(more);
            known.extend([
                "i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128", "usize", "char", "str",
            ]);
            let all_words = words(code);
            known.extend(all_words.windows(2).filter(|two| two[0].1 == "mod").map(|two| two[1].1));
            let imports = imports(code);
            let sound = imports.iter().filter(|import| known.contains(first_name(import)));
            let imported: BTreeSet<&str> = sound.flat_map(|import| words(import)).map(|(_, word)| word).collect();
            let strange = roots(code)
                .into_iter()
                .filter(|root| !root.starts_with(char::is_uppercase));
            let strange: Vec<&str> = strange
                .filter(|root| !known.contains(root) && !imported.contains(root))
                .collect();
            let outside = all_words
                .iter()
                .map(|(_, word)| *word)
                .filter(|word| OUTSIDE.contains(word));
            let named: BTreeSet<&str> = outside.chain(strange).collect();
            if !named.is_empty() {
                let named = named.into_iter().collect::<Vec<_>>().join(", ");
                complaints.push(format!("{}: the domain names {named}", file.path));
                break;
            }
        }
    }
    complaints
}

fn strangers(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (names, places) in KNOWN_TO {
        for file in files.iter().filter(|file| file.is_rust() && !file.is_in(places)) {
            let code = code(&file.text);
            let imports = imports(&code);
            let near = imports
                .iter()
                .filter(|import| ["crate", "self", "super"].contains(&first_name(import)));
            let mut own: BTreeSet<&str> = near.flat_map(|import| words(import)).map(|(_, word)| word).collect();
            own.extend(
                words(&code)
                    .windows(2)
                    .filter(|two| two[0].1 == "mod")
                    .map(|two| two[1].1),
            );
            let roots = roots(&code);
            complaints.extend(
                names
                    .iter()
                    .filter(|name| roots.contains(*name) && !own.contains(*name))
                    .map(|name| format!("{}: knows {name}, which is for {}", file.path, places.join(", "))),
            );
        }
        for file in manifests(files) {
            let folder = file.path.trim_end_matches("Cargo.toml");
            let allowed = places.iter().any(|place| place.starts_with(folder));
            complaints.extend(
                dependencies(&file.text)
                    .filter(|name| !allowed && names.contains(&name.replace('-', "_").as_str()))
                    .map(|name| format!("{}: depends on {name}, which is for {}", file.path, places.join(", "))),
            );
        }
    }
    complaints
}

fn leaks(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_in(&PORTS)) {
        let code = without_tests(&code(&file.text));
        let roots = roots(&code);
        let named = NOT_IN_PORTS.iter().filter(|name| roots.contains(*name));
        complaints.extend(named.map(|name| format!("{}: the port names {name}", file.path)));
    }
    complaints
}

fn installers(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.is_rust() && !file.path.ends_with("/src/main.rs"))
    {
        let code = code(&file.text);
        let words: BTreeSet<&str> = words(&code).into_iter().map(|(_, word)| word).collect();
        let installs = PROCESS_WIDE
            .iter()
            .filter(|(name, places)| words.contains(name) && !file.is_in(places))
            .map(|(name, _)| *name);
        let logger = code.contains("logging::init").then_some("logging::init");
        complaints.extend(
            installs
                .chain(logger)
                .map(|name| format!("{}: {name} is for a main.rs", file.path)),
        );
    }
    complaints
}

fn wrong_ways(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in manifests(files) {
        let name = file.path.trim_end_matches("/Cargo.toml");
        let Some((_, may)) = MAY_DEPEND.iter().find(|(known, _)| *known == name) else {
            complaints.push(format!(
                "{}: this crate has no place in the order of dependencies yet",
                file.path
            ));
            continue;
        };
        let ours = |dependency: &&str| MAY_DEPEND.iter().any(|(known, _)| known == dependency);
        complaints.extend(
            dependencies(&file.text)
                .filter(ours)
                .filter(|dependency| !may.contains(dependency) && *dependency != name)
                .map(|dependency| format!("{}: may not depend on {dependency}", file.path)),
        );
    }
    complaints
}

/// The manifests of crates; the root has none of its own.
fn manifests(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.ends_with("/Cargo.toml"))
}

/// The names in every table of dependencies.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end().trim_end_matches(']');
            inside = table.ends_with("dependencies");
            let (kind, name) = table.rsplit_once('.')?;
            return kind.ends_with("dependencies").then_some(name);
        }
        let (name, _) = line.split_once('=')?;
        let name = name.trim().split('.').next()?;
        (inside && !name.starts_with('#')).then_some(name)
    })
}
