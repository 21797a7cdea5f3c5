//! A body on its way through the proxy.
//!
//! Nothing of it is kept here. The side that sends it on asks for the next frame when it has room,
//! and only then hyper reads more from the other side. So a slow receiver slows the sender down,
//! and the proxy holds as much of a body as hyper's buffers and the kernel's do.

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use reveille::time::{Duration, Sleep, sleep};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// A body that fails if its sender is silent for too long.
pub(crate) struct Streamed {
    body: Incoming,
    patience: Duration,
    /// Runs while the sender is waited for.
    silence: Option<Sleep>,
    /// Counts the frames. hyper's client requires bodies that are `Send`, so it is no `Rc`.
    frames: Arc<AtomicU64>,
}

impl Streamed {
    pub(crate) fn new(body: Incoming, patience: Duration) -> Streamed {
        Streamed {
            body,
            patience,
            silence: None,
            frames: Arc::default(),
        }
    }

    /// A count that grows with each frame that has passed.
    pub(crate) fn frames(&self) -> Arc<AtomicU64> {
        self.frames.clone()
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            self.frames.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = self.patience;
        let silence = self.silence.get_or_insert_with(|| sleep(patience));
        match Pin::new(silence).poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err("the sender was silent for too long".into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
