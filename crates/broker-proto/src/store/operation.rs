//! Operations on a stored value: changes of it, and reads inside of it.
//!
//! Spec: stores 7.1 to 7.4. Everything works on encoded values. The name of an operation is not
//! transmitted: what `add` and `subtract` do follows from the type of what is stored.

use broker_data::{Item, Kind, Reader, Timespan, Timestamp, Value, View, decode, to_bytes};

use crate::status::ErrorCode;

/// A modifying operation has worked.
#[derive(Debug, PartialEq)]
pub struct Changed {
    /// The new value, encoded.
    pub value: Vec<u8>,
    /// A number left its range and came back at the other end.
    pub wrapped: bool,
}

/// The value that `add` starts from when the key is absent.
///
/// # Errors
///
/// Types that nothing can be added to.
fn initial(init: Kind) -> Result<Value, ErrorCode> {
    Ok(match init {
        Kind::Count => Value::Count(0),
        Kind::Integer => Value::Integer(0),
        Kind::Real => Value::Real(0.0),
        Kind::String => Value::String("".into()),
        Kind::Timestamp => Value::Timestamp(Timestamp::EPOCH),
        Kind::Timespan => Value::Timespan(Timespan::ZERO),
        Kind::Set => Value::Set(Default::default()),
        Kind::Table => Value::Table(Default::default()),
        Kind::Vector => Value::Vector(Vec::new()),
        Kind::None
        | Kind::Boolean
        | Kind::Address
        | Kind::Subnet
        | Kind::Port
        | Kind::EnumValue => return Err(ErrorCode::TypeClash),
    })
}

/// What an increment by such an amount starts from when the key is absent. Spec: stores 7.1.
#[must_use]
pub const fn initial_of_increment(amount: Kind) -> Kind {
    match amount {
        Kind::Count | Kind::Integer | Kind::Real => amount,
        Kind::Timespan => Kind::Timestamp,
        _ => Kind::None,
    }
}

/// Adds to what is stored; an absent key starts from the default of `init`. Spec: stores 7.2.
///
/// # Errors
///
/// [`ErrorCode::TypeClash`] and [`ErrorCode::InvalidData`] when the operand does not fit.
pub fn add(stored: Option<&[u8]>, operand: &[u8], init: Kind) -> Result<Changed, ErrorCode> {
    let start;
    let stored = match stored {
        Some(stored) => stored,
        None => {
            start = bytes(&initial(init)?)?;
            &start
        }
    };
    if let Some(changed) = calculate(stored, operand, Direction::Up) {
        return changed;
    }
    let changed = match (value(stored)?, value(operand)?) {
        (Value::String(stored), Value::String(operand)) => {
            let mut bytes = stored.into_bytes();
            bytes.extend_from_slice(operand.as_bytes());
            Value::String(bytes.into())
        }
        (Value::Vector(mut items), operand) => {
            items.push(operand);
            Value::Vector(items)
        }
        (Value::Set(mut items), operand) => {
            items.insert(operand);
            Value::Set(items)
        }
        (Value::Table(mut entries), Value::Vector(pair)) => {
            let [key, mapped] = <[Value; 2]>::try_from(pair).map_err(|_| ErrorCode::InvalidData)?;
            entries.insert(key, mapped);
            Value::Table(entries)
        }
        _ => return Err(ErrorCode::TypeClash),
    };
    Ok(Changed {
        value: bytes(&changed)?,
        wrapped: false,
    })
}

