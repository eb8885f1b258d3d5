//! TLS towards PostgreSQL: one meaning of each mode for both kinds of connection.
//!
//! The replication library takes the process's default crypto provider, and makes one of its own the default where there
//! is none: so ours becomes it first. An application that has chosen another keeps it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::error::{SourceError, SourceErrorKind};
use super::settings::{Endpoint, Settings, TlsMode};

/// The process's crypto provider; ours where there was none.
pub(super) fn provider() -> Arc<CryptoProvider> {
    if let Some(provider) = CryptoProvider::get_default() {
        return provider.clone();
    }
    let ours = aws_lc_rs::default_provider();
    // Somebody else may have been faster: theirs then.
    let _ = ours.clone().install_default();
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ours))
}

/// For connections through tokio-postgres.
///
/// # Errors
/// [`SourceErrorKind::Tls`] where the roots can't be read.
pub(super) fn client(settings: &Settings, endpoint: &Endpoint) -> Result<ClientConfig, SourceError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    let config = match endpoint.tls {
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient { provider, chain: None }))
            .with_no_client_auth(),
        TlsMode::VerifyCa => {
            let roots = Arc::new(roots(settings.roots(endpoint))?);
            let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| wrong(error.to_string()))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Lenient { provider, chain: Some(chain) }))
                .with_no_client_auth()
        }
        TlsMode::VerifyFull => builder.with_root_certificates(roots(settings.roots(endpoint))?).with_no_client_auth(),
    };
    Ok(config)
}

/// For the replication library, which reads the roots itself.
pub(super) fn replication(settings: &Settings, endpoint: &Endpoint) -> pgwire_replication::TlsConfig {
    use pgwire_replication::SslMode;
    provider();
    pgwire_replication::TlsConfig {
        mode: match endpoint.tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require => SslMode::Require,
            TlsMode::VerifyCa => SslMode::VerifyCa,
            TlsMode::VerifyFull => SslMode::VerifyFull,
        },
        ca_pem_path: settings.roots(endpoint).map(Path::to_owned),
        // Else it refuses addresses, which a certificate may well name.
        sni_hostname: Some(endpoint.host()),
        ..pgwire_replication::TlsConfig::default()
    }
}

fn roots(path: Option<&Path>) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = path else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let unreadable = |error: rustls_pki_types::pem::Error| {
        wrong(format!("the root certificates in {} can't be read: {error}", path.display()))
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("a root certificate in {} is wrong: {error}", path.display())))?;
    }
    if roots.is_empty() {
        return Err(wrong(format!("{} holds no certificate", path.display())));
    }
    Ok(roots)
}

fn wrong(message: String) -> SourceError {
    SourceError::new(SourceErrorKind::Tls, message)
}

/// Verifies less than rustls would: that the certificate comes from a root, or nothing of it. The peer's signatures are
/// verified in any case.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Told only once the chain is found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
