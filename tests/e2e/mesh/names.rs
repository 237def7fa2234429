//! Two peers of one name: clones of a disk, and operators' mistakes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::mesh::{Peer, all_see, endpoint, text};
use weft_tests::harness::{Lab, Underlay, beside, pause};

use crate::{meet, name};

/// How long a conflict may take: to be found, told, and settled.
const SETTLE: Duration = Duration::from_secs(15);

#[test]
fn of_two_clones_of_a_disk_both_run_one_is_renamed_and_both_say_so() {
    let _turn = beside().unwrap();
    Lab::with("clones", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let mut peers = meet(&nodes[..1], &[])?;
        let known = endpoint(&nodes[0]);
        let (dir, copy) = (lab.dir().join("disk"), lab.dir().join("clone"));
        let original = Peer::start(&nodes[1], &with_state(&dir, &known)?)?;
        all_see(&peers, "up", &[&original.name], SETTLE)?;
        copy_dir(&dir, &copy)?;
        // The whole disk is copied, and with it what tells machines apart.
        let machine = nodes[1].run(&["cat", "/etc/machine-id"])?;
        nodes[2].sh(&format!("echo {} >/etc/machine-id", machine.trim()))?;
        pause(Duration::from_secs(2));

        let clone = Peer::start(&nodes[2], &with_state(&copy, &known)?)?;

        ensure!(clone.name == original.name, "no conflict: the clone is {}", clone.name);
        let said = |peer: &Peer, kind: &'static str| {
            peer.wait_for(kind, SETTLE, |event| text(event, "event") == kind)
        };
        // The longer one runs, the better its claim.
        let renamed = said(&clone, "renamed")?;
        let contested = said(&original, "name_contested")?;
        ensure!(text(&renamed, "from") == original.name && text(&renamed, "uid") == original.uid);
        ensure!(text(&contested, "uid") == clone.uid, "{contested}");
        ensure!(original.said("renamed")?.is_empty());
        let new = text(&renamed, "to");
        all_see(&peers, "up", &[&original.name, &new], SETTLE)?;
        peers.push(original);
        all_see(&peers, "up", &[&new], SETTLE)?;
        let uid = &peers[1].uid;
        ensure!(peers[0].view()?[&peers[1].name].uid == *uid, "the original lost its name");

        // The new name is stored: the next start goes on under it.
        drop(clone);
        let again = Peer::start(&nodes[2], &with_state(&copy, &known)?)?;
        ensure!(again.name == new, "{} after {new}", again.name);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_clone_on_a_machine_of_its_own_has_a_name_of_its_own_from_the_start() {
    let _turn = beside().unwrap();
    Lab::with("copied", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let dir = lab.dir().join("disk");
        for (node, id) in nodes.iter().zip(["1", "2"]) {
            node.sh(&format!("echo 0123456789abcdef0123456789abcde{id} >/etc/machine-id"))?;
        }
        let mut first = Peer::start(&nodes[0], &with_state(&dir, "10.99.0.2")?)?;
        first.leave()?;

        let mut again = Peer::start(&nodes[0], &with_state(&dir, "10.99.0.2")?)?;
        let renewed = again.name.clone();
        again.leave()?;
        let second = Peer::start(&nodes[1], &with_state(&dir, "10.99.0.1")?)?;

        ensure!(renewed == first.name, "a restart is {renewed}, not {}", first.name);
        ensure!(second.name != first.name, "both are {}", first.name);
        let started = &second.said("started")?[0];
        ensure!(text(started, "copied_from") == first.name, "{started}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn of_two_peers_that_were_given_one_name_the_second_ends_and_the_first_is_undisturbed() {
    let _turn = beside().unwrap();
    Lab::with("refused", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let peers = meet(&nodes[..2], &[])?;
        pause(Duration::from_secs(2));

        let (taken, known) = (name(2), endpoint(&nodes[0]));
        let mut second =
            Peer::start(&nodes[2], &["--name", &taken, "--log-level", "error", &known])?;

        let status = second.proc.wait(SETTLE)?;
        let said = second.proc.stderr();
        ensure!(status.code() == Some(1), "{status}");
        ensure!(said.lines().count() == 1 && said.contains(&taken), "{said}");
        ensure!(said.contains(&peers[1].uid), "{said}");
        println!("{}", said.trim_end());
        all_see(&peers, "up", &crate::all_names(&peers), Duration::from_secs(1))?;
        for peer in &peers {
            for unwanted in ["silent", "gone", "renamed", "name_refused", "link_down"] {
                let said = peer.said(unwanted)?;
                ensure!(said.is_empty(), "{}: {said:?}", peer.name);
            }
        }
        ensure!(peers[0].view()?[&taken].uid == peers[1].uid, "the first lost its name");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_nickname_is_read_whole_and_does_nothing_to_a_terminal() {
    let _turn = beside().unwrap();
    Lab::with("nickname", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let nickname = "\u{1b}[2Jroot\u{7f}\nnode-1 is up\u{9b}\u{202e}";
        let mut peers = meet(&nodes[..1], &[])?;

        let known = endpoint(&nodes[0]);
        let odd = Peer::start(&nodes[1], &["--name", &name(2), "--nickname", nickname, &known])?;
        all_see(&peers, "up", &[&odd.name], SETTLE)?;
        let status = peers[0].status()?;

        ensure!(text(&status["up"][0], "nickname") == nickname, "{status}");
        let said = peers[0].proc.stdout();
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        ensure!(!said.contains(acts), "{said:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn two_processes_never_share_a_state_directory() {
    let _turn = beside().unwrap();
    Lab::with("shared", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let dir = lab.dir().join("disk");
        let mut first = Peer::start(&nodes[0], &with_state(&dir, "10.99.0.2")?)?;

        let mut second = Peer::spawn(&nodes[1], &[], &with_state(&dir, "10.99.0.1")?)?;

        let status = second.wait(Duration::from_secs(5))?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(second.stderr().contains("in use by another process"), "{}", second.stderr());
        ensure!(first.proc.running());
        Ok(())
    })
    .unwrap();
}

fn with_state<'a>(dir: &'a Path, known: &'a str) -> Result<[&'a str; 3]> {
    Ok(["--state-dir", dir.to_str().context("a path")?, known])
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
