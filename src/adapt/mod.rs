//! Adaptations: what may modify a base algorithm when it goes online.
