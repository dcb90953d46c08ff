//! Damaged files: never a panic, never an absurd allocation.
//!
//! The damage is done in a child process whose address space is limited to 1 GB, because a failed allocation ends the
//! whole process and could not be caught here.
#![cfg(target_os = "linux")]

mod common;

use baq_datasets::backend::pure::PureFile;
use baq_datasets::{Options, d4rl};
use common::fixture;
use std::process::Command;

const FILES: [&str; 5] = ["gzip", "latest", "extensible", "shuffle-fletcher32", "plain"];

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Copies of a file with one to eight flipped bits, overwritten fields, or a missing end.
fn damaged(whole: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed;
    let mut copies = Vec::new();
    for round in 0..160 {
        let mut bytes = whole.to_vec();
        match round % 4 {
            0 | 1 => {
                for _ in 0..=next(&mut state) % 8 {
                    let at = next(&mut state) as usize % bytes.len();
                    bytes[at] ^= 1 << (next(&mut state) % 8);
                }
            }
            2 => {
                // Fields of eight aligned bytes: sizes, addresses, extents.
                for _ in 0..=next(&mut state) % 3 {
                    let at = next(&mut state) as usize % (bytes.len() / 8) * 8;
                    let value = [u64::MAX, 1 << 40, 1 << 62, 0][next(&mut state) as usize % 4];
                    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                }
            }
            _ => bytes.truncate(next(&mut state) as usize % bytes.len()),
        }
        copies.push(bytes);
    }
    copies
}

#[test]
#[ignore = "run by damaged_files_are_survived in a process with limited memory"]
fn child() {
    let (mut read, mut refused) = (0, 0);
    for (seed, name) in FILES.iter().enumerate() {
        let whole = std::fs::read(fixture(&format!("{name}.hdf5"))).expect("fixture");
        for bytes in damaged(&whole, seed as u64) {
            let result = d4rl::read_bytes_with::<PureFile>(name, &bytes, false);
            match result.and_then(|r| r.into_columns(&Options::default())) {
                Ok(columns) => {
                    assert!(columns.observations.iter().all(|v| v.is_finite()));
                    read += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().contains('\n'), "{error}");
                    refused += 1;
                }
            }
        }
    }
    println!("read {read} refused {refused}");
    // Flips in unused bytes or in uncompressed values do no harm; most other damage must be noticed.
    assert!(refused > 200 && read > 20, "read {read}, refused {refused}");
}

#[test]
fn damaged_files_are_survived() {
    let me = std::env::current_exe().expect("invariant: a test knows its binary");
    let out = Command::new("sh")
        .args(["-c", "ulimit -v 1000000 && exec \"$0\" --ignored --exact child --test-threads 1"])
        .arg(&me)
        .output()
        .expect("sh");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{}\n{text}", out.status);
    assert!(text.contains("1 passed"), "the child must have run: {text}");
}

#[test]
fn the_memory_limit_bites() {
    // Without this the test above could pass because the limit did nothing.
    let me = std::env::current_exe().expect("invariant: a test knows its binary");
    let out = Command::new("sh")
        .args(["-c", "ulimit -v 1000000 && exec \"$0\" --ignored --exact greedy_child --test-threads 1"])
        .arg(&me)
        .output()
        .expect("sh");
    assert!(!out.status.success());
}

#[test]
#[ignore = "run by the_memory_limit_bites"]
fn greedy_child() {
    let mut buffer: Vec<u8> = Vec::with_capacity(2 << 30);
    buffer.push(1);
    println!("{}", std::hint::black_box(&buffer).len());
}
