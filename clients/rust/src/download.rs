//! Downloads of results, continued at their offset after a break.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ring::digest;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use crate::attempts::{Attempts, Core, Replies, hex, random_bytes};
use crate::error::{CallError, Error};
use crate::replicas::Server;
use crate::v1::download_results_response::Payload;
use crate::v1::result_service_client::ResultServiceClient;
use crate::v1::{DownloadResultsRequest, DownloadResultsResponse, Manifest, ResultsHeader};

/// How often in a row late answers may come while results are saved.
const NEWER_RESULTS: usize = 3;

/// The bytes of one result file.
pub(crate) struct Download {
    core: Arc<Core>,
    batch_id: String,
    header: Option<ResultsHeader>,
    received: i64,
    digest: digest::Context,
    attempts: Attempts,
    replies: Option<Replies<DownloadResultsResponse>>,
}

impl Download {
    pub(crate) fn new(core: Arc<Core>, batch_id: String) -> Self {
        let attempts = Attempts::new(core.wait);
        Self {
            core,
            batch_id,
            header: None,
            received: 0,
            digest: digest::Context::new(&digest::SHA256),
            attempts,
            replies: None,
        }
    }

    /// The next bytes; None once all have come and are those that the manifest names.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.receive().await {
                Ok(Some(Payload::Header(header))) => self.header = Some(header),
                Ok(Some(Payload::Chunk(chunk))) => {
                    self.received += chunk.len() as i64;
                    self.digest.update(&chunk);
                    // A header alone is none: a server that always breaks after it is given up.
                    self.attempts.progress();
                    return Ok(Some(chunk));
                }
                Ok(None) => {
                    self.check_digest()?;
                    return Ok(None);
                }
                Err(error) => {
                    self.replies = None;
                    self.attempts.pause(&self.core, error).await?;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Payload>, CallError> {
        let replies = match &mut self.replies {
            Some(replies) => replies,
            None => {
                let known = self.header.as_ref().filter(|_| self.received > 0);
                let request = DownloadResultsRequest {
                    batch_id: self.batch_id.clone(),
                    offset: self.received,
                    // Of two revisions nothing can be put together.
                    results_revision: known.map_or(0, |header| header.results_revision),
                    ..Default::default()
                };
                let call = |service| async move {
                    ResultServiceClient::new(service).download_results(request).await
                };
                let begun = self.core.replies(Server::Collector, call).await?;
                self.replies.insert(begun)
            }
        };
        match replies.next().await? {
            Some(reply) => Ok(reply.payload),
            None if self.header.as_ref().is_some_and(|each| each.total_bytes == self.received) => {
                Ok(None)
            }
            None => Err(replies.ended_early("the download")),
        }
    }

    fn check_digest(&self) -> Result<(), Error> {
        let came = hex(self.digest.clone().finish().as_ref());
        let named = self.manifest().results_sha256;
        if named == came {
            return Ok(());
        }
        Err(Error::Data {
            reason: "DIGEST_MISMATCH",
            message: format!(
                "what came has the SHA-256 {came}, not {named}, which the manifest names; \
                 download it again"
            ),
        })
    }

    fn manifest(&self) -> Manifest {
        let header = self.header.as_ref();
        header.and_then(|header| header.manifest.clone()).unwrap_or_default()
    }
}

/// Writes the results to a file, whole or not at all.
pub(crate) async fn save(core: &Arc<Core>, batch_id: &str, path: &Path) -> Result<Manifest, Error> {
    let mut newer = 0;
    loop {
        match save_once(core, batch_id, path).await {
            // Late answers came meanwhile: nothing of it was kept, and the newer is better.
            Err(error) if error.reason() == "RESULTS_CHANGED" && newer < NEWER_RESULTS => {
                newer += 1
            }
            done => return done,
        }
    }
}

async fn save_once(core: &Arc<Core>, batch_id: &str, path: &Path) -> Result<Manifest, Error> {
    // A rename would put a file in the place of a device or a pipe.
    if fs::metadata(path).await.is_ok_and(|found| !found.is_file()) {
        let found = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(Error::io(format!("{} is not a regular file", path.display()))(found));
    }
    let unfinished = Unfinished::beside(path);
    let failed = || Error::io(format!("{} cannot be written", unfinished.0.display()));
    let mut file = File::create_new(&unfinished.0).await.map_err(failed())?;
    let mut download = Download::new(core.clone(), batch_id.to_owned());
    while let Some(chunk) = download.next().await? {
        file.write_all(&chunk).await.map_err(failed())?;
    }
    file.flush().await.map_err(failed())?;
    file.sync_all().await.map_err(failed())?;
    let renamed = fs::rename(&unfinished.0, path).await;
    renamed.map_err(Error::io(format!("{} cannot be written", path.display())))?;
    Ok(download.manifest())
}

/// A hidden file in the same folder, so that the last step is a rename within one file system.
/// Removed when dropped; after the rename there is none of its name.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self(path.with_file_name(format!(".{name}.{}.part", hex(&random_bytes::<4>()))))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nobody can be told here; what cannot be removed is hidden and named `.part`.
        let _ = std::fs::remove_file(&self.0);
    }
}
