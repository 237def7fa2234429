//! `lab-hold [NODES]`: a lab of two or three nodes joined by kernel VXLAN, a pod each, to look
//! around in until it is killed.
#![expect(clippy::print_stdout, reason = "a command that reports to its user")]

use std::time::Duration;

use anyhow::{Result, bail};
use weft_tests::harness::{Lab, Node, Pod, Underlay, pause};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let lab = Lab::new("lab-hold")?;
    let nodes: Vec<Node> = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["2"] => lab.nodes::<2>(&Underlay::default())?.to_vec(),
        ["3"] => lab.nodes::<3>(&Underlay::default())?.to_vec(),
        _ => bail!("usage: lab-hold [2|3]"),
    };
    let pods = connect(&nodes)?;
    // Something that runs in a pod: the end of this process is its end too.
    let [first, ..] = pods.as_slice() else { bail!("a lab without pods") };
    let mut beside = first.spawn(&["sh", "-c", "echo up; exec sleep infinity"])?;
    beside.wait_for_line("up", Duration::from_secs(10))?;
    for pod in &pods {
        println!("{} {}", pod.netns(), pod.addr());
    }
    println!("holding {} {}", lab.id(), beside.pid());
    loop {
        pause(Duration::from_secs(3600));
    }
}

fn connect(nodes: &[Node]) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (number, node) in (1..).zip(nodes) {
        let others = nodes.iter().filter(|other| other.name() != node.name());
        node.kernel_vxlan(&others.collect::<Vec<_>>(), 6784)?;
        let pod = node.pod("p", &format!("10.32.0.{number}/24"))?;
        node.plug(&pod)?;
        pods.push(pod);
    }
    Ok(pods)
}
