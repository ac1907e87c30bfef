//! TLS to PostgreSQL: whom to trust.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whom to take for the server.
pub(crate) enum Trust {
    /// Anybody.
    Anybody,
    /// Who has a certificate from one of these.
    Issuer(RootCertStore),
    /// Who has one that is for the host that was asked for.
    IssuerAndName(RootCertStore),
}

/// Reads the certificates of those who are trusted.
pub(crate) fn read_roots(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&fs::read(file)?) {
        let certificate = certificate.map_err(|error| io::Error::other(error.to_string()))?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("it has no certificate in it"));
    }
    Ok(roots)
}

/// What encrypts connections, to those who are trusted. Depends on nothing of the process or the machine: neither on an
/// installed provider of cryptography nor on a store of certificates.
pub(crate) fn connector(trust: Trust) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let without_name = |issuers| Arc::new(VerifierWithoutName { issuers, algorithms });
    let builder = match trust {
        Trust::IssuerAndName(roots) => builder.with_root_certificates(roots),
        Trust::Issuer(roots) => {
            builder.dangerous().with_custom_certificate_verifier(without_name(Some(roots)))
        }
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(without_name(None)),
    };
    Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
}

/// Verifies who issued a certificate, if anything, and not for whom: what rustls does not offer, for good reasons, and
/// libpq does. That the server has the certificate's key is verified in any case.
#[derive(Debug)]
struct VerifierWithoutName {
    issuers: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for VerifierWithoutName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(issuers) = &self.issuers {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, issuers, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
