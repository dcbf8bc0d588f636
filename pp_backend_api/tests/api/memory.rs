//! The memory of the program while clients withhold parts of their requests, or read many large works.

mod on_servers {
    use std::io::Write as _;
    use std::net::{SocketAddr, TcpStream};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use crate::faults::until;
    use pp_testkit::client::send;

    const CONNECTIONS: usize = 2_000;
    const THREADS: usize = 8;
    /// The announced size of a body. Almost all of it is sent.
    const BODY: usize = 256 * 1024;
    /// The program without clients, both budgets, and some ten KiB per connection.
    const MOST_KIB: u64 = 320 * 1024;

    /// The running program. Dropping it ends the program.
    struct Program {
        child: Child,
        address: SocketAddr,
    }

    impl Program {
        fn start(database: &str, log: &Path) -> Self {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pp_backend_api"));
            for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PP_")) {
                command.env_remove(name);
            }
            let child = command
                .env("PP_API_BIND", "127.0.0.1:0")
                .env("PP_DATABASE_URL", database)
                .env("PP_BROKER_URL", "amqp://127.0.0.1:1")
                .env("PP_REQUEST_TIMEOUT", "120s")
                .stdin(Stdio::null())
                .stderr(std::fs::File::create(log).unwrap())
                .spawn()
                .unwrap();
            let mut address = None;
            until("the program listens", || {
                let said = std::fs::read_to_string(log).unwrap();
                let listens = said.split_once("the API listens on http://").map(|(_, rest)| rest);
                address = listens.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
                address.is_some()
            });
            let address = address.unwrap();
            Self { child, address }
        }

        /// The peak memory of the program in KiB.
        fn peak(&self) -> u64 {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Many clients at once, of which each asks for all works, histories and single works.
    #[test]
    fn large_works_for_many_clients_do_not_end_the_api() {
        let database = crate::on_servers::server();
        let works = crate::large::fill(&database, 300);
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start(&database.url, &folder.path().join("log"));
        let address = program.address;
        let ask = |thread: usize| {
            for round in 0..5 {
                let id = works[(thread * 5 + round) % works.len()].id;
                for path in [format!("/work/{id}"), format!("/work/{id}/events"), "/work".to_owned()] {
                    let answer = send(address, "GET", &path, &[], None);
                    assert!(matches!(answer.status, 200 | 503), "{path}: {}", answer.status);
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..60 {
                scope.spawn(move || ask(thread));
            }
        });
        let peak = program.peak();
        assert!(peak < MOST_KIB, "{peak} KiB");
    }

    /// A client that sends a body without its end.
    fn withholding(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "POST /work/bulk HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n"
        );
        // The server closes refused connections before the write ends.
        let _ = stream.write_all(&[head.as_bytes(), &vec![b' '; BODY - 1]].concat());
        stream
    }

    #[test]
    fn thousands_of_withheld_bodies_do_not_end_the_api() {
        let database = crate::on_servers::server();
        let folder = tempfile::tempdir().unwrap();
        let mut program = Program::start(&database.url, &folder.path().join("log"));
        let address = program.address;
        let held: Vec<TcpStream> = std::thread::scope(|scope| {
            let some = || {
                (0..CONNECTIONS / THREADS)
                    .map(|_| withholding(address))
                    .collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(held.len(), CONNECTIONS);
        // Another client is still served.
        let created = send(
            address,
            "POST",
            "/work",
            &[("content-type", "application/json")],
            Some(br#"{"add_up_to":5}"#),
        );
        assert_eq!(created.status, 200, "{created:?}");
        assert_eq!(send(address, "GET", "/work", &[], None).json()[0], created.json());
        assert_eq!(send(address, "GET", "/health/live", &[], None).status, 200);
        assert!(program.child.try_wait().unwrap().is_none(), "it ended");
        let peak = program.peak();
        assert!(peak < MOST_KIB, "{peak} KiB");
        drop(held);
        until("large bodies have room again", || {
            let body = vec![b' '; BODY];
            send(
                address,
                "POST",
                "/work/bulk",
                &[("content-type", "application/json")],
                Some(&body),
            )
            .status
                == 400
        });
    }
}
