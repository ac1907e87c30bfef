//! Why a URL of a database is refused.

use std::io;

/// What is wrong with the URL of a database. Never quotes it: it may hold a password, and where one was not encoded, part
/// of it may stand anywhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// It is no such URL.
    #[error("must begin with postgres:// or postgresql://")]
    Scheme,
    /// Where the password ends cannot be told.
    #[error("has an @, / or ? in its user, password or parameters: write %40, %2F or %3F instead")]
    Reserved,
    /// An address of IPv6 has no end, or something behind it.
    #[error("has a malformed host")]
    Host,
    /// A parameter is none, by its number.
    #[error(
        "has a malformed parameter, number {0}: write name=value, and %3D or %26 for an = or & in the value"
    )]
    Parameter(usize),
    /// A parameter of libpq is not supported.
    #[error("has the parameter {0}, which is not supported: {1}")]
    Unsupported(String, &'static str),
    /// Nobody knows a parameter.
    #[error("has the unknown parameter {0}")]
    Unknown(String),
    /// The same, but its name may be part of a password that was not encoded.
    #[error("has an unknown parameter after its password parameter: write %26 for an & in a password")]
    UnknownAfterPassword,
    /// A part or parameter has a value that it cannot have.
    #[error("has a value for {0} that it cannot have{instead}", instead = supported_values(.0))]
    Value(String),
    /// There is nothing to connect to.
    #[error("names no host, such as //localhost/billing or ///billing?host=/run/postgresql")]
    NoHost,
    /// Hosts, and their ports or addresses, do not go together.
    #[error("does not have one {0} for each host")]
    Uneven(&'static str),
    /// Nobody is trusted.
    #[error("has an sslmode that verifies the server, but not by whom: add sslrootcert=FILE")]
    NoRoot,
    /// Somebody is trusted, but for nothing.
    #[error("has an sslrootcert, but an sslmode that verifies nothing: add sslmode=verify-full")]
    UnusedRoot,
    /// The certificates of those who are trusted cannot be read.
    #[error("has an sslrootcert that cannot be read: {0}")]
    Root(#[source] io::Error),
    /// There can be no TLS.
    #[error("cannot have TLS: {0}")]
    Tls(#[source] rustls::Error),
}

/// The end of a message about a parameter with few values.
fn supported_values(parameter: &str) -> &'static str {
    match parameter {
        "sslmode" => ": use disable, prefer, require, verify-ca or verify-full",
        "target_session_attrs" => ": use any, read-write or read-only",
        _ => "",
    }
}
