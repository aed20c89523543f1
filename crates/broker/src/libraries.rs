//! What is compiled in: optional parts, and versions of other people's libraries.

/// The optional parts that are compiled in, by the names of their features.
pub fn features() -> Vec<&'static str> {
    let known = [
        ("http", cfg!(feature = "http")),
        ("log", cfg!(feature = "log")),
        ("nats", cfg!(feature = "nats")),
        ("policy", cfg!(feature = "policy")),
        ("serde", cfg!(feature = "serde")),
        ("sqlite", cfg!(feature = "sqlite")),
        ("status", cfg!(feature = "status")),
        ("tls", cfg!(feature = "tls")),
        ("zeromq", cfg!(feature = "zeromq")),
    ];
    let there = known.into_iter().filter(|(_, is_there)| *is_there);
    there.map(|(name, _)| name).collect()
}

/// The schemes of addresses of peers that can be connected to, such as `zeek` and `ws`.
pub fn transports() -> Vec<&'static str> {
    let known = [
        ("zeek", true),
        ("ws", cfg!(feature = "http")),
        ("wss", cfg!(all(feature = "http", feature = "tls"))),
        ("zmq", cfg!(feature = "zeromq")),
        ("nats", cfg!(feature = "nats")),
    ];
    let there = known.into_iter().filter(|(_, is_there)| *is_there);
    there.map(|(name, _)| name).collect()
}

/// The TLS library with its version, such as `OpenSSL 3.5.0 8 Apr 2025`; `None` without the feature
/// `tls`.
pub fn tls_library() -> Option<&'static str> {
    #[cfg(feature = "tls")]
    return Some(openssl::version::version());
    #[cfg(not(feature = "tls"))]
    return None;
}

/// The version of SQLite, such as `3.50.0`; `None` without the feature `sqlite`.
pub fn sqlite_library() -> Option<&'static str> {
    #[cfg(feature = "sqlite")]
    return Some(rusqlite::version());
    #[cfg(not(feature = "sqlite"))]
    return None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_named_where_they_are_compiled_in() {
        assert_eq!(tls_library().is_some(), cfg!(feature = "tls"));
        assert_eq!(sqlite_library().is_some(), cfg!(feature = "sqlite"));
    }

    #[test]
    fn parts_are_named_where_they_are_compiled_in() {
        assert_eq!(features().contains(&"tls"), cfg!(feature = "tls"));
        assert_eq!(transports().contains(&"nats"), cfg!(feature = "nats"));
        assert_eq!(transports().contains(&"ws"), cfg!(feature = "http"));
        // A scheme that is named here is one that addresses can have.
        for scheme in transports() {
            let url =
                broker_proto::peer_url::PeerUrl::parse(&format!("{scheme}://localhost:1"), None);
            assert!(url.is_ok(), "{scheme}");
        }
    }
}
