//! What weft's end-to-end tests stand on: the lab in [`harness`].

pub mod harness;
