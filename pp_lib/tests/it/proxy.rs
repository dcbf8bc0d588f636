//! A way to the server that a test can cut or freeze.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Default)]
struct State {
    /// Grows with every cut.
    cuts: u32,
    frozen: bool,
}

/// Forwards connections to a server for as long as it lives.
pub(crate) struct Proxy {
    url: String,
    state: watch::Sender<State>,
}

impl Proxy {
    /// Begins to forward to the server of this URL.
    pub(crate) async fn to(server: &str) -> Self {
        let mut url = url::Url::parse(server).unwrap();
        let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (state, watched) = watch::channel(State::default());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if watched.has_changed().is_err() {
                    break;
                }
                tokio::spawn(forward(client, upstream.clone(), watched.clone()));
            }
        });
        Self {
            url: url.to_string(),
            state,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection there is; new ones are welcome.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Keeps every connection, also new ones, but lets nothing through.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.state.send_modify(|state| state.frozen = frozen);
    }
}

async fn forward(mut client: TcpStream, upstream: String, mut watched: watch::Receiver<State>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let begun = *watched.borrow_and_update();
    let mut frozen = begun.frozen;
    let mut copy = std::pin::pin!(copy_bidirectional(&mut client, &mut server));
    loop {
        tokio::select! {
            _ = &mut copy, if !frozen => return,
            changed = watched.changed() => {
                let now = *watched.borrow_and_update();
                if changed.is_err() || now.cuts != begun.cuts {
                    return;
                }
                frozen = now.frozen;
            }
        }
    }
}
