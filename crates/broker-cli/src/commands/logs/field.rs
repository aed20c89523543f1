//! Fields of log records by name: for `--where`, and for `--fields`.

use std::sync::Arc;

use broker::Value;
use broker::zeek::{Field, LogRecord, RecordError, RecordWriter, Schema};

use crate::condition::{Part, Side};
use crate::literal::LiteralError;

/// The name under which the log itself can be asked for, as it stands in the JSON that is printed.
pub(super) const LOG_NAME: &str = "_path";

/// Projections that are remembered; beyond that they are made again. A Zeek has some hundred logs.
const PROJECTIONS_MAX: usize = 512;

/// A field in an expression: a word before an operator, `$word` anywhere.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldName(pub(super) String);

impl FieldName {
    /// Looks the field up.
    pub(super) fn value(&self, record: &LogRecord) -> Option<Value> {
        if self.0 == LOG_NAME {
            Some(Value::from(record.path()))
        } else {
            record.get(&self.0).map(|value| value.to_value())
        }
    }
}

impl Part for FieldName {
    const NAMES: &'static str =
        "fields of the log, such as id.orig_h, and _path; behind an operator $id.orig_h";

    fn read(text: &str, at: usize, side: Side) -> Result<Option<(Self, usize)>, LiteralError> {
        let rest = text.get(at..).unwrap_or_default();
        let (is_marked, word_at) = if rest.starts_with('$') {
            (true, at + 1)
        } else {
            (false, at)
        };
        if !is_marked && side == Side::Right {
            return Ok(None);
        }
        let rest = text.get(word_at..).unwrap_or_default();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at_checked(length).unwrap_or_default();
        let is_name = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if is_marked {
            return if is_name {
                Ok(Some((Self(word.to_owned()), word_at + length)))
            } else {
                Err(LiteralError::new(
                    text,
                    word_at,
                    0,
                    "expected the name of a field",
                ))
            };
        }
        // `str:x`, `a/b` and `true` are values.
        let is_value =
            behind.starts_with([':', '/', '-']) || ["true", "false", "none"].contains(&word);
        Ok((is_name && !is_value).then(|| (Self(word.to_owned()), word_at + length)))
    }
}

/// Records with some of their fields only.
#[derive(Debug)]
pub(super) struct Projection {
    names: Vec<String>,
    /// Field list as it came, as it is to be, and where its fields stand in the former.
    /// Bound: `PROJECTIONS_MAX`.
    known: Vec<(Arc<Schema>, Arc<Schema>, Vec<usize>)>,
}

impl Projection {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self {
            names,
            known: Vec::new(),
        }
    }

    /// The record with these fields, in the order of their names; `None` if it has none of them.
    ///
    /// # Errors
    ///
    /// When the record cannot be written again, which checked ones can.
    pub(super) fn apply(&mut self, record: &LogRecord) -> Result<Option<LogRecord>, RecordError> {
        let is_known = |(from, _, _): &(Arc<Schema>, _, _)| Arc::ptr_eq(from, record.schema());
        if !self.known.iter().any(is_known) {
            self.known.truncate(PROJECTIONS_MAX - 1);
            let (schema, places) = self.project(record.schema());
            self.known
                .insert(0, (record.schema().clone(), Arc::new(schema), places));
        }
        let Some((_, schema, places)) = self.known.iter().find(|it| is_known(it)) else {
            return Ok(None);
        };
        if places.is_empty() {
            return Ok(None);
        }
        let values: Vec<_> = record.values().collect();
        let mut writer = RecordWriter::new(schema);
        for place in places {
            match values.get(*place).copied().flatten() {
                Some(value) => writer.value(value)?,
                None => writer.unset()?,
            }
        }
        let blob = writer.finish()?;
        LogRecord::new(schema.clone(), blob.into()).map(Some)
    }

    fn project(&self, schema: &Schema) -> (Schema, Vec<usize>) {
        let places = self.names.iter().filter_map(|name| schema.position(name));
        let places: Vec<usize> = places.collect();
        let fields = places
            .iter()
            .filter_map(|place| schema.fields().get(*place));
        let fields: Vec<Field> = fields.cloned().collect();
        let info = schema.info().clone();
        (
            Schema::new(schema.stream(), schema.writer(), info, fields),
            places,
        )
    }
}

/// Finds names that no log has.
#[derive(Debug, Default)]
pub(super) struct MissingFields {
    missing: Vec<String>,
    seen: Option<Arc<Schema>>,
    /// Names of fields that there are, for suggestions.
    near: Vec<String>,
}

/// Names that are remembered for suggestions.
const NEAR_MAX: usize = 4096;

