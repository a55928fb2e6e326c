//! Traces for OpenTelemetry: what one edit, one join or one request waits for, part by part. Off unless `otlp-endpoint` is set.
//!
//! A few are picked by chance (`trace-sample`), or by whoever calls with a W3C `traceparent` that asks for it. What is not picked costs a
//! look at an option. Nothing here waits: spans go into a bounded queue, and what does not fit is dropped and counted. A span names parts of
//! ydash, counts and sizes; never a dashboard, a user, an address or content.

mod export;
mod otlp;

use core::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

pub use export::{Endpoint, Exporter};

/// Spans that wait to be sent.
const QUEUE: usize = 4096;

/// The one thing that other services need to know to go on with a trace: <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it.
    pub span: [u8; 8],
}

/// Bytes of a context on the bus.
pub const CONTEXT_BYTES: usize = 24;

impl SpanContext {
    /// Reads a `traceparent` header; `None` also when it says that its trace is not recorded.
    #[must_use]
    pub fn parse(header: &str) -> Option<SpanContext> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = hex::<1>(version)?[0];
        // Later versions may have more parts; ff is none.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, flags) = (hex::<16>(trace)?, hex::<8>(span)?, hex::<1>(flags)?[0]);
        let is_valid = trace != [0; 16] && span != [0; 8];
        (is_valid && flags & 1 == 1).then_some(SpanContext { trace, span })
    }

    /// For the bus.
    #[must_use]
    pub fn to_bytes(self) -> [u8; CONTEXT_BYTES] {
        let mut bytes = [0; CONTEXT_BYTES];
        bytes[..16].copy_from_slice(&self.trace);
        bytes[16..].copy_from_slice(&self.span);
        bytes
    }

    /// From the bus.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; CONTEXT_BYTES]) -> SpanContext {
        let (trace, span) = bytes.split_at(16);
        let sized = "the parts of an array of 24";
        SpanContext { trace: trace.try_into().expect(sized), span: span.try_into().expect(sized) }
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.len() == 2 * N && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    is_hex.then_some(bytes)
}

/// Begins traces, or does not. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Tracer>>);

struct Tracer {
    /// The share of what happens that is traced.
    sample: f64,
    finished: mpsc::Sender<Finished>,
    dropped: Box<dyn Fn() + Send + Sync>,
}

/// A span that has ended.
#[derive(Debug)]
struct Finished {
    context: SpanContext,
    parent: Option<[u8; 8]>,
    name: &'static str,
    began: SystemTime,
    ended: SystemTime,
    facts: Vec<(&'static str, u64)>,
}

impl Traces {
    /// Traces so much of what happens, from 0 to 1. What they find has to be sent by the exporter, which calls `dropped` for each span that
    /// it could not keep up with.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        sample: f64,
        node: String,
        dropped: impl Fn() + Send + Sync + 'static,
    ) -> (Traces, Exporter) {
        let (finished, queue) = mpsc::channel(QUEUE);
        let tracer = Tracer { sample, finished, dropped: Box::new(dropped) };
        (Traces(Some(Arc::new(tracer))), Exporter::new(endpoint, node, queue))
    }

    /// Whether anything is ever traced.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A trace that begins here, if this is one of those that are looked at: always when the caller's is.
    #[must_use]
    pub fn begin(&self, name: &'static str, caller: Option<SpanContext>) -> Option<Span> {
        let tracer = self.0.as_ref()?;
        if caller.is_none() && fastrand::f64() >= tracer.sample {
            return None;
        }
        let trace = caller.map_or_else(|| fastrand::u128(1..).to_be_bytes(), |caller| caller.trace);
        let context = SpanContext { trace, span: fastrand::u64(1..).to_be_bytes() };
        Some(Span {
            tracer: Arc::clone(tracer),
            context,
            parent: caller.map(|caller| caller.span),
            name,
            began: Instant::now(),
            began_at: SystemTime::now(),
            facts: Vec::new(),
        })
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.is_on()).finish()
    }
}

