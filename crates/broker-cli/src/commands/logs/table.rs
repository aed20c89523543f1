//! Records as a table on a terminal.

use std::sync::Arc;

use broker::zeek::{LogRecord, Schema, ZeekType};

use crate::console::Palette;
use crate::harmless::is_hidden;
use crate::incoming::time_text;

/// Characters of a column at most, unless it is the last.
const COLUMN_MAX: usize = 40;

/// Lays records out in columns that grow with what is in them.
#[derive(Debug)]
pub(super) struct Table {
    palette: Palette,
    /// Characters of a line; without a terminal it is not cut.
    width: Option<usize>,
    /// The log whose columns are shown.
    schema: Option<Arc<Schema>>,
    columns: Vec<usize>,
}

impl Table {
    pub(super) fn new(palette: Palette, width: Option<usize>) -> Self {
        Self {
            palette,
            width,
            schema: None,
            columns: Vec::new(),
        }
    }

    /// Appends a record, below the names of its columns if the one before was of another log.
    pub(super) fn put(&mut self, record: &LogRecord, out: &mut Vec<u8>) {
        let schema = record.schema();
        if !self
            .schema
            .as_ref()
            .is_some_and(|it| Arc::ptr_eq(it, schema))
        {
            self.begin(schema, out);
        }
        let line = record.to_tsv();
        let cells = line.split('\t').zip(record.values()).map(|(cell, value)| {
            match value.and_then(|value| value.as_timestamp()) {
                Some(time) => time_text(time),
                None => visible(cell),
            }
        });
        let cells: Vec<String> = cells.collect();
        for (column, cell) in self.columns.iter_mut().zip(&cells) {
            *column = (*column).max(cell.chars().count()).min(COLUMN_MAX);
        }
        self.line(&cells, anstyle::Style::new(), out);
    }

    fn begin(&mut self, schema: &Arc<Schema>, out: &mut Vec<u8>) {
        if self.schema.is_some() {
            out.push(b'\n');
        }
        let title = [visible(schema.path())];
        self.columns = vec![0];
        self.line(&title, self.palette.topic, out);
        let fields = schema.fields();
        let names: Vec<String> = fields.iter().map(|it| visible(&it.name)).collect();
        let widths = names.iter().zip(fields).map(|(name, field)| {
            name.chars()
                .count()
                .max(usual_width(field.kind))
                .min(COLUMN_MAX)
        });
        self.columns = widths.collect();
        self.line(&names, self.palette.label, out);
        self.schema = Some(schema.clone());
    }

    fn line(&self, cells: &[String], style: anstyle::Style, out: &mut Vec<u8>) {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(&self.columns).enumerate() {
            let is_last = index + 1 == cells.len();
            let width = *width;
            if is_last {
                line.push_str(cell);
            } else if cell.chars().count() > width {
                line.extend(cell.chars().take(width.saturating_sub(1)));
                line.push_str("\u{2026}  ");
            } else {
                line.push_str(&format!("{cell:<width$}  "));
            }
        }
        if let Some(width) = self.width
            && line.chars().count() > width
        {
            line = line.chars().take(width.saturating_sub(1)).collect();
            line.push('\u{2026}');
        }
        if style.is_plain() {
            out.extend_from_slice(line.trim_end().as_bytes())
        } else {
            out.extend_from_slice(format!("{style}{line}{style:#}").as_bytes())
        }
        out.push(b'\n');
    }
}

/// Characters that values of a type mostly have.
const fn usual_width(kind: ZeekType) -> usize {
    match kind {
        ZeekType::Time => "2026-01-02T03:04:05.123456Z".len(),
        ZeekType::Addr => "192.168.100.100".len(),
        ZeekType::Port => "65535".len(),
        _ => 0,
    }
}

/// Text without what would not be seen or would do something to the terminal.
fn visible(text: &str) -> String {
    let shown = |c| {
        if is_hidden(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use broker::zeek::{Field, LogValue, RecordWriter, WriterInfo};

    use super::*;
    use crate::console::Console;

    fn record(schema: &Arc<Schema>, time: f64, text: &str) -> LogRecord {
        let mut writer = RecordWriter::new(schema);
        writer.value(LogValue::Time(time)).expect("a time");
        writer
            .value(LogValue::String(text.as_bytes()))
            .expect("a string");
        writer.unset().expect("nothing");
        LogRecord::new(schema.clone(), writer.finish().expect("a record").into()).expect("a record")
    }

    fn shown(width: Option<usize>, texts: &[&str]) -> String {
        let palette = Console::new(std::io::empty(), Vec::new(), Vec::new()).palette();
        let info = WriterInfo {
            path: "demo".into(),
            ..WriterInfo::default()
        };
        let fields = vec![
            Field::new("ts", ZeekType::Time),
            Field::new("text", ZeekType::String),
            Field::new("n", ZeekType::Count),
        ];
        let schema = Arc::new(Schema::new("Demo::LOG", "Log::WRITER_ASCII", info, fields));
        let mut table = Table::new(palette, width);
        let mut out = Vec::new();
        for text in texts {
            table.put(&record(&schema, 1.5, text), &mut out);
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_stand_below_one_another_and_grow() {
        assert_eq!(
            shown(None, &["a", "longer", "\u{202e}\x1b[1m"]),
            "demo\n\
             ts                           text  n\n\
             1970-01-01T00:00:01.500000Z  a     -\n\
             1970-01-01T00:00:01.500000Z  longer  -\n\
             1970-01-01T00:00:01.500000Z  \u{fffd}\\x1b[1m  -\n"
        );
    }

    #[test]
    fn lines_and_cells_are_cut() {
        let long = "x".repeat(100);
        let out = shown(None, &[&long]);
        assert!(
            out.contains(&format!(" {}\u{2026}  -\n", "x".repeat(39))),
            "{out}"
        );
        for line in shown(Some(20), &[&long]).lines() {
            assert!(line.chars().count() <= 20, "{line}");
        }
    }
}
