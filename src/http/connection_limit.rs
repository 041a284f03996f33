//! At most so many connections at once (`server.max_connections`), none of them silent: a few more wait for a moment until
//! another ends, and the rest are closed.
//!
//! The time of a request begins with its first octets. What comes before them is bounded here: the wait for a place, and
//! the silence of a connection that has one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;

/// Bounds of the number of connections that wait for a place: each costs a socket.
const WAITING: (usize, usize) = (16, 1024);
/// The longest silence at the beginning of a connection.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// What an HTTP/2 client sends first (RFC 9113 §3.4). Which HTTP is spoken is known where something differs from it, or at
/// its end; from there on the HTTP server has its own timers.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection may be silent before its first request, and may take for TLS before that: together less than the
/// time in which a connection waits for a place, so that the silent ones give way to it.
pub fn silence(request_timeout: Duration) -> Duration {
    (request_timeout / 3).min(LONGEST_SILENCE)
}

/// An acceptor that holds a place for each connection that the inner one accepts.
#[derive(Debug, Clone)]
pub struct Limited<A> {
    inner: A,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    request_timeout: Duration,
}

impl<A> Limited<A> {
    /// Lets `most` connections be open at once; others wait as long as a request may take.
    pub fn new(inner: A, most: usize, request_timeout: Duration) -> Self {
        let (fewest, most_waiting) = WAITING;
        Self {
            inner,
            places: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: Arc::new(Semaphore::new(most.clamp(fewest, most_waiting))),
            request_timeout,
        }
    }
}

/// A free place, or the next that becomes free in time.
async fn take_place(
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    time: Duration,
) -> io::Result<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
        return Ok(place);
    }
    let _waits = waiting.try_acquire().map_err(|_| io::Error::other("too many connections wait"))?;
    tokio::time::timeout(time, places.acquire_owned()).await?.map_err(io::Error::other)
}

impl<A, I, S> Accept<I, S> for Limited<A>
where
    A: Accept<I, S> + Clone + Send + 'static,
    A::Stream: Send,
    A::Service: Send,
    A::Future: Send,
    I: Send + 'static,
    S: Send + 'static,
{
    type Stream = Held<A::Stream>;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let inner = self.inner.clone();
        let (places, waiting) = (Arc::clone(&self.places), Arc::clone(&self.waiting));
        let time = self.request_timeout;
        Box::pin(async move {
            let place = take_place(places, waiting, time).await?;
            let (stream, service) = inner.accept(stream, service).await?;
            Ok((Held { stream, opening: Some(Opening::new(silence(time))), _place: place }, service))
        })
    }
}

/// The beginning of a connection, before it is known which HTTP it speaks.
struct Opening {
    over: BoxFuture<'static, ()>,
    /// Octets of the preface that came.
    of_preface: usize,
}

impl Opening {
    /// This runs by the machine's clock, as all timers of connections do.
    fn new(time: Duration) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { over: Box::pin(async move { Clock::system().sleep_millis(millis).await }), of_preface: 0 }
    }

    /// Takes note of what came; whether the beginning lasts.
    fn lasts_after(&mut self, octets: &[u8]) -> bool {
        let rest = PREFACE.get(self.of_preface..).unwrap_or_default();
        self.of_preface += octets.len();
        octets.len() < rest.len() && rest.starts_with(octets)
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Opening").field("of_preface", &self.of_preface).finish_non_exhaustive()
    }
}

/// A connection with its place.
#[derive(Debug)]
pub struct Held<S> {
    stream: S,
    opening: Option<Opening>,
    _place: OwnedSemaphorePermit,
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let held = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut held.stream).poll_read(context, buffer);
        if let Some(opening) = &mut held.opening {
            if outcome.is_pending() {
                std::task::ready!(opening.over.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if !opening.lasts_after(buffer.filled().get(before..).unwrap_or_default()) {
                held.opening = None;
            }
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
