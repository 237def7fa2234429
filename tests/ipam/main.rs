//! Address management in a simulated cluster: whole allocators with disks that lose what was not saved, a network that
//! loses, doubles and reorders, and operators who remove the wrong node.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not know as such; figures are printed"
)]

mod oracle;
mod play;
mod scenarios;
mod script;
mod world;
