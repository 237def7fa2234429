//! Peers that leave, stop, come back, or are cut off.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use weft_tests::harness::mesh::{Peer, all_see, endpoint, text};
use weft_tests::harness::{Lab, Signal, Stopwatch, Underlay, beside, cut, pause, serial};

use crate::{meet, name};

/// What observing adds to a bound: files are looked at every 50 ms, by a machine with other work.
const MARGIN: Duration = Duration::from_millis(500);

#[test]
fn a_peer_that_is_told_to_end_is_gone_at_all_others_within_a_second() {
    let _turn = serial().unwrap();
    Lab::with("leave", |lab| {
        let nodes = lab.nodes::<5>(&Underlay::default())?;
        let mut peers = meet(&nodes, &[])?;
        let mut leaver = peers.pop().context("five peers")?;
        let watch = Stopwatch::start();

        leaver.proc.signal(Signal::SIGTERM)?;

        all_see(&peers, "gone", &[&leaver.name], Duration::from_secs(1) + MARGIN)?;
        println!("gone everywhere after {:?}", watch.elapsed());
        let status = leaver.proc.wait(Duration::from_secs(2))?;
        ensure!(status.success(), "{status}");
        for peer in &peers {
            let gone = peer.said("gone")?;
            ensure!(gone.len() == 1 && text(&gone[0], "reason") == "left", "{gone:?}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_peer_that_stood_still_for_twenty_seconds_is_silent_and_then_back_under_its_name() {
    let _turn = beside().unwrap();
    Lab::with("stopped", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let mut peers = meet(&nodes, &[])?;
        let mut stopped = peers.pop().context("three peers")?;

        stopped.proc.signal(Signal::SIGSTOP)?;
        let watch = Stopwatch::start();
        all_see(&peers, "silent", &[&stopped.name], Duration::from_secs(5))?;
        println!("silent after {:?}", watch.elapsed());
        pause(Duration::from_secs(20).saturating_sub(watch.elapsed()));
        stopped.proc.signal(Signal::SIGCONT)?;
        let watch = Stopwatch::start();
        all_see(&peers, "up", &[&stopped.name], Duration::from_secs(10))?;
        println!("up again after {:?}", watch.elapsed());

        let (name, uid) = (stopped.name.clone(), stopped.uid.clone());
        peers.push(stopped);
        all_see(&peers, "up", &crate::all_names(&peers), Duration::from_secs(10))?;
        ensure!(peers[0].view()?[&name].uid == uid, "it has another uid");
        for peer in &peers {
            for unwanted in ["renamed", "name_contested", "name_refused", "gone"] {
                ensure!(peer.said(unwanted)?.is_empty(), "{}: {unwanted}", peer.name);
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_peer_whose_disk_was_wiped_is_back_within_three_seconds_under_its_name() {
    let _turn = serial().unwrap();
    Lab::with("wiped", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let mut peers = meet(&nodes[..2], &[])?;
        let (dir, first, name) = (lab.dir().join("state"), endpoint(&nodes[0]), name(3));
        let args = ["--name", &name, "--state-dir", dir.to_str().context("a path")?, &first];
        // Twice, so that the incarnation that the others remember is above a fresh one.
        Peer::start(&nodes[2], &args)?.leave()?;
        let mut third = Peer::start(&nodes[2], &args)?;
        all_see(&peers, "up", &[&name], Duration::from_secs(5))?;

        third.proc.kill()?;
        fs::remove_dir_all(&dir)?;
        let watch = Stopwatch::start();
        let again = Peer::start(&nodes[2], &args)?;
        for peer in &peers {
            let up = |event: &_| text(event, "event") == "up" && text(event, "uid") == again.uid;
            peer.wait_for("new uid", Duration::from_secs(3).saturating_sub(watch.elapsed()), up)?;
        }
        println!("back under a new uid after {:?}", watch.elapsed());

        peers.push(again);
        all_see(&peers, "up", &crate::all_names(&peers), Duration::from_secs(5))?;
        ensure!(peers.iter().all(|peer| peer.said("renamed").is_ok_and(|it| it.is_empty())));
        Ok(())
    })
    .unwrap();
}

#[test]
fn peers_cut_from_each_other_in_one_direction_stay_up_through_a_third() {
    let _turn = beside().unwrap();
    Lab::with("one-way", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let peers = meet(&nodes, &[])?;
        let (b, c) = (&peers[1], &peers[2]);
        for (one, two) in [(b, c), (c, b)] {
            let link =
                |event: &_| text(event, "event") == "link_up" && text(event, "name") == two.name;
            one.wait_for("link", Duration::from_secs(10), link)?;
        }

        cut(&nodes[1], &nodes[2])?;
        for (one, two) in [(b, c), (c, b)] {
            let down =
                |event: &_| text(event, "event") == "link_down" && text(event, "name") == two.name;
            one.wait_for("end of the link", Duration::from_secs(6), down)?;
        }
        // Long enough for dials that fail and for everything that follows a lost link.
        pause(Duration::from_secs(5));

        all_see(&peers, "up", &crate::all_names(&peers), Duration::from_millis(1))?;
        for peer in &peers {
            let silent = peer.said("silent")?;
            ensure!(silent.is_empty(), "{}: {silent:?}", peer.name);
        }
        Ok(())
    })
    .unwrap();
}
