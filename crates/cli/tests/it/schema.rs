//! Checks an output against its schema in `docs/schema`, by the few keywords that those use.
//!
//! It refuses a keyword that it does not know, so that no schema says more than is checked.

use std::path::PathBuf;

use serde_json::Value;

/// Fails unless `value` is as `docs/schema/NAME.json` says.
pub(crate) fn check(name: &str, value: &Value) {
    let schema = load(&format!("{name}.json"));
    if let Err(why) = matches(&schema, value, "") {
        panic!("{name}: {why}\n{value:#}");
    }
}

fn dir() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "docs", "schema"].iter().collect()
}

fn load(file: &str) -> Value {
    let path = dir().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn matches(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let (file, pointer) = wanted.as_str().unwrap().split_once('#').unwrap();
                let whole = load(file);
                let part = whole.pointer(pointer).unwrap_or_else(|| panic!("no {wanted}"));
                matches(part, value, at)?;
            }
            "type" => {
                let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                let is_one = types.iter().any(|one| is_of_type(value, one.as_str().unwrap()));
                ensure(is_one, || format!("{at} is no {wanted}"))?;
            }
            "const" => ensure(value == wanted, || format!("{at} is not {wanted}"))?,
            "enum" => {
                let is_one = wanted.as_array().unwrap().contains(value);
                ensure(is_one, || format!("{at} is none of {wanted}"))?;
            }
            "minimum" => {
                let enough = value.as_f64().is_none_or(|n| n >= wanted.as_f64().unwrap());
                ensure(enough, || format!("{at} is below {wanted}"))?;
            }
            "anyOf" => {
                let is_one =
                    wanted.as_array().unwrap().iter().any(|s| matches(s, value, at).is_ok());
                ensure(is_one, || format!("{at} fits no alternative"))?;
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    matches(wanted, item, &format!("{at}/{index}"))?;
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap() {
                    let has = value.get(name.as_str().unwrap()).is_some();
                    ensure(!value.is_object() || has, || format!("{at} lacks {name}"))?;
                }
            }
            "properties" => {
                for (name, part) in wanted.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        matches(part, member, &format!("{at}/{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let stranger =
                    value.as_object().and_then(|o| o.keys().find(|k| !known.contains_key(*k)));
                let allowed = wanted.as_bool().unwrap();
                ensure(allowed || stranger.is_none(), || format!("{at} has {stranger:?}"))?;
            }
            other => panic!("{other} is a keyword that is not checked"),
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

#[test]
fn refuses_what_a_schema_excludes() {
    let good = serde_json::json!({"v": 1, "error": {"code": "x", "message": "y", "hint": null}});
    check("error", &good);
    for (pointer, bad) in [("/v", serde_json::json!(2)), ("/error/code", serde_json::json!(null))] {
        let mut broken = good.clone();
        *broken.pointer_mut(pointer).unwrap() = bad;
        assert!(matches(&load("error.json"), &broken, "").is_err(), "{pointer}");
    }
    let mut stranger = good.clone();
    stranger["extra"] = 1.into();
    assert!(matches(&load("error.json"), &stranger, "").is_err());
}

#[test]
fn every_schema_is_checked_by_some_test() {
    let sources = ["admin.rs", "approvals.rs", "device.rs", "offline.rs", "schema.rs", "usage.rs"]
        .map(|file| {
            let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "it", file].iter().collect();
            std::fs::read_to_string(path).unwrap()
        });
    for entry in std::fs::read_dir(dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".json").expect("only schemas live here");
        let named = format!("\"{name}\"");
        assert!(
            name == "common" || sources.iter().any(|source| source.contains(&named)),
            "no test checks an output against {name}.json"
        );
    }
}
