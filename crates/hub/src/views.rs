//! Readers of the record, lent to one request at a time.
//!
//! It refuses to read on the threads that answer requests.

use std::sync::{Arc, Mutex};

use crate::publish::lock;
use crate::store::{StoreError, View};

/// How many readers are kept open.
const KEPT: usize = 8;

type Opened = Result<Box<dyn View>, StoreError>;

/// A pool of readers.
pub struct Views {
    open: Box<dyn Fn() -> Opened + Send + Sync>,
    idle: Arc<Mutex<Vec<Box<dyn View>>>>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

impl Views {
    /// A pool that opens readers by `open` as they are needed.
    pub fn new<V: View + 'static>(
        open: impl Fn() -> Result<V, StoreError> + Send + Sync + 'static,
    ) -> Self {
        let open = move || -> Opened { Ok(Box::new(open()?)) };
        Self { open: Box::new(open), idle: Arc::default() }
    }

    /// Reads on a thread where waiting is allowed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn View) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let held = lock(&self.idle).pop();
        let view = match held {
            Some(view) => view,
            None => (self.open)()?,
        };
        let idle = Arc::clone(&self.idle);
        let read = move || {
            let answer = ask(view.as_ref());
            let mut idle = lock(&idle);
            // A reader that failed is not trusted again.
            if answer.is_ok() && idle.len() < KEPT {
                idle.push(view);
            }
            answer
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Failed(Box::new(error))),
        }
    }
}
