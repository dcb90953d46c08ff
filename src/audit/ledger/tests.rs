//! Ledgers written, read and tampered with.
