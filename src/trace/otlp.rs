//! Spans as OpenTelemetry's protocol has them: an `ExportTraceServiceRequest` of `opentelemetry/proto/collector/trace/v1`, in protobuf.
//!
//! Written by hand, since it takes five messages of which fields are only written: the crates that are generated from the definitions bring
//! forty others.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Finished;

/// The body of one request: what `node` of this version did.
pub(super) fn request(node: &str, spans: &[Finished]) -> Vec<u8> {
    let resource = message(|resource| {
        text_attribute(resource, 1, "service.name", "ydash");
        text_attribute(resource, 1, "service.version", env!("CARGO_PKG_VERSION"));
        text_attribute(resource, 1, "service.instance.id", node);
    });
    let scope = message(|scope| bytes(scope, 1, b"ydash"));
    let scope_spans = message(|scope_spans| {
        bytes(scope_spans, 1, &scope);
        for span in spans {
            bytes(scope_spans, 2, &encoded(span));
        }
    });
    let resource_spans = message(|resource_spans| {
        bytes(resource_spans, 1, &resource);
        bytes(resource_spans, 2, &scope_spans);
    });
    message(|request| bytes(request, 1, &resource_spans))
}

/// `Span.SpanKind`.
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;

fn encoded(span: &Finished) -> Vec<u8> {
    message(|out| {
        bytes(out, 1, &span.context.trace);
        bytes(out, 2, &span.context.span);
        if let Some(parent) = &span.parent {
            bytes(out, 4, parent);
        }
        bytes(out, 5, span.name.as_bytes());
        number(out, 6, if super::export::is_entry(span.name) { SERVER } else { INTERNAL });
        time(out, 7, span.began);
        time(out, 8, span.ended);
        for (what, count) in &span.facts {
            let value = message(|value| number(value, 3, *count));
            attribute(out, 9, what, &value);
        }
    })
}

fn message(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = Vec::new();
    fill(&mut message);
    message
}

fn text_attribute(out: &mut Vec<u8>, field: u32, key: &str, text: &str) {
    let value = message(|value| bytes(value, 1, text.as_bytes()));
    attribute(out, field, key, &value);
}

/// A `KeyValue`.
fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &[u8]) {
    let pair = message(|pair| {
        bytes(pair, 1, key.as_bytes());
        bytes(pair, 2, value);
    });
    bytes(out, field, &pair);
}

/// Wire type 2: bytes, text, or a message.
fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    varint(out, u64::from(field << 3 | 2));
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Wire type 0.
fn number(out: &mut Vec<u8>, field: u32, number: u64) {
    varint(out, u64::from(field << 3));
    varint(out, number);
}

/// Wire type 1: `fixed64` nanoseconds since 1970.
fn time(out: &mut Vec<u8>, field: u32, at: SystemTime) {
    let nanos = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&u64::try_from(nanos).unwrap_or(u64::MAX).to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::super::SpanContext;
    use super::*;
    use std::time::Duration;

    /// Compared with what the official definitions make of the same span (opentelemetry-proto 1.7).
    #[test]
    fn a_span_is_written_as_the_definitions_have_it() {
        let span = Finished {
            context: SpanContext { trace: [0xaa; 16], span: [0xbb; 8] },
            parent: Some([0xcc; 8]),
            name: "commit",
            began: UNIX_EPOCH + Duration::from_nanos(1),
            ended: UNIX_EPOCH + Duration::from_nanos(258),
            facts: vec![("bytes", 300)],
        };
        let written = encoded(&span);
        let mut expected = vec![0x0a, 16];
        expected.extend([0xaa; 16]);
        expected.extend([0x12, 8]);
        expected.extend([0xbb; 8]);
        expected.extend([0x22, 8]);
        expected.extend([0xcc; 8]);
        expected.extend(b"\x2a\x06commit\x30\x01");
        expected.extend([0x39, 1, 0, 0, 0, 0, 0, 0, 0, 0x41, 2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"\x4a\x0c\x0a\x05bytes\x12\x03\x18\xac\x02");
        assert_eq!(written, expected);
        let request = request("a", &[span]);
        assert_eq!(request[..2], [0x0a, (request.len() as u8 - 3) | 0x80], "resource_spans first");
        assert!(request.windows(written.len()).any(|part| part == written));
    }
}
