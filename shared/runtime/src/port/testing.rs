//! A service for tests of ports.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};

use super::Arriving;

/// Answers every request, whatever its path, by the body that it came with.
#[derive(Clone)]
pub(crate) struct Answering {
    answer: Arc<dyn Fn(Bytes) -> BoxFuture<'static, Bytes> + Send + Sync>,
}

impl Answering {
    /// With what `answer` makes of the body, once all of that has arrived.
    pub(crate) fn new<F, Fut>(answer: F) -> Self
    where
        F: Fn(Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Bytes> + Send + 'static,
    {
        Self { answer: Arc::new(move |body| answer(body).boxed()) }
    }

    /// With the same bytes each time.
    pub(crate) fn always(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::new(move |_| std::future::ready(answer.clone()))
    }
}

impl Service<Request<Arriving>> for Answering {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Arriving>) -> Self::Future {
        let answer = self.answer.clone();
        let answered = async move {
            let Ok(body) = request.into_body().collect().await else {
                let mut refused = Response::new(Full::default());
                *refused.status_mut() = StatusCode::BAD_REQUEST;
                return Ok(refused);
            };
            Ok(Response::new(Full::new(answer(body.to_bytes()).await)))
        };
        answered.boxed()
    }
}
