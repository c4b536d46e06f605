//! Which connections speak TLS, and with which certificates.

use std::fs;
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::connection::Environment;
use crate::error::Error;

/// PEM files.
#[derive(Clone, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
}

impl TlsFiles {
    pub(crate) fn or_from(self, environment: &Environment<'_>) -> Self {
        let path = |name: &str| environment(name).map(PathBuf::from);
        Self {
            ca: self.ca.or_else(|| path("POLYBATCH_TLS_CA")),
            client_cert: self.client_cert.or_else(|| path("POLYBATCH_TLS_CLIENT_CERT")),
            client_key: self.client_key.or_else(|| path("POLYBATCH_TLS_CLIENT_KEY")),
        }
    }

    /// Without a CA file the public authorities are trusted.
    pub(crate) fn config(&self) -> Result<ClientTlsConfig, Error> {
        let mut config = match &self.ca {
            Some(path) => {
                let pem = read_pem("POLYBATCH_TLS_CA", path, "CERTIFICATE-----")?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_webpki_roots(),
        };
        config = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => config.identity(Identity::from_pem(
                read_pem("POLYBATCH_TLS_CLIENT_CERT", cert, "CERTIFICATE-----")?,
                read_pem("POLYBATCH_TLS_CLIENT_KEY", key, "PRIVATE KEY-----")?,
            )),
            (None, None) => config,
            _ => {
                return Err(Error::Configuration {
                    reason: "TLS_CLIENT_CERT_INCOMPLETE",
                    message: "a client certificate needs its key, and a key its certificate".into(),
                    remedy: "set both POLYBATCH_TLS_CLIENT_CERT and POLYBATCH_TLS_CLIENT_KEY",
                });
            }
        };
        Ok(config)
    }
}

/// The library takes a file without a single certificate in silence, and then trusts nobody.
fn read_pem(setting: &str, path: &Path, label: &str) -> Result<Vec<u8>, Error> {
    let unusable = |cause: String| Error::Configuration {
        reason: "TLS_FILE_UNUSABLE",
        message: format!("the file {} of {setting} {cause}", path.display()),
        remedy: "name the right PEM file",
    };
    let pem = fs::read(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if !String::from_utf8_lossy(&pem).contains(label) {
        return Err(unusable("is no PEM file of what is asked for".into()));
    }
    Ok(pem)
}

/// What POLYBATCH_TLS says, if anything.
pub(crate) fn setting(environment: &Environment<'_>) -> Result<Option<bool>, Error> {
    let Some(text) = environment("POLYBATCH_TLS") else {
        return Ok(None);
    };
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(Some(true)),
        "0" | "false" | "no" | "off" => Ok(Some(false)),
        _ => Err(Error::Configuration {
            reason: "TLS_SETTING_INVALID",
            message: format!("POLYBATCH_TLS is {text:?}"),
            remedy: "set it to 1 or 0",
        }),
    }
}
