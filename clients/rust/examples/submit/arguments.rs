//! The command line, and the files that it names.

use std::fs;
use std::path::{Path, PathBuf};

use lexopt::prelude::*;

use crate::Failure;

pub const USAGE: &str = "\
Usage: submit [options] REQUESTS.jsonl RESULTS.jsonl
       submit --watch BATCH_ID [options] RESULTS.jsonl

Uploads the requests, prints the batch's id, watches the batch, writes its results.

  --skip-invalid    run the good lines; bad ones come back as failed lines
  --lenient         leave out what a line asks for and its provider lacks
  --request-id ID   8 to 64 characters of [A-Za-z0-9_-]: run again with the same id, it goes on
                    with the same upload, or with the batch that was made of it; random by default
  --watch ID        go on with a batch that was made before
  --help

Environment, as for the Python client:
  POLYBATCH_GATEWAY, POLYBATCH_COLLECTOR   localhost:50051, localhost:50052; grpcs://host:port
                                           for TLS; several replicas separated by commas
  POLYBATCH_API_KEY                        else the file api-key in POLYBATCH_DATA_DIR (.polybatch)
  POLYBATCH_TLS                            1 or 0; else on unless both are this machine
  POLYBATCH_TLS_CA, POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY   PEM files
  POLYBATCH_WAIT                           seconds in which nothing gets through before it gives
                                           up: 120

Exit codes: 0 all lines succeeded, 1 error, 2 bad input, 3 completed with failed lines,
4 failed, expired or cancelled, 130 Ctrl-C (a batch that was made goes on).";

pub enum Command {
    Help,
    Run(Arguments),
}

pub struct Arguments {
    /// None with `--watch`.
    pub requests: Option<PathBuf>,
    pub results: PathBuf,
    pub skip_invalid: bool,
    pub lenient: bool,
    pub request_id: String,
    /// Empty without `--watch`.
    pub watch: String,
}

pub fn parse() -> Result<Command, lexopt::Error> {
    let (mut skip_invalid, mut lenient) = (false, false);
    let (mut request_id, mut watch) = (None, None);
    let mut files = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") => return Ok(Command::Help),
            Long("skip-invalid") => skip_invalid = true,
            Long("lenient") => lenient = true,
            Long("request-id") => request_id = Some(parser.value()?.string()?),
            Long("watch") => watch = Some(parser.value()?.string()?),
            Value(file) => files.push(PathBuf::from(file)),
            other => return Err(other.unexpected()),
        }
    }
    let wanted = if watch.is_some() { 1 } else { 2 };
    if files.len() != wanted {
        return Err(format!("{wanted} file names are needed, not {}", files.len()).into());
    }
    let fits = |id: &String| {
        let letters = id.chars().all(|char| char.is_ascii_alphanumeric() || "_-".contains(char));
        letters && (8..=64).contains(&id.len())
    };
    if request_id.as_ref().is_some_and(|id| !fits(id)) {
        return Err("a request id has 8 to 64 characters of [A-Za-z0-9_-]".into());
    }
    let results = files.pop().unwrap_or_default();
    Ok(Command::Run(Arguments {
        requests: files.pop(),
        results,
        skip_invalid,
        lenient,
        request_id: request_id.unwrap_or_else(polybatch::random_id),
        watch: watch.unwrap_or_default(),
    }))
}

/// Before anything is sent: nobody wants to pay for results that cannot be written.
pub fn check_files(arguments: &Arguments) -> Result<(), Failure> {
    let unusable = |path: &Path, why: &dyn std::fmt::Display| {
        Err(Failure::BadInput(format!("{} {why}", path.display())))
    };
    if let Some(requests) = &arguments.requests {
        match fs::File::open(requests).and_then(|file| file.metadata()) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return unusable(requests, &"is not a file"),
            Err(error) => return unusable(requests, &format!("cannot be read: {error}")),
        }
    }
    let results = &arguments.results;
    if fs::metadata(results).is_ok_and(|found| !found.is_file()) {
        return unusable(results, &"exists and is not a regular file");
    }
    let folder = match results.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() && !found.permissions().readonly() => Ok(()),
        Ok(_) => unusable(folder, &"is no folder that can be written to"),
        Err(error) => unusable(folder, &format!("cannot be used: {error}")),
    }
}
