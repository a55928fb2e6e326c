//! The audit log, over REST: lines of JSON, as they are kept.

use tracing::warn;
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::access::parse_moment;

use crate::audit::Reading;
use crate::http::bytes_response;
use crate::http::reply::{Problem, Refused};
use crate::http::routes::Call;

/// How many lines are answered, and at most.
const LINES: usize = 1000;
const LINES_MAX: usize = 10_000;

/// `/api/audit`
pub(super) async fn read(call: Call) -> Result<Response, Refused> {
    let (reading, audit) = (reading(&call)?, call.site.audit.clone());
    drop(call);
    let lines = audit.read(&reading).await.map_err(|error| {
        warn!(%error, "the audit log is not read");
        Problem::StoreUnavailable
    })?;
    let body: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
    Ok(bytes_response(StatusCode::OK, "application/x-ndjson", body))
}

fn reading(call: &Call) -> Result<Reading, Problem> {
    let text =
        |name: &str| -> Result<Option<String>, Problem> { Ok(call.query(name)?.map(|value| value.into_owned())) };
    let number = |name: &str| -> Result<Option<u64>, Problem> {
        let number = |value: String| value.parse().map_err(|_| Problem::BadRequest("limit and after are numbers"));
        text(name)?.map(number).transpose()
    };
    let moment =
        |value: String| parse_moment(&value).ok_or(Problem::BadRequest("since is a time, as 2026-11-28T06:00:00Z"));
    let since = text("since")?.map(moment).transpose()?;
    let limit = number("limit")?.map_or(LINES, |limit| usize::try_from(limit).unwrap_or(usize::MAX).min(LINES_MAX));
    let (node, after) = (text("node")?, number("after")?);
    if after.is_some() && node.is_none() {
        return Err(Problem::BadRequest("after is the number of a node's line: say which node"));
    }
    Ok(Reading { node, after, since, actor: text("actor")?, target: text("target")?, limit })
}
