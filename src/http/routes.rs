//! Every route below `/api`, in one table: it dispatches, says what a caller has to be allowed, prints the OpenAPI document, and
//! `docs/API.md` is made of it. A route without a decision about who may call it does not compile.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt, poll_fn};
use warp::http::Method;
use warp::http::header::{self, HeaderMap};
use warp::reply::Response;
use ydash_proto::access::{Admission, Capabilities, Role, Target};
use ydash_proto::id::DashboardId;
use ydash_proto::wire::rights::SAID;

use crate::auth::REFUSED_AFTER;
use crate::http::editing::{JSON_PATCH, MERGE_PATCH};
use crate::http::operator::Curious;
use crate::http::reply::{Problem, Refused};
use crate::http::{
    Site, access, audit, cors, dashboards, docs, editing, events, history, inspector, listing, nodes, on, openapi,
    own_state, path, presence, pushed, token, trash,
};
use crate::metrics;

/// One thing that can be done.
pub(super) struct Route {
    pub(super) method: Method,
    /// With parameters in braces. `{name}` and `{path}` may hold slashes.
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    /// What it does, as a title.
    pub(super) title: &'static str,
    /// What there is to know about it, in Markdown.
    pub(super) about: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<Body>,
    /// What is answered when it was done.
    pub(super) answers: &'static [Answer],
    /// Statuses of problems beside those that every route has.
    pub(super) problems: &'static [u16],
    /// Shell commands, and what they print.
    pub(super) example: (&'static str, &'static str),
    pub(super) counted: metrics::Route,
    pub(super) run: fn(Call) -> BoxFuture<'static, Result<Response, Refused>>,
}

impl Route {
    /// Whether scripts of other origins may read its answers. What is for operators is shown by this server's own pages alone.
    fn is_for_pages(&self) -> bool {
        match self.needs {
            Needs::Nothing | Needs::Caller | Needs::Dashboard(_) | Needs::Keeper => true,
            Needs::Operator | Needs::Inspector => false,
        }
    }
}

/// What a caller has to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nobody is asked. It tells nothing of dashboards or users.
    Nothing,
    /// To operate the server, if anybody can be asked for that.
    Operator,
    /// The same, and else to be a browser on the server's own machine.
    Inspector,
    /// To be who the call is about, or what it says: it finds that out by itself.
    Caller,
    /// This, with the dashboard that the path names.
    Dashboard(Capabilities),
    /// To manage the dashboard that the path names; where no tokens are read nobody can, and whoever edits may.
    Keeper,
}

/// Something that a call may say beside its path and body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) place: In,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    Query,
    Header,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) types: &'static [&'static str],
    pub(super) about: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content: &'static str,
    pub(super) about: &'static str,
}

/// A request to a route, let in.
pub(super) struct Call {
    pub(super) site: Arc<Site>,
    pub(super) address: IpAddr,
    /// The dashboard, where the path names one.
    pub(super) target: Option<Target>,
    /// What stands in the path for each parameter, decoded but for `{name}` and `{path}`.
    parameters: Vec<(&'static str, String)>,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: BodyStream,
}

/// A body as it arrives.
pub(super) type BodyStream = BoxStream<'static, Result<Bytes, warp::Error>>;

impl Call {
    /// The dashboard that the path names.
    pub(super) fn dashboard(&self) -> DashboardId {
        self.target.as_ref().expect("its route needs a dashboard").dashboard.clone()
    }

    /// Who calls, as far as verified.
    pub(super) fn author(&self) -> Admission {
        self.target.as_ref().expect("its route needs a dashboard").admission.clone()
    }

    /// What the path says for a parameter.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    /// A value of the query, decoded; empty for a key without one.
    pub(super) fn query(&self, key: &str) -> Result<Option<Cow<'_, str>>, Problem> {
        let Some(value) = path::query_value(&self.query, key) else { return Ok(None) };
        path::decode(value).map(Some).ok_or(Problem::BadRequest("a value of the query is not UTF-8"))
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        value.to_str().map(Some).map_err(|_| Problem::BadRequest("a header has bytes that are not ASCII"))
    }
}

/// The shared beginning of a body's stream, whatever it is made of.
pub(super) fn body_stream<S, B>(body: S) -> BodyStream
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf,
{
    body.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))).boxed()
}

/// A request below `/api` as it comes.
pub(super) struct Incoming {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) address: IpAddr,
    pub(super) body: BodyStream,
}

/// Answers a request below `/api`.
pub(super) async fn dispatch(site: Arc<Site>, incoming: Incoming) -> Response {
    let path = incoming.path.clone();
    // Of a page that may connect: others do not get here.
    let origin = incoming.headers.get(header::ORIGIN).cloned();
    let asks_first = incoming.method == Method::OPTIONS
        && origin.is_some()
        && incoming.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let found = find(&incoming.method, &path);
    let is_shared = match &found {
        Found::Route(route, _) | Found::OtherMethods(route) => route.is_for_pages(),
        Found::Nothing => true,
    };
    let asked_at = Arc::new(Mutex::new(Instant::now()));
    let incoming = Incoming { body: noting_end(incoming.body, Arc::clone(&asked_at)), ..incoming };
    let (counted, answered) = match found {
        Found::Route(route, parameters) => (route.counted, call(Arc::clone(&site), route, parameters, incoming).await),
        Found::OtherMethods(route) if asks_first && is_shared => {
            let methods = ROUTES.iter().filter(|other| other.path == route.path).map(|other| &other.method);
            (route.counted, Ok(cors::preflight(methods)))
        }
        Found::OtherMethods(route) => (route.counted, Err(Problem::MethodNotAllowed.into())),
        Found::Nothing => (metrics::Route::Unknown, Err(Problem::NotFound.into())),
    };
    if answered.as_ref().is_err_and(Refused::is_about_rights) {
        let asked_at = *asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until((asked_at + REFUSED_AFTER).into()).await;
    }
    let mut response = on(counted, answered.unwrap_or_else(|refused| site.refuse(refused)));
    if let Some(origin) = origin.filter(|_| is_shared) {
        cors::share(&mut response, origin);
    }
    response
}

/// A body that notes when it ends. Some routes read the record of a dashboard that the body names: a refusal that was held back from the
/// beginning of a slow body would show whether that record was in memory.
fn noting_end(body: BodyStream, ended_at: Arc<Mutex<Instant>>) -> BodyStream {
    let end = poll_fn(move |_| {
        *ended_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Poll::Ready(None)
    });
    body.chain(end).boxed()
}

