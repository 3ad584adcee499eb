//! A tower layer: each request is checked before the service sees it.
//!
//! It refuses with 401 and an empty body; what to show instead is the service's own matter.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower::{Layer, Service};

use crate::guard::{Guard, Key};

/// Checks requests whose session `extract` finds. One without a session passes: whether it needs
/// one is for the service to say.
#[derive(Debug)]
pub struct GuardLayer<F> {
    guard: Guard,
    extract: Arc<F>,
}

impl<F> Clone for GuardLayer<F> {
    fn clone(&self) -> Self {
        Self { guard: self.guard.clone(), extract: Arc::clone(&self.extract) }
    }
}

impl<F> GuardLayer<F> {
    /// A layer over `guard`. `extract` finds the request's session among those the service keeps.
    pub fn new<B>(guard: Guard, extract: F) -> Self
    where
        F: Fn(&Guard, &Request<B>) -> Option<Key>,
    {
        Self { guard, extract: Arc::new(extract) }
    }
}

impl<S, F> Layer<S> for GuardLayer<F> {
    type Service = GuardService<S, F>;
    fn layer(&self, inner: S) -> Self::Service {
        GuardService { inner, layer: self.clone() }
    }
}

/// A service behind a [`GuardLayer`].
#[derive(Debug)]
pub struct GuardService<S, F> {
    inner: S,
    layer: GuardLayer<F>,
}

impl<S: Clone, F> Clone for GuardService<S, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

type Answer<R, E> = Pin<Box<dyn Future<Output = Result<Response<R>, E>> + Send>>;

impl<S, F, B, R> Service<Request<B>> for GuardService<S, F>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    F: Fn(&Guard, &Request<B>) -> Option<Key>,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answer<R, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let guard = &self.layer.guard;
        let key = (self.layer.extract)(guard, &request);
        if let Some(refused) = key.and_then(|key| guard.check_key(&key).err()) {
            tracing::info!(%refused, "a request was refused");
            let mut response = Response::new(R::default());
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return Box::pin(std::future::ready(Ok(response)));
        }
        Box::pin(self.inner.call(request))
    }
}
