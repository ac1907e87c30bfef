//! Health with a bound on the watch streams of a connection: they need no credentials, and last as long as the client wants.
//! As the protocol requires, an unknown service can be watched, in case it appears later; here none does.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use tonic_health::{
    pb::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
    },
    server::{HealthService, WatchStream},
};

use crate::grpc::{connection::Peer, failure::Failure};

/// Health with bounded streams.
pub(crate) struct BoundedHealth(pub(crate) HealthService);

#[tonic::async_trait]
impl Health for BoundedHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.check(request).await
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let place = Arc::clone(&peer.watches.0).try_acquire_owned().map_err(|_| Failure::TooManyCalls)?;
        let (answer, is_known) = match self.0.watch(request).await {
            Err(unknown) if unknown.code() == Code::NotFound => {
                // Ends when the service does.
                (self.0.watch(Request::new(HealthCheckRequest::default())).await?, false)
            }
            answer => (answer?, true),
        };
        Ok(answer.map(|stream| Watch { stream, is_known, is_told: false, _place: place }))
    }
}

/// A watch stream, and its place.
pub(crate) struct Watch {
    stream: WatchStream,
    is_known: bool,
    is_told: bool,
    _place: OwnedSemaphorePermit,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let change = ready!(Pin::new(&mut self.stream).poll_next(context));
            if change.is_none() || self.is_known {
                return Poll::Ready(change);
            }
            if !std::mem::replace(&mut self.is_told, true) {
                let status = ServingStatus::ServiceUnknown.into();
                return Poll::Ready(Some(Ok(HealthCheckResponse { status })));
            }
        }
    }
}
