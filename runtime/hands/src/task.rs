//! Work that goes on by itself. tokio makes code of its own for each type of task, 2 to 3 KB of program; behind one
//! pointer all of them are one type.
//!
//! Not here: what is done in them.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::{JoinError, JoinHandle};

/// Begins a task.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
    tokio::spawn(task)
}

/// A task that ends with this.
#[derive(Debug)]
pub(crate) struct Bound(JoinHandle<()>);

impl Bound {
    /// Begins it.
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(spawn(task))
    }

    /// Waits for its own end.
    pub(crate) async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does what can only block, beside the one thread. Dropped before it ends, the work goes on to its end.
///
/// # Errors
/// If the work panicked, or everything stops.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let came = Arc::new(Mutex::new(None));
    let place = Arc::clone(&came);
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        let done = work();
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    });
    tokio::task::spawn_blocking(work).await?;
    let came = came.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(came.expect("work that has ended has left what came of it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_of_work_comes_back_and_so_does_a_panic() {
        assert_eq!(beside(|| 5).await.unwrap(), 5);
        assert!(beside(|| panic!("it is over")).await.unwrap_err().is_panic());
        let (said, heard) = tokio::sync::oneshot::channel();
        spawn(async move { said.send(7).unwrap() });
        assert_eq!(heard.await, Ok(7));
    }
}
