use switch::{PROBE, PUNT_LEN, ProbePort, TOKEN_AT, Token};
use tokio::time::timeout;
use weft_tests::harness::Pod;

use super::*;

/// By then a frame has come that is to come.
const SOON: Duration = Duration::from_millis(300);
const TOKEN: Token = *b"\x01token\xfe\xff";
/// Tags that the kernel takes off: any, those that count as none, and two of them.
const TAGS: [&str; 4] = ["", "81000005", "81000000", "8100000081000000"];

#[test]
fn a_probe_reaches_the_bridge_of_the_one_node_it_is_for_and_its_sender_does_not_hear_it() {
    for underlay in [Underlay::default().switched(), Underlay::v6().switched()] {
        Lab::with("fast-probe", |lab| {
            let [one, two, three] = &lab.nodes::<3>(&underlay)?;
            one.inside(async || {
                let it = Wired::make(one).await?;
                let device = it.installed.fast.index().context("a device")?;
                let port = ProbePort::open(it.installed.bridge, TOKEN)?;
                let mut known = entries(&[mac_of(two)], Uplink::Fast, two.addr());
                known.remotes.insert(mac_of(three), three.addr());
                known.floods.insert(three.addr());
                it.fdb()?.set(known).await?;
                let probes = [60, 256, 1400].map(|len| probe(mac_of(two), mac_of(one), len));

                two.inside(async || {
                    let it = Wired::make(two).await?;
                    let ear = ProbePort::open(it.installed.bridge, TOKEN)?;
                    three.inside(async || {
                        let it = Wired::make(three).await?;
                        let deaf = ProbePort::open(it.installed.bridge, TOKEN)?;
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
        let port = ProbePort::open(it.installed.bridge, TOKEN)?;
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

#[test]
fn what_a_pod_makes_up_is_heard_nowhere_without_the_token() {
    Lab::with("fast-forged", |lab| {
        let [one, two] = &lab.nodes::<2>(&Underlay::default())?;
        one.inside(async || {
            let it = Wired::make(one).await?;
            let near = ProbePort::open(it.installed.bridge, TOKEN)?;
            it.fdb()?.set(entries(&[mac_of(two)], Uplink::Fast, two.addr())).await?;
            let pod = one.pod("p", "10.32.0.1/24")?;
            one.plug(&pod)?;
            hears_the_token_alone(&pod, mac_of(one), &near).await?;
            two.inside(async || {
                let it = Wired::make(two).await?;
                let far = ProbePort::open(it.installed.bridge, TOKEN)?;
                hears_the_token_alone(&pod, mac_of(two), &far).await
            })
        })
    })
    .unwrap();
}

const FORGED: usize = 10;

async fn hears_the_token_alone(pod: &Pod, to: Mac, ear: &ProbePort) -> Result<()> {
    forge(pod, to, "", TOKEN)?;
    let all = timeout(WAIT, heard(ear, FORGED)).await??;
    ensure!(all.len() == FORGED, "with the token it is heard");
    for (tags, at) in TAGS.iter().zip([0, 3, 4, 7]) {
        let mut token = TOKEN;
        token.iter_mut().skip(at).take(1).for_each(|octet| *octet ^= 1);
        forge(pod, to, tags, token)?;
        ensure!(timeout(SOON, heard(ear, 1)).await.is_err(), "tags {tags:?}");
    }
    Ok(())
}

/// Sends frames that look like probes.
fn forge(pod: &Pod, to: Mac, tags: &str, token: Token) -> Result<()> {
    let hex = |octets: &[u8]| octets.iter().map(|it| format!("{it:02x}")).collect::<String>();
    let (to, token) = (hex(&to.0), hex(&token));
    let frame = format!("{to}020000000008{tags}88b57765667403{token}+41");
    pod.peer(WAIT, &format!("raw-send eth0 {FORGED} {frame}")).map(drop)
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
    frame.iter_mut().skip(TOKEN_AT).zip(TOKEN).for_each(|(to, octet)| *to = octet);
    frame
}
