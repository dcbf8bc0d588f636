//! A way to a server that can be cut, silenced, slowed down, or made to swallow what the server answers, or one answer.
//!
//! It moves bytes and knows nothing of what they mean.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What becomes of bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Open,
    /// They wait; connections stay open, new ones too.
    Frozen,
    /// They pass, each piece this much later.
    Delayed(Duration),
    /// What the client says passes, what the server answers is thrown away.
    RepliesDropped,
}

#[derive(Clone, Copy)]
struct State {
    /// Grows with every cut.
    cuts: u32,
    flow: Flow,
}

/// A request whose reply is to be lost: bytes that are in it, and those that its reply ends with.
struct Losing {
    words: Vec<u8>,
    end: Vec<u8>,
}

/// What all connections count.
#[derive(Default)]
struct Counted {
    accepted: AtomicU32,
    lost: AtomicU32,
    losing: Mutex<Option<Losing>>,
}

impl Counted {
    fn losing(&self) -> MutexGuard<'_, Option<Losing>> {
        self.losing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forwards connections to a server for as long as it lives.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    counted: Arc<Counted>,
}

impl Proxy {
    /// Begins to forward to this address, in tasks of the runtime. The server need not be there yet.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn to(runtime: &Handle, server: SocketAddr) -> Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (state, watched) = watch::channel(State {
            cuts: 0,
            flow: Flow::Open,
        });
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let counted = Arc::<Counted>::default();
        runtime.spawn(accept(listener, server, watched, Arc::clone(&counted)));
        Ok(Self {
            address,
            state,
            counted,
        })
    }

    /// Begins to forward to the server of a URL that names a port; the URL that leads through the proxy.
    ///
    /// # Errors
    /// When the URL names no server.
    pub fn to_url(runtime: &Handle, url: &str) -> Result<(Self, String)> {
        let mut url = url::Url::parse(url)?;
        let port = url.port().context("the URL names no port")?;
        let host = url.host_str().context("the URL names no host")?;
        let server = (host, port).to_socket_addrs()?.find(SocketAddr::is_ipv4);
        let proxy = Self::to(runtime, server.context("the URL's host is unknown")?)?;
        url.set_host(Some("127.0.0.1"))?;
        url.set_port(Some(proxy.address.port()))
            .ok()
            .context("the URL takes no port")?;
        Ok((proxy, url.into()))
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection there is; new ones are welcome.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Lets the next request that has `words` in it through, keeps the reply to itself, and ends that connection once the
    /// reply ended with `end`: the request has taken effect. It is a short one, which arrives in one piece.
    pub fn lose_reply_to(&self, words: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) {
        let (words, end) = (words.into(), end.into());
        *self.counted.losing() = Some(Losing { words, end });
    }

    /// How many replies were lost.
    pub fn lost(&self) -> u32 {
        self.counted.lost.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    pub fn accepted(&self) -> u32 {
        self.counted.accepted.load(Ordering::SeqCst)
    }

    /// From now on, for connections that are open as well as for new ones.
    pub fn set(&self, flow: Flow) {
        self.state.send_modify(|state| state.flow = flow);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mut watched: watch::Receiver<State>, counted: Arc<Counted>) {
    loop {
        let client = tokio::select! {
            client = listener.accept() => client,
            changed = watched.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        if let Ok((client, _)) = client {
            counted.accepted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(forward(client, server, watched.clone(), Arc::clone(&counted)));
        }
    }
}

async fn forward(client: TcpStream, server: SocketAddr, mut watched: watch::Receiver<State>, counted: Arc<Counted>) {
    let cuts = watched.borrow_and_update().cuts;
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_out, client_in), (server_out, server_in)) = (client.into_split(), server.into_split());
    let losing = Arc::<Mutex<Option<Losing>>>::default();
    let there = Pump {
        cuts,
        is_reply: false,
        watched: watched.clone(),
        counted: Arc::clone(&counted),
        losing: Arc::clone(&losing),
    };
    let back = Pump {
        cuts,
        is_reply: true,
        watched,
        counted,
        losing,
    };
    // Either way that is cut ends both.
    let both = async { tokio::join!(there.run(client_out, server_in), back.run(server_out, client_in)) };
    both.await;
}

/// One direction of a connection.
struct Pump {
    cuts: u32,
    is_reply: bool,
    watched: watch::Receiver<State>,
    counted: Arc<Counted>,
    /// What this connection's next reply is lost for.
    losing: Arc<Mutex<Option<Losing>>>,
}

impl Pump {
    /// Moves bytes until the sender has no more, the receiver is gone or the connection is cut. What waits is not moved
    /// any more once it is cut, also when the way is opened at the same moment.
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 16 * 1024];
        let mut flow = self.watched.clone();
        loop {
            let length = tokio::select! {
                biased;
                () = cut(&mut self.watched, self.cuts) => return,
                read = from.read(&mut buffer) => read.unwrap_or(0),
            };
            let passes = tokio::select! {
                biased;
                () = cut(&mut self.watched, self.cuts) => return,
                passes = let_through(&mut flow, self.is_reply) => passes,
            };
            let passes = match self.look(&buffer[..length]) {
                Reply::Passes => passes,
                Reply::IsBeingLost => false,
                Reply::IsLost => return,
            };
            let moved = tokio::select! {
                biased;
                () = cut(&mut self.watched, self.cuts) => return,
                moved = pass(&mut to, &buffer[..length], passes) => moved,
            };
            if length == 0 || !moved {
                return;
            }
        }
    }
}

