//! What programs push for widgets to show: the last values of each widget, kept apart from the document.
//!
//! A number that changes every second would make a document grow for ever, since a CRDT remembers. So such values live in rings: in memory,
//! bounded for each widget, for each dashboard and in all, and gone with the process. Whoever pushes goes on, and a widget fills again.

use core::time::Duration;
use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::id::DashboardId;
use crate::rate::TokenBucket;
use crate::time::Timestamp;

/// Values by series that were pushed at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds since 1970, as the sender said, or when it came.
    pub at: u64,
    /// Numbers and short texts by series. A value without a name is called `value`.
    pub values: Vec<(Box<str>, Scalar)>,
}

/// One pushed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A finite number.
    Number(f64),
    /// A text of at most [`PushLimits::text_bytes_max`] bytes, such as a state.
    Text(Box<str>),
}

/// What pushed values may take. Beyond its points a widget forgets the oldest, beyond its bytes the server forgets the dashboard that was
/// pushed to least recently; everything else is refused.
#[derive(Clone, Copy, Debug)]
pub struct PushLimits {
    /// Points of one widget: an hour at one per second. Beyond: the oldest are forgotten.
    pub points_max: usize,
    /// Points in one push. Beyond: it is refused.
    pub points_per_push_max: usize,
    /// Series of one point. Beyond: the push is refused.
    pub series_max: usize,
    /// A series' name, or a widget's. Beyond: the push is refused.
    pub name_bytes_max: usize,
    /// A text value. Beyond: the push is refused.
    pub text_bytes_max: usize,
    /// Widgets of one dashboard that have values. Beyond: the push is refused.
    pub widgets_max: usize,
    /// Memory of one dashboard's values. Beyond: its oldest values are forgotten.
    pub dashboard_bytes_max: usize,
    /// Memory of all values. Beyond: the dashboard that was pushed to least recently is forgotten.
    pub bytes_max: usize,
    /// Points that one dashboard takes per second in the long run, and at once. Beyond: refused with when to try again.
    pub point_rate: u32,
    /// See [`PushLimits::point_rate`].
    pub point_burst: u32,
}

impl Default for PushLimits {
    fn default() -> PushLimits {
        PushLimits {
            points_max: 3_600,
            points_per_push_max: 3_600,
            series_max: 16,
            name_bytes_max: 128,
            text_bytes_max: 256,
            widgets_max: 64,
            dashboard_bytes_max: 4 << 20,
            bytes_max: 32 << 20,
            point_rate: 200,
            point_burst: 7_200,
        }
    }
}

