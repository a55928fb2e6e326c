//! The accept loop and one task per connection: HTTP/1.1 first, and after an upgrade the session.
//!
//! Promises: TCP_NODELAY on every socket; a deadline for every request's head and a pace for every answer; probes are answered
//! whatever else is connected; small, bounded buffers that are freed before a
//! session begins; a graceful end in which requests in flight are answered. An upgraded connection is handed to the
//! [`SocketHandler`] in the same task, as the bare stream.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{self, Future};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use warp::http::header::{self, HeaderValue};
use warp::reply::Response;

use crate::http::addresses::{ConnectionPermit, Crowded, SessionPermit};
use crate::http::pace::Paced;
use crate::http::reply::Problem;
use crate::http::socket::{self, Handshake, Permit, SocketHandler, Upgraded};
use crate::http::{ClientAddress, Routes, Site, is_probe, proxy, route_of};
use crate::metrics::{Refusal, Route};
use crate::trace;

/// Where connections come from: a TCP port, or a simulated network.
pub trait Listener: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection. Cancel-safe.
    ///
    /// # Errors
    /// As `accept(2)`: one connection was lost, or descriptors ran out; calling again is right.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // A cursor that waits for Nagle's algorithm arrives 40 ms late.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

/// Heads over this are answered with 431. A token in a URL is a few KB; a browser's cookies are up to 16 KiB, and what CDNs, meshes and
/// access proxies add comes on top.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Header lines of one request: browsers send some 20, and each thing on the way adds up to 30.
const HEADERS_MAX: usize = 128;

/// How long a closing connection is read on, so that a client still sending gets to read the answer that it was given.
const LINGER: Duration = Duration::from_secs(1);

/// How long a connection that found no place may say nothing. A handshake comes with the connection, even around the world.
const HURRY: Duration = Duration::from_millis(750);

/// How long to wait when accepting fails: descriptors come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long to wait for connections that were cut to end.
const FILES_PAUSE: Duration = Duration::from_millis(1);

