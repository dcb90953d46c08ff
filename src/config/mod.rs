//! One declaration per option.