/// What becomes of a piece.
enum Reply {
    Passes,
    IsBeingLost,
    IsLost,
}

impl Pump {
    /// Whether it is the request whose reply is to be lost, or that reply.
    fn look(&self, piece: &[u8]) -> Reply {
        let mut here = self.losing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_reply {
            let is_it = |losing: &mut Losing| {
                let words = losing.words.as_slice();
                piece.windows(words.len()).any(|window| window == words)
            };
            if let Some(losing) = self.counted.losing().take_if(is_it) {
                *here = Some(losing);
            }
            return Reply::Passes;
        }
        match here.as_ref() {
            None => Reply::Passes,
            Some(losing) if piece.ends_with(&losing.end) => {
                self.counted.lost.fetch_add(1, Ordering::SeqCst);
                Reply::IsLost
            }
            Some(_) => Reply::IsBeingLost,
        }
    }
}

/// Writes a piece; none means that there is no more to come. Says whether the receiver is there.
async fn pass(to: &mut OwnedWriteHalf, piece: &[u8], passes: bool) -> bool {
    match piece {
        [] => to.shutdown().await.is_ok(),
        piece if passes => to.write_all(piece).await.is_ok(),
        _ => true,
    }
}

/// Waits until the connection is cut, or its proxy is gone.
async fn cut(watched: &mut watch::Receiver<State>, cuts: u32) {
    let _ = watched.wait_for(|state| state.cuts != cuts).await;
}

