//! Writes the request as bytes: request line, headers, empty line, body. `args` has already checked every value.

use crate::args::Settings;

/// A complete HTTP/1.1 request.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Writes the request of these settings.
    ///
    /// Every body gets a Content-Length, the empty one included. A method that usually has a body gets one without a
    /// body too (RFC 9110, section 8.6), because some servers answer 411 otherwise.
    pub(crate) fn new(settings: &Settings) -> Self {
        let Settings {
            host,
            port,
            method,
            path,
            headers,
            body,
            ..
        } = settings;
        let given = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut own = vec![
            ("Host", host.authority(*port)),
            ("User-Agent", concat!("cli_02/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("Connection", "close".to_owned()),
        ];
        if body.is_some() {
            own.push(("Content-Type", "application/json".to_owned()));
        }
        if body.is_some() || matches!(method.as_str(), "POST" | "PUT" | "PATCH") {
            own.push(("Content-Length", body.as_ref().map_or(0, String::len).to_string()));
        }

        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        let own = own
            .iter()
            .filter(|(name, _)| !given(name))
            .map(|(name, value)| (*name, value));
        for (name, value) in own.chain(headers.iter().map(|(name, value)| (name.as_str(), value))) {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        text += body.as_deref().unwrap_or_default();
        Self {
            bytes: text.into_bytes(),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;
    use proptest::prelude::*;

    fn request(flags: &[&str]) -> String {
        let settings = Args::parse_from([&["cli_02"], flags].concat()).resolve().unwrap();
        String::from_utf8(Request::new(&settings).bytes).unwrap()
    }

    fn agent() -> String {
        format!("User-Agent: cli_02/{}\r\n", env!("CARGO_PKG_VERSION"))
    }

    #[test]
    fn a_get_without_options_has_the_minimal_head() {
        let expected = format!(
            "GET /work/21 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n{}Connection: close\r\n\r\n",
            agent()
        );
        assert_eq!(request(&["--path", "/work/21"]), expected);
    }

    #[test]
    fn a_body_sets_its_type_and_its_length_in_bytes() {
        let expected = format!(
            "POST /work HTTP/1.1\r\nHost: [::1]:8080\r\n{}Connection: close\r\n\
             Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{{\"é\":1",
            agent()
        );
        let flags = [
            "--host",
            "::1",
            "--port",
            "8080",
            "--method",
            "POST",
            "--path",
            "/work",
            "--body",
            "{\"é\":1",
        ];
        assert_eq!(request(&flags), expected);
    }

    #[test]
    fn a_post_without_a_body_has_the_length_0() {
        assert!(request(&["--method", "POST"]).ends_with("Content-Length: 0\r\n\r\n"));
        assert!(request(&["--body", ""]).ends_with("Content-Length: 0\r\n\r\n"));
        assert!(!request(&["--method", "DELETE"]).contains("Content-Length"));
    }

    #[test]
    fn given_headers_replace_our_own_and_keep_their_order() {
        let text = request(&[
            "--header",
            "content-TYPE: text/plain",
            "--header",
            "X: 1",
            "--header",
            "host:pp",
            "--header",
            "X: 2",
            "--header",
            "user-agent: me",
            "--body",
            "b",
        ]);
        assert_eq!(
            text,
            "GET / HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\
             content-TYPE: text/plain\r\nX: 1\r\nhost: pp\r\nX: 2\r\nuser-agent: me\r\n\r\nb"
        );
    }

    proptest! {
        /// A command line is either refused, or a server reads it as exactly the intended request.
        #[test]
        fn no_argument_splits_the_request(
            method in prop_oneof![4 => "[A-Z]{1,8}", 1 => "[A-Z \r\n]{0,8}"],
            path in prop_oneof![4 => "/[!-\"$-~]{0,20}", 1 => "/?(\\PC|[ -~\r\n\t]){0,20}"],
            header in prop_oneof![4 => "[a-zA-Z-]{1,8}:[ -~\té]{0,10}", 1 => "(\\PC|[ -~\r\n]){0,20}"],
            body in ".{0,20}",
        ) {
            let args = [
                "cli_02",
                &format!("--method={method}"),
                &format!("--path={path}"),
                &format!("--header={header}"),
                &format!("--body={body}"),
            ];
            let Ok(settings) = Args::try_parse_from(args).unwrap().resolve() else { return Ok(()) };
            let request = Request::new(&settings);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut parsed = httparse::Request::new(&mut headers);
            let head = parsed.parse(request.bytes()).unwrap().unwrap();
            prop_assert_eq!(parsed.method, Some(method.as_str()));
            prop_assert_eq!(parsed.path, Some(path.as_str()));
            let (name, value) = &settings.headers[0];
            prop_assert!(parsed.headers.iter().any(|h| h.name == name && h.value == value.as_bytes()));
            prop_assert_eq!(&request.bytes()[head..], body.as_bytes());
            let lines = request.bytes()[..head].split(|b| *b == b'\n').count();
            prop_assert_eq!(lines, parsed.headers.len() + 3);
        }
    }
}
