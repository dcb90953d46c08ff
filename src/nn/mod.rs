//! Networks, policy heads, initialisation.