/// Waits while bytes have to wait; whether they pass then.
async fn let_through(watched: &mut watch::Receiver<State>, is_reply: bool) -> bool {
    let Ok(flow) = watched
        .wait_for(|state| state.flow != Flow::Frozen)
        .await
        .map(|state| state.flow)
    else {
        return false;
    };
    match flow {
        Flow::RepliesDropped => !is_reply,
        Flow::Delayed(delay) => {
            tokio::time::sleep(delay).await;
            true
        }
        Flow::Open | Flow::Frozen => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;

    /// Long enough to see that something does not happen.
    const NEVER: Duration = Duration::from_millis(200);
    const SOON: Duration = Duration::from_secs(10);

    /// A server that says back what it hears, and counts it.
    async fn echo() -> (SocketAddr, watch::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, count) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        heard.send_modify(|count| *count += 1);
                        let _ = stream.write_all(&byte).await;
                    }
                });
            }
        });
        (address, count)
    }

    async fn connected() -> (Proxy, TcpStream, watch::Receiver<usize>) {
        let (server, heard) = echo().await;
        let proxy = Proxy::to(&Handle::current(), server).unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client, heard)
    }

    async fn ask(client: &mut TcpStream, limit: Duration) -> Option<u8> {
        client.write_all(&[7]).await.ok()?;
        hear(client, limit).await
    }

    async fn hear(client: &mut TcpStream, limit: Duration) -> Option<u8> {
        timeout(limit, client.read_u8()).await.ok()?.ok()
    }

    #[tokio::test]
    async fn it_forwards_both_ways_and_says_when_the_client_has_no_more() {
        let (_proxy, mut client, _) = connected().await;
        assert_eq!(ask(&mut client, SOON).await, Some(7));
        client.shutdown().await.unwrap();
        let end = timeout(SOON, client.read(&mut [0])).await.unwrap();
        assert_eq!(end.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_open_and_lets_new_ones_in() {
        let (proxy, mut client, _) = connected().await;
        assert_eq!(ask(&mut client, SOON).await, Some(7));
        proxy.cut();
        let end = timeout(SOON, client.read(&mut [0])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)));
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut next, SOON).await, Some(7));
    }

    #[tokio::test]
    async fn what_is_frozen_waits_and_comes_after_the_thaw() {
        let (proxy, mut client, heard) = connected().await;
        assert_eq!(ask(&mut client, SOON).await, Some(7));
        proxy.set(Flow::Frozen);
        assert_eq!(ask(&mut client, NEVER).await, None);
        assert_eq!(*heard.borrow(), 1);
        proxy.set(Flow::Open);
        assert_eq!(hear(&mut client, SOON).await, Some(7));
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_frozen() {
        let (proxy, mut client, _) = connected().await;
        proxy.set(Flow::Frozen);
        assert_eq!(ask(&mut client, NEVER).await, None);
        proxy.cut();
        assert!(matches!(
            timeout(SOON, client.read(&mut [0])).await.unwrap(),
            Ok(0) | Err(_)
        ));
    }

    #[tokio::test]
    async fn what_waited_is_gone_with_a_cut_although_the_way_is_opened() {
        let (proxy, mut client, mut heard) = connected().await;
        proxy.set(Flow::Frozen);
        assert_eq!(ask(&mut client, NEVER).await, None);
        drop(client);
        proxy.cut();
        proxy.set(Flow::Open);
        assert!(timeout(NEVER, heard.wait_for(|count| *count > 0)).await.is_err());
    }

    #[tokio::test]
    async fn dropped_replies_were_heard_by_the_server_and_never_come() {
        let (proxy, mut client, mut heard) = connected().await;
        proxy.set(Flow::RepliesDropped);
        assert_eq!(ask(&mut client, NEVER).await, None);
        timeout(SOON, heard.wait_for(|count| *count == 1))
            .await
            .unwrap()
            .unwrap();
        proxy.set(Flow::Open);
        assert_eq!(hear(&mut client, NEVER).await, None);
        assert_eq!(ask(&mut client, SOON).await, Some(7));
    }

    #[tokio::test]
    async fn a_reply_is_lost_whose_request_took_effect_and_the_next_connection_is_sound() {
        let (proxy, mut client, mut heard) = connected().await;
        proxy.lose_reply_to([7], [7]);
        assert_eq!(ask(&mut client, SOON).await, None);
        timeout(SOON, heard.wait_for(|count| *count == 1))
            .await
            .unwrap()
            .unwrap();
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut next, SOON).await, Some(7));
        assert_eq!((proxy.lost(), proxy.accepted()), (1, 2));
    }

    #[tokio::test]
    async fn a_delay_is_added_each_way() {
        let (proxy, mut client, _) = connected().await;
        proxy.set(Flow::Delayed(Duration::from_millis(60)));
        let begun = Instant::now();
        assert_eq!(ask(&mut client, SOON).await, Some(7));
        assert!(begun.elapsed() >= Duration::from_millis(120), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn without_a_server_the_connection_ends() {
        let (server, _) = echo().await;
        let gone = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::ports::free::<1>().unwrap()[0]));
        assert_ne!(server, gone);
        let proxy = Proxy::to(&Handle::current(), gone).unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(matches!(
            timeout(SOON, client.read(&mut [0])).await.unwrap(),
            Ok(0) | Err(_)
        ));
    }
}
