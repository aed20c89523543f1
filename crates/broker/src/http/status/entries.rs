//! `GET /v1/stores/NAME`: the entries of a data store, in pages.
//!
//! Keys come in the order of their bytes. A page looks at each key once, in steps: the store is locked
//! for some thousand keys at a time, and free in between for those who change or read it. So a page
//! is no look at one moment: what changes meanwhile may be in it or not. One walk at a time is made
//! for each server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use broker_data::json::{Form, to_text};
use broker_data::{View, decode};
use broker_proto::store::Role;
use serde_json::{Value, json};

use super::documents::{PAGE_SIZE, PAGE_SIZE_MAX};
use super::role_name;
use crate::store::{Host, Node, StoreError};

/// Bytes of an encoded value that is told; of a larger one only its size is.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// Keys that are looked at while a store is locked: a fraction of a millisecond in memory, one or two in a
/// file, as long as a commit on a fast disk.
const KEYS_PER_STEP: usize = 4096;

/// Time that others are given between two steps, in which they get the lock: about as long as a step
/// takes. A lock alone would not do: who has just released it is likely to get it again.
const PAUSE: Duration = Duration::from_millis(1);

/// What a request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    role: Option<Role>,
    /// What the text of a key begins with.
    prefix: String,
    limit: usize,
    /// The encoded key that the page before ended with.
    after: Vec<u8>,
}

impl Wanted {
    pub(super) fn of_query(query: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut wanted = Self {
            limit: PAGE_SIZE,
            ..Self::default()
        };
        for (name, value) in query {
            match name.as_str() {
                "prefix" => wanted.prefix.clone_from(value),
                "limit" => {
                    let limit = value.parse().ok();
                    wanted.limit = limit
                        .filter(|it| (1..=PAGE_SIZE_MAX).contains(it))
                        .ok_or_else(|| {
                            format!("`limit` has to be a number from 1 to {PAGE_SIZE_MAX}.\n")
                        })?;
                }
                "cursor" => {
                    let after = from_hex(value);
                    wanted.after =
                        after.ok_or("`cursor` has to be what the page before said.\n")?;
                }
                "role" => {
                    let roles = [Role::Master, Role::Clone];
                    let role = roles.into_iter().find(|role| role_name(*role) == value);
                    let role = role.ok_or("`role` has to be `master` or `clone`.\n")?;
                    wanted.role = Some(role);
                }
                _ => {
                    return Err(
                        "The parameters are `prefix`, `limit`, `cursor` and `role`.\n".to_owned(),
                    );
                }
            }
        }
        Ok(wanted)
    }
}

