//! Where to connect and with which key: the builder first, then the environment, then defaults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io};

use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use crate::address::{Address, addresses, data_folder, not_an_address, speaks_tls};
use crate::attempts::{Core, RetryObserver};
use crate::client::Client;
use crate::connector::Connector;
use crate::error::{CallError, Error};
use crate::replicas::{Authorization, Replicas, Server, Service};
use crate::tls::{self, TlsFiles};

const DEFAULT_WAIT: Duration = Duration::from_secs(120);
const LONGEST_CONNECT: Duration = Duration::from_secs(10);
const SHORTEST_CONNECT: Duration = Duration::from_secs(1);
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// The least that keeps a fast connection over some distance busy.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The details of an error come in the trailers, up to 16 KiB of them before they are encoded.
const HEADERS_BYTES: u32 = 64 * 1024;

/// Looks up a variable; what is empty counts as not set.
pub(crate) type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Makes a [`Client`]. What is not set here comes from the environment variables that
/// `README.md` lists.
#[derive(Clone, Default)]
pub struct Builder {
    gateway: Option<String>,
    collector: Option<String>,
    api_key: Option<String>,
    tls: Option<bool>,
    files: TlsFiles,
    wait: Option<Duration>,
    on_retry: Option<RetryObserver>,
}

impl Builder {
    /// `host:port`, or `grpcs://host:port` for TLS; several replicas separated by commas.
    pub fn gateway(mut self, addresses: impl Into<String>) -> Self {
        self.gateway = Some(addresses.into());
        self
    }

    /// As [`Builder::gateway`].
    pub fn collector(mut self, addresses: impl Into<String>) -> Self {
        self.collector = Some(addresses.into());
        self
    }

    /// The key that goes with every call.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Whether to speak TLS. Otherwise it is spoken where an address asks for it, or one is not
    /// this machine: a key crosses a network in the clear only where somebody asked for that.
    pub fn tls(mut self, on: bool) -> Self {
        self.tls = Some(on);
        self
    }

    /// PEM file of the certificate authority; without it the public ones are trusted.
    pub fn tls_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.ca = Some(path.into());
        self
    }

    /// PEM files of the caller's certificate and of its private key, for services that ask for
    /// them (mutual TLS).
    pub fn tls_identity(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.files.client_cert = Some(cert.into());
        self.files.client_key = Some(key.into());
        self
    }

    /// How long nothing may get through before a call is given up, counted from the first
    /// failure: 120 s by default; zero: it is not tried again.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Called before each wait with what went wrong and how long is waited.
    pub fn on_retry(
        mut self,
        observer: impl Fn(&CallError, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.on_retry = Some(Arc::new(observer));
        self
    }

    /// Makes the client, within a Tokio runtime; connects with the first call.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] where no key is found, a value makes no sense, or values
    /// contradict each other.
    pub fn build(self) -> Result<Client, Error> {
        self.build_from(&|name| {
            let value = env::var(name).ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        })
    }

    pub(crate) fn build_from(self, environment: &Environment<'_>) -> Result<Client, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::Configuration {
                reason: "NO_RUNTIME",
                message: "a client was made outside of a Tokio runtime".into(),
                remedy: "make it in an async function",
            });
        }
        let [gateway, collector] = addresses(self.gateway, self.collector, environment)?;
        let asked = match self.tls {
            Some(asked) => Some(asked),
            None => tls::setting(environment)?,
        };
        let secure = speaks_tls(asked, gateway.iter().chain(&collector))?;
        let files = self.files.or_from(environment);
        let config = secure.then(|| files.config()).transpose()?;
        let key = authorization(self.api_key, environment)?;
        let wait = match self.wait {
            Some(wait) => wait,
            None => wait_setting(environment)?,
        };
        let connect_within = wait.clamp(SHORTEST_CONNECT, LONGEST_CONNECT);
        let connect = |server, addresses: Vec<Address>| -> Result<Replicas, Error> {
            let service = |address: Address| -> Result<(String, Service), Error> {
                let scheme = if config.is_some() { "https" } else { "http" };
                let named = format!("{scheme}://{}", address.host_and_port);
                let mut endpoint = Endpoint::from_shared(named)
                    .map(|endpoint| adjusted(endpoint, connect_within))
                    .map_err(|_| not_an_address(server, &address.host_and_port))?;
                if let Some(config) = &config {
                    endpoint = endpoint.tls_config(config.clone()).map_err(|error| {
                        Error::Configuration {
                            reason: "TLS_FILE_UNUSABLE",
                            message: format!("the TLS files cannot be used: {}", detail(&error)),
                            remedy: "check the POLYBATCH_TLS_* files",
                        }
                    })?;
                }
                let channel = endpoint.connect_with_connector_lazy(Connector::new(connect_within));
                let service = InterceptedService::new(channel, key.clone());
                Ok((address.host_and_port, service))
            };
            let services = addresses.into_iter().map(service);
            let first = usize::from(crate::attempts::random_bytes::<1>()[0]);
            Ok(Replicas::new(server, services.collect::<Result<_, _>>()?, first))
        };
        Ok(Client::new(Core {
            gateway: connect(Server::Gateway, gateway)?,
            collector: connect(Server::Collector, collector)?,
            wait,
            on_retry: self.on_retry.unwrap_or_else(|| Arc::new(|_, _| {})),
        }))
    }
}

