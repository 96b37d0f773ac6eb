//! Bounded queues between tasks and cores: a full one refuses, and that is the back-pressure.
//!
//! A thin coat over `async-channel`, so that the bound is not optional and the words are ours.
//! Order is first in, first out; waiting receivers are woken in the order they came.

use core::fmt;

/// The sending end.
#[derive(Debug)]
pub struct Sender<T>(async_channel::Sender<T>);

/// The receiving end.
#[derive(Debug)]
pub struct Receiver<T>(async_channel::Receiver<T>);

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
    (Sender(sender), Receiver(receiver))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// Hands a value over at once, or gives it back.
    ///
    /// # Errors
    /// [`Push::Full`] or [`Push::Closed`], with the value.
    pub fn push(&self, value: T) -> Result<(), Push<T>> {
        self.0.try_send(value).map_err(|refused| match refused {
            async_channel::TrySendError::Full(value) => Push::Full(value),
            async_channel::TrySendError::Closed(value) => Push::Closed(value),
        })
    }

    /// Hands a value over as soon as there is room.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone.
    pub async fn send(&self, value: T) -> Result<(), Closed> {
        match self.0.send(value).await {
            Ok(()) => Ok(()),
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
        match self.0.recv().await {
            Ok(value) => Ok(value),
            Err(async_channel::RecvError) => Err(Closed),
        }
    }

    /// The next value, if it is there already.
    pub fn pop(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}
