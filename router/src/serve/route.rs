//! What is asked for, by door, method and path. Pure.

use api::paths;
use hyper::Method;

/// Which listener a request came by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// The unix socket.
    Unix,
    /// An address.
    Tcp,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// A page made of a look.
    Page(Page, Form),
    /// Where stations are.
    Fdb(Form),
    /// What is leased here.
    Leases,
    /// What is plugged in here.
    Pods,
    Journal,
    /// Something is to be changed.
    Order(Order),
    Health,
    Readiness,
}

/// What is to be changed; looking up what somebody has is asked in the same way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Connect,
    Forget,
    Allocate,
    Claim,
    Lookup,
    Free,
    Rmpeer,
    Leave,
    Expose,
    Hide,
    Plug,
    Unplug,
    Check,
    Gc,
}

/// What is told of a look.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Page {
    Status,
    Connections,
    Peers,
    Targets,
    Paths,
    Ipam,
    Report,
    /// For Prometheus.
    Metrics,
}

/// How it is told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Form {
    Json,
    Text,
}

/// Why nothing is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Astray {
    /// There is no such thing at this door.
    Nothing,
    /// There is, with this method.
    OtherMethod(Method),
}

/// What is asked for.
pub(super) fn route(door: Door, method: &Method, path: &str) -> Result<Route, Astray> {
    let route = everywhere(path).or_else(|| match door {
        Door::Unix => changing(path),
        Door::Tcp => texts(path),
    });
    let route = route.ok_or(Astray::Nothing)?;
    let needed = match route {
        Route::Order(_) => Method::POST,
        Route::Page(..)
        | Route::Fdb(_)
        | Route::Leases
        | Route::Pods
        | Route::Journal
        | Route::Health
        | Route::Readiness => Method::GET,
    };
    if *method == needed { Ok(route) } else { Err(Astray::OtherMethod(needed)) }
}

fn everywhere(path: &str) -> Option<Route> {
    let page = |page| Route::Page(page, Form::Json);
    Some(match path {
        paths::STATUS => page(Page::Status),
        paths::CONNECTIONS => page(Page::Connections),
        paths::PEERS => page(Page::Peers),
        paths::TARGETS => page(Page::Targets),
        paths::PATHS => page(Page::Paths),
        paths::IPAM => page(Page::Ipam),
        paths::FDB => Route::Fdb(Form::Json),
        paths::REPORT => page(Page::Report),
        paths::METRICS => Route::Page(Page::Metrics, Form::Text),
        paths::ADDRESSES => Route::Leases,
        paths::PODS => Route::Pods,
        paths::JOURNAL => Route::Journal,
        paths::HEALTHZ => Route::Health,
        paths::READYZ => Route::Readiness,
        _ => return None,
    })
}

fn changing(path: &str) -> Option<Route> {
    let order = match path {
        paths::CONNECT => Order::Connect,
        paths::FORGET => Order::Forget,
        paths::ALLOCATE => Order::Allocate,
        paths::CLAIM => Order::Claim,
        paths::LOOKUP => Order::Lookup,
        paths::FREE => Order::Free,
        paths::RMPEER => Order::Rmpeer,
        paths::LEAVE => Order::Leave,
        paths::EXPOSE => Order::Expose,
        paths::HIDE => Order::Hide,
        paths::PLUG => Order::Plug,
        paths::UNPLUG => Order::Unplug,
        paths::CHECK => Order::Check,
        paths::GC => Order::Gc,
        _ => return None,
    };
    Some(Route::Order(order))
}

/// What people read with nothing but curl, where Weave had it.
fn texts(path: &str) -> Option<Route> {
    let page = |page| Route::Page(page, Form::Text);
    Some(match path {
        "/status" => page(Page::Status),
        "/status/connections" => page(Page::Connections),
        "/status/peers" => page(Page::Peers),
        "/status/targets" => page(Page::Targets),
        "/status/paths" => page(Page::Paths),
        "/status/ipam" => page(Page::Ipam),
        "/fdb" => Route::Fdb(Form::Text),
        "/report" => Route::Page(Page::Report, Form::Json),
        _ => return None,
    })
}
