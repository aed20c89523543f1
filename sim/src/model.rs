//! What a store is supposed to be: a map of values, written down again without looking at ours.

use std::collections::BTreeMap;

use broker_data::{Kind, Timespan, Timestamp, Value, to_bytes};

/// A request as its user means it.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Set.
    Put(Value, Value, Option<Timespan>),
    /// Set if absent.
    PutUnique(Value, Value, Option<Timespan>),
    /// Remove.
    Erase(Value),
    /// Add, starting from the default of a kind.
    Add(Value, Value, Kind, Option<Timespan>),
    /// Take away.
    Subtract(Value, Value, Option<Timespan>),
    /// Remove everything.
    Clear,
}

impl Operation {
    /// The key it is about.
    pub const fn key(&self) -> Option<&Value> {
        match self {
            Self::Put(key, ..)
            | Self::PutUnique(key, ..)
            | Self::Erase(key)
            | Self::Add(key, ..)
            | Self::Subtract(key, ..) => Some(key),
            Self::Clear => None,
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Applied; for a `put_unique` that found its key absent.
    Done,
    /// A `put_unique` that found its key there.
    Present,
    /// Types that do not go together, or a missing key.
    Refused,
}

/// The content of a store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    entries: BTreeMap<Value, (Value, Option<Timestamp>)>,
}

impl Model {
    /// Everything, encoded.
    pub fn bytes(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let bytes = |value: &Value| to_bytes(value).unwrap_or_default();
        let entries = self.entries.iter();
        entries
            .map(|(key, (value, _))| (bytes(key), bytes(value)))
            .collect()
    }

    /// What is there at some time, encoded: an entry is gone when its time comes, removed or not.
    pub fn live_bytes(&self, now: Timestamp) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut live = self.clone();
        live.expire(now);
        live.bytes()
    }

    /// Applies a request at some time.
    pub fn apply(&mut self, now: Timestamp, operation: &Operation) -> Verdict {
        if let Some(key) = operation.key()
            && let Some((_, Some(at))) = self.entries.get(key)
            && *at <= now
        {
            self.entries.remove(key);
        }
        let at = |span: &Option<Timespan>| span.map(|span| now.saturating_add(span));
        match operation {
            Operation::Put(key, value, expiry) => {
                self.entries
                    .insert(key.clone(), (value.clone(), at(expiry)));
            }
            Operation::PutUnique(key, value, expiry) => {
                if self.entries.contains_key(key) {
                    return Verdict::Present;
                }
                self.entries
                    .insert(key.clone(), (value.clone(), at(expiry)));
            }
            Operation::Erase(key) => {
                self.entries.remove(key);
            }
            Operation::Clear => self.entries.clear(),
            Operation::Add(key, operand, init, expiry) => {
                let old = self.entries.get(key).map(|(value, _)| value.clone());
                let Some(old) = old.or_else(|| default(*init)) else {
                    return Verdict::Refused;
                };
                let Some(new) = add(old, operand) else {
                    return Verdict::Refused;
                };
                self.entries.insert(key.clone(), (new, at(expiry)));
            }
            Operation::Subtract(key, operand, expiry) => {
                let old = self.entries.get(key).map(|(value, _)| value.clone());
                let Some(new) = old.and_then(|old| subtract(old, operand)) else {
                    return Verdict::Refused;
                };
                self.entries.insert(key.clone(), (new, at(expiry)));
            }
        }
        Verdict::Done
    }

    /// Removes what is over; tells whether something was.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|_, (_, expiry)| expiry.is_none_or(|at| at > now));
        self.entries.len() < before
    }
}

fn default(kind: Kind) -> Option<Value> {
    Some(match kind {
        Kind::Count => Value::Count(0),
        Kind::Integer => Value::Integer(0),
        Kind::String => Value::String("".into()),
        Kind::Vector => Value::Vector(Vec::new()),
        Kind::Set => Value::Set(Default::default()),
        Kind::Table => Value::Table(Default::default()),
        _ => return None,
    })
}

fn add(old: Value, operand: &Value) -> Option<Value> {
    Some(match (old, operand) {
        (Value::Count(a), Value::Count(b)) => Value::Count(a.wrapping_add(*b)),
        (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.wrapping_add(*b)),
        (Value::String(a), Value::String(b)) => {
            let joined = format!("{}{}", a.to_string_lossy(), b.to_string_lossy());
            Value::String(joined.as_str().into())
        }
        (Value::Vector(mut items), operand) => {
            items.push(operand.clone());
            Value::Vector(items)
        }
        (Value::Set(mut items), operand) => {
            items.insert(operand.clone());
            Value::Set(items)
        }
        (Value::Table(mut entries), Value::Vector(pair)) => {
            let [index, value] = pair.as_slice() else {
                return None;
            };
            entries.insert(index.clone(), value.clone());
            Value::Table(entries)
        }
        _ => return None,
    })
}

fn subtract(old: Value, operand: &Value) -> Option<Value> {
    Some(match (old, operand) {
        (Value::Count(a), Value::Count(b)) => Value::Count(a.wrapping_sub(*b)),
        (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.wrapping_sub(*b)),
        (Value::Vector(mut items), _) => {
            items.pop();
            Value::Vector(items)
        }
        (Value::Set(mut items), operand) => {
            items.remove(operand);
            Value::Set(items)
        }
        (Value::Table(mut entries), operand) => {
            entries.remove(operand);
            Value::Table(entries)
        }
        _ => return None,
    })
}
