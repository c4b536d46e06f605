//! What can go wrong, as the services say it.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::replicas::Server;

/// What can go wrong. [`Error::reason`] is the machine code of each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call that the service refused, or that did not get through in the time given for it.
    #[error(transparent)]
    Call(#[from] Box<CallError>),
    /// No key, or a setting that cannot be used. Nothing was sent.
    #[error("{message}; {remedy}")]
    Configuration {
        /// Machine code, such as `ADDRESS_INVALID`.
        reason: &'static str,
        /// What is wrong.
        message: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// What arrived is not what was sent, by size or digest, or cannot be read.
    #[error("{message}")]
    Data {
        /// Machine code, such as `DIGEST_MISMATCH`.
        reason: &'static str,
        /// What is wrong, and what to do about it.
        message: String,
    },
    /// A file or reader of the caller failed.
    #[error("{what}: {source}")]
    Io {
        /// Which file, and what was done with it.
        what: String,
        /// The failure.
        source: io::Error,
    },
}

impl Error {
    /// Machine code: `ErrorInfo.reason` of a refused call, else this library's own; empty where
    /// there is none.
    pub fn reason(&self) -> &str {
        match self {
            Self::Call(error) => &error.reason,
            Self::Configuration { reason, .. } | Self::Data { reason, .. } => reason,
            Self::Io { .. } => "",
        }
    }

    /// The failed call, if it was one.
    pub fn call(&self) -> Option<&CallError> {
        match self {
            Self::Call(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

/// What a call ended with: its status, and what `google.rpc.Status` says beside it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CallError {
    /// gRPC's status.
    pub code: Code,
    /// `ErrorInfo.reason`, such as `INVALID_LINES`; `TLS_FAILED` of a handshake that was refused;
    /// empty where there is none.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// What goes with the reason, such as `file_id`.
    pub metadata: HashMap<String, String>,
    /// The fields that are wrong: of a file, the first 20 bad lines.
    pub violations: Vec<Violation>,
    /// Wait at least so long before the same again.
    pub retry_delay: Option<Duration>,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Path of the field; of a line `line 7: body.model`, or `line 7` for the line as a whole.
    pub field: String,
    /// What is wrong with it, for people.
    pub description: String,
    /// Machine code, such as `not_json`; empty where there is none.
    pub reason: String,
}

impl CallError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: String::new(),
            message: message.into(),
            metadata: HashMap::new(),
            violations: Vec::new(),
            retry_delay: None,
        }
    }

    /// Says where it happened, unless the service spoke for itself.
    pub(crate) fn at(mut self, server: Server, address: &str) -> Self {
        if !self.reason.is_empty() && self.reason != TLS_FAILED {
            return self;
        }
        let remedy = match (self.reason.as_str(), self.code) {
            (TLS_FAILED, _) => {
                "; check the certificate and POLYBATCH_TLS_CA, or use grpc:// where no TLS is spoken"
                    .to_owned()
            }
            (_, Code::Unavailable) if self.message.starts_with(NO_HTTP2) => format!(
                "; no gRPC is spoken there, or it is TLS: set {} to the gRPC port, or use grpcs://",
                server.variable()
            ),
            (_, Code::Unavailable) => {
                format!("; check that it runs there, or set {}", server.variable())
            }
            (_, Code::Unimplemented) => {
                "; it may be older than this client, or check the addresses of gateway and collector"
                    .to_owned()
            }
            _ => String::new(),
        };
        self.message = format!("{server} at {address}: {}{remedy}", self.message);
        self
    }
}

/// How the words begin for what is no HTTP/2, such as an answer of the HTTP API or the alert of a
/// TLS server.
const NO_HTTP2: &str = "connection error detected: ";

/// Reason of what the TLS library refuses: unlike a connection that breaks, it does not pass by
/// itself.
pub(crate) const TLS_FAILED: &str = "TLS_FAILED";

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        if let Some(cause) = status.source() {
            // Made here, of a connection that broke or never was, whatever code it was given.
            let (reason, message) = root_cause(cause);
            return Self { reason: reason.to_owned(), ..Self::new(Code::Unavailable, message) };
        }
        let message = if status.message().is_empty() {
            status.code().description().to_owned()
        } else {
            status.message().to_owned()
        };
        let mut error = Self::new(status.code(), message);
        // Else a proxy on the way has put another status in the place of the service's.
        if tonic_types::Status::decode(status.details())
            .is_ok_and(|sent| sent.code == status.code() as i32)
        {
            error.read_details(&status);
        }
        error
    }
}

