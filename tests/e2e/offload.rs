//! Super-frames and runs of datagrams: whatever travels in one piece, pods see no difference.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

#[path = "offload/equal.rs"]
mod equal;
#[path = "foreign/exchange.rs"]
mod exchange;
#[path = "offload/fallbacks.rs"]
mod fallbacks;
#[path = "offload/faults.rs"]
mod faults;
#[path = "offload/poll.rs"]
mod poll;
#[path = "offload/queues.rs"]
mod queues;
#[path = "offload/segments.rs"]
mod segments;
#[path = "offload/super_frame.rs"]
mod super_frame;
