//! Traces at a collector: what one edit over two nodes, one join and one request of a caller who is traced become there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::client::Client;
use super::support::node::Node;
use super::support::redis::Server;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_edit_over_two_nodes_is_one_trace_with_every_part() {
    let collector = Collector::start().await;
    let redis = Server::start(&[]);
    let endpoint = format!("--otlp-endpoint={}", collector.url);
    // The other node follows what the first one traces, and nothing of its own.
    let flags = [[&endpoint, "--trace-sample=1", "--node-name=a"], [&endpoint, "--trace-sample=0", "--node-name=b"]];
    let nodes = flags.map(|flags| Node::start_at("127.0.0.1:0", &redis.url(), &flags));
    nodes[0].until_metric("ydash_nodes", |nodes| nodes == 2.0).await;
    let mut ada = Client::joined(&nodes[0], "/board?acks=1", 1).await;
    let mut bob = Client::joined(&nodes[1], "/board", 2).await;
    // Until the rooms know of each other.
    ada.until(|ada| ada.sees().contains(&2)).await;
    ada.set("a", 1).await;
    ada.until(|ada| ada.saved >= 1).await;
    bob.until(|bob| bob.get("a") == Some(1)).await;
    let edit = collector.trace("edit", |spans| spans.contains_key("heard") && spans.contains_key("ack")).await;
    let parts = ["socket", "queue", "gate", "flush", "bus", "commit", "ack"];
    for part in parts {
        let span = edit.get(part).unwrap_or_else(|| panic!("{part} is missing in {edit:#?}"));
        assert_eq!(span.parent, edit["edit"].id, "{part}");
        assert_eq!(span.node, "a");
        assert!(
            edit["edit"].began <= span.began && span.began <= span.ended && span.ended <= edit["edit"].ended,
            "{part}"
        );
    }
    assert_eq!((&*edit["heard"].node, &edit["heard"].parent), ("b", &edit["bus"].id));
    assert_eq!(edit.len(), parts.len() + 2, "{edit:#?}");
    assert!(edit["gate"].began >= edit["queue"].ended && edit["ack"].began >= edit["commit"].ended);
    assert_eq!(edit["commit"].facts["entries"], 1);
    assert!(edit["commit"].facts["bytes"] > 0);

    let join = collector.trace("join", |spans| spans.contains_key("encode")).await;
    for part in ["open", "queue", "encode"] {
        assert_eq!(join[part].parent, join["join"].id, "{part}");
    }
    let text = collector.text();
    assert!(!text.contains("board") && !text.contains("127.0.0.1"), "no dashboard and no address leaves in a trace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_traced_caller_does_is_a_part_of_its_trace_and_nobody_elses_is() {
    let collector = Collector::start().await;
    let node = Node::start(&[&format!("--otlp-endpoint={}", collector.url), "--trace-sample=0"]);
    let put = |caller: Option<&str>, body: &'static str| {
        let request = reqwest::Client::new().put(node.http("/api/dashboards/team/board")).body(body);
        caller.map_or(request.try_clone().unwrap(), |caller| request.header("traceparent", caller)).send()
    };
    assert!(put(None, r#"{"widgets":{"a":{"title":"A"}}}"#).await.unwrap().status().is_success());
    let unrecorded = CALLER.replace("-01", "-00");
    assert!(put(Some(&unrecorded), r#"{"widgets":{"a":{"title":"B"}}}"#).await.unwrap().status().is_success());
    assert!(put(Some(CALLER), r#"{"widgets":{"a":{"title":"C"}}}"#).await.unwrap().status().is_success());
    let edit = collector.trace("edit", |spans| spans.contains_key("commit") && spans.contains_key("request")).await;
    assert_eq!(edit["request"].trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(edit["request"].parent, "00f067aa0ba902b7");
    assert_eq!(edit["edit"].parent, edit["request"].id);
    assert!(collector.spans().iter().all(|span| span.trace == edit["edit"].trace), "{:#?}", collector.spans());
}

/// A collector that is away, or says no, is nobody's trouble; what was traced last arrives before the process ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_do_not_wait_for_a_collector_and_the_last_ones_arrive_at_a_drain() {
    let collector = Collector::start().await;
    let mut node = Node::start(&[&format!("--otlp-endpoint={}", collector.url), "--trace-sample=1"]);
    let alone = Node::start(&["--otlp-endpoint=http://127.0.0.1:1", "--trace-sample=1"]);
    let mut ada = Client::joined(&alone, "/board?acks=1", 1).await;
    ada.set("a", 1).await;
    ada.until(|ada| ada.saved >= 1).await;
    let mut bob = Client::joined(&node, "/board?acks=1", 2).await;
    bob.set("a", 1).await;
    bob.until(|bob| bob.saved >= 1).await;
    assert!(node.terminate(Duration::from_secs(20)).await.success());
    assert!(collector.spans().iter().any(|span| span.name == "ack"), "{:#?}", collector.spans());
}

/// A span as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    node: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    began: u64,
    ended: u64,
    facts: BTreeMap<String, u64>,
}

/// Takes OTLP over HTTP, and reads it by the numbers of `opentelemetry/proto/trace/v1/trace.proto`.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = Arc::clone(&bodies);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(take_requests(socket, Arc::clone(&kept)));
            }
        });
        Collector { url, bodies }
    }

    fn spans(&self) -> Vec<Arrived> {
        self.bodies.lock().unwrap().iter().flat_map(|body| spans(body)).collect()
    }

    fn text(&self) -> String {
        self.bodies.lock().unwrap().iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }

    /// The spans by name of a trace that has one called `name` and is as wanted.
    async fn trace(&self, name: &str, is_it: impl Fn(&BTreeMap<String, Arrived>) -> bool) -> BTreeMap<String, Arrived> {
        let began = Instant::now();
        loop {
            let spans = self.spans();
            for root in spans.iter().filter(|span| span.name == name) {
                let of_it = spans.iter().filter(|span| span.trace == root.trace);
                let by_name: BTreeMap<_, _> = of_it.map(|span| (span.name.clone(), span.clone())).collect();
                if is_it(&by_name) {
                    return by_name;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(30), "no such {name}: {spans:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn take_requests(mut socket: TcpStream, bodies: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|part| part == b"\r\n\r\n") {
                break read.drain(..end + 4).collect::<Vec<u8>>();
            }
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
        while read.len() < length {
            assert!(socket.read_buf(&mut read).await.unwrap() > 0);
        }
        bodies.lock().unwrap().push(read.drain(..length).collect());
        // An empty ExportTraceServiceResponse.
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
}

/// One field of a message: its number, and its bytes or its value.
enum Field<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for at in 0.. {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7f) << (7 * at);
            if first & 0x80 == 0 {
                break;
            }
        }
        number
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_first_chunk::<8>().unwrap();
                bytes = rest;
                Field::Number(u64::from_le_bytes(*number))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (part, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(part)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn bytes_of(message: &[u8], number: u64) -> Vec<&[u8]> {
    let is_it = |(at, field)| match field {
        Field::Bytes(bytes) if at == number => Some(bytes),
        _ => None,
    };
    fields(message).into_iter().filter_map(is_it).collect()
}

fn number_of(message: &[u8], number: u64) -> Option<u64> {
    fields(message).into_iter().find_map(|(at, field)| match field {
        Field::Number(value) if at == number => Some(value),
        _ => None,
    })
}

fn text_of(message: &[u8], number: u64) -> String {
    bytes_of(message, number).first().map(|text| String::from_utf8(text.to_vec()).unwrap()).unwrap_or_default()
}

fn hex_of(message: &[u8], number: u64) -> String {
    bytes_of(message, number).first().unwrap_or(&&[][..]).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `ExportTraceServiceRequest` → `ResourceSpans` → `ScopeSpans` → `Span`.
fn spans(request: &[u8]) -> Vec<Arrived> {
    let mut arrived = Vec::new();
    for resource_spans in bytes_of(request, 1) {
        let attributes = bytes_of(bytes_of(resource_spans, 1)[0], 1);
        let attribute = |key: &str| {
            let pair = attributes.iter().find(|pair| text_of(pair, 1) == key).unwrap();
            text_of(bytes_of(pair, 2)[0], 1)
        };
        assert_eq!(attribute("service.name"), "ydash");
        let node = attribute("service.instance.id");
        for scope_spans in bytes_of(resource_spans, 2) {
            for span in bytes_of(scope_spans, 2) {
                let facts = bytes_of(span, 9)
                    .into_iter()
                    .map(|pair| (text_of(pair, 1), number_of(bytes_of(pair, 2)[0], 3).unwrap()));
                arrived.push(Arrived {
                    node: node.clone(),
                    name: text_of(span, 5),
                    trace: hex_of(span, 1),
                    id: hex_of(span, 2),
                    parent: hex_of(span, 4),
                    began: number_of(span, 7).unwrap(),
                    ended: number_of(span, 8).unwrap(),
                    facts: facts.collect(),
                });
            }
        }
    }
    arrived
}
