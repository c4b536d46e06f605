//! Result lines, one at a time out of the bytes of a download.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::download::Download;
use crate::error::Error;

/// One line of the results: the outcome of one line of the input.
#[derive(Debug, Deserialize)]
#[non_exhaustive]
pub struct ResultLine {
    /// Id of the line, unique in the service.
    pub id: String,
    /// As in the input; empty where it had none that could be read.
    #[serde(default, deserialize_with = "or_default")]
    pub custom_id: String,
    /// As the input names it; empty for lines that failed the check at upload.
    #[serde(default, deserialize_with = "or_default")]
    pub model: String,
    /// The provider's answer; None where the line never ran.
    pub response: Option<LineResponse>,
    /// Why it did not succeed; None also where the answer itself says it.
    pub error: Option<LineError>,
    /// How often it was sent.
    #[serde(default)]
    pub attempts: u32,
    /// USD, of all attempts; None where the model has no price.
    pub cost: Option<f64>,
    /// Paths that were left out, with `lenient_translation`, such as `body.seed`.
    #[serde(default)]
    pub dropped: Vec<String>,
    /// Id of the line whose answer it took; empty where it was run.
    #[serde(default)]
    pub reused_from: String,
    /// The line itself, without its newline.
    #[serde(skip)]
    pub raw: Bytes,
}

/// A provider's answer to a line.
#[derive(Debug, Deserialize)]
#[non_exhaustive]
pub struct LineResponse {
    /// HTTP status.
    pub status_code: u16,
    /// The provider's id of the call; empty where it gave none.
    #[serde(default, deserialize_with = "or_default")]
    pub request_id: String,
    /// JSON in OpenAI's form, whatever the provider.
    pub body: Box<RawValue>,
}

/// Why a line did not succeed.
#[derive(Debug, Deserialize)]
#[non_exhaustive]
pub struct LineError {
    /// Machine code, such as `batch_expired`.
    #[serde(default, deserialize_with = "or_default")]
    pub code: String,
    /// For people.
    #[serde(default, deserialize_with = "or_default")]
    pub message: String,
}

fn or_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl ResultLine {
    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        let answered = |response: &LineResponse| (200..300).contains(&response.status_code);
        self.error.is_none() && self.response.as_ref().is_some_and(answered)
    }

    /// The body of the answer as a type of the caller's; `serde_json::Value` takes any. None
    /// where the line never ran.
    ///
    /// # Errors
    ///
    /// Where the body is not of that type.
    pub fn body<T: DeserializeOwned>(&self) -> Option<serde_json::Result<T>> {
        let response = self.response.as_ref()?;
        Some(serde_json::from_str(response.body.get()))
    }

    fn parse(raw: Bytes) -> Result<Self, Error> {
        let parsed = serde_json::from_slice(&raw).map_err(|error| Error::Data {
            reason: "RESULT_UNREADABLE",
            message: format!("a line of the results cannot be read ({error})"),
        });
        Ok(Self { raw, ..parsed? })
    }
}

pub(crate) struct Lines {
    download: Download,
    split: Split,
}

impl Lines {
    pub(crate) fn new(download: Download) -> Self {
        Self { download, split: Split::default() }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<ResultLine>, Error> {
        loop {
            if let Some(line) = self.split.line() {
                return ResultLine::parse(line).map(Some);
            }
            match self.download.next().await? {
                Some(chunk) => self.split.add(&chunk),
                None => return self.split.rest().map(ResultLine::parse).transpose(),
            }
        }
    }
}

/// Cuts bytes into lines that are not empty; a line may span any number of chunks.
#[derive(Default)]
struct Split {
    begun: BytesMut,
    /// Bytes known to hold no newline.
    searched: usize,
}

impl Split {
    fn add(&mut self, chunk: &[u8]) {
        self.begun.extend_from_slice(chunk);
    }

    fn line(&mut self) -> Option<Bytes> {
        loop {
            let unsearched = &self.begun[self.searched..];
            let Some(at) = unsearched.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.begun.len();
                return None;
            };
            let mut line = self.begun.split_to(self.searched + at + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if !line.is_empty() {
                return Some(line.freeze());
            }
        }
    }

    fn rest(&mut self) -> Option<Bytes> {
        let rest = self.begun.split().freeze();
        Some(rest).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let content = "{\"a\": 1}\n\n{\"b\": \"ä\"}\n{}".as_bytes();
        for size in 1..=content.len() {
            let mut split = Split::default();
            let mut lines = Vec::new();
            for chunk in content.chunks(size) {
                split.add(chunk);
                while let Some(line) = split.line() {
                    lines.push(line);
                }
            }
            lines.extend(split.rest());
            assert_eq!(lines, ["{\"a\": 1}", "{\"b\": \"ä\"}", "{}"], "cut every {size} bytes");
        }
    }

    #[test]
    fn a_line_is_read_as_the_service_writes_it() {
        let answered = r#"{"id": "batch_1-000001", "custom_id": "a", "model": "m", "response":
            {"status_code": 200, "request_id": null, "body": {"choices": []}}, "error": null,
            "attempts": 1, "cost": 0.000000001, "dropped": ["body.seed"]}"#;
        let line = ResultLine::parse(Bytes::from(answered)).unwrap();
        assert!(line.is_ok());
        let body: serde_json::Value = line.body().unwrap().unwrap();
        assert!(body["choices"].is_array());
        let other_status = answered.replace("200", "201");
        assert!(ResultLine::parse(Bytes::from(other_status)).unwrap().is_ok());
        let failed = r#"{"id": "x", "custom_id": null, "response": null,
            "error": {"code": "not_json", "message": null}, "attempts": 0, "cost": null}"#;
        let line = ResultLine::parse(Bytes::from(failed)).unwrap();
        assert_eq!((line.is_ok(), line.error.unwrap().code.as_str()), (false, "not_json"));
        let unreadable = ResultLine::parse(Bytes::from("{")).unwrap_err();
        assert_eq!(unreadable.reason(), "RESULT_UNREADABLE");
    }
}
