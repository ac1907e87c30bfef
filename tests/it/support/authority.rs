//! An authority that issues certificates, to be trusted or not.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM form.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, in PEM form.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a DNS name, good from now on.
    pub fn issue(&self, dns: &str) -> Issued {
        self.issue_for(SanType::DnsName(dns.try_into().unwrap()), Duration::from_secs(3_600))
    }

    /// A certificate for a URI, good from now on.
    pub fn issue_for_uri(&self, uri: &str) -> Issued {
        self.issue_for(SanType::URI(uri.try_into().unwrap()), Duration::from_secs(3_600))
    }

    /// A certificate for a DNS name that was good until a minute ago.
    pub fn issue_expired(&self, dns: &str) -> Issued {
        self.issue_for(SanType::DnsName(dns.try_into().unwrap()), Duration::ZERO)
    }

    fn issue_for(&self, name: SanType, lasts: Duration) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = std::time::SystemTime::now();
        params.not_before = (now - Duration::from_secs(120)).into();
        params.not_after = (now - Duration::from_secs(60) + lasts).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
