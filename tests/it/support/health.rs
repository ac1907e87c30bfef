//! The health of a service, as a kubelet or a load balancer asks for it.

use std::time::Duration;

use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// A client for the health of a service.
pub async fn health(url: &str) -> HealthClient<Channel> {
    HealthClient::new(Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap())
}

/// Asks for the health under a name.
pub fn request(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.into() }
}

/// The health under a name.
pub async fn check(health: &mut HealthClient<Channel>, name: &str) -> ServingStatus {
    health.check(request(name)).await.unwrap().into_inner().status()
}

/// Returns once the health under a name is as expected, and fails after ten seconds.
pub async fn wait_for(health: &mut HealthClient<Channel>, name: &str, expected: ServingStatus) {
    for _ in 0..200 {
        if check(health, name).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name:?} does not become {expected:?}");
}
