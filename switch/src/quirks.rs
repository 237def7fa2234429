//! Kernels that do what they should not, and what we do about it.

use std::str::FromStr;

/// A kernel's release, as far as it tells what to expect.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Release(u16, u16, u16);

impl Release {
    /// That of the running kernel, if it is to be understood.
    pub fn running() -> Option<Self> {
        rustix::system::uname().release().to_str().ok()?.parse().ok()
    }
}

/// A defect of some kernels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quirk {
    /// Its name in options, logs and statistics.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// What is done about it, unless the operator says otherwise.
    pub mitigation: Mitigation,
    since: Release,
    fixed: Release,
}

/// What is done about a quirk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mitigation {
    /// Datagrams are sent one by one, without `UDP_SEGMENT`.
    NoRuns,
    /// Nothing: it shows only in some set-ups, which the operator knows.
    None,
}

/// Every quirk we know of. Ranges are those of mainline; distributions backport, hence `--quirk`.
pub const QUIRKS: [Quirk; 3] = [
    Quirk {
        name: "udp-runs-equal",
        what: "runs of datagrams that are all of one size go out with a wrong length and checksum",
        mitigation: Mitigation::NoRuns,
        since: Release(7, 0, 0),
        fixed: Release(7, 1, 5),
    },
    Quirk {
        name: "udp-runs-into-vxlan",
        what: "runs of datagrams that reach a kernel vxlan device over a virtual link are dropped",
        mitigation: Mitigation::None,
        since: Release(4, 18, 0),
        fixed: Release(6, 8, 5),
    },
    // Reported for 6.6.44; where exactly it ends we do not know. Nothing depends on it: a TAP that
    // refuses is served in pieces, whatever its kernel.
    Quirk {
        name: "tap-short-tail",
        what: "super-frames whose last packet is short are refused by the TAP, and go in pieces",
        mitigation: Mitigation::None,
        since: Release(6, 6, 44),
        fixed: Release(6, 6, 47),
    },
];

impl Quirk {
    /// The quirk with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        QUIRKS.iter().find(|quirk| quirk.name == name)
    }

    /// The quirks of a kernel, but for those that the operator knows better about.
    pub fn of(release: Option<Release>, overrides: &[(&'static Self, bool)]) -> Vec<&'static Self> {
        let applies = |quirk: &&'static Self| {
            let said = overrides.iter().rev().find(|(it, _)| it.name == quirk.name);
            let in_range = release.is_some_and(|it| quirk.since <= it && it < quirk.fixed);
            said.map_or(in_range, |(_, on)| *on)
        };
        QUIRKS.iter().filter(applies).collect()
    }
}

impl FromStr for Release {
    type Err = std::num::ParseIntError;

    /// Reads what `uname -r` prints; what follows the numbers does not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part.get(..digits).unwrap_or_default().parse()
        });
        let mut next = || numbers.next().unwrap_or(Ok(0));
        Ok(Self(next()?, next()?, next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(release: &str, overrides: &[(&'static Quirk, bool)]) -> Vec<&'static str> {
        Quirk::of(release.parse().ok(), overrides).iter().map(|quirk| quirk.name).collect()
    }

    #[test]
    fn a_kernel_has_the_quirks_of_its_range() {
        assert_eq!(names("6.18.44-fc-v669", &[]), [""; 0]);
        assert_eq!(names("6.1.0-32-amd64", &[]), ["udp-runs-into-vxlan"]);
        assert_eq!(names("6.6.44", &[]), ["udp-runs-into-vxlan", "tap-short-tail"]);
        assert_eq!(names("7.0", &[]), ["udp-runs-equal"]);
        assert_eq!(names("7.1.5", &[]), [""; 0]);
        assert_eq!(names("what?", &[]), [""; 0]);
    }

    #[test]
    fn the_operator_knows_better() {
        let quirk = Quirk::named("udp-runs-equal").unwrap();

        assert_eq!(names("6.18.44", &[(quirk, true)]), ["udp-runs-equal"]);
        assert_eq!(names("7.0.1", &[(quirk, false)]), [""; 0]);
        assert_eq!(Quirk::named("nonsense"), None);
    }
}
