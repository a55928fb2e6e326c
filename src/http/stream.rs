//! Server-sent events: answers that go on until there is nothing more to tell.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use warp::Reply;
use warp::http::HeaderName;
use warp::http::header::{self, HeaderValue};
use warp::reply::Response;

/// How often a quiet stream says that it lives: proxies cut what is silent for a minute.
pub(super) const ALIVE: Duration = Duration::from_secs(20);

/// A quiet stream sends this comment, which clients skip.
pub(super) const ALIVE_SAID: Bytes = Bytes::from_static(b": alive\n\n");

/// Answers with what `next` makes of a state, again and again, until that is nothing.
pub(super) fn events<S, N, F>(begin: S, next: N) -> Response
where
    S: Send + 'static,
    N: FnMut(S) -> F + Send + 'static,
    F: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let mut next = next;
    let told = stream::unfold(begin, move |state| {
        let told = next(state);
        async move { told.await.map(|(bytes, state)| (Ok(bytes), state)) }
    });
    // Boxed by a mutex's wrapper: a body has to be `Sync`, which futures of hyper's are not, and nobody polls it from two threads.
    let mut response = warp::reply::stream(SyncStream(Mutex::new(Box::pin(told)))).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // nginx gathers answers otherwise.
    answer.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

type Told = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>> + Send>>;

/// A stream that may be shared between threads, because only its one owner polls it.
struct SyncStream(Mutex<Told>);

impl Stream for SyncStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(cx)
    }
}
