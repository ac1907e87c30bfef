//! Health with a bound on the watch streams of a connection: they need no credentials, and last as long as the client wants.
//! As the protocol requires, an unknown service can be watched, in case it appears later; here none does.

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status};
use tonic_health::{
    pb::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
    },
    server::HealthService,
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

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let places = Arc::clone(&Peer::of(request.extensions()).watches);
        let place = places.try_acquire_owned().map_err(|_| Failure::TooManyCalls)?;
        let (answer, is_known) = match self.0.watch(request).await {
            Err(unknown) if unknown.code() == Code::NotFound => {
                // Ends when the service does.
                (self.0.watch(Request::new(HealthCheckRequest::default())).await?, false)
            }
            answer => (answer?, true),
        };
        let mut is_told = false;
        let told = move |change| {
            let _kept = &place; // until the stream ends
            if is_known {
                return Some(change);
            }
            let status = ServingStatus::ServiceUnknown.into();
            let unknown = Ok(HealthCheckResponse { status });
            (!std::mem::replace(&mut is_told, true)).then_some(unknown)
        };
        Ok(answer.map(|changes| Box::pin(changes.filter_map(told)) as Self::WatchStream))
    }
}
