//! One owner for what must not be shared: a value on an OS thread of its own, and closures that come to
//! it through a bounded queue.
//!
//! Disk writes block for as long as the disk likes; a service's reactor must not. [`Worker::spawn`]
//! moves the value to a thread; [`Worker::inline`] keeps it with the callers and runs each closure at
//! once, for simulations in virtual time, where a thread would break determinism.

use std::{
    fmt,
    future::Future,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    thread,
};

use tokio::sync::{mpsc, oneshot};

#[cfg(test)]
mod tests;

/// Why a worker gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// Only from [`Worker::submit`]: the queue is full, and the closure was dropped.
    #[error("the worker's queue is full")]
    Full,
    /// The worker was closed before this closure reached it.
    #[error("the worker has been closed")]
    Closed,
    /// The closure panicked. The worker goes on with the next one.
    #[error("the work panicked")]
    Panicked,
}

type Work<T> = Box<dyn FnOnce(&mut T) + Send>;

enum Job<T> {
    Run(Work<T>),
    Close(oneshot::Sender<()>),
}

enum Kind<T> {
    Thread(mpsc::Sender<Job<T>>),
    /// `None` once closed.
    Inline(Arc<Mutex<Option<T>>>),
}

/// A handle to the value; clones lead to the same one.
///
/// Closures run in the order in which they entered the queue: for [`Self::submit`] that is the call,
/// for [`Self::run`] the first poll that found room. When the last handle goes, what is queued is still
/// run, but nobody can wait for it: close with [`Self::close`].
pub struct Worker<T> {
    kind: Kind<T>,
}

impl<T> Clone for Worker<T> {
    fn clone(&self) -> Self {
        let kind = match &self.kind {
            Kind::Thread(queue) => Kind::Thread(queue.clone()),
            Kind::Inline(value) => Kind::Inline(Arc::clone(value)),
        };
        Self { kind }
    }
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Thread(_) => "Worker(thread)",
            Kind::Inline(_) => "Worker(inline)",
        })
    }
}

impl<T: Send + 'static> Worker<T> {
    /// Moves `value` to a new thread called `name`. At most `depth` closures wait; see
    /// [`Self::submit`] and [`Self::run`] for what happens beyond.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(name: &str, depth: NonZeroUsize, value: T) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(depth.get());
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(value, jobs))?;
        Ok(Self {
            kind: Kind::Thread(queue),
        })
    }

    /// Keeps `value` here; closures run on the caller's thread before the call returns.
    pub fn inline(value: T) -> Self {
        Self {
            kind: Kind::Inline(Arc::new(Mutex::new(Some(value)))),
        }
    }

    /// Queues `f`, waiting for room, and answers what it answers. Dropping the future after it has
    /// queued `f` does not take `f` back.
    ///
    /// # Errors
    /// [`WorkerError::Closed`], [`WorkerError::Panicked`].
    pub async fn run<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, WorkerError> {
        match &self.kind {
            Kind::Inline(value) => at_once(value, f),
            Kind::Thread(queue) => {
                let (job, answer) = job(f);
                queue.send(job).await.map_err(|_| WorkerError::Closed)?;
                answer.await
            }
        }
    }

    /// Queues `f` now, without waiting, and answers a future of what it answers, which need not be
    /// polled for `f` to run.
    ///
    /// # Errors
    /// [`WorkerError::Full`] and [`WorkerError::Closed`] now, [`WorkerError::Closed`] and
    /// [`WorkerError::Panicked`] from the future.
    pub fn submit<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<Answer<R>, WorkerError> {
        match &self.kind {
            Kind::Inline(value) => {
                let (tell, answer) = oneshot::channel();
                let _ = tell.send(Ok(at_once(value, f)?));
                Ok(Answer(answer))
            }
            Kind::Thread(queue) => {
                let (job, answer) = job(f);
                queue.try_send(job).map_err(|e| match e {
                    mpsc::error::TrySendError::Full(_) => WorkerError::Full,
                    mpsc::error::TrySendError::Closed(_) => WorkerError::Closed,
                })?;
                Ok(answer)
            }
        }
    }

    /// Runs all that was queued, drops the value on its own thread, and completes when that is done.
    /// From the moment this enters the queue, what comes later is refused. Closing twice is harmless.
    pub async fn close(&self) {
        match &self.kind {
            Kind::Inline(value) => {
                let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
                drop(value);
            }
            Kind::Thread(queue) => {
                let (done, wait) = oneshot::channel();
                match queue.send(Job::Close(done)).await {
                    // An error here means that another close came first and the thread has ended.
                    Ok(()) => drop(wait.await),
                    // It is closing, or closed: wait until its receiver is gone.
                    Err(_) => queue.closed().await,
                }
            }
        }
    }
}

/// What a submitted closure will answer.
#[derive(Debug)]
pub struct Answer<R>(oneshot::Receiver<Result<R, WorkerError>>);

impl<R> Future for Answer<R> {
    type Output = Result<R, WorkerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A closure that is dropped before it ran was refused by a closing worker.
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(WorkerError::Closed)))
    }
}

fn job<T, R: Send + 'static>(f: impl FnOnce(&mut T) -> R + Send + 'static) -> (Job<T>, Answer<R>) {
    let (tell, answer) = oneshot::channel();
    let run = Job::Run(Box::new(move |value: &mut T| {
        // What a panic leaves half done in memory is the value's to survive; the stores here keep
        // what matters in transactions, which roll back.
        let result = catch_unwind(AssertUnwindSafe(|| f(value))).map_err(|_| WorkerError::Panicked);
        let _ = tell.send(result);
    }));
    (run, Answer(answer))
}

fn at_once<T, R>(value: &Mutex<Option<T>>, f: impl FnOnce(&mut T) -> R) -> Result<R, WorkerError> {
    let mut value = value.lock().unwrap_or_else(PoisonError::into_inner);
    let value = value.as_mut().ok_or(WorkerError::Closed)?;
    catch_unwind(AssertUnwindSafe(|| f(value))).map_err(|_| WorkerError::Panicked)
}

fn work<T>(mut value: T, mut jobs: mpsc::Receiver<Job<T>>) {
    let mut waiting = Vec::new();
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Run(f) => f(&mut value),
            Job::Close(done) => {
                // Refuses what comes from now on; what was accepted still comes out of `recv`.
                jobs.close();
                waiting.push(done);
            }
        }
    }
    drop(value);
    for done in waiting {
        let _ = done.send(());
    }
}
