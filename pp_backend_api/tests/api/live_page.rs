//! The page that shows the live stream.

use super::embedded::server;
use pp_testkit::client::send;

#[test]
fn the_live_page_loads_nothing_from_other_hosts() {
    let server = server();
    let page = server.get("/live");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let script = server.get("/live.js");
    let named = |text: &str, before: &str| -> Vec<String> {
        let parts = text.split(before).skip(1);
        parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
    };
    let mut urls = named(&page.body, "src=\"");
    urls.extend(named(&page.body, "href=\""));
    urls.extend(named(&script.body, "new EventSource(\""));
    assert!(urls.len() >= 5 && urls.contains(&"stats/stream".to_owned()), "{urls:?}");
    for url in urls {
        assert!(!url.contains("//"), "{url} is elsewhere");
        let answer = send(server.address, "HEAD", &format!("/{url}"), &[], None);
        assert_eq!(answer.status, 200, "{url}");
    }
    for inline in ["style=", "<style", "onclick", "<script>"] {
        assert!(!page.body.contains(inline), "{inline} is against the page's own policy");
    }
    for id in named(&script.body, "element(\"")
        .iter()
        .chain(&named(&script.body, "text(\""))
    {
        assert!(page.body.contains(&format!("id=\"{id}\"")), "{id}");
    }
}
