//! Sheets: what was made of the last look, ready to be sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::answers::{self, connections, ipam, metrics, paths, peers, report, status, targets};
use super::look::{FdbLook, Look};
use super::route::{Form, Page};

/// What answers one kind of question, once it is made.
type Sheet = Arc<OnceCell<Bytes>>;

/// The sheets of one look, each made when it is first asked for.
///
/// # Thread-safety
/// All connections share it; each holds the lock for the time of one look at a small map. Who asks for a sheet that
/// is being made waits for it without the lock.
#[derive(Debug)]
pub(super) struct Sheets<T, K> {
    last: Mutex<Option<Made<T, K>>>,
}

#[derive(Debug)]
struct Made<T, K> {
    of: Arc<T>,
    sheets: BTreeMap<K, Sheet>,
}

impl<T, K> Default for Sheets<T, K> {
    fn default() -> Self {
        Self { last: Mutex::new(None) }
    }
}

impl<T: Send + Sync + 'static, K: Copy + Ord + Send + 'static> Sheets<T, K> {
    /// A sheet of a look. A report on thousands of peers takes a while to make: not on the runtime's thread,
    /// which may be the one that keeps the mesh alive.
    pub(super) async fn page(
        &self,
        look: Arc<T>,
        kind: K,
        make: fn(&T, K) -> Result<Bytes, serde_json::Error>,
    ) -> Result<Bytes, String> {
        let sheet = self.sheet(&look, kind);
        let made = sheet.get_or_try_init(|| async {
            let made = spawn_blocking(move || make(&look, kind)).await;
            made.map_err(|why| why.to_string())?.map_err(|why| why.to_string())
        });
        made.await.cloned()
    }

    fn sheet(&self, look: &Arc<T>, kind: K) -> Sheet {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.as_ref().is_some_and(|made| Arc::ptr_eq(&made.of, look)) {
            *last = None;
        }
        let made = || Made { of: Arc::clone(look), sheets: BTreeMap::new() };
        let made = last.get_or_insert_with(made);
        Arc::clone(made.sheets.entry(kind).or_default())
    }
}

/// Where stations are.
pub(super) fn fdb(look: &FdbLook, form: Form) -> Result<Bytes, serde_json::Error> {
    let fdb = answers::fdb(look);
    match form {
        Form::Json => json(&fdb),
        Form::Text => Ok(api::text::fdb(&fdb).into()),
    }
}

/// A page of a look.
pub(super) fn page(look: &Look, kind: (Page, Form)) -> Result<Bytes, serde_json::Error> {
    match kind {
        (Page::Status, Form::Json) => json(&status(look)),
        (Page::Connections, Form::Json) => json(&connections(look)),
        (Page::Peers, Form::Json) => json(&peers(look)),
        (Page::Targets, Form::Json) => json(&targets(look)),
        (Page::Paths, Form::Json) => json(&paths(look)),
        (Page::Ipam, Form::Json) => json(&ipam(look)),
        (Page::Report, Form::Json | Form::Text) => json(&report(look)),
        (Page::Metrics, Form::Json | Form::Text) => Ok(metrics(look).into()),
        (Page::Status, Form::Text) => Ok(api::text::status(&status(look)).into()),
        (Page::Connections, Form::Text) => Ok(api::text::connections(&connections(look)).into()),
        (Page::Peers, Form::Text) => Ok(api::text::peers(&peers(look)).into()),
        (Page::Targets, Form::Text) => Ok(api::text::targets(&targets(look)).into()),
        (Page::Paths, Form::Text) => Ok(api::text::paths(&paths(look)).into()),
        (Page::Ipam, Form::Text) => Ok(api::text::ipam(&ipam(look)).into()),
    }
}

/// With an end of line, for those who ask with curl.
fn json(of: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut octets = serde_json::to_vec(of)?;
    octets.push(b'\n');
    Ok(octets.into())
}
