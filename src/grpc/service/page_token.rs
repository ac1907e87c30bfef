//! Page tokens: the rest of a list, bound to the request that they were issued for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    accounting::{AccountId, Invalid},
    grpc::proto::{ListAccountsRequest, ListEntriesRequest, ListGrantsRequest, ListReservationsRequest},
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
paged!(
    ListAccountsRequest: "ListAccounts",
    ListEntriesRequest: "ListEntries",
    ListReservationsRequest: "ListReservations",
    ListGrantsRequest: "ListGrants"
);

const WORD_BYTES: usize = 8;

/// Where a list goes on.
pub(crate) trait Position: Sized {
    /// The position as bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// The position that bytes stand for.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Position for EntrySpan {
    fn to_bytes(&self) -> Vec<u8> {
        [self.after.to_be_bytes(), self.last.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ([after, last], []) = bytes.as_chunks::<WORD_BYTES>() else { return None };
        Some(Self { after: i64::from_be_bytes(*after), last: i64::from_be_bytes(*last) })
    }
}

/// The last account of the page before.
impl Position for AccountId {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse("page_token", std::str::from_utf8(bytes).ok()?).ok()
    }
}

/// The token for the rest of the list.
pub(crate) fn write(rest: &impl Position, request: &impl Paged) -> String {
    let position = rest.to_bytes();
    URL_SAFE_NO_PAD.encode([&check(&position, request), position.as_slice()].concat())
}

/// The rest of the list that a token stands for.
///
/// # Errors
/// When it is not a token, or was issued for another request.
pub(crate) fn parse<P: Position>(token: &str, request: &impl Paged) -> Result<P, Invalid> {
    let invalid = |problem| Invalid::field("page_token", problem);
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let parts = bytes.split_first_chunk::<WORD_BYTES>();
    let Some((check_word, position, rest)) =
        parts.and_then(|(check, position)| Some((check, position, P::from_bytes(position)?)))
    else {
        return Err(invalid("is not a token that a page came with"));
    };
    if *check_word != check(position, request) {
        return Err(invalid("came with another request: only page_size may change between pages"));
    }
    Ok(rest)
}

/// A checksum over the method, the fields that must not change from page to page, and the position. It protects no secret: a
/// forged token shows a part of a list that its caller may read anyway.
fn check<R: Paged>(position: &[u8], request: &R) -> [u8; WORD_BYTES] {
    let digest = Sha256::new()
        .chain_update(R::METHOD)
        .chain_update(position)
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
        let token = write(&rest, &request);
        let other_size = ListEntriesRequest { page_size: 7, page_token: token.clone(), ..request.clone() };
        assert_eq!(parse(&token, &other_size), Ok(rest));
        let other = ListEntriesRequest { reference: "r".into(), ..request };
        assert_eq!(parse::<EntrySpan>(&token, &other).unwrap_err().field, "page_token");
    }

    #[test]
    fn anything_else_is_no_token() {
        let request = ListEntriesRequest::default();
        let long = "A".repeat(100);
        for text in ["x", "!!!", "AAAA", long.as_str(), "é"] {
            assert!(parse::<EntrySpan>(text, &request).is_err(), "{text}");
        }
    }
}
