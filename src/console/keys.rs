//! The keys of the console: what it seals into a cookie nobody else can read or make, and a form's token belongs to a session.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};

/// The fewest bytes of a file that keys are made from.
pub const SECRET_BYTES_MIN: usize = 32;

/// The keys, all made from one secret.
pub struct Keys {
    sealing: LessSafeKey,
    forms: hmac::Key,
}

/// The operating system has no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system has no random bytes")]
pub struct NoRandomBytes;

impl Keys {
    /// Keys that no other process has: a session ends with this one.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn random() -> Result<Self, NoRandomBytes> {
        Ok(Self::from_secret(&random::<SECRET_BYTES_MIN>()?))
    }

    /// Keys made from a secret that several processes share.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &str| hmac::sign(&secret, purpose.as_bytes());
        Self {
            sealing: sealing_key(derived("sessions").as_ref()),
            forms: hmac::Key::new(hmac::HMAC_SHA256, derived("forms").as_ref()),
        }
    }

    /// Seals bytes into text.
    pub(super) fn seal(&self, bytes: &[u8]) -> Result<String, NoRandomBytes> {
        let nonce: [u8; NONCE_LEN] = random()?; // never the same twice in 2^32 seals
        let mut sealed = bytes.to_vec();
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .map_err(|_| NoRandomBytes)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed with these keys, and nothing else.
    pub(super) fn open(&self, text: &str) -> Option<Vec<u8>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = self.sealing.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        Some(opened.to_vec())
    }

    /// The token of the forms of a session.
    pub(super) fn form_token(&self, session: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.forms, session.as_bytes()))
    }

    /// Whether a form belongs to a session. Takes equally long for every token of the right length.
    pub(super) fn is_of_session(&self, token: &str, session: &str) -> bool {
        let token = BASE64_URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        hmac::verify(&self.forms, session.as_bytes(), &token).is_ok()
    }
}

/// A name that nobody can guess.
pub(super) fn random_name() -> Result<String, NoRandomBytes> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<16>()?))
}

fn sealing_key(bytes: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, bytes).expect("an HMAC-SHA256 is as long as a key"))
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], NoRandomBytes> {
    let mut bytes = [0; LENGTH];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomBytes)?;
    Ok(bytes)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_opens_what_was_sealed() {
        let (keys, others) = (Keys::from_secret(&[1; 32]), Keys::from_secret(&[2; 32]));
        let sealed = keys.seal(b"token").unwrap();
        assert_ne!(sealed, keys.seal(b"token").unwrap());
        assert_eq!(Keys::from_secret(&[1; 32]).open(&sealed).as_deref(), Some(&b"token"[..]));
        assert_eq!(others.open(&sealed), None);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] ^= 1;
            assert_eq!(keys.open(&String::from_utf8(changed).unwrap()), None, "{place}");
        }
        for nothing in ["", "a", "!", &"A".repeat(16)] {
            assert_eq!(keys.open(nothing), None);
        }
    }

    #[test]
    fn the_token_of_a_form_is_of_one_session() {
        let keys = Keys::from_secret(&[1; 32]);
        let token = keys.form_token("one");
        assert!(keys.is_of_session(&token, "one"));
        assert!(!keys.is_of_session(&token, "other") && !keys.is_of_session("", "one"));
        assert!(!Keys::from_secret(&[2; 32]).is_of_session(&token, "one"));
    }
}
