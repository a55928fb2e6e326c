//! What an edit costs beside reading the document: `cargo bench -p ydash-proto --bench edit`.
//!
//! Of many runs the one that took least of the processor counts, so that whatever else the machine does counts little.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use ydash_proto::document::edit::{Change, Pen, Place, Present, parse};
use ydash_proto::document::{from_json, to_json};

/// A dashboard of about so many bytes of JSON: widgets with options and points.
fn dashboard(bytes: usize) -> Value {
    let widget = |at: usize| {
        json!({
            "type": "line-chart",
            "title": format!("Revenue of region {at}"),
            "options": { "unit": "EUR", "max": at * 10, "legend": true, "color": "#1f77b4" },
            "points": (0..20).map(|n| json!(f64::from(n) * 1.5 + at as f64)).collect::<Vec<_>>(),
        })
    };
    let count = bytes / (widget(1000).to_string().len() + 12);
    let widgets = (0..count).map(|at| (format!("w{at:05}"), widget(at))).collect::<serde_json::Map<_, _>>();
    let layout = (0..count).map(|at| (format!("w{at:05}"), json!({ "x": at % 12, "y": at / 12, "w": 4, "h": 3 })));
    json!({ "widgets": widgets, "layout": layout.collect::<serde_json::Map<_, _>>(), "meta": { "title": "Sales" } })
}

fn least<T>(runs: usize, mut work: impl FnMut() -> T) -> Duration {
    let times = (0..runs).map(|_| {
        let began = on_cpu();
        let done = work();
        let took = on_cpu() - began;
        drop(done);
        took
    });
    times.min().unwrap_or_default()
}

/// How long this thread has had a processor, as Linux counts it.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn main() {
    let pen = Pen { client: 4_000_000_000, clock: 0 };
    println!("| JSON | state | GET | PUT, one field | update | PUT, nothing | PATCH of one option | update |");
    println!("|---|---|---|---|---|---|---|---|");
    for bytes in [225_000, 2_000_000] {
        let mut written = dashboard(bytes);
        let text = written.to_string();
        let state = Bytes::from(from_json(text.as_bytes(), 7).expect("a dashboard"));
        written["widgets"]["w00100"]["title"] = json!("Changed");
        let put = written.to_string();
        let runs = 40_000_000 / text.len() / 4;
        let read = least(runs, || to_json(&state).expect("it is read"));
        let edit = |body: &str| {
            let present = Present::read(&state).expect("it is read");
            let target = Place::Whole.change(present.shown(), Change::Put(parse(body.as_bytes()).expect("JSON")));
            present.edit(&target.expect("a target"), pen).expect("an edit").update.len()
        };
        let patch = || {
            let present = Present::read(&state).expect("it is read");
            let change = Change::Merge(json!({ "widgets": { "w00100": { "options": { "max": 77 } } } }));
            let target = Place::Whole.change(present.shown(), change).expect("a target");
            present.edit(&target, pen).expect("an edit").update.len()
        };
        let (one, nothing, option) = (least(runs, || edit(&put)), least(runs, || edit(&text)), least(runs, patch));
        println!(
            "| {} KB | {} KB | {read:.1?} | {one:.1?} | {} B | {nothing:.1?} | {option:.1?} | {} B |",
            text.len() / 1000,
            state.len() / 1000,
            edit(&put),
            patch(),
        );
    }
}
