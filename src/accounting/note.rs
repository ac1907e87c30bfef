//! Free text and key-value pairs of callers. Never used to detect a repeated call.

use std::{collections::BTreeMap, fmt};

use super::Invalid;

/// The caller's own key-value pairs.
pub type Metadata = BTreeMap<String, String>;

const METADATA_NOTES_MAX: usize = 50;
const METADATA_NAME_LENGTH_MAX: usize = 64;
const METADATA_VALUE_LENGTH_MAX: usize = 512;

/// The reference and the metadata of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// Free text for people; empty when there is none.
    pub reference: Reference,
    /// The caller's own key-value pairs.
    pub metadata: Metadata,
}

impl Note {
    /// Parses the `reference` and the `metadata` of a request.
    ///
    /// # Errors
    /// When a text is too long or contains NUL, which the database cannot store, or there are too many pairs.
    pub fn parse(reference: &str, metadata: Metadata) -> Result<Self, Invalid> {
        let reference = Reference::parse(reference)?;
        if metadata.len() > METADATA_NOTES_MAX {
            let problem = format!("must have at most {METADATA_NOTES_MAX} notes, not {}", metadata.len());
            return Err(Invalid::field("metadata", problem));
        }
        for (name, value) in &metadata {
            if name.is_empty() {
                return Err(Invalid::field("metadata", "must not have a note without a name"));
            }
            text("metadata", name, METADATA_NAME_LENGTH_MAX)?;
            text("metadata", value, METADATA_VALUE_LENGTH_MAX)?;
        }
        Ok(Self { reference, metadata })
    }
}

/// Free text for people, up to 1,024 bytes; longer only on imported history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reference(String);

impl Reference {
    /// The maximum length that a caller may send, in bytes.
    pub const LENGTH_MAX: usize = 1024;

    /// Parses the `reference` of a request.
    ///
    /// # Errors
    /// When it is too long or contains NUL.
    pub fn parse(reference: &str) -> Result<Self, Invalid> {
        text("reference", reference, Self::LENGTH_MAX).map(Self)
    }

    /// A reference from the book, of any length.
    #[must_use]
    pub fn recorded(reference: String) -> Self {
        Self(reference)
    }

    /// The reference as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! required_text {
    ($(#[$doc:meta])* $name:ident, $field:literal, $length_max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Parses the `", $field, "` of a request.")]
            ///
            /// # Errors
            /// When it is blank, too long, or contains NUL.
            pub fn parse(content: &str) -> Result<Self, Invalid> {
                if content.trim().is_empty() {
                    return Err(Invalid::field($field, "is required"));
                }
                text($field, content, $length_max).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

required_text! {
    /// The operator who decided on a credit: 1..=255 bytes, not blank.
    Actor, "actor", 255
}
required_text! {
    /// The operator's reason: 1..=1,024 bytes, not blank.
    Reason, "reason", 1024
}

fn text(field: &'static str, content: &str, length_max: usize) -> Result<String, Invalid> {
    if content.len() > length_max {
        let problem = format!("must have texts of at most {length_max} bytes, not {}", content.len());
        return Err(Invalid::field(field, problem));
    }
    if content.contains('\0') {
        return Err(Invalid::field(field, "must not contain NUL characters"));
    }
    Ok(content.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_which_the_book_cannot_keep_are_refused_by_field() {
        let note = |name: &str, value: &str| Metadata::from([(name.into(), value.into())]);
        let many = (0..51).map(|i| (i.to_string(), String::new())).collect();
        let bad = [
            ("reference", Note::parse(&"r".repeat(1025), Metadata::new())),
            ("reference", Note::parse("a\0b", Metadata::new())),
            ("metadata", Note::parse("", note("", "v"))),
            ("metadata", Note::parse("", note("n\0", "v"))),
            ("metadata", Note::parse("", note("n", "v\0"))),
            ("metadata", Note::parse("", note(&"n".repeat(65), "v"))),
            ("metadata", Note::parse("", note("n", &"v".repeat(513)))),
            ("metadata", Note::parse("", many)),
        ];
        for (field, parsed) in bad {
            assert_eq!(parsed.unwrap_err().field, field);
        }
        assert!(Note::parse("reservation_refund", note("ключ", "значение\n")).is_ok());
    }

    #[test]
    fn an_actor_and_a_reason_are_not_blank() {
        assert_eq!(Actor::parse("").unwrap_err().field, "actor");
        assert_eq!(Reason::parse(" \t").unwrap_err().field, "reason");
    }
}
