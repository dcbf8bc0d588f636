//! Every answer that these tests get is one that the OpenAPI document declares: its status, media type, headers, problem
//! code and body.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use pp_lib::domain::Problem;
use pp_testkit::client::{Answer, observe};
use serde_json::{Value, json};

/// Headers that belong to the connection, or to pages of origins that were named.
const OF_THE_CONNECTION: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
    "vary",
];

static DOCUMENT: LazyLock<Value> = LazyLock::new(pp_backend_api::openapi);

/// Checks every answer from now on.
pub(crate) fn check_answers() {
    observe(|method, target, answer| {
        if let Err(why) = check(method, target, answer) {
            panic!("{method} {target}: {why}\n{answer:?}");
        }
    });
}

fn check(method: &str, target: &str, answer: &Answer) -> Result<(), String> {
    let Some((path, item)) = route(target) else {
        return Ok(());
    };
    let verb = if method == "HEAD" {
        "get".to_owned()
    } else {
        method.to_lowercase()
    };
    // Before a page of another origin sends its request, its browser asks what that page may do.
    if method == "OPTIONS" && answer.status == 200 {
        return Ok(());
    }
    // Another method is answered with what any operation of the path declares for it.
    let operation = match (item.get(&verb), answer.status) {
        (Some(operation), _) => operation,
        (None, _) => item.as_object().unwrap().values().next().unwrap(),
    };
    let status = answer.status.to_string();
    let declared = operation["responses"]
        .get(&status)
        .ok_or("the status is not declared")?;
    let declared = resolved(declared);
    for name in answer.headers.keys().map(|name| name.as_str()) {
        let known = |known: &String| known.eq_ignore_ascii_case(name);
        if !OF_THE_CONNECTION.contains(&name)
            && !name.starts_with("access-control-")
            && !declared["headers"]
                .as_object()
                .is_some_and(|headers| headers.keys().any(known))
        {
            return Err(format!("the header {name} is not declared"));
        }
    }
    let media = answer.header("content-type").split(';').next().unwrap().to_owned();
    let Some(content) = declared.get("content") else {
        return answer
            .body
            .is_empty()
            .then_some(())
            .ok_or("no body is declared".to_owned());
    };
    let content = content.get(&media).ok_or(format!("{media} is not declared"))?;
    if method == "HEAD" || !media.ends_with("json") {
        return Ok(());
    }
    let body: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
    faults(&format!("{path} {verb} {status} {media}"), &content["schema"], &body)
}

/// The path of the document that this target belongs to, and its operations.
fn route(target: &str) -> Option<(&'static str, &'static Value)> {
    let path = target.split('?').next().unwrap();
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    let fits = |pattern: &str| {
        let (mut parts, mut wanted) = (path.split('/'), pattern.split('/'));
        loop {
            match (parts.next(), wanted.next()) {
                (None, None) => return true,
                (Some(part), Some(wanted)) if part == wanted || (wanted.starts_with('{') && !part.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let literal = paths.get_key_value(path);
    let found = literal.or_else(|| paths.iter().find(|(pattern, _)| fits(pattern)));
    found.map(|(path, item)| (path.as_str(), item))
}

fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

/// Fails unless a value is as its schema says, without further fields.
fn faults(name: &str, schema: &Value, value: &Value) -> Result<(), String> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Validator>>> = LazyLock::new(Mutex::default);
    let mut validators = VALIDATORS.lock().unwrap();
    let validator = validators.entry(name.to_owned()).or_insert_with(|| strict(schema));
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    faults.is_empty().then_some(()).ok_or(faults.join("; "))
}

/// The schema with the components of the document, in which every object has no other fields than those described.
fn strict(schema: &Value) -> Validator {
    let mut schema = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
    close(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // What only narrows another schema describes single fields.
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn an_answer_that_is_not_declared_is_found() {
    let server = super::embedded::server();
    let work = server.created(5);
    let answer = server.get(&format!("/work/{}", work["id"]));
    let check = |answer: &Answer| check("GET", "/work/1", answer);
    assert_eq!(check(&answer), Ok(()));
    let with = |body: &str| Answer {
        body: body.to_owned(),
        ..answer.clone()
    };
    let more = answer.body.replacen('{', "{\"more\":1,", 1);
    assert!(check(&with(&more)).unwrap_err().contains("more"));
    assert!(check(&with(&answer.body.replace("\"done\"", "\"undone\""))).is_err());
    let other = Answer {
        status: 418,
        ..answer.clone()
    };
    assert!(check(&other).unwrap_err().contains("status"));
    let problem = server.get("/work/99");
    let other = Answer {
        body: problem.body.replace("not_found", "lost"),
        ..problem
    };
    assert!(check(&other).unwrap_err().contains("lost"));
}

#[test]
fn examples_are_what_their_schemas_say() {
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"];
            for (name, example) in body["examples"].as_object().into_iter().flatten() {
                let name = format!("{path} {method} {name}");
                faults(&name, &body["schema"], &example["value"]).unwrap_or_else(|why| panic!("{name}: {why}"));
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                for (media, content) in resolved(response)["content"].as_object().into_iter().flatten() {
                    let name = format!("{path} {method} {status} {media}");
                    let Some(example) = content.get("example") else {
                        continue;
                    };
                    faults(&name, &content["schema"], example).unwrap_or_else(|why| panic!("{name}: {why}"));
                }
            }
        }
    }
}

#[test]
fn every_code_of_the_sources_is_declared() {
    let mut declared = BTreeSet::new();
    enumerated(&DOCUMENT, &mut declared);
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = vec![crates.join("pp_backend_api/src"), crates.join("pp_http/src")];
    let mut found = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split(".code(\"").skip(1) {
            let code = part.split('"').next().unwrap();
            assert!(declared.contains(code), "{code} of {}", path.display());
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
    for status in 400..600 {
        let code = Problem::code_of(status);
        assert!(declared.contains(code), "{code}");
    }
}

/// The values of each `code` in the document.
fn enumerated(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let codes = fields.get("code").and_then(|code| code["enum"].as_array());
            found.extend(codes.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| enumerated(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| enumerated(value, found)),
        _ => {}
    }
}
