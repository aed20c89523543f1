//! What users do: operations that can be recognised again wherever they turn up.
//!
//! Every operation that writes something carries a number of its own in its value, so that one
//! look at a store tells which operations it has seen, how often and in which order.

use broker_data::{Kind, Timespan, Value, decode, to_bytes};
use broker_proto::store::command::Content;
use broker_proto::store::entity::EntityId;

use crate::model::Operation;
use crate::random::Random;

/// Invents the operation with a number.
pub fn invent(random: &mut Random, number: u64, clears: bool) -> Operation {
    let key = |prefix: &str, index: u64| Value::String(format!("{prefix}{index}").as_str().into());
    let expiry = match random.below(6) {
        0 => Some(Timespan::from_millis(
            random.choose(&[-5, 0, 150, 900, 4_000]),
        )),
        _ => None,
    };
    let count = Value::Count(number);
    match random.below(if clears { 14 } else { 12 }) {
        0 | 1 => Operation::Put(key("p", random.below(3)), count, expiry),
        2 | 3 => Operation::PutUnique(key("u", random.below(3)), count, expiry),
        4 => Operation::Erase(key("u", random.below(3))),
        5 => Operation::Add(key("n", 0), count, Kind::Count, None),
        6 | 7 => Operation::Add(key("log", 0), count, Kind::Vector, None),
        8 => Operation::Add(key("set", 0), count, Kind::Set, expiry),
        9 => {
            let pair = vec![Value::Count(number % 3), count];
            Operation::Add(key("table", 0), Value::Vector(pair), Kind::Table, expiry)
        }
        10 => {
            let number = Value::Integer(i64::try_from(number).unwrap_or(0));
            Operation::Subtract(key("i", random.below(2)), number, None)
        }
        11 => match random.below(3) {
            0 => {
                let number = Value::Integer(i64::try_from(number).unwrap_or(0));
                Operation::Add(key("i", random.below(2)), number, Kind::Integer, None)
            }
            1 => Operation::Add(key("log", 1), count, Kind::String, None),
            _ => {
                let text = Value::String(format!("<{number}>").as_str().into());
                Operation::Add(key("text", 0), text, Kind::String, expiry)
            }
        },
        12 => Operation::Erase(key(["log", "set", "p", "n"][(number % 4) as usize], 0)),
        _ if random.below(4) == 0 => Operation::Clear,
        _ => Operation::Subtract(key("set", 0), count, None),
    }
}

/// The number of an operation; those that remove have none.
pub fn number(operation: &Operation) -> Option<u64> {
    let value = match operation {
        Operation::Put(_, value, _)
        | Operation::PutUnique(_, value, _)
        | Operation::Add(_, value, _, _)
        | Operation::Subtract(_, value, _) => value,
        Operation::Erase(_) | Operation::Clear => return None,
    };
    match value {
        Value::Count(number) => Some(*number),
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Vector(pair) => pair.last()?.as_count(),
        Value::String(text) => text.to_string_lossy().trim_matches(['<', '>']).parse().ok(),
        _ => None,
    }
}

/// Whether an operation may be sent to two masters: twice is the same as once.
pub const fn is_idempotent(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Put(..) | Operation::Erase(_) | Operation::Clear
    )
}

/// An operation whose parts are encoded.
#[derive(Debug)]
pub struct Encoded {
    operation: Operation,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Encoded {
    /// Encodes the parts.
    pub fn new(operation: &Operation) -> Self {
        let bytes = |value: &Value| to_bytes(value).unwrap_or_default();
        let (key, value) = match operation {
            Operation::Put(key, value, _)
            | Operation::PutUnique(key, value, _)
            | Operation::Add(key, value, _, _)
            | Operation::Subtract(key, value, _) => (bytes(key), bytes(value)),
            Operation::Erase(key) => (bytes(key), Vec::new()),
            Operation::Clear => (Vec::new(), Vec::new()),
        };
        Self {
            operation: operation.clone(),
            key,
            value,
        }
    }

    /// The request that says so.
    pub fn content(&self, publisher: EntityId, who: EntityId, request: u64) -> Content<'_> {
        let (key, value) = (self.key.as_slice(), self.value.as_slice());
        match self.operation {
            Operation::Put(_, _, expiry) => Content::Put {
                key,
                value,
                expiry,
                publisher,
            },
            Operation::PutUnique(_, _, expiry) => Content::PutUnique {
                key,
                value,
                expiry,
                who,
                request,
                publisher,
            },
            Operation::Erase(_) => Content::Erase { key, publisher },
            Operation::Add(_, _, init, expiry) => Content::Add {
                key,
                value,
                init,
                expiry,
                publisher,
            },
            Operation::Subtract(_, _, expiry) => Content::Subtract {
                key,
                value,
                expiry,
                publisher,
            },
            Operation::Clear => Content::Clear { publisher },
        }
    }
}

/// The operation that a request means; `None` for what is no request.
pub fn operation_of(content: &Content<'_>) -> Option<Operation> {
    let value = |bytes: &[u8]| decode(bytes).ok();
    Some(match content {
        Content::Put {
            key,
            value: new,
            expiry,
            ..
        } => Operation::Put(value(key)?, value(new)?, *expiry),
        Content::PutUnique {
            key,
            value: new,
            expiry,
            ..
        } => Operation::PutUnique(value(key)?, value(new)?, *expiry),
        Content::Erase { key, .. } => Operation::Erase(value(key)?),
        Content::Add {
            key,
            value: operand,
            init,
            expiry,
            ..
        } => Operation::Add(value(key)?, value(operand)?, *init, *expiry),
        Content::Subtract {
            key,
            value: operand,
            expiry,
            ..
        } => Operation::Subtract(value(key)?, value(operand)?, *expiry),
        Content::Clear { .. } => Operation::Clear,
        _ => return None,
    })
}
