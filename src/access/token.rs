//! Bearer tokens. Only their SHA-256 is stored: reading the credentials file is not enough to call.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// The prefix of every token, so that secret scanners find leaked ones.
const PREFIX: &str = "billing_";

/// A new token. Shown once, and never stored.
pub struct Token(String);

/// The SHA-256 of a token. A slow hash would gain nothing: a token is 256 random bits, and cannot be guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenHash([u8; 32]);

impl Token {
    /// Generates a token from 256 random bits.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret))))
    }

    /// The token itself, for the caller.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its form in the credentials file.
    #[must_use]
    pub fn credential(&self) -> String {
        format!("sha256:{}", TokenHash::of(&self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Parses 64 hexadecimal digits.
    pub(super) fn parse(hex: &str) -> Option<Self> {
        let digits: Vec<u8> =
            hex.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        (digits.len() == 64).then_some(())?;
        bytes.try_into().ok().map(Self)
    }

    /// Compares in constant time.
    pub(super) fn constant_time_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_do_not_show_in_a_log() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(one.reveal().len(), PREFIX.len() + 43);
        assert!(!format!("{one:?}{}", one.credential()).contains(&one.reveal()[PREFIX.len()..]));
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        let hash = TokenHash::of("abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, appendix B.1
        assert_eq!(hash.to_string(), hex);
        assert_eq!(TokenHash::parse(hex), Some(hash.clone()));
        assert_eq!(TokenHash::parse(&hex.to_uppercase()), Some(hash));
        for bad in ["", &hex[1..], &format!("{hex}0"), &format!("{hex}00"), &hex.replace('b', "g")] {
            assert_eq!(TokenHash::parse(bad), None, "{bad:?}");
        }
    }
}
