//! What the command line says of addresses: which there are, and how the first division of them comes to be.

use std::collections::BTreeSet;
use std::str::FromStr;

use clap::Args;
use peer_mesh::PeerName;
use router::ipam::{BadSubnet, Init, Range, Subnet};
use switch::options::Usage;

/// What is divided when nobody says.
const RANGE: &str = "10.32.0.0/12";

/// The options.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// All addresses that pods can have, the same on all nodes; `none`: pods' addresses are given by other means
    #[arg(long, value_name = "CIDR|none", env = "IPALLOC_RANGE", default_value = RANGE, value_parser = range)]
    ipalloc_range: Division,

    /// From where an address is, if nobody says: a part of the range [default: the range]
    #[arg(long, value_name = "CIDR", env = "IPALLOC_DEFAULT_SUBNET", value_parser = subnet)]
    ipalloc_default_subnet: Option<Given<Subnet>>,

    /// How the range is first divided: when more than half of N nodes agree (`consensus`; if N is not given, as many as
    /// there are, and at least one more than PEERs), among these nodes and at once (`seed`, the same on all nodes), or by others (`observer`)
    #[arg(long, value_name = "consensus[=N]|seed=NAME,..|observer[=N]", env = "IPALLOC_INIT", value_parser = beginning)]
    ipalloc_init: Option<Given<Beginning>>,
}

/// What addresses are leased from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Addressing {
    pub(crate) range: Range,
    pub(crate) subnet: Subnet,
    pub(crate) init: Init,
}

/// A value of `--ipalloc-range`.
#[derive(Clone, Copy, Debug)]
struct Division(Option<Range>);

/// A value, unless it is the empty one that scripts give for none.
#[derive(Clone, Debug)]
struct Given<T>(Option<T>);

/// A value of `--ipalloc-init`.
#[derive(Clone, Debug)]
enum Beginning {
    Consensus(Option<u32>),
    Seed(BTreeSet<PeerName>),
    Observer(Option<u32>),
}

impl Options {
    /// What they say together; `None`: no addresses are managed. So many peers were named.
    pub(super) fn check(self, peers: usize) -> Result<Option<Addressing>, Usage> {
        let Division(Some(range)) = self.ipalloc_range else { return Ok(None) };
        let subnet =
            self.ipalloc_default_subnet.and_then(|it| it.0).unwrap_or_else(|| range.subnet());
        if range.usable(subnet).is_none() {
            return Err(Usage::Wrong(format!(
                "--ipalloc-default-subnet {subnet} is no part of the range {range} with addresses to lease: give a part of --ipalloc-range of at least 4 addresses"
            )));
        }
        let nodes = u32::try_from(peers.saturating_add(1)).unwrap_or(u32::MAX);
        let beginning = self.ipalloc_init.and_then(|it| it.0);
        let init = match beginning.unwrap_or(Beginning::Consensus(None)) {
            Beginning::Consensus(None) => Init::Majority(nodes),
            Beginning::Consensus(Some(count)) => Init::Consensus(count),
            Beginning::Seed(names) => Init::Seed(names),
            Beginning::Observer(count) => Init::Observer(count.unwrap_or(nodes)),
        };
        Ok(Some(Addressing { range, subnet, init }))
    }
}

fn range(text: &str) -> Result<Division, String> {
    if text == "none" {
        return Ok(Division(None));
    }
    let text = if text.is_empty() { RANGE } else { text };
    let range = text.parse().and_then(Range::new);
    range.map(|range| Division(Some(range))).map_err(|error: BadSubnet| error.to_string())
}

fn subnet(text: &str) -> Result<Given<Subnet>, String> {
    let subnet = (!text.is_empty()).then(|| Subnet::from_str(text)).transpose();
    subnet.map(Given).map_err(|error| error.to_string())
}

fn beginning(text: &str) -> Result<Given<Beginning>, String> {
    let (word, rest) = text.split_once('=').map_or((text, None), |(word, rest)| (word, Some(rest)));
    let beginning =
        match (word, rest) {
            ("", None) => return Ok(Given(None)),
            ("consensus", rest) => Beginning::Consensus(rest.map(count).transpose()?),
            ("observer", rest) => Beginning::Observer(rest.map(count).transpose()?),
            ("seed", Some(names)) => {
                Beginning::Seed(names.split(',').map(name).collect::<Result<_, _>>()?)
            }
            _ => return Err(
                "give `consensus`, `consensus=N`, `seed=NAME,NAME,..`, `observer` or `observer=N`"
                    .into(),
            ),
        };
    Ok(Given(Some(beginning)))
}

fn count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=65_536).contains(count));
    count.ok_or_else(|| format!("{text:?} is no number of nodes: give one from 1 to 65536"))
}

fn name(text: &str) -> Result<PeerName, String> {
    text.trim().parse().map_err(|error| {
        format!("{error}: seeds are named as by `weft status`, such as 02:00:00:00:00:01")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        options: Options,
    }

    fn check(words: &str, peers: usize) -> Result<Option<Addressing>, String> {
        let all = All::try_parse_from(["weftd"].into_iter().chain(words.split_whitespace()));
        let options = all.map_err(|error| error.to_string())?.options;
        options.check(peers).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn with_no_words_the_range_is_weaves_and_as_many_agree_as_were_named() {
        let addressing = check("", 2).unwrap().unwrap();

        assert_eq!(addressing.range.to_string(), "10.32.0.0/12");
        assert_eq!(addressing.subnet, addressing.range.subnet());
        assert_eq!(addressing.init, Init::Majority(3));
    }

    #[test]
    fn each_beginning_is_told_from_the_others() {
        let init =
            |words: &str| check(&format!("--ipalloc-init {words}"), 1).unwrap().unwrap().init;
        let names = ["02:00:00:00:00:01", "02:00:00:00:00:02"].map(|it| it.parse().unwrap());

        assert_eq!(init("consensus"), Init::Majority(2));
        assert_eq!(init("consensus=5"), Init::Consensus(5));
        assert_eq!(init("observer"), Init::Observer(2));
        assert_eq!(init("observer=5"), Init::Observer(5));
        assert_eq!(init("seed=02:00:00:00:00:01,02:00:00:00:00:02"), Init::Seed(names.into()));
    }

    #[test]
    fn none_is_no_range_and_empty_variables_are_none_at_all() {
        assert_eq!(check("--ipalloc-range none --ipalloc-init consensus=3", 0), Ok(None));
        let empty = check("--ipalloc-range= --ipalloc-default-subnet= --ipalloc-init=", 0);
        assert_eq!(empty, check("", 0));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_meant() {
        let refused = |words: &str| check(words, 0).unwrap_err();

        assert!(refused("--ipalloc-range 10.32.0.1/12").contains("10.32.0.0/12 is meant"));
        assert!(refused("--ipalloc-range fd00::/64").contains("not IPv4"));
        for range in ["224.0.0.0/8", "239.1.0.0/16", "127.0.0.0/24", "0.0.0.0/8"] {
            assert!(refused(&format!("--ipalloc-range {range}")).contains("no pod can have"));
        }
        assert!(refused("--ipalloc-default-subnet 10.64.0.0/24").contains("no part of the range"));
        assert!(refused("--ipalloc-default-subnet 10.32.0.0/31").contains("no part of the range"));
        assert!(refused("--ipalloc-init consensus=0").contains("from 1 to 65536"));
        assert!(refused("--ipalloc-init seed").contains("give `consensus`"));
        assert!(refused("--ipalloc-init seed=host1").contains("seeds are named"));
    }
}
