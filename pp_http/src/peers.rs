//! Counts what each peer holds open, so that one peer leaves room for others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The number of things that one peer may hold at once. A peer is an IPv4 address or an IPv6 network of 64 bits, which is
/// what one client usually has.
#[derive(Clone, Debug)]
pub struct Peers {
    held: Arc<Held>,
    most: usize,
    counts_loopback: bool,
}

/// How many places each peer holds.
type Held = Mutex<HashMap<IpAddr, usize>>;

/// What a peer may hold without a setting.
const USUAL: usize = 1000;

impl Peers {
    /// Peers that may hold `most` each. Without a number it is 1,000, and loopback is not counted, because a proxy may be
    /// there.
    pub fn new(most: Option<usize>) -> Self {
        Self {
            held: Arc::default(),
            most: most.unwrap_or(USUAL),
            counts_loopback: most.is_some(),
        }
    }

    /// A place of the peer until it is dropped, or `None` if the peer has no more places.
    pub fn admit(&self, address: IpAddr) -> Option<Place> {
        let peer = peer(address);
        if peer.is_loopback() && !self.counts_loopback {
            return Some(Place(None));
        }
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(peer).or_default();
        if *held >= self.most {
            return None;
        }
        *held += 1;
        drop(all);
        Some(Place(Some((Arc::clone(&self.held), peer))))
    }
}

/// The peer with this address.
pub fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

/// A place of a peer. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place(Option<(Arc<Held>, IpAddr)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((all, peer)) = &self.0 else { return };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = all.get_mut(peer) {
            *held -= 1;
            if *held == 0 {
                all.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_holds_its_number_of_places_and_gives_them_back() {
        let peers = Peers::new(Some(2));
        let held = [
            peers.admit(address("10.0.0.1")),
            peers.admit(address("::ffff:10.0.0.1")),
        ];
        assert!(held.iter().all(Option::is_some));
        assert!(peers.admit(address("10.0.0.1")).is_none());
        assert!(peers.admit(address("10.0.0.2")).is_some());
        drop(held);
        assert!(peers.admit(address("10.0.0.1")).is_some());
        assert_eq!(
            peers.held.lock().unwrap().len(),
            0,
            "peers that hold nothing are forgotten"
        );
    }

    #[test]
    fn the_addresses_of_a_network_of_ipv6_are_one_peer() {
        let peers = Peers::new(Some(1));
        let held = peers.admit(address("2001:db8::1"));
        assert!(held.is_some() && peers.admit(address("2001:db8::ffff:1")).is_none());
        assert!(peers.admit(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn loopback_is_counted_only_where_a_number_is_set() {
        let (usual, set) = (Peers::new(None), Peers::new(Some(1)));
        let held: Vec<_> = (0..=USUAL).map(|_| usual.admit(address("127.0.0.1"))).collect();
        assert!(held.iter().all(Option::is_some));
        let _held = set.admit(address("::1"));
        assert!(set.admit(address("::1")).is_none());
    }
}
