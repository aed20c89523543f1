//! Writes records.

use super::blob::{put, put_header};
use super::{LogValue, RecordError, Schema, ZeekType};

/// Writes a record, value by value, in the order of the fields.
///
/// ```
/// use std::sync::Arc;
/// use broker_zeek::{Field, LogRecord, LogValue, RecordWriter, Schema, WriterInfo, ZeekType};
///
/// let info = WriterInfo { path: "demo".into(), ..WriterInfo::default() };
/// let fields = vec![
///     Field::new("ts", ZeekType::Time),
///     Field::of("tags", ZeekType::Table, ZeekType::String),
///     Field::new("note", ZeekType::String),
/// ];
/// let schema = Arc::new(Schema::new("Demo::LOG", "Log::WRITER_ASCII", info, fields));
///
/// let mut record = RecordWriter::new(&schema);
/// record.value(LogValue::Time(0.5))?;
/// record.elements(&[Some(LogValue::String(b"a")), Some(LogValue::String(b"b"))])?;
/// record.unset()?;
/// let record = LogRecord::new(schema.clone(), record.finish()?.into())?;
/// assert_eq!(record.to_json(), r#"{"ts":0.5,"tags":["a","b"]}"#);
/// # Ok::<(), broker_zeek::RecordError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecordWriter<'a> {
    schema: &'a Schema,
    out: Vec<u8>,
    written: usize,
}

impl<'a> RecordWriter<'a> {
    /// Starts a record of the log.
    #[must_use]
    pub fn new(schema: &'a Schema) -> Self {
        // A log has no more fields than a message has bytes.
        let count = u32::try_from(schema.fields().len()).unwrap_or(u32::MAX);
        Self {
            schema,
            out: count.to_be_bytes().to_vec(),
            written: 0,
        }
    }

    /// The next field; it has to be of this type, if one is given.
    fn next(&mut self, found: Option<ZeekType>) -> Result<&'a super::Field, RecordError> {
        let fields = self.schema.fields();
        let field = fields
            .get(self.written)
            .ok_or(RecordError::Surplus(fields.len()))?;
        if let Some(found) = found
            && found != field.kind
        {
            return Err(RecordError::Type {
                field: field.name.clone(),
                expected: field.kind,
                found,
            });
        }
        self.written = self.written.saturating_add(1);
        Ok(field)
    }

    /// Writes the value of the next field.
    ///
    /// # Errors
    ///
    /// When it or one of its elements is of another type, or there is no further field.
    pub fn value(&mut self, value: LogValue<'_>) -> Result<(), RecordError> {
        let field = self.next(Some(value.kind()))?;
        if let Some(elements) = value.as_elements()
            && let Some(found) = elements.type_other_than(field.element_kind)
        {
            return Err(RecordError::element(field, found));
        }
        put(&mut self.out, &value);
        Ok(())
    }

    /// Leaves the next field unset.
    ///
    /// # Errors
    ///
    /// When there is no further field.
    pub fn unset(&mut self) -> Result<(), RecordError> {
        let field = self.next(None)?;
        put_header(&mut self.out, field.kind, false);
        Ok(())
    }

    /// Writes the next field, a set or vector of these elements.
    ///
    /// # Errors
    ///
    /// When it is neither, an element is of another type, or there is no further field.
    pub fn elements(&mut self, elements: &[Option<LogValue<'_>>]) -> Result<(), RecordError> {
        let field = self.next(None)?;
        if !matches!(field.kind, ZeekType::Table | ZeekType::Vector) {
            return Err(RecordError::Type {
                field: field.name.clone(),
                expected: field.kind,
                found: ZeekType::Vector,
            });
        }
        put_header(&mut self.out, field.kind, true);
        self.out.extend((elements.len() as u64).to_be_bytes());
        for element in elements {
            match element {
                Some(value) if value.kind() != field.element_kind => {
                    return Err(RecordError::element(field, value.kind()));
                }
                Some(value) => put(&mut self.out, value),
                None => put_header(&mut self.out, field.element_kind, false),
            }
        }
        Ok(())
    }

    /// Returns the encoded record.
    ///
    /// # Errors
    ///
    /// When fields are missing.
    pub fn finish(self) -> Result<Vec<u8>, RecordError> {
        let expected = self.schema.fields().len();
        if self.written == expected {
            return Ok(self.out);
        }
        let found = u32::try_from(self.written).unwrap_or(u32::MAX);
        Err(RecordError::Fields { expected, found })
    }
}