/// Why a push is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The body is not what a push looks like; the sentence says how.
    #[error("{0}")]
    Malformed(&'static str),
    /// A limit of pushes was passed; the sentence names it.
    #[error("{0}")]
    Limit(&'static str),
    /// The dashboard gets more points than it may; the same push may pass after this long.
    #[error("more points per second than one dashboard takes")]
    Rate(Duration),
}

/// Points of one widget, with the number that each one got.
#[derive(Clone, Debug, Default)]
struct Ring {
    points: VecDeque<(u64, Point)>,
}

#[derive(Debug)]
struct Dashboard {
    widgets: BTreeMap<Box<str>, Ring>,
    bytes: usize,
    bucket: TokenBucket,
    /// The number of its last point: who was pushed to least recently has the lowest.
    last: u64,
}

/// All pushed values of one node.
#[derive(Debug)]
pub struct Pushed {
    limits: PushLimits,
    dashboards: HashMap<DashboardId, Dashboard>,
    bytes: usize,
    /// Points so far, in all: each gets the next number.
    count: u64,
}

impl Pushed {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: PushLimits) -> Pushed {
        Pushed { limits, dashboards: HashMap::new(), bytes: 0, count: 0 }
    }

    /// Takes a push's body for a widget: a number, an object of values by series with `at` if it likes, or a list of these.
    ///
    /// Returns how many points it was.
    ///
    /// # Errors
    /// [`PushError`] – nothing was taken.
    pub fn push(
        &mut self,
        now: Timestamp,
        dashboard: &DashboardId,
        widget: &str,
        body: &[u8],
    ) -> Result<usize, PushError> {
        let limits = self.limits;
        if widget.is_empty() || widget.len() > limits.name_bytes_max {
            return Err(PushError::Limit("a widget's id has 1 to 128 bytes (push-name-bytes-max)"));
        }
        let body: Value =
            serde_json::from_slice(body).map_err(|_| PushError::Malformed("the body is not JSON: send a number"))?;
        let points = read(&body, now, &limits)?;
        if points.is_empty() {
            return Err(PushError::Malformed("the list is empty"));
        }
        let known = self.dashboards.get_mut(dashboard);
        if known
            .as_ref()
            .is_some_and(|known| known.widgets.len() >= limits.widgets_max && !known.widgets.contains_key(widget))
        {
            return Err(PushError::Limit("one dashboard has pushed values for at most 64 widgets (push-widgets-max)"));
        }
        let cost = u32::try_from(points.len()).unwrap_or(u32::MAX);
        let dashboards = &mut self.dashboards;
        let entry = dashboards.entry(dashboard.clone()).or_insert_with(|| Dashboard {
            widgets: BTreeMap::new(),
            bytes: 0,
            bucket: TokenBucket::new(limits.point_burst, limits.point_rate, now),
            last: 0,
        });
        entry.bucket.take(now, cost).map_err(PushError::Rate)?;
        let taken = points.len();
        let before = entry.bytes;
        if entry.widgets.is_empty() {
            entry.bytes += DASHBOARD_BYTES;
        }
        if !entry.widgets.contains_key(widget) {
            entry.bytes += RING_BYTES;
        }
        let ring = entry.widgets.entry(widget.into()).or_default();
        for point in points {
            self.count += 1;
            entry.last = self.count;
            entry.bytes += bytes_of(&point);
            ring.insert(self.count, point);
            if ring.points.len() > limits.points_max
                && let Some((_, oldest)) = ring.points.pop_front()
            {
                entry.bytes -= bytes_of(&oldest);
            }
        }
        entry.forget(limits.dashboard_bytes_max);
        self.bytes = self.bytes + entry.bytes - before;
        if self.bytes > limits.bytes_max {
            self.forget();
        }
        Ok(taken)
    }

    /// Forgets a dashboard: what begins under its name later has nothing of it.
    pub fn forget_dashboard(&mut self, dashboard: &DashboardId) {
        if let Some(gone) = self.dashboards.remove(dashboard) {
            self.bytes -= gone.bytes;
        }
    }

    /// Forgets dashboards that rest, down to seven eighths, so that not every push has to look at all of them.
    fn forget(&mut self) {
        let mut by_rest: Vec<_> = self.dashboards.iter().map(|(id, one)| (one.last, id.clone())).collect();
        by_rest.sort_unstable_by_key(|(last, _)| *last);
        by_rest.pop(); // the one that was just pushed to
        for (_, id) in by_rest {
            if self.bytes <= self.limits.bytes_max / 8 * 7 {
                return;
            }
            if let Some(gone) = self.dashboards.remove(&id) {
                self.bytes -= gone.bytes;
            }
        }
    }

    /// What was pushed to a dashboard after the point with number `after`, as JSON, and the number to ask with next.
    ///
    /// `{"widgets": {id: [{"at": …, "values": {…}}]}, "next": …}`, oldest first. What has been forgotten meanwhile is not in it.
    #[must_use]
    pub fn since(&self, dashboard: &DashboardId, after: u64) -> (Value, u64) {
        let mut widgets = Map::new();
        let mut next = after;
        if let Some(known) = self.dashboards.get(dashboard) {
            next = next.max(known.last);
            for (id, ring) in &known.widgets {
                let points: Vec<Value> = ring
                    .points
                    .iter()
                    .filter(|(number, _)| *number > after)
                    .map(|(_, point)| point.to_json())
                    .collect();
                if !points.is_empty() {
                    widgets.insert(id.to_string(), Value::Array(points));
                }
            }
        }
        (json!({ "widgets": widgets, "next": next }), next)
    }

    /// Whether a dashboard was pushed to after the point with number `after`.
    #[must_use]
    pub fn is_newer(&self, dashboard: &DashboardId, after: u64) -> bool {
        self.dashboards.get(dashboard).is_some_and(|known| known.last > after)
    }

    /// Bytes that all values take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Ring {
    /// Where its time says: senders repeat themselves, and send late.
    fn insert(&mut self, number: u64, point: Point) {
        let at = self.points.iter().rposition(|(_, before)| before.at <= point.at).map_or(0, |at| at + 1);
        if at == self.points.len() {
            self.points.push_back((number, point));
        } else {
            self.points.insert(at, (number, point));
        }
    }
}