fn adjusted(endpoint: Endpoint, connect_within: Duration) -> Endpoint {
    endpoint
        .connect_timeout(connect_within)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES)
}

fn detail(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), detail)
}

fn wait_setting(environment: &Environment<'_>) -> Result<Duration, Error> {
    let Some(text) = environment("POLYBATCH_WAIT") else {
        return Ok(DEFAULT_WAIT);
    };
    let seconds = text.parse().map(Duration::try_from_secs_f64);
    match seconds {
        Ok(Ok(wait)) => Ok(wait),
        _ => Err(Error::Configuration {
            reason: "WAIT_INVALID",
            message: format!("POLYBATCH_WAIT is {text:?}, which is no time to wait"),
            remedy: "give seconds from 0 on; 0 is not to wait at all",
        }),
    }
}

fn authorization(
    given: Option<String>,
    environment: &Environment<'_>,
) -> Result<Authorization, Error> {
    let key = match given.or_else(|| environment("POLYBATCH_API_KEY")) {
        Some(key) => key,
        None => {
            let path = data_folder(environment).join("api-key");
            fs::read_to_string(&path).map_err(|error| Error::Configuration {
                reason: "API_KEY_MISSING",
                message: match error.kind() {
                    io::ErrorKind::NotFound => {
                        format!("no API key: the key file {} does not exist", path.display())
                    }
                    _ => format!("no API key: {} cannot be read ({error})", path.display()),
                },
                remedy: "set POLYBATCH_API_KEY, or POLYBATCH_DATA_DIR to the folder with api-key",
            })?
        }
    };
    let key = key.trim();
    let unfit = key.is_empty() || !key.chars().all(|char| (' '..='~').contains(&char));
    match format!("Bearer {key}").parse() {
        Ok(value) if !unfit => {
            let mut value: tonic::metadata::MetadataValue<_> = value;
            value.set_sensitive(true);
            Ok(Authorization(value))
        }
        _ => Err(Error::Configuration {
            reason: "API_KEY_INVALID",
            message: "the API key is empty or has characters that no key has".into(),
            remedy: "check POLYBATCH_API_KEY or the key file",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings<'a>(set: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| {
            let found = set.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_said_before_anything_is_sent() {
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("POLYBATCH_DATA_DIR", "/nowhere")], "API_KEY_MISSING"),
            (&[("POLYBATCH_API_KEY", "pb\u{e9}")], "API_KEY_INVALID"),
            (&[("POLYBATCH_API_KEY", "pb"), ("POLYBATCH_WAIT", "-1")], "WAIT_INVALID"),
            (&[("POLYBATCH_API_KEY", "pb"), ("POLYBATCH_TLS", "2")], "TLS_SETTING_INVALID"),
            (&[("POLYBATCH_GATEWAY", "here")], "ADDRESS_INVALID"),
            (&[("POLYBATCH_PORT_BASE", "65535")], "PORT_BASE_INVALID"),
            (
                &[
                    ("POLYBATCH_API_KEY", "pb"),
                    ("POLYBATCH_TLS", "1"),
                    ("POLYBATCH_TLS_CA", "Cargo.toml"),
                ],
                "TLS_FILE_UNUSABLE",
            ),
        ];
        for (set, reason) in cases {
            let failed = Client::builder().build_from(&settings(set));
            assert_eq!(failed.unwrap_err().reason(), reason);
        }
    }
}
