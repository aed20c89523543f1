//! Recorded results of every modifying operation on every type, for a master over any back end.
//!
//! `vectors/store-operations.json` says what the original stores in the end. Where its memory back
//! end leaves something behind that its other one does not, the other one is right (ADR 0070).

use std::path::Path;

use broker_data::{EnumValue, Kind, Timespan, Timestamp, Value, View, to_bytes};
use broker_proto::ErrorCode;
use broker_proto::id::EndpointId;
use broker_proto::store::command::Content;
use broker_proto::store::entity::EntityId;
use broker_proto::store::operation::initial_of_increment;
use broker_proto::store::{Backend, Master, StoreConfig};
use serde_json::Value as Json;

/// The key of the recordings: `pop` takes it away from a set.
const KEY: &str = "key";

const ME: EntityId = EntityId {
    endpoint: EndpointId::from_bytes([1; 16]),
    object: 7,
};

/// Runs everything that was recorded, each on a back end of its own; returns how many operations
/// and how many reads that were.
pub(crate) fn check_all<B: Backend>(mut open: impl FnMut() -> B) -> (usize, usize) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../vectors/store-operations.json"
    );
    let text = std::fs::read_to_string(Path::new(path)).unwrap();
    let recorded: Json = serde_json::from_str(&text).unwrap();
    let operations = recorded["operations"].as_array().unwrap();
    for case in operations {
        check_operation(open(), case);
    }
    let reads = recorded["get_index_from_value"].as_array().unwrap();
    for case in reads {
        check_read(open(), case);
    }
    (operations.len(), reads.len())
}

fn master<B: Backend>(backend: B, stored: &Json) -> Master<B> {
    let mut master = Master::new(ME, "s", backend, StoreConfig::default()).unwrap();
    if !stored.is_null() {
        let content = Content::Put {
            key: &bytes(&Value::from(KEY)),
            value: &bytes(&value_of(stored)),
            expiry: None,
            publisher: ME,
        };
        master.request(Timestamp::EPOCH, &content).unwrap();
        master.commit().unwrap();
    }
    master
}

fn check_operation<B: Backend>(backend: B, case: &Json) {
    let mut master = master(backend, &case["stored"]);
    let arguments = case["args"].as_array().unwrap();
    let arguments: Vec<Value> = arguments.iter().map(value_of).collect();
    let first = arguments.first().cloned();
    let kind = first.as_ref().map_or(Kind::None, Value::kind);
    let pair = || Value::Vector(arguments.clone());
    let key = Value::from(KEY);
    // Spec: stores 7.1.
    let (init, operand) = match case["op"].as_str().unwrap() {
        "increment" => (Some(initial_of_increment(kind)), first),
        "append" => (Some(Kind::String), first),
        "insert_into" => (Some(Kind::Set), first),
        "insert_into_kv" => (Some(Kind::Table), Some(pair())),
        "push" => (Some(Kind::Vector), first),
        "decrement" | "remove_from" => (None, first),
        "pop" => (None, Some(key.clone())),
        other => panic!("{other}"),
    };
    let (key, operand) = (bytes(&key), bytes(&operand.unwrap()));
    let content = match init {
        Some(init) => Content::Add {
            key: &key,
            value: &operand,
            init,
            expiry: None,
            publisher: ME,
        },
        None => Content::Subtract {
            key: &key,
            value: &operand,
            expiry: None,
            publisher: ME,
        },
    };
    let result = master.request(Timestamp::EPOCH, &content);
    master.commit().unwrap();
    let found = master.get(Timestamp::EPOCH, &key);
    match case["result"].get("error") {
        Some(error) => {
            assert_eq!(error, "no_such_key", "{case}");
            assert_eq!(found.unwrap_err().code, ErrorCode::NoSuchKey, "{case}");
            assert!(result.is_err(), "{case}");
        }
        None => {
            let found = View::new(&found.unwrap()).unwrap().to_value();
            assert_eq!(found, value_of(&case["result"]), "{case}");
        }
    }
}

fn check_read<B: Backend>(backend: B, case: &Json) {
    let mut master = master(backend, &case["stored"]);
    let index = bytes(&value_of(&case["index"]));
    let found = master.get_index(Timestamp::EPOCH, &bytes(&Value::from(KEY)), &index);
    match case["result"].get("error") {
        Some(error) => {
            let code = found.unwrap_err().code;
            assert_eq!(error, code.to_string().as_str(), "{case}");
        }
        None => {
            let found = View::new(&found.unwrap()).unwrap().to_value();
            assert_eq!(found, value_of(&case["result"]), "{case}");
        }
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    to_bytes(value).unwrap()
}

/// A value in the form of the recordings.
pub(crate) fn value_of(json: &Json) -> Value {
    let value = &json["value"];
    let text = || value.as_str().unwrap();
    let list = || value.as_array().unwrap().iter();
    match json["type"].as_str().unwrap() {
        "none" => Value::None,
        "boolean" => Value::Boolean(value.as_bool().unwrap()),
        "count" => Value::Count(value.as_u64().unwrap()),
        "integer" => Value::Integer(value.as_i64().unwrap()),
        "real" => Value::Real(value.as_f64().unwrap()),
        "string" => Value::from(text()),
        "address" => Value::Address(text().parse().unwrap()),
        "subnet" => Value::Subnet(text().parse().unwrap()),
        "port" => Value::Port(text().parse().unwrap()),
        "timestamp" => Value::Timestamp(Timestamp::from_ns(value.as_i64().unwrap())),
        "timespan" => Value::Timespan(Timespan::from_ns(value.as_i64().unwrap())),
        "enum" => Value::EnumValue(EnumValue::new(text())),
        "set" => Value::Set(list().map(value_of).collect()),
        "table" => {
            let entries = list().map(|pair| (value_of(&pair[0]), value_of(&pair[1])));
            Value::Table(entries.collect())
        }
        "vector" => Value::Vector(list().map(value_of).collect()),
        other => panic!("{other}"),
    }
}
