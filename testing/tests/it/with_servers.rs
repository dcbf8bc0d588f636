//! What `with-servers` does around the command, with given servers that are none: small listeners that answer like Redis.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use pp_testkit::ports;
use pp_testkit::servers::{Kind, answers};

#[test]
fn a_given_server_that_does_not_answer_is_an_error_that_names_the_variable() {
    let [port] = ports::free().unwrap();
    let output = Command::new(crate::program::path("pp_testkit"))
        .args(["with-servers", "--", "echo", "must not run"])
        .env("PP_TEST_RABBITMQ_URL", format!("amqp://pp:s3cret@127.0.0.1:{port}/%2f"))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(
        error.contains("PP_TEST_RABBITMQ_URL") && !error.contains("s3cret"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_server_that_speaks_something_else_does_not_answer() {
    for kind in Kind::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stranger = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        });
        assert!(
            answers(kind, &format!("x://pp:pp@127.0.0.1:{port}/pp")).is_err(),
            "{kind}"
        );
        stranger.join().unwrap();
    }
}
