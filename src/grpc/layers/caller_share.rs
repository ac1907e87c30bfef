//! Bounds the calls in progress of each caller, so that no caller takes the places of the others. A call is in progress until its
//! answer has been taken: answers that a client does not read count, too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tonic::{Status, body::Body, codegen::http};

use crate::{
    access::Caller,
    accounting::CallerName,
    grpc::{
        failure::Failure,
        places::{Places, TakenPlaces},
    },
};

/// The most calls in progress of one caller: half of the reads that may wait for a connection, and an eighth of all calls.
const CALLS_PER_CALLER_MAX: usize = 2_048;

/// The places of each caller. Callers are those of the credentials file, so there are few.
#[derive(Debug, Default)]
pub(crate) struct CallerShares(Mutex<HashMap<CallerName, Arc<Semaphore>>>);

impl CallerShares {
    /// A place among the calls of its caller. Without credentials there are no callers to tell apart.
    pub(crate) fn place<B>(&self, request: &mut http::Request<B>) -> Result<Option<TakenPlaces>, Failure> {
        let Some(caller) = request.extensions().get::<Caller>() else { return Ok(None) };
        let places = Places::new(self.places(&caller.name));
        let place = places.take(1)?;
        request.extensions_mut().insert(places);
        Ok(Some(place))
    }

    fn places(&self, caller: &CallerName) -> Arc<Semaphore> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner); // a map is consistent at any time
        if let Some(known) = places.get(caller) {
            return Arc::clone(known);
        }
        let new = Arc::new(Semaphore::new(CALLS_PER_CALLER_MAX));
        places.insert(caller.clone(), Arc::clone(&new));
        new
    }
}

/// The same answer, which keeps its call's place, and those of its operations, until it has been sent.
pub(crate) fn until_taken(answer: http::Response<Body>, place: TakenPlaces) -> http::Response<Body> {
    let places = (place, answer.extensions().get::<TakenPlaces>().cloned());
    answer.map(|body| {
        Body::new(body.map_err(move |status: Status| {
            let _kept = &places;
            status
        }))
    })
}