impl MissingFields {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self {
            missing: names,
            ..Self::default()
        }
    }

    /// Looks at the fields of a record.
    pub(super) fn see(&mut self, record: &LogRecord) {
        let schema = record.schema();
        if self.missing.is_empty() || self.seen.as_ref().is_some_and(|it| Arc::ptr_eq(it, schema)) {
            return;
        }
        self.missing.retain(|name| schema.position(name).is_none());
        for field in schema.fields() {
            if self.near.len() < NEAR_MAX && !self.near.contains(&field.name) {
                self.near.push(field.name.clone());
            }
        }
        self.seen = Some(schema.clone());
    }

    /// The names that were in no log, each with the nearest that was; none before a log was seen.
    pub(super) fn take(&mut self) -> Vec<(String, Option<String>)> {
        if self.seen.is_none() {
            return Vec::new();
        }
        let missing = std::mem::take(&mut self.missing);
        let nearest = |name: &str| {
            crate::nearest::nearest(name, self.near.iter().map(String::as_str)).map(str::to_owned)
        };
        let found = missing.into_iter().map(|name| {
            let near = nearest(&name);
            (name, near)
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use broker::zeek::{LogValue, WriterInfo, ZeekType};
    use proptest::prelude::*;

    use super::*;
    use crate::condition::Condition;

    fn record() -> LogRecord {
        let fields = vec![
            Field::new("ts", ZeekType::Time),
            Field::new("id.orig_h", ZeekType::Addr),
            Field::new("id.resp_p", ZeekType::Port),
            Field::new("service", ZeekType::String),
            Field::of("tags", ZeekType::Table, ZeekType::String),
            Field::new("duration", ZeekType::Interval),
            Field::new("local_orig", ZeekType::Bool),
        ];
        let info = WriterInfo {
            path: "conn".into(),
            ..WriterInfo::default()
        };
        let schema = Arc::new(Schema::new("Conn::LOG", "Log::WRITER_ASCII", info, fields));
        let mut writer = RecordWriter::new(&schema);
        writer.value(LogValue::Time(1.5)).expect("a time");
        writer
            .value(LogValue::Addr("10.1.2.3".parse().expect("an address")))
            .expect("an address");
        writer
            .value(LogValue::Port("443/tcp".parse().expect("a port")))
            .expect("a port");
        writer.value(LogValue::String(b"ssl")).expect("a string");
        let tags = [Some(LogValue::String(b"a")), Some(LogValue::String(b"b"))];
        writer.elements(&tags).expect("a set");
        writer.unset().expect("nothing");
        writer.value(LogValue::Bool(true)).expect("a bool");
        let blob = writer.finish().expect("a record");
        LogRecord::new(schema.clone(), blob.into()).expect("a record")
    }

    #[test]
    fn conditions_on_fields() {
        for (condition, expected) in [
            ("id.orig_h in 10.0.0.0/8", true),
            ("id.orig_h == 10.1.2.3 and id.resp_p == 443", true),
            ("id.resp_p == 443/tcp", true),
            ("service == ssl", true),
            ("service == \"ssl\"", true),
            ("service ~ s*", true),
            ("tags contains b", true),
            ("\"b\" in $tags", true),
            ("$service in $tags", false),
            ("duration > 1s", false),
            ("not duration", true),
            ("local_orig", true),
            ("_path == conn", true),
            ("ts < @2", true),
            ("nothing == 1", false),
        ] {
            let parsed = Condition::<FieldName>::parse(condition);
            let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
            let holds = parsed.holds(&|field| field.value(&record()));
            assert_eq!(holds, expected, "{condition}");
        }
        for condition in ["service = ssl", "$", "service == $", "id.orig_h in"] {
            assert!(
                Condition::<FieldName>::parse(condition).is_err(),
                "{condition}"
            );
        }
    }

    #[test]
    fn projections_keep_the_fields_that_are_there_in_their_order() {
        let names = ["service", "no", "id.orig_h", "duration", "tags"];
        let mut projection = Projection::new(names.map(str::to_owned).into());
        let record = record();
        for _ in 0..2 {
            let part = projection
                .apply(&record)
                .expect("a record")
                .expect("fields");
            assert_eq!(part.to_tsv(), "ssl\t10.1.2.3\t-\ta,b");
        }
        assert_eq!(projection.known.len(), 1);
        let mut nothing = Projection::new(vec!["no".into()]);
        assert_eq!(nothing.apply(&record), Ok(None));
    }

    #[test]
    fn missing_names_are_told_with_the_nearest() {
        let mut missing = MissingFields::new(vec!["ts".into(), "id.org_h".into(), "zzz".into()]);
        assert_eq!(missing.take(), []);
        missing.see(&record());
        assert_eq!(
            missing.take(),
            [
                ("id.org_h".into(), Some("id.orig_h".into())),
                ("zzz".into(), None)
            ]
        );
        assert_eq!(missing.take(), []);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?:[a-z0-9 \"é$._]|==|!=|[()<>!~]| and | in ){0,16}") {
            if let Err(error) = Condition::<FieldName>::parse(&text) {
                prop_assert!(!error.excerpt().is_empty());
            }
        }
    }
}
