//! The examples: what their pages say can be run, and the page for users has the code of its example.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pp_testkit::programs::Program;
use pp_testkit::{install, ports};

use crate::program::path;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The blocks of a page in this language.
pub(crate) fn blocks(page: &Path, language: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// Runs the commands of an example's page in an empty folder.
fn run(example: &str, prepare: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let page = repository().join("examples").join(example).join("README.md");
    let [commands] = <[String; 1]>::try_from(blocks(&page, "sh")).unwrap();
    let program = path(example).display().to_string();
    run_commands(
        &commands.replace(&format!("cargo run -p {example}"), &program),
        folder.path(),
    )
}

/// Runs commands in a folder, with the program that is built already and an address of its own, and ends what they left
/// running.
fn run_commands(commands: &str, folder: &Path) -> String {
    let address = format!("127.0.0.1:{}", ports::free::<1>().unwrap()[0]);
    let program = path("pp_standalone").display().to_string();
    let commands = commands
        .replace("cargo run -q --bin pp_standalone", &program)
        .replace("localhost:3000", &address);
    let script = format!("set -eu\ntrap 'kill $(jobs -p)' EXIT\n{commands}");
    let Output { status, stdout, stderr } = Command::new("timeout")
        .args(["60", "bash", "-c", &script])
        .current_dir(folder)
        .env("PP_API_BIND", &address)
        .env("PP_API_URL", format!("http://{address}"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{said}\n{errors}");
    format!("{said}{errors}")
}

#[test]
fn sums_fail_as_their_page_says() {
    let said = run("add_up_to", |_| {});
    for part in [
        r#""add_up_to":4,"done":true"#,
        r#""result":10"#,
        "13 ends in 3",
        r#""attempts":1"#,
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_mail_without_a_server_is_tried_again() {
    let said = run("welcome_email", |_| {});
    for part in [
        r#""kind":"user.welcome.email""#,
        r#""status":"pending""#,
        "compute/error",
        "Connection refused",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn thumbnails_are_made_beside_their_image() {
    let said = run("thumbnails", |folder| {
        // A grey pixel.
        let image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
        let made = Command::new("bash")
            .args(["-c", &format!("echo {image} | base64 -d >sea.png")])
            .current_dir(folder)
            .status();
        assert!(made.unwrap().success());
    });
    for part in [r#""done":true"#, r#""file":"sea-400.png""#, "sea-100.png\n"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn the_page_for_users_has_the_code_of_its_example() {
    let blocks = blocks(&repository().join("docs/your-first-kind.md"), "rust");
    let example = repository().join("examples/first_kind/src");
    for (block, file) in blocks.iter().zip(["main.rs", "tests.rs"]) {
        assert_eq!(*block, fs::read_to_string(example.join(file)).unwrap(), "{file}");
    }
}

/// Runs the page of an example that is no crate, in a copy of its folder.
fn run_worker(example: &str) -> String {
    install::install(&[Program::Python, Program::Node], |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(repository().join("examples").join(example)).unwrap() {
        let from = entry.unwrap().path();
        if from.is_file() {
            fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
    }
    let page = folder.path().join("README.md");
    let [commands] = <[String; 1]>::try_from(blocks(&page, "sh")).unwrap();
    run_commands(&commands, folder.path())
}

#[test]
fn the_worker_in_python_is_tested_and_counts_words() {
    let said = run_worker("python_worker");
    for part in ["Ran 3 tests", "OK", r#""words": 6"#] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn the_worker_for_node_is_tested_and_counts_words() {
    let said = run_worker("node_worker");
    for part in ["pass 3", "fail 0", r#""words":6"#] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn the_workers_of_the_examples_are_those_that_are_served() {
    for (example, file) in [("python_worker", "worker.py"), ("node_worker", "worker.mjs")] {
        let served = fs::read_to_string(repository().join("pp_backend_api/src/workers").join(file)).unwrap();
        let served = served
            .replace("@kind@", "text.word_count")
            .replace("@url@", "http://127.0.0.1:3000");
        let own = fs::read_to_string(repository().join("examples").join(example).join(file)).unwrap();
        assert!(
            own == served,
            "examples/{example}/{file} is not pp_backend_api/src/workers/{file}"
        );
    }
}

#[test]
fn the_page_on_workers_leads_through_three_kinds() {
    install::install(&[Program::Python, Program::Node], |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let commands = blocks(&repository().join("docs/workers.md"), "sh").concat();
    let said = run_commands(&commands, folder.path());
    for part in [
        r#""result":{"words": 6}"#,
        r#""result":"TO BE""#,
        r#""cancel_requested":false"#,
        r#""status":"done","result":5"#,
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn the_page_on_push_leads_to_a_result() {
    install::install(&[Program::Python], |_| ()).unwrap();
    let (folder, page) = (tempfile::tempdir().unwrap(), repository().join("docs/push.md"));
    let [port] = ports::free().unwrap();
    let block = |language| blocks(&page, language).concat().replace("8700", &port.to_string());
    fs::write(folder.path().join("service.py"), block("python")).unwrap();
    let said = run_commands(&block("sh"), folder.path());
    let part = r#""result":{"words": 6}"#;
    assert!(said.contains(part), "{part} in {said}");
}
