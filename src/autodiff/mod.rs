//! Trace once, compile, replay.
