//! Free ports: different, free, on the loopback interface, and out of the way of outgoing connections.

use std::net::TcpListener;

use pp_testkit::ports;

#[test]
fn free_ports_differ_and_can_be_bound() {
    let mut found = ports::free::<20>().unwrap().to_vec();
    let listeners: Vec<_> = found
        .iter()
        .map(|port| TcpListener::bind(("127.0.0.1", *port)).unwrap())
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), listeners.len());
}

#[test]
fn a_port_in_use_is_not_free() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(!ports::is_free(port));
}

#[test]
fn they_lie_outside_of_the_ephemeral_range() {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let start: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    if start < 12_000 {
        return; // No room below it; there is nothing to promise on such a machine.
    }
    assert!(ports::free::<20>().unwrap().iter().all(|port| *port < start));
}
