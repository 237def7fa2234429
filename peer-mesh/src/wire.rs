//! Placeholder: the codec is being written.
/// A channel's name: 1 to 16 octets of printable ASCII.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChannelName(String);
