//! The settings that a URL makes, split as libpq does it: each part and parameter is a setting, and a later one replaces an
//! earlier one. A parameter that is not supported is refused.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::error::DatabaseUrlError as Error;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// The supported parameters of which an empty one is none.
const MAY_BE_EMPTY: [&str; 8] =
    ["application_name", "dbname", "host", "hostaddr", "options", "password", "port", "user"];
/// The other supported parameters.
const NEVER_EMPTY: [&str; 11] = [
    "channel_binding",
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
];
/// What holds unless a URL says otherwise. A server that went away without a word is noticed within a minute by a connection
/// that only waits, and within 20 seconds by one that has sent something.
const DEFAULTS: [(&str, &str); 6] = [
    ("application_name", "billing"),
    ("keepalives_count", "3"),
    ("keepalives_idle", "30"),
    ("keepalives_interval", "10"),
    ("sslmode", "prefer"),
    ("tcp_user_timeout", "20000"),
];

/// The settings that a URL makes, by their names.
pub(super) type Settings = BTreeMap<String, String>;

pub(super) fn split(url: &str) -> Result<Settings, Error> {
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or(Error::Scheme)?;
    let (credentials, rest) = rest.split_once('@').unwrap_or(("", rest));
    if credentials.contains(['/', '?']) || rest.contains('@') {
        return Err(Error::Reserved);
    }
    let (before, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = before.split_once('/').unwrap_or((before, ""));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (hosts, ports) = split_hosts(hosts)?;
    let mut settings: Settings = DEFAULTS.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    for (key, value) in
        [("user", user), ("password", password), ("host", &hosts), ("port", &ports), ("dbname", database)]
    {
        settings.insert(key.to_owned(), decoded(value).ok_or_else(|| Error::Value(key.to_owned()))?);
    }
    let mut is_after_password = false;
    for (number, parameter) in (1..).zip(parameters.split('&')).filter(|(_, text)| !text.is_empty()) {
        let key_and_value = parameter.split_once('=').filter(|(_, value)| !value.contains('='));
        let (key, value) = key_and_value.ok_or(Error::Parameter(number))?;
        let key = decoded(key).filter(|key| is_name(key)).ok_or(Error::Parameter(number))?;
        check_supported(&key, is_after_password)?;
        is_after_password |= key == "password";
        let value = decoded(value).ok_or_else(|| Error::Value(key.clone()))?;
        settings.insert(key, value);
    }
    settings.retain(|key, value| !value.is_empty() || NEVER_EMPTY.contains(&key.as_str()));
    Ok(settings)
}

fn decoded(text: &str) -> Option<String> {
    let is_encoded =
        |text: &str| text.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let is_valid = text.split('%').skip(1).all(is_encoded);
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|text| is_valid && !text.contains('\0'));
    decoded.map(String::from)
}

fn is_name(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn check_supported(key: &str, is_after_password: bool) -> Result<(), Error> {
    if MAY_BE_EMPTY.contains(&key) || NEVER_EMPTY.contains(&key) {
        return Ok(());
    }
    Err(match instead_of(key) {
        Some(instead) => Error::Unsupported(key.to_owned(), instead),
        None if is_after_password => Error::UnknownAfterPassword,
        None => Error::Unknown(key.to_owned()),
    })
}

/// Cuts `[host]:port,host` into the hosts and the ports.
fn split_hosts(text: &str) -> Result<(String, String), Error> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for entry in text.split(',') {
        let (host, port) = match entry.strip_prefix('[').map(|rest| rest.split_once(']')) {
            None => entry.split_once(':').unwrap_or((entry, "")),
            Some(Some((host, ""))) => (host, ""),
            Some(Some((host, port))) => (host, port.strip_prefix(':').ok_or(Error::Host)?),
            Some(None) => return Err(Error::Host),
        };
        hosts.push(host);
        ports.push(port);
    }
    Ok((hosts.join(","), ports.join(",")))
}

/// What to do without a parameter of libpq that is not supported.
fn instead_of(parameter: &str) -> Option<&'static str> {
    Some(match parameter {
        "passfile" => "write the password into the URL",
        "service" => "write the parameters of the service into the URL",
        "sslcert" | "sslkey" | "sslpassword" | "sslcertmode" => "use a password rather than a certificate",
        "sslcrl" | "sslcrldir" => "remove it; revocation is not checked",
        "ssl" => "use sslmode=require",
        "ssl_min_protocol_version" | "ssl_max_protocol_version" => "remove it; TLS is 1.2 or 1.3",
        "sslcompression" | "sslnegotiation" | "sslsni" => "remove it; the default is used",
        "gssencmode" | "gssdelegation" | "gsslib" | "krbsrvname" => "remove it; use TLS and a password",
        "requirepeer" => "connect over TCP with sslmode=verify-full",
        "require_auth" => "use channel_binding=require",
        "client_encoding" => "remove it; the encoding is UTF-8",
        "fallback_application_name" => "use application_name",
        "replication" => "remove it",
        _ => return None,
    })
}
