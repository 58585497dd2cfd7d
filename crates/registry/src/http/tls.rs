//! TLS: whose certificates are trusted.
//!
//! The machine's roots are read when the first certificate is to be judged, not before: a program that talks to a plain
//! registry, or to none, doesn't pay for them.

use std::sync::{Arc, OnceLock};

use super::certificates::{HostCertificates, Identity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// Whether a server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// It must lead to an authority that this machine trusts, and be for the host.
    Verify,
    /// Any certificate will do; for hosts that were listed as insecure.
    Skip,
}

/// A configuration with ring, HTTP/2 before HTTP/1.1, a [`Trust`], and the certificates of a host.
pub(super) fn config(trust: Trust, own: Option<&HostCertificates>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let more = own.map(|own| own.authorities.clone()).unwrap_or_default();
    let verifier = Verifier { trust, provider: provider.clone(), more, roots: OnceLock::new() };
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let identities = own.map(|own| &own.identities[..]).unwrap_or_default();
    let certificates = ClientCertificates::of(identities, &ring::default_provider())?;
    let mut config = builder.with_client_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The client certificates for a host, often none.
#[derive(Debug)]
struct ClientCertificates(Vec<Arc<CertifiedKey>>);

impl ClientCertificates {
    fn of(identities: &[Identity], provider: &CryptoProvider) -> Result<Self, Error> {
        let certified = identities.iter().map(|Identity { chain, key }| {
            CertifiedKey::from_der(chain.clone(), key.clone_key(), provider).map(Arc::new)
        });
        certified.collect::<Result<_, _>>().map(Self)
    }
}

impl ResolvesClientCert for ClientCertificates {
    /// The first that one of the server's trusted authorities has signed, else the first of all.
    fn resolve(&self, believed: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // An issuer's name stands in a certificate just as the server gives it.
        let names = |der: &[u8], name: &[u8]| der.windows(name.len().max(1)).any(|it| it == name);
        let is_believed = |key: &&Arc<CertifiedKey>| {
            believed.iter().any(|name| key.cert.iter().any(|certificate| names(certificate, name)))
        };
        self.0.iter().find(is_believed).or_else(|| self.0.first()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Trusts the authorities of this machine (`SSL_CERT_FILE` and `SSL_CERT_DIR` included) and some more; or any
/// certificate.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    more: Vec<CertificateDer<'static>>,
    roots: OnceLock<Result<Roots, String>>,
}

#[derive(Debug)]
struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    fn roots(&self) -> Result<&Roots, Error> {
        let roots = self.roots.get_or_init(|| Roots::load(&self.more, &self.provider));
        roots.as_ref().map_err(|reason| Error::General(reason.clone()))
    }
}

impl Roots {
    fn load(
        more: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut found = rustls_native_certs::load_native_certs();
        found.certs.extend_from_slice(more);
        let reason = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let none = || format!("no root certificates on this machine{reason}");
        Self::of(found.certs, provider)?.ok_or_else(none)
    }

    /// The roots among some certificates; none if none of them is of use.
    fn of(
        certificates: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Self>, String> {
        let mut store = RootCertStore::empty();
        let (n_usable, _) = store.add_parsable_certificates(certificates.iter().cloned());
        if n_usable == 0 {
            return Ok(None);
        }
        let builder = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone());
        let verifier = builder.build().map_err(|error| error.to_string())?;
        Ok(Some(Self { certificates, verifier }))
    }

    /// Whether a certificate is itself a root here.
    ///
    /// `openssl req -x509` makes certificates that sign themselves and are marked as an authority. They are in wide use
    /// for private registries, and other tools accept them. Their dates are checked before that mark.
    fn pins(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|root| root.as_ref() == certificate.as_ref())
    }
}

/// Whether a certificate was refused only because it is an authority's.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    other.0.to_string().contains("CaUsedAsEndEntity")
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trust == Trust::Skip {
            return Ok(ServerCertVerified::assertion());
        }
        let roots = self.roots()?;
        let verdict = roots.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verdict {
            Err(error) if is_authority(&error) && roots.pins(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            // This machine doesn't know the authority, and that is what the user should be told.
            Err(error) if is_authority(&error) => Err(CertificateError::UnknownIssuer.into()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    /// For localhost, signed by itself and marked as an authority, for the hundred years from 2026.
    fn pinned() -> CertificateDer<'static> {
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2026, 1, 1);
        parameters.not_after = date_time_ymd(2126, 1, 1);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn judge(name: &'static str, days_since_1970: u64) -> Result<ServerCertVerified, Error> {
        let certificate = pinned();
        let provider = Arc::new(ring::default_provider());
        let roots = Roots::of(vec![certificate.clone()], &provider).unwrap();
        let roots = OnceLock::from(roots.ok_or_else(String::new));
        let verifier = Verifier { trust: Trust::Verify, provider, more: vec![], roots };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(days_since_1970 * 24 * 3600));
        verifier.verify_server_cert(&certificate, &[], &name.try_into().unwrap(), &[], now)
    }

    #[test]
    fn a_self_signed_root_is_good_for_its_own_name_and_time() {
        judge("localhost", 25_000).unwrap();
        assert!(judge("example.org", 25_000).is_err(), "another name");
        assert!(judge("localhost", 10_000).is_err(), "before its time");
        assert!(judge("localhost", 60_000).is_err(), "after its time");
    }

    #[test]
    fn a_server_is_shown_a_certificate_if_there_is_one_for_it() {
        let issued = |name: &str| {
            let mut parameters = CertificateParams::new([]).unwrap();
            parameters.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let chain = vec![parameters.self_signed(&key).unwrap().der().clone()];
            Identity { chain, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
        };
        let identities = [issued("first"), issued("second")];
        let provider = ring::default_provider();
        let shown = |identities: &[Identity], believed: &[&[u8]]| {
            let certificates = ClientCertificates::of(identities, &provider).unwrap();
            assert_eq!(certificates.has_certs(), !identities.is_empty());
            certificates.resolve(believed, &[]).map(|shown| shown.cert[0].clone())
        };
        assert_eq!(shown(&[], &[]), None);
        let [first, second] = identities.each_ref().map(|it| Some(it.chain[0].clone()));
        for (believed, expected) in [
            (&[][..], &first),
            (&[&b"nobody"[..]], &first),
            (&[b"nobody", b"second"], &second),
            (&[b"second", b"first"], &first),
        ] {
            assert_eq!(shown(&identities, believed), *expected);
        }
    }

    #[test]
    fn no_usable_root_is_told() {
        let provider = Arc::new(ring::default_provider());
        assert!(Roots::of(vec![], &provider).unwrap().is_none());
    }
}
