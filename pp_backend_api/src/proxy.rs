//! Users whom a proxy has signed in. Their name comes in a header, which only peers in named networks may send.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};
use clap::Args;
use pp_lib::domain::{Scopes, UserName};
use pp_lib::runtime::Network;

/// The settings of proxies that sign users in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub struct ProxyArgs {
    /// The networks of proxies that sign users in; their header is believed, and that of nobody else [as in
    /// 10.0.3.0/24,::1].
    #[arg(long, env = "PP_PROXY_NETWORKS", value_name = "NETWORK", value_delimiter = ',')]
    pub proxy_networks: Vec<Network>,

    /// The header in which these proxies name the user. They must replace one that a client sends.
    #[arg(
        long,
        env = "PP_PROXY_USER_HEADER",
        value_name = "HEADER",
        default_value = "X-Forwarded-User",
        value_parser = user_header
    )]
    pub proxy_user_header: HeaderName,

    /// The scopes of the users of these proxies [as in read,create].
    #[arg(long, env = "PP_PROXY_SCOPES", value_name = "SCOPES", default_value = "read")]
    pub proxy_scopes: Scopes,
}

impl ProxyArgs {
    /// The proxies, if networks are named.
    pub fn trusted(&self) -> Option<TrustedProxies> {
        (!self.proxy_networks.is_empty()).then(|| TrustedProxies {
            networks: self.proxy_networks.clone(),
            header: self.proxy_user_header.clone(),
            scopes: Arc::new(self.proxy_scopes.clone()),
        })
    }
}

/// Proxies that sign users in.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    /// Where they are.
    pub networks: Vec<Network>,
    /// The header with the name of the user.
    pub header: HeaderName,
    /// What users may do.
    pub scopes: Arc<Scopes>,
}

/// A header that names no user, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoUser;

impl TrustedProxies {
    /// The user that a request of this peer is by. `None` if the peer is no proxy, or names nobody.
    pub(crate) fn user(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<Option<UserName>, NoUser> {
        let trusted = |peer: SocketAddr| self.networks.iter().any(|network| network.contains(peer.ip()));
        if !peer.is_some_and(trusted) {
            return Ok(None);
        }
        let mut values = headers.get_all(&self.header);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                let text = std::str::from_utf8(value.as_bytes()).map_err(|_| NoUser)?;
                text.parse().map(Some).map_err(|_| NoUser)
            }
            // One of them may be the client's own.
            (Some(_), Some(_)) => Err(NoUser),
        }
    }
}

fn user_header(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text
        .trim()
        .parse()
        .map_err(|_| "expected the name of a header, as in X-Forwarded-User")?;
    if [AUTHORIZATION, CONNECTION, COOKIE, HOST, ORIGIN].contains(&name) {
        return Err(format!("the header {text} means something else"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn user(peer: &str, values: &[&[u8]]) -> Result<Option<String>, NoUser> {
        let proxies = TrustedProxies {
            networks: vec!["10.0.3.0/24".parse().unwrap(), "::1".parse().unwrap()],
            header: user_header("Remote-User").unwrap(),
            scopes: Arc::new("read".parse().unwrap()),
        };
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static("remote-user"), value);
        }
        let user = proxies.user(Some(peer.parse().unwrap()), &headers)?;
        Ok(user.map(|user| user.to_string()))
    }

    #[test]
    fn only_peers_of_the_named_networks_name_a_user() {
        let alice = Ok(Some("alice".to_owned()));
        for peer in ["10.0.3.7:1", "[::ffff:10.0.3.7]:1", "[::1]:1"] {
            assert_eq!(user(peer, &[b"alice"]), alice, "{peer}");
        }
        for peer in ["10.0.4.7:1", "127.0.0.1:1", "[::2]:1"] {
            assert_eq!(user(peer, &[b"alice"]), Ok(None), "{peer}");
            assert_eq!(user(peer, &[b"alice", b"bob"]), Ok(None), "{peer}");
        }
    }

    #[test]
    fn a_proxy_names_one_user_or_none() {
        let named = |values: &[&[u8]]| user("10.0.3.7:1", values);
        assert_eq!(named(&[]), Ok(None));
        assert_eq!(named(&["Zoë".as_bytes()]), Ok(Some("Zoë".to_owned())));
        for wrong in [&[&b"alice"[..], b"alice"][..], &[b""], &[b"\xff"], &[&[b'a'; 201]]] {
            assert_eq!(named(wrong), Err(NoUser), "{wrong:?}");
        }
    }

    #[test]
    fn a_header_with_another_meaning_names_no_user() {
        for wrong in ["", "a b", "Authorization", "cookie", "Host"] {
            assert!(user_header(wrong).is_err(), "{wrong}");
        }
    }
}
