//! Repository chores: what is too long for a line of the Makefile and too dull for a person.
//!
//! - `manifests` which package may depend on which, read from `cargo metadata`
//! - `sources`   rules about Rust files that no compiler lint covers
//! - `documents` links and commands named in Markdown files exist
//! - `citations` sections of the protocol description and decision records that are cited exist
//! - `maps`      maps of modules and of the repository name what is there, and all of it
//! - `layers`    which part of the runtime may import which
//! - `locks`     no task is woken under a lock, no queue is without a limit
//! - `walks`     the functions that the walks of ARCHITECTURE.md name are where it says
//! - `decisions` the form of decision records, and their index
//! - `bench_smoke` instruction counts of the hot path against their baseline
//! - `tidy`      runs the checks of the tree and reports
//! - `ci`        runs the Makefile's checks one after the other and times them

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench_smoke;
mod ci;
mod citations;
mod decisions;
mod documents;
mod layers;
mod locks;
mod manifests;
mod maps;
mod sources;
mod tidy;
mod walks;

#[derive(Parser)]
#[command(about = "Repository chores; `make help` lists the everyday commands")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check dependency direction, source rules, links, citations and decision records.
    Tidy,
    /// Write the index of the decision records anew.
    AdrIndex,
    /// Run every step of the check that guards the main branch, timing each.
    Ci,
    /// Compare instruction counts of the hot path with their baseline.
    BenchSmoke {
        /// Make the counts the new baseline instead.
        #[arg(long)]
        rewrite: bool,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let root = repository_root();
    match Arguments::parse().chore {
        Chore::Tidy => tidy::run(&root),
        Chore::AdrIndex => decisions::write_index(&root, &tidy::text_files(&root)?),
        Chore::Ci => ci::run(&root),
        Chore::BenchSmoke { rewrite } => bench_smoke::run(&root, rewrite),
    }
}

/// Returns the directory of the workspace manifest; this package sits directly below it.
fn repository_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
