//! ADD: plugs a container in.

use std::net::IpAddr;
use std::os::fd::AsFd;

use api::{Check, Cidr, HostEnd, Plug, Plugged, PodAddress, PodAddresses, PodName, PodRoute};
use rscni_types::error::Error;
use rscni_types::ipnet::IpNet;
use rscni_types::types::{CNIResult, Cmd, Dns, Interface, IpConfig, Route};

use super::{Plugin, del, log};
use crate::args::Args;
use crate::call::Attachment;
use crate::config::{Config, Ipam};
use crate::delegate::Delegate;
use crate::netns::Netns;
use crate::{answer, failure};

/// Where in the result's interfaces the container's is: after the bridge and the host's end.
const OF_CONTAINER: u32 = 2;

pub(super) fn add(of: &Plugin<'_>) -> Result<String, Error> {
    let config = &of.request.config;
    if config.previous.is_some() {
        let why = "prevResult: weft-cni makes the interface, and so is the first of its chain";
        return Err(Error::InvalidNetworkConfig(why.to_owned()));
    }
    let attachment = of.attachment()?;
    let (netns, path) = of.netns(attachment)?;
    let sandbox = path.display().to_string();
    let plug = plug(attachment, &sandbox, (config, &of.request.args))?;
    let (plugged, given) = match of.delegate() {
        Some(delegate) => delegated(of, &delegate, (plug, &netns))?,
        None => {
            let plugged = of.client().plug(&plug, Some(netns.as_fd()));
            (plugged.map_err(|error| failure::of_daemon(&error))?, CNIResult::default())
        }
    };
    // What was to be unplugged while the daemon was down has been, or it would not have been plugged in.
    of.queue.remove(&attachment.container, &attachment.ifname);
    answer::result(config.version, result(&plugged, sandbox, (config.dns.as_ref(), given))?)
}

/// With addresses of another plugin, which has them back if they are not used.
fn delegated(
    of: &Plugin<'_>,
    delegate: &Delegate<'_>,
    (plug, netns): (Plug, &Netns),
) -> Result<(Plugged, CNIResult), Error> {
    // Nothing is to be undone where the daemon is down.
    of.client().reach().map_err(|error| failure::of_daemon(&error))?;
    // What it has not given is not taken back: with some, that would be what an ADD before this one was given.
    let given = match delegate.add() {
        Ok(given) => given,
        // Most give nothing to those they have given something before.
        Err(error) => {
            let before = ask_before(of, netns).ok_or(error)?;
            return Ok((before, CNIResult::default()));
        }
    };
    let plug = with_given(plug, &given).inspect_err(|_| take_back(delegate))?;
    match of.client().plug(&plug, Some(netns.as_fd())) {
        Ok(plugged) => Ok((plugged, given)),
        Err(error) => {
            undo(of, (delegate, netns), &error);
            Err(failure::of_daemon(&error))
        }
    }
}

/// Nobody is given an address that somebody may have: of a question without an answer it is not known what came of it.
fn undo(of: &Plugin<'_>, (delegate, netns): (&Delegate<'_>, &Netns), error: &api::Error) {
    let unplugged = match error {
        api::Error::Refused { code: 409, .. } if !is_absent(of, netns) => {
            log("its addresses stay: an ADD before this one may have been given them");
            return;
        }
        api::Error::Refused { .. } | api::Error::Unreached { .. } => Ok(()),
        api::Error::Unanswered(_) | api::Error::Sink(_) => {
            of.attachment().and_then(|attachment| del::unplug(of, attachment, del::Where::Here))
        }
    };
    match unplugged {
        Ok(()) => take_back(delegate),
        Err(why) => log(&format!("its addresses stay until DEL: {why}")),
    }
}

/// Whether no ADD before this one has plugged it in, elsewhere: a plugin may give the same addresses again, and would take those back.
fn is_absent(of: &Plugin<'_>, netns: &Netns) -> bool {
    matches!(check(of, netns), Some(Err(api::Error::Refused { code: 404, .. })))
}

/// What an ADD before this one has plugged in, if it is whole and in the same namespace.
fn ask_before(of: &Plugin<'_>, netns: &Netns) -> Option<Plugged> {
    check(of, netns)?.ok()
}

fn check(of: &Plugin<'_>, netns: &Netns) -> Option<Result<Plugged, api::Error>> {
    let attachment = of.attachment().ok()?;
    let (id, ifname) = (attachment.container.to_string(), attachment.ifname.to_string());
    let check = Check { id, ifname, netns: None };
    Some(of.client().check(&check, Some(netns.as_fd())))
}

/// The runtime is told why ADD failed, not what came of undoing it.
fn take_back(delegate: &Delegate<'_>) {
    if let Err(why) = delegate.tell(Cmd::Del) {
        log(&format!("cannot give addresses back: {why}"));
    }
}

