//! A way to the server that a test can cut or freeze, or have lose a reply.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How PostgreSQL ends its reply to what is committed: ready for a query, and in no transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

#[derive(Clone, Copy, Default)]
struct State {
    /// Grows with every cut.
    cuts: u32,
    frozen: bool,
}

/// A request whose reply is to be lost.
#[derive(Default)]
struct Losing {
    /// What the next such request has in it.
    words: Option<Vec<u8>>,
    lost: u32,
}

/// Forwards connections to a server for as long as it lives.
pub(crate) struct Proxy {
    url: String,
    state: watch::Sender<State>,
    losing: Arc<Mutex<Losing>>,
    accepted: Arc<AtomicU32>,
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
        let losing = Arc::new(Mutex::new(Losing::default()));
        let of_all = losing.clone();
        let accepted = Arc::new(AtomicU32::new(0));
        let counted = accepted.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if watched.has_changed().is_err() {
                    break;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(forward(client, upstream.clone(), watched.clone(), of_all.clone()));
            }
        });
        Self {
            url: url.to_string(),
            state,
            losing,
            accepted,
        }
    }

    /// How many connections were made.
    pub(crate) fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection there is; new ones are welcome.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Lets the next request that has these bytes in it through to PostgreSQL, keeps the reply to itself, and cuts that
    /// connection once the request has taken effect. The request is a short one: it arrives in one piece.
    pub(crate) fn lose_reply_to(&self, words: impl Into<Vec<u8>>) {
        self.losing.lock().unwrap().words = Some(words.into());
    }

    /// How many replies were lost.
    pub(crate) fn lost(&self) -> u32 {
        self.losing.lock().unwrap().lost
    }

    /// Keeps every connection, also new ones, but lets nothing through.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.state.send_modify(|state| state.frozen = frozen);
    }
}

async fn forward(
    mut client: TcpStream,
    upstream: String,
    mut watched: watch::Receiver<State>,
    losing: Arc<Mutex<Losing>>,
) {
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let begun = *watched.borrow_and_update();
    let mut frozen = begun.frozen;
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let (lose, losing_here) = watch::channel(false);
    let carry = async {
        tokio::select! {
            () = carry_requests(from_client, to_server, &losing, &lose) => {}
            () = carry_replies(from_server, to_client, &losing, &losing_here) => {}
        }
    };
    let mut carry = std::pin::pin!(carry);
    loop {
        tokio::select! {
            () = &mut carry, if !frozen => return,
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

async fn carry_requests(
    mut client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    losing: &Mutex<Losing>,
    lose: &watch::Sender<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(count) = client.read(&mut buffer).await.ok().filter(|count| *count > 0) {
        let request = &buffer[..count];
        let is_it = |words: &mut Vec<u8>| request.windows(words.len()).any(|window| window == words.as_slice());
        if losing.lock().unwrap().words.take_if(is_it).is_some() {
            lose.send_replace(true);
        }
        if server.write_all(request).await.is_err() {
            return;
        }
    }
}

async fn carry_replies(
    mut server: ReadHalf<'_>,
    mut client: WriteHalf<'_>,
    losing: &Mutex<Losing>,
    lose: &watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(count) = server.read(&mut buffer).await.ok().filter(|count| *count > 0) {
        let reply = &buffer[..count];
        if !*lose.borrow() {
            if client.write_all(reply).await.is_err() {
                return;
            }
        } else if reply.ends_with(READY) {
            losing.lock().unwrap().lost += 1;
            return;
        }
    }
}
