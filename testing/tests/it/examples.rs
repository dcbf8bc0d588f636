//! The examples: what their pages say can be run, and the page for users has the code of its example.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pp_testkit::ports;

use crate::program::path;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The blocks of a page in this language.
fn blocks(page: &Path, language: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// Runs the commands of an example's page in an empty folder, with the program that is built already and an address of
/// its own, and ends what they left running.
fn run(example: &str, prepare: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let page = repository().join("examples").join(example).join("README.md");
    let [commands] = <[String; 1]>::try_from(blocks(&page, "sh")).unwrap();
    let address = format!("127.0.0.1:{}", ports::free::<1>().unwrap()[0]);
    let program = path(example).display().to_string();
    let commands = commands
        .replace(&format!("cargo run -p {example}"), &program)
        .replace("localhost:3000", &address);
    let script = format!("set -eu\ntrap 'kill $(jobs -p)' EXIT\n{commands}");
    let Output { status, stdout, stderr } = Command::new("timeout")
        .args(["60", "bash", "-c", &script])
        .current_dir(folder.path())
        .env("PP_API_BIND", &address)
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{said}\n{errors}");
    said.into_owned()
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
