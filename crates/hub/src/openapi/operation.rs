//! One operation of the OpenAPI document.
//!
//! It refuses an answer without its errors: each is listed with the one shape that errors have.

use exeunt_api::NAME;
use exeunt_domain::Txn;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What a success carries.
enum Answer {
    Json(u16, Shape),
    Text(u16, &'static str),
    Nothing,
}

/// One query parameter.
struct Parameter {
    name: &'static str,
    text: &'static str,
    required: bool,
    shape: Shape,
}

/// A door of operators, described.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    summary: &'static str,
    query: Vec<Parameter>,
    body: Option<Shape>,
    answer: Answer,
    for_operators: bool,
    may_miss: bool,
}

impl Operation {
    pub(super) fn get(path: &'static str, summary: &'static str) -> Self {
        Self::new("GET", path, summary)
    }

    pub(super) fn post(path: &'static str, summary: &'static str) -> Self {
        Self::new("POST", path, summary)
    }

    pub(super) fn delete(path: &'static str, summary: &'static str) -> Self {
        Self::new("DELETE", path, summary)
    }

    fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            summary,
            query: Vec::new(),
            body: None,
            answer: Answer::Nothing,
            for_operators: true,
            may_miss: path.contains('{'),
        }
    }

    /// Whoever asks: no token is looked at.
    pub(super) fn for_anyone(self) -> Self {
        Self { for_operators: false, ..self }
    }

    /// What is named in the request may not be there.
    pub(super) fn may_miss(self) -> Self {
        Self { may_miss: true, ..self }
    }

    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Some(|types| types.subschema_for::<T>()), ..self }
    }

    pub(super) fn query(
        mut self,
        name: &'static str,
        text: &'static str,
        required: bool,
        shape: Shape,
    ) -> Self {
        self.query.push(Parameter { name, text, required, shape });
        self
    }

    pub(super) fn answers<T: JsonSchema>(self, status: u16) -> Self {
        Self { answer: Answer::Json(status, |types| types.subschema_for::<T>()), ..self }
    }

    pub(super) fn answers_text(self, status: u16, media: &'static str) -> Self {
        Self { answer: Answer::Text(status, media), ..self }
    }

    pub(super) fn answers_nothing(self) -> Self {
        Self { answer: Answer::Nothing, ..self }
    }

    /// As the document has it.
    pub(super) fn describe(&self, types: &mut SchemaGenerator) -> Value {
        let mut described = json!({
            "summary": self.summary,
            "operationId": self.id(),
            "responses": self.responses(types),
        });
        let parameters = self.parameters(types);
        if !parameters.is_empty() {
            described["parameters"] = parameters.into();
        }
        if let Some(body) = self.body {
            described["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body(types) } } });
        }
        if self.for_operators {
            described["security"] = json!([{ "operator": [] }]);
        }
        described
    }

    fn id(&self) -> String {
        let words = self.path.trim_start_matches("/v1/").split(['/', '-']);
        let words = words.map(|word| word.trim_matches(['{', '}']));
        std::iter::once(self.method.to_ascii_lowercase().as_str())
            .chain(words)
            .collect::<Vec<_>>()
            .join("_")
    }

    fn parameters(&self, types: &mut SchemaGenerator) -> Vec<Value> {
        let in_path = self.path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            let schema = match name {
                "txn" => json!(types.subschema_for::<Txn>()),
                _ => json!({ "type": "string", "maxLength": 256, "pattern": NAME }),
            };
            Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
        });
        let mut all: Vec<_> = in_path.collect();
        all.extend(self.query.iter().map(|one| {
            json!({
                "name": one.name, "in": "query", "required": one.required,
                "description": one.text, "schema": (one.shape)(types),
            })
        }));
        all
    }

    fn responses(&self, types: &mut SchemaGenerator) -> Value {
        let mut all = json!({});
        match &self.answer {
            Answer::Json(status, shape) => {
                let schema = shape(types);
                all[status.to_string()] = json!({
                    "description": "done", "content": { "application/json": { "schema": schema } },
                });
            }
            Answer::Text(status, media) => {
                let schema = json!({ "type": "string" });
                all[status.to_string()] =
                    json!({ "description": "done", "content": { *media: { "schema": schema } } });
            }
            Answer::Nothing => all["204"] = json!({ "description": "done" }),
        }
        let writes = self.method != "GET";
        for (status, says, is_there) in [
            ("400", "the request is malformed", true),
            ("401", "no token, or one that is unknown or has expired", self.for_operators),
            ("403", "the operator's roles do not allow it, or the demand is refused", true),
            ("404", "there is no such thing", self.may_miss),
            ("408", "the body came too slowly", self.body.is_some()),
            ("409", "it contradicts what is there", writes),
            ("413", "the body is too large", self.body.is_some()),
            ("415", "the body is not application/json", self.body.is_some()),
            ("429", "too often, or too many devices within an hour", true),
            ("503", "the record cannot be read or written now", true),
            ("507", "no room is left: nothing was done", writes),
        ] {
            if is_there {
                all[status] = json!({
                    "description": says,
                    "content": { "application/json": { "schema": {
                        "$ref": "#/components/schemas/ErrorBody"
                    } } },
                });
            }
        }
        all
    }
}
