//! Which versions of other people's libraries are compiled in.

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
}
