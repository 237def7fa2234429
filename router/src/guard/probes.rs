//! The table of the bridge family: pods do not get to send probes.
//!
//! EtherType 0x88B5 is for probes between nodes, which arrive by the kernel's vxlan device. A frame of it
//! that enters by any other port of the bridge is dropped, with up to two VLAN tags, which the kernel takes
//! off before it looks for who listens. Kernels differ in what they offer here: where a rule cannot name
//! the bridge, it is for all of the host's; where there is no such family, pods can send probes.

use super::nft::{Nft, NftError};
use super::ruleset::Config;
use super::side::Side;

/// Family and name of the table.
pub(super) const TABLE: [&str; 2] = ["bridge", "weft"];
/// Its drop.
pub(super) const DROP: &str = "pod_probes";

/// On which bridges frames are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scope {
    Ours,
    All,
}

/// Puts the rules in place.
///
/// # Errors
/// [`NftError::Refused`]: the kernel cannot do it. Otherwise nft could not be asked.
pub(super) async fn install(nft: &Nft, config: &Config) -> Result<Side, NftError> {
    match Side::install(nft, TABLE, compile(config, Scope::Ours)).await {
        Err(NftError::Refused(_)) => Side::install(nft, TABLE, compile(config, Scope::All)).await,
        outcome => outcome,
    }
}

fn compile(Config { bridge, device, .. }: &Config, scope: Scope) -> String {
    let table = TABLE.join(" ");
    let scope = match scope {
        Scope::Ours => format!("meta ibrname \"{bridge}\" "),
        Scope::All => String::new(),
    };
    let verdict = format!("{scope}iifname != \"{device}\" counter name {DROP} drop");
    // The outer tag is no longer in the frame; `ll` offsets are those of a frame that has it: 12 octets of
    // addresses, two tags of four octets, and the type.
    format!(
        "add table {table}
add counter {table} {DROP}
add chain {table} prerouting {{ type filter hook prerouting priority -300; policy accept; }}
flush chain {table} prerouting
add rule {table} prerouting meta protocol ip accept
add rule {table} prerouting meta protocol ip6 accept
add rule {table} prerouting meta protocol 0x88b5 {verdict}
add rule {table} prerouting meta protocol {{ 0x8100, 0x88a8 }} @ll,160,16 0x88b5 {verdict}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_let_in_by_the_vxlan_device_alone() {
        let config = Config::new("weave", 6783, 6784).unwrap();
        let other = config.clone().with_device("vx0").unwrap();

        assert_eq!(compile(&config, Scope::Ours), include_str!("golden-bridge.nft"));
        let all = compile(&other, Scope::All);
        assert!(all.contains("0x88b5 iifname != \"vx0\" counter name pod_probes drop\n"), "{all}");
    }

    // `sh -f -` takes its commands from stdin, as nft does, and knows none of these.
    #[tokio::test]
    async fn a_kernel_without_any_of_it_refuses() {
        let config = Config::new("weave", 6783, 6784).unwrap();

        let outcome = install(&Nft::of("sh"), &config).await;

        assert!(matches!(outcome, Err(NftError::Refused(_))), "{outcome:?}");
    }
}
