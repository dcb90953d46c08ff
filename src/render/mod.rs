//! Pictures of a simulated task, without a display and without a graphics library.
//!
//! One ray through the middle of every pixel, sixteen through pixels at an edge; every solid is met exactly
//! ([`ray`]). A picture is a function of the scene alone: additions, products and square roots, in one order.

mod film;
mod label;
mod paint;
mod palette;
pub mod ray;
mod view;

pub use film::{Film, Moment};
pub use paint::{Picture, paint};
pub use view::View;
