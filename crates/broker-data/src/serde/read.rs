//! Deserializes from a [`Value`].

use std::borrow::Cow;

use serde::de::value::BytesDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{ENCODED, SerdeError};
use crate::{Kind, Value, to_bytes};

/// Hands out one value.
#[derive(Clone, Copy)]
pub(super) struct FromValue<'de>(pub(super) &'de Value);

impl<'de> FromValue<'de> {
    /// Hands out a string as text. The sender of a string must not decide whether it can be read:
    /// what is not UTF-8 has replacement characters, and types of bytes ask for bytes.
    fn text<V: Visitor<'de>>(bytes: &'de [u8], visitor: V) -> Result<V::Value, SerdeError> {
        match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    /// Hands out a value of one of these kinds; there is no conversion between numbers, as Zeek
    /// knows none.
    fn deserialize_kind<V: Visitor<'de>>(
        self,
        kinds: &[Kind],
        expected: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        if kinds.contains(&self.0.kind()) {
            self.deserialize_any(visitor)
        } else {
            Err(self.kind_error(expected))
        }
    }

    fn kind_error(self, expected: &'static str) -> SerdeError {
        let found = self.0.kind();
        SerdeError::Kind { expected, found }
    }
}

/// Lets the visitor take elements and checks that it took all of them. The names, if there are
/// any, are those of the fields that the elements are for.
fn visit_elements<'de, V: Visitor<'de>>(
    values: &'de [Value],
    names: &'static [&'static str],
    visitor: V,
) -> Result<V::Value, SerdeError> {
    let mut elements = Elements {
        values: values.iter(),
        names,
        taken: 0,
    };
    let result = visitor.visit_seq(&mut elements)?;
    match elements.values.len() {
        0 => Ok(result),
        left => Err(SerdeError::Length {
            expected: values.len().saturating_sub(left),
            found: values.len(),
        }),
    }
}

/// Methods that demand one kind of number.
macro_rules! numbers {
    ($($kind:ident $expected:literal: $($method:ident)+;)+) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            self.deserialize_kind(&[Kind::$kind], $expected, visitor)
        }
    )+)+};
}

impl<'de> Deserializer<'de> for FromValue<'de> {
    type Error = SerdeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::None => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Count(value) => visitor.visit_u64(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Real(value) => visitor.visit_f64(*value),
            Value::String(value) => Self::text(value.as_bytes(), visitor),
            Value::EnumValue(value) => Self::text(value.as_bytes(), visitor),
            Value::Address(_)
            | Value::Subnet(_)
            | Value::Port(_)
            | Value::Timestamp(_)
            | Value::Timespan(_) => visitor.visit_string(self.0.to_string()),
            Value::Set(values) => visit_elements(values.as_slice(), &[], visitor),
            Value::Vector(values) => visit_elements(values, &[], visitor),
            Value::Table(table) => visitor.visit_map(Entries {
                entries: table.as_slice().iter(),
                value: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_kind(&[Kind::Boolean], "boolean", visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::None
            | Value::Boolean(_)
            | Value::Count(_)
            | Value::Integer(_)
            | Value::Real(_)
            | Value::Set(_)
            | Value::Table(_)
            | Value::Vector(_) => Err(self.kind_error("string")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_kind(&[Kind::Vector, Kind::Set], "vector or set", visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_kind(&[Kind::Table], "table", visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Vector(values) => visit_elements(values, names, visitor),
            _ => self.deserialize_kind(&[Kind::Table], "vector", visitor),
        }
    }

    numbers! {
        Count "count": deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64;
        Integer "integer": deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64;
        Real "real": deserialize_f32 deserialize_f64;
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::String(value) => visitor.visit_borrowed_bytes(value.as_bytes()),
            Value::EnumValue(value) => visitor.visit_borrowed_bytes(value.as_bytes()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        if name == ENCODED {
            let bytes = to_bytes(self.0)?;
            return visitor.visit_newtype_struct(BytesDeserializer::new(&bytes));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        const EXPECTED: &str = "the name of a variant, alone or in front of its fields";
        let (name, fields) = match self.0 {
            Value::Vector(values) => values.split_first().ok_or(self.kind_error(EXPECTED))?,
            name => (name, &[][..]),
        };
        match name {
            Value::EnumValue(_) | Value::String(_) => visitor.visit_enum(Variant { name, fields }),
            other => Err(FromValue(other).kind_error(EXPECTED)),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char unit unit_struct tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, SerdeError> for FromValue<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Elements<'de> {
    values: std::slice::Iter<'de, Value>,
    names: &'static [&'static str],
    taken: usize,
}

impl<'de> SeqAccess<'de> for &mut Elements<'de> {
    type Error = SerdeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SerdeError> {
        let Some(value) = self.values.next() else {
            return Ok(None);
        };
        let index = self.taken;
        self.taken = index.saturating_add(1);
        match seed.deserialize(FromValue(value)) {
            Ok(element) => Ok(Some(element)),
            Err(error) => Err(match self.names.get(index) {
                Some(name) => error.inside(name),
                None => error.inside(&format!("[{index}]")),
            }),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (Value, Value)>,
    /// The key that was handed out last, and its value.
    value: Option<(&'de Value, &'de Value)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = SerdeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, SerdeError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, value));
        seed.deserialize(FromValue(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, SerdeError> {
        let value = self.value.take();
        let (key, value) =
            value.ok_or_else(|| SerdeError::Custom("value without a key".to_owned()))?;
        let result = seed.deserialize(FromValue(value));
        result.map_err(|error| error.inside(&key.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A variant by its name, with its fields.
struct Variant<'de> {
    name: &'de Value,
    fields: &'de [Value],
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = SerdeError;
    type Variant = Fields<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Fields<'de>), SerdeError> {
        let name = seed.deserialize(FromValue(self.name))?;
        Ok((name, Fields(self.fields)))
    }
}

struct Fields<'de>(&'de [Value]);

impl<'de> VariantAccess<'de> for Fields<'de> {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        match self.0.len() {
            0 => Ok(()),
            found => Err(SerdeError::Length { expected: 0, found }),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, SerdeError> {
        match self.0 {
            [value] => seed.deserialize(FromValue(value)),
            values => Err(SerdeError::Length {
                expected: 1,
                found: values.len(),
            }),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SerdeError> {
        visit_elements(self.0, &[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visit_elements(self.0, names, visitor)
    }
}
