//! The mesh's password: who has it not sees nothing and stays outside.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::mesh::{PORT, Peer, all_see, at, endpoint, names, text};
use weft_tests::harness::{Capture, Lab, Node, Underlay, beside, pause};

use crate::name;

const RED: &[(&str, &str)] = &[("WEAVE_PASSWORD", "red as a brick")];
const BLUE: &[(&str, &str)] = &[("WEAVE_PASSWORD", "blue as the sea")];
const MEET: Duration = Duration::from_secs(10);
/// How long attempts are counted: some of the first may come at one pace.
const WATCHED: Duration = Duration::from_secs(12);

#[test]
fn a_wrong_password_is_named_at_both_ends_and_backed_off_from() {
    let _turn = beside().unwrap();
    Lab::with("wrong", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        let red = start(a, RED, 1, &[])?;
        let blue = start(b, BLUE, 2, &[&endpoint(a)])?;
        let refused = |event: &_| text(event, "event") == "refused";
        let first = blue.wait_for("refusal", MEET, refused)?;
        red.wait_for("refusal", MEET, refused)?;

        pause(WATCHED);

        let attempts = blue.said("refused")?;
        for peer in [&red, &blue] {
            let said = peer.said("refused")?;
            ensure!(said.iter().all(|it| text(it, "reason") == "the passwords differ"), "{said:?}");
            ensure!(peer.said("up")?.is_empty() && peer.said("link_up")?.is_empty());
        }
        let times: Vec<u64> = attempts.iter().map(|it| at(it) - at(&first)).collect();
        println!("attempts with a wrong password within {WATCHED:?}, in ms: {times:?}");
        let pauses: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        ensure!((2..=10).contains(&times.len()), "{} attempts", times.len());
        ensure!(pauses.last() > pauses.first(), "no back-off: {pauses:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn two_meshes_with_different_passwords_on_one_underlay_never_mix() {
    let _turn = beside().unwrap();
    Lab::with("two", |lab| {
        let nodes = lab.nodes::<6>(&Underlay::default())?;
        // Everybody is given one address of each mesh, itself perhaps among them.
        let known = [endpoint(&nodes[0]), endpoint(&nodes[1])];
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let (mut reds, mut blues) = (Vec::new(), Vec::new());
        for (number, node) in nodes.iter().enumerate() {
            let (mesh, password) =
                if number % 2 == 0 { (&mut reds, RED) } else { (&mut blues, BLUE) };
            mesh.push(start(node, password, number + 1, &known)?);
        }

        for mesh in [&reds, &blues] {
            all_see(mesh, "up", &names(mesh), MEET)?;
        }
        pause(Duration::from_secs(5));

        for (mesh, others) in [(&reds, &blues), (&blues, &reds)] {
            for peer in mesh {
                let view = peer.view()?;
                ensure!(view.len() == mesh.len() - 1, "{} sees {view:?}", peer.name);
                ensure!(!others.iter().any(|other| view.contains_key(&other.name)), "{view:?}");
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn who_listens_on_the_wire_reads_no_name_and_no_address() {
    let _turn = beside().unwrap();
    Lab::with("captured", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let filter = format!("tcp port {PORT}");
        let capture = Capture::start(&nodes[0], "eth0", &filter)?;

        let mut peers = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            peers.push(start(node, RED, number + 1, &[&endpoint(&nodes[0])])?);
        }
        all_see(&peers, "up", &names(&peers), MEET)?;
        pause(Duration::from_secs(2));
        for peer in &mut peers {
            peer.leave()?;
        }

        let octets: Vec<Vec<u8>> = capture.stop()?.iter().map(tcp_payload).collect();
        let total: usize = octets.iter().map(Vec::len).sum();
        println!("{total} octets captured");
        // Something went by: the search below is not one in nothing.
        ensure!(total > 1000, "{total} octets");
        for number in 1..=3_u8 {
            let marks: [Vec<u8>; 5] = [
                b"peculiar-nickname".to_vec(),
                vec![2, 0, 0, 0, 0, number],
                name(number.into()).into_bytes(),
                vec![10, 99, 0, number],
                format!("10.99.0.{number}").into_bytes(),
            ];
            for mark in marks {
                let found = octets.iter().filter(|it| it.windows(mark.len()).any(|at| at == mark));
                ensure!(found.count() == 0, "{mark:02x?} goes over the wire in clear");
            }
        }
        Ok(())
    })
    .unwrap();
}

fn start(node: &Node, password: &[(&str, &str)], number: usize, known: &[&str]) -> Result<Peer> {
    let name = name(number);
    let mut args = vec!["--name", &name, "--nickname", "peculiar-nickname"];
    args.extend(known);
    Peer::start_env(node, password, &args)
}

/// What a packet carries behind Ethernet, IPv4 and TCP.
fn tcp_payload(packet: &weft_tests::harness::Packet) -> Vec<u8> {
    let ip = packet.octets.get(14..).unwrap_or_default();
    let [version, ..] = ip else { return Vec::new() };
    let tcp = ip.get(usize::from(version & 0x0f) * 4..).unwrap_or_default();
    let offset = tcp.get(12).map_or(0, |octet| usize::from(octet >> 4) * 4);
    tcp.get(offset..).unwrap_or_default().to_vec()
}
