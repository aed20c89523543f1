//! Files of indicators: Zeek's own format, and CSV.

use super::item::Item;

/// What stands for a field without a value in Zeek's files.
const UNSET: &str = "-";

/// An item, or the number of the line and what is wrong with it.
type ReadItem = Result<Item, (usize, String)>;

/// Where the columns are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Columns {
    indicator: usize,
    kind: Option<usize>,
    source: Option<usize>,
    desc: Option<usize>,
    url: Option<usize>,
}

impl Columns {
    fn of(names: &[String]) -> Result<Self, String> {
        let find = |wanted: &[&str]| {
            names.iter().position(|name| {
                let name = name.trim().to_ascii_lowercase();
                let name = name.strip_prefix("meta.").unwrap_or(&name).to_owned();
                wanted.contains(&name.as_str())
            })
        };
        let Some(indicator) = find(&["indicator", "value"]) else {
            return Err(format!("no column `indicator` among {}", names.join(", ")));
        };
        Ok(Self {
            indicator,
            kind: find(&["indicator_type", "type"]),
            source: find(&["source"]),
            desc: find(&["desc", "description"]),
            url: find(&["url"]),
        })
    }
}

/// Reads a file.
///
/// # Errors
///
/// When it has no header that names the columns.
pub(super) fn items(text: &str, source: &str) -> Result<Vec<ReadItem>, String> {
    let is_zeek = text.lines().any(|line| line.starts_with("#fields\t"));
    let mut columns = None;
    let mut items = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end_matches('\r');
        if is_zeek {
            if let Some(names) = line.strip_prefix("#fields\t") {
                columns = Some(Columns::of(&cells_of_zeek(names))?);
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
        } else if line.trim().is_empty() {
            continue;
        } else if columns.is_none() {
            columns = Some(Columns::of(&cells_of_csv(line)?)?);
            continue;
        }
        let cells = if is_zeek {
            Ok(cells_of_zeek(line))
        } else {
            cells_of_csv(line)
        };
        let Some(columns) = &columns else {
            items.push(Err((
                number,
                "it stands above the names of the columns".to_owned(),
            )));
            continue;
        };
        let item = cells.and_then(|cells| item(&cells, columns, source));
        items.push(item.map_err(|problem| (number, problem)));
    }
    match columns {
        Some(_) => Ok(items),
        None => Err("it is empty".to_owned()),
    }
}

fn item(cells: &[String], columns: &Columns, source: &str) -> Result<Item, String> {
    let cell = |column: Option<usize>| {
        let text = cells.get(column?)?.trim();
        (!text.is_empty() && text != UNSET).then(|| text.to_owned())
    };
    let indicator = cell(Some(columns.indicator)).ok_or("it has no indicator")?;
    let kind = cell(columns.kind);
    Ok(Item {
        source: cell(columns.source).unwrap_or_else(|| source.to_owned()),
        desc: cell(columns.desc),
        url: cell(columns.url),
        ..Item::new(&indicator, kind.as_deref())?
    })
}

fn cells_of_zeek(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}

/// The cells of a line of CSV: between commas, in quotes if there are commas in them, a quote in
/// quotes twice. A cell does not go over several lines.
fn cells_of_csv(line: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut signs = line.chars().peekable();
    let mut is_quoted = false;
    while let Some(sign) = signs.next() {
        match sign {
            '"' if is_quoted && signs.peek() == Some(&'"') => {
                signs.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    if is_quoted {
        Err("a quote is not closed".to_owned())
    } else {
        cells.push(cell);
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_formats_are_read() {
        let zeek = "#comment\n#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\n\
                    192.0.2.1\tIntel::ADDR\tfeed\t-\thttps://example.org/\n\
                    evil.example\tIntel::DOMAIN\tfeed\ta, b\t-\nx\tIntel::ADDR\tfeed\t-\t-\n";
        let csv =
            "type,indicator,Description\r\naddr,192.0.2.1,\"a, \"\"b\"\"\"\n,2001:db8::1\n\"x\n";
        let items_of = |text| items(text, "mine").expect("a header");
        let found = items_of(zeek);
        let first = found[0].as_ref().expect("an item");
        assert_eq!(
            (first.indicator.as_str(), first.source.as_str()),
            ("192.0.2.1", "feed")
        );
        assert_eq!(
            (&first.desc, first.url.as_deref()),
            (&None, Some("https://example.org/"))
        );
        assert_eq!(
            found[1].as_ref().map(|it| it.desc.as_deref()),
            Ok(Some("a, b"))
        );
        assert_eq!(found[2].as_ref().map_err(|(line, _)| *line), Err(5));
        let found = items_of(csv);
        let first = found[0].as_ref().expect("an item");
        assert_eq!(first.desc.as_deref(), Some("a, \"b\""));
        assert_eq!(first.source, "mine");
        assert_eq!(
            found[1].as_ref().map(|it| it.kind.as_str()),
            Ok("Intel::ADDR")
        );
        assert_eq!(found[2], Err((4, "a quote is not closed".to_owned())));
        assert!(items("", "s").is_err());
        assert!(items("a,b\n1,2\n", "s").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?:[a-z\",\t\n#-]|#fields\t|indicator){0,24}") {
            let _ = items(&text, "s");
        }
    }
}