/// Serves `listener` until `stop`; connections live on in `tasks`.
///
/// `stop` closes the listener, lets requests in flight finish, and ends idle HTTP connections. Sockets are the session's to end.
pub async fn serve<L: Listener>(
    mut listener: L,
    site: Arc<Site>,
    routes: Routes,
    sockets: Arc<dyn SocketHandler<L::Io>>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(site.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        // The buffer alone grows in steps, beyond what it may hold.
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let server = Arc::new(Server { protocol, site, routes, sockets });
    let mut failing = false;
    loop {
        // Both branches are cancel-safe.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((io, peer)) => {
                failing = false;
                server.clone().welcome(io, peer, &tasks, &stop);
                while server.site.addresses.waits_for_files() {
                    tokio::time::sleep(FILES_PAUSE).await;
                }
            }
            Err(error) => {
                // Once per outage: this can happen thousands of times a second.
                if !failing {
                    warn!(%error, "connections cannot be accepted");
                }
                failing = true;
                server.site.addresses.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Server<I> {
    protocol: http1::Builder,
    site: Arc<Site>,
    routes: Routes,
    sockets: Arc<dyn SocketHandler<I>>,
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Server<I> {
    fn welcome(self: Arc<Self>, io: I, peer: SocketAddr, tasks: &TaskTracker, stop: &CancellationToken) {
        // A proxy stands for all its clients; they are counted one by one when they join.
        let address = (!proxy::is_trusted(peer.ip(), &self.site.trusted_proxies)).then(|| peer.ip());
        let Some(permit) = self.site.addresses.connect(address) else {
            self.site.metrics.refusals.inc(Refusal::Connections);
            return;
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            // The HTTP half is boxed, so that its state is freed when the session begins.
            if let Some(upgraded) = Box::pin(self.speak_http(io, peer, permit, stop)).await {
                let session = self.sockets.serve(upgraded);
                drop(self);
                session.await;
            }
        });
    }

    /// Answers requests until the connection ends, or is upgraded.
    async fn speak_http(
        &self,
        io: I,
        peer: SocketAddr,
        mut permit: ConnectionPermit,
        stop: CancellationToken,
    ) -> Option<Upgraded<I>> {
        let service = Connection {
            site: Arc::clone(&self.site),
            routes: self.routes.clone(),
            peer: peer.ip(),
            is_hurried: permit.hurried().is_some(),
            upgrade: Cell::new(None),
        };
        let io = TokioIo::new(Paced::new(io, self.site.pace));
        let mut connection = self.protocol.serve_connection(io, service);
        let mut stopped = Some(pin!(stop.cancelled()));
        let speaking = future::poll_fn(|cx| {
            if let Some(waiting) = &mut stopped
                && waiting.as_mut().poll(cx).is_ready()
            {
                stopped = None;
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(cx)
        });
        let outcome = match permit.hurried() {
            None => speaking.await,
            // What has come counts, however late this task got to read it: so that is looked at first.
            Some(cut) => tokio::select! {
                biased;
                outcome = speaking => outcome,
                () = cut.cancelled() => {
                    self.site.metrics.refusals.inc(Refusal::Connections);
                    return None;
                }
                () = tokio::time::sleep(HURRY) => {
                    self.site.metrics.refusals.inc(Refusal::Connections);
                    return None;
                }
            },
        };
        if let Err(error) = &outcome {
            debug!(%error, "connection ended");
        }
        let http1::Parts { io, read_buf, service, .. } = connection.into_parts();
        let (mut io, was_too_slow) = io.into_inner().into_inner();
        match service.upgrade.into_inner() {
            Some((handshake, session)) if outcome.is_ok() => {
                permit.became_session();
                let permit = Permit::new(session, Some(permit), Arc::clone(&self.site.metrics));
                // Copied: the read buffer behind it is as large as the largest head.
                let leftover = Bytes::copy_from_slice(&read_buf);
                Some(Upgraded { io, leftover, handshake, permit })
            }
            _ if was_too_slow => {
                self.site.metrics.refusals.inc(Refusal::Stuck);
                None
            }
            _ => {
                let cut = permit.hurried().cloned().unwrap_or_default();
                tokio::select! {
                    () = linger(&mut io) => {}
                    () = cut.cancelled() => {}
                }
                None
            }
        }
    }
}

/// Says goodbye, then reads on for a while. Closing with unread bytes resets the connection, and a reset can overtake the answer.
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I) {
    let farewell = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let mut discarded = vec![0; 16 << 10];
        while io.read(&mut discarded).await.is_ok_and(|n| n > 0) {}
    };
    // Late or not, the connection is dropped next.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

/// One connection's requests: upgrades are answered at once, everything else by the routes.
struct Connection {
    site: Arc<Site>,
    routes: Routes,
    peer: IpAddr,
    /// Whether it found no place: then only a session, which has a place of its own, and probes are for it.
    is_hurried: bool,
    /// Set with the 101, taken when hyper has written it.
    upgrade: Cell<Option<(Handshake, SessionPermit)>>,
}

impl Service<Request<Incoming>> for Connection {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let site = &self.site;
        let address = proxy::client_address(self.peer, request.headers(), &site.trusted_proxies);
        let is_upgrade = socket::is_upgrade(&request);
        let ready = |route: Route, response: Response| {
            site.metrics.http_request(route, response.status().as_u16());
            Answer::Ready(Some(response))
        };
        let path = request.uri().path();
        let is_probe = is_probe(path) && !is_upgrade;
        if self.is_hurried && !is_upgrade && !is_probe {
            let response = site.refuse(Problem::Crowded(Crowded::Connections));
            return ready(route_of(path), closing(response));
        }
        if !is_probe {
            let is_proxied = proxy::is_trusted(self.peer, &site.trusted_proxies);
            if let Err(problem) = site.pages.check(&request, is_proxied) {
                return ready(if is_upgrade { Route::Socket } else { route_of(path) }, site.refuse(problem));
            }
        }
        // Calls on dashboards are counted where they are found to be some.
        if !is_upgrade
            && !is_probe
            && !path.starts_with("/api/dashboards/")
            && let Err(crowded) = site.addresses.look(address, Instant::now())
        {
            return ready(route_of(path), site.refuse(Problem::Crowded(crowded)));
        }
        if is_upgrade {
            let response = match socket::shake_hands(&request, address, site) {
                Ok((response, handshake, permit)) => {
                    self.upgrade.set(Some((handshake, permit)));
                    response
                }
                Err(problem) => site.refuse(problem),
            };
            return ready(Route::Socket, response);
        }
        if socket::was_upgrade(&request) {
            return ready(Route::Socket, site.refuse(socket::NO_UPGRADE));
        }
        request.extensions_mut().insert(ClientAddress(address));
        // Those that somebody follows; others begin with the edit that they bring.
        let caller = socket::caller(request.headers()).filter(|_| site.traces.is_on());
        let span = caller.and_then(|caller| site.traces.begin("request", Some(caller)));
        let answer = self.routes.answer(request);
        let metrics = Arc::clone(&site.metrics);
        let is_hurried = self.is_hurried;
        let began = Instant::now();
        Answer::Routed(Box::pin(async move {
            let response = match &span {
                Some(span) => trace::within(span.context(), answer).await,
                None => answer.await,
            };
            let route = response.extensions().get::<Route>().copied().unwrap_or(Route::Unknown);
            metrics.http_request(route, response.status().as_u16());
            metrics.http_request_seconds.observe(route, began.elapsed().as_secs_f64());
            if is_hurried { closing(response) } else { response }
        }))
    }
}

/// The last response of its connection.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A response that is there, or one that a route works on.
enum Answer {
    Ready(Option<Response>),
    Routed(BoxFuture<'static, Response>),
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answer::Ready(response) => Poll::Ready(Ok(response.take().expect("polled once"))),
            Answer::Routed(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}
