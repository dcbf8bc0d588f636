//! The workers that the API serves, over HTTPS with a key and an authority of one's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pp_testkit::certificates::Authority;
use pp_testkit::client::Api;
use pp_testkit::{install, ports, programs, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Process, Program};

const LIMIT: Duration = Duration::from_secs(20);

/// A standalone that speaks HTTPS and asks for keys, with a pulled kind.
struct Place {
    folder: TempDir,
    api: Api,
    admin: String,
    _service: Process,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        let shown = authority.certify(&["localhost"]).unwrap();
        let file = |name: &str| folder.path().join(name);
        for (name, content) in [
            ("ca.pem", &authority.pem()),
            ("cert.pem", &shown.certificate),
            ("key.pem", &shown.key),
        ] {
            fs::write(file(name), content).unwrap();
        }
        let [port] = ports::free().unwrap();
        let api = Api::over_tls(port, &authority.pem());
        let mut service = Program::new("pp_standalone")
            .folder(folder.path())
            .set("PP_API_BIND", format!("127.0.0.1:{port}"))
            .set("PP_TLS_CERT", file("cert.pem"))
            .set("PP_TLS_KEY", file("key.pem"))
            .set("PP_ADMIN_KEY_FILE", file("admin.key"))
            .start();
        service.gets_ready(&api);
        let admin = fs::read_to_string(file("admin.key")).unwrap().trim().to_owned();
        let place = Self {
            folder,
            api,
            admin,
            _service: service,
        };
        place.ask("PUT", "/kind/script", &json!({"delivery": "pull"}));
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The JSON of an answer to the admin.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let bearer = format!("Bearer {}", self.admin);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = (method != "GET").then(|| body.to_string());
        let sent = self
            .api
            .try_send(method, path, &headers, body.as_ref().map(String::as_bytes));
        sent.unwrap().with(200)
    }

    /// Saves the worker as it is served to a key that may read.
    fn save(&self, file: &str, reader: &str) {
        let path = format!("/kind/script/{file}");
        let bearer = format!("Bearer {reader}");
        assert_eq!(self.api.try_get(&path).unwrap().status, 401);
        let served = self
            .api
            .try_send("GET", &path, &[("authorization", &bearer)], None)
            .unwrap();
        assert_eq!(served.status, 200, "{served:?}");
        let address = format!("\"https://localhost:{}\"", self.api.port);
        assert!(served.body.contains(&address), "{served:?}");
        fs::write(self.file(file), served.body).unwrap();
    }

    /// A key made with the command line, over HTTPS too.
    fn key(&self, name: &str, scopes: &str) -> String {
        let made = Program::new("cli_01")
            .args(&format!("key create --name {name} --scopes {scopes} --output json"))
            .set("PP_API_URL", format!("https://localhost:{}", self.api.port))
            .set("PP_API_KEY_FILE", self.file("admin.key"))
            .set("PP_TLS_CA", self.file("ca.pem"))
            .run();
        assert_eq!(made.code, Some(0), "{made:?}");
        let made: Value = serde_json::from_str(&made.stdout).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A worker works with its key and the authority in `trust`, and says what is wrong without either.
fn a_worker_works_over_https(file: &str, program: programs::Program, trust: &str) {
    install::install(&[program], |_| ()).unwrap();
    let place = Place::new();
    place.save(file, &place.key("reader", "read"));
    let worker = || {
        Program::foreign("worker", program.locate().unwrap())
            .args(file)
            .folder(place.path())
    };
    let own = place.key("worker", "work:script");
    let other = place.key("other", "work:user.mail");

    let mut distrustful = worker().set("PP_API_KEY", &own).start();
    distrustful.says("gives no answer");
    let log = distrustful.stderr();
    assert!(
        log.to_lowercase().contains("certificate") && !log.contains(&own),
        "{log}"
    );
    for (key, why) in [("", "API key"), (&other, "work:script")] {
        let mut refused = worker().set(trust, place.file("ca.pem")).set("PP_API_KEY", key).start();
        refused.says(why);
        assert!(!refused.stderr().contains(&other), "{}", refused.stderr());
    }

    let worker = worker()
        .set(trust, place.file("ca.pem"))
        .set("PP_API_KEY", &own)
        .start();
    let args = json!({"kind": "script", "args": {"text": "to be"}});
    let path = format!("/work/{}", place.ask("POST", "/work", &args)["id"]);
    let work = || place.ask("GET", &path, &Value::Null);
    assert!(wait::holds_within(LIMIT, || work()["status"] == "done"), "{}", work());
    assert_eq!(work()["result"], json!({"text": "to be"}));
    assert_eq!(worker.terminate().code, Some(0));
}

#[test]
fn a_worker_in_python_works_over_https_with_a_key() {
    a_worker_works_over_https("worker.py", programs::Program::Python, "SSL_CERT_FILE");
}

#[test]
fn a_worker_for_node_js_works_over_https_with_a_key() {
    a_worker_works_over_https("worker.mjs", programs::Program::Node, "NODE_EXTRA_CA_CERTS");
}
