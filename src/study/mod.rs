//! Studies: a question as a file, expanded to paired runs, answered with tables, intervals and figures.

pub mod results;