/// Takes away from what is stored. Spec: stores 7.3.
///
/// # Errors
///
/// [`ErrorCode::NoSuchKey`] for an absent key, [`ErrorCode::TypeClash`] when the operand does not
/// fit.
pub fn subtract(stored: Option<&[u8]>, operand: &[u8]) -> Result<Changed, ErrorCode> {
    let stored = stored.ok_or(ErrorCode::NoSuchKey)?;
    if let Some(changed) = calculate(stored, operand, Direction::Down) {
        return changed;
    }
    let operand = value(operand)?;
    let changed = match value(stored)? {
        Value::Vector(mut items) => {
            items.pop();
            Value::Vector(items)
        }
        Value::Set(mut items) => {
            items.remove(&operand);
            Value::Set(items)
        }
        Value::Table(mut entries) => {
            entries.remove(&operand);
            Value::Table(entries)
        }
        Value::None
        | Value::Boolean(_)
        | Value::Count(_)
        | Value::Integer(_)
        | Value::Real(_)
        | Value::String(_)
        | Value::Address(_)
        | Value::Subnet(_)
        | Value::Port(_)
        | Value::Timestamp(_)
        | Value::Timespan(_)
        | Value::EnumValue(_) => return Err(ErrorCode::TypeClash),
    };
    Ok(Changed {
        value: bytes(&changed)?,
        wrapped: false,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Sums and differences; `None` when what is stored is no number. Counts are taken modulo 2^64,
/// the others are two's complement.
fn calculate(
    stored: &[u8],
    operand: &[u8],
    direction: Direction,
) -> Option<Result<Changed, ErrorCode>> {
    let signed = |stored: i64, operand: i64| match direction {
        Direction::Up => stored.overflowing_add(operand),
        Direction::Down => stored.overflowing_sub(operand),
    };
    let stored = Reader::new(stored).next_item().ok()?;
    let operand = Reader::new(operand).next_item().ok()?;
    let (value, wrapped) = match (stored, operand) {
        (Item::Count(stored), Item::Count(operand)) => {
            let (value, wrapped) = match direction {
                Direction::Up => stored.overflowing_add(operand),
                Direction::Down => stored.overflowing_sub(operand),
            };
            (to_bytes(&value), wrapped)
        }
        (Item::Integer(stored), Item::Integer(operand)) => {
            let (value, wrapped) = signed(stored, operand);
            (to_bytes(&value), wrapped)
        }
        (Item::Real(stored), Item::Real(operand)) => {
            let value = match direction {
                Direction::Up => stored + operand,
                Direction::Down => stored - operand,
            };
            (to_bytes(&value), false)
        }
        (Item::Timespan(stored), Item::Timespan(operand)) => {
            let (value, wrapped) = signed(stored.ns(), operand.ns());
            (to_bytes(&Timespan::from_ns(value)), wrapped)
        }
        (Item::Timestamp(stored), Item::Timespan(operand)) => {
            let (value, wrapped) = signed(stored.ns(), operand.ns());
            (to_bytes(&Timestamp::from_ns(value)), wrapped)
        }
        (
            Item::Count(_)
            | Item::Integer(_)
            | Item::Real(_)
            | Item::Timespan(_)
            | Item::Timestamp(_),
            _,
        ) => return Some(Err(ErrorCode::TypeClash)),
        _ => return None,
    };
    Some(match value {
        Ok(value) => Ok(Changed { value, wrapped }),
        Err(_) => Err(ErrorCode::InvalidData),
    })
}

/// What is found at an index of a stored value: of a set whether it is there, of a table or vector
/// what is there, of everything else the value itself. Spec: stores 7.4.
///
/// # Errors
///
/// [`ErrorCode::NoSuchKey`] when nothing is there, [`ErrorCode::TypeClash`] when a vector is asked
/// with something else than a number from 0 on.
pub fn index(stored: &[u8], index: &[u8]) -> Result<Vec<u8>, ErrorCode> {
    let view = View::trusted(stored);
    match view.kind() {
        Kind::Set => {
            let wanted = View::trusted(index);
            bytes(&Value::Boolean(view.elements().any(|item| item == wanted)))
        }
        Kind::Table => {
            let wanted = View::trusted(index);
            let mut entries = view.entries();
            let found = entries.find(|(key, _)| *key == wanted);
            found
                .map(|(_, mapped)| mapped.bytes().to_vec())
                .ok_or(ErrorCode::NoSuchKey)
        }
        Kind::Vector => {
            let position = match Reader::new(index).next_item() {
                Ok(Item::Count(position)) => Some(position),
                Ok(Item::Integer(position)) => u64::try_from(position).ok(),
                _ => None,
            };
            let position = position.ok_or(ErrorCode::TypeClash)?;
            let item = usize::try_from(position).ok().and_then(|at| view.get(at));
            item.map(|item| item.bytes().to_vec())
                .ok_or(ErrorCode::NoSuchKey)
        }
        _ => Ok(stored.to_vec()),
    }
}

fn value(bytes: &[u8]) -> Result<Value, ErrorCode> {
    decode(bytes).map_err(|_| ErrorCode::InvalidData)
}

/// Refused when the new value nests too deeply or is too large.
fn bytes(value: &Value) -> Result<Vec<u8>, ErrorCode> {
    to_bytes(value).map_err(|_| ErrorCode::InvalidData)
}
