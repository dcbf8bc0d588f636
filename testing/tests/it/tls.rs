//! HTTPS of the API: what it says at start, what it shows while its certificate changes, and what it bears with.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pp_testkit::certificates::{Authority, Certificate};
use pp_testkit::client::Api;
use pp_testkit::{ports, wait};
use tempfile::TempDir;

use crate::program::{Process, Program};

/// A folder with the files of the certificate, and a port.
struct Home {
    folder: TempDir,
    port: u16,
}

impl Home {
    fn new() -> Self {
        let [port] = ports::free().unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            port,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, shown: &Certificate) {
        fs::write(self.file("cert.pem"), &shown.certificate).unwrap();
        fs::write(self.file("key.pem"), &shown.key).unwrap();
    }

    fn program(&self) -> Program {
        Program::new("pp_standalone")
            .folder(self.folder.path())
            .set("PP_API_BIND", format!("127.0.0.1:{}", self.port))
            .set("PP_TLS_CERT", self.file("cert.pem"))
            .set("PP_TLS_KEY", self.file("key.pem"))
    }

    fn start(&self, authority: &Authority) -> Process {
        let mut process = self.program().start();
        process.gets_ready(&self.client(authority));
        process
    }

    fn client(&self, authority: &Authority) -> Api {
        Api::over_tls(self.port, &authority.pem())
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_variable() {
    let (home, authority) = (Home::new(), Authority::new().unwrap());
    let (good, other) = (authority.certify(&["a"]).unwrap(), authority.certify(&["a"]).unwrap());
    let expired = authority.certify_expired(&["a"]).unwrap();
    let told = |program: Program, words: &[&str]| {
        let ended = program.run();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let line = ended.stderr.trim();
        assert!(
            line.lines().count() == 1 && words.iter().all(|word| line.contains(word)),
            "{words:?}: {line}"
        );
    };
    told(
        home.program(),
        &["PP_TLS_CERT", "cert.pem cannot be read: No such file"],
    );
    let key = |key: &str| Certificate {
        key: key.to_owned(),
        ..good.clone()
    };
    let cases: [(Certificate, &[&str]); 4] = [
        (
            key(&other.key),
            &["PP_TLS_KEY", "key.pem is not the key of the certificate in", "cert.pem"],
        ),
        (key(""), &["PP_TLS_KEY", "key.pem has no private key in it"]),
        (expired, &["PP_TLS_CERT", "cert.pem has expired"]),
        (
            Certificate {
                certificate: good.key.clone(),
                key: good.key.clone(),
            },
            &["PP_TLS_CERT", "cert.pem has no certificate in it"],
        ),
    ];
    for (shown, words) in cases {
        home.write(&shown);
        told(home.program(), words);
    }
    home.write(&good);
    told(home.program().set("PP_TLS_KEY", ""), &["PP_TLS_KEY"]);
    let only = Program::new("pp_standalone").folder(home.folder.path());
    told(only.set("PP_TLS_CERT", home.file("cert.pem")), &["PP_TLS_KEY: not set"]);
    let only = Program::new("pp_standalone").folder(home.folder.path());
    told(
        only.set("PP_TLS_CA", home.file("none.pem")),
        &["PP_TLS_CA", "none.pem cannot be read"],
    );
}

#[test]
fn a_renewed_certificate_is_taken_under_open_connections() {
    let home = Home::new();
    let (first, second) = (Authority::new().unwrap(), Authority::new().unwrap());
    home.write(&first.certify(&["localhost"]).unwrap());
    let mut process = home.start(&first);
    let open = home.client(&first);
    let id = open.post(r#"{"add_up_to":4}"#)["id"].as_i64().unwrap();
    let path = format!("/work/{id}");

    home.write(&second.certify(&["localhost"]).unwrap());
    assert!(
        wait::holds_within(Duration::from_secs(20), || home.client(&second).is_ready()),
        "the new certificate is not shown"
    );
    assert!(
        home.client(&first).try_get("/").is_err(),
        "new connections still get the old one"
    );
    // Its connection is the one from before, for it would refuse the new certificate.
    assert_eq!(open.get(&path)["add_up_to"], 4);

    fs::write(home.file("cert.pem"), "nothing").unwrap();
    process.says("PP_TLS_CERT: ");
    process.says("the certificate that was read before stays in use");
    assert!(home.client(&second).is_ready());
    // Longer than two more looks at the files.
    std::thread::sleep(Duration::from_secs(5));
    let log = process.stderr();
    assert_eq!(log.matches("stays in use").count(), 1, "{log}");
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_client_that_does_not_shake_hands_does_not_stay() {
    let (home, authority) = (Home::new(), Authority::new().unwrap());
    home.write(&authority.certify(&["localhost"]).unwrap());
    let mut process = home.program().set("PP_REQUEST_TIMEOUT", "1s").start();
    process.gets_ready(&home.client(&authority));

    let begun = Instant::now();
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", home.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let (mut silent, mut half) = (connect(), connect());
    half.write_all(&[22, 3, 1]).unwrap();
    for stream in [&mut silent, &mut half] {
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    let passed = begun.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(15)).contains(&passed),
        "{passed:?}"
    );

    // Who forgot the `s` is told.
    let plain = Api::at(home.port).try_get("/work/1").unwrap();
    assert!(plain.problem(400).contains("https://"));
    let port = home.port;
    let tool = |args: String| Program::new("cli_02").args(&args).run();
    let unverified = tool(format!("--tls unverified --port {port} --path /health/ready"));
    assert_eq!(unverified.code, Some(0), "{unverified:?}");
    let verified = tool(format!("--tls verify --host localhost --port {port}"));
    assert!(
        verified.code == Some(3) && verified.stderr.contains("no authority"),
        "{verified:?}"
    );
    let cli = Program::new("cli_01").set("PP_API_URL", format!("https://localhost:{port}"));
    let refused = cli.args("search").run();
    assert!(
        refused.code == Some(3) && refused.stderr.contains("PP_API_URL"),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("no authority that is trusted here"),
        "{refused:?}"
    );
}
