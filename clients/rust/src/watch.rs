//! Watches, continued at their revision after a break.

use std::sync::Arc;

use crate::attempts::{Attempts, Core, Replies};
use crate::client::has_ended;
use crate::error::{CallError, Error};
use crate::replicas::Server;
use crate::v1::status_service_client::StatusServiceClient;
use crate::v1::{Batch, WatchBatchRequest, WatchBatchResponse};

pub(crate) struct Watch {
    core: Arc<Core>,
    batch_id: String,
    revision: i64,
    ended: bool,
    attempts: Attempts,
    replies: Option<Replies<WatchBatchResponse>>,
}

impl Watch {
    pub(crate) fn new(core: Arc<Core>, batch_id: String) -> Self {
        let attempts = Attempts::new(core.wait);
        Self { core, batch_id, revision: 0, ended: false, attempts, replies: None }
    }

    /// The next snapshot; None after that of an ended batch.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.ended {
            return Ok(None);
        }
        loop {
            match self.receive().await {
                // A sign of life holds no batch; an old revision is a replica's lag.
                Ok(WatchBatchResponse { batch: Some(batch) }) if batch.revision > self.revision => {
                    self.revision = batch.revision;
                    self.ended = has_ended(&batch);
                    return Ok(Some(batch));
                }
                Ok(_) => {}
                Err(error) => {
                    self.replies = None;
                    self.attempts.pause(&self.core, error).await?;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<WatchBatchResponse, CallError> {
        let replies = match &mut self.replies {
            Some(replies) => replies,
            None => {
                let request = WatchBatchRequest {
                    batch_id: self.batch_id.clone(),
                    last_revision: self.revision,
                };
                let call = |service| async move {
                    StatusServiceClient::new(service).watch_batch(request).await
                };
                let begun = self.core.replies(Server::Collector, call).await?;
                self.replies.insert(begun)
            }
        };
        let reply = replies.next().await?;
        let reply = reply.ok_or_else(|| replies.ended_early("the watch"))?;
        self.attempts.progress();
        Ok(reply)
    }
}
