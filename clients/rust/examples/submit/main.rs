//! Runs one batch: uploads a JSONL file of requests, watches the batch to its end, and writes the
//! results. `arguments.rs` reads the command line, `terminal.rs` says what goes on.

mod arguments;
mod terminal;

use std::io::{self, Write as _};
use std::process::ExitCode;

use arguments::{Arguments, Command, check_files};
use futures_util::TryStreamExt as _;
use polybatch::v1::{Batch, BatchState};
use polybatch::{Client, Error, SubmitOptions};
use terminal::{Progress, print, say};
use tonic::Code;

const ERROR: u8 = 1;
const BAD_INPUT: u8 = 2;
const LINES_FAILED: u8 = 3;
const BATCH_FAILED: u8 = 4;
const INTERRUPTED: u8 = 130;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(Command::Run(arguments)) => arguments,
        Ok(Command::Help) => {
            // A reader that goes away early, such as `head`, has read enough.
            _ = print(arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            say(&format!("submit: {error}"));
            _ = write!(io::stderr(), "\n{}\n", arguments::USAGE);
            return BAD_INPUT.into();
        }
    };
    let mut how_to_go_on = String::new();
    let done = tokio::select! {
        done = run(&arguments, &mut how_to_go_on) => Some(done),
        interrupted = tokio::signal::ctrl_c() => interrupted.err().map(|error| Err(Failure::from(error))),
    };
    match done {
        Some(Ok(code)) => code.into(),
        Some(Err(failure)) => {
            failure.tell(&how_to_go_on);
            failure.exit_code().into()
        }
        None => {
            let stopped = ["submit: stopped", &how_to_go_on].map(str::to_owned);
            say(stopped.join("; ").trim_end_matches("; "));
            INTERRUPTED.into()
        }
    }
}

async fn run(arguments: &Arguments, how_to_go_on: &mut String) -> Result<u8, Failure> {
    check_files(arguments)?;
    let client = Client::builder()
        .on_retry(|error, wait| {
            if wait.as_secs() >= 1 {
                say(&format!("{error}; trying again in {} s", wait.as_secs()));
            }
        })
        .build()?;
    let batch_id = match &arguments.requests {
        None => arguments.watch.clone(),
        Some(requests) => {
            let id = &arguments.request_id;
            *how_to_go_on = format!("to go on with it, run it again with --request-id {id}");
            let options = SubmitOptions::new()
                .request_id(id)
                .skip_invalid_lines(arguments.skip_invalid)
                .lenient_translation(arguments.lenient);
            let batch = client.submit_file(requests, &options).await?;
            print(&batch.id)?;
            batch.id
        }
    };
    *how_to_go_on = format!("{batch_id} goes on; watch it again with --watch {batch_id}");
    let mut progress = Progress::default();
    let mut last = Batch::default();
    let mut snapshots = client.watch(&batch_id);
    while let Some(batch) = snapshots.try_next().await? {
        progress.show(&batch);
        last = batch;
    }
    match client.download(&batch_id, &arguments.results).await {
        // It failed as such; that was shown.
        Err(error) if error.reason() == "NO_RESULTS" => {}
        done => drop(done?),
    }
    let counts = last.request_counts.unwrap_or_default();
    Ok(match last.state() {
        BatchState::Completed if counts.failed + counts.cancelled + counts.expired == 0 => 0,
        BatchState::Completed => LINES_FAILED,
        _ => BATCH_FAILED,
    })
}

enum Failure {
    Polybatch(Error),
    /// What was given to the program cannot be used.
    BadInput(String),
    Io(std::io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Polybatch(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    fn tell(&self, how_to_go_on: &str) {
        let error = match self {
            Self::BadInput(message) => return say(&format!("submit: {message}")),
            Self::Io(error) => return say(&format!("submit: {error}")),
            Self::Polybatch(error) => error,
        };
        let Some(call) = error.call() else {
            let reason = error.reason();
            let shown = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            return say(&format!("submit: {error}{shown}"));
        };
        let reason = if call.reason.is_empty() { status_name(call.code) } else { &call.reason };
        say(&format!("submit: {call} ({reason})"));
        for violation in &call.violations {
            say(&format!("  {}: {}", violation.field, violation.description));
        }
        if call.reason == "INVALID_LINES" {
            let lenient = call.metadata.get("lenient_line_count").filter(|count| *count != "0");
            let taken = lenient.map(|count| format!("--lenient takes {count} of them; "));
            say(&format!("{}--skip-invalid runs the others", taken.unwrap_or_default()));
        } else if !how_to_go_on.is_empty() && !is_for_good(call.code) {
            say(how_to_go_on);
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::BadInput(_) => BAD_INPUT,
            Self::Io(_) => ERROR,
            Self::Polybatch(error) => match (error.call().map(|call| call.code), error.reason()) {
                (Some(Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented), _)
                | (_, "FILE_TOO_LARGE" | "TOO_MANY_LINES") => BAD_INPUT,
                _ => ERROR,
            },
        }
    }
}

/// Whether the same again is of no use.
fn is_for_good(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::Unauthenticated | Code::NotFound)
}

/// As the protocol writes it.
fn status_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
