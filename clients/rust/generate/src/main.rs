//! Writes ../src/generated from the protos at the root of the repository.
//!
//! With `--check` writes nothing, and fails where the files there are not what it would write.

use std::error::Error;
use std::path::Path;
use std::{env, fs, process::ExitCode};

/// `events.proto` is for programs inside the suite.
const PROTOS: [&str; 10] = [
    "accounts",
    "batches",
    "conversion",
    "files",
    "prices",
    "providers",
    "results",
    "status",
    "usage",
    "webhooks",
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("../src/generated");
    if !env::args().skip(1).any(|argument| argument == "--check") {
        fs::create_dir_all(&target)?;
        generate(here, &target)?;
        return Ok(ExitCode::SUCCESS);
    }
    let fresh = here.join("target/check");
    fs::create_dir_all(&fresh)?;
    generate(here, &fresh)?;
    let mut outdated = 0;
    for entry in fs::read_dir(&fresh)? {
        let name = entry?.file_name();
        if fs::read(target.join(&name)).ok() != Some(fs::read(fresh.join(&name))?) {
            eprintln!(
                "clients/rust/src/generated/{} is not what the protos say; \
                 run: cargo run --manifest-path clients/rust/generate/Cargo.toml",
                name.display()
            );
            outdated += 1;
        }
    }
    Ok(if outdated == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn generate(here: &Path, target: &Path) -> Result<(), Box<dyn Error>> {
    let files = PROTOS.map(|name| format!("polybatch/v1/{name}.proto"));
    let descriptors = protox::compile(files, [here.join("../../../protos")])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        // Chunks are passed on as they came, without a copy.
        .bytes(".")
        .out_dir(target)
        .compile_fds(descriptors)?;
    Ok(())
}
