//! The empty server: a unary call that takes nothing, does nothing and answers nothing. What tonic itself costs.
//!
//! It answers a collector's call in the same way, so it is also where traces go.

use std::{convert::Infallible, future};

use anyhow::Context as _;
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Context, Poll, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

/// The path of the call.
pub(crate) const PATH: &str = "/billing.bench.Empty/Call";

/// Whatever it is asked, it reads it and answers with an empty message.
#[derive(Debug, Clone)]
struct EmptyService<const COLLECTOR: bool>;

impl NamedService for EmptyService<false> {
    const NAME: &'static str = "billing.bench.Empty";
}

impl NamedService for EmptyService<true> {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl<const COLLECTOR: bool> Service<http::Request<Body>> for EmptyService<COLLECTOR> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(
            async move { Ok(Grpc::new(ProstCodec::<(), ()>::default()).unary(EmptyAnswer, request).await) },
        )
    }
}

#[derive(Debug)]
struct EmptyAnswer;

impl UnaryService<()> for EmptyAnswer {
    type Response = ();
    type Future = future::Ready<Result<Response<()>, Status>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        future::ready(Ok(Response::new(())))
    }
}

/// Serves until it is killed, on a runtime like the service's.
pub(crate) fn serve(listen: &str) -> anyhow::Result<()> {
    Runtime::new().context("cannot start the runtime")?.block_on(async {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let services = Server::builder().add_service(EmptyService::<false>).add_service(EmptyService::<true>);
        services.serve_with_incoming(incoming).await?;
        Ok(())
    })
}
