//! What a call passes on its way to its method, and its answer on the way back: each layer in a file of its own, and here their
//! order.

mod authorize;
mod back_pressure;
mod caller_share;
mod deadline;
mod errors;
mod log;
mod log_rate_limit;
mod measure;
mod request_buffer;
mod request_id;
mod trace;

use std::{convert::Infallible, future::Future, sync::Arc};

use futures_util::FutureExt as _;
use tonic::{
    Status,
    body::Body,
    codegen::http::{Request, Response},
};
use tower::{Layer, Service, layer::layer_fn, service_fn};
use tracing::Instrument as _;

#[cfg(test)]
pub(crate) use authorize::bearer;
#[cfg(test)]
pub(crate) use deadline::parse as parse_deadline;

use self::{
    back_pressure::Pages, caller_share::CallerShares, errors::Calls, log_rate_limit::LogRateLimit,
    request_buffer::RequestBuffer,
};
use super::{
    connection::Peer,
    failure::Failure,
    methods::{method, rpc},
};
use crate::{
    access::Credentials,
    reload::Reloaded,
    telemetry::{Metrics, SampleRatio},
};

/// A service behind a layer.
pub(crate) trait Next:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Next for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// A layer that passes each call, and the service behind it, to a function.
fn layer<T, S, F>(
    state: Arc<T>,
    pass: impl Fn(Arc<T>, S, Request<Body>) -> F + Clone + Send + 'static,
) -> impl Layer<S, Service = impl Next> + Clone
where
    T: Send + Sync + 'static,
    S: Next,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    layer_fn(move |inner: S| {
        let (state, pass) = (Arc::clone(&state), pass.clone());
        service_fn(move |request| pass(Arc::clone(&state), inner.clone(), request).map(Ok))
    })
}

/// What only observes calls: it neither delays nor refuses anything.
#[derive(Debug)]
pub(crate) struct Observers {
    credentials: Option<Reloaded<Credentials>>,
    sample_ratio: Option<SampleRatio>,
    metrics: Metrics,
    pub(crate) log_rate_limit: LogRateLimit,
}

impl Observers {
    pub(crate) fn new(
        credentials: Option<Reloaded<Credentials>>,
        sample_ratio: Option<SampleRatio>,
        metrics: Metrics,
    ) -> Self {
        measure::expect_calls(&metrics);
        Self { credentials, sample_ratio, metrics, log_rate_limit: LogRateLimit::default() }
    }

    pub(crate) fn layer<S: Next>(self: Arc<Self>) -> impl Layer<S, Service = impl Next> + Clone {
        layer(self, Self::observe)
    }

    /// A call whose caller disconnects is dropped at any `await`.
    async fn observe<S: Next>(self: Arc<Self>, mut inner: S, mut request: Request<Body>) -> Response<Body> {
        let method = method(request.uri().path());
        let span = trace::begin(&request, &method, self.credentials.as_ref(), self.sample_ratio);
        let observed = async {
            let logged = log::Call::begin(&mut request, &method);
            let mut measured = measure::Call::begin(&self.metrics, &method);
            let Ok(mut answer) = inner.call(request).await;
            measured.end(&answer);
            logged.end(&self.log_rate_limit, &mut answer);
            answer
        };
        let answer = observed.instrument(span.clone()).await;
        trace::end(&span, &answer);
        answer
    }
}

/// What a call must pass.
#[derive(Debug)]
pub(crate) struct Gates {
    /// Without credentials every call is allowed, and has no caller.
    credentials: Option<Reloaded<Credentials>>,
    calls: Calls,
    caller_shares: CallerShares,
    request_buffer: RequestBuffer,
    pages: Pages,
}

impl Gates {
    pub(crate) fn new(credentials: Option<Reloaded<Credentials>>) -> Arc<Self> {
        Arc::new(Self {
            credentials,
            calls: Calls::default(),
            caller_shares: CallerShares::default(),
            request_buffer: RequestBuffer::default(),
            pages: Pages::default(),
        })
    }

    pub(crate) fn layer<S: Next>(self: Arc<Self>) -> impl Layer<S, Service = impl Next> + Clone {
        layer(self, Self::answer)
    }

    /// Waits until no call is in progress and all pages are read, and keeps new calls from starting.
    pub(crate) async fn all_answered(&self) {
        self.calls.all_answered().await;
        self.pages.all_read().await;
    }

    /// Gives every call an answer of the contract, whatever happens.
    async fn answer<S: Next>(self: Arc<Self>, inner: S, request: Request<Body>) -> Response<Body> {
        if !errors::is_grpc(request.headers()) {
            return errors::unsupported_media_type();
        }
        let answer = self.answer_in_time(inner, request).await;
        answer.unwrap_or_else(|failure| Status::from(failure).into_http())
    }

    async fn answer_in_time<S: Next>(
        &self,
        inner: S,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let peer = Peer::of(request.extensions());
        let _place = self.calls.place(&peer, &request)?;
        let patience = deadline::patience(request.headers());
        errors::in_time(patience, self.pass(inner, request, &peer)).await
    }

    async fn pass<S: Next>(
        &self,
        mut inner: S,
        mut request: Request<Body>,
        peer: &Peer,
    ) -> Result<Response<Body>, Failure> {
        if let Some(credentials) = &self.credentials {
            authorize::authorize(&credentials.current(), &mut request)?;
        }
        let share = self.caller_shares.place(&mut request)?;
        let mut held = self.request_buffer.held(peer);
        request_buffer::receive(&mut request, &mut held).await?;
        let is_list = rpc(request.uri().path()).is_some_and(|rpc| rpc.is_list);
        let page = if is_list { Arc::clone(&peer.pages).acquire_owned().await.ok() } else { None };
        let Ok(mut answer) = inner.call(request).await;
        if is_list {
            answer = answer.map(|body| self.pages.give(body, page));
        }
        if let Some(share) = share {
            answer = caller_share::until_taken(answer, share);
        }
        Ok(errors::in_our_words(answer))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_internal_and_keeps_its_secrets() {
        let panics = service_fn(|_| async { panic!("a secret") });
        let call = Request::post("/").header("content-type", "application/grpc");
        let call = call.body(Body::default()).unwrap();
        let answer = Gates::new(None).layer().layer(panics).call(call).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        assert!(!status.details().is_empty());
    }
}
