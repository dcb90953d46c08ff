//! Names the commit that a release is built from, for results to say what made them: `BAQ_COMMIT` to the compiler.
//!
//! Given by that variable, or else asked of git; `-changed` behind it where the sources are not that commit's. Builds for
//! development do not ask: they would be made anew at every commit.

use std::path::Path;
use std::process::Command;

const SOURCES: [&str; 6] =
    ["src", "kernels/src", "kernels/Cargo.toml", "datasets", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo:rerun-if-env-changed=BAQ_COMMIT");
    println!("cargo:rerun-if-changed=src/build.rs");
    let commit = match std::env::var("BAQ_COMMIT") {
        Ok(given) if !given.is_empty() => given,
        _ if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") => here(),
        _ => "unknown (a build for development)".into(),
    };
    println!("cargo:rustc-env=BAQ_COMMIT={commit}");
}

fn here() -> String {
    // Inside another repository its commit would be no name of these sources.
    let top = git(&["rev-parse", "--show-toplevel"]).and_then(|top| Path::new(&top).canonicalize().ok());
    // Asked when it runs: checkouts that share a target directory share this program.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").and_then(|dir| Path::new(&dir).canonicalize().ok());
    if top != own {
        return format!("unknown (version {})", env!("CARGO_PKG_VERSION"));
    }
    // The log of HEAD grows whenever HEAD moves. What is not there would count as changed always.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists());
    for path in log.iter().map(String::as_str).chain(SOURCES) {
        println!("cargo:rerun-if-changed={path}");
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return format!("unknown (version {})", env!("CARGO_PKG_VERSION"));
    };
    let changes = git(&[&["status", "--porcelain", "--"][..], &SOURCES[..]].concat());
    let changed = changes.is_none_or(|list| !list.is_empty());
    if changed { format!("{commit}-changed") } else { commit }
}

/// What git says, if it is there and this is a checkout.
fn git(words: &[&str]) -> Option<String> {
    let out = Command::new("git").args(words).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
}
