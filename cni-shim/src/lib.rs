//! What container runtimes see of weft: the Container Network Interface, versions 0.3.0 to 1.1.0
//! (<https://www.cni.dev/docs/spec/>).
//!
//! A runtime runs a plugin with a verb and an attachment in the environment and a configuration on stdin, and reads JSON from
//! stdout: a result, or an error with a code. [`Call::read`] understands and checks the first two, to the letter of the
//! reference (`pkg/skel` of containernetworking/cni): what is wrong is told before anything is done. [`result`] and
//! [`error`] write the answer in the layout of the version that was asked in, and [`run`] is all of it together. Types and layouts are those of `rscni-types`.
//!
//! Go reads keys in whatever case they come, and runtimes rely on it (containerd sends `HostPort`, CRI-O `hostPort`): so does
//! this.

mod answer;
mod args;
mod call;
mod config;
mod delegate;
pub mod failure;
mod netns;
mod object;
mod plugin;
mod queue;

pub use answer::{SUPPORTED, error, result, versions};
pub use args::Args;
pub use call::{ABOUT, Attachment, Call, Refused, Request};
pub use config::{Address, Config, Ipam};
pub use plugin::{Said, run};
pub use rscni_types::error::Error;
