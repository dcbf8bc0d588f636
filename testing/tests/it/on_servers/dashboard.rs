//! The dashboard in a real browser. The tests are in `testing/browser`; here each file of them gets a PP of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use pp_testkit::install;
use pp_testkit::programs::Program;
use tempfile::TempDir;

use crate::standalone::Home;

/// What the tests consist of, and what npm needs to fetch their packages.
const FILES: [&str; 4] = ["package.json", "package-lock.json", "browser.mjs", "demo.mjs"];

/// A folder with a file of tests and the packages that it needs, of the versions and hashes in the lock file.
fn prepared(tests: &str) -> TempDir {
    install::install(&[Program::Browser, Program::Node, Program::Npm], |_| ()).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("browser");
    let folder = tempfile::tempdir().unwrap();
    for name in FILES.into_iter().chain([tests]) {
        fs::copy(source.join(name), folder.path().join(name)).unwrap();
    }
    let mut npm = Command::new(Program::Npm.locate().unwrap());
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    let fetched = npm.current_dir(folder.path()).output().unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    folder
}

/// Runs a file of tests against a PP of its own.
fn passes(tests: &str) {
    let folder = prepared(tests);
    let home = Home::new();
    let _process = home.start();
    let ended = Command::new(Program::Node.locate().unwrap())
        .args(["--test", "--test-reporter=spec", tests])
        .current_dir(folder.path())
        .env("PP_TEST_URL", format!("http://127.0.0.1:{}", home.api.port))
        .env("PP_TEST_CHROMIUM", Program::Browser.locate().unwrap())
        // The browser keeps its profile and its caches here.
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    // Without a test the runner ends well too.
    assert!(said.contains("fail 0") && !said.contains("tests 0"), "{said}");
}

#[test]
fn every_screen_is_accessible_fits_its_window_and_is_safe_from_works() {
    passes("screens.test.mjs");
}

#[test]
fn people_create_cancel_redrive_and_sign_in() {
    passes("acts.test.mjs");
}

#[test]
fn the_page_is_live_and_says_when_it_is_not() {
    passes("stream.test.mjs");
}

#[test]
fn no_screen_is_slow_with_many_kinds_and_works() {
    passes("large.test.mjs");
}