/// A part of a trace, from when it is made until it is dropped.
pub struct Span {
    tracer: Arc<Tracer>,
    context: SpanContext,
    parent: Option<[u8; 8]>,
    name: &'static str,
    began: Instant,
    began_at: SystemTime,
    facts: Vec<(&'static str, u64)>,
}

impl Span {
    /// A part of this part. Its times are of the same clock, so that no part seems to begin before the whole.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Span {
        let began = Instant::now();
        Span {
            tracer: Arc::clone(&self.tracer),
            context: SpanContext { trace: self.context.trace, span: fastrand::u64(1..).to_be_bytes() },
            parent: Some(self.context.span),
            name,
            began,
            began_at: self.began_at + began.saturating_duration_since(self.began),
            facts: Vec::new(),
        }
    }

    /// Moves its beginning to when it really began.
    #[must_use]
    pub fn since(mut self, began: Instant) -> Span {
        self.began_at -= self.began.saturating_duration_since(began);
        self.began = began.min(self.began);
        self
    }

    /// Adds a number: a size or a count.
    pub fn note(&mut self, what: &'static str, number: u64) {
        self.facts.push((what, number));
    }

    /// What those need who go on with the trace elsewhere.
    #[must_use]
    pub fn context(&self) -> SpanContext {
        self.context
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let finished = Finished {
            context: self.context,
            parent: self.parent,
            name: self.name,
            began: self.began_at,
            ended: self.began_at + self.began.elapsed(),
            facts: core::mem::take(&mut self.facts),
        };
        if self.tracer.finished.try_send(finished).is_err() {
            (self.tracer.dropped)();
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.name).finish()
    }
}

tokio::task_local! {
    static CURRENT: SpanContext;
}

/// Does `work`, which may ask for the [`current`] trace.
pub async fn within<T>(context: SpanContext, work: impl Future<Output = T>) -> T {
    CURRENT.scope(context, work).await
}

/// The trace that the running task works for.
#[must_use]
pub fn current() -> Option<SpanContext> {
    CURRENT.try_with(|context| *context).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it() {
        let read = |text: &str| SpanContext::parse(text).map(|context| (context.trace[0], context.span[7]));
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert_eq!(read(&format!("00-{trace}-{span}-01")), Some((0x4b, 0xb7)));
        assert_eq!(read(&format!("cc-{trace}-{span}-01-what-the-future-brings")), Some((0x4b, 0xb7)));
        assert_eq!(read(&format!("00-{trace}-{span}-00")), None, "its caller does not record it");
        assert_eq!(read(&format!("00-{trace}-{span}-01-more")), None);
        assert_eq!(read(&format!("ff-{trace}-{span}-01")), None);
        assert_eq!(read(&format!("00-{}-{span}-01", "0".repeat(32))), None);
        assert_eq!(read(&format!("00-{trace}-{}-01", "0".repeat(16))), None);
        assert_eq!(read(&format!("00-{}-{span}-01", trace.to_uppercase())), None);
        assert_eq!(read("00-é"), None);
        assert_eq!(read(""), None);
    }

    #[tokio::test]
    async fn what_is_not_sent_in_time_is_dropped_and_counted() {
        let dropped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&dropped);
        let endpoint = "http://127.0.0.1:1".parse().unwrap();
        let (traces, _exporter) = Traces::new(endpoint, 1.0, "node".into(), move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        for _ in 0..QUEUE + 3 {
            drop(traces.begin("edit", None));
        }
        assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 3);
    }

    #[test]
    fn nothing_is_traced_when_nobody_wants_it() {
        assert!(Traces::default().begin("edit", Some(SpanContext { trace: [1; 16], span: [1; 8] })).is_none());
        let (traces, _exporter) = Traces::new("http://127.0.0.1:1".parse().unwrap(), 0.0, String::new(), || {});
        assert!((0..1000).all(|_| traces.begin("edit", None).is_none()));
        assert!(traces.begin("edit", Some(SpanContext { trace: [1; 16], span: [1; 8] })).is_some());
    }
}
