//! Threads that each run an event loop of their own: what starts on one stays there.
//!
//! For many small requests this is cheaper than a runtime that moves tasks between its threads: no
//! task, timer or socket is ever shared, so nothing is synchronised and caches stay warm.

use std::{io, num::NonZeroUsize, sync::atomic::AtomicUsize, sync::atomic::Ordering, sync::mpsc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A set of event loops. They end, with all that runs on them, when this is dropped.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Worker>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads called `name-0`, `name-1`, ….
    ///
    /// # Errors
    /// When the operating system gives no thread or no event queue.
    pub fn start(name: &str, count: NonZeroUsize) -> io::Result<Self> {
        let threads = (0..count.get()).map(|index| Worker::start(format!("{name}-{index}")));
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, next: AtomicUsize::new(0) })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// The event loop of worker `index`, counted round.
    #[must_use]
    pub fn handle(&self, index: usize) -> &Handle {
        &self.threads[index % self.threads.len()].handle
    }

    /// The index of the worker whose turn it is.
    pub fn take_turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len()
    }
}

impl Worker {
    fn start(name: String) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (started, start) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name).spawn(move || run(&started, stopped))?;
        let handle = start.recv().map_err(|_| io::Error::other("a worker ended at its start"))??;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        let own = thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != own) {
            let _ = thread.join();
        }
    }
}

fn run(started: &mpsc::SyncSender<io::Result<Handle>>, stopped: oneshot::Receiver<()>) {
    // Sockets are looked at often enough for a token to pass promptly while many tasks are runnable.
    let runtime = Builder::new_current_thread().enable_all().event_interval(31).build();
    match runtime {
        Ok(runtime) => {
            let _ = started.send(Ok(runtime.handle().clone()));
            let _ = runtime.block_on(stopped);
        }
        Err(error) => drop(started.send(Err(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spawned_on_a_worker_runs_on_its_thread() {
        let workers = Workers::start("w", NonZeroUsize::new(2).unwrap()).unwrap();
        let (sender, receiver) = mpsc::channel();
        for index in 0..2 {
            let sender = sender.clone();
            workers.handle(index).spawn(async move {
                sender.send(thread::current().name().unwrap_or_default().to_owned()).unwrap();
            });
        }
        let mut names: Vec<_> = receiver.iter().take(2).collect();
        names.sort();
        assert_eq!(names, ["w-0", "w-1"]);
    }
}
