//! A proxy that replaces a text with invalid UTF-8, which no client library here would send.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// The text that is replaced.
pub(crate) const MARK: &str = "NOT-UTF-8";
const BYTES: [u8; MARK.len()] = [0xff; MARK.len()];

/// A URL that forwards one connection to the server.
pub(crate) async fn way_to(server: &str) -> String {
    let mut url = url::Url::parse(server).unwrap();
    let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(upstream).await.unwrap();
        let ((mut said, mut heard), (mut answers, mut passed_on)) = (client.into_split(), server.into_split());
        let answering = tokio::spawn(async move { copy(&mut answers, &mut heard).await });
        let mut bytes = Vec::new();
        while said.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            // A small message arrives in one read, so the mark is never split.
            while let Some(at) = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes()) {
                bytes[at..at + MARK.len()].copy_from_slice(&BYTES);
            }
            passed_on.write_all(&bytes).await.unwrap();
            bytes.clear();
        }
        answering.abort();
    });
    url.into()
}