async fn call(
    site: Arc<Site>,
    route: &'static Route,
    parameters: Vec<(&'static str, &str)>,
    incoming: Incoming,
) -> Result<Response, Refused> {
    let address = incoming.address;
    let target = match route.needs {
        Needs::Nothing | Needs::Caller => None,
        Needs::Operator | Needs::Inspector => {
            let (headers, query) = (incoming.headers.clone(), incoming.query.clone());
            let curious = Curious { address, headers, query };
            match route.needs {
                Needs::Inspector => curious.check_inspector(&site).await?,
                _ => curious.check(&site).await?,
            }
            None
        }
        Needs::Dashboard(_) | Needs::Keeper => {
            let name = parameters.iter().find(|(name, _)| *name == NAME).map_or("", |(_, name)| *name);
            let dashboard = path::dashboard(name).map_err(|_| Problem::BadName)?;
            // Counted here, where the method fits: whatever is tried before is cheap, and tokens are not.
            site.addresses.request(address, Instant::now()).map_err(Problem::Crowded)?;
            let token = token::find(&incoming.headers, &incoming.query);
            let from = token::whence(address, &incoming.headers);
            let wanted = match route.needs {
                Needs::Dashboard(needed) => needed,
                _ => Capabilities::MANAGE,
            };
            let admitted = site.admit(&dashboard, &from, token.as_deref(), wanted).wait().await;
            let admission = admitted.map_err(Problem::from)?;
            site.allowances.call(&admission.principal).map_err(Problem::UserLimit)?;
            let may = match route.needs {
                Needs::Dashboard(_) => admission.access.may(wanted),
                _ => trash::keeps(&site, &admission),
            };
            // Whoever only reads was counted as coming.
            if route.method != Method::GET {
                let kind = if may { "rest.called" } else { "rest.refused" };
                site.audit.count(kind, admission.principal.author(), dashboard.as_str());
            }
            if !may {
                return Err(Problem::Forbidden.into());
            }
            Some(Target { dashboard, admission })
        }
    };
    let decoded = |(name, value): (&'static str, &str)| {
        let value = if [NAME, PATH].contains(&name) { Cow::Borrowed(value) } else { path::decode(value)? };
        Some((name, value.into_owned()))
    };
    let parameters: Option<Vec<_>> = parameters.into_iter().map(decoded).collect();
    let parameters = parameters.ok_or(Problem::BadRequest("the path is not UTF-8"))?;
    let Incoming { query, headers, body, .. } = incoming;
    (route.run)(Call { site, address, target, parameters, query, headers, body }).await
}

/// What a request that is refused at the door is counted under.
pub(super) fn counted(path: &str) -> Option<metrics::Route> {
    match find(&Method::GET, path) {
        Found::Route(route, _) | Found::OtherMethods(route) => Some(route.counted),
        Found::Nothing => None,
    }
}

/// Parameters that take the rest of the path, slashes and all.
pub(super) const NAME: &str = "name";
const PATH: &str = "path";

enum Found<'p> {
    Route(&'static Route, Vec<(&'static str, &'p str)>),
    /// There is something, for other methods.
    OtherMethods(&'static Route),
    Nothing,
}

fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let fitting = ROUTES.iter().filter_map(|route| Some((route, matches(route.path, path)?)));
    // The last of those with as many would count, but each path is one pattern's.
    let Some((first, parameters)) = fitting.max_by_key(|(route, _)| route.path.matches('/').count()) else {
        return Found::Nothing;
    };
    match ROUTES.iter().find(|route| route.path == first.path && route.method == *method) {
        Some(route) => Found::Route(route, parameters),
        None => Found::OtherMethods(first),
    }
}

/// What stands in `path` for the parameters of `pattern`, all still encoded.
///
/// Behind a parameter that may hold slashes the last segments decide: a dashboard whose own name ends like them is reached with `%2F`.
fn matches<'p>(pattern: &'static str, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
    let Some((prefix, open)) = [NAME, PATH].iter().find_map(|name| {
        let (prefix, rest) = pattern.split_once(&format!("{{{name}}}"))?;
        Some((prefix, (*name, rest)))
    }) else {
        return (pattern == path).then(Vec::new);
    };
    let mut rest = path.strip_prefix(prefix)?;
    let (name, suffix) = open;
    let mut parameters = Vec::new();
    for segment in suffix.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        let (before, last) = rest.rsplit_once('/')?;
        match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
            Some(parameter) if !last.is_empty() => parameters.push((parameter, last)),
            None if segment == last => {}
            _ => return None,
        }
        rest = before;
    }
    parameters.push((name, rest));
    Some(parameters)
}

const fn query(name: &'static str, about: &'static str) -> Parameter {
    Parameter { place: In::Query, name, about }
}

const fn in_header(name: &'static str, about: &'static str) -> Parameter {
    Parameter { place: In::Header, name, about }
}

const fn json(status: u16, about: &'static str) -> Answer {
    Answer { status, content: JSON, about }
}

const JSON: &str = "application/json";
const AT: Parameter = query("at", "a JSON pointer: only what is there");
/// What every write of JSON may say beside its body.
const WRITING: &[Parameter] = &[
    AT,
    query("dry-run", "`true`: nothing is written, the answer says what would change"),
    in_header("If-Match", "versions, or `*`: unless one of them is there, nothing is written and the answer is 412"),
    in_header("If-None-Match", "versions, or `*`: if one of them is there, nothing is written and the answer is 412"),
];
const EDITED: &[Answer] = &[json(200, "durable, or what would change"), json(201, "durable; nothing was there before")];
/// What a list of dashboards may be asked for.
const LISTING: &[Parameter] = &[
    query("limit", "how many, 1 to 200; 50 if it is not said"),
    query("after", "a name: those behind it, in byte order, as `next` of the page before says"),
    query("q", "a text of at most 256 bytes: those that have it in their name or title, in whatever case"),
];
const EVENTS: &str = "text/event-stream";
const BYTES: &str = "application/octet-stream";
const READ: Needs = Needs::Dashboard(Capabilities::READ);
const WRITE: Needs = Needs::Dashboard(Capabilities::WRITE);
const HISTORY: Needs = Needs::Dashboard(Capabilities::HISTORY);
/// To name versions is to look back, and to change what is kept of the dashboard.
const NAME_VERSIONS: Needs = Needs::Dashboard(Capabilities::HISTORY.and(Capabilities::WRITE));
const SHARE: Needs = Needs::Dashboard(Capabilities::SHARE);
const MANAGE: Needs = Needs::Dashboard(Capabilities::MANAGE);
const CHANGED: &[Answer] = &[json(200, "applied on every node"), json(202, "written; some nodes have not confirmed")];

