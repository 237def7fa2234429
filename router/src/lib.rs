//! weft's control plane: what the mesh knows, turned into what the switch does.
//!
//! The only crate that knows both. Everything here is pure: time, messages and facts are arguments.
//!
//! ```text
//!  mesh: who is up, who reaches whom --> Topology --+
//!  stations: who is behind which peer ------------- | --> plan::fold --> switch::Plan, placements
//!  Slots: which peer has which number --------------+
//! ```

mod label;
pub mod plan;
pub mod serve;
mod slots;
pub mod station;

pub use label::{choose_label, label_of, label_text};
pub use slots::Slots;
