//! Base algorithms, one file each.