/// All of them, in the order of `docs/API.md`. Of those that fit a path, the one with most segments counts.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::PUT,
        path: "/api/dashboards/{name}",
        needs: WRITE,
        title: "Make a dashboard show this",
        about: "\
            Begins the dashboard, or edits it until it shows the body. It leaves alone what is shown already: putting back what was\n\
            read writes nothing, and what JSON cannot hold (formats, XML, `Uint8Array`, `BigInt`) stays where its JSON stays.\n\
            Objects become shared maps, lists shared arrays, texts that are roots shared texts; beside plain objects new ones are\n\
            plain. Roots that are not in the body are emptied; roots that are empty leave no trace in a dashboard that is new.\n\
            \n\
            A whole says nothing of what others did meanwhile. With `Ydash-Base`, the `ETag` of what the body was made from, only\n\
            what differs from that is changed, and what others added stays; this node remembers the versions that it answered for\n\
            ten minutes, and answers 409 `base_unknown` for others. With `If-Match` it answers 412 if another version is there. With\n\
            neither the body wins.",
        parameters: &[
            AT,
            WRITING[1],
            WRITING[2],
            WRITING[3],
            in_header("Ydash-Base", "the version that the body was made from, for a PUT of the whole"),
        ],
        body: Some(Body {
            types: &[JSON],
            about: "JSON of at most 8 MiB; of a whole that is new, at most 1 MiB and an object of root types",
        }),
        answers: EDITED,
        problems: &[408, 409, 412, 413, 422],
        example: (
            r#"curl -s -X PUT --data '{"meta":{"title":"Sales"},"widgets":{"a":{"type":"gauge","options":{"max":10}}}}' \
  $api/dashboards/acme/sales"#,
            r#"{"changed":true,"durable":true}"#,
        ),
        counted: metrics::Route::Dashboard,
        run: |call| Box::pin(editing::put(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}",
        needs: READ,
        title: "Read a dashboard as JSON",
        about: "\
            An object of its root types, by their names. A dashboard that nobody has written to is not there. `ETag` is the version\n\
            of what is shown: equal content has equal versions, on every node.",
        parameters: &[AT, in_header("If-None-Match", "versions: if one of them is there, the answer is 304")],
        body: None,
        answers: &[
            json(200, "what it shows"),
            Answer { status: 304, content: "", about: "one of these versions is there" },
        ],
        problems: &[422],
        example: (
            r#"curl -s $api/dashboards/acme/sales
echo
curl -s "$api/dashboards/acme/sales?at=/meta/title""#,
            r#"{"meta":{"title":"Sales"},"widgets":{"a":{"options":{"max":10},"type":"gauge"}}}
"Sales""#,
        ),
        counted: metrics::Route::Dashboard,
        run: |call| Box::pin(editing::read(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/dashboards/{name}",
        needs: WRITE,
        title: "Patch a dashboard",
        about: "\
            A JSON Merge Patch (RFC 7396) or a JSON Patch (RFC 6902) of at most 1,000 operations, carried out on what is shown when\n\
            its turn comes, all of it or nothing. Members that it does not name stay, so it needs no version; `test` operations\n\
            and `If-Match` are there for those who want to be sure.",
        parameters: WRITING,
        body: Some(Body { types: &[MERGE_PATCH, JSON_PATCH], about: "the patch, at most 8 MiB" }),
        answers: EDITED,
        problems: &[408, 409, 412, 413, 415, 422],
        example: (
            r#"curl -s -X PATCH -H 'Content-Type: application/merge-patch+json' \
  --data '{"widgets":{"a":{"options":{"max":20}}}}' $api/dashboards/acme/sales
echo
curl -s -X PATCH -H 'Content-Type: application/json-patch+json' \
  --data '[{"op":"test","path":"/max","value":20},{"op":"add","path":"/min","value":5}]' \
  "$api/dashboards/acme/sales?at=/widgets/a/options""#,
            r#"{"changed":true,"durable":true}
{"changed":true,"durable":true}"#,
        ),
        counted: metrics::Route::Dashboard,
        run: |call| Box::pin(editing::patch(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/dashboards/{name}",
        needs: WRITE,
        title: "Delete a dashboard, or what is at a place",
        about: "\
            With `at`, removes a member of an object, or an element of a list. A root stays, with nothing in it.\n\
            \n\
            Without `at`, the dashboard goes into the trash. That needs `manage`, or, where no tokens are read, the right to edit;\n\
            other callers are told to say `at`. Every node sends the members away, and nobody opens or writes to the dashboard any\n\
            more: calls are answered 410 `deleted`, sockets closed with 4404. It can be taken back for 30 days (`trash`).\n\
            `purge=true` ends it for good, with everything of the name that is in the trash.",
        parameters: &[
            query("at", "a JSON pointer: what is to be removed; without, the dashboard itself"),
            query("purge", "`true`: for good, whether it is in the trash or not"),
            query("life", "with `purge`: only what was deleted as this life of the name"),
            WRITING[1],
            WRITING[2],
            WRITING[3],
        ],
        body: None,
        answers: &[
            json(200, "durable, or what would change; or deleted"),
            json(202, "deleted; some nodes have not confirmed"),
        ],
        problems: &[412, 422],
        example: (
            r#"curl -s -X DELETE "$api/dashboards/acme/sales?at=/widgets/a/options/min""#,
            r#"{"changed":true,"durable":true}"#,
        ),
        counted: metrics::Route::Dashboard,
        run: |call| Box::pin(editing::remove(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/restore-deleted",
        needs: Needs::Keeper,
        title: "Take a dashboard back from the trash",
        about: "Whole, with its history, grants and links; who had it open goes on where they were. Needs what deleting needs. While a dashboard of\nthe name exists, the answer is 409 `exists`.",
        parameters: &[query("life", "which of those that were deleted under the name; without, the last one")],
        body: None,
        answers: &[json(200, "it is back")],
        problems: &[409],
        example: (
            r#"curl -s -X PUT --data '{"meta":{"title":"Draft"}}' $api/dashboards/acme/draft
echo
curl -s -X DELETE $api/dashboards/acme/draft | sed -E 's/"until":"[^"]*"/"until":"…"/'
echo
curl -s $api/dashboards/acme/draft | sed 's/.*"error":"\([a-z_]*\)".*/\1/'
echo
curl -s "$api/workspaces/acme/trash" | sed -E 's/"(deleted_at|until)":"[^"]*"/"\1":"…"/g'
echo
curl -s -X POST $api/dashboards/acme/draft/restore-deleted
echo
curl -s $api/dashboards/acme/draft"#,
            r#"{"changed":true,"durable":true}
{"applied":true,"deleted":true,"life":0,"until":"…"}
deleted
{"next":null,"trash":[{"dashboard":"acme/draft","deleted":[{"deleted_at":"…","deleted_by":null,"life":0,"until":"…"}],"exists":false}]}
{"applied":true,"life":0,"restored":true}
{"meta":{"title":"Draft"}}"#,
        ),
        counted: metrics::Route::Dashboard,
        run: |call| Box::pin(trash::restore(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards",
        needs: Needs::Caller,
        title: "List dashboards",
        about: "\
            Dashboards that the caller may read, by name. `title` is `title` in the root map `meta`; `updated_at` and `updated_by`\n\
            are of the last edit, `null` if that is not known or its author was anonymous; `members` are the sessions that this node\n\
            knows of; `role` and `may` say what the caller may do. Private documents and channels are not listed.\n\
            \n\
            The next page begins at `next`, which is `null` on the last one; the `Link` header has its address. A page may be short,\n\
            or empty, and go on all the same: one page looks at 1,000 names at most. A list opens nothing. Of a dashboard that\n\
            nobody has open here, it tells what was known at its last snapshot, which is at most `snapshot-interval` (60 s) old\n\
            while others edit it.",
        parameters: LISTING,
        body: None,
        answers: &[json(200, "`{\"items\": […], \"next\": …}`")],
        problems: &[400],
        example: (
            r#"curl -s "$api/dashboards?q=SALES&limit=10" | sed -E 's/"updated_at":"[^"]*"/"updated_at":"…"/'"#,
            r#"{"items":[{"may":["read","presence","write","stateless","history"],"members":0,"name":"acme/sales","role":"editor","title":"Sales","updated_at":"…","updated_by":null}],"next":null}"#,
        ),
        counted: metrics::Route::Listing,
        run: |call| Box::pin(listing::all(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/workspaces/{name}/dashboards",
        needs: Needs::Caller,
        title: "List dashboards of a workspace",
        about: "As above, of one workspace.",
        parameters: LISTING,
        body: None,
        answers: &[json(200, "`{\"items\": […], \"next\": …}`")],
        problems: &[400],
        example: (
            r#"curl -s $api/workspaces/acme/dashboards | sed -E 's/.*"(name":"[^"]*)".*/\1/'"#,
            r#"name":"acme/sales"#,
        ),
        counted: metrics::Route::Listing,
        run: |call| Box::pin(listing::of_workspace(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/dashboards/{name}/widgets/{id}",
        needs: WRITE,
        title: "Make a widget be this",
        about: "\
            Writes a widget and its layout as `PUT` of a dashboard would, and touches nothing else. Without `layout` that stays as\n\
            it is; `null` removes it.",
        parameters: &[WRITING[1], WRITING[2], WRITING[3]],
        body: Some(Body { types: &[JSON], about: "`{\"widget\": {…}, \"layout\": {…}}`, at most 8 MiB" }),
        answers: EDITED,
        problems: &[408, 409, 412, 413, 422],
        example: (
            r#"curl -s -X PUT --data '{"widget":{"type":"text","text":"Hello"},"layout":{"x":0,"y":4,"w":6,"h":2}}' \
  $api/dashboards/acme/sales/widgets/b"#,
            r#"{"changed":true,"durable":true}"#,
        ),
        counted: metrics::Route::Widgets,
        run: |call| Box::pin(editing::put(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/widgets/{id}",
        needs: READ,
        title: "Read a widget",
        about: "`{\"widget\": {…}, \"layout\": {…}}`: what `widgets` and `layout` hold under its id. Its version changes only with itself.",
        parameters: &[in_header("If-None-Match", "versions: if one of them is there, the answer is 304")],
        body: None,
        answers: &[
            json(200, "the widget"),
            Answer { status: 304, content: "", about: "one of these versions is there" },
        ],
        problems: &[422],
        example: (
            r#"curl -s $api/dashboards/acme/sales/widgets/b"#,
            r#"{"layout":{"h":2,"w":6,"x":0,"y":4},"widget":{"text":"Hello","type":"text"}}"#,
        ),
        counted: metrics::Route::Widgets,
        run: |call| Box::pin(editing::read(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/dashboards/{name}/widgets/{id}",
        needs: WRITE,
        title: "Patch a widget",
        about: "As `PATCH` of a dashboard, on `{\"widget\": {…}, \"layout\": {…}}`.",
        parameters: &[WRITING[1], WRITING[2], WRITING[3]],
        body: Some(Body { types: &[MERGE_PATCH, JSON_PATCH], about: "the patch, at most 8 MiB" }),
        answers: EDITED,
        problems: &[408, 409, 412, 413, 415, 422],
        example: (
            r#"curl -s -X PATCH -H 'Content-Type: application/merge-patch+json' --data '{"layout":{"x":6}}' \
  "$api/dashboards/acme/sales/widgets/b?dry-run=true" | sed -E 's/"bytes":[0-9]+/"bytes":…/; s/"etag":"[^,]*"/"etag":"…"/'"#,
            r#"{"bytes":…,"changed":true,"changes":[{"op":"replace","path":"/layout/b/x"}],"etag":"…"}"#,
        ),
        counted: metrics::Route::Widgets,
        run: |call| Box::pin(editing::patch(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/dashboards/{name}/widgets/{id}",
        needs: WRITE,
        title: "Remove a widget",
        about: "With its layout.",
        parameters: &[WRITING[1], WRITING[2], WRITING[3]],
        body: None,
        answers: &[json(200, "durable, or what would change")],
        problems: &[412, 422],
        example: (
            r#"curl -s -X DELETE $api/dashboards/acme/sales/widgets/b
echo
curl -s $api/dashboards/acme/sales/widgets/b | sed 's/.*"error":"\([a-z_]*\)".*/\1/'"#,
            r#"{"changed":true,"durable":true}
nothing_there"#,
        ),
        counted: metrics::Route::Widgets,
        run: |call| Box::pin(editing::remove(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/widgets/{id}/data",
        needs: WRITE,
        title: "Push a value for a widget",
        about: "\
            Gives a value to widgets with `options.source` `push`. Values are kept apart from the document, which would remember\n\
            each for ever: in memory, the last 3,600 points of a widget, until the node ends. With several nodes, pages see what was\n\
            pushed to the node that they are connected to. The widget need not be there. More than 200 points per second for one\n\
            dashboard, after 7,200 at once, are answered 429.",
        parameters: &[],
        body: Some(Body {
            types: &[JSON],
            about: "\
                at most 256 KiB: a number, a text, an object of these by series with `at` in milliseconds since 1970 if it likes, or a \
                list of at most 3,600 of these",
        }),
        answers: &[json(202, "how many points it was")],
        problems: &[400, 408, 413, 422],
        example: (
            r#"curl -s --data 42 $api/dashboards/acme/sales/widgets/b/data
echo
curl -s --data '[{"at":1767225600000,"orders":12},{"at":1767225660000,"orders":15}]' \
  $api/dashboards/acme/sales/widgets/c/data"#,
            r#"{"points":1}
{"points":2}"#,
        ),
        counted: metrics::Route::Pushed,
        run: |call| Box::pin(pushed::push(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/pushed",
        needs: READ,
        title: "Read what was pushed",
        about: "\
            All points that are kept, by widget, oldest first. With `Accept: text/event-stream`, a stream of server-sent events:\n\
            `all`, then `news` with what has come since.",
        parameters: &[in_header("Accept", "`text/event-stream` for a stream")],
        body: None,
        answers: &[json(200, "the points")],
        problems: &[],
        example: (
            r#"curl -s $api/dashboards/acme/sales/pushed | sed 's/.*\("c":[^]]*]\).*/\1/'"#,
            r#""c":[{"at":1767225600000,"values":{"orders":12.0}},{"at":1767225660000,"values":{"orders":15.0}}]"#,
        ),
        counted: metrics::Route::Pushed,
        run: |call| Box::pin(pushed::read(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/events",
        needs: READ,
        title: "Follow a dashboard",
        about: "\
            A stream of server-sent events, which tells that something happened, and never what the dashboard shows. It begins with\n\
            where the dashboard stands.\n\
            \n\
            | event | data |\n\
            |---|---|\n\
            | `change` | `{\"position\", \"at\", \"by\"}`: where the log ends, and the time and author of the last edit that came through this node since the last event, or `null` |\n\
            | `presence` | `{\"members\"}`: how many are here; somebody came, went, or shows something else |\n\
            | `end` | `{\"code\", \"reason\"}`: as sockets are closed, for example 4403 when the caller may not read any longer |\n\
            \n\
            Four events a second are the most; several edits are told as one. The `id` of an event is the position: a client that comes\n\
            back with it as `Last-Event-ID`, as `EventSource` does, is told of a change only if there was one meanwhile. Edits of other\n\
            nodes are told, too, but this node's position includes them only after it has read the store. If other nodes have, or had,\n\
            the dashboard open, a client that comes back is therefore always told of a change. A stream counts as a session of its\n\
            address. Read what changed with `GET`, which `ETag` makes cheap.",
        parameters: &[in_header("Last-Event-ID", "the `id` of the last event of an earlier stream")],
        body: None,
        answers: &[Answer { status: 200, content: EVENTS, about: "the events" }],
        problems: &[],
        example: (
            r#"curl -sN --max-time 1 $api/dashboards/acme/sales/events | grep '^event'"#,
            "event: change\nevent: presence",
        ),
        counted: metrics::Route::Events,
        run: |call| Box::pin(events::follow(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/presence",
        needs: Needs::Dashboard(Capabilities::PRESENCE),
        title: "Be shown among those who are here",
        about: "\
            Shows an agent or a job to everybody who has the dashboard open, as a member like any other, with a cursor if its state has\n\
            one. The server adds who it verified. The lease ends after `ttl` seconds; a call with its `clientId` renews it and shows\n\
            another state. With several nodes, another node does not know the lease: it gives one with another `clientId`, and the\n\
            first one ends with its time. A lease counts as a session of its address.",
        parameters: &[],
        body: Some(Body {
            types: &[JSON],
            about: "\
                `state`, an object as Yjs awareness has it, of at most `awareness-state-bytes-max`; `ttl`, 1 to 60 seconds, 30 if it \
                is not said; `clientId`, to renew a lease",
        }),
        answers: &[json(200, "renewed"), json(201, "shown")],
        problems: &[400, 408, 413],
        example: (
            r#"curl -s --data '{"state":{"user":{"name":"Report bot"}},"ttl":5}' $api/dashboards/acme/sales/presence |
  sed 's/[0-9]\{3,\}/1234/'"#,
            r#"{"clientId":1234,"ttl":5}"#,
        ),
        counted: metrics::Route::Presence,
        run: |call| Box::pin(presence::lease(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/presence",
        needs: READ,
        title: "Read who is here",
        about: "\
            The presence states of everybody who has the dashboard open, on all nodes. The server sets `state.verified`: the user that it\n\
            has verified.",
        parameters: &[],
        body: None,
        answers: &[json(200, "`{\"presence\": [{\"clientId\", \"state\"}, …]}`")],
        problems: &[],
        example: (
            r#"curl -s $api/dashboards/acme/sales/presence | grep -o '"user":{[^}]*}'"#,
            r#""user":{"name":"Report bot"}"#,
        ),
        counted: metrics::Route::Presence,
        run: |call| Box::pin(presence::read(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/dashboards/{name}/presence/{id}",
        needs: Needs::Dashboard(Capabilities::PRESENCE),
        title: "Be shown no longer",
        about: "Ends a lease of the caller. `ended` says whether this node knew it.",
        parameters: &[],
        body: None,
        answers: &[json(200, "`{\"ended\"}`")],
        problems: &[],
        example: (r#"curl -s -X DELETE $api/dashboards/acme/sales/presence/1234"#, r#"{"ended":false}"#),
        counted: metrics::Route::Presence,
        run: |call| Box::pin(presence::end(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/state",
        needs: READ,
        title: "Read a dashboard as a Yjs update",
        about: "One Yjs update v1, for `Y.applyUpdate`. A dashboard that nobody has written to is an empty one.",
        parameters: &[query("sv", "a state vector in base64url: only what is missing there is answered")],
        body: None,
        answers: &[Answer { status: 200, content: BYTES, about: "the update" }],
        problems: &[],
        example: (r#"curl -s $api/dashboards/acme/sales/state -o state.bin"#, ""),
        counted: metrics::Route::State,
        run: |call| Box::pin(dashboards::read_state(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/at/{version}",
        needs: HISTORY,
        title: "Read a version of a dashboard",
        about: "\
            As JSON. A version is everything up to a log position (`812`), up to a time (`2026-11-24T14:02:00Z`), or up to so long\n\
            before now (`-2h`, with `s`, `m`, `h` or `d`); or the id of one that is kept with its content. The others go back as far as\n\
            `history` reaches; see `docs/HISTORY.md`.",
        parameters: &[query("at", "a JSON pointer: only what is there")],
        body: None,
        answers: &[json(200, "the version")],
        problems: &[],
        example: ("curl -s $api/dashboards/acme/sales/at/-0s?at=/meta", r#"{"title":"Sales"}"#),
        counted: metrics::Route::History,
        run: |call| Box::pin(history::read(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/at/{version}/state",
        needs: HISTORY,
        title: "Read a version as a Yjs update",
        about: "One Yjs update v1, for `Y.applyUpdate`. Over a socket, a version is the dashboard `workspace/@at/<version>/<name>`.",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, content: BYTES, about: "the update" }],
        problems: &[],
        example: ("curl -s $api/dashboards/acme/sales/at/-0s/state -o then.bin", ""),
        counted: metrics::Route::History,
        run: |call| Box::pin(history::read_state(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/at/{version}/copy",
        needs: HISTORY,
        title: "Make a new dashboard of a version",
        about: "The new dashboard has the version's content, and a history of its own. The caller needs the right to edit under its name.",
        parameters: &[],
        body: Some(Body { types: &[JSON], about: "`{\"name\": \"workspace/name\"}`" }),
        answers: &[json(201, "durable")],
        problems: &[400, 408, 409, 413, 422],
        example: (
            r#"curl -s --data '{"name":"acme/sales-then"}' $api/dashboards/acme/sales/at/-0s/copy"#,
            r#"{"durable":true,"name":"acme/sales-then"}"#,
        ),
        counted: metrics::Route::History,
        run: |call| Box::pin(history::copy(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/versions",
        needs: NAME_VERSIONS,
        title: "Name what a dashboard shows",
        about: "\
            Keeps it with its content, for ever. It is answered when it is durable. A name has at most 200 bytes, a note 4096. A dashboard\n\
            keeps at most 1000 versions, of 256 MiB in all; beyond, the answer is 422 `document_limit`.",
        parameters: &[],
        body: Some(Body {
            types: &[JSON],
            about: "`{\"name\": \"Q3\", \"note\": \"as agreed\"}`; the note may be left out",
        }),
        answers: &[json(201, "durable")],
        problems: &[400, 408, 413, 422],
        example: (
            r#"curl -s --data '{"name":"Q3","note":"as agreed"}' $api/dashboards/acme/sales/versions | sed -E 's/"(at|id|position)":"[^"]*"/"\1":"…"/g; s/"bytes":[0-9]+/"bytes":0/g'"#,
            r#"{"at":"…","by":null,"bytes":0,"id":"…","name":"Q3","note":"as agreed","position":"…","why":"named"}"#,
        ),
        counted: metrics::Route::History,
        run: |call| Box::pin(history::keep(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/versions",
        needs: HISTORY,
        title: "List versions that are kept",
        about: "\
            Those that people have named, and those that ydash has kept before something destructive (`why` says what), newest first.\n\
            Read one under `…/at/<id>`, or as the dashboard `workspace/@at/<id>/<name>`. `position` is where the log ended then; null if\n\
            the version was imported.",
        parameters: &[],
        body: None,
        answers: &[json(200, "the versions")],
        problems: &[],
        example: (
            r#"curl -s $api/dashboards/acme/sales/versions | sed -E 's/"(at|id|position)":"[^"]*"/"\1":"…"/g; s/"bytes":[0-9]+/"bytes":0/g'"#,
            r#"{"versions":[{"at":"…","by":null,"bytes":0,"id":"…","name":"Q3","note":"as agreed","position":"…","why":"named"}]}"#,
        ),
        counted: metrics::Route::History,
        run: |call| Box::pin(history::list(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/dashboards/{name}/versions/{id}",
        needs: NAME_VERSIONS,
        title: "Rename a version",
        about: "A version that ydash has kept by itself stays for ever once it has a name. No version of the id is answered 404 `no_version`.",
        parameters: &[],
        body: Some(Body { types: &[JSON], about: "`{\"name\": …, \"note\": …}`, or one of the two" }),
        answers: &[json(200, "the version")],
        problems: &[400, 408, 413],
        example: (
            r#"id=$(curl -s $api/dashboards/acme/sales/versions | sed 's/.*"id":"\([^"]*\)".*/\1/')
curl -s -X PATCH --data '{"name":"Q3, final"}' $api/dashboards/acme/sales/versions/$id | sed -E 's/"(at|id|position)":"[^"]*"/"\1":"…"/g; s/"bytes":[0-9]+/"bytes":0/g'"#,
            r#"{"at":"…","by":null,"bytes":0,"id":"…","name":"Q3, final","note":"as agreed","position":"…","why":"named"}"#,
        ),
        counted: metrics::Route::History,
        run: |call| Box::pin(history::describe(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/dashboards/{name}/versions/{id}",
        needs: NAME_VERSIONS,
        title: "Remove a version",
        about: "It cannot be taken back. Sessions that have it open keep it until they leave.",
        parameters: &[],
        body: None,
        answers: &[json(200, "removed")],
        problems: &[],
        example: (
            r#"id=$(curl -s $api/dashboards/acme/sales/versions | sed 's/.*"id":"\([^"]*\)".*/\1/')
curl -s -X DELETE $api/dashboards/acme/sales/versions/$id"#,
            r#"{"removed":true}"#,
        ),
        counted: metrics::Route::History,
        run: |call| Box::pin(history::remove(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/updates",
        needs: WRITE,
        title: "Write a Yjs update",
        about: "An edit like any other: all members see it. It is answered when it is durable, and writing it twice is harmless.",
        parameters: &[],
        body: Some(Body { types: &[BYTES], about: "one Yjs update v1 of at most `frame-bytes-max`" }),
        answers: &[json(200, "durable")],
        problems: &[400, 408, 409, 413, 422],
        example: (
            r#"curl -s --data-binary @state.bin $api/dashboards/acme/copy/updates
echo
curl -s "$api/dashboards/acme/copy?at=/meta""#,
            r#"{"durable":true}
{"title":"Sales"}"#,
        ),
        counted: metrics::Route::Updates,
        run: |call| Box::pin(dashboards::write_update(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/stateless",
        needs: Needs::Dashboard(Capabilities::STATELESS),
        title: "Send a message to who is there",
        about: "A stateless message to the Hocuspocus clients that have the dashboard open. It is kept nowhere.",
        parameters: &[],
        body: Some(Body { types: &["text/plain"], about: "UTF-8, at most `stateless-bytes-max`" }),
        answers: &[json(202, "sent")],
        problems: &[400, 408, 413],
        example: (r#"curl -s --data '{"toast":"hi"}' $api/dashboards/acme/sales/stateless"#, r#"{"sent":true}"#),
        counted: metrics::Route::Stateless,
        run: |call| Box::pin(dashboards::send_stateless(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/access",
        needs: MANAGE,
        title: "Read who may do what",
        about: "\
            The grants of a dashboard, and whether it is restricted. With `user`, what that user may do, and for each grant whether\n\
            it counts or what is missing; of the user's token only what the query says is known. See `docs/AUTH.md`.",
        parameters: &[
            query("user", "explain what this user may do"),
            query("groups", "groups of the user, with commas between them"),
            query("address", "where the user comes from"),
        ],
        body: None,
        answers: &[json(200, "grants with their version, or an explanation")],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::read(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/dashboards/{name}/access",
        needs: MANAGE,
        title: "Say who may do what",
        about: "\
            Replaces the grants of a dashboard. `\"applied\": true` says that every node has taken it: from then on nothing is taken\n\
            from anybody or sent to anybody that the grants do not allow. 202 names nodes that have not confirmed.",
        parameters: &[in_header("If-Match", "the version that was read: if another one is there, the answer is 412")],
        body: Some(Body {
            types: &[JSON],
            about: "`{\"grants\": [{\"subject\": \"user:ada\", \"role\": \"editor\"}], \"restricted\": false}`",
        }),
        answers: CHANGED,
        problems: &[408, 412, 413, 422],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::write(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/links",
        needs: SHARE,
        title: "List links",
        about: "Links that open the dashboard, without their secrets.",
        parameters: &[],
        body: None,
        answers: &[json(200, "the links")],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::links(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/links",
        needs: SHARE,
        title: "Make a link",
        about: "A link that opens the dashboard to whoever has it. `link` in the answer is shown this once.",
        parameters: &[],
        body: Some(Body {
            types: &[JSON],
            about: "`{\"role\": \"viewer\"}`, with `label`, `origins`, `uses_max` and conditions",
        }),
        answers: &[json(201, "made"), json(202, "made; some nodes have not confirmed")],
        problems: &[408, 413, 422],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::make_link(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/dashboards/{name}/links/{id}",
        needs: SHARE,
        title: "Revoke a link or an invitation",
        about: "Sessions that came by it end before this is answered.",
        parameters: &[],
        body: None,
        answers: CHANGED,
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::revoke_link(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboards/{name}/collaborators",
        needs: SHARE,
        title: "List collaborators",
        about: "Users with a grant of their own, and open invitations.",
        parameters: &[],
        body: None,
        answers: &[json(200, "users and invitations")],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::collaborators(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/collaborators",
        needs: SHARE,
        title: "Add a collaborator, or invite somebody",
        about: "With `user`, gives that user a role. Without, makes an invitation, whose secret is shown this once.",
        parameters: &[],
        body: Some(Body {
            types: &[JSON],
            about: "`{\"user\": \"bob\", \"role\": \"editor\"}`, or `{\"role\": …, \"not_after\": …, \"email\": …}`",
        }),
        answers: &[json(200, "added"), json(201, "invited"), json(202, "done; some nodes have not confirmed")],
        problems: &[408, 413, 422],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::invite(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/dashboards/{name}/collaborators/{user}",
        needs: MANAGE,
        title: "Remove a collaborator",
        about: "Takes the grants away that the user has on the dashboard.",
        parameters: &[],
        body: None,
        answers: CHANGED,
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::remove_collaborator(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboards/{name}/invitations/accept",
        needs: Needs::Caller,
        title: "Accept an invitation",
        about: "Turns an invitation into a grant for whoever calls, once.",
        parameters: &[],
        body: Some(Body { types: &[JSON], about: "`{\"invitation\": \"yd_…\"}`" }),
        answers: CHANGED,
        problems: &[400, 408, 413, 422],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::accept(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/workspaces/{name}/access",
        needs: Needs::Caller,
        title: "Read who may do what in a workspace",
        about: "The grants of a workspace, for its owners.",
        parameters: &[],
        body: None,
        answers: &[json(200, "grants with their version")],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::read_workspace(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/workspaces/{name}/access",
        needs: Needs::Caller,
        title: "Say who may do what in a workspace",
        about: "As for a dashboard. A grant may have a `folder`.",
        parameters: &[in_header("If-Match", "the version that was read: if another one is there, the answer is 412")],
        body: Some(Body { types: &[JSON], about: "`{\"grants\": […]}`" }),
        answers: CHANGED,
        problems: &[400, 408, 412, 413, 422],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::write_workspace(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/workspaces/{name}/trash",
        needs: Needs::Caller,
        title: "List what is in the trash",
        about: "\
            Dashboards of the workspace that were deleted and that the caller may take back, by name. `exists` says that another\n\
            one has begun under the name since. A page has 100 names at most, less those that the caller may not see, and looks at\n\
            1,000 names that were ever deleted; `next` goes on.",
        parameters: &[query("after", "the `next` of the page before")],
        body: None,
        answers: &[json(200, "`{\"trash\": […], \"next\": …}`")],
        problems: &[],
        example: (r#"curl -s "$api/workspaces/nobody/trash""#, r#"{"next":null,"trash":[]}"#),
        counted: metrics::Route::Access,
        run: |call| Box::pin(trash::list(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/admin/recheck",
        needs: Needs::Caller,
        title: "Read everything about access again",
        about: "For operators. Every node reads again what is written down about its open dashboards.",
        parameters: &[],
        body: None,
        answers: CHANGED,
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::recheck(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/users/{name}/block",
        needs: Needs::Caller,
        title: "Block a user",
        about: "For operators. The user may do nothing any more, whatever grants and tokens say.",
        parameters: &[],
        body: None,
        answers: CHANGED,
        problems: &[422],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::block(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/users/{name}/block",
        needs: Needs::Caller,
        title: "Let a blocked user in again",
        about: "For operators.",
        parameters: &[],
        body: None,
        answers: CHANGED,
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(access::unblock(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/dashboard/state",
        needs: Needs::Caller,
        title: "Read one's own state",
        about: "\
            The caller's own data in a workspace: the root `state` of its private document `<workspace>/~<user>`, which a page may have\n\
            live over a socket as well. A caller that is nobody in particular gets 401.",
        parameters: &[query("workspace", "which one; `default` if it is not said")],
        body: None,
        answers: &[json(200, "`{\"state\": {…}, \"version\": …}`; an empty object and 0 before anything was sent")],
        problems: &[400, 410, 500],
        example: ("", ""),
        counted: metrics::Route::OwnState,
        run: |call| Box::pin(own_state::read(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/dashboard/state",
        needs: Needs::Caller,
        title: "Merge into one's own state",
        about: "\
            Merges `state` as a JSON Merge Patch: members that are `null` are removed, lists are replaced as a whole. `serverVersion` counts\n\
            the calls. A `version` or `checksum` that older clients send refuses nobody. Answered when it is durable.",
        parameters: &[query("workspace", "which one; `workspaceId` in the body says the same, and counts")],
        body: Some(Body {
            types: &[JSON],
            about: "at most 8 MiB: `state`, an object, and `workspaceId` if it is to be said here",
        }),
        answers: &[json(200, "`{\"success\": true, \"serverVersion\": …}`")],
        problems: &[400, 408, 409, 410, 412, 413, 422, 500],
        example: ("", ""),
        counted: metrics::Route::OwnState,
        run: |call| Box::pin(own_state::merge(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/dashboard/state",
        needs: Needs::Caller,
        title: "Clear one's own state",
        about: "Removes all members of `state`. The private document stays, with what else is in it.",
        parameters: &[query("workspace", "which one; `default` if it is not said")],
        body: None,
        answers: &[json(200, "`{\"success\": true}`")],
        problems: &[400, 409, 410, 412, 422, 500],
        example: ("", ""),
        counted: metrics::Route::OwnState,
        run: |call| Box::pin(own_state::clear(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/audit",
        needs: Needs::Operator,
        title: "Read the audit log",
        about: "\
            Changes of access, arrivals and refusals, with their users: the newest lines of all nodes, in order of\n\
            time, each a JSON object. With `node` and `after`, the lines of that node behind its line with that number, so that\n\
            they can be followed. See `docs/AUTH.md`.",
        parameters: &[
            query("limit", "at most so many lines, 1,000 if it is not said, 10,000 at most"),
            query("node", "of this node only"),
            query("after", "a line's `seq`: those behind it"),
            query("since", "a time as `2026-11-28T06:00:00Z`: from then on"),
            query("actor", "a user's id: what that user did"),
            query("target", "a dashboard, a workspace with all in it, or a user's id: what was done to it"),
        ],
        body: None,
        answers: &[Answer { status: 200, content: "application/x-ndjson", about: "the lines" }],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Access,
        run: |call| Box::pin(audit::read(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/nodes",
        needs: Needs::Operator,
        title: "List the nodes",
        about: "The nodes that this one knows, itself first.",
        parameters: &[],
        body: None,
        answers: &[json(200, "the list")],
        problems: &[],
        example: ("curl -s $api/nodes | head -c 10", r#"{"nodes":["#),
        counted: metrics::Route::Nodes,
        run: |call| Box::pin(nodes::list(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/openapi.json",
        needs: Needs::Nothing,
        title: "Read this interface as OpenAPI 3.1",
        about: "For generators of clients and for tools that try routes out.",
        parameters: &[],
        body: None,
        answers: &[json(200, "the document")],
        problems: &[],
        example: (r#"curl -s $api/openapi.json | head -c 20"#, r#"{"components":{"sche"#),
        counted: metrics::Route::OpenApi,
        run: |_| Box::pin(async { Ok(openapi::answer()) }),
    },
    Route {
        method: Method::GET,
        path: "/api/docs",
        needs: Needs::Nothing,
        title: "Read and try this interface in a browser",
        about: "A page that shows all of this and sends requests to the server that it came from. It loads nothing from elsewhere.",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, content: "text/html", about: "the page" }],
        problems: &[],
        example: ("curl -s $api/docs | head -n 1", "<!doctype html>"),
        counted: metrics::Route::OpenApi,
        run: |_| Box::pin(async { Ok(docs::page()) }),
    },
    Route {
        method: Method::GET,
        path: "/api/docs/page.css",
        needs: Needs::Nothing,
        title: "The style of that page",
        about: "Loaded by it.",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, content: "text/css", about: "the style" }],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::OpenApi,
        run: |_| Box::pin(async { Ok(docs::style()) }),
    },
    Route {
        method: Method::GET,
        path: "/api/docs/page.js",
        needs: Needs::Nothing,
        title: "The script of that page",
        about: "Loaded by it.",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, content: "text/javascript", about: "the script" }],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::OpenApi,
        run: |_| Box::pin(async { Ok(docs::script()) }),
    },
    Route {
        method: Method::GET,
        path: "/api/inspector/{path}",
        needs: Needs::Inspector,
        title: "What `/inspector` shows",
        about: "Not an interface to rely on. Unless tokens are read, it answers to browsers on the server's own machine only.",
        parameters: &[],
        body: None,
        answers: &[json(200, "what was asked for")],
        problems: &[],
        example: ("", ""),
        counted: metrics::Route::Inspector,
        run: |call| Box::pin(inspector::answer(call)),
    },
];

/// Every request about a dashboard, by method and path, with what one has to be allowed for it: for tables and tests.
pub fn calls() -> impl Iterator<Item = (&'static str, &'static str, Capabilities)> {
    ROUTES.iter().filter_map(|route| match route.needs {
        Needs::Dashboard(needed) => Some((route.method.as_str(), route.path, needed)),
        Needs::Keeper => Some((route.method.as_str(), route.path, Capabilities::MANAGE)),
        Needs::Nothing | Needs::Caller | Needs::Operator | Needs::Inspector => None,
    })
}

/// Every request, by method and path: for tests.
pub fn requests() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method.as_str(), route.path))
}

/// The table of `docs/SECURITY.md`: what each role may say and call, made of the tables of messages and routes.
#[must_use]
pub fn rights() -> String {
    let mut page = String::from("| message or request | needs |");
    page.extend(Role::ALL.iter().map(|role| format!(" {role} |")));
    page.push_str("\n|---|---|");
    page.extend(Role::ALL.iter().map(|_| "---|"));
    let mut row = |name: &str, needs: Capabilities| {
        let needed: Vec<&str> = needs.names().collect();
        page += &format!("\n| {name} | {} |", needed.join(", "));
        page.extend(Role::ALL.iter().map(|role| if role.capabilities().contains(needs) { " yes |" } else { " |" }));
    };
    row("joining", Capabilities::READ);
    for said in SAID {
        let dialect = if said.is_of_documents { " (Hocuspocus)" } else { "" };
        row(&format!("{}{dialect}", said.name), said.needs);
    }
    for (method, path, needs) in calls() {
        row(&format!("`{method} {path}`"), needs);
    }
    page.push_str("\n\nNot about a role on one dashboard:\n\n| request | for whom |\n|---|---|");
    for route in ROUTES {
        let whom = match route.needs {
            Needs::Dashboard(_) | Needs::Keeper => continue,
            Needs::Nothing => "anybody: it tells nothing of dashboards or users",
            Needs::Operator => "operators",
            Needs::Inspector => "operators; without tokens, browsers on the server's own machine",
            Needs::Caller => "whoever it is about: the call finds out who that is",
        };
        page += &format!("\n| `{} {}` | {whom} |", route.method, route.path);
    }
    page.push('\n');
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn found(method: Method, path: &str) -> Option<(&'static str, Vec<(&'static str, &str)>)> {
        match find(&method, path) {
            Found::Route(route, parameters) => Some((route.path, parameters)),
            Found::OtherMethods(route) => Some((route.path, Vec::new())),
            Found::Nothing => None,
        }
    }

    #[test]
    fn each_route_is_found_by_its_path_and_there_is_one_for_each() {
        let mut seen = BTreeSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.method.as_str(), route.path)), "{} {}", route.method, route.path);
            let example = route.path.replace("{name}", "acme/a%2Fb").replace(['{', '}'], "");
            assert_eq!(found(route.method.clone(), &example).map(|found| found.0), Some(route.path), "{example}");
        }
    }

    #[test]
    fn the_last_segments_decide_while_they_are_encoded() {
        let name = |path: &'static str| {
            let (pattern, parameters) = found(Method::GET, path)?;
            let name = parameters.iter().find(|(name, _)| *name == NAME).map_or("", |(_, name)| *name);
            Some((pattern.trim_start_matches("/api/dashboards/{name}"), name))
        };
        assert_eq!(name("/api/dashboards/acme/sales/state"), Some(("/state", "acme/sales")));
        assert_eq!(name("/api/dashboards/acme/sales%2Fstate"), Some(("", "acme/sales%2Fstate")));
        assert_eq!(name("/api/dashboards/state"), Some(("", "state")));
        assert_eq!(name("/api/dashboards/"), Some(("", "")));
        assert_eq!((name("/api/nothing"), name("/api/nodes/")), (None, None));
    }
}
