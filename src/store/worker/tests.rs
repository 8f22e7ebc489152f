use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use super::{Worker, WorkerError};

fn depth(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Holds the worker's thread until the sender is used or dropped.
async fn blocked<T: Send + 'static>(worker: &Worker<T>) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel::<()>();
    let (began, started) = tokio::sync::oneshot::channel();
    drop(worker.submit(move |_| {
        let _ = began.send(());
        let _ = wait.recv();
    }));
    started.await.unwrap();
    go
}

#[tokio::test]
async fn runs_in_order_on_a_thread_of_its_own() {
    let worker = Worker::spawn("test", depth(4), Vec::new()).unwrap();
    for i in 0..100 {
        worker.run(move |v| v.push(i)).await.unwrap();
    }
    let (all, name) = worker
        .run(|v| (v.clone(), thread::current().name().map(str::to_owned)))
        .await
        .unwrap();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_eq!(name.as_deref(), Some("test"));
}

#[tokio::test]
async fn submit_refuses_when_the_queue_is_full_and_run_waits() {
    let worker = Worker::spawn("test", depth(2), 0).unwrap();
    let go = blocked(&worker).await;
    drop(worker.submit(|n| *n += 1).unwrap());
    drop(worker.submit(|n| *n += 1).unwrap());
    assert_eq!(worker.submit(|n| *n += 100).err(), Some(WorkerError::Full));
    let waiting = tokio::spawn({
        let worker = worker.clone();
        async move {
            worker
                .run(|n| {
                    *n += 10;
                    *n
                })
                .await
        }
    });
    go.send(()).unwrap();
    assert_eq!(
        waiting.await.unwrap(),
        Ok(12),
        "futures that were dropped ran too"
    );
}

struct Told(Arc<AtomicBool>, Vec<u32>);

impl Drop for Told {
    fn drop(&mut self) {
        assert_eq!(self.1, [1, 2, 3], "drained before the drop");
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn close_drains_then_drops_then_refuses() {
    let dropped = Arc::new(AtomicBool::new(false));
    let worker = Worker::spawn("test", depth(8), Told(Arc::clone(&dropped), Vec::new())).unwrap();
    let go = blocked(&worker).await;
    for i in 1..=3 {
        drop(worker.submit(move |t| t.1.push(i)).unwrap());
    }
    let (first, second) = (worker.clone(), worker.clone());
    let closing = tokio::spawn(async move { tokio::join!(first.close(), second.close()) });
    go.send(()).unwrap();
    closing.await.unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(worker.run(|_| ()).await, Err(WorkerError::Closed));
    assert_eq!(worker.submit(|_| ()).err(), Some(WorkerError::Closed));
    worker.close().await;
}

#[tokio::test]
async fn a_panic_is_answered_and_the_next_closure_runs() {
    for worker in [Worker::spawn("test", depth(2), 7).unwrap(), Worker::inline(7)] {
        let panicked = worker
            .run(|_| -> u8 { std::panic::panic_any("on purpose") })
            .await;
        assert_eq!(panicked, Err(WorkerError::Panicked), "{worker:?}");
        assert_eq!(worker.run(|n| *n).await, Ok(7), "{worker:?}");
    }
}

#[tokio::test]
async fn inline_runs_at_once_on_the_callers_thread() {
    let worker = Worker::inline(0);
    let here = thread::current().id();
    let answer = worker.submit(move |n| {
        *n += 1;
        thread::current().id()
    });
    // Not polled yet, and done.
    assert_eq!(worker.run(|n| *n).await, Ok(1));
    assert_eq!(answer.unwrap().await, Ok(here));
    worker.close().await;
    assert_eq!(worker.run(|n| *n).await, Err(WorkerError::Closed));
}
