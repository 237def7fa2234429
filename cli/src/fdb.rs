//! Stations: all of them, or those that somebody asks for.

use std::net::IpAddr;

use anyhow::Result;
use api::{Client, Fdb, Problem, Resource, Station};
use serde_json::Value;

use crate::args::Format;
use crate::{json, output};

/// Prints the stations, of which only those that are `wanted`, if anything is.
pub(crate) fn show(client: &Client, wanted: Option<&str>, format: Format) -> Result<()> {
    let reply = client.read::<Fdb>().map_err(|error| error.problem())?;
    let Some(wanted) = wanted else {
        let text = reply.value.text().filter(|_| format == Format::Text);
        return output::print(&text.unwrap_or_else(|| json::pretty(&reply.json)));
    };
    let fits: Vec<bool> = reply.value.stations.iter().map(|it| is(it, wanted)).collect();
    if format == Format::Json {
        return output::print(&json::pretty(&only(&reply.json, &fits)?));
    }
    let told = reply.value.stations.len();
    let fdb = kept(reply.value, &fits);
    if fdb.stations.is_empty() {
        return Err(nobody(wanted, told, fdb.total).into());
    }
    let total = fdb.stations.len() as u64;
    output::print(&api::text::fdb(&Fdb { total, ..fdb }))
}

/// Whether a station is meant: by its MAC address, an address of its own, its peer's name or nickname, or that it is here.
fn is(station: &Station, wanted: &str) -> bool {
    let addr: Option<IpAddr> = wanted.parse().ok();
    station.mac.eq_ignore_ascii_case(wanted)
        || station.peer.name.eq_ignore_ascii_case(wanted)
        || station.peer.nickname == wanted
        || station.here && wanted == "here"
        || addr.is_some_and(|addr| station.addresses.contains(&addr))
}

fn kept(fdb: Fdb, fits: &[bool]) -> Fdb {
    let stations = fdb.stations.into_iter().zip(fits);
    let stations = stations.filter_map(|(it, fits)| fits.then_some(it)).collect();
    Fdb { stations, ..fdb }
}

/// The daemon's own words, but for the stations that are not wanted.
fn only(json: &str, fits: &[bool]) -> Result<String> {
    let mut all: Value = serde_json::from_str(json)?;
    if let Some(stations) = all.get_mut("stations").and_then(Value::as_array_mut) {
        let mut fits = fits.iter();
        stations.retain(|_| fits.next() == Some(&true));
    }
    Ok(all.to_string())
}

fn nobody(wanted: &str, told: usize, total: u64) -> Problem {
    let told = told as u64;
    let all = if told < total {
        format!("the {told} of {total} that are told")
    } else {
        total.to_string()
    };
    Problem {
        what: format!("there is no station for {wanted:?}"),
        why: format!("none of {all} has this MAC or address, or is behind such a peer"),
        what_to_do: "weft fdb lists all".into(),
    }
}
