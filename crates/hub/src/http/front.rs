//! What stands before the router: the one question that is asked at every request of a relying
//! service.
//!
//! It refuses nothing itself: whatever is not answered at once goes to the router and its rules.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use axum::Router;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};

use crate::{Hub, check_api};

/// The router, and what is answered before it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    hub: Arc<Hub>,
    router: TowerToHyperService<Router>,
}

impl Front {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let router = TowerToHyperService::new(super::router(Arc::clone(&hub)));
        Self { hub, router }
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Response, Infallible>>,
        TowerToHyperServiceFuture<Router, Request<Incoming>>,
    >;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        match check_api::at_once(&self.hub, &request) {
            Some(status) => Either::Left(ready(Ok(status.into_response()))),
            None => Either::Right(self.router.call(request)),
        }
    }
}
