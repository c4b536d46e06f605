//! Uploads that make a batch, continued after a break.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::time::Duration;

use bytes::Bytes;
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::attempts::{Attempts, Core, hex, is_not_found};
use crate::error::Error;
use crate::replicas::Server;
use crate::v1::batch_service_client::BatchServiceClient;
use crate::v1::file_service_client::FileServiceClient;
use crate::v1::submit_batch_request::{Payload, Spec};
use crate::v1::{
    Batch, CreateBatchRequest, GetUploadStatusRequest, SubmitBatchRequest, UploadSpec, UploadStatus,
};

/// The most that a message of an upload may hold.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// How a batch is made. What has no method here is set in [`SubmitOptions::batch`].
#[derive(Clone, Debug, Default)]
pub struct SubmitOptions {
    /// The request that makes the batch, but for `input_file_id`, which is ignored.
    pub batch: CreateBatchRequest,
    filename: Option<String>,
    provider: String,
    model: String,
}

impl SubmitOptions {
    /// Nothing but the service's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes submitting repeatable: the same id with the same content and options goes on with
    /// the same upload, or returns the batch that was made of it. The content is read once more
    /// for that. 8 to 64 characters of `[A-Za-z0-9_-]`.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.batch.request_id = id.into();
        self
    }

    /// Runs the good lines; bad ones come back as failed lines of the results.
    pub fn skip_invalid_lines(mut self, on: bool) -> Self {
        self.batch.skip_invalid_lines = on;
        self
    }

    /// Leaves out what a line asks for and its provider lacks, instead of refusing the line.
    pub fn lenient_translation(mut self, on: bool) -> Self {
        self.batch.lenient_translation = on;
        self
    }

    /// For people; at most 256 characters.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.batch.name = name.into();
        self
    }

    /// Pairs that stay with the batch: at most 16; keys up to 64, values up to 512 characters.
    pub fn metadata(mut self, pairs: HashMap<String, String>) -> Self {
        self.batch.metadata = pairs;
        self
    }

    /// From 1 second to 7 days; what is not answered at its end has expired. 24 hours by default.
    pub fn completion_window(mut self, window: Duration) -> Self {
        self.batch.completion_window = Some(prost_types::Duration {
            seconds: window.as_secs().try_into().unwrap_or(i64::MAX),
            nanos: window.subsec_nanos() as i32,
        });
        self
    }

    /// Name of the file at the service, instead of that of the path.
    pub fn filename(mut self, name: impl Into<String>) -> Self {
        self.filename = Some(name.into());
        self
    }

    /// Of lines that name no provider, and whose model tells none.
    pub fn default_provider(mut self, name: impl Into<String>) -> Self {
        self.provider = name.into();
        self
    }

    /// The model of lines whose form leaves it out.
    pub fn default_model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }
}

/// Sends everything, however many streams it takes, and returns the batch.
pub(crate) async fn submit<R>(
    core: &Core,
    mut content: R,
    name: &str,
    options: &SubmitOptions,
) -> Result<Batch, Error>
where
    R: AsyncRead + AsyncSeek + Unpin + Send,
{
    let repeatable = !options.batch.request_id.is_empty();
    let upload_id =
        if repeatable { derived_id(&mut content, options).await? } else { crate::random_id() };
    let size = content.seek(SeekFrom::End(0)).await.map_err(unreadable())?;
    let mut attempts = Attempts::new(core.wait);
    let mut status =
        if repeatable { upload_status(core, &upload_id).await? } else { UploadStatus::default() };
    loop {
        let offset = u64::try_from(status.committed_size).unwrap_or_default();
        if offset > size || (status.complete && offset != size) {
            return Err(changed(&format!("the service has {offset} bytes of {size}")));
        }
        content.seek(SeekFrom::Start(offset)).await.map_err(unreadable())?;
        let upload = UploadSpec {
            filename: options.filename.clone().unwrap_or_else(|| name.to_owned()),
            upload_id: upload_id.clone(),
            write_offset: status.committed_size,
            default_provider: options.provider.clone(),
            default_model: options.model.clone(),
            ..Default::default()
        };
        let spec = Spec { upload: Some(upload), batch: Some(options.batch.clone()) };
        let error = match send(core, &mut content, spec, size).await {
            Err(Error::Call(error)) => *error,
            done => return done,
        };
        let before = status.committed_size;
        if let Err(last) = attempts.pause(core, error.clone()).await {
            // A long stream that broke may have brought more than is known here.
            if !attempts.gave_up_waiting()
                || upload_status(core, &upload_id).await?.committed_size <= before
            {
                return Err(last);
            }
            attempts.progress();
            attempts.pause(core, error).await?;
        }
        status = upload_status(core, &upload_id).await?;
        if status.committed_size > before {
            attempts.progress();
        }
    }
}

