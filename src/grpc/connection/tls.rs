//! TLS for callers: this server's certificate, and theirs. Rebuilt when the files change, for new connections.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use x509_cert::der::Decode as _;

use crate::{access::CertificateNames, reload::Reloaded};

/// How often a client's certificate is verified again under the same authorities: it may have expired.
const VERDICT_MAX: Duration = Duration::from_secs(1);

/// The configuration of handshakes.
#[derive(Debug)]
pub struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// When the first certificate of this server's chain expires, in seconds since 1970.
    pub(crate) expiry: i64,
}

/// The certificates that a client sent, verified again while its connection lasts.
#[derive(Debug, Clone)]
pub(crate) struct ClientChain(Arc<JudgedChain>);

#[derive(Debug)]
struct JudgedChain {
    chain: Vec<CertificateDer<'static>>,
    tls: Reloaded<Tls>,
    /// The last verification: with which authorities, when, and its result.
    judged: Mutex<(Arc<Tls>, Instant, ClientCertificate)>,
}

/// The certificate of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientCertificate {
    /// None was sent, or requested.
    None,
    /// Valid, with these names.
    Valid(CertificateNames),
    /// Invalid, and why.
    Invalid(String),
}

impl Tls {
    /// Builds TLS from PEM files: this server's certificate chain, its key, and the authorities of clients, if any.
    ///
    /// # Errors
    /// With the invalid file, and why it is.
    pub fn from_pem(chain: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> Result<Self, String> {
        let chain = certificates(chain).map_err(|why| format!("the certificate: {why}"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key: no private key in PEM form")?;
        let clients = client_authorities.map(client_verifier).transpose()?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::new(JudgedLater(Arc::clone(verifier)))),
            None => builder.with_no_client_auth(),
        };
        let expiry = expiry(&chain).map_err(|error| format!("the certificate: {error}"))?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { config: Arc::new(config), clients, expiry })
    }

    /// Verifies the certificates that a client sent.
    fn judge(&self, chain: &[CertificateDer<'_>]) -> ClientCertificate {
        let (Some(verifier), [end_entity, intermediates @ ..]) = (&self.clients, chain) else {
            return ClientCertificate::None;
        };
        match verifier.verify_client_cert(end_entity, intermediates, UnixTime::now()) {
            Ok(_) => names(end_entity),
            Err(Error::InvalidCertificate(why)) => ClientCertificate::Invalid(why.to_string()),
            Err(other) => ClientCertificate::Invalid(other.to_string()),
        }
    }
}

impl ClientChain {
    /// The chain from a client's handshake. An invalid chain stays invalid, and is not stored.
    pub(crate) fn new(chain: Option<&[CertificateDer<'static>]>, tls: Reloaded<Tls>) -> Self {
        let chain = chain.unwrap_or_default();
        let current = tls.current();
        let verdict = current.judge(chain);
        let is_valid = matches!(verdict, ClientCertificate::Valid(_));
        let chain = if is_valid { chain.to_vec() } else { Vec::new() };
        Self(Arc::new(JudgedChain { chain, tls, judged: Mutex::new((current, Instant::now(), verdict)) }))
    }

    /// Its validity now: authorities change, and certificates expire.
    pub(crate) fn judge(&self) -> ClientCertificate {
        let JudgedChain { chain, tls, judged } = &*self.0;
        let mut judged = judged.lock().unwrap_or_else(PoisonError::into_inner);
        let (by, at, verdict) = &mut *judged;
        let current = tls.current();
        if !chain.is_empty() && (!Arc::ptr_eq(by, &current) || at.elapsed() > VERDICT_MAX) {
            (*by, *at, *verdict) = (Arc::clone(&current), Instant::now(), current.judge(chain));
        }
        verdict.clone()
    }
}

/// When the first certificate of a chain expires.
fn expiry(chain: &[CertificateDer<'_>]) -> Result<i64, x509_cert::der::Error> {
    let mut expiries = chain.iter().map(|certificate| {
        let validity = x509_cert::Certificate::from_der(certificate)?.tbs_certificate.validity;
        Ok(i64::try_from(validity.not_after.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
    });
    expiries.try_fold(i64::MAX, |first, expiry: Result<_, x509_cert::der::Error>| Ok(first.min(expiry?)))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err("no certificate in PEM form".into()),
    }
}

fn client_verifier(authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities).map_err(|why| format!("the clients' authorities: {why}"))? {
        roots.add(authority).map_err(|error| format!("the clients' authorities: {error}"))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("the clients' authorities: {error}"))
}

fn names(certificate: &CertificateDer<'_>) -> ClientCertificate {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(certificate) => ClientCertificate::Valid(CertificateNames {
            dns: certificate.valid_dns_names().map(str::to_owned).collect(),
            uris: certificate.valid_uri_names().map(str::to_owned).collect(),
        }),
        Err(error) => ClientCertificate::Invalid(error.to_string()),
    }
}

/// Lets every client that has the key of its certificate complete the handshake. [`Tls::judge`] verifies the certificate right
/// after: a client with an invalid one then gets a status with a reason, whereas a failed handshake would look like a network
/// failure, which callers retry.
#[derive(Debug)]
struct JudgedLater(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for JudgedLater {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
