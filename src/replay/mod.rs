//! Transitions in memory.
/// Names of training columns.
pub mod columns {
    /// state
    pub const S: &str = "s";
    /// action
    pub const A: &str = "a";
    /// scaled reward
    pub const R: &str = "r";
    /// 1 - terminated
    pub const M: &str = "m";
    /// next state
    pub const S2: &str = "s2";
    /// d2
    pub const D2: &str = "d2";
    /// norm
    pub const DISTANCE: &str = "distance";
    /// IS
    pub const IMPORTANCE: &str = "importance";
    /// 1 for online rows
    pub const ONLINE: &str = "online";
}
