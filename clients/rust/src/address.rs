//! Where the services are: what was given, else the environment, else this machine.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::connection::Environment;
use crate::error::Error;
use crate::replicas::Server;

#[derive(Debug, PartialEq)]
pub(crate) struct Address {
    pub(crate) host_and_port: String,
    /// What its scheme asks for, if it has one.
    tls: Option<bool>,
}

impl Address {
    fn parse(server: Server, text: &str) -> Result<Self, Error> {
        let (tls, bare) = match text.split_once("://") {
            Some(("grpc", bare)) => (Some(false), bare),
            Some(("grpcs" | "https", bare)) => (Some(true), bare),
            Some(_) => return Err(not_an_address(server, text)),
            None => (None, text),
        };
        let bare = bare.trim_end_matches('/');
        let (host, port) = bare.rsplit_once(':').unwrap_or_default();
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let named = !host.is_empty() && (bracketed || !host.contains([':', '/', '@']));
        if !named || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(not_an_address(server, text));
        }
        Ok(Self { host_and_port: bare.to_owned(), tls })
    }

    /// Whether it can only be this machine.
    fn is_local(&self) -> bool {
        let (host, _) = self.host_and_port.rsplit_once(':').unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

pub(crate) fn not_an_address(server: Server, text: &str) -> Error {
    Error::Configuration {
        reason: "ADDRESS_INVALID",
        message: format!("the {server} address {text:?} is not host:port"),
        remedy: "give one such as localhost:50051, or several separated by commas",
    }
}

/// Those of the gateway, then those of the collector.
pub(crate) fn addresses(
    gateway: Option<String>,
    collector: Option<String>,
    environment: &Environment<'_>,
) -> Result<[Vec<Address>; 2], Error> {
    let named =
        |server: Server, given: Option<String>| given.or_else(|| environment(server.variable()));
    let pair = match (named(Server::Gateway, gateway), named(Server::Collector, collector)) {
        (Some(gateway), Some(collector)) => [gateway, collector],
        (gateway, collector) => {
            let [local_gateway, local_collector] = local_addresses(environment)?;
            [gateway.unwrap_or(local_gateway), collector.unwrap_or(local_collector)]
        }
    };
    let parsed = |server, text: &str| -> Result<Vec<Address>, Error> {
        let mut found = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let address = Address::parse(server, part)?;
            if !found.contains(&address) {
                found.push(address);
            }
        }
        if found.is_empty() {
            return Err(not_an_address(server, text));
        }
        Ok(found)
    };
    Ok([parsed(Server::Gateway, &pair[0])?, parsed(Server::Collector, &pair[1])?])
}

pub(crate) fn data_folder(environment: &Environment<'_>) -> PathBuf {
    environment("POLYBATCH_DATA_DIR").unwrap_or_else(|| ".polybatch".into()).into()
}

/// What `make up` has left in the data folder while it runs, else the usual ports.
fn local_addresses(environment: &Environment<'_>) -> Result<[String; 2], Error> {
    #[derive(serde::Deserialize)]
    struct Found {
        gateway: String,
        collector: String,
    }
    let path = data_folder(environment).join("addresses.json");
    if let Ok(content) = fs::read(&path) {
        return match serde_json::from_slice(&content) {
            Ok(Found { gateway, collector }) => Ok([gateway, collector]),
            Err(error) => Err(Error::Configuration {
                reason: "ADDRESSES_UNREADABLE",
                message: format!("{} does not hold addresses ({error})", path.display()),
                remedy: "start polybatch again, or set POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR",
            }),
        };
    }
    let base = environment("POLYBATCH_PORT_BASE").unwrap_or_else(|| "50051".into());
    match base.parse::<u16>() {
        Ok(base) if base > 0 && base < u16::MAX => {
            Ok([format!("localhost:{base}"), format!("localhost:{}", base + 1)])
        }
        _ => Err(Error::Configuration {
            reason: "PORT_BASE_INVALID",
            message: format!("POLYBATCH_PORT_BASE is {base:?}"),
            remedy: "set it to the first of the ports that polybatch listens on",
        }),
    }
}

pub(crate) fn speaks_tls<'a>(
    asked: Option<bool>,
    addresses: impl Iterator<Item = &'a Address> + Clone,
) -> Result<bool, Error> {
    let named = addresses.clone().find(|address| address.tls == Some(true));
    match (asked, named) {
        (Some(false), Some(address)) => Err(Error::Configuration {
            reason: "TLS_SETTING_INVALID",
            message: format!(
                "TLS is turned off, but the address {} asks for it",
                address.host_and_port
            ),
            remedy: "use grpc:// in the address, or leave POLYBATCH_TLS at 1",
        }),
        (Some(asked), _) => Ok(asked),
        (None, Some(_)) => Ok(true),
        (None, None) => {
            Ok(!addresses.into_iter().all(|each| each.tls == Some(false) || each.is_local()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_and_ports() {
        let parse = |text| Address::parse(Server::Gateway, text);
        let fit = [
            ("localhost:50051", "localhost:50051", None),
            ("grpc://10.0.0.1:1/", "10.0.0.1:1", Some(false)),
            ("grpcs://gateway.example:443", "gateway.example:443", Some(true)),
            ("https://[::1]:443", "[::1]:443", Some(true)),
        ];
        for (text, host_and_port, tls) in fit {
            let host_and_port = host_and_port.to_owned();
            assert_eq!(parse(text).unwrap(), Address { host_and_port, tls }, "{text}");
        }
        for text in [
            "localhost",
            ":1",
            "a:0",
            "a:99999",
            "ftp://a:1",
            "a/b:1",
            "::1:50051",
            "grpc://a",
            "a:b",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.reason(), "ADDRESS_INVALID", "{text}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn the_key_crosses_a_network_in_the_clear_only_where_that_was_asked_for() {
        let speaks = |asked, text: &str| {
            let [found, _] = addresses(Some(text.into()), Some("localhost:1".into()), &|_| None)?;
            speaks_tls(asked, found.iter())
        };
        assert!(!speaks(None, "localhost:1,127.0.0.2:1,[::1]:1").unwrap());
        assert!(speaks(None, "localhost:1,gateway.example:1").unwrap());
        assert!(!speaks(None, "grpc://gateway.example:1").unwrap());
        assert!(speaks(None, "grpcs://localhost:1").unwrap());
        assert!(!speaks(Some(false), "gateway.example:1").unwrap());
        let contradiction = speaks(Some(false), "grpcs://localhost:1").unwrap_err();
        assert_eq!(contradiction.reason(), "TLS_SETTING_INVALID");
    }
}
