//! The first of two futures. The left one is asked first, always: no hidden coin.

use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{Clock, Instant};

/// Which of two it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<L, R> {
    /// The first.
    Left(L),
    /// The second.
    Right(R),
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Runs both until one is done, and drops the other. When both are ready, the left one wins.
pub async fn race<L: Future, R: Future>(left: L, right: R) -> Either<L::Output, R::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|context| {
        if let Poll::Ready(output) = left.as_mut().poll(context) {
            return Poll::Ready(Either::Left(output));
        }
        right.as_mut().poll(context).map(Either::Right)
    })
    .await
}

/// Runs a future until its deadline.
///
/// # Errors
/// [`Elapsed`] when the deadline came first.
pub async fn timeout<C: Clock, F: Future>(
    clock: &C,
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    match race(future, clock.sleep_until(deadline)).await {
        Either::Left(output) => Ok(output),
        Either::Right(()) => Err(Elapsed),
    }
}
