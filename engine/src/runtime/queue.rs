//! Bounded queues between tasks and cores: a full one refuses, and that is the back-pressure.
//!
//! A thin coat over `async-channel`, so that the bound is not optional and the words are ours.
//! Order is first in, first out; senders that wait for room are woken in the order they came.
//!
//! There is one receiver, and it waits in nearly every turn of its owner, mostly in a
//! [`race`](super::race) that it loses. The channel's own list of waiting receivers is made for many:
//! each wait is an allocation and a dozen locked instructions. Here one waker has one place.
//!
//! Invariants: a receiver that waits is woken by a value and by the end of the last sender; one that
//! has stopped waiting is not woken.

use alloc::sync::Arc;
use core::{
    fmt,
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
};

use async_channel::TryRecvError;
use futures::task::AtomicWaker;

/// Wakes the receiver.
#[derive(Debug)]
struct Bell {
    waker: AtomicWaker,
    senders: AtomicUsize,
}

/// The sending end.
#[derive(Debug)]
pub struct Sender<T> {
    values: async_channel::Sender<T>,
    bell: Arc<Bell>,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver<T> {
    values: async_channel::Receiver<T>,
    bell: Arc<Bell>,
}

/// Who has stopped waiting is not woken.
struct Waiting<'a> {
    waker: &'a AtomicWaker,
    is_waiting: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_waiting {
            drop(self.waker.take());
        }
    }
}

/// The other end is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other end of the queue is gone")
    }
}

/// Why a value was not taken; it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push<T> {
    /// The queue is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// A queue that holds at most `capacity` values.
///
/// # Panics
/// When `capacity` is 0.
#[must_use]
pub fn queue<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = async_channel::bounded(capacity);
    let bell = Arc::new(Bell { waker: AtomicWaker::new(), senders: AtomicUsize::new(1) });
    (Sender { values: sender, bell: Arc::clone(&bell) }, Receiver { values: receiver, bell })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.bell.senders.fetch_add(1, Ordering::Relaxed);
        Self { values: self.values.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.bell.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Now, not when the field is dropped: who is woken must find it closed.
            self.values.close();
            self.bell.waker.wake();
        }
    }
}

impl<T> Sender<T> {
    /// Hands a value over at once, or gives it back.
    ///
    /// # Errors
    /// [`Push::Full`] or [`Push::Closed`], with the value.
    pub fn push(&self, value: T) -> Result<(), Push<T>> {
        self.values.try_send(value).map_err(|refused| match refused {
            async_channel::TrySendError::Full(value) => Push::Full(value),
            async_channel::TrySendError::Closed(value) => Push::Closed(value),
        })?;
        self.bell.waker.wake();
        Ok(())
    }

    /// Hands a value over as soon as there is room.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone.
    pub async fn send(&self, value: T) -> Result<(), Closed> {
        match self.values.send(value).await {
            Ok(()) => {
                self.bell.waker.wake();
                Ok(())
            }
            Err(async_channel::SendError(_value)) => Err(Closed),
        }
    }
}

impl<T> Receiver<T> {
    /// The next value, as soon as there is one.
    ///
    /// # Errors
    /// [`Closed`] when the queue is empty and every sender is gone.
    pub async fn recv(&mut self) -> Result<T, Closed> {
        let Self { values, bell } = self;
        let mut waiting = Waiting { waker: &bell.waker, is_waiting: false };
        poll_fn(|context| {
            let first = look(values);
            if first.is_ready() {
                return first;
            }
            waiting.waker.register(context.waker());
            waiting.is_waiting = true;
            // What was pushed in between has woken nobody.
            look(values)
        })
        .await
    }

    /// How many values wait, and how many may.
    #[must_use]
    pub fn level(&self) -> (usize, usize) {
        (self.values.len(), self.values.capacity().unwrap_or(usize::MAX))
    }

    /// The next value, if it is there already.
    pub fn pop(&mut self) -> Option<T> {
        self.values.try_recv().ok()
    }
}

fn look<T>(values: &async_channel::Receiver<T>) -> Poll<Result<T, Closed>> {
    match values.try_recv() {
        Ok(value) => Poll::Ready(Ok(value)),
        Err(TryRecvError::Closed) => Poll::Ready(Err(Closed)),
        Err(TryRecvError::Empty) => Poll::Pending,
    }
}

#[cfg(test)]
mod tests {
    use core::{pin::pin, task::Context};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn times(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn who_waits_is_woken_and_who_has_stopped_is_not() {
        let (woken, (sender, mut receiver)) = (Arc::new(Woken::default()), queue(3));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        {
            let mut waits = pin!(receiver.recv());
            assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
            assert_eq!((sender.push(1), sender.push(2), woken.times()), (Ok(()), Ok(()), 1));
            assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(Ok(1)));
        }
        assert_eq!(receiver.pop(), Some(2));
        assert_eq!(pin!(receiver.recv()).poll(&mut context), Poll::Pending);
        assert_eq!((sender.push(3), woken.times()), (Ok(()), 1));
        assert_eq!(pin!(receiver.recv()).poll(&mut context), Poll::Ready(Ok(3)));
    }

    /// Looks at once, as another thread would.
    struct Looks {
        values: async_channel::Receiver<u8>,
        closed: AtomicUsize,
    }

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.closed.fetch_add(usize::from(self.values.is_closed()), Ordering::Relaxed);
        }
    }

    #[test]
    fn the_end_of_the_last_sender_is_there_before_it_wakes() {
        let (sender, mut receiver) = queue::<u8>(1);
        let (values, closed) = (receiver.values.clone(), AtomicUsize::new(0));
        let looks = Arc::new(Looks { values, closed });
        let waker = Waker::from(Arc::clone(&looks));
        let mut context = Context::from_waker(&waker);
        let other = sender.clone();
        let mut waits = pin!(receiver.recv());
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        drop(sender);
        assert!(!looks.values.is_closed());
        drop(other);
        assert_eq!(looks.closed.load(Ordering::Relaxed), 1);
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(Err(Closed)));
    }
}
