//! Whether an interface is as it was plugged in.

use router::pods::{Key, Netns, NetnsError, Stage, lacks};
use router::serve::{Because, Refusal};

use super::{CHECK, Inner, failed, setup};
use crate::addresses::Office;
use crate::desk::{refusal, stopped};
use api::Plugged;

impl Inner {
    /// Names all that is missing.
    pub(super) async fn check(
        &self,
        key: &Key,
        netns: Result<Netns, NetnsError>,
    ) -> Result<Plugged, Refusal> {
        let shelf = self.shelf(CHECK)?;
        let pod = shelf.get(key).filter(|pod| pod.stage == Stage::There);
        let Some(pod) = pod else {
            let why = format!("{} of {} was never plugged in", key.ifname, key.id);
            return Err(refusal(Because::Absent, CHECK, why, "see weft ps"));
        };
        let bridge = self.ports.bridge(&self.bridge).await.map_err(|it| failed(CHECK, it))?;
        let mut missing = Vec::new();
        let host = self.ports.find(&pod.host).await.map_err(|it| failed(CHECK, it))?;
        match &host {
            None => missing.push(format!("its link {} of the host", pod.host)),
            Some(host) if !host.fits(&bridge, &pod) => {
                missing
                    .push(format!("{} is not the port of {} that it was", pod.host, self.bridge));
            }
            Some(host) => {
                let stations = self.ports.stations().await.map_err(|it| failed(CHECK, it))?;
                if !stations.contains(&(host.index, pod.mac)) {
                    missing.push(format!("{} in the bridge's FDB", pod.mac));
                }
            }
        }
        match netns {
            Err(error) => missing.push(error.to_string()),
            Ok(netns) if netns.inode() != pod.inode => {
                missing.push("it is in another network namespace".to_owned());
            }
            Ok(netns) => {
                missing.extend(lacks(&netns, setup(&pod)).await.map_err(|it| failed(CHECK, it))?)
            }
        }
        if pod.leased {
            let (_, asks) = self.office.counter(CHECK)?;
            let leases = Office::leases(asks, Some(key.lease())).await;
            let leases = leases.ok_or_else(|| stopped(CHECK))?;
            let is_leased = |it: &&api::Cidr| leases.iter().all(|(addr, _)| *addr != it.addr());
            missing.extend(
                pod.addresses.iter().filter(is_leased).map(|it| format!("the lease of {it}")),
            );
        }
        if missing.is_empty() {
            return Ok(self.plugged(&pod, host.and_then(|it| it.mac), Some(&bridge)));
        }
        let why = format!("missing: {}", missing.join(", "));
        Err(refusal(Because::Forbidden, CHECK, why, "plug it in anew"))
    }
}
