//! Free ports on the loopback interface.
//!
//! They lie below the kernel's ephemeral range. A port from inside of it could be taken, while its server is down, as the
//! local end of any outgoing connection, even of a client that tries to reconnect to that very port and ends up connected
//! to itself; the server could then not come back on its own port.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};
use rand::RngExt as _;

/// How many ports below the ephemeral range are considered.
const SPAN: u16 = 10_000;
/// The kernel's default, also used where the configured range leaves no room below.
const DEFAULT_EPHEMERAL_START: u16 = 32_768;
/// Standard ports of servers inside the range considered: RabbitMQ's distribution port.
const RESERVED: [u16; 1] = [25_672];

/// Whether nobody listens on the loopback port.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// `N` different free ports, drawn at random so that testkits starting at the same time hardly ever meet.
///
/// # Errors
/// When no free port is found.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let end = ephemeral_start();
    let mut held: Vec<(u16, TcpListener)> = Vec::with_capacity(N);
    let mut rng = rand::rng();
    for _ in 0..1_000 {
        if held.len() == N {
            break;
        }
        let port = rng.random_range(end - SPAN..end);
        if RESERVED.contains(&port) {
            continue;
        }
        // Held until all are found, which keeps them different.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    let Ok(ports) = held.iter().map(|(port, _)| *port).collect::<Vec<_>>().try_into() else {
        bail!("no free loopback ports between {} and {end}", end - SPAN);
    };
    Ok(ports)
}

fn ephemeral_start() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let start = range
        .split_whitespace()
        .next()
        .and_then(|low| low.parse().ok())
        .unwrap_or(DEFAULT_EPHEMERAL_START);
    if start > SPAN + 1_024 {
        start
    } else {
        DEFAULT_EPHEMERAL_START
    }
}
