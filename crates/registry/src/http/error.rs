//! The reasons why an exchange fails, told from the errors of the HTTP client and of TLS.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::reach::Barred;
use crate::base::Cause;

/// The reason why an exchange failed.
#[derive(Clone, Debug)]
pub(crate) enum TransportError {
    /// No connection could be made.
    Connect(Cause),
    /// The server's certificate is not trusted.
    Certificate(Cause),
    /// The server wants a client certificate, or another one than it was shown.
    ClientCertificate(Cause),
    /// The two ends have no cipher, no version or no kind of signature in common.
    Handshake(Cause),
    /// What the server answered to a TLS greeting is no TLS.
    NotTls,
    /// The connection broke.
    Broken(Cause),
    /// Nothing came for this long.
    Stalled(Duration),
    /// [`Timeouts::cancelled`](super::Timeouts::cancelled) said so.
    Cancelled,
    /// This machine could not set up what a connection needs.
    SetUp(Cause),
    /// The content that was to be sent could not be read.
    Content(Cause),
    /// A name means an address that its giver may not send us to.
    Barred,
}

impl TransportError {
    /// A connection that broke in a way that the HTTP client has no error for.
    pub(super) fn broken(reason: &str) -> Self {
        Self::Broken(Cause::of(&io::Error::other(reason)))
    }

    /// The reason in an error of the HTTP client, of a request that failed before its answer.
    pub(super) fn of_request(error: &reqwest::Error) -> Self {
        let cause = Cause::of(error);
        if inside::<Barred>(error).is_some() {
            return Self::Barred;
        }
        if let Some(cause) = inside(error).and_then(nothing_in_common) {
            return Self::Handshake(cause);
        }
        if let Some(complaint) = inside(error).and_then(Self::of_alert) {
            return complaint;
        }
        match inside(error) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => {
                Self::Certificate(cause)
            }
            // The first bytes of `HTTP/1.1 400 Bad Request`, as a rule.
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            _ if error.is_connect() => Self::Connect(cause),
            _ => Self::Broken(cause),
        }
    }

    /// The reason in an error of TLS, if it is a server's alert about our certificate.
    pub(super) fn of_alert(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::AlertReceived(alert) = error else { return None };
        is_about_our_certificate(*alert).then(|| Self::ClientCertificate(Cause::of(error)))
    }
}

/// The cause to tell if a handshake fails for want of an algorithm. ring checks no signatures of P-521, so none are
/// offered.
fn nothing_in_common(error: &rustls::Error) -> Option<Cause> {
    use CertificateError as Certificate;
    let reason = match error {
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "nothing in common with the server, whose certificate may be of a kind that isn't supported (P-521)"
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks no TLS newer than 1.1, which isn't supported"
        }
        rustls::Error::InvalidCertificate(
            Certificate::UnsupportedSignatureAlgorithmContext { .. }
            | Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => "its certificate is signed in a way that isn't supported (P-521, for one)",
        _ => return None,
    };
    Some(Cause::said(reason))
}

/// The error of type `T` among the causes of a failure, for example what TLS says of it.
fn inside<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut link: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = link {
        let found = error.downcast_ref::<T>();
        if found.is_some() {
            return found;
        }
        // An io::Error's source is the source of the error that it was made of, not that error itself.
        let made_of = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        link = made_of.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Whether a server's alert is about the client certificate that it was shown, or was not. Trying again doesn't cure
/// that.
fn is_about_our_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}
