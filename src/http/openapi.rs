//! The route table as an OpenAPI 3.1 document, and as `docs/API.md`.

use serde_json::{Map, Value, json};
use warp::http::StatusCode;
use warp::reply::Response;

use crate::http::reply::{CODES, json_response};
use crate::http::routes::{In, Needs, ROUTES, Route};

/// `GET /api/openapi.json`
pub(super) fn answer() -> Response {
    json_response(StatusCode::OK, &document())
}

/// The OpenAPI document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ydash",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Collaborative dashboards over REST. A slash in a dashboard's name may be written as it is or as `%2F`.",
        },
        "paths": paths,
        "components": {
            "schemas": { "Problem": problem_schema() },
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = names_in(route.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(route.parameters.iter().map(|parameter| {
        let place = if parameter.place == In::Query { "query" } else { "header" };
        json!({ "name": parameter.name, "in": place, "description": parameter.about, "schema": { "type": "string" } })
    }));
    let mut responses: Map<String, Value> = route
        .answers
        .iter()
        .map(|answer| {
            let content = if answer.content.is_empty() { json!({}) } else { json!({ answer.content: {} }) };
            (answer.status.to_string(), json!({ "description": answer.about, "content": content }))
        })
        .collect();
    for status in problems_of(route) {
        let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
        let schema = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        let problem = json!({ "description": title, "content": { "application/problem+json": schema } });
        responses.insert(status.to_string(), problem);
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.title,
        "description": route.about,
        "parameters": parameters,
        "responses": responses,
        "x-needs": needs(route),
    });
    if let Some(body) = route.body {
        let content: Map<String, Value> = body.types.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        operation["requestBody"] = json!({ "required": true, "description": body.about, "content": content });
    }
    if matches!(route.needs, Needs::Dashboard(_) | Needs::Keeper) {
        operation["security"] = json!([{}, { "bearer": [] }]);
    }
    operation
}

/// `get_dashboards_name_state` and the like: unique, and the same for ever.
fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches("/api/").split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method.as_str().to_ascii_lowercase(), words.join("_"))
}

fn names_in(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('{').skip(1).filter_map(|part| part.split('}').next())
}

/// The capabilities that a caller has to have, in words.
fn needs(route: &Route) -> Vec<&'static str> {
    match route.needs {
        Needs::Nothing => Vec::new(),
        Needs::Caller => vec!["what the description says"],
        Needs::Operator => vec!["operator, once tokens are read"],
        Needs::Inspector => vec!["operator, or else a browser on the server's own machine"],
        Needs::Dashboard(capabilities) => capabilities.names().collect(),
        Needs::Keeper => vec!["manage, or write where no tokens are read"],
    }
}

/// Statuses of problems, ascending.
fn problems_of(route: &Route) -> Vec<u16> {
    let common: &[u16] = match route.needs {
        Needs::Nothing => &[403, 405, 429, 503],
        Needs::Caller => &[401, 403, 404, 405, 429, 503],
        Needs::Operator => &[401, 403, 405, 429, 503],
        Needs::Inspector => &[401, 403, 404, 405, 429, 503],
        Needs::Dashboard(_) | Needs::Keeper => &[400, 401, 403, 404, 405, 410, 429, 500, 503],
    };
    let mut statuses = [common, route.problems].concat();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = CODES.iter().map(|(_, code, _)| *code).collect();
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail", "error", "message"],
        "properties": {
            "type": { "type": "string", "format": "uri" },
            "title": text,
            "status": { "type": "integer" },
            "detail": text,
            "error": { "type": "string", "enum": codes },
            "message": text,
            "limit": {
                "type": "object",
                "required": ["name", "value"],
                "properties": { "name": text, "value": { "type": "integer" } },
            },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": { "pointer": text, "detail": text },
                },
            },
        },
    })
}

/// `docs/API.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for route in ROUTES {
        page += &format!("\n## {}\n`{} {}`", route.title, route.method, route.path);
        let needs = needs(route);
        if !needs.is_empty() {
            page += &format!(" · needs: {}", needs.join(", "));
        }
        page += &format!("\n\n{}\n", route.about);
        let rows = route.parameters.iter().map(|parameter| {
            let name =
                if parameter.place == In::Query { format!("?{}=", parameter.name) } else { parameter.name.to_owned() };
            (format!("`{name}`"), parameter.about.to_owned())
        });
        let body = route.body.map(|body| (format!("body: {}", body.types.join(", ")), body.about.to_owned()));
        let answers = route.answers.iter().map(|answer| (format!("answer {}", answer.status), answer.about.to_owned()));
        let problems: Vec<String> = problems_of(route).iter().map(u16::to_string).collect();
        page += "\n| | |\n|---|---|\n";
        for (what, about) in rows.chain(body).chain(answers) {
            page += &format!("| {what} | {about} |\n");
        }
        page += &format!("| problems | {} |\n", problems.join(", "));
        let (commands, printed) = route.example;
        if !commands.is_empty() {
            page += &format!("\n```sh\n{commands}\n```\n");
            if !printed.is_empty() {
                page += &format!("```\n{printed}\n```\n");
            }
        }
    }
    page += "\n## Problems\nA problem is `application/problem+json` (RFC 9457). `error` is one of these codes; `message` repeats `detail`; `limit` names a\nsetting and its value; `errors` says where in the body what is wrong, as JSON pointers.\n\n| status | code | |\n|---|---|---|\n";
    for (status, code, about) in CODES {
        page += &format!("| {status} | <a id=\"{code}\"></a>`{code}` | {about} |\n");
    }
    page
}

const INTRODUCTION: &str = "# REST

<!-- Made from the route table in src/http/routes.rs: YDASH_WRITE_DOCS=1 cargo test --test it reference -->

Everything below is also in `GET /api/openapi.json`. In the examples `$api` is `http://127.0.0.1:1234/api`, and each builds upon those before it.
A dashboard is named `workspace/name`; a slash in its name may be written as it is or as `%2F`, and a name whose own last segments are those of
a route, like `a/state`, is written `a%2Fstate`. What `needs` says are capabilities: a viewer has read, an editor write, too.

Pages of other origins that may connect (`allowed-origins`) may call all of this and read the answers, but for what is for operators. They show a
token as everybody does; cookies are not read.

A write is answered when it is durable. Members see it in the next flush, and it is theirs to undo or change like any other edit.
";
