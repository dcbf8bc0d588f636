//! A real browser opens pages of other origins, which try what they may not.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use pp_testkit::browser;

use crate::standalone::Home;

/// The name of a page that is up to no good.
const EVIL: &str = "evil.example";
/// The name of a page that the API is told of.
const APP: &str = "app.example";
/// Where the server of both is: beside the API, on the same port.
const BESIDE: &str = "127.0.0.2";

/// Tries what its address names, below the address that it is given, and writes down what became of it.
const PAGE: &str = r#"<!doctype html>
<pre id="told"></pre>
<script type="module">
const asked = new URLSearchParams(location.search);
const base = asked.get("base");
const json = { "content-type": "application/json" };
const send = (path, how) => async () => {
  const answer = await fetch(base + path, how);
  return `${answer.type} ${answer.status} ${await answer.text()}`;
};
const load = (element, path) => () => new Promise((resolve, reject) => {
  element.onload = () => resolve("loaded");
  element.onerror = reject;
  element.src = base + path;
  document.body.append(element);
});
const follow = () => new Promise((resolve, reject) => {
  const source = new EventSource(base + "/stream");
  source.addEventListener("start", () => { source.close(); resolve("opened"); });
  source.onerror = () => { source.close(); reject(); };
});
const tries = {
  read: send("/work/1"),
  read_blindly: send("/work/1", { mode: "no-cors" }),
  load: load(document.createElement("script"), "/work/1"),
  follow,
  create: send("/work", { method: "POST", headers: json, body: '{"add_up_to":77}' }),
  create_blindly: send("/work", { method: "POST", mode: "no-cors", body: "{}" }),
  create_emptily: send("/work", { method: "POST", mode: "no-cors" }),
  demand: send("/work/demand", { method: "POST", mode: "no-cors" }),
  change: send("/work/1", { method: "PATCH", headers: json, body: '{"add_up_to":78}' }),
  remove: send("/work/1", { method: "DELETE" }),
  drop: send("/deadletter?all=true", { method: "DELETE" }),
  make_key: send("/key", { method: "POST", headers: json, body: '{"name":"evil","scopes":"admin"}' }),
};
const told = document.getElementById("told");
for (const name of asked.get("tries").split(",")) {
  const became = await tries[name]().catch(() => "nothing");
  told.textContent += `${name}: ${became}\n`;
}
told.textContent += "the end\n";
</script>
"#;
const ALL: &str =
    "read,read_blindly,load,follow,create,create_blindly,create_emptily,demand,change,remove,drop,make_key";

/// A server beside the API that serves the page, and passes everything else on: as if its name led to the API by now.
fn serve_beside(port: u16) {
    let listener = TcpListener::bind((BESIDE, port)).unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || answer(client, port));
        }
    });
}

fn answer(mut client: TcpStream, port: u16) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"GET /page?") {
        let length = PAGE.len();
        return write!(
            client,
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{PAGE}"
        );
    }
    let mut api = TcpStream::connect(("127.0.0.1", port))?;
    api.write_all(&head)?;
    let (mut asked, mut asking) = (client.try_clone()?, api.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut asked, &mut asking);
        let _ = asking.shutdown(Shutdown::Write);
    });
    io::copy(&mut api, &mut client)?;
    client.shutdown(Shutdown::Write)
}

/// What became of the tries of a page with this name, in their order.
fn became(name: &str, port: u16, base: &str, tries: &str) -> Vec<(String, String)> {
    let url = format!("http://{name}:{port}/page?base={base}&tries={tries}");
    let document = browser::document(&url, &[(EVIL, BESIDE), (APP, BESIDE)]).unwrap();
    let told = document.split(r#"<pre id="told">"#).nth(1).unwrap_or_default();
    let (told, _) = told
        .split_once("the end\n")
        .unwrap_or_else(|| panic!("the page did not come to its end: {document}"));
    let lines = told.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(name, became)| (name.to_owned(), became.to_owned()))
        .collect()
}

#[test]
fn pages_in_a_real_browser_read_and_change_only_what_their_origin_may() {
    let home = Home::new();
    let port = home.api.port;
    let origin = format!("http://{APP}:{port}");
    let _process = home.start_with(&[("PP_API_ORIGINS", &origin)]);
    serve_beside(port);
    home.api.post(r#"{"add_up_to":5}"#);
    home.all_done(Duration::from_secs(20));
    let works = home.api.all();
    let code = works[0]["work_code"].as_str().unwrap();
    let base = format!("http://127.0.0.1:{port}");

    // A page of another origin gets no answer, whatever it does.
    let other = became(EVIL, port, &base, ALL);
    assert_eq!(other.len(), ALL.split(',').count());
    assert!(other.iter().all(|(_, became)| became == "nothing"), "{other:?}");
    // A page whose own name leads to the API hears that the name is unknown there.
    let rebound = became(EVIL, port, "", ALL);
    for (name, became) in &rebound {
        let refused = became == "nothing" || became.starts_with("basic 421 ") && became.contains("unknown_host");
        assert!(refused && !became.contains(code), "{name}: {became}");
    }
    let heard = rebound.iter().filter(|(_, became)| became.starts_with("basic 421 "));
    assert_eq!(heard.count(), ALL.split(',').count() - 2, "{rebound:?}");
    assert_eq!(home.api.all(), works);
    assert_eq!(home.api.get("/key"), serde_json::json!([]));

    let listed = became(APP, port, &base, "read,follow,create");
    let [read, follow, create] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert!(read.1.starts_with("cors 200 ") && read.1.contains(code), "{read:?}");
    assert_eq!(follow.1, "opened");
    assert!(
        create.1.starts_with("cors 200 ") && create.1.contains("77"),
        "{create:?}"
    );
    assert_eq!(home.api.all().len(), 2);
}
