//! The session: what is known of a browser, sealed into its cookie. This process keeps nothing.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::{
    keys::{Keys, NoRandomBytes, random_name},
    viewer::Viewer,
};

/// How long a session lasts at the most, however busy it is.
const AGE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// How cookies are made and read.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) keys: Keys,
    /// How long a session lasts in which nothing happens.
    pub(super) idle: Duration,
    /// Whether browsers reach this process by TLS alone.
    pub(super) is_encrypted: bool,
}

/// A browser's session.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    /// What its forms belong to.
    pub(super) id: String,
    /// Who has signed in.
    pub(super) operator: Option<SignedIn>,
    began: u64,
    seen: u64,
}

/// An operator who has signed in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SignedIn {
    /// The bearer token of all calls.
    pub(super) token: String,
    /// The caller's name, as the service has it; empty if it asks for no credentials.
    pub(super) name: String,
    /// The caller's roles, as in the credentials file.
    pub(super) roles: String,
}

/// What a cookie says.
pub(super) enum Found {
    /// A session.
    Session(Session),
    /// A session that is over: nothing happened in it for too long, or it has lasted too long.
    Over,
    /// None, or none of ours.
    Nothing,
}

impl Session {
    /// A new one.
    pub(super) fn begin(operator: Option<SignedIn>) -> Result<Self, NoRandomBytes> {
        Ok(Self { id: random_name()?, operator, began: now(), seen: now() })
    }
}

impl Sessions {
    /// The name of the cookie. Browsers take one with this prefix from an encrypted connection alone.
    fn cookie_name(&self) -> &'static str {
        if self.is_encrypted { "__Host-billing-console" } else { "billing-console" }
    }

    /// The session of a request.
    pub(super) fn find(&self, headers: &HeaderMap) -> Found {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|header| header.to_str().ok());
        let mut pairs =
            cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let sealed = pairs.find(|(name, _)| *name == self.cookie_name()).map(|(_, value)| value);
        let opened = sealed.and_then(|sealed| self.keys.open(sealed));
        let Some(session) = opened.and_then(|bytes| serde_json::from_slice::<Session>(&bytes).ok()) else {
            return Found::Nothing;
        };
        let is_over = |since: u64, most: Duration| now().saturating_sub(since) >= most.as_secs();
        if is_over(session.seen, self.idle) || is_over(session.began, AGE_MAX) {
            return Found::Over;
        }
        Found::Session(session)
    }

    /// Who has signed in, as pages know them.
    pub(super) fn viewer(&self, session: &Session) -> Option<Viewer> {
        let SignedIn { name, roles, .. } = session.operator.as_ref()?;
        let form_token = self.keys.form_token(&session.id);
        Some(Viewer { name: name.clone(), roles: roles.parse().ok()?, form_token, idle: self.idle })
    }

    /// The header that gives a browser a session that was seen just now.
    pub(super) fn cookie(&self, session: Session) -> Result<HeaderValue, NoRandomBytes> {
        let bytes = serde_json::to_vec(&Session { seen: now(), ..session }).map_err(|_| NoRandomBytes)?;
        Ok(self.header(&self.keys.seal(&bytes)?, ""))
    }

    /// The header that takes a browser's session away.
    pub(super) fn no_cookie(&self) -> HeaderValue {
        self.header("", "; Max-Age=0")
    }

    fn header(&self, value: &str, age: &str) -> HeaderValue {
        let (name, secure) = (self.cookie_name(), if self.is_encrypted { "; Secure" } else { "" });
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
        HeaderValue::try_from(text).expect("base64 is visible ASCII")
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn")
            .field("name", &self.name)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(idle: Duration, is_encrypted: bool) -> Sessions {
        Sessions { keys: Keys::from_secret(&[1; 32]), idle, is_encrypted }
    }

    fn sent_back(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(format!("other=1; {pair}")).unwrap())])
    }

    fn signed_in() -> Session {
        let operator = SignedIn { token: "5ecret".into(), name: "ops".into(), roles: "admin".into() };
        Session::begin(Some(operator)).unwrap()
    }

    #[test]
    fn a_cookie_is_for_this_console_alone_and_shows_nothing() {
        for (is_encrypted, name) in [(false, "billing-console="), (true, "__Host-billing-console=")] {
            let sessions = sessions(Duration::from_secs(900), is_encrypted);
            let cookie = sessions.cookie(signed_in()).unwrap();
            let text = cookie.to_str().unwrap();
            assert!(text.starts_with(name) && text.contains("; HttpOnly; SameSite=Strict"), "{text}");
            assert_eq!(text.contains("; Secure"), is_encrypted);
            assert!(!text.contains("5ecret") && !text.contains("ops"), "{text}");
            let Found::Session(found) = sessions.find(&sent_back(&cookie)) else { panic!("no session") };
            assert_eq!(found.operator.unwrap().token, "5ecret");
        }
    }

    #[test]
    fn a_session_ends_when_nothing_happens_in_it_and_when_it_is_old() {
        let sessions = sessions(Duration::from_secs(60), false);
        let old = Session { began: now() - AGE_MAX.as_secs(), ..signed_in() };
        assert!(matches!(sessions.find(&sent_back(&sessions.cookie(old).unwrap())), Found::Over));
        let sealed = |seen| {
            let bytes = serde_json::to_vec(&Session { seen, ..signed_in() }).unwrap();
            sessions.header(&sessions.keys.seal(&bytes).unwrap(), "")
        };
        assert!(matches!(sessions.find(&sent_back(&sealed(now() - 60))), Found::Over));
        assert!(matches!(sessions.find(&sent_back(&sealed(now() - 50))), Found::Session(_)));
        assert!(matches!(sessions.find(&sent_back(&sessions.no_cookie())), Found::Nothing));
        assert!(matches!(sessions.find(&HeaderMap::new()), Found::Nothing));
    }

    #[test]
    fn a_session_is_debugged_without_its_token() {
        assert!(!format!("{:?}", signed_in().operator).contains("5ecret"));
    }
}
