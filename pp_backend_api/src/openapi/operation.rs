//! One operation of the document: what a route says of itself, and what follows from its method, path and scope.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::headers::answer_headers;
use super::parameters::path_parameters;
use super::problems::{self, shared_response};
use super::schemas::Schemas;
use crate::access::Needs;
use crate::routes::{Entry, Verb};

/// The group of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Works,
    Streams,
    Kinds,
    Workers,
    DeadLetters,
    Keys,
    Service,
    Pages,
}

impl Tag {
    pub(super) const ALL: [Self; 8] = [
        Self::Works,
        Self::Streams,
        Self::Kinds,
        Self::Workers,
        Self::DeadLetters,
        Self::Keys,
        Self::Service,
        Self::Pages,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Works => "Works",
            Self::Streams => "Live streams",
            Self::Kinds => "Kinds",
            Self::Workers => "Workers",
            Self::DeadLetters => "Dead letters",
            Self::Keys => "Keys",
            Self::Service => "Service",
            Self::Pages => "Pages",
        }
    }

    pub(super) fn json(self) -> Value {
        let text = match self {
            Self::Works => "Create works, read, change and end them.",
            Self::Streams => "Server-sent events: each change as it happens.",
            Self::Kinds => "Which kinds of works there are, and how they are handled.",
            Self::Workers => "Claim works and report how they ended, in any language.",
            Self::DeadLetters => "Works that were given up, and unreadable messages.",
            Self::Keys => "API keys, the audit, and signing in with a browser.",
            Self::Service => "Health, metrics, and this description.",
            Self::Pages => "Pages for people, with their files.",
        };
        json!({ "name": self.name(), "description": text })
    }
}

/// An operation while it is put together.
pub(crate) struct Operation<'d> {
    entry: &'static Entry,
    schemas: &'d mut Schemas,
    id: &'static str,
    tag: Tag,
    text: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
    /// The status of the response that was added last.
    last: String,
}

impl<'d> Operation<'d> {
    pub(super) fn of(entry: &'static Entry, schemas: &'d mut Schemas) -> Value {
        let operation = Self {
            entry,
            schemas,
            id: "",
            tag: Tag::Service,
            text: "",
            parameters: Vec::new(),
            body: None,
            responses: Map::new(),
            last: String::new(),
        };
        (entry.operation)(operation).finish()
    }

    /// Its name for programs, and its group.
    pub(crate) fn named(self, id: &'static str, tag: Tag) -> Self {
        Self { id, tag, ..self }
    }

