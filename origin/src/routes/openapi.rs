//! The description of the public routes (OpenAPI 3.1), made from the handlers, and the page to browse it.
//!
//! What handlers have in common stands here once: who may call, headers, the parameters of lists, the errors.

use super::admin::lists::LISTS;
use super::error::Problem;
use crate::app::App;
use crate::services::admin::collections::{Collection, Test};
use crate::services::documents::{DoubtPlace, SearchWords};
use axum::Router;
use serde_json::{Map, Value, json};
use sync_protocol::bookmark::BOOKMARK_HEADER;
use sync_protocol::command::{IDEMPOTENCY_KEY_HEADER, NAMES};
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

/// Bodies of which at least one member must be there.
const CHANGES: [&str; 5] =
    ["UserChange", "ClassChange", "ClassSeriesChange", "AssignmentChange", "InstituteChange"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall origin",
        description = "Records, views, documents and commands of coaching institutes."
    ),
    components(schemas(Problem, SearchWords, DoubtPlace))
)]
pub(super) struct Description;

/// `/openapi.json`, and `/docs` to browse it.
pub(super) fn pages(document: Value) -> Router<App> {
    SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", document).into()
}

/// The whole description.
pub(super) fn document(described: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(described).expect("a description is always JSON");
    document["components"]["securitySchemes"] =
        json!({"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (RFC 9068)"}});
    document["security"] = json!([{"bearer": []}]);
    let schemas = &mut document["components"]["schemas"];
    for name in CHANGES {
        schemas[name]["minProperties"] = 1.into();
    }
    schemas["ClassChange"]["dependentRequired"] = json!({"starts_at": ["ends_at"], "ends_at": ["starts_at"]});
    schemas["CommandBody"]["properties"]["command"]["enum"] = NAMES.to_vec().into();
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, operations) in paths {
        let Some(operations) = operations.as_object_mut() else { continue };
        for (method, operation) in operations {
            let Some(operation) = operation.as_object_mut() else { continue };
            complete(path, method, operation);
        }
    }
    document
}

/// What an operation's path and method say about it.
struct Operation<'a> {
    path: &'a str,
    anonymous: bool,
    has_body: bool,
    /// Of the admin API.
    administration: bool,
    writes: bool,
    /// Needs `If-Match`.
    careful: bool,
}

/// Adds to an operation what its path and method say.
fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let what = Operation {
        path,
        anonymous: operation.get("security").is_some_and(|security| *security == json!([{}])),
        has_body: operation.contains_key("requestBody"),
        administration: path.starts_with("/admin/v1/"),
        writes: method != "get",
        careful: method == "patch" || path.ends_with("/grade"),
    };
    let declared = operation.entry("parameters").or_insert_with(|| json!([]));
    let mut takes_query = false;
    if let Some(declared) = declared.as_array_mut() {
        let parameters = what.parameters();
        declared.retain(|known| {
            known["in"] != "path" && !parameters.iter().any(|new| new["name"] == known["name"])
        });
        declared.extend(parameters);
        takes_query = declared.iter().any(|parameter| parameter["in"] == "query");
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for status in what.problems(takes_query) {
        responses.entry(status.to_string()).or_insert_with(|| problem(status));
    }
}

