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
    Journal,
    Connect,
    Forget,
    Health,
    Readiness,
}

/// What is told of a look.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Page {
    Status,
    Connections,
    Peers,
    Targets,
    Paths,
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
        Route::Connect | Route::Forget => Method::POST,
        Route::Page(..) | Route::Fdb(_) | Route::Journal | Route::Health | Route::Readiness => {
            Method::GET
        }
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
        paths::FDB => Route::Fdb(Form::Json),
        paths::REPORT => page(Page::Report),
        paths::METRICS => Route::Page(Page::Metrics, Form::Text),
        paths::JOURNAL => Route::Journal,
        paths::HEALTHZ => Route::Health,
        paths::READYZ => Route::Readiness,
        _ => return None,
    })
}

fn changing(path: &str) -> Option<Route> {
    match path {
        paths::CONNECT => Some(Route::Connect),
        paths::FORGET => Some(Route::Forget),
        _ => None,
    }
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
        "/fdb" => Route::Fdb(Form::Text),
        "/report" => Route::Page(Page::Report, Form::Json),
        _ => return None,
    })
}
