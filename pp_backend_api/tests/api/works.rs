//! `POST /work`: accepted bodies and their answers.

use super::embedded::server;
use pp_testkit::client::send;

#[test]
fn without_a_body_the_bound_is_random_from_1_to_99() {
    let server = server();
    for (headers, body) in [
        (&[][..], None),
        (&[][..], Some(&b""[..])),
        (&[("content-type", "application/json")][..], Some(b"".as_slice())),
        (&[("content-type", "text/plain")][..], Some(b"".as_slice())),
        (&[("content-type", "application/json")][..], Some(b"{}".as_slice())),
        (
            &[("content-type", "Application/JSON; charset=utf-8")][..],
            Some(b" { } ".as_slice()),
        ),
    ] {
        let answer = send(server.address, "POST", "/work", headers, body);
        assert_eq!(answer.status, 200, "{headers:?} {body:?} {answer:?}");
        let bound = answer.json()["add_up_to"].as_i64().unwrap();
        assert!((1..=99).contains(&bound), "{bound}");
    }
}

#[test]
fn the_answer_has_a_fixed_field_order_and_a_location() {
    let server = server();
    let answer = server.post(r#"{"add_up_to":100}"#);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let work = answer.json();
    let (id, code, on) = (&work["id"], &work["work_code"], &work["created_on"]);
    assert_eq!(
        answer.body,
        format!(
            r#"{{"id":{id},"work_code":{code},"add_up_to":100,"done":false,"created_on":{on},"updated_on":{on},"status":"pending","result":null,"version":1,"kind":"add_up_to"}}"#
        )
    );
    assert!(on.as_i64().unwrap() > 1_600_000_000, "{on}");
    let code = code.as_str().unwrap();
    assert!(code.starts_with("api-") && code.len() == 14, "{code}");
    assert_eq!(answer.header("location"), format!("/work/{id}"));
    assert_eq!(server.get(answer.header("location")).body, answer.body);
}

#[test]
fn a_trailing_slash_is_accepted() {
    let server = server();
    let answer = send(server.address, "POST", "/work/", &[], None);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_bound_in_the_range_is_accepted_and_others_are_refused_with_the_range() {
    let server = server();
    for bound in ["1", "2147483647"] {
        let answer = server.post(&format!(r#"{{"add_up_to":{bound}}}"#));
        assert_eq!(answer.json()["add_up_to"].to_string(), bound, "{answer:?}");
    }
    let wrong = [
        "0",
        "-1",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "1e30",
        "99999999999999999999999",
        "1.5",
        "\"5\"",
        "null",
        "true",
        "[5]",
        "{}",
    ];
    for wrong in wrong {
        let detail = server.post(&format!(r#"{{"add_up_to":{wrong}}}"#)).problem(422);
        assert!(
            detail.contains("add_up_to") && detail.contains("from 1 to 2147483647"),
            "{wrong}: {detail}"
        );
    }
    assert_eq!(server.get("/work").json().as_array().unwrap().len(), 2);
}

#[test]
fn json_of_another_shape_is_refused() {
    let server = server();
    let nested = |open: &str, count| open.repeat(count);
    for (body, status, says) in [
        (r#"{"add_up_to":5,"x":1}"#.to_owned(), 422, "unknown field `x`"),
        (
            r#"{"add_up_to":5,"add_up_to":5}"#.to_owned(),
            422,
            "duplicate field `add_up_to`",
        ),
        (r#"{"\u0000":1}"#.to_owned(), 422, "unknown field"),
        (r#"{"add_up_to":"\u0000"}"#.to_owned(), 422, "add_up_to"),
        ("[5]".to_owned(), 422, "expected an object"),
        ("null".to_owned(), 422, "expected an object"),
        ("5".to_owned(), 422, "expected an object"),
        ("{".to_owned(), 400, "not JSON"),
        (r#"{"add_up_to":5"#.to_owned(), 400, "not JSON"),
        (r#"{"add_up_to":5} x"#.to_owned(), 400, "not JSON"),
        ("{'add_up_to':5}".to_owned(), 400, "not JSON"),
        (" ".to_owned(), 400, "not JSON"),
        ("\u{0}".to_owned(), 400, "not JSON"),
        (nested("[", 30_000), 400, "not JSON"),
        (nested(r#"{"a":"#, 10_000), 400, "not JSON"),
        (
            format!("{}5{}", nested(r#"{"a":"#, 10_000), nested("}", 10_000)),
            422,
            "unknown field `a`",
        ),
        (format!(r#"{{"add_up_to":{}"#, nested("[", 30_000)), 400, "not JSON"),
        (
            format!(r#"{{"add_up_to":{}{}}}"#, nested("[", 30_000), nested("]", 30_000)),
            422,
            "add_up_to",
        ),
        (format!(r#"{{"{}":1}}"#, nested("é", 20_000)), 422, "unknown field"),
    ] {
        let detail = server.post(&body).problem(status);
        assert!(detail.contains(says) && detail.len() < 300, "{body}: {detail}");
    }
    let not_text = send(
        server.address,
        "POST",
        "/work",
        &[("content-type", "application/json")],
        Some(b"{\"\xff\":1}"),
    );
    not_text.problem(400);
    assert_eq!(server.get("/work").body, "[]");
}

#[test]
fn another_content_type_is_refused_with_the_required_header() {
    let server = server();
    for headers in [
        &[][..],
        &[("content-type", "application/x-www-form-urlencoded")][..],
        &[("content-type", "text/json")][..],
        &[("content-type", "")][..],
    ] {
        let answer = send(server.address, "POST", "/work", headers, Some(br#"{"add_up_to":5}"#));
        let detail = answer.problem(415);
        assert!(detail.contains("Content-Type: application/json"), "{detail}");
    }
    let encoded = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let answer = send(server.address, "POST", "/work", &encoded, Some(b"\x1f\x8b"));
    assert!(answer.problem(415).contains("Content-Encoding"));
}

#[test]
fn concurrent_requests_make_separate_works() {
    let server = server();
    let address = server.address;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(move || {
                let created = |_| send(address, "POST", "/work", &[], None).json()["id"].as_i64().unwrap();
                (0..10).map(created).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut ids: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 160);
    assert_eq!(server.get("/work?limit=1000").json().as_array().unwrap().len(), 160);
}
