//! Deserializes from a [`Value`].

use serde::de::value::BytesDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{ENCODED, SerdeError};
use crate::{Value, to_bytes};

/// Hands out one value.
#[derive(Clone, Copy)]
pub(super) struct FromValue<'de>(pub(super) &'de Value);

impl<'de> FromValue<'de> {
    fn text<V: Visitor<'de>>(bytes: &'de [u8], visitor: V) -> Result<V::Value, SerdeError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_borrowed_bytes(bytes),
        }
    }

    fn kind_error(self, expected: &'static str) -> SerdeError {
        let found = self.0.kind();
        SerdeError::Kind { expected, found }
    }
}

/// Lets the visitor take elements and checks that it took all of them.
fn visit_elements<'de, V: Visitor<'de>>(
    values: &'de [Value],
    visitor: V,
) -> Result<V::Value, SerdeError> {
    let mut elements = Elements(values.iter());
    let result = visitor.visit_seq(&mut elements)?;
    match elements.0.len() {
        0 => Ok(result),
        left => Err(SerdeError::Length {
            expected: values.len().saturating_sub(left),
            found: values.len(),
        }),
    }
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
            Value::Set(values) => visit_elements(values.as_slice(), visitor),
            Value::Vector(values) => visit_elements(values, visitor),
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

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::String(value) => visitor.visit_borrowed_bytes(value.as_bytes()),
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
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, SerdeError> for FromValue<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Elements<'de>(std::slice::Iter<'de, Value>);

impl<'de> SeqAccess<'de> for &mut Elements<'de> {
    type Error = SerdeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SerdeError> {
        let element = self.0.next();
        element
            .map(|value| seed.deserialize(FromValue(value)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (Value, Value)>,
    /// The value of the key that was handed out last.
    value: Option<&'de Value>,
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
        self.value = Some(value);
        seed.deserialize(FromValue(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, SerdeError> {
        let value = self.value.take();
        let value = value.ok_or_else(|| SerdeError::Custom("value without a key".to_owned()))?;
        seed.deserialize(FromValue(value))
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
        visit_elements(self.0, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visit_elements(self.0, visitor)
    }
}
