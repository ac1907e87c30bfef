//! What a statement shows, as CSV: all of its pages, with the columns and the care of `billing export`.

use std::io;

use axum::{
    body::Body,
    extract::Query,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream::try_unfold;

use super::{
    failure::Failure,
    journal,
    operator::Operator,
    service::{Service, ServiceError},
    statement::Filter,
};
use crate::{
    export::Format,
    grpc::proto::{Entry, ListEntriesRequest},
};

/// How many entries are read at once. It is the most that the service gives.
const PAGE_SIZE: i32 = 1_000;

/// Where a file is that is being written.
struct Place {
    service: Service,
    request: ListEntriesRequest,
    is_first: bool,
}

/// The file. It is sent as it is read: one that ends early is cut off, and browsers say so.
pub(super) async fn csv(
    Operator { service, .. }: Operator,
    Query(filter): Query<Filter>,
) -> Result<Response, Failure> {
    let mut request = filter.request().map_err(Failure::Malformed)?;
    (request.page_size, request.page_token) = (PAGE_SIZE, String::new());
    let first = Place { service, request, is_first: true };
    let (begin, rest) = page(first).await?;
    let pages = try_unfold((Some(begin), rest), |(ready, rest)| async move {
        if let Some(text) = ready {
            return Ok(Some((text, (None, rest))));
        }
        let Some(place) = rest else { return Ok::<_, Unreadable>(None) };
        let (text, rest) = page(place).await?;
        Ok(Some((text, (None, rest))))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"entries.csv\"")),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// Why a page cannot be read or written.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Entry(#[from] journal::Unknown),
    #[error("entries cannot be written as CSV")]
    Write(#[from] io::Error),
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Service(error) => error.into(),
            Unreadable::Entry(_) | Unreadable::Write(_) => Self::Broken(error.to_string()),
        }
    }
}

/// The text of a page, and where it goes on.
async fn page(place: Place) -> Result<(String, Option<Place>), Unreadable> {
    let Place { service, mut request, is_first } = place;
    let listed = service.list_entries(request.clone()).await?;
    let text = written(listed.entries, is_first)?;
    request.page_token = listed.next_page_token;
    let rest = (!request.page_token.is_empty()).then(|| Place { service, request, is_first: false });
    Ok((text, rest))
}

/// Entries as CSV, with the names of the columns or without.
fn written(entries: Vec<Entry>, with_names: bool) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    let mut document = Format::Csv.begin(&mut bytes)?;
    for entry in entries {
        document.entry(&journal::entry(&entry)?, None)?;
    }
    document.end()?;
    drop(document);
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(if with_names { text } else { text.split_once('\n').map_or("", |(_, rows)| rows).to_owned() })
}
