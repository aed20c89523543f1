//! What `--json` prints against the checked-in schemas, by as much of JSON Schema as they use.

use serde_json::Value;

/// Checks a value; panics with the place where it does not fit.
#[track_caller]
pub(crate) fn check(schema: &str, value: &Value) {
    let path = format!("{}/schema/{schema}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    if let Err(problem) = fits(&schema, &schema, value, "$") {
        panic!("{problem}: {value}");
    }
}

/// Whether a value fits a part of a document with schemas, at that place of it.
pub(crate) fn fits(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "$defs" | "examples" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                fits(root, root.pointer(pointer).unwrap(), value, at)?;
                true
            }
            "oneOf" => {
                let choices = rule.as_array().unwrap();
                let fitting = choices
                    .iter()
                    .filter(|it| fits(root, it, value, at).is_ok());
                fitting.count() == 1
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|it| is_of_type(it, value)),
                one => is_of_type(one, value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "pattern" => matches_pattern(rule.as_str().unwrap(), value),
            "minimum" => value.as_f64().is_none_or(|it| it >= rule.as_f64().unwrap()),
            "required" => {
                let names = rule.as_array().unwrap();
                let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                !value.is_object() || names.iter().all(has)
            }
            "properties" => {
                for (name, inner) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        fits(root, inner, value, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let is_known = |name: &str| known.is_some_and(|it| it.contains_key(name));
                let others = value.as_object().into_iter().flatten();
                let mut others = others.filter(|(name, _)| !is_known(name));
                if rule == &Value::Bool(false) {
                    others.next().is_none()
                } else {
                    for (name, value) in others {
                        fits(root, rule, value, &format!("{at}.{name}"))?;
                    }
                    true
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    fits(root, rule, value, &format!("{at}[{index}]"))?;
                }
                true
            }
            other => panic!("the check does not know `{other}`"),
        };
        if !holds {
            return Err(format!("{at} does not fit `{keyword}`: {rule}"));
        }
    }
    Ok(())
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("no type of JSON: {other}"),
    }
}

/// The two patterns that the schemas have.
fn matches_pattern(pattern: &str, value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return true;
    };
    match pattern {
        "^[0-9a-f]*$" => text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$" => {
            let shape = text
                .bytes()
                .map(|b| if b.is_ascii_digit() { b'0' } else { b });
            shape.eq(*b"0000-00-00T00:00:00.000000000Z")
        }
        other => panic!("the check does not know the pattern {other}"),
    }
}

#[test]
fn the_check_refuses_what_does_not_fit() {
    for (good, json) in [
        (
            true,
            r#"{"type":"version","version":"1","native_protocol":1,"websocket_protocol":1,"zmtp_protocol":"3.1","transports":["ws"],"features":[],"tls_library":null,"sqlite_library":"x"}"#,
        ),
        (false, r#"{"type":"version"}"#),
        (
            false,
            r#"{"type":"x","version":"1","native_protocol":1,"websocket_protocol":1,"zmtp_protocol":"3.1","transports":[],"features":[],"tls_library":null,"sqlite_library":null}"#,
        ),
        (
            false,
            r#"{"type":"version","version":1,"native_protocol":1,"websocket_protocol":1,"zmtp_protocol":"3.1","transports":[],"features":[],"tls_library":null,"sqlite_library":null}"#,
        ),
        (
            false,
            r#"{"type":"version","version":"1","native_protocol":1,"websocket_protocol":1,"zmtp_protocol":"3.1","transports":[5],"features":[],"tls_library":null,"sqlite_library":null}"#,
        ),
        (
            false,
            r#"{"type":"version","version":"1","native_protocol":1,"websocket_protocol":1,"zmtp_protocol":"3.1","transports":[],"features":[],"tls_library":null,"sqlite_library":null,"z":1}"#,
        ),
    ] {
        let value = serde_json::from_str(json).unwrap();
        let checked = std::panic::catch_unwind(|| check("version", &value));
        assert_eq!(checked.is_ok(), good, "{json}");
    }
}
