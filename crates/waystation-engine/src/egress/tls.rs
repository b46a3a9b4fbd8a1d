//! TLS for protocols other than HTTP: whose certificates count, and the handshake with a named host.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::in_words;
use super::error::SendError;
use super::install_tls;
use crate::limits::CONNECT_TIMEOUT;

/// Whose certificates count.
pub(crate) struct Trust {
    /// For those who speak TLS through this module.
    pub(crate) config: Arc<ClientConfig>,
    /// For libraries that do it by themselves: these certificates beside the compiled-in ones.
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Trusts whom the machine trusts, as requests over HTTPS do; the compiled-in certificates where
    /// it has none.
    pub(crate) fn of_this_machine() -> Trust {
        let config = trusting(&[]).unwrap_or_else(|_| Arc::new(built_in()));
        // Files that cannot be read are as good as missing.
        let roots = rustls_native_certs::load_native_certs().certs;
        Trust { config, roots }
    }
}

/// Trusts whom the machine trusts, as requests over HTTPS do, and these certificates besides; the
/// compiled-in ones where the machine has none.
pub(crate) fn trusting(
    extra: &[CertificateDer<'static>],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    install_tls();
    let provider = Arc::new(ring::default_provider());
    if Verifier::new(Arc::clone(&provider)).is_err() {
        let mut roots = built_in_roots();
        for certificate in extra {
            roots.add(certificate.clone())?;
        }
        return Ok(Arc::new(rooted(roots)));
    }
    let verifier = Verifier::new_with_extra_roots(extra.iter().cloned(), provider)?;
    let builder = ClientConfig::builder().dangerous();
    let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// Mozilla's certificates, as compiled in.
pub(crate) fn built_in() -> ClientConfig {
    rooted(built_in_roots())
}

fn rooted(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

fn built_in_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// Makes a connection private, and makes sure that the host at its other end is the one it is said
/// to be.
pub(crate) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: S,
) -> Result<TlsStream<S>, SendError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        SendError::Invalid(format!("{host} is no name that a certificate may have"))
    })?;
    let connector = TlsConnector::from(Arc::clone(config));
    let done = timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await;
    let done = done.map_err(|_| SendError::Timeout(format!("{host} fell silent during TLS")))?;
    done.map_err(|error| SendError::Transport(format!("TLS with {host}: {}", in_words(&error))))
}
