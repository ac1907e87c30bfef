//! Page tokens: the rest of a list, bound to the request that they were issued for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    accounting::Invalid,
    grpc::proto::{ListEntriesRequest, ListReservationsRequest},
    ledger::EntrySpan,
};

/// A request of a paged list.
pub(crate) trait Paged: prost::Message + Clone {
    /// The method.
    const METHOD: &'static str;

    /// The request without the fields that may change from page to page.
    fn without_page(&self) -> Self;
}

macro_rules! paged {
    ($($request:ident: $method:literal),+) => {
        $(impl Paged for $request {
            const METHOD: &'static str = $method;

            fn without_page(&self) -> Self {
                Self { page_size: 0, page_token: String::new(), ..self.clone() }
            }
        })+
    };
}
paged!(ListEntriesRequest: "ListEntries", ListReservationsRequest: "ListReservations");

const WORD_BYTES: usize = 8;

/// The token for the rest of the list.
pub(crate) fn write(rest: EntrySpan, request: &impl Paged) -> String {
    let bytes = [rest.after.to_be_bytes(), rest.last.to_be_bytes(), check(rest, request)].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The rest of the list that a token stands for.
///
/// # Errors
/// When it is not a token, or was issued for another request.
pub(crate) fn parse(token: &str, request: &impl Paged) -> Result<EntrySpan, Invalid> {
    let invalid = |problem| Invalid::field("page_token", problem);
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let ([after, last, check_word], []) = bytes.as_chunks::<WORD_BYTES>() else {
        return Err(invalid("is not a token that a page came with"));
    };
    let rest = EntrySpan { after: i64::from_be_bytes(*after), last: i64::from_be_bytes(*last) };
    if *check_word != check(rest, request) {
        return Err(invalid("came with another request: only page_size may change between pages"));
    }
    Ok(rest)
}

/// A checksum over the method, the fields that must not change from page to page, and the token itself. It protects no secret:
/// a forged token shows a part of a list that its caller may read anyway.
fn check<R: Paged>(rest: EntrySpan, request: &R) -> [u8; WORD_BYTES] {
    let digest = Sha256::new()
        .chain_update(R::METHOD)
        .chain_update(rest.after.to_be_bytes())
        .chain_update(rest.last.to_be_bytes())
        .chain_update(request.without_page().encode_to_vec())
        .finalize();
    let mut check = [0; WORD_BYTES];
    check.copy_from_slice(&digest[..WORD_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_only_with_the_request_that_it_came_with() {
        let request = ListEntriesRequest { account_id: "a".into(), page_size: 5, ..Default::default() };
        let rest = EntrySpan { after: 3, last: 40 };
        let token = write(rest, &request);
        let other_size = ListEntriesRequest { page_size: 7, page_token: token.clone(), ..request.clone() };
        assert_eq!(parse(&token, &other_size), Ok(rest));
        let other = ListEntriesRequest { reference: "r".into(), ..request };
        assert_eq!(parse(&token, &other).unwrap_err().field, "page_token");
    }

    #[test]
    fn anything_else_is_no_token() {
        let request = ListEntriesRequest::default();
        let long = "A".repeat(100);
        for text in ["x", "!!!", "AAAA", long.as_str(), "é"] {
            assert!(parse(text, &request).is_err(), "{text}");
        }
    }
}
