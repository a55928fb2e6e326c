//! How slow a body or an answer may be: within each stretch of time some bytes have to move, or it is given up.
//!
//! A deadline for the whole would cut large ones on slow lines, and one for each byte would let a client hold what it likes for as long as it
//! likes by a byte now and then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is demanded of whoever sends a body or reads an answer.
#[derive(Clone, Copy, Debug)]
pub struct PaceLimits {
    /// How long it may stand still.
    pub timeout: Duration,
    /// Bytes per second, on average over that time.
    pub bytes_per_second: usize,
}

/// One transfer, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    limits: PaceLimits,
    since: Instant,
    moved: usize,
}

impl Pace {
    pub(super) fn new(limits: PaceLimits, now: Instant) -> Pace {
        Pace { limits, since: now, moved: 0 }
    }

    /// So many bytes moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// When to ask [`Pace::is_too_slow`].
    pub(super) fn due_at(&self) -> Instant {
        self.since + self.limits.timeout
    }

    /// Whether less than was demanded has moved since it began or was asked last.
    pub(super) fn is_too_slow(&mut self, now: Instant) -> bool {
        if now < self.due_at() {
            return false;
        }
        let demanded = self.limits.timeout.as_millis().saturating_mul(self.limits.bytes_per_second as u128) / 1000;
        let moved = std::mem::take(&mut self.moved);
        self.since = now;
        moved == 0 || (moved as u128) < demanded
    }
}

/// A connection whose peer has to take what is written at a pace.
#[derive(Debug)]
pub(super) struct Paced<I> {
    io: I,
    limits: PaceLimits,
    /// What waits to be written, with the timer of its pace.
    writing: Option<(Pace, Pin<Box<Sleep>>)>,
    was_too_slow: bool,
}

impl<I> Paced<I> {
    pub(super) fn new(io: I, limits: PaceLimits) -> Paced<I> {
        Paced { io, limits, writing: None, was_too_slow: false }
    }

    /// The connection itself, and whether its peer was too slow.
    pub(super) fn into_inner(self) -> (I, bool) {
        (self.io, self.was_too_slow)
    }

    /// Takes note of what became of a write.
    fn paced(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = &written {
            if let (Ok(n), Some((pace, _))) = (outcome, &mut self.writing) {
                pace.moved(*n);
            }
            return written;
        }
        let limits = self.limits;
        let (pace, timer) = self.writing.get_or_insert_with(|| {
            let pace = Pace::new(limits, Instant::now());
            (pace, Box::pin(sleep_until(pace.due_at())))
        });
        while timer.as_mut().poll(cx).is_ready() {
            if pace.is_too_slow(Instant::now()) {
                self.was_too_slow = true;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(pace.due_at());
        }
        Poll::Pending
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Paced<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Paced<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.paced(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Asked for when all has been written: nothing waits any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.io).poll_flush(cx));
        self.writing = None;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::advance;

    const LIMITS: PaceLimits = PaceLimits { timeout: Duration::from_secs(30), bytes_per_second: 100 };

    #[test]
    fn a_transfer_goes_on_as_long_as_it_keeps_the_pace() {
        let mut now = Instant::now();
        let mut pace = Pace::new(LIMITS, now);
        for _ in 0..100 {
            pace.moved(3000);
            now = pace.due_at();
            assert!(!pace.is_too_slow(now));
        }
        pace.moved(2999);
        assert!(!pace.is_too_slow(pace.due_at() - Duration::from_millis(1)), "not asked before its time");
        assert!(pace.is_too_slow(pace.due_at()), "what came before does not count");
        let mut still = Pace::new(PaceLimits { bytes_per_second: 0, ..LIMITS }, now);
        assert!(still.is_too_slow(still.due_at()), "one that stands still is too slow for any pace");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up_and_one_that_pauses_is_not() {
        let (mut reader, io) = tokio::io::duplex(1000);
        let mut io = Paced::new(io, LIMITS);
        for _ in 0..3 {
            io.write_all(&[7; 1000]).await.unwrap();
            io.flush().await.unwrap();
            // An answer that was taken starts no clock for the next one.
            advance(LIMITS.timeout * 2).await;
            reader.read_exact(&mut [0; 1000]).await.unwrap();
        }
        let writing = tokio::spawn(async move {
            let outcome = io.write_all(&[7; 100_000]).await;
            (outcome.map_err(|error| error.kind()), io.into_inner().1)
        });
        for _ in 0..10 {
            tokio::time::sleep(LIMITS.timeout / 4).await;
            reader.read_exact(&mut [0; 1000]).await.unwrap();
        }
        assert!(!writing.is_finished(), "4,000 bytes in 30 s keep the pace");
        tokio::time::sleep(LIMITS.timeout * 2).await;
        assert_eq!(writing.await.unwrap(), (Err(io::ErrorKind::TimedOut), true));
    }
}
