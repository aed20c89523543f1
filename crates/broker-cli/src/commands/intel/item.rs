//! Items of the intelligence framework as Zeek's records.

use broker::{Address, EnumValue, Subnet, Value};

/// The types of indicators that Zeek's own scripts know.
const KINDS: [&str; 11] = [
    "ADDR",
    "SUBNET",
    "URL",
    "SOFTWARE",
    "EMAIL",
    "DOMAIN",
    "USER_NAME",
    "CERT_HASH",
    "PUBKEY_HASH",
    "FILE_HASH",
    "FILE_NAME",
];

/// Fields that scripts may have added to the record of metadata behind Zeek's own. A record needs a
/// value for each of its fields, and more do no harm. Spec: zeek 2.2.
const ADDED_FIELDS_MAX: usize = 16;

/// An indicator and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) indicator: String,
    /// Full name of the enum value.
    pub(super) kind: String,
    pub(super) source: String,
    pub(super) desc: Option<String>,
    pub(super) url: Option<String>,
}

impl Item {
    /// An item without metadata; the type may be guessed.
    ///
    /// # Errors
    ///
    /// When the type is none, or the indicator is none of that type.
    pub(super) fn new(indicator: &str, kind: Option<&str>) -> Result<Self, String> {
        let kind = match kind {
            Some(kind) => full_kind(kind)?,
            None => guessed(indicator)?.to_owned(),
        };
        if indicator.is_empty() {
            return Err("the indicator is empty".to_owned());
        }
        let is_fitting = match kind.as_str() {
            "Intel::ADDR" => indicator.parse::<Address>().is_ok(),
            "Intel::SUBNET" => indicator.parse::<Subnet>().is_ok(),
            // Zeek looks for what stands behind the scheme.
            "Intel::URL" => !indicator.contains("://"),
            _ => true,
        };
        if !is_fitting {
            let hint = match kind.as_str() {
                "Intel::URL" => ": Zeek's are without the scheme",
                _ => "",
            };
            return Err(format!("`{indicator}` is no {kind}{hint}"));
        }
        Ok(Self {
            indicator: indicator.to_owned(),
            kind,
            source: String::new(),
            desc: None,
            url: None,
        })
    }

    /// The record `Intel::Item`.
    pub(super) fn value(&self) -> Value {
        let optional = |text: &Option<String>| text.as_deref().map_or(Value::None, Value::from);
        let mut meta = vec![
            Value::from(self.source.as_str()),
            optional(&self.desc),
            optional(&self.url),
        ];
        meta.resize(meta.len() + ADDED_FIELDS_MAX, Value::None);
        Value::Vector(vec![
            Value::from(self.indicator.as_str()),
            Value::EnumValue(EnumValue::new(self.kind.as_str())),
            Value::Vector(meta),
        ])
    }
}

/// The name of a type as Zeek has it; types of scripts have to be written in full.
fn full_kind(kind: &str) -> Result<String, String> {
    if kind.contains("::") {
        return Ok(kind.to_owned());
    }
    let upper = kind.to_ascii_uppercase().replace('-', "_");
    if KINDS.contains(&upper.as_str()) {
        Ok(format!("Intel::{upper}"))
    } else {
        let near = crate::nearest::nearest(&upper, KINDS);
        let near = near.map_or(String::new(), |it| {
            format!(", there is {}", it.to_lowercase())
        });
        Err(format!("no type of indicator: `{kind}`{near}"))
    }
}

fn guessed(indicator: &str) -> Result<&'static str, String> {
    if indicator.parse::<Address>().is_ok() {
        return Ok("Intel::ADDR");
    }
    if indicator.parse::<Subnet>().is_ok() {
        return Ok("Intel::SUBNET");
    }
    Err(format!(
        "what kind of indicator is `{indicator}`? give --type"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::literal;

    #[test]
    fn items_are_records_with_room_for_fields_of_scripts() {
        let item = Item {
            source: "s".into(),
            ..Item::new("192.0.2.1", None).expect("an address")
        };
        let text = literal::to_text(&item.value());
        let start = "[\"192.0.2.1\", enum:Intel::ADDR, [\"s\", none, none, none";
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn types_are_guessed_checked_and_written_short() {
        for (indicator, kind, expected) in [
            ("2001:db8::1", None, Ok("Intel::ADDR")),
            ("192.0.2.0/24", None, Ok("Intel::SUBNET")),
            ("evil.example", Some("domain"), Ok("Intel::DOMAIN")),
            ("x", Some("file-hash"), Ok("Intel::FILE_HASH")),
            ("x", Some("My::KIND"), Ok("My::KIND")),
            ("evil.example", None, Err("--type")),
            ("x", Some("domian"), Err("there is domain")),
            ("x", Some("addr"), Err("is no Intel::ADDR")),
            ("http://x/", Some("url"), Err("without the scheme")),
            ("", Some("url"), Err("empty")),
        ] {
            match (Item::new(indicator, kind), expected) {
                (Ok(item), Ok(kind)) => assert_eq!(item.kind, kind),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => panic!("{indicator}: {found:?}, not {expected:?}"),
            }
        }
    }
}