/// A page of the entries; blocks for as long as the store does.
pub(super) fn page(node: &Node, name: &str, wanted: &Wanted) -> (StatusCode, Value) {
    let roles = match wanted.role {
        Some(role) => vec![role],
        None => vec![Role::Master, Role::Clone],
    };
    let mut hosts = roles
        .into_iter()
        .filter_map(|role| Some((role, node.stores.find(role, name)?)));
    let Some((role, host)) = hosts.next() else {
        let text = format!("there is no store `{name}` here");
        return (StatusCode::NOT_FOUND, json!({ "error": text }));
    };
    match entries(node, &host, wanted, || std::thread::sleep(PAUSE)) {
        Ok((entries, total, cursor)) => {
            let document = json!({
                "store": name,
                "role": role_name(role),
                "entries": entries,
                "total": total,
                "cursor": cursor,
            });
            (StatusCode::OK, document)
        }
        // A clone without a master, a storage that fails.
        Err(error) => {
            let document = json!({ "error": error.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, document)
        }
    }
}

/// The entries of a page, how many there are in all, and where the next page begins.
type Entries = (Vec<Value>, u64, Option<String>);

/// `pause` is called between two steps, while nothing is locked.
fn entries(
    node: &Node,
    host: &Host,
    wanted: &Wanted,
    mut pause: impl FnMut(),
) -> Result<Entries, StoreError> {
    let mut total: u64 = 0;
    // The first keys of the page, and one more that tells whether there is another page.
    let mut keys: BTreeSet<Box<[u8]>> = BTreeSet::new();
    let mut visit = |key: &[u8]| {
        if !begins_with(key, &wanted.prefix) {
            return;
        }
        total = total.saturating_add(1);
        let is_behind = wanted.after.is_empty() || key > wanted.after.as_slice();
        let is_early = keys.len() <= wanted.limit || keys.last().is_some_and(|last| key < &**last);
        if is_behind && is_early {
            keys.insert(key.into());
            if keys.len() > wanted.limit.saturating_add(1) {
                keys.pop_last();
            }
        }
    };
    let mut at = host.visit_keys_after(node, &[], KEYS_PER_STEP, &mut visit)?;
    while let Some(after) = at {
        pause();
        at = host.visit_keys_after(node, &after, KEYS_PER_STEP, &mut visit)?;
    }
    let has_more = keys.len() > wanted.limit;
    if has_more {
        keys.pop_last();
    }
    let cursor = keys.last().filter(|_| has_more).map(|key| to_hex(key));
    Ok((list(node, host, &keys), total, cursor))
}

fn list(node: &Node, host: &Host, keys: &BTreeSet<Box<[u8]>>) -> Vec<Value> {
    let entries = keys.iter().filter_map(|key| {
        // It may have gone since.
        let value = host.value_now(node, key).ok()?;
        let is_told = value.len() <= VALUE_BYTES_MAX;
        Some(json!({
            "key": typed(key),
            "text": text_of(key),
            "value": is_told.then(|| typed(&value)),
            "bytes": value.len(),
        }))
    });
    entries.collect()
}

/// A value with its type, as WebSocket clients that asked for the lossless form get it.
fn typed(bytes: &[u8]) -> Value {
    // What a store keeps was checked to be a value.
    let text = to_text(bytes, Form::Lossless).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// What people call a key.
fn text_of(key: &[u8]) -> String {
    match View::trusted(key).as_bytes() {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => decode(key)
            .map(|value| value.to_string())
            .unwrap_or_default(),
    }
}

fn begins_with(key: &[u8], prefix: &str) -> bool {
    if prefix.is_empty() {
        return true;
    }
    match View::trusted(key).as_bytes() {
        Some(text) => text.starts_with(prefix.as_bytes()),
        None => text_of(key).starts_with(prefix),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Endpoint};

    #[test]
    fn a_walk_lets_writers_in_between_its_steps() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let store = endpoint.attach_master("hosts", Backend::Memory).unwrap();
        let all = 3 * KEYS_PER_STEP as u64 + 1;
        for number in 0..all {
            store.put(&number, &number).unwrap();
        }
        let node = endpoint.node();
        let host = node.stores.find(Role::Master, "hosts").unwrap();
        let wanted = Wanted::of_query(&BTreeMap::new()).unwrap();
        let mut pauses = 0_u64;
        let (page, total, cursor) = entries(node, &host, &wanted, || {
            // This thread would wait for itself if it still had the lock. What is changed behind the
            // walk is seen by it, what is changed before is not.
            store.put(&(all + pauses), &0_u64).unwrap();
            pauses += 1;
        })
        .unwrap();
        assert_eq!((pauses, total), (3, all + 3));
        assert_eq!(page.len(), wanted.limit);
        assert!(cursor.is_some());
    }

    #[test]
    fn a_cursor_is_what_was_said_before() {
        for bytes in [&b""[..], b"\x00\xff\x10", b"key"] {
            assert_eq!(from_hex(&to_hex(bytes)).as_deref(), Some(bytes));
        }
        for wrong in ["0", "zz", "0é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wishes_are_checked() {
        let wanted = |name: &str, value: &str| {
            Wanted::of_query(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(wanted("limit", "7").unwrap().limit, 7);
        assert_eq!(wanted("role", "clone").unwrap().role, Some(Role::Clone));
        for (name, value) in [("limit", "0"), ("cursor", "x"), ("role", "x"), ("x", "")] {
            assert!(wanted(name, value).is_err(), "{name}");
        }
    }
}
