//! Serializes into a [`Value`].

use serde::ser::{
    Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{ENCODED, SerdeError};
use crate::{ByteString, EnumValue, Value, decode};

/// Makes one value.
pub(super) struct ToValue;

/// Gathers the elements of a vector.
pub(super) struct Elements(Vec<Value>);

/// Gathers the entries of a table.
pub(super) struct Entries {
    entries: Vec<(Value, Value)>,
    /// A key whose value is still to come.
    key: Option<Value>,
}

fn variant_of(name: &'static str) -> Value {
    Value::EnumValue(EnumValue::new(name))
}

impl Elements {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.0.push(value.serialize(ToValue)?);
        Ok(())
    }

    fn finish(self) -> Result<Value, SerdeError> {
        Ok(Value::Vector(self.0))
    }
}

impl Serializer for ToValue {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Elements;
    type SerializeMap = Entries;
    type SerializeStruct = Elements;
    type SerializeStructVariant = Elements;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<Value, SerdeError> {
        Ok(Value::Boolean(value))
    }

    fn serialize_i8(self, value: i8) -> Result<Value, SerdeError> {
        Ok(Value::Integer(value.into()))
    }

    fn serialize_i16(self, value: i16) -> Result<Value, SerdeError> {
        Ok(Value::Integer(value.into()))
    }

    fn serialize_i32(self, value: i32) -> Result<Value, SerdeError> {
        Ok(Value::Integer(value.into()))
    }

    fn serialize_i64(self, value: i64) -> Result<Value, SerdeError> {
        Ok(Value::Integer(value))
    }

    fn serialize_u8(self, value: u8) -> Result<Value, SerdeError> {
        Ok(Value::Count(value.into()))
    }

    fn serialize_u16(self, value: u16) -> Result<Value, SerdeError> {
        Ok(Value::Count(value.into()))
    }

    fn serialize_u32(self, value: u32) -> Result<Value, SerdeError> {
        Ok(Value::Count(value.into()))
    }

    fn serialize_u64(self, value: u64) -> Result<Value, SerdeError> {
        Ok(Value::Count(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Value, SerdeError> {
        Ok(Value::Real(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Result<Value, SerdeError> {
        Ok(Value::Real(value))
    }

    fn serialize_char(self, value: char) -> Result<Value, SerdeError> {
        Ok(Value::String(ByteString::from(value.to_string())))
    }

    fn serialize_str(self, value: &str) -> Result<Value, SerdeError> {
        Ok(Value::from(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, SerdeError> {
        Ok(Value::String(ByteString::from(value)))
    }

    fn serialize_none(self) -> Result<Value, SerdeError> {
        Ok(Value::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, SerdeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, SerdeError> {
        Ok(Value::None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, SerdeError> {
        Ok(Value::None)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, SerdeError> {
        Ok(variant_of(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        if name == ENCODED {
            return value.serialize(FromEncoded);
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        let mut elements = Elements(vec![variant_of(variant)]);
        elements.push(value)?;
        elements.finish()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements, SerdeError> {
        Ok(Elements(Vec::new()))
    }

    fn serialize_tuple(self, length: usize) -> Result<Elements, SerdeError> {
        Ok(Elements(Vec::with_capacity(length)))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Elements, SerdeError> {
        Ok(Elements(Vec::with_capacity(length)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements, SerdeError> {
        Ok(Elements(vec![variant_of(variant)]))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries, SerdeError> {
        Ok(Entries {
            entries: Vec::new(),
            key: None,
        })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Elements, SerdeError> {
        Ok(Elements(Vec::with_capacity(length)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements, SerdeError> {
        Ok(Elements(vec![variant_of(variant)]))
    }
}

impl SerializeSeq for Elements {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.push(value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl SerializeTuple for Elements {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.push(value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl SerializeTupleStruct for Elements {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.push(value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl SerializeTupleVariant for Elements {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.push(value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl SerializeStruct for Elements {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.push(value)
    }

    /// Records are read by position, so a skipped field keeps its place.
    fn skip_field(&mut self, _: &'static str) -> Result<(), SerdeError> {
        self.0.push(Value::None);
        Ok(())
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl SerializeStructVariant for Elements {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.push(value)
    }

    fn skip_field(&mut self, _: &'static str) -> Result<(), SerdeError> {
        self.0.push(Value::None);
        Ok(())
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl SerializeMap for Entries {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        self.key = Some(key.serialize(ToValue)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let key = self.key.take();
        let key = key.ok_or_else(|| SerdeError::Custom("value without a key".to_owned()))?;
        self.entries.push((key, value.serialize(ToValue)?));
        Ok(())
    }

    fn end(self) -> Result<Value, SerdeError> {
        Ok(Value::Table(self.entries.into_iter().collect()))
    }
}

/// Takes the bytes inside of the newtype [`ENCODED`].
struct FromEncoded;

macro_rules! refuse {
    ($($method:ident($($type:ty),*);)+) => {$(
        fn $method(self, $(_: $type),*) -> Result<Value, SerdeError> {
            Err(not_bytes())
        }
    )+};
}

fn not_bytes() -> SerdeError {
    SerdeError::Custom("expected the bytes of an encoded value".to_owned())
}

impl Serializer for FromEncoded {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = Impossible<Value, SerdeError>;
    type SerializeTuple = Impossible<Value, SerdeError>;
    type SerializeTupleStruct = Impossible<Value, SerdeError>;
    type SerializeTupleVariant = Impossible<Value, SerdeError>;
    type SerializeMap = Impossible<Value, SerdeError>;
    type SerializeStruct = Impossible<Value, SerdeError>;
    type SerializeStructVariant = Impossible<Value, SerdeError>;

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Value, SerdeError> {
        decode(bytes).map_err(|error| SerdeError::Custom(error.to_string()))
    }

    refuse! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Value, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Value, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Value, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, SerdeError> {
        Err(not_bytes())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, SerdeError> {
        Err(not_bytes())
    }
}
