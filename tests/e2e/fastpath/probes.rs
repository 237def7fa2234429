use switch::{PROBE, PUNT_LEN, ProbePort};
use tokio::time::timeout;

use super::*;

/// By then a frame has come that is to come.
const SOON: Duration = Duration::from_millis(300);

#[test]
fn a_probe_reaches_the_bridge_of_the_one_node_it_is_for_and_its_sender_does_not_hear_it() {
    for underlay in [Underlay::default().switched(), Underlay::v6().switched()] {
        Lab::with("fast-probe", |lab| {
            let [one, two, three] = &lab.nodes::<3>(&underlay)?;
            one.inside(async || {
                let it = Wired::make(one).await?;
                let device = it.installed.fast.index().context("a device")?;
                let port = ProbePort::open(it.installed.bridge)?;
                let mut known = entries(&[mac_of(two)], Uplink::Fast, two.addr());
                known.remotes.insert(mac_of(three), three.addr());
                known.floods.insert(three.addr());
                it.fdb()?.set(known).await?;
                let probes = [60, 256, 1400].map(|len| probe(mac_of(two), mac_of(one), len));

                two.inside(async || {
                    let it = Wired::make(two).await?;
                    let ear = ProbePort::open(it.installed.bridge)?;
                    three.inside(async || {
                        let it = Wired::make(three).await?;
                        let deaf = ProbePort::open(it.installed.bridge)?;
                        probes.iter().try_for_each(|it| port.send(device, it))?;
                        let other = probe(Mac::BROADCAST, mac_of(one), 60);
                        port.send(device, &other)?;
                        ensure!(
                            timeout(SOON, heard(&deaf, 1)).await.is_err(),
                            "three is not meant"
                        );
                        Ok(())
                    })?;
                    let heard = timeout(WAIT, heard(&ear, 3)).await??;
                    for (heard, sent) in heard.iter().zip(&probes) {
                        ensure!(heard.len == sent.len(), "{} of {}", heard.len, sent.len());
                        let kept = sent.len().min(PUNT_LEN);
                        ensure!(heard.octets == sent.get(..kept).context("shorter")?);
                    }
                    ensure!(heard.len() == 3, "{}", heard.len());
                    Ok(())
                })?;

                port.send(it.installed.bridge, &probe(mac_of(two), mac_of(one), 60))?;
                port.send(it.installed.bridge, &probe(mac_of(one), mac_of(one), 60))?;
                ensure!(timeout(SOON, heard(&port, 1)).await.is_err(), "one hears itself");
                Ok(())
            })
        })
        .unwrap();
    }
}

#[test]
fn a_probe_by_a_device_that_is_down_or_away_is_an_error() {
    alone("fast-probe-down", async |node| {
        let it = Wired::make(node).await?;
        let port = ProbePort::open(it.installed.bridge)?;
        let device = it.installed.fast.index().context("a device")?;
        let probe = probe(Mac::local(1), mac_of(node), 60);
        port.send(device, &probe)?;

        node.sh(&format!("ip link set {NAME} down"))?;
        ensure!(port.send(device, &probe).is_err());
        node.sh(&format!("ip link del {NAME}"))?;
        ensure!(port.send(device, &probe).is_err());
        Ok(())
    });
}

async fn heard(port: &ProbePort, least: usize) -> Result<Vec<switch::Heard>> {
    let mut heard = Vec::new();
    while heard.len() < least {
        heard.extend(port.heard().await?);
    }
    Ok(heard)
}

fn probe(to: Mac, from: Mac, len: usize) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &PROBE.to_be_bytes()].concat();
    frame.extend((0..len - 14).map(|n| u8::try_from(n % 251).unwrap_or_default()));
    frame
}
