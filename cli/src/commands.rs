//! What each command does.

use std::path::PathBuf;

use anyhow::Result;
use api::{Client, Connect, Expose, Forget, Hide, Problem, RemovePeer, Report, Resource, Status};
use serde_json::{Value, json};

use crate::args::{self, Arguments, Command, Format, Part};
use crate::{fdb, field, journal, json, output, pods, reset, setup_cni};

/// Does what the command line says.
pub(crate) fn run(args: &Arguments) -> Result<()> {
    let client = Client::new(socket(args), args.timeout);
    match &args.command {
        Command::Status { output, what } => status(&client, *what, output.format),
        Command::Fdb { output, wanted } => fdb::show(&client, wanted.as_deref(), output.format),
        Command::Connect { replace, peers } => {
            let request = Connect { peers: peers.names.clone(), replace: *replace };
            client.connect(&request).map_err(|error| error.problem())?;
            Ok(())
        }
        Command::Forget { peers } => {
            let request = Forget { peers: peers.names.clone() };
            client.forget(&request).map_err(|error| error.problem())?;
            Ok(())
        }
        Command::Rmpeer { peer, force } => {
            let request = RemovePeer { name: peer.clone(), force: *force };
            let removal = client.remove_peer(&request).map_err(|error| error.problem())?;
            output::print(&api::text::removal(&removal))
        }
        Command::Expose { address } => {
            let request = Expose { address: *address };
            let exposed = client.expose(&request).map_err(|error| error.problem())?;
            output::print(&api::text::exposed(&exposed))
        }
        Command::Hide { address } => {
            client.hide(&Hide { address: *address }).map_err(|error| error.problem())?;
            Ok(())
        }
        Command::Reset(of) => reset::run(of, &socket(args), &client),
        Command::Attach(of) => pods::attach(&client, of),
        Command::Detach(of) => pods::detach(&client, of),
        Command::Ps { output } => show::<api::Pods>(&client, output.format),
        Command::SetupCni(of) => setup_cni::run(of, &socket(args)),
        Command::Report(of) => report(&client, of),
        Command::Version { output } => version(&client, output.format),
    }
}

fn socket(args: &Arguments) -> PathBuf {
    let of_environment = || std::env::var_os("WEFT_SOCKET").filter(|path| !path.is_empty());
    let named = args.socket.clone().or_else(|| of_environment().map(PathBuf::from));
    named.unwrap_or_else(|| api::DEFAULT_SOCKET.into())
}

fn status(client: &Client, what: Option<Part>, format: Format) -> Result<()> {
    match what {
        None => show::<Status>(client, format),
        Some(Part::Connections) => show::<api::Connections>(client, format),
        Some(Part::Peers) => show::<api::Peers>(client, format),
        Some(Part::Targets) => show::<api::Targets>(client, format),
        Some(Part::Paths) => show::<api::Paths>(client, format),
        Some(Part::Ipam) => show::<api::Ipam>(client, format),
    }
}

fn show<T: Resource>(client: &Client, format: Format) -> Result<()> {
    let reply = client.read::<T>().map_err(|error| error.problem())?;
    match (format, reply.value.text()) {
        (Format::Text, Some(text)) => output::print(&text),
        (Format::Text, None) | (Format::Json, _) => output::print(&json::pretty(&reply.json)),
    }
}

fn report(client: &Client, of: &args::Report) -> Result<()> {
    if let Some(file) = &of.journal {
        return journal::write(client, file);
    }
    let Some(path) = &of.field else { return show::<Report>(client, Format::Json) };
    let reply = client.read::<Report>().map_err(|error| error.problem())?;
    // The value and not the type: a field that this release does not know can be asked for too.
    let all: Value = serde_json::from_str(&reply.json).map_err(|why| unreadable(&why))?;
    let found = field::lookup(&all, path)?;
    if of.format == Some(Format::Json) {
        return output::print(&json::pretty(&field::json(&found, path)));
    }
    output::print(&field::text(&found))
}

fn unreadable(why: &serde_json::Error) -> Problem {
    Problem {
        what: "cannot look into the report".into(),
        why: why.to_string(),
        what_to_do: format!(
            "use the weft of weftd's release (this one is {})",
            env!("CARGO_PKG_VERSION")
        ),
    }
}

fn version(client: &Client, format: Format) -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let daemon = client.read::<Status>();
    if format == Format::Json {
        let daemon = daemon.ok().map(|reply| reply.value.version);
        let both = json!({ "weft": own, "weftd": daemon });
        return output::print(&json::pretty(&both.to_string()));
    }
    let daemon = match daemon {
        Ok(reply) => api::printable(&reply.value.version).into_owned(),
        // This program's own release is known all the same.
        Err(error) => format!("unknown: {}", error.problem()),
    };
    output::print(&format!("weft {own}\nweftd {daemon}\n"))
}
