//! The entries of data stores in pages.

use broker::{Backend, CloneOptions, HttpOptions, Value};
use serde_json::json;

use crate::{endpoint, get, serve};

#[test]
fn entries_come_in_pages_with_their_types() {
    let here = endpoint();
    let store = here.attach_master("hosts", Backend::Memory).unwrap();
    for number in 0..25_u64 {
        store
            .put(format!("host-{number:02}").as_str(), &number)
            .unwrap();
    }
    store.put(&7_u64, "seven").unwrap();
    let port = serve(&here, HttpOptions::default());
    let mut keys = Vec::new();
    let mut path = "/v1/stores/hosts?prefix=host-&limit=10".to_owned();
    loop {
        let page = get(port, &path).json();
        assert_eq!(
            (&page["store"], &page["role"]),
            (&json!("hosts"), &json!("master"))
        );
        assert_eq!(page["total"], 25);
        let entries = page["entries"].as_array().unwrap();
        keys.extend(
            entries
                .iter()
                .map(|it| it["text"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["cursor"].as_str() else {
            break;
        };
        assert_eq!(entries.len(), 10);
        path = format!("/v1/stores/hosts?prefix=host-&limit=10&cursor={cursor}");
    }
    let expected: Vec<String> = (0..25).map(|number| format!("host-{number:02}")).collect();
    assert_eq!(keys, expected);
    let page = get(port, "/v1/stores/hosts?prefix=7").json();
    assert_eq!(page["total"], 1);
    let entry = &page["entries"][0];
    assert_eq!(entry["key"], json!({ "@data-type": "count", "data": 7 }));
    assert_eq!(
        entry["value"],
        json!({ "@data-type": "string", "data": "seven" })
    );
}

#[test]
fn a_large_value_is_told_by_its_size() {
    let here = endpoint();
    let store = here.attach_master("hosts", Backend::Memory).unwrap();
    store.put("large", "x".repeat(100_000).as_str()).unwrap();
    let port = serve(&here, HttpOptions::default());
    let answer = get(port, "/v1/stores/hosts");
    assert!(answer.body.len() < 1000);
    let entry = &answer.json()["entries"][0];
    assert!(entry["value"].is_null() && entry["bytes"].as_u64().unwrap() > 100_000);
}

#[test]
fn what_cannot_be_read_is_said() {
    let here = endpoint();
    let _clone = here.attach_clone("lost", CloneOptions::default()).unwrap();
    let port = serve(&here, HttpOptions::default());
    let answer = get(port, "/v1/stores/none");
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains("`none`"));
    let answer = get(port, "/v1/stores/lost");
    assert_eq!(answer.status, 503);
    assert!(answer.json()["error"].is_string());
    for wrong in ["limit=0", "limit=1001", "cursor=x", "role=all", "sort=key"] {
        assert_eq!(
            get(port, &format!("/v1/stores/lost?{wrong}")).status,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn names_of_stores_may_have_any_characters() {
    let here = endpoint();
    let store = here.attach_master("a b/ü", Backend::Memory).unwrap();
    store.put("k", &Value::None).unwrap();
    let port = serve(&here, HttpOptions::default());
    let page = get(port, "/v1/stores/a%20b%2F%C3%BC").json();
    assert_eq!(page["entries"][0]["text"], "k");
}
