//! The client: the main job, call by call.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeek};

use crate::attempts::Core;
use crate::connection::Builder;
use crate::download::{self, Download};
use crate::error::Error;
use crate::lines::{Lines, ResultLine};
use crate::replicas::{Server, Service};
use crate::upload::{self, SubmitOptions};
use crate::v1::batch_service_client::BatchServiceClient;
use crate::v1::{Batch, BatchState, CancelBatchRequest, GetBatchRequest, Manifest};
use crate::watch::Watch;

/// A client of both public services. Clones share connections.
///
/// Every method tries again what passes by itself, at another replica where there is one, until
/// nothing has got through for [`Builder::wait`]. Dropping a future or a stream cancels its call;
/// what it did at the service stays done.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("gateway", &self.core.gateway.addresses())
            .field("collector", &self.core.collector.addresses())
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }

    /// Addresses, key and certificates from the environment, as `README.md` lists it.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// For what is not to come from the environment.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Uploads a JSONL file and makes a batch of it; see [`Client::submit`].
    ///
    /// # Errors
    ///
    /// As [`Client::submit`]; [`Error::Io`] where the file cannot be read.
    pub async fn submit_file(
        &self,
        path: impl AsRef<Path>,
        options: &SubmitOptions,
    ) -> Result<Batch, Error> {
        let path = path.as_ref();
        let file = File::open(path)
            .await
            .map_err(Error::io(format!("{} cannot be opened", path.display())))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        upload::submit(&self.core, file, &name, options).await
    }

    /// Uploads JSON lines, read from the beginning of `content`, and makes a batch of them. A
    /// broken upload goes on where the service has got to, which takes seeking.
    ///
    /// # Errors
    ///
    /// [`Error::Call`], among others with the reason `INVALID_LINES` and a violation for each of
    /// the first 20 bad lines; [`Error::Io`] where `content` fails.
    pub async fn submit<R>(&self, content: R, options: &SubmitOptions) -> Result<Batch, Error>
    where
        R: AsyncRead + AsyncSeek + Unpin + Send,
    {
        upload::submit(&self.core, content, "", options).await
    }

    /// The batch as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::Call`], with the reason `BATCH_NOT_FOUND` where the account has none of this id.
    pub async fn get(&self, batch_id: &str) -> Result<Batch, Error> {
        let request = GetBatchRequest { batch_id: batch_id.to_owned() };
        self.core
            .unary(Server::Gateway, request, |service, request| async move {
                BatchServiceClient::new(service).get_batch(request).await
            })
            .await
    }

    /// Asks for the end of a batch, and returns it as it is then: watch it to its end. What is
    /// finished is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Call`], with the reason `BATCH_ENDED` where there is nothing left to cancel.
    pub async fn cancel(&self, batch_id: &str) -> Result<Batch, Error> {
        let request = CancelBatchRequest { batch_id: batch_id.to_owned() };
        self.core
            .unary(Server::Gateway, request, |service, request| async move {
                BatchServiceClient::new(service).cancel_batch(request).await
            })
            .await
    }

    /// Snapshots of a batch with rising revisions: the present one first, an ended one last.
    ///
    /// # Errors
    ///
    /// The last item is [`Error::Call`] where the watch cannot go on.
    pub fn watch(&self, batch_id: impl Into<String>) -> BoxStream<'static, Result<Batch, Error>> {
        let watch = Watch::new(self.core.clone(), batch_id.into());
        stream::try_unfold(watch, |mut watch| async {
            Ok(watch.next().await?.map(|batch| (batch, watch)))
        })
        .boxed()
    }

    /// Returns the batch once it has ended, however. Use [`tokio::time::timeout`] for a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] where the watch cannot go on.
    pub async fn wait(&self, batch_id: &str) -> Result<Batch, Error> {
        let mut watch = Watch::new(self.core.clone(), batch_id.to_owned());
        let mut last = Batch::default();
        while let Some(batch) = watch.next().await? {
            last = batch;
        }
        Ok(last)
    }

    /// The result lines of an ended batch, in input order. Only after the last one is it known
    /// that all are what the manifest names.
    ///
    /// # Errors
    ///
    /// The last item is [`Error::Call`], among others with the reason `BATCH_NOT_ENDED`, or
    /// `RESULTS_CHANGED` where late answers came meanwhile: begin again; or [`Error::Data`].
    pub fn results(
        &self,
        batch_id: impl Into<String>,
    ) -> BoxStream<'static, Result<ResultLine, Error>> {
        let lines = Lines::new(Download::new(self.core.clone(), batch_id.into()));
        stream::try_unfold(lines, |mut lines| async {
            Ok(lines.next().await?.map(|line| (line, lines)))
        })
        .boxed()
    }

    /// Writes the results of an ended batch to a file, whole or not at all: to a hidden file
    /// beside it, which takes its name once size and SHA-256 are those of the manifest.
    ///
    /// # Errors
    ///
    /// As [`Client::results`]; [`Error::Io`] where the file cannot be written.
    pub async fn download(
        &self,
        batch_id: &str,
        path: impl AsRef<Path>,
    ) -> Result<Manifest, Error> {
        download::save(&self.core, batch_id, path.as_ref()).await
    }

    /// The gateway's replica whose turn it is, for the generated clients of [`v1`](crate::v1).
    /// Their calls are not tried again; [`CallError::from`](crate::CallError) reads their errors.
    pub fn gateway(&self) -> Service {
        self.core.gateway.turn().service
    }

    /// As [`Client::gateway`], of the collector.
    pub fn collector(&self) -> Service {
        self.core.collector.turn().service
    }
}

/// Whether nothing more happens to it.
pub(crate) fn has_ended(batch: &Batch) -> bool {
    matches!(
        batch.state(),
        BatchState::Completed | BatchState::Failed | BatchState::Expired | BatchState::Cancelled
    )
}
