//! `/openapi.json` in the hands of others' tools: a validator, a tester that follows the document, and a generator of
//! clients. They are Python packages of the versions in `openapi/requirements.txt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pp_testkit::{browser, python};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::page;
use crate::program::Process;
use crate::standalone::Home;

/// The seed of what the tester tries, and how many requests it makes up for each operation.
const SEED: &str = "20261128";
const EXAMPLES: &str = "10";
/// The seconds that it may take.
const LIMIT: &str = "300";

/// The folder of the commands of the Python packages.
fn tools() -> PathBuf {
    python::packages(include_str!("openapi/requirements.txt")).unwrap()
}

/// A file beside this one.
fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/openapi").join(name)
}

fn text(output: &Output) -> String {
    let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!("{said}{errors}")
}

/// Runs a command that must succeed, and returns what it said.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

/// A system in one process with two kinds, and a folder with its document.
struct Described {
    home: Home,
    folder: TempDir,
    /// With a key, if there is one.
    authorization: Option<String>,
    _process: Process,
}

impl Described {
    fn start(variables: &[(&str, &str)]) -> Self {
        let home = Home::new();
        let process = home.start_with(variables);
        let key_file = variables.iter().find(|(name, _)| *name == "PP_ADMIN_KEY_FILE");
        let key = key_file.map(|(_, file)| fs::read_to_string(file).unwrap());
        let authorization = key.map(|key| format!("Bearer {}", key.trim()));
        let send = |method: &str, path: &str, body: Option<&[u8]>| {
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(authorization.iter().map(|text| ("authorization", text.as_str())));
            home.api.try_send(method, path, &headers, body).unwrap().with(200)
        };
        for (kind, schema) in [
            (
                "text.count",
                json!({ "type": "object", "required": ["text"], "properties": { "text": { "$ref": "#/$defs/text" } },
                "additionalProperties": false, "$defs": { "text": { "type": "string", "maxLength": 10 } } }),
            ),
            ("anything", Value::Null),
        ] {
            let mut declaration = json!({ "delivery": "pull" });
            if !schema.is_null() {
                declaration["args_schema"] = schema;
                declaration["result_schema"] = json!({ "type": "integer" });
            }
            let path = format!("/kind/{kind}");
            send("PUT", &path, Some(declaration.to_string().as_bytes()));
        }
        let folder = tempfile::tempdir().unwrap();
        let document = send("GET", "/openapi.json", None);
        fs::write(folder.path().join("openapi.json"), document.to_string()).unwrap();
        Self {
            home,
            folder,
            authorization,
            _process: process,
        }
    }

    fn document(&self) -> PathBuf {
        self.folder.path().join("openapi.json")
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.home.api.port)
    }
}

#[test]
fn the_document_is_openapi_and_has_the_kinds() {
    let described = Described::start(&[]);
    said(
        Command::new(tools().join("python"))
            .arg(own("validate.py"))
            .arg(described.document()),
    );
    let document = described.home.api.get("/openapi.json");
    let schemas = &document["components"]["schemas"];
    let text = "#/components/schemas/kind.text.count.args.text";
    assert_eq!(schemas["kind.text.count.args"]["properties"]["text"]["$ref"], text);
    assert_eq!(schemas["kind.text.count.result"]["type"], "integer");
    assert_eq!(
        schemas["NewWork.text.count"]["properties"]["kind"]["const"],
        "text.count"
    );
    assert_eq!(
        schemas["NewWork.of_kind"]["properties"]["kind"]["enum"],
        json!(["anything"])
    );
    let args = document["x-kinds"]["text.count"]["args"]["$ref"].as_str().unwrap();
    assert_eq!(args, "#/components/schemas/kind.text.count.args");
}

/// Lets schemathesis test the API with all its checks.
fn tested(described: &Described, more: &[&str]) {
    let mut command = Command::new("timeout");
    command
        .arg(LIMIT)
        .arg(tools().join("schemathesis"))
        .current_dir(described.folder.path())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", own(""))
        .arg("--config-file")
        .arg(own("schemathesis.toml"))
        .arg("run")
        .arg(format!("{}/openapi.json", described.url()))
        // Streams do not end; tests of their own read them.
        .args(["--exclude-path-regex", "stream$"])
        .args(["--seed", SEED, "--max-examples", EXAMPLES, "--request-timeout", "20"])
        .args([
            "--generation-database",
            "none",
            "--no-shrink",
            "--no-color",
            "--continue-on-failure",
            "--workers",
            "1",
        ])
        .args(more);
    let said = said(&mut command);
    assert!(said.contains(" generated, ") && said.contains(" passed"), "{said}");
}

#[test]
fn the_api_does_what_the_document_says() {
    // Without keys, also after one was made.
    tested(&Described::start(&[("PP_AUTH", "off")]), &[]);
}

#[test]
fn the_api_does_it_for_keys_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.key");
    let described = Described::start(&[("PP_ADMIN_KEY_FILE", file.to_str().unwrap())]);
    let authorization = format!("Authorization: {}", described.authorization.as_deref().unwrap());
    // The tester would revoke its own key.
    tested(
        &described,
        &[
            "--header",
            &authorization,
            "--exclude-name",
            "DELETE /key/{id}",
            "--max-examples",
            "3",
        ],
    );
}

#[test]
fn the_page_shows_every_operation() {
    let described = Described::start(&[]);
    let shown = browser::document(&format!("{}/docs#create_work", described.url()), &[]).unwrap();
    let document = described.home.api.get("/openapi.json");
    let operations = document["paths"].as_object().unwrap().values();
    let operations: usize = operations.map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(
        shown.matches(r#"<details class="operation""#).count(),
        operations,
        "{shown}"
    );
    // The one that the address names is open, with the kinds.
    for part in ["NewWork.text.count", "Idempotency-Key", "curl -X POST", "unique_held"] {
        assert_eq!(shown.contains(part), part != "unique_held", "{part} in {shown}");
    }
}

#[test]
fn a_generated_client_runs_the_first_session() {
    let described = Described::start(&[]);
    let client = described.folder.path().join("client");
    let generated = said(
        Command::new(tools().join("openapi-python-client"))
            .args(["generate", "--fail-on-warning", "--path"])
            .arg(described.document())
            .arg("--config")
            .arg(own("client.yaml"))
            .arg("--output-path")
            .arg(&client),
    );
    assert!(!generated.contains("WARNING"), "{generated}");
    let session = said(
        Command::new(tools().join("python"))
            .env("PYTHONPATH", &client)
            .arg(own("first_session.py"))
            .arg(described.url()),
    );
    let lines: Vec<&str> = session.lines().collect();
    let expected = [
        "work/created 100",
        "compute/start ",
        "compute/stop ",
        "compute/result 5050",
        "404 not_found",
        "result 5050",
    ];
    assert_eq!(lines, expected);
    // The page for users has a shorter one.
    let example = page::block("docs/api.md", "A client", "python");
    let example = page::replaced(&example, "http://localhost:3000", &described.url());
    let status = said(
        Command::new(tools().join("python"))
            .env("PYTHONPATH", &client)
            .args(["-c", &example]),
    );
    assert!(["pending", "running", "done"].contains(&status.trim()), "{status}");
}
