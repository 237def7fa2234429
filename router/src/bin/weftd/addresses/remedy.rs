//! What to do about a request that was refused.

use peer_mesh::PeerName;
use router::ipam::Refusal;
use router::serve::Because;

/// Of which kind a refusal is, and what to do about it.
pub(crate) fn remedy(refusal: &Refusal) -> (Because, String) {
    let text = match refusal {
        Refusal::Full { .. } => {
            "free some (weft status ipam), or ask in a larger subnet of the range".to_owned()
        }
        Refusal::Unreachable { owners, .. } => {
            let names = names(owners.iter().map(|(name, _)| *name));
            format!("see whether they are reached and manage addresses (weft status ipam, here and there); of those that are no more: {names}")
        }
        Refusal::Unanswered { .. }
        | Refusal::NotPulled(_)
        | Refusal::OwnerUnreachable { .. } => wait_for(refusal),
        Refusal::Recovering { waiting_for, needed, known, .. }
            if waiting_for.is_empty() && known < needed =>
        {
            "start more of the nodes of the beginning, or say that there are no more of them: weft rmpeer --force with the name of one that is gone".to_owned()
        }
        Refusal::Recovering { .. } => wait_for(refusal),
        Refusal::NoConsensus { others, .. } => match others.first() {
            Some((name, count)) => format!(
                "give all nodes the same --ipalloc-init consensus=N: {name} counts {count}"
            ),
            None => "start more of the nodes, or give all the right --ipalloc-init consensus=N".to_owned(),
        },
        Refusal::NoRing => "start those that divide it: more than half of the nodes, or one of the --ipalloc-init seed=".to_owned(),
        Refusal::RolledBack => {
            "run weft rmpeer --force with this node's name on another node: it begins anew, and keeps what it has leased where nobody else has it".to_owned()
        }
        Refusal::Reclaiming(_) => "try again in a few seconds".to_owned(),
        Refusal::TakenHere { .. } | Refusal::Taken { .. } => {
            "take another, or free it first where it is".to_owned()
        }
        Refusal::InUse(addr) => format!("take another, or take {addr} from whoever has it (ip neighbour, weft fdb)"),
        Refusal::OutOfRange { .. } | Refusal::NoSubnet(..) => "give one of the range (weft status ipam)".to_owned(),
        Refusal::Unknown(_) => "look at what is leased here (GET /v1/addresses)".to_owned(),
        Refusal::UnknownPeer(_) => "name a peer of weft status ipam".to_owned(),
        Refusal::Alive(_) => "stop it first, or say --force: then it loses its addresses".to_owned(),
        Refusal::Oneself(_) => "run weft reset to hand its addresses over, or this on another node".to_owned(),
        Refusal::Unsaved(_) => "it is tried again every second; see what the log says of it".to_owned(),
        Refusal::Left => "stop weftd; started again, it takes part anew".to_owned(),
        Refusal::NotTaken(heir) => format!("leave weftd running, and look at {heir}: all is handed over when it takes them, and this node owns 0 IPs (weft status ipam)"),
        Refusal::NotIntroduced(_) => "try again; see what weft status ipam says there".to_owned(),
        Refusal::NoHeir => {
            "try again when another node is up; where there is none, weft reset --force".to_owned()
        }
    };
    (because(refusal), text)
}

fn because(refusal: &Refusal) -> Because {
    match refusal {
        Refusal::Full { .. }
        | Refusal::Unreachable { .. }
        | Refusal::TakenHere { .. }
        | Refusal::Taken { .. }
        | Refusal::OwnerUnreachable { .. }
        | Refusal::InUse(_)
        | Refusal::Alive(_)
        | Refusal::Oneself(_)
        | Refusal::NotTaken(_)
        | Refusal::NoHeir => Because::Forbidden,
        Refusal::OutOfRange { .. } | Refusal::NoSubnet(..) => Because::Senseless,
        Refusal::Unknown(_) | Refusal::UnknownPeer(_) => Because::Absent,
        Refusal::Unsaved(_) => Because::Failed,
        Refusal::Unanswered { .. }
        | Refusal::Recovering { .. }
        | Refusal::NoConsensus { .. }
        | Refusal::NoRing
        | Refusal::NotPulled(_)
        | Refusal::NotIntroduced(_)
        | Refusal::RolledBack
        | Refusal::Reclaiming(_)
        | Refusal::Left => Because::NotReady,
    }
}

fn wait_for(refusal: &Refusal) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others wait for nobody")]
    let removed = match refusal {
        Refusal::Unanswered { owners, .. } => names(owners.iter().map(|(name, _)| *name)),
        Refusal::NotPulled(of) | Refusal::Recovering { waiting_for: of, .. } => {
            names(of.iter().copied())
        }
        Refusal::OwnerUnreachable { owner, .. } => names([*owner].into_iter()),
        _ => String::new(),
    };
    if removed.is_empty() {
        return "try again".to_owned();
    }
    format!("try again; of those that are no more: {removed}")
}

/// How to remove them: the first few.
fn names(of: impl Iterator<Item = PeerName>) -> String {
    let all: Vec<_> = of.take(5).map(|name| format!("weft rmpeer {name}")).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: PeerName = PeerName::local(7);

    #[test]
    fn who_waits_for_the_dead_is_told_how_to_remove_them() {
        let subnet = "10.32.0.0/12".parse().unwrap();
        let owners = vec![(DEAD, 4)];

        let (because, unreachable) = remedy(&Refusal::Unreachable { subnet, owners });
        let (_, unpulled) = remedy(&Refusal::NotPulled(vec![DEAD]));

        assert_eq!(because, Because::Forbidden);
        for text in [unreachable, unpulled] {
            assert!(text.contains(&format!("weft rmpeer {DEAD}")), "{text}");
        }
    }

    #[test]
    fn who_counts_otherwise_is_named() {
        let refusal = Refusal::NoConsensus { needed: 2, known: 1, others: vec![(DEAD, 5)] };

        let (because, text) = remedy(&refusal);

        assert_eq!(because, Because::NotReady);
        assert!(text.contains(&DEAD.to_string()) && text.contains("counts 5"), "{text}");
    }
}