    /// More about it, in Markdown.
    pub(crate) fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// The query parameters: the fields of a struct.
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        let schema = self.schemas.fields_of::<T>();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let (mut field, mut parameter) = (field.clone(), json!({ "name": name, "in": "query" }));
            let fields = field.as_object_mut();
            if let Some(text) = fields.and_then(|fields| fields.remove("description")) {
                parameter["description"] = text;
            }
            parameter["schema"] = field;
            self.parameters.push(parameter);
        }
        self
    }

    fn shared_parameters(mut self, names: &[&str]) -> Self {
        let parameters = names
            .iter()
            .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
        self.parameters.extend(parameters);
        self
    }

    /// A JSON body, with an example.
    pub(crate) fn body<T: JsonSchema>(self, example: Value) -> Self {
        let schema = self.schemas.requested::<T>();
        self.body_of(schema, &[example], true)
    }

    /// A JSON body that may be left out, with examples.
    pub(crate) fn optional_body<T: JsonSchema>(self, examples: &[Value]) -> Self {
        let schema = self.schemas.requested::<T>();
        self.body_of(schema, examples, false)
    }

    /// A body of 1 to 1,000 items.
    pub(crate) fn items<T: JsonSchema>(self, example: Value) -> Self {
        let items = self.schemas.requested::<T>();
        self.body_of(array(&items), &[example], true)
    }

    /// A report or an array of them.
    pub(crate) fn reports<T: JsonSchema>(self, example: Value) -> Self {
        let item = self.schemas.requested::<T>();
        let array = array(&item);
        self.body_of(json!({ "anyOf": [item, array] }), &[example], true)
    }

    fn body_of(mut self, schema: Value, examples: &[Value], required: bool) -> Self {
        let examples = examples.iter().enumerate().map(|(at, example)| {
            let name = format!("example {}", at + 1);
            (name, json!({ "value": example }))
        });
        let examples: Map<String, Value> = examples.collect();
        self.body = Some(json!({
            "required": required,
            "content": { "application/json": { "schema": schema, "examples": examples } },
        }));
        self.shared(&[413, 415, 422])
    }

    /// The request may have an `Idempotency-Key`.
    pub(crate) fn idempotent(self) -> Self {
        let operation = self
            .shared_parameters(&["Idempotency-Key"])
            .header("Idempotent-Replayed");
        operation
            .problem(
                409,
                &["idempotency_key_in_flight"],
                "A request with this `Idempotency-Key` is running.",
            )
            .problem(
                422,
                &["idempotency_key_reused"],
                "The `Idempotency-Key` was used for another request.",
            )
    }

    /// The request may name versions. The answer added last has one.
    pub(crate) fn versioned(self) -> Self {
        let operation = self
            .header("ETag")
            .shared_parameters(&["If-Match", "If-None-Match-of-reads"]);
        operation.shared(&[412])
    }

    /// The same for a change.
    pub(crate) fn conditional(self) -> Self {
        self.shared_parameters(&["If-Match", "If-None-Match"]).shared(&[412])
    }

    /// An answer in JSON.
    pub(crate) fn json<T: JsonSchema>(self, status: u16, text: &str, example: impl Serialize) -> Self {
        let schema = self.schemas.answered::<T>();
        self.json_of(status, text, &schema, example)
    }

    /// An answer in JSON that is of one type or of another.
    pub(crate) fn json_either<T: JsonSchema, U: JsonSchema>(self, text: &str, example: impl Serialize) -> Self {
        let either = json!({ "anyOf": [self.schemas.answered::<T>(), self.schemas.answered::<U>()] });
        self.json_of(200, text, &either, example)
    }

    /// An array. `pages` tells if it may go on behind `Link`.
    pub(crate) fn array<T: JsonSchema>(self, text: &str, pages: bool, example: impl Serialize) -> Self {
        let items = self.schemas.answered::<T>();
        let operation = self.json_of(200, text, &json!({ "type": "array", "items": items }), example);
        if pages { operation.header("Link") } else { operation }
    }

    /// What a report is answered: one of these, or for an array each of them or a problem.
    pub(crate) fn reported<T: JsonSchema>(self, text: &str, example: impl Serialize) -> Self {
        let item = self.schemas.answered::<T>();
        let problem = self.schemas.answered::<pp_lib::domain::Problem>();
        let array = json!({ "type": "array", "items": { "anyOf": [item, problem] } });
        self.json_of(200, text, &json!({ "anyOf": [item, array] }), example)
    }

    fn json_of(self, status: u16, text: &str, schema: &Value, example: impl Serialize) -> Self {
        let example = serde_json::to_value(example).unwrap_or_default();
        let content = json!({ "application/json": { "schema": schema, "example": example } });
        self.response(status, text, Some(content))
    }

    /// An answer without a body.
    pub(crate) fn empty(self, status: u16, text: &str) -> Self {
        self.response(status, text, None)
    }

    /// A text of this media type.
    pub(crate) fn file(self, media_type: &str, text: &str) -> Self {
        let content = json!({ media_type: { "schema": { "type": "string" } } });
        self.response(200, text, Some(content))
    }

    /// A page of a browser, or a file of one.
    pub(crate) fn page(self, id: &'static str, media_type: &str) -> Self {
        let operation = self.named(id, Tag::Pages).file(media_type, "The file.");
        operation.header("Content-Security-Policy").header("Referrer-Policy")
    }

    /// The answer with status 200 may have this media type too.
    pub(crate) fn or_file(mut self, media_type: &str) -> Self {
        self.responses["200"]["content"][media_type] = json!({ "schema": { "type": "string" } });
        self
    }

    /// Where a browser asks, the answer with status 200 is a page.
    pub(crate) fn or_page(self) -> Self {
        self.or_file("text/html")
            .header("Vary")
            .header("ETag")
            .header("Content-Security-Policy")
            .header("Referrer-Policy")
    }

    /// A stream of server-sent events, with its first lines.
    pub(crate) fn stream(self, text: &str, example: &str) -> Self {
        let content = json!({ "text/event-stream": { "schema": { "type": "string" }, "example": example } });
        self.response(200, text, Some(content)).header("X-Accel-Buffering")
    }

    /// The stream can be continued after an event.
    pub(crate) fn resumable(self) -> Self {
        self.shared_parameters(&["Last-Event-ID"])
    }

    fn response(mut self, status: u16, text: &str, content: Option<Value>) -> Self {
        let mut response = json!({ "description": text, "headers": answer_headers(&[]) });
        if let Some(content) = content {
            response["content"] = content;
        }
        self.last = status.to_string();
        self.responses.insert(self.last.clone(), response);
        self
    }

    /// A header of the answer that was added last.
    pub(crate) fn header(mut self, name: &str) -> Self {
        if let Some(response) = self.responses.get_mut(&self.last) {
            response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
        }
        self
    }

    /// An error with codes of its own, beside those of its status that are there already.
    pub(crate) fn problem(mut self, status: u16, codes: &[&'static str], text: &'static str) -> Self {
        let known = self.responses.remove(&status.to_string());
        let known = known.filter(|known| known.get("$ref").is_none());
        let content = |response: &Value| response["content"]["application/problem+json"].clone();
        let mut all: Vec<Value> = known
            .as_ref()
            .and_then(|known| {
                content(known)["schema"]["properties"]["code"]["enum"]
                    .as_array()
                    .cloned()
            })
            .unwrap_or_default();
        let own = pp_lib::domain::Problem::code_of(status);
        for code in codes.iter().copied().chain(matches!(status, 422 | 429).then_some(own)) {
            if !all.contains(&json!(code)) {
                all.push(json!(code));
            }
        }
        let text = match &known {
            Some(known) => format!("{} {text}", known["description"].as_str().unwrap_or_default()),
            None => text.to_owned(),
        };
        let codes: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
        let response = problems::response(self.schemas, status, &codes, &text);
        self.responses.insert(status.to_string(), response);
        self
    }

    /// An error whose problem details have further fields.
    pub(crate) fn problem_of<T: JsonSchema>(mut self, status: u16, text: &'static str) -> Self {
        let schema = self.schemas.answered::<T>();
        let content = json!({ "application/problem+json": { "schema": schema } });
        let last = std::mem::take(&mut self.last);
        let operation = self.response(status, text, Some(content)).header("Retry-After");
        Self { last, ..operation }
    }

    /// The work, kind or key may not be there.
    pub(crate) fn missing(self) -> Self {
        self.shared(&[404])
    }

    /// A key in the body may not be valid.
    pub(crate) fn unauthorized(self) -> Self {
        self.shared(&[401])
    }

    fn shared(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let response = match status {
                422 if !self.responses.contains_key("422") => {
                    self = self.problem(
                        422,
                        &["unprocessable"],
                        "A value of the body is not as it must be; `errors` may name them.",
                    );
                    continue;
                }
                _ => shared_response(*status),
            };
            if let Some(response) = response {
                self.responses.entry(status.to_string()).or_insert(response);
            }
        }
        self
    }

    fn finish(self) -> Value {
        let entry = self.entry;
        let reads = entry.verb == Verb::Read;
        let mut statuses = vec![400, 403, 405, 408, 414, 421, 429, 431, 500, 503];
        if reads {
            statuses.push(412);
        }
        if entry.needs.scope().is_some() {
            statuses.push(401);
        }
        let mut operation = self.shared(&statuses);
        if reads {
            operation = operation.empty(304, "The client has this version, or named `*` in `If-None-Match`.");
            let answer = operation.responses.get("200");
            if answer.is_some_and(|answer| answer["headers"].get("ETag").is_some()) {
                operation = operation.header("ETag").header("Cache-Status");
            }
        }
        let mut parameters = path_parameters(operation.schemas, &entry.path());
        parameters.append(&mut operation.parameters);
        let mut object = json!({
            "operationId": operation.id,
            "tags": [operation.tag.name()],
            "summary": entry.summary(),
            "responses": operation.responses,
        });
        let mut add = |name: &str, value: Value| object[name] = value;
        if !operation.text.is_empty() {
            add("description", operation.text.into());
        }
        if !parameters.is_empty() {
            add("parameters", parameters.into());
        }
        if let Some(body) = operation.body {
            add("requestBody", body);
        }
        match entry.needs {
            Needs::Probe | Needs::Nothing => add("security", json!([])),
            needs => {
                let scope = needs.scope().map(|scope| scope.to_string()).unwrap_or_default();
                add("security", json!([{ "key": [scope] }, { "cookie": [scope] }]));
            }
        }
        object
    }
}

fn array(items: &Value) -> Value {
    json!({ "type": "array", "items": items, "minItems": 1, "maxItems": crate::request_json::MOST_ITEMS })
}
