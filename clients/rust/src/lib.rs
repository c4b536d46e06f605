//! Client of polybatch: one JSONL file of requests in, any mix of LLM providers, one JSONL file
//! of results out. Uploads, watches and downloads outlive broken connections by themselves.
//!
//! [`Client`] does the main job. Every other RPC of [`v1`] is called through the generated
//! clients over [`Client::gateway`] or [`Client::collector`].

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod address;
mod attempts;
mod backoff;
mod client;
mod connection;
mod connector;
mod download;
mod error;
mod lines;
mod replicas;
mod tls;
mod upload;
mod watch;

pub use client::Client;
pub use connection::Builder;
pub use error::{CallError, Error, Violation};
pub use lines::{LineError, LineResponse, ResultLine};
pub use replicas::{Authorization, Server, Service};
pub use upload::SubmitOptions;

/// Messages and generated clients of `protos/polybatch/v1`; the comments there name every status
/// that a call may end with, and the caller's next move.
pub use proto::polybatch::v1;

#[allow(missing_docs, rustdoc::all, clippy::all)]
mod proto {
    pub mod google {
        pub mod r#type {
            include!("generated/google.r#type.rs");
        }
    }
    pub mod polybatch {
        pub mod v1 {
            include!("generated/polybatch.v1.rs");
        }
    }
}

/// Amounts of money, as messages of [`v1`] hold them.
pub use proto::google::r#type::Money;

/// A random id of the form that [`SubmitOptions::request_id`] takes.
pub fn random_id() -> String {
    attempts::hex(&attempts::random_bytes::<18>())
}
