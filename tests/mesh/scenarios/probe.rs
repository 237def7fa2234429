use weft_tests::mesh::growth::mass_start;
use crate::{SECOND, report};
#[test]
fn probe() {
    let n: usize = std::env::var("N").ok().map_or(50, |n| n.parse().unwrap());
    let (mut world, took) = mass_start(n, 1).unwrap();
    report(format_args!("took {took:?}"));
    let hosts: Vec<_> = world.hosts().collect();
    let mut last: Vec<_> = hosts.iter().map(|h| (world.mesh(*h).unwrap().stats(), world.sent(*h))).collect();
    for _ in 0..24 {
        world.pass(5 * SECOND);
        let now: Vec<_> = hosts.iter().map(|h| (world.mesh(*h).unwrap().stats(), world.sent(*h))).collect();
        let merged: u64 = now.iter().zip(&last).map(|(a, b)| a.0.merged - b.0.merged).sum();
        let stale: u64 = now.iter().zip(&last).map(|(a, b)| a.0.stale - b.0.stale).sum();
        let octets: u64 = now.iter().zip(&last).map(|(a, b)| a.1.octets - b.1.octets).sum();
        report(format_args!("{:?} agree {:?} merged {merged} stale {stale} octets {octets} degrees {:?}", world.now(), world.agree(), world.degrees()));
        let mut why = std::collections::BTreeMap::<String, u64>::new();
        for h in &hosts { for (at, e) in world.heard(*h) { if *at + 5 * SECOND > world.now() {
            let key = match e { peer_mesh::Event::Refused { outbound, reason, .. } => format!("refused {outbound} {reason:?}"), peer_mesh::Event::LinkDown { reason, .. } => format!("down {reason:?}"), peer_mesh::Event::LinkUp { .. } => "up".into(), e => format!("{e:?}") };
            *why.entry(key).or_default() += 1; } } }
        report(format_args!("   {why:?}"));
        last = now;
    }
}
