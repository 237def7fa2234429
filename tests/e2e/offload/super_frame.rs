//! Super-frames as a virtual machine gives them to its network card, made octet by octet.

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Addresses of no meaning: nobody answers.
const SOURCE_V4: [u8; 4] = [10, 32, 0, 77];
const TARGET_V4: [u8; 4] = [10, 32, 0, 78];
const SOURCE_V6: [u8; 16] = [0xfd, 0, 0, 0x32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 77];
const TARGET_V6: [u8; 16] = [0xfd, 0, 0, 0x32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 78];
pub(crate) const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 1];
const TARGET_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 2];

/// What a super-frame is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Super {
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// VLAN tags, outermost first: four octets each.
    pub(crate) tags: &'static [u8],
    /// Payload octets of each packet it stands for, and of all.
    pub(crate) size: u16,
    pub(crate) payload: usize,
    /// Of TCP.
    pub(crate) flags: u8,
    pub(crate) tcp_options: &'static [u8],
    /// Of IPv4.
    pub(crate) ip_options: &'static [u8],
    /// Of IPv6: each header, the last of which leads to the transport, and which the first is.
    pub(crate) extensions: (u8, &'static [u8]),
    pub(crate) dont_fragment: bool,
    pub(crate) id: u16,
    pub(crate) sequence: u32,
}

impl Super {
    /// The headers that virtio puts before it, and the frame.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let transport = self.transport();
        let network = self.network(transport.len());
        let start = 14 + self.tags.len() + network.len();
        let header_len = start + transport.len() - self.payload;
        let kind = match (self.udp, self.v6) {
            (true, _) => 5,
            (false, true) => 4,
            (false, false) => 1,
        };
        let ecn = if self.flags & 0x80 != 0 && !self.udp { 0x80 } else { 0 };
        let native = |value: usize| u16::try_from(value).unwrap().to_ne_bytes();
        let vnet = [
            [1, kind | ecn],
            native(header_len),
            self.size.to_ne_bytes(),
            native(start),
            native(if self.udp { 6 } else { 16 }),
        ];
        let ether_type = if self.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let ethernet = [&TARGET_MAC[..], &SOURCE_MAC, self.tags, &ether_type].concat();
        [vnet.concat(), ethernet, network, transport].concat()
    }

    /// The packets it stands for.
    pub(crate) fn packets(&self) -> usize {
        self.payload.div_ceil(self.size.into())
    }

    fn network(&self, transport: usize) -> Vec<u8> {
        let protocol = if self.udp { UDP } else { TCP };
        let len = |more: &[u8]| u16::try_from(transport + more.len()).unwrap();
        if self.v6 {
            let (first, headers) = self.extensions;
            let [a, b] = len(headers).to_be_bytes();
            let next = if headers.is_empty() { protocol } else { first };
            let fixed = [0x60, 0x2a, 0xbc, 0xde, a, b, next, 61];
            return [&fixed[..], &SOURCE_V6, &TARGET_V6, headers].concat();
        }
        let options = self.ip_options;
        let words = 5 + u8::try_from(options.len() / 4).unwrap();
        let ([a, b], [c, d]) = ((len(options) + 20).to_be_bytes(), self.id.to_be_bytes());
        let flags = if self.dont_fragment { 0x40 } else { 0 };
        let fixed = [0x40 | words, 0x28, a, b, c, d, flags, 0, 63, protocol, 0, 0];
        let mut header = [&fixed[..], &SOURCE_V4, &TARGET_V4, options].concat();
        let checksum = !sum(&[&header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn transport(&self) -> Vec<u8> {
        let payload = (0..self.payload).map(|n| (n * 7 + n / 251).to_le_bytes()[0]);
        let ports = [0xb7, 0x98, 0x13, 0x88];
        let mut octets = ports.to_vec();
        if self.udp {
            octets.extend(u16::try_from(self.payload + 8).unwrap().to_be_bytes());
            octets.extend([0, 0]);
        } else {
            let words = 5 + u8::try_from(self.tcp_options.len() / 4).unwrap();
            octets.extend(self.sequence.to_be_bytes());
            octets.extend([0x12, 0x34, 0x56, 0x78, words << 4, self.flags, 0x72, 0x10, 0, 0]);
            octets.extend(if self.flags & 0x20 != 0 { [0, 9] } else { [0, 0] });
            octets.extend(self.tcp_options);
        }
        octets.extend(payload);
        let field = if self.udp { 6 } else { 16 };
        let len = u32::try_from(octets.len()).unwrap().to_be_bytes();
        let protocol = [0, if self.udp { UDP } else { TCP }];
        let pseudo = if self.v6 {
            sum(&[&SOURCE_V6, &TARGET_V6, &len, &protocol])
        } else {
            sum(&[&SOURCE_V4, &TARGET_V4, &len, &protocol])
        };
        octets[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        octets
    }
}

/// The one's complement sum (RFC 1071) of parts of even length.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
