//! The request id: the same in the response, in the log and in the systems of the caller.

use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

/// The metadata key, in requests and in responses.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LENGTH_MAX: usize = 64;

/// 1 to 64 visible ASCII characters: the caller's id if it is valid, so that its logs and ours match. Otherwise one of our own,
/// so that no caller can write arbitrary text into the log.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).filter(|sent| is_good(sent.as_bytes()));
        sent.map_or_else(Self::random, |sent| Self(sent.clone()))
    }

    /// Random: unlikely to repeat among the calls that anybody searches.
    fn random() -> Self {
        let digits = format!("{:016x}", fastrand::u64(..));
        Self(HeaderValue::try_from(digits).expect("hexadecimal digits are visible ASCII"))
    }

    /// The header of the response, marked as never-indexed: no other response has the same value.
    pub(crate) fn header(&self) -> HeaderValue {
        let mut header = self.0.clone();
        header.set_sensitive(true);
        header
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default() // visible ASCII
    }
}

fn is_good(sent: &[u8]) -> bool {
    (1..=LENGTH_MAX).contains(&sent.len()) && sent.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sent: &[u8]) -> RequestId {
        RequestId::of(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(sent).unwrap())]))
    }

    #[test]
    fn an_id_of_the_caller_is_taken_if_it_is_short_and_visible() {
        for good in ["a", "6f1c-~!", &"x".repeat(64)] {
            assert_eq!(id(good.as_bytes()).as_str(), good);
        }
        for bad in [&b""[..], b"a b", b"a\tb", "é".as_bytes(), "x".repeat(65).as_bytes()] {
            let id = id(bad);
            assert!(id.as_str().len() == 16 && is_good(id.as_str().as_bytes()), "{bad:?}: {id:?}");
        }
    }

    #[test]
    fn calls_without_an_id_get_different_ones() {
        let none = HeaderMap::new();
        assert_ne!(RequestId::of(&none).as_str(), RequestId::of(&none).as_str());
    }
}