impl Dashboard {
    /// Forgets the oldest points of its largest rings, until it fits.
    fn forget(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some(ring) = self.widgets.values_mut().max_by_key(|ring| ring.points.len()) else { return };
            let Some((_, oldest)) = ring.points.pop_front() else { return };
            self.bytes -= bytes_of(&oldest);
        }
    }
}

impl Point {
    fn to_json(&self) -> Value {
        let values: Map<String, Value> = self
            .values
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    Scalar::Number(number) => json!(number),
                    Scalar::Text(text) => json!(text),
                };
                (name.to_string(), value)
            })
            .collect();
        json!({ "at": self.at, "values": values })
    }
}

/// What a dashboard takes beside its rings, with the longest name, and a ring beside its points.
const DASHBOARD_BYTES: usize = 640;
/// See [`DASHBOARD_BYTES`].
const RING_BYTES: usize = 320;

/// What a point takes, with what the heap and the ring add.
fn bytes_of(point: &Point) -> usize {
    let values = point.values.iter().map(|(name, value)| {
        let text = if let Scalar::Text(text) = value { text.len() } else { 0 };
        name.len() + text + 2 * 16 + size_of::<(Box<str>, Scalar)>()
    });
    size_of::<(u64, Point)>() + 16 + values.sum::<usize>()
}

const NOT_A_PUSH: &str =
    r#"a push is a number, an object such as {"orders": 12} or {"at": 1767225600000, "value": 12}, or a list of these"#;

fn read(body: &Value, now: Timestamp, limits: &PushLimits) -> Result<Vec<Point>, PushError> {
    match body {
        Value::Array(list) if list.len() > limits.points_per_push_max => {
            Err(PushError::Limit("one push has at most 3600 points (push-points-max)"))
        }
        Value::Array(list) => list.iter().map(|one| read_point(one, now, limits)).collect(),
        one => Ok(vec![read_point(one, now, limits)?]),
    }
}

fn read_point(body: &Value, now: Timestamp, limits: &PushLimits) -> Result<Point, PushError> {
    let Value::Object(fields) = body else {
        return Ok(Point { at: now.0, values: vec![("value".into(), scalar(body, limits)?)] });
    };
    let at = match fields.get("at") {
        None => now.0,
        Some(at) => at.as_u64().ok_or(PushError::Malformed("`at` is in milliseconds since 1970"))?,
    };
    // What the page gets from here can be sent here again.
    let nested = fields
        .get("values")
        .and_then(Value::as_object)
        .filter(|_| fields.keys().all(|key| key == "at" || key == "values"));
    let values = nested.unwrap_or(fields);
    let values = values.iter().filter(|(name, _)| nested.is_some() || *name != "at");
    let mut read = Vec::new();
    for (name, value) in values {
        if read.len() == limits.series_max {
            return Err(PushError::Limit("one point has at most 16 values (push-series-max)"));
        }
        if name.len() > limits.name_bytes_max {
            return Err(PushError::Limit("a value's name has at most 128 bytes (push-name-bytes-max)"));
        }
        read.push((name.as_str().into(), scalar(value, limits)?));
    }
    if read.is_empty() { Err(PushError::Malformed(NOT_A_PUSH)) } else { Ok(Point { at, values: read }) }
}