/// Of all of it: what other content had committed is not continued.
async fn derived_id<R>(content: &mut R, options: &SubmitOptions) -> Result<String, Error>
where
    R: AsyncRead + AsyncSeek + Unpin,
{
    content.seek(SeekFrom::Start(0)).await.map_err(unreadable())?;
    let mut digest = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; CHUNK_BYTES as usize];
    loop {
        match content.read(&mut chunk).await.map_err(unreadable())? {
            0 => break,
            count => digest.update(&chunk[..count]),
        }
    }
    let own = hex(digest.finish().as_ref());
    let parts = [&options.batch.request_id, &own, &options.provider, &options.model];
    let id = digest::digest(&digest::SHA256, parts.map(String::as_str).join("\0").as_bytes());
    Ok(hex(id.as_ref()))
}

fn changed(how: &str) -> Error {
    let message = format!("the requests were changed meanwhile: {how}; submit them again");
    Error::Data { reason: "UPLOAD_CHANGED", message }
}

/// One stream, from where the content stands; `size`: of all of it.
async fn send<R>(core: &Core, content: &mut R, spec: Spec, size: u64) -> Result<Batch, Error>
where
    R: AsyncRead + Unpin,
{
    let (sender, receiver) = mpsc::channel(1);
    let call = core.attempt(Server::Gateway, |service| async move {
        let requests = ReceiverStream::new(receiver);
        BatchServiceClient::new(service).submit_batch(requests).await
    });
    tokio::pin!(call);
    tokio::select! {
        // An error may come at any time, also before everything is sent.
        reply = &mut call => Ok(reply.map_err(Box::new)?),
        fed = feed(content, spec, size, sender) => {
            fed?;
            Ok(call.await.map_err(Box::new)?)
        }
    }
}

/// One chunk at a time: the content is never in memory. Ends early where nobody takes more.
async fn feed<R>(
    content: &mut R,
    spec: Spec,
    size: u64,
    sender: mpsc::Sender<SubmitBatchRequest>,
) -> Result<(), Error>
where
    R: AsyncRead + Unpin,
{
    let offset = spec.upload.as_ref().map_or(0, |upload| upload.write_offset);
    let mut sent = u64::try_from(offset).unwrap_or_default();
    let mut next = Payload::Spec(spec);
    loop {
        let last = matches!(next, Payload::Finish(_));
        let message = SubmitBatchRequest { payload: Some(next) };
        if sender.send(message).await.is_err() || last {
            return Ok(());
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES as usize);
        let mut reader = (&mut *content).take(CHUNK_BYTES);
        reader.read_to_end(&mut chunk).await.map_err(unreadable())?;
        sent += chunk.len() as u64;
        // Of a part that is finished a batch would be made.
        if sent > size || (chunk.is_empty() && sent < size) {
            return Err(changed(&format!("of {size} bytes, {sent} could be read")));
        }
        next = if chunk.is_empty() {
            // Without it the service takes the stream for broken off.
            Payload::Finish(true)
        } else {
            Payload::Chunk(Bytes::from(chunk))
        };
    }
}

async fn upload_status(core: &Core, upload_id: &str) -> Result<UploadStatus, Error> {
    let request = GetUploadStatusRequest { upload_id: upload_id.to_owned() };
    let status = core
        .unary(Server::Gateway, request, |service, request| async move {
            FileServiceClient::new(service).get_upload_status(request).await
        })
        .await;
    match status {
        Err(error) if is_not_found(&error) => Ok(UploadStatus::default()),
        answered => answered,
    }
}

fn unreadable() -> impl FnOnce(std::io::Error) -> Error {
    Error::io("the requests cannot be read")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn what_has_another_size_now_is_never_finished() {
        let whole = vec![b'x'; 3 * CHUNK_BYTES as usize / 2];
        for (size, finishes) in [(0, true), (-1, false), (1, false)] {
            let size = whole.len().checked_add_signed(size).unwrap() as u64;
            let (sender, mut receiver) = mpsc::channel(8);
            let fed = feed(&mut Cursor::new(&whole), Spec::default(), size, sender).await;
            assert_eq!(fed.is_ok(), finishes);
            if let Err(error) = fed {
                assert_eq!(error.reason(), "UPLOAD_CHANGED");
            }
            let mut finished = false;
            while let Some(message) = receiver.recv().await {
                finished |= matches!(message.payload, Some(Payload::Finish(_)));
            }
            assert_eq!(finished, finishes);
        }
    }
}