impl Operation<'_> {
    fn parameters(&self) -> Vec<Value> {
        let mut parameters = path_parameters(self.path);
        if let Some((_, collection)) = LISTS.iter().find(|(list, _)| *list == self.path && !self.writes) {
            parameters.extend(list_parameters(collection));
        }
        let commands = self.path == "/commands";
        let table = self.path.starts_with("/admin/v1/import/");
        // Work that is done again, or dropped, is gone from there: a repetition finds nothing.
        let queue = self.path.starts_with("/admin/v1/queues/");
        if (self.administration && self.writes && !table && !queue) || commands {
            parameters.push(json!({"name": IDEMPOTENCY_KEY_HEADER, "in": "header", "required": commands,
                "description": "Makes the write safe to repeat", "schema": key_schema()}));
            parameters.push(json!({"name": "If-Match", "in": "header", "required": self.careful,
                "description": "The entity tag of the record as it was read", "schema": tag_schema()}));
        }
        if self.reads_at_a_bookmark() {
            parameters.push(json!({"name": BOOKMARK_HEADER, "in": "header",
                "description": "What the reader has seen: no older state answers",
                "schema": {"type": "string", "pattern": "^[0-9]{1,9}[.][0-9]{1,15}([.][0-9a-f]{1,15}[.][0-9a-f]{32})?$"}}));
        }
        parameters
    }

    fn reads_at_a_bookmark(&self) -> bool {
        let other = ["/api/documents", "/api/auth/"].iter().any(|place| self.path.starts_with(place));
        let view = self.path.starts_with("/api/") && !other;
        !self.anonymous && !self.writes && (view || self.administration)
    }

    fn problems(&self, takes_query: bool) -> Vec<u16> {
        let mut statuses = vec![500, 503];
        if !self.anonymous {
            statuses.push(401);
        }
        if !self.anonymous && !self.path.starts_with("/commands/") {
            statuses.push(403);
        }
        if self.path.contains('{') || (self.has_body && !self.path.starts_with("/api/auth/")) {
            statuses.push(404);
        }
        if self.path.contains('{') {
            statuses.extend([400, 422]);
        }
        if self.has_body {
            statuses.extend([400, 413, 422]);
        }
        if self.administration || takes_query {
            statuses.push(422);
        }
        if self.reads_at_a_bookmark() || self.administration || self.path.starts_with("/commands") {
            statuses.push(400);
        }
        if self.path.starts_with("/api/auth/") {
            statuses.extend([401, 429]);
        }
        if (self.administration && self.writes) || self.path == "/commands" {
            statuses.extend([409, 412]);
        }
        if self.careful {
            statuses.push(428);
        }
        statuses
    }
}

/// The parts of a path, which are never empty.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name| {
        json!({"name": name, "in": "path", "required": true,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._@ -]{1,64}$"}})
    };
    names.map(parameter).collect()
}

fn list_parameters(collection: &Collection) -> Vec<Value> {
    let orders: Vec<String> =
        collection.sorts.iter().flat_map(|sort| [sort.name.to_owned(), format!("-{}", sort.name)]).collect();
    let query = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let mut parameters = vec![
        query(
            "limit",
            json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
            "Rows of the page",
        ),
        query("sort", json!({"type": "string", "enum": orders}), "The order; with - the other way round"),
        query(
            "cursor",
            json!({"type": "string", "contentEncoding": "base64url", "maxLength": 2048}),
            "The `next` of the page before, with the same order",
        ),
    ];
    for filter in collection.filters {
        let (schema, description) = match filter.test {
            Test::OneOf(names) => (json!({"type": "string", "enum": names}), "Only these"),
            Test::Equal => (
                json!({"type": "string", "maxLength": 200, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$"}),
                "Only what has this value",
            ),
            Test::Words { .. } => (
                json!({"$ref": "#/components/schemas/SearchWords"}),
                "Only what has a word that begins with each of these",
            ),
            Test::From | Test::EntryFrom => {
                (json!({"$ref": "#/components/schemas/Moment"}), "At or after this")
            }
            Test::Until | Test::EntryUntil => (json!({"$ref": "#/components/schemas/Moment"}), "Before this"),
            Test::Flag { .. } => (json!({"type": "boolean"}), "Only those, or only the others"),
        };
        parameters.push(query(filter.name, schema, description));
    }
    parameters
}

fn key_schema() -> Value {
    json!({"type": "string", "pattern": "^[!-~]{1,200}$"})
}

fn tag_schema() -> Value {
    json!({"type": "string", "pattern": "^([*]|\"[0-9a-f]{32}\")$"})
}

fn problem(status: u16) -> Value {
    let meaning = match status {
        400 => "A header or the form of the body is wrong",
        401 => "No token, or one that does not count",
        403 => "Not for this user",
        404 => "There is no such record",
        409 => "What should be made is there",
        412 => "The record is not as If-Match says",
        413 => "The body is too large",
        422 => "A field is wrong",
        428 => "The change needs If-Match",
        429 => "Too many attempts",
        500 => "Something broke",
        _ => "The store does not answer, or is behind what the reader has seen",
    };
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    let mut response =
        json!({"description": meaning, "content": {"application/problem+json": {"schema": schema}}});
    if matches!(status, 429 | 503) {
        response["headers"] =
            json!({"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}});
    }
    response
}
