//! The dashboard: who gets it, what its files are, and that it needs nothing from elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::embedded::{server, server_with};
use super::server::{CONFIG, Server};
use pp_backend_api::Config;
use pp_testkit::client::{Answer, send};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(server.address, "GET", path, headers, None)
}

/// The folder with the files.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard")
}

/// All files below a folder, as paths within it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_browser_gets_the_page_and_everybody_else_the_index() {
    let server = server();
    let page = get(&server, "/", &[("accept", BROWSER)]);
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    for accept in ["*/*", "application/json", "text/htmlx", "", "text/plain"] {
        let index = get(&server, "/", &[("accept", accept)]);
        assert!(index.json()["routes"].is_array(), "{accept}");
        assert_eq!(index.header("vary"), "accept");
    }
    assert!(get(&server, "/", &[]).json()["routes"].is_array());
    assert_eq!(page.header("vary"), "accept");
    let head = send(server.address, "HEAD", "/", &[("accept", "TEXT/HTML;q=1")], None);
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
}

#[test]
fn files_are_revalidated_by_their_tag() {
    let server = server();
    for path in ["/", "/ui/js/app.js"] {
        let first = get(&server, path, &[("accept", BROWSER)]);
        let tag = first.header("etag");
        assert_eq!(first.header("cache-control"), "no-cache");
        let again = get(&server, path, &[("accept", BROWSER), ("if-none-match", tag)]);
        assert_eq!(
            (again.status, again.body.as_str(), again.header("etag")),
            (304, "", tag)
        );
        let other = get(&server, path, &[("accept", BROWSER), ("if-match", "\"1\"")]);
        assert_eq!(other.status, 412);
    }
    assert_ne!(
        get(&server, "/ui/js/app.js", &[]).header("etag"),
        get(&server, "/ui/js/live.js", &[]).header("etag")
    );
}

#[test]
fn files_that_are_not_the_dashboards_are_not_there() {
    let server = server();
    for path in [
        "/ui/nothing.js",
        "/ui/vendor/SHA256SUMS",
        "/ui/vendor/README.md",
        "/ui/../routes/ui.rs",
        "/ui/js/../../routes/mod.rs",
        "/ui/%2e%2e/routes/ui.rs",
        "/ui//etc/passwd",
        "/ui/js",
    ] {
        get(&server, path, &[]).problem(404);
    }
    get(&server, "/ui/js/app.js?v=1", &[]).problem(400);
}

#[test]
fn the_page_that_was_there_before_leads_to_the_dashboard() {
    for prefix in ["", "/tools/pp"] {
        let server = server_with(Config {
            prefix: prefix.parse().unwrap(),
            ..CONFIG
        });
        let old = get(&server, "/live", &[]);
        assert_eq!(
            (old.status, old.header("location")),
            (308, format!("{prefix}/").as_str())
        );
    }
}

/// A policy forbids it as well; here it is seen before a browser is asked.
#[test]
fn the_dashboard_needs_nothing_from_elsewhere_and_runs_nothing_inline() {
    let server = server();
    let own: Vec<String> = files(&folder())
        .into_iter()
        .filter(|name| !name.starts_with("vendor/"))
        .collect();
    assert!(own.len() > 15, "{own:?}");
    for name in &own {
        let file = match name.as_str() {
            "index.html" => get(&server, "/", &[("accept", BROWSER)]),
            name => get(&server, &format!("/ui/{name}"), &[]),
        };
        assert_eq!(file.status, 200, "{name}");
        let policy = file.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'self';") && !policy.contains("unsafe"),
            "{name}: {policy}"
        );
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        for forbidden in [
            "://",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            " style=",
            "<style",
            "onclick=\"",
            "<script>",
            "javascript:",
        ] {
            // The one address in the icon is the name of its language.
            let text = file.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(forbidden), "{name} has {forbidden}");
        }
    }
    // Whatever the page and its modules name is there, below any prefix.
    let page = get(&server, "/", &[("accept", BROWSER)]).body;
    let named = |text: &str, before: &str| -> Vec<String> {
        let parts = text.split(before).skip(1);
        parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
    };
    let urls = [named(&page, "src=\""), named(&page, "href=\"")].concat();
    assert!(urls.len() > 5, "{urls:?}");
    for url in urls {
        assert!(!url.starts_with('/'), "{url} is not below the prefix");
        assert_eq!(get(&server, &format!("/{url}"), &[]).status, 200, "{url}");
    }
    for name in own.iter().filter(|name| name.ends_with(".js")) {
        let text = fs::read_to_string(folder().join(name)).unwrap();
        let at = folder().join(name);
        for module in named(&text, "from \"") {
            assert!(at.parent().unwrap().join(&module).is_file(), "{name} imports {module}");
        }
    }
}

#[test]
fn the_code_of_others_is_what_its_hashes_say() {
    let vendor = folder().join("vendor");
    let sums = fs::read_to_string(vendor.join("SHA256SUMS")).unwrap();
    let summed = sums.lines().filter_map(|line| line.split_whitespace().nth(1));
    let mut known: Vec<&str> = summed.chain(["README.md", "LICENCES.txt", "SHA256SUMS"]).collect();
    known.sort_unstable();
    assert_eq!(files(&vendor), known);
    let page = fs::read_to_string(vendor.join("README.md")).unwrap();
    for name in &known[..] {
        assert!(
            ["README.md"].contains(name) || page.contains(&format!("`{name}`")),
            "{name} is not in its README"
        );
    }
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(&vendor)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