fn plug(
    attachment: &Attachment,
    sandbox: &str,
    (config, args): (&Config, &Args),
) -> Result<Plug, Error> {
    let (subnet, gateway, routes) = match &config.ipam {
        Ipam::Own { subnet, gateway, routes } => (*subnet, *gateway, routes.as_deref()),
        Ipam::Other(_) => (None, None, None),
    };
    let claimed = config.addresses.iter();
    let claimed = claimed.map(|it| PodAddress { address: it.ip, prefix: it.prefix }).collect();
    let subnet = subnet.map(cidr).transpose()?;
    Ok(Plug {
        id: attachment.container.to_string(),
        ifname: attachment.ifname.to_string(),
        netns: Some(sandbox.to_owned()),
        network: Some(config.name.clone()),
        pod: pod(args),
        mac: config.mac.map(mac),
        mtu: config.mtu,
        hairpin: config.hairpin,
        lock: config.lock,
        addresses: PodAddresses { given: Vec::new(), claimed, subnet },
        gateway,
        routes: routes.map(pod_routes).transpose()?,
    })
}

/// The same with what the other plugin has given. What was asked for was asked of that one.
fn with_given(plug: Plug, given: &CNIResult) -> Result<Plug, Error> {
    let addresses = given.ips.iter().map(|ip| cidr(ip.address)).collect::<Result<_, _>>()?;
    // Each by the first gateway of its family, unless it says by whom.
    let gateway = |route: &PodRoute| {
        let ipv4 = route.to.addr().is_ipv4();
        given.ips.iter().filter_map(|ip| ip.gateway).find(|it| it.is_ipv4() == ipv4)
    };
    let routes = match &given.routes[..] {
        [] => None,
        routes => {
            let mut routes = pod_routes(routes)?;
            for route in &mut routes {
                route.via = route.via.or_else(|| gateway(route));
            }
            Some(routes)
        }
    };
    Ok(Plug {
        addresses: PodAddresses { given: addresses, ..PodAddresses::default() },
        gateway: given.ips.iter().find_map(|ip| ip.gateway),
        routes,
        ..plug
    })
}

fn pod(args: &Args) -> Option<PodName> {
    Some(PodName {
        namespace: args.get("K8S_POD_NAMESPACE")?.to_owned(),
        name: args.get("K8S_POD_NAME")?.to_owned(),
        uid: args.get("K8S_POD_UID").map(str::to_owned),
    })
}

fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn cidr(net: IpNet) -> Result<Cidr, Error> {
    let wrong = || Error::InvalidNetworkConfig(format!("{net} is no address with a prefix"));
    Cidr::new(net.addr(), net.prefix_len()).ok_or_else(wrong)
}

fn pod_routes(routes: &[Route]) -> Result<Vec<PodRoute>, Error> {
    routes.iter().map(pod_route).collect()
}

fn pod_route(route: &Route) -> Result<PodRoute, Error> {
    let wrong = |scope| Error::InvalidNetworkConfig(format!("{scope} is no scope of a route"));
    let scope = route.scope.map(|scope| u8::try_from(scope).map_err(|_| wrong(scope)));
    Ok(PodRoute {
        to: cidr(route.dst)?,
        via: route.gw,
        mtu: route.mtu,
        advmss: route.advmss,
        priority: route.priority,
        table: route.table,
        scope: scope.transpose()?,
    })
}

fn result(
    plugged: &Plugged,
    sandbox: String,
    (dns, given): (Option<&Dns>, CNIResult),
) -> Result<CNIResult, Error> {
    let container = Interface {
        mtu: Some(plugged.mtu),
        sandbox: Some(sandbox),
        ..link(&plugged.ifname, &plugged.mac)
    };
    let of_node = |end: &HostEnd| link(&end.name, &end.mac);
    let ips = plugged.addresses.iter().map(|address| {
        let given = given.ips.iter().find(|ip| ip.address.addr() == address.addr());
        let same = |gateway: &IpAddr| gateway.is_ipv4() == address.addr().is_ipv4();
        let gateway = given.and_then(|ip| ip.gateway).or_else(|| plugged.gateway.filter(same));
        Ok(IpConfig { interface: Some(OF_CONTAINER), address: net(address)?, gateway })
    });
    Ok(CNIResult {
        interfaces: vec![of_node(&plugged.bridge), of_node(&plugged.host), container],
        ips: ips.collect::<Result<_, Error>>()?,
        routes: plugged.routes.iter().map(route).collect::<Result<_, _>>()?,
        // What the configuration says comes before what the other plugin does, as with the reference.
        dns: dns.cloned().or(given.dns),
    })
}

fn link(name: &str, mac: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: mac.to_owned(),
        mtu: None,
        sandbox: None,
        socket_path: None,
        pci_id: None,
    }
}

fn route(route: &PodRoute) -> Result<Route, Error> {
    Ok(Route {
        dst: net(&route.to)?,
        gw: route.via,
        mtu: route.mtu,
        advmss: route.advmss,
        priority: route.priority,
        table: route.table,
        scope: route.scope.map(u32::from),
    })
}

fn net(cidr: &Cidr) -> Result<IpNet, Error> {
    let wrong = |_| Error::FailedToDecode(format!("{cidr} is no address with a prefix"));
    IpNet::new(cidr.addr(), cidr.prefix()).map_err(wrong)
}