fn scalar(value: &Value, limits: &PushLimits) -> Result<Scalar, PushError> {
    match value {
        Value::Number(number) => number
            .as_f64()
            .filter(|number| number.is_finite())
            .map(Scalar::Number)
            .ok_or(PushError::Malformed(NOT_A_PUSH)),
        Value::String(text) if text.len() <= limits.text_bytes_max => Ok(Scalar::Text(text.as_str().into())),
        Value::String(_) => Err(PushError::Limit("a text value has at most 256 bytes (push-text-bytes-max)")),
        Value::Bool(is_so) => Ok(Scalar::Number(f64::from(u8::from(*is_so)))),
        _ => Err(PushError::Malformed(NOT_A_PUSH)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn sales() -> DashboardId {
        DashboardId::parse("team/sales").unwrap()
    }

    fn limits() -> PushLimits {
        PushLimits::default()
    }

    fn shown(pushed: &Pushed, widget: &str) -> Vec<Value> {
        let (all, _) = pushed.since(&sales(), 0);
        all["widgets"][widget].as_array().cloned().unwrap_or_default()
    }

    #[test]
    fn a_number_an_object_and_a_list_are_pushes() {
        for (body, expected) in [
            ("42", json!([{ "at": 1_000_000, "values": { "value": 42.0 } }])),
            (r#""down""#, json!([{ "at": 1_000_000, "values": { "value": "down" } }])),
            ("true", json!([{ "at": 1_000_000, "values": { "value": 1.0 } }])),
            (r#"{"orders":3,"state":"ok"}"#, json!([{ "at": 1_000_000, "values": { "orders": 3.0, "state": "ok" } }])),
            (r#"{"at":5,"value":1.5}"#, json!([{ "at": 5, "values": { "value": 1.5 } }])),
            (r#"{"at":5,"values":{"a":1}}"#, json!([{ "at": 5, "values": { "a": 1.0 } }])),
            (
                r#"[{"at":9,"value":2},1]"#,
                json!([{ "at": 9, "values": { "value": 2.0 } }, { "at": 1_000_000, "values": { "value": 1.0 } }]),
            ),
        ] {
            let mut pushed = Pushed::new(limits());
            pushed.push(NOW, &sales(), "w", body.as_bytes()).unwrap();
            assert_eq!(Value::Array(shown(&pushed, "w")), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_push_is_refused_and_nothing_of_it_is_kept() {
        let mut pushed = Pushed::new(limits());
        for body in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            "[1,null]",
            r#"{"a":{}}"#,
            r#"{"at":-1,"a":1}"#,
            r#"{"at":"x","a":1}"#,
            "[[1]]",
        ] {
            let refused = pushed.push(NOW, &sales(), "w", body.as_bytes());
            assert!(matches!(refused, Err(PushError::Malformed(_))), "{body}: {refused:?}");
        }
        assert_eq!((pushed.bytes(), pushed.dashboards.len()), (0, 0));
    }

    #[test]
    fn each_limit_of_one_push_refuses_it_by_its_name() {
        let mut pushed = Pushed::new(PushLimits { points_per_push_max: 2, ..limits() });
        let long = "x".repeat(257);
        let series: Map<String, Value> = (0..17).map(|n| (n.to_string(), json!(n))).collect();
        for (widget, body, limit) in [
            ("w", "[1,2,3]".to_owned(), "push-points-max"),
            ("w", Value::Object(series).to_string(), "push-series-max"),
            ("w", json!({ &long[..129]: 1 }).to_string(), "push-name-bytes-max"),
            (&long[..129], "1".to_owned(), "push-name-bytes-max"),
            ("", "1".to_owned(), "push-name-bytes-max"),
            ("w", json!(long).to_string(), "push-text-bytes-max"),
        ] {
            let refused = pushed.push(NOW, &sales(), widget, body.as_bytes()).unwrap_err();
            assert!(matches!(refused, PushError::Limit(why) if why.contains(limit)), "{limit}: {refused:?}");
        }
    }

    #[test]
    fn a_widget_keeps_its_last_points_in_the_order_of_their_time() {
        let mut pushed = Pushed::new(PushLimits { points_max: 3, ..limits() });
        for at in [1, 5, 3, 4, 2_u64] {
            pushed.push(NOW, &sales(), "w", format!(r#"{{"at":{at},"value":{at}}}"#).as_bytes()).unwrap();
        }
        let times: Vec<_> = shown(&pushed, "w").iter().map(|point| point["at"].as_u64().unwrap()).collect();
        assert_eq!(times, [3, 4, 5]);
    }

    #[test]
    fn a_dashboard_has_pushed_values_for_so_many_widgets() {
        let mut pushed = Pushed::new(PushLimits { widgets_max: 2, ..limits() });
        for widget in ["a", "b"] {
            pushed.push(NOW, &sales(), widget, b"1").unwrap();
        }
        let refused = pushed.push(NOW, &sales(), "c", b"1");
        assert!(matches!(refused, Err(PushError::Limit(why)) if why.contains("push-widgets-max")), "{refused:?}");
        pushed.push(NOW, &sales(), "a", b"2").unwrap();
    }

    #[test]
    fn points_beyond_the_rate_wait_and_nobody_elses_do() {
        let mut pushed = Pushed::new(PushLimits { point_rate: 1, point_burst: 2, ..limits() });
        pushed.push(NOW, &sales(), "w", b"[1,2]").unwrap();
        assert_eq!(pushed.push(NOW, &sales(), "v", b"3"), Err(PushError::Rate(Duration::from_secs(1))));
        pushed.push(NOW, &DashboardId::parse("team/other").unwrap(), "w", b"3").unwrap();
        pushed.push(NOW + Duration::from_secs(1), &sales(), "v", b"3").unwrap();
    }

    #[test]
    fn a_dashboard_forgets_its_oldest_values_and_the_server_the_dashboard_that_rests_longest() {
        let one = bytes_of(&Point { at: 0, values: vec![("value".into(), Scalar::Number(1.0))] });
        let full = DASHBOARD_BYTES + RING_BYTES + 4 * one;
        let mut pushed = Pushed::new(PushLimits { dashboard_bytes_max: full, bytes_max: 2 * full, ..limits() });
        let id = |n: usize| DashboardId::parse(&format!("team/{n}")).unwrap();
        for n in 0..2 {
            for _ in 0..10 {
                pushed.push(NOW, &id(n), "w", b"1").unwrap();
            }
        }
        assert_eq!(pushed.bytes(), 2 * full);
        pushed.push(NOW, &id(2), "w", b"1").unwrap();
        assert!(!pushed.is_newer(&id(0), 0), "it was pushed to least recently");
        assert!(pushed.is_newer(&id(1), 0));
        assert_eq!(pushed.bytes(), full + DASHBOARD_BYTES + RING_BYTES + one);
    }

    #[test]
    fn a_dashboard_that_is_forgotten_has_nothing_and_takes_no_place() {
        let mut pushed = Pushed::new(limits());
        pushed.push(NOW, &sales(), "a", b"1").unwrap();
        pushed.forget_dashboard(&sales());
        assert_eq!((pushed.since(&sales(), 0).0["widgets"].clone(), pushed.bytes()), (json!({}), 0));
    }

    #[test]
    fn who_asks_again_gets_what_has_come_since() {
        let mut pushed = Pushed::new(limits());
        pushed.push(NOW, &sales(), "a", b"1").unwrap();
        let (_, next) = pushed.since(&sales(), 0);
        assert!(!pushed.is_newer(&sales(), next));
        pushed.push(NOW, &sales(), "b", b"2").unwrap();
        assert!(pushed.is_newer(&sales(), next));
        let (news, last) = pushed.since(&sales(), next);
        assert_eq!(news["widgets"], json!({ "b": [{ "at": 1_000_000, "values": { "value": 2.0 } }] }));
        assert_eq!(pushed.since(&sales(), last).0["widgets"], json!({}));
    }
}
