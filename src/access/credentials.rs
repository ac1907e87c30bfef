//! The credentials file: the callers, their roles and their credentials.
//!
//! ```text
//! # name     roles              credential
//! checkout   coordinator        sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! dashboard  reader             uri:spiffe://example.com/dashboard
//! ops        coordinator,admin  dns:ops.example.internal
//! ```
//!
//! A caller may have several credentials, such as an old and a new token during a rotation; all have the same roles.

use std::{collections::HashMap, fmt};

use subtle::ConditionallySelectable as _;

use super::{Caller, Roles, token::TokenHash};
use crate::accounting::CallerName;

/// All callers.
#[derive(Debug, Default)]
pub struct Credentials {
    callers: Vec<Caller>,
    tokens: Vec<(TokenHash, u32)>,
    names: HashMap<String, usize>,
}

/// The subject alternative names of a client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs, such as SPIFFE ids.
    pub uris: Vec<String>,
}

/// All errors in a credentials file. Quotes no credential.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct CredentialsError(Vec<String>);

/// The most errors that are reported: enough to correct the file, even if it is something else entirely.
const SAID_MAX: usize = 20;

enum Credential {
    Token(TokenHash),
    /// A name of a certificate, prefixed with its kind, as in the file.
    Name(String),
}

impl Credentials {
    /// Parses the file: the valid lines, and the errors in the others. An invalid line grants nothing, and takes nothing away
    /// that another line grants.
    #[must_use]
    pub fn parse(file: &[u8]) -> (Self, Option<CredentialsError>) {
        let mut credentials = Self::default();
        let mut wrong = Vec::new();
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            if let Err(why) = credentials.add_line(line) {
                wrong.push(format!("line {}: {why}", index + 1));
            }
        }
        if credentials.callers.is_empty() {
            wrong.push("it names nobody".into());
        }
        (credentials, Some(CredentialsError(wrong)).filter(|error| !error.0.is_empty()))
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), String> {
        let line = std::str::from_utf8(line).map_err(|_| "must be UTF-8")?;
        let line = line.split('#').next().unwrap_or_default();
        if line.trim().is_empty() {
            return Ok(());
        }
        let (caller, credential) = parse_line(line)?;
        let is_known = match &credential {
            Credential::Token(hash) => self.tokens.iter().any(|(other, _)| other == hash),
            Credential::Name(name) => self.names.contains_key(name),
        };
        if is_known {
            return Err("the credential stands in another line, too".into());
        }
        let known = self.callers.iter().position(|known| known.name == caller.name);
        let place = match known {
            Some(place) if self.callers[place].roles != caller.roles => {
                // Does not quote the name, which may be a token in the wrong column.
                return Err("the name has other roles above".into());
            }
            Some(place) => place,
            None => {
                self.callers.push(caller);
                self.callers.len() - 1
            }
        };
        match credential {
            Credential::Token(hash) => {
                self.tokens.push((hash, u32::try_from(place).map_err(|_| "too many callers")?));
            }
            Credential::Name(name) => {
                self.names.insert(name, place);
            }
        }
        Ok(())
    }

    /// The caller that a token belongs to. Takes equally long for every token, known or not.
    #[must_use]
    pub fn caller_of_token(&self, token: &str) -> Option<&Caller> {
        let hash = TokenHash::of(token);
        let mut found = u32::MAX;
        for (known, place) in &self.tokens {
            found.conditional_assign(place, hash.constant_time_eq(known));
        }
        self.callers.get(usize::try_from(found).ok()?)
    }

    /// The caller that a certificate belongs to: that of its first known name, DNS names first.
    #[must_use]
    pub fn caller_of_certificate(&self, names: &CertificateNames) -> Option<&Caller> {
        let dns = names.dns.iter().map(|name| format!("dns:{}", name.to_ascii_lowercase()));
        let uris = names.uris.iter().map(|uri| format!("uri:{uri}"));
        let place = dns.chain(uris).find_map(|name| self.names.get(&name).copied())?;
        self.callers.get(place)
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = &self.0[..self.0.len().min(SAID_MAX)];
        f.write_str(&said.join("; "))?;
        match self.0.len() - said.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

fn parse_line(line: &str) -> Result<(Caller, Credential), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, roles, credential] = words[..] else {
        return Err(format!("must be a name, its roles and a credential, not {} words", words.len()));
    };
    let name = CallerName::parse("the name", name).map_err(|invalid| invalid.to_string())?;
    let roles: Roles = roles.parse()?;
    Ok((Caller { name, roles }, parse_credential(credential)?))
}

