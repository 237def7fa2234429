//! Placeholder: the handshake is being written.
/// A pre-shared key made from the mesh's password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Psk([u8; 32]);
impl Psk {
    /// The key of a mesh without a password.
    pub fn open() -> Self { Self([0; 32]) }
}
