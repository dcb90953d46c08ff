//! Files of other kinds than the one expected: what they are, and what to do.

use super::SIGNATURE;

const MINARI: &str = "give the folder of the Minari dataset that it is part of, or store its columns in .npz";

/// What a file that is none of those expected begins like, and what to do; `head` is some 64 bytes.
pub(super) fn foreign(head: &[u8]) -> (String, &'static str) {
    let text = String::from_utf8_lossy(head).to_lowercase();
    let text = text.trim_start();
    if head.is_empty() {
        ("an empty file".to_string(), "fetch it again")
    } else if text.starts_with("version https://git-lfs") {
        ("a git-lfs pointer".to_string(), "run `git lfs pull` in its repository to get the data itself")
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        ("an HTML page".to_string(), "the download saved a web page, fetch the file itself")
    } else if head.starts_with(&[0x1f, 0x8b]) {
        ("a gzip archive".to_string(), "unpack it with gunzip first")
    } else if head.starts_with(b"PK\x03\x04") {
        ("a zip archive".to_string(), "if it is NumPy's, its name must end in .npz")
    } else if head.starts_with(b"PAR1") {
        ("a Parquet file".to_string(), MINARI)
    } else if head.starts_with(b"ARROW1") {
        ("an Arrow file".to_string(), MINARI)
    } else if head.starts_with(&SIGNATURE) {
        ("an HDF5 file".to_string(), "check the path")
    } else {
        let first: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        (format!("bytes {}", first.join(" ")), "check the path")
    }
}
