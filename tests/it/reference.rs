//! `docs/API.md` is what the route table says, its examples do what they say, and OpenAPI tells the same.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use ydash::http;

use super::support::node::Node;

const FILE: &str = "docs/API.md";

/// With `YDASH_WRITE_DOCS` set, the file is written.
#[test]
fn the_reference_is_made_of_the_route_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("YDASH_WRITE_DOCS").is_some() {
        std::fs::write(&path, http::api_reference()).unwrap();
    }
    let is_it = std::fs::read_to_string(&path).is_ok_and(|text| text == http::api_reference());
    assert!(is_it, "{FILE} is not what the table says: YDASH_WRITE_DOCS=1 cargo test --test it reference");
}

/// With `YDASH_WRITE_DOCS` set, the table is written.
#[test]
fn the_table_of_rights_is_made_of_the_tables_of_messages_and_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- rights -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /rights -->").unwrap();
    let made = format!("{before}<!-- rights -->\n{}<!-- /rights -->{after}", http::rights());
    if std::env::var_os("YDASH_WRITE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let is_it = std::fs::read_to_string(&path).is_ok_and(|page| page == made);
    assert!(is_it, "docs/SECURITY.md: the table is another one: YDASH_WRITE_DOCS=1 cargo test --test it reference");
}

/// One after the other on one server, as a reader would try them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_reference_print_what_it_says() {
    let node = Node::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let page = http::api_reference();
    let mut count = 0;
    for part in page.split("\n```sh\n").skip(1) {
        let (commands, rest) = part.split_once("\n```\n").unwrap();
        let expected = rest.strip_prefix("```\n").map_or("", |rest| rest.split("\n```\n").next().unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-euc", commands]).env("api", node.http("/api")).current_dir(directory.path());
        let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim_end(), expected, "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
        count += 1;
    }
    assert!(count >= 10, "only {count} examples");
}

#[test]
fn the_openapi_document_has_every_route_with_what_it_needs_and_answers() {
    let document = http::openapi();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            assert!(operation["x-needs"].is_array() && !operation["summary"].as_str().unwrap().is_empty());
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            let problems = responses.iter().filter(|(status, _)| status.as_str() >= "4");
            for (status, response) in problems {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
            let named: Vec<&Value> =
                operation["parameters"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
            for name in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
                assert!(named.contains(&&Value::from(name)), "{method} {path} {name}");
            }
        }
    }
    assert!(ids.len() >= 14, "{ids:?}");
}
