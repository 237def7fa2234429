//! A pod that moves keeps its MAC and its conversations.

use std::time::Duration;

use weft_tests::harness::{Capture, Direction, Lab, Underlay, pause, wait_until};

use crate::{Cluster, carries, frame, hex};

/// A switch has noticed within this time that a pod has left its node.
const FOLLOWED: Duration = Duration::from_secs(1);

#[test]
fn traffic_follows_a_moved_pod_within_one_frame_of_its_first() {
    Lab::with("move", |lab| {
        let Cluster { nodes, pods, mut switches } =
            Cluster::<3>::new(lab, &Underlay::default(), &[])?;
        let [stays, watcher, mover] = [&pods[0], &pods[1], &pods[2]];
        assert!(stays.ping(mover.addr(), 2)?.perfect());
        assert!(watcher.ping(mover.addr(), 2)?.perfect());

        let moved = mover.move_to(&nodes[0])?;
        nodes[0].plug(&moved)?;
        pause(Duration::from_millis(200));
        // One frame of its own, to one station: nobody is told by broadcast.
        let hello = frame(watcher.mac(), moved.mac(), b"moved");
        let capture = Capture::directed(&moved, "eth0", Direction::In, "")?;
        moved.peer(Duration::from_secs(5), &format!("raw-send eth0 1 {}", hex(&hello)))?;
        let heard =
            |it: &(String, String)| *it == (moved.mac().into(), nodes[0].addr().to_string());
        let followed = switches[1].stations()?.iter().any(heard);
        let answer = frame(moved.mac(), watcher.mac(), b"the first frame after");
        watcher.peer(Duration::from_secs(5), &format!("raw-send eth0 1 {}", hex(&answer)))?;

        let found = |it: &_| carries(it, b"the first frame after");
        capture.wait_for("frame after the move", Duration::from_secs(2), found)?;
        assert!(followed, "{:?}", switches[1].stations()?);
        assert!(watcher.ping(moved.addr(), 5)?.perfect());
        assert!(stays.ping(moved.addr(), 5)?.perfect());
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_node_a_pod_has_left_sends_after_it() {
    Lab::with("left", |lab| {
        let Cluster { nodes, pods, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        let stays = nodes[1].pod("stay", "10.32.0.50/24")?;
        nodes[1].plug(&stays)?;
        assert!(stays.ping(pods[1].addr(), 2)?.perfect());
        assert!(pods[0].ping(pods[1].addr(), 2)?.perfect());

        let moved = pods[1].move_to(&nodes[0])?;
        nodes[0].plug(&moved)?;

        // Its old neighbour still has its MAC, and asks nobody: the switch that it has left learns from the bridge that it
        // has, and until then drops what is for it.
        wait_until(FOLLOWED, "the pod is found", || {
            stays.ping(moved.addr(), 1).is_ok_and(|ping| ping.perfect())
        })?;
        assert!(stays.ping(moved.addr(), 5)?.perfect());
        assert!(moved.ping(stays.addr(), 5)?.perfect());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pod_that_moves_back_and_forth_is_found_each_time() {
    Lab::with("forth", |lab| {
        let Cluster { nodes, pods, .. } = &Cluster::<2>::new(lab, &Underlay::default(), &[])?;
        let mut mover = nodes[0].pod("m", "10.32.0.77/24")?;
        nodes[0].plug(&mover)?;
        assert!(mover.ping(pods[1].addr(), 1)?.perfect());

        for home in [1, 0, 1, 0] {
            mover = mover.move_to(&nodes[home])?;
            nodes[home].plug(&mover)?;
            assert!(mover.ping(pods[1].addr(), 2)?.perfect(), "on node {home}");
            assert!(pods[0].ping(mover.addr(), 2)?.perfect(), "on node {home}");
        }
        Ok(())
    })
    .unwrap();
}
