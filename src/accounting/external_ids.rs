//! The names of one payment in other systems.

use super::{ExternalId, Invalid};

/// The ids of one payment in other systems, such as its Checkout session, its payment intent and its charge: up to four,
/// distinct, and sorted, so that their order in a request has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExternalIds(Vec<ExternalId>);

impl ExternalIds {
    /// The most ids that one operation may give.
    pub const COUNT_MAX: usize = 4;

    /// Parses the `external_ids` of a request.
    ///
    /// # Errors
    /// When there are too many, one is malformed, or one is given twice.
    pub fn parse(texts: &[String]) -> Result<Self, Invalid> {
        let invalid = |problem: String| Invalid::field("external_ids", problem);
        if texts.len() > Self::COUNT_MAX {
            return Err(invalid(format!("must be at most {}, not {}", Self::COUNT_MAX, texts.len())));
        }
        let ids = texts.iter().map(|text| ExternalId::parse("external_ids", text));
        let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        let twice = ids.iter().zip(ids.iter().skip(1)).find(|(one, next)| one == next);
        if let Some((id, _)) = twice {
            return Err(invalid(format!("must be distinct, but has {id} twice")));
        }
        Ok(Self(ids))
    }

    /// The ids, sorted.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ExternalId> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an id is among them.
    #[must_use]
    pub fn contains(&self, id: &ExternalId) -> bool {
        self.0.contains(id)
    }

    /// The ids in one text, with a space between them: no id has one. Empty if there are none.
    #[must_use]
    pub fn joined(&self) -> String {
        self.0.iter().map(ExternalId::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl From<ExternalId> for ExternalIds {
    fn from(id: ExternalId) -> Self {
        Self(vec![id])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<ExternalIds, Invalid> {
        ExternalIds::parse(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_order_of_ids_has_no_meaning() {
        assert_eq!(parse(&["pi_1", "cs_1"]), parse(&["cs_1", "pi_1"]));
        assert_eq!(parse(&["pi_1", "cs_1"]).unwrap().joined(), "cs_1 pi_1");
        assert_eq!(parse(&[]).unwrap().joined(), "");
    }

    #[test]
    fn ids_that_are_too_many_malformed_or_given_twice_are_refused_by_field() {
        for texts in [&["a", "b", "c", "d", "e"][..], &["a", ""], &["a b"], &["a", "b", "a"]] {
            assert_eq!(parse(texts).unwrap_err().field, "external_ids", "{texts:?}");
        }
        assert_eq!(parse(&["d", "c", "b", "a"]).unwrap().iter().len(), 4);
    }
}