fn parse_credential(text: &str) -> Result<Credential, String> {
    match text.split_once(':') {
        Some(("sha256", hex)) => {
            let hash = TokenHash::parse(hex).ok_or("sha256: must be followed by 64 hexadecimal digits")?;
            Ok(Credential::Token(hash))
        }
        Some(("dns", name)) if !name.is_empty() => {
            Ok(Credential::Name(format!("dns:{}", name.to_ascii_lowercase())))
        }
        Some(("uri", uri)) if !uri.is_empty() => Ok(Credential::Name(text.to_owned())),
        Some(_) | None => {
            Err("the credential must be sha256:<hash of a token>, dns:<name> or uri:<uri>".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn line(name: &str, role: &str, token: &str) -> String {
        format!("{name} {role} sha256:{}\n", TokenHash::of(token))
    }

    fn parsed(text: &str) -> Credentials {
        let (credentials, wrong) = Credentials::parse(text.as_bytes());
        assert_eq!(wrong, None);
        credentials
    }

    fn name_of(caller: Option<&Caller>) -> Option<&str> {
        caller.map(|caller| caller.name.as_str())
    }

    #[test]
    fn a_token_leads_to_its_caller_and_no_other_token_does() {
        let text = line("a", "reader", "t1")
            + "# a comment\n\n"
            + &line("b", "admin", "t2")
            + &line("a", "reader", "t3");
        let credentials = parsed(&text);
        assert_eq!(name_of(credentials.caller_of_token("t1")), Some("a"));
        assert_eq!(name_of(credentials.caller_of_token("t3")), Some("a"));
        assert_eq!(credentials.caller_of_token("t2").unwrap().roles, Role::Admin.into());
        for wrong in ["", "t", "t4", "T1", "t1 "] {
            assert_eq!(credentials.caller_of_token(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_certificate_leads_to_the_caller_of_its_name() {
        let credentials = parsed("web reader dns:Web.internal\r\njob coordinator uri:spiffe://x/job # ours");
        let names = |dns: &[&str], uris: &[&str]| CertificateNames {
            dns: dns.iter().map(ToString::to_string).collect(),
            uris: uris.iter().map(ToString::to_string).collect(),
        };
        let caller = |names| name_of(credentials.caller_of_certificate(&names)).map(str::to_owned);
        assert_eq!(caller(names(&["other", "WEB.internal"], &[])), Some("web".into()));
        assert_eq!(caller(names(&[], &["spiffe://x/job"])), Some("job".into()));
        for foreign in
            [names(&[], &[]), names(&["spiffe://x/job"], &["web.internal"]), names(&["internal"], &[])]
        {
            assert_eq!(caller(foreign), None);
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_by_line_and_no_credential_is_quoted() {
        let secret = "5ecret5ecret";
        let text = format!(
            "a reader\nb king dns:b\nc reader sha256:{secret}\nd reader {secret}\n{}{}{}e reader dns:\nf reader dns:f g",
            line("x", "reader", "t"),
            line("x", "admin", "u"),
            line("y", "reader", "t"),
        );
        let (credentials, error) = Credentials::parse(text.as_bytes());
        let error = error.unwrap();
        let lines: Vec<&str> = error.0.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 3", "line 4", "line 6", "line 7", "line 8", "line 9"]);
        assert!(!error.to_string().contains(secret), "{error}");
        assert_eq!(name_of(credentials.caller_of_token("t")), Some("x"), "the line above stands");
        assert_eq!(credentials.caller_of_token("u"), None);
    }

    #[test]
    fn wrong_lines_take_out_nobody_but_themselves() {
        let good = line("a", "reader", "t1");
        let wrong = ["web", "web king dns:w", "web reader sha256:", "w reader t1", "\u{fffd}"];
        for wrong in wrong.map(str::as_bytes).into_iter().chain([&b"\xff\xfe"[..], b"\0\0"]) {
            for file in [[wrong, b"\n", good.as_bytes()].concat(), [good.as_bytes(), wrong].concat()] {
                let (credentials, error) = Credentials::parse(&file);
                assert_eq!(name_of(credentials.caller_of_token("t1")), Some("a"), "{wrong:?}");
                assert_eq!(error.map(|error| error.0.len()), Some(1), "{wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_no_credentials_file_at_all_is_said_in_few_words() {
        let (credentials, error) = Credentials::parse(&b"one two\n".repeat(100_000));
        let said = error.unwrap().to_string();
        assert!(credentials.callers.is_empty() && said.len() < 2_000 && said.contains("more"), "{said}");
    }

    #[test]
    fn a_file_that_names_nobody_is_a_mistake() {
        for empty in ["", "\n\n", "# nobody\n"] {
            let (_, error) = Credentials::parse(empty.as_bytes());
            assert_eq!(error.unwrap().to_string(), "it names nobody", "{empty:?}");
        }
    }
}