impl CallError {
    fn read_details(&mut self, status: &Status) {
        let details = status.get_error_details();
        if let Some(info) = details.error_info() {
            self.reason = info.reason.clone();
            self.metadata = info.metadata.clone();
        }
        if let Some(bad) = details.bad_request() {
            let violations = bad.field_violations.iter().map(|violation| Violation {
                field: violation.field.clone(),
                description: violation.description.clone(),
                reason: violation.reason.clone(),
            });
            self.violations = violations.collect();
        }
        self.retry_delay = details.retry_info().and_then(|info| info.retry_delay);
    }
}

/// The reason, if there is one, and the words of the innermost error.
fn root_cause(outermost: &(dyn StdError + 'static)) -> (&'static str, String) {
    let mut error = outermost;
    loop {
        // An io::Error hides what it wraps from `source`.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static))
            .or_else(|| error.source());
        match inner {
            Some(inner) => error = inner,
            None => break,
        }
    }
    if error.is::<rustls::Error>() {
        return (TLS_FAILED, format!("TLS failed: {error}"));
    }
    ("", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn refusal(code: Code) -> Status {
        let metadata = HashMap::from([("file_id".to_owned(), "file_1".to_owned())]);
        let mut details = ErrorDetails::with_error_info("INVALID_LINES", "polybatch", metadata);
        details.add_bad_request_violation("line 7: body.model", "is missing");
        details.set_retry_info(Some(Duration::from_millis(1500)));
        Status::with_error_details(code, "1 of 9 lines cannot be sent", details)
    }

    #[test]
    fn details_of_the_status_become_fields() {
        let error = CallError::from(refusal(Code::InvalidArgument));
        assert_eq!(error.reason, "INVALID_LINES");
        assert_eq!(error.metadata["file_id"], "file_1");
        assert_eq!(error.violations[0].field, "line 7: body.model");
        assert_eq!(error.violations[0].description, "is missing");
        assert_eq!(error.retry_delay, Some(Duration::from_millis(1500)));
        let told = error.at(Server::Gateway, "localhost:1");
        assert_eq!(told.to_string(), "1 of 9 lines cannot be sent");
    }

    #[test]
    fn details_of_another_status_are_passed_over() {
        let sent = refusal(Code::InvalidArgument);
        let details = sent.details().to_vec().into();
        let replaced = Status::with_details(Code::Unavailable, "bad gateway", details);
        let error = CallError::from(replaced);
        assert_eq!((error.code, error.reason.as_str()), (Code::Unavailable, ""));
        let told = error.at(Server::Collector, "there:2").to_string();
        assert!(told.starts_with("collector at there:2: bad gateway"), "{told}");
        assert!(told.ends_with("set POLYBATCH_COLLECTOR"), "{told}");
    }

    #[test]
    fn what_speaks_no_grpc_is_told_from_what_is_not_there() {
        let error = CallError::new(Code::Unavailable, format!("{NO_HTTP2}frame with invalid size"));
        let told = error.at(Server::Gateway, "there:2").to_string();
        assert!(told.contains("size; no gRPC is spoken there"), "{told}");
    }

    #[test]
    fn a_broken_connection_is_unavailable_and_a_refused_certificate_lasting() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        let error = CallError::from(Status::from_error(Box::new(broken)));
        assert_eq!((error.code, error.reason.as_str()), (Code::Unavailable, ""));
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let handshake = io::Error::new(io::ErrorKind::InvalidData, refused);
        let error = CallError::from(Status::from_error(Box::new(handshake)));
        assert_eq!(error.reason, TLS_FAILED);
        assert!(error.message.contains("certificate"), "{}", error.message);
    }
}
