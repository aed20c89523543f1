//! `broker value`: what a text means.

use std::fmt::Write as _;

use broker::Value;
use broker::data::json::{self, Form};
use broker::data::to_bytes;
use clap::Args;

use crate::console::Console;
use crate::literal;
use crate::outcome::{Exit, Failure, Outcome};

/// Shown where values are asked for.
pub(crate) const GRAMMAR: &str = "Values on a command line:
  true, -5, 1.5, \"text\", word    bool, int, real, string
  5c, count:5, int:5, real:5     count, int, real
  10.0.0.1, [2001:db8::1]        address (also addr:2001:db8::1)
  10.0.0.0/8, 443/tcp            subnet, port
  5s, 1.5min, 250ms, 2d          timespan
  2026-01-02T03:04:05Z, @17.5    timestamp (@ seconds since 1970)
  enum:Notice::LOG, none         enum, nil
  [a, b], {a, b}, {k: v}, {:}    vector, set, table, table without entries
  str:10.0.0.1, hex:00ff         string of that text, of those bytes
  json:{...}, @file, -           tagged JSON; the value in a file, on stdin";

/// Show what a text means: kind, JSON, bytes on the wire
#[derive(Debug, Args)]
#[command(after_help = GRAMMAR)]
pub(crate) struct ValueCommand {
    /// Values as on any other command line
    #[arg(required = true, allow_negative_numbers = true, value_name = "TEXT")]
    texts: Vec<String>,
}

impl ValueCommand {
    pub(crate) fn run(&self, console: &mut Console) -> Outcome {
        for (number, text) in (1..).zip(&self.texts) {
            let value = read(text, number, console)?;
            show(&value, console)?;
        }
        Ok(Exit::Done)
    }
}

/// Reads a value from the command line, a file or standard input.
pub(crate) fn read(text: &str, number: usize, console: &mut Console) -> Result<Value, Failure> {
    let parse = |whose: String, text: &str| {
        literal::parse(text).map_err(|error| Failure::literal(whose, &error))
    };
    if text == "-" {
        let mut content = String::new();
        let read = std::io::Read::read_to_string(&mut console.take_input(), &mut content);
        read.map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?;
        return parse("standard input".to_owned(), content.trim_end());
    }
    let is_time = |rest: &str| {
        rest.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
            && rest
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, '-' | '.'))
    };
    if let Some(path) = text.strip_prefix('@').filter(|rest| !is_time(rest)) {
        let content = crate::nearest::read_file("the value", path.as_ref())?;
        return parse(format!("`{path}`"), content.trim_end());
    }
    parse(format!("value {number}"), text)
}

fn show(value: &Value, console: &mut Console) -> Result<(), Failure> {
    let bytes = to_bytes(value).map_err(|error| Failure::usage(error.to_string()))?;
    let as_json = json::to_text(&bytes, Form::Lossless);
    let as_json = as_json.map_err(|error| Failure::failed(error.to_string()))?;
    let text = literal::to_text(value);
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let kind = value.kind();
    if console.is_json() {
        let mut line = String::from("{\"type\":\"value\",\"kind\":");
        json::put_string(&mut line, kind.name());
        line.push_str(",\"text\":");
        json::put_string(&mut line, &text);
        line.push_str(",\"value\":");
        line.push_str(&as_json);
        line.push_str(",\"bytes\":");
        json::put_string(&mut line, &hex);
        line.push('}');
        return console.line(line);
    }
    let label = console.palette().label;
    for (name, content) in [
        ("kind ", kind.name()),
        ("text ", text.as_str()),
        ("json ", as_json.as_str()),
        ("bytes", hex.as_str()),
    ] {
        console.line(format_args!("{label}{name}{label:#}  {content}"))?;
    }
    Ok(())
}
