//! Everything that can be wrong: what is said about it, what it means, what to do.
//!
//! Facts in, findings out; nothing in here looks anything up.

#[cfg(feature = "tls")]
mod certificates;
mod messages;
mod place;
mod security;

#[cfg(feature = "tls")]
pub(super) use certificates::*;
pub(super) use messages::*;
pub(super) use place::*;
pub(super) use security::*;

/// Port of Zeek's WebSocket server in clusters of zeekctl. Spec: zeromq 1.1.
pub(super) const ZEEK_WEB_SOCKET_PORT: u16 = 27759;

/// Days before its end from which a certificate is warned of.
pub(super) const DAYS_LEFT_MIN: i64 = 30;

fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        }
    }
}

/// Entries of a filter that are named in a line.
const ENTRIES_NAMED_MAX: usize = 8;

/// The first of many entries, and how many more there are.
pub(super) fn some_of(entries: &[String]) -> String {
    let named = entries.iter().take(ENTRIES_NAMED_MAX);
    let named: Vec<_> = named
        .map(|entry| {
            if entry.is_empty() {
                "everything".to_owned()
            } else {
                format!("`{entry}`")
            }
        })
        .collect();
    match entries.len().saturating_sub(ENTRIES_NAMED_MAX) {
        0 if named.is_empty() => "nothing".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
